"""Incomplete gamma functions and derivatives of digamma: NumPy on the host in float64."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ..diagnostics import UnsupportedError
from .core import Tensor, common, convert
from .function import Function
from .levels import on_host
from .pointwise import floats
from .register import FUNCTIONS, METHODS, function
from .special import digamma, lgamma

MANY = 20_000
"""Terms after which a series is given up; it needs some multiple of the square root of the first operand."""


def _log_gamma(a: Any) -> Any:
    return np.vectorize(math.lgamma, otypes=[np.float64])(a) if np.size(a) else np.zeros(np.shape(a))


def _incomplete(a: Any, x: Any, upper: bool) -> Any:
    """P(a, x), or Q = 1 - P: by the series below a + 1, by Lentz's continued fraction above."""
    a, x = np.broadcast_arrays(np.asarray(a, np.float64), np.asarray(x, np.float64))
    y = np.full(a.shape, np.nan)
    with np.errstate(all="ignore"):
        below = (x == 0) & (a > 0) | np.isinf(a) & np.isfinite(x) & (a > 0) & (x >= 0)
        above = (a == 0) & (x > 0) | np.isinf(x) & np.isfinite(a) & (a >= 0) & (x > 0)
        y[below], y[above] = float(upper), float(not upper)
        plain = np.isfinite(a) & np.isfinite(x) & (a > 0) & (x > 0)
        series = plain & (x < a + 1)
        fraction = plain & ~series
        for chosen, found, has_upper in ((series, lower_series, False), (fraction, upper_fraction, True)):
            if chosen.any():
                p, q = a[chosen], x[chosen]
                scale = np.exp(p * np.log(q) - q - _log_gamma(p))
                part = np.clip(found(p, q) * scale, 0, 1)
                y[chosen] = part if has_upper == upper else 1 - part
    return y


def lower_series(a: Any, x: Any) -> Any:
    """P(a, x) Gamma(a) exp(x) / x^a, for x below a + 1; a may be complex."""
    term = total = 1 / a
    for n in range(1, MANY):
        term = term * x / (a + n)
        total = total + term
        if (np.abs(term) <= np.abs(total) * 1e-17).all():
            break
    return total


def upper_fraction(a: Any, x: Any) -> Any:
    """Q(a, x) Gamma(a) exp(x) / x^a, for x from a + 1 on; a may be complex."""
    tiny = 1e-300
    b = x + 1 - a
    c, d = np.full_like(b, 1 / tiny), 1 / np.where(b == 0, tiny, b)
    h = d
    for n in range(1, MANY):
        step = -n * (n - a)
        b = b + 2
        d = step * d + b
        c = b + step / c
        d, c = 1 / np.where(d == 0, tiny, d), np.where(c == 0, tiny, c)
        h = h * d * c
        if settled(d * c):
            break
    return h


STEP = 1e-30
"""Of complex operands a + STEP i: the imaginary part of a result is STEP times its derivative, to full precision."""


def settled(factor: Any) -> bool:
    """Whether the last factors of continued fractions are 1, and their derivatives for a complex operand 0."""
    return bool(((np.abs(factor.real - 1) < 5e-16) & (np.abs(factor.imag) < 1e-13 * STEP)).all())


class _Incomplete(Function):
    @staticmethod
    def forward(ctx: Any, a: Tensor, x: Tensor, upper: bool) -> Tensor:
        ctx.save_for_backward(a, x)
        ctx.upper = upper
        return convert(on_host(lambda p, q: _incomplete(p, q, upper), a.detach(), x.detach()), x.dtype)

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> Any:
        a, x = ctx.saved_tensors
        if ctx.needs_input_grad[0]:
            raise UnsupportedError("igamma and igammac have no gradient for their first operand", help="detach() it")
        slope = ((a - 1) * x.log() - x - lgamma(a)).exp()
        return None, (-g if ctx.upper else g) * slope, None


def _made(name: str, upper: bool, doc: str) -> None:
    def f(input: Tensor, other: Tensor) -> Tensor:
        a, x = (floats(t) for t in FUNCTIONS["broadcast_tensors"](*common(input, other)[0]))
        found: Tensor = _Incomplete.apply(a, x, upper)
        return found

    f.__name__ = f.__qualname__ = name
    f.__doc__ = doc + " of a = input and x = other; NaN for negative ones. The gradient is other's alone."
    function(in_place=True)(f)


_made("igamma", False, "The lower incomplete gamma function P(a, x)")
_made("igammac", True, "The upper incomplete gamma function Q(a, x) = 1 - P(a, x)")

_BERNOULLI = [1 / 6, -1 / 30, 1 / 42, -1 / 30, 5 / 66, -691 / 2730, 7 / 6, -3617 / 510, 43867 / 798, -174611 / 330]


def zeta(s: Any, x: Any) -> Any:
    """Hurwitz' sum of (x + k)^-s over k >= 0, for x > 0 and s > 1, by Euler and Maclaurin behind 12 terms."""
    total = np.zeros(np.broadcast_shapes(np.shape(s), np.shape(x)))
    with np.errstate(all="ignore"):
        for k in range(12):
            total = total + (x + k) ** -s
        z = x + 12.0
        total = total + z ** (1 - s) / (s - 1) + 0.5 * z**-s
        factor = s
        for n, b in enumerate(_BERNOULLI, 1):
            total = total + b / math.factorial(2 * n) * factor * z ** (-s - 2 * n + 1)
            factor = factor * (s + 2 * n - 1) * (s + 2 * n)
    return total


def _polygamma(n: int, x: Any) -> Any:
    x = np.asarray(x, np.float64)
    low = x < 0.5
    up = np.where(low, 1 - x, x)
    sign = (-1.0) ** (n + 1)
    found = sign * math.factorial(n) * zeta(float(n + 1), up)
    if not low.any():
        return found
    powers = np.array([0.0, 1.0])  # the n-th derivative of cot(pi x) as a polynomial of it
    for _ in range(n):
        slope = np.arange(1, len(powers)) * powers[1:]
        powers = -math.pi * (np.append(slope, [0.0, 0.0]) + np.append([0.0, 0.0], slope))
    with np.errstate(all="ignore"):
        turn = math.pi * (x - np.rint(x))
        cot = np.cos(turn) / np.sin(turn)
        value = sum(c * cot**i for i, c in enumerate(powers) if c)
        reflected = -math.pi * value + (-1.0) ** n * found
    return np.where(low, np.where(x == np.rint(x), sign * np.inf, reflected), found)


class _Polygamma(Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, n: int) -> Tensor:
        ctx.save_for_backward(x)
        ctx.n = n
        return convert(on_host(lambda a: _polygamma(n, a), x.detach()), x.dtype)

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


METHODS["polygamma"] = lambda self, n: polygamma(n, self)
METHODS["polygamma_"] = lambda self, n: self._in_place(lambda x: polygamma(n, x))
METHODS["mvlgamma_"] = lambda self, p: self._in_place(FUNCTIONS["mvlgamma"], p)
METHODS["renorm_"] = lambda self, p, dim, maxnorm: self._in_place(FUNCTIONS["renorm"], p, dim, maxnorm)
