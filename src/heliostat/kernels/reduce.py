"""Schedule of row kernels: reductions over the last axis with what is elementwise around them, and quantized results.

Softmax, norms and their like arrive here decomposed and leave as one kernel: each reduction is a pass over the row,
which recomputes what lies before it; the last pass stores all results. Reductions over other axes take a plain nest.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from ..ir.graph import Node, Value
from ..ir.types import Dim, DType, numel
from ..kernel.builder import KernelBuilder
from ..kernel.ir import Instruction, Kernel
from ..quant.activation import FINE, ActivationFormat
from ..targets.target import Target
from .elementwise import PointEvaluator, is_pointwise, keeps_last_axis
from .group import Accept, Dims, Group, Refuse, TensorOperand, compute_elem, store_from_compute

REDUCTIONS = frozenset({"sum", "mean", "max", "min", "prod", "argmax"})
ACCUMULATORS = 4
PIECE = 256  # elements that one worker quantizes at a time where no reduction needs whole rows


def accepts(group: Group, target: Target) -> Accept | Refuse:
    kinds = [n.op.name for n in group.nodes]
    reductions = [n for n in group.nodes if n.op.name in REDUCTIONS]
    quantized = [n for n in group.nodes if n.op.name == "quantize"]
    if not reductions and not quantized:
        return Refuse("no reduction")
    for v in group.inputs:
        if not isinstance(v.type.element, DType) or v.type.layout is not None:
            return Refuse("operands must be plain and row-major")
    if len(group.nodes) == 1 and reductions and not _last_axis(reductions[0]):
        return Accept()
    row = reductions[0].inputs[0].type.shape if reductions else quantized[0].inputs[0].type.shape
    for node in group.nodes:
        reason = _refusal(node, row, group, target)
        if reason is not None:
            return Refuse(reason)
    if "argmax" in kinds:
        return Accept() if len(group.nodes) == 1 else Refuse("argmax stands by itself")
    return Accept()


def _last_axis(node: Node) -> bool:
    axes = node.attrs["axes"]
    return axes == (node.inputs[0].type.rank - 1,) and node.op.name != "argmax"


def _refusal(node: Node, row: Sequence[Dim], group: Group, target: Target) -> str | None:
    """Why a node does not fit into a kernel over rows of shape `row`."""
    shape = node.results[0].type.shape
    if node.op.name in REDUCTIONS:
        if node.op.name == "argmax" and len(group.nodes) == 1:
            return None
        if not _last_axis(node) or node.inputs[0].type.shape != tuple(row):
            return f"{node.op.name} is not over the last axis of the same rows"
        if not node.attrs["keepdim"] and any(u is not node and node.results[0] in u.inputs for u in group.nodes):
            return f"{node.op.name} drops its axis"
        return None
    if node.op.name == "quantize":
        format = node.attrs["format"]
        if not isinstance(format, ActivationFormat) or shape != tuple(row):
            return f"no native quantize to {format}"
        if any(node.results[0] in u.inputs for u in group.nodes):
            return "quantized rows are a result, not an operand"
        lanes = target.lanes
        if format.sub % lanes:
            return f"sums of {format.sub} elements with vectors of {lanes}"
        return None
    if not is_pointwise(node) or not keeps_last_axis(node):
        return f"{node.op.name} is not elementwise along the row"
    if shape != tuple(row) and not (len(shape) == len(row) and shape[-1] == 1 and shape[:-1] == tuple(row[:-1])):
        if node.op.name == "broadcast_to" or node.results[0] in group.outputs:
            return f"{node.op.name} has another shape than the row"
        if len(shape) > len(row):
            return f"{node.op.name} has more axes than the row"
    return None


def build(group: Group, target: Target, name: str, tune: None = None) -> Kernel:
    """Per row: one pass for each reduction and one for the results; rows in parallel."""
    reductions = [n for n in group.nodes if n.op.name in REDUCTIONS]
    if len(group.nodes) == 1 and reductions and not _last_axis(reductions[0]):
        return _plain_nest(group, name)
    return _Rows(group, target, name).build()


class _Rows:
    def __init__(self, group: Group, target: Target, name: str) -> None:
        self.group, self.target = group, target
        k = self.k = KernelBuilder(name)
        buffers = {v: k.buffer(f"i{n}", "r") for n, v in enumerate(group.inputs)}
        self.outs = {v: k.buffer(f"o{n}", "w") for n, v in enumerate(group.outputs)}
        self.dims = Dims(k, group.symbols)
        operands = {v: TensorOperand(k, self.dims, b, v.type) for v, b in buffers.items()}
        self.evaluate = PointEvaluator(k, self.dims, operands)
        self.reductions = [n for n in group.nodes if n.op.name in REDUCTIONS]
        self.quantized = [n for n in group.nodes if n.op.name == "quantize"]
        first = (self.reductions or self.quantized)[0]
        self.shape = first.inputs[0].type.shape
        wide = (
            max(r.type.dtype.nbytes for n in group.nodes for r in n.results if isinstance(r.type.element, DType))
            if self.reductions
            else 4
        )
        self.lanes = target.vector_bytes // max(4, wide)
        self.columns = self.dims(self.shape[-1])

    def build(self) -> Kernel:
        k = self.k
        rows = self.dims(numel(self.shape[:-1]))
        pieces, size = 1, self.shape[-1]
        if not self.reductions:
            step = math.lcm(PIECE, *(n.attrs["format"].block for n in self.quantized))
            if int(size) % step == 0:  # type: ignore[arg-type]
                pieces = int(size) // step  # type: ignore[arg-type]
        for item in k.parallel(rows * pieces):
            row, piece = (item // pieces, item % pieces) if pieces > 1 else (item, k.const(0, "i64"))
            index = self._index(row)
            known: dict[Value, Instruction] = {}
            for node in self.reductions:
                known[node.results[0]] = self._reduce(node, index, known)
            self._store(row, index, known, piece, pieces)
        return k.finish()

    def _index(self, row: Instruction) -> list[Instruction]:
        index: list[Instruction] = []
        axes = self.shape[:-1]
        for n, d in enumerate(reversed(axes)):
            size = self.dims(d)
            index.insert(0, row if n == len(axes) - 1 else row % size)
            row = row // size
        return index

    # --- one reduction ------------------------------------------------------------------------------------------
    def _reduce(self, node: Node, index: list[Instruction], known: dict[Value, Instruction]) -> Instruction:
        """The reduced value of a row, in a fixed order: `ACCUMULATORS` vectors, then a tree, then the tail."""
        k, lanes = self.k, self.lanes
        source = node.inputs[0]
        elem = compute_elem(node.results[0].type.dtype)
        name = node.op.name
        start = {"sum": 0.0, "mean": 0.0, "prod": 1.0, "max": -math.inf, "min": math.inf}[name]
        if elem in ("i32", "i64") and name in ("max", "min"):
            bits = int(elem[1:])
            start = -(1 << bits - 1) if name == "max" else (1 << bits - 1) - 1
        identity = k.const(start, elem, lanes)
        acc = [k.var(identity) for _ in range(ACCUMULATORS)]

        def value(c: Instruction, width: int) -> Instruction:
            got = self.evaluate.at(source, [*index, c], width, preset=known)
            return k.convert(got, elem, signed=got.elem != "i1")

        wide = lanes * ACCUMULATORS
        whole = self.columns // wide * wide
        for c in k.loop(0, whole, wide):
            for n in range(ACCUMULATORS):
                acc[n].set(self._combine(name, acc[n].get(), value(c + n * lanes, lanes)))
        vectors = self.columns // lanes * lanes
        for c in k.loop(whole, vectors, lanes):
            acc[0].set(self._combine(name, acc[0].get(), value(c, lanes)))
        parts = [a.get() for a in acc]
        total = self._combine(name, self._combine(name, parts[0], parts[1]), self._combine(name, parts[2], parts[3]))
        while total.lanes > 1:
            half = total.lanes // 2
            total = self._combine(name, k.lanes_of(total, 0, half), k.lanes_of(total, half, half))
        last = k.var(total)
        for c in k.loop(vectors, self.columns):
            last.set(self._combine(name, last.get(), value(c, 1)))
        result = last.get()
        return result / k.convert(self.columns, elem) if name == "mean" else result

    def _combine(self, name: str, a: Instruction, b: Instruction) -> Instruction:
        if name in ("sum", "mean"):
            return a + b
        if name == "prod":
            return a * b
        return self.evaluate.math.maximum(a, b) if name == "max" else self.evaluate.math.minimum(a, b)

    # --- results ------------------------------------------------------------------------------------------------
    def _store(
        self,
        row: Instruction,
        index: list[Instruction],
        known: dict[Value, Instruction],
        piece: Instruction,
        pieces: int,
    ) -> None:
        k = self.k
        full: list[tuple[Value, TensorOperand]] = []
        for v, buffer in self.outs.items():
            if isinstance(v.type.element, ActivationFormat):
                continue
            operand = TensorOperand(k, self.dims, buffer, v.type)
            if v in known:
                at = [*index, k.const(0, "i64")] if v.node.attrs["keepdim"] else index
                operand.store(at, known[v])
            elif v.type.shape[-1] == 1 and self.shape[-1] != 1:
                operand.store(
                    [*index, k.const(0, "i64")], self.evaluate.at(v, [*index, k.const(0, "i64")], 1, preset=known)
                )
            else:
                full.append((v, operand))
        quantized = [n for n in self.quantized if n.results[0] in self.outs]
        if quantized:
            self._quantize(quantized, full, row, index, known, piece, pieces)
        elif full:
            self._columns(full, index, known)

    def _columns(
        self, full: list[tuple[Value, TensorOperand]], index: list[Instruction], known: dict[Value, Instruction]
    ) -> None:
        k, lanes = self.k, self.lanes
        whole = self.columns // lanes * lanes
        for lo, hi, width in ((k.const(0, "i64"), whole, lanes), (whole, self.columns, 1)):
            for c in k.loop(lo, hi, width):
                made = [(o, self.evaluate.at(v, [*index, c], width, preset=known)) for v, o in full]
                for operand, value in made:
                    operand.store([*index, c], value)

    def _quantize(
        self,
        nodes: list[Node],
        full: list[tuple[Value, TensorOperand]],
        row: Instruction,
        index: list[Instruction],
        known: dict[Value, Instruction],
        piece: Instruction,
        pieces: int,
    ) -> None:
        """One pass over the blocks of the widest format; plain results are stored on the way."""
        k, lanes = self.k, self.target.lanes
        size = int(self.shape[-1])  # type: ignore[arg-type]
        step = math.lcm(*(n.attrs["format"].block for n in nodes))
        each = size // pieces
        for at in k.loop(piece * each, piece * each + each, step):
            for v, operand in full:
                for c in range(0, step, lanes):
                    operand.store([*index, at + c], self.evaluate.at(v, [*index, at + c], lanes, preset=known))
            for node in nodes:
                format = node.attrs["format"]
                for b in range(0, step, format.block):
                    self._block(node, format, row, index, known, at + b, size)

    def _block(
        self,
        node: Node,
        format: ActivationFormat,
        row: Instruction,
        index: list[Instruction],
        known: dict[Value, Instruction],
        at: Instruction,
        size: int,
    ) -> None:
        """Codes, scale and sums of one block, bit for bit as `ActivationFormat.encode`."""
        k, lanes = self.k, self.target.lanes
        buffer = self.outs[node.results[0]]
        base = row * format.row_bytes(size)
        source = node.inputs[0]
        values = [
            k.convert(self.evaluate.at(source, [*index, at + c], lanes, preset=known), "f32")
            for c in range(0, format.block, lanes)
        ]
        tops = [k.fabs(v) for v in values]
        while len(tops) > 1:
            tops = [k.maximum(tops[i], tops[i + 1]) if i + 1 < len(tops) else tops[i] for i in range(0, len(tops), 2)]
        largest = k.reduce_max(tops[0])
        scale = largest * (1 / 127)
        inverse = k.select(largest > 0.0, 127.0 / largest, 0.0)
        spread = k.splat(inverse, lanes)
        scaled = [v * spread for v in values]
        rounded = [k.rint(v) for v in scaled]
        self._plane(format, buffer, base, at, size, rounded, scale)
        if format.planes == 2:
            rest = [k.rint((v - r) * float(FINE)) for v, r in zip(scaled, rounded, strict=True)]
            self._plane(format, buffer, base + format.plane_bytes(size), at, size, rest, scale * (1 / FINE))

    def _plane(
        self,
        format: ActivationFormat,
        buffer: Instruction,
        base: Instruction,
        at: Instruction,
        size: int,
        codes_as_float: Sequence[Instruction],
        scale: Instruction,
    ) -> None:
        """Store one plane of a block: scale, codes, and the sum of every `format.sub` codes."""
        k, lanes = self.k, self.target.lanes
        k.store(buffer, base + (at // format.block * 4 + format.scales_at(size)), scale)
        each = format.sub // lanes
        total: Instruction | None = None
        for n, v in enumerate(codes_as_float):
            codes = k.convert(v, "i32")
            k.store(buffer, base + at + n * lanes, k.convert(codes, "i8"))
            total = codes if total is None else total + codes
            if (n + 1) % each == 0:
                summed = k.reduce_add(total)
                slot = base + (at // format.sub + n // each) * 4 + format.sums_at(size)
                k.store(
                    buffer, slot, scale * k.convert(summed, "f32") if format.sums == "f32" else summed * format.factor
                )
                total = None


def _plain_nest(group: Group, name: str) -> Kernel:
    """One reduction over any axes: a scalar loop nest per element of the result."""
    k = KernelBuilder(name)
    node = group.root
    source = k.buffer("i0", "r")
    out = k.buffer("o0", "w")
    dims = Dims(k, group.symbols)
    x = TensorOperand(k, dims, source, node.inputs[0].type)
    result = node.results[0].type
    axes = node.attrs["axes"]
    elem = compute_elem(result.dtype)
    shape = node.inputs[0].type.shape
    kept = [i for i in range(len(shape)) if i not in axes]
    evaluate = PointEvaluator(k, dims, {node.inputs[0]: x})
    for item in k.parallel(dims(numel(tuple(shape[i] for i in kept)))):
        index: list[Instruction] = [k.const(0, "i64")] * len(shape)
        rest = item
        for i in reversed(kept):
            size = dims(shape[i])
            index[i] = rest % size
            rest = rest // size
        count = dims(numel(tuple(shape[i] for i in axes)))
        first = x.load(_unravel(k, dims, shape, axes, k.const(0, "i64"), index))
        argmax = node.op.name == "argmax"
        summing = node.op.name in ("sum", "mean", "prod")
        start = k.const(1 if node.op.name == "prod" else 0, elem) if summing else first
        best = k.var(start)
        place = k.var(k.const(0, "i64"))
        for j in k.loop(0 if summing else 1, count):
            value = x.load(_unravel(k, dims, shape, axes, j, index))
            if argmax:
                better = value > best.get()
                assert value.type is not None
                if value.type.is_float:
                    now = best.get()
                    better = better | (k.binary("ne", value, value) & k.binary("eq", now, now))
                place.set(k.select(better, j, place.get()))
                best.set(k.select(better, value, best.get()))
                continue
            value = k.convert(value, elem, signed=value.elem != "i1")
            now = best.get()
            if node.op.name in ("sum", "mean"):
                best.set(now + value)
            elif node.op.name == "prod":
                best.set(now * value)
            else:
                best.set(
                    evaluate.math.maximum(now, value) if node.op.name == "max" else evaluate.math.minimum(now, value)
                )
        final = place.get() if argmax else best.get()
        if node.op.name == "mean":
            final = final / k.convert(count, elem)
        store_from_compute(k, out, item * result.dtype.nbytes, final, result.dtype)
    return k.finish()


def _unravel(
    k: KernelBuilder, dims: Dims, shape: Sequence[Dim], axes: Sequence[int], j: Instruction, index: list[Instruction]
) -> list[Instruction]:
    """The full index of reduced element j."""
    full = list(index)
    for n, a in enumerate(reversed(axes)):
        size = dims(shape[a])
        full[a] = j if n == len(axes) - 1 else j % size
        j = j // size
    return full
