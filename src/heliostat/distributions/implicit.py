"""How samples of gamma and beta distributions move with their parameters, in NumPy and float64.

A sample x with F(x; a) held fixed moves by dx/da = -(dF/da) / (dF/dx): implicit reparameterization (arXiv 1805.08498).
F is a power series or a continued fraction times the density, which cancels, and the derivative of those for a is the
imaginary part at a + ih, exact for a tiny h as nothing is subtracted.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ..tensor.gamma import MANY, STEP, lower_series, settled, upper_fraction

_LARGE = 1e5  # beyond it the series has thousands of terms


def gamma_slope(a: Any, x: Any, psi: Any) -> Any:
    """dx/da of x drawn from a gamma distribution of shape a > 0 and rate 1; psi: digamma(a). Shapes are equal."""
    a, x, psi = (np.asarray(v, np.float64) for v in (a, x, psi))
    y = np.zeros(a.shape)
    with np.errstate(all="ignore"):
        plain = (x > 0) & np.isfinite(x)
        large = plain & (a > _LARGE)
        series = plain & ~large & (x < a + 1)
        fraction = plain & ~large & ~series
        if series.any():
            p, q, g = a[series], x[series], psi[series]
            s = lower_series(p + 1j * STEP, q)
            y[series] = -q * ((np.log(q) - g) * s.real + s.imag / STEP)
        if fraction.any():
            p, q, g = a[fraction], x[fraction], psi[fraction]
            h = upper_fraction(p + 1j * STEP, q)
            y[fraction] = q * ((np.log(q) - g) * h.real + h.imag / STEP)
        if large.any():
            # Wilson and Hilferty: the cube root is nearly normal, with relative errors of 1e-3 / a here.
            p, q = a[large], x[large]
            t = np.cbrt(q / p)
            z = 3 * np.sqrt(p) * (t - 1 + 1 / (9 * p))
            y[large] = t**3 + 3 * p * t**2 * (1 / (9 * p * p) - z / (6 * p**1.5))
    return y


def _beta_fraction(a: Any, b: Any, x: Any) -> Any:
    """The continued fraction of I_x(a, b) = x^a (1-x)^b / (a B(a, b)) * fraction, by Lentz, for x below the mean."""
    tiny = 1e-300
    c = np.ones_like(a + b)
    d = 1 - (a + b) * x / (a + 1)
    d = 1 / np.where(d == 0, tiny, d)
    h = d
    for m in range(1, MANY):
        for step in (
            m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m)),
            -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1)),
        ):
            d = 1 + step * d
            c = 1 + step / c
            d, c = 1 / np.where(d == 0, tiny, d), np.where(c == 0, tiny, c)
            h = h * d * c
        if settled(d * c):
            break
    return h


def beta_slope(a: Any, b: Any, x: Any, psi: Any) -> Any:
    """dx/da / (1 - x) of x drawn from a beta distribution of a, b > 0; psi: digamma(a) - digamma(a + b). Shapes are
    equal."""
    a, b, x, psi = (np.asarray(v, np.float64) for v in (a, b, x, psi))
    y = np.zeros(a.shape)
    with np.errstate(all="ignore"):
        plain = (x > 0) & (x < 1)
        low = plain & (x < (a + 1) / (a + b + 2))
        high = plain & ~low
        if low.any():
            p, q, u = a[low], b[low], x[low]
            g = _beta_fraction(p + 1j * STEP, q, u) / (p + 1j * STEP)
            slope = np.log(u) - psi[low]
            y[low] = -u * (slope * g.real + g.imag / STEP)
        if high.any():
            # I_x(a, b) = 1 - I_{1-x}(b, a): the derivative is for the second operand there.
            p, q, u = a[high], b[high], x[high]
            g = _beta_fraction(q, p + 1j * STEP, 1 - u) / q
            slope = np.log(u) - psi[high]
            y[high] = u * (slope * g.real + g.imag / STEP)
    return y
