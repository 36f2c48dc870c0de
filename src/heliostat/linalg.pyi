"""Linear algebra, with torch.linalg's names: products, systems, factorizations, eigenvalues and norms."""
# Written by `python -m heliostat.stubs` from the functions themselves; changes belong there.

from collections.abc import Sequence
from heliostat.tensor.attempts import FactorInfo
from heliostat.tensor.attempts import ResultInfo
from heliostat.tensor.attempts import WithInfo
from heliostat.tensor.core import Tensor
from heliostat.tensor.factor import QR
from heliostat.tensor.factor import SignLog
from heliostat.tensor.indefinite import LDL
from heliostat.tensor.indefinite import LDLInfo
from heliostat.tensor.spectra import EigenvaluesVectors
from heliostat.tensor.spectra import LeastSquares
from heliostat.tensor.spectra import USVh
from heliostat.tensor.triangles import Factors
from heliostat.tensor.triangles import FactorsInfo
from heliostat.tensor.triangles import LU
from typing import Any

from heliostat.diagnostics import LinAlgError as LinAlgError

def cholesky(A: Tensor, *, upper: bool = False) -> Tensor:
    """L with L L^T = A, lower triangular, of symmetric positive matrices (..., N, N); L^T if `upper`."""
def cholesky_ex(A: Tensor, *, upper: bool = False, check_errors: bool = False) -> FactorInfo:
    """Triangles of `cholesky`, NaN where there is none, and i32 (...): 0, or the order of the first leading minor that is not positive."""
def cond(A: Tensor, p: Any = None) -> Tensor:
    """Condition numbers: norm(A) norm(A^-1), infinite of singular matrices; of p None, 2 and -2 quotients of singular values."""
def cross(input: Tensor, other: Tensor, *, dim: int = -1, axis: int = -1) -> Tensor:
    """Cross products of vectors of 3 elements along an axis; other axes are broadcast."""
def det(input: Tensor) -> Tensor:
    """Determinants of square matrices (..., N, N)."""
def diagonal(A: Tensor, *, offset: int = 0, dim1: int = -2, dim2: int = -1) -> Tensor:
    """Diagonals of matrices, (..., min(M, N)) for offset 0."""
def dot(input: Tensor, tensor: Tensor, *, out: Tensor | None = None) -> Tensor:
    """Product of two vectors."""
def eig(A: Tensor) -> EigenvaluesVectors:
    """Eigenvalues (..., N) and eigenvectors as columns, complex, of matrices (..., N, N), in no order."""
def eigh(A: Tensor, UPLO: str = 'L') -> EigenvaluesVectors:
    """Eigenvalues (..., N), ascending, and eigenvectors of symmetric matrices (..., N, N), of which a triangle is read."""
def eigvals(A: Tensor) -> Tensor:
    """Eigenvalues (..., N), complex, of matrices (..., N, N), in no order."""
def eigvalsh(A: Tensor, UPLO: str = 'L') -> Tensor:
    """Eigenvalues (..., N), ascending, of symmetric matrices (..., N, N)."""
def householder_product(input: Tensor, tau: Tensor, *, out: Tensor | None = None) -> Tensor:
    """The first N columns (..., M, N) of a product of reflections: input (..., M, N), M >= N, tau (..., K), K <= N."""
def inner(input: Tensor, other: Tensor, *, out: Tensor | None = None) -> Tensor:
    """Sums of products over the last axes of both."""
def inv(input: Tensor, *, out: Tensor | None = None) -> Tensor:
    """The inverse of square matrices (..., N, N)."""
def inv_ex(A: Tensor, *, check_errors: bool = False) -> WithInfo:
    """Inverses of (..., N, N), NaN of singular matrices, and i32 (...): 0, or the number of the pivot that is 0."""
def ldl_factor(A: Tensor, *, hermitian: bool = False, out: tuple[Tensor, ...] | list[Tensor] | None = None) -> LDL:
    """L, D and pivots of `ldl_factor_ex`."""
def ldl_factor_ex(A: Tensor, *, hermitian: bool = False, check_errors: bool = False, out: tuple[Tensor, ...] | list[Tensor] | None = None) -> LDLInfo:
    """L, D, pivots i32 (..., N) and info i32 (...) of symmetric matrices (..., N, N), of which the lower triangle is read."""
def ldl_solve(LD: Tensor, pivots: Tensor, B: Tensor, *, hermitian: bool = False, out: Tensor | None = None) -> Tensor:
    """The X with A X = B (..., N, K), of A's `ldl_factor`; with a gradient for B."""
def lstsq(A: Tensor, B: Tensor, rcond: float | None = None, *, driver: str | None = None) -> LeastSquares:
    """The X (..., N, K) of the least |A X - B|, of (..., M, N) and (..., M, K), by the pseudo-inverse."""
def lu(A: Tensor, *, pivot: bool = True) -> LU:
    """P, L and U with P L U = A, of (..., M, N)."""
def lu_factor(A: Tensor, *, pivot: bool = True) -> Factors:
    """LU factors of (..., M, N) in one matrix, with pivots (..., min(M, N)) i32."""
def lu_factor_ex(A: Tensor, *, pivot: bool = True, check_errors: bool = False) -> FactorsInfo:
    """LU factors of (..., M, N) with pivots (..., min(M, N)) i32, and where the first pivot of 0 is."""
def lu_solve(LU_: Tensor, pivots: Tensor, B: Tensor, *, left: bool = True, adjoint: bool = False) -> Tensor:
    """The X with A X = B of A's factors, X A = B unless `left`, and with A^T for A with `adjoint`."""
def matmul(input: Tensor, other: Tensor, *, out: Tensor | None = None) -> Tensor:
    """Matrix product over the last two axes, leading axes broadcast; vectors count as rows and columns."""
def matrix_exp(input: Tensor) -> Tensor:
    """e to the power of square matrices (..., N, N), by scaling and squaring: a Taylor polynomial of x / 2^s, squared s times (Higham, Functions of Matrices, 2008, chapter 10)."""
def matrix_norm(A: Tensor, ord: Any = 'fro', dim: Sequence[int] = (-2, -1), keepdim: bool = False, *, dtype: Any = None, axis: Sequence[int] = (-2, -1), keepdims: bool = False) -> Tensor:
    """Norm of matrices in two axes: 'fro', 'nuc', or of ord 1, -1, 2, -2, inf, -inf."""
def matrix_power(input: Tensor, n: int, *, out: Tensor | None = None) -> Tensor:
    """Square matrices (..., N, N) to a whole power, of the inverse below 0."""
def matrix_rank(A: Tensor, tol: Any = None, *, atol: Any = None, rtol: Any = None, hermitian: bool = False) -> Tensor:
    """The number of singular values above max(atol, rtol * the largest), i64 (...)."""
def multi_dot(tensors: Sequence[Tensor], *, out: Tensor | None = None) -> Tensor:
    """The product of at least two matrices, in the order of the least work; the first and last may be vectors."""
def norm(A: Tensor, ord: Any = None, dim: Any = None, keepdim: bool = False, *, dtype: Any = None, axis: Any = None, keepdims: bool = False) -> Tensor:
    """`matrix_norm` of two axes where ord is given, else `vector_norm`."""
def outer(input: Tensor, vec2: Tensor, *, out: Tensor | None = None) -> Tensor:
    """All products of two vectors' elements."""
def pinv(A: Tensor, rcond: Any = None, *, atol: Any = None, rtol: Any = None, hermitian: bool = False) -> Tensor:
    """The pseudo-inverse (..., N, M); singular values below max(atol, rtol * the largest) count as 0."""
def qr(A: Tensor, mode: str = 'reduced') -> QR:
    """Q and R with Q R = A; mode 'complete' for a square Q, 'r' for R alone, with an empty Q."""
def slogdet(input: Tensor) -> SignLog:
    """Sign and logarithm of the size of determinants of (..., N, N)."""
def solve(A: Tensor, B: Tensor, *, left: bool = True) -> Tensor:
    """The X with A X = B, or X A = B unless `left`."""
def solve_ex(A: Tensor, B: Tensor, *, left: bool = True, check_errors: bool = False) -> ResultInfo:
    """The solutions of `solve`, NaN where A is singular, and i32 (...): 0, or the number of the pivot that is 0."""
def solve_triangular(A: Tensor, B: Tensor, *, upper: bool, left: bool = True, unitriangular: bool = False) -> Tensor:
    """The X with A X = B, or X A = B unless `left`, of the triangle of A (..., N, N) alone; B: (..., N, K)."""
def svd(A: Tensor, full_matrices: bool = True, *, driver: str | None = None) -> USVh:
    """U, S and V^T with U diag(S) V^T = A; of (..., M, N), U (..., M, M) and V^T (..., N, N), with fewer columns and rows unless `full_matrices`, as gradients need it."""
def svdvals(A: Tensor, *, driver: str | None = None) -> Tensor:
    """Singular values (..., min(M, N)) in descending order."""
def tensorinv(A: Tensor, ind: int = 2, *, out: Tensor | None = None) -> Tensor:
    """The inverse of A as a matrix between its first `ind` axes and the others."""
def tensorsolve(A: Tensor, B: Tensor, dims: Sequence[int] | None = None, *, out: Tensor | None = None) -> Tensor:
    """The X with tensordot(A, X, X.ndim) = B; `dims` of A are moved to its end first."""
def vander(x: Tensor, N: int | None = None) -> Tensor:
    """Powers 0 .."""
def vecdot(x: Tensor, y: Tensor, *, dim: int = -1, axis: int = -1) -> Tensor:
    """Sums of products of elements over an axis."""
def vector_norm(x: Tensor, ord: float = 2, dim: Any = None, keepdim: bool = False, *, dtype: Any = None, axis: Any = None, keepdims: bool = False) -> Tensor:
    """(sum |x|^ord)^(1 / ord) over axes, all where none is named; of ord inf, -inf and 0 the largest, the smallest, and how many are not 0."""

__all__ = ['LinAlgError', 'cholesky', 'cholesky_ex', 'cond', 'cross', 'det', 'diagonal', 'dot', 'eig', 'eigh', 'eigvals', 'eigvalsh', 'householder_product', 'inner', 'inv', 'inv_ex', 'ldl_factor', 'ldl_factor_ex', 'ldl_solve', 'lstsq', 'lu', 'lu_factor', 'lu_factor_ex', 'lu_solve', 'matmul', 'matrix_exp', 'matrix_norm', 'matrix_power', 'matrix_rank', 'multi_dot', 'norm', 'outer', 'pinv', 'qr', 'slogdet', 'solve', 'solve_ex', 'solve_triangular', 'svd', 'svdvals', 'tensorinv', 'tensorsolve', 'vander', 'vecdot', 'vector_norm']
