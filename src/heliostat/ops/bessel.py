"""Bessel functions of orders 0 and 1 and Airy's function: Chebyshev series of what is smooth of them.

Source of the forms: W. Fullerton, SPECFUN, and C. Clenshaw, Chebyshev series for mathematical functions (1962), with
coefficients of our own (`chebyshev_tables.py`). Errors are some 1e-16 of the largest value around.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, ClassVar

from ..ir.graph import Value
from ..ir.types import f64, tensor
from . import chebyshev_tables as tables
from .compare import lt, where
from .elementwise import abs as elementwise_abs
from .elementwise import div, mul, neg, sign, sub
from .method import Method, chebyshev
from .op import Amp, public
from .samples import Sample, Uniform, sample

_ROOT = math.sqrt(0.5)


def _drawn(low: float, high: float) -> tuple[Sample, ...]:
    return sample((tensor(f64, 40), Uniform(low, high))), sample((tensor(f64, 3, 5), Uniform(low / 8, high / 8)))


def _over(y: Value, x: Value) -> Value:
    """y / x of a y that goes to x / 2 at 0."""
    zero = lt(elementwise_abs(x), 1e-8)  # below, y is rounded to a few digits, and the limit is as good
    return where(zero, 0.5, div(y, where(zero, 1.0, x)))


def _near_j(k: Any, x: Any, order: int) -> Any:
    """J(order, x) for 0 <= x <= 8, in t = x^2 / 32 - 1."""
    t = x * x * (1 / 32) - 1.0
    return x * chebyshev(k, t, tables.BESSEL_J1_NEAR) if order else chebyshev(k, t, tables.BESSEL_J0_NEAR)


def _far(k: Any, x: Any, order: int, second: bool) -> Any:
    """J, or Y where `second`, beyond 8: by amplitudes P and Q in t = 2 (8 / x)^2 - 1 and the angle x - pi / 4, or
    x - 3 pi / 4, whose cosine and sine are those of x added up."""
    inverse = 8.0 / x
    t = inverse * inverse * 2.0 - 1.0
    p = chebyshev(k, t, tables.BESSEL_P1 if order else tables.BESSEL_P0)
    q = chebyshev(k, t, tables.BESSEL_Q1 if order else tables.BESSEL_Q0) * inverse
    c, s = k.cos(x), k.sin(x)
    cosine, sine = ((s - c) * _ROOT, (s + c) * -_ROOT) if order else ((c + s) * _ROOT, (s - c) * _ROOT)
    turned = p * sine + q * cosine if second else p * cosine - q * sine
    return turned * k.sqrt((2 / math.pi) / x)


class _First(Method):
    order: ClassVar[int] = 0
    samples = _drawn(-60, 60)

    def method(self, k: Any, x: Any) -> Any:
        size = k.abs(x)
        near, end = size < 8.0, size == math.inf
        far = k.select(near | end, 8.0, size)
        y = k.select(near, _near_j(k, k.select(near, size, 0.0), self.order), _far(k, far, self.order, False))
        y = k.select(end, 0.0, y)
        return k.select(x < 0.0, -y, y) if self.order else y


class BesselJ0(_First, name="bessel_j0", version=1, amp=Amp.KEEP_INPUT):
    """The Bessel function of the first kind and order 0, in f64."""

    def gradient(self, g: Value, x: Value, y: Value) -> Sequence[Value]:
        return (neg(mul(g, bessel_j1(x))),)


class BesselJ1(_First, name="bessel_j1", version=1, amp=Amp.KEEP_INPUT):
    """The Bessel function of the first kind and order 1, in f64."""

    order = 1

    def gradient(self, g: Value, x: Value, y: Value) -> Sequence[Value]:
        return (mul(g, sub(bessel_j0(x), _over(y, x))),)


class _Second(Method):
    order: ClassVar[int] = 0
    samples = _drawn(0.01, 60)

    def method(self, k: Any, x: Any) -> Any:
        """Up to 8 as a smooth part and (2 / pi) (log(x / 2) J(x) - 1 / x if the order is 1)."""
        near, end = x < 8.0, x == math.inf
        low = k.select(near, x, 1.0)
        t = low * low * (1 / 32) - 1.0
        smooth = chebyshev(k, t, tables.BESSEL_Y1_NEAR if self.order else tables.BESSEL_Y0_NEAR)
        grown = k.log(low * 0.5) * _near_j(k, low, self.order)
        below = smooth * low + (grown - 1.0 / low) * (2 / math.pi) if self.order else smooth + grown * (2 / math.pi)
        y = k.select(near, below, _far(k, k.select(near | end, 8.0, x), self.order, True))
        return k.select(end, 0.0, k.select(x == 0.0, -math.inf, y))


class BesselY0(_Second, name="bessel_y0", version=1, amp=Amp.KEEP_INPUT):
    """The Bessel function of the second kind and order 0, in f64: -infinity at 0, NaN below."""

    def gradient(self, g: Value, x: Value, y: Value) -> Sequence[Value]:
        return (neg(mul(g, bessel_y1(x))),)


class BesselY1(_Second, name="bessel_y1", version=1, amp=Amp.KEEP_INPUT):
    """The Bessel function of the second kind and order 1, in f64: -infinity at 0, NaN below."""

    order = 1

    def gradient(self, g: Value, x: Value, y: Value) -> Sequence[Value]:
        return (mul(g, sub(bessel_y0(x), div(y, x))),)


def _scaled_i(k: Any, size: Any, order: int) -> Any:
    """exp(-x) I(order, x) of x >= 0: in t = x / 4 - 1 up to 8, in t = 16 / x - 1 beyond."""
    near = size < 8.0
    low, high = k.select(near, size, 0.0), k.select(near, 8.0, size)
    below = chebyshev(k, low * 0.25 - 1.0, tables.BESSEL_I1_NEAR if order else tables.BESSEL_I0_NEAR)
    above = chebyshev(k, 16.0 / high - 1.0, tables.BESSEL_I1_FAR if order else tables.BESSEL_I0_FAR)
    return k.select(near, low * below if order else below, above / k.sqrt(high))


class BesselI0e(Method, name="bessel_i0e", version=1, amp=Amp.KEEP_INPUT):
    """exp(-|x|) times the modified Bessel function of the first kind and order 0, in f64."""

    samples = _drawn(-90, 90)

    def method(self, k: Any, x: Any) -> Any:
        return _scaled_i(k, k.abs(x), 0)

    def gradient(self, g: Value, x: Value, y: Value) -> Sequence[Value]:
        return (mul(g, sub(bessel_i1e(x), mul(sign(x), y))),)


class BesselI1e(Method, name="bessel_i1e", version=1, amp=Amp.KEEP_INPUT):
    """exp(-|x|) times the modified Bessel function of the first kind and order 1, in f64."""

    samples = _drawn(-90, 90)

    def method(self, k: Any, x: Any) -> Any:
        y = _scaled_i(k, k.abs(x), 1)
        return k.select(x < 0.0, -y, y)

    def gradient(self, g: Value, x: Value, y: Value) -> Sequence[Value]:
        return (mul(g, sub(sub(bessel_i0e(x), mul(sign(x), y)), _over(y, x))),)


class _ScaledK(Method):
    order: ClassVar[int] = 0
    samples = _drawn(0.01, 90)

    def method(self, k: Any, x: Any) -> Any:
        """Up to 2 as a smooth part and log(x / 2) I(x), beyond in t = 4 / x - 1."""
        near = x < 2.0
        low, high = k.select(near, x, 1.0), k.select(near, 2.0, x)
        grown = k.exp(low)
        smooth = chebyshev(k, low * low * 0.5 - 1.0, tables.BESSEL_K1_NEAR if self.order else tables.BESSEL_K0_NEAR)
        inner = k.log(low * 0.5) * _scaled_i(k, k.abs(low), self.order) * grown
        below = smooth / low + inner if self.order else smooth - inner
        above = chebyshev(k, 4.0 / high - 1.0, tables.BESSEL_K1_FAR if self.order else tables.BESSEL_K0_FAR)
        return k.select(x == 0.0, math.inf, k.select(near, below * grown, above / k.sqrt(high)))


class BesselK0e(_ScaledK, name="bessel_k0e", version=1, amp=Amp.KEEP_INPUT):
    """exp(x) times the modified Bessel function of the second kind and order 0, in f64: infinite at 0, NaN below."""

    def gradient(self, g: Value, x: Value, y: Value) -> Sequence[Value]:
        return (mul(g, sub(y, bessel_k1e(x))),)


class BesselK1e(_ScaledK, name="bessel_k1e", version=1, amp=Amp.KEEP_INPUT):
    """exp(x) times the modified Bessel function of the second kind and order 1, in f64: infinite at 0, NaN below."""

    order = 1

    def gradient(self, g: Value, x: Value, y: Value) -> Sequence[Value]:
        return (mul(g, sub(sub(y, bessel_k0e(x)), div(y, x))),)


class AiryAi(Method, name="airy_ai", version=1, amp=Amp.KEEP_INPUT):
    """Airy's function Ai, in f64: of -4 to 2 in (x + 1) / 3, beyond by amplitudes in z = 2 / 3 |x|^(3 / 2)."""

    samples = _drawn(-20, 12)

    def method(self, k: Any, x: Any) -> Any:
        high, low, end = x > 2.0, x < -4.0, k.abs(x) == math.inf
        middle = chebyshev(k, (k.select(high | low, 0.0, x) + 1.0) * (1 / 3), tables.AIRY_NEAR)
        size = k.select((high | low) & k.logical_not(end), k.abs(x), 4.0)
        root = k.sqrt(size)
        z, fourth = size * root * (2 / 3), k.sqrt(root)
        above = k.select(high, z, 6.0)
        t = (2 / 3 * 2**1.5 * 2) / above - 1.0
        up = chebyshev(k, t, tables.AIRY_FAR) * k.exp(-above) / (fourth * (2 * math.sqrt(math.pi)))
        below = k.select(low, z, 6.0)
        inverse = (2 / 3 * 8) / below
        t = inverse * inverse * 2.0 - 1.0
        c, s = k.cos(below), k.sin(below)
        cosine, sine = (c + s) * _ROOT, (s - c) * _ROOT  # of z - pi / 4
        p, q = chebyshev(k, t, tables.AIRY_P), chebyshev(k, t, tables.AIRY_Q) / below
        down = (p * cosine + q * sine) / (fourth * math.sqrt(math.pi))
        return k.select(end, 0.0, k.select(high, up, k.select(low, down, middle)))


bessel_j0, bessel_j1 = public(BesselJ0, BesselJ0.call), public(BesselJ1, BesselJ1.call)
bessel_y0, bessel_y1 = public(BesselY0, BesselY0.call), public(BesselY1, BesselY1.call)
bessel_i0e, bessel_i1e = public(BesselI0e, BesselI0e.call), public(BesselI1e, BesselI1e.call)
bessel_k0e, bessel_k1e = public(BesselK0e, BesselK0e.call), public(BesselK1e, BesselK1e.call)
airy_ai = public(AiryAi, AiryAi.call)
