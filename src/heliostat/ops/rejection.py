"""Random numbers by rejection, element by element: gamma, Poisson, binomial, von Mises. Proposals come from Philox, so
that a sample is a function of seed, draw and element, the same on every device.

The methods are written once (`method.py`), for the kernel and its reference; tests hold them against distribution
functions. A loop ends where all lanes of a vector, or threads of a warp, have accepted; of its 64 rounds two to four
are usual. Where none accepts, once in 10^29 samples or less often, it is the middle.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, ClassVar

import numpy as np

from ..diagnostics import DTypeError
from ..ir.types import TensorType, f64, i64, tensor
from .error import LargestUlp
from .integer import philox
from .method import HALF_LOG_TAU, Arrays, Method, stirling
from .op import Amp, Array, NotDifferentiable, public
from .rules import broadcast, plain
from .samples import Sample, Uniform, sample

ROUNDS = 64
ROUND = 1 << 48
"""From one round's number of a draw to the next one's. Draws are fewer."""

_FEW = 10.0  # means below it are found by adding up probabilities
_MOST = 64  # of a mean below 10, a count beyond this has a probability below 1e-30

Given = tuple[TensorType, Uniform]


def _uniforms(k: Any, number: Any, key: Any, draw: Any) -> list[Any]:
    """Four numbers between 0 and 1, neither of them, from 32 bits each."""
    return [(k.cast(word, f64) + 0.5) * 2.0**-32 for word in philox(k, number, key, draw)]


def _first(k: Any, start: Any, todo: Any, propose: Callable[[Any], tuple[Any, Any]]) -> Any:
    """What is accepted first of the proposals of some rounds where `todo` holds, and `start` elsewhere."""

    def step(n: Any, state: list[Any]) -> list[Any]:
        value, accepted = propose(n)
        return [k.select(accepted, value, state[0]), k.select(accepted, 0.0, state[1])]

    return k.repeat([start, k.select(todo, start * 0.0 + 1.0, 0.0)], lambda s: s[1] > 0.0, step, ROUNDS)[0]


class Rejection(Method):
    """Three i64, an element's number, a key and the number of the draw, then parameters in f64. The result is f64: no
    number where no distribution has such parameters."""

    gradient = NotDifferentiable("it is drawn by rejection")
    error = LargestUlp(f64=256)
    mixed = True
    parameters: ClassVar[tuple[str, ...]] = ()

    def infer(self, *types: TensorType) -> TensorType:
        wanted = (i64,) * 3 + (f64,) * len(self.parameters)
        if tuple(plain(t, self.name) for t in types) != wanted:
            raise DTypeError(f"{self.name} takes {', '.join(map(str, wanted))}, found {', '.join(map(str, types))}")
        return TensorType(f64, broadcast(*(t.shape for t in types), what=f"operands of {self.name}"))

    def reference(self, *x: Array) -> Array:
        given = np.broadcast_arrays(*np.atleast_1d(*x))
        numbers = [np.array(a, np.int64) for a in given[:3]]
        with np.errstate(all="ignore"):
            made = self.method(Arrays(), *numbers, *(np.asarray(a, np.float64) for a in given[3:]))
        return np.asarray(made.reshape(np.broadcast_shapes(*(np.shape(a) for a in x))))


def _normal(k: Any, a: Any, b: Any) -> Any:
    """Mean 0, deviation 1, of two uniform numbers, by Box and Muller."""
    return k.sqrt(k.log(a) * -2.0) * k.cos(b * (2 * math.pi))


def _samples(few: list[Given], many: list[Given]) -> tuple[Sample, ...]:
    """Of an op with these parameters: a vector, and rows that share them."""
    first = (tensor(i64, 40), Uniform(0, 999)), (tensor(i64), Uniform(0, 2**40)), (tensor(i64), Uniform(0, 2**33))
    second = (tensor(i64, 3, 5), Uniform(0, 99)), (tensor(i64), Uniform(0, 9)), (tensor(i64), Uniform(0, 9))
    return sample(*first, *few), sample(*second, *many)


class RandomLogGamma(Rejection, name="random_log_gamma", version=1, amp=Amp.KEEP_INPUT):
    """Logarithms of gamma numbers of rate 1; those of a small concentration are 0 themselves. Marsaglia and Tsang,
    A simple method for generating gamma variables (2000), which accepts 95 % and more. Below 1 the number of a + 1
    times U^(1 / a)."""

    operands = ("number", "key", "draw", "concentration")
    parameters = ("concentration",)
    samples = _samples([(tensor(f64, 40), Uniform(0.01, 3))], [(tensor(f64, 5), Uniform(1, 1e6))])

    def method(self, k: Any, number: Any, key: Any, draw: Any, a: Any) -> Any:
        small = a < 1.0
        d = k.select(small, a + 1.0, a) - 1 / 3
        c = 1.0 / k.sqrt(d * 9.0)

        def propose(n: Any) -> tuple[Any, Any]:
            p, q, u, _ = _uniforms(k, number, key, draw + (n + 1) * ROUND)
            x = _normal(k, p, q)
            root = x * c + 1.0
            v = root * root * root
            inside = v > 0.0
            log_v = k.log(k.select(inside, v, 1.0))
            return log_v, inside & (k.log(u) < x * x * 0.5 + d * (1.0 - v + log_v))

        log_v = _first(k, k.cast(number, f64) * 0.0, d < math.inf, propose)
        high, low, *_ = _uniforms(k, number, key, draw)
        made = k.log(d) + log_v + k.select(small, k.log(_fine(high, low)) / a, 0.0)
        return k.select(a >= 0.0, made, math.nan)


class RandomPoisson(Rejection, name="random_poisson", version=1, amp=Amp.KEEP_INPUT):
    """Counts of a mean. From a mean of 10 on by transformed rejection (Hoermann, The transformed rejection method for
    generating Poisson random variables, 1993: PTRS), which accepts 75 % and more; below by adding up probabilities."""

    operands = ("number", "key", "draw", "rate")
    parameters = ("rate",)
    samples = _samples([(tensor(f64, 40), Uniform(0, 30))], [(tensor(f64, 5), Uniform(1, 1e6))])

    def method(self, k: Any, number: Any, key: Any, draw: Any, rate: Any) -> Any:
        few = rate < _FEW
        wide = k.select(few, _FEW, rate)
        root = k.sqrt(wide)
        b = root * 2.53 + 0.931
        a = b * 0.02483 - 0.059
        log_scale = k.log(1.1239 + 1.1328 / (b - 3.4))
        sure = 0.9277 - 3.6224 / (b - 2.0)

        def propose(n: Any) -> tuple[Any, Any]:
            u, v, *_ = _uniforms(k, number, key, draw + (n + 1) * ROUND)
            found, us = _table_mountain(k, u, a, b, wide + 0.43)
            z = k.select(found < 0.0, 0.0, found) + 1.0
            t = (z - wide) / wide
            log_p = wide * t - (z - 0.5) * k.log1p(t) - k.log(wide) * 0.5 - HALF_LOG_TAU - stirling(k, z)
            under = k.log(v) + log_scale - k.log(a / (us * us) + b) < log_p
            near = (us > 0.013) | (v < us)
            return found, ((us > 0.07) & (v < sure)) | ((found > -0.5) & near & under)

        many = _first(k, k.floor(rate), k.logical_not(few) & (rate < math.inf), propose)
        found = k.select(few, _added_up(k, number, key, draw, k.exp(-rate), lambda n: rate / (n + 1.0), few), many)
        return k.select(rate >= 0.0, found, math.nan)


class RandomBinomial(Rejection, name="random_binomial", version=1, amp=Amp.KEEP_INPUT):
    """How many of `count` trials succeed. With 10 of the rarer outcome or more on average by transformed rejection
    (Hoermann, The generation of binomial random variates, 1993: BTRS), else by adding up probabilities."""

    operands = ("number", "key", "draw", "count", "prob")
    parameters = ("count", "prob")
    samples = _samples(
        [(tensor(f64), Uniform(30, 31)), (tensor(f64, 40), Uniform(0, 1))],
        [(tensor(f64, 5), Uniform(1000, 1001)), (tensor(f64, 5), Uniform(0, 1))],
    )

    def method(self, k: Any, number: Any, key: Any, draw: Any, count: Any, prob: Any) -> Any:
        count = k.floor(count)
        often = prob > 0.5
        p = k.select(often, 1.0 - prob, prob)
        few = count * p < _FEW
        n, q = k.select(few, 40.0, count), k.select(few, 0.5, p)  # of lanes that do not count, what is defined
        odds = q / (1.0 - q)
        spread = k.sqrt(n * q * (1.0 - q))
        b = spread * 2.53 + 1.15
        a = b * 0.0248 - 0.0873 + q * 0.01
        sure = 0.92 - 4.2 / b
        alpha = (5.1 / b + 2.83) * spread
        mode = k.floor((n + 1.0) * q)
        at_mode = (mode + 0.5) * k.log((mode + 1.0) / (odds * (n - mode + 1.0)))
        at_mode = at_mode + stirling(k, mode + 1.0) + stirling(k, n - mode + 1.0)

        def propose(r: Any) -> tuple[Any, Any]:
            u, v, *_ = _uniforms(k, number, key, draw + (r + 1) * ROUND)
            found, us = _table_mountain(k, u, a, b, n * q + 0.5)
            inside = (found > -0.5) & (found < n + 0.5)
            x = k.select(inside, found, 0.0)
            rest = n - x + 1.0
            log_p = at_mode + (n + 1.0) * k.log1p((x - mode) / rest) + (x + 0.5) * k.log(odds * rest / (x + 1.0))
            log_p = log_p - stirling(k, x + 1.0) - stirling(k, rest)
            under = k.log(v * alpha / (a / (us * us) + b)) < log_p
            return found, inside & (((us > 0.07) & (v < sure)) | under)

        many = _first(k, k.floor(n * q), k.logical_not(few) & (prob <= 1.0), propose)
        start = k.exp(count * k.log1p(-p))
        ratio = p / (1.0 - p)
        rare = _added_up(k, number, key, draw, start, lambda r: (count - r) / (r + 1.0) * ratio, few)
        found = k.select(few, rare, many)
        return k.select((count >= 0.0) & (prob >= 0.0) & (prob <= 1.0), k.select(often, count - found, found), math.nan)


class RandomVonMises(Rejection, name="random_von_mises", version=1, amp=Amp.KEEP_INPUT):
    """Angles around 0, from -pi to pi. Best and Fisher, Efficient simulation of the von Mises distribution (1979): 66 %
    and more are accepted. Their acos is by half angles, which keep their digits at large concentrations."""

    operands = ("number", "key", "draw", "concentration")
    parameters = ("concentration",)
    samples = _samples([(tensor(f64, 40), Uniform(0, 30))], [(tensor(f64, 5), Uniform(1, 1e6))])

    def method(self, k: Any, number: Any, key: Any, draw: Any, kappa: Any) -> Any:
        given, kappa = kappa, k.select(kappa < 1e-12, 1e-12, kappa)
        small = kappa < 1e-4
        safe = k.select(small, 1.0, kappa)
        tau = k.sqrt(safe * safe * 4.0 + 1.0) + 1.0
        rho = (tau - k.sqrt(tau * 2.0)) / (safe * 2.0)
        below = (1.0 - rho) * (1.0 - rho) / (rho * 2.0)  # r - 1
        below = k.select(small, 1.0 / kappa + kappa - 1.0, below)
        narrow = k.sqrt(below / (below + 2.0))

        def propose(n: Any) -> tuple[Any, Any]:
            a, b, side, _ = _uniforms(k, number, key, draw + (n + 1) * ROUND)
            z = k.cos(a * math.pi)
            c = kappa * below * (below + 2.0) / (below + 1.0 + z)
            angle = k.atan(narrow * k.tan(a * (math.pi / 2))) * 2.0
            angle = k.select(side < 0.5, -angle, angle)
            return angle, (c * (2.0 - c) > b) | (k.log(c / b) + 1.0 > c)

        found = _first(k, k.cast(number, f64) * 0.0, kappa < math.inf, propose)
        return k.select(given >= 0.0, found, math.nan)


def _table_mountain(k: Any, u: Any, a: Any, b: Any, center: Any) -> tuple[Any, Any]:
    """A whole number of Hoermann's hat function by a uniform number, and how far from the ends that one is."""
    u = u - 0.5
    us = 0.5 - k.abs(u)
    return k.floor((a * 2.0 / us + b) * u + center), us


def _added_up(k: Any, number: Any, key: Any, draw: Any, start: Any, ratio: Callable[[Any], Any], todo: Any) -> Any:
    """The count at which probabilities have added up to a uniform number: that of 0 is `start`, that of n + 1 is
    ratio(n) times that of n."""
    high, low, *_ = _uniforms(k, number, key, draw)

    def step(n: Any, state: list[Any]) -> list[Any]:
        left, probability, count = state
        return [left - probability, probability * ratio(count), count + 1.0]

    left = k.select(todo, _fine(high, low), 0.0)
    return k.repeat([left, start, left * 0.0], lambda s: s[0] > s[1], step, _MOST)[2]


def _fine(high: Any, low: Any) -> Any:
    """A uniform number of 64 bits, rounded, of two of 32."""
    return high + (low - 0.5) * 2.0**-32


random_log_gamma = public(RandomLogGamma, RandomLogGamma.call)
random_poisson = public(RandomPoisson, RandomPoisson.call)
random_binomial = public(RandomBinomial, RandomBinomial.call)
random_von_mises = public(RandomVonMises, RandomVonMises.call)
