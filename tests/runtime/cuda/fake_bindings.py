"""A stand-in for `cuda.bindings.driver` that runs on the host: memory is host memory, kernels are Python functions.

Work on a stream is queued and runs as late as a device may run it, so that code which reuses memory too early is seen.
Every access is checked against what is allocated. Only what the runtime calls is here.
"""

from __future__ import annotations

import ctypes
import struct
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import IntEnum
from types import SimpleNamespace
from typing import Any

POISON = 0xA5
RESULTS = {
    "CUDA_SUCCESS": 0,
    "CUDA_ERROR_INVALID_VALUE": 1,
    "CUDA_ERROR_OUT_OF_MEMORY": 2,
    "CUDA_ERROR_NO_DEVICE": 100,
    "CUDA_ERROR_INVALID_DEVICE": 101,
    "CUDA_ERROR_INVALID_CONTEXT": 201,
    "CUDA_ERROR_INVALID_PTX": 218,
    "CUDA_ERROR_UNSUPPORTED_PTX_VERSION": 222,
    "CUDA_ERROR_NOT_FOUND": 500,
    "CUDA_ERROR_NOT_READY": 600,
    "CUDA_ERROR_ILLEGAL_ADDRESS": 700,
    "CUDA_ERROR_LAUNCH_OUT_OF_RESOURCES": 701,
    "CUDA_ERROR_GRAPH_EXEC_UPDATE_FAILURE": 910,
}
CUresult = IntEnum("CUresult", RESULTS)


class Fault(Exception):
    """Raised by a fake kernel that reads what it may not."""


class Handle(int):
    """A handle: a number that is not 0."""


class Names:
    """Stands for an enumeration: its values are their own names, without the prefix."""

    def __init__(self, prefix: str) -> None:
        self._prefix = prefix

    def __getattr__(self, name: str) -> str:
        if not name.startswith(self._prefix) or not name.isupper():
            raise AttributeError(name)
        return name.removeprefix(self._prefix)


@dataclass
class Kernel:
    """`run(grid, block, arguments)`; arguments are bytes, one per parameter size."""

    run: Callable[..., None]
    sizes: tuple[int, ...] = ()
    attributes: dict[str, int] = field(default_factory=dict)


@dataclass
class Node:
    kernel: Kernel
    grid: tuple[int, ...]
    block: tuple[int, ...]
    arguments: list[bytes]
    shared: int = 0
    before: list[int] = field(default_factory=list)
    attributes: dict[str, Any] = field(default_factory=dict)


@dataclass
class FakeStream:
    queue: list[Callable[[], None]] = field(default_factory=list)
    ran: int = 0
    capturing: list[Node] | None = None

    def run(self, until: int | None = None) -> None:
        until = len(self.queue) if until is None else until
        while self.ran < until:
            self.ran += 1
            self.queue[self.ran - 1]()


class FakeBindings:
    """One or more devices of `memory` bytes. `calls` holds the names called, `live` the allocations."""

    CUdevice_attribute = Names("CU_DEVICE_ATTRIBUTE_")
    CUfunction_attribute = Names("CU_FUNC_ATTRIBUTE_")
    CUjit_option = Names("CU_JIT_")
    CUjit_target = Names("CU_TARGET_")
    CUlaunchAttributeID = Names("CU_LAUNCH_ATTRIBUTE_")
    CUstreamCaptureMode = Names("CU_STREAM_CAPTURE_MODE_")
    CUgraphNodeType = Names("CU_GRAPH_NODE_TYPE_")
    CUresult = CUresult

    def __init__(self, devices: int = 1, memory: int = 1 << 30, version: int = 12080) -> None:
        self.devices, self.memory, self.version = devices, memory, version
        self.used = 0
        self.calls: list[str] = []
        self.live: dict[int, tuple[int, Any]] = {}
        self.pinned: dict[int, tuple[int, Any]] = {}
        self.kernels: dict[str, Kernel] = {}
        self.streams: dict[int, FakeStream] = {}
        self.events: dict[int, tuple[FakeStream, int] | None] = {}
        self.marked: dict[int, int] = {}  # events that a graph recorded: how many of its kernels had run
        self.kernels_ran = 0
        self.functions: dict[int, Kernel] = {}
        self.graphs: dict[int, list[Node]] = {}
        self.executables: dict[int, list[Node]] = {}
        self.destroyed: list[str] = []
        self.configs: list[Any] = []
        self.sticky = 0
        self.fail: dict[str, int] = {}  # name of a function: the code it returns
        self.peers = True  # devices can reach each other
        self.enabled: list[int] = []
        self.link_log: tuple[str, str] = ("", "")
        self._next = 1

    def __getattribute__(self, name: str) -> Any:
        value = object.__getattribute__(self, name)
        if not name.startswith("cu"):
            return value

        def call(*args: Any) -> Any:
            self.calls.append(name)
            code = self.fail.get(name, self.sticky)
            if code and name not in ("cuGetErrorString", "cuDriverGetVersion", "cuCtxSetCurrent"):
                return (_result(code),)
            try:
                out = value(*args)
            except Failure as failure:
                return (_result(failure.code),)
            except Fault:
                self.sticky = 700
                return (_result(700),)
            if out is None:
                return (CUresult.CUDA_SUCCESS,)
            return (CUresult.CUDA_SUCCESS, *(out if isinstance(out, tuple) else (out,)))

        return call

    def handle(self) -> Handle:
        self._next += 1
        return Handle(self._next)

    # Driver and devices

    def cuInit(self, flags: int) -> None:
        if not self.devices:
            raise Failure(100)

    def cuDriverGetVersion(self) -> int:
        return self.version

    def cuGetErrorString(self, code: int) -> bytes:
        return f"text of {int(code)}".encode()

    def cuDeviceGetCount(self) -> int:
        return self.devices

    def cuDeviceGet(self, index: int) -> int:
        return index

    def cuDeviceGetName(self, length: int, dev: int) -> bytes:
        return b"Fake GPU" + bytes(length - 8)

    def cuDeviceTotalMem(self, dev: int) -> int:
        return self.memory

    def cuDeviceGetAttribute(self, name: str, dev: int) -> int:
        return {
            "COMPUTE_CAPABILITY_MAJOR": 9,
            "COMPUTE_CAPABILITY_MINOR": 0,
            "MULTIPROCESSOR_COUNT": 132,
            "L2_CACHE_SIZE": 50 << 20,
            "MAX_SHARED_MEMORY_PER_BLOCK_OPTIN": 227 << 10,
        }[name]

    def cuDevicePrimaryCtxRetain(self, dev: int) -> Handle:
        return self.handle()

    def cuDevicePrimaryCtxRelease(self, dev: int) -> None:
        self.destroyed.append("context")

    def cuCtxSetCurrent(self, context: int) -> None:
        pass

    def cuCtxSynchronize(self) -> None:
        self.run_all()

    def run_all(self) -> None:
        for stream in self.streams.values():
            stream.run()

    # Memory

    def cuMemGetInfo(self) -> tuple[int, int]:
        return self.memory - self.used, self.memory

    def cuMemAlloc(self, nbytes: int) -> int:
        if self.used + nbytes > self.memory:
            raise Failure(2)
        self.used += nbytes
        raw = ctypes.create_string_buffer(nbytes + 512)
        address = ctypes.addressof(raw) + -ctypes.addressof(raw) % 512
        ctypes.memset(address, POISON, nbytes)
        self.live[address] = (nbytes, raw)
        return address

    def cuMemFree(self, address: int) -> None:
        self.run_all()
        self.used -= self.live.pop(address)[0]

    def cuMemHostAlloc(self, nbytes: int, flags: int) -> int:
        raw = ctypes.create_string_buffer(nbytes)
        self.pinned[ctypes.addressof(raw)] = (nbytes, raw)
        return ctypes.addressof(raw)

    def cuMemFreeHost(self, address: int) -> None:
        del self.pinned[address]

    def check(self, address: int, nbytes: int, places: dict[int, tuple[int, Any]] | None = None) -> None:
        """Raise Fault unless the bytes lie in one allocation."""
        for start, (size, _) in (self.live if places is None else places).items():
            if start <= address and address + nbytes <= start + size:
                return
        raise Fault(f"{nbytes} bytes at {address:#x}")

    def copy(self, to: int, source: int, nbytes: int, stream: int, kinds: str) -> None:
        def run() -> None:
            self.check(to, nbytes, self.live if kinds[1] == "D" else self.pinned)
            self.check(source, nbytes, self.live if kinds[0] == "D" else self.pinned)
            ctypes.memmove(to, source, nbytes)

        self.enqueue(stream, Node(Kernel(lambda grid, block, arguments: run()), (1,), (1,), []))

    def cuMemcpyHtoDAsync(self, to: int, source: int, nbytes: int, stream: int) -> None:
        self.copy(to, source, nbytes, stream, "HD")

    def cuMemcpyDtoHAsync(self, to: int, source: int, nbytes: int, stream: int) -> None:
        self.copy(to, source, nbytes, stream, "DH")

    def cuMemcpyDtoDAsync(self, to: int, source: int, nbytes: int, stream: int) -> None:
        self.copy(to, source, nbytes, stream, "DD")

    def cuMemcpyPeerAsync(self, to: int, there: int, source: int, here: int, nbytes: int, stream: int) -> None:
        self.copy(to, source, nbytes, stream, "DD")

    def cuDeviceCanAccessPeer(self, device: int, other: int) -> int:
        return int(self.peers)

    def cuCtxEnablePeerAccess(self, context: int, flags: int) -> None:
        if context in self.enabled:
            raise Failure(704)
        self.enabled.append(context)

    def cuMemsetD8Async(self, to: int, byte: int, nbytes: int, stream: int) -> None:
        def run() -> None:
            self.check(to, nbytes)
            ctypes.memset(to, byte, nbytes)

        self.streams[stream].queue.append(run)

    # Streams and events

    def cuStreamCreateWithPriority(self, flags: int, priority: int) -> Handle:
        handle = self.handle()
        self.streams[handle] = FakeStream()
        return handle

    def cuStreamDestroy(self, stream: int) -> None:
        self.streams[stream].run()
        self.destroyed.append("stream")

    def cuStreamSynchronize(self, stream: int) -> None:
        self.streams[stream].run()

    def cuStreamQuery(self, stream: int) -> None:
        if self.streams[stream].ran < len(self.streams[stream].queue):
            raise Failure(600)

    def cuStreamWaitEvent(self, stream: int, event: int, flags: int) -> None:
        point = self.events[event]
        if point:
            self.streams[stream].queue.append(lambda: point[0].run(point[1]))

    def cuEventCreate(self, flags: int) -> Handle:
        handle = self.handle()
        self.events[handle] = None
        return handle

    def cuEventDestroy(self, event: int) -> None:
        self.destroyed.append("event")

    def cuEventRecord(self, event: int, stream: int) -> None:
        self.events[event] = (self.streams[stream], len(self.streams[stream].queue))

        self.marked.pop(event, None)

    def cuEventRecordWithFlags(self, event: int, stream: int, flags: int) -> None:
        """A node of the graph that is captured; each kernel of a graph takes a millisecond."""
        assert flags == 1
        assert self.streams[stream].capturing is not None

        def run(grid: Any, block: Any, arguments: Any) -> None:
            self.marked[event] = self.kernels_ran

        self.enqueue(stream, Node(Kernel(run), (), (), []))

    def cuEventQuery(self, event: int) -> None:
        point = self.events[event]
        if point and point[0].ran < point[1]:
            raise Failure(600)

    def cuEventSynchronize(self, event: int) -> None:
        point = self.events[event]
        if point:
            point[0].run(point[1])

    def cuEventElapsedTime(self, start: int, end: int) -> float:
        if start in self.marked and end in self.marked:
            return float(self.marked[end] - self.marked[start])
        first, last = self.events[start], self.events[end]
        if first is None or last is None:
            raise Failure(1)
        return float(last[1] - first[1])

    # Modules and kernels

    def cuModuleLoadDataEx(self, image: bytes, count: int, options: list[str], values: list[Any]) -> Handle:
        assert count == len(options) == len(values)
        return self.handle()

    def cuModuleUnload(self, module: int) -> None:
        self.destroyed.append("module")

    def cuModuleGetFunction(self, module: int, name: bytes) -> Handle:
        if name.decode() not in self.kernels:
            raise Failure(500)
        handle = self.handle()
        self.functions[handle] = self.kernels[name.decode()]
        return handle

    def cuFuncGetAttribute(self, name: str, function: int) -> int:
        return self.function_attribute(name, function)

    def function_attribute(self, name: str, function: int) -> int:
        defaults = {"NUM_REGS": 32, "MAX_THREADS_PER_BLOCK": 1024, "MAX_DYNAMIC_SHARED_SIZE_BYTES": 48 << 10}
        return self.functions[function].attributes.get(name, defaults.get(name, 0))

    def cuFuncSetAttribute(self, function: int, name: str, value: int) -> None:
        self.functions[function].attributes[name] = value

    def cuFuncGetParamCount(self, function: int) -> int:
        return len(self.functions[function].sizes)

    def cuFuncGetParamInfo(self, function: int, index: int) -> tuple[int, int]:
        if index >= len(self.functions[function].sizes):
            raise Failure(1)
        return 0, self.functions[function].sizes[index]

    def cuOccupancyMaxActiveBlocksPerMultiprocessor(self, function: int, threads: int, shared: int) -> int:
        return 2048 // threads

    def node(self, function: int, grid: tuple[int, ...], block: tuple[int, ...], shared: int, pointer: int) -> Node:
        kernel = self.functions[function]
        if block[0] * block[1] * block[2] > self.function_attribute("MAX_THREADS_PER_BLOCK", function):
            raise Failure(701)
        if shared > self.function_attribute("MAX_DYNAMIC_SHARED_SIZE_BYTES", function):
            raise Failure(1)
        addresses = (ctypes.c_void_p * len(kernel.sizes)).from_address(pointer) if kernel.sizes else ()
        arguments = [ctypes.string_at(a, n) for a, n in zip(addresses, kernel.sizes, strict=True)]
        return Node(kernel, grid, block, arguments, shared)

    def enqueue(self, stream: int, node: Node) -> None:
        capturing = self.streams[stream].capturing
        if capturing is not None:
            node.before = [len(capturing) - 1] if capturing else []
            capturing.append(node)
            return
        self.streams[stream].queue.append(lambda: node.kernel.run(node.grid, node.block, node.arguments))

    def cuLaunchKernel(self, function: int, *rest: Any) -> None:
        gx, gy, gz, bx, by, bz, shared, stream, pointer, extra = rest
        assert extra == 0
        self.enqueue(stream, self.node(function, (gx, gy, gz), (bx, by, bz), shared, pointer))

    def cuLaunchKernelEx(self, config: Any, function: int, pointer: int, extra: int) -> None:
        self.configs.append(config)
        c = config
        node = self.node(
            function, (c.gridDimX, c.gridDimY, c.gridDimZ), (c.blockDimX, c.blockDimY, c.blockDimZ),
            c.sharedMemBytes, pointer,
        )  # fmt: skip
        assert c.numAttrs == len(c.attrs)
        node.attributes = {a.id: a.value for a in c.attrs}
        self.enqueue(c.hStream, node)

    def CUlaunchConfig(self) -> Any:
        return SimpleNamespace()

    def CUlaunchAttribute(self) -> Any:
        return SimpleNamespace()

    def CUlaunchAttributeValue(self) -> Any:
        return SimpleNamespace(clusterDim=SimpleNamespace())

    def CUkernelNodeAttrValue(self) -> Any:
        return SimpleNamespace(clusterDim=SimpleNamespace())

    def CUDA_KERNEL_NODE_PARAMS(self) -> Any:
        return SimpleNamespace()

    # Assembling

    def CUjitInputType(self, kind: int) -> int:
        return kind

    def cuLinkCreate(self, count: int, options: list[str], values: list[Any]) -> Handle:
        assert count == len(options) == len(values)
        self._link_values = dict(zip(options, values, strict=True))
        return self.handle()

    def cuLinkAddData(self, state: int, kind: int, data: bytes, size: int, name: bytes, *options: Any) -> None:
        assert kind == 1
        assert data[-1] == 0
        assert size == len(data)
        info, errors = (text.encode() for text in self.link_log)
        self._link_values["INFO_LOG_BUFFER"][: len(info)] = info
        self._link_values["ERROR_LOG_BUFFER"][: len(errors)] = errors
        if errors:
            raise Failure(218)
        self._cubin = ctypes.create_string_buffer(b"\x7fELF" + data[:-1])

    def cuLinkComplete(self, state: int) -> tuple[int, int]:
        return ctypes.addressof(self._cubin), len(self._cubin) - 1

    def cuLinkDestroy(self, state: int) -> None:
        ctypes.memset(self._cubin, 0, len(self._cubin)) if hasattr(self, "_cubin") else None
        self.destroyed.append("link")

    # Graphs

    def cuStreamBeginCapture(self, stream: int, mode: str) -> None:
        self.streams[stream].capturing = []

    def cuStreamEndCapture(self, stream: int) -> Handle:
        handle = self.handle()
        nodes, self.streams[stream].capturing = self.streams[stream].capturing, None
        assert nodes is not None
        self.graphs[handle] = nodes
        return handle

    def cuGraphCreate(self, flags: int) -> Handle:
        handle = self.handle()
        self.graphs[handle] = []
        return handle

    def cuGraphAddKernelNode(self, graph: int, before: list[int], count: int, params: Any) -> Handle:
        assert count == len(before)
        assert len(set(before)) == count
        self.graphs[graph].append(self.from_params(params, [b - 1000 for b in before]))
        return Handle(1000 + len(self.graphs[graph]) - 1)

    def from_params(self, p: Any, before: list[int]) -> Node:
        grid, block = (p.gridDimX, p.gridDimY, p.gridDimZ), (p.blockDimX, p.blockDimY, p.blockDimZ)
        node = self.node(p.func, grid, block, p.sharedMemBytes, p.kernelParams)
        node.before = before
        return node

    def cuGraphKernelNodeSetAttribute(self, node: int, kind: str, value: Any) -> None:
        self.graphs[next(reversed(self.graphs))][node - 1000].attributes[kind] = value

    def cuGraphInstantiate(self, graph: int, flags: int) -> Handle:
        handle = self.handle()
        self.executables[handle] = list(self.graphs[graph])
        return handle

    def cuGraphUpload(self, executable: int, stream: int) -> None:
        pass

    def cuGraphLaunch(self, executable: int, stream: int) -> None:
        nodes = list(self.executables[executable])
        ran: set[int] = set()

        def run() -> None:
            for i in reversed(range(len(nodes))):  # in the last order that the dependencies allow
                visit(i)

        def visit(i: int) -> None:
            if i in ran:
                return
            ran.add(i)
            for j in nodes[i].before:
                visit(j)
            nodes[i].kernel.run(nodes[i].grid, nodes[i].block, nodes[i].arguments)
            self.kernels_ran += bool(nodes[i].grid)

        self.streams[stream].queue.append(run)

    def cuGraphExecKernelNodeSetParams(self, executable: int, node: int, params: Any) -> None:
        old = self.executables[executable][node - 1000]
        self.executables[executable][node - 1000] = self.from_params(params, old.before)

    def cuGraphExecUpdate(self, executable: int, graph: int) -> Any:
        if len(self.graphs[graph]) != len(self.executables[executable]):
            raise Failure(910)
        self.executables[executable] = list(self.graphs[graph])
        return SimpleNamespace(result=0)

    def cuGraphExecDestroy(self, executable: int) -> None:
        self.destroyed.append("executable")

    def cuGraphDestroy(self, graph: int) -> None:
        self.destroyed.append("graph")


class Failure(Exception):
    """A call that returns this code."""

    def __init__(self, code: int) -> None:
        super().__init__(code)
        self.code = code


def _result(code: int) -> Any:
    try:
        return CUresult(code)
    except ValueError:
        return code


def u64(data: bytes) -> int:
    """The address in an argument."""
    return struct.unpack("<Q", data)[0]
