"""Linear systems, LU factors, and what is made of both, with gradients that are graph: NumPy on the cpu, cuSOLVER on
GPUs."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np

from ..diagnostics import DTypeError, IndexOutOfRangeError, LinAlgError, ShapeError, UnsupportedError
from ..ir.types import f32, f64
from ..ops.rules import shown
from . import gpu_matrices
from .conversion import convert
from .core import Tensor
from .factor import computed, inverse, unit
from .function import Function
from .levels import on_host
from .register import FUNCTIONS, function


class LU(NamedTuple):
    """P, L and U."""

    P: Tensor
    L: Tensor
    U: Tensor


class Factors(NamedTuple):
    """L without its diagonal of ones and U in one matrix; for each row the one that it was exchanged with, from 1."""

    LU: Tensor
    pivots: Tensor


class FactorsInfo(NamedTuple):
    """As `Factors`, and the number of the first pivot that is 0, from 1; 0 where there is none."""

    LU: Tensor
    pivots: Tensor
    info: Tensor


class TriangularSolution(NamedTuple):
    """A solution, and a copy of the triangle."""

    solution: Tensor
    cloned_coefficient: Tensor


def matrices(name: str, *tensors: Tensor, square: bool = False) -> None:
    """Raises ShapeError and DTypeError unless all are stacks of (square) matrices of one of f32 and f64."""
    for x in tensors:
        if x.ndim < 2 or (square and x.shape[-1] != x.shape[-2]):
            raise ShapeError(f"{name} takes {'square ' * square}matrices, found a tensor of shape {shown(x.shape)}")
        if x.dtype not in (f32, f64) or x.dtype != tensors[0].dtype:
            found = " and ".join(str(t.dtype) for t in tensors)
            raise DTypeError(f"{name} takes float32 or float64, one of both, found {found}", help="convert it by to()")


# --- systems ----------------------------------------------------------------------------------------------------------
class _Solve(Function):
    @staticmethod
    def forward(ctx: Any, a: Tensor, b: Tensor) -> Tensor:
        y: Tensor = computed("solve", np.linalg.solve, gpu_matrices.solve, a.detach(), b.detach())
        ctx.save_for_backward(a, y)
        return y

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> Any:
        a, y = ctx.saved_tensors
        gb = inverse(a).mT @ g  # not on the host: in forward mode g is a stand-in
        return (-(gb @ y.mT)).sum_to_size(a.shape), gb


class _SolveTriangle(Function):
    @staticmethod
    def forward(ctx: Any, a: Tensor, b: Tensor, upper: bool) -> Tensor:
        y: Tensor = computed(
            "solve_triangular",
            lambda p, q: substituted(p, q, upper),
            lambda p, q: gpu_matrices.solve_triangular(p, q, upper),
            a.detach(),
            b.detach(),
        )
        ctx.save_for_backward(a, y)
        ctx.upper = upper
        return y

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> Any:
        a, y = ctx.saved_tensors
        back = _SolveTriangle.apply(a, unit(a).expand(*a.shape), ctx.upper)
        gb = back.mT @ g
        ga = -(gb @ y.mT)
        return (ga.triu() if ctx.upper else ga.tril()), gb, None


def substituted(a: Any, b: Any, upper: bool) -> Any:
    """The y with a y = b of a triangle a, one row after the other; a pivot of 0 gives infinities."""
    y = np.array(np.broadcast_to(b, (*np.broadcast_shapes(a.shape[:-2], b.shape[:-2]), *b.shape[-2:])))
    n = a.shape[-1]
    with np.errstate(all="ignore"):
        for i in reversed(range(n)) if upper else range(n):
            done = slice(i + 1, n) if upper else slice(0, i)
            y[..., i, :] -= (a[..., i : i + 1, done] @ y[..., done, :])[..., 0, :]
            y[..., i, :] /= a[..., i, i, None]
    return y


def _stacks(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    """Both with the leading axes that they have together."""
    lead = tuple(FUNCTIONS["broadcast_shapes"](a.shape[:-2], b.shape[:-2]))
    return tuple(x if tuple(x.shape[:-2]) == lead else x.expand(*lead, *x.shape[-2:]) for x in (a, b))  # type: ignore[return-value]


def of_vectors(A: Any, B: Any) -> bool:
    """Whether the right sides of A X = B are vectors, as PyTorch tells them: one, or a batch as large as A's."""
    return bool(B.ndim == 1 or (A.ndim - 1 == B.ndim and tuple(B.shape) == tuple(A.shape[:-1])))


def solve(A: Tensor, B: Tensor, *, left: bool = True) -> Tensor:
    """The X with A X = B, or X A = B unless `left`. A: (..., N, N); B: (..., N, K), or a stack of vectors (..., N).

    Raises LinAlgError for a singular A."""
    vector = of_vectors(A, B)
    b = B.unsqueeze(-1) if vector else B
    matrices("solve", A, b)
    matrices("solve", A, square=True)
    if vector and not left:
        raise ShapeError("solve: vectors stand at the right of A", help="use left=True")
    if b.shape[-2 if left else -1] != A.shape[-1]:
        raise ShapeError(f"solve: {shown(A.shape)} and {shown(B.shape)} do not fit")
    x: Tensor = _Solve.apply(*_stacks(A, b)) if left else _Solve.apply(*_stacks(A.mT, b.mT)).mT
    return x.squeeze(-1) if vector else x


def solve_triangular(A: Tensor, B: Tensor, *, upper: bool, left: bool = True, unitriangular: bool = False) -> Tensor:
    """The X with A X = B, or X A = B unless `left`, of the triangle of A (..., N, N) alone; B: (..., N, K).

    `unitriangular`: the diagonal of A is not read and counts as ones."""
    matrices("solve_triangular", A, B)
    matrices("solve_triangular", A, square=True)
    if B.shape[-2 if left else -1] != A.shape[-1]:
        raise ShapeError(f"solve_triangular: {shown(A.shape)} and {shown(B.shape)} do not fit")
    a = A.triu(int(unitriangular)) if upper else A.tril(-int(unitriangular))
    if unitriangular:
        a = a + FUNCTIONS["eye"](A.shape[-1], dtype=A.dtype)
    if left:
        found: Tensor = _SolveTriangle.apply(*_stacks(a, B), upper)
        return found
    return _SolveTriangle.apply(*_stacks(a.mT, B.mT), not upper).mT


@function()
def triangular_solve(
    input: Tensor, A: Tensor, upper: bool = True, transpose: bool = False, unitriangular: bool = False
) -> TriangularSolution:
    """The X with A X = input, or A^T X = input with `transpose`, of the triangle of A; and a copy of A."""
    a = A.mT if transpose else A
    return TriangularSolution(
        solve_triangular(a, input, upper=upper != transpose, unitriangular=unitriangular), A.clone()
    )


# --- LU ---------------------------------------------------------------------------------------------------------------
def factored(a: Any, pivot: bool = True) -> tuple[Any, Any, Any]:
    """LU, pivots and info of stacks of matrices, by columns, with the largest of each as pivot: of complex numbers by
    the sum of the sizes of both parts, as LAPACK has it."""
    m, n = a.shape[-2:]
    k = min(m, n)
    flat = np.array(a).reshape(math.prod(a.shape[:-2]), m, n)
    every = np.arange(len(flat))
    pivots = np.zeros((len(flat), k), np.int32)
    info = np.zeros(len(flat), np.int32)
    for j in range(k):
        best = (
            j + np.argmax(np.abs(flat[:, j:, j].real) + np.abs(flat[:, j:, j].imag), 1)
            if pivot and len(flat)
            else np.full(len(flat), j)
        )
        pivots[:, j] = best + 1
        row = flat[every, best].copy()
        flat[every, best] = flat[:, j]
        flat[:, j] = row
        head = flat[:, j, j]
        info = np.where((info == 0) & (head == 0), j + 1, info).astype(np.int32)
        below = flat[:, j + 1 :, j] / np.where(head == 0, 1, head)[:, None]
        flat[:, j + 1 :, j] = below
        flat[:, j + 1 :, j + 1 :] -= below[:, :, None] * flat[:, j, None, j + 1 :]
    lead = a.shape[:-2]
    return flat.reshape(a.shape), pivots.reshape(*lead, k), info.reshape(lead)


def _permutation(pivots: Any, m: int) -> Any:
    """P (..., m, m) of exchanges of rows."""
    flat = pivots.reshape(math.prod(pivots.shape[:-1]), pivots.shape[-1])
    if ((flat < 1) | (flat > m)).any():
        raise IndexOutOfRangeError(f"a pivot is not one of 1 to {m}")
    order = np.tile(np.arange(m), (len(flat), 1))
    every = np.arange(len(flat))
    for j in range(flat.shape[1]):
        other = flat[:, j] - 1
        kept = order[every, other].copy()
        order[every, other] = order[:, j]
        order[:, j] = kept
    made = np.zeros((len(flat), m, m), np.float64)
    made[every[:, None], order, np.arange(m)[None]] = 1
    return made.reshape(*pivots.shape[:-1], m, m)


def permuted(pivots: Tensor, like: Tensor) -> Tensor:
    """P (..., M, M) of the exchanges of rows of `like` (..., M, N), in its dtype."""
    rows = like.shape[-2]
    gpu_matrices.check_pivots(pivots, rows)
    made = on_host(
        lambda p: _permutation(p, rows),
        pivots,
        on_gpu=lambda p: gpu_matrices.permutation(p, rows, like.dtype),
    )
    return convert(made, like.dtype)


class _Factor(Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, pivot: bool) -> Any:
        lu, pivots, info = on_host(lambda a: factored(a, pivot), x.detach(), on_gpu=lambda a: gpu_matrices.lu(a, pivot))
        ctx.save_for_backward(lu, pivots)
        ctx.mark_non_differentiable(pivots, info)
        return lu, pivots, info

    @staticmethod
    def backward(ctx: Any, g: Tensor, *rest: Any) -> Any:
        lu, pivots = ctx.saved_tensors
        made = factors_gradient(lu, permuted(pivots, lu), g, lambda x: x.mT, solve_triangular, FUNCTIONS["cat"])
        return made, None


def factors_gradient(lu: Any, p: Any, g: Any, adjoint: Any, solve_triangular: Any, cat: Any) -> Any:
    """The gradient for matrices of that for their factors, square, wide or tall, real or complex. p: of rows.
    Source: PyTorch's plu_backward."""
    k = min(lu.shape[-2:])
    low, up = lower_upper(lu)
    square, wide = lu.shape[-1] == lu.shape[-2], lu.shape[-1] > lu.shape[-2]
    l1, u1 = low[..., :k, :], up[..., :, :k]
    gl, gu = g[..., :, :k].tril(-1), g[..., :k, :].triu()
    of_l, of_u = adjoint(l1) @ gl[..., :k, :], gu[..., :, :k] @ adjoint(u1)
    if wide:
        of_l = of_l - gu[..., :, k:] @ adjoint(up[..., :, k:])
    elif not square:
        of_u = of_u - adjoint(low[..., k:, :]) @ gl[..., k:, :]
    middle = of_l.tril(-1) + of_u.triu()
    unit_ = FUNCTIONS["eye"](k, dtype=lu.dtype).expand(*l1.shape)
    back_l = adjoint(solve_triangular(l1, unit_, upper=False))
    back_u = adjoint(solve_triangular(u1, unit_, upper=True))
    parts = [back_l @ middle @ back_u]
    if wide:
        parts.append(back_l @ gu[..., :, k:])
    elif not square:
        parts.append(gl[..., k:, :] @ back_u)
    return p @ (parts[0] if len(parts) == 1 else cat(parts, -1 if wide else -2))


def lu_factor_ex(A: Tensor, *, pivot: bool = True, check_errors: bool = False) -> FactorsInfo:
    """LU factors of (..., M, N) with pivots (..., min(M, N)) i32, and where the first pivot of 0 is.

    Without `pivot` rows are not exchanged. Raises LinAlgError for a pivot of 0 with `check_errors`."""
    matrices("lu_factor", A)
    return checked(FactorsInfo(*_Factor.apply(A, pivot)), check_errors)


def checked(found: FactorsInfo, check_errors: bool) -> FactorsInfo:
    """The factors. Raises LinAlgError for a pivot of 0 with `check_errors`."""
    if check_errors and bool(found.info.any()):
        raise LinAlgError("lu_factor: a pivot is 0", help="the matrix is singular, or needs pivot=True")
    return found


def lu_factor(A: Tensor, *, pivot: bool = True) -> Factors:
    """LU factors of (..., M, N) in one matrix, with pivots (..., min(M, N)) i32."""
    return Factors(*lu_factor_ex(A, pivot=pivot)[:2])


@function(method=False)
def lu_unpack(LU_data: Tensor, LU_pivots: Tensor, unpack_data: bool = True, unpack_pivots: bool = True) -> LU:
    """P (..., M, M), L (..., M, K) and U (..., K, N) of `lu_factor`, K = min(M, N); those not asked for are empty."""
    matrices("lu_unpack", LU_data)
    none = LU_data.new_zeros(0)
    p = permuted(LU_pivots, LU_data) if unpack_pivots else none
    return LU(p, *(lower_upper(LU_data) if unpack_data else (none, none)))


def lower_upper(lu: Any) -> tuple[Any, Any]:
    """L (..., M, K) with ones on the diagonal and U (..., K, N), K = min(M, N), of factors in one matrix."""
    m, n = lu.shape[-2:]
    k = min(m, n)
    return lu[..., :, :k].tril(-1) + FUNCTIONS["eye"](m, k, dtype=lu.dtype), lu[..., :k, :].triu()


def factors(A: Tensor, *, pivot: bool = True) -> LU:
    """P, L and U with P L U = A, of (..., M, N). Without `pivot` P is empty."""
    return lu_unpack(*lu_factor(A, pivot=pivot), unpack_pivots=pivot)


@function()
def lu(input: Tensor, pivot: bool = True, get_infos: bool = False) -> tuple[Tensor, ...]:
    """(LU, pivots) of `linalg.lu_factor`, and with `get_infos` where the first pivot of 0 is."""
    found = lu_factor_ex(input, pivot=pivot)
    return tuple(found) if get_infos else tuple(found[:2])


def solve_factored(LU_: Tensor, pivots: Tensor, B: Tensor, *, left: bool = True, adjoint: bool = False) -> Tensor:
    """The X with A X = B of A's factors, X A = B unless `left`, and with A^T for A with `adjoint`."""
    matrices("lu_solve", LU_, B)
    matrices("lu_solve", LU_, square=True)
    if not left:
        return solve_factored(LU_, pivots, B.mT, adjoint=not adjoint).mT
    p, low, up = lu_unpack(LU_, pivots)
    if adjoint:
        inner = solve_triangular(low.mT, solve_triangular(up.mT, B, upper=False), upper=True, unitriangular=True)
        return p @ inner
    return solve_triangular(up, solve_triangular(low, p.mT @ B, upper=False, unitriangular=True), upper=True)


@function()
def lu_solve(input: Tensor, LU_data: Tensor, LU_pivots: Tensor) -> Tensor:
    """The X with A X = input (..., N, K), of the factors of A that `lu` gives."""
    return solve_factored(LU_data, LU_pivots, input)


# --- reflections ------------------------------------------------------------------------------------------------------
class Reflections(NamedTuple):
    """R above the diagonal and the reflections' vectors below it, and their factors."""

    a: Tensor
    tau: Tensor


@function()
def geqrf(input: Tensor) -> Reflections:
    """Reflections whose product is Q of `qr`, (..., M, N), and their factors (..., min(M, N)). Without gradients."""
    matrices("geqrf", input)
    if input.requires_grad:
        raise UnsupportedError("geqrf has no gradient", help="use linalg.qr, or detach()")

    def run(a: Any) -> Any:
        h, tau = np.linalg.qr(a, "raw")
        return np.swapaxes(h, -1, -2), tau

    return Reflections(*on_host(run, input, on_gpu=gpu_matrices.geqrf))


def _reflected(vectors: Tensor, tau: Tensor, x: Tensor, transpose: bool = False) -> Tensor:
    """Q x of the product Q = H_1 ... H_k of reflections, as x - V T V^T x with one triangle T for all."""
    k = tau.shape[-1]
    v = vectors[..., :, :k].tril(-1) + FUNCTIONS["eye"](vectors.shape[-2], k, dtype=x.dtype)
    d = FUNCTIONS["diag_embed"](tau)
    t = solve_triangular(d @ (v.mT @ v).triu(1), d, upper=True, unitriangular=True)
    return x - v @ ((t.mT if transpose else t) @ (v.mT @ x))


@function("orgqr")
def householder_product(input: Tensor, tau: Tensor) -> Tensor:
    """The first N columns (..., M, N) of a product of reflections: input (..., M, N), M >= N, tau (..., K), K <= N."""
    matrices("householder_product", input)
    m, n = input.shape[-2:]
    if m < n or tau.shape[-1] > n:
        raise ShapeError(f"householder_product: {shown(input.shape)} and factors of {shown(tau.shape)} do not fit")
    return _reflected(input, tau, FUNCTIONS["eye"](m, n, dtype=input.dtype))


@function()
def ormqr(input: Tensor, tau: Tensor, other: Tensor, left: bool = True, transpose: bool = False) -> Tensor:
    """Q other, or other Q unless `left`, of the whole product Q of reflections; of Q^T with `transpose`."""
    matrices("ormqr", input, other)
    if left:
        return _reflected(input, tau, other, transpose)
    return _reflected(input, tau, other.mT, not transpose).mT
