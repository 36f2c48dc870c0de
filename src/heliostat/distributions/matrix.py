"""Distributions of matrices: Wishart's of positive definite ones, LKJ's of Cholesky factors of correlations."""

from __future__ import annotations

import math
import warnings
from typing import Any, ClassVar

from ..diagnostics import ConstraintError, ShapeError
from ..linalg import slogdet, solve_triangular
from ..tensor import FUNCTIONS, Generator, Tensor, no_grad
from ..tensor.conversion import as_tensor
from ..tensor.dtypes import finfo
from . import constraints
from .distribution import Distribution, ExponentialFamily, Shape, looking
from .draws import standard_normal
from .gamma import Beta, Chi2
from .multivariate import OfFactor, factor_of, log_diagonal, one_matrix
from .parameters import arange_like, broadcast_all, where


class Wishart(OfFactor, ExponentialFamily):
    """Positive definite matrices (..., n, n): sums of df outer products of normal vectors. df > n - 1: a number or a
    tensor; one of covariance_matrix, precision_matrix, scale_tril, (..., n, n)."""

    arg_constraints: ClassVar[Any] = {
        "covariance_matrix": constraints.positive_definite,
        "precision_matrix": constraints.positive_definite,
        "scale_tril": constraints.lower_cholesky,
        "df": constraints.greater_than(0),
    }
    support = constraints.positive_definite
    has_rsample = True
    _mean_carrier_measure = 0
    _batched = ("df", "_factor", "_dist_chi2", "covariance_matrix", "precision_matrix", "scale_tril")

    def __init__(
        self,
        df: Any,
        covariance_matrix: Tensor | None = None,
        precision_matrix: Tensor | None = None,
        scale_tril: Tensor | None = None,
        validate_args: bool | None = None,
    ) -> None:
        name, matrix = one_matrix(
            covariance_matrix=covariance_matrix, precision_matrix=precision_matrix, scale_tril=scale_tril
        )
        df = as_tensor(df, matrix.dtype).to(matrix.device)
        batch = FUNCTIONS["broadcast_shapes"](tuple(matrix.shape[:-2]), tuple(df.shape))
        self.df = df.expand(batch)
        n = matrix.shape[-1]
        matrix = matrix.expand((*batch, *matrix.shape[-2:]))
        self.__dict__[name] = matrix
        super().__init__(batch, matrix.shape[-2:], validate_args=validate_args)
        self._factor = factor_of(name, matrix)
        self._dist_chi2 = Chi2(self.df.unsqueeze(-1) - arange_like(n, matrix), validate_args=False)

    def _check_parameters(self) -> None:
        n = self._event_shape[-1]
        low = float(self.df.min())
        if not low > n - 1:
            raise ConstraintError(
                f"Value of df={self.df} expected to be greater than ndim - 1 = {n - 1}.",
                parameter="df",
                constraint=f"GreaterThan(lower_bound={n - 1})",
                value=self.df,
            )
        if low < n:
            warnings.warn(
                "Low df values detected. Singular samples are highly likely to occur for ndim - 1 < df < ndim.",
                stacklevel=4,
            )
        super()._check_parameters()

    def _df(self) -> Tensor:
        return self.df.unsqueeze(-1).unsqueeze(-1)

    @property
    def mean(self) -> Tensor:
        return self._df() * self.covariance_matrix

    @property
    def mode(self) -> Tensor:
        factor = self._df() - self._event_shape[-1] - 1
        made: Tensor = where(factor > 0, factor, math.nan) * self.covariance_matrix
        return made

    @property
    def variance(self) -> Tensor:
        v = self.covariance_matrix
        d = v.diagonal(dim1=-2, dim2=-1)
        return self._df() * (v**2 + d.unsqueeze(-1) * d.unsqueeze(-2))

    def rsample(
        self, sample_shape: Shape = (), max_try_correction: int = 10, *, generator: Generator | None = None
    ) -> Tensor:
        """Bartlett's decomposition. Samples that rounding made singular are drawn again, max_try_correction times."""
        sample = self._bartlett(sample_shape, generator)
        for attempt in range(max_try_correction if looking() else 0):
            singular = ~constraints.positive_definite.check(sample)
            if not bool(singular.any()):
                break
            if attempt == 0:
                warnings.warn("Singular sample detected.", stacklevel=2)
            again = self._bartlett(sample_shape, generator)
            sample = where(singular.unsqueeze(-1).unsqueeze(-1), again, sample)
        return sample

    def _bartlett(self, sample_shape: Shape, generator: Generator | None) -> Tensor:
        lengths = self._dist_chi2.rsample(sample_shape, generator=generator).sqrt()
        lengths = lengths.clamp(min=finfo(lengths.dtype).eps)
        below = standard_normal(self._extended_shape(sample_shape), self._factor, generator).tril(-1)
        chol = self._factor @ (below + lengths.diag_embed())
        return chol @ chol.mT

    def _half_log_determinant(self) -> Tensor:
        """Half of the logarithm of the determinant of twice the covariance."""
        return self._event_shape[-1] * math.log(2) / 2 + log_diagonal(self._factor)

    def log_prob(self, value: Tensor) -> Tensor:
        value, nu, n = self._checked(value), self.df, self._event_shape[-1]
        shape = FUNCTIONS["broadcast_shapes"](tuple(value.shape), tuple(self._factor.shape))
        factor = self._factor.expand(shape)
        inner = solve_triangular(factor, value.expand(shape), upper=False)
        trace = solve_triangular(factor.mT, inner, upper=True).diagonal(dim1=-2, dim2=-1).sum(-1)
        found = -nu * self._half_log_determinant() - (nu / 2).mvlgamma(n)
        return found + (nu - n - 1) / 2 * slogdet(value)[1] - trace / 2

    def entropy(self) -> Tensor:
        nu, n = self.df, self._event_shape[-1]
        half = nu.unsqueeze(-1) / 2 - arange_like(n, nu) / 2
        expected = half.digamma().sum(-1)
        return (n + 1) * self._half_log_determinant() + (nu / 2).mvlgamma(n) - (nu - n - 1) / 2 * expected + nu * n / 2

    @property
    def _natural_params(self) -> tuple[Tensor, ...]:
        return (-self.precision_matrix / 2, (self.df - self._event_shape[-1] - 1) / 2)

    def _log_normalizer(self, x: Tensor, y: Tensor) -> Tensor:  # type: ignore[override]
        n = self._event_shape[-1]
        half = y + (n + 1) / 2
        return half * (n * math.log(2) - slogdet(-2 * x)[1]) + half.mvlgamma(n)


class LKJCholesky(Distribution):
    """Cholesky factors (..., dim, dim) of correlations, whose density is their determinant to the power
    concentration - 1. dim >= 2; concentration > 0: a number or a tensor. Source: Lewandowski, Kurowicka, Joe 2009."""

    arg_constraints: ClassVar[Any] = {"concentration": constraints.positive}
    support = constraints.corr_cholesky
    _batched = ("concentration", "_beta")

    def __init__(self, dim: int, concentration: Any = 1.0, validate_args: bool | None = None) -> None:
        if dim < 2:
            raise ShapeError(f"Expected dim to be an integer greater than or equal to 2. Found dim={dim}.")
        self.dim = dim
        (self.concentration,) = broadcast_all(concentration)
        c = self.concentration.unsqueeze(-1)
        row = (arange_like(dim, c) - 1).clamp(min=0)  # the first row has no length below the diagonal
        self._beta = Beta(row + 0.5, c + 0.5 * (dim - 2) - 0.5 * row, validate_args=False)
        super().__init__(self.concentration.shape, (dim, dim), validate_args)

    def sample(self, sample_shape: Shape = (), *, generator: Generator | None = None) -> Tensor:
        with no_grad():
            y = self._beta.sample(sample_shape, generator=generator).unsqueeze(-1)
            below = standard_normal(self._extended_shape(sample_shape), y, generator).tril(-1)
            length = (below**2).sum(-1, True).sqrt()
            w = y.sqrt() * where(length > 0, below / where(length > 0, length, 1.0), 0.0)
            left = (1 - (w**2).sum(-1)).clamp(min=finfo(w.dtype).tiny).sqrt()
            return w + left.diag_embed()

    def log_prob(self, value: Tensor) -> Tensor:
        value, c, n = self._checked(value), self.concentration, self.dim
        diagonal = value.diagonal(dim1=-2, dim2=-1)[..., 1:]
        order = 2 * (c - 1).unsqueeze(-1) + (n - 2) - arange_like(n - 1, c)
        alpha = c + 0.5 * (n - 1)
        norm = 0.5 * (n - 1) * math.log(math.pi) + (alpha - 0.5).mvlgamma(n - 1) - alpha.lgamma() * (n - 1)
        return (order * diagonal.log()).sum(-1) - norm


__all__ = ["LKJCholesky", "Wishart"]
