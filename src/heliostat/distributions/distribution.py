"""The bases of all distributions: shapes, checks of parameters and values, expanding; and the exponential family."""

from __future__ import annotations

import functools
import operator
import warnings
from collections.abc import Sequence
from typing import Any, ClassVar

from ..diagnostics import ConstraintError, DTypeError, ShapeError, UnsupportedError
from ..tensor import Generator, Size, Tensor, autograd, no_grad
from ..tensor.lazy import capturing
from ..tensor.levels import open_levels
from .constraint import holds, is_dependent
from .parameters import broadcast_all, is_lazy, is_number, sum_rightmost

Shape = Sequence[int]


def looking() -> bool:
    """Whether values can be looked at: not while a step is captured, nor inside of vmap."""
    return not capturing() and not open_levels()


class Distribution:
    """A distribution over tensors: a sample has the shape sample_shape + batch_shape + event_shape.

    `validate_args` (None: the default, True) checks parameters against `arg_constraints` when the distribution is
    made, and values against `support`: those that break a constraint raise ConstraintError, a ValueError. Checking
    reads values; where they cannot be read, in a compiled function and inside of vmap, it is left out."""

    has_rsample: Any = False
    has_enumerate_support: Any = False
    _validate_args: bool = __debug__
    _batched: ClassVar[tuple[str, ...] | None] = None
    """Attributes, tensors or distributions, whose shapes begin with the batch's; None where `expand` is not known."""

    @staticmethod
    def set_default_validate_args(value: bool) -> None:
        """Whether distributions check parameters and values that are not told to. Raises ValueError for others than
        True and False."""
        if value not in (True, False):
            raise ValueError(f"set_default_validate_args takes True or False, found {value!r}")
        Distribution._validate_args = value

    def __init__(self, batch_shape: Shape = (), event_shape: Shape = (), validate_args: bool | None = None) -> None:
        self._batch_shape, self._event_shape = Size(batch_shape), Size(event_shape)
        if validate_args is not None:
            self._validate_args = validate_args
        if self._validate_args and looking():
            self._check_parameters()

    def _check_parameters(self) -> None:
        try:
            constraints = self.arg_constraints
        except NotImplementedError:
            warnings.warn(
                f"{type(self)} does not define `arg_constraints`. Please set `arg_constraints = {{}}` or initialize "
                f"the distribution with `validate_args=False` to turn off validation.",
                stacklevel=4,
            )
            return
        checks = []
        for name, constraint in constraints.items():
            if is_dependent(constraint) or (name not in self.__dict__ and is_lazy(type(self), name)):
                continue
            value = getattr(self, name)
            checks.append((name, constraint, value, holds(constraint, value)))
        if not _all_true([valid for *_, valid in checks]):
            name, constraint, value, _ = next(c for c in checks if not bool(c[3]))
            raise ConstraintError(
                f"Expected parameter {name} ({type(value).__name__} of shape {tuple(value.shape)}) of distribution "
                f"{self!r} to satisfy the constraint {constraint!r}, but found invalid values:\n{value}",
                parameter=name,
                constraint=repr(constraint),
                value=value,
            )

    def expand(self, batch_shape: Shape, _instance: Any = None) -> Any:
        """The same distribution for a larger batch, whose parameters are expanded. Parameters are not checked again."""
        owner: Any = next((c for c in type(self).__mro__ if c.__dict__.get("_batched") is not None), None)
        if owner is None:
            raise UnsupportedError(f"{type(self).__name__} does not implement expand")
        made = self._get_checked_instance(owner, _instance)
        batch = Size(batch_shape)
        before = len(self._batch_shape)
        for name, x in self.__dict__.items():
            if name in owner._batched:
                if isinstance(x, Distribution):
                    x = x.expand((*batch, *x.batch_shape[before:]))
                elif isinstance(x, Tensor):
                    x = x.expand((*batch, *x.shape[before:]))
            elif is_lazy(type(self), name):
                continue
            made.__dict__[name] = x
        made._batch_shape = batch
        return made

    @property
    def batch_shape(self) -> Size:
        """The shape of the batch of distributions."""
        return self._batch_shape

    @property
    def event_shape(self) -> Size:
        """The shape of one event of one distribution."""
        return self._event_shape

    @property
    def arg_constraints(self) -> Any:
        """The constraints of parameters, by name."""
        raise self._has_no("arg_constraints")

    @property
    def support(self) -> Any:
        """The constraint that holds for values."""
        raise self._has_no("support")

    @property
    def mean(self) -> Tensor:
        """The mean, batch_shape + event_shape."""
        raise self._has_no("mean")

    @property
    def mode(self) -> Tensor:
        """The most likely value, batch_shape + event_shape."""
        raise self._has_no("mode")

    @property
    def variance(self) -> Tensor:
        """The variance of each element, batch_shape + event_shape."""
        raise self._has_no("variance")

    @property
    def stddev(self) -> Tensor:
        """The standard deviation of each element, batch_shape + event_shape."""
        return self.variance.sqrt()

    def sample(self, sample_shape: Shape = (), *, generator: Generator | None = None) -> Tensor:
        """Random values, sample_shape + batch_shape + event_shape, without gradients; of the default stream, or of a
        generator."""
        with no_grad():
            return self.rsample(sample_shape, **drawn_by(generator))

    def rsample(self, sample_shape: Shape = (), *, generator: Generator | None = None) -> Tensor:
        """Random values, sample_shape + batch_shape + event_shape, with gradients for the parameters. Raises
        UnsupportedError where `has_rsample` is False."""
        raise self._has_no("rsample")

    def sample_n(self, n: int) -> Tensor:
        """`sample((n,))`, which PyTorch advises instead."""
        warnings.warn("`sample_n(n)` will be deprecated. Use `sample((n,))` instead.", FutureWarning, stacklevel=2)
        return self.sample((n,))

    def log_prob(self, value: Tensor) -> Tensor:
        """The logarithm of the density, or of the probability, of values whose shape broadcasts with batch_shape +
        event_shape. Raises ConstraintError for values outside of the support."""
        raise self._has_no("log_prob")

    def cdf(self, value: Tensor) -> Tensor:
        """The probability of at most `value`."""
        raise self._has_no("cdf")

    def icdf(self, value: Tensor) -> Tensor:
        """The inverse of `cdf`, of probabilities."""
        raise self._has_no("icdf")

    def enumerate_support(self, expand: bool = True) -> Tensor:
        """All values of a discrete distribution along a first axis, (count, *batch_shape, *event_shape); with
        expand=False the axes of the batch have the size 1."""
        raise self._has_no("enumerate_support")

    def entropy(self) -> Tensor:
        """The entropy in nats, batch_shape."""
        raise self._has_no("entropy")

    def perplexity(self) -> Tensor:
        """exp(entropy), batch_shape."""
        return self.entropy().exp()

    def _has_no(self, what: str) -> UnsupportedError:
        return UnsupportedError(f"{type(self).__name__} does not implement {what}")

    def _extended_shape(self, sample_shape: Shape = ()) -> Size:
        if isinstance(sample_shape, int):
            raise ShapeError(
                f"sample_shape must be a tuple of sizes, found {sample_shape}", help=f"write ({sample_shape},)"
            )
        return Size((*sample_shape, *self._batch_shape, *self._event_shape))

    def _validate_sample(self, value: Any) -> None:
        """Raises DTypeError for no tensor, ShapeError for a shape that does not fit, ConstraintError for values outside
        of the support."""
        if not isinstance(value, Tensor):
            raise DTypeError("The value argument to log_prob must be a Tensor", help="use hs.tensor")
        shape, event = tuple(value.shape), self._event_shape
        if shape[len(shape) - len(event) :] != event:
            raise ShapeError(f"The right-most size of value must match event_shape: {shape} vs {tuple(event)}.")
        expected = (*self._batch_shape, *event)
        if any(i != 1 and j != 1 and i != j for i, j in zip(shape[::-1], expected[::-1], strict=False)):
            raise ShapeError(f"Value is not broadcastable with batch_shape+event_shape: {shape} vs {expected}.")
        if not looking():
            return
        try:
            support = self.support
        except NotImplementedError:
            warnings.warn(
                f"{type(self)} does not define `support` to enable sample validation. Please initialize the "
                f"distribution with `validate_args=False` to turn off validation.",
                stacklevel=3,
            )
            return
        if not holds(support, value):
            raise ConstraintError(
                f"Expected value argument ({type(value).__name__} of shape {shape}) to be within the support "
                f"({support!r}) of the distribution {self!r}, but found invalid values:\n{value}",
                parameter="value",
                constraint=repr(support),
                value=value,
            )

    def _checked(self, value: Any) -> Any:
        """A value that `log_prob` or `cdf` got, looked at if that is wanted."""
        if self._validate_args:
            self._validate_sample(value)
        return value

    def _get_checked_instance(self, cls: type, _instance: Any = None) -> Any:
        if _instance is None and type(self).__init__ is not cls.__init__:  # type: ignore[misc]
            raise UnsupportedError(
                f"Subclass {type(self).__name__} of {cls.__name__} that defines a custom __init__ method must also "
                f"define a custom .expand() method."
            )
        return object.__new__(type(self)) if _instance is None else _instance

    def __repr__(self) -> str:
        known = self.arg_constraints if type(self).arg_constraints is not Distribution.arg_constraints else ()
        found = {k: self.__dict__[k] for k in known if k in self.__dict__}
        shown = [f"{k}: {x if x.numel() == 1 else x.shape}" for k, x in found.items()]
        return f"{type(self).__name__}({', '.join(shown)})"


def _all_true(checks: Sequence[Any]) -> bool:
    """Whether all are true, those that are tensors read at once."""
    tensors = [c for c in checks if isinstance(c, Tensor)]
    return all(c for c in checks if not isinstance(c, Tensor)) and (
        not tensors or bool(functools.reduce(operator.and_, tensors))
    )


def drawn_by(generator: Generator | None) -> dict[str, Any]:
    """The keyword that hands a generator on; none where there is none, so that subclasses need not know it."""
    return {} if generator is None else {"generator": generator}


def batch_of(first: Tensor, *arguments: Any) -> Shape:
    """The batch's shape: () where all arguments are numbers, else that of the tensor they were made into."""
    return () if all(is_number(a) for a in arguments) else first.shape


class ExponentialFamily(Distribution):
    """Densities exp(<t(x), theta> - F(theta) + k(x)): entropy and divergences follow from the gradient of F."""

    @property
    def _natural_params(self) -> tuple[Tensor, ...]:
        raise self._has_no("_natural_params")

    def _log_normalizer(self, *natural_params: Tensor) -> Tensor:
        raise self._has_no("_log_normalizer")

    @property
    def _mean_carrier_measure(self) -> Any:
        raise self._has_no("_mean_carrier_measure")

    def entropy(self) -> Tensor:
        params, normalizer, gradients = bregman(self)
        result = normalizer - self._mean_carrier_measure
        for p, g in zip(params, gradients, strict=True):
            result = result - sum_rightmost(p * g, (p * g).ndim - len(self._batch_shape))
        return result


def bregman(p: ExponentialFamily) -> tuple[list[Tensor], Tensor, Sequence[Tensor]]:
    """Natural parameters, cut off from what they were made of, the log normalizer and its gradient there."""
    with autograd.enable_grad():
        params = [x.detach().requires_grad_() for x in p._natural_params]
        normalizer = p._log_normalizer(*params)
        gradients: Any = autograd.grad(normalizer.sum(), params, create_graph=True)
    return params, normalizer, gradients


__all__ = ["Distribution", "ExponentialFamily", "batch_of", "bregman", "broadcast_all", "drawn_by"]
