"""Forward-mode derivatives as graph: the tangent of a node's result, of its operands' tangents.

Each op's record says how (`Forward`). What has only a gradient rule goes forward by it too: the rule is linear in g,
and the gradient of a linear map, taken with a tangent, is the map turned round: exact, and free of g.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from ..diagnostics import UnsupportedError
from ..ir.graph import Node, Value, constant, parameter
from ..ir.rewrite import substitute
from ..ir.types import DType, TensorType
from .elementwise import add, cast
from .gradient import gradients
from .op import Forward, NotDifferentiable, Op
from .shape import broadcast_to

Tangents = Sequence[Value | None]


def tangent(node: Node, tangents: Tangents) -> Value | None:
    """The derivative of the node's result in the direction of its operands' tangents; None where it is zero.

    A tangent has its operand's type. Raises UnsupportedError for an op without a gradient, and names it."""
    op, y = node.op, node.results[0]
    if all(t is None for t in tangents) or not _floats(y.type):
        return None
    if not isinstance(op, Op) or op.name == "detach":
        return None
    if len(node.results) != 1:
        raise UnsupportedError(f"{op.name} has no forward derivative: it has several results")
    if op.forward is Forward.LINEAR:
        given = [_or_zeros(v, t) for v, t in zip(node.inputs, tangents, strict=True)]
        return op.build(*given, **node.attrs)
    if op.forward is Forward.MULTILINEAR:
        parts = [
            op.build(*(t if j == i else v for j, v in enumerate(node.inputs)), **node.attrs)
            for i, t in enumerate(tangents)
            if t is not None
        ]
        return _total(parts, y.type)
    if isinstance(op.gradient, NotDifferentiable):
        raise UnsupportedError(f"{op.name} has no forward derivative: {op.gradient.reason}")
    return _diagonal(node, op, tangents) if op.forward is Forward.DIAGONAL else _transposed(node, op, tangents)


def _diagonal(node: Node, op: Op, tangents: Tangents) -> Value | None:
    """The gradient rule with a tangent for g, of operands that are broadcast first: then no sum is left in it."""
    y = node.results[0]
    wide = [broadcast_to(v, y.type.shape) for v in node.inputs]
    parts: list[Value] = []
    for i, t in enumerate(tangents):
        if t is not None:
            g = cast(broadcast_to(t, y.type.shape), y.type.dtype)
            found = op.gradient(g, *wide, y, **node.attrs)[i]
            parts += [] if found is None else [found]
    return _total(parts, y.type)


def _transposed(node: Node, op: Op, tangents: Tangents) -> Value | None:
    y = node.results[0]
    stand_ins = [parameter(f"x{i}", v.type) for i, v in enumerate(node.inputs)]
    whole = parameter("y", y.type)
    directions = [None if t is None else parameter(f"t{i}", t.type) for i, t in enumerate(tangents)]
    found = transposed(y.type, lambda g: op.gradient(g, *stand_ins, whole, **node.attrs), directions)
    if found is None:
        return None
    given = {**dict(zip(stand_ins, node.inputs, strict=True)), whole: y}
    given.update((d, t) for d, t in zip(directions, tangents, strict=True) if d is not None and t is not None)
    return substitute([found], given)[0]


def transposed(y: TensorType, gradient: Callable[[Value], Tangents], tangents: Tangents) -> Value | None:
    """The tangent of a result of type y, of `gradient`, which gives operands their gradients as maps linear in g."""
    g = parameter("g", y)
    used = [(p, t) for p, t in zip(gradient(g), tangents, strict=True) if p is not None and t is not None]
    outputs, seeds = [p for p, _ in used], [cast(t, p.type.dtype) for p, t in used]
    if not outputs:
        return None
    found = gradients(outputs, seeds, [g], since=g.node.serial)[0]
    return None if found is None else _total([found], y)


def _or_zeros(v: Value, t: Value | None) -> Value:
    if t is not None:
        return t
    return broadcast_to(constant(0, TensorType(v.type.dtype, ())), v.type.shape) if _floats(v.type) else v


def _total(parts: Sequence[Value], type: TensorType) -> Value | None:
    total: Value | None = None
    for p in parts:
        p = broadcast_to(cast(p, type.dtype), type.shape)
        total = p if total is None else add(total, p)
    return total


def _floats(type: TensorType) -> bool:
    return isinstance(type.element, DType) and type.element.is_float
