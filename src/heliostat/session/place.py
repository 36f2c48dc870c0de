"""Where programs run: the CPU with its workers, or a GPU. One surface for whoever binds and runs programs."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import numpy.typing as npt

from ..diagnostics import DeviceUnavailableError
from ..kernel.ir import Kernel
from ..kernel.program import Program
from ..runtime.buffer import Buffer
from ..runtime.jit import release_compiler
from ..runtime.worker_pool import WorkerPool, native
from ..targets.target import Target
from .executable import CodeStore, Executable, Progress
from .host import host_target

if TYPE_CHECKING:
    from .cuda import CudaExecutable
    from .rounds import CudaRounds

AHEAD = 2
"""Calls that give rounds which may be on their way before the first of them is waited for."""


class Inputs:
    """Small inputs of a step: `arrays` are written on the host, `buffers` are bound, `send` makes them meet. `wait`
    returns when arrays may be written again, where no result of a step was read since."""

    def __init__(
        self,
        arrays: dict[str, npt.NDArray[np.int32]],
        buffers: dict[str, Any],
        send: Callable[[], None],
        wait: Callable[[], None] = lambda: None,
    ) -> None:
        self.arrays, self.buffers, self.send, self.wait = arrays, buffers, send, wait


class Place(Protocol):
    """A device with code loaded on it. Weights and executables of one place belong together."""

    target: Target
    name: str
    threads: int
    prompt_block: int
    """Tokens of a prompt that are best processed together, at most."""
    one_row: bool
    """Whether a single row whose number is known when a prompt's program is made takes other kernels than some rows."""

    @property
    def compiled(self) -> int:
        """Kernels that were compiled rather than found in the cache."""
        ...

    def load(self, kernels: Sequence[Kernel], program: str, progress: Progress | None = None) -> dict[str, bytes]:
        """Make the machine code of kernels ready. It by the kernels' names, where it can be loaded again as it is."""

    def weight(self, array: npt.NDArray[Any]) -> Any:
        """A buffer with an array's bytes; on the CPU the array itself."""

    def executable(self, program: Program, given: Mapping[str, Any]) -> Any:
        """A program bound to buffers, whose kernels were loaded."""

    def inputs(self, sizes: Mapping[str, int]) -> Inputs:
        """i32 inputs by name with so many elements."""

    def copy(self, target: Any, source: Any) -> None:
        """Copy the bytes of a buffer to another of that size, behind what was given to run before."""

    def write(self, target: Any, array: npt.NDArray[Any]) -> None:
        """Copy an array's bytes to a buffer, behind what was given to run before. The array may change then."""

    def rounds(self, executables: Sequence[Any], inputs: Sequence[str] = (), together: int = 1) -> CudaRounds | None:
        """Programs that run one behind the other, again and again; None where the host runs them itself. `inputs`: of
        the last one, those that are new in each round. `together`: rounds that one call can give, beside a single
        one."""
        ...

    def close(self) -> None: ...


class CpuPlace:
    """This machine's cores."""

    name = "cpu"
    prompt_block = 512
    one_row = False

    def __init__(self, threads: int | None = None) -> None:
        self.target = host_target()
        self.pool = WorkerPool(threads)
        self.threads = self.pool.threads
        self.code = CodeStore(self.target)

    @property
    def compiled(self) -> int:
        return self.code.compiled

    def load(self, kernels: Sequence[Kernel], program: str, progress: Progress | None = None) -> dict[str, bytes]:
        before = self.code.compiled
        objects = self.code.load_kernels(kernels, progress)
        if self.code.compiled > before:
            native()  # the first time, this is compiled too
            release_compiler()  # before weights come: the peak of memory would have both
        return objects

    def weight(self, array: npt.NDArray[Any]) -> Buffer:
        return Buffer.of(array)

    def executable(self, program: Program, given: Mapping[str, Buffer]) -> Executable:
        return Executable(program, self.code.addresses, self.pool, given)

    def inputs(self, sizes: Mapping[str, int]) -> Inputs:
        arrays = {n: np.zeros(size, np.int32) for n, size in sizes.items()}
        return Inputs(arrays, {n: Buffer.of(a) for n, a in arrays.items()}, lambda: None)

    def copy(self, target: Buffer, source: Buffer) -> None:
        target.array(np.uint8)[:] = source.array(np.uint8)

    def write(self, target: Buffer, array: npt.NDArray[Any]) -> None:
        target.array(np.uint8)[: array.nbytes] = array.reshape(-1).view(np.uint8)

    def rounds(self, executables: Sequence[Executable], inputs: Sequence[str] = (), together: int = 1) -> None:
        return None

    def close(self) -> None:
        self.pool.close()


class CudaPlace:
    """One NVIDIA GPU."""

    prompt_block = 2048  # products of more rows fill its last round of tiles better, and read weights less often
    one_row = True

    def __init__(self, number: int = 0) -> None:
        """Raises DeviceUnavailableError, with what is missing."""
        from .cuda import CudaCode, CudaDevice

        self.device = CudaDevice(number)
        self.target = self.device.target
        self.name = f"cuda:{number}"
        self.threads = 1
        self.code = CudaCode(self.device)

    @property
    def compiled(self) -> int:
        return self.code.compiled

    def load(self, kernels: Sequence[Kernel], program: str, progress: Progress | None = None) -> dict[str, bytes]:
        """A program's launches are put together when it is bound, and assembled then."""
        return {}

    def weight(self, array: npt.NDArray[Any]) -> Any:
        return self.device.upload(np.ascontiguousarray(array).reshape(-1).view(np.uint8))

    def executable(self, program: Program, given: Mapping[str, Any]) -> CudaExecutable:
        from .cuda import CudaExecutable

        return CudaExecutable(program, self.code, given)

    def inputs(self, sizes: Mapping[str, int]) -> Inputs:
        """All in one piece of pinned memory, so that one copy sends them."""
        starts, total = {}, 0
        for name, size in sizes.items():
            starts[name] = total
            total += -(-4 * size // 64) * 64
        pinned, there = self.device.pinned(total), self.device.allocate(total)
        host = pinned.array(np.uint8)
        host[:] = 0
        arrays = {n: host[at : at + 4 * sizes[n]].view(np.int32) for n, at in starts.items()}
        buffers = {n: there.slice(at, -(-4 * sizes[n] // 64) * 64) for n, at in starts.items()}
        stream = self.device.stream
        return Inputs(arrays, buffers, lambda: there.copy_from_host(pinned, stream), stream.synchronize)

    def copy(self, target: Any, source: Any) -> None:
        target.copy_from(source, self.device.stream)

    def write(self, target: Any, array: npt.NDArray[Any]) -> None:
        target.copy_from_host(array, self.device.stream)

    def rounds(
        self, executables: Sequence[CudaExecutable], inputs: Sequence[str] = (), together: int = 1
    ) -> CudaRounds:
        from .rounds import CudaRounds

        return CudaRounds(executables, inputs, together)

    def close(self) -> None:
        self.device.stream.synchronize()


def open_place(device: str = "cpu", threads: int | None = None) -> Place:
    """`cpu`, `cuda` or `cuda:N`. Raises DeviceUnavailableError for a device that is not there or not known."""
    if device == "cpu":
        return CpuPlace(threads)
    match = re.fullmatch(r"cuda(?::(\d{1,3}))?", device)
    if match is None:
        raise DeviceUnavailableError(f"there is no device {device!r}", help="use cpu, cuda, or cuda:N for GPU N")
    return CudaPlace(int(match[1] or 0))
