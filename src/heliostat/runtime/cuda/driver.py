"""The CUDA driver API of this process: loading it, calling it, and what its return codes mean.

`cuda-bindings` is imported at first use and nowhere else, so a machine without it can import this package. Devices,
memory and kernels are in the files beside this one; all of them call the driver through `Driver.call`.
"""

from __future__ import annotations

import importlib
import os
import sys
import threading
import weakref
from collections.abc import Callable
from typing import Any

from ...diagnostics import DeviceError, DeviceMemoryError, DeviceUnavailableError

LEAST_VERSION = 12000
"""The oldest driver that is served (as `cuDriverGetVersion` counts: 12000 is CUDA 12.0): the first with PTX 8.0,
which sm_90 kernels are written in."""

INSTALL_HELP = "install it with `pip install 'heliostat[cuda]'`"

OUT_OF_MEMORY = 2
NOT_READY = 600

_UNAVAILABLE = {
    3: "the driver is not initialized",
    4: "the driver is shutting down",
    34: "the library found is a stub without a driver behind it; check LD_LIBRARY_PATH for a `stubs` directory",
    46: "the device is in use by another process or in a prohibited compute mode (see `nvidia-smi -q -d COMPUTE`)",
    100: "the driver finds no device",
    101: "there is no such device",
    304: "the operating system refused it; in a container, check that the GPU is passed through",
    802: "the system is not ready; on machines with NVSwitch, check the fabric manager",
    803: "library and kernel module of the driver are of different versions; reboot, or load the module anew",
    804: "the compatibility package of the driver does not support this device",
    805: "the MPS server cannot be reached",
    807: "the MPS server is not ready",
    808: "the MPS server has as many clients as it can serve",
    809: "the MPS server has as many connections as the device allows",
}

FAULTS = {
    214: "met a memory error that ECC could not correct",
    220: "met an NVLink error that could not be corrected",
    226: "met a hardware error that was contained",
    700: "read or wrote an illegal address",
    702: "ran past the time limit of the display",
    709: "lost its context",
    710: "failed an assertion",
    714: "met a hardware error of its stack",
    715: "reached an illegal instruction",
    716: "read or wrote a misaligned address",
    717: "used an address of the wrong space",
    718: "jumped outside of its code",
    719: "failed",
    721: "left tensor memory allocated",
    999: "failed for an unknown reason",
}
"""Return codes after which a context serves no more calls, with what the kernel did."""


class CudaError(DeviceError):
    """A call of the driver failed for a reason without a type of its own. `code` is its CUresult."""

    def __init__(self, message: str, *, code: int = 0, **place: Any) -> None:
        super().__init__(message, **place)
        self.code = code


class Driver:
    """The driver API over a bindings module (`cuda.bindings.driver`, or a stand-in with the same functions).

    `Driver.default()` is the one that everything uses unless told otherwise. It honours CUDA_VISIBLE_DEVICES, which the
    driver reads when it is initialized. A driver does not outlive a fork: in the child every call raises.
    """

    _shared: Driver | None = None
    _shared_lock = threading.Lock()

    def __init__(self, bindings: Any) -> None:
        """Initializes the driver. Raises DeviceUnavailableError if there is none, or none that serves."""
        self.bindings = bindings
        self.pid = os.getpid()
        self.local = threading.local()  # .device: the Device whose context this thread last made current
        self._functions: dict[str, Callable[..., Any]] = {}
        self.on_fork: list[Callable[[], None]] = []  # called in a forked child, see Device
        try:
            self.call("cuInit", 0)
            self.version = int(self.call("cuDriverGetVersion"))
        except DeviceUnavailableError:
            raise
        except (DeviceError, RuntimeError, ImportError, OSError) as error:
            reason = getattr(error, "message", "") or str(error).partition("\n")[0]
            raise DeviceUnavailableError(
                f"the NVIDIA driver cannot be used: {reason}",
                help="install the NVIDIA driver, or in a container pass the GPU through; `nvidia-smi` must list it",
            ) from error
        if self.version < LEAST_VERSION:
            raise DeviceUnavailableError(
                f"the NVIDIA driver serves CUDA {version_text(self.version)}, and"
                f" {version_text(LEAST_VERSION)} is the least that is needed",
                help="update the NVIDIA driver to 525 or later",
            )
        if hasattr(os, "register_at_fork"):
            os.register_at_fork(after_in_child=_forked(weakref.ref(self)))

    @classmethod
    def default(cls) -> Driver:
        """The driver of this process, loaded at the first call.

        Raises DeviceUnavailableError: no cuda-bindings, no driver, one too old, or a process forked after first use.
        """
        with cls._shared_lock:
            if cls._shared is None:
                cls._shared = cls(load_bindings())
            elif cls._shared.pid != os.getpid():
                raise forked_error()
            return cls._shared

    def function(self, name: str) -> Callable[..., Any]:
        """The bindings' own function, which returns (code, *values), for callers that check the code themselves.

        Raises DeviceUnavailableError if the bindings have none of that name.
        """
        found = self._functions.get(name)
        if found is None:
            found = getattr(self.bindings, name, None)
            if found is None:
                raise DeviceUnavailableError(
                    f"cuda-bindings has no {name}", help="update it: `pip install -U cuda-bindings`"
                )
            self._functions[name] = found
        return found

    def call(self, name: str, *args: Any) -> Any:
        """Call a function of the driver: its value, a tuple of several, or None.

        Raises DeviceMemoryError, DeviceUnavailableError or CudaError by the return code, whose name the message holds.
        """
        if os.getpid() != self.pid:
            raise forked_error()
        function = self._functions.get(name) or self.function(name)
        try:
            status, *values = function(*args)
        except RuntimeError as error:  # the bindings look functions up in the driver's library when they are called
            if "not found" not in str(error):
                raise
            text = str(error).partition("\n")[0]
            if name == "cuInit":
                raise DeviceUnavailableError(
                    f"no NVIDIA driver was found: {text}",
                    help="install the NVIDIA driver, or in a container pass the GPU through; `nvidia-smi` must list it",
                ) from None
            raise DeviceUnavailableError(
                f"the NVIDIA driver has no {name}: {text}", help="update the NVIDIA driver"
            ) from None
        if status != 0:
            raise self.error(name, status)
        return None if not values else values[0] if len(values) == 1 else tuple(values)

    def quietly(self, name: str, *args: Any) -> None:
        """Call from a finalizer: errors, a forked child and a closing interpreter pass in silence."""
        if sys.is_finalizing() or os.getpid() != self.pid:
            return
        try:
            self.function(name)(*args)
        except Exception:
            return

    def error(self, name: str, status: Any, what: str = "") -> DeviceError:
        """The exception for a return code of the function `name`. `what` (the thing attempted) opens the message."""
        code = int(status)
        named = f"{self.code_name(status)} from {name}"
        opening = f"{what}: " if what else ""
        if code == OUT_OF_MEMORY:
            return DeviceMemoryError(f"{opening}the device is out of memory ({named})")
        if code in _UNAVAILABLE:
            reason = _UNAVAILABLE[code]
            visible = os.environ.get("CUDA_VISIBLE_DEVICES")
            help = None
            if code in (100, 101):
                help = "`nvidia-smi` lists the devices of this machine" + (
                    f"; CUDA_VISIBLE_DEVICES={visible!r} hides those it does not name" if visible is not None else ""
                )
            return DeviceUnavailableError(f"{opening}{reason} ({named})", help=help)
        text = self._code_text(status)
        return CudaError(f"{opening}{text} ({named})" if text else f"{opening}failed: {named}", code=code)

    def code_name(self, status: Any) -> str:
        """Name of a return code, such as CUDA_ERROR_INVALID_VALUE; the number where the bindings do not know it."""
        return str(getattr(status, "name", "")) or f"CUresult {int(status)}"

    def _code_text(self, status: Any) -> str:
        try:
            code, text = self.function("cuGetErrorString")(status)
        except (DeviceError, RuntimeError, TypeError, ValueError):
            return ""
        return bytes(text or b"").decode(errors="replace") if code == 0 else ""


def load_bindings() -> Any:
    """The module `cuda.bindings.driver`. Raises DeviceUnavailableError if it is missing or cannot be loaded."""
    try:
        return importlib.import_module("cuda.bindings.driver")
    except ModuleNotFoundError:
        raise DeviceUnavailableError("devices `cuda` need the package cuda-bindings", help=INSTALL_HELP) from None
    except ImportError as error:
        raise DeviceUnavailableError(f"cuda-bindings cannot be loaded: {error}", help=INSTALL_HELP) from error


def device_count(driver: Driver | None = None) -> int:
    """How many devices this process may use (CUDA_VISIBLE_DEVICES is honoured); 0 if the driver finds none.

    Raises DeviceUnavailableError if there is no driver to ask.
    """
    try:
        return int((driver or Driver.default()).call("cuDeviceGetCount"))
    except CudaError as error:
        raise DeviceUnavailableError(f"devices cannot be counted: {error.message}") from error


def version_text(version: int) -> str:
    """ "12.8" of 12080, the way the driver counts versions."""
    return f"{version // 1000}.{version % 1000 // 10}"


def forked_error() -> DeviceUnavailableError:
    """The error of every call in a process that was forked after CUDA was first used."""
    return DeviceUnavailableError(
        "CUDA was used before this process was forked, and does not work in the child",
        help='start workers by `multiprocessing.get_context("spawn")`, or first use a device after the fork',
    )


def _forked(driver: weakref.ref[Driver]) -> Callable[[], None]:
    def mark() -> None:
        found = driver()
        for react in found.on_fork if found is not None else ():
            react()

    return mark
