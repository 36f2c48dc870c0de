"""Loaded device code, its kernels, and launches of them. How code is made is in `assemble.py`."""

from __future__ import annotations

import contextlib
import sys
import weakref
from collections.abc import Sequence
from functools import cached_property
from typing import Any

from ...diagnostics import CompileError, DeviceError, DeviceUnavailableError
from ...settings import settings
from ..object_cache import ObjectCache
from .arguments import Argument, Arguments
from .assemble import JitLog, assemble, jit_error
from .buffer import DeviceBuffer
from .device import Device, KernelName
from .driver import OUT_OF_MEMORY, CudaError
from .stream import Stream

Dim = int | tuple[int, ...]
"""A size of a grid, block or cluster: x, or up to three of (x, y, z)."""

_INVALID_VALUE = 1
_NOT_FOUND = 500
_LAUNCH_ERRORS = {1, 701, 720, 912}  # invalid value, out of resources, cooperative too large, invalid cluster size
_PORTABLE_CLUSTER = 8  # blocks of a cluster that every device with clusters has


class Module:
    """Code of one device, from a cubin or from PTX. Unloaded with the object, which its functions and
    launches keep alive: hold one of them until its kernels are done.

    `program` is what faults and profiles call it. `log` holds what the assembler said (registers, spills by kernel).
    """

    def __init__(
        self,
        device: Device,
        image: bytes | str,
        *,
        program: str = "",
        max_registers: int | None = None,
        cache: ObjectCache | None = None,
    ) -> None:
        """`image`: a cubin or PTX, which is assembled once and then read from `cache` (None: the default one).

        Raises CompileError with the assembler's errors, DeviceUnavailableError if the driver is too old for the PTX.
        """
        self.device = device
        self.program = program
        text = image if isinstance(image, str) else "" if image[:4] == b"\x7fELF" else image.decode(errors="replace")
        self.log = ""
        if text:
            cubin = assemble(device, text, program=program, max_registers=max_registers, cache=cache)
            data, self.log = cubin.image, cubin.log
        else:
            data = bytes(image)  # type: ignore[arg-type]
        jit = JitLog(device.driver.bindings)
        try:
            self.handle: Any = device.call("cuModuleLoadDataEx", data, *jit.arguments)
        except CudaError as error:
            raise jit_error(device, error, jit, text, program) from None
        self.log = self.log or jit.info
        self._release = weakref.finalize(self, device.quietly, "cuModuleUnload", self.handle)
        self._release.atexit = False

    def function(self, name: str, sizes: Sequence[int] | None = None) -> Function:
        """The kernel of a name; a new object at each call. `sizes`: bytes of each parameter, where the caller knows
        them; the driver is asked otherwise. Raises CompileError if the module has none."""
        try:
            handle = self.device.call("cuModuleGetFunction", self.handle, name.encode())
        except CudaError as error:
            if error.code != _NOT_FOUND:
                raise
            raise CompileError(f"program `{self.program}` has no kernel `{name}`") from None
        return Function(self, name, handle, sizes)

    def symbol(self, name: str) -> DeviceBuffer:
        """The memory of a global variable. Raises CompileError if the module has none of that name."""
        try:
            address, nbytes = self.device.call("cuModuleGetGlobal", self.handle, name.encode())
        except CudaError as error:
            if error.code != _NOT_FOUND:
                raise
            raise CompileError(f"program `{self.program}` has no variable `{name}`") from None
        return DeviceBuffer(self.device, int(address), int(nbytes), self)


class Function:
    """A kernel. Sizes are bytes; registers are of 32 bits, for a thread."""

    def __init__(self, module: Module, name: str, handle: Any, sizes: Sequence[int] | None = None) -> None:
        """Use `Module.function`."""
        self.module = module
        self.device = module.device
        self.name = name
        self.handle = handle
        self.names = (KernelName(module.program, name),)
        self._dynamic = self._attribute("MAX_DYNAMIC_SHARED_SIZE_BYTES")
        self.parameter_sizes = self._parameter_sizes() if sizes is None else tuple(sizes)

    @cached_property
    def registers(self) -> int:
        """Registers of a thread."""
        return self._attribute("NUM_REGS")

    @cached_property
    def local_bytes(self) -> int:
        """Local memory of a thread: spilled registers, and arrays that are indexed by a variable."""
        return self._attribute("LOCAL_SIZE_BYTES")

    @cached_property
    def shared_bytes(self) -> int:
        """Static shared memory of a block."""
        return self._attribute("SHARED_SIZE_BYTES")

    @cached_property
    def max_threads(self) -> int:
        """Most threads of a block, by the registers and launch bounds of the kernel."""
        return self._attribute("MAX_THREADS_PER_BLOCK")

    @property
    def max_dynamic_shared(self) -> int:
        """Most dynamic shared memory that a launch may ask for now."""
        return self._dynamic

    def set_max_dynamic_shared(self, nbytes: int) -> None:
        """Allow launches up to `nbytes` of dynamic shared memory (`launch` does so by itself).

        Raises DeviceError if the device has not as much.
        """
        most = self.device.max_shared_bytes - self.shared_bytes
        if nbytes > most:
            raise DeviceError(
                f"kernel {self.names[0]} asks for {nbytes} bytes of shared memory and {self.device} has {most} for it"
            )
        self._set_attribute("MAX_DYNAMIC_SHARED_SIZE_BYTES", nbytes)
        self._dynamic = nbytes

    def blocks_per_sm(self, threads: int, shared: int = 0) -> int:
        """Blocks of `threads` threads and `shared` dynamic bytes that a multiprocessor holds at once.

        A cooperative launch may have at most this times `Device.sm_count` blocks.
        """
        if shared > self._dynamic:
            self.set_max_dynamic_shared(shared)
        name = "cuOccupancyMaxActiveBlocksPerMultiprocessor"
        return int(self.device.call(name, self.handle, threads, shared))

    def prepare(
        self,
        grid: Dim,
        block: Dim,
        args: Sequence[Argument] = (),
        *,
        shared: int = 0,
        cooperative: bool = False,
        cluster: Dim | None = None,
        overlap: bool = False,
    ) -> Launch:
        """A launch with its arguments packed, to be made many times (`launch(stream)`) or put into a graph.

        grid: blocks. block: threads. shared: dynamic shared memory of a block, in bytes. cooperative: all blocks run at
        once, so that a grid barrier works. cluster: blocks of a cluster. overlap: may begin before the launch ahead has
        ended (the kernel waits by `griddepcontrol.wait`). Raises DeviceError if arguments or sizes do not fit.
        """
        return Launch(self, grid, block, args, shared, cooperative, cluster, overlap)

    def launch(
        self,
        grid: Dim,
        block: Dim,
        args: Sequence[Argument],
        *,
        stream: Stream,
        shared: int = 0,
        cooperative: bool = False,
        cluster: Dim | None = None,
        overlap: bool = False,
    ) -> None:
        """Run the kernel once, in the order of `stream`; see `prepare`. The host does not wait."""
        Launch(self, grid, block, args, shared, cooperative, cluster, overlap)(stream)

    def allow_large_clusters(self) -> None:
        """Allow clusters of more than 8 blocks, which not every device has (`launch` does so by itself)."""
        self._set_attribute("NON_PORTABLE_CLUSTER_SIZE_ALLOWED", 1)

    def _attribute(self, name: str) -> int:
        which = getattr(self.device.driver.bindings.CUfunction_attribute, f"CU_FUNC_ATTRIBUTE_{name}")
        return int(self.device.call("cuFuncGetAttribute", which, self.handle))

    def _set_attribute(self, name: str, value: int) -> None:
        which = getattr(self.device.driver.bindings.CUfunction_attribute, f"CU_FUNC_ATTRIBUTE_{name}")
        self.device.call("cuFuncSetAttribute", self.handle, which, value)

    def _parameter_sizes(self) -> tuple[int, ...] | None:
        """Bytes of each parameter; None where driver or bindings do not tell (before 12.4)."""
        sizes: list[int] = []
        count = sys.maxsize
        with contextlib.suppress(DeviceUnavailableError):  # drivers before 13.1 tell the end by an error alone
            count = int(self.device.call("cuFuncGetParamCount", self.handle))
        try:
            while len(sizes) < count:
                _, nbytes = self.device.call("cuFuncGetParamInfo", self.handle, len(sizes))
                sizes.append(int(nbytes))
        except DeviceUnavailableError:
            return None
        except CudaError as error:
            if error.code != _INVALID_VALUE:
                raise
        return tuple(sizes)

    def __repr__(self) -> str:
        return f"Function({self.name}, {self.registers} registers, {self.local_bytes} local bytes)"


class Launch:
    """A kernel with its sizes and packed arguments: `launch(stream)` runs it, `launch.arguments[i] = x` changes one.

    The buffers among the arguments stay alive as long as the launch.
    """

    def __init__(
        self,
        function: Function,
        grid: Dim,
        block: Dim,
        args: Sequence[Argument] = (),
        shared: int = 0,
        cooperative: bool = False,
        cluster: Dim | None = None,
        overlap: bool = False,
    ) -> None:
        """Use `Function.prepare`, which says what the values mean."""
        self.function = function
        self.device = function.device
        self.grid = _three(grid, "grid", function)
        self.block = _three(block, "block", function)
        self.shared = shared
        self.cooperative = cooperative
        self.cluster = None if cluster is None else _three(cluster, "cluster", function)
        self.overlap = overlap
        self.arguments = Arguments(args, function.parameter_sizes, function.name)
        if shared > function.max_dynamic_shared:
            function.set_max_dynamic_shared(shared)
        if self.cluster is not None and self.cluster[0] * self.cluster[1] * self.cluster[2] > _PORTABLE_CLUSTER:
            function.allow_large_clusters()
        driver = self.device.driver
        self._names = function.names
        self._local = driver.local
        self._blocking = settings().cuda_blocking
        self._pointer = self.arguments.pointer
        self._head = (function.handle, *self.grid, *self.block, shared)
        self._config: Any = self._make_config() if cooperative or self.cluster or overlap else None
        self._stream: Stream | None = None  # the one that the config names
        self._name = "cuLaunchKernel" if self._config is None else "cuLaunchKernelEx"
        self._call = driver.function(self._name)

    def __call__(self, stream: Stream) -> None:
        """Run the kernel, in the order of `stream`. The host does not wait.

        Raises DeviceError if the device refuses the sizes, KernelFaultError if a kernel before failed (with
        HELIOSTAT_CUDA_BLOCKING=1, if this one fails).
        """
        device = self.device
        if device.broken is not None or getattr(self._local, "device", None) is not device:
            device.activate()
        status = self._give(stream)
        if status == OUT_OF_MEMORY and device.make_room():  # local memory of a kernel's threads, say
            status = self._give(stream)
        if status != 0:
            raise self._error(status)
        if stream.captured is not None:
            stream.captured.append(self)
            return
        stream.trail.append(self._names)
        if self._blocking:
            self._wait(stream)

    def _give(self, stream: Stream) -> Any:
        if self._config is None:
            return self._call(*self._head, stream.handle, self._pointer, 0)[0]
        if self._stream is not stream:
            self._config.hStream = stream.handle
            self._stream = stream
        return self._call(self._config, self._head[0], self._pointer, 0)[0]

    @property
    def names(self) -> tuple[KernelName, ...]:
        """What faults and profiles call it."""
        return self._names

    def alone(self) -> Launch:
        """The same launch with arguments of its own, which begins when the one ahead has ended."""
        return Launch(self.function, self.grid, self.block, [0] * len(self.arguments), self.shared)

    def attributes(self, *, node: bool = False) -> list[tuple[Any, Any]]:
        """(id, value) of the launch attributes, as the bindings take them; `node`: for a kernel node of a graph, whose
        edges are full ones, so that `overlap` is left out."""
        bindings = self.device.driver.bindings
        new = bindings.CUkernelNodeAttrValue if node else bindings.CUlaunchAttributeValue  # one struct, two types
        kinds = bindings.CUlaunchAttributeID
        out: list[tuple[Any, Any]] = []
        if self.cooperative:
            value = new()
            value.cooperative = 1
            out.append((kinds.CU_LAUNCH_ATTRIBUTE_COOPERATIVE, value))
        if self.cluster is not None:
            value = new()
            value.clusterDim.x, value.clusterDim.y, value.clusterDim.z = self.cluster
            out.append((kinds.CU_LAUNCH_ATTRIBUTE_CLUSTER_DIMENSION, value))
        if self.overlap and not node:
            value = new()
            value.programmaticStreamSerializationAllowed = 1
            out.append((kinds.CU_LAUNCH_ATTRIBUTE_PROGRAMMATIC_STREAM_SERIALIZATION, value))
        return out

    def node_parameters(self) -> Any:
        """The parameters of a kernel node of a graph. They point to the arguments of this launch."""
        params = self.device.driver.bindings.CUDA_KERNEL_NODE_PARAMS()
        params.func = self.function.handle
        params.gridDimX, params.gridDimY, params.gridDimZ = self.grid
        params.blockDimX, params.blockDimY, params.blockDimZ = self.block
        params.sharedMemBytes = self.shared
        params.kernelParams = self._pointer
        return params

    def _make_config(self) -> Any:
        bindings = self.device.driver.bindings
        config = bindings.CUlaunchConfig()
        config.gridDimX, config.gridDimY, config.gridDimZ = self.grid
        config.blockDimX, config.blockDimY, config.blockDimZ = self.block
        config.sharedMemBytes = self.shared
        attributes = []
        for kind, value in self.attributes():
            attribute = bindings.CUlaunchAttribute()
            attribute.id = kind
            attribute.value = value
            attributes.append(attribute)
        config.attrs = attributes
        config.numAttrs = len(attributes)
        return config

    def _wait(self, stream: Stream) -> None:
        status = self.device.driver.function("cuStreamSynchronize")(stream.handle)[0]
        if status != 0:
            stream.trail.clear()
            stream.trail.append(self._names)
            raise self.device.failed("cuStreamSynchronize", status)
        stream.finished()

    def _error(self, status: Any) -> DeviceError:
        if int(status) not in _LAUNCH_ERRORS:
            return self.device.failed(self._name, status, f"kernel {self._names[0]} cannot be launched")
        function = self.function
        threads = self.block[0] * self.block[1] * self.block[2]
        sizes = f"grid {self.grid}, block {self.block}, {self.shared} bytes of dynamic shared memory"
        sizes += f", cluster {self.cluster}" if self.cluster else ""
        needs = (
            f"it takes at most {function.max_threads} threads of {function.registers} registers and"
            f" {function.shared_bytes} bytes of static shared memory"
        )
        if self.cooperative and threads <= function.max_threads:
            together = function.blocks_per_sm(threads, self.shared) * self.device.sm_count
            needs += f", and {together} blocks of these run at once"
        return self.device.failed(self._name, status, f"kernel {self._names[0]} cannot be launched ({sizes}; {needs})")

    def __repr__(self) -> str:
        return f"Launch({self.function.name}, grid {self.grid}, block {self.block})"


def _three(size: Dim, what: str, function: Function) -> tuple[int, int, int]:
    sizes = (size,) if isinstance(size, int) else tuple(size)
    if not 1 <= len(sizes) <= 3 or min(sizes) < 1:
        raise DeviceError(f"kernel {function.names[0]}: {what} must be one to three positive sizes, got {size}")
    x, y, z = (*sizes, 1, 1)[:3]
    return x, y, z
