"""What a GPU can do at most: the bytes that a copy inside it moves."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from ..runtime.cuda import copy_bandwidth

if TYPE_CHECKING:
    from ..session.cuda import CudaDevice


@dataclass(frozen=True)
class CudaLimits:
    """What was measured of a GPU in this run: bytes read and written per second of a copy inside it."""

    device: str
    copy_gb_s: float

    def __str__(self) -> str:
        return f"limit of {self.device}: {self.copy_gb_s:.0f} GB/s copied"


def measure_cuda_limits(place: CudaDevice) -> CudaLimits:
    """The copy bandwidth now. Raises DeviceMemoryError where nothing is free."""
    return CudaLimits(place.gpu.name, copy_bandwidth(place.gpu) / 1e9)
