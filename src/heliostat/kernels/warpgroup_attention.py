"""Schedule of `attention` of many tokens on GPUs whose tensor cores serve four warps together (flash attention): eight
warps take 128 rows of queries over all keys, 128 at a time.

Caches in runs of 16 bytes are made of core matrices: of keys for the scores, of values for their sum, so that keys and
values are copied to shared memory as they lie. While values are multiplied with the weights of one step, the scores of
the next become weights; and four warps may be half a step ahead of the others, so that some multiply at any time.
"""

from __future__ import annotations

from collections.abc import Sequence

from ..kernel.builder import Variable
from ..kernel.ir import BARRIER, Instruction, Kernel
from ..targets.target import Target
from . import tile_attention
from .group import Accept, Group, Refuse
from .prompt_attention import COLUMNS, Attending, Prompt
from .tensor_linear import FRAGMENT

CORE = 128  # bytes of a core matrix
SLOTS = 3  # steps in shared memory: one that is read, one that is there for warps that are ahead, one that copies go to
MOST_SIZE = 256  # of a head: sums of as many columns fit one product


def accepts(group: Group, target: Target) -> Accept | Refuse:
    """What `tile_attention` accepts, on compute capability 9.0."""
    verdict = tile_attention.accepts(group, target)
    if isinstance(verdict, Refuse):
        return verdict
    if target.capability != 90:
        return Refuse(f"{target.name} has no products by four warps together")
    size = int(group.root.inputs[0].type.shape[2])  # type: ignore[arg-type]
    return Accept() if size <= MOST_SIZE else Refuse(f"heads of {size} elements: a product makes {MOST_SIZE}")


def keys_of(size: int) -> int:
    """Keys of a step: sums, scores, weights and queries are in a thread's 255 registers together."""
    return 128 if size <= 128 else 32


def build(group: Group, target: Target, name: str) -> Kernel:
    """q: (N, Hq, D) f32, keys and values: (Hkv, C, D), start: () i32, out: (N, Hq, D) f32, bf16 or f16.

    Per tile of 128 rows and key: 4 * 128 * D operations; 4 * D bytes of the caches.
    """
    size = int(group.root.inputs[0].type.shape[2])  # type: ignore[arg-type]
    return _Tiles(group, name, keys_of(size), SLOTS, 0).build()


class Pipelined(Attending):
    """The order of products, softmax and copies of a warp's rows. `key_tile`, `value_tile`: bytes of a step."""

    key_tile: int
    value_tile: int

    def build(self) -> Kernel:
        self.filled, self.done = self.k.alloc(BARRIER), self.k.alloc(BARRIER)
        return super().build()

    def _key(self, lane: Instruction) -> Instruction:
        return ((lane >> 2) & 3) * 2 + (lane & 1)

    def _block(self, n: int) -> int:
        return n * COLUMNS

    def _warp(self, warp: Instruction, head: Instruction, first: Instruction, last: Instruction) -> None:
        k = self.k
        steps = self._steps(head, first, last)
        k.barrier()  # the tile before may still be read
        self._copy_keys(warp, steps, steps.begin, 0)
        k.commit_copies()
        for n in range(SLOTS - 1):
            self._copy_keys(warp, steps, steps.begin + (n + 1) * self.step, (n + 1) * self.key_tile)
            self._copy_values(warp, steps, steps.begin + n * self.step, n * self.value_tile)
            k.commit_copies()

        query, places, rows, sums, scores = self._own(warp, head, first, last, steps)
        words = [k.var(k.zeros("i32", FRAGMENT)) for _ in range(self.step // 16)]

        def pack() -> None:
            for v, operand in zip(words, self._packed(scores), strict=True):
                v.set(k.bitcast(operand, "i32"))

        k.wait_copies(SLOTS - 1)
        k.barrier()
        self._score(query, scores, k.const(0, "i64"))
        k.wait_mma(scores, read=query)
        self._softmax(scores, steps.begin, rows)
        pack()
        k.wait_copies(1)
        k.arrive(self.filled)
        k.arrive(self.done)
        for step in k.loop(steps.count - 1):
            base = steps.begin + step * self.step
            here, following, free = ((step + n) % SLOTS for n in range(SLOTS))
            k.await_all(self.filled)  # values of this step and keys of the next are there
            self._score(query, scores, following * self.key_tile)
            taken = self._weigh(words, sums, here)
            k.wait_mma(scores, 1)
            factor = self._softmax(scores, base + self.step, rows)
            k.await_all(self.done)  # with keys of this step and values of the one before
            k.wait_copies(0)
            k.arrive(self.filled)
            self._copy_keys(warp, steps, base + SLOTS * self.step, here * self.key_tile)
            self._copy_values(warp, steps, base + (SLOTS - 1) * self.step, free * self.value_tile)
            k.commit_copies()
            k.wait_mma(sums, 0, [*taken, *query])
            k.arrive(self.done)
            for v in sums:
                v.set(v.get() * factor)
            pack()
        k.await_all(self.filled)
        taken = self._weigh(words, sums, (steps.count - 1) % SLOTS)
        k.await_all(self.done)
        k.wait_copies(0)
        k.wait_mma(sums, 0, taken)
        self._store(sums, rows, places)

    def _score(self, query: Sequence[Instruction], scores: Sequence[Variable], at: Instruction) -> None:
        """scores = q . key of this warp's rows and the keys at `at`."""
        raise NotImplementedError

    def _weigh(self, words: Sequence[Variable], sums: Sequence[Variable], slot: Instruction) -> list[Instruction]:
        """sums += weights times the values of a slot. Returns what must stay until that is done."""
        raise NotImplementedError


class _Tiles(Pipelined, Prompt):
    def _queries(self, places: Sequence[Instruction]) -> list[Instruction]:
        k = self.k
        operands = []
        for d in range(0, self.size, 16):
            words = []
            for n in range(2):
                for place in places:
                    pair = k.gather(self.q, (d + 8 * n) * 4, place + self.place * 8, "f32", 2) * self.scale
                    low, high = (k.shuffle(pair, pair, range(e, 64, 2)) for e in range(2))
                    words.append(k.pack_pair(low, high, self.kind))
            operands.append(self._operand_a(*words))
        return operands

    def _score(self, query: Sequence[Instruction], scores: Sequence[Variable], at: Instruction) -> None:
        """scores = q . key of this warp's rows and the keys at `at`."""
        strides = (self.key_row, CORE)
        self.k.warpgroup_mma(self.memory, query, at, scores, len(query), None, strides, self.kind, fresh=True)

    def _weigh(self, words: Sequence[Variable], sums: Sequence[Variable], slot: Instruction) -> list[Instruction]:
        """sums += weights times the values of a slot. Returns what must stay until that is done."""
        k = self.k
        taken = [k.bitcast(v.get(), "i16") for v in words]
        at, strides = slot * self.value_tile + self.values_at, (self.value_row, CORE)
        k.warpgroup_mma(self.memory, taken, at, sums, len(taken), None, strides, self.value_kind)
        return taken
