"""Schedule of row kernels: reductions over the last axis with what is elementwise around them, and quantized results.

Softmax, norms and their like arrive here decomposed and leave as one kernel: each reduction is a pass over the row,
which recomputes what lies before it; the last pass stores all results. A row is one worker's, and its sums have a fixed
order, so results do not depend on the number of workers. A single reduction may be over any axes.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping

from ..ir.graph import Node, Value, parameter
from ..ir.types import Dim, DType, TensorType, numel, upper_bound
from ..kernel.builder import KernelBuilder, Variable
from ..kernel.ir import ELEMENT_BYTES, Instruction, Kernel
from ..kernel.warp import WARP
from ..quant.activation import ActivationFormat
from ..targets.target import Target
from . import column_reduce, held_rows, long_rows
from .column_sums import column_sums, rows_alone
from .elementwise import PointEvaluator, Walk, is_pointwise, keeps_last_axis
from .group import Accept, Dims, Group, Refuse, TensorOperand, vectors
from .quantize_block import SPREAD, quantize_blocks, quantize_spread, spreads, tree
from .reduction import REDUCTIONS, First, Reduction

ACCUMULATORS = 4
TEAM = 32  # warps that share a long row on a GPU, where
FEW_ROWS = 64  # rows are at most as many
SMALL_TEAM = 8  # of more rows
MANY_ROWS = 1 << 14  # with more rows than that, a warp to each is enough
PIECE = 256  # elements that one worker quantizes at a time where no reduction needs whole rows
SIDE_BY_SIDE = 4  # blocks that a member of a team quantizes at once
MOST_COLUMNS = 8  # vectors of columns that are reduced side by side
ENOUGH = 8  # items that are left for workers to share
MOVES = frozenset({"transpose", "slice"})  # views that read a row at another row's index


def accepts(group: Group, target: Target) -> Accept | Refuse:
    """Reductions over the last axis of equal rows, what is elementwise there, quantized rows; or any one reduction."""
    if len(group.nodes) > 1 and (sums := column_sums(group)):
        if len({y.type.shape[0] for y in sums}) > 1:
            return Refuse("sums over rows have other numbers of parts, each of which is a team's")
        rows = rows_alone(group)
        verdict = accepts(rows, target)
        if isinstance(verdict, Accept) and held_rows.tile_of(rows, target) is None:
            return Refuse("sums over rows stand beside rows that registers hold")
        return verdict
    reductions = [n for n in group.nodes if n.op.name in REDUCTIONS]
    quantized = [n for n in group.nodes if n.op.name == "quantize"]
    if not reductions and not quantized:
        return Refuse("no reduction")
    for v in group.inputs:
        if not isinstance(v.type.element, DType) or v.type.layout is not None:
            return Refuse("operands must be plain and row-major")
    if reductions and len(group.nodes) > 1 and column_reduce.tile_of(group, target) is not None:
        return Accept()
    if len(group.nodes) == 1 and reductions:
        return Accept() if reductions[0].inputs[0].type.rank else Refuse("a scalar has no axis to reduce")
    if not target.gpu and _of_computed(group, target):
        return Accept()
    row = tuple((reductions or quantized)[0].inputs[0].type.shape)
    reduced: set[int] = set()  # values that hold a reduced row
    for node in group.nodes:
        reason = _refusal(node, row, group, target)
        if reason is None and any(id(v) in reduced for v in node.inputs) and node.op.name in MOVES:
            reason = f"{node.op.name} reads what was reduced in another row"
        if reason is not None:
            return Refuse(reason)
        if node.op.name in REDUCTIONS or any(id(v) in reduced for v in node.inputs):
            reduced.update(id(r) for r in node.results)
    return Accept()


def _refusal(node: Node, row: tuple[Dim, ...], group: Group, target: Target) -> str | None:
    """Why a node does not fit into a kernel over rows of shape `row`."""
    shape = node.results[0].type.shape
    if node.op.name in REDUCTIONS:
        if node.op.name == "argmax":
            return "argmax stands by itself"
        if node.attrs["axes"] != (node.inputs[0].type.rank - 1,) or node.inputs[0].type.shape != row:
            return f"{node.op.name} is not over the last axis of the same rows"
        if not node.attrs.get("keepdim", False) and any(node.results[0] in u.inputs for u in group.nodes):
            return f"{node.op.name} drops its axis"
        return None
    if node.op.name == "quantize":
        format = node.attrs["format"]
        if not isinstance(format, ActivationFormat) or shape != row:
            return f"no native quantize to {format}"
        if not isinstance(row[-1], int) or row[-1] % format.block:
            return f"rows of {row[-1]} are no whole blocks of {format}"
        if any(node.results[0] in u.inputs for u in group.nodes):
            return "quantized rows are a result, not an operand"
        if (format.sub % target.lanes and target.lanes % format.sub) or format.block % target.lanes:
            return f"sums of {format.sub} elements with vectors of {target.lanes}"
        return None
    if not is_pointwise(node) or not keeps_last_axis(node):
        return f"{node.op.name} is not elementwise along the row"
    narrow = len(shape) == len(row) and shape[-1] == 1 and shape[:-1] == row[:-1]
    if shape != row and not narrow:
        if node.op.name == "broadcast_to" or node.results[0] in group.outputs:
            return f"{node.op.name} has another shape than the row"
        if len(shape) > len(row):
            return f"{node.op.name} has more axes than the row"
    return None


def _of_computed(group: Group, target: Target) -> bool:
    """Whether a group is one reduction over leading axes of what its other nodes compute element by element: gradients
    of a norm's weight. Columns are shared by the workers, so that there have to be enough of them."""
    *before, node = group.nodes
    if node.op.name not in REDUCTIONS - {"argmax"} or group.outputs != node.results:
        return False
    shape, axes = node.inputs[0].type.shape, tuple(node.attrs["axes"])
    kept = tuple(d for i, d in enumerate(shape) if i not in axes)
    if len(shape) - 1 in axes or upper_bound(numel(kept)) < ENOUGH * _lanes(group, target):
        return False
    return all(getattr(n.op, "elementwise", False) and all(r.type.shape == shape for r in n.results) for n in before)


def _lanes(group: Group, target: Target) -> int:
    """Elements of a vector of the widest dtype that a group reads, computes or writes."""
    types = [v.type for v in (*group.inputs, *(r for n in group.nodes for r in n.results))]
    return target.lanes_of(max(t.dtype.nbytes for t in types))


def build(group: Group, target: Target, name: str, tune: None = None) -> Kernel:
    """Per row: one pass for each reduction and one for the results; rows in parallel."""
    if (columns := column_reduce.tile_of(group, target)) is not None:
        return column_reduce.build(group, target, name, columns)
    if len(group.nodes) == 1 and group.root.op.name in REDUCTIONS:
        trailing = _trailing(group)
        if trailing is None:
            return _Strided(group, target, name).build()
        group = trailing
    elif not target.gpu and _of_computed(group, target):
        return _Strided(group, target, name).build()
    if (tile := held_rows.tile_of(rows_alone(group), target)) is not None:
        return held_rows.build(group, target, name, tile)
    if (copied := long_rows.tile_of(group, target)) is not None:
        return long_rows.build(group, target, name, copied)
    k = KernelBuilder(name)
    buffers = {v: k.buffer(f"i{n}", "r") for n, v in enumerate(group.inputs)}
    outs = {v: k.buffer(f"o{n}", "w") for n, v in enumerate(group.outputs)}
    dims = Dims(k, group.symbols)
    operands = {v: TensorOperand(k, dims, b, v.type) for v, b in buffers.items()}
    return _Rows(group, target, k, dims, operands, outs).build()


def reads_once(group: Group, target: Target) -> bool:
    """Whether the rows of a group are read once, however many reductions it has, or are so few bytes that a launch of
    its own for one of them takes longer than to read them again.
    """
    if held_rows.tile_of(group, target) is not None or long_rows.tile_of(group, target) is not None:
        return True
    shape = next(n.inputs[0].type.shape for n in group.nodes if n.op.name in REDUCTIONS)
    few = upper_bound(numel(shape[:-1])) <= held_rows.FEW_ROWS
    return target.gpu and few and upper_bound(shape[-1]) <= held_rows.SHORT_ROW


def refusal_as_prologue(group: Group, target: Target) -> str | None:
    """Why a group of one row cannot be what another kernel begins with (`prologue`); None where it can."""
    if any(n.op.name in REDUCTIONS or n.op.name == "quantize" for n in group.nodes):
        verdict = accepts(group, target)
        return verdict.reason if isinstance(verdict, Refuse) else None
    shape = group.root.results[0].type.shape
    for v in group.inputs:
        if not isinstance(v.type.element, DType) or v.type.layout is not None:
            return "operands must be plain and row-major"
    for node in group.nodes:
        if not is_pointwise(node) or not keeps_last_axis(node) or node.results[0].type.shape != shape:
            return f"{node.op.name} is not elementwise along the row"
    return None


def prologue(
    group: Group,
    target: Target,
    k: KernelBuilder,
    dims: Dims,
    operands: Mapping[Value, TensorOperand],
    outs: dict[Value, Instruction],
    team: int,
) -> None:
    """Compute the one row of a group by a team of warps, into private memory. For GPUs."""
    rows = _Rows(group, target, k, dims, operands, outs, team)
    rows.row(rows.zero, rows.zero, rows.columns)


def prologue_with_factor(
    group: Group,
    target: Target,
    k: KernelBuilder,
    dims: Dims,
    operands: Mapping[Value, TensorOperand],
    outs: dict[Value, Instruction],
    team: int,
    factor: Value,
) -> Callable[[], Instruction]:
    """As `prologue`, of a quantized row and a factor that it does not need, but that follows from its only reduction:
    one pass makes the row and each warp's part of the reduction. What is returned computes the factor of these parts,
    anywhere behind what the team does next."""
    return _Rows(group, target, k, dims, operands, outs, team).row_and_factor(factor)


def _trailing(group: Group) -> Group | None:
    """A single reduction over the last axes as one over a single last axis; None where others are reduced."""
    node = group.root
    shape, axes = node.inputs[0].type.shape, node.attrs["axes"]
    lead = len(shape) - len(axes)
    if tuple(axes) != tuple(range(lead, len(shape))):
        return None
    flat = TensorType(node.inputs[0].type.element, (*shape[:lead], numel(shape[lead:])))
    x = parameter("x", flat)
    result = TensorType(node.results[0].type.element, tuple(shape[:lead]))
    made = Node(node.op, (x,), {**node.attrs, "axes": (lead,), "keepdim": False}, (result,))
    return Group((made,), (x,), made.results, made)


class _Rows:
    """Rows of a group, written to `outs`: a kernel of their own, or what another kernel begins with."""

    def __init__(
        self,
        group: Group,
        target: Target,
        k: KernelBuilder,
        dims: Dims,
        operands: Mapping[Value, TensorOperand],
        outs: dict[Value, Instruction],
        team: int | None = None,
    ) -> None:
        self.group, self.target, self.k, self.dims, self.outs = group, target, k, dims, outs
        self.evaluate = PointEvaluator(k, self.dims, operands)
        self.reductions = [n for n in group.nodes if n.op.name in REDUCTIONS]
        self.quantized = [n for n in group.nodes if n.op.name == "quantize"]
        whole = [*self.reductions, *self.quantized]
        self.shape = whole[0].inputs[0].type.shape if whole else group.root.results[0].type.shape
        plain = [r.type for n in group.nodes for r in n.results if isinstance(r.type.element, DType)]
        read = [v.type for v in operands if v in group.inputs]
        wide = max((t.dtype.nbytes for t in (*plain, *read)), default=4)
        self.lanes = target.lanes_of(wide)
        self.columns = self.dims(self.shape[-1])
        self.zero = k.const(0, "i64")
        self.team = self._team_of_rows() if team is None else team
        if self.team:
            self.parts = k.alloc(8 * self.team)
        last = self.shape[-1]
        fits = isinstance(last, int) and last % (SPREAD * WARP) == 0
        self.spread = bool(self.team) and fits and all(spreads(n.attrs["format"]) for n in self.quantized)

    def build(self) -> Kernel:
        k = self.k
        rows = self.dims(numel(self.shape[:-1]))
        each, pieces = self._cut()
        for item in k.parallel(rows * pieces):
            row, piece = (item // pieces, item % pieces) if pieces > 1 else (item, self.zero)
            lo = piece * each
            self.row(row, lo, k.minimum(lo + each, self.columns) if pieces > 1 else self.columns)
        return k.finish()

    def row(self, row: Instruction, lo: Instruction, hi: Instruction) -> None:
        """The reductions of a row, and all results, of which quantized ones may be a piece."""
        index = self.dims.index(self.shape[:-1], row)
        known: dict[Value, Instruction] = {}
        for node in self.reductions:
            place = self._argmax if node.op.name == "argmax" else self._reduce
            known[node.results[0]] = place(node, index, known)
        self._narrow(index, known)
        full = [v for v in self.outs if isinstance(v.type.element, DType) and v not in known]
        if self.quantized and self.team:
            for _, lo, hi in self._shares(self._step()):
                self._quantize(full, row, index, known, lo, hi)
        elif self.quantized:
            self._quantize(full, row, index, known, lo, hi)
        elif full and self.team:
            for _, lo, hi in self._shares(self.lanes):
                self._columns(full, index, known, lo, hi)
        elif full:
            self._columns(full, index, known, self.zero, self.columns)

    def row_and_factor(self, factor: Value) -> Callable[[], Instruction]:
        """The one row, in one pass with a warp's part of the only reduction, and what makes `factor` of these parts."""
        k, step = self.k, self._step()
        (node,) = self.reductions
        how = Reduction(k, node.op.name, node.results[0].type.dtype)
        size, last = ELEMENT_BYTES[how.elem], self.shape[-1]
        index = self.dims.index(self.shape[:-1], self.zero)
        assert isinstance(last, int)
        lanes = self._quantized_lanes(step)
        for s, lo, hi in self._shares(step):
            total = k.var(k.const(how.start, how.elem, lanes))

            def add(walk: Walk, place: list[Instruction], lanes: int, total: Variable = total) -> None:
                value = how.taken(walk.at(node.inputs[0], place, lanes))
                total.set(how.combine(total.get(), value))

            for at in k.loop(lo, hi, step):
                self._quantize_at([], [], self.zero, index, {}, at, step, add)
            k.store(self.parts, s * size, how.across(total.get()))
        shares = -(-last // self._each(step))  # the other warps have nothing of the row

        def made() -> Instruction:
            parts = [k.load(self.parts, n * size, how.elem) for n in range(shares)]
            known = {node.results[0]: how.result(tree(parts, how.combine), self.columns)}
            return self.evaluate.at(factor, [*index, self.zero], 1, preset=known)

        return made

    def _team_of_rows(self) -> int:
        """Warps that share a row on a GPU, where rows are few and long; 0 for a row to each worker."""
        last, rows = self.shape[-1], numel(self.shape[:-1])
        alone = any(n.op.name == "argmax" for n in self.reductions) or not self.reductions
        if alone or not self.target.gpu or not isinstance(last, int) or upper_bound(rows) > MANY_ROWS:
            return 0
        team = TEAM if upper_bound(rows) <= FEW_ROWS else SMALL_TEAM
        return team if last >= self.lanes * team // 2 else 0

    def _shares(self, step: int) -> Iterator[tuple[Instruction, Instruction, Instruction]]:
        """Number, start and end of each team member's share of a row, in whole steps."""
        k = self.k
        size, each = self.shape[-1], self._each(step)
        assert isinstance(size, int)
        for s in k.team(self.team):
            lo = k.minimum(s * each, size)
            yield s, lo, k.minimum(lo + each, size)

    def _each(self, step: int) -> int:
        """Elements of the largest share."""
        size = self.shape[-1]
        assert isinstance(size, int)
        return -(-size // (self.team * step)) * step

    def _cut(self) -> tuple[int, int]:
        """Elements of a piece of a row, and pieces of a row: one where something is reduced."""
        narrow = any(v.type.shape != self.shape for v in self.outs)
        if self.reductions or narrow:
            return 0, 1
        size = self.shape[-1]
        assert isinstance(size, int)
        step = self._step()
        each = -(-PIECE // step) * step
        return each, -(-size // each)

    def _quantized_lanes(self, step: int) -> int:
        """Neighbours that are quantized as one vector, where so many are quantized at once."""
        return step if self.spread else self.target.lanes

    def _step(self) -> int:
        """Elements of the widest block among the quantized results, or of what a warp quantizes at once."""
        if self.spread:
            return SPREAD * WARP
        return math.lcm(*(n.attrs["format"].block for n in self.quantized))

    # --- reductions ---------------------------------------------------------------------------------------------
    def _reduce(self, node: Node, index: list[Instruction], known: dict[Value, Instruction]) -> Instruction:
        """The reduced value of a row: `ACCUMULATORS` vectors, what is left over into the first, then a tree."""
        k, lanes = self.k, self.lanes
        how = Reduction(k, node.op.name, node.results[0].type.dtype)
        identity = k.const(how.start, how.elem, lanes)
        acc = [k.var(identity) for _ in range(ACCUMULATORS)]

        def add(to: Variable, c: Instruction, mask: Instruction | None = None) -> None:
            value = how.taken(self.evaluate.at(node.inputs[0], [*index, c], lanes, mask, known))
            to.set(how.combine(to.get(), value if mask is None else k.select(mask, value, identity)))

        def add_all(lo: Instruction, hi: Instruction) -> None:
            wide = lanes * ACCUMULATORS
            whole = lo + (hi - lo) // wide * wide
            for c in k.loop(lo, whole, wide):
                for n, a in enumerate(acc):
                    add(a, c + n * lanes)
            for c, mask in vectors(k, whole, hi, lanes):
                add(acc[0], c, mask)

        if self.team:
            size = ELEMENT_BYTES[how.elem]
            for s, lo, hi in self._shares(lanes):
                for a in acc:
                    a.set(identity)
                add_all(lo, hi)
                k.store(self.parts, s * size, how.across(tree([a.get() for a in acc], how.combine)))
            return how.result(how.across(k.load(self.parts, 0, how.elem, self.team)), self.columns)
        add_all(self.zero, self.columns)
        total = tree([a.get() for a in acc], how.combine)
        return how.result(how.across(total), self.columns)

    def _argmax(self, node: Node, index: list[Instruction], known: dict[Value, Instruction]) -> Instruction:
        """Place of the first largest element: every lane keeps its own, one or two vectors at a time."""
        k, lanes = self.k, self.lanes
        source = node.inputs[0]
        first = self._ordered(self.evaluate.at(source, [*index, self.zero], 1))
        best = First(k, k.splat(first, lanes), k.zeros("i64", lanes))
        places = k.iota("i64", lanes)
        for c, mask in vectors(k, self.zero, self.columns, lanes):
            best.see(self._ordered(self.evaluate.at(source, [*index, c], lanes, mask)), places + c, mask)
        return best.across()

    def _ordered(self, value: Instruction) -> Instruction:
        """Flags as numbers: true is the larger."""
        return self.k.convert(value, "i32") if value.elem == "i1" else value

    # --- results ------------------------------------------------------------------------------------------------
    def _narrow(self, index: list[Instruction], known: dict[Value, Instruction]) -> None:
        """Values of one element a row, each computed once; those that are results are stored."""
        if self.shape[-1] != 1:
            for node in self.group.nodes:
                v = node.results[0]
                if v not in known and v.type.shape == (*self.shape[:-1], 1) and self._reduced(node, known):
                    known[v] = self.evaluate.at(v, [*index, self.zero], 1, preset=known)
        for v, buffer in self.outs.items():
            if v.type.shape == self.shape and v not in known:
                continue
            at = index if v.type.rank < len(self.shape) else [*index, self.zero]
            value = known[v] if v in known else self.evaluate.at(v, at, 1, preset=known)
            known[v] = value
            TensorOperand(self.k, self.dims, buffer, v.type).store(at, value)

    @staticmethod
    def _reduced(node: Node, known: dict[Value, Instruction]) -> bool:
        return is_pointwise(node) and any(v in known for v in node.inputs)

    def _columns(
        self,
        full: list[Value],
        index: list[Instruction],
        known: dict[Value, Instruction],
        lo: Instruction,
        hi: Instruction,
    ) -> None:
        k = self.k
        operands = [TensorOperand(k, self.dims, self.outs[v], v.type) for v in full]
        if self.team:  # loads of a few pieces before the first store, which they might meet for all the compiler knows
            wide = self.lanes * ACCUMULATORS
            whole = lo + (hi - lo) // wide * wide
            for first in k.loop(lo, whole, wide):
                pieces = [first + n * self.lanes for n in range(ACCUMULATORS)]
                every = [self.evaluate.all_at(full, [*index, c], self.lanes, None, known) for c in pieces]
                for c, made in zip(pieces, every, strict=True):
                    for operand, value in zip(operands, made, strict=True):
                        operand.store([*index, c], value)
            lo = whole
        for c, mask in vectors(k, lo, hi, self.lanes):
            made = self.evaluate.all_at(full, [*index, c], self.lanes, mask, known)
            for operand, value in zip(operands, made, strict=True):
                operand.store([*index, c], value, mask)

    def _quantize(
        self,
        full: list[Value],
        row: Instruction,
        index: list[Instruction],
        known: dict[Value, Instruction],
        lo: Instruction,
        hi: Instruction,
    ) -> None:
        """One pass over lo .. hi by the blocks of the widest format; plain results are stored on the way."""
        k = self.k
        step = self._step()
        operands = [TensorOperand(k, self.dims, self.outs[v], v.type) for v in full]
        wide = step  # blocks side by side: each is a chain of reductions that wait for each other
        if self.team and not self.spread:
            wide = step * max(1, min(SIDE_BY_SIDE, self._each(step) // step))
        elif not self.target.gpu:
            wide = max(step, self.target.lanes * self.target.vector_registers // 4 // step * step)
        if wide > step or (self.team and not self.spread):
            whole = lo + (hi - lo) // wide * wide
            for at in k.loop(lo, whole, wide):
                self._quantize_at(full, operands, row, index, known, at, wide)
            lo = whole
            every = self.columns.op == "const" and self.columns.value % wide == 0
            if every and self.team and self._each(step) % wide == 0:
                return
        for at in k.loop(lo, hi, step):
            self._quantize_at(full, operands, row, index, known, at, step)

    def _quantize_at(
        self,
        full: list[Value],
        operands: list[TensorOperand],
        row: Instruction,
        index: list[Instruction],
        known: dict[Value, Instruction],
        at: Instruction,
        step: int,
        also: Callable[[Walk, list[Instruction], int], None] | None = None,
    ) -> None:
        """`step` elements from `at` on, whole blocks. `also` takes the same elements, before they are quantized."""
        k, lanes = self.k, self._quantized_lanes(step)
        rows: list[list[Instruction]] = [[] for _ in self.quantized]
        for c in range(0, step, lanes):
            place = [*index, at + c]
            walk = self.evaluate.walk({id(v): i for v, i in known.items()})
            if also is not None:
                also(walk, place, lanes)
            made = [walk.at(v, place, lanes) for v in full]
            for values, node in zip(rows, self.quantized, strict=True):
                values.append(k.convert(walk.at(node.inputs[0], place, lanes), "f32"))
            for operand, value in zip(operands, made, strict=True):
                operand.store(place, value)
        size = self.shape[-1]
        assert isinstance(size, int)
        for node, values in zip(self.quantized, rows, strict=True):
            format: ActivationFormat = node.attrs["format"]
            buffer, base = self.outs[node.results[0]], row * format.row_bytes(size)
            if self.spread:
                quantize_spread(k, format, size, buffer, base, at, values[0])
                continue
            each = format.block // lanes
            blocks = [values[n : n + each] for n in range(0, len(values), each)]
            quantize_blocks(k, format, size, buffer, base, at, blocks)


class _Strided:
    """One reduction over axes that do not all come last, of an operand or of what is computed element by element:
    vectors along the last axis if it stays, else one by one.

    Several vectors side by side go down their columns together: of one alone every line would be of another page."""

    def __init__(self, group: Group, target: Target, name: str) -> None:
        k = self.k = KernelBuilder(name)
        node = self.node = group.root
        self.type, self.result = node.inputs[0].type, node.results[0].type
        buffers = {v: k.buffer(f"i{n}", "r") for n, v in enumerate(group.inputs)}
        self.out = k.buffer("o0", "w")
        self.dims = Dims(k, group.symbols)
        operands = {v: TensorOperand(k, self.dims, b, v.type) for v, b in buffers.items()}
        self.evaluate = PointEvaluator(k, self.dims, operands)
        self.axes: tuple[int, ...] = tuple(node.attrs["axes"])
        self.kept = [i for i in range(self.type.rank) if i not in self.axes]
        along = bool(self.kept) and self.kept[-1] == self.type.rank - 1 and self.type.shape[-1] != 1
        self.lanes = _lanes(group, target) if along else 1
        self.side = 1
        if along and not target.gpu and node.op.name != "argmax":
            vectors = upper_bound(numel(tuple(self.type.shape[i] for i in self.kept))) // self.lanes
            most = min(vectors // ENOUGH, upper_bound(self.type.shape[-1]) // self.lanes, MOST_COLUMNS)
            self.side = max(n for n in (1, 2, 4, MOST_COLUMNS) if n <= max(most, 1))

    def build(self) -> Kernel:
        k, shape = self.k, self.type.shape
        last = self.dims(shape[self.kept[-1]]) if self.kept else k.const(1, "i64")
        width = self.side * self.lanes
        vectors = (last + (width - 1)) // width
        rows = self.dims(numel(tuple(shape[i] for i in self.kept[:-1])))
        flat = TensorOperand(k, self.dims, self.out, TensorType(self.result.element, (numel(self._kept_shape()),)))
        for item in k.parallel(rows * vectors):
            row, c = item // vectors, item % vectors * width
            index: list[Instruction] = [k.const(0, "i64")] * len(shape)
            rest = row
            for i in reversed(self.kept[:-1]):
                size = self.dims(shape[i])
                index[i] = rest % size
                rest = rest // size
            columns = [c + n * self.lanes for n in range(self.side)] if self.kept else [c]
            masks = [self._mask(last - at) for at in columns]
            totals = self._totals(index, columns, masks)
            for at, total, mask in zip(columns, totals, masks, strict=True):
                flat.store([row * last + at], total, mask)
        return k.finish()

    def _mask(self, left: Instruction) -> Instruction | None:
        """Of a vector with so many columns up to the end, or more."""
        k, lanes = self.k, self.lanes
        if lanes == 1:
            return None
        count = k.maximum(k.minimum(left, lanes), 0)
        return k.first_lanes(count, lanes)

    def _kept_shape(self) -> tuple[Dim, ...]:
        return tuple(self.type.shape[i] for i in self.kept)

    def _totals(
        self, index: list[Instruction], columns: list[Instruction], masks: list[Instruction | None]
    ) -> list[Instruction]:
        """The reduced values at `index` of the kept axes, for vectors of columns, element after element in order."""
        k = self.k
        count = self.dims(numel(tuple(self.type.shape[i] for i in self.axes)))
        places = [index if not self.kept else self._at(index, c) for c in columns]
        if self.node.op.name == "argmax":
            first = self._load(k.const(0, "i64"), places[0], masks[0])
            best = First(k, first, k.zeros("i64", self.lanes))
            for j in k.loop(1, count):
                best.see(self._load(j, places[0], masks[0]), k.splat(j, self.lanes))
            return [best.place.get()]
        how = Reduction(k, self.node.op.name, self.node.results[0].type.dtype)
        totals = [k.var(k.const(how.start, how.elem, self.lanes)) for _ in columns]
        for j in k.loop(count):
            for total, place, mask in zip(totals, places, masks, strict=True):
                total.set(how.combine(total.get(), how.taken(self._load(j, place, mask))))
        return [how.result(total.get(), count) for total in totals]

    def _at(self, index: list[Instruction], column: Instruction) -> list[Instruction]:
        made = list(index)
        made[self.kept[-1]] = column
        return made

    def _load(self, j: Instruction, index: list[Instruction], mask: Instruction | None) -> Instruction:
        """Reduced element j, counted over the reduced axes."""
        full = list(index)
        for n, a in enumerate(reversed(self.axes)):
            size = self.dims(self.type.shape[a])
            full[a] = j if n == len(self.axes) - 1 else j % size
            j = j // size
        value = self.evaluate.at(self.node.inputs[0], full, self.lanes, mask)
        return self.k.convert(value, "i32") if value.elem == "i1" else value
