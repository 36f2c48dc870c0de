"""Mixtures of distributions of one family."""

from __future__ import annotations

from typing import Any, ClassVar

from ..diagnostics import ShapeError
from ..tensor import Generator, Tensor, no_grad
from . import constraints
from .categorical import Categorical
from .distribution import Distribution, Shape, drawn_by


class MixtureSameFamily(Distribution):
    """A mixture of the distributions along the last axis of a component distribution's batch, with the weights of a
    `Categorical`."""

    arg_constraints: ClassVar[Any] = {}
    has_rsample = False

    def __init__(
        self, mixture_distribution: Categorical, component_distribution: Distribution, validate_args: bool | None = None
    ) -> None:
        if not isinstance(mixture_distribution, Categorical):
            raise TypeError("The Mixture distribution needs to be an instance of heliostat.distributions.Categorical")
        if not isinstance(component_distribution, Distribution):
            raise TypeError(
                "The Component distribution needs to be an instance of heliostat.distributions.Distribution"
            )
        mixed, parts = mixture_distribution.batch_shape, component_distribution.batch_shape
        if any(a != 1 and b != 1 and a != b for a, b in zip(mixed[::-1], parts[:-1][::-1], strict=False)):
            raise ShapeError(
                f"`mixture_distribution.batch_shape` ({mixed}) is not compatible with "
                f"`component_distribution.batch_shape` ({parts})"
            )
        count = mixture_distribution.param_shape[-1]
        if not parts or count != parts[-1]:
            raise ShapeError(
                f"`mixture_distribution component` ({count}) does not equal "
                f"`component_distribution.batch_shape[-1]` ({parts})"
            )
        self._mixture_distribution, self._component_distribution = mixture_distribution, component_distribution
        self._num_component = count
        event = component_distribution.event_shape
        self._event_ndims = len(event)
        super().__init__(parts[:-1], event, validate_args=validate_args)

    def expand(self, batch_shape: Shape, _instance: Any = None) -> Any:
        made = self._get_checked_instance(MixtureSameFamily, _instance)
        made._component_distribution = self._component_distribution.expand((*batch_shape, self._num_component))
        made._mixture_distribution = self._mixture_distribution.expand(batch_shape)
        made._num_component, made._event_ndims = self._num_component, self._event_ndims
        Distribution.__init__(made, batch_shape, self.event_shape, validate_args=False)
        made._validate_args = self._validate_args
        return made

    @constraints.dependent_property
    def support(self) -> Any:
        return constraints.MixtureSameFamilyConstraint(self._component_distribution.support)

    @property
    def mixture_distribution(self) -> Categorical:
        """The weights."""
        return self._mixture_distribution

    @property
    def component_distribution(self) -> Distribution:
        """The distributions that are mixed, along the last axis of their batch."""
        return self._component_distribution

    def _weights(self) -> Tensor:
        p = self._mixture_distribution.probs
        return p.reshape((*p.shape, *[1] * self._event_ndims))

    def _mixed(self, x: Tensor) -> Tensor:
        return (self._weights() * x).sum(-1 - self._event_ndims)

    @property
    def mean(self) -> Tensor:
        return self._mixed(self._component_distribution.mean)

    @property
    def variance(self) -> Tensor:
        parts = self._component_distribution
        return self._mixed(parts.variance + (parts.mean - self._pad(self.mean)) ** 2)

    def _pad(self, x: Tensor) -> Tensor:
        return x.unsqueeze(-1 - self._event_ndims)

    def cdf(self, value: Tensor) -> Tensor:
        return (self._component_distribution.cdf(self._pad(value)) * self._mixture_distribution.probs).sum(-1)

    def log_prob(self, value: Tensor) -> Tensor:
        value = self._checked(value)
        found = self._component_distribution.log_prob(self._pad(value))
        return (found + self._mixture_distribution.logits.log_softmax(-1)).logsumexp(-1)

    def sample(self, sample_shape: Shape = (), *, generator: Generator | None = None) -> Tensor:
        with no_grad():
            weights = self._mixture_distribution
            if weights.batch_shape != self.batch_shape:
                weights = weights.expand(self.batch_shape)  # a class is drawn for each element of the batch
            chosen = weights.sample(sample_shape, **drawn_by(generator))
            parts = self._component_distribution.sample(sample_shape, **drawn_by(generator))
            axis = len(sample_shape) + len(self.batch_shape)
            chosen = chosen.reshape((*chosen.shape, *[1] * (self._event_ndims + 1)))
            chosen = chosen.expand((*parts.shape[:axis], 1, *parts.shape[axis + 1 :]))
            return parts.gather(axis, chosen).squeeze(axis)

    def __repr__(self) -> str:
        return f"MixtureSameFamily(\n  {self.mixture_distribution},\n  {self.component_distribution})"
