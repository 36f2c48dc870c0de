"""Reverse-mode gradients: `backward` walks the graph behind a tensor and builds each op's own gradient as graph.

What is built is as lazy as any other value and can be differentiated again. Gradients stop at leaves, which gather
them, and at `detach`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from .. import ops
from ..diagnostics import GradientError, ShapeError, UnsupportedError
from ..ir.graph import CONSTANT, PARAMETER, Value, constant
from ..ir.types import DType, TensorType
from ..ops import NotDifferentiable, Op
from ..ops.rules import shown
from . import lazy
from .core import Tensor, grad_mode, new

Pair = tuple[Value, Value]


def _parents(v: Value) -> Sequence[Value]:
    """The values that a gradient goes on to."""
    m = v.meta
    if m is not None:
        if m.function is not None:
            found: Sequence[Value] = m.function.inputs
            return found
        if m.leaf is not None and not _is_interior(m):
            return ()
    node = v.node
    if node.op is PARAMETER or node.op is CONSTANT or node.op is lazy.DETACH:
        return ()
    return [p for p in node.inputs if _differentiable(p)]


def _is_interior(m: Any) -> bool:
    t = m.leaf()
    return t is not None and t._retain


def _order(roots: Sequence[Value]) -> list[Value]:
    order: list[Value] = []
    seen: set[int] = set()
    for root in roots:
        stack: list[tuple[Value, bool]] = [(root, False)]
        while stack:
            v, placed = stack.pop()
            if placed:
                order.append(v)
                continue
            if id(v) in seen:
                continue
            seen.add(id(v))
            stack.append((v, True))
            stack.extend((i, False) for i in _parents(v) if id(i) not in seen)
    return order


def differentiate(pairs: Sequence[Pair], wanted: Sequence[Value] | None) -> tuple[list[Value], dict[int, Value]]:
    """Gradients of sum(seed * output) by value id, and all values behind the outputs in order.

    `wanted`: values whose gradients are asked for, None for all leaves."""
    order = _order([y for y, _ in pairs])
    named = None if wanted is None else {id(v) for v in wanted}
    reaches: set[int] = set()
    for v in order:
        m = v.meta
        hit = (m is not None and m.leaf is not None) if named is None else id(v) in named
        if hit or any(id(p) in reaches for p in _parents(v)):
            reaches.add(id(v))
    total: dict[int, Value] = {}
    for y, seed in pairs:
        _add(total, y, seed)
    done: set[int] = set()
    for v in reversed(order):
        g = total.get(id(v))
        if g is None or id(v) not in reaches:
            continue
        m = v.meta
        if m is not None and m.hooks:
            g = total[id(v)] = _hooked(m.hooks, g)
        parents = _parents(v)
        if not parents or not any(id(p) in reaches for p in parents):
            continue
        if m is not None and m.function is not None:
            if id(m.function) not in done:
                done.add(id(m.function))
                for p, pg in m.function.gradients(total):
                    if pg is not None and id(p) in reaches:
                        _add(total, p, pg)
            continue
        for p, pg in zip(v.node.inputs, _of_node(v, g), strict=True):
            if id(p) in reaches and _differentiable(p):
                _add(total, p, _zeros(p) if pg is None else pg)
    return order, total


def _of_node(v: Value, g: Value) -> Sequence[Value | None]:
    op = v.node.op
    assert isinstance(op, Op)
    if isinstance(op.gradient, NotDifferentiable):
        if not _differentiable(v):
            return [None] * len(v.node.inputs)
        raise UnsupportedError(f"{op.name} has no gradient: {op.gradient.reason}")
    found: Sequence[Value | None] = op.gradient(g, *v.node.inputs, v, **v.node.attrs)
    return found


def _differentiable(v: Value) -> bool:
    return isinstance(v.type.element, DType) and v.type.element.is_float


def _zeros(v: Value) -> Value:
    """The gradient of a step function, which is 0 wherever it has one."""
    return ops.broadcast_to(constant(0, TensorType(v.type.dtype, ())), v.type.shape)


def _hooked(hooks: list[Callable[..., Any]], g: Value) -> Value:
    t: Tensor = new(Tensor, g)
    for hook in list(hooks):
        found = hook(t)
        if found is not None:
            t = found
    return t.value


def _add(total: dict[int, Value], v: Value, g: Value) -> None:
    if g.type.element != v.type.element:
        g = ops.cast(g, v.type.dtype)
    if g.type.shape != v.type.shape:
        g = ops.broadcast_to(g, v.type.shape)
    before = total.get(id(v))
    total[id(v)] = g if before is None else ops.add(before, g)


def _seed(y: Tensor, g: Tensor | None) -> Value:
    if g is None:
        if y.numel() != 1:
            what = f"a gradient starts at one element, found a tensor of shape {shown(y.shape)}"
            raise GradientError(what, help="give the gradient of the output, or sum it first")
        if not y.dtype.is_float:
            raise GradientError(f"a gradient starts at a float, found a tensor of {y.dtype}")
        return ops.broadcast_to(constant(1, TensorType(y.dtype, ())), tuple(y.shape))
    if g.shape != y.shape:
        raise ShapeError(f"the gradient of an output of {shown(y.shape)} has shape {shown(g.shape)}")
    return g.value


def _pairs(outputs: Sequence[Tensor], seeds: Sequence[Tensor | None]) -> list[Pair]:
    for y in outputs:
        if not y.requires_grad:
            raise GradientError("the output does not require grad and has no gradient")
    return [(y.value, _seed(y, g)) for y, g in zip(outputs, seeds, strict=True)]


def _many(x: Any) -> list[Any]:
    return list(x) if isinstance(x, list | tuple) else [x]


def backward(
    tensors: Any,
    grad_tensors: Any = None,
    retain_graph: bool | None = None,
    create_graph: bool = False,
    inputs: Any = None,
) -> None:
    """Add the gradients of tensors to the `grad` of the leaves behind them, or of `inputs`.

    The graph is kept for as long as a tensor needs it: `retain_graph` has no effect."""
    outputs = _many(tensors)
    seeds = [None] * len(outputs) if grad_tensors is None else _many(grad_tensors)
    chosen = None if inputs is None else [t.value for t in _many(inputs)]
    with grad_mode(create_graph):
        order, total = differentiate(_pairs(outputs, seeds), chosen)
        named = None if chosen is None else {id(v) for v in chosen}
        for v in order:
            m = v.meta
            t = None if m is None or m.leaf is None else m.leaf()
            g = total.get(id(v))
            if t is None or g is None or (named is not None and id(v) not in named):
                continue
            _gather(t, g, create_graph)


def _gather(t: Tensor, g: Value, create_graph: bool) -> None:
    made: Tensor = new(Tensor, g if create_graph else ops.detach(g), create_graph)
    before = t.grad
    t.grad = made if before is None else (before + made if create_graph else before.detach() + made)
    for hook in list(t._post or ()):
        hook(t)


def grad(
    outputs: Any,
    inputs: Any,
    grad_outputs: Any = None,
    retain_graph: bool | None = None,
    create_graph: bool = False,
    allow_unused: bool | None = None,
    materialize_grads: bool = False,
) -> tuple[Tensor | None, ...]:
    """Gradients of outputs with respect to inputs, leaves or not, without touching any `grad`."""
    found, wanted = _many(outputs), _many(inputs)
    seeds = [None] * len(found) if grad_outputs is None else _many(grad_outputs)
    for t in wanted:
        if not t.requires_grad:
            raise GradientError("one of the inputs does not require grad")
    values = [t.value for t in wanted]
    with grad_mode(create_graph):
        _, total = differentiate(_pairs(found, seeds), values)
        result: list[Tensor | None] = []
        for t, v in zip(wanted, values, strict=True):
            g = total.get(id(v))
            if g is None:
                if not (allow_unused or materialize_grads):
                    raise GradientError("an input is not used for the outputs", help="allow_unused=True gives None")
                result.append(t.detach() * 0 if materialize_grads else None)
            else:
                result.append(new(Tensor, g if create_graph else ops.detach(g), create_graph))
    return tuple(result)


def backward_method(
    self: Tensor,
    gradient: Tensor | None = None,
    retain_graph: bool | None = None,
    create_graph: bool = False,
    inputs: Any = None,
) -> None:
    """Add the gradients of this tensor to the `grad` of the leaves behind it."""
    backward([self], [gradient], retain_graph, create_graph, inputs)


def no_grad(function: Any = None) -> Any:
    """Without recording what gradients need: a context manager and a decorator."""
    return grad_mode(False) if function is None else grad_mode(False)(function)


def enable_grad(function: Any = None) -> Any:
    """Recording what gradients need: a context manager and a decorator."""
    return grad_mode(True) if function is None else grad_mode(True)(function)


inference_mode = no_grad


class set_grad_enabled(grad_mode):
    """Record or not, from here on, or inside a `with`."""

    def __init__(self, mode: bool) -> None:
        super().__init__(mode)
        super().__enter__()

    def __enter__(self) -> None:
        return None
