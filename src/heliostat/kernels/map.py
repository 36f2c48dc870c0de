"""Schedule of elementwise groups: any rank, broadcasting, views; and of concat, which copies its operands side by side."""

from __future__ import annotations

from ..ir.graph import Value
from ..ir.types import DType, TensorType, numel
from ..kernel.builder import KernelBuilder
from ..kernel.ir import Instruction, Kernel
from ..targets.target import Target
from .elementwise import VIEWS, PointEvaluator, is_pointwise, keeps_last_axis
from .group import Accept, Dims, Group, Refuse, TensorOperand

CHUNK = 4096  # elements of one parallel piece: below that a second worker does not pay


def accepts(group: Group, target: Target) -> Accept | Refuse:
    root = group.root
    if root.op.name == "concat":
        return Accept() if len(group.nodes) == 1 and _plain(group) else Refuse("concat stands by itself")
    shape = group.outputs[0].type.shape
    for node in group.nodes:
        if not is_pointwise(node):
            return Refuse(f"{node.op.name} is not elementwise")
    if not _plain(group):
        return Refuse("operands must be plain and row-major")
    if any(v.type.shape != shape for v in group.outputs):
        return Refuse("results of different shapes")
    return Accept()


def _plain(group: Group) -> bool:
    return all(isinstance(v.type.element, DType) and v.type.layout is None for v in (*group.inputs, *group.outputs))


def build(group: Group, target: Target, name: str, tune: None = None) -> Kernel:
    """Reads each operand once per element of the results, writes each result once."""
    k = KernelBuilder(name)
    buffers = {v: k.buffer(f"i{n}", "r") for n, v in enumerate(group.inputs)}
    outs = {v: k.buffer(f"o{n}", "w") for n, v in enumerate(group.outputs)}
    dims = Dims(k, group.symbols)
    if group.root.op.name == "concat":
        _concat(k, dims, group, buffers, outs, target)
    elif _flat(group):
        _elements(k, dims, group, buffers, outs, target)
    else:
        _rows(k, dims, group, buffers, outs, target)
    return k.finish()


def _lanes(group: Group, target: Target) -> int:
    wide = max(
        v.type.dtype.nbytes for v in (*group.inputs, *group.outputs, *(r for n in group.nodes for r in n.results))
    )
    return target.vector_bytes // max(4, wide)


def _flat(group: Group) -> bool:
    """Whether one index serves all: equal shapes or single elements, and nothing that looks elsewhere."""
    shape = group.outputs[0].type.shape
    if shape and shape[-1] == 1 and numel(shape) != 1:
        return False
    same = all(v.type.shape == shape or all(d == 1 for d in v.type.shape) for v in group.inputs)
    inner = all(r.type.shape == shape or all(d == 1 for d in r.type.shape) for n in group.nodes for r in n.results)
    return same and inner and not any(n.op.name in VIEWS for n in group.nodes)


def _elements(
    k: KernelBuilder,
    dims: Dims,
    group: Group,
    buffers: dict[Value, Instruction],
    outs: dict[Value, Instruction],
    target: Target,
) -> None:
    shape = group.outputs[0].type.shape
    total = numel(shape)

    def flat(v: Value) -> TensorType:
        return TensorType(v.type.element, (total,) if v.type.shape == shape and shape else ())

    single = all(d == 1 for d in shape)
    operands = {
        v: TensorOperand(k, dims, b, flat(v) if not single else TensorType(v.type.element, ()))
        for v, b in buffers.items()
    }
    results = {v: TensorOperand(k, dims, b, TensorType(v.type.element, (total,))) for v, b in outs.items()}
    evaluate = _FlatEvaluator(k, dims, operands)
    lanes = _lanes(group, target)
    count = dims(total)
    for chunk in k.parallel((count + (CHUNK - 1)) // CHUNK):
        first = chunk * CHUNK
        last = k.minimum(first + CHUNK, count)
        whole = (last - first) // lanes * lanes + first
        for i in k.loop(first, whole, lanes):
            _store(evaluate, results, [i], lanes, None)
        for i in k.loop(whole, last):
            _store(evaluate, results, [i], 1, None)


class _FlatEvaluator(PointEvaluator):
    """Every value has one axis."""

    def at(self, value, index, lanes, mask=None, preset=None):  # type: ignore[no-untyped-def]
        rank = value.type.rank
        return super().at(value, [0] * (rank - 1) + list(index), lanes, mask, preset)


def _rows(
    k: KernelBuilder,
    dims: Dims,
    group: Group,
    buffers: dict[Value, Instruction],
    outs: dict[Value, Instruction],
    target: Target,
) -> None:
    operands = {v: TensorOperand(k, dims, b, v.type) for v, b in buffers.items()}
    results = {v: TensorOperand(k, dims, b, v.type) for v, b in outs.items()}
    evaluate = PointEvaluator(k, dims, operands)
    shape = group.outputs[0].type.shape or (1,)
    lanes = _lanes(group, target) if all(keeps_last_axis(n) for n in group.nodes) else 1
    rows, columns = dims(numel(shape[:-1])), dims(shape[-1])
    for row in k.parallel(rows):
        index: list[Instruction] = []
        rest = row
        for d in reversed(shape[:-1]):
            size = dims(d)
            index.insert(0, rest % size)
            rest = rest // size
        whole = columns // lanes * lanes
        for c in k.loop(0, whole, lanes):
            _store(evaluate, results, [*index, c], lanes, None)
        if lanes > 1:
            for c in k.loop(whole, columns):
                _store(evaluate, results, [*index, c], 1, None)


def _store(
    evaluate: PointEvaluator,
    results: dict[Value, TensorOperand],
    index: list[Instruction],
    lanes: int,
    mask: Instruction | None,
) -> None:
    made = [(o, evaluate.at(v, index, lanes, mask)) for v, o in results.items()]
    for operand, value in made:
        operand.store(index, value, mask)


def _concat(
    k: KernelBuilder,
    dims: Dims,
    group: Group,
    buffers: dict[Value, Instruction],
    outs: dict[Value, Instruction],
    target: Target,
) -> None:
    node = group.root
    axis = node.attrs["axis"]
    out_value, out_buffer = next(iter(outs.items()))
    result = TensorOperand(k, dims, out_buffer, out_value.type)
    before = dims(0)
    for v in node.inputs:
        operand = TensorOperand(k, dims, buffers[v], v.type)
        for row in k.parallel(dims(numel(v.type.shape[:-1]))):
            index: list[Instruction] = []
            rest = row
            for d in reversed(v.type.shape[:-1]):
                index.insert(0, rest % dims(d))
                rest = rest // dims(d)
            for c in k.loop(dims(v.type.shape[-1])):
                source = [*index, c]
                target_index = [i + before if n == axis else i for n, i in enumerate(source)]
                result.store(target_index, operand.load(source))
        before = before + dims(v.type.shape[axis])
