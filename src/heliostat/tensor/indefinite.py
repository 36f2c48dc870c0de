"""Factors L D L^T of symmetric matrices that need not be positive, and systems by them.

D has blocks of one and two rows on its diagonal. Layout and pivots are those of LAPACK's `sytrf` with the lower
triangle; the choice of pivots is that of J. Bunch and L. Kaufman, Some stable methods for calculating inertia and
solving symmetric linear systems (1977). On the cpu alone.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np

from ..diagnostics import DTypeError, IndexOutOfRangeError, LinAlgError, ShapeError, UnsupportedError
from .core import Tensor
from .function import Function
from .levels import on_host
from .register import FUNCTIONS
from .triangles import matrices

_ALPHA = (1 + math.sqrt(17)) / 8
"""The share of its column from which an element of the diagonal is a pivot: elements grow by 2.57 a row at most."""


class LDL(NamedTuple):
    """L below the diagonal and D on it and beside it, and pivots: k for a row exchanged with row k, -k twice for a
    block of two rows, whose second was."""

    LD: Tensor
    pivots: Tensor


class LDLInfo(NamedTuple):
    """As `LDL`, and the number of the first block of D that is 0, from 1; 0 where there is none."""

    LD: Tensor
    pivots: Tensor
    info: Tensor


def _choice(a: Any, k: int) -> tuple[int, int]:
    """How many rows the next pivot has, and which row its last one is exchanged with."""
    here, below = abs(a[k, k]), np.abs(a[k + 1 :, k])
    if not len(below) or here >= _ALPHA * below.max():
        return 1, k
    i, most = k + 1 + int(below.argmax()), below.max()
    row = max(np.abs(a[i, k:i]).max(), np.abs(a[i + 1 :, i]).max(initial=0))
    if here >= _ALPHA * most * (most / row):
        return 1, k
    return (1, i) if abs(a[i, i]) >= _ALPHA * row else (2, i)


def _exchange(a: Any, i: int, j: int) -> None:
    """Rows and columns i and j, i < j, of the lower triangle from column i on."""
    a[j + 1 :, [i, j]] = a[j + 1 :, [j, i]]
    kept = a[i + 1 : j, i].copy()
    a[i + 1 : j, i] = a[j, i + 1 : j]
    a[j, i + 1 : j] = kept
    a[i, i], a[j, j] = a[j, j], a[i, i]


def _block(a: Any, k: int, rows: int) -> Any:
    """A block of D from row k on, whole, of the lower triangle."""
    low = np.tril(a[k : k + rows, k : k + rows])
    return low + np.tril(low, -1).T


def _factor(a: Any) -> tuple[Any, int]:
    """Pivots and info; the lower triangle becomes L and D."""
    n, k, info = len(a), 0, 0
    pivots = np.zeros(n, np.int32)
    while k < n:
        if not np.abs(a[k:, k]).max() > 0:
            pivots[k], info, k = k + 1, info or k + 1, k + 1
            continue
        rows, other = _choice(a, k)
        last, end = k + rows - 1, k + rows
        if other != last:
            _exchange(a, last, other)
            if rows == 2:
                a[[last, other], k] = a[[other, last], k]
        pivots[k:end] = other + 1 if rows == 1 else -(other + 1)
        columns = a[end:, k:end].copy()
        low = np.linalg.solve(_block(a, k, rows), columns.T).T
        a[end:, end:] -= low @ columns.T
        a[end:, k:end] = low
        k = end
    return pivots, info


def _factored(a: Any) -> tuple[Any, Any, Any]:
    lead, n = a.shape[:-2], a.shape[-1]
    made = np.tril(a)
    found = [_factor(m) for m in made.reshape(-1, n, n)] if n else []
    pivots = np.array([p for p, _ in found], np.int32).reshape(*lead, n)
    info = np.array([i for _, i in found], np.int32).reshape(lead) if n else np.zeros(lead, np.int32)
    return np.tril(made), pivots, info


def _blocks(pivots: Any) -> list[tuple[int, int, int]]:
    """First row, number of rows and exchanged row of each block. Raises IndexOutOfRangeError for other numbers."""
    n, k, found = len(pivots), 0, []
    while k < n:
        p = int(pivots[k])
        rows = 1 if p > 0 else 2
        if not k + rows <= abs(p) + rows - 1 <= n + rows - 1 or (rows == 2 and (k + 2 > n or pivots[k + 1] != p)):
            raise IndexOutOfRangeError(f"pivots {pivots.tolist()} are not those of ldl_factor")
        found.append((k, rows, abs(p) - 1))
        k += rows
    return found


def _solve(ld: Any, pivots: Any, y: Any) -> None:
    """Solves in y, (N, K)."""
    blocks = _blocks(pivots)
    for k, rows, other in blocks:
        last, end = k + rows - 1, k + rows
        y[[last, other]] = y[[other, last]]
        y[end:] -= ld[end:, k:end] @ y[k:end]
        d = _block(ld, k, rows)
        y[k:end] = y[k:end] / d if rows == 1 else np.linalg.solve(d, y[k:end])
    for k, rows, other in reversed(blocks):
        last, end = k + rows - 1, k + rows
        y[k:end] -= ld[end:, k:end].T @ y[end:]
        y[[last, other]] = y[[other, last]]


def _solved(ld: Any, pivots: Any, b: Any) -> Any:
    lead = np.broadcast_shapes(ld.shape[:-2], b.shape[:-2])
    n = ld.shape[-1]
    y = np.array(np.broadcast_to(b, (*lead, *b.shape[-2:])))
    rows = np.broadcast_to(ld, (*lead, n, n)).reshape(math.prod(lead), n, n)
    numbers = np.broadcast_to(pivots, (*lead, n)).reshape(math.prod(lead), n)
    with np.errstate(all="ignore"):
        for m, p, right in zip(rows, numbers, y.reshape(math.prod(lead), *b.shape[-2:]), strict=True):
            _solve(m, p, right)
    return y


class _Solve(Function):
    @staticmethod
    def forward(ctx: Any, ld: Tensor, pivots: Tensor, b: Tensor) -> Tensor:
        ctx.save_for_backward(ld, pivots)
        made: Tensor = on_host(_solved, ld.detach(), pivots.detach(), b.detach())
        return made

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> Any:
        """The matrix is symmetric: its transpose's solution is its own."""
        return None, None, _Solve.apply(*ctx.saved_tensors, g)


def ldl_factor_ex(A: Tensor, *, hermitian: bool = False, check_errors: bool = False) -> LDLInfo:
    """L, D, pivots i32 (..., N) and info i32 (...) of symmetric matrices (..., N, N), of which the lower triangle is
    read. `hermitian` is nothing for real ones. Without gradients.

    Raises LinAlgError for a block of D that is 0 with `check_errors`, UnsupportedError for a tensor that requires
    grad."""
    matrices("ldl_factor", A, square=True)
    if A.requires_grad:
        raise UnsupportedError("ldl_factor has no gradient", help="use linalg.solve, or detach()")
    found = LDLInfo(*on_host(_factored, A))
    if check_errors and bool(found.info.any()):
        raise LinAlgError("ldl_factor: a block of D is 0", help="the matrix is singular")
    return found


def ldl_factor(A: Tensor, *, hermitian: bool = False) -> LDL:
    """L, D and pivots of `ldl_factor_ex`. Raises LinAlgError for a singular matrix that D shows."""
    return LDL(*ldl_factor_ex(A, hermitian=hermitian, check_errors=True)[:2])


def ldl_solve(LD: Tensor, pivots: Tensor, B: Tensor, *, hermitian: bool = False) -> Tensor:
    """The X with A X = B (..., N, K), of A's `ldl_factor`; with a gradient for B. A block of D that is 0 gives
    infinities.

    Raises IndexOutOfRangeError for pivots that are none."""
    matrices("ldl_solve", LD, B)
    matrices("ldl_solve", LD, square=True)
    if pivots.dtype.kind not in "iu":
        raise DTypeError(f"pivots are int32, found {pivots.dtype}")
    if B.shape[-2] != LD.shape[-1] or tuple(pivots.shape) != tuple(LD.shape[:-1]):
        sizes = ", ".join(str(list(t.shape)) for t in (LD, pivots, B))
        raise ShapeError(f"ldl_solve: {sizes} do not fit")
    lead = tuple(FUNCTIONS["broadcast_shapes"](LD.shape[:-2], B.shape[:-2]))
    made: Tensor = _Solve.apply(LD, pivots, B.expand(*lead, *B.shape[-2:]))
    return made
