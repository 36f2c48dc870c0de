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

from ..ir.graph import NO_ATTRIBUTES, Node, Value, serials
from ..ir.types import TensorType, f32, f64
from ..ops import Op
from . import lazy
from .autocast import current_frame
from .conversion import SCALAR_TYPES, scalar
from .core import Tensor, wrap

KEPT_NUMBERS = 1024
"""Numbers whose memory is kept for the next time that they are used."""

_capture, _autocast, _anomaly, _STAND_IN, _LEAF = (
    lazy._capture.get,
    current_frame.get,
    lazy.anomaly,
    lazy.STAND_IN,
    lazy._LEAF,
)
_object, _ref, _next, _open = object.__new__, weakref.ref, next, lazy._open
_numbers: dict[Any, dict[float, lazy.Meta]] = {f32: {}, f64: {}}
_f32_numbers, _f64_numbers = _numbers.values()
_f32_scalar, _f64_scalar = SCALAR_TYPES[f32], SCALAR_TYPES[f64]


def _number(number: float, type: TensorType) -> lazy.Meta:
    """Memory of a Python number beside a tensor of floats, which equal numbers share."""
    meta: lazy.Meta = scalar(number, type.element).meta  # type: ignore[arg-type]
    if number:  # 0.0 and -0.0 are equal
        known = _numbers[type.element]
        if len(known) >= KEPT_NUMBERS:
            known.clear()
        known[number] = meta
    return meta


# Nodes, values and tensors are made in one frame each: calls between would be a third of what an op costs.
def unary(op: Op, longer: Callable[..., Any], ruled: bool) -> Callable[..., Any]:
    """`longer`, a function of an op of one operand, with the short road before it. ruled: whether autocast has a rule
    for it."""
    seen = op._seen
    last: tuple[Any, Any] = None, None  # the type that was given last, and the result's

    @functools.wraps(longer)
    def run(*args: Any, **kwargs: Any) -> Any:
        nonlocal last
        x = args[0] if len(args) == 1 else None
        if (
            x.__class__ is not Tensor
            or kwargs
            or x._base is not None
            or _capture() is not None
            or _anomaly.active is not None
            or (ruled and _autocast() is not None)
        ):
            return longer(*args, **kwargs)
        a = x._v
        type = a.type
        known, made = last
        if known is not type:
            found = seen.get((id(type),))
            if found is None or ((e := type.element) is not f32 and e is not f64):
                return longer(x)
            made = found[0][0]
            last = type, made
        if a.node is _STAND_IN:
            return longer(x)
        node = _object(Node)
        v = _object(Value)
        node.op, node.serial, node.inputs, node.attrs, node.results = op, _next(serials), (a,), NO_ATTRIBUTES, (v,)
        v.node, v.index, v.type, v.name, v.meta, v.device = node, 0, made, "", None, a.device
        if x._rg:
            return wrap(v, x)
        t = _object(Tensor)
        t._v, t._rg, t._leaf = v, False, True
        t._grad = t._base = t._view = t._post = None
        t._seen = t._version = 0
        t._retain = False
        entries = _open.of.entries
        entries.append(_ref(t))
        if len(entries) > lazy.MANY:
            lazy.flush()
        return t

    return run


def binary(op: Op, longer: Callable[[Any, Any], Any], swapped: bool = False) -> Callable[[Any, Any], Any]:
    """`longer`, a method of an op of two operands, with the short road before it: run(x, o) is op(x, o), or op(o, x)
    where `swapped`. o may be a number."""
    seen = op._seen
    # The types that were given last, the second of a number or of a tensor, with the result's.
    by_number: tuple[Any, Any] = None, None
    by_tensor: tuple[Any, Any, Any] = None, None, None

    def run(x: Any, o: Any) -> Any:
        nonlocal by_number, by_tensor
        if x.__class__ is not Tensor or x._base is not None or _capture() is not None or _anomaly.active is not None:
            return longer(x, o)
        a = x._v
        type = a.type
        device = a.device
        if a.node is _STAND_IN:
            return longer(x, o)
        kind = o.__class__
        if kind is float or kind is int:
            element = type.element
            if element is f32:
                meta, number_type = _f32_numbers.get(o), _f32_scalar
            elif element is f64:
                meta, number_type = _f64_numbers.get(o), _f64_scalar
            else:
                return longer(x, o)
            b = _object(Value)
            b.node, b.index, b.type, b.name, b.device = _LEAF, 0, number_type, "", None
            b.meta = _number(o, type) if meta is None else meta
            rg = x._rg
            first, made = by_number
            if first is not type:
                found = seen.get((id(number_type), id(type)) if swapped else (id(type), id(number_type)))
                if found is None:
                    return longer(x, o)
                made = found[0][0]
                by_number = type, made
        elif kind is Tensor:
            b = o._v
            other = b.type
            if o._base is not None or b.node is _STAND_IN:
                return longer(x, o)
            if b.device is not device:
                if device is not None and b.device is not None and b.device != device:
                    return longer(x, o)
                device = device or b.device
            rg = x._rg or o._rg
            first, second, made = by_tensor
            if first is not type or second is not other:
                element = type.element
                if (element is not f32 and element is not f64) or other.element is not element:
                    return longer(x, o)
                found = seen.get((id(other), id(type)) if swapped else (id(type), id(other)))
                if found is None:
                    return longer(x, o)
                made = found[0][0]
                by_tensor = type, other, made
        else:
            return longer(x, o)
        node = _object(Node)
        v = _object(Value)
        node.op, node.serial, node.attrs, node.results = op, _next(serials), NO_ATTRIBUTES, (v,)
        node.inputs = (b, a) if swapped else (a, b)
        v.node, v.index, v.type, v.name, v.meta, v.device = node, 0, made, "", None, device
        if rg:
            return wrap(v, x, o) if kind is Tensor else wrap(v, x)
        t = _object(Tensor)
        t._v, t._rg, t._leaf = v, False, True
        t._grad = t._base = t._view = t._post = None
        t._seen = t._version = 0
        t._retain = False
        entries = _open.of.entries
        entries.append(_ref(t))
        if len(entries) > lazy.MANY:
            lazy.flush()
        return t

    return run
