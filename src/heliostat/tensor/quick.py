"""The short road of element-wise ops: from plain tensors to a new one without the layers between.

Building a node is most of what a chain of small functions costs. What makes a road longer (views, captures, anomaly
mode, autocast, other dtypes, types that the op has not seen) makes these functions give None, and the caller goes the
whole way.
"""

from __future__ import annotations

import functools
import weakref
from collections.abc import Callable
from typing import Any

from ..ir.graph import _NO_ATTRS, Node, Value, _serial
from ..ir.types import TensorType, f32, f64
from ..ops import Op
from . import lazy
from .autocast import _current
from .core import _SCALARS, Tensor, scalar, wrap

KEPT_NUMBERS = 1024
"""Numbers whose memory is kept for the next time that they are used."""

_capture, _anomaly, _open, _STAND_IN, _LEAF = lazy._capture, lazy.anomaly, lazy._open, lazy.STAND_IN, lazy._LEAF
_object, _ref, _next = object.__new__, weakref.ref, next
_numbers: dict[Any, dict[float, lazy.Meta]] = {f32: {}, f64: {}}


def _number(number: float, type: TensorType) -> Value:
    """A Python number beside a tensor of floats: a value of its own, over memory that equal numbers share."""
    known = _numbers[type.element]
    meta = known.get(number)
    if meta is None:
        made = scalar(number, type.element)  # type: ignore[arg-type]
        if number:  # 0.0 and -0.0 are equal
            if len(known) >= KEPT_NUMBERS:
                known.clear()
            known[number] = made.meta
        return made
    v: Value = _object(Value)
    scalar_type = _SCALARS[type.element]  # type: ignore[index]
    v.node, v.index, v.type, v.name, v.meta, v.device = _LEAF, 0, scalar_type, "", meta, None
    return v


def _made(op: Op, inputs: tuple[Value, ...], type: TensorType, device: str | None) -> Value:
    """`Node` and its one result."""
    node: Node = _object(Node)
    v: Value = _object(Value)
    node.op, node.serial, node.inputs, node.attrs, node.results = op, _next(_serial), inputs, _NO_ATTRS, (v,)
    v.node, v.index, v.type, v.name, v.meta, v.device = node, 0, type, "", None, device
    return v


def _plain(v: Value) -> Tensor:
    """`core.new` of a value that is not computed and has no gradient, where nothing is captured."""
    t: Tensor = _object(Tensor)
    t._v, t._rg, t._leaf = v, False, True
    t._grad = t._base = t._view = t._post = None
    t._seen = t._version = 0
    t._retain = False
    entries = _open.of.entries
    entries.append(_ref(t))
    if len(entries) > lazy.MANY:
        lazy.flush()
    return t


def unary(op: Op) -> Callable[[Any], Tensor | None]:
    """The short road of an op of one operand."""
    seen = op._seen

    def build(x: Any) -> Tensor | None:
        if x.__class__ is not Tensor or x._base is not None:
            return None
        a = x._v
        found = seen.get((id(a.type),))
        if found is None or _capture.get() is not None or _anomaly.active is not None or a.node is _STAND_IN:
            return None
        element = a.type.element
        if element is not f32 and element is not f64:
            return None
        v = _made(op, (a,), found[0][0], a.device)
        return wrap(v, x) if x._rg else _plain(v)

    return build


def binary(op: Op) -> Callable[[Any, Any, bool], Tensor | None]:
    """The short road of an op of two operands, of which one may be a number: build(x, o, swapped) is op(x, o), or
    op(o, x). Where None is returned nothing happened."""
    seen = op._seen

    def build(x: Any, o: Any, swapped: bool) -> Tensor | None:
        if x.__class__ is not Tensor or x._base is not None or _capture.get() is not None:
            return None
        a = x._v
        type = a.type
        element = type.element
        if (element is not f32 and element is not f64) or _anomaly.active is not None or a.node is _STAND_IN:
            return None
        device = a.device
        kind = o.__class__
        if kind is float or kind is int:
            b = _number(o, type)
            other = None
        elif kind is Tensor:
            other, b = o, o._v
            if o._base is not None or b.type.element is not element or b.node is _STAND_IN:
                return None
            if b.device is not device:
                if device is not None and b.device is not None and b.device != device:
                    return None
                device = device or b.device
        else:
            return None
        inputs = (b, a) if swapped else (a, b)
        found = seen.get((id(inputs[0].type), id(inputs[1].type)))
        if found is None:
            return None
        v = _made(op, inputs, found[0][0], device)
        if other is None:
            return wrap(v, x) if x._rg else _plain(v)
        return wrap(v, x, other) if x._rg or other._rg else _plain(v)

    return build


def first(op: Op, f: Any, ruled: bool) -> Any:
    """f, a published function of one tensor, that takes the short road where there is one. ruled: whether autocast
    has a rule for it."""
    build = unary(op)

    @functools.wraps(f)
    def run(*args: Any, **kwargs: Any) -> Any:
        if len(args) == 1 and not kwargs and not (ruled and _current.get() is not None):
            made = build(args[0])
            if made is not None:
                return made
        return f(*args, **kwargs)

    return run
