"""Inverses, determinants and factorizations, with gradients that are graph: NumPy on the cpu, cuSOLVER on GPUs."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from ..diagnostics import DTypeError, LinAlgError, ShapeError, UnsupportedError
from ..ir.types import f16
from ..ops.rules import shown
from . import gpu_matrices
from .conversion import convert, from_array
from .core import Tensor
from .function import Function
from .lazy import NUMPY
from .levels import on_host
from .pointwise import floats
from .register import FUNCTIONS, function


def computed(name: str, f: Any, there: Any, *tensors: Tensor) -> Any:
    """A NumPy function of the data of stacks of matrices, in the first tensor's dtype; of a GPU's, `there` of the
    tensors (`gpu_matrices.py`)."""
    x = tensors[0]
    if x.ndim < 2:
        raise ShapeError(f"{name} takes matrices, found a tensor of shape {shown(x.shape)}")
    if f16 in {t.dtype for t in tensors}:
        raise DTypeError(f"{name} takes float32 and float64, found {f16}", help="convert it by to()")
    try:
        y = on_host(f, *tensors, on_gpu=lambda *given: _there(name, f, there, *given))
    except np.linalg.LinAlgError as error:
        raise LinAlgError(f"{name}: {error}") from None
    return tuple(convert(v, x.dtype) for v in y) if isinstance(y, tuple) else convert(y, x.dtype)


def _there(name: str, f: Any, there: Any, *tensors: Tensor) -> Any:
    """What a library gives of tensors of a GPU; of none, what NumPy makes of none."""
    if all(t.numel() for t in tensors):
        return gpu_matrices.run(name, there, *tensors)
    y = f(*(np.zeros(tuple(t.shape), NUMPY[t.dtype.name]) for t in tensors))
    made = tuple(
        from_array(np.asarray(v), device=tensors[0].device.name) for v in (y if isinstance(y, tuple) else (y,))
    )
    return made if isinstance(y, tuple) else made[0]


def unit(like: Tensor) -> Tensor:
    """The unit matrix of a tensor's last axis, in its dtype."""
    made: Tensor = FUNCTIONS["eye"](like.shape[-1], dtype=like.dtype)
    return made


class QR(NamedTuple):
    """Q and R."""

    Q: Tensor
    R: Tensor


class SVD(NamedTuple):
    """U, S and V."""

    U: Tensor
    S: Tensor
    V: Tensor


class SignLog(NamedTuple):
    """Sign and logarithm of the size of a determinant."""

    sign: Tensor
    logabsdet: Tensor


class _Inverse(Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        y: Tensor = computed("inverse", np.linalg.inv, gpu_matrices.inverse, x.detach())
        ctx.save_for_backward(y)
        return y

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> Tensor:
        (y,) = ctx.saved_tensors
        return -(y.mT @ g @ y.mT)


class _Det(Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        y: Tensor = computed("det", np.linalg.det, gpu_matrices.det, x.detach())
        ctx.save_for_backward(x, y)
        return y

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> Tensor:
        x, y = ctx.saved_tensors
        try:
            return (g * y)[..., None, None] * inverse(x).mT
        except LinAlgError:  # one is singular
            return g[..., None, None] * _cofactors(x.detach())


def _cofactors(x: Tensor) -> Tensor:
    """Derivatives of the determinants of (..., N, N), also of singular ones, by singular values: for each the product
    of the others. Without gradients."""
    u, s, vh = _SVD.apply(x, False)
    one = unit(s) > 0
    others = FUNCTIONS["where"](one, 1.0, s[..., None, :]).prod(-1)
    sign = FUNCTIONS["det"](u) * FUNCTIONS["det"](vh)
    made: Tensor = sign[..., None, None] * ((u * others[..., None, :]) @ vh)
    return made


class _SignLog(Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Any:
        sign, size = computed("slogdet", lambda a: tuple(np.linalg.slogdet(a)), gpu_matrices.slogdet, x.detach())
        ctx.save_for_backward(x)
        ctx.mark_non_differentiable(sign)
        return sign, size

    @staticmethod
    def backward(ctx: Any, *g: Tensor) -> Tensor:
        (x,) = ctx.saved_tensors
        return g[-1][..., None, None] * inverse(x).mT


def triangle(a: Any) -> Any:
    """NumPy's Cholesky factors. Raises LinAlgError where a pivot is NaN too, as LAPACK has it."""
    y = np.linalg.cholesky(a)
    if np.isnan(np.diagonal(y, axis1=-2, axis2=-1)).any():
        raise np.linalg.LinAlgError("Matrix is not positive definite")
    return y


class _Cholesky(Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        y: Tensor = computed("cholesky", triangle, gpu_matrices.cholesky, x.detach())
        ctx.save_for_backward(y)
        return y

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> Tensor:
        """Source: arXiv 1602.07527, symmetric."""
        (y,) = ctx.saved_tensors
        low = (y.mT @ g).tril()
        middle = low + low.tril(-1).mT
        back = inverse(y)
        return 0.5 * (back.mT @ middle @ back)


class _QR(Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, mode: Any) -> Any:
        q, r = computed(
            "qr", lambda a: tuple(np.linalg.qr(a, mode)), lambda a: gpu_matrices.qr(a, mode == "complete"), x.detach()
        )
        ctx.save_for_backward(q, r)
        return q, r

    @staticmethod
    def backward(ctx: Any, gq: Tensor, gr: Tensor) -> Any:
        """Source: arXiv 1009.6112 for no more columns than rows; PyTorch's linalg_qr_backward for wide matrices."""
        q, r = ctx.saved_tensors
        rows, columns = r.shape[-2:]
        if rows > columns:
            what = "qr has no gradient for a Q with more columns than R has"
            raise UnsupportedError(what, help="take mode='reduced', or some=True")
        if rows < columns:
            turned = q.mT @ gq - gr @ r.mT
            first = q @ (turned - turned.mT).tril(-1) @ inverse(r[..., :rows]).mT
            rest = first.new_zeros((*first.shape[:-1], columns - rows))
            return FUNCTIONS["cat"]([first, rest], -1) + q @ gr, None
        m = r @ gr.mT - gq.mT @ q
        low = m.tril()
        return (gq + q @ (low + low.tril(-1).mT)) @ inverse(r).mT, None


class _SVD(Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, full: bool) -> Any:
        u, s, vh = computed(
            "svd",
            lambda a: tuple(np.linalg.svd(a, full_matrices=full)),
            lambda a: gpu_matrices.svd(a, full),
            x.detach(),
        )
        ctx.save_for_backward(u, s, vh)
        ctx.set_materialize_grads(False)
        return u, s, vh

    @staticmethod
    def backward(ctx: Any, gu: Tensor | None, gs: Tensor | None, gvh: Tensor | None) -> Any:
        """Of vectors where values differ and none is 0. Source: J. Townsend, Differentiating the SVD (2016)."""
        u, s, vh = ctx.saved_tensors
        k = s.shape[-1]
        gs = FUNCTIONS["zeros_like"](s) if gs is None else gs
        if gu is None and gvh is None:
            return (u[..., :, :k] * gs[..., None, :]) @ vh[..., :k, :], None
        gu = FUNCTIONS["zeros_like"](u) if gu is None else gu
        gvh = FUNCTIONS["zeros_like"](vh) if gvh is None else gvh
        if u.shape[-1] != k or vh.shape[-2] != k:
            raise UnsupportedError("svd has no gradient for full matrices", help="use some=True")
        eye = unit(s)
        v, gv = vh.mT, gvh.mT
        gap = s[..., None, :] ** 2 - s[..., :, None] ** 2 + eye
        f = (1 - eye) / gap
        of_u, of_v = u.mT @ gu, v.mT @ gv
        middle = (
            (f * (of_u - of_u.mT)) * s[..., None, :] + s[..., :, None] * (f * (of_v - of_v.mT)) + gs[..., None] * eye
        )
        left = u @ middle + (gu - u @ of_u) / s[..., None, :]
        right = (u / s[..., None, :]) @ (gv - v @ of_v).mT
        return left @ vh + right, None


class _PInverse(Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, rcond: float) -> Tensor:
        y: Tensor = computed(
            "pinverse", lambda a: np.linalg.pinv(a, rcond), lambda a: gpu_matrices.pinverse(a, rcond), x.detach()
        )
        ctx.save_for_backward(x, y)
        return y

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> Any:
        """Of constant rank. Source: Golub and Pereyra (1973)."""
        x, p = ctx.saved_tensors
        gt, pt = g.mT, p.mT
        first = -(pt @ g @ pt)
        rows = (gt - x @ (p @ gt)) @ p @ pt
        columns = pt @ (p @ gt)
        return first + rows + (columns - (columns @ p) @ x), None


@function()
def inverse(input: Tensor) -> Tensor:
    """The inverse of square matrices (..., N, N). Raises LinAlgError for a singular one."""
    made: Tensor = _Inverse.apply(floats(input))
    return made


@function()
def det(input: Tensor) -> Tensor:
    """Determinants of square matrices (..., N, N)."""
    made: Tensor = _Det.apply(floats(input))
    return made


@function()
def slogdet(input: Tensor) -> SignLog:
    """Sign and logarithm of the size of determinants of (..., N, N)."""
    return SignLog(*_SignLog.apply(floats(input)))


@function()
def logdet(input: Tensor) -> Tensor:
    """Logarithm of determinants of (..., N, N); NaN for negative ones."""
    return det(input).log()


@function()
def cholesky(input: Tensor, upper: bool = False) -> Tensor:
    """L with L L^T = x, lower triangular, of symmetric positive matrices (..., N, N); L^T if `upper`."""
    y: Tensor = _Cholesky.apply(floats(input))
    return y.mT if upper else y


@function()
def qr(input: Tensor, some: bool = True) -> QR:
    """Q orthogonal and R upper triangular with Q R = x, of (..., M, N); Q square unless `some`."""
    return QR(*_QR.apply(floats(input), "reduced" if some else "complete"))


@function()
def svd(input: Tensor, some: bool = True, compute_uv: bool = True) -> SVD:
    """U, S and V with U diag(S) V^T = x, of (..., M, N). Without compute_uv, U and V are zeros, square."""
    x = floats(input)
    u, s, vh = _SVD.apply(x, not some)
    if compute_uv:
        return SVD(u, s, vh.mT)
    lead, (m, n) = x.shape[:-2], x.shape[-2:]
    return SVD(x.new_zeros((*lead, m, m)), s, x.new_zeros((*lead, n, n)))


@function()
def pinverse(input: Tensor, rcond: float = 1e-15) -> Tensor:
    """The pseudo-inverse (..., N, M) of (..., M, N); singular values below rcond times the largest count as 0."""
    made: Tensor = _PInverse.apply(floats(input), rcond)
    return made


@function()
def cholesky_inverse(input: Tensor, upper: bool = False) -> Tensor:
    """The inverse of x of its triangle L of `cholesky`, or L^T if `upper`: (..., N, N)."""
    back = inverse(input.triu().mT if upper else input.tril())
    return back.mT @ back


@function()
def cholesky_solve(input: Tensor, input2: Tensor, upper: bool = False) -> Tensor:
    """The y with x y = input (..., N, K), of x's triangle input2 (..., N, N) of `cholesky`."""
    return cholesky_inverse(input2, upper) @ input
