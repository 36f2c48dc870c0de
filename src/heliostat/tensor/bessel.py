"""Bessel, Airy and error functions and orthogonal polynomials of arrays, in NumPy and float64.

Integrals over a period are sums at equal steps, which converge as fast as the integrand is smooth; large arguments
take asymptotic series. Source of the formulas: NIST Digital Library of Mathematical Functions, chapters 7, 9 and 10.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

Array = np.ndarray[Any, np.dtype[Any]]
_FAR = 30.0
_ANGLES = (np.arange(96) + 0.5) * (np.pi / 96)
_TIMES = np.arange(0.0, 6.0, 1 / 32)


def _hankel(order: int, x: Array, alternating: bool) -> tuple[Array, Array]:
    """Even and odd terms of the series in 1 / x that the functions of both kinds share."""
    even, odd, term = np.ones_like(x), np.zeros_like(x), np.ones_like(x)
    for k in range(1, 22):
        term = term * ((4 * order * order - (2 * k - 1) ** 2) / (8.0 * k)) / x
        sign = -1.0 if alternating and k % 4 in (2, 3) else 1.0
        if k % 2:
            odd = odd + sign * term
        else:
            even = even + sign * term
    return even, odd


def _near(x: Array, order: int) -> Array:
    turned = order * _ANGLES - x[..., None] * np.sin(_ANGLES)
    return np.cos(turned).mean(-1)


def _by_size(x: Array, limit: float, near: Callable[[Array], Array], far: Callable[[Array], Array]) -> Array:
    y = np.full(x.shape, np.nan)
    with np.errstate(all="ignore"):
        inside, outside = x <= limit, (x > limit) & np.isfinite(x)
        y[inside], y[outside] = near(x[inside]), far(x[outside])
    return y


def bessel_j(order: int, x: Array) -> Array:
    """The function of the first kind, of order 0 or 1."""
    size = np.abs(np.asarray(x, np.float64))

    def far(x: Array) -> Array:
        p, q = _hankel(order, x, True)
        turn = x - (2 * order + 1) * np.pi / 4
        return np.sqrt(2 / (np.pi * x)) * (p * np.cos(turn) - q * np.sin(turn))

    y = np.where(np.isinf(size), 0.0, _by_size(size, _FAR, lambda v: _near(v, order), far))
    return np.where(np.signbit(x), -y, y) if order else y


def bessel_y(order: int, x: Array) -> Array:
    """The function of the second kind, of order 0 or 1: -infinity at 0, NaN below. Neumann's series up to 30."""
    x = np.asarray(x, np.float64)

    def near(x: Array) -> Array:
        total = np.zeros_like(x)
        for k in range(1, 40):
            weight = 1 / k if order == 0 else (2 * k + 1) / (k * (k + 1))
            total = total + (-1) ** k * weight * _near(x, 2 * k + order)
        logarithm = np.log(x / 2) + np.euler_gamma - order
        y = 2 / np.pi * (logarithm * _near(x, order) - (1 if order else 2) * total)
        return y - 2 / np.pi * _near(x, 0) / x if order else y

    def far(x: Array) -> Array:
        p, q = _hankel(order, x, True)
        turn = x - (2 * order + 1) * np.pi / 4
        return np.sqrt(2 / (np.pi * x)) * (p * np.sin(turn) + q * np.cos(turn))

    y = _by_size(np.where(x < 0, np.nan, x), _FAR, near, far)
    return np.where(x == 0, -np.inf, np.where(x == np.inf, 0.0, y))


def bessel_i(order: int, x: Array, scaled: bool) -> Array:
    """The modified function of the first kind, of order 0 or 1; times exp(-|x|) where `scaled`."""
    size = np.abs(np.asarray(x, np.float64))

    def near(x: Array) -> Array:
        return (np.exp(x[..., None] * (np.cos(_ANGLES) - 1)) * np.cos(order * _ANGLES)).mean(-1)

    def far(x: Array) -> Array:
        even, odd = _hankel(order, x, False)
        return (even - odd) / np.sqrt(2 * np.pi * x)

    y = _by_size(size, _FAR, near, far)
    with np.errstate(all="ignore"):
        y = np.where(np.isinf(size), 0.0, y) if scaled else np.where(np.isinf(size), np.inf, y * np.exp(size))
    return np.where(np.signbit(x), -y, y) if order else y


def _cosh_integral(order: float, x: Array) -> Array:
    """exp(x) K(order, x) for x of at least 1 / 2; above 100, where the integrand is too narrow, by its asymptotic
    series."""
    if (x > 100).any():
        size, term, total = np.where(x > 100, x, 100.0), np.ones_like(x), np.ones_like(x)
        for k in range(1, 12):
            term = term * (4 * order * order - (2 * k - 1) ** 2) / (k * 8 * size)
            total += term
        near = _cosh_integral(order, np.where(x > 100, 1.0, x))
        return np.where(x > 100, np.sqrt(np.pi / (2 * size)) * total, near)
    grown = np.exp(-x[..., None] * (np.cosh(_TIMES) - 1)) * np.cosh(order * _TIMES)
    return (grown.sum(-1) - 0.5 * grown[..., 0]) / 32


def bessel_k(order: int, x: Array, scaled: bool) -> Array:
    """The modified function of the second kind, of order 0 or 1; times exp(x) where `scaled`. Infinity at 0, NaN
    below."""
    x = np.asarray(x, np.float64)

    def near(x: Array) -> Array:
        square, term, harmonic = x * x / 4, np.ones_like(x), -2 * np.euler_gamma if order else -np.euler_gamma
        total = np.zeros_like(x)
        if order:
            harmonic += 1.0
        for k in range(20):
            total = total + term * harmonic
            term = term * square / ((k + 1) * (k + 1 + order))
            harmonic += 1 / (k + 1) + (1 / (k + 2) if order else 0.0)
        inner = bessel_i(order, x, False) * np.log(x / 2)
        y = 1 / x + inner - x / 4 * total if order else total - inner
        return y * np.exp(x) if scaled else y

    def far(x: Array) -> Array:
        y = _cosh_integral(order, x)
        return y if scaled else y * np.exp(-x)

    y = _by_size(np.where(x < 0, np.nan, x), 1.0, near, far)
    return np.where(x == 0, np.inf, np.where(x == np.inf, 0.0, y))


def airy_ai(x: Array) -> Array:
    """Airy's function: by K(1/3) above 1, by its power series down to -8, by its asymptotic series below."""
    x = np.asarray(x, np.float64)
    y = np.full(x.shape, np.nan)
    with np.errstate(all="ignore"):
        high, low = x > 1, x < -8
        middle = (x <= 1) & (x >= -8)
        v = x[high]
        z = 2 / 3 * v**1.5
        y[high] = np.sqrt(v / 3) / np.pi * _cosh_integral(1 / 3, z) * np.exp(-z)
        v = x[middle]
        f, g = np.ones_like(v), v.copy()
        total_f, total_g = f.copy(), g.copy()
        for k in range(1, 60):
            f, g = f * v**3 / ((3 * k - 1) * (3 * k)), g * v**3 / ((3 * k) * (3 * k + 1))
            total_f, total_g = total_f + f, total_g + g
        y[middle] = 0.3550280538878172 * total_f - 0.2588194037928068 * total_g
        v = -x[low]
        z = 2 / 3 * v**1.5
        parts, term = [np.ones_like(z), np.zeros_like(z)], np.ones_like(z)
        for k in range(1, 12):
            term = term * (6 * k - 5) * (6 * k - 3) * (6 * k - 1) / (216.0 * k * (2 * k - 1)) / z
            parts[k % 2] = parts[k % 2] + (-1.0) ** (k // 2) * term
        turn = z - np.pi / 4
        y[low] = (np.cos(turn) * parts[0] + np.sin(turn) * parts[1]) / (np.sqrt(np.pi) * v**0.25)
    return np.where(np.isinf(x), 0.0, y)


# --- error functions --------------------------------------------------------------------------------------------------
_erfc = np.vectorize(math.erfc, otypes=[np.float64])


def erfcx(x: Array) -> Array:
    """exp(x^2) erfc(x); its asymptotic series above 25."""
    x = np.asarray(x, np.float64)
    with np.errstate(all="ignore"):
        inside = np.clip(x, -27.0, 25.0)
        near = np.exp(inside * inside) * (_erfc(inside) if x.size else inside)
        far = np.where(x > 25, x, 26.0)
        square = 1 / (2 * far * far)
        tail = (1 - square * (1 - 3 * square * (1 - 5 * square))) / (far * math.sqrt(math.pi))
    return np.where(np.isnan(x), x, np.where(x > 25, tail, np.where(x < -27, np.inf, near)))


def ndtri(p: Array) -> Array:
    """The point below which a share p of the normal distribution lies: Newton's steps in logarithms of the tail."""
    p = np.asarray(p, np.float64)
    upper = p > 0.5
    q = np.where(upper, 1 - p, p)
    with np.errstate(all="ignore"):
        inside = (q > 0) & (q <= 0.5)
        share = np.where(inside, q, 0.25)
        t = np.sqrt(-2 * np.log(share))
        x = t - (2.515517 + t * (0.802853 + t * 0.010328)) / (1 + t * (1.432788 + t * (0.189269 + t * 0.001308)))
        for _ in range(4):  # the logarithm of the tail has the slope -1 / Mills' ratio
            mills = erfcx(x / math.sqrt(2)) * math.sqrt(math.pi / 2)
            x = x + (np.log(mills / math.sqrt(2 * math.pi)) - x * x / 2 - np.log(share)) * mills
        y = np.where(upper, x, -x)
    y = np.where(p == 0.5, 0.0, y)
    return np.where(inside, y, np.where(p == 0, -np.inf, np.where(p == 1, np.inf, np.nan)))


# --- orthogonal polynomials -------------------------------------------------------------------------------------------
Step = Callable[[Array, int, Array, Array], Array]


def polynomial(first: Callable[[Array], Array], step: Step, x: Array, n: Array) -> Array:
    """The polynomials of degrees n at x by their recurrence: 1, first(x), then step(x, k, p[k], p[k - 1]) as the one of
    degree k + 1. 0 for degrees below 0."""
    x, n = np.broadcast_arrays(np.asarray(x, np.float64), np.asarray(n, np.float64))
    whole = np.trunc(n)
    before, now = np.ones_like(x), first(x)
    y = np.where(whole == 0, before, np.where(whole == 1, now, 0.0))
    with np.errstate(all="ignore"):
        for k in range(1, int(whole.max(initial=0))):
            before, now = now, step(x, k, now, before)
            y = np.where(whole == k + 1, now, y)
    return y
