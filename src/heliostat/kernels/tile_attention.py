"""Schedule of `attention` of many tokens on a GPU's tensor cores (flash attention): eight warps take 16 rows of queries
each over all keys, 64 or 32 at a time.

The order of K inside a tensor core instruction is free as long as both operands have the same: a thread's run of a
key's elements serves two instructions. So is the order of keys: column 2 q + e of block b of the scores of a panel is
key 8 q + 2 b + e, so that thread q has the weights of eight neighbours, as the runs of values have them. Rows of runs
in shared memory are a little apart, so that the threads of a quad meet in no bank.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial

from ..ir.graph import Node, Value
from ..ir.types import bf16, f16, f32, upper_bound
from ..kernel.builder import Variable
from ..kernel.ir import Instruction, Kernel
from ..targets.target import Target
from . import attention
from .cache import sequences
from .group import Accept, Group, Refuse
from .prompt_attention import COLUMNS, PANEL, RUN, Prompt, tile_bytes
from .tensor_linear import FRAGMENT

ROOTS = ("attention",)
GAP = 2 * RUN  # bytes between rows of runs
SLOTS = 2  # steps in shared memory: one that is read, one that copies go to
SHARED_BYTES = 99 << 10  # of a block, on every GPU with these tensor cores


def accepts(group: Group, target: Target, rounded: bool = False) -> Accept | Refuse:
    """What `attention` accepts, over caches in runs of eight; results may be cast to what a product reads.

    `rounded`: whether queries may be of the keys' dtype."""
    result = group.root.results[0]
    if len(group.nodes) == 2 and group.outputs == group.nodes[1].results and _is_cast(group.nodes[1], result):
        group = replace(group, nodes=(group.root,), outputs=(result,))
    verdict = attention.accepts_caches(group, target)
    if isinstance(verdict, Refuse):
        return verdict
    q, keys = group.root.inputs[:2]
    if getattr(keys.type.layout, "run", 1) != 8 or target.capability < 80:
        return Refuse("caches are not in runs for tensor cores")
    heads, size = int(q.type.shape[1]), int(q.type.shape[2])  # type: ignore[arg-type]
    if upper_bound(q.type.shape[0]) * heads * size * 4 >= 1 << 31:
        return Refuse("queries of 2 GiB and more")
    if SLOTS * sum(tile_bytes(size, keys_of(size), GAP)) > SHARED_BYTES:
        return Refuse(f"heads of {size} elements: {keys_of(size)} keys and values do not fit shared memory twice")
    if (count := sequences(group.root.inputs[3].type)) > 1:
        return Refuse(f"blocks of tokens of {count} sequences")
    if rounded and q.type.element is keys.type.element and group.root.attrs["scale"] > 0:  # the largest stays it
        return verdict
    if q.type.dtype.name != "f32" or group.outputs[0].type.dtype.name != "f32":
        return Refuse("queries and results are f32 here")
    return verdict


def _is_cast(node: Node, value: Value) -> bool:
    """Whether a node makes a float that can be stored of a value, which is not rounded before."""
    return node.op.name == "cast" and node.inputs[0] is value and node.results[0].type.element in (bf16, f16, f32)


def keys_of(size: int) -> int:
    """Keys of a step: scores and sums of larger heads do not fit a thread's registers together."""
    return 2 * PANEL if size <= 128 else PANEL


def build(group: Group, target: Target, name: str) -> Kernel:
    """q: (N, Hq, D) f32, keys and values: (Hkv, C, D) or pages, start: () i32, out: (N, Hq, D) f32, bf16 or f16.

    Per tile of 128 rows and key: 4 * 128 * D operations; 4 * D bytes of the caches.
    """
    size = int(group.root.inputs[0].type.shape[2])  # type: ignore[arg-type]
    return _Tiles(group, name, keys_of(size), SLOTS, GAP).build()


class _Tiles(Prompt):
    def _key(self, lane: Instruction) -> Instruction:
        return ((lane >> 2) & 3) * 8 + (lane & 1)

    def _block(self, n: int) -> int:
        return n // 4 * PANEL + n % 4 * 2

    def _warp(self, warp: Instruction, head: Instruction, first: Instruction, last: Instruction) -> None:
        k = self.k
        steps = self._steps(head, first, last)
        k.barrier()  # the tile before may still be read
        self._copy_keys(warp, steps, steps.begin, 0)
        self._copy_values(warp, steps, steps.begin, 0)
        k.commit_copies()
        asked = self._ask(warp, head, first, last)
        query, rows, sums, scores = self._own(asked, last, steps)
        for step in k.loop(steps.count):
            k.wait_copies(0)
            k.barrier()  # this step is there, and all have done with the one before
            base, other = steps.begin + step * self.step, (step + 1) % SLOTS
            self._copy_keys(warp, steps, base + self.step, other * self.key_tile)
            self._copy_values(warp, steps, base + self.step, other * self.value_tile)
            k.commit_copies()
            self._score(query, scores, step % SLOTS * self.key_tile)
            factor, _ = self._softmax(scores, base, rows)
            self._weigh(self._packed(scores), sums, factor, step % SLOTS * self.value_tile + self.values_at)
        k.wait_copies(0)  # of what lies past the last step
        self._store(sums, rows, asked.places)

    def _queries(self, places: Sequence[Instruction]) -> Callable[[], list[Instruction]]:
        return partial(self._operands, places)

    def _operands(self, places: Sequence[Instruction]) -> list[Instruction]:
        """A thread has runs of 8 elements, in 32 elements each."""
        k = self.k
        operands: list[Instruction] = []
        for d in range(0, self.size, 32):
            words: list[list[Instruction]] = []
            for h in range(2):
                parts = [
                    k.gather(self.q, (d + 4 * n) * 4, places[h] + self.place * 32, "f32", 4) * self.scale
                    for n in range(2)
                ]
                elements = [k.shuffle(p, p, range(e, FRAGMENT, 4)) for p in parts for e in range(4)]
                words.append([k.pack_pair(elements[e], elements[e + 1], self.kind) for e in range(0, 8, 2)])
            for s in range(2):
                operands.append(self._operand_a(*(words[h][2 * s + j] for j in range(2) for h in range(2))))
        return operands

    def _halves_of(self, run: Instruction) -> list[Instruction]:
        """The two operands b in runs of four words."""
        k = self.k
        pairs = [[4 * t + 2 * s + e for t in range(32) for e in range(2)] for s in range(2)]
        return [k.bitcast(k.shuffle(run, run, lanes), "i16") for lanes in pairs]

    def _score(self, query: Sequence[Instruction], scores: Sequence[Variable], at: Instruction) -> None:
        """scores = q . key of this warp's rows and the keys at `at`."""
        k = self.k
        lanes = ((self.row >> 1) * 8 + (self.row & 1)) * RUN + self.place * self.key_row
        for n, v in enumerate(scores):
            acc = k.zeros("f32", FRAGMENT)
            for d in range(0, self.size, 32):
                run = k.gather(self.memory, at + (d // 8 * self.key_row + self._block(n) * RUN), lanes, "i32", 4)
                for s, half in enumerate(self._halves_of(run)):
                    acc = k.mma(acc, query[d // 16 + s], half, self.kind)
            v.set(acc)

    def _weigh(
        self, weights: Sequence[Instruction], sums: Sequence[Variable], factor: Instruction, at: Instruction
    ) -> None:
        """sums = sums * factor + weights times the values at `at`."""
        k = self.k
        lanes = self.row * RUN + self.place * self.value_row
        for n, v in enumerate(sums):
            acc = v.get() * factor
            for p in range(self.step // PANEL):
                run = k.gather(self.memory, at + (4 * p * self.value_row + n * (COLUMNS * RUN)), lanes, "i32", 4)
                for operand, half in zip(weights[2 * p : 2 * p + 2], self._halves_of(run), strict=True):
                    acc = k.mma(acc, operand, half, self.value_kind)
            v.set(acc)
