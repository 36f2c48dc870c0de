"""Schedule of elementwise groups: any rank, broadcasting, views, casts; and of a concat with what makes its operands.

Vectors run along the last axis, with a masked one at its end. Where neighbours of a result are no neighbours in an
operand (a transposed last axis, a slice with a step), elements are taken one by one. On a GPU a thread takes 16 bytes
of a vector, and several vectors are loaded before the first is stored.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from ..ir.graph import Node, Value
from ..ir.types import Dim, DType, TensorType, numel
from ..kernel.builder import KernelBuilder
from ..kernel.ir import Instruction, Kernel
from ..kernel.warp import MOST_ALIGNED, WARP
from ..targets.target import Target
from .elementwise import VIEWS, PointEvaluator, adds_few, is_pointwise, keeps_last_axis, reads_in_place
from .group import Accept, Dims, Group, Refuse, TensorOperand, vectors

CHUNK = 4096  # elements of one parallel piece: below that a second worker does not pay
LONG = 60
"""Arithmetic of a vector from which on several are computed together: what a core looks ahead is then less than what
one of them waits for."""
TOGETHER = 4
FEW = 1024  # elements, of which code for several vectors takes 0.2 s to compile, and saves a microsecond of a run
REGISTERS, WIDE = 32, 16  # of machines on which that was found, and lanes of their vectors
MOVES = frozenset(("load", "splat", "const"))
MOST_RUN = 8  # elements of a vector in one thread of a GPU


def accepts(group: Group, target: Target) -> Accept | Refuse:
    """Elementwise nodes and views with results of one shape; or these before one concat, which is the only result. On
    GPUs sums of a few along a leading axis too."""
    for v in (*group.inputs, *group.outputs):
        if not isinstance(v.type.element, DType) or v.type.layout is not None:
            return Refuse("operands must be plain and row-major")
    for node in group.nodes:
        if node.op.name == "concat":
            if node is not group.root or tuple(group.outputs) != node.results:
                return Refuse("concat must come last and be the only result")
        elif not is_pointwise(node) and not (target.gpu and adds_few(node)):
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
    narrow = target.gpu or target.vector_registers < REGISTERS or target.lanes < WIDE
    if narrow or group.root.op.name == "concat" or not _flat(group):
        return _built(group, target, name, 1)
    total = numel(group.outputs[0].type.shape)
    if isinstance(total, int) and total < TOGETHER * _lanes(group, target):
        return _built(group, target, name, TOGETHER)  # a few vectors, with masks, are shortest
    if isinstance(total, int) and total <= FEW:
        return _built(group, target, name, 1)
    kernel = _built(group, target, name, 1)
    loop = next((i for i in kernel.walk() if i.op == "loop"), None)
    steps = 0 if loop is None else sum(i.type is not None and i.lanes > 1 and i.op not in MOVES for i in loop.blocks[0])
    return _built(group, target, name, TOGETHER) if steps >= LONG else kernel


def _built(group: Group, target: Target, name: str, together: int) -> Kernel:
    """`build` with so many vectors at once where one index serves all."""
    k = KernelBuilder(name, target.capability)
    buffers = {v: k.buffer(f"i{n}", "r") for n, v in enumerate(group.inputs)}
    outs = {v: k.buffer(f"o{n}", "w") for n, v in enumerate(group.outputs)}
    nest = (_ThreadNest if target.gpu else _Nest)(k, Dims(k, group.symbols), group, buffers, outs, target)
    nest.together = together
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
    return target.lanes_of(max(v.type.dtype.nbytes for v in values))


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
        self.together = 1

    def _operands(self) -> dict[Value, TensorOperand]:
        return {v: TensorOperand(self.k, self.dims, b, v.type) for v, b in self.buffers.items()}

    # --- one axis -----------------------------------------------------------------------------------------------
    def elements(self) -> None:
        """Equal shapes: all elements as one axis, cut into chunks."""
        k, dims = self.k, self.dims
        total = numel(self.group.outputs[0].type.shape)
        evaluate, results = self._as_one_axis(total)
        count = dims(total)
        for chunk in k.parallel((count + (CHUNK - 1)) // CHUNK):
            first, last = chunk * CHUNK, k.minimum(chunk * CHUNK + CHUNK, count)
            for piece in self._chunk(first, last, total):
                self._store(evaluate, results, piece)

    def _chunk(self, first: Instruction, last: Instruction, total: Dim) -> Iterator[_Piece]:
        """The vectors of first .. last of `total` elements. Where all are known to fill vectors, so do chunks."""
        k, lanes = self.k, self.lanes
        wide = lanes * self.together
        filled = {n for n in (wide, lanes) if isinstance(total, int) and total % n == 0}
        if wide in filled:
            for c in k.loop(first, last, wide):
                yield _Piece([c], wide, None)
            return
        if wide == lanes:
            yield from self._pieces([], first, last, lanes)
            return
        whole = (last - first) // wide * wide + first
        for c in k.loop(first, whole, wide):
            yield _Piece([c], wide, None)
        for c in k.loop(whole, last, lanes):  # every one with a mask: code of a long chain takes long to compile
            inside = k.iota("i32", lanes) < k.splat(k.convert(last - c, "i32"), lanes)
            yield _Piece([c], lanes, None if lanes in filled else inside)

    def _as_one_axis(self, total: Dim) -> tuple[PointEvaluator, list[tuple[Value, TensorOperand]]]:
        """The group over one axis of `total` elements, and its results."""
        flat = _flattened(self.group, self.group.outputs[0].type.shape, total)
        operands = {flat[v]: TensorOperand(self.k, self.dims, b, flat[v].type) for v, b in self.buffers.items()}
        results = [(flat[v], TensorOperand(self.k, self.dims, b, flat[v].type)) for v, b in self.outs.items()]
        return PointEvaluator(self.k, self.dims, operands), results

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
        """The leading index of every row, in parallel pieces of CHUNK elements or more."""
        k = self.k
        rows, last = self.dims(numel(tuple(shape[:-1]))), shape[-1]
        each = max(1, CHUNK // max(last, 1)) if isinstance(last, int) else 1
        for part in k.parallel((rows + (each - 1)) // each):
            if each == 1:
                yield self.dims.index(shape[:-1], part)
                continue
            first = part * each
            for row in k.loop(first, k.minimum(first + each, rows)):
                yield self.dims.index(shape[:-1], row)

    def _pieces(self, index: list[Instruction], lo: Instruction, hi: Instruction, lanes: int) -> Iterator[_Piece]:
        """Vectors over lo .. hi of the last axis; the last one is masked where they do not come out even."""
        for c, mask in vectors(self.k, lo, hi, lanes):
            yield _Piece([*index, c], lanes, mask)

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
            for pieces in self._batches(v.type.shape, self.lanes if even else 1):
                values = [evaluate.at(v, piece.index, piece.lanes, piece.mask) for piece in pieces]
                for piece, value in zip(pieces, values, strict=True):
                    moved = [i + start if n == axis else i for n, i in enumerate(piece.index)]
                    result.store(moved, value, piece.mask)
            before = before + v.type.shape[axis]

    def _batches(self, shape: Sequence[Dim], lanes: int) -> Iterator[list[_Piece]]:
        """All elements of a shape, in vectors of which those of a list are computed before one of them is stored."""
        for index in self._each_row(shape):
            for piece in self._pieces(index, self.k.const(0, "i64"), self.dims(shape[-1]), lanes):
                yield [piece]


class _ThreadNest(_Nest):
    """For GPUs. Neighbouring vectors go to different workers, so that what all are at lies together in memory."""

    def __init__(
        self,
        k: KernelBuilder,
        dims: Dims,
        group: Group,
        buffers: dict[Value, Instruction],
        outs: dict[Value, Instruction],
        target: Target,
    ) -> None:
        super().__init__(k, dims, group, buffers, outs, target)
        shape = group.outputs[0].type.shape
        whole = [v for v in (*group.inputs, *group.outputs) if v.type.shape and v.type.shape[-1] != 1]
        self.run = min(MOST_RUN, MOST_ALIGNED // max((v.type.dtype.nbytes for v in whole), default=4))
        read = sum(v.type.shape == shape for v in group.inputs)
        self.batch = 2 if read <= 1 else 1  # loads in flight of a thread: with more, fewer threads fit
        self.lanes = WARP * _even_run(group, self.run)

    def elements(self) -> None:
        """Equal shapes: all elements as one axis."""
        total = numel(self.group.outputs[0].type.shape)
        evaluate, results = self._as_one_axis(total)
        for pieces in self._batches((total,), WARP * self.run):
            self._store_all(evaluate, results, pieces)

    def rows(self) -> None:
        """Broadcasting and views: rows along the last axis."""
        k, group = self.k, self.group
        results = [(v, TensorOperand(k, self.dims, b, v.type)) for v, b in self.outs.items()]
        evaluate = PointEvaluator(k, self.dims, self._operands())
        lanes = self.lanes if all(keeps_last_axis(n) for n in group.nodes) else 1
        for pieces in self._batches(group.outputs[0].type.shape or (1,), lanes):
            self._store_all(evaluate, results, pieces)

    def _store_all(
        self, evaluate: PointEvaluator, results: Sequence[tuple[Value, TensorOperand]], pieces: Sequence[_Piece]
    ) -> None:
        """All pieces are computed before one is stored: a load behind a store would wait for it."""
        wanted = [v for v, _ in results]
        made = [evaluate.all_at(wanted, piece.index, piece.lanes, piece.mask) for piece in pieces]
        for piece, values in zip(pieces, made, strict=True):
            for (_, operand), value in zip(results, values, strict=True):
                operand.store(piece.index, value, piece.mask)

    def _batches(self, shape: Sequence[Dim], lanes: int) -> Iterator[list[_Piece]]:
        k, last = self.k, shape[-1]
        rows, columns = self.dims(numel(tuple(shape[:-1]))), self.dims(last)
        if isinstance(last, int):
            while lanes > WARP and lanes > last:
                lanes //= 2
        span = lanes * self.batch
        if lanes >= WARP and isinstance(last, int) and 0 < last < span and last % lanes == 0:
            yield from self._short_rows(shape, rows, last, lanes)
            return
        parts = (columns + (span - 1)) // span
        for item in k.parallel(rows * parts):
            index = self.dims.index(shape[:-1], item // parts)
            lo = item % parts * span
            if isinstance(last, int) and last % span == 0:
                yield [_Piece([*index, lo + n * lanes], lanes, None) for n in range(self.batch)]
                continue
            inside = lo + span <= columns
            for _ in k.when(inside):
                yield [_Piece([*index, lo + n * lanes], lanes, None) for n in range(self.batch)]
            for _ in k.when(k.logical_not(inside)):
                for piece in self._pieces(index, lo, columns, min(lanes, WARP)):
                    yield [piece]

    def _short_rows(self, shape: Sequence[Dim], rows: Instruction, last: int, lanes: int) -> Iterator[list[_Piece]]:
        """Several rows of whole vectors in a batch."""
        k = self.k
        each = lanes * self.batch // last
        starts = range(0, last, lanes)

        def row(number: Instruction) -> list[_Piece]:
            index = self.dims.index(shape[:-1], number)
            return [_Piece([*index, k.const(c, "i64")], lanes, None) for c in starts]

        for part in k.parallel((rows + (each - 1)) // each):
            first = part * each
            inside = first + each <= rows
            for _ in k.when(inside):
                yield [piece for n in range(each) for piece in row(first + n)]
            for _ in k.when(k.logical_not(inside)):
                for number in k.loop(first, rows):
                    yield row(number)


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


def _even_run(group: Group, run: int) -> int:
    """The largest power of two up to `run` by which every vector's place in a row can be divided."""
    steps: list[Dim] = []
    for v in (*group.inputs, *group.outputs):
        if v.type.shape and v.type.shape[-1] != 1:
            steps.append(v.type.shape[-1])
    for node in group.nodes:
        last = node.results[0].type.rank - 1
        if node.op.name == "slice" and node.attrs["axis"] == last:
            steps.append(node.attrs["start"])
        elif node.op.name == "concat" and node.attrs["axis"] == last:
            steps += [v.type.shape[-1] for v in node.inputs]
    while run > 1 and not all(_divides(run, d) for d in steps):
        run //= 2
    return run


def _divides(n: int, d: Dim) -> bool:
    """Whether n divides a dimension whatever its symbols are."""
    return d % n == 0 if isinstance(d, int) else all(c % n == 0 for _, c in d.terms)


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
