"""One GPU: its properties, its primary context, its pool of memory, and what it was last asked to run."""

from __future__ import annotations

import threading
import weakref
from collections.abc import Iterable
from functools import cached_property
from typing import TYPE_CHECKING, Any, NamedTuple

from ...diagnostics import DeviceError, DeviceMemoryError, DeviceUnavailableError, KernelFaultError
from .driver import FAULTS, OUT_OF_MEMORY, CudaError, Driver, device_count, forked_error
from .pool import Pool

if TYPE_CHECKING:
    from .stream import Stream

_NAMED_AT_MOST = 8  # kernels that the message of a fault lists
_MEMORY_CALLS = {"cuMemAlloc", "cuMemGetInfo", "cuMemHostAlloc"}  # the pool's own, and memory of the host
_NO_MORE_PEERS = {217, 704, 711}  # not supported, enabled already (by another library), as many as there may be


class KernelName(NamedTuple):
    """A kernel and the program it is part of ("" if none)."""

    program: str
    kernel: str

    def __str__(self) -> str:
        return f"`{self.kernel}` of program `{self.program}`" if self.program else f"`{self.kernel}`"


class Device:
    """A CUDA device, by its ordinal among those that CUDA_VISIBLE_DEVICES leaves.

    The primary context is retained as long as the object lives (other libraries of the process share it) and is made
    current in each thread that calls. `device(i)` gives one shared object per ordinal; prefer it. All sizes are bytes.
    """

    def __init__(self, index: int = 0, driver: Driver | None = None) -> None:
        """Raises DeviceUnavailableError if there is no such device, DeviceMemoryError if its context does not fit."""
        self.driver = driver or Driver.default()
        self.index = index
        count = device_count(self.driver)
        if not 0 <= index < count:
            known = ", ".join(f"cuda:{i}" for i in range(count)) or "none"
            raise DeviceUnavailableError(
                f"cuda:{index} does not exist; devices of this process: {known}",
                help="see `nvidia-smi` and CUDA_VISIBLE_DEVICES",
            )
        self._handle = self.driver.call("cuDeviceGet", index)
        self.context = self.driver.call("cuDevicePrimaryCtxRetain", self._handle)
        self.broken: DeviceError | None = None  # set once the context serves no more: every later use raises it
        self.streams: weakref.WeakSet[Stream] = weakref.WeakSet()
        self._reached: set[int] = set()
        self.pool = Pool(self, str(self))
        self._on_fork = _breaker(weakref.ref(self))
        self.driver.on_fork.append(self._on_fork)

    def __str__(self) -> str:
        return f"cuda:{self.index}"

    def __repr__(self) -> str:
        major, minor = self.compute_capability
        return f"Device({self}, {self.name}, sm_{major}{minor}, {self.total_memory / 1e9:.1f} GB)"

    @cached_property
    def name(self) -> str:
        """The maker's name, such as "NVIDIA H200"."""
        raw = self.driver.call("cuDeviceGetName", 256, self._handle)
        return bytes(raw).split(b"\0")[0].decode(errors="replace")

    @cached_property
    def compute_capability(self) -> tuple[int, int]:
        """(9, 0) of an sm_90 device."""
        return self.attribute("COMPUTE_CAPABILITY_MAJOR"), self.attribute("COMPUTE_CAPABILITY_MINOR")

    @cached_property
    def sm_count(self) -> int:
        """Streaming multiprocessors."""
        return self.attribute("MULTIPROCESSOR_COUNT")

    @cached_property
    def total_memory(self) -> int:
        """Device memory in bytes."""
        return int(self.driver.call("cuDeviceTotalMem", self._handle))

    @cached_property
    def l2_bytes(self) -> int:
        """Size of the L2 cache."""
        return self.attribute("L2_CACHE_SIZE")

    @cached_property
    def max_shared_bytes(self) -> int:
        """Most shared memory that a block may have (static and dynamic; above 48 KiB a kernel must opt in)."""
        return self.attribute("MAX_SHARED_MEMORY_PER_BLOCK_OPTIN")

    @cached_property
    def shared_bytes_per_sm(self) -> int:
        """Shared memory of a multiprocessor, for all of its blocks."""
        return self.attribute("MAX_SHARED_MEMORY_PER_MULTIPROCESSOR")

    @cached_property
    def registers_per_sm(self) -> int:
        """32-bit registers of a multiprocessor."""
        return self.attribute("MAX_REGISTERS_PER_MULTIPROCESSOR")

    @cached_property
    def max_threads_per_sm(self) -> int:
        """Threads that a multiprocessor holds at once."""
        return self.attribute("MAX_THREADS_PER_MULTIPROCESSOR")

    def reach(self, other: Device) -> None:
        """Let copies between two devices pass from one to the other where the machine can; else the driver takes them
        over the host. Asked once for each pair, in both directions."""
        for one, two in ((self, other), (other, self)):
            if two.index not in one._reached:
                one._reached.add(two.index)
                if int(self.driver.call("cuDeviceCanAccessPeer", one._handle, two._handle)):
                    try:
                        one.call("cuCtxEnablePeerAccess", two.context, 0)
                    except CudaError as error:
                        if error.code not in _NO_MORE_PEERS:
                            raise

    def attribute(self, name: str) -> int:
        """A device attribute by its name after CU_DEVICE_ATTRIBUTE_. Raises DeviceUnavailableError if it is unknown."""
        which = getattr(self.driver.bindings.CUdevice_attribute, f"CU_DEVICE_ATTRIBUTE_{name}", None)
        if which is None:
            raise DeviceUnavailableError(f"cuda-bindings has no device attribute {name}", help="update cuda-bindings")
        return int(self.driver.call("cuDeviceGetAttribute", which, self._handle))

    def memory(self) -> tuple[int, int]:
        """(free, total) bytes now. Free counts neither other processes' memory nor what the pool keeps."""
        free, total = self.call("cuMemGetInfo")
        return int(free), int(total)

    def free_bytes(self) -> int:
        """Memory that nobody has allocated."""
        return self.memory()[0]

    def allocate_segment(self, nbytes: int) -> int:
        """Memory straight from the driver, for the pool. Raises DeviceMemoryError."""
        return int(self.call("cuMemAlloc", nbytes))

    def release_segment(self, address: int) -> None:
        """Give a segment back to the driver; waits until the device no longer uses it."""
        self.call("cuMemFree", address)

    def activate(self) -> None:
        """Make the context current in this thread. Calls of this package do so themselves; call it after another
        library has changed the thread's context. Raises what `check` raises."""
        self.check()
        self.driver.call("cuCtxSetCurrent", self.context)
        self.driver.local.device = self

    def ready(self) -> None:
        """Make the context current unless this package has done so in this thread: for calls that are made often.
        Raises what `check` raises."""
        if self.broken is not None or getattr(self.driver.local, "device", None) is not self:
            self.activate()

    def check(self) -> None:
        """Raise if the device is lost: KernelFaultError after a fault, DeviceUnavailableError after a fork or close."""
        if self.broken is not None:
            raise self._again(self.broken)

    def call(self, name: str, *args: Any) -> Any:
        """Call the driver with this device's context current; see `Driver.call`.

        Raises KernelFaultError besides, if the code says that a kernel failed: driver calls report what ran before.
        Out of memory, the pool is emptied and the call made once more; the pool's own requests are left to it.
        """
        self.activate()
        for again in (False, True):
            try:
                return self.driver.call(name, *args)
            except CudaError as error:
                if error.code in FAULTS:
                    raise self.fault(error.code, error.message) from error
                raise
            except DeviceMemoryError:
                if name in _MEMORY_CALLS:
                    raise
            if again or not self.make_room():
                break
        raise self.out_of_memory(name)

    def make_room(self) -> bool:
        """Give what the pool keeps back to the driver; whether there was something. Never waits for the pool: the
        thread that has it may be this one, in a finalizer."""
        return self.pool.empty(wait=False) > 0

    def out_of_memory(self, name: str) -> DeviceMemoryError:
        """The error of a call of the driver that found no memory, with where the memory is."""
        return self.pool.shortage(f"{name} found no room")

    def failed(self, name: str, status: Any, what: str = "") -> DeviceError:
        """The exception for the return code of a function that a caller called by itself."""
        code = int(status)
        if code in FAULTS:
            return self.fault(code, f"{self.driver.code_name(status)} from {name}")
        if code == OUT_OF_MEMORY:
            return self.out_of_memory(f"{name} ({what})" if what else name)
        return self.driver.error(name, status, what)

    def quietly(self, name: str, *args: Any) -> None:
        """Call from a finalizer: nothing is raised, and nothing is done on a lost device, which has freed all."""
        if self.broken is None:
            self.driver.quietly("cuCtxSetCurrent", self.context)
            self.driver.local.device = self
            self.driver.quietly(name, *args)

    def fault(self, code: int, text: str, kernels: Iterable[KernelName] | None = None) -> KernelFaultError:
        """Mark the device as lost and give the error that names the kernel, or all that it may have been."""
        if kernels is None:
            kernels = (name for stream in list(self.streams) for entry in list(stream.trail) for name in entry)
        names = list(dict.fromkeys(kernels))
        did = FAULTS.get(code, "failed")
        blocking = "; HELIOSTAT_CUDA_BLOCKING=1 tells which" if len(names) > 1 else ""
        if not names:
            who = f"a kernel {did}"
        elif len(names) == 1:
            who = f"kernel {names[0]} {did}"
        else:
            listed = ", ".join(map(str, names[-_NAMED_AT_MOST:]))
            more = f", and {len(names) - _NAMED_AT_MOST} before" if len(names) > _NAMED_AT_MOST else ""
            who = f"one of {len(names)} kernels {did} ({listed}{more})"
        error = KernelFaultError(
            f"{who} on {self}: {text}", kernels=names, help=f"restart the process to use {self} again{blocking}"
        )
        if self.broken is None:
            self.broken = error
        return error

    def synchronize(self) -> None:
        """Wait until all work of this process on the device is done. Raises KernelFaultError if some of it failed."""
        self.call("cuCtxSynchronize")
        for stream in list(self.streams):
            stream.finished()

    def close(self) -> None:
        """Release the pool's memory and the context. Every later use raises; memory still in use goes with it."""
        if self.broken is None:
            self.call("cuCtxSynchronize")
            self.pool.empty()
            self.driver.call("cuDevicePrimaryCtxRelease", self._handle)
            self.broken = DeviceUnavailableError(f"{self} was closed")
        if self._on_fork in self.driver.on_fork:
            self.driver.on_fork.remove(self._on_fork)

    def _again(self, first: DeviceError) -> DeviceError:
        if isinstance(first, KernelFaultError):
            return KernelFaultError(
                f"{self} is lost since an earlier fault: {first.message}", kernels=first.kernels, help=first.help
            )
        return type(first)(first.message, help=first.help)


def _breaker(device: weakref.ref[Device]) -> Any:
    def mark() -> None:
        found = device()
        if found is not None:
            found.broken = forked_error()

    return mark


_shared: dict[int, Device] = {}
_shared_lock = threading.Lock()


def device(index: int = 0) -> Device:
    """The device of an ordinal: one object for the whole process.

    Raises DeviceUnavailableError if there is no driver or no such device; the message says what to do.
    """
    with _shared_lock:
        found = _shared.get(index)
        if found is None:
            found = _shared[index] = Device(index)
        return found
