"""Evaluates fused elementwise graphs at an index: the inside of map and row kernels, and the epilogue of products."""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence

from ..ir.graph import Node, Value
from ..ir.types import DType
from ..kernel.builder import KernelBuilder
from ..kernel.ir import Instruction, Operand
from ..ops import promote
from .group import Dims, Group, TensorOperand, compute_elem
from .math import Math

VIEWS = frozenset({"broadcast_to", "slice", "transpose"})


MOST_ADDED = 8  # along a leading axis, one after the other


def adds_few(node: Node) -> bool:
    """Whether a node is a sum over a short leading axis of floats, parts of a product say, which `PointEvaluator` can
    take element by element too."""
    if node.op.name != "sum" or tuple(node.attrs["axes"]) != (0,) or node.attrs.get("keepdim", False):
        return False
    x = node.inputs[0].type
    few = x.rank > 1 and isinstance(x.shape[0], int) and 0 < x.shape[0] <= MOST_ADDED
    return few and isinstance(x.element, DType) and x.element.is_float


def is_pointwise(node: Node) -> bool:
    """Whether `PointEvaluator` can look through the node."""
    return node.op.name in VIEWS or node.op.name == "arange" or bool(getattr(node.op, "elementwise", False))


def keeps_last_axis(node: Node) -> bool:
    """Whether neighbours along the result's last axis are neighbours in the operands too."""
    if node.op.name == "transpose":
        return bool(node.attrs["axes"][-1] == node.inputs[0].type.rank - 1)
    if node.op.name == "slice":
        return bool(node.attrs["axis"] != node.inputs[0].type.rank - 1 or node.attrs.get("step", 1) == 1)
    return True


def reads_in_place(group: Group, old: Value, new: Value) -> bool:
    """Whether results use of `old` only the element that lies where theirs does, so that `new` may lie there too."""
    if old.type.shape != new.type.shape or old.type.element != new.type.element:
        return False
    depends = {id(old)}
    for node in group.nodes:
        if any(id(v) in depends for v in node.inputs):
            if not getattr(node.op, "elementwise", False) or any(r.type.shape != old.type.shape for r in node.results):
                return False
            depends.update(id(r) for r in node.results)
    return all(v.type.shape == old.type.shape for v in group.outputs)


def unrounded(value: Value) -> Value:
    """What may be stored for a result on its own: a cast to f16 or bf16 rounds as the store does anyway."""
    node = value.node
    halves = node.op.name == "cast" and value.type.dtype.name in ("f16", "bf16")
    return node.inputs[0] if halves and node.inputs[0].type.dtype.name in ("f32", "f16", "bf16") else value


class PointEvaluator:
    """Values of a fused subgraph at an index, in `compute_elem` of their dtype. `operands` are read from memory.

    Floats in between are not rounded to f16 or bf16; small integers wrap as their dtype does. `math`: the functions.
    """

    def __init__(
        self, k: KernelBuilder, dims: Dims, operands: Mapping[Value, TensorOperand], math: Math | None = None
    ) -> None:
        self.k, self.dims = k, dims
        self.operands = {id(v): o for v, o in operands.items()}
        self.math = math or Math(k)

    def at(
        self,
        value: Value,
        index: Sequence[Operand],
        lanes: int,
        mask: Instruction | None = None,
        preset: Mapping[Value, Instruction] | None = None,
    ) -> Instruction:
        """`value` at `index`: `lanes` neighbours along the last axis. `preset`: values that are in registers already.

        `index` has one entry for each axis of the value, or more, which are left off in front. A preset stands for its
        value at any index. Where `mask` is false nothing is read and the result has no meaning.
        """
        return self.all_at([value], index, lanes, mask, preset)[0]

    def all_at(
        self,
        values: Sequence[Value],
        index: Sequence[Operand],
        lanes: int,
        mask: Instruction | None = None,
        preset: Mapping[Value, Instruction] | None = None,
    ) -> list[Instruction]:
        """Several values at one index; what they share is computed once."""
        walk = self.walk({id(v): i for v, i in (preset or {}).items()}, mask)
        return [walk.at(v, index, lanes) for v in values]

    def walk(self, preset: Mapping[int, Instruction], mask: Instruction | None = None) -> Walk:
        """An evaluation that goes on: what it has computed at an index is there for later values at it.

        `preset`: by the ids of values; it may grow.
        """
        return Walk(self, preset, mask)


class _Request:
    """A value wanted at an index."""

    __slots__ = ("index", "key", "lanes", "value")

    def __init__(self, value: Value, index: list[Operand], lanes: int) -> None:
        rank = value.type.rank
        self.value = value
        self.index = index[len(index) - rank :]
        self.lanes = 1 if rank == 0 or value.type.shape[-1] == 1 else lanes
        self.key = (id(value), self.lanes, *(id(i) if isinstance(i, Instruction) else ("n", i) for i in self.index))


_Steps = Generator[_Request, Instruction, Instruction]


class Walk:
    """One evaluation; remembers what it has computed at which index.

    Operands are asked for by `yield`, so that the depth of a graph is not the depth of Python's stack.
    """

    def __init__(self, owner: PointEvaluator, preset: Mapping[int, Instruction], mask: Instruction | None) -> None:
        self.owner, self.preset, self.mask, self.k = owner, preset, mask, owner.k
        self.seen: dict[tuple[object, ...], Instruction] = {}

    def at(self, value: Value, index: Sequence[Operand], lanes: int) -> Instruction:
        """As `PointEvaluator.at`."""
        return self.k.splat(self.run(_Request(value, list(index), lanes)), lanes)

    def run(self, request: _Request) -> Instruction:
        if (known := self.known(request)) is not None:
            return known
        stack = [(request, self.make(request))]
        answer: Instruction | None = None
        while True:
            wanted, steps = stack[-1]
            try:
                inner = next(steps) if answer is None else steps.send(answer)
            except StopIteration as done:
                answer = self.seen[wanted.key] = done.value
                stack.pop()
                if not stack:
                    return answer
                continue
            answer = self.known(inner)
            if answer is None:
                stack.append((inner, self.make(inner)))

    def known(self, request: _Request) -> Instruction | None:
        found = self.preset.get(id(request.value))
        return self.seen.get(request.key) if found is None else found

    def make(self, request: _Request) -> _Steps:
        v, index, lanes = request.value, request.index, request.lanes
        if (operand := self.owner.operands.get(id(v))) is not None:
            return operand.load(index, lanes, self.mask if lanes > 1 else None)
        node = v.node
        if node.op.name == "constant":
            return self.k.const(node.attrs["value"].flat[0].item(), compute_elem(v.type.dtype))
        if node.op.name == "arange":
            return self.count(index, lanes)
        if node.op.name in VIEWS:
            return (yield _Request(node.inputs[0], self.view(node, index), lanes))
        if node.op.name == "sum":
            total: Instruction | None = None
            for n in range(int(node.inputs[0].type.shape[0])):  # type: ignore[arg-type]
                part = yield _Request(node.inputs[0], [n, *index], lanes)
                total = part if total is None else total + part
            assert total is not None
            return total
        arguments: list[Instruction] = []
        for x in node.inputs:
            rank = x.type.rank
            tail = index[len(index) - rank :]
            inner: list[Operand] = [0 if d == 1 else i for d, i in zip(x.type.shape, tail, strict=True)]
            arguments.append((yield _Request(x, inner, lanes)))
        return self.apply(node, arguments)

    def count(self, index: list[Operand], lanes: int) -> Instruction:
        """`lanes` whole numbers from the last index on."""
        k = self.k
        first = index[-1] if index else 0
        start = first if isinstance(first, Instruction) else k.const(first, "i64")
        return start if lanes == 1 else k.splat(start, lanes) + k.iota("i64", lanes)

    def view(self, node: Node, index: list[Operand]) -> list[Operand]:
        """The operand's index for the result's."""
        attrs = node.attrs
        if node.op.name == "slice":
            axis = attrs["axis"]
            moved = list(index)
            moved[axis] = self.owner.dims(attrs["start"]) + moved[axis] * attrs.get("step", 1)
            return moved
        if node.op.name == "transpose":
            back: list[Operand] = [0] * len(index)
            for i, a in enumerate(attrs["axes"]):
                back[a] = index[i]
            return back
        source = node.inputs[0].type.shape
        tail = index[len(index) - len(source) :]
        return [0 if d == 1 else i for d, i in zip(source, tail, strict=True)]

    def apply(self, node: Node, arguments: list[Instruction]) -> Instruction:
        k = self.k
        wide = max(a.lanes for a in arguments)
        arguments = [k.splat(a, wide) for a in arguments]
        if not node.op.mixed:  # type: ignore[attr-defined]
            common = _common(node)
            arguments = [
                a if node.op.name == "where" and n == 0 else _to(k, a, common) for n, a in enumerate(arguments)
            ]
        scalar = node.op.scalar  # type: ignore[attr-defined]
        result: Instruction = scalar(self.owner.math, *arguments, **node.attrs)
        return wrapped(k, result, node.results[0].type.dtype)


def wrapped(k: KernelBuilder, value: Instruction, dtype: DType) -> Instruction:
    """A value as an integer dtype holds it, in `compute_elem`: small integers wrap, numbers become flags."""
    if dtype.kind == "b" and value.elem != "i1":
        return k.binary("ne", value, 0)
    if dtype.kind not in "iu" or value.elem == f"i{dtype.bits}":
        return value
    return k.convert(k.convert(value, f"i{dtype.bits}"), compute_elem(dtype), signed=dtype.kind == "i")


def _common(node: Node) -> str:
    """The element that an op's operands are brought to: that of their common dtype, or of a float result."""
    if node.op.name in ("logical_and", "logical_or", "logical_not"):
        return "i1"
    result = node.results[0].type.dtype
    inputs = node.inputs[1:] if node.op.name == "where" else node.inputs
    dtype: DType = inputs[0].type.dtype
    for x in inputs[1:]:
        dtype = promote(dtype, x.type.dtype)
    if result.name != "bool" and result.is_float:
        dtype = result
    elem = compute_elem(dtype)
    return "i32" if elem == "i1" and node.op.name != "where" else elem  # flags have no order and no sum: 0 and 1 do


def _to(k: KernelBuilder, a: Instruction, elem: str) -> Instruction:
    return k.convert(a, elem, signed=a.elem != "i1")
