"""Stand-ins for cuSOLVER, cuBLAS and cuFFT that compute on host memory by LAPACK and NumPy, at once.

Matrices lie by columns, leading dimensions are those of the matrices, and what the libraries leave undefined is not
made up: triangles that nobody asked for keep what was there."""

from __future__ import annotations

import ctypes
from typing import Any

import numpy as np
from scipy.linalg import blas, lapack

Array = np.ndarray[Any, np.dtype[Any]]
KINDS = {"S": np.float32, "D": np.float64}
SPACE = 24  # elements that every function asks for


def _memory(pointer: Any, dtype: Any, *shape: int) -> Array:
    """Memory by columns, to be written."""
    count = int(np.prod(shape))
    kind = np.dtype(dtype)
    raw = (ctypes.c_uint8 * (count * kind.itemsize)).from_address(pointer.value)
    return np.ctypeslib.as_array(raw).view(kind).reshape(shape[::-1]).T


class FakeLibraries:
    """`load(library, version)` gives this for each of the libraries. `before`: called before each function reads."""

    def __init__(self, before: Any = lambda: None) -> None:
        self.before = before
        self.calls: list[str] = []
        self.plans: list[tuple[int, int]] = []

    def load(self, library: str, version: int) -> Any:
        return self

    def __getattr__(self, name: str) -> Any:
        if name.startswith(("cusolver", "cublas", "cufft")):
            return lambda *args: self._called(name, args)
        raise AttributeError(name)

    def _called(self, name: str, args: tuple[Any, ...]) -> int:
        self.calls.append(name)
        if name.endswith(("Create", "Create_v2", "GesvdjInfo", "CreateParams", "fftCreate")):
            args[0]._obj.value = 7
            return 0
        if "SetStream" in name or "Destroy" in name or name in ("cufftSetAutoAllocation", "cufftSetWorkArea"):
            return 0
        if name.endswith("_bufferSize"):
            for a in args:
                if hasattr(a, "_obj"):
                    a._obj.value = SPACE
            return 0
        self.before()
        kind = name.removeprefix("cusolverDn").removeprefix("cublas")
        if kind[0] in "SD":
            return getattr(self, "_" + kind[1:])(KINDS[kind[0]], *args[1:]) or 0
        return getattr(self, "_" + name)(*args) or 0

    def _potrf(self, t: Any, uplo: Any, n: Any, a: Any, lda: Any, space: Any, count: Any, info: Any) -> None:
        assert (lda.value, count.value) == (n.value, SPACE)
        m = _memory(a, t, n.value, n.value)
        c, found = lapack.get_lapack_funcs(("potrf",), (m,))[0](m, lower=not uplo.value, clean=0)
        m[:], _memory(info, np.int32, 1)[:] = c, found

    def _getrf(self, t: Any, m: Any, n: Any, a: Any, lda: Any, space: Any, pivots: Any, info: Any) -> None:
        x = _memory(a, t, m.value, n.value)
        made, rows, found = lapack.get_lapack_funcs(("getrf",), (x,))[0](x)
        assert pivots.value, "LAPACK has no factors without exchanges"
        x[:], _memory(info, np.int32, 1)[:] = made, found
        _memory(pivots, np.int32, len(rows))[:] = rows + 1

    def _getrs(
        self, t: Any, trans: Any, n: Any, k: Any, a: Any, lda: Any, pivots: Any, b: Any, ldb: Any, i: Any
    ) -> None:
        x, y = _memory(a, t, n.value, n.value), _memory(b, t, n.value, k.value)
        rows = _memory(pivots, np.int32, n.value) - 1
        if (np.diagonal(x) == 0).any():
            return
        y[:] = lapack.get_lapack_funcs(("getrs",), (x,))[0](x, rows, y, trans=trans.value)[0]

    def _laswp(self, t: Any, n: Any, a: Any, lda: Any, first: Any, last: Any, pivots: Any, step: Any) -> None:
        x = _memory(a, t, lda.value, n.value)
        for j, other in enumerate(_memory(pivots, np.int32, last.value)):
            x[[j, other - 1]] = x[[other - 1, j]]

    def _geqrf(self, t: Any, m: Any, n: Any, a: Any, lda: Any, tau: Any, space: Any, count: Any, info: Any) -> None:
        x = _memory(a, t, m.value, n.value)
        made, factors, _, _ = lapack.get_lapack_funcs(("geqrf",), (x,))[0](x)
        x[:], _memory(tau, t, len(factors))[:] = made, factors

    def _orgqr(
        self, t: Any, m: Any, n: Any, k: Any, a: Any, lda: Any, tau: Any, space: Any, count: Any, i: Any
    ) -> None:
        x = _memory(a, t, m.value, n.value)
        x[:] = lapack.get_lapack_funcs(("orgqr",), (x,))[0](x, _memory(tau, t, k.value))[0]

    def _syevd(
        self, t: Any, job: Any, uplo: Any, n: Any, a: Any, lda: Any, w: Any, space: Any, count: Any, info: Any
    ) -> None:
        x = _memory(a, t, n.value, n.value)
        values, vectors, found = lapack.get_lapack_funcs(("syevd",), (x,))[0](x, lower=not uplo.value)
        x[:], _memory(w, t, n.value)[:], _memory(info, np.int32, 1)[:] = vectors, values, found

    def _gesvdj(
        self, t: Any, job: Any, econ: Any, m: Any, n: Any, a: Any, lda: Any, s: Any, u: Any, ldu: Any, *rest: Any
    ) -> None:
        v, ldv, _, _, info, _ = rest
        assert (lda.value, ldu.value, ldv.value) == (m.value, m.value, n.value)
        x = _memory(a, t, m.value, n.value)
        left, values, right = np.linalg.svd(x, full_matrices=not econ.value)
        _memory(u, t, *left.shape)[:], _memory(s, t, len(values))[:] = left, values
        _memory(v, t, *right.T.shape)[:], _memory(info, np.int32, 1)[:] = right.T, 0
        x[:] = np.nan

    def _trsm_v2(
        self, t: Any, side: Any, uplo: Any, trans: Any, diag: Any, m: Any, n: Any, one: Any, *rest: Any
    ) -> None:
        a, _, b, ldb = rest
        assert (side.value, trans.value, diag.value, one._obj.value, ldb.value) == (1, 0, 0, 1.0, m.value)
        x, y = _memory(a, t, n.value, n.value), _memory(b, t, m.value, n.value)
        y[:] = blas.get_blas_funcs(("trsm",), (x,))[0](1.0, x, y, side=1, lower=not uplo.value)

    def _cusolverDnXgeev(self, handle: Any, *args: Any) -> None:
        _, left, right, n, kind, a, _, _, w, _, _, _, _, v, _, _, _, _, _, _, info = args
        assert (left.value, right.value) == (0, 1)
        t = {4: np.complex64, 5: np.complex128}[kind.value]
        values, vectors = np.linalg.eig(_memory(a, t, n.value, n.value))
        _memory(w, t, n.value)[:], _memory(v, t, n.value, n.value)[:] = values, vectors
        _memory(info, np.int32, 1)[:] = 0

    def _cufftMakePlanMany(self, plan: Any, rank: Any, n: Any, *rest: Any) -> None:
        _, step, far, _, _, _, _, rows, size = rest
        assert (rank.value, step.value, far.value) == (1, 1, n._obj.value)
        plan.value, size._obj.value = len(self.plans), SPACE
        self.plans.append((n._obj.value, rows.value))

    def _exec(self, t: Any, plan: Any, x: Any, y: Any, sign: Any) -> None:
        n, rows = self.plans[plan.value]
        z = _memory(x, t, n, rows)
        _memory(y, t, n, rows)[:] = np.fft.fft(z, axis=0) if sign.value == -1 else np.fft.ifft(z, axis=0) * n

    def _cufftExecC2C(self, *args: Any) -> None:
        self._exec(np.complex64, *args)

    def _cufftExecZ2Z(self, *args: Any) -> None:
        self._exec(np.complex128, *args)
