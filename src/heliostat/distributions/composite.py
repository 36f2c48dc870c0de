"""Distributions made of another: more axes to an event, transformed values."""

from __future__ import annotations

from typing import Any, ClassVar

from ..diagnostics import ShapeError, UnsupportedError
from ..tensor import Generator, Size, Tensor, no_grad
from . import constraints
from .distribution import Distribution, Shape, drawn_by
from .parameters import sum_rightmost, where
from .transform import ComposeTransform, Transform


class Independent(Distribution):
    """A distribution whose last `reinterpreted_batch_ndims` axes of the batch count as axes of the event."""

    arg_constraints: ClassVar[Any] = {}

    def __init__(
        self, base_distribution: Distribution, reinterpreted_batch_ndims: int, validate_args: bool | None = None
    ) -> None:
        batch = base_distribution.batch_shape
        if not 0 <= reinterpreted_batch_ndims <= len(batch):
            raise ShapeError(
                f"Expected 0 <= reinterpreted_batch_ndims <= len(base_distribution.batch_shape), actual "
                f"{reinterpreted_batch_ndims} vs {len(batch)}"
            )
        cut = len(batch) - reinterpreted_batch_ndims
        self.base_dist = base_distribution
        self.reinterpreted_batch_ndims = reinterpreted_batch_ndims
        super().__init__(batch[:cut], (*batch[cut:], *base_distribution.event_shape), validate_args)

    def expand(self, batch_shape: Shape, _instance: Any = None) -> Any:
        made = self._get_checked_instance(Independent, _instance)
        made.base_dist = self.base_dist.expand((*batch_shape, *self.event_shape[: self.reinterpreted_batch_ndims]))
        made.reinterpreted_batch_ndims = self.reinterpreted_batch_ndims
        Distribution.__init__(made, batch_shape, self.event_shape, validate_args=False)
        made._validate_args = self._validate_args
        return made

    @property
    def has_rsample(self) -> bool:
        return bool(self.base_dist.has_rsample)

    @property
    def has_enumerate_support(self) -> bool:
        return self.reinterpreted_batch_ndims == 0 and bool(self.base_dist.has_enumerate_support)

    @constraints.dependent_property
    def support(self) -> Any:
        found = self.base_dist.support
        n = self.reinterpreted_batch_ndims
        return constraints.independent(found, n) if n else found

    @property
    def mean(self) -> Tensor:
        return self.base_dist.mean

    @property
    def mode(self) -> Tensor:
        return self.base_dist.mode

    @property
    def variance(self) -> Tensor:
        return self.base_dist.variance

    def sample(self, sample_shape: Shape = (), *, generator: Generator | None = None) -> Tensor:
        return self.base_dist.sample(sample_shape, **drawn_by(generator))

    def rsample(self, sample_shape: Shape = (), *, generator: Generator | None = None) -> Tensor:
        return self.base_dist.rsample(sample_shape, **drawn_by(generator))

    def log_prob(self, value: Tensor) -> Tensor:
        return sum_rightmost(self.base_dist.log_prob(value), self.reinterpreted_batch_ndims)

    def entropy(self) -> Tensor:
        return sum_rightmost(self.base_dist.entropy(), self.reinterpreted_batch_ndims)

    def enumerate_support(self, expand: bool = True) -> Tensor:
        if self.reinterpreted_batch_ndims > 0:
            raise UnsupportedError("Enumeration over cartesian product is not implemented")
        return self.base_dist.enumerate_support(expand=expand)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.base_dist}, {self.reinterpreted_batch_ndims})"


class TransformedDistribution(Distribution):
    """The distribution of f(x) for x of a base distribution, f a transform or a list of them, the first first. A
    subclass with parameters of its own names them in `_batched`."""

    arg_constraints: ClassVar[Any] = {}
    _batched: ClassVar[tuple[str, ...]] = ()

    def __init__(self, base_distribution: Distribution, transforms: Any, validate_args: bool | None = None) -> None:
        if isinstance(transforms, Transform):
            transforms = [transforms]
        if not isinstance(transforms, list) or not all(isinstance(t, Transform) for t in transforms):
            raise TypeError(f"transforms must be a Transform or a list of Transforms, but was {transforms}")
        self.transforms: list[Transform] = transforms
        chain = ComposeTransform(transforms)
        base_shape = (*base_distribution.batch_shape, *base_distribution.event_shape)
        base_ndims = len(base_distribution.event_shape)
        if len(base_shape) < chain.domain.event_dim:
            raise ShapeError(
                f"base_distribution needs to have shape with size at least {chain.domain.event_dim}, but got "
                f"{base_shape}."
            )
        shape = chain.forward_shape(Size(base_shape))
        needed = tuple(chain.inverse_shape(shape))
        if base_shape != needed:
            base_distribution = base_distribution.expand(needed[: len(needed) - base_ndims])
        more = chain.domain.event_dim - base_ndims
        self.base_dist = Independent(base_distribution, more) if more > 0 else base_distribution
        change = chain.codomain.event_dim - chain.domain.event_dim
        cut = len(shape) - max(chain.codomain.event_dim, base_ndims + change)
        super().__init__(shape[:cut], shape[cut:], validate_args=validate_args)

    def expand(self, batch_shape: Shape, _instance: Any = None) -> Any:
        owner: Any = next(c for c in type(self).__mro__ if "_batched" in c.__dict__)
        made = self._get_checked_instance(owner, _instance)
        for name in owner._batched:
            made.__dict__[name] = self.__dict__[name].expand(tuple(batch_shape))
        shape: Any = Size((*batch_shape, *self.event_shape))
        for t in reversed(self.transforms):
            shape = t.inverse_shape(shape)
        made.base_dist = self.base_dist.expand(shape[: len(shape) - len(self.base_dist.event_shape)])
        made.transforms = self.transforms
        Distribution.__init__(made, batch_shape, self.event_shape, validate_args=False)
        made._validate_args = self._validate_args
        return made

    @constraints.dependent_property(is_discrete=False)
    def support(self) -> Any:
        if not self.transforms:
            return self.base_dist.support
        found = self.transforms[-1].codomain
        more = len(self.event_shape) - found.event_dim
        return constraints.independent(found, more) if more > 0 else found

    @property
    def has_rsample(self) -> bool:
        return bool(self.base_dist.has_rsample)

    def _through(self, x: Tensor) -> Tensor:
        for t in self.transforms:
            x = t(x)
        return x

    def sample(self, sample_shape: Shape = (), *, generator: Generator | None = None) -> Tensor:
        with no_grad():
            return self._through(self.base_dist.sample(sample_shape, **drawn_by(generator)))

    def rsample(self, sample_shape: Shape = (), *, generator: Generator | None = None) -> Tensor:
        return self._through(self.base_dist.rsample(sample_shape, **drawn_by(generator)))

    def log_prob(self, value: Tensor) -> Tensor:
        y = self._checked(value)
        ndims = len(self.event_shape)
        total: Any = 0.0
        for t in reversed(self.transforms):
            x = t.inv(y)
            ndims += t.domain.event_dim - t.codomain.event_dim
            total = total - sum_rightmost(t.log_abs_det_jacobian(x, y), ndims - t.domain.event_dim)
            y = x
        made: Tensor = total + sum_rightmost(self.base_dist.log_prob(y), ndims - len(self.base_dist.event_shape))
        return made

    def _rising(self, value: Tensor) -> Tensor:
        """Probabilities, turned over where the transforms together fall."""
        sign: Any = 1
        for t in self.transforms:
            sign = sign * t.sign
        if isinstance(sign, int):
            return value if sign == 1 else 1 - value
        made: Tensor = where(sign < 0, 1 - value, value)
        return made

    def cdf(self, value: Tensor) -> Tensor:
        for t in reversed(self.transforms):
            value = t.inv(value)
        if self._validate_args:
            self.base_dist._validate_sample(value)
        return self._rising(self.base_dist.cdf(value))

    def icdf(self, value: Tensor) -> Tensor:
        return self._through(self.base_dist.icdf(self._rising(value)))
