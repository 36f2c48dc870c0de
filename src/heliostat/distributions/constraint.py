"""What constraints are, those that depend on other variables, and those made of others."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ..diagnostics import ConstraintError, ShapeError, UnsupportedError
from ..tensor import FUNCTIONS, Tensor
from ..tensor.lazy import array_of, realize
from ..tensor.lazy import on_host as on_cpu
from ..tensor.pairs import ComplexTensor

_UNKNOWN: Any = NotImplemented


class Constraint:
    """A region. `is_discrete`: it has single points. `event_dim`: how many axes at the end make an event."""

    is_discrete: Any = False
    event_dim: Any = 0

    def check(self, value: Tensor) -> Tensor:
        """Whether each event lies inside: bool, the shape of value without the axes of an event."""
        raise NotImplementedError

    def __repr__(self) -> str:
        return type(self).__name__.removeprefix("_") + "()"


def _events(result: Tensor, ndims: int, value: Tensor, event_dim: int) -> Tensor:
    if result.ndim < ndims:
        raise ShapeError(f"Expected value.dim() >= {event_dim} but got {value.ndim}")
    made: Tensor = result.reshape((*result.shape[: result.ndim - ndims], -1)).all(-1)
    return made


class Dependent(Constraint):
    """A region that depends on other variables."""

    def __init__(self, *, is_discrete: Any = _UNKNOWN, event_dim: Any = _UNKNOWN) -> None:
        self._is_discrete, self._event_dim = is_discrete, event_dim

    @property
    def is_discrete(self) -> bool:
        if self._is_discrete is _UNKNOWN:
            raise UnsupportedError(".is_discrete cannot be determined statically")
        return bool(self._is_discrete)

    @property
    def event_dim(self) -> int:
        if self._event_dim is _UNKNOWN:
            raise UnsupportedError(".event_dim cannot be determined statically")
        return int(self._event_dim)

    def __call__(self, *, is_discrete: Any = _UNKNOWN, event_dim: Any = _UNKNOWN) -> Dependent:
        return Dependent(
            is_discrete=self._is_discrete if is_discrete is _UNKNOWN else is_discrete,
            event_dim=self._event_dim if event_dim is _UNKNOWN else event_dim,
        )

    def check(self, value: Tensor) -> Tensor:
        raise ConstraintError("Cannot determine validity of dependent constraint")


class DependentProperty(property, Dependent):
    """A property of an object that is a dependent constraint of its class."""

    def __init__(self, fn: Any = None, *, is_discrete: Any = _UNKNOWN, event_dim: Any = _UNKNOWN) -> None:
        property.__init__(self, fn)
        Dependent.__init__(self, is_discrete=is_discrete, event_dim=event_dim)

    def __call__(self, fn: Any) -> DependentProperty:  # type: ignore[override]
        return DependentProperty(fn, is_discrete=self._is_discrete, event_dim=self._event_dim)


FEW = 4096
"""Numbers that are looked at one by one sooner than a program for that is built."""


def holds(constraint: Constraint, value: Tensor) -> Tensor | bool:
    """Whether all events lie inside, without a program for that where the numbers lie on the host, or few of them come
    to lie there: what asks reads the answer at once, which computes them anyway. Else a tensor ()."""
    plain: Any = constraint
    while isinstance(plain, IndependentConstraint):
        plain = plain.base_constraint
    if isinstance(plain, Elementwise):
        arrays = [known(x, read=True) for x in (value, *plain.bounds)]
        if all(a is not None for a in arrays):
            with np.errstate(all="ignore"):
                return bool(np.all(plain.inside(*arrays)))
    return constraint.check(value).all()


def known(x: Any, read: bool = False) -> Any:
    """A number, or the array of a tensor that is computed and lies on the host; None for others. read: few numbers that
    are not computed yet are."""
    if not isinstance(x, Tensor):
        return x
    if isinstance(x, ComplexTensor):
        return None
    v = x.value
    if v.type.element.name == "bf16":
        return None
    if read and not on_cpu(v) and v.device in (None, "cpu") and x.numel() <= FEW:
        realize([v])
    return array_of(v) if on_cpu(v) else None


def is_dependent(constraint: Any) -> bool:
    """Whether a constraint depends on other variables, so that `check` cannot be asked."""
    return isinstance(constraint, Dependent)


class IndependentConstraint(Constraint):
    """Axes of a batch that count as axes of an event: all elements must lie inside."""

    def __init__(self, base_constraint: Constraint, reinterpreted_batch_ndims: int) -> None:
        if not isinstance(base_constraint, Constraint):
            raise TypeError(f"base_constraint must be a Constraint, got {type(base_constraint).__name__}")
        if not isinstance(reinterpreted_batch_ndims, int) or reinterpreted_batch_ndims < 0:
            raise ShapeError(f"reinterpreted_batch_ndims must be an int >= 0, got {reinterpreted_batch_ndims}")
        self.base_constraint, self.reinterpreted_batch_ndims = base_constraint, reinterpreted_batch_ndims

    @property
    def is_discrete(self) -> bool:
        return bool(self.base_constraint.is_discrete)

    @property
    def event_dim(self) -> int:
        return int(self.base_constraint.event_dim) + self.reinterpreted_batch_ndims

    def check(self, value: Tensor) -> Tensor:
        return _events(self.base_constraint.check(value), self.reinterpreted_batch_ndims, value, self.event_dim)

    def __repr__(self) -> str:
        return f"IndependentConstraint({self.base_constraint!r}, {self.reinterpreted_batch_ndims})"


class MixtureSameFamilyConstraint(Constraint):
    """The support of a mixture: an event lies in the support of all components."""

    def __init__(self, base_constraint: Constraint) -> None:
        if not isinstance(base_constraint, Constraint):
            raise TypeError(f"base_constraint must be a Constraint, got {type(base_constraint).__name__}")
        self.base_constraint = base_constraint

    @property
    def is_discrete(self) -> bool:
        return bool(self.base_constraint.is_discrete)

    @property
    def event_dim(self) -> int:
        return int(self.base_constraint.event_dim)

    def check(self, value: Tensor) -> Tensor:
        if value.ndim < self.event_dim:
            raise ShapeError(f"Expected value.dim() >= {self.event_dim} but got {value.ndim}")
        result = self.base_constraint.check(value.unsqueeze(-1 - self.event_dim))
        return _events(result, result.ndim - (value.ndim - self.event_dim), value, self.event_dim)

    def __repr__(self) -> str:
        return f"MixtureSameFamilyConstraint({self.base_constraint!r})"


class Elementwise(Constraint):
    """A region of single numbers, or of rows. `inside` is made of operators and methods that tensors and NumPy arrays
    have alike."""

    @property
    def bounds(self) -> tuple[Any, ...]:
        """What `inside` takes beside the value: numbers or tensors that broadcast."""
        return ()

    @staticmethod
    def inside(value: Any, *bounds: Any) -> Any:
        """Whether each number, or each row, lies inside."""
        raise NotImplementedError

    def check(self, value: Tensor) -> Tensor:
        made: Tensor = self.inside(value, *self.bounds)
        return made


class _OfParts(Constraint):
    """A constraint for each part of an axis."""

    def __init__(self, cseq: Sequence[Any], dim: int) -> None:
        if not all(isinstance(c, Constraint) for c in cseq):
            name = type(self).__name__.lower()
            raise TypeError(f"constraints.{name}: all elements of cseq must be Constraint instances")
        self.cseq: list[Constraint] = list(cseq)
        self.dim = dim

    @property
    def is_discrete(self) -> bool:
        return any(c.is_discrete for c in self.cseq)

    @property
    def event_dim(self) -> int:
        return max(int(c.event_dim) for c in self.cseq)

    def _has_axis(self, value: Tensor) -> None:
        if not -value.ndim <= self.dim < value.ndim:
            raise ShapeError(f"dim {self.dim} out of range for value with {value.ndim} dimensions")


class Cat(_OfParts):
    """Constraints of neighbouring pieces along an axis, of the given lengths."""

    def __init__(self, cseq: Sequence[Constraint], dim: int = 0, lengths: Sequence[int] | None = None) -> None:
        super().__init__(cseq, dim)
        self.lengths = [1] * len(self.cseq) if lengths is None else list(lengths)
        if len(self.lengths) != len(self.cseq):
            raise ShapeError(f"lengths ({len(self.lengths)}) must match cseq ({len(self.cseq)})")

    def check(self, value: Tensor) -> Tensor:
        self._has_axis(value)
        starts = [sum(self.lengths[:n]) for n in range(len(self.cseq))]
        pieces = zip(self.cseq, starts, self.lengths, strict=True)
        made: Tensor = FUNCTIONS["cat"]([c.check(value.narrow(self.dim, at, n)) for c, at, n in pieces], self.dim)
        return made


class Stack(_OfParts):
    """A constraint for each slice of an axis."""

    def __init__(self, cseq: Sequence[Constraint], dim: int = 0) -> None:
        super().__init__(cseq, dim)

    @property
    def event_dim(self) -> int:
        dim = super().event_dim
        return dim + 1 if self.dim + dim < 0 else dim

    def check(self, value: Tensor) -> Tensor:
        self._has_axis(value)
        pairs = zip(self.cseq, value.unbind(self.dim), strict=True)
        made: Tensor = FUNCTIONS["stack"]([c.check(v) for c, v in pairs], self.dim)
        return made
