"""Reverse-mode gradients as graph: each op's own rule, put together. What is built can be differentiated again."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ..diagnostics import UnsupportedError
from ..ir.graph import Node, Value, constant, parameter, topological
from ..ir.rewrite import substitute
from ..ir.types import DType, TensorType
from .op import NotDifferentiable, Op, get


def gradients(
    outputs: Sequence[Value], seeds: Sequence[Value], wrt: Sequence[Value], since: int | None = None
) -> list[Value | None]:
    """sum_i seeds[i] * d outputs[i] / d wrt[j] for each j; None where no output depends on it.

    outputs: float tensors; seeds: of their shapes. Of any depth. `since`: the serial of the node that made `wrt`, where
    it is known: nothing older depends on it. Raises UnsupportedError for an op on the way that has
    no gradient, and names it.
    """
    nodes = topological(outputs) if since is None else _newer(outputs, since)
    wanted = {id(v) for v in wrt}
    reaches: set[int] = set()  # nodes whose results depend on one of `wrt`, or are one
    for node in nodes:
        if any(id(v.node) in reaches for v in node.inputs) or any(id(r) in wanted for r in node.results):
            reaches.add(id(node))
    total: dict[int, Value] = {}
    for y, seed in zip(outputs, seeds, strict=True):
        _add(total, y, seed)
    for node in reversed(nodes):
        if not isinstance(node.op, Op) or not any(id(v.node) in reaches for v in node.inputs):
            continue
        if any(id(r) in total for r in node.results):
            for v, g in zip(node.inputs, _backward(node, node.op, total), strict=True):
                if g is not None and id(v.node) in reaches and _differentiable(v):
                    _add(total, v, g)
    return [total.get(id(v)) for v in wrt]


def _newer(values: Sequence[Value], since: int) -> list[Node]:
    """The nodes behind values that are not older than a serial, operands before users."""
    found: dict[int, Node] = {}
    stack = [v.node for v in values]
    while stack:
        node = stack.pop()
        if id(node) not in found and node.serial >= since:
            found[id(node)] = node
            stack.extend(v.node for v in node.inputs)
    return sorted(found.values(), key=lambda node: node.serial)


def _backward(node: Node, op: Op, total: dict[int, Value]) -> Sequence[Value | None]:
    if isinstance(op.gradient, NotDifferentiable):
        if not any(_differentiable(r) for r in node.results):
            return [None] * len(node.inputs)
        raise UnsupportedError(f"{op.name} has no gradient: {op.gradient.reason}")
    grads = tuple(total.get(id(r)) for r in node.results)
    if len(node.results) == 1:
        result: Sequence[Value | None] = op.gradient(grads[0], *node.inputs, node.results[0], **node.attrs)
    else:
        given = tuple(_zeros(r.type) if g is None else g for r, g in zip(node.results, grads, strict=True))
        result = op.gradient(given, *node.inputs, node.results, **node.attrs)
    return result


def _differentiable(v: Value) -> bool:
    """Whether a gradient may flow into the value: floats, and blocks, which stand for floats."""
    return not isinstance(v.type.element, DType) or v.type.element.is_float


def _add(total: dict[int, Value], v: Value, g: Value) -> None:
    element = v.type.element
    if isinstance(element, DType) and g.type.element != element:
        g = get("cast").build(g, dtype=element)
    total[id(v)] = g if id(v) not in total else get("add").build(total[id(v)], g)


def _zeros(type: TensorType) -> Value:
    zero = constant(0, TensorType(type.dtype, ()))
    return get("broadcast_to").build(zero, shape=type.shape) if type.shape else zero


def sum_to(g: Value, like: TensorType) -> Value:
    """Sum a gradient over the axes along which an operand of type `like` was broadcast."""
    extra = g.type.rank - like.rank
    stretched = [i + extra for i, d in enumerate(like.shape) if d == 1 and g.type.shape[i + extra] != 1]
    axes = (*range(extra), *stretched)
    if axes:
        g = get("sum").build(g, axes=axes, keepdim=True)
    return get("reshape").build(g, shape=like.shape) if g.type.shape != like.shape else g


def through_decomposition(op: Any, g: Value, inputs: Sequence[Value], attrs: Any) -> list[Value | None]:
    """The gradient of a composite: that of its decomposition, taken with each input as a value of its own."""
    stand_ins = [parameter(f"x{i}", v.type) for i, v in enumerate(inputs)]
    y: Value = op.decompose(*stand_ins, **attrs)
    seed = parameter("g", g.type)
    found = gradients([y], [seed], stand_ins)
    given = {**dict(zip(stand_ins, inputs, strict=True)), seed: g}
    built = iter(substitute([v for v in found if v is not None], given))
    return [None if v is None else next(built) for v in found]
