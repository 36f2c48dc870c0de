"""Inverses, solutions and Cholesky factors that say of which matrices there is none, instead of raising."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from ..diagnostics import LinAlgError
from . import gpu_matrices
from .core import Tensor
from .factor import cholesky, inverse, triangle, unit
from .levels import on_host
from .register import FUNCTIONS
from .triangles import factored, matrices, of_vectors, solve


class WithInfo(NamedTuple):
    """Inverses, NaN where there is none, and for each matrix the number of the pivot that is 0, from 1; else 0."""

    inverse: Tensor
    info: Tensor


class FactorInfo(NamedTuple):
    """Factors, NaN where there is none, and for each matrix the order of the leading minor that is not positive; else
    0."""

    L: Tensor
    info: Tensor


class ResultInfo(NamedTuple):
    """Solutions, NaN where there is none, and for each matrix the number of the pivot that is 0, from 1; else 0."""

    result: Tensor
    info: Tensor


def _numbers(a: Any, of_one: Callable[[Any], int]) -> Any:
    """of_one of each matrix of (..., N, N), int32 (...)."""
    found = [of_one(m) for m in a.reshape(-1, *a.shape[-2:])]
    return np.array(found, np.int32).reshape(a.shape[:-2])


def _has(f: Callable[[Any], Any], a: Any) -> bool:
    try:
        f(a)
    except np.linalg.LinAlgError:
        return False
    return True


def _pivot(a: Any) -> int:
    """The first pivot of 0 of a matrix without an inverse, from 1; its last where only LAPACK's order of additions
    finds one. 0 for another matrix."""
    if _has(np.linalg.inv, a):
        return 0
    return int(factored(a)[2]) or len(a)


def _minor(a: Any) -> int:
    """The order of the first leading minor that is not positive; 0 where all are."""
    if _has(triangle, a):
        return 0
    good, bad = 0, len(a)
    while bad - good > 1:
        middle = (good + bad) // 2
        good, bad = (middle, bad) if _has(triangle, a[:middle, :middle]) else (good, middle)
    return bad


def _pivots(A: Tensor) -> Tensor:
    made: Tensor = on_host(
        lambda a: _numbers(a, _pivot), A.detach(), on_gpu=lambda a: gpu_matrices.lu(a.mT.contiguous(), True)[2]
    )
    return made


def _minors(A: Tensor) -> Tensor:
    made: Tensor = on_host(lambda a: _numbers(a, _minor), A.detach(), on_gpu=gpu_matrices.minors)
    return made


def _attempted(
    f: Callable[[Tensor], Tensor], numbers: Callable[[Tensor], Tensor], A: Tensor, check_errors: bool
) -> tuple[Tensor, Tensor]:
    """f(A) and zeros; where a matrix has no result f of the unit matrix in its place, NaN after that."""
    try:
        return f(A), A.new_zeros(A.shape[:-2], dtype="int32")
    except LinAlgError:
        if check_errors:
            raise
    info = numbers(A)
    lost = info != 0
    lost = lost[..., None, None]
    there = f(FUNCTIONS["where"](lost, unit(A), A))
    return FUNCTIONS["where"](lost, math.nan, there), info


def inv_ex(A: Tensor, *, check_errors: bool = False) -> WithInfo:
    """Inverses of (..., N, N), NaN of singular matrices, and i32 (...): 0, or the number of the pivot that is 0.

    Raises LinAlgError for a singular matrix with `check_errors`."""
    matrices("inv", A, square=True)
    return WithInfo(*_attempted(inverse, _pivots, A, check_errors))


def cholesky_ex(A: Tensor, *, upper: bool = False, check_errors: bool = False) -> FactorInfo:
    """Triangles of `cholesky`, NaN where there is none, and i32 (...): 0, or the order of the first leading minor that
    is not positive.

    Raises LinAlgError for a matrix without one with `check_errors`."""
    matrices("cholesky", A, square=True)
    return FactorInfo(*_attempted(lambda a: cholesky(a, upper), _minors, A, check_errors))


def solve_ex(A: Tensor, B: Tensor, *, left: bool = True, check_errors: bool = False) -> ResultInfo:
    """The solutions of `solve`, NaN where A is singular, and i32 (...): 0, or the number of the pivot that is 0.

    Raises LinAlgError for a singular matrix with `check_errors`."""
    matrices("solve", A, square=True)
    if left and of_vectors(A, B):
        found = solve_ex(A, B.unsqueeze(-1), check_errors=check_errors)
        return ResultInfo(found.result.squeeze(-1), found.info)
    return ResultInfo(*_attempted(lambda a: solve(a, B, left=left), _pivots, A, check_errors))
