"""Distributions of numbers with a location and a scale, and what their transforms make of them."""

from __future__ import annotations

import math
from typing import Any, ClassVar

from ..special import i0e, i1e
from ..tensor import FUNCTIONS, Generator, Tensor
from ..tensor.dtypes import finfo
from . import constraints
from .composite import TransformedDistribution
from .distribution import Distribution, ExponentialFamily, Shape, batch_of
from .draws import inner_uniform, standard_normal, uniform, von_mises
from .parameters import HALF_LOG_TWO_PI, broadcast_all, constant_like, euler_constant, lazy_property, where
from .transforms import AbsTransform, AffineTransform, ExpTransform, StickBreakingTransform

_LOC_SCALE: Any = {"loc": constraints.real, "scale": constraints.positive}


class _LocScale(Distribution):
    """loc + scale * x of one x for all. loc and scale > 0: numbers or tensors."""

    arg_constraints: ClassVar[Any] = _LOC_SCALE
    support: Any = constraints.real
    has_rsample = True
    _batched = ("loc", "scale")

    def __init__(self, loc: Any, scale: Any, validate_args: bool | None = None) -> None:
        self.loc, self.scale = broadcast_all(loc, scale)
        super().__init__(batch_of(self.loc, loc, scale), validate_args=validate_args)

    @property
    def mean(self) -> Tensor:
        return self.loc

    @property
    def mode(self) -> Tensor:
        return self.loc

    def _z(self, value: Tensor) -> Tensor:
        return (self._checked(value) - self.loc) / self.scale


class Normal(_LocScale, ExponentialFamily):
    """Normal of mean loc and standard deviation scale > 0, numbers or tensors."""

    _mean_carrier_measure = 0

    @property
    def stddev(self) -> Tensor:
        return self.scale

    @property
    def variance(self) -> Tensor:
        return self.scale**2

    def rsample(self, sample_shape: Shape = (), *, generator: Generator | None = None) -> Tensor:
        return self.loc + standard_normal(self._extended_shape(sample_shape), self.loc, generator) * self.scale

    def log_prob(self, value: Tensor) -> Tensor:
        return -0.5 * self._z(value) ** 2 - self.scale.log() - HALF_LOG_TWO_PI

    def cdf(self, value: Tensor) -> Tensor:
        return 0.5 * (self._z(value) * -math.sqrt(0.5)).erfc()

    def icdf(self, value: Tensor) -> Tensor:
        return self.loc + self.scale * (2 * value - 1).erfinv() * math.sqrt(2)

    def entropy(self) -> Tensor:
        return 0.5 + HALF_LOG_TWO_PI + self.scale.log()

    @property
    def _natural_params(self) -> tuple[Tensor, ...]:
        return (self.loc / self.scale**2, -0.5 / self.scale**2)

    def _log_normalizer(self, x: Tensor, y: Tensor) -> Tensor:  # type: ignore[override]
        return -0.25 * x**2 / y + 0.5 * (-math.pi / y).log()


class Laplace(_LocScale):
    """Two-sided exponential around loc with the scale > 0, numbers or tensors."""

    @property
    def variance(self) -> Tensor:
        return 2 * self.scale**2

    @property
    def stddev(self) -> Tensor:
        return math.sqrt(2) * self.scale

    def rsample(self, sample_shape: Shape = (), *, generator: Generator | None = None) -> Tensor:
        u = 2 * inner_uniform(self._extended_shape(sample_shape), self.loc, generator) - 1
        u = u.clamp(min=finfo(u.dtype).eps - 1)
        return self.loc - self.scale * u.sign() * (-u.abs()).log1p()

    def log_prob(self, value: Tensor) -> Tensor:
        return -(2 * self.scale).log() - self._z(value).abs()

    def cdf(self, value: Tensor) -> Tensor:
        z = self._z(value)
        tail = 0.5 * (-z.abs()).exp()
        made: Tensor = where(z < 0, tail, 1 - tail)
        return made

    def icdf(self, value: Tensor) -> Tensor:
        low = value < 0.5
        found = (2 * where(low, value, 1 - value)).log()
        return self.loc + self.scale * where(low, found, -found)

    def entropy(self) -> Tensor:
        return 1 + (2 * self.scale).log()


class Cauchy(_LocScale):
    """Cauchy (Lorentz) of median loc and half width scale > 0, numbers or tensors. It has no mean."""

    @property
    def mean(self) -> Tensor:
        return constant_like(self.loc, self._batch_shape, math.nan)

    @property
    def variance(self) -> Tensor:
        return constant_like(self.loc, self._batch_shape, math.inf)

    def rsample(self, sample_shape: Shape = (), *, generator: Generator | None = None) -> Tensor:
        u = inner_uniform(self._extended_shape(sample_shape), self.loc, generator)
        return self.loc + (math.pi * (u - 0.5)).tan() * self.scale

    def log_prob(self, value: Tensor) -> Tensor:
        return -math.log(math.pi) - self.scale.log() - (self._z(value) ** 2).log1p()

    def cdf(self, value: Tensor) -> Tensor:
        z = self._z(value)
        return FUNCTIONS["ones_like"](z).atan2(-z) / math.pi

    def icdf(self, value: Tensor) -> Tensor:
        # Near the ends by the distance from them, which keeps its digits.
        end = where(value < 0.5, value, 1 - value)
        far = (math.pi * where(end < 0.25, end, 0.25)).tan().reciprocal()
        middle = (math.pi * (value - 0.5)).tan()
        return where(end < 0.25, where(value < 0.5, -far, far), middle) * self.scale + self.loc

    def entropy(self) -> Tensor:
        return math.log(4 * math.pi) + self.scale.log()


class Uniform(Distribution):
    """Evenly from low to below high, numbers or tensors."""

    has_rsample = True
    _batched = ("low", "high")

    @property
    def arg_constraints(self) -> Any:
        return {"low": constraints.less_than(self.high), "high": constraints.greater_than(self.low)}

    def __init__(self, low: Any, high: Any, validate_args: bool | None = None) -> None:
        self.low, self.high = broadcast_all(low, high)
        super().__init__(batch_of(self.low, low, high), validate_args=validate_args)

    @constraints.dependent_property(is_discrete=False, event_dim=0)
    def support(self) -> Any:
        return constraints.interval(self.low, self.high)

    @property
    def mean(self) -> Tensor:
        return (self.high + self.low) / 2

    @property
    def mode(self) -> Tensor:
        return math.nan * self.high

    @property
    def stddev(self) -> Tensor:
        return (self.high - self.low) / 12**0.5

    @property
    def variance(self) -> Tensor:
        return (self.high - self.low) ** 2 / 12

    def rsample(self, sample_shape: Shape = (), *, generator: Generator | None = None) -> Tensor:
        u = uniform(self._extended_shape(sample_shape), self.low, generator)
        return self.low + u * (self.high - self.low)

    def log_prob(self, value: Tensor) -> Tensor:
        value = self._checked(value)
        inside = (value >= self.low) & (value < self.high)
        return inside.to(self.low.dtype).log() - (self.high - self.low).log()

    def cdf(self, value: Tensor) -> Tensor:
        return ((self._checked(value) - self.low) / (self.high - self.low)).clamp(min=0, max=1)

    def icdf(self, value: Tensor) -> Tensor:
        return value * (self.high - self.low) + self.low

    def entropy(self) -> Tensor:
        return (self.high - self.low).log()


class _Transformed(TransformedDistribution):
    """A transform of a distribution with loc and scale."""

    base_dist: Any

    @property
    def loc(self) -> Tensor:
        """The location of the base."""
        made: Tensor = self.base_dist.loc
        return made

    @property
    def scale(self) -> Tensor:
        """The scale of the base."""
        made: Tensor = self.base_dist.scale
        return made


class LogNormal(_Transformed):
    """exp(x) of a normal distribution."""

    arg_constraints: ClassVar[Any] = _LOC_SCALE
    support = constraints.positive
    _batched = ()

    def __init__(self, loc: Any, scale: Any, validate_args: bool | None = None) -> None:
        super().__init__(Normal(loc, scale, validate_args=False), ExpTransform(), validate_args=validate_args)

    @property
    def mean(self) -> Tensor:
        return (self.loc + self.scale**2 / 2).exp()

    @property
    def mode(self) -> Tensor:
        return (self.loc - self.scale**2).exp()

    @property
    def variance(self) -> Tensor:
        square = self.scale**2
        return square.expm1() * (2 * self.loc + square).exp()

    def entropy(self) -> Tensor:
        return self.base_dist.entropy() + self.loc


class LogisticNormal(_Transformed):
    """Normal vectors (..., K) brought to the simplex (..., K + 1) by `StickBreakingTransform`."""

    arg_constraints: ClassVar[Any] = _LOC_SCALE
    support = constraints.simplex
    _batched = ()

    def __init__(self, loc: Any, scale: Any, validate_args: bool | None = None) -> None:
        base: Any = Normal(loc, scale, validate_args=False)
        base = base if base.batch_shape else base.expand((1,))
        super().__init__(base, StickBreakingTransform(), validate_args=validate_args)

    @property
    def loc(self) -> Tensor:
        made: Tensor = self.base_dist.base_dist.loc
        return made

    @property
    def scale(self) -> Tensor:
        made: Tensor = self.base_dist.base_dist.scale
        return made


class _Half(_Transformed):
    """|x| of a distribution that is symmetric around 0."""

    arg_constraints: ClassVar[Any] = {"scale": constraints.positive}
    support = constraints.nonnegative

    @property
    def mode(self) -> Tensor:
        return self.scale * 0

    def log_prob(self, value: Tensor) -> Tensor:
        value = self._checked(value)
        # Outside of the support the base would be asked about what it holds for possible.
        found = self.base_dist.log_prob(value) + math.log(2)
        made: Tensor = where(value >= 0, found, -math.inf)
        return made

    def entropy(self) -> Tensor:
        made: Tensor = self.base_dist.entropy() - math.log(2)
        return made


class HalfNormal(_Half):
    """|x| of a normal distribution of mean 0 and the scale > 0."""

    _batched = ()

    def __init__(self, scale: Any, validate_args: bool | None = None) -> None:
        super().__init__(Normal(0, scale, validate_args=False), AbsTransform(), validate_args=validate_args)

    @property
    def mean(self) -> Tensor:
        return self.scale * math.sqrt(2 / math.pi)

    @property
    def variance(self) -> Tensor:
        return self.scale**2 * (1 - 2 / math.pi)

    def cdf(self, value: Tensor) -> Tensor:
        return (self._checked(value) / self.scale * math.sqrt(0.5)).erf()

    def icdf(self, value: Tensor) -> Tensor:
        return value.erfinv() * math.sqrt(2) * self.scale


class HalfCauchy(_Half):
    """|x| of a Cauchy distribution of median 0 and the scale > 0."""

    _batched = ()

    def __init__(self, scale: Any, validate_args: bool | None = None) -> None:
        super().__init__(Cauchy(0, scale, validate_args=False), AbsTransform(), validate_args=validate_args)

    @property
    def mean(self) -> Tensor:
        return constant_like(self.scale, self._batch_shape, math.inf)

    @property
    def variance(self) -> Tensor:
        made: Tensor = self.base_dist.variance
        return made

    def cdf(self, value: Tensor) -> Tensor:
        return (self._checked(value) / self.scale).atan() * (2 / math.pi)

    def icdf(self, value: Tensor) -> Tensor:
        half = 0.5 * math.pi * value
        return where(value < 0.5, half.tan(), (0.5 * math.pi * (1 - value)).tan().reciprocal()) * self.scale


class Gumbel(TransformedDistribution):
    """loc - scale * log(-log(u)): the largest of many numbers. loc, scale > 0: numbers or tensors."""

    arg_constraints: ClassVar[Any] = _LOC_SCALE
    support = constraints.real
    _batched = ("loc", "scale")

    def __init__(self, loc: Any, scale: Any, validate_args: bool | None = None) -> None:
        self.loc, self.scale = broadcast_all(loc, scale)
        limits = finfo(self.loc.dtype)
        shape = batch_of(self.loc, loc, scale)
        low, high = (constant_like(self.loc, shape, v) for v in (limits.tiny, 1 - limits.eps))
        minus = AffineTransform(0, -constant_like(self.loc, shape, 1.0))
        chain = [ExpTransform().inv, minus, ExpTransform().inv, AffineTransform(self.loc, -self.scale)]
        super().__init__(Uniform(low, high, validate_args=False), chain, validate_args=validate_args)

    def log_prob(self, value: Tensor) -> Tensor:
        y = (self.loc - self._checked(value)) / self.scale
        return y - y.exp() - self.scale.log()

    def cdf(self, value: Tensor) -> Tensor:
        return (-((self.loc - self._checked(value)) / self.scale).exp()).exp()

    def icdf(self, value: Tensor) -> Tensor:
        return self.loc - self.scale * (-value.log()).log()

    @property
    def mean(self) -> Tensor:
        return self.loc + self.scale * euler_constant

    @property
    def mode(self) -> Tensor:
        return self.loc

    @property
    def stddev(self) -> Tensor:
        return (math.pi / math.sqrt(6)) * self.scale

    @property
    def variance(self) -> Tensor:
        return self.stddev**2

    def entropy(self) -> Tensor:
        return self.scale.log() + (1 + euler_constant)


class VonMises(Distribution):
    """Angles in radians around loc, the closer the larger the concentration > 0. Mean and variance are circular."""

    arg_constraints: ClassVar[Any] = {"loc": constraints.real, "concentration": constraints.positive}
    support = constraints.real
    has_rsample = False
    _batched = ("loc", "concentration", "variance")

    def __init__(self, loc: Any, concentration: Any, validate_args: bool | None = None) -> None:
        self.loc, self.concentration = broadcast_all(loc, concentration)
        super().__init__(self.loc.shape, validate_args=validate_args)

    @property
    def mean(self) -> Tensor:
        return self.loc

    @property
    def mode(self) -> Tensor:
        return self.loc

    variance = lazy_property(lambda self: 1 - i1e(self.concentration) / i0e(self.concentration))

    def log_prob(self, value: Tensor) -> Tensor:
        k = self.concentration
        # cos - 1 and exp(-k) I0(k), as both terms grow with k.
        return k * ((self._checked(value) - self.loc).cos() - 1) - math.log(2 * math.pi) - i0e(k).log()

    def sample(self, sample_shape: Shape = (), *, generator: Generator | None = None) -> Tensor:
        shape = self._extended_shape(sample_shape)
        return von_mises(self.loc.expand(shape), self.concentration.expand(shape), generator)


__all__ = [
    "Cauchy", "Gumbel", "HalfCauchy", "HalfNormal", "Laplace", "LogNormal", "LogisticNormal", "Normal", "Uniform",
    "VonMises",
]  # fmt: skip
