"""Functions of each element: arithmetic, powers, roundings. Comparison and special functions stand apart."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, TypeAlias

from .. import ops
from ..diagnostics import DTypeError
from ..ir.graph import Value
from ..ir.types import bool_, f64, i64
from .conversion import as_tensor, common, convert, with_number
from .core import Tensor, wrap
from .dtypes import get_default_dtype, result_dtype
from .register import FUNCTIONS, function

Numeric: TypeAlias = Tensor | complex | float | int | bool


def floats(x: Tensor) -> Tensor:
    """x as floats: itself, or in the default dtype."""
    return x if x.dtype.is_float else convert(x, get_default_dtype())


def _unary(name: str, build: Callable[[Value], Value], *others: str, whole: str = "float") -> None:
    """Publish a function of one tensor. `whole`: what integers become: "float", "same" (the function leaves them), or
    "keep" (the function takes them)."""
    op = ops.REGISTRY.get(getattr(build, "__name__", ""))
    if op is not None and getattr(ops, op.name, None) is build:
        build = op.call
    else:
        op = None

    def f(input: Tensor) -> Tensor:
        x = as_tensor(input)
        if not x.dtype.is_float:
            if whole == "same" and x.dtype != bool_:
                return wrap(x.value, x)
            x = floats(x) if whole == "float" else x
        return wrap(build(x.value), x)

    f.__name__ = f.__qualname__ = name
    f.__doc__ = f"`{name}` of every element, as torch.{name}. Shape of input."
    function(*others, in_place=True, op=op)(f)


def asin_value(v: Value) -> Value:
    root = ops.mul(ops.sqrt(ops.sub(1.0, v)), ops.sqrt(ops.add(v, 1.0)))  # one of the product has no slope at the ends
    return ops.mul(ops.atan(ops.div(v, ops.add(root, 1.0))), 2.0)


def acos_value(v: Value) -> Value:
    size = _with_sign(v, v)
    inner = ops.mul(ops.atan(ops.div(ops.sqrt(ops.sub(1.0, size)), ops.sqrt(ops.add(size, 1.0)))), 2.0)
    return ops.where(ops.lt(v, 0.0), ops.sub(math.pi, inner), inner)


def _sinh(v: Value) -> Value:
    near = ops.lt(ops.abs(v), 1.0)  # where the difference would lose digits
    t = ops.expm1(ops.where(near, v, 0.0))
    small = ops.add(t, ops.div(t, ops.add(t, 1.0)))
    return ops.mul(ops.where(near, small, ops.sub(ops.exp(v), ops.exp(ops.neg(v)))), 0.5)


def _sign(v: Value) -> Value:
    if v.type.dtype == bool_:
        return v
    return ops.where(ops.ne(v, v), 0.0, ops.sign(v)) if v.type.dtype.is_float else ops.sign(v)


def _asinh(v: Value) -> Value:
    size = _with_sign(v, v)
    far = ops.gt(size, 1e10)  # its square may be infinite
    near = ops.where(far, 1.0, size)
    square = ops.mul(near, near)
    inner = ops.add(near, ops.div(square, ops.add(ops.sqrt(ops.add(square, 1.0)), 1.0)))
    large = ops.add(ops.log(ops.where(far, size, 1.0)), math.log(2.0))
    made = ops.where(far, large, ops.log1p(inner))
    return ops.where(ops.eq(v, 0.0), v, _with_sign(made, v))


def _with_sign(size: Value, v: Value) -> Value:
    return ops.where(ops.lt(v, 0.0), ops.neg(size), size)


def _acosh(v: Value) -> Value:
    far = ops.gt(v, 1e10)  # its square may be infinite
    t = ops.sub(ops.where(far, 2.0, v), 1.0)
    near = ops.log1p(ops.add(t, ops.mul(ops.sqrt(t), ops.sqrt(ops.add(t, 2.0)))))
    return ops.where(far, ops.add(ops.log(ops.where(far, v, 1.0)), math.log(2.0)), near)


def _atanh(v: Value) -> Value:
    return ops.mul(ops.sub(ops.log1p(v), ops.log1p(ops.neg(v))), 0.5)


def _frac(v: Value) -> Value:
    return ops.sub(v, ops.trunc(v))


def _square(v: Value) -> Value:
    w = ops.cast(v, i64) if v.type.dtype == bool_ else v
    return ops.mul(w, w)


def _sinc(v: Value) -> Value:
    x = ops.mul(v, math.pi)
    zero = ops.eq(x, 0.0)
    return ops.where(zero, 1.0, ops.div(ops.sin(x), ops.where(zero, 1.0, x)))


for _name, _build, _others, _whole in (
    ("exp", ops.exp, (), "float"), ("exp2", ops.exp2, (), "float"),
    ("expm1", ops.expm1, (), "float"), ("log", ops.log, (), "float"), ("log1p", ops.log1p, (), "float"),
    ("log2", ops.log2, (), "float"), ("log10", ops.log10, (), "float"), ("sqrt", ops.sqrt, (), "float"),
    ("rsqrt", ops.rsqrt, (), "float"), ("sin", ops.sin, (), "float"), ("cos", ops.cos, (), "float"),
    ("tan", ops.tan, (), "float"), ("atan", ops.atan, ("arctan",), "float"),
    ("asin", asin_value, ("arcsin",), "float"), ("acos", acos_value, ("arccos",), "float"),
    ("sinh", _sinh, (), "float"), ("asinh", _asinh, ("arcsinh",), "float"), ("acosh", _acosh, ("arccosh",), "float"),
    ("cosh", lambda v: ops.mul(ops.add(ops.exp(v), ops.exp(ops.neg(v))), 0.5), (), "float"),
    ("atanh", _atanh, ("arctanh",), "float"), ("tanh", ops.tanh, (), "float"), ("sigmoid", ops.sigmoid, (), "float"),
    ("erf", ops.erf, (), "float"), ("reciprocal", ops.reciprocal, (), "float"), ("sinc", _sinc, (), "float"),
    ("floor", ops.floor, (), "same"), ("ceil", ops.ceil, (), "same"), ("trunc", ops.trunc, ("fix",), "same"),
    ("frac", _frac, (), "float"), ("abs", ops.abs, ("absolute",), "keep"), ("neg", ops.neg, ("negative",), "keep"),
    ("sign", _sign, ("sgn",), "keep"), ("square", _square, (), "keep"),
    ("relu", ops.relu, (), "keep"), ("deg2rad", lambda v: ops.mul(v, math.pi / 180), (), "float"),
    ("rad2deg", lambda v: ops.mul(v, 180 / math.pi), (), "float"), ("silu", ops.silu, (), "float"),
):  # fmt: skip
    _unary(_name, _build, *_others, whole=_whole)


@function(in_place=True)
def round(input: Tensor, *, decimals: int = 0) -> Tensor:
    """Nearest whole number, ties to even; to `decimals` digits after the point."""
    if not input.dtype.is_float:
        return wrap(input.value, input)
    if decimals == 0:
        return wrap(ops.round(input.value), input)
    scale = 10.0**decimals
    return wrap(ops.div(ops.round(ops.mul(input.value, scale)), scale), input)


# --- two operands -----------------------------------------------------------------------------------------------------
_ADD, _SUB, _MUL, _DIV = (ops.REGISTRY[name].call for name in ("add", "sub", "mul", "div"))


def binary(op: Any, a: Any, b: Any) -> Tensor:
    """An op of two tensors or numbers in their common dtype."""
    if isinstance(a, Tensor):
        if isinstance(b, Tensor):
            if a._v.type.element is b._v.type.element:
                return wrap(op(a.value, b.value), a, b)
        elif (number := with_number(a, b)) is not None:
            return wrap(op(a.value, number), a)
    elif isinstance(b, Tensor) and (number := with_number(b, a)) is not None:
        return wrap(op(number, b.value), b)
    (x, y), _ = common(a, b)
    return wrap(op(x.value, y.value), x, y)


@function(in_place=True)
def add(input: Numeric, other: Numeric, *, alpha: float = 1) -> Tensor:
    """input + alpha * other."""
    return binary(_ADD, input, other if alpha == 1 else mul(other, alpha))


@function("subtract", in_place=True)
def sub(input: Numeric, other: Numeric, *, alpha: float = 1) -> Tensor:
    """input - alpha * other."""
    return binary(_SUB, input, other if alpha == 1 else mul(other, alpha))


@function()
def rsub(input: Numeric, other: Numeric, *, alpha: float = 1) -> Tensor:
    """other - alpha * input."""
    return sub(other, input, alpha=alpha)


@function("multiply", in_place=True)
def mul(input: Numeric, other: Numeric) -> Tensor:
    """input * other."""
    return binary(_MUL, input, other)


@function("divide", in_place=True)
def div(input: Numeric, other: Numeric, *, rounding_mode: str | None = None) -> Tensor:
    """input / other, as floats; with `rounding_mode` "floor" or "trunc" a whole number of the common dtype."""
    if rounding_mode is not None:
        if rounding_mode not in ("floor", "trunc"):
            raise ValueError(f"rounding_mode is 'floor', 'trunc' or None, not {rounding_mode!r}")
        if rounding_mode == "floor":
            return floor_divide(input, other)
        (x, y), dtype = common(input, other)
        q = wrap(ops.div(x.value, y.value), x, y)
        if dtype.is_float:
            return wrap(ops.trunc(q.value), q)
        down = ops.floor_divide(x.value, y.value)
        rest = ops.sub(x.value, ops.mul(down, y.value))
        up = ops.logical_and(ops.lt(down, 0), ops.ne(rest, 0))
        return wrap(ops.where(up, ops.add(down, 1), down), x, y)
    first = input if isinstance(input, Tensor) else other
    if isinstance(first, Tensor) and first._v.type.element.is_float:  # type: ignore[attr-defined]
        return binary(_DIV, input, other)
    (x, y), dtype = common(input, other)
    x, y = floats(x), floats(y)
    return wrap(ops.div(x.value, y.value), x, y)


@function(in_place=True)
def true_divide(input: Numeric, other: Numeric) -> Tensor:
    """input / other, as floats."""
    return div(input, other)


@function(in_place=True)
def floor_divide(input: Numeric, other: Numeric) -> Tensor:
    """input / other rounded down, in the common dtype."""
    return binary(ops.floor_divide, input, other)


@function(in_place=True)
def remainder(input: Numeric, other: Numeric) -> Tensor:
    """input - floor(input / other) * other, which has the sign of other."""
    return binary(ops.remainder, input, other)


@function(in_place=True)
def fmod(input: Numeric, other: Numeric) -> Tensor:
    """input - trunc(input / other) * other, which has the sign of input."""
    (x, y), _ = common(input, other)
    a, b = x.value, y.value
    below = ops.signbit(a)
    rest = ops.remainder(ops.where(below, ops.neg(a), a), ops.abs(b))
    return wrap(ops.where(below, ops.neg(rest), rest), x, y)


@function(in_place=True)
def pow(input: Numeric, exponent: Numeric) -> Tensor:
    """input ** exponent in the common dtype. Small whole exponents are products."""
    if isinstance(exponent, int | float) and isinstance(input, Tensor):
        dtype = result_dtype([input, exponent])
        if dtype == bool_:  # a number of its own dtype: itself, or 1 everywhere
            return FUNCTIONS["logical_or"](input, not exponent)
        x = convert(input, dtype)
        v = x.value
        if exponent in (2, 3) and not isinstance(exponent, bool):
            square = ops.mul(v, v)
            return wrap(square if exponent == 2 else ops.mul(square, v), x)
        if dtype.is_float and exponent in (0.5, -0.5, -1, 1, 0):
            build = {0.5: ops.sqrt, -0.5: ops.rsqrt, -1: ops.reciprocal}.get(exponent)
            if build is not None:
                return wrap(build(v), x)
        if not dtype.is_float and exponent < 0:
            raise DTypeError("integers to negative powers are not integers", help="use floats")
    (x, y), dtype = common(input, exponent)
    if dtype.is_float:
        return wrap(ops.pow(x.value, y.value), x, y)
    return _integer_power(x, y)


def _integer_power(x: Tensor, y: Tensor) -> Tensor:
    """By squaring, a step for each bit of an exponent. A negative one gives 1, -1 or 0, as PyTorch's integers do."""
    base, n = x.value, y.value
    bits = y.dtype.bits - (y.dtype.kind == "i")
    if y.dtype.kind == "i":
        below = ops.lt(n, 0)
        inverse = ops.where(ops.eq(ops.abs(base), 1), base, 0)  # 1 / base, rounded towards 0
        base = ops.where(below, inverse, base)
        n = ops.where(below, ops.bitwise_and(n, 1), n)  # of 1, -1 and 0 the parity is enough ...
        n = ops.where(ops.logical_and(below, ops.eq(inverse, 0)), 1, n)  # ... but 0 to the power of 0 is 1
    result = ops.add(ops.mul(base, 0), ops.add(ops.mul(n, 0), 1))
    for _ in range(bits):
        odd = ops.eq(ops.bitwise_and(n, 1), 1)
        result = ops.where(odd, ops.mul(result, base), result)
        base, n = ops.mul(base, base), ops.shift_right(n, 1)
    return wrap(result, x, y)


@function(in_place=True)
def float_power(input: Numeric, exponent: Numeric) -> Tensor:
    """input ** exponent in float64."""

    return pow(as_tensor(input, f64), as_tensor(exponent, f64))


def _extreme(name: str, op: Any) -> Callable[..., Tensor]:
    def f(input: Tensor, other: Tensor) -> Tensor:
        return binary(op, input, other)

    f.__name__ = name
    f.__doc__ = f"The {name} of each pair of elements; NaN if either is."
    return f


maximum = function(in_place=True)(_extreme("maximum", ops.maximum))
minimum = function(in_place=True)(_extreme("minimum", ops.minimum))


def flat_at_nan(v: Value) -> Value:
    """v, of floats, whose gradient is 0 where it is NaN."""
    return ops.where(ops.eq(v, v), v, math.nan)


@function("clip", in_place=True)
def clamp(input: Tensor, min: Any = None, max: Any = None) -> Tensor:
    """input, but not below min and not above max; NaN where a bound is. The gradient at a bound is 1, at NaN 0."""
    if min is None and max is None:
        raise ValueError("clamp needs min or max")
    operands = [input, *(b for b in (min, max) if b is not None)]
    found, dtype = common(*operands)
    y = flat_at_nan(found[0].value) if dtype.is_float and found[0].requires_grad else found[0].value
    at = 1
    for given_, beyond in ((min, ops.lt), (max, ops.gt)):
        if given_ is None:
            continue
        bound = found[at].value
        outside = beyond(y, bound)
        if dtype.is_float and (isinstance(given_, Tensor) or given_ != given_):
            outside = ops.logical_or(outside, ops.ne(bound, bound))
        y = ops.where(outside, bound, y)
        at += 1
    return wrap(y, *found)


@function(in_place=True)
def clamp_min(input: Tensor, min: Any) -> Tensor:
    """input, but not below min."""
    return clamp(input, min=min)


@function(in_place=True)
def clamp_max(input: Tensor, max: Any) -> Tensor:
    """input, but not above max."""
    return clamp(input, max=max)


@function("arctan2", in_place=True)
def atan2(input: Tensor, other: Tensor) -> Tensor:
    """The angle of the point (other, input), -pi .. pi."""
    (y, x), _ = common(input, other)
    y, x = floats(y), floats(x)
    a, b = y.value, x.value
    size = ops.detach(ops.maximum(ops.abs(a), ops.abs(b)))
    nowhere = ops.eq(size, 0.0)
    scale = ops.where(nowhere, 1.0, size)
    # inf / inf is NaN
    a, b = (ops.where(ops.eq(ops.abs(v), math.inf), ops.sign(v), ops.div(v, scale)) for v in (a, b))
    below, left = ops.signbit(a), ops.signbit(b)
    a = ops.where(nowhere, ops.detach(a), a)
    beside = ops.where(left, ops.neg(b), b)
    radius = ops.sqrt(ops.where(nowhere, 1.0, ops.add(ops.mul(a, a), ops.mul(b, b))))
    # By the half angle, which is smooth where b is 0: the gradient is right there too.
    base = ops.mul(ops.atan(ops.div(a, ops.add(radius, beside))), 2.0)
    turned = ops.sub(math.pi, ops.mul(ops.cast(below, b.type.dtype), 2 * math.pi))
    return wrap(ops.where(left, ops.sub(turned, base), base), y, x)


@function(in_place=True)
def hypot(input: Tensor, other: Tensor) -> Tensor:
    """sqrt(input^2 + other^2); infinity where one of them is, beside NaN too. Slopes are those of the limit: at
    infinity the sign of what is infinite, over sqrt(2) where both are; 0 at (0, 0)."""
    (x, y), _ = common(input, other)
    a, b = ops.abs(x.value), ops.abs(y.value)
    ends = [ops.eq(v, math.inf) for v in (a, b)]
    endless = ops.logical_or(*ends)
    # With their signs, so that second slopes are right where one is 0. What is not taken must not be infinite.
    first = ops.ge(a, b)
    pairs = ((x.value, y.value), (y.value, x.value))
    large, small = (ops.where(endless, 1.0, ops.where(first, v, w)) for v, w in pairs)
    t = ops.div(small, ops.where(ops.eq(large, 0.0), 1.0, large))
    finite = ops.mul(ops.abs(large), ops.sqrt(ops.add(ops.mul(t, t), 1.0)))
    infinite = ops.add(*(ops.abs(ops.where(end, v.value, 0.0)) for end, v in zip(ends, (x, y), strict=True)))
    infinite = ops.where(ops.logical_and(*ends), ops.mul(infinite, math.sqrt(0.5)), infinite)
    return wrap(ops.where(endless, infinite, finite), x, y)


@function(in_place=True)
def copysign(input: Tensor, other: Numeric) -> Tensor:
    """The size of input with the sign of other."""
    (x, y), _ = common(input, other)
    x, y = floats(x), floats(y)
    size = ops.abs(x.value)
    return wrap(ops.where(ops.signbit(y.value), ops.neg(size), size), x, y)


@function()
def logaddexp(input: Tensor, other: Tensor) -> Tensor:
    """log(exp(input) + exp(other))."""
    (x, y), _ = common(input, other)
    a, b = x.value, y.value
    top = ops.maximum(a, b)
    same = ops.eq(a, b)
    away = ops.where(same, 0.0, ops.neg(ops.abs(ops.sub(a, b))))
    return wrap(ops.add(top, ops.log1p(ops.exp(away))), x, y)


@function()
def logaddexp2(input: Tensor, other: Tensor) -> Tensor:
    """log2(2^input + 2^other)."""
    ln2 = math.log(2)
    (x, y), _ = common(input, other)
    return mul(logaddexp(mul(x, ln2), mul(y, ln2)), 1 / ln2)


@function(in_place=True)
def addcmul(input: Tensor, tensor1: Tensor, tensor2: Tensor, *, value: float = 1) -> Tensor:
    """input + value * tensor1 * tensor2."""
    product = mul(tensor1, tensor2)
    return add(input, product if value == 1 else mul(product, value))


@function(in_place=True)
def addcdiv(input: Tensor, tensor1: Tensor, tensor2: Tensor, *, value: float = 1) -> Tensor:
    """input + value * tensor1 / tensor2."""
    quotient = div(tensor1, tensor2)
    return add(input, quotient if value == 1 else mul(quotient, value))


@function(in_place=True)
def heaviside(input: Tensor, values: Tensor) -> Tensor:
    """0 below zero, 1 above, `values` at zero."""
    (x, y), _ = common(input, values)
    one = ops.cast(ops.gt(x.value, 0), x.dtype)
    return wrap(ops.where(ops.eq(x.value, 0), y.value, one), x, y)


@function(in_place=True)
def xlogy(input: Numeric, other: Numeric) -> Tensor:
    """input * log(other), and 0 where input is 0."""
    (x, y), _ = common(input, other)
    x, y = floats(x), floats(y)
    bounded = ops.logical_and(ops.gt(y.value, 0.0), ops.lt(y.value, math.inf))  # there the product is 0 by itself
    apart = ops.logical_or(bounded, ops.ne(y.value, y.value))
    zero = ops.logical_and(ops.eq(x.value, 0.0), ops.logical_not(apart))
    return wrap(ops.where(zero, 0.0, ops.mul(x.value, ops.log(ops.where(zero, 1.0, y.value)))), x, y)


@function(in_place=True)
def ldexp(input: Tensor, other: Tensor) -> Tensor:
    """input * 2^other, by two factors: 2^other may be infinite where the result is not."""
    x, power = (floats(t) for t in common(input, as_tensor(other))[0])
    infinite = power.detach().abs() == math.inf
    half = FUNCTIONS["where"](infinite, power, FUNCTIONS["floor"](power * 0.5))
    rest = FUNCTIONS["where"](infinite, 0.0, power - half)
    return mul(mul(x, FUNCTIONS["exp2"](half)), FUNCTIONS["exp2"](rest))


@function(in_place=True)
def logit(input: Tensor, eps: float | None = None) -> Tensor:
    """log(x / (1 - x)), of x brought between eps and 1 - eps where eps is given."""
    x = floats(input)
    x = x if eps is None else clamp(x, eps, 1 - eps)
    v = x.value
    inside = ops.logical_and(ops.ge(v, 0.0), ops.le(v, 1.0))
    one = ops.cast(inside, v.type.dtype)
    v = ops.mul(v, ops.div(one, one))  # 0 / 0 outside, so that the gradient, too, is NaN there
    return wrap(ops.sub(ops.log(v), ops.log(ops.sub(1.0, v))), x)


@function(in_place=True)
def nan_to_num(
    input: Tensor, nan: float | None = None, posinf: float | None = None, neginf: float | None = None
) -> Tensor:
    """NaN (by 0) and infinities (by the dtype's largest) replaced by numbers, those that are given."""
    if not input.dtype.is_float:
        return wrap(input.value, input)
    from .dtypes import finfo

    info = finfo(input.dtype)
    v = input.value
    v = ops.where(ops.ne(v, v), 0.0 if nan is None else nan, v)
    v = ops.where(ops.eq(v, math.inf), info.max if posinf is None else posinf, v)
    return wrap(ops.where(ops.eq(v, -math.inf), info.min if neginf is None else neginf, v), input)


@function(in_place=True)
def gcd(input: Tensor, other: Tensor) -> Tensor:
    """Greatest common divisor, not negative."""
    (x, y), _ = common(input, other)
    return wrap(ops.gcd(x.value, y.value), x, y)


@function(in_place=True)
def lcm(input: Tensor, other: Tensor) -> Tensor:
    """Least common multiple, not negative."""
    (x, y), _ = common(input, other)
    return wrap(ops.abs(ops.mul(ops.floor_divide(x.value, gcd(x, y).value), y.value)), x, y)


@function()
def positive(input: Tensor) -> Tensor:
    """input itself. Not of bools."""
    if input.dtype == bool_:
        raise DTypeError("positive takes numbers, found a tensor of bool")
    return input
