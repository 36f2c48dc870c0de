"""Scaled error functions, Hurwitz' zeta and recurrences of orthogonal polynomials, element by element in float64."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from ..ir.graph import Value
from ..ir.types import f32, f64, tensor
from . import chebyshev_tables as tables
from .elementwise import exp, mul, neg, sub
from .method import Method, chebyshev, long_loop
from .op import Amp, public
from .samples import Uniform, sample


def scaled_erfc(k: Any, x: Any) -> Any:
    """exp(x^2) erfc(x): (1 + 2 x) times it in t = (x - 3.75) / (x + 3.75) for x >= 0, reflected below.
    Source of the variable: M. Shepherd and J. Laframboise, Chebyshev approximation of (1 + 2 x) exp(x^2) erfc(x)
    (1981)."""
    size = k.abs(x)
    up = chebyshev(k, 1.0 - 7.5 / (size + 3.75), tables.ERFCX) / (size * 2.0 + 1.0)
    return k.select(x < 0.0, k.exp(x * x) * 2.0 - up, up)


class Erfcx(Method, name="erfcx", version=1, amp=Amp.KEEP_INPUT):
    """exp(x^2) erfc(x), in f64."""

    samples = sample((tensor(f64, 40), Uniform(-5, 60))), sample((tensor(f64, 3, 5), Uniform(-1, 4)))

    def method(self, k: Any, x: Any) -> Any:
        return scaled_erfc(k, x)

    def gradient(self, g: Value, x: Value, y: Value) -> Sequence[Value]:
        return (mul(g, sub(mul(mul(x, y), 2.0), 2 / math.sqrt(math.pi))),)


class Erfc(Method, name="erfc", version=1, amp=Amp.KEEP_INPUT):
    """1 - erf(x), in f64; small values keep their digits."""

    samples = sample((tensor(f64, 40), Uniform(-6, 26))), sample((tensor(f64, 3, 5), Uniform(-1, 1)))

    def method(self, k: Any, x: Any) -> Any:
        size = k.minimum(k.abs(x), 40.0)  # of which it is 0
        high = k.cast(k.cast(size, f32), f64)
        rest = (size - high) * (size + high)  # the square of a float32 is exact
        tail = k.exp(-(high * high)) * k.exp(-rest) * scaled_erfc(k, size)
        return k.select(x < 0.0, 2.0 - tail, tail)

    def gradient(self, g: Value, x: Value, y: Value) -> Sequence[Value]:
        return (mul(g, mul(exp(neg(mul(x, x))), -2 / math.sqrt(math.pi))),)


class Ndtri(Method, name="ndtri", version=1, amp=Amp.KEEP_INPUT):
    """The point below which a share of the normal distribution lies, in f64; NaN outside of 0 to 1.

    From a first guess (Abramowitz and Stegun, 26.2.23) by Newton's steps in logarithms of the tail."""

    samples = sample((tensor(f64, 40), Uniform(0, 1))), sample((tensor(f64, 3, 5), Uniform(0.6, 0.999)))

    def method(self, k: Any, p: Any) -> Any:
        upper = p > 0.5
        q = k.select(upper, 1.0 - p, p)
        inside = (q > 0.0) & (q <= 0.5)
        share = k.select(inside, q, 0.25)
        logarithm = k.log(share)
        t = k.sqrt(logarithm * -2.0)
        top = 2.515517 + t * (0.802853 + t * 0.010328)
        x = t - top / (1.0 + t * (1.432788 + t * (0.189269 + t * 0.001308)))

        def step(n: Any, state: list[Any]) -> list[Any]:  # the logarithm of the tail has the slope -1 / Mills' ratio
            x = state[0]
            mills = scaled_erfc(k, x * math.sqrt(0.5)) * math.sqrt(math.pi / 2)
            return [x + (k.log(mills * math.sqrt(0.5 / math.pi)) - x * x * 0.5 - logarithm) * mills]

        x = k.repeat([x], lambda state: inside, step, 4)[0]
        y = k.select(p == 0.5, 0.0, k.select(upper, x, -x))
        ends = k.select(p == 0.0, -math.inf, k.select(p == 1.0, math.inf, p * math.nan))
        return k.select(inside, y, ends)

    def gradient(self, g: Value, p: Value, y: Value) -> Sequence[Value]:
        return (mul(g, mul(exp(mul(mul(y, y), 0.5)), math.sqrt(2 * math.pi))),)


BERNOULLI = [1 / 6, -1 / 30, 1 / 42, -1 / 30, 5 / 66, -691 / 2730, 7 / 6, -3617 / 510, 43867 / 798, -174611 / 330]
"""B(2), B(4) ..."""


class Zeta(Method, name="zeta", version=1, amp=Amp.KEEP_INPUT):
    """Hurwitz' sum of (q + k)^-s over k >= 0, for s > 1, in f64: infinite at 1 and where a term is, NaN below 1, and
    for a q below 0 unless s is whole. By Euler and Maclaurin behind 12 terms (DLMF 25.11.5)."""

    operands = ("s", "q")
    samples = (
        sample((tensor(f64, 40), Uniform(1.1, 9)), (tensor(f64, 40), Uniform(0.05, 9))),
        sample((tensor(f64, 3, 1), Uniform(2, 4)), (tensor(f64, 5), Uniform(1, 40))),
    )

    def method(self, k: Any, s: Any, q: Any) -> Any:
        known = (s > 1.0) & (k.abs(q) < math.inf)
        power, start = k.select(known, s, 2.0), k.select(known, q, 1.0)
        low = start <= 0.0
        pole = low & (start == k.floor(start))
        below = low & k.logical_not(pole)

        def step(state: list[Any]) -> list[Any]:
            z, total = state
            return [z + 1.0, total + k.pow(z, -power)]

        x, total = long_loop(k, [k.select(pole, 1.0, start), start * 0.0], lambda state: below & (state[0] < 0.0), step)
        z, total = k.repeat([x, total], lambda state: known, lambda n, state: step(state), 12)
        tail = k.pow(z, -power)
        total = total + tail * z / (power - 1.0) + tail * 0.5
        square = 1.0 / (z * z)
        factor = power * tail / z
        for n, b in enumerate(BERNOULLI, 1):
            total = total + factor * (b / math.factorial(2 * n))
            factor = factor * (power + float(2 * n - 1)) * (power + float(2 * n)) * square
        y = k.select(pole, math.inf, k.select(below & (power != k.floor(power)), math.nan, total))
        y = k.select(known, y, k.select((s > 1.0) & (q == math.inf), 0.0, s * q * math.nan))
        return k.select(s == 1.0, math.inf, y)


class Recurrence(Method):
    """Polynomials p of a family: p(0) = 1, p(1) = first, p(n + 1) by `next`. 0 for degrees below 0."""

    operands = ("x", "first", "degree")
    samples = (
        sample(
            (tensor(f64, 12, 1), Uniform(-0.9, 0.9)),
            (tensor(f64, 12, 1), Uniform(-0.9, 0.9)),
            (tensor(f64, 7), Uniform(-1, 9)),
        ),
    )

    def method(self, k: Any, x: Any, first: Any, degree: Any) -> Any:
        whole = k.floor(degree)

        def step(state: list[Any]) -> list[Any]:
            n, now, before = state
            return [n + 1.0, self.next(k, x, n, now, before), now]

        now = long_loop(k, [x * 0.0 + 1.0, first, x * 0.0 + 1.0], lambda state: state[0] < whole, step)[1]
        now = k.select(whole == 0.0, 1.0, k.select(whole < 0.0, 0.0, now))
        return k.select(degree == degree, now, degree)

    def next(self, k: Any, x: Any, n: Any, now: Any, before: Any) -> Any:
        """The polynomial of degree n + 1 of those of n and n - 1."""
        raise NotImplementedError


class ChebyshevRecurrence(Recurrence, name="chebyshev_recurrence", version=1, amp=Amp.KEEP_INPUT):
    """Chebyshev polynomials of all four kinds, by the one of degree 1, in f64."""

    def next(self, k: Any, x: Any, n: Any, now: Any, before: Any) -> Any:
        return x * now * 2.0 - before


class HermiteRecurrence(Recurrence, name="hermite_recurrence", version=1, amp=Amp.KEEP_INPUT):
    """The probabilists' Hermite polynomials, in f64."""

    def next(self, k: Any, x: Any, n: Any, now: Any, before: Any) -> Any:
        return x * now - n * before


class LaguerreRecurrence(Recurrence, name="laguerre_recurrence", version=1, amp=Amp.KEEP_INPUT):
    """Laguerre polynomials, in f64."""

    def next(self, k: Any, x: Any, n: Any, now: Any, before: Any) -> Any:
        return ((n * 2.0 + 1.0 - x) * now - n * before) / (n + 1.0)


class LegendreRecurrence(Recurrence, name="legendre_recurrence", version=1, amp=Amp.KEEP_INPUT):
    """Legendre polynomials, in f64."""

    def next(self, k: Any, x: Any, n: Any, now: Any, before: Any) -> Any:
        return ((n * 2.0 + 1.0) * x * now - n * before) / (n + 1.0)


erfc = public(Erfc, Erfc.call)
erfcx, ndtri, zeta = public(Erfcx, Erfcx.call), public(Ndtri, Ndtri.call), public(Zeta, Zeta.call)
chebyshev_recurrence = public(ChebyshevRecurrence, ChebyshevRecurrence.call)
hermite_recurrence = public(HermiteRecurrence, HermiteRecurrence.call)
laguerre_recurrence = public(LaguerreRecurrence, LaguerreRecurrence.call)
legendre_recurrence = public(LegendreRecurrence, LegendreRecurrence.call)
