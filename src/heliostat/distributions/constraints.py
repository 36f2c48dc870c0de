"""Regions of tensors, with the names of torch.distributions.constraints: `constraint.check(value)` says for each event
whether it lies inside. `constraint_registry` has the transforms that lead into them.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ..tensor import FUNCTIONS, Tensor, gpu_matrices
from ..tensor.dtypes import finfo
from ..tensor.levels import on_host
from .constraint import (
    Cat,
    Constraint,
    Dependent,
    DependentProperty,
    Elementwise,
    IndependentConstraint,
    MixtureSameFamilyConstraint,
    Stack,
    is_dependent,
)

__all__ = [
    "Constraint", "MixtureSameFamilyConstraint", "boolean", "cat", "corr_cholesky", "dependent", "dependent_property",
    "greater_than", "greater_than_eq", "half_open_interval", "independent", "integer_interval", "interval",
    "is_dependent", "less_than", "lower_cholesky", "lower_triangular", "multinomial", "nonnegative",
    "nonnegative_integer", "one_hot", "open_unit_interval", "positive", "positive_definite", "positive_integer",
    "positive_semidefinite", "real", "real_vector", "simplex", "square", "stack", "symmetric", "unit_interval",
]  # fmt: skip


class _Boolean(Elementwise):
    is_discrete = True

    @staticmethod
    def inside(value: Any, *bounds: Any) -> Any:
        return (value == 0) | (value == 1)


class _OneHot(Constraint):
    is_discrete = True
    event_dim = 1

    def check(self, value: Tensor) -> Tensor:
        return ((value == 0) | (value == 1)).all(-1) & value.sum(-1).eq(1)


class _Between(Elementwise):
    """Between two bounds."""

    def __init__(self, lower_bound: Any, upper_bound: Any) -> None:
        self.lower_bound, self.upper_bound = lower_bound, upper_bound

    @property
    def bounds(self) -> tuple[Any, ...]:
        return self.lower_bound, self.upper_bound

    def __repr__(self) -> str:
        name = type(self).__name__.removeprefix("_")
        return f"{name}(lower_bound={self.lower_bound}, upper_bound={self.upper_bound})"


class _Above(Elementwise):
    """Above a bound."""

    def __init__(self, lower_bound: Any) -> None:
        self.lower_bound = lower_bound

    @property
    def bounds(self) -> tuple[Any, ...]:
        return (self.lower_bound,)

    def __repr__(self) -> str:
        return f"{type(self).__name__.removeprefix('_')}(lower_bound={self.lower_bound})"


class _Below(Elementwise):
    """Below a bound."""

    def __init__(self, upper_bound: Any) -> None:
        self.upper_bound = upper_bound

    @property
    def bounds(self) -> tuple[Any, ...]:
        return (self.upper_bound,)

    def __repr__(self) -> str:
        return f"{type(self).__name__.removeprefix('_')}(upper_bound={self.upper_bound})"


class _IntegerInterval(_Between):
    is_discrete = True

    @staticmethod
    def inside(value: Any, *bounds: Any) -> Any:
        lower, upper = bounds
        return (value % 1 == 0) & (value >= lower) & (value <= upper)


class _IntegerLessThan(_Below):
    is_discrete = True

    @staticmethod
    def inside(value: Any, *bounds: Any) -> Any:
        (upper,) = bounds
        return (value % 1 == 0) & (value <= upper)


class _IntegerGreaterThan(_Above):
    is_discrete = True

    @staticmethod
    def inside(value: Any, *bounds: Any) -> Any:
        (lower,) = bounds
        return (value % 1 == 0) & (value >= lower)


class _Real(Elementwise):
    @staticmethod
    def inside(value: Any, *bounds: Any) -> Any:
        return value == value  # all but NaN


class _GreaterThan(_Above):
    @staticmethod
    def inside(value: Any, *bounds: Any) -> Any:
        (lower,) = bounds
        return value > lower


class _GreaterThanEq(_Above):
    @staticmethod
    def inside(value: Any, *bounds: Any) -> Any:
        (lower,) = bounds
        return value >= lower


class _LessThan(_Below):
    @staticmethod
    def inside(value: Any, *bounds: Any) -> Any:
        (upper,) = bounds
        return value < upper


class _Interval(_Between):
    @staticmethod
    def inside(value: Any, *bounds: Any) -> Any:
        lower, upper = bounds
        return (value >= lower) & (value <= upper)


class _HalfOpenInterval(_Between):
    @staticmethod
    def inside(value: Any, *bounds: Any) -> Any:
        lower, upper = bounds
        return (value >= lower) & (value < upper)


class _OpenInterval(_Between):
    @staticmethod
    def inside(value: Any, *bounds: Any) -> Any:
        lower, upper = bounds
        return (value > lower) & (value < upper)


class _Simplex(Elementwise):
    """Vectors of numbers of at least 0 with the sum 1, within 1e-6."""

    event_dim = 1

    @staticmethod
    def inside(value: Any, *bounds: Any) -> Any:
        return (value >= 0).all(-1) & (abs(value.sum(-1) - 1) < 1e-6)


class _Multinomial(Constraint):
    """Vectors of counts whose sum is at most the bound."""

    is_discrete = True
    event_dim = 1

    def __init__(self, upper_bound: Any) -> None:
        self.upper_bound = upper_bound

    def check(self, value: Tensor) -> Tensor:
        return (value >= 0).all(-1) & (value.sum(-1) <= self.upper_bound)


def _in_matrices(found: Tensor) -> Tensor:
    made: Tensor = found.all(-1).all(-1)
    return made


class _LowerTriangular(Constraint):
    event_dim = 2

    def check(self, value: Tensor) -> Tensor:
        return _in_matrices(value.tril() == value)


class _LowerCholesky(_LowerTriangular):
    """Lower triangles with positive diagonals."""

    def check(self, value: Tensor) -> Tensor:
        return super().check(value) & (value.diagonal(dim1=-2, dim2=-1) > 0).all(-1)


class _CorrCholesky(_LowerCholesky):
    """Cholesky factors of correlations: rows have length 1."""

    def check(self, value: Tensor) -> Tensor:
        tolerance = finfo(value.dtype).eps * value.shape[-1] * 10  # PyTorch's
        length = (value.detach() ** 2).sum(-1).sqrt()
        return super().check(value) & ((length - 1).abs() <= tolerance).all(-1)


class _Square(Constraint):
    event_dim = 2

    def check(self, value: Tensor) -> Tensor:
        square = value.shape[-2] == value.shape[-1]
        made: Tensor = FUNCTIONS["full"](
            tuple(value.shape[:-2]), square, dtype=(value == value).dtype, device=value.device
        )
        return made


class _Symmetric(_Square):
    """Symmetric matrices, within 1e-6."""

    def check(self, value: Tensor) -> Tensor:
        if value.shape[-2] != value.shape[-1]:
            return super().check(value)
        return _in_matrices(value.isclose(value.mT, atol=1e-6))


class _PositiveSemidefinite(_Symmetric):
    def check(self, value: Tensor) -> Tensor:
        symmetric = super().check(value)
        return (
            symmetric
            if value.shape[-2] != value.shape[-1]
            else symmetric & _on_matrices(_semidefinite, _no_eigenvalue_below_zero, value)
        )


class _PositiveDefinite(_Symmetric):
    def check(self, value: Tensor) -> Tensor:
        symmetric = super().check(value)
        return (
            symmetric
            if value.shape[-2] != value.shape[-1]
            else symmetric & _on_matrices(_factors, gpu_matrices.positive, value)
        )


def _on_matrices(question: Any, on_gpu: Any, value: Tensor) -> Tensor:
    made: Tensor = on_host(
        lambda a: np.array([question(m) for m in a.reshape(-1, *a.shape[-2:])], bool).reshape(a.shape[:-2]),
        value.detach(),
        on_gpu=on_gpu,
    )
    return made


def _no_eigenvalue_below_zero(value: Tensor) -> Tensor:
    finite = value.isfinite()
    values, _ = gpu_matrices.eigh(FUNCTIONS["where"](finite, value, 0.0), False)
    made: Tensor = finite.all(-1).all(-1) & (values >= 0).all(-1)
    return made


def _semidefinite(matrix: Any) -> bool:
    return bool(np.isfinite(matrix).all() and (np.linalg.eigvalsh(matrix) >= 0).all())


def _factors(matrix: Any) -> bool:
    try:
        np.linalg.cholesky(matrix)
    except np.linalg.LinAlgError:
        return False
    return bool(np.isfinite(matrix).all())


dependent = Dependent()
dependent_property = DependentProperty
independent = IndependentConstraint
boolean = _Boolean()
one_hot = _OneHot()
nonnegative_integer = _IntegerGreaterThan(0)
positive_integer = _IntegerGreaterThan(1)
integer_interval = _IntegerInterval
real = _Real()
real_vector = independent(real, 1)
positive = _GreaterThan(0.0)
nonnegative = _GreaterThanEq(0.0)
greater_than = _GreaterThan
greater_than_eq = _GreaterThanEq
less_than = _LessThan
multinomial = _Multinomial
unit_interval = _Interval(0.0, 1.0)
open_unit_interval = _OpenInterval(0.0, 1.0)
interval = _Interval
half_open_interval = _HalfOpenInterval
simplex = _Simplex()
lower_triangular = _LowerTriangular()
lower_cholesky = _LowerCholesky()
corr_cholesky = _CorrCholesky()
square = _Square()
symmetric = _Symmetric()
positive_semidefinite = _PositiveSemidefinite()
positive_definite = _PositiveDefinite()
cat = Cat
stack = Stack
