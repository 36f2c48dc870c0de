"""Rows with reductions on a GPU that are too long for registers: copied once to the private memory of a team of warps,
which each reduction and the results read, and written once.

`held_rows` takes shorter rows; `reduce` takes what does not fit here: few rows, sizes that are not known, quantized
results.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from ..ir.graph import Node, Value
from ..ir.types import TensorType, bf16, f16, numel, upper_bound
from ..kernel.builder import KernelBuilder
from ..kernel.ir import ELEMENT_BYTES, Instruction, Kernel, Operand
from ..kernel.warp import MOST_ALIGNED, WARP
from ..targets.target import Target
from .elementwise import PointEvaluator, unrounded
from .group import Dims, Group, TensorOperand, load_as_compute
from .held_rows import FEW_ROWS
from .math import RoundedMath
from .picked import element, picked
from .quantize_block import tree
from .reduction import REDUCTIONS, Reduction

TEAM = 16  # warps of a row: two blocks of a multiprocessor then have 64 registers for each thread
MOST_BYTES = 108 << 10  # of rows of all operands, so that while one team computes the copies of another are under way
MOST_RUN = 8  # elements of a vector in one thread
AT_ONCE = 2  # vectors
SLOT = 8  # bytes of a part of a sum in private memory


@dataclass(frozen=True)
class LongTile:
    """`run`: elements of a vector in one thread. `nbytes`: of private memory for the row of each operand."""

    run: int
    nbytes: int


def tile_of(group: Group, target: Target) -> LongTile | None:
    """How a group of rows is copied; None where it is not."""
    reductions = [n for n in group.nodes if n.op.name in REDUCTIONS]
    others = any(n.op.name in ("quantize", "argmax") for n in group.nodes)
    if target.capability < 80 or not reductions or others:
        return None
    shape = reductions[0].inputs[0].type.shape
    size, rows = shape[-1], upper_bound(numel(shape[:-1]))
    whole = [v for v in group.inputs if v.type.shape == shape]
    if not isinstance(size, int) or rows <= FEW_ROWS or not whole:
        return None
    widest = max(v.type.dtype.nbytes for v in (*whole, *(v for v in group.outputs if v.type.shape == shape)))
    run = min(MOST_RUN, MOST_ALIGNED // widest)
    if size < 2 * TEAM * WARP * run or any(size * v.type.dtype.nbytes % MOST_ALIGNED for v in whole):
        return None
    nbytes = sum(_row_bytes(v.type) for v in whole)
    most = min(MOST_BYTES, target.shared_bytes - SLOT * TEAM * len(reductions))
    return LongTile(run, nbytes) if nbytes <= most else None


def _row_bytes(type: TensorType) -> int:
    """Private memory for a row: whole copies of a warp."""
    size, each = type.shape[-1], WARP * MOST_ALIGNED
    assert isinstance(size, int)
    return -(-size * type.dtype.nbytes // each) * each


def build(group: Group, target: Target, name: str, tile: LongTile) -> Kernel:
    """Reads each operand once, writes each result once."""
    return _LongRows(group, target, name, tile).build()


class _Copied(TensorOperand):
    """An operand whose row lies in private memory. Single elements are read where they were."""

    def __init__(
        self, k: KernelBuilder, dims: Dims, buffer: Instruction, type: TensorType, memory: Instruction, start: int
    ) -> None:
        super().__init__(k, dims, buffer, type)
        self.memory, self.start = memory, start

    def load(self, index: Sequence[Operand], lanes: int = 1, mask: Instruction | None = None) -> Instruction:
        if lanes == 1:
            return super().load(index, lanes, mask)
        place = self.k.const(0, "i64") + index[-1]
        at = place * self.type.dtype.nbytes + self.start
        return load_as_compute(self.k, self.memory, at, self.type.dtype, lanes)


class _LongRows:
    def __init__(self, group: Group, target: Target, name: str, tile: LongTile) -> None:
        k = self.k = KernelBuilder(name, target.capability)
        buffers = {v: k.buffer(f"i{n}", "r") for n, v in enumerate(group.inputs)}
        self.outs = {v: k.buffer(f"o{n}", "w") for n, v in enumerate(group.outputs)}
        self.dims = Dims(k, group.symbols)
        self.reductions = [n for n in group.nodes if n.op.name in REDUCTIONS]
        self.shape = self.reductions[0].inputs[0].type.shape
        size = self.shape[-1]
        assert isinstance(size, int)
        self.size, self.lanes = size, WARP * tile.run
        self.zero, self.columns = k.const(0, "i64"), k.const(size, "i64")
        self.memory, self.parts = k.alloc(tile.nbytes), k.alloc(SLOT * TEAM * len(self.reductions))
        self.copied: list[_Copied] = []
        operands: dict[Value, TensorOperand] = {}
        start = 0
        for v, buffer in buffers.items():
            operands[v] = TensorOperand(k, self.dims, buffer, v.type)
            if v.type.shape == self.shape:
                operands[v] = made = _Copied(k, self.dims, buffer, v.type, self.memory, start)
                self.copied.append(made)
                start += _row_bytes(v.type)
        rounded = all(v.type.dtype in (f16, bf16) for v in group.outputs)
        self.evaluate = PointEvaluator(k, self.dims, operands, RoundedMath(k) if rounded else None)
        self.group = group

    def build(self) -> Kernel:
        k = self.k
        for row in k.parallel(self.dims(numel(self.shape[:-1]))):
            for member in k.team(TEAM):
                self._row(self.dims.index(self.shape[:-1], row), member)
        return k.finish()

    def _row(self, index: list[Instruction], member: Instruction) -> None:
        k = self.k
        k.barrier()  # the row before may still be read
        for operand in self.copied:
            self._copy(operand, index, member)
        k.commit_copies()
        k.wait_copies(0)
        k.barrier()
        known: dict[Value, Instruction] = {}
        for n, node in enumerate(self.reductions):
            if picked(node) is not None:
                known[node.results[0]] = element(k, self.evaluate, node, index, self.columns, known)
            else:
                known[node.results[0]] = self._reduce(n, node, index, member, known)
        self._narrow(index, member, known)
        full = [v for v in self.outs if v.type.shape == self.shape and v not in known]
        if full:
            self._results(full, index, member, known)

    def _copy(self, operand: _Copied, index: list[Instruction], member: Instruction) -> None:
        """This member's part of a row, 16 bytes a thread in turn, and zeros behind its end."""
        k, each = self.k, WARP * MOST_ALIGNED
        start = operand.offset([*index, self.zero])
        most, padded = self.size * operand.type.dtype.nbytes, _row_bytes(operand.type)
        lanes = k.iota("i32", WARP) * MOST_ALIGNED

        def copies(lo: int, hi: int, there: Callable[[Instruction], Instruction] | None) -> None:
            for at in k.loop(member * each + lo, hi, TEAM * each):
                inside = None if there is None else there(at)
                k.copy_async(self.memory, at + operand.start, lanes, operand.buffer, start + at, lanes, inside)

        def left(at: Instruction) -> Instruction:
            return k.select(k.splat(k.convert(at, "i32"), WARP) + lanes < most, k.const(MOST_ALIGNED, "i32", WARP), 0)

        whole = most // (TEAM * each) * TEAM * each
        copies(0, whole, None)
        if whole < padded:
            copies(whole, padded, left)

    def _vectors(self, member: Instruction, body: Callable[[Sequence[Instruction], Instruction | None], None]) -> None:
        """`body(starts, mask)` over this member's vectors: member m has m, m + TEAM ... of them."""
        k, step = self.k, TEAM * self.lanes
        rounds = self.size // step
        first = member * self.lanes
        whole = rounds // AT_ONCE * AT_ONCE
        for at in k.loop(first, whole * step, AT_ONCE * step):
            body([at + n * step for n in range(AT_ONCE)], None)
        for n in range(whole, rounds):
            body([first + n * step], None)
        if rounds * step == self.size:
            return
        at = first + rounds * step
        for _ in k.when(at + self.lanes <= self.size):
            body([at], None)
        if self.size % self.lanes:
            for _ in k.when((at < self.size) & (at + self.lanes > self.size)):
                left = k.convert(self.columns - at, "i32")
                body([at], k.iota("i32", self.lanes) < k.splat(left, self.lanes))

    def _reduce(
        self,
        number: int,
        node: Node,
        index: list[Instruction],
        member: Instruction,
        known: Mapping[Value, Instruction],
    ) -> Instruction:
        """A reduction of the row. The parts of all warps are combined by each of them, in the same order."""
        k, lanes = self.k, self.lanes
        how = Reduction(k, node.op.name, node.results[0].type.dtype)
        start = k.const(how.start, how.elem, lanes)
        totals = [k.var(start) for _ in range(AT_ONCE)]

        def add(starts: Sequence[Instruction], mask: Instruction | None) -> None:
            for total, at in zip(totals, starts, strict=False):
                value = how.taken(self.evaluate.at(node.inputs[0], [*index, at], lanes, mask, known))
                total.set(how.combine(total.get(), value if mask is None else k.select(mask, value, start)))

        self._vectors(member, add)
        part = how.across(tree([t.get() for t in totals], how.combine))
        nbytes, base = ELEMENT_BYTES[how.elem], SLOT * TEAM * number
        k.store(self.parts, member * nbytes + base, part)
        k.barrier()
        return how.result(how.across(k.load(self.parts, base, how.elem, TEAM)), self.columns)

    def _narrow(self, index: list[Instruction], member: Instruction, known: dict[Value, Instruction]) -> None:
        """Values of one element a row, each computed once; those that are results are stored."""
        narrow = [v for n in self.group.nodes for v in n.results if v.type.shape == (*self.shape[:-1], 1)]
        for v in narrow:
            if v not in known and any(u in known for u in v.node.inputs):
                known[v] = self.evaluate.at(v, [*index, self.zero], 1, preset=known)
        results = [v for v in self.outs if v.type.shape != self.shape or v in known]
        made = []
        for v in results:
            at = index if v.type.rank < len(self.shape) else [*index, self.zero]
            value = known[v] if v in known else self.evaluate.at(v, at, 1, preset=known)
            made.append((TensorOperand(self.k, self.dims, self.outs[v], v.type), at, value))
        for _ in self.k.when(self.k.binary("eq", member, 0)) if made else ():
            for operand, at, value in made:
                operand.store(at, value)

    def _results(
        self, full: Sequence[Value], index: list[Instruction], member: Instruction, known: Mapping[Value, Instruction]
    ) -> None:
        k, lanes = self.k, self.lanes
        operands = [TensorOperand(k, self.dims, self.outs[v], v.type) for v in full]
        wanted = [unrounded(v) for v in full]

        def write(starts: Sequence[Instruction], mask: Instruction | None) -> None:
            made = [self.evaluate.all_at(wanted, [*index, at], lanes, mask, known) for at in starts]
            for at, values in zip(starts, made, strict=True):
                for operand, value in zip(operands, values, strict=True):
                    operand.store([*index, at], value, mask)

        self._vectors(member, write)
