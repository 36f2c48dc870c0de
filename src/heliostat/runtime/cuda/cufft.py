"""cuFFT through ctypes: transforms of rows of complex numbers, where it is installed."""

from __future__ import annotations

import ctypes
import weakref
from collections import OrderedDict

from .buffer import DeviceBuffer
from .device import Device
from .libraries import Library
from .stream import Stream

PLANS = 64  # that are kept

_STATUS = {
    1: "the plan is invalid", 2: "it could not allocate", 4: "a value is invalid", 5: "an internal error",
    6: "it failed on the device", 7: "it is not initialized", 8: "the size is invalid",
}  # fmt: skip
_TYPES = {"S": (0x29, "cufftExecC2C"), "D": (0x69, "cufftExecZ2Z")}
_FORWARD, _INVERSE = -1, 1


class _Plan:
    def __init__(self, library: Library, type: int, n: int, rows: int, stream: Stream) -> None:
        self.handle, size = ctypes.c_int(), ctypes.c_size_t()
        library.call("cufftCreate", ctypes.byref(self.handle))
        self._release = weakref.finalize(self, library.loaded.cufftDestroy, self.handle)
        self._release.atexit = False
        library.call("cufftSetAutoAllocation", self.handle, 0)
        library.call(
            "cufftMakePlanMany", self.handle, 1, ctypes.byref(ctypes.c_int(n)), None, 1, n, None, 1, n, type, rows,
            ctypes.byref(size),
        )  # fmt: skip
        library.call("cufftSetStream", self.handle, ctypes.c_void_p(int(stream.handle)))
        self.workspace = size.value


class Cufft:
    """Plans for one device and one stream, whose workspace is of the device's pool."""

    def __init__(self, device: Device, stream: Stream) -> None:
        """Raises DeviceUnavailableError where the library is not installed."""
        self.library = Library("cufft", device.driver.version, _STATUS, "cuFFT")
        self.device, self.stream = device, stream
        self._plans: OrderedDict[tuple[str, int, int], _Plan] = OrderedDict()

    def rows(self, kind: str, n: int, rows: int, forth: bool, x: DeviceBuffer, y: DeviceBuffer) -> None:
        """sum over j of x[j] exp(-2 pi i j k / n), with + unless `forth`, of each row (rows, n) of complex numbers.
        kind: S for complex64, D for complex128. Raises LibraryError."""
        self.device.activate()
        type, execute = _TYPES[kind]
        key = kind, n, rows
        plan = self._plans.get(key)
        if plan is None:
            plan = self._plans[key] = _Plan(self.library, type, n, rows, self.stream)
            if len(self._plans) > PLANS:
                self.stream.synchronize()
                self._plans.popitem(last=False)
        self._plans.move_to_end(key)
        space = DeviceBuffer.allocate(self.device, max(plan.workspace, 1), self.stream)
        self.library.call("cufftSetWorkArea", plan.handle, space)
        self.library.call(execute, plan.handle, x, y, _FORWARD if forth else _INVERSE)
