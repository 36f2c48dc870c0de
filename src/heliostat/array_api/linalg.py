"""The extension `linalg` of the standard."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from .. import linalg as _linalg
from ..ir.types import DType
from ..tensor import FUNCTIONS, Tensor
from ..tensor.factor import QR, SignLog
from ..tensor.spectra import EigenvaluesVectors, USVh
from .dtypes import promoted
from .reduce import sum as _sum
from .shape import matmul, matrix_transpose, tensordot, vecdot

__all__ = [
    "cholesky", "cross", "det", "diagonal", "eig", "eigh", "eigvals", "eigvalsh", "inv", "matmul", "matrix_norm",
    "matrix_power", "matrix_rank", "matrix_transpose", "outer", "pinv", "qr", "slogdet", "solve", "svd", "svdvals",
    "tensordot", "trace", "vecdot", "vector_norm",
]  # fmt: skip


def cholesky(x: Tensor, /, *, upper: Any = False) -> Tensor:
    """The triangle L with L L^T = x, or L^T."""
    return _linalg.cholesky(x, upper=upper)


def cross(x1: Tensor, x2: Tensor, /, *, axis: int = -1) -> Tensor:
    """Cross products of vectors of 3 elements."""
    a, b = promoted(x1, x2)
    return _linalg.cross(a, b, dim=axis)


def det(x: Tensor, /) -> Tensor:
    """Determinants."""
    made: Tensor = _linalg.det(x)
    return made


def diagonal(x: Tensor, /, *, offset: int = 0) -> Tensor:
    """Diagonals of the last two axes."""
    return _linalg.diagonal(x, offset=offset)


def eig(x: Tensor, /) -> EigenvaluesVectors:
    """Eigenvalues and eigenvectors, complex, of square matrices, in no order."""
    return _linalg.eig(x)


def eigh(x: Tensor, /) -> EigenvaluesVectors:
    """Eigenvalues in ascending order, and eigenvectors, of symmetric matrices."""
    return _linalg.eigh(x)


def eigvals(x: Tensor, /) -> Tensor:
    """Eigenvalues, complex, of square matrices, in no order."""
    return _linalg.eigvals(x)


def eigvalsh(x: Tensor, /) -> Tensor:
    """Eigenvalues, in ascending order, of symmetric matrices."""
    return _linalg.eigvalsh(x)


def inv(x: Tensor, /) -> Tensor:
    """Inverses."""
    made: Tensor = _linalg.inv(x)
    return made


def matrix_norm(x: Tensor, /, *, keepdims: Any = False, ord: Any = "fro") -> Tensor:
    """Norms of matrices."""
    return _linalg.matrix_norm(x, ord, keepdim=keepdims)


def matrix_power(x: Tensor, n: int, /) -> Tensor:
    """Square matrices to a whole power."""
    made: Tensor = _linalg.matrix_power(x, n)
    return made.expand(x.shape) if n == 0 else made


def matrix_rank(x: Tensor, /, *, rtol: Any = None) -> Tensor:
    """The number of singular values above rtol times the largest."""
    return _linalg.matrix_rank(x, rtol=rtol[..., None] if isinstance(rtol, Tensor) and rtol.ndim else rtol)


def outer(x1: Tensor, x2: Tensor, /) -> Tensor:
    """All products of two vectors' elements."""
    made: Tensor = _linalg.outer(*promoted(x1, x2))
    return made


def pinv(x: Tensor, /, *, rtol: Any = None) -> Tensor:
    """Pseudo-inverses."""
    return _linalg.pinv(x, rtol=rtol)


def qr(x: Tensor, /, *, mode: str = "reduced") -> QR:
    """Q orthogonal and R upper triangular."""
    return _linalg.qr(x, mode)


def slogdet(x: Tensor, /) -> SignLog:
    """Signs of determinants, and logarithms of their sizes."""
    made: SignLog = _linalg.slogdet(x)
    return made


def solve(x1: Tensor, x2: Tensor, /) -> Tensor:
    """The y with x1 y = x2, which is a vector only if it has one axis."""
    a, b = promoted(x1, x2)
    if b.ndim == 1:
        return _linalg.solve(a, b.unsqueeze(-1).expand(*a.shape[:-1], 1)).squeeze(-1)
    lead = FUNCTIONS["broadcast_shapes"](a.shape[:-2], b.shape[:-2])
    return _linalg.solve(a, b.expand(*lead, *b.shape[-2:]))


def svd(x: Tensor, /, *, full_matrices: Any = True) -> USVh:
    """Singular values and vectors."""
    return _linalg.svd(x, full_matrices)


def svdvals(x: Tensor, /) -> Tensor:
    """Singular values in descending order."""
    return _linalg.svdvals(x)


def trace(x: Tensor, /, *, offset: int = 0, dtype: DType | None = None) -> Tensor:
    """Sums of diagonals of the last two axes."""
    return _sum(_linalg.diagonal(x, offset=offset), axis=-1, dtype=dtype)


def vector_norm(
    x: Tensor, /, *, axis: int | Sequence[int] | None = None, keepdims: Any = False, ord: float = 2
) -> Tensor:
    """Norms of vectors along axes, all where None."""
    size: Tensor = FUNCTIONS["abs"](x)
    if axis == ():
        return size
    return _linalg.vector_norm(size, ord, axis, keepdims)
