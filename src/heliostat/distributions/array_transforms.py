"""Transforms of vectors and matrices, and of the parts of an axis."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from ..diagnostics import ShapeError
from ..linalg import cholesky
from ..nn.functional import logsigmoid, softplus
from ..tensor import FUNCTIONS, Size, Tensor
from ..tensor.dtypes import finfo
from . import constraints
from .parameters import (
    arange_like,
    eye_like,
    lazy_property,
    sum_rightmost,
    tril_matrix_to_vec,
    vec_to_tril_matrix,
)
from .scalar_transforms import clipped_sigmoid
from .transform import PlainTransform, Transform, at_least

_cat, _stack, _pad = FUNCTIONS["cat"], FUNCTIONS["stack"], FUNCTIONS["pad"]


class SoftmaxTransform(PlainTransform):
    """Vectors to the simplex by exp and a norm, which is not bijective."""

    domain = constraints.real_vector
    codomain = constraints.simplex

    def _call(self, x: Tensor) -> Tensor:
        return x.softmax(-1)

    def _inverse(self, y: Tensor) -> Tensor:
        return y.log()

    def forward_shape(self, shape: Any) -> Any:
        at_least(shape, 1)
        return shape

    inverse_shape = forward_shape


class StickBreakingTransform(PlainTransform):
    """Vectors (..., K) to the simplex (..., K + 1): each share is taken of what the ones before left."""

    domain = constraints.real_vector
    codomain = constraints.simplex
    bijective = True

    @staticmethod
    def _offset(x: Tensor) -> Tensor:
        n = x.shape[-1]
        return (n - arange_like(n, x)).log()

    def _call(self, x: Tensor) -> Tensor:
        z = clipped_sigmoid(x - self._offset(x))
        made: Tensor = _pad(z, [0, 1], value=1.0) * _pad((1 - z).cumprod(-1), [1, 0], value=1.0)
        return made

    def _inverse(self, y: Tensor) -> Tensor:
        shares = y[..., :-1]
        left = (1 - shares.cumsum(-1)).clamp(min=finfo(y.dtype).tiny)  # rounding may make it negative
        return shares.log() - left.log() + self._offset(shares)

    def log_abs_det_jacobian(self, x: Tensor, y: Tensor) -> Tensor:
        x = x - self._offset(x)
        return (-x + logsigmoid(x) + y[..., :-1].log()).sum(-1)

    def forward_shape(self, shape: Any) -> Any:
        at_least(shape, 1)
        return Size((*shape[:-1], shape[-1] + 1))

    def inverse_shape(self, shape: Any) -> Any:
        at_least(shape, 1)
        return Size((*shape[:-1], shape[-1] - 1))


class CorrCholeskyTransform(PlainTransform):
    """Vectors (..., D (D - 1) / 2) to Cholesky factors of correlations (..., D, D): tanh of each number, then for each
    row a share of the length that the ones before left, with sign. The determinant is that of the triangle's elements
    below the diagonal."""

    domain = constraints.real_vector
    codomain = constraints.corr_cholesky
    bijective = True

    def _call(self, x: Tensor) -> Tensor:
        eps = finfo(x.dtype).eps
        r = vec_to_tril_matrix(x.tanh().clamp(min=-1 + eps, max=1 - eps), diag=-1)
        left = (1 - r * r).sqrt().cumprod(-1)
        made: Tensor = (r + eye_like(r.shape[-1], r)) * _pad(left[..., :-1], [1, 0], value=1.0)
        return made

    def _inverse(self, y: Tensor) -> Tensor:
        left = _pad((1 - (y * y).cumsum(-1))[..., :-1], [1, 0], value=1.0)
        t = tril_matrix_to_vec(y, diag=-1) / tril_matrix_to_vec(left, diag=-1).sqrt()
        return (t.log1p() - (-t).log1p()) / 2

    def log_abs_det_jacobian(self, x: Tensor, y: Tensor) -> Tensor:
        left = tril_matrix_to_vec(1 - (y * y).cumsum(-1), diag=-2)
        of_tanh = -2 * (x + softplus(-2 * x) - math.log(2.0)).sum(-1)
        return 0.5 * left.log().sum(-1) + of_tanh

    def forward_shape(self, shape: Any) -> Any:
        at_least(shape, 1)
        n = shape[-1]
        d = round((0.25 + 2 * n) ** 0.5 + 0.5)
        if d * (d - 1) // 2 != n:
            raise ShapeError(f"Input is not a flattened lower-diagonal number: {n}")
        return Size((*shape[:-1], d, d))

    def inverse_shape(self, shape: Any) -> Any:
        at_least(shape, 2)
        if shape[-2] != shape[-1]:
            raise ShapeError(f"Input is not square: {list(shape)}")
        d = shape[-1]
        return Size((*shape[:-2], d * (d - 1) // 2))


class LowerCholeskyTransform(PlainTransform):
    """Matrices to lower triangles with positive diagonals, by exp of the diagonal."""

    domain = constraints.independent(constraints.real, 2)
    codomain = constraints.lower_cholesky

    def _call(self, x: Tensor) -> Tensor:
        return x.tril(-1) + x.diagonal(dim1=-2, dim2=-1).exp().diag_embed()

    def _inverse(self, y: Tensor) -> Tensor:
        return y.tril(-1) + y.diagonal(dim1=-2, dim2=-1).log().diag_embed()


class PositiveDefiniteTransform(PlainTransform):
    """Matrices to positive definite ones, by a Cholesky factor."""

    domain = constraints.independent(constraints.real, 2)
    codomain = constraints.positive_definite

    def _call(self, x: Tensor) -> Tensor:
        factor = LowerCholeskyTransform()(x)
        return factor @ factor.mT

    def _inverse(self, y: Tensor) -> Tensor:
        return LowerCholeskyTransform().inv(cholesky(y))


# --- of parts ---------------------------------------------------------------------------------------------------------
class _OfParts(Transform):
    """A transform for each part of an axis."""

    transforms: list[Transform]
    dim: int

    def _take(self, name: str, tseq: Sequence[Any], cache_size: int) -> list[Transform]:
        if not all(isinstance(t, Transform) for t in tseq):
            raise TypeError(f"{name}: all elements of tseq must be Transform instances")
        return [t.with_cache(cache_size) for t in tseq] if cache_size else list(tseq)

    def _fits(self, x: Tensor, size: int) -> None:
        if not -x.ndim <= self.dim < x.ndim:
            raise ShapeError(f"dim {self.dim} out of range for tensor with {x.ndim} dimensions")
        if x.shape[self.dim] != size:
            raise ShapeError(f"{type(self).__name__}: axis {self.dim} has the size {x.shape[self.dim]}, not {size}")

    @property
    def bijective(self) -> bool:
        return all(t.bijective for t in self.transforms)


class CatTransform(_OfParts):
    """A transform for each piece of an axis, of the given lengths, as torch.cat joins them."""

    def __init__(
        self, tseq: Sequence[Transform], dim: int = 0, lengths: Sequence[int] | None = None, cache_size: int = 0
    ) -> None:
        super().__init__(cache_size=cache_size)
        self.transforms = self._take("CatTransform", tseq, cache_size)
        self.lengths = [1] * len(self.transforms) if lengths is None else list(lengths)
        if len(self.lengths) != len(self.transforms):
            raise ShapeError(f"lengths ({len(self.lengths)}) must match transforms ({len(self.transforms)})")
        self.dim = dim

    event_dim = lazy_property(lambda self: max(t.event_dim for t in self.transforms))
    length = lazy_property(lambda self: sum(self.lengths))

    def with_cache(self, cache_size: int = 1) -> Transform:
        if self._cache_size == cache_size:
            return self
        return CatTransform(self.transforms, self.dim, self.lengths, cache_size)

    def _pieces(self, x: Tensor) -> list[Tensor]:
        self._fits(x, self.length)
        return [x.narrow(self.dim, sum(self.lengths[:n]), length) for n, length in enumerate(self.lengths)]

    def _call(self, x: Tensor) -> Tensor:
        made: Tensor = _cat([t(p) for t, p in zip(self.transforms, self._pieces(x), strict=True)], self.dim)
        return made

    def _inverse(self, y: Tensor) -> Tensor:
        made: Tensor = _cat([t.inv(p) for t, p in zip(self.transforms, self._pieces(y), strict=True)], self.dim)
        return made

    def log_abs_det_jacobian(self, x: Tensor, y: Tensor) -> Tensor:
        found = []
        for t, a, b in zip(self.transforms, self._pieces(x), self._pieces(y), strict=True):
            found.append(sum_rightmost(t.log_abs_det_jacobian(a, b), self.event_dim - t.event_dim))
        dim = (self.dim if self.dim < 0 else self.dim - x.ndim) + self.event_dim
        made: Tensor = _cat(found, dim) if dim < 0 else sum(found[1:], found[0])
        return made

    @constraints.dependent_property
    def domain(self) -> Any:
        return constraints.cat([t.domain for t in self.transforms], self.dim, self.lengths)

    @constraints.dependent_property
    def codomain(self) -> Any:
        return constraints.cat([t.codomain for t in self.transforms], self.dim, self.lengths)


class StackTransform(_OfParts):
    """A transform for each slice of an axis, as torch.stack joins them."""

    def __init__(self, tseq: Sequence[Transform], dim: int = 0, cache_size: int = 0) -> None:
        super().__init__(cache_size=cache_size)
        self.transforms = self._take("StackTransform", tseq, cache_size)
        self.dim = dim

    def with_cache(self, cache_size: int = 1) -> Transform:
        return self if self._cache_size == cache_size else StackTransform(self.transforms, self.dim, cache_size)

    def _slices(self, x: Tensor) -> Sequence[Tensor]:
        self._fits(x, len(self.transforms))
        slices: Sequence[Tensor] = x.unbind(self.dim)
        return slices

    def _call(self, x: Tensor) -> Tensor:
        made: Tensor = _stack([t(p) for t, p in zip(self.transforms, self._slices(x), strict=True)], self.dim)
        return made

    def _inverse(self, y: Tensor) -> Tensor:
        made: Tensor = _stack([t.inv(p) for t, p in zip(self.transforms, self._slices(y), strict=True)], self.dim)
        return made

    def log_abs_det_jacobian(self, x: Tensor, y: Tensor) -> Tensor:
        parts = zip(self.transforms, self._slices(x), self._slices(y), strict=True)
        made: Tensor = _stack([t.log_abs_det_jacobian(a, b) for t, a, b in parts], self.dim)
        return made

    @constraints.dependent_property
    def domain(self) -> Any:
        return constraints.stack([t.domain for t in self.transforms], self.dim)

    @constraints.dependent_property
    def codomain(self) -> Any:
        return constraints.stack([t.codomain for t in self.transforms], self.dim)
