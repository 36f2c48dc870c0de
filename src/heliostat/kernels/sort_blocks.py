"""Schedule of `sort_blocks`: a bitonic network over a block in private memory, which teams of warps share on a GPU.

Two runs in order are merged by comparing element i with the one as far from the end, and then at halved distances
(Batcher, Sorting networks and their applications, 1968; with a turned second half every comparison points the same
way). Distances of whole vectors compare vectors, shorter ones lanes of a vector.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from ..ir.types import numel
from ..kernel.builder import KernelBuilder
from ..kernel.ir import Instruction, Kernel
from ..kernel.warp import WARP
from ..targets.target import Target
from .group import Accept, Dims, Group, Refuse

ROOTS = ("sort_blocks",)
LARGEST = (1 << 63) - 1
MOST_WARPS = 32


def accepts(group: Group, target: Target) -> Accept | Refuse:
    if group.root.op.name != "sort_blocks" or len(group.nodes) != 1:
        return Refuse("not a sort_blocks by itself")
    return Accept()


def build(group: Group, target: Target, name: str, tune: None = None) -> Kernel:
    """x: (..., N) i64. Reads x once and writes the result once; log(block)**2 / 2 comparisons of each element."""
    return _Blocks(group, target, name).build()


class _Blocks:
    def __init__(self, group: Group, target: Target, name: str) -> None:
        k = self.k = KernelBuilder(name, target.capability)
        self.source, self.out = k.buffer("i0", "r"), k.buffer("o0", "w")
        node = group.root
        x, y = node.inputs[0].type, node.results[0].type
        self.size, self.kept = int(x.shape[-1]), int(y.shape[-1])  # type: ignore[arg-type]
        self.block, self.keep = node.attrs["block"], node.attrs["keep"]
        self.rows = Dims(k, group.symbols)(numel(x.shape[:-1]))
        self.blocks = max(1, -(-self.size // self.block))
        self.lanes = target.lanes_of(8) * (2 if target.gpu and self.block >= 4 * WARP else 1)  # 16 bytes of a thread
        self.count = max(1, self.block // self.lanes)  # vectors of a block
        self.gpu = target.gpu
        self.team = max(1, min(MOST_WARPS, self.count // 2)) if target.gpu else 1

    def build(self) -> Kernel:
        k, count = self.k, self.count
        memory = k.alloc(count * self.lanes * 8) if count > 1 else None
        for item in k.parallel(self.rows * self.blocks):
            row, block = item // self.blocks, item % self.blocks
            if memory is None:
                self._write(row, block, 0, self._sorted(self._read(row, block, 0)))
                continue
            for member in k.team(self.team) if self.gpu else (k.const(0, "i64"),):
                self._in_memory(memory, row, block, member)
        return k.finish()

    # --- reading and writing --------------------------------------------------------------------------------------
    def _read(self, row: Instruction, block: Instruction, v: Instruction | int) -> Instruction:
        """Vector v of a block, filled up with the largest number."""
        k, first = self.k, block * self.block + v * self.lanes
        last = self.size if self.block >= self.lanes else None
        left = (
            self.k.const(self.size, "i64")
            if last is not None
            else k.minimum(block * self.block + self.block, self.size)
        ) - first
        there = k.first_lanes(k.minimum(left, self.lanes), self.lanes)
        value = k.load(self.source, (row * self.size + first) * 8, "i64", self.lanes, there)
        return k.select(there, value, LARGEST)

    def _write(self, row: Instruction, block: Instruction, v: Instruction | int, value: Instruction) -> None:
        """Vector v of a block that is in order, as far as it is kept."""
        k, place = self.k, self.k.const(0, "i64") + v * self.lanes
        left = k.minimum(self.keep, self.kept - block * self.keep) - place
        there = k.first_lanes(k.minimum(left, self.lanes), self.lanes)
        k.store(self.out, (row * self.kept + block * self.keep + place) * 8, value, there)

    # --- a vector ---------------------------------------------------------------------------------------------------
    def _lane_step(self, value: Instruction, other: int, upper: int) -> Instruction:
        """Each lane against lane ^ other; lanes with the bit `upper` keep the larger."""
        k, lanes = self.k, self.lanes
        partner = k.shuffle(value, value, [n ^ other for n in range(lanes)])
        large = k.binary("ne", k.iota("i32", lanes) & upper, 0)
        return k.select((value < partner) ^ large, value, partner)

    def _halves(self, value: Instruction, size: int) -> Instruction:
        """Distances below `size` of lanes."""
        distance = size // 2
        while distance:
            value = self._lane_step(value, distance, distance)
            distance //= 2
        return value

    def _sorted(self, value: Instruction) -> Instruction:
        size = 2
        while size <= min(self.lanes, max(self.block, 2)):
            value = self._halves(self._lane_step(value, size - 1, size // 2), size // 2)
            size *= 2
        return value

    def _reversed(self, value: Instruction) -> Instruction:
        return self.k.shuffle(value, value, list(range(self.lanes))[::-1])

    def _ordered(self, a: Instruction, b: Instruction) -> tuple[Instruction, Instruction]:
        k, less = self.k, a < b
        return k.select(less, a, b), k.select(less, b, a)

    # --- vectors of a block -----------------------------------------------------------------------------------------
    def _in_memory(self, memory: Instruction, row: Instruction, block: Instruction, member: Instruction) -> None:
        k, count = self.k, self.count
        self._barrier()  # the block before may still be read
        for a, b in self._pairs(member, k.const(0, "i64"), True):
            low, high = (self._sorted(self._read(row, block, v)) for v in (a, b))
            self._keep_merged(memory, a, b, *self._ordered(low, self._reversed(high)))
        self._barrier()
        steps = count.bit_length() - 1
        for p in k.loop(1, steps):
            self._compare(memory, member, p, True)
            for q in k.loop(p - 1):
                self._compare(memory, member, p - 1 - q, False)
            for a, b in self._pairs(member, k.const(0, "i64"), False):
                self._keep_merged(memory, a, b, *self._ordered(*(self._load(memory, v) for v in (a, b))))
            self._barrier()
        kept = -(-self.keep // self.lanes)
        for v in k.loop(member, kept, self.team):
            self._write(row, block, v, self._load(memory, v))

    def _pairs(
        self, member: Instruction, shift: Instruction, turned: bool
    ) -> Iterator[tuple[Instruction, Instruction]]:
        """This member's pairs of vectors at a distance of 1 << shift, or as far from both ends of twice as many."""
        k = self.k
        for n in k.loop(member, self.count // 2, self.team):
            high = n >> shift
            low = n - (high << shift)
            first = high << (shift + 1)
            a = first + low
            yield a, (first + (k.const(2, "i64") << shift) - 1 - low) if turned else a + (k.const(1, "i64") << shift)

    def _compare(self, memory: Instruction, member: Instruction, shift: Instruction, turned: bool) -> None:
        turn: Callable[[Instruction], Instruction] = self._reversed if turned else lambda v: v
        for a, b in self._pairs(member, shift, turned):
            low, high = self._ordered(self._load(memory, a), turn(self._load(memory, b)))
            self._keep(memory, a, low)
            self._keep(memory, b, turn(high))
        self._barrier()

    def _keep_merged(
        self, memory: Instruction, a: Instruction, b: Instruction, low: Instruction, high: Instruction
    ) -> None:
        self._keep(memory, a, self._halves(low, self.lanes))
        self._keep(memory, b, self._halves(high, self.lanes))

    def _load(self, memory: Instruction, v: Instruction) -> Instruction:
        return self.k.load(memory, v * (self.lanes * 8), "i64", self.lanes)

    def _keep(self, memory: Instruction, v: Instruction, value: Instruction) -> None:
        self.k.store(memory, v * (self.lanes * 8), value)

    def _barrier(self) -> None:
        if self.gpu:
            self.k.barrier()
