"""cuBLASLt through ctypes: large dense products by NVIDIA's library, where it is installed.

Looked for in the pip packages of NVIDIA (`nvidia-cublas`, with PyTorch's) and where the system finds libraries. Nothing
here is needed: a program whose products name the library runs its own kernels without it.
"""

from __future__ import annotations

import ctypes
import weakref
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from ...diagnostics import DeviceUnavailableError
from ...kernel.library import LibraryProduct
from ...settings import settings
from .buffer import DeviceBuffer
from .device import Device, KernelName
from .libraries import LibraryError, load
from .stream import Stream

WORKSPACE = 32 << 20  # bytes, as NVIDIA advises for compute capability 9.0
MOST = 8  # algorithms that are asked for

_KINDS = {"f32": 0, "f16": 2, "bf16": 14}  # cudaDataType
_BYTES = {"f32": 4, "f16": 2, "bf16": 2}
_COMPUTE_F32 = 68
_TRANSA, _TRANSB, _EPILOGUE, _BIAS = 3, 4, 7, 8  # attributes of a product
_ADD_BIAS = 4  # an epilogue
_BATCH, _STRIDE = 5, 6  # attributes of a layout
_MOST_WORKSPACE = 1  # attribute of a preference
_STATUS = {
    1: "it is not initialized", 3: "it could not allocate", 7: "a value is invalid", 8: "the device is not served",
    11: "memory could not be mapped", 13: "it failed on the device", 14: "an internal error", 15: "not supported",
    16: "a license error",
}  # fmt: skip
_NOT_SUPPORTED = 15


class CublasLtError(LibraryError):
    """A call of cuBLASLt failed. `status` is its cublasStatus_t."""


class _Algorithm(ctypes.Structure):
    _fields_ = (("data", ctypes.c_uint64 * 8),)


class _Found(ctypes.Structure):
    """cublasLtMatmulHeuristicResult_t."""

    _fields_ = (
        ("algorithm", _Algorithm), ("workspace", ctypes.c_size_t), ("state", ctypes.c_int),
        ("waves", ctypes.c_float), ("reserved", ctypes.c_int * 4),
    )  # fmt: skip


def _library(version: int) -> ctypes.CDLL | str:
    """The library, or why there is none."""
    return load("cublasLt", version)


class CublasLt:
    """A handle of the library and its workspace for one device and one stream."""

    def __init__(self, device: Device, stream: Stream, library: Any = None) -> None:
        """Raises DeviceUnavailableError where the library is not installed, CublasLtError where it does not start."""
        found = library or _library(device.driver.version)
        if isinstance(found, str):
            raise DeviceUnavailableError(
                f"cuBLASLt is not installed: {found}", help="pip install nvidia-cublas, of the driver's CUDA version"
            )
        self.library, self.device, self.stream = found, device, stream
        device.activate()
        handle = ctypes.c_void_p()
        self.call("cublasLtCreate", ctypes.byref(handle))
        self.handle = handle
        self.workspace = DeviceBuffer.allocate(device, WORKSPACE, stream)
        get = found.cublasLtGetVersion
        get.restype = ctypes.c_size_t
        self.version = int(get())
        self._found: dict[LibraryProduct, list[_Found]] = {}

    def call(self, name: str, *args: Any) -> None:
        """Call a function of the library. Raises CublasLtError."""
        status = int(getattr(self.library, name)(*args))
        if status:
            reason = _STATUS.get(status, f"status {status}")
            raise CublasLtError(f"cuBLASLt: {name} failed: {reason}", status=status)

    def algorithms(self, product: LibraryProduct) -> int:
        """How many algorithms the library offers for a product, at most `MOST`."""
        return len(self._offered(_Descriptors(self, product)))

    def launch(self, product: LibraryProduct, name: str, program: str = "") -> LibraryLaunch:
        """The product as a launch of arguments a, b, the bias if there is one, y. Raises CublasLtError where its
        algorithm is not offered."""
        return LibraryLaunch(self, product, name, program)

    def _offered(self, d: _Descriptors) -> list[_Found]:
        product = d.product
        key = replace(product, algorithm=0)
        if key not in self._found:
            self.device.activate()
            preference, results, count = ctypes.c_void_p(), (_Found * MOST)(), ctypes.c_int()
            self.call("cublasLtMatmulPreferenceCreate", ctypes.byref(preference))
            try:
                self._set(
                    "cublasLtMatmulPreferenceSetAttribute", preference, _MOST_WORKSPACE, ctypes.c_uint64(WORKSPACE)
                )
                self.call(
                    "cublasLtMatmulAlgoGetHeuristic",
                    self.handle, d.product_handle, d.left, d.right, d.result, d.result,
                    preference, ctypes.c_int(MOST), results, ctypes.byref(count),
                )  # fmt: skip
            except CublasLtError as error:
                if error.status != _NOT_SUPPORTED:
                    raise
            finally:
                self.library.cublasLtMatmulPreferenceDestroy(preference)
            self._found[key] = [r for r in results[: count.value] if r.state == 0]
        return self._found[key]

    def _set(self, name: str, what: ctypes.c_void_p, attribute: int, value: Any) -> None:
        self.call(name, what, ctypes.c_int(attribute), ctypes.byref(value), ctypes.c_size_t(ctypes.sizeof(value)))


class _Descriptors:
    """A product as the library wants it: columns first, so that y^T = op(b)^T op(a)^T of what lies in rows."""

    def __init__(self, owner: CublasLt, product: LibraryProduct) -> None:
        self.product, self.library = product, owner.library
        p = product
        self.product_handle = ctypes.c_void_p()
        self.handles: list[tuple[str, ctypes.c_void_p]] = []
        self._release = weakref.finalize(self, _destroy, owner.library, self.handles)
        owner.call(
            "cublasLtMatmulDescCreate", ctypes.byref(self.product_handle), ctypes.c_int(_COMPUTE_F32),
            ctypes.c_int(_KINDS["f32"]),
        )  # fmt: skip
        self.handles.append(("cublasLtMatmulDescDestroy", self.product_handle))
        owner._set("cublasLtMatmulDescSetAttribute", self.product_handle, _TRANSA, ctypes.c_int32(int(p.b_turned)))
        owner._set("cublasLtMatmulDescSetAttribute", self.product_handle, _TRANSB, ctypes.c_int32(int(p.turned)))
        a = (p.rows, p.depth) if p.turned else (p.depth, p.rows)
        b = (p.depth, p.columns) if p.b_turned else (p.columns, p.depth)
        self.left = self._layout(owner, p.kind, *b)
        self.right = self._layout(owner, p.kind, *a)
        self.result = self._layout(owner, p.result, p.columns, p.rows)
        if p.bias:
            owner._set("cublasLtMatmulDescSetAttribute", self.product_handle, _EPILOGUE, ctypes.c_int32(_ADD_BIAS))
            self.set_bias(owner, owner.workspace.address)  # an address as good as that of a launch, for the algorithms

    def set_bias(self, owner: CublasLt, address: int) -> None:
        """Where the row lies that is added."""
        owner._set("cublasLtMatmulDescSetAttribute", self.product_handle, _BIAS, ctypes.c_void_p(address))

    def _layout(self, owner: CublasLt, kind: str, rows: int, columns: int) -> ctypes.c_void_p:
        made = ctypes.c_void_p()
        size = ctypes.c_uint64
        owner.call(
            "cublasLtMatrixLayoutCreate", ctypes.byref(made), ctypes.c_int(_KINDS[kind]), size(rows), size(columns),
            ctypes.c_int64(rows),
        )  # fmt: skip
        self.handles.append(("cublasLtMatrixLayoutDestroy", made))
        if self.product.batch > 1:
            owner._set("cublasLtMatrixLayoutSetAttribute", made, _BATCH, ctypes.c_int32(self.product.batch))
            owner._set("cublasLtMatrixLayoutSetAttribute", made, _STRIDE, ctypes.c_int64(rows * columns))
        return made


def _destroy(library: Any, handles: list[tuple[str, ctypes.c_void_p]]) -> None:
    for name, handle in handles:
        getattr(library, name)(handle)


class _Words:
    """Addresses of a launch, which `arguments.words()` gives to be written, as those of a kernel's."""

    def __init__(self, count: int) -> None:
        self._words = np.zeros(count, np.int64)

    def words(self) -> npt.NDArray[np.int64]:
        return self._words


class LibraryLaunch:
    """One product of the library: `launch(stream)` runs it or puts it into the graph that is captured. The addresses of
    a, b, the bias if there is one, and y are `arguments.words()`; whoever writes them keeps the memory alive."""

    def __init__(self, owner: CublasLt, product: LibraryProduct, name: str, program: str) -> None:
        self.owner, self.product, self.device = owner, product, owner.device
        self.names = (KernelName(program, f"{name} by cuBLASLt"),)
        self._descriptors = _Descriptors(owner, product)
        offered = owner._offered(self._descriptors)
        if product.algorithm >= len(offered):
            raise CublasLtError(
                f"cuBLASLt {owner.version} offers {len(offered)} algorithms for {product.key}, not one of number "
                f"{product.algorithm}",
                help="run `heliostat tune` again: the library is another one than the tuner's",
            )
        self._algorithm = offered[product.algorithm].algorithm
        self.arguments = _Words(4 if product.bias else 3)
        self._blocking = settings().cuda_blocking
        self._one, self._zero = ctypes.c_float(1.0), ctypes.c_float(0.0)

    def __call__(self, stream: Stream) -> None:
        """Run the product, in the order of `stream`. The host does not wait.

        Raises CublasLtError, and KernelFaultError if a kernel before failed (with HELIOSTAT_CUDA_BLOCKING=1, if this
        one fails).
        """
        self.device.activate()
        d, owner = self._descriptors, self.owner
        assert stream is owner.stream  # whose workspace it is
        words = [int(word) for word in self.arguments.words()]
        a, b, y = (ctypes.c_void_p(word) for word in (*words[:2], words[-1]))
        if self.product.bias:
            d.set_bias(owner, words[2])
        owner.call(
            "cublasLtMatmul", owner.handle, d.product_handle, ctypes.byref(self._one), b, d.left, a, d.right,
            ctypes.byref(self._zero), y, d.result, y, d.result, ctypes.byref(self._algorithm),
            ctypes.c_void_p(owner.workspace.address), ctypes.c_size_t(WORKSPACE), ctypes.c_void_p(int(stream.handle)),
        )  # fmt: skip
        if stream.captured is not None:
            stream.captured.append(self)
            return
        stream.trail.append(self.names)
        if self._blocking:
            stream.synchronize()

    def alone(self) -> LibraryLaunch:
        """The same launch with addresses of its own."""
        return LibraryLaunch(
            self.owner, self.product, self.names[0].kernel.removesuffix(" by cuBLASLt"), self.names[0].program
        )

    def __repr__(self) -> str:
        return f"LibraryLaunch({self.product.key}, algorithm {self.product.algorithm})"
