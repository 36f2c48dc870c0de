"""The devices of this process by name, and one engine for each. Importing this needs no GPU and loads no driver."""

from __future__ import annotations

import re
import sys
import threading
from typing import TYPE_CHECKING, Any

from ..diagnostics import UnsupportedError
from .runner import Engine, engine

if TYPE_CHECKING:
    from .cuda_runner import CudaEngine

_gpus: dict[int, CudaEngine] = {}
_lock = threading.Lock()


class Float32Products:
    """precision: how precise products of float32 are on GPUs, see `compiler.float_parts`; cores know one.

    convolutions: whether TF32 serves for those of float32; None: where it, or less, does for products."""

    precision = "highest"
    convolutions: bool | None = None

    @classmethod
    def tf32_convolutions(cls) -> bool:
        """Whether convolutions may be computed by TF32."""
        return cls.precision in ("high", "tf32", "medium") if cls.convolutions is None else cls.convolutions

    @classmethod
    def key(cls) -> str:
        """What programs depend on of this, empty where everything is exact."""
        exact = cls.precision == "highest" and not cls.tf32_convolutions()
        return "" if exact else f"{cls.precision} {cls.tf32_convolutions():d}"


def program_device(device: str) -> str:
    """What programs are kept by: a device's name, with what else they depend on there."""
    key = Float32Products.key()
    return device if device == "cpu" or not key else f"{device} {key}"


def device_name(text: str) -> str:
    """`cpu`, or `cuda:N`, of which `cuda` is the one with number 0. Raises UnsupportedError for others."""
    if text == "cpu" or re.fullmatch(r"cpu:\d{1,3}", text):
        return "cpu"
    match = re.fullmatch(r"cuda(?::(\d{1,3}))?", text)
    if match is None:
        raise UnsupportedError(f"there is no device {text!r}", help="devices: cpu, cuda, and cuda:N for GPU N")
    return sys.intern(f"cuda:{int(match[1] or 0)}")


def gpu_engine(device: str) -> CudaEngine:
    """The engine of a GPU by name, made at first use. Raises DeviceUnavailableError, with what is missing, and
    UnsupportedError for `meta`."""
    if not device.startswith("cuda:"):
        raise UnsupportedError(f"no program runs on the device {device!r}", help="devices that do: cpu, cuda")
    number = int(device.partition(":")[2])
    found = _gpus.get(number)
    if found is None:
        from .cuda_runner import CudaEngine

        with _lock:
            found = _gpus.get(number)
            if found is None:
                found = _gpus[number] = CudaEngine(number)
    return found


def engine_of(device: str) -> Engine | CudaEngine:
    """The engine of a device by name. Raises DeviceUnavailableError."""
    return engine() if device == "cpu" else gpu_engine(device)


def gpus_in_use() -> list[CudaEngine]:
    """Engines that were made."""
    return list(_gpus.values())


def upload(array: Any, device: str) -> Any:
    """A copy of an array's bytes in the memory of a GPU."""
    return gpu_engine(device).upload(array)
