"""cuSOLVER and cuBLAS through ctypes: factorizations and triangular systems of dense float32 and float64 matrices.

Matrices lie by columns here, as the libraries have them: memory by rows is the transposed matrix. Calls go to one
stream and take their workspace from the device's pool. `kind` is S for float32 and D for float64. Counts of what went
wrong are written to `info`, i32, which nobody here reads.
"""

from __future__ import annotations

import ctypes
import weakref
from typing import Any

from ...diagnostics import UnsupportedError
from .buffer import DeviceBuffer
from .device import Device
from .libraries import Library
from .stream import Stream

SIZES = {"S": 4, "D": 8}  # bytes of an element

_SOLVER_STATUS = {
    1: "it is not initialized", 2: "it could not allocate", 3: "a value is invalid", 4: "the device is not served",
    6: "it failed on the device", 7: "an internal error", 8: "this matrix type is not supported", 9: "not supported",
}  # fmt: skip
_BLAS_STATUS = {
    1: "it is not initialized", 3: "it could not allocate", 7: "a value is invalid", 8: "the device is not served",
    13: "it failed on the device", 14: "an internal error", 15: "not supported",
}  # fmt: skip
_LOWER, _UPPER = 0, 1  # cublasFillMode_t
_PLAIN, _TRANSPOSED = 0, 1  # cublasOperation_t
_RIGHT = 1  # cublasSideMode_t
_NO_VECTORS, _VECTORS = 0, 1  # cusolverEigMode_t
_COMPLEX = {"S": 4, "D": 5}  # cudaDataType


class DenseSolver:
    """Handles of both libraries for one device and one stream."""

    def __init__(self, device: Device, stream: Stream) -> None:
        """Raises DeviceUnavailableError where a library is not installed, LibraryError where one does not start."""
        version = device.driver.version
        self.blas = Library("cublas", version, _BLAS_STATUS, "cuBLAS")
        self.solver = Library("cusolver", version, _SOLVER_STATUS, "cuSOLVER")
        self.device, self.stream = device, stream
        device.activate()
        self.handle, self.blas_handle = ctypes.c_void_p(), ctypes.c_void_p()
        self.solver.call("cusolverDnCreate", ctypes.byref(self.handle))
        self.blas.call("cublasCreate_v2", ctypes.byref(self.blas_handle))
        self.solver.call("cusolverDnSetStream", self.handle, ctypes.c_void_p(int(stream.handle)))
        self.blas.call("cublasSetStream_v2", self.blas_handle, ctypes.c_void_p(int(stream.handle)))
        self._jacobi = ctypes.c_void_p()
        self.solver.call("cusolverDnCreateGesvdjInfo", ctypes.byref(self._jacobi))
        self._release = weakref.finalize(self, _closed, self.solver, self.handle, self.blas, self.blas_handle)
        self._release.atexit = False

    def _call(self, name: str, *args: Any) -> None:
        self.device.activate()
        self.solver.call(name, self.handle, *args)

    def _with_workspace(
        self, kind: str, name: str, *args: Any, behind: tuple[Any, ...] = (), size: bool = True
    ) -> None:
        """A function of arguments, workspace, its size and further arguments, which are those of its `_bufferSize` but
        for the last one, `info`."""
        function = f"cusolverDn{kind}{name}"
        count = ctypes.c_int()
        asked = behind[1:] if name == "gesvdj" else ()
        self._call(f"{function}_bufferSize", *self._asked(name, args), ctypes.byref(count), *asked)
        space = DeviceBuffer.allocate(self.device, max(count.value, 1) * SIZES[kind], self.stream)
        self._call(function, *args, space, *([count.value] if size else []), *behind)

    @staticmethod
    def _asked(name: str, args: tuple[Any, ...]) -> tuple[Any, ...]:
        return args[:-1] if name == "geqrf" else args  # which is not asked where factors go

    def cholesky(self, kind: str, upper: bool, n: int, a: DeviceBuffer, info: DeviceBuffer) -> None:
        """L of A = L L^T in the place of a triangle of A, (n, n); of the upper one, L^T."""
        self._with_workspace(kind, "potrf", _UPPER if upper else _LOWER, n, a, n, behind=(info,))

    def lu(self, kind: str, m: int, n: int, a: DeviceBuffer, pivots: DeviceBuffer | None, info: DeviceBuffer) -> None:
        """L and U in the place of A, (m, n), and the row that each was exchanged with, i32 from 1; none without
        `pivots`."""
        self._with_workspace(kind, "getrf", m, n, a, m, behind=(pivots, info), size=False)

    def lu_solve(
        self, kind: str, transposed: bool, n: int, columns: int, a: DeviceBuffer, pivots: DeviceBuffer,
        b: DeviceBuffer, info: DeviceBuffer,
    ) -> None:  # fmt: skip
        """X of A X = B, or A^T X = B, in the place of B (n, columns), of A's factors."""
        turned = _TRANSPOSED if transposed else _PLAIN
        self._call(f"cusolverDn{kind}getrs", turned, n, columns, a, n, pivots, b, n, info)

    def exchange_rows(self, kind: str, n: int, a: DeviceBuffer, count: int, pivots: DeviceBuffer) -> None:
        """Exchange rows of A, (n, n), by the first `count` pivots, in place."""
        self._call(f"cusolverDn{kind}laswp", n, a, n, 1, count, pivots, 1)

    def qr(self, kind: str, m: int, n: int, a: DeviceBuffer, tau: DeviceBuffer, info: DeviceBuffer) -> None:
        """R and reflections in the place of A, (m, n), and their factors (min(m, n))."""
        self._with_workspace(kind, "geqrf", m, n, a, m, tau, behind=(info,))

    def q(self, kind: str, m: int, n: int, k: int, a: DeviceBuffer, tau: DeviceBuffer, info: DeviceBuffer) -> None:
        """The first n columns of the product of k reflections, in their place, (m, n)."""
        self._with_workspace(kind, "orgqr", m, n, k, a, m, tau, behind=(info,))

    def eigh(self, kind: str, upper: bool, n: int, a: DeviceBuffer, w: DeviceBuffer, info: DeviceBuffer) -> None:
        """Eigenvalues (n,), ascending, of a symmetric A, (n, n), and eigenvectors in its place."""
        self._with_workspace(kind, "syevd", _VECTORS, _UPPER if upper else _LOWER, n, a, n, w, behind=(info,))

    def svd(
        self, kind: str, full: bool, m: int, n: int, a: DeviceBuffer, s: DeviceBuffer, u: DeviceBuffer,
        v: DeviceBuffer, info: DeviceBuffer,
    ) -> None:  # fmt: skip
        """U (m, m or k), S (k,) and V (n, n or k) of A (m, n), which is spoilt, by Jacobi's method; k = min(m, n)."""
        args = (_VECTORS, int(not full), m, n, a, m, s, u, m, v, n)
        self._with_workspace(kind, "gesvdj", *args, behind=(info, self._jacobi))

    def eig(self, kind: str, n: int, a: DeviceBuffer, w: DeviceBuffer, v: DeviceBuffer, info: DeviceBuffer) -> None:
        """Eigenvalues (n,) and eigenvectors (n, n) of A (n, n), which is spoilt: all complex.

        Raises UnsupportedError where cuSOLVER is older than that of CUDA 12.6. The host waits."""
        if not self.solver.has("cusolverDnXgeev"):
            raise UnsupportedError(
                "eig on a GPU needs cuSOLVER of CUDA 12.6 or newer",
                help="update it, or copy the tensor by .cpu() first",
            )
        parameters = ctypes.c_void_p()
        self.solver.call("cusolverDnCreateParams", ctypes.byref(parameters))
        try:
            wide, type_ = ctypes.c_int64(n), _COMPLEX[kind]
            args = (
                parameters, _NO_VECTORS, _VECTORS, wide, type_, a, wide, type_, w, type_, None, wide, type_, v, wide,
                type_,
            )  # fmt: skip
            there, here = ctypes.c_size_t(), ctypes.c_size_t()
            self._call("cusolverDnXgeev_bufferSize", *args, ctypes.byref(there), ctypes.byref(here))
            space = DeviceBuffer.allocate(self.device, max(there.value, 1), self.stream)
            host = (ctypes.c_uint8 * max(here.value, 1))()
            self._call("cusolverDnXgeev", *args, space, there, host, here, info)
            self.stream.synchronize()
        finally:
            self.solver.call("cusolverDnDestroyParams", parameters)

    def triangular(self, kind: str, upper: bool, rows: int, n: int, a: DeviceBuffer, b: DeviceBuffer) -> None:
        """X of X A = B in the place of B (rows, n), of a triangle of A (n, n)."""
        self.device.activate()
        one = ctypes.c_float(1.0) if kind == "S" else ctypes.c_double(1.0)
        self.blas.call(
            f"cublas{kind}trsm_v2", self.blas_handle, _RIGHT, _UPPER if upper else _LOWER, _PLAIN, 0, rows, n,
            ctypes.byref(one), a, n, b, rows,
        )  # fmt: skip


def _closed(solver: Library, handle: Any, blas: Library, blas_handle: Any) -> None:
    solver.loaded.cusolverDnDestroy(handle)
    blas.loaded.cublasDestroy_v2(blas_handle)
