"""Rows with reductions on a GPU, held in registers: read once, reduced by a warp or a team of warps, written once.

What is computed of an element for one reduction is kept for the next and for the results. `reduce` takes what does not
fit: rows that are too long or of unknown length, few rows that are not short, quantized results.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ..ir.graph import Value
from ..ir.types import i32, numel, upper_bound
from ..kernel.builder import KernelBuilder
from ..kernel.ir import ELEMENT_BYTES, Instruction, Kernel
from ..kernel.warp import MOST_ALIGNED, WARP
from ..targets.target import Target
from .column_sums import column_sums, rows_alone
from .elementwise import PointEvaluator, Walk, unrounded
from .group import Dims, Group, TensorOperand
from .quantize_block import tree
from .reduction import REDUCTIONS, Reduction

HELD = 32  # elements of all operands together that a thread holds
MOST_RUN = 8  # elements of a vector in one thread
MOST_WARPS = 32  # of a team
FEW_ROWS = 64  # `reduce` has teams of more warps for as many rows, unless they are as short as
SHORT_ROW = 1024  # elements
BUSY_WARPS = 132 * 16  # fewer leave multiprocessors idle: shorter shares of a row then
SLOT = 8  # bytes of a part of a sum in private memory


@dataclass(frozen=True)
class HeldTile:
    """`run`: elements of a vector in one thread. `team`: warps of a row. `rounds`: vectors of a row in each of them.
    `rows`: rows at once, by one warp."""

    run: int
    team: int
    rounds: int
    rows: int


def tile_of(group: Group, target: Target) -> HeldTile | None:
    """How a group of rows is held; None where it is not."""
    reductions = [n for n in group.nodes if n.op.name in REDUCTIONS]
    if not target.gpu or not reductions or any(n.op.name == "quantize" for n in group.nodes):
        return None
    shape = reductions[0].inputs[0].type.shape
    size, rows = shape[-1], upper_bound(numel(shape[:-1]))
    if not isinstance(size, int) or size < 2 or (rows <= FEW_ROWS and size > SHORT_ROW):
        return None
    whole = [v for v in (*group.inputs, *group.outputs) if v.type.shape == shape]
    run = min(MOST_RUN, MOST_ALIGNED // max((v.type.dtype.nbytes for v in whole), default=4))
    while run > 1 and (size % run or WARP * run > size):
        run //= 2
    even = run
    while even > 2 and size % (WARP * even):
        even //= 2
    run = run if size % (WARP * even) else even
    vectors = -(-size // (WARP * run))
    held = run * max(1, sum(v.type.shape == shape for v in group.inputs))
    team = 1
    while team < MOST_WARPS and -(-vectors // team) * held > HELD:
        team *= 2
    if -(-vectors // team) * held > HELD:
        return None
    while team < MOST_WARPS and team < vectors and rows * team < BUSY_WARPS:
        team *= 2
    rounds = -(-vectors // team)
    return HeldTile(run, team, rounds, max(1, HELD // 2 // (rounds * held)) if team == 1 else 1)


def build(group: Group, target: Target, name: str, tile: HeldTile) -> Kernel:
    """Reads each operand once, writes each result once; a reduction is one exchange between the warps of a team. Sums
    over rows (`column_sums`) stay in registers until a team has done with its part."""
    k = KernelBuilder(name, target.capability)
    buffers = {v: k.buffer(f"i{n}", "r") for n, v in enumerate(group.inputs)}
    outs = {v: k.buffer(f"o{n}", "w") for n, v in enumerate(group.outputs)}
    return _HeldRows(k, group, buffers, outs, tile).build()


@dataclass(frozen=True)
class _Piece:
    """A vector of a row, with what has been computed of it."""

    index: list[Instruction]
    mask: Instruction | None
    walk: Walk


@dataclass(frozen=True)
class _Row:
    """`known`: reduced values by the ids of graph values."""

    index: list[Instruction]
    pieces: list[_Piece]
    known: dict[int, Instruction]


class _HeldRows:
    def __init__(
        self,
        k: KernelBuilder,
        group: Group,
        buffers: dict[Value, Instruction],
        outs: dict[Value, Instruction],
        tile: HeldTile,
    ) -> None:
        self.k, self.group, self.outs, self.tile = k, group, outs, tile
        self.dims = Dims(k, group.symbols)
        self.evaluate = PointEvaluator(
            k, self.dims, {v: TensorOperand(k, self.dims, b, v.type) for v, b in buffers.items()}
        )
        self.sums = column_sums(group)
        self.reductions = [n for n in rows_alone(group).nodes if n.op.name in REDUCTIONS]
        self.shape = self.reductions[0].inputs[0].type.shape
        size = self.shape[-1]
        assert isinstance(size, int)
        self.size, self.lanes = size, WARP * tile.run
        self.zero = k.const(0, "i64")
        if tile.team > 1:
            self.parts = k.alloc(2 * SLOT * tile.team * len(self.reductions))  # of argmax both value and place

    def build(self) -> Kernel:
        k, tile = self.k, self.tile
        rows = self.dims(numel(self.shape[:-1]))
        if self.sums:
            return self._with_sums()
        if tile.team > 1:
            for row in k.parallel(rows):
                for member in k.team(tile.team):
                    self._together([row], member)
            return k.finish()
        for part in k.parallel((rows + (tile.rows - 1)) // tile.rows):
            first = part * tile.rows
            if tile.rows == 1:
                self._together([first], self.zero)
                continue
            inside = first + tile.rows <= rows
            for _ in k.when(inside):
                self._together([first + n for n in range(tile.rows)], self.zero)
            for _ in k.when(k.logical_not(inside)):
                for row in k.loop(first, rows):
                    self._together([row], self.zero)
        return k.finish()

    def _with_sums(self) -> Kernel:
        """A team has the rows of a part in turn."""
        k = self.k
        parts = next(iter(self.sums)).type.shape[0]
        each = self.dims(numel(self.shape[:-1])) // self.dims(parts)
        for part in k.parallel(self.dims(parts)):
            if self.tile.team == 1:
                self._part(part, each, self.zero)
                continue
            for member in k.team(self.tile.team):
                self._part(part, each, member)
        return k.finish()

    def _part(self, part: Instruction, each: Instruction, member: Instruction) -> None:
        k = self.k
        how = {y: Reduction(k, "sum", y.type.dtype) for y in self.sums}
        totals = {y: [k.var(k.const(0.0, how[y].elem, self.lanes)) for _ in range(self.tile.rounds)] for y in self.sums}
        for number in k.loop(part * each, part * each + each):
            if self.tile.team > 1 and len(self.reductions) == 1:
                k.barrier()  # what the row before left there was read; with two reductions one waits for the other
            (row,) = self._together([number], member)
            for y, source in self.sums.items():
                values = [how[y].taken(v) for v in self._values(source, row)]
                for total, value in zip(totals[y], self._inside(row, values, how[y]), strict=True):
                    total.set(total.get() + value)
        pieces = self._row(part * each, member).pieces
        for y, found in totals.items():
            operand = TensorOperand(k, self.dims, self.outs[y], y.type)
            for piece, total in zip(pieces, found, strict=True):
                operand.store([part, piece.index[-1]], total.get(), piece.mask)

    def _together(self, numbers: Sequence[Instruction], member: Instruction) -> list[_Row]:
        """Rows side by side, so that the loads and exchanges of one hide those of the others."""
        rows = [self._read(number, member) for number in numbers]
        for n, node in enumerate(self.reductions):
            source, place = node.inputs[0], node.op.name == "argmax"
            how = Reduction(self.k, "max" if place else node.op.name, (source if place else node.results[0]).type.dtype)
            totals = [
                self._total(how, 2 * n, [how.taken(v) for v in self._values(source, row)], row, member) for row in rows
            ]
            for row, total in zip(rows, totals, strict=True):
                if place:
                    found = self._place(how, 2 * n + 1, total, row, self._values(source, row), member)
                    row.known[id(node.results[0])] = self.k.convert(found, "i64")
                else:
                    row.known[id(node.results[0])] = how.result(total, self.k.const(self.size, "i64"))
        for row in rows:
            self._store_narrow(row, member)
        full = [v for v in self.outs if v.type.shape == self.shape and not self._narrow(v)]
        made = [[[p.walk.at(unrounded(v), p.index, self.lanes) for v in full] for p in row.pieces] for row in rows]
        operands = [TensorOperand(self.k, self.dims, self.outs[v], v.type) for v in full]
        for row, values in zip(rows, made, strict=True):
            for piece, results in zip(row.pieces, values, strict=True):
                for operand, value in zip(operands, results, strict=True):
                    operand.store(piece.index, value, piece.mask)
        return rows

    def _read(self, number: Instruction, member: Instruction) -> _Row:
        """This member's vectors of a row, with all operands."""
        row = self._row(number, member)
        for piece in row.pieces:
            for v in self.group.inputs:
                if v.type.shape == self.shape:
                    piece.walk.at(v, piece.index, self.lanes)
        return row

    def _row(self, number: Instruction, member: Instruction) -> _Row:
        """Where this member's vectors of a row are: member m of T has vectors m, m + T ..., and the last may end
        outside."""
        k, tile = self.k, self.tile
        index = self.dims.index(self.shape[:-1], number)
        known: dict[int, Instruction] = {}
        pieces: list[_Piece] = []
        for n in range(tile.rounds):
            at = (member + n * tile.team) * self.lanes
            mask = None
            if (n + 1) * tile.team * self.lanes > self.size:
                left = k.convert(k.const(self.size, "i64") - at, "i32")
                mask = k.iota("i32", self.lanes) < k.splat(left, self.lanes)
            pieces.append(_Piece([*index, at], mask, self.evaluate.walk(known, mask)))
        return _Row(index, pieces, known)

    def _values(self, source: Value, row: _Row) -> list[Instruction]:
        return [piece.walk.at(source, piece.index, self.lanes) for piece in row.pieces]

    def _total(
        self, how: Reduction, number: int, values: Sequence[Instruction], row: _Row, member: Instruction
    ) -> Instruction:
        """A reduction of a row's vectors. The parts of all warps are combined by each of them, in the same order."""
        k, team = self.k, self.tile.team
        part = how.across(tree(self._inside(row, values, how), how.combine))
        if team == 1:
            return part
        nbytes, base = ELEMENT_BYTES[how.elem], SLOT * team * number
        k.store(self.parts, member * nbytes + base, part)
        k.barrier()
        return how.across(k.load(self.parts, base, how.elem, team))

    def _inside(self, row: _Row, values: Sequence[Instruction], how: Reduction) -> list[Instruction]:
        """Vectors of a row with what changes no result where they end outside of it."""
        start = self.k.const(how.start, how.elem, self.lanes)
        pairs = zip(row.pieces, values, strict=True)
        return [v if piece.mask is None else self.k.select(piece.mask, v, start) for piece, v in pairs]

    def _place(
        self,
        how: Reduction,
        number: int,
        largest: Instruction,
        row: _Row,
        values: Sequence[Instruction],
        member: Instruction,
    ) -> Instruction:
        """The first place of the largest value, or of a NaN, as i32."""
        k = self.k
        first = Reduction(k, "min", i32)
        places = []
        for piece, value in zip(row.pieces, map(how.taken, values), strict=True):
            here = k.binary("eq", value, k.splat(largest, self.lanes))
            if value.elem in ("f32", "f64"):
                here = here | k.binary("ne", value, value)
            at = k.iota("i32", self.lanes) + k.splat(k.convert(piece.index[-1], "i32"), self.lanes)
            places.append(k.select(here, at, k.const(first.start, "i32", self.lanes)))
        return self._total(first, number, places, row, member)

    def _store_narrow(self, row: _Row, member: Instruction) -> None:
        """Results of one element a row."""
        k = self.k
        narrow = [v for v in self.outs if v not in self.sums and (v.type.shape != self.shape or self._narrow(v))]
        if not narrow:
            return
        walk = self.evaluate.walk(row.known)
        for v in narrow:
            at = row.index if v.type.rank < len(self.shape) else [*row.index, self.zero]
            value = walk.at(v, at, 1)
            operand = TensorOperand(k, self.dims, self.outs[v], v.type)
            if self.tile.team == 1:
                operand.store(at, value)
                continue
            for _ in k.when(k.binary("eq", member, 0)):
                operand.store(at, value)

    def _narrow(self, v: Value) -> bool:
        return v.type.shape[-1:] == (1,)
