"""Linear algebra, with torch.linalg's names: products, systems, factorizations, eigenvalues and norms.

Factorizations run at once, by NumPy or on a GPU by cuSOLVER, in float32 and float64; their gradients are graph.
"""

from __future__ import annotations

from .diagnostics import LinAlgError
from .tensor import FUNCTIONS, Tensor
from .tensor import linalg as _products
from .tensor.attempts import cholesky_ex, inv_ex, solve_ex
from .tensor.indefinite import ldl_factor, ldl_factor_ex, ldl_solve
from .tensor.outputs import takes_out
from .tensor.register import COMPLEX, of_tensors, watching
from .tensor.spectra import (
    cond,
    eig,
    eigh,
    eigvals,
    eigvalsh,
    lstsq,
    matrix_norm,
    matrix_rank,
    multi_dot,
    norm,
    pinv,
    qr,
    svd,
    svdvals,
    tensorinv,
    tensorsolve,
    vander,
    vecdot,
    vector_norm,
)
from .tensor.triangles import factors as lu
from .tensor.triangles import householder_product, lu_factor, lu_factor_ex, solve, solve_triangular
from .tensor.triangles import solve_factored as lu_solve
from .tensor.uses import noted

__all__ = [
    "LinAlgError", "cholesky", "cholesky_ex", "cond", "cross", "det", "diagonal", "dot", "eig", "eigh", "eigvals",
    "eigvalsh", "householder_product", "inner", "inv", "inv_ex", "ldl_factor", "ldl_factor_ex", "ldl_solve",
    "lstsq", "lu", "lu_factor", "lu_factor_ex", "lu_solve", "matmul", "matrix_exp", "matrix_norm", "matrix_power",
    "matrix_rank", "multi_dot", "norm", "outer", "pinv", "qr", "slogdet", "solve", "solve_ex", "solve_triangular",
    "svd", "svdvals", "tensorinv", "tensorsolve", "vander", "vecdot", "vector_norm",
]  # fmt: skip

det, dot, inner, matmul = FUNCTIONS["det"], FUNCTIONS["dot"], FUNCTIONS["inner"], FUNCTIONS["matmul"]
inv, outer, slogdet = FUNCTIONS["inverse"], FUNCTIONS["outer"], FUNCTIONS["slogdet"]
matrix_exp, matrix_power = FUNCTIONS["matrix_exp"], FUNCTIONS["matrix_power"]


def cholesky(A: Tensor, *, upper: bool = False) -> Tensor:
    """L with L L^T = A, lower triangular, of symmetric positive matrices (..., N, N); L^T if `upper`."""
    return _products.cholesky(A, upper)


def cross(input: Tensor, other: Tensor, *, dim: int = -1) -> Tensor:
    """Cross products of vectors of 3 elements along an axis; other axes are broadcast."""
    made: Tensor = FUNCTIONS["cross"](*FUNCTIONS["broadcast_tensors"](input, other), dim)
    return made


def diagonal(A: Tensor, *, offset: int = 0, dim1: int = -2, dim2: int = -1) -> Tensor:
    """Diagonals of matrices, (..., min(M, N)) for offset 0."""
    made: Tensor = FUNCTIONS["diagonal"](A, offset, dim1, dim2)
    return made


_WITHOUT_OUT = ("diagonal", "dot", "inner", "inv", "matmul", "matrix_exp", "matrix_power", "outer", "vander")
"""What has no `out=`, or has it from the function of the package that it is."""

for _public in __all__[1:]:  # the error apart
    _f = noted(_public, globals()[_public])
    _f = _f if _f in FUNCTIONS.values() else of_tensors(_public, _f)
    _f = _f if _public in _WITHOUT_OUT else takes_out(_public, _f)
    globals()[_public] = watching(f"linalg.{_public}", _f) if f"linalg.{_public}" in COMPLEX else _f
