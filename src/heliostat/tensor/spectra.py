"""Eigenvalues, norms of matrices, least squares, and factorizations of low rank."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from ..diagnostics import LinAlgError, ShapeError, UnsupportedError
from ..ops.rules import shown
from . import gpu_matrices
from .attempts import inv_ex
from .core import Tensor
from .dims import normal_dim
from .factor import QR, cholesky, computed, inverse, pinverse
from .factor import qr as _qr
from .factor import svd as _svd
from .function import Function
from .levels import on_host
from .linalg import matmul
from .pairs import over, widened
from .register import COMPLEX, FUNCTIONS, function, watching
from .triangles import matrices, of_vectors, solve, solve_triangular


class EigenvaluesVectors(NamedTuple):
    """Eigenvalues in ascending order, and eigenvectors as columns."""

    eigenvalues: Tensor
    eigenvectors: Tensor


class USVh(NamedTuple):
    """U, S and V^T."""

    U: Tensor
    S: Tensor
    Vh: Tensor


class LeastSquares(NamedTuple):
    """Solution, sums of squares of what is left, rank, and singular values."""

    solution: Tensor
    residuals: Tensor
    rank: Tensor
    singular_values: Tensor


class _Eigh(Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, uplo: Any) -> Any:
        values, vectors = computed(
            "eigh", lambda a: tuple(np.linalg.eigh(a, uplo)), lambda a: gpu_matrices.eigh(a, uplo == "U"), x.detach()
        )
        ctx.save_for_backward(values, vectors)
        return values, vectors

    @staticmethod
    def backward(ctx: Any, gw: Tensor, gv: Tensor) -> Any:
        """Of different eigenvalues. Source: M. Giles, Collected matrix derivative results (2008)."""
        w, v = ctx.saved_tensors
        eye = FUNCTIONS["eye"](w.shape[-1], dtype=w.dtype)
        gap = w[..., None, :] - w[..., :, None]
        # equal eigenvalues leave their vectors open: where no vector is used, none is divided by nothing
        turn = v.mT @ gv
        share = FUNCTIONS["where"]((gap == 0) & (turn == 0), 0.0, turn / (gap + eye)) * (1 - eye)
        return v @ (share + gw[..., None] * eye) @ v.mT, None


def eigh(A: Tensor, UPLO: str = "L") -> EigenvaluesVectors:
    """Eigenvalues (..., N), ascending, and eigenvectors of symmetric matrices (..., N, N), of which a triangle is read.

    The gradient of eigenvectors is that of different eigenvalues."""
    matrices("eigh", A, square=True)
    if UPLO not in ("L", "U"):
        raise ValueError(f"UPLO is 'L' or 'U', not {UPLO!r}")
    return EigenvaluesVectors(*_Eigh.apply(A, UPLO))


def eigvalsh(A: Tensor, UPLO: str = "L") -> Tensor:
    """Eigenvalues (..., N), ascending, of symmetric matrices (..., N, N)."""
    return eigh(A, UPLO).eigenvalues


def eig(A: Tensor) -> EigenvaluesVectors:
    """Eigenvalues (..., N) and eigenvectors as columns, complex, of matrices (..., N, N), in no order.

    The gradient is that of different eigenvalues, and on the cpu alone: a tensor of a GPU that requires grad raises
    UnsupportedError. Raises LinAlgError for numbers that are not finite."""
    matrices("eig", A, square=True)
    if A.requires_grad:
        made: EigenvaluesVectors = COMPLEX["linalg.eig"](widened(A))
        return made
    wide = np.complex64 if A.dtype.bits == 32 else np.complex128

    def run(a: Any) -> Any:
        try:  # pairs of floats: inside of vmap they stand for an element, as other tensors
            return tuple(p.astype(wide)[..., None].view(a.dtype) for p in np.linalg.eig(a))
        except np.linalg.LinAlgError as error:  # of numbers that are not finite
            raise LinAlgError(f"eig: {error}") from None

    return EigenvaluesVectors(*map(over, on_host(run, A, on_gpu=gpu_matrices.eig)))


def eigvals(A: Tensor) -> Tensor:
    """Eigenvalues (..., N), complex, of matrices (..., N, N), in no order."""
    return eig(A).eigenvalues


def svd(A: Tensor, full_matrices: bool = True, *, driver: str | None = None) -> USVh:
    """U, S and V^T with U diag(S) V^T = A; of (..., M, N), U (..., M, M) and V^T (..., N, N), with fewer columns and
    rows unless `full_matrices`, as gradients need it."""
    if driver is not None:
        raise UnsupportedError("svd(driver=) is for GPUs", help="leave it out")
    matrices("svd", A)
    u, s, v = _svd(A, some=not full_matrices)
    return USVh(u, s, v.mT)


def svdvals(A: Tensor, *, driver: str | None = None) -> Tensor:
    """Singular values (..., min(M, N)) in descending order."""
    return svd(A, False, driver=driver).S


_svdvals = watching("linalg.svdvals", svdvals)  # of complex matrices too


def qr(A: Tensor, mode: str = "reduced") -> QR:
    """Q and R with Q R = A; mode "complete" for a square Q, "r" for R alone, with an empty Q."""
    if mode not in ("reduced", "complete", "r"):
        raise ValueError(f"mode is 'reduced', 'complete' or 'r', not {mode!r}")
    matrices("qr", A)
    found = _qr(A, some=mode != "complete")
    return QR(A.new_zeros(0), found.R) if mode == "r" else found


def _tolerance(a: Tensor, s: Tensor, atol: Any, rtol: Any) -> Any:
    """max(atol, rtol * largest singular value), with PyTorch's defaults."""
    from .dtypes import finfo

    if rtol is None:
        given = atol is not None and (bool((atol > 0).any()) if isinstance(atol, Tensor) else atol > 0)
        rtol = 0.0 if given else max(a.shape[-2:]) * finfo(a.dtype).eps
    top = s.detach().amax(-1) if s.shape[-1] else s.detach().sum(-1)
    least = rtol * top
    return (least if atol is None else FUNCTIONS["maximum"](least, least * 0 + atol))[..., None]


def matrix_rank(A: Tensor, tol: Any = None, *, atol: Any = None, rtol: Any = None, hermitian: bool = False) -> Tensor:
    """The number of singular values above max(atol, rtol * the largest), i64 (...)."""
    s = eigvalsh(A).abs() if hermitian else svdvals(A)
    atol, rtol = (tol, 0.0) if tol is not None else (atol, rtol)
    made: Tensor = (s > _tolerance(A, s, atol, rtol)).sum(-1)
    return made


def pinv(A: Tensor, rcond: Any = None, *, atol: Any = None, rtol: Any = None, hermitian: bool = False) -> Tensor:
    """The pseudo-inverse (..., N, M); singular values below max(atol, rtol * the largest) count as 0."""
    matrices("pinv", A, square=hermitian)
    from .dtypes import finfo

    rtol = rtol if rcond is None else rcond
    if atol is None and not isinstance(rtol, Tensor):
        share = max(A.shape[-2:]) * finfo(A.dtype).eps if rtol is None else float(rtol)
        return pinverse(A, share)
    u, s, vh = svd(A, False)
    kept = s > _tolerance(A, s, atol, rtol)
    back = FUNCTIONS["where"](kept, 1 / FUNCTIONS["where"](kept, s, 1.0), 0.0)
    made: Tensor = (vh.mT * back[..., None, :]) @ u.mT
    return made


def lstsq(A: Tensor, B: Tensor, rcond: float | None = None, *, driver: str | None = None) -> LeastSquares:
    """The X (..., N, K) of the least |A X - B|, of (..., M, N) and (..., M, K), by the pseudo-inverse.

    Residuals are empty unless M > N, A has full rank, and driver is not "gelsy", the default; singular values are given
    for drivers "gelsd" and "gelss", the rank not for "gels"."""
    check_driver(driver)
    vector = of_vectors(A, B)
    b = B.unsqueeze(-1) if vector else B
    matrices("lstsq", A, b)
    x = pinv(A, rcond) @ b
    return least_squares(A, b, x, driver, matrix_rank(A, rtol=rcond), svdvals, vector)


def check_driver(driver: str | None) -> None:
    """Raises ValueError for a name that is no driver of `lstsq`."""
    if driver not in (None, "gels", "gelsy", "gelsd", "gelss"):
        raise ValueError(f"driver is 'gels', 'gelsy', 'gelsd' or 'gelss', not {driver!r}")


def least_squares(A: Any, b: Any, x: Any, driver: str | None, rank: Tensor, svdvals: Any, vector: bool) -> LeastSquares:
    """What `lstsq` returns of a solution x, of real and of complex matrices. vector: b and x are columns of one."""
    m, n = A.shape[-2:]
    nothing = rank.new_zeros(0, dtype=A.real.dtype)
    full = driver not in (None, "gelsy") and m > n and bool((rank == n).all())
    left = (A @ x - b).abs().square().sum(-2) if full else nothing
    ranks = rank.new_zeros(0) if driver == "gels" else rank
    values = svdvals(A) if driver in ("gelsd", "gelss") else nothing
    return LeastSquares(x.squeeze(-1) if vector else x, left, ranks, values)


# --- norms ------------------------------------------------------------------------------------------------------------
def vector_norm(x: Tensor, ord: float = 2, dim: Any = None, keepdim: bool = False, *, dtype: Any = None) -> Tensor:
    """(sum |x|^ord)^(1 / ord) over axes, all where none is named; of ord inf, -inf and 0 the largest, the smallest, and
    how many are not 0."""
    if isinstance(ord, str):
        raise ValueError(f"vector_norm: ord is a number, not {ord!r}; 'fro' and 'nuc' are of matrices, in two axes")
    if not x.dtype.is_float:
        raise ShapeError(f"vector_norm takes floats, found {x.dtype}", help="convert it by to()")
    made: Tensor = FUNCTIONS["norm"](x if dtype is None else x.to(dtype), ord, dim, keepdim)
    return made


def _largest(sizes: Tensor, axis: int, keepdim: bool = False) -> Tensor:
    """The largest of sizes along an axis, 0 where there is none."""
    return sizes.amax(axis, keepdim) if sizes.shape[axis] else sizes.sum(axis, keepdim)


def matrix_norm(
    A: Tensor, ord: Any = "fro", dim: Sequence[int] = (-2, -1), keepdim: bool = False, *, dtype: Any = None
) -> Tensor:
    """Norm of matrices in two axes: "fro", "nuc", or of ord 1, -1, 2, -2, inf, -inf."""
    x = A if dtype is None else A.to(dtype)
    rows, columns = (normal_dim(d, x.ndim, "matrix_norm") for d in dim)
    if rows == columns:
        raise ShapeError(f"matrix_norm: the axes {list(dim)} are one")
    if ord == "fro":
        made: Tensor = FUNCTIONS["norm"](x, 2, (rows, columns), keepdim)
        return made
    if ord in (2, -2, "nuc"):
        s = _svdvals(x.movedim((rows, columns), (-2, -1)))
        made = s.sum(-1) if ord == "nuc" else _largest(s, -1) if ord == 2 else s.amin(-1)
        for a in sorted((rows, columns)) if keepdim else ():
            made = made.unsqueeze(a)
        return made
    if ord not in (1, -1, math.inf, -math.inf):
        raise ValueError(f"matrix_norm: ord is 'fro', 'nuc', 1, -1, 2, -2, inf or -inf, not {ord!r}")
    inner, outer = (rows, columns) if abs(ord) == 1 else (columns, rows)
    sums = x.abs().sum(inner, keepdim=True)
    made = _largest(sums, outer, True) if ord > 0 else sums.amin(outer, keepdim=True)
    return made if keepdim else made.squeeze((rows, columns))


def norm(A: Tensor, ord: Any = None, dim: Any = None, keepdim: bool = False, *, dtype: Any = None) -> Tensor:
    """`matrix_norm` of two axes where ord is given, else `vector_norm`."""
    if ord is not None and ((dim is None and A.ndim == 2) or (not isinstance(dim, int | None) and len(dim) == 2)):
        return matrix_norm(A, ord, (-2, -1) if dim is None else dim, keepdim, dtype=dtype)
    if ord is not None and dim is None and A.ndim != 1:
        raise ShapeError(f"norm of ord {ord!r} takes a vector or matrix, found {shown(A.shape)}", help="name axes")
    return vector_norm(A, 2 if ord is None else ord, dim, keepdim, dtype=dtype)


def cond(A: Tensor, p: Any = None) -> Tensor:
    """Condition numbers: norm(A) norm(A^-1), infinite of singular matrices; of p None, 2 and -2 quotients of singular
    values."""
    matrices("cond", A, square=p not in (None, 2, -2))
    if not A.shape[-1] or not A.shape[-2]:
        return A.new_zeros(A.shape[:-2])
    if p in (None, 2, -2):
        s = svdvals(A)
        return s[..., -1] / s[..., 0] if p == -2 else s[..., 0] / s[..., -1]
    back, info = inv_ex(A)
    made: Tensor = FUNCTIONS["where"](info == 0, matrix_norm(A, p) * matrix_norm(back, p), math.inf)
    return made


# --- products and tensors ---------------------------------------------------------------------------------------------
def multi_dot(tensors: Sequence[Tensor]) -> Tensor:
    """The product of at least two matrices, in the order of the least work; the first and last may be vectors."""
    if len(tensors) < 2:
        raise ShapeError("multi_dot takes at least two tensors")
    found = list(tensors)
    first, last = found[0].ndim == 1, found[-1].ndim == 1
    found[0] = found[0].unsqueeze(0) if first else found[0]
    found[-1] = found[-1].unsqueeze(-1) if last else found[-1]
    if any(x.ndim != 2 for x in found):
        raise ShapeError("multi_dot takes matrices", help="the first and last may be vectors")
    sizes = [found[0].shape[0], *(x.shape[1] for x in found)]
    best: dict[tuple[int, int], tuple[int, Any]] = {(i, i): (0, x) for i, x in enumerate(found)}
    for width in range(1, len(found)):
        for i in range(len(found) - width):
            j = i + width
            work = [
                (best[i, k][0] + best[k + 1, j][0] + sizes[i] * sizes[k + 1] * sizes[j + 1], k) for k in range(i, j)
            ]
            cost, k = min(work)
            best[i, j] = (cost, k)

    def product(i: int, j: int) -> Tensor:
        if i == j:
            return found[i]
        k = best[i, j][1]
        return matmul(product(i, k), product(k + 1, j))

    made = product(0, len(found) - 1)
    made = made.squeeze(0) if first else made
    return made.squeeze(-1) if last else made


def tensorinv(A: Tensor, ind: int = 2) -> Tensor:
    """The inverse of A as a matrix between its first `ind` axes and the others."""
    rows, columns = math.prod(A.shape[:ind]), math.prod(A.shape[ind:])
    if rows != columns:
        raise ShapeError(f"tensorinv: {shown(A.shape)} is no square matrix between {ind} axes and the others")
    return inverse(A.reshape(rows, columns)).reshape(*A.shape[ind:], *A.shape[:ind])


def tensorsolve(A: Tensor, B: Tensor, dims: Sequence[int] | None = None) -> Tensor:
    """The X with tensordot(A, X, X.ndim) = B; `dims` of A are moved to its end first."""
    if dims is not None:
        A = A.movedim(tuple(dims), tuple(range(A.ndim - len(dims), A.ndim)))
    shape = A.shape[B.ndim :]
    if math.prod(shape) != B.numel():
        raise ShapeError(f"tensorsolve: {shown(A.shape)} and {shown(B.shape)} do not fit")
    return solve(A.reshape(B.numel(), B.numel()), B.reshape(-1)).reshape(shape)


def vecdot(x: Tensor, y: Tensor, *, dim: int = -1) -> Tensor:
    """Sums of products of elements over an axis."""
    return (x * y).sum(dim)


def vander(x: Tensor, N: int | None = None) -> Tensor:
    """Powers 0 .. N - 1 of elements, along a new last axis, (..., N)."""
    x = x if x.ndim else x.reshape(1)
    count = x.shape[-1] if N is None else N
    ones = FUNCTIONS["ones_like"](x.detach()).unsqueeze(-1)
    steps = [ones, *itertools.repeat(x.unsqueeze(-1), max(count - 1, 0))][:count]
    made: Tensor = FUNCTIONS["cat"](steps, -1).cumprod(-1)
    return made


# --- low rank ---------------------------------------------------------------------------------------------------------
def _range(A: Tensor, q: int, niter: int) -> Tensor:
    """Columns that span nearly what A's largest singular vectors do. Source: arXiv 0909.4061, algorithm 4.4."""
    with_noise = A @ FUNCTIONS["randn"](*A.shape[:-2], A.shape[-1], q, dtype=A.dtype)
    basis = _qr(with_noise).Q
    for _ in range(niter):
        basis = _qr(A.mT @ basis).Q
        basis = _qr(A @ basis).Q
    return basis


@function(method=False)
def svd_lowrank(A: Tensor, q: int = 6, niter: int = 2, M: Tensor | None = None) -> Any:
    """U (..., M, q), S and V (..., N, q) with U diag(S) V^T nearly A, or A - M, of rank q; it draws random numbers."""
    from .factor import SVD

    matrices("svd_lowrank", A)
    x = A if M is None else A - M
    if not 0 <= q <= min(x.shape[-2:]):
        raise ValueError(f"svd_lowrank: q is 0 to {min(x.shape[-2:])} here, not {q}")
    wide = x.shape[-2] < x.shape[-1]
    x = x.mT if wide else x
    basis = _range(x, q, niter)
    u, s, v = _svd(basis.mT @ x)
    u = basis @ u
    return SVD(v, s, u) if wide else SVD(u, s, v)


@function(method=False)
def pca_lowrank(A: Tensor, q: int | None = None, center: bool = True, niter: int = 2) -> Any:
    """`svd_lowrank` of A with the means of its columns taken away where `center`; q is 6 at most by default."""
    rank = min(6, *A.shape[-2:]) if q is None else q
    return svd_lowrank(A - A.mean(-2, keepdim=True) if center else A, rank, niter)


@function(method=False)
def lobpcg(
    A: Tensor,
    k: int | None = None,
    B: Tensor | None = None,
    X: Tensor | None = None,
    n: int | None = None,
    iK: Tensor | None = None,
    niter: int | None = None,
    tol: float | None = None,
    largest: bool = True,
    method: str | None = None,
    tracker: Any = None,
    ortho_iparams: Any = None,
    ortho_fparams: Any = None,
    ortho_bparams: Any = None,
) -> tuple[Tensor, Tensor]:
    """The k largest (or smallest) eigenvalues of A x = lambda B x, (..., k), with eigenvectors (..., M, k).

    A and B are dense and symmetric, B positive. All eigenvalues are computed, so that first guesses, preconditioners
    and limits (X, iK, niter, tol, method) have no influence; `tracker` and the ortho parameters are refused."""
    if tracker is not None or ortho_iparams or ortho_fparams or ortho_bparams:
        raise UnsupportedError("lobpcg takes no tracker and no ortho parameters", help="leave them out")
    if method not in (None, "basic", "ortho"):
        raise ValueError(f"lobpcg: method is 'basic' or 'ortho', not {method!r}")
    matrices("lobpcg", A, square=True)
    count = k if k is not None else X.shape[-1] if X is not None else n if n is not None else 1
    if 3 * count > A.shape[-1]:
        raise ValueError(f"lobpcg: {A.shape[-1]} rows are fewer than 3 times the {count} eigenvalues")
    if B is None:
        w, v = eigh(A)
    else:
        low = cholesky(B)
        inner = solve_triangular(low, solve_triangular(low, A, upper=False).mT, upper=False)
        w, v = eigh((inner + inner.mT) / 2)
        v = solve_triangular(low.mT, v, upper=True)
    if largest:
        return w[..., -count:].flip(-1), v[..., -count:].flip(-1)
    return w[..., :count], v[..., :count]
