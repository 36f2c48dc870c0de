"""Schedule of `attention` of many tokens on GPUs whose tensor cores serve four warps together (flash attention): eight
warps take 128 rows of queries over all keys, 128 at a time.

Caches in runs of 16 bytes are made of core matrices: of keys for the scores, of values for their sum, so that keys and
values are copied to shared memory as they lie. While values are multiplied with the weights of one step, the scores of
the next become weights; and four warps may be half a step ahead of the others, so that some multiply at any time.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from ..ir.graph import Node
from ..ir.types import f32
from ..kernel.builder import KernelBuilder, Variable
from ..kernel.ir import BARRIER, Instruction, Kernel
from ..targets.target import Target
from . import tile_attention
from .group import Accept, Group, Refuse
from .prompt_attention import COLUMNS, Attending, Prompt
from .tensor_linear import FRAGMENT

ROOTS = ("attention",)
CORE = 128  # bytes of a core matrix
SLOTS = 3  # steps in shared memory: one that is read, one that is there for warps that are ahead, one that copies go to
GROWTH = 8.0  # weights up to 256, far from the largest f16: a row's best seldom grows by more
MOST_SIZE = 256  # of a head: sums of as many columns fit one product


def accepts(group: Group, target: Target) -> Accept | Refuse:
    """What `tile_attention` accepts, on compute capability 9.0, and the rotation of the queries before it."""
    rotation, root = group.nodes[0], group.root
    if rotation.op.name == "rope":
        if not _rotates(rotation, root):
            return Refuse("queries are rotated in runs of eight elements, each token by its own angles")
        group = replace(group, nodes=group.nodes[1:])
    verdict = tile_attention.accepts(group, target, rounded=True)
    if isinstance(verdict, Refuse):
        return verdict
    if target.capability != 90:
        return Refuse(f"{target.name} has no products by four warps together")
    size = int(group.root.inputs[0].type.shape[2])  # type: ignore[arg-type]
    return Accept() if size <= MOST_SIZE else Refuse(f"heads of {size} elements: a product makes {MOST_SIZE}")


def _rotates(node: Node, root: Node) -> bool:
    """Whether a rotation is one of attention's queries that a thread makes of the elements it has."""
    x, cos, sin = node.inputs
    half = cos.type.shape[-1]
    angles = all(v.type.element is f32 and v.type.shape == (x.type.shape[0], half) for v in (cos, sin))
    whole = x.type.element is f32 and isinstance(half, int) and half % COLUMNS == 0
    return whole and angles and x.type.rank == 3 and root.inputs[0] is node.results[0]


def keys_of(size: int) -> int:
    """Keys of a step: sums, scores, weights and queries are in a thread's 255 registers together."""
    return 128 if size <= 128 else 32


def build(group: Group, target: Target, name: str) -> Kernel:
    """q: (N, Hq, D) f32 or of the keys' dtype, keys and values: (Hkv, C, D) or pages, start: () i32, out: (N, Hq, D)
    f32, bf16 or f16; before it q of f32 may be rotated, cos and sin: (N, R / 2) f32.

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
        # Where lengths are symbols, the branch around the factors costs more than they do (measured: 0.8 %).
        self.growth = GROWTH if self.counted else 0.0
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
        asked = self._ask(warp, head, first, last)  # queries would come behind the keys and values of all slots
        for n in range(SLOTS - 1):
            self._copy_keys(warp, steps, steps.begin + (n + 1) * self.step, (n + 1) * self.key_tile)
            self._copy_values(warp, steps, steps.begin + n * self.step, n * self.value_tile)
            k.commit_copies()

        query, rows, sums, scores = self._own(asked, last, steps)
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
            factor, grows = self._softmax(scores, base + self.step, rows)
            k.await_all(self.done)  # with keys of this step and values of the one before
            k.wait_copies(0)
            k.arrive(self.filled)
            self._copy_keys(warp, steps, base + SLOTS * self.step, here * self.key_tile)
            self._copy_values(warp, steps, base + (SLOTS - 1) * self.step, free * self.value_tile)
            k.commit_copies()
            k.wait_mma(sums, 0, [*taken, *query])
            k.arrive(self.done)
            for _ in k.when(_any(k, grows)) if self.growth else (None,):
                for v in sums:
                    v.set(v.get() * factor)
            pack()
        k.await_all(self.filled)
        taken = self._weigh(words, sums, (steps.count - 1) % SLOTS)
        k.await_all(self.done)
        k.wait_copies(0)
        k.wait_mma(sums, 0, taken)
        self._store(sums, rows, asked.places)

    def _score(self, query: Sequence[Instruction], scores: Sequence[Variable], at: Instruction) -> None:
        """scores = q . key of this warp's rows and the keys at `at`."""
        raise NotImplementedError

    def _weigh(self, words: Sequence[Variable], sums: Sequence[Variable], slot: Instruction) -> list[Instruction]:
        """sums += weights times the values of a slot. Returns what must stay until that is done."""
        raise NotImplementedError


def _any(k: KernelBuilder, flags: Instruction) -> Instruction:
    """Whether a flag holds for one of a warp's rows."""
    return k.reduce_max(k.convert(flags, "i32", signed=False)) > 0


class _Tiles(Pipelined, Prompt):
    def _queries(self, places: Sequence[Instruction]) -> Callable[[], list[Instruction]]:
        pairs = [self._pairs(place) for place in places]

        def operands() -> list[Instruction]:
            rows = [made() for made in pairs]
            halves = (0, COLUMNS)
            return [self._operand_a(*(row[d + n] for n in halves for row in rows)) for d in range(0, self.size, 16)]

        return operands

    def _pairs(self, place: Instruction) -> Callable[[], dict[int, Instruction]]:
        """Ask for two neighbours of every 8 elements of a row at a place, and what rotates them, where that is to be
        done, and scales them."""
        k = self.k
        if self.rounded:
            lanes = (place >> 1) + self.place * 4
            words = {d: k.gather(self.q, d * 2, lanes, "i32") for d in range(0, self.size, COLUMNS)}
            return lambda: words
        lanes = place + self.place * 8
        found = {d: k.gather(self.q, d * 4, lanes, "f32", 2) for d in range(0, self.size, COLUMNS)}
        angles = None if self.rotation is None else self._angles(place // (self.heads * self.size * 4))

        def made() -> dict[int, Instruction]:
            split = {d: [k.shuffle(v, v, range(e, 64, 2)) for e in range(2)] for d, v in found.items()}
            if angles is not None:
                self._rotate(split, angles)
            return {d: k.pack_pair(low * self.scale, high * self.scale, self.kind) for d, (low, high) in split.items()}

        return made

    def _angles(self, token: Instruction) -> dict[int, list[Instruction]]:
        """Cosines and sines of a thread's pairs of elements of a row: one of each, or two neighbours."""
        k = self.k
        assert self.rotation is not None
        tables, half, interleaved = self.rotation
        if interleaved:
            at = (token * half + self.place) * 4
            return {d: [k.gather(v, d * 4, at, "f32") for v in tables] for d in range(0, half, COLUMNS // 2)}
        at = token * (half * 4) + self.place * 8
        return {d: [k.gather(v, d * 4, at, "f32", 2) for v in tables] for d in range(0, half, COLUMNS)}

    def _rotate(self, split: dict[int, list[Instruction]], angles: dict[int, list[Instruction]]) -> None:
        """What `rope` does with a thread's elements of a row: a * c - b * s, b * c + a * s."""
        k = self.k
        assert self.rotation is not None
        _, half, interleaved = self.rotation
        for d, (cos, sin) in angles.items():
            if interleaved:  # elements 2 i and 2 i + 1
                low, high = split[2 * d]
                split[2 * d] = [low * cos - high * sin, high * cos + low * sin]
                continue
            first, second = split[d], split[d + half]
            of = [[k.shuffle(v, v, range(e, 64, 2)) for v in (cos, sin)] for e in range(2)]
            split[d] = [a * c - b * s for a, b, (c, s) in zip(first, second, of, strict=True)]
            split[d + half] = [b * c + a * s for a, b, (c, s) in zip(first, second, of, strict=True)]

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
