"""Functions of each element that compare and choose, and of flags and bits."""

from __future__ import annotations

import math
from typing import Any, overload

from .. import ops
from ..ir.types import bool_
from .conversion import as_tensor, common, convert, number_tensor
from .core import Tensor, wrap
from .pointwise import Numeric, add, binary, floats, maximum, minimum, mul, sub
from .register import FUNCTIONS, METHODS, function, method


def _comparison(name: str, op: Any, *others: str) -> Any:
    def f(input: Tensor, other: Numeric) -> Tensor:
        return binary(op, input, other)

    f.__name__ = f.__qualname__ = name
    f.__doc__ = f"`{name}` of each pair of elements, as bool."
    return function(*others, in_place=True)(f)


eq = _comparison("eq", ops.eq)
ne = _comparison("ne", ops.ne, "not_equal")
lt = _comparison("lt", ops.lt, "less")
le = _comparison("le", ops.le, "less_equal")
gt = _comparison("gt", ops.gt, "greater")
ge = _comparison("ge", ops.ge, "greater_equal")


def flags(x: Any) -> Tensor:
    """Whether each element is not 0."""
    t = as_tensor(x)
    return t if t.dtype == bool_ else wrap(ops.cast(t.value, bool_), t)


def _logic(name: str, op: Any) -> Any:
    def f(input: Tensor, other: Tensor) -> Tensor:
        a, b = flags(input), flags(other)
        return wrap(op(a.value, b.value), a, b)

    f.__name__ = f.__qualname__ = name
    f.__doc__ = f"`{name}` of each pair of elements, of which all but 0 are true."
    return function(in_place=True)(f)


logical_and = _logic("logical_and", ops.logical_and)
logical_or = _logic("logical_or", ops.logical_or)
logical_xor = _logic("logical_xor", ops.ne)


@function(in_place=True)
def logical_not(input: Tensor) -> Tensor:
    """Whether each element is 0."""
    x = flags(input)
    return wrap(ops.logical_not(x.value), x)


def _bits(name: str, op: Any, of_bools: Any = None) -> Any:
    def f(input: Numeric, other: Numeric) -> Tensor:
        (x, y), dtype = common(input, other)
        if dtype == bool_ and of_bools is not None:
            return wrap(of_bools(x.value, y.value), x, y)
        return wrap(op(x.value, y.value), x, y)

    f.__name__ = f.__qualname__ = name
    f.__doc__ = f"`{name}` of each pair of integers or bools."
    return function(in_place=True)(f)


bitwise_and = _bits("bitwise_and", ops.bitwise_and, ops.logical_and)
bitwise_or = _bits("bitwise_or", ops.bitwise_or, ops.logical_or)
bitwise_xor = _bits("bitwise_xor", ops.bitwise_xor, ops.ne)
bitwise_left_shift = _bits("bitwise_left_shift", ops.shift_left)
bitwise_right_shift = _bits("bitwise_right_shift", ops.shift_right)


@function(in_place=True)
def bitwise_not(input: Tensor) -> Tensor:
    """All bits turned round; of bools the other."""
    op = ops.logical_not if input.dtype == bool_ else ops.bitwise_not
    return wrap(op(input.value), input)


@function()
def isnan(input: Tensor) -> Tensor:
    """Whether each element is NaN."""
    x = as_tensor(input)
    return wrap(ops.ne(x.value, x.value), x)


@function()
def isinf(input: Tensor) -> Tensor:
    """Whether each element is an infinity."""
    return eq(FUNCTIONS["abs"](input), math.inf) if input.dtype.is_float else ne(input, input)


@function()
def isposinf(input: Tensor) -> Tensor:
    """Whether each element is +infinity."""
    return eq(input, math.inf)


@function()
def isneginf(input: Tensor) -> Tensor:
    """Whether each element is -infinity."""
    return eq(input, -math.inf)


@function()
def isfinite(input: Tensor) -> Tensor:
    """Whether each element is neither NaN nor an infinity."""
    return lt(FUNCTIONS["abs"](input), math.inf) if input.dtype.is_float else eq(input, input)


@function()
def isreal(input: Tensor) -> Tensor:
    """Whether imaginary parts are 0: True everywhere where there are none."""
    return eq(input, input).logical_or(ne(input, input))


@function()
def isclose(input: Tensor, other: Tensor, rtol: float = 1e-05, atol: float = 1e-08, equal_nan: bool = False) -> Tensor:
    """|input - other| <= atol + rtol * |other|."""
    (x, y), dtype = common(input, other)
    same = eq(x, y)
    x, y = floats(x), floats(y)
    bound = add(mul(FUNCTIONS["abs"](y), rtol), atol)
    close = logical_and(le(FUNCTIONS["abs"](sub(x, y)), bound), isfinite(y))
    found = logical_or(same, close)
    return logical_or(found, logical_and(isnan(x), isnan(y))) if equal_nan and dtype.is_float else found


@function()
def allclose(input: Tensor, other: Tensor, rtol: float = 1e-05, atol: float = 1e-08, equal_nan: bool = False) -> bool:
    """Whether `isclose` holds for all elements."""
    return bool(isclose(input, other, rtol, atol, equal_nan).all())


@function()
def equal(input: Tensor, other: Tensor) -> bool:
    """Whether both have one shape and equal elements."""
    return input.shape == other.shape and bool(eq(input, other).all())


@overload
def where(condition: Tensor) -> tuple[Tensor, ...]: ...
@overload
def where(condition: Tensor, input: Numeric, other: Numeric) -> Tensor: ...
@function(method=False)
def where(condition: Tensor, input: Any = None, other: Any = None) -> Any:
    """input where the condition holds, else other. Of a condition alone the places where it holds, as nonzero."""
    if input is None and other is None:
        return FUNCTIONS["nonzero"](condition, as_tuple=True)
    (x, y), _ = common(input, other)
    c = flags(condition)
    return wrap(ops.where(c.value, x.value, y.value), x, y, c)


@method("where")
def _where_method(self: Tensor, condition: Tensor, other: Any) -> Tensor:
    return where(condition, self, other)


METHODS["where"] = _where_method
del METHODS["_where_method"]


@function()
def fmax(input: Tensor, other: Tensor) -> Tensor:
    """The larger of each pair; of a number and NaN the number."""
    return where(isnan(input), other, where(isnan(other), input, maximum(input, other)))


@function()
def fmin(input: Tensor, other: Tensor) -> Tensor:
    """The smaller of each pair; of a number and NaN the number."""
    return where(isnan(input), other, where(isnan(other), input, minimum(input, other)))


@function()
def signbit(input: Tensor) -> Tensor:
    """Whether the sign of an element is set, of zeros and NaN too."""
    return lt(input, 0) if input.dtype == bool_ else wrap(ops.signbit(input.value), input)


@function(in_place=True)
def lerp(input: Tensor, end: Tensor, weight: Numeric) -> Tensor:
    """input + weight * (end - input), so that weight 1 gives end."""
    if isinstance(weight, Tensor):
        far = sub(end, mul(sub(end, input), sub(1, weight)))
        return where(lt(weight.abs(), 0.5), add(input, mul(weight, sub(end, input))), far)
    step = sub(end, input)
    return add(input, mul(step, weight)) if abs(weight) < 0.5 else sub(end, mul(step, 1 - weight))


@function(in_place=True)
def masked_fill(input: Tensor, mask: Tensor, value: Any) -> Tensor:
    """input with `value` where the mask holds. The dtype of input."""
    fill = convert(value, input.dtype) if isinstance(value, Tensor) else number_tensor(value, input.dtype)
    c = flags(mask)
    return wrap(ops.where(c.value, fill.value, input.value), input, fill, c)
