"""`torch.accelerator`: the current GPU, whichever it is, and rooms of devices that are none of ours."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from ..tensor import Device, cuda

# torch.mps and torch.xpu
absent = SimpleNamespace(
    is_available=lambda: False, device_count=lambda: 0, empty_cache=lambda: None, synchronize=lambda: None,
)  # fmt: skip


def is_available() -> bool:
    """Whether there is a GPU."""
    return cuda.is_available()


def device_count() -> int:
    """The number of GPUs."""
    return cuda.device_count()


def current_accelerator(check_available: bool = False) -> Device | None:
    """The device `cuda`, None where there is no GPU."""
    return Device("cuda") if cuda.is_available() else None


def current_device_index() -> int:
    """The number of the current GPU. Raises DeviceUnavailableError without one."""
    return cuda.current_device()


def set_device_index(device: Any) -> None:
    """Make a GPU the current one."""
    cuda.set_device(device)


def synchronize(device: Any = None) -> None:
    """Wait until all that a GPU was given is done."""
    cuda.synchronize(device)


def empty_cache() -> None:
    """Give memory back that is kept for later tensors."""
    cuda.empty_cache()


current_device_idx, set_device_idx = current_device_index, set_device_index
