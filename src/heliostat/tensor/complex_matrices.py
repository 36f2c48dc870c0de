"""Linear algebra of complex matrices.

What keeps the ring of real matrices [[Re, -Im], [Im, Re]], to which complex ones are isomorphic, is computed there by
the functions of real matrices, on every device and with their gradients: solutions, least squares, Cholesky factors,
and on a GPU singular values and eigenvalues of Hermitian matrices. These on the cpu, vectors of eigenvalues and
singular values, QR and determinants are LAPACK's by NumPy, with gradients written here.
"""

from __future__ import annotations

import functools
import math
import operator
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from ..diagnostics import LinAlgError, ShapeError, UnsupportedError
from ..ir.types import f32, i32
from ..ops.rules import shown
from . import attempts, spectra, triangles
from .complex import F, common, of_complex, parts
from .complex_arrays import block, of_real_matrices
from .conversion import convert
from .core import Tensor
from .factor import QR, SVD, SignLog
from .function import Function
from .levels import on_host
from .linalg import crossed
from .pairs import joined, over, widened
from .register import COMPLEX
from .spectra import EigenvaluesVectors, USVh


def adjoint(z: Any) -> Any:
    """The conjugate transpose of matrices (..., M, N)."""
    return z.conj().transpose(-2, -1)


_adjoint = adjoint  # where an argument has its name


def _matrices(name: str, *given: Any, square: bool = False) -> list[Any]:
    found = [widened(z) for z in given]
    wide = max((z.dtype for z in found), key=lambda d: d.bits)
    for z in found:
        if z.ndim < 2 or (square and z.shape[-1] != z.shape[-2]):
            kind = "square matrices" if square else "matrices"
            raise ShapeError(f"{name} takes {kind}, found a tensor of shape {shown(z.shape)}")
    return [widened(z, wide) for z in found]


# --- by real matrices -------------------------------------------------------------------------------------------------
def _columns(z: Any) -> Tensor:
    """[Re; Im], (..., 2 M, N): what the real matrix of A multiplies to the same of A z."""
    return F["cat"](list(parts(z)), -2)


def _from_columns(x: Tensor) -> Any:
    half = x.shape[-2] // 2
    return joined(x[..., :half, :], x[..., half:, :])


def _woven(z: Any) -> Tensor:
    """`block` with rows and columns in the order Re, Im, Re, Im: triangles stay triangles. (..., 2 M, 2 N)."""
    a, b = parts(z)
    m, n = a.shape[-2:]
    cells = F["stack"]([F["stack"]([a, -b], -1), F["stack"]([b, a], -1)], -2)  # (..., M, N, row, column)
    return cells.transpose(-3, -2).reshape(*a.shape[:-2], 2 * m, 2 * n)


def _from_woven(x: Tensor) -> Any:
    return joined(x[..., ::2, ::2], x[..., 1::2, ::2])


@of_complex("linalg.solve")
def solve(A: Any, B: Any, *, left: bool = True) -> Any:
    """The X with A X = B, X A = B unless `left`."""
    vector = triangles.of_vectors(A, B)
    A, B = _matrices("solve", A, B.unsqueeze(-1) if vector else B)
    if not left:
        return solve(A.transpose(-2, -1), B.transpose(-2, -1)).transpose(-2, -1)
    made = _from_columns(triangles.solve(block(A), _columns(B)))
    return made.squeeze(-1) if vector else made


@of_complex("linalg.solve_triangular")
def solve_triangular(A: Any, B: Any, *, upper: bool, left: bool = True, unitriangular: bool = False) -> Any:
    """The X with A X = B of a triangle of A."""
    A, B = _matrices("solve_triangular", A, B)
    if not left:
        flipped = solve_triangular(
            A.transpose(-2, -1), B.transpose(-2, -1), upper=not upper, unitriangular=unitriangular
        )
        return flipped.transpose(-2, -1)
    if not unitriangular:  # woven, what is complex on the diagonal would stand outside of the triangle
        pivots = A.diagonal(0, -2, -1).unsqueeze(-1)
        A, B = A / pivots, B / pivots
    a, b = parts(B)
    rows = F["stack"]([a, b], -2).reshape(*a.shape[:-2], 2 * a.shape[-2], a.shape[-1])
    x = triangles.solve_triangular(_woven(A.triu(1) if upper else A.tril(-1)), rows, upper=upper, unitriangular=True)
    return joined(x[..., ::2, :], x[..., 1::2, :])


@of_complex("cholesky", "linalg.cholesky")
def cholesky(A: Any, upper: bool = False) -> Any:
    """L with L L^H = A of Hermitian positive matrices (..., N, N), L^H if `upper`. The diagonal of L is real, so that
    the woven real matrix of L is a triangle with a positive diagonal: the one Cholesky factor of that of A."""
    (A,) = _matrices("cholesky", A, square=True)
    low = _from_woven(F["cholesky"](_woven(A)))
    return adjoint(low) if upper else low


@of_complex("linalg.pinv", "pinverse")
def pinv(A: Any, *args: Any, **kwargs: Any) -> Any:
    """The Moore-Penrose inverse, (..., N, M) of (..., M, N)."""
    (A,) = _matrices("pinv", A)
    x = spectra.pinv(block(A), *args, **kwargs)
    return joined(x[..., : A.shape[-1], : A.shape[-2]], x[..., A.shape[-1] :, : A.shape[-2]])


def _halved(x: Tensor) -> Tensor:
    """The mean of each two neighbours: values of a real matrix that stand twice, with the gradient of both."""
    return (x[..., ::2] + x[..., 1::2]) * 0.5


@of_complex("linalg.svdvals")
def svdvals(A: Any) -> Tensor:
    """Singular values, the largest first, real (..., min(M, N)). On a GPU they differentiate once: second gradients
    divide by the differences of values, of which the real matrix has each twice."""
    (A,) = _matrices("svdvals", A)
    if A.device.type == "cpu":
        return _run(_SVD, A)[1]
    return _halved(spectra.svdvals(block(A)))


@of_complex("linalg.eigvalsh")
def eigvalsh(A: Any, UPLO: str = "L") -> Tensor:
    """Eigenvalues of Hermitian matrices in rising order, real (..., N), of the lower triangle, or the upper one. On a
    GPU they differentiate once, as `svdvals`."""
    A = _hermitian("eigvalsh", A, UPLO)
    if A.device.type == "cpu":
        return _run(_EIGH, A)[0]
    return _halved(spectra.eigvalsh(block(A)))


@of_complex("linalg.matrix_rank")
def matrix_rank(A: Any, *args: Any, **kwargs: Any) -> Tensor:
    """How many singular values are not about 0."""
    made: Tensor = spectra.matrix_rank(block(_matrices("matrix_rank", A)[0]), *args, **kwargs) // 2
    return made


@of_complex("linalg.cond")
def cond(A: Any, p: Any = None) -> Tensor:
    """The norm of A times that of its inverse, infinite of singular matrices."""
    (A,) = _matrices("cond", A)
    if not A.shape[-1] or not A.shape[-2]:
        return A.real.new_zeros(A.shape[:-2])
    if p in (None, 2, -2):
        values = svdvals(A)
        first, last = values[..., 0], values[..., -1]
        return last / first if p == -2 else first / last
    back, info = inv_ex(A)
    made: Tensor = F["where"](info == 0, matrix_norm(A, p) * matrix_norm(back, p), math.inf)
    return made


@of_complex("linalg.inv_ex")
def inv_ex(A: Any, *, check_errors: bool = False) -> Any:
    """Inverses, NaN of singular matrices, and where not 0 the number of the row that depends on others."""
    (A,) = _matrices("inv", A, square=True)
    found = attempts.inv_ex(block(A), check_errors=check_errors)
    return attempts.WithInfo(_from_columns(found.inverse[..., : A.shape[-1]]), F["minimum"](found.info, A.shape[-1]))


@of_complex("linalg.solve_ex")
def solve_ex(A: Any, B: Any, *, left: bool = True, check_errors: bool = False) -> Any:
    """Solutions, NaN where A is singular, and where not 0 the number of the row that depends on others."""
    vector = triangles.of_vectors(A, B)
    A, B = _matrices("solve", A, B.unsqueeze(-1) if vector else B)
    if not left:
        made = solve_ex(A.transpose(-2, -1), B.transpose(-2, -1), check_errors=check_errors)
        return attempts.ResultInfo(made.result.transpose(-2, -1), made.info)
    found = attempts.solve_ex(block(A), _columns(B), check_errors=check_errors)
    result = _from_columns(found.result)
    return attempts.ResultInfo(result.squeeze(-1) if vector else result, F["minimum"](found.info, A.shape[-1]))


@of_complex("linalg.cholesky_ex")
def cholesky_ex(A: Any, *, upper: bool = False, check_errors: bool = False) -> Any:
    """Triangles of `cholesky`, NaN where there is none, and where not 0 the order of the minor that is not positive."""
    (A,) = _matrices("cholesky", A, square=True)
    found = attempts.cholesky_ex(_woven(A), check_errors=check_errors)
    low = _from_woven(found.L)
    return attempts.FactorInfo(adjoint(low) if upper else low, (found.info + 1) // 2)


@of_complex("linalg.matrix_norm")
def matrix_norm(
    A: Any, ord: Any = "fro", dim: Sequence[int] = (-2, -1), keepdim: bool = False, **kwargs: Any
) -> Tensor:
    """Norm of matrices in two axes: "fro", "nuc", or of ord 1, -1, 2, -2, inf, -inf."""
    return spectra.matrix_norm(A if ord in (2, -2, "nuc") else COMPLEX["abs"](A), ord, dim, keepdim, **kwargs)


@of_complex("linalg.norm")
def norm(A: Any, ord: Any = None, dim: Any = None, keepdim: bool = False, **kwargs: Any) -> Tensor:
    """`vector_norm`, or `matrix_norm` where two axes are meant."""
    of_matrices = ord is not None and (A.ndim == 2 if dim is None else not isinstance(dim, int) and len(dim) == 2)
    if of_matrices:
        return matrix_norm(A, ord, (-2, -1) if dim is None else dim, keepdim, **kwargs)
    return spectra.norm(COMPLEX["abs"](A), ord, dim, keepdim, **kwargs)


@of_complex("cross")
def cross(input: Any, other: Any, dim: int | None = None) -> Any:
    """Cross product of vectors of 3 elements along an axis, the first of that size where none is named."""
    a, b = common(input, other)
    return crossed(a, b, dim)


@of_complex("linalg.cross")
def _cross(input: Any, other: Any, *, dim: int = -1) -> Any:
    return cross(*COMPLEX["broadcast_tensors"](*common(input, other)), dim)


@of_complex("linalg.vecdot")
def vecdot(x: Any, y: Any, *, dim: int = -1) -> Any:
    """Sums of products over an axis, elements of x conjugated."""
    return (x.conj() * y).sum(dim)


COMPLEX["linalg.matrix_exp"] = lambda A: of_real_matrices("matrix_exp", A)
COMPLEX["linalg.vector_norm"] = lambda x, *args, **kwargs: spectra.vector_norm(COMPLEX["abs"](x), *args, **kwargs)


# --- LAPACK's, by NumPy -----------------------------------------------------------------------------------------------
class Rule(NamedTuple):
    """A function of complex matrices. run: NumPy's, of an array, a tuple of arrays. kinds: "c" for each result that is
    complex, "r" for each that is real. gradient: of the input, from it, the results, and their gradients, None for
    those that there are not."""

    name: str
    run: Callable[[Any], tuple[Any, ...]]
    kinds: str
    gradient: Callable[..., Any]


class _OnHost(Function):
    """A rule of a pair: pairs of what is complex, tensors of what is real."""

    @staticmethod
    def forward(ctx: Any, pair: Tensor, rule: Rule) -> Any:
        kind, plain = (np.complex64, np.float32) if pair.dtype == f32 else (np.complex128, np.float64)

        def run(a: Any) -> Any:
            try:
                made = rule.run(np.ascontiguousarray(a).view(kind)[..., 0])
            except np.linalg.LinAlgError as error:
                raise LinAlgError(f"{rule.name}: {error}") from None
            return tuple(
                np.array(y, kind, order="C")[..., None].view(plain) if k == "c" else np.asarray(y, plain)
                for k, y in zip(rule.kinds, made, strict=True)
            )

        made = on_host(run, pair.detach())
        ctx.rule = rule
        # zeros for vectors that nobody uses would be divided by differences of equal values
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(pair, *made)
        return made

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> Any:
        pair, *made = ctx.saved_tensors
        results, given = (
            [over(t) if k == "c" and t is not None else t for k, t in zip(ctx.rule.kinds, ts, strict=True)]
            for ts in (made, grads)
        )
        return ctx.rule.gradient(over(pair), results, given)._pair, None


def _run(rule: Rule, A: Any) -> list[Any]:
    made = _OnHost.apply(A._pair, rule)
    return [over(t) if k == "c" else t for k, t in zip(rule.kinds, made, strict=True)]


def _zero(z: Any) -> Any:
    return z.real.new_zeros(())


def _diagonal(x: Tensor) -> Any:
    """Real numbers (..., N) on the diagonal of complex matrices."""
    return widened(F["diag_embed"](x))


def _only_diagonal(z: Any) -> Any:
    real, imag = parts(z)
    return joined(*(F["diag_embed"](x.diagonal(0, -2, -1)) for x in (real, imag)))


def _det_gradient(a: Any, results: Any, grads: Any) -> Any:
    weight = (grads[0] * results[0].conj())[..., None, None]
    return weight * adjoint(COMPLEX["inverse"](a))


def _slogdet_gradient(a: Any, results: Any, grads: Any) -> Any:
    """Of Re(w^* tr(A^-1 dA)), w = g of the logarithm - i Im(g^* sign)."""
    (sign, _), (g, size) = results, grads
    real = _zero(a) if size is None else size
    imag = _zero(a) if g is None else -(g.conj() * sign).imag
    weight = joined(*F["broadcast_tensors"](real, imag))[..., None, None]
    return weight * adjoint(COMPLEX["inverse"](a))


def _apart(x: Tensor) -> Tensor:
    """1 / (x_j - x_i), 0 on the diagonal. (..., N, N)."""
    d = x.unsqueeze(-2) - x.unsqueeze(-1)
    eye = F["eye"](x.shape[-1], dtype=x.dtype)
    made: Tensor = F["where"](eye > 0, 0.0, 1.0 / (d + eye))
    return made


def _eigh_gradient(a: Any, results: Any, grads: Any) -> Any:
    """Source: Giles, "Collected matrix derivative results", 2008, 3.1, of complex numbers."""
    (values, vectors), (g, gv) = results, grads
    inner: Any = _diagonal(F["zeros_like"](values) if g is None else g)
    if gv is not None:
        inner = inner + (adjoint(vectors) @ gv) * widened(_apart(values))
    return vectors @ inner @ adjoint(vectors)


def _svd_gradient(a: Any, results: Any, grads: Any) -> Any:
    """Source: PyTorch's svd_backward. Vectors are known but for a factor of size 1 each: a loss that depends on those
    factors has no gradient."""
    (u, s, vh), (gu, gs, gvh) = results, grads
    k = s.shape[-1]
    apart = widened(_apart(s * s))

    def skew(x: Any) -> Any:
        return x - adjoint(x)

    inner = _diagonal(F["zeros_like"](s) if gs is None else gs)
    if gu is not None:
        half = skew(adjoint(u) @ gu)
        inner = inner + (half * apart) * widened(s.unsqueeze(-2))
        inner = inner + _only_diagonal(half) * widened((0.5 / s).unsqueeze(-2))
    if gvh is not None:
        inner = inner + widened(s.unsqueeze(-1)) * (skew(vh @ adjoint(gvh)) * apart)
    made = u @ inner @ vh
    inverse = widened((1.0 / s).unsqueeze(-2))
    if gu is not None and u.shape[-2] > k:
        made = made + ((gu - u @ (adjoint(u) @ gu)) * inverse) @ vh
    if gvh is not None and vh.shape[-1] > k:
        made = made + (u * inverse) @ (gvh - (gvh @ adjoint(vh)) @ vh)
    return made


def _qr_gradient(a: Any, results: Any, grads: Any) -> Any:
    """Source: PyTorch's linalg_qr_backward."""
    (q, r), (gq, gr) = results, grads
    rows, columns = r.shape[-2:]
    if rows > columns:
        what = "qr has no gradient for a Q with more columns than R has"
        raise UnsupportedError(what, help="take mode='reduced'")
    parts_: list[Any] = []
    if gr is not None:
        parts_.append(gr @ adjoint(r))
    if gq is not None:
        parts_.append(-(adjoint(q) @ gq))
    middle = functools.reduce(operator.add, parts_)
    if rows < columns:
        turned = (adjoint(middle) - middle).tril()  # its diagonal is twice what is imaginary
        turned = turned - _only_diagonal(turned) * 0.5
        made = solve_triangular(adjoint(r[..., :rows]), q @ turned, upper=False, left=False)
        rest = COMPLEX["zeros_like"](q[..., :1].expand(*q.shape[:-1], columns - rows))
        made = COMPLEX["cat"]([made, rest], -1)
        return made if gr is None else made + q @ gr
    upper = middle.triu()
    both = upper + adjoint(upper)
    both = both - _diagonal(both.diagonal(0, -2, -1).real) * 0.5
    made = q @ both
    made = made if gq is None else made + gq
    return solve_triangular(adjoint(r), made, upper=False, left=False)


def _eig(a: Any) -> tuple[Any, Any]:
    """Of matrices without imaginary parts by LAPACK's function of real ones: pairs of values are conjugates there."""
    values, vectors = np.linalg.eig(a if a.imag.any() else np.ascontiguousarray(a.real))
    return values, vectors


def _eig_gradient(a: Any, results: Any, grads: Any) -> Any:
    """Of different eigenvalues, of vectors of length 1. Source: C. Boeddeker et al., On the computation of
    complex-valued gradients with application to statistically optimum beamforming (2017), 4.77; what is left of it in
    each vector's own direction, as in PyTorch's linalg_eig_backward."""
    (values, vectors), (g, gv) = results, grads
    back, eye = adjoint(vectors), F["eye"](values.shape[-1], dtype=a.real.dtype)
    inner: Any = 0.0 if g is None else g.unsqueeze(-2) * eye
    if gv is not None:
        turned = back @ gv
        own = (back @ vectors) * widened(turned.diagonal(0, -2, -1).real.unsqueeze(-2))
        apart = values.unsqueeze(-2) - values.unsqueeze(-1)
        inner = inner + (turned - own) * (1.0 - eye) / (apart + eye).conj()
    return solve(back, inner @ back)


_DET = Rule("det", lambda a: (np.linalg.det(a),), "c", _det_gradient)
_SLOGDET = Rule("slogdet", lambda a: tuple(np.linalg.slogdet(a)), "cr", _slogdet_gradient)
_EIGH = Rule("eigh", lambda a: tuple(np.linalg.eigh(a)), "rc", _eigh_gradient)
_SVD = Rule("svd", lambda a: tuple(np.linalg.svd(a, full_matrices=False)), "crc", _svd_gradient)
_WHOLE_SVD = Rule("svd", lambda a: tuple(np.linalg.svd(a)), "crc", _svd_gradient)
_QR = {
    "reduced": Rule("qr", lambda a: tuple(np.linalg.qr(a)), "cc", _qr_gradient),
    "complete": Rule("qr", lambda a: tuple(np.linalg.qr(a, "complete")), "cc", _qr_gradient),
}
_EIG = Rule("eig", _eig, "cc", _eig_gradient)


@of_complex("det", "linalg.det")
def det(input: Any) -> Any:
    """Determinants of square matrices (..., N, N)."""
    return _run(_DET, _matrices("det", input, square=True)[0])[0]


@of_complex("slogdet", "linalg.slogdet")
def slogdet(input: Any) -> SignLog:
    """A determinant's factor of size 1, complex, and the logarithm of its size, real."""
    return SignLog(*_run(_SLOGDET, _matrices("slogdet", input, square=True)[0]))


class _Mirrored(Function):
    """Of a pair and whether its lower triangle counts."""

    @staticmethod
    def forward(ctx: Any, pair: Tensor, lower: bool) -> Tensor:
        A = over(pair)
        strict = A.tril(-1) if lower else A.triu(1)
        made: Tensor = (strict + adjoint(strict) + _diagonal(A.diagonal(0, -2, -1).real))._pair
        return made

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> Any:
        return ((over(g) + adjoint(over(g))) * 0.5)._pair, None


def _hermitian(name: str, A: Any, UPLO: str) -> Any:
    """Of one triangle, as LAPACK reads it: the diagonal's imaginary part counts for nothing. The gradient is Hermitian,
    that of a matrix whose triangles move together."""
    if UPLO.upper() not in ("L", "U"):
        raise ValueError(f"{name}: UPLO is 'L' or 'U', not {UPLO!r}")
    (A,) = _matrices(name, A, square=True)
    return over(_Mirrored.apply(A._pair, UPLO.upper() == "L"))


@of_complex("linalg.eigh")
def eigh(A: Any, UPLO: str = "L") -> EigenvaluesVectors:
    """Eigenvalues of Hermitian matrices in rising order, real (..., N), and vectors as columns."""
    return EigenvaluesVectors(*_run(_EIGH, _hermitian("eigh", A, UPLO)))


@of_complex("linalg.eig")
def eig(A: Any) -> EigenvaluesVectors:
    """Eigenvalues (..., N) and vectors of length 1 as columns, in no order. The gradient is that of different values,
    and of what does not depend on factors of vectors."""
    return EigenvaluesVectors(*_run(_EIG, _matrices("eig", A, square=True)[0]))


COMPLEX["linalg.eigvals"] = lambda A: eig(A).eigenvalues


@of_complex("linalg.svd")
def svd(A: Any, full_matrices: bool = True) -> Any:
    """U, S and V^H; with `full_matrices` U (..., M, M) and V^H (..., N, N), without gradients for what that adds."""
    (A,) = _matrices("svd", A)
    if full_matrices and A.requires_grad and A.shape[-1] != A.shape[-2]:
        raise UnsupportedError("svd with full_matrices has no gradient", help="use full_matrices=False")
    return USVh(*_run(_WHOLE_SVD if full_matrices else _SVD, A))


def _lu_gradient(a: Any, results: Any, grads: Any) -> Any:
    (lu, pivots, _), (g, *_) = results, grads
    return triangles.factors_gradient(
        lu, _permuted(convert(pivots, i32), lu), g, adjoint, solve_triangular, COMPLEX["cat"]
    )


_LU = {
    pivot: Rule("lu_factor", functools.partial(triangles.factored, pivot=pivot), "crr", _lu_gradient)
    for pivot in (True, False)
}


@of_complex("linalg.lu_factor_ex")
def lu_factor_ex(A: Any, *, pivot: bool = True, check_errors: bool = False) -> triangles.FactorsInfo:
    """LU factors of (..., M, N) in one matrix, pivots (..., min(M, N)) i32, and where the first pivot of 0 is."""
    factors, *whole = _run(_LU[bool(pivot)], _matrices("lu_factor", A)[0])
    pivots, info = (convert(t, i32) for t in whole)
    return triangles.checked(triangles.FactorsInfo(factors, pivots, info), check_errors)


@of_complex("linalg.lu_factor")
def lu_factor(A: Any, *, pivot: bool = True) -> triangles.Factors:
    """`lu_factor_ex` without where a pivot is 0."""
    return triangles.Factors(*lu_factor_ex(A, pivot=pivot)[:2])


@of_complex("lu")
def _lu(input: Any, pivot: bool = True, get_infos: bool = False) -> tuple[Any, ...]:
    return tuple(lu_factor_ex(input, pivot=pivot)[: 3 if get_infos else 2])


def _permuted(pivots: Tensor, like: Any) -> Any:
    return widened(triangles.permuted(pivots, like.real))


@of_complex("lu_unpack")
def lu_unpack(LU_data: Any, LU_pivots: Tensor, unpack_data: bool = True, unpack_pivots: bool = True) -> triangles.LU:
    """P (..., M, M), L (..., M, K) and U (..., K, N) of `lu_factor`; those not asked for are empty."""
    none = widened(LU_data.real.new_zeros(0))
    p = _permuted(LU_pivots, LU_data) if unpack_pivots else none
    return triangles.LU(p, *(triangles.lower_upper(LU_data) if unpack_data else (none, none)))


@of_complex("linalg.lu")
def lu(A: Any, *, pivot: bool = True) -> triangles.LU:
    """P, L and U with P L U = A. Without `pivot` P is empty."""
    return lu_unpack(*lu_factor(A, pivot=pivot), unpack_pivots=pivot)


@of_complex("linalg.lu_solve")
def lu_solve(LU: Any, pivots: Tensor, B: Any, *, left: bool = True, adjoint: bool = False) -> Any:
    """The X with A X = B of A's factors, X A = B unless `left`, and with A^H for A with `adjoint`."""
    LU, B = _matrices("lu_solve", LU, B)
    if not left:  # the conjugate transpose of both sides
        return _adjoint(lu_solve(LU, pivots, _adjoint(B), adjoint=not adjoint))
    p, low, up = lu_unpack(LU, pivots)
    if adjoint:
        inner = solve_triangular(_adjoint(up), B, upper=False)
        return p @ solve_triangular(_adjoint(low), inner, upper=True, unitriangular=True)
    return solve_triangular(up, solve_triangular(low, _adjoint(p) @ B, upper=False, unitriangular=True), upper=True)


COMPLEX["lu_solve"] = lambda input, LU_data, LU_pivots: lu_solve(LU_data, LU_pivots, input)


@of_complex("linalg.lstsq")
def lstsq(A: Any, B: Any, rcond: float | None = None, *, driver: str | None = None) -> spectra.LeastSquares:
    """The X (..., N, K) of the least |A X - B|, by the pseudo-inverse, as of real matrices."""
    spectra.check_driver(driver)
    vector = triangles.of_vectors(A, B)
    A, B = _matrices("lstsq", A, B.unsqueeze(-1) if vector else B)
    rank = matrix_rank(A, rtol=rcond)
    return spectra.least_squares(A, B, pinv(A, rcond) @ B, driver, rank, svdvals, vector)


@of_complex("linalg.qr")
def qr(A: Any, mode: str = "reduced") -> QR:
    """Q and R."""
    (A,) = _matrices("qr", A)
    if mode not in _QR:
        raise ValueError(f"qr: mode of complex matrices is 'reduced' or 'complete', not {mode!r}")
    return QR(*_run(_QR[mode], A))


COMPLEX["qr"] = lambda input, some=True: qr(input, "reduced" if some else "complete")


@of_complex("svd")
def _svd(input: Any, some: bool = True, compute_uv: bool = True) -> SVD:
    u, s, vh = svd(input, not some)
    return SVD(u, s, adjoint(vh)) if compute_uv else SVD(u * 0, s, adjoint(vh) * 0)
