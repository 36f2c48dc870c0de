"""Continuous relatives of Bernoulli and categorical distributions, whose samples have gradients (arXiv 1611.00712,
1611.01144, 1907.06845).
"""

from __future__ import annotations

import math
from typing import Any, ClassVar

from ..diagnostics import ConstraintError
from ..tensor import Generator, Tensor
from ..tensor.conversion import as_tensor
from . import constraints
from .categorical import Categorical, OfClasses
from .composite import TransformedDistribution
from .discrete import OfOdds, cross_entropy
from .distribution import ExponentialFamily, Shape
from .draws import uniform
from .parameters import broadcast_all, clamp_probs, lazy_property, logits_to_probs, where
from .transforms import ExpTransform, SigmoidTransform


class ContinuousBernoulli(OfOdds, ExponentialFamily):
    """Numbers from 0 to 1 with the density C p^x (1-p)^(1-x). probs or logits: numbers or tensors. Between the `lims`,
    where the formulas cancel, series around 1/2 are taken."""

    support = constraints.unit_interval
    _mean_carrier_measure = 0
    has_rsample = True
    _batched = ("probs", "logits", "_param")
    probs = lazy_property(lambda self: clamp_probs(logits_to_probs(self.logits, is_binary=True)))

    def __init__(
        self,
        probs: Any = None,
        logits: Any = None,
        lims: tuple[float, float] = (0.499, 0.501),
        validate_args: bool | None = None,
    ) -> None:
        batch = self._take(probs, logits)
        self._lims = lims
        self._given: Any = self._param  # what is checked; clamped it would always do
        if probs is not None:
            self._param = self.probs = clamp_probs(self.probs)
        super().__init__(batch, validate_args=validate_args)
        del self._given

    def _check_parameters(self) -> None:
        name = "probs" if "probs" in self.__dict__ else "logits"
        constraint = self.arg_constraints[name]
        if not bool(constraint.check(self._given).all()):
            raise ConstraintError(
                f"Expected parameter {name} (Tensor of shape {tuple(self._given.shape)}) of distribution {self!r} to "
                f"satisfy the constraint {constraint!r}, but found invalid values:\n{self._given}",
                parameter=name,
                constraint=repr(constraint),
                value=self._given,
            )

    def _outside(self) -> Tensor:
        return (self.probs <= self._lims[0]) | (self.probs > self._lims[1])

    def _cut_probs(self) -> Tensor:
        made: Tensor = where(self._outside(), self.probs, self._lims[0])
        return made

    def _cont_bern_log_norm(self) -> Tensor:
        p = self._cut_probs()
        below = p <= 0.5
        low, high = where(below, p, 0.0), where(below, 1.0, p)
        exact = ((-p).log1p() - p.log()).abs().log() - where(below, (-2.0 * low).log1p(), (2.0 * high - 1.0).log())
        x = (self.probs - 0.5) ** 2
        made: Tensor = where(self._outside(), exact, math.log(2.0) + (4.0 / 3.0 + 104.0 / 45.0 * x) * x)
        return made

    @property
    def mean(self) -> Tensor:
        p = self._cut_probs()
        exact = p / (2.0 * p - 1.0) + 1.0 / ((-p).log1p() - p.log())
        x = self.probs - 0.5
        made: Tensor = where(self._outside(), exact, 0.5 + (1.0 / 3.0 + 16.0 / 45.0 * x**2) * x)
        return made

    @property
    def variance(self) -> Tensor:
        p = self._cut_probs()
        exact = p * (p - 1.0) / (1.0 - 2.0 * p) ** 2 + 1.0 / ((-p).log1p() - p.log()) ** 2
        x = (self.probs - 0.5) ** 2
        made: Tensor = where(self._outside(), exact, 1.0 / 12.0 - (1.0 / 15.0 - 128.0 / 945.0 * x) * x)
        return made

    def rsample(self, sample_shape: Shape = (), *, generator: Generator | None = None) -> Tensor:
        return self.icdf(uniform(self._extended_shape(sample_shape), self.probs, generator))

    def log_prob(self, value: Tensor) -> Tensor:
        return -cross_entropy(*broadcast_all(self.logits, self._checked(value))) + self._cont_bern_log_norm()

    def cdf(self, value: Tensor) -> Tensor:
        value, p = self._checked(value), self._cut_probs()
        exact = (p**value * (1.0 - p) ** (1.0 - value) + p - 1.0) / (2.0 * p - 1.0)
        found = where(self._outside(), exact, value)
        made: Tensor = where(value <= 0.0, 0.0, where(value >= 1.0, 1.0, found))
        return made

    def icdf(self, value: Tensor) -> Tensor:
        p = self._cut_probs()
        less = (-p).log1p()
        exact = ((-p + value * (2.0 * p - 1.0)).log1p() - less) / (p.log() - less)
        made: Tensor = where(self._outside(), exact, value)
        return made

    def entropy(self) -> Tensor:
        zero, one = (-self.probs).log1p(), self.probs.log()
        made: Tensor = self.mean * (zero - one) - self._cont_bern_log_norm() - zero
        return made

    @property
    def _natural_params(self) -> tuple[Tensor, ...]:
        return (self.logits,)

    def _log_normalizer(self, x: Tensor) -> Tensor:  # type: ignore[override]
        outside = (x <= self._lims[0] - 0.5) | (x > self._lims[1] - 0.5)
        cut = where(outside, x, self._lims[0] - 0.5)
        exact = cut.expm1().abs().log() - cut.abs().log()
        made: Tensor = where(outside, exact, 0.5 * x + x**2 / 24.0 - x**4 / 2880.0)
        return made


class LogitRelaxedBernoulli(OfOdds):
    """The log-odds of a `RelaxedBernoulli`. temperature > 0: a number or a tensor; probs or logits."""

    support = constraints.real
    has_rsample = True
    _batched = ("probs", "logits", "_param")

    def __init__(
        self, temperature: Any, probs: Any = None, logits: Any = None, validate_args: bool | None = None
    ) -> None:
        batch = self._take(probs, logits)
        self.temperature = as_tensor(temperature, self._param.dtype)
        super().__init__(batch, validate_args=validate_args)

    def rsample(self, sample_shape: Shape = (), *, generator: Generator | None = None) -> Tensor:
        shape = self._extended_shape(sample_shape)
        p = clamp_probs(self.probs)
        u = clamp_probs(uniform(shape, p, generator))
        return (u.log() - (-u).log1p() + p.log() - (-p).log1p()) / self.temperature

    def log_prob(self, value: Tensor) -> Tensor:
        logits, value = broadcast_all(self.logits, self._checked(value))
        d = logits - value * self.temperature
        return self.temperature.log() + d - 2 * d.exp().log1p()


class _Relaxed(TransformedDistribution):
    base_dist: Any
    has_rsample: Any = True

    @property
    def temperature(self) -> Tensor:
        """How far the values are from whole ones: not at all at 0."""
        made: Tensor = self.base_dist.temperature
        return made

    @property
    def logits(self) -> Tensor:
        """Log-odds, or log probabilities (..., K)."""
        made: Tensor = self.base_dist.logits
        return made

    @property
    def probs(self) -> Tensor:
        """Probabilities."""
        made: Tensor = self.base_dist.probs
        return made


class RelaxedBernoulli(_Relaxed):
    """Numbers from 0 to 1, the closer to 0 and 1 the lower the temperature > 0. probs or logits."""

    arg_constraints: ClassVar[Any] = {"probs": constraints.unit_interval, "logits": constraints.real}
    support = constraints.unit_interval
    _batched = ()

    def __init__(
        self, temperature: Any, probs: Any = None, logits: Any = None, validate_args: bool | None = None
    ) -> None:
        base = LogitRelaxedBernoulli(temperature, probs, logits, validate_args=False)
        super().__init__(base, SigmoidTransform(), validate_args=validate_args)


class ExpRelaxedCategorical(OfClasses):
    """The logarithms of a `RelaxedOneHotCategorical`. temperature > 0; probs or logits: (..., K)."""

    support = constraints.real_vector  # a surface in it
    has_rsample = True
    _batched = ("_categorical",)

    def __init__(
        self,
        temperature: Any,
        probs: Tensor | None = None,
        logits: Tensor | None = None,
        validate_args: bool | None = None,
    ) -> None:
        self._categorical = Categorical(probs, logits, validate_args=validate_args)
        self.temperature = as_tensor(temperature, self._param.dtype)
        super().__init__(self._categorical.batch_shape, self._categorical.param_shape[-1:], validate_args)

    def rsample(self, sample_shape: Shape = (), *, generator: Generator | None = None) -> Tensor:
        u = clamp_probs(uniform(self._extended_shape(sample_shape), self._param, generator))
        return ((self.logits - (-u.log()).log()) / self.temperature).log_softmax(-1)

    def log_prob(self, value: Tensor) -> Tensor:
        k = self._categorical._num_events
        logits, value = broadcast_all(self.logits, self._checked(value))
        score = (logits - value * self.temperature).log_softmax(-1).sum(-1)
        return score + math.lgamma(k) + (k - 1) * self.temperature.log()


class RelaxedOneHotCategorical(_Relaxed):
    """Shares (..., K), the closer to one-hot the lower the temperature > 0. probs or logits: (..., K)."""

    arg_constraints: ClassVar[Any] = {"probs": constraints.simplex, "logits": constraints.real_vector}
    support = constraints.simplex
    _batched = ()

    def __init__(
        self,
        temperature: Any,
        probs: Tensor | None = None,
        logits: Tensor | None = None,
        validate_args: bool | None = None,
    ) -> None:
        base = ExpRelaxedCategorical(temperature, probs, logits, validate_args=validate_args)
        super().__init__(base, ExpTransform(), validate_args=validate_args)


__all__ = [
    "ContinuousBernoulli", "ExpRelaxedCategorical", "LogitRelaxedBernoulli", "RelaxedBernoulli",
    "RelaxedOneHotCategorical",
]  # fmt: skip
