"""Schedule of elementwise groups: any rank, broadcasting, views, casts; and of a concat with what makes its operands.

Vectors run along the last axis, with a masked one at its end. Where neighbours of a result are no neighbours in an
operand (a transposed last axis, a slice with a step), elements are taken one by one.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from ..ir.graph import Node, Value
from ..ir.types import Dim, DType, TensorType, numel
from ..kernel.builder import KernelBuilder
from ..kernel.ir import Instruction, Kernel
from ..targets.target import Target
from .elementwise import VIEWS, PointEvaluator, is_pointwise, keeps_last_axis, reads_in_place
from .group import Accept, Dims, Group, Refuse, TensorOperand

GPU_CHUNK = 256  # the same on a GPU
CHUNK = 4096  # elements of one parallel piece: below that a second worker does not pay


def accepts(group: Group, target: Target) -> Accept | Refuse:
    """Elementwise nodes and views with results of one shape; or these before one concat, which is the only result."""
    for v in (*group.inputs, *group.outputs):
        if not isinstance(v.type.element, DType) or v.type.layout is not None:
            return Refuse("operands must be plain and row-major")
    for node in group.nodes:
        if node.op.name == "concat":
            if node is not group.root or tuple(group.outputs) != node.results:
                return Refuse("concat must come last and be the only result")
        elif not is_pointwise(node):
            return Refuse(f"{node.op.name} is not elementwise")
    shape = group.outputs[0].type.shape
    if any(v.type.shape != shape for v in group.outputs):
        return Refuse("results of different shapes")
    return Accept()


def may_overwrite(group: Group, old: Value, new: Value) -> bool:
    """Whether the result `new` may take the memory of `old`: a vector is read whole before it is written."""
    return group.root.op.name != "concat" and reads_in_place(group, old, new)


def build(group: Group, target: Target, name: str, tune: None = None) -> Kernel:
    """Reads each operand once per element of the results, writes each result once."""
    k = KernelBuilder(name)
    buffers = {v: k.buffer(f"i{n}", "r") for n, v in enumerate(group.inputs)}
    outs = {v: k.buffer(f"o{n}", "w") for n, v in enumerate(group.outputs)}
    nest = _Nest(k, Dims(k, group.symbols), group, buffers, outs, target)
    if group.root.op.name == "concat":
        nest.concat()
    elif _flat(group):
        nest.elements()
    else:
        nest.rows()
    return k.finish()


def _flat(group: Group) -> bool:
    """Whether one index serves all: equal shapes or single elements, and nothing that looks elsewhere."""
    shape = group.outputs[0].type.shape
    values = (*group.inputs, *(r for n in group.nodes for r in n.results))
    same = all(v.type.shape == shape or numel(v.type.shape) == 1 for v in values)
    return same and not any(n.op.name in VIEWS for n in group.nodes)


def _lanes(group: Group, target: Target) -> int:
    """Elements of a vector, by the widest dtype of the group."""
    values = (*group.inputs, *(r for n in group.nodes for r in n.results))
    return target.vector_bytes // max(4, *(v.type.dtype.nbytes for v in values))


@dataclass(frozen=True)
class _Piece:
    """Where a vector lies: its index, its width, and which of its lanes are inside."""

    index: list[Instruction]
    lanes: int
    mask: Instruction | None


class _Nest:
    def __init__(
        self,
        k: KernelBuilder,
        dims: Dims,
        group: Group,
        buffers: dict[Value, Instruction],
        outs: dict[Value, Instruction],
        target: Target,
    ) -> None:
        self.k, self.dims, self.group, self.buffers, self.outs = k, dims, group, buffers, outs
        self.lanes = _lanes(group, target)
        self.chunk = GPU_CHUNK if target.gpu else CHUNK

    def _operands(self) -> dict[Value, TensorOperand]:
        return {v: TensorOperand(self.k, self.dims, b, v.type) for v, b in self.buffers.items()}

    # --- one axis -----------------------------------------------------------------------------------------------
    def elements(self) -> None:
        """Equal shapes: all elements as one axis, cut into chunks of `chunk`."""
        k, dims = self.k, self.dims
        shape = self.group.outputs[0].type.shape
        total = numel(shape)
        flat = _flattened(self.group, shape, total)
        operands = {flat[v]: TensorOperand(k, dims, b, flat[v].type) for v, b in self.buffers.items()}
        results = [(flat[v], TensorOperand(k, dims, b, flat[v].type)) for v, b in self.outs.items()]
        evaluate = PointEvaluator(k, dims, operands)
        count = dims(total)
        for chunk in k.parallel((count + (self.chunk - 1)) // self.chunk):
            first = chunk * self.chunk
            for piece in self._pieces([], first, k.minimum(first + self.chunk, count), self.lanes):
                self._store(evaluate, results, piece)

    # --- rows ---------------------------------------------------------------------------------------------------
    def rows(self) -> None:
        """Broadcasting and views: rows along the last axis, several of them in a piece where they are short."""
        k, dims, group = self.k, self.dims, self.group
        results = [(v, TensorOperand(k, dims, b, v.type)) for v, b in self.outs.items()]
        evaluate = PointEvaluator(k, dims, self._operands())
        lanes = self.lanes if all(keeps_last_axis(n) for n in group.nodes) else 1
        spread = [] if any(n.op.name in VIEWS - {"broadcast_to"} for n in group.nodes) else _spread(group)
        shape = group.outputs[0].type.shape or (1,)
        for index in self._each_row(shape):
            known: dict[Value, Instruction] = {}
            for v in spread:  # once a row instead of once a vector
                known[v] = evaluate.at(v, [*index, k.const(0, "i64")], 1, preset=known)
            for piece in self._pieces(index, k.const(0, "i64"), dims(shape[-1]), lanes):
                self._store(evaluate, results, piece, known)

    def _each_row(self, shape: Sequence[Dim]) -> Iterator[list[Instruction]]:
        """The leading index of every row, in parallel pieces of `chunk` elements or more."""
        k = self.k
        rows, last = self.dims(numel(tuple(shape[:-1]))), shape[-1]
        each = max(1, self.chunk // max(last, 1)) if isinstance(last, int) else 1
        for part in k.parallel((rows + (each - 1)) // each):
            if each == 1:
                yield self._index(part, shape)
                continue
            first = part * each
            for row in k.loop(first, k.minimum(first + each, rows)):
                yield self._index(row, shape)

    def _index(self, row: Instruction, shape: Sequence[Dim]) -> list[Instruction]:
        index: list[Instruction] = []
        axes = shape[:-1]
        for n, d in enumerate(reversed(axes)):
            size = self.dims(d)
            index.insert(0, row if n == len(axes) - 1 else row % size)
            row = row // size
        return index

    def _pieces(self, index: list[Instruction], lo: Instruction, hi: Instruction, lanes: int) -> Iterator[_Piece]:
        """Vectors over lo .. hi of the last axis; the last one is masked where they do not come out even."""
        k = self.k
        whole = (hi - lo) // lanes * lanes + lo
        for c in k.loop(lo, whole, lanes):
            yield _Piece([*index, c], lanes, None)
        if lanes == 1 or (whole.op == "const" and hi.op == "const" and whole.value == hi.value):
            return
        for _ in k.when(whole < hi):
            left = k.convert(hi - whole, "i32")
            yield _Piece([*index, whole], lanes, k.iota("i32", lanes) < k.splat(left, lanes))

    def _store(
        self,
        evaluate: PointEvaluator,
        results: Sequence[tuple[Value, TensorOperand]],
        piece: _Piece,
        known: dict[Value, Instruction] | None = None,
    ) -> None:
        made = evaluate.all_at([v for v, _ in results], piece.index, piece.lanes, piece.mask, known)
        for (_, operand), value in zip(results, made, strict=True):
            operand.store(piece.index, value, piece.mask)

    # --- concat -------------------------------------------------------------------------------------------------
    def concat(self) -> None:
        """Each operand in turn, computed where it will stand in the result."""
        k, dims, node = self.k, self.dims, self.group.root
        axis = node.attrs["axis"]
        ((out, buffer),) = self.outs.items()
        result = TensorOperand(k, dims, buffer, out.type)
        evaluate = PointEvaluator(k, dims, self._operands())
        even = all(keeps_last_axis(n) for n in self.group.nodes if n is not node)
        before: Dim = 0
        for v in node.inputs:
            start = dims(before)
            for index in self._each_row(v.type.shape):
                for piece in self._pieces(index, k.const(0, "i64"), dims(v.type.shape[-1]), self.lanes if even else 1):
                    value = evaluate.at(v, piece.index, piece.lanes, piece.mask)
                    moved = [i + start if n == axis else i for n, i in enumerate(piece.index)]
                    result.store(moved, value, piece.mask)
            before = before + v.type.shape[axis]


def _flattened(group: Group, shape: Sequence[Dim], total: Dim) -> dict[Value, Value]:
    """The group's values with all axes as one; values of one element have no axis, unless all have one element."""
    made: dict[Value, Value] = {}

    def flat(type: TensorType) -> TensorType:
        return TensorType(type.element, (total,) if type.shape == tuple(shape) else ())

    for v in group.inputs:
        made[v] = Node(v.node.op, (), v.node.attrs, [flat(r.type) for r in v.node.results]).results[v.index]
    for node in group.nodes:
        inputs = tuple(made.get(v, v) for v in node.inputs)
        copy = Node(node.op, inputs, node.attrs, [flat(r.type) for r in node.results])
        made.update(zip(node.results, copy.results, strict=True))
    return made


def _spread(group: Group) -> list[Value]:
    """Computed values of one element a row, which broadcasting spreads over the last axis, operands before users."""
    whole = group.outputs[0].type.shape
    if not whole or whole[-1] == 1:
        return []
    return [
        r
        for n in group.nodes
        for r in n.results
        if n.op.name != "broadcast_to"
        and len(r.type.shape) <= len(whole)
        and (not r.type.shape or r.type.shape[-1] == 1)
    ]
