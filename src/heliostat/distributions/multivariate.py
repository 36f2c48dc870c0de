"""Normal vectors: with a full covariance, and with one of a low rank and a diagonal."""

from __future__ import annotations

import math
from typing import Any, ClassVar

from ..diagnostics import ShapeError
from ..linalg import cholesky, solve_triangular
from ..tensor import FUNCTIONS, Generator, Tensor
from . import constraints
from .distribution import Distribution, Shape
from .draws import standard_normal
from .parameters import eye_like, lazy_property, mv

_LOG_TWO_PI = math.log(2 * math.pi)


def log_diagonal(tril: Tensor) -> Tensor:
    """The logarithm of the determinant of triangles (..., n, n)."""
    return tril.diagonal(dim1=-2, dim2=-1).log().sum(-1)


def mahalanobis(tril: Tensor, x: Tensor) -> Tensor:
    """The squared length of L^-1 x of triangles (..., n, n) and vectors (..., n); leading shapes broadcast."""
    shape = FUNCTIONS["broadcast_shapes"](tuple(tril.shape[:-2]), tuple(x.shape[:-1]))
    n = x.shape[-1]
    solved = solve_triangular(tril.expand((*shape, n, n)), x.expand((*shape, n)).unsqueeze(-1), upper=False)
    return (solved**2).sum((-2, -1))


def precision_to_scale_tril(precision: Tensor) -> Tensor:
    """The Cholesky factor of the inverse of matrices (..., n, n)."""
    inverse = cholesky(precision.flip(-2, -1)).flip(-2, -1).mT
    return solve_triangular(inverse, eye_like(precision.shape[-1], precision).expand(precision.shape), upper=False)


def one_matrix(**given: Tensor | None) -> tuple[str, Tensor]:
    """The one matrix that is given and its name. Raises ShapeError for none, several, fewer than two axes, no
    square."""
    found = [(name, m) for name, m in given.items() if m is not None]
    if len(found) != 1:
        raise ShapeError("Exactly one of covariance_matrix or precision_matrix or scale_tril may be specified.")
    name, matrix = found[0]
    if matrix.ndim < 2:
        raise ShapeError(f"{name} must be at least two-dimensional, with optional leading batch dimensions")
    if matrix.shape[-2] != matrix.shape[-1]:
        raise ShapeError(f"{name} must hold square matrices, found {list(matrix.shape)}")
    return name, matrix


def factor_of(name: str, matrix: Tensor) -> Tensor:
    """scale_tril of a matrix of that name."""
    if name == "scale_tril":
        return matrix
    made: Tensor = cholesky(matrix) if name == "covariance_matrix" else precision_to_scale_tril(matrix)
    return made


class OfFactor(Distribution):
    """Matrices that follow from a Cholesky factor, `_factor`: (..., n, n) over the whole batch."""

    _factor: Tensor
    scale_tril = lazy_property(lambda self: self._factor)
    covariance_matrix = lazy_property(lambda self: self._factor @ self._factor.mT)

    def _precision(self) -> Tensor:
        n = self._factor.shape[-1]
        inverse = solve_triangular(self._factor, eye_like(n, self._factor).expand(self._factor.shape), upper=False)
        return inverse.mT @ inverse

    precision_matrix = lazy_property(lambda self: self._precision())


_MATRICES = ("covariance_matrix", "precision_matrix", "scale_tril")


class MultivariateNormal(OfFactor):
    """Normal vectors (..., n) of mean loc (..., n) and one of covariance_matrix, precision_matrix, scale_tril, its
    lower Cholesky factor, (..., n, n). scale_tril saves a factorization."""

    arg_constraints: ClassVar[Any] = {
        "loc": constraints.real_vector,
        "covariance_matrix": constraints.positive_definite,
        "precision_matrix": constraints.positive_definite,
        "scale_tril": constraints.lower_cholesky,
    }
    support = constraints.real_vector
    has_rsample = True
    _batched = ("loc", "_factor", *_MATRICES)

    def __init__(
        self,
        loc: Tensor,
        covariance_matrix: Tensor | None = None,
        precision_matrix: Tensor | None = None,
        scale_tril: Tensor | None = None,
        validate_args: bool | None = None,
    ) -> None:
        if loc.ndim < 1:
            raise ShapeError("loc must be at least one-dimensional.")
        name, matrix = one_matrix(
            covariance_matrix=covariance_matrix, precision_matrix=precision_matrix, scale_tril=scale_tril
        )
        if matrix.shape[-1] != loc.shape[-1]:
            raise ShapeError(
                f"{name} {list(matrix.shape)} does not fit loc {list(loc.shape)}: sizes at the end must be equal"
            )
        batch = FUNCTIONS["broadcast_shapes"](tuple(matrix.shape[:-2]), tuple(loc.shape[:-1]))
        matrix = matrix.expand((*batch, *matrix.shape[-2:]))
        self.__dict__[name] = matrix
        self.loc = loc.expand((*batch, loc.shape[-1]))
        super().__init__(batch, loc.shape[-1:], validate_args=validate_args)
        self._factor = factor_of(name, matrix)

    @property
    def mean(self) -> Tensor:
        return self.loc

    @property
    def mode(self) -> Tensor:
        return self.loc

    @property
    def variance(self) -> Tensor:
        return (self._factor**2).sum(-1)

    def rsample(self, sample_shape: Shape = (), *, generator: Generator | None = None) -> Tensor:
        return self.loc + mv(self._factor, standard_normal(self._extended_shape(sample_shape), self.loc, generator))

    def log_prob(self, value: Tensor) -> Tensor:
        m = mahalanobis(self._factor, self._checked(value) - self.loc)
        return -0.5 * (self._event_shape[0] * _LOG_TWO_PI + m) - log_diagonal(self._factor)

    def entropy(self) -> Tensor:
        return 0.5 * self._event_shape[0] * (1.0 + _LOG_TWO_PI) + log_diagonal(self._factor)


class LowRankMultivariateNormal(Distribution):
    """Normal vectors (..., n) of mean loc (..., n) and the covariance W W^T + diag(D): cov_factor W (..., n, rank) and
    cov_diag D > 0 (..., n). Determinant and inverse are those of a matrix (rank, rank)."""

    arg_constraints: ClassVar[Any] = {
        "loc": constraints.real_vector,
        "cov_factor": constraints.independent(constraints.real, 2),
        "cov_diag": constraints.independent(constraints.positive, 1),
    }
    support = constraints.real_vector
    has_rsample = True
    _batched = ("loc", "cov_factor", "cov_diag", "_capacitance_tril", "variance", *_MATRICES)

    def __init__(self, loc: Tensor, cov_factor: Tensor, cov_diag: Tensor, validate_args: bool | None = None) -> None:
        if loc.ndim < 1:
            raise ShapeError("loc must be at least one-dimensional.")
        event = tuple(loc.shape[-1:])
        if cov_factor.ndim < 2 or tuple(cov_factor.shape[-2:-1]) != event:
            raise ShapeError(
                f"cov_factor must be a batch of matrices with shape {event[0]} x m, found {list(cov_factor.shape)}"
            )
        if tuple(cov_diag.shape[-1:]) != event:
            raise ShapeError(f"cov_diag must be a batch of vectors with shape {event}, found {list(cov_diag.shape)}")
        batch = FUNCTIONS["broadcast_shapes"](
            tuple(loc.shape[:-1]), tuple(cov_factor.shape[:-2]), tuple(cov_diag.shape[:-1])
        )
        self.loc, self.cov_diag = loc.expand((*batch, *event)), cov_diag.expand((*batch, *event))
        self.cov_factor = cov_factor.expand((*batch, *cov_factor.shape[-2:]))
        super().__init__(batch, event, validate_args=validate_args)
        m = cov_factor.shape[-1]
        self._capacitance_tril = cholesky(self._over_diagonal() @ self.cov_factor + eye_like(m, cov_factor))

    def _over_diagonal(self) -> Tensor:
        """W^T D^-1."""
        return self.cov_factor.mT / self.cov_diag.unsqueeze(-2)

    @property
    def mean(self) -> Tensor:
        return self.loc

    @property
    def mode(self) -> Tensor:
        return self.loc

    variance = lazy_property(lambda self: (self.cov_factor**2).sum(-1) + self.cov_diag)
    covariance_matrix = lazy_property(lambda self: self.cov_factor @ self.cov_factor.mT + self.cov_diag.diag_embed())
    # D^1/2 times the factor of I + D^-1/2 W W^T D^-1/2, whose eigenvalues are at least 1.
    scale_tril = lazy_property(lambda self: self._scale_tril())
    precision_matrix = lazy_property(lambda self: self._precision())

    def _scale_tril(self) -> Tensor:
        root = self.cov_diag.sqrt().unsqueeze(-1)
        w = self.cov_factor / root
        return root * cholesky(w @ w.mT + eye_like(self._event_shape[0], w))

    def _precision(self) -> Tensor:
        a = solve_triangular(self._capacitance_tril, self._over_diagonal(), upper=False)
        return self.cov_diag.reciprocal().diag_embed() - a.mT @ a

    def log_determinant(self) -> Tensor:
        """The logarithm of the determinant of the covariance, batch_shape."""
        return 2 * log_diagonal(self._capacitance_tril) + self.cov_diag.log().sum(-1)

    def mahalanobis(self, x: Tensor) -> Tensor:
        """x^T C^-1 x of vectors (..., n), by Woodbury's identity."""
        return (x**2 / self.cov_diag).sum(-1) - mahalanobis(self._capacitance_tril, mv(self._over_diagonal(), x))

    def rsample(self, sample_shape: Shape = (), *, generator: Generator | None = None) -> Tensor:
        shape = self._extended_shape(sample_shape)
        w = standard_normal((*shape[:-1], self.cov_factor.shape[-1]), self.loc, generator)
        d = standard_normal(shape, self.loc, generator)
        return self.loc + mv(self.cov_factor, w) + self.cov_diag.sqrt() * d

    def log_prob(self, value: Tensor) -> Tensor:
        m = self.mahalanobis(self._checked(value) - self.loc)
        return -0.5 * (self._event_shape[0] * _LOG_TWO_PI + self.log_determinant() + m)

    def entropy(self) -> Tensor:
        return 0.5 * (self._event_shape[0] * (1.0 + _LOG_TWO_PI) + self.log_determinant())
