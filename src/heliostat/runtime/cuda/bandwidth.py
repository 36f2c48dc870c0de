"""The rate at which a device copies its own memory: the limit that kernels bound by memory are held against."""

from __future__ import annotations

from itertools import pairwise
from statistics import median

from ...diagnostics import DeviceMemoryError
from .buffer import DeviceBuffer
from .device import Device
from .stream import Stream

_WARM_UP = 3  # copies before the clock: the first ones raise the clock of the memory
_LEAST = 1 << 20


def copy_bandwidth(device: Device, nbytes: int = 1 << 30, repeats: int = 20) -> float:
    """Bytes read plus bytes written per second of a copy inside the device: the median over `repeats` copies.

    `nbytes`: bytes of one copy, to be far more than the L2 cache; halved while twice as much does not fit in memory.
    Timed by events on the device. Raises DeviceMemoryError if not even 1 MiB fits.
    """
    stream = Stream(device)
    source, target, nbytes = _two(device, nbytes)
    try:
        source.fill(1, stream)
        for _ in range(_WARM_UP):
            target.copy_from(source, stream)
        marks = [stream.record()]
        for _ in range(repeats):
            target.copy_from(source, stream)
            marks.append(stream.record())
        stream.synchronize()
        times = [end.elapsed_ms(start) for start, end in pairwise(marks)]
        return 2e3 * nbytes / median(times)
    finally:
        for buffer in (source, target):
            device.quietly("cuMemFree", buffer.address)


def _two(device: Device, nbytes: int) -> tuple[DeviceBuffer, DeviceBuffer, int]:
    """Two buffers and the size that fits, outside of the pool, which would keep them."""
    while True:
        first = None
        try:
            first = device.allocate_segment(nbytes)
            second = device.allocate_segment(nbytes)
            return DeviceBuffer(device, first, nbytes), DeviceBuffer(device, second, nbytes), nbytes
        except DeviceMemoryError:
            if first is not None:
                device.release_segment(first)
            if nbytes <= _LEAST:
                raise
            nbytes //= 2
