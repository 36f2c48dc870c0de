"""Evaluates fused elementwise graphs at an index: the inside of map and row kernels, and the epilogue of products."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ..ir.graph import Node, Value
from ..ir.types import DType
from ..kernel.builder import KernelBuilder
from ..kernel.ir import Instruction, Operand
from ..ops import promote
from .group import Dims, TensorOperand, compute_elem
from .math import Math

VIEWS = frozenset({"broadcast_to", "slice", "transpose"})


def is_pointwise(node: Node) -> bool:
    """Whether `PointEvaluator` can look through the node."""
    return node.op.name in VIEWS or bool(getattr(node.op, "elementwise", False))


def keeps_last_axis(node: Node) -> bool:
    """Whether neighbours along the result's last axis are neighbours in the operands too."""
    if node.op.name == "transpose":
        return bool(node.attrs["axes"][-1] == node.inputs[0].type.rank - 1)
    if node.op.name == "slice":
        return node.attrs["axis"] != node.inputs[0].type.rank - 1 or node.attrs.get("step", 1) == 1
    return True


class PointEvaluator:
    """Values of a fused subgraph at an index, in `compute_elem` of their dtype. `operands` are read from memory."""

    def __init__(self, k: KernelBuilder, dims: Dims, operands: Mapping[Value, TensorOperand]) -> None:
        self.k, self.dims = k, dims
        self.operands = {id(v): o for v, o in operands.items()}
        self.math = Math(k)

    def at(
        self,
        value: Value,
        index: Sequence[Operand],
        lanes: int,
        mask: Instruction | None = None,
        preset: Mapping[Value, Instruction] | None = None,
    ) -> Instruction:
        """`value` at `index`: `lanes` neighbours along the last axis. `preset`: values that are in registers already.

        Where `mask` is false nothing is read and the result has no meaning.
        """
        given = {id(v): i for v, i in (preset or {}).items()}
        made = _Walk(self, given, mask).value(value, list(index), lanes)
        return self.k.splat(made, lanes)


class _Walk:
    """One evaluation; remembers what it has computed at which index."""

    def __init__(self, owner: PointEvaluator, preset: Mapping[int, Instruction], mask: Instruction | None) -> None:
        self.owner, self.preset, self.mask, self.k = owner, preset, mask, owner.k
        self.seen: dict[tuple[object, ...], Instruction] = {}

    def value(self, v: Value, index: list[Operand], lanes: int) -> Instruction:
        if (found := self.preset.get(id(v))) is not None:
            return found
        rank = v.type.rank
        index = index[len(index) - rank :]
        if rank == 0 or v.type.shape[-1] == 1:
            lanes = 1
        key = (id(v), lanes, *(id(i) if isinstance(i, Instruction) else ("n", i) for i in index))
        if key not in self.seen:
            self.seen[key] = self.make(v, index, lanes)
        return self.seen[key]

    def make(self, v: Value, index: list[Operand], lanes: int) -> Instruction:
        if (operand := self.owner.operands.get(id(v))) is not None:
            return operand.load(index, lanes, self.mask if lanes > 1 or self._masked_scalar() else None)
        node = v.node
        if node.op.name == "constant":
            return self.k.const(node.attrs["value"].flat[0].item(), compute_elem(v.type.dtype))
        if node.op.name in VIEWS:
            return self.value(node.inputs[0], self.view(node, index), lanes)
        return self.apply(node, v, index, lanes)

    def _masked_scalar(self) -> bool:
        return False

    def view(self, node: Node, index: list[Operand]) -> list[Operand]:
        """The operand's index for the result's."""
        attrs = node.attrs
        if node.op.name == "slice":
            axis, start = attrs["axis"], self.owner.dims(attrs["start"])
            moved = list(index)
            moved[axis] = start + moved[axis] * attrs.get("step", 1) if isinstance(moved[axis], Instruction) else start + moved[axis]
            return moved
        if node.op.name == "transpose":
            back: list[Operand] = [0] * len(index)
            for i, a in enumerate(attrs["axes"]):
                back[a] = index[i]
            return back
        source = node.inputs[0].type.shape
        tail = index[len(index) - len(source) :]
        return [0 if d == 1 else i for d, i in zip(source, tail, strict=True)]

    def apply(self, node: Node, v: Value, index: list[Operand], lanes: int) -> Instruction:
        k = self.k
        arguments = []
        for x in node.inputs:
            inner: list[Operand] = list(index[len(index) - x.type.rank :]) if x.type.rank else []
            inner = [0 if d == 1 else i for d, i in zip(x.type.shape, inner, strict=True)]
            arguments.append(self.value(x, inner, lanes))
        wide = max(a.lanes for a in arguments)
        arguments = [k.splat(a, wide) for a in arguments]
        if node.op.name != "cast":
            common = _common(node)
            arguments = [
                a if x.type.dtype.name == "bool" and node.op.name == "where" and n == 0 else _to(k, a, common)
                for n, (a, x) in enumerate(zip(arguments, node.inputs, strict=True))
            ]
        scalar = node.op.scalar  # type: ignore[attr-defined]
        result: Instruction = scalar(self.owner.math, *arguments, **node.attrs)
        return result


def _common(node: Node) -> str:
    """The element that an op's operands are brought to: that of their common dtype, or of a float result."""
    result = node.results[0].type.dtype
    inputs = node.inputs[1:] if node.op.name == "where" else node.inputs
    dtype: DType = inputs[0].type.dtype
    for x in inputs[1:]:
        dtype = promote(dtype, x.type.dtype)
    if result.name != "bool" and result.is_float:
        dtype = result
    return compute_elem(dtype)


def _to(k: KernelBuilder, a: Instruction, elem: str) -> Instruction:
    return k.convert(a, elem, signed=a.elem != "i1")
