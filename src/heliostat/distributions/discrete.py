"""Distributions of counts: Bernoulli, binomial, geometric, negative binomial, Poisson."""

from __future__ import annotations

import math
from typing import Any, ClassVar

from ..diagnostics import ConstraintError, UnsupportedError
from ..nn.functional import binary_cross_entropy_with_logits, logsigmoid
from ..tensor import Generator, Size, Tensor, no_grad
from ..tensor.dtypes import get_default_dtype
from . import constraints
from .distribution import Distribution, ExponentialFamily, Shape, batch_of, drawn_by
from .draws import binomial, inner_uniform, poisson, uniform
from .gamma import Gamma
from .parameters import (
    arange_like,
    broadcast_all,
    constant_like,
    is_number,
    lazy_property,
    logits_to_probs,
    one_of,
    probs_to_logits,
    where,
)


def cross_entropy(logits: Tensor, target: Tensor) -> Tensor:
    """The binary cross entropy of log-odds, element by element."""
    return binary_cross_entropy_with_logits(logits, target, reduction="none")


class OfOdds(Distribution):
    """One probability for each element, as probs or as log-odds; the other is computed when it is read."""

    arg_constraints: ClassVar[Any] = {"probs": constraints.unit_interval, "logits": constraints.real}
    logits = lazy_property(lambda self: probs_to_logits(self.probs, is_binary=True))
    probs = lazy_property(lambda self: logits_to_probs(self.logits, is_binary=True))
    _param: Tensor

    def _take(self, probs: Any, logits: Any) -> Shape:
        """Keep the one that is given. Returns the batch's shape."""
        one_of(probs, logits)
        if probs is not None:
            (self.probs,) = broadcast_all(probs)
        else:
            (self.logits,) = broadcast_all(logits)
        self._param = self.probs if probs is not None else self.logits
        return batch_of(self._param, logits if probs is None else probs)

    def _take_counted(self, total_count: Any, probs: Any, logits: Any) -> Shape:
        one_of(probs, logits)
        given = logits if probs is None else probs
        if is_number(given) and isinstance(total_count, Tensor):
            # The dtype of whole counts is not one of probabilities.
            like = total_count if total_count.dtype.is_float else total_count.to(get_default_dtype())
            given = constant_like(like, (), given)
        count, given = broadcast_all(total_count, given)
        self._take(given if probs is not None else None, None if probs is not None else given)
        self.total_count = count.to(self._param.dtype)
        return self._param.shape

    @property
    def param_shape(self) -> Size:
        """The shape of probs."""
        return self._param.shape

    def _counted(self, count: int, expand: bool) -> Tensor:
        """0 .. count - 1 along a first axis."""
        values = arange_like(count, self._param).reshape((-1, *[1] * len(self._batch_shape)))
        return values.expand((-1, *self._batch_shape)) if expand else values


class Bernoulli(OfOdds, ExponentialFamily):
    """1 with the probability probs, else 0. probs or logits: numbers or tensors."""

    support = constraints.boolean
    has_enumerate_support = True
    _mean_carrier_measure = 0
    _batched = ("probs", "logits", "_param")

    def __init__(self, probs: Any = None, logits: Any = None, validate_args: bool | None = None) -> None:
        super().__init__(self._take(probs, logits), validate_args=validate_args)

    @property
    def mean(self) -> Tensor:
        made: Tensor = self.probs
        return made

    @property
    def mode(self) -> Tensor:
        made: Tensor = where(self.probs == 0.5, math.nan, (self.probs >= 0.5).to(self.probs.dtype))
        return made

    @property
    def variance(self) -> Tensor:
        made: Tensor = self.probs * (1 - self.probs)
        return made

    def sample(self, sample_shape: Shape = (), *, generator: Generator | None = None) -> Tensor:
        with no_grad():
            p = self.probs
            return (uniform(self._extended_shape(sample_shape), p, generator) < p).to(p.dtype)

    def log_prob(self, value: Tensor) -> Tensor:
        return -cross_entropy(*broadcast_all(self.logits, self._checked(value)))

    def entropy(self) -> Tensor:
        return cross_entropy(self.logits, self.probs)

    def enumerate_support(self, expand: bool = True) -> Tensor:
        return self._counted(2, expand)

    @property
    def _natural_params(self) -> tuple[Tensor, ...]:
        return (self.probs.logit(),)

    def _log_normalizer(self, x: Tensor) -> Tensor:  # type: ignore[override]
        return x.exp().log1p()


class Geometric(OfOdds):
    """How often a trial of the probability probs fails before it succeeds: 0, 1, ... probs: in (0, 1]."""

    support = constraints.nonnegative_integer
    _batched = ("probs", "logits", "_param")

    def __init__(self, probs: Any = None, logits: Any = None, validate_args: bool | None = None) -> None:
        super().__init__(self._take(probs, logits), validate_args=validate_args)

    def _check_parameters(self) -> None:
        super()._check_parameters()
        if "probs" in self.__dict__ and not bool((self.probs > 0).all()):
            raise ConstraintError(
                f"Expected parameter probs (Tensor of shape {tuple(self.probs.shape)}) of distribution {self!r} to be "
                f"positive but found invalid values:\n{self.probs}",
                parameter="probs",
                constraint="GreaterThan(lower_bound=0.0)",
                value=self.probs,
            )

    @property
    def mean(self) -> Tensor:
        made: Tensor = 1.0 / self.probs - 1.0
        return made

    @property
    def mode(self) -> Tensor:
        made: Tensor = self.probs * 0
        return made

    @property
    def variance(self) -> Tensor:
        return self.mean / self.probs

    def sample(self, sample_shape: Shape = (), *, generator: Generator | None = None) -> Tensor:
        with no_grad():
            u = inner_uniform(self._extended_shape(sample_shape), self.probs, generator)
            return (u.log() / (-self.probs).log1p()).floor()

    def log_prob(self, value: Tensor) -> Tensor:
        value, probs = broadcast_all(self._checked(value), self.probs)
        failing = where((probs == 1) & (value == 0), 0.0, probs)
        made: Tensor = value * (-failing).log1p() + self.probs.log()
        return made

    def entropy(self) -> Tensor:
        return cross_entropy(self.logits, self.probs) / self.probs


def _clamp_by_zero(x: Tensor) -> Tensor:
    """max(x, 0) with the gradient 0.5 at 0."""
    return (x.clamp(min=0) + x - x.clamp(max=0)) / 2


class Binomial(OfOdds):
    """How many of total_count trials of the probability probs succeed. total_count: whole numbers of at least 0."""

    arg_constraints: ClassVar[Any] = {
        "total_count": constraints.nonnegative_integer,
        "probs": constraints.unit_interval,
        "logits": constraints.real,
    }
    has_enumerate_support = True
    _batched = ("total_count", "probs", "logits", "_param")

    def __init__(
        self, total_count: Any = 1, probs: Any = None, logits: Any = None, validate_args: bool | None = None
    ) -> None:
        super().__init__(self._take_counted(total_count, probs, logits), validate_args=validate_args)

    @constraints.dependent_property(is_discrete=True, event_dim=0)
    def support(self) -> Any:
        return constraints.integer_interval(0, self.total_count)

    @property
    def mean(self) -> Tensor:
        return self.total_count * self.probs

    @property
    def mode(self) -> Tensor:
        return ((self.total_count + 1) * self.probs).floor().minimum(self.total_count)

    @property
    def variance(self) -> Tensor:
        return self.total_count * self.probs * (1 - self.probs)

    def sample(self, sample_shape: Shape = (), *, generator: Generator | None = None) -> Tensor:
        shape = self._extended_shape(sample_shape)
        return binomial(self.total_count.expand(shape), self.probs.expand(shape), generator)

    def log_prob(self, value: Tensor) -> Tensor:
        value, n = self._checked(value), self.total_count
        odds = n * _clamp_by_zero(self.logits) + n * (-self.logits.abs()).exp().log1p()
        ways = (n + 1).lgamma() - (value + 1).lgamma() - (n - value + 1).lgamma()
        made: Tensor = value * self.logits - odds + ways
        return made

    def _one_count(self, what: str) -> int:
        count = int(self.total_count.max())
        if int(self.total_count.min()) != count:
            raise UnsupportedError(f"Inhomogeneous total count not supported by `{what}`.")
        return count

    def entropy(self) -> Tensor:
        self._one_count("entropy")
        found = self.log_prob(self.enumerate_support(False))
        return -(found.exp() * found).sum(0)

    def enumerate_support(self, expand: bool = True) -> Tensor:
        return self._counted(1 + self._one_count("enumerate_support"), expand)


class NegativeBinomial(OfOdds):
    """How often a trial of the probability probs succeeds before it fails total_count times. probs: in [0, 1)."""

    arg_constraints: ClassVar[Any] = {
        "total_count": constraints.greater_than_eq(0),
        "probs": constraints.half_open_interval(0.0, 1.0),
        "logits": constraints.real,
    }
    support = constraints.nonnegative_integer
    _batched = ("total_count", "probs", "logits", "_param", "_gamma")

    def __init__(
        self, total_count: Any, probs: Any = None, logits: Any = None, validate_args: bool | None = None
    ) -> None:
        super().__init__(self._take_counted(total_count, probs, logits), validate_args=validate_args)

    @property
    def mean(self) -> Tensor:
        return self.total_count * self.logits.exp()

    @property
    def mode(self) -> Tensor:
        return ((self.total_count - 1) * self.logits.exp()).floor().clamp(min=0.0)

    @property
    def variance(self) -> Tensor:
        return self.mean / (-self.logits).sigmoid()

    # total_count may be 0, which a gamma may not.
    _gamma = lazy_property(lambda self: Gamma(self.total_count, (-self.logits).exp(), validate_args=False))

    def sample(self, sample_shape: Shape = (), *, generator: Generator | None = None) -> Tensor:
        with no_grad():
            return poisson(self._gamma.sample(sample_shape, **drawn_by(generator)), generator)

    def log_prob(self, value: Tensor) -> Tensor:
        value, n = self._checked(value), self.total_count
        odds = n * logsigmoid(-self.logits) + value * logsigmoid(self.logits)
        ways = (n + value).lgamma() - (1.0 + value).lgamma() - n.lgamma()
        made: Tensor = odds + where(n + value == 0.0, 0.0, ways)  # lgamma(0) is infinite
        return made


class Poisson(ExponentialFamily):
    """Counts of the mean rate, a number or a tensor of at least 0."""

    arg_constraints: ClassVar[Any] = {"rate": constraints.nonnegative}
    support = constraints.nonnegative_integer
    _batched = ("rate",)

    def __init__(self, rate: Any, validate_args: bool | None = None) -> None:
        (self.rate,) = broadcast_all(rate)
        super().__init__(batch_of(self.rate, rate), validate_args=validate_args)

    @property
    def mean(self) -> Tensor:
        return self.rate

    @property
    def mode(self) -> Tensor:
        return self.rate.floor()

    @property
    def variance(self) -> Tensor:
        return self.rate

    def sample(self, sample_shape: Shape = (), *, generator: Generator | None = None) -> Tensor:
        return poisson(self.rate.expand(self._extended_shape(sample_shape)), generator)

    def log_prob(self, value: Tensor) -> Tensor:
        rate, value = broadcast_all(self.rate, self._checked(value))
        return value.xlogy(rate) - rate - (value + 1).lgamma()

    @property
    def _natural_params(self) -> tuple[Tensor, ...]:
        return (self.rate.log(),)

    def _log_normalizer(self, x: Tensor) -> Tensor:  # type: ignore[override]
        return x.exp()
