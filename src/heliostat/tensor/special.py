"""Special functions, composed of other ops: gamma and error functions and their relatives."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import Any

from .. import ops
from ..diagnostics import DTypeError
from ..ir.graph import Value
from ..ir.types import TensorType, bool_, f16, f32, f64
from . import recorded
from .conversion import common, convert
from .core import Tensor, wrap
from .function import Function
from .pointwise import floats
from .register import FUNCTIONS, function


def _series(v: Value, coefficients: list[float]) -> Value:
    total = ops.add(ops.mul(v, coefficients[-1]), coefficients[-2])
    for c in reversed(coefficients[:-2]):
        total = ops.add(ops.mul(total, v), c)
    return total


@function(in_place=True)
def erfc(input: Tensor) -> Tensor:
    """1 - erf(x); small values keep their digits."""
    return in_f64(ops.erfc, input)


@function(in_place=True)
def erfinv(input: Tensor) -> Tensor:
    """The x whose erf is given. Its gradient is sqrt(pi) / 2 exp(x^2)."""
    made: Tensor = _ErfInv.apply(floats(input))
    return made


class _ErfInv(Function):
    @staticmethod
    def forward(ctx: Any, y: Tensor) -> Tensor:
        x = in_f64(erfinv_value, y)
        ctx.save_for_backward(x)
        return x

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> Tensor:
        (x,) = ctx.saved_tensors
        return g * (x * x).exp() * (math.sqrt(math.pi) / 2)


def erfinv_value(y: Value) -> Value:
    """Giles' approximation and Newton's steps in f64; near -1 and 1, where erf has lost the digits, by the share of the
    normal distribution beyond. Source: M. Giles, Approximating the erfinv function (2012)."""
    w = ops.neg(ops.log(ops.mul(ops.sub(1.0, y), ops.add(y, 1.0))))
    a = ops.sub(w, 2.5)
    near = _series(a, [
        1.50140941, 0.246640727, -0.00417768164, -0.00125372503, 0.000218580870, -4.39150654e-06, -3.5233877e-06,
        3.43273939e-07, 2.81022636e-08,
    ])  # fmt: skip
    far = ops.ge(w, 5.0)
    z = ops.mul(ops.where(far, 0.0, near), y)
    for _ in range(2):
        slope = ops.mul(ops.exp(ops.neg(ops.mul(z, z))), 2 / math.sqrt(math.pi))
        z = ops.sub(z, ops.div(ops.sub(ops.erf(z), y), slope))
    tail = ops.where(far, ops.mul(ops.sub(1.0, ops.abs(y)), 0.5), 0.0)
    outer = ops.mul(ops.ndtri(tail), ops.mul(ops.sign(y), -math.sqrt(0.5)))
    return ops.where(ops.gt(ops.abs(y), 1.0), math.nan, ops.where(far, outer, z))


_STIRLING = [1 / 12, -1 / 360, 1 / 1260, -1 / 1680, 1 / 1188, -691 / 360360, 1 / 156]
_DIGAMMA = [-1 / 12, 1 / 120, -1 / 252, 1 / 240, -1 / 132, 691 / 32760, -1 / 12]
_SHIFT = 8


def lgamma_value(v: Value) -> Value:
    """log |gamma(x)| in f64 by Stirling's series above 8, the recurrence below, and reflection below 1/2."""
    low = ops.lt(v, 0.5)
    x = ops.where(low, ops.sub(1.0, v), v)
    product = x
    for i in range(1, _SHIFT):
        product = ops.mul(product, ops.add(x, float(i)))
    z = ops.add(x, float(_SHIFT))
    inverse = ops.reciprocal(z)
    tail = ops.mul(_series(ops.mul(inverse, inverse), _STIRLING), inverse)
    main = ops.add(ops.sub(ops.mul(ops.sub(z, 0.5), ops.log(z)), z), 0.5 * math.log(2 * math.pi))
    up = ops.sub(ops.add(main, tail), ops.log(product))
    up = ops.where(ops.gt(x, 1e15), ops.mul(x, ops.sub(ops.log(x), 1.0)), up)
    turn = ops.sub(v, ops.round(v))
    sine = ops.abs(ops.sin(ops.mul(turn, math.pi)))
    reflected = ops.sub(ops.sub(math.log(math.pi), ops.log(sine)), up)
    end = ops.eq(v, -math.inf)
    whole = ops.logical_or(end, ops.logical_and(low, ops.eq(turn, 0.0)))
    return ops.where(whole, math.inf, ops.where(low, reflected, up))


def digamma_value(v: Value) -> Value:
    """The derivative of log gamma in f64, by the same roads."""
    low = ops.lt(v, 0.5)
    x = ops.where(low, ops.sub(1.0, v), v)
    less = ops.reciprocal(x)
    for i in range(1, _SHIFT):
        less = ops.add(less, ops.reciprocal(ops.add(x, float(i))))
    z = ops.add(x, float(_SHIFT))
    inverse = ops.reciprocal(z)
    square = ops.mul(inverse, inverse)
    main = ops.sub(ops.log(z), ops.mul(inverse, 0.5))
    up = ops.sub(ops.add(main, ops.mul(_series(square, _DIGAMMA), square)), less)
    angle = ops.mul(ops.sub(v, ops.round(v)), math.pi)
    reflected = ops.sub(up, ops.div(ops.mul(ops.cos(angle), math.pi), ops.sin(angle)))
    found = ops.where(low, reflected, up)
    pole = ops.logical_and(ops.lt(v, 0.0), ops.eq(v, ops.floor(v)))
    return ops.where(pole, math.nan, ops.where(ops.eq(v, 0.0), ops.div(-1.0, v), found))


@functools.lru_cache(maxsize=512)
def _recorded(build: Callable[..., Value], types: tuple[TensorType, ...]) -> recorded.Recorded | None:
    """What `in_f64` builds for tensors of some types, as one node: it is a hundred, and they are the same each time."""
    return recorded.record(lambda given: [_built(build, *given)], types)


def _built(build: Callable[..., Value], *x: Tensor) -> Tensor:
    return convert(wrap(build(*(convert(t, f64).value for t in x)), *x), x[0].dtype)


def in_f64(build: Callable[..., Value], *inputs: Tensor) -> Tensor:
    """What `build` makes of values in f64, in the dtype of the first. Shapes broadcast; `build` is the same object
    from call to call."""
    x = [floats(t) for t in inputs]
    one = _recorded(build, tuple(t.value.type for t in x)) if recorded.allowed() else None
    return _built(build, *x) if one is None else wrap(one([t.value for t in x])[0], *x)


@function(in_place=True)
def lgamma(input: Tensor) -> Tensor:
    """Logarithm of the size of the gamma function. Its gradient is digamma's."""
    made: Tensor = _LGamma.apply(floats(input))
    return made


class _LGamma(Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.save_for_backward(x)
        return in_f64(lgamma_value, x)

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> Tensor:
        return g * digamma(ctx.saved_tensors[0])


@function(in_place=True)
def nextafter(input: Tensor, other: Tensor) -> Tensor:
    """The next number after input towards other, in their common dtype. The gradient is input's.

    Bits of floats without the sign are in order: the next one is one more or one less. Those of float16 and bfloat16
    are the upper ones of float32, but for float16 below 2^-14, whose neighbours are 2^-24 apart.
    """
    a, b = FUNCTIONS["broadcast_tensors"](*common(input, other)[0])
    if not a.dtype.is_float:
        raise DTypeError(f"nextafter takes floats, found {a.dtype}", help="convert it by to()")
    found = _next(a.detach(), b.detach())
    if not (a.requires_grad or b.requires_grad):
        return found
    never = FUNCTIONS["zeros_like"](b, dtype=bool_)  # other's gradient is zeros
    return found - no_more(FUNCTIONS["where"](never, b, a))


def no_more(x: Tensor) -> Tensor:
    """Zeros whose slope in x is -1, but where x is not finite: subtracted from what was computed without gradients,
    they leave its bits, and give it x's. In graph, so that gradients flow out of compiled functions too."""
    finite: Tensor = FUNCTIONS["where"](FUNCTIONS["isfinite"](x), x, 0.0)
    return finite.detach() - finite


def _next(a: Tensor, b: Tensor) -> Tensor:
    where, wide = FUNCTIONS["where"], f64 if a.dtype == f64 else f32
    x, y = a.to(wide), b.to(wide)
    size, grows = x.abs(), (x == 0) | ((x < y) == (x > 0))
    step = {"f16": 1 << 13, "bf16": 1 << 16}.get(a.dtype.name, 1)
    bits = wrap(ops.bitcast(size.value))
    moved = wrap(ops.bitcast(where(grows, bits + step, bits - step).value))
    if a.dtype == f16:
        flat = (size < 2.0**-14) | (~grows & (size == 2.0**-14))
        moved = where(flat, size + where(grows, 2.0**-24, -(2.0**-24)), moved)
        moved = where(size == math.inf, 65504.0, moved)
    found = where(where(x == 0, y, x) < 0, -moved, moved)
    found = where(x == y, y, where((x == x) & (y == y), found, math.nan))
    made: Tensor = found.to(a.dtype)
    return made


@function(in_place=True)
def digamma(input: Tensor) -> Tensor:
    """Derivative of the logarithm of the gamma function. Its gradient is polygamma(1, x)."""
    made: Tensor = _Digamma.apply(floats(input))
    return made


class _Digamma(Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.save_for_backward(x)
        return in_f64(digamma_value, x)

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> Tensor:
        made: Tensor = g * FUNCTIONS["polygamma"](1, ctx.saved_tensors[0])
        return made


@function()
def mvlgamma(input: Tensor, p: int) -> Tensor:
    """Logarithm of the multivariate gamma function."""
    total = lgamma(input) + p * (p - 1) / 4 * math.log(math.pi)
    for i in range(1, p):
        total = total + lgamma(input - i / 2)
    return total


@function(in_place=True)
def i0(input: Tensor) -> Tensor:
    """Modified Bessel function of the first kind and order 0. Its gradient is that of order 1."""
    return in_f64(grown_bessel_i0, input)


def grown_bessel_i0(v: Value) -> Value:
    """I0 of a value in f64, of its scaled form: exp in two steps, so that it does not overflow first."""
    return _grown(ops.bessel_i0e(v), v, math.inf)


def grown_bessel_i1(v: Value) -> Value:
    """I1 of a value in f64, by the same way."""
    return _grown(ops.bessel_i1e(v), v, v)


def _grown(scaled: Value, v: Value, end: Any) -> Value:
    half = ops.exp(ops.mul(ops.abs(v), 0.5))
    return ops.where(ops.eq(ops.abs(v), math.inf), end, ops.mul(ops.mul(scaled, half), half))
