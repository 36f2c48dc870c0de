"""Distributions over classes: their number, one-hot vectors, counts."""

from __future__ import annotations

import math
from typing import Any, ClassVar

import numpy as np

from .. import ops
from ..diagnostics import ConstraintError, DTypeError, ShapeError, UnsupportedError
from ..ir.types import f64
from ..tensor import FUNCTIONS, Generator, Size, Tensor, no_grad
from ..tensor.conversion import convert, from_array
from ..tensor.core import wrap
from ..tensor.dtypes import finfo
from ..tensor.random import uniform_array
from . import constraints
from .constraint import FEW, known
from .discrete import Binomial
from .distribution import Distribution, Shape, drawn_by, looking
from .draws import uniform
from .parameters import (
    broadcast_all,
    constant_like,
    eye_like,
    lazy_property,
    logits_to_probs,
    one_hot_like,
    one_of,
    probs_to_logits,
    where,
)


class Categorical(Distribution):
    """The classes 0 .. K - 1, i64. probs or logits: (..., K); probs need no norm, logits are any log probabilities."""

    arg_constraints: ClassVar[Any] = {"probs": constraints.simplex, "logits": constraints.real_vector}
    has_enumerate_support = True
    _batched = ("probs", "logits", "_param")

    def __init__(
        self, probs: Tensor | None = None, logits: Tensor | None = None, validate_args: bool | None = None
    ) -> None:
        one_of(probs, logits)
        name, given = ("probs", probs) if probs is not None else ("logits", logits)
        if not isinstance(given, Tensor):
            raise DTypeError(f"`{name}` must be a tensor, found {type(given).__name__}", help="use hs.tensor")
        if given.ndim < 1:
            raise ShapeError(f"`{name}` parameter must be at least one-dimensional.")
        if probs is not None:
            self._param = self.probs = probs / probs.sum(-1, keepdim=True)
        else:
            self._param = self.logits = given - given.logsumexp(-1, keepdim=True)
        self._num_events = int(given.shape[-1])
        super().__init__(given.shape[:-1], validate_args=validate_args)

    @constraints.dependent_property(is_discrete=True, event_dim=0)
    def support(self) -> Any:
        return constraints.integer_interval(0, self._num_events - 1)

    logits = lazy_property(lambda self: probs_to_logits(self.probs))
    probs = lazy_property(lambda self: logits_to_probs(self.logits))

    @property
    def param_shape(self) -> Size:
        """The shape of probs."""
        return self._param.shape

    @property
    def mean(self) -> Tensor:
        return constant_like(self._param, self._batch_shape, math.nan)

    @property
    def mode(self) -> Tensor:
        return self.probs.argmax(-1)

    @property
    def variance(self) -> Tensor:
        return constant_like(self._param, self._batch_shape, math.nan)

    def sample(self, sample_shape: Shape = (), *, generator: Generator | None = None) -> Tensor:
        shape = self._extended_shape(sample_shape)
        few = shape.numel() * self._num_events <= FEW
        with no_grad():
            # 32 bits of 53: the product stays below the total, so that no class behind the last edge is found.
            if looking() and few and (array := known(self.probs)) is not None:  # one action of a policy, say
                bounds = np.cumsum(array, -1, dtype=np.float64)
                drawn = uniform_array(shape.numel(), generator).reshape(*shape, 1) * bounds[..., -1:]
                return from_array((drawn >= bounds).sum(-1), device="cpu")
            edges = convert(self.probs, f64).cumsum(-1)
            u = uniform((*shape, 1), edges, generator) * edges[..., -1:]
            return (u >= edges).sum(-1)

    def log_prob(self, value: Tensor) -> Tensor:
        value = self._checked(value)
        shape = tuple(FUNCTIONS["broadcast_shapes"](tuple(value.shape), tuple(self._batch_shape)))
        logits = self.logits
        if shape != tuple(self._batch_shape):
            logits = logits.expand((*shape, self._num_events))
        if looking() and math.prod(shape) <= FEW and (array := known(value)) is not None:
            # The numbers of rows and classes among all of them: nothing is left to be computed of the index.
            with np.errstate(invalid="ignore"):  # NaN is no class
                number = np.broadcast_to(array, shape).reshape(-1).astype(np.int64)
            if ((number >= 0) & (number < self._num_events)).all():
                number += np.arange(number.size) * self._num_events
                rows = ops.reshape(logits.value, (logits.numel(), 1))
                return wrap(ops.reshape(ops.take(rows, from_array(number, device="cpu").value), shape), logits)
        return logits.gather(-1, value.long().unsqueeze(-1).expand((*shape, 1))).squeeze(-1)

    def entropy(self) -> Tensor:
        logits = self.logits.clamp(min=finfo(self.logits.dtype).min)
        return -(logits * self.probs).sum(-1)

    def enumerate_support(self, expand: bool = True) -> Tensor:
        values = FUNCTIONS["arange"](self._num_events, device=self._param.device)
        values = values.reshape((-1, *[1] * len(self._batch_shape)))
        made: Tensor = values.expand((-1, *self._batch_shape)) if expand else values
        return made


class OfClasses(Distribution):
    """What is made of a `Categorical`."""

    arg_constraints: ClassVar[Any] = {"probs": constraints.simplex, "logits": constraints.real_vector}
    _categorical: Categorical

    @property
    def _param(self) -> Tensor:
        return self._categorical._param

    @property
    def probs(self) -> Tensor:
        """Probabilities (..., K)."""
        made: Tensor = self._categorical.probs
        return made

    @property
    def logits(self) -> Tensor:
        """Log probabilities (..., K)."""
        made: Tensor = self._categorical.logits
        return made

    @property
    def param_shape(self) -> Size:
        """The shape of probs."""
        return self._categorical.param_shape


class OneHotCategorical(OfClasses):
    """One-hot vectors (..., K). probs, logits: as of `Categorical`."""

    support = constraints.one_hot
    has_enumerate_support = True
    _batched = ("_categorical",)

    def __init__(
        self, probs: Tensor | None = None, logits: Tensor | None = None, validate_args: bool | None = None
    ) -> None:
        self._categorical = Categorical(probs, logits, validate_args=validate_args)
        super().__init__(self._categorical.batch_shape, self._categorical.param_shape[-1:], validate_args)

    @property
    def mean(self) -> Tensor:
        return self.probs

    @property
    def mode(self) -> Tensor:
        return one_hot_like(self.probs.argmax(-1), self.probs)

    @property
    def variance(self) -> Tensor:
        return self.probs * (1 - self.probs)

    def sample(self, sample_shape: Shape = (), *, generator: Generator | None = None) -> Tensor:
        return one_hot_like(self._categorical.sample(sample_shape, **drawn_by(generator)), self.probs.detach())

    def log_prob(self, value: Tensor) -> Tensor:
        return self._categorical.log_prob(self._checked(value).argmax(-1))

    def entropy(self) -> Tensor:
        return self._categorical.entropy()

    def enumerate_support(self, expand: bool = True) -> Tensor:
        n = self.event_shape[0]
        values = eye_like(n, self._param).reshape((n, *[1] * len(self.batch_shape), n))
        return values.expand((n, *self.batch_shape, n)) if expand else values


class OneHotCategoricalStraightThrough(OneHotCategorical):
    """`OneHotCategorical` whose samples have the gradient of probs (arXiv 1308.3432)."""

    has_rsample = True

    def rsample(self, sample_shape: Shape = (), *, generator: Generator | None = None) -> Tensor:
        return self.sample(sample_shape, **drawn_by(generator)) + (self.probs - self.probs.detach())


class Multinomial(OfClasses):
    """How often each class comes in total_count draws, (..., K). total_count: an int; probs, logits: as of
    `Categorical`. Raises UnsupportedError for a tensor of counts."""

    _batched = ("_categorical",)

    def __init__(
        self,
        total_count: int = 1,
        probs: Tensor | None = None,
        logits: Tensor | None = None,
        validate_args: bool | None = None,
    ) -> None:
        if not isinstance(total_count, int):
            raise UnsupportedError("inhomogeneous total_count is not supported", help="give an int")
        if total_count < 0:
            raise ConstraintError(
                f"Multinomial: total_count must be at least 0, found {total_count}",
                parameter="total_count",
                constraint=repr(constraints.nonnegative_integer),
                value=total_count,
            )
        self.total_count = total_count
        self._categorical = Categorical(probs, logits, validate_args=validate_args)
        super().__init__(self._categorical.batch_shape, self._categorical.param_shape[-1:], validate_args)

    @constraints.dependent_property(is_discrete=True, event_dim=1)
    def support(self) -> Any:
        return constraints.multinomial(self.total_count)

    @property
    def mean(self) -> Tensor:
        return self.probs * self.total_count

    @property
    def variance(self) -> Tensor:
        return self.total_count * self.probs * (1 - self.probs)

    def sample(self, sample_shape: Shape = (), *, generator: Generator | None = None) -> Tensor:
        with no_grad():
            drawn = self._categorical.sample((self.total_count, *sample_shape), **drawn_by(generator))
            return one_hot_like(drawn, self.probs).sum(0)

    def entropy(self) -> Tensor:
        n = constant_like(self.probs, (), self.total_count)
        each = Binomial(self.total_count, probs=self.probs, validate_args=False)
        counts = each.enumerate_support(expand=False)[1:]
        expected = (each.log_prob(counts).exp() * (counts + 1).lgamma()).sum((0, -1))
        return n * self._categorical.entropy() - (n + 1).lgamma() + expected

    def log_prob(self, value: Tensor) -> Tensor:
        logits, value = broadcast_all(self.logits, self._checked(value))
        logits = where((value == 0) & (logits == -math.inf), 0.0, logits)
        return (value.sum(-1) + 1).lgamma() - (value + 1).lgamma().sum(-1) + (logits * value).sum(-1)


__all__ = ["Categorical", "Multinomial", "OneHotCategorical", "OneHotCategoricalStraightThrough"]
