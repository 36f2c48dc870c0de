"""Incomplete gamma functions, and how samples of gamma and beta distributions move with their parameters, in float64.

A power series below a + 1, a continued fraction above; for large a an expansion around the normal distribution.
A sample x with F(x; a) held fixed moves by dx / da = -(dF / da) / (dF / dx): implicit reparameterization
(arXiv 1805.08498). F is the series or the fraction times the density, which cancels; derivatives of both for a go
through their loops beside the values.
"""

from __future__ import annotations

import math
from typing import Any

from ..ir.types import f64, tensor
from .method import HALF_LOG_TAU, Dual, Method, flat, long_loop, paired, polynomial, settled, stirling
from .op import Amp, public
from .samples import Uniform, sample
from .special import scaled_erfc

LARGE = 1e5
"""Beyond it the series has thousands of terms, and the expansion in 1 / a is exact to 1e-16."""

_SMALL = 1e-300
_TEMME = (
    (-1 / 3, 1 / 12, -2 / 135, 1 / 864, 1 / 2835, -139 / 777600, 1 / 25515),
    (-1 / 540, -1 / 288, 1 / 378, -77 / 77760),
    (25 / 6048, -139 / 51840),
)
"""Coefficients of powers of eta for each power of 1 / a. Source: DLMF 8.12.11 to 8.12.14."""


def _log_density(k: Any, a: Any, x: Any) -> Any:
    """log(x^a exp(-x) / Gamma(a + 1)), by Stirling's formula for a + 1, without the difference of large numbers."""
    b = a + 1.0
    ratio = x / b
    beside = (x - b) / b
    near = k.abs(beside) < 0.5
    logarithm = k.select(near, k.log1p(k.select(near, beside, 0.0)), k.log(ratio))
    return a * logarithm - (x - b) - k.log(b) * 0.5 - HALF_LOG_TAU - stirling(k, b)


def _series(k: Any, a: Any, x: Any, todo: Any) -> Any:
    """1 + x / (a + 1) + x^2 / ((a + 1) (a + 2)) + ... where todo is 1; of a dual a with its derivative. DLMF 8.7.1."""
    dual = isinstance(a, Dual)

    def step(state: list[Any]) -> list[Any]:
        n = state[0] + 1.0
        term, total = paired(state[1:], a)
        term = term * x / (Dual(n, 1.0) if dual else n)
        return [n, *flat([term, total + term])]

    def going(state: list[Any]) -> Any:
        term, total = paired(state[1:], a)
        if not dual:
            return term > total * 1e-17
        return (term.value > total.value * 1e-17) | (k.abs(term.slope) > k.abs(total.slope) * 1e-17)

    n = (a.value if dual else a) + 1.0
    first = Dual(x * todo, x * 0.0) / Dual(n, 1.0) if dual else x * todo / n
    return paired(long_loop(k, [n, *flat([first, first + 1.0])], going, step)[1:], a)[1]


def _fraction(k: Any, a: Any, x: Any, todo: Any) -> Any:
    """Gamma(a, x) exp(x) / x^a where todo is 1, of a dual a with its derivative, by Lentz. DLMF 8.9.2."""
    zero = x * 0.0
    value = a.value if isinstance(a, Dual) else a
    b = x + 1.0 - value
    b = k.select(b == 0.0, _SMALL, b)
    turned = -a + (x + 1.0)

    def step(state: list[Any]) -> list[Any]:
        n = state[0] + 1.0
        c, d, h = paired(state[2:], a)
        numerator = (a + -n) * n
        denominator = turned + n * 2.0
        d = 1.0 / (numerator * d + denominator)
        c = denominator + numerator / c
        ratio = c * d
        return [n, k.select(settled(k, ratio), zero, 1.0), *flat([c, d, h * ratio])]

    start = 1.0 / (Dual(b, zero - 1.0) if isinstance(a, Dual) else b)
    far = Dual(zero + 1 / _SMALL, zero) if isinstance(a, Dual) else zero + 1 / _SMALL
    return paired(long_loop(k, [zero, todo, *flat([far, start, start])], _unsettled, step)[2:], a)[2]


def _unsettled(state: list[Any]) -> Any:
    return state[1] > 0.0


def _expansion(k: Any, a: Any, x: Any) -> tuple[Any, Any]:
    """Q(a, x) and P(a, x) of a large a. N. Temme, The asymptotic expansion of the incomplete gamma functions (1979);
    DLMF 8.12.3 and 8.12.7."""
    mu = (x - a) / a
    near = k.abs(mu) < 0.05
    close = k.select(near, mu, 0.0)
    square = close * close * polynomial(close, [(-1.0) ** n / (n + 2) for n in range(14)])  # mu - log(1 + mu)
    square = k.select(near, square, mu - k.log1p(mu)) * 2.0
    eta = k.select(mu < 0.0, -k.sqrt(square), k.sqrt(square))
    z = k.sqrt(a * square * 0.5)
    inverse = 1.0 / a
    rest = eta * 0.0
    for row in reversed(_TEMME):
        rest = rest * inverse + polynomial(eta, row)
    rest = rest / k.sqrt(a * (2 * math.pi))
    scale = k.exp(-(z * z))
    tail = scaled_erfc(k, z) * 0.5  # of the side away from the mean
    outer = k.select(mu < 0.0, tail - rest, tail + rest) * scale
    return k.select(mu < 0.0, 1.0 - outer, outer), k.select(mu < 0.0, outer, 1.0 - outer)


class _Incomplete(Method):
    operands = ("a", "x")
    samples = (
        sample((tensor(f64, 40), Uniform(0.05, 20)), (tensor(f64, 40), Uniform(0, 20))),
        sample((tensor(f64, 3, 1), Uniform(10, 2e5)), (tensor(f64, 5), Uniform(10, 2e5))),
    )

    def method(self, k: Any, a: Any, x: Any) -> Any:
        plain = (a > 0.0) & (x > 0.0) & (a < math.inf) & (x < math.inf)
        p, q = k.select(plain, a, 1.0), k.select(plain, x, 1.0)
        large, low = p > LARGE, q < p + 1.0
        few = k.select(large, 1.0, p)  # of lanes that do not count, what is short
        u = k.select(large, 1.0, q)
        scale = k.exp(_log_density(k, few, u))
        zero = p * 0.0
        lower = scale * _series(k, few, k.select(low, u, 0.0), k.select(low, zero + 1.0, zero))
        above = k.select(low | large, zero, zero + 1.0)
        upper = scale * few * _fraction(k, few, k.select(low, few + 1.0, u), above)
        far_upper, far_lower = _expansion(k, p, q)
        lower, upper = k.select(low, lower, 1.0 - upper), k.select(low, 1.0 - lower, upper)
        y = k.select(large, far_upper, upper) if self.upper else k.select(large, far_lower, lower)
        y = k.select(y < 0.0, 0.0, k.select(y > 1.0, 1.0, y))
        none = ((x == 0.0) & (a > 0.0)) | ((a == math.inf) & (x >= 0.0) & (x < math.inf))
        whole = ((a == 0.0) & (x > 0.0)) | ((x == math.inf) & (a >= 0.0) & (a < math.inf))
        ends = k.select(none, float(self.upper), k.select(whole, float(not self.upper), a * x * math.nan))
        return k.select(plain, y, ends)

    upper = False


class IncompleteGamma(_Incomplete, name="incomplete_gamma", version=1, amp=Amp.KEEP_INPUT):
    """The regularized lower incomplete gamma function P(a, x), in f64; NaN for negative operands."""


class UpperIncompleteGamma(_Incomplete, name="upper_incomplete_gamma", version=1, amp=Amp.KEEP_INPUT):
    """The regularized upper incomplete gamma function Q(a, x) = 1 - P(a, x), in f64; NaN for negative operands."""

    upper = True


class GammaSlope(Method, name="gamma_slope", version=1, amp=Amp.KEEP_INPUT):
    """dx / da of x drawn from a gamma distribution of shape a > 0 and rate 1; psi: digamma(a). In f64, 0 where x is
    not positive and finite. Beyond a = 1e5 by Wilson and Hilferty, with relative errors of 1e-3 / a."""

    operands = ("a", "x", "psi")
    samples = (
        sample(
            (tensor(f64, 40), Uniform(0.05, 20)),
            (tensor(f64, 40), Uniform(0.01, 20)),
            (tensor(f64, 40), Uniform(-1, 3)),
        ),
    )

    def method(self, k: Any, a: Any, x: Any, psi: Any) -> Any:
        plain = (a > 0.0) & (x > 0.0) & (x < math.inf)
        p, q = k.select(plain, a, 1.0), k.select(plain, x, 1.0)
        large = p > LARGE
        few, u = k.select(large, 1.0, p), k.select(large, 1.0, q)
        low = u < few + 1.0
        zero = p * 0.0
        shape = Dual(few, zero + 1.0)
        s = _series(k, shape, k.select(low, u, 0.0), k.select(low, zero + 1.0, zero))
        h = _fraction(k, shape, k.select(low, few + 1.0, u), k.select(low, zero, zero + 1.0))
        above = k.log(u) - psi  # of the series, digamma(a + 1) = digamma(a) + 1 / a
        lower = -(u / few) * ((above - 1.0 / few) * s.value + s.slope)
        upper = u * (above * h.value + h.slope)
        t = k.exp(k.log(q / p) * (1 / 3))
        root = k.sqrt(p)
        z = root * 3.0 * (t - 1.0 + 1.0 / (p * 9.0))
        far = t * t * t + p * 3.0 * t * t * (1.0 / (p * p * 9.0) - z / (p * root * 6.0))
        return k.select(plain, k.select(large, far, k.select(low, lower, upper)), 0.0)


class BetaSlope(Method, name="beta_slope", version=1, amp=Amp.KEEP_INPUT):
    """dx / da / (1 - x) of x drawn from a beta distribution of a, b > 0; psi: digamma(a) - digamma(a + b). In f64, 0
    where x is not inside of 0 to 1. By the continued fraction of the incomplete beta function, DLMF 8.17.22."""

    operands = ("a", "b", "x", "psi")
    samples = (
        sample(
            (tensor(f64, 40), Uniform(0.05, 20)),
            (tensor(f64, 40), Uniform(0.05, 20)),
            (tensor(f64, 40), Uniform(0.01, 0.99)),
            (tensor(f64, 40), Uniform(-3, 0)),
        ),
    )

    def method(self, k: Any, a: Any, b: Any, x: Any, psi: Any) -> Any:
        plain = (x > 0.0) & (x < 1.0) & (a > 0.0) & (b > 0.0)
        a, b, x = (k.select(plain, v, c) for v, c in ((a, 1.0), (b, 1.0), (x, 0.5)))
        low = x < (a + 1.0) / (a + b + 2.0)
        zero = x * 0.0
        # I_x(a, b) = 1 - I_{1-x}(b, a): the derivative is for the second operand there
        first = Dual(k.select(low, a, b), k.select(low, zero + 1.0, zero))
        second = Dual(k.select(low, b, a), k.select(low, zero, zero + 1.0))
        g = self._fraction(k, first, second, k.select(low, x, 1.0 - x), k.select(plain, zero + 1.0, zero)) / first
        y = x * ((k.log(x) - psi) * g.value + g.slope)
        return k.select(plain, k.select(low, -y, y), 0.0)

    def _fraction(self, k: Any, a: Dual, b: Dual, x: Any, todo: Any) -> Any:
        zero = x * 0.0
        first = 1.0 / (-((a + b) * x) / (a + 1.0) + 1.0)

        def step(state: list[Any]) -> list[Any]:
            m = state[0] + 1.0
            c, d, h = paired(state[2:], a)
            twice = a + m * 2.0
            even = (b + -m) * (m * x) / ((twice + -1.0) * twice)
            odd = -((a + m) * (a + b + m) * x) / (twice * (twice + 1.0))
            for numerator in (even, odd):
                d = 1.0 / (numerator * d + 1.0)
                c = numerator / c + 1.0
                ratio = c * d
                h = h * ratio
            return [m, k.select(settled(k, ratio), zero, 1.0), *flat([c, d, h])]

        start = [zero, todo, *flat([Dual(zero + 1.0, zero), first, first])]
        return paired(long_loop(k, start, _unsettled, step)[2:], a)[2]


incomplete_gamma = public(IncompleteGamma, IncompleteGamma.call)
upper_incomplete_gamma = public(UpperIncompleteGamma, UpperIncompleteGamma.call)
gamma_slope, beta_slope = public(GammaSlope, GammaSlope.call), public(BetaSlope, BetaSlope.call)
