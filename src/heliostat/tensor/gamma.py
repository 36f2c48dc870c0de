"""Incomplete gamma functions and derivatives of digamma, in float64 inside."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import Any

import numpy as np

from .. import ops
from ..diagnostics import UnsupportedError
from ..ir.graph import Value
from ..ops.special import BERNOULLI
from .conversion import common
from .core import Tensor
from .function import Function
from .pointwise import floats
from .register import FUNCTIONS, METHODS, function, method
from .special import digamma, digamma_value, in_f64, lgamma


class _Incomplete(Function):
    @staticmethod
    def forward(ctx: Any, a: Tensor, x: Tensor, upper: bool) -> Tensor:
        ctx.save_for_backward(a, x)
        ctx.upper = upper
        return in_f64(lambda a, x: _incomplete(a, x, upper), a, x)

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> Any:
        a, x = ctx.saved_tensors
        slope = (-g if ctx.upper else g) * ((a - 1) * x.log() - x - lgamma(a)).exp()
        return (-slope * _GammaSlope.apply(a, x)) if ctx.needs_input_grad[0] else None, slope, None


class _GammaSlope(Function):
    @staticmethod
    def forward(ctx: Any, a: Tensor, x: Tensor) -> Tensor:
        return gamma_slope(a, x)

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> Any:
        what = "igamma and igammac have a gradient for their first operand, but no second one"
        raise UnsupportedError(what, help="detach() the gradient")


def _slope_value(a: Value, x: Value) -> Value:
    return ops.gamma_slope(a, x, digamma_value(a))


def gamma_slope(a: Tensor, x: Tensor) -> Tensor:
    """How x moves with a where P(a, x) is held fixed, in the dtype of a. Shapes broadcast. No gradient."""
    return in_f64(_slope_value, a.detach(), x.detach())


def _incomplete(a: Value, x: Value, upper: bool) -> Value:
    """The function of values in f64; where a alone is infinite, its limit."""
    found = ops.upper_incomplete_gamma(a, x) if upper else ops.incomplete_gamma(a, x)
    limit = ops.logical_and(ops.eq(a, math.inf), ops.logical_and(ops.ge(x, 0.0), ops.lt(x, math.inf)))
    return ops.where(limit, 1.0 if upper else 0.0, found)


def _made(name: str, upper: bool, doc: str) -> None:
    def f(input: Tensor, other: Tensor) -> Tensor:
        a, x = (floats(t) for t in FUNCTIONS["broadcast_tensors"](*common(input, other)[0]))
        found: Tensor = _Incomplete.apply(a, x, upper)
        return found

    f.__name__ = f.__qualname__ = name
    f.__doc__ = doc + " of a = input and x = other; NaN for negative ones. The gradient of a has none itself."
    function(in_place=True)(f)


_made("igamma", False, "The lower incomplete gamma function P(a, x)")
_made("igammac", True, "The upper incomplete gamma function Q(a, x) = 1 - P(a, x)")


def _zeta(s: int, x: Value) -> Value:
    """Hurwitz' sum of (x + k)^-s over k >= 0 of a whole s > 1 and x >= 1/2, by Euler and Maclaurin behind 12 terms,
    without the powers that `ops.zeta` takes for any s. DLMF 25.11.5."""
    total = _power(ops.reciprocal(x), s)
    for k in range(1, 12):
        total = ops.add(total, _power(ops.reciprocal(ops.add(x, float(k))), s))
    inverse = ops.reciprocal(ops.add(x, 12.0))
    square, coefficients, factor = ops.mul(inverse, inverse), [], float(s)
    for n, b in enumerate(BERNOULLI[:8], 1):
        coefficients.append(b / math.factorial(2 * n) * factor)
        factor *= (s + 2 * n - 1) * (s + 2 * n)
    rest = ops.mul(square, coefficients[-1])
    for c in reversed(coefficients[:-1]):
        rest = ops.mul(ops.add(rest, c), square)
    rest = ops.add(ops.add(rest, ops.mul(inverse, 0.5)), 1 / (s - 1))
    return ops.add(total, ops.mul(rest, _power(inverse, s - 1)))


def _power(x: Value, n: int) -> Value:
    """x^n of a whole n > 0, by squares."""
    if n == 1:
        return x
    half = _power(ops.mul(x, x), n // 2)
    return ops.mul(half, x) if n % 2 else half


@functools.lru_cache(maxsize=64)
def _polygamma(n: int) -> Callable[[Value], Value]:
    """The n-th derivative of digamma of a value in f64: Hurwitz' zeta from 1/2 on, by reflection below."""
    sign, powers = (-1.0) ** (n + 1), np.array([0.0, 1.0])  # the n-th derivative of cot(pi x) as a polynomial of it
    for _ in range(n):
        slope = np.arange(1, len(powers)) * powers[1:]
        powers = -math.pi * (np.append(slope, [0.0, 0.0]) + np.append([0.0, 0.0], slope))

    def build(x: Value) -> Value:
        low = ops.lt(x, 0.5)
        up = ops.where(low, ops.sub(1.0, x), x)
        found = ops.mul(_zeta(n + 1, up), sign * math.factorial(n))
        turn = ops.sub(x, ops.round(x))
        angle = ops.mul(turn, math.pi)
        cot = ops.div(ops.cos(angle), ops.sin(angle))
        value = ops.mul(cot, powers[-1])
        for c in powers[-2:0:-1]:
            value = ops.mul(ops.add(value, float(c)), cot)
        reflected = ops.sub(ops.mul(found, (-1.0) ** n), ops.mul(ops.add(value, float(powers[0])), math.pi))
        return ops.where(low, ops.where(ops.eq(turn, 0.0), sign * math.inf, reflected), found)

    return build


class _Polygamma(Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, n: int) -> Tensor:
        ctx.save_for_backward(x)
        ctx.n = n
        return in_f64(_polygamma(n), x)

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> Any:
        return g * _Polygamma.apply(ctx.saved_tensors[0], ctx.n + 1), None


@function(method=False)
def polygamma(n: int, input: Tensor) -> Tensor:
    """The n-th derivative of digamma, n >= 0. Shape of input, floats. Raises ValueError for a negative n."""
    if n < 0:
        raise ValueError(f"polygamma: n is at least 0, found {n}")
    x = floats(input)
    found: Tensor = digamma(x) if n == 0 else _Polygamma.apply(x, n)
    return found


def _polygamma_method(self: Tensor, n: int) -> Tensor:
    return polygamma(n, self)


METHODS["polygamma"] = _polygamma_method


@method()
def polygamma_(self: Tensor, n: int) -> Tensor:
    """`polygamma`, written into this tensor, which is returned."""
    return self._in_place(_polygamma_method, n)


@method()
def mvlgamma_(self: Tensor, p: int) -> Tensor:
    """`mvlgamma`, written into this tensor, which is returned."""
    return self._in_place(FUNCTIONS["mvlgamma"], p)


@method()
def renorm_(self: Tensor, p: float, dim: int, maxnorm: float) -> Tensor:
    """`renorm`, written into this tensor, which is returned."""
    return self._in_place(FUNCTIONS["renorm"], p, dim, maxnorm)
