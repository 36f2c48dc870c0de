"""Kullback and Leibler's divergence: the table of pairs, and those within a family. `kl_cross` has the others."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from typing import Any

from ..diagnostics import ShapeError, UnsupportedError
from ..ir.types import f64
from ..linalg import solve_triangular
from ..tensor import FUNCTIONS, Tensor
from ..tensor.conversion import convert
from .categorical import Categorical, OneHotCategorical
from .composite import Independent, TransformedDistribution
from .discrete import Bernoulli, Binomial, Geometric, Poisson
from .distribution import Distribution, ExponentialFamily, bregman
from .gamma import Beta, Dirichlet, Exponential, Gamma, StudentT
from .location import Cauchy, Gumbel, HalfNormal, Laplace, LogNormal, Normal, Uniform
from .multivariate import LowRankMultivariateNormal, MultivariateNormal, log_diagonal, mahalanobis
from .parameters import euler_constant, sum_rightmost, where
from .relaxed import ContinuousBernoulli
from .tails import Pareto

Divergence = Callable[[Any, Any], Tensor]
_registry: dict[tuple[type, type], Divergence] = {}
_found: dict[tuple[type, type], Divergence | None] = {}


def register_kl(type_p: type, type_q: type) -> Callable[[Divergence], Divergence]:
    """A decorator: `kl_divergence` takes the function for distributions of these classes, and of subclasses that have
    no nearer one. Where two are equally near, a warning says which pair to register. Raises TypeError for classes that
    are no distributions."""
    for name, kind in (("type_p", type_p), ("type_q", type_q)):
        if not isinstance(kind, type) or not issubclass(kind, Distribution):
            raise TypeError(f"Expected {name} to be a Distribution subclass but got {kind}")

    def add(function: Divergence) -> Divergence:
        _registry[type_p, type_q] = function
        _found.clear()
        return function

    return add


def _nearest(type_p: type, type_q: type) -> Divergence | None:
    """The function of the nearest classes: by p's first, and by q's first, which should be the same."""
    pairs = [(p, q) for p, q in _registry if issubclass(type_p, p) and issubclass(type_q, q)]
    if not pairs:
        return None
    at_p, at_q = type_p.__mro__.index, type_q.__mro__.index
    left = min(pairs, key=lambda pair: (at_p(pair[0]), at_q(pair[1])))
    right = min(pairs, key=lambda pair: (at_q(pair[1]), at_p(pair[0])))
    if _registry[left] is not _registry[right]:
        warnings.warn(
            f"Ambiguous kl_divergence({type_p.__name__}, {type_q.__name__}). "
            f"Please register_kl({left[0].__name__}, {right[1].__name__})",
            RuntimeWarning,
            stacklevel=3,
        )
    return _registry[left]


def kl_divergence(p: Distribution, q: Distribution) -> Tensor:
    """The expectation under p of log p(x) - log q(x), for each distribution of the batch. Raises UnsupportedError for
    pairs of classes that nothing is registered for."""
    key = type(p), type(q)
    if key not in _found:
        _found[key] = _nearest(*key)
    function = _found[key]
    if function is None:
        raise UnsupportedError(
            f"No KL(p || q) is implemented for p type {type(p).__name__} and q type {type(q).__name__}",
            help="register_kl adds one",
        )
    return function(p, q)


def _same_event(p: Distribution, q: Distribution) -> None:
    if p.event_shape != q.event_shape:
        raise ShapeError(
            f"KL-divergence between {type(p).__name__} and {type(q).__name__} with different event shapes cannot be "
            f"computed: {tuple(p.event_shape)} and {tuple(q.event_shape)}"
        )


@register_kl(Bernoulli, Bernoulli)
def _bernoulli(p: Any, q: Any) -> Tensor:
    return _expected(p.probs, q.probs, p.logits, q.logits) + _expected(1 - p.probs, 1 - q.probs, -p.logits, -q.logits)


def _expected(p: Tensor, q: Tensor, odds_p: Tensor, odds_q: Tensor) -> Tensor:
    """p log(p / q): 0 where p is, infinite where q alone is."""
    softplus = FUNCTIONS["logaddexp"]
    zero = odds_p * 0
    made: Tensor = where(p == 0, 0.0, where(q == 0, math.inf, p * (softplus(-odds_q, zero) - softplus(-odds_p, zero))))
    return made


@register_kl(Beta, Beta)
def _beta(p: Any, q: Any) -> Tensor:
    return _dirichlet(p._dirichlet, q._dirichlet)


@register_kl(Binomial, Binomial)
def _binomial(p: Any, q: Any) -> Tensor:
    if bool((p.total_count < q.total_count).any()):
        raise UnsupportedError("KL between Binomials where q.total_count > p.total_count is not implemented")
    each = p.probs * (p.logits - q.logits) + (-p.probs).log1p() - (-q.probs).log1p()
    made: Tensor = where(p.total_count > q.total_count, math.inf, p.total_count * each)
    return made


@register_kl(Categorical, Categorical)
def _categorical(p: Any, q: Any) -> Tensor:
    terms = where(q.probs == 0, math.inf, p.probs * (p.logits - q.logits))
    made: Tensor = where(p.probs == 0, 0.0, terms).sum(-1)
    return made


@register_kl(OneHotCategorical, OneHotCategorical)
def _one_hot(p: Any, q: Any) -> Tensor:
    return _categorical(p._categorical, q._categorical)


@register_kl(ContinuousBernoulli, ContinuousBernoulli)
def _continuous_bernoulli(p: Any, q: Any) -> Tensor:
    own = p.mean * (p.logits - q.logits) + p._cont_bern_log_norm() + (-p.probs).log1p()
    made: Tensor = own - q._cont_bern_log_norm() - (-q.probs).log1p()
    return made


@register_kl(Dirichlet, Dirichlet)
def _dirichlet(p: Any, q: Any) -> Tensor:
    a, b = p.concentration, q.concentration
    total = a.sum(-1)
    norms = total.lgamma() - b.sum(-1).lgamma() - (a.lgamma() - b.lgamma()).sum(-1)
    made: Tensor = norms + ((a - b) * (a.digamma() - total.digamma().unsqueeze(-1))).sum(-1)
    return made


@register_kl(Exponential, Exponential)
def _exponential(p: Any, q: Any) -> Tensor:
    ratio = q.rate / p.rate
    made: Tensor = ratio - ratio.log() - 1
    return made


@register_kl(ExponentialFamily, ExponentialFamily)
def _exponential_family(p: Any, q: Any) -> Tensor:
    if type(p) is not type(q):
        raise UnsupportedError(
            f"The cross KL-divergence between different exponential families, {type(p).__name__} and "
            f"{type(q).__name__}, cannot be computed using Bregman divergences"
        )
    params, normalizer, gradients = bregman(p)
    result = q._log_normalizer(*q._natural_params) - normalizer
    for a, b, g in zip(params, q._natural_params, gradients, strict=True):
        result = result - sum_rightmost((b - a) * g, len(q.event_shape))
    made: Tensor = result
    return made


@register_kl(Gamma, Gamma)
def _gamma(p: Any, q: Any) -> Tensor:
    a, b = p.concentration, q.concentration
    norms = b * (p.rate / q.rate).log() + b.lgamma() - a.lgamma()
    made: Tensor = norms + (a - b) * a.digamma() + (q.rate - p.rate) * (a / p.rate)
    return made


@register_kl(Gumbel, Gumbel)
def _gumbel(p: Any, q: Any) -> Tensor:
    ratio, shift = p.scale / q.scale, (p.loc - q.loc) / q.scale
    tail = ((1 + ratio).lgamma() - shift).exp()
    made: Tensor = shift - ratio.log() + ratio * euler_constant + tail - (1 + euler_constant)
    return made


@register_kl(Geometric, Geometric)
def _geometric(p: Any, q: Any) -> Tensor:
    made: Tensor = -p.entropy() - (-q.probs).log1p() / p.probs - q.logits
    return made


@register_kl(HalfNormal, HalfNormal)
def _half_normal(p: Any, q: Any) -> Tensor:
    return _normal(p.base_dist, q.base_dist)


@register_kl(Laplace, Laplace)
def _laplace(p: Any, q: Any) -> Tensor:
    ratio, far = p.scale / q.scale, (p.loc - q.loc).abs()
    made: Tensor = far / q.scale - ratio.log() + ratio * (-far / p.scale).exp() - 1
    return made


@register_kl(Cauchy, Cauchy)
def _cauchy(p: Any, q: Any) -> Tensor:
    made: Tensor = ((p.scale + q.scale) ** 2 + (p.loc - q.loc) ** 2).log() - (4 * p.scale * q.scale).log()
    return made  # arXiv 1905.10965


@register_kl(Normal, Normal)
def _normal(p: Any, q: Any) -> Tensor:
    ratio = (p.scale / q.scale) ** 2
    made: Tensor = 0.5 * (ratio + ((p.loc - q.loc) / q.scale) ** 2 - 1 - ratio.log())
    return made


@register_kl(LogNormal, LogNormal)
def _log_normal(p: Any, q: Any) -> Tensor:
    return _normal(p.base_dist, q.base_dist)


@register_kl(StudentT, StudentT)
def _student(p: Any, q: Any) -> Tensor:
    """There is no closed form: by double exponential quadrature, in f64. Below 1/2 degrees of freedom what lies beyond
    the nodes begins to count."""
    t = FUNCTIONS["arange"](-64, 65, dtype=f64, device=p.df.device) / 16
    x = (math.pi / 2 * t.sinh()).sinh()
    width = (math.pi / 32 * t.cosh() * (math.pi / 2 * t.sinh()).cosh()).log()
    a, b = (StudentT(*(convert(v, f64).unsqueeze(-1) for v in (d.df, d.loc, d.scale))) for d in (p, q))
    value = a.loc + a.scale * x
    own = a.log_prob(value)
    found = ((own + a.scale.log() + width).exp() * (own - b.log_prob(value))).sum(-1)
    return convert(found, p.df.dtype)


@register_kl(Pareto, Pareto)
def _pareto(p: Any, q: Any) -> Tensor:
    ratio = q.alpha / p.alpha
    found = q.alpha * (p.scale / q.scale).log() - ratio.log() + ratio - 1
    made: Tensor = where(p.scale < q.scale, math.inf, found)
    return made


@register_kl(Poisson, Poisson)
def _poisson(p: Any, q: Any) -> Tensor:
    zero = p.rate == 0
    rate = where(zero, 1.0, p.rate)
    made: Tensor = where(zero, q.rate, rate * (rate.log() - q.rate.log()) - (rate - q.rate))
    return made


@register_kl(Uniform, Uniform)
def _uniform(p: Any, q: Any) -> Tensor:
    found = ((q.high - q.low) / (p.high - p.low)).log()
    made: Tensor = where((q.low > p.low) | (q.high < p.high), math.inf, found)
    return made


# --- of normal vectors ------------------------------------------------------------------------------------------------
def _squares(x: Tensor) -> Tensor:
    made: Tensor = (x**2).sum((-2, -1))
    return made


def _halves(ratio: Tensor, trace: Tensor, distance: Tensor, n: int) -> Tensor:
    """Of the logarithm of the ratio of the determinants, q's over p's, the trace of q's inverse times p's covariance,
    and the squared distance of the means."""
    return 0.5 * (ratio + trace + distance - n)


@register_kl(MultivariateNormal, MultivariateNormal)
def _multivariate(p: Any, q: Any) -> Tensor:
    _same_event(p, q)
    a, b = FUNCTIONS["broadcast_tensors"](p._factor, q._factor)
    ratio = 2 * (log_diagonal(q._factor) - log_diagonal(p._factor))
    trace = _squares(solve_triangular(b, a, upper=False))
    return _halves(ratio, trace, mahalanobis(q._factor, q.loc - p.loc), p.event_shape[0])


def _inverse_part(q: Any, x: Tensor) -> Tensor:
    """What C^-1/2 W^T D^-1 of q makes of matrices (..., n, m): the part of the inverse that is taken off D^-1."""
    a = solve_triangular(q._capacitance_tril, q._over_diagonal(), upper=False)
    return a @ x


@register_kl(LowRankMultivariateNormal, LowRankMultivariateNormal)
def _low_rank(p: Any, q: Any) -> Tensor:
    _same_event(p, q)
    trace = (p.cov_diag / q.cov_diag).sum(-1) + _squares(p.cov_factor * q.cov_diag.rsqrt().unsqueeze(-1))
    less = _squares(_inverse_part(q, p.cov_diag.sqrt().diag_embed())) + _squares(_inverse_part(q, p.cov_factor))
    ratio = q.log_determinant() - p.log_determinant()
    return _halves(ratio, trace - less, q.mahalanobis(q.loc - p.loc), p.event_shape[0])


@register_kl(MultivariateNormal, LowRankMultivariateNormal)
def _multivariate_low_rank(p: Any, q: Any) -> Tensor:
    _same_event(p, q)
    trace = _squares(p._factor * q.cov_diag.rsqrt().unsqueeze(-1)) - _squares(_inverse_part(q, p._factor))
    ratio = q.log_determinant() - 2 * log_diagonal(p._factor)
    return _halves(ratio, trace, q.mahalanobis(q.loc - p.loc), p.event_shape[0])


@register_kl(LowRankMultivariateNormal, MultivariateNormal)
def _low_rank_multivariate(p: Any, q: Any) -> Tensor:
    _same_event(p, q)
    batch = FUNCTIONS["broadcast_shapes"](tuple(p.batch_shape), tuple(q.batch_shape))

    def solved(x: Tensor) -> Tensor:
        factor = q._factor.expand((*batch, *q._factor.shape[-2:]))
        return _squares(solve_triangular(factor, x.expand((*batch, *x.shape[-2:])), upper=False))

    trace = solved(p.cov_factor) + solved(p.cov_diag.sqrt().diag_embed())
    ratio = 2 * log_diagonal(q._factor) - p.log_determinant()
    return _halves(ratio, trace, mahalanobis(q._factor, q.loc - p.loc), p.event_shape[0])


# --- of distributions of others ---------------------------------------------------------------------------------------
@register_kl(TransformedDistribution, TransformedDistribution)
def _transformed(p: Any, q: Any) -> Tensor:
    if p.transforms != q.transforms or p.event_shape != q.event_shape:
        raise UnsupportedError("KL-divergence of transformed distributions needs equal transforms and event shapes")
    return kl_divergence(p.base_dist, q.base_dist)


@register_kl(Independent, Independent)
def _independent(p: Any, q: Any) -> Tensor:
    if p.reinterpreted_batch_ndims != q.reinterpreted_batch_ndims:
        raise UnsupportedError("KL-divergence of Independent needs equal reinterpreted_batch_ndims")
    return sum_rightmost(kl_divergence(p.base_dist, q.base_dist), p.reinterpreted_batch_ndims)
