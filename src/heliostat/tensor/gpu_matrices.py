"""Factorizations, systems and transforms of tensors on a GPU, by NVIDIA's libraries where they are installed.

Tensors come with their data, without gradients; results are new memory. Matrices lie by rows, which the libraries read
as transposed ones. Where a library says that there is no result, LinAlgError is raised as NumPy does: that number is
the one thing that the host waits for.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from ..diagnostics import DeviceMismatchError, DTypeError, IndexOutOfRangeError, ShapeError
from ..ir.types import DType, TensorType, f32, f64, i32
from ..session.devices import gpu_engine
from . import lazy
from .conversion import convert
from .core import Tensor, new
from .register import FUNCTIONS

KINDS = {f32: "S", f64: "D"}


class _Stack:
    """Memory of matrices on a GPU, one behind the other."""

    def __init__(self, owner: Any, buffer: Any, dtype: DType, lead: tuple[int, ...], *shape: int) -> None:
        self.owner, self.buffer, self.dtype, self.lead, self.shape = owner, buffer, dtype, lead, shape
        self.nbytes = math.prod(shape) * dtype.bits // 8

    def tensor(self) -> Tensor:
        """It as a tensor (*lead, *shape)."""
        type = TensorType(self.dtype, (*self.lead, *self.shape))
        made: Tensor = new(Tensor, lazy.leaf(self.buffer, type, self.owner.name))
        return made

    def __getitem__(self, n: int) -> Any:
        return self.buffer.slice(n * self.nbytes, self.nbytes)

    def beside(self, *shape: int, dtype: DType | None = None) -> _Stack:
        """New memory for as many others."""
        return _new(self.owner, self.dtype if dtype is None else dtype, self.lead, *shape)


def _new(owner: Any, dtype: DType, lead: tuple[int, ...], *shape: int) -> _Stack:
    nbytes = math.prod((*lead, *shape)) * dtype.bits // 8
    return _Stack(owner, owner.place.allocate(max(nbytes, 1)), dtype, lead, *shape)


def _of(x: Tensor, axes: int = 2) -> _Stack:
    """A tensor's data, which must not be written."""
    v = x.value
    assert v.device is not None
    owner = gpu_engine(v.device)
    if lazy.buffer_of(v) is None:
        lazy.realize([v])
    shape = tuple(x.shape)
    return _Stack(owner, lazy.buffer_of(v), x.dtype, shape[: len(shape) - axes], *shape[len(shape) - axes :])


def _copied(x: Tensor, axes: int = 2) -> _Stack:
    """A copy of a tensor's data, to write on."""
    found = _of(x, axes)
    nbytes = max(math.prod(found.lead) * found.nbytes, 1)
    return _Stack(found.owner, found.owner.copy(found.buffer, nbytes), x.dtype, found.lead, *found.shape)


def _each(a: _Stack) -> Iterator[int]:
    """Numbers of matrices, while nobody else gives work to the device."""
    with a.owner.lock:
        yield from range(math.prod(a.lead))


def _checked(info: _Stack, what: str) -> None:
    """Raises LinAlgError unless all numbers are 0."""
    if info.tensor().host_array().any():
        raise np.linalg.LinAlgError(what)


def run(name: str, function: Callable[..., Any], *tensors: Tensor) -> Any:
    """`function` of tensors of one GPU, all float32 or all float64 where they are floats. Raises DTypeError for others,
    DeviceMismatchError, and DeviceUnavailableError where a library is not installed."""
    first = tensors[0]
    for t in tensors:
        if t._home is not None and t.device != first.device:
            raise DeviceMismatchError(f"{name}: tensors on {first.device} and {t.device}", help="move one by .to()")
        if t.dtype.is_float and t.dtype not in KINDS:
            raise DTypeError(f"{name} takes float32 and float64, found {t.dtype}", help="convert it by to()")
    return function(*(t if t._home is not None else t.to(first.device) for t in tensors))


# --- factorizations ---------------------------------------------------------------------------------------------------
def _triangle(x: Tensor) -> tuple[_Stack, _Stack]:
    """L (..., N, N) of the lower triangle, with what was above it, and info: 0 where there is one."""
    a = _copied(x)
    n, kind, info = a.shape[-1], KINDS[x.dtype], a.beside(dtype=i32)
    for i in _each(a):
        a.owner.place.solver.cholesky(kind, True, n, a[i], info[i])
    return a, info


def cholesky(x: Tensor) -> Tensor:
    """L (..., N, N) of the lower triangle."""
    a, info = _triangle(x)
    _checked(info, "Matrix is not positive definite")
    return a.tensor().tril()


def minors(x: Tensor) -> Tensor:
    """The order of the first leading minor that is not positive, i32 (...); 0 where there is a triangle."""
    return _triangle(x)[1].tensor()


def positive(x: Tensor) -> Tensor:
    """Whether there is a triangle of `cholesky`, bool (...)."""
    return minors(x) == 0


def _factored(x: Tensor, pivot: bool) -> tuple[_Stack, _Stack, _Stack]:
    """Factors of x itself, (..., N, M) by rows, pivots and info."""
    a = _copied(x.mT)
    n, m = a.shape
    pivots, info = a.beside(min(m, n), dtype=i32), a.beside(dtype=i32)
    for i in _each(a):
        a.owner.place.solver.lu(KINDS[x.dtype], m, n, a[i], pivots[i] if pivot else None, info[i])
    return a, pivots, info


def lu(x: Tensor, pivot: bool) -> tuple[Tensor, Tensor, Tensor]:
    """Both factors in one (..., M, N), pivots from 1 and the number of the first pivot of 0."""
    a, pivots, info = _factored(x, pivot)
    k = min(a.shape)
    rows = pivots.tensor() if pivot else FUNCTIONS["arange"](1, k + 1, dtype=i32).expand(*a.lead, k).to(x.device)
    return a.tensor().mT, rows, info.tensor()


def _diagonal(x: Tensor) -> tuple[Tensor, Tensor]:
    """The diagonal of U, and the sign of the exchanges of rows."""
    a, pivots, _ = _factored(x, True)
    k = a.shape[-1]
    here = FUNCTIONS["arange"](1, k + 1, dtype=i32)
    odd = (pivots.tensor() != here).sum(-1) % 2
    return a.tensor().diagonal(dim1=-2, dim2=-1), 1.0 - 2.0 * convert(odd, x.dtype)


def det(x: Tensor) -> Tensor:
    """Determinants (...)."""
    diagonal, sign = _diagonal(x)
    made: Tensor = diagonal.prod(-1) * sign
    return made


def slogdet(x: Tensor) -> tuple[Tensor, Tensor]:
    """Sign and logarithm of the size of determinants (...)."""
    diagonal, sign = _diagonal(x)
    return diagonal.sign().prod(-1) * sign, diagonal.abs().log().sum(-1)


def solve(x: Tensor, b: Tensor) -> Tensor:
    """The y (..., N, K) with x y = b. Memory by rows is x^T, so that the transposed system is solved."""
    a, right = _copied(x), _copied(b.mT)
    n, columns, kind = a.shape[-1], b.shape[-1], KINDS[x.dtype]
    pivots, info, done = a.beside(n, dtype=i32), a.beside(dtype=i32), a.beside(dtype=i32)
    for i in _each(a):
        solver = a.owner.place.solver
        solver.lu(kind, n, n, a[i], pivots[i], info[i])
        solver.lu_solve(kind, True, n, columns, a[i], pivots[i], right[i], done[i])
    _checked(info, "Singular matrix")
    return right.tensor().mT


def inverse(x: Tensor) -> Tensor:
    """The inverse (..., N, N)."""
    return solve(x, _eye(x.shape[-1], x).expand(*x.shape))


def _eye(n: int, beside: Tensor) -> Tensor:
    """The unit matrix (n, n) on a tensor's device, where it is made."""
    row = FUNCTIONS["arange"](n, device=beside.device)
    made: Tensor = convert(row[:, None] == row, beside.dtype)
    return made


def solve_triangular(x: Tensor, b: Tensor, upper: bool) -> Tensor:
    """The y (..., N, K) with x y = b of a triangle x: y^T x^T = b^T, whose memory by columns is that of y x by rows."""
    a, right = _of(x), _copied(b)
    for i in _each(a):
        a.owner.place.solver.triangular(KINDS[x.dtype], not upper, b.shape[-1], a.shape[-1], a[i], right[i])
    return right.tensor()


def permutation(pivots: Tensor, rows: int, dtype: DType) -> Tensor:
    """P (..., rows, rows) of exchanges of rows from 1: those of the unit matrix, transposed."""
    check_pivots(pivots, rows)
    outside = ((pivots < 1) | (pivots > rows)).any()
    if bool(outside.host_array()):
        raise IndexOutOfRangeError(f"a pivot is not one of 1 to {rows}")
    given = _of(convert(pivots, i32), 1)
    eye = _eye(rows, convert(pivots, dtype))
    a = _copied(eye.expand(*given.lead, rows, rows))
    for i in _each(a):
        a.owner.place.solver.exchange_rows(KINDS[dtype], rows, a[i], given.shape[-1], given[i])
    return a.tensor()


def check_pivots(pivots: Tensor, rows: int) -> None:
    """Raises DTypeError and ShapeError unless they are numbers of exchanges of so many rows."""
    if pivots.dtype.kind not in "iu":
        raise DTypeError(f"pivots are int32, found {pivots.dtype}")
    if not pivots.ndim or pivots.shape[-1] > rows:
        raise ShapeError(f"pivots of shape {list(pivots.shape)} are not those of {rows} rows")


def geqrf(x: Tensor) -> tuple[Tensor, Tensor]:
    """R and reflections (..., M, N), and their factors (..., min(M, N))."""
    a = _copied(x.mT)
    n, m = a.shape
    tau, info = a.beside(min(m, n)), a.beside(dtype=i32)
    for i in _each(a):
        a.owner.place.solver.qr(KINDS[x.dtype], m, n, a[i], tau[i], info[i])
    return a.tensor().mT, tau.tensor()


def qr(x: Tensor, complete: bool) -> tuple[Tensor, Tensor]:
    """Q (..., M, K) and R (..., K, N), K = min(M, N), or M where `complete`."""
    h, tau = geqrf(x)
    m, n = x.shape[-2:]
    k = min(m, n)
    columns = m if complete else k
    r = h[..., :columns, :].triu()
    vectors = h[..., :, :k]
    if columns > k:
        vectors = FUNCTIONS["cat"]([vectors, FUNCTIONS["zeros"](*x.shape[:-2], m, columns - k, dtype=x.dtype)], -1)
    a, factors = _copied(vectors.mT), _of(tau, 1)
    info = a.beside(dtype=i32)
    for i in _each(a):
        a.owner.place.solver.q(KINDS[x.dtype], m, columns, k, a[i], factors[i], info[i])
    return a.tensor().mT, r


def svd(x: Tensor, full: bool) -> tuple[Tensor, Tensor, Tensor]:
    """U, S and V^T; memory by rows is x^T = V S U^T."""
    a = _copied(x)
    m, n = a.shape
    k = min(m, n)
    u, s, v = a.beside(m if full else k, m), a.beside(k), a.beside(n if full else k, n)
    info = a.beside(dtype=i32)
    for i in _each(a):
        a.owner.place.solver.svd(KINDS[x.dtype], full, n, m, a[i], s[i], v[i], u[i], info[i])
    _checked(info, "SVD did not converge")
    return u.tensor().mT, s.tensor(), v.tensor()


def pinverse(x: Tensor, rcond: float) -> Tensor:
    """The pseudo-inverse (..., N, M); singular values up to rcond times the largest count as 0."""
    u, s, vh = svd(x, False)
    kept = s > rcond * s.amax(-1, keepdim=True)
    back = FUNCTIONS["where"](kept, 1.0 / FUNCTIONS["where"](kept, s, 1.0), 0.0)
    made: Tensor = (vh.mT * back[..., None, :]) @ u.mT
    return made


def eigh(x: Tensor, upper: bool) -> tuple[Tensor, Tensor]:
    """Eigenvalues (..., N), ascending, and eigenvectors (..., N, N) as columns."""
    a = _copied(x)  # whose upper triangle is the lower one by columns
    n = a.shape[-1]
    w, info = a.beside(n), a.beside(dtype=i32)
    for i in _each(a):
        a.owner.place.solver.eigh(KINDS[x.dtype], not upper, n, a[i], w[i], info[i])
    _checked(info, "Eigenvalues did not converge")
    return w.tensor(), a.tensor().mT


def eig(x: Tensor) -> tuple[Tensor, Tensor]:
    """Pairs of eigenvalues (..., N, 2), and of eigenvectors as columns (..., N, N, 2)."""
    turned = x.mT.contiguous()
    a = _copied(FUNCTIONS["stack"]([turned, turned * 0.0], -1), 3)
    n = a.shape[-2]
    w, v, info = a.beside(n, 2), a.beside(n, n, 2), a.beside(dtype=i32)
    for i in _each(a):
        a.owner.place.solver.eig(KINDS[x.dtype], n, a[i], w[i], v[i], info[i])
    _checked(info, "Eigenvalues did not converge")
    return w.tensor(), v.tensor().transpose(-3, -2)


# --- transforms -------------------------------------------------------------------------------------------------------
def fourier_rows(x: Tensor, forth: bool) -> Tensor | None:
    """The transform of each row of pairs (..., N, 2) by cuFFT; None where it is not installed."""
    owner = gpu_engine(x.device.name)
    if owner.place.fft is None:
        return None
    a = _of(x)
    n, rows = a.shape[0], math.prod(a.lead)
    y = a.beside(n, 2)
    with owner.lock:
        owner.place.fft.rows(KINDS[x.dtype], n, rows, forth, a.buffer, y.buffer)
    return y.tensor()
