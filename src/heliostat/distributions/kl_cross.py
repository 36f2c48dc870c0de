"""Kullback and Leibler's divergence between distributions of two families."""

from __future__ import annotations

import math
from typing import Any

from ..tensor import Tensor
from .discrete import Bernoulli, Binomial, Poisson
from .gamma import Beta, Exponential, Gamma
from .kl import register_kl
from .location import Gumbel, Laplace, Normal, Uniform
from .parameters import HALF_LOG_TWO_PI, constant_like, euler_constant, where
from .relaxed import ContinuousBernoulli
from .tails import Pareto

# p gives a probability to values that q holds for impossible.
_IMPOSSIBLE: tuple[tuple[Any, tuple[Any, ...]], ...] = (
    (Beta, (Pareto,)),
    (ContinuousBernoulli, (Pareto,)),
    (Exponential, (Beta, ContinuousBernoulli, Pareto, Uniform)),
    (Gamma, (Beta, ContinuousBernoulli, Pareto, Uniform)),
    (Gumbel, (Beta, ContinuousBernoulli, Exponential, Gamma, Pareto, Uniform)),
    (Laplace, (Beta, ContinuousBernoulli, Exponential, Gamma, Pareto, Uniform)),
    (Normal, (Beta, ContinuousBernoulli, Exponential, Gamma, Pareto, Uniform)),
    (Pareto, (Beta, ContinuousBernoulli, Uniform)),
    (Poisson, (Bernoulli, Binomial)),
)


def _infinite(p: Any, q: Any) -> Tensor:
    like = next(x for x in (getattr(p, name, None) for name in p.arg_constraints) if x is not None)
    return constant_like(like, p.batch_shape, math.inf)


for _p, _others in _IMPOSSIBLE:
    for _q in _others:
        register_kl(_p, _q)(_infinite)


def _outside(impossible: Any, found: Tensor) -> Tensor:
    """Infinite where q holds for impossible what p does not."""
    made: Tensor = where(impossible, math.inf, found)
    return made


# --- what q's logarithm expects of p's moments ------------------------------------------------------------------------
def _of_normal(q: Any, mean: Tensor, variance: Tensor) -> Tensor:
    made: Tensor = HALF_LOG_TWO_PI + q.scale.log() + (variance + (mean - q.loc) ** 2) / (2 * q.scale**2)
    return made


def _of_exponential(q: Any, mean: Tensor) -> Tensor:
    made: Tensor = q.rate * mean - q.rate.log()
    return made


def _of_gamma(q: Any, mean: Tensor, log_mean: Tensor) -> Tensor:
    a = q.concentration
    made: Tensor = a.lgamma() - a * q.rate.log() - (a - 1) * log_mean + q.rate * mean
    return made


def _of_gumbel(q: Any, mean: Tensor, tail: Tensor) -> Tensor:
    """tail: the expectation of exp(-x / scale)."""
    made: Tensor = q.scale.log() + (mean - q.loc) / q.scale + (q.loc / q.scale).exp() * tail
    return made


def _of_continuous_bernoulli(q: Any, mean: Tensor) -> Tensor:
    made: Tensor = -mean * q.logits - (-q.probs).log1p() - q._cont_bern_log_norm()
    return made


@register_kl(Beta, Normal)
@register_kl(ContinuousBernoulli, Normal)
@register_kl(Exponential, Normal)
@register_kl(Gamma, Normal)
@register_kl(Gumbel, Normal)
@register_kl(Laplace, Normal)
@register_kl(Uniform, Normal)
def _to_normal(p: Any, q: Any) -> Tensor:
    return _of_normal(q, p.mean, p.variance) - p.entropy()


@register_kl(Pareto, Normal)
def _pareto_normal(p: Any, q: Any) -> Tensor:
    return _outside(p.alpha <= 2, _of_normal(q, p.mean, p.variance) - p.entropy())


@register_kl(Beta, Exponential)
@register_kl(ContinuousBernoulli, Exponential)
@register_kl(Gamma, Exponential)
def _to_exponential(p: Any, q: Any) -> Tensor:
    return _of_exponential(q, p.mean) - p.entropy()


@register_kl(Pareto, Exponential)
def _pareto_exponential(p: Any, q: Any) -> Tensor:
    return _outside(p.alpha <= 1, _of_exponential(q, p.mean) - p.entropy())


@register_kl(Uniform, Exponential)
def _uniform_exponential(p: Any, q: Any) -> Tensor:
    return _outside(p.low < 0, _of_exponential(q, p.mean) - p.entropy())


@register_kl(Beta, Gamma)
def _beta_gamma(p: Any, q: Any) -> Tensor:
    a, b = p.concentration1, p.concentration0
    return _of_gamma(q, p.mean, a.digamma() - (a + b).digamma()) - p.entropy()


@register_kl(Exponential, Gamma)
def _exponential_gamma(p: Any, q: Any) -> Tensor:
    return _of_gamma(q, p.mean, -euler_constant - p.rate.log()) - p.entropy()


@register_kl(Pareto, Gamma)
def _pareto_gamma(p: Any, q: Any) -> Tensor:
    found = _of_gamma(q, p.mean, p.scale.log() + p.alpha.reciprocal()) - p.entropy()
    return _outside(p.alpha <= 1, found)


def _xlogx(low: Tensor, high: Tensor) -> Tensor:
    """The mean of log(x) between two numbers of at least 0."""
    made: Tensor = (high.xlogy(high) - low.xlogy(low)) / (high - low) - 1
    return made


@register_kl(Uniform, Gamma)
def _uniform_gamma(p: Any, q: Any) -> Tensor:
    return _outside(p.low < 0, _of_gamma(q, p.mean, _xlogx(p.low, p.high)) - p.entropy())


@register_kl(Exponential, Gumbel)
def _exponential_gumbel(p: Any, q: Any) -> Tensor:
    product = p.rate * q.scale
    return _of_gumbel(q, p.mean, product / (product + 1)) - p.entropy()


@register_kl(Gamma, Gumbel)
def _gamma_gumbel(p: Any, q: Any) -> Tensor:
    return _of_gumbel(q, p.mean, (1 + 1 / (p.rate * q.scale)) ** -p.concentration) - p.entropy()


@register_kl(Normal, Gumbel)
def _normal_gumbel(p: Any, q: Any) -> Tensor:
    return _of_gumbel(q, p.mean, (0.5 * (p.scale / q.scale) ** 2 - p.loc / q.scale).exp()) - p.entropy()


@register_kl(Uniform, Gumbel)
def _uniform_gumbel(p: Any, q: Any) -> Tensor:
    tail = q.scale / (p.high - p.low) * ((-p.low / q.scale).exp() - (-p.high / q.scale).exp())
    return _of_gumbel(q, p.mean, tail) - p.entropy()


@register_kl(Normal, Laplace)
def _normal_laplace(p: Any, q: Any) -> Tensor:
    far = p.loc - q.loc
    z = far / p.scale
    distance = math.sqrt(2 / math.pi) * p.scale * (-0.5 * z**2).exp() + far * (math.sqrt(0.5) * z).erf()
    made: Tensor = (2 * q.scale).log() + distance / q.scale - p.entropy()
    return made


@register_kl(Bernoulli, Poisson)
def _bernoulli_poisson(p: Any, q: Any) -> Tensor:
    made: Tensor = q.rate - p.probs * q.rate.log() - p.entropy()
    return made


@register_kl(Beta, ContinuousBernoulli)
def _beta_continuous_bernoulli(p: Any, q: Any) -> Tensor:
    return _of_continuous_bernoulli(q, p.mean) - p.entropy()


@register_kl(Uniform, ContinuousBernoulli)
def _uniform_continuous_bernoulli(p: Any, q: Any) -> Tensor:
    return _outside((p.high > 1) | (p.low < 0), _of_continuous_bernoulli(q, p.mean) - p.entropy())


@register_kl(Beta, Uniform)
@register_kl(ContinuousBernoulli, Uniform)
def _to_uniform(p: Any, q: Any) -> Tensor:
    return _outside((q.low > 0) | (q.high < 1), (q.high - q.low).log() - p.entropy())


@register_kl(Uniform, Beta)
def _uniform_beta(p: Any, q: Any) -> Tensor:
    a, b = q.concentration1, q.concentration0
    norm = a.lgamma() + b.lgamma() - (a + b).lgamma()
    found = norm - (a - 1) * _xlogx(p.low, p.high) - (b - 1) * _xlogx(1 - p.high, 1 - p.low) - p.entropy()
    return _outside((p.high > 1) | (p.low < 0), found)


@register_kl(Uniform, Pareto)
def _uniform_pareto(p: Any, q: Any) -> Tensor:
    found = (q.alpha + 1) * _xlogx(p.low, p.high) - q.alpha.log() - q.alpha * q.scale.log() - p.entropy()
    return _outside(p.low < q.scale, found)
