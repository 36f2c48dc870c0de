"""`heliostat.cuda`: the GPUs of this process, their memory and their work, under names of `torch.cuda`'s.

Nothing here loads the driver before it is called. A device is given by number, by name or as a `Device`; None is the
current one.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from ..diagnostics import DeviceError, DeviceUnavailableError, DTypeError
from ..diagnostics import DeviceMemoryError as OutOfMemoryError
from ..runtime.cuda import Device as Gpu
from ..runtime.cuda import Event as GpuEvent
from ..runtime.cuda import PoolStats
from ..runtime.cuda import device as gpu_of
from ..runtime.cuda import device_count as count_devices
from ..session.devices import gpu_engine, gpus_in_use
from . import lazy
from .core import Tensor
from .devices import Current, name_of
from .random import default_generator

__all__ = [
    "DeviceProperties", "Event", "OutOfMemoryError", "current_device", "device", "device_count", "empty_cache",
    "get_device_capability", "get_device_name", "get_device_properties", "get_per_process_memory_fraction",
    "get_rng_state", "initial_seed", "is_available", "is_initialized", "manual_seed", "manual_seed_all",
    "max_memory_allocated", "max_memory_reserved", "mem_get_info", "memory_allocated", "memory_reserved",
    "memory_snapshot", "memory_stats", "memory_summary", "reset_peak_memory_stats", "seed", "set_device",
    "set_per_process_memory_fraction", "set_rng_state", "synchronize",
]  # fmt: skip


class DeviceProperties(NamedTuple):
    """What a GPU is. total_memory, L2_cache_size: bytes."""

    name: str
    major: int
    minor: int
    total_memory: int
    multi_processor_count: int
    L2_cache_size: int


def _number(device: Any) -> int:
    if device is None:
        return Current.number
    name = name_of(device)
    if not name.startswith("cuda"):
        raise DTypeError(f"a GPU is needed, found {name}", help="use cuda, or cuda:N for GPU N")
    return int(name.partition(":")[2])


def _gpu(device: Any) -> Gpu:
    number = _number(device)
    for owner in gpus_in_use():
        if owner.place.gpu.index == number:
            return owner.place.gpu
    return gpu_of(number)


def is_available() -> bool:
    """Whether there is a GPU, with a driver and the package that reaches it. Never raises."""
    return device_count() > 0


def device_count() -> int:
    """GPUs of this process; 0 where there is no driver or no package for it."""
    try:
        return count_devices()
    except DeviceError:
        return 0


def is_initialized() -> bool:
    """Whether a tensor of this process was on a GPU so far."""
    return bool(gpus_in_use())


def current_device() -> int:
    """The number of the GPU that `cuda` means."""
    return Current.number


def set_device(device: Any) -> None:
    """Say which GPU `cuda` means from here on. Raises DeviceUnavailableError if there is none of that number."""
    number = _number(device)
    count = count_devices()
    if number >= count:
        raise DeviceUnavailableError(f"cuda:{number} does not exist; this process has {count} GPUs")
    Current.number = number


class device:
    """`with cuda.device(1):` the GPU that `cuda` means inside."""

    def __init__(self, device: Any) -> None:
        self._number, self._before = _number(device), 0

    def __enter__(self) -> None:
        self._before = Current.number
        set_device(self._number)

    def __exit__(self, *rest: object) -> None:
        Current.number = self._before


def synchronize(device: Any = None) -> None:
    """Compute what is open, and wait until a GPU has done all that it was asked for. Raises KernelFaultError."""
    lazy.flush()
    gpu_engine(f"cuda:{_number(device)}").synchronize()


def get_device_name(device: Any = None) -> str:
    """The maker's name of a GPU. Raises DeviceUnavailableError."""
    return _gpu(device).name


def get_device_capability(device: Any = None) -> tuple[int, int]:
    """The compute capability. Raises DeviceUnavailableError."""
    return _gpu(device).compute_capability


def get_device_properties(device: Any = None) -> DeviceProperties:
    """What a GPU is. Raises DeviceUnavailableError."""
    g = _gpu(device)
    return DeviceProperties(g.name, *g.compute_capability, g.total_memory, g.sm_count, g.l2_bytes)


class Event:
    """A point in the work of a GPU. enable_timing: whether time between two of them can be asked for."""

    def __init__(self, enable_timing: bool = False) -> None:
        self.enable_timing = enable_timing
        self._mark: Any = None

    def record(self) -> None:
        """Mark the end of all that was asked of the current GPU so far; what is open is given to it first."""
        lazy.flush()
        stream = gpu_engine(f"cuda:{Current.number}").place.stream
        self._mark = stream.record(GpuEvent(stream.device, timing=self.enable_timing))

    def query(self) -> bool:
        """Whether the GPU has passed it; True before `record`."""
        return self._mark is None or bool(self._mark.done())

    def synchronize(self) -> None:
        """Wait for it."""
        if self._mark is not None:
            self._mark.synchronize()

    def elapsed_time(self, end_event: Event) -> float:
        """Milliseconds of the GPU's time from here to a later event; waits for both. Raises DeviceError where one was
        not recorded, or made without timing."""
        if self._mark is None or end_event._mark is None:
            raise DeviceError("an event was not recorded", help="call record() on both")
        return float(end_event._mark.elapsed_ms(self._mark))


# --- memory -----------------------------------------------------------------------------------------------------------
def _stats(device: Any) -> PoolStats:
    number = _number(device)
    for owner in gpus_in_use():
        if owner.place.gpu.index == number:
            return owner.place.gpu.pool.stats()
    return PoolStats()


def memory_allocated(device: Any = None) -> int:
    """Bytes in use by tensors and programs; 0 before the first."""
    return _stats(device).allocated


def max_memory_allocated(device: Any = None) -> int:
    """The most bytes in use since the beginning or `reset_peak_memory_stats`."""
    return _stats(device).peak_allocated


def memory_reserved(device: Any = None) -> int:
    """Bytes taken from the driver: in use, or kept to be used again."""
    return _stats(device).reserved


def max_memory_reserved(device: Any = None) -> int:
    """The most bytes taken from the driver since the beginning or `reset_peak_memory_stats`."""
    return _stats(device).peak_reserved


def memory_stats(device: Any = None) -> dict[str, int]:
    """Bytes and counts of the pool, by PyTorch's keys."""
    s = _stats(device)
    return {
        "allocated_bytes.all.current": s.allocated, "allocated_bytes.all.peak": s.peak_allocated,
        "reserved_bytes.all.current": s.reserved, "reserved_bytes.all.peak": s.peak_reserved,
        "allocation.all.allocated": s.requests, "segment.all.allocated": s.segments_made,
        "segment.all.freed": s.segments_released, "num_alloc_retries": s.retries,
    }  # fmt: skip


def memory_summary(device: Any = None) -> str:
    """`memory_stats` as text."""
    return "\n".join(f"{name:<32}{n:>20}" for name, n in memory_stats(device).items())


def reset_peak_memory_stats(device: Any = None) -> None:
    """Begin new peaks at what is in use now."""
    for owner in gpus_in_use():
        if owner.place.gpu.index == _number(device):
            owner.place.gpu.pool.reset_peak()


def mem_get_info(device: Any = None) -> tuple[int, int]:
    """(free, total) bytes of a GPU, all processes counted. Raises DeviceUnavailableError."""
    return _gpu(device).memory()


def set_per_process_memory_fraction(fraction: float, device: Any = None) -> None:
    """Let this process take at most a share of the memory of a GPU: what would pass it is an OutOfMemoryError, as if
    the GPU had no more. Memory that is taken already stays. Raises ValueError for a share outside of 0 .. 1, TypeError
    for what is no float, DeviceUnavailableError."""
    if not isinstance(fraction, float):
        raise TypeError(f"set_per_process_memory_fraction takes a float, found {fraction!r}")
    if not 0 <= fraction <= 1:
        raise ValueError(f"a share of the memory is 0.0 to 1.0, found {fraction}")
    gpu = gpu_engine(f"cuda:{_number(device)}").place.gpu
    gpu.pool.limit = None if fraction == 1 else int(gpu.memory()[1] * fraction)


def get_per_process_memory_fraction(device: Any = None) -> float:
    """The share of the memory of a GPU that this process may take, 1.0 unless it was set."""
    gpu = _gpu(device)
    return 1.0 if gpu.pool.limit is None else gpu.pool.limit / gpu.memory()[1]


def memory_snapshot() -> list[dict[str, Any]]:
    """The segments of the pools of all GPUs, with the blocks of each, by PyTorch's keys; sizes are bytes."""
    found: list[dict[str, Any]] = []
    for owner in gpus_in_use():
        gpu = owner.place.gpu
        for blocks in gpu.pool.segments():
            rows = [
                {
                    "address": b.address, "size": b.nbytes, "requested_size": 0 if b.free else b.requested,
                    "state": "inactive" if b.free else "active_allocated",
                }
                for b in blocks
            ]  # fmt: skip
            used = sum(b.nbytes for b in blocks if not b.free)
            found.append({
                "device": gpu.index, "address": blocks[0].address, "total_size": sum(b.nbytes for b in blocks),
                "allocated_size": used, "active_size": used, "stream": blocks[0].stream,
                "segment_type": "small" if blocks[0].kind == 0 else "large", "blocks": rows,
            })  # fmt: skip
    return found


def empty_cache() -> None:
    """Give memory that nobody uses back to the driver, on all GPUs."""
    for owner in gpus_in_use():
        owner.release()


# --- random numbers ---------------------------------------------------------------------------------------------------
def manual_seed(seed: int) -> None:
    """Start the default stream of a seed: there is one for all devices, which draws the same numbers on each."""
    default_generator.manual_seed(seed)


manual_seed_all = manual_seed


def seed() -> None:
    """Start the default stream of a seed that the system gives."""
    default_generator.seed()


def initial_seed() -> int:
    """The seed of the default stream."""
    return default_generator.initial_seed()


def get_rng_state(device: Any = None) -> Tensor:
    """The state of the default stream, the same on all devices."""
    return default_generator.get_state()


def set_rng_state(new_state: Tensor, device: Any = None) -> None:
    """Set the default stream, of all devices."""
    default_generator.set_state(new_state)
