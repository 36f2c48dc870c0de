"""NVIDIA GPUs through the CUDA driver: devices, memory, streams, kernels, graphs. Needs the extra `[cuda]`.

Importing this is free and needs nothing; `device()` loads the driver, and says what is missing where it cannot.

    from heliostat.runtime.cuda import DeviceBuffer, Graph, Module, Stream, capture, copy_bandwidth, device

    gpu = device(0)                                     # one object per ordinal; honours CUDA_VISIBLE_DEVICES
    gpu.name, gpu.compute_capability, gpu.sm_count      # "NVIDIA H200", (9, 0), 132
    stream = Stream(gpu)

    module = Module(gpu, ptx, program="decode")         # or a cubin; PTX is assembled once and kept on disk
    print(module.log)                                   # registers and spills, as the assembler counts them
    add = module.function("add_f32")                    # add.registers, add.local_bytes, add.max_threads

    x = DeviceBuffer.of(np.ones(1 << 20, np.float32), stream)
    y = DeviceBuffer.allocate(gpu, x.nbytes, stream)    # from the pool; x.slice(offset, nbytes) is a view

    # Arguments: buffers, ints and floats (packed by the widths the kernel declares), NumPy scalars, bytes of structs.
    add.launch(4096, 256, [y, x, 1 << 20, 0.5], stream=stream)
    print(y.array(np.float32, stream=stream))           # copies back and waits

    step = add.prepare(4096, 256, [y, x, 1 << 20, 0.5], shared=0, cluster=None)     # packed once:
    step(stream)                                        # under a microsecond of host time
    step.arguments[3] = 0.25                            # later launches see it

    before = stream.record()
    with capture(stream, name="decode") as captured:    # records instead of running
        step(stream)
    captured.graph.launch(stream)                       # the whole step by one call
    print(stream.record().elapsed_ms(before))           # milliseconds of device time

    graph = Graph.build(gpu, [step, step], name="two")  # by hand; dependencies=[[], []]: side by side
    step.arguments[3] = 0.125
    graph.update(0)                                     # node 0 takes the new arguments
    limit = copy_bandwidth(gpu)                         # bytes read + written per second
    print(gpu.pool.stats(), gpu.memory())

Errors: DeviceUnavailableError, DeviceMemoryError, KernelFaultError (names the kernel, with certainty under
HELIOSTAT_CUDA_BLOCKING=1; the device is lost to the process), CompileError for PTX, DeviceError for the rest.
"""

from .arguments import Argument, Arguments
from .assemble import Cubin, assemble
from .bandwidth import copy_bandwidth
from .buffer import DeviceBuffer, PinnedBuffer
from .cublaslt import CublasLt, CublasLtError, LibraryLaunch
from .cufft import Cufft
from .cusolver import DenseSolver
from .device import Device, KernelName, device
from .driver import CudaError, Driver, device_count
from .graph import Capture, Graph, capture
from .libraries import LibraryError
from .module import Function, Launch, Module
from .pool import Pool, PoolStats
from .stream import Event, Stream

__all__ = [
    "Argument",
    "Arguments",
    "Capture",
    "Cubin",
    "CublasLt",
    "CublasLtError",
    "CudaError",
    "Cufft",
    "DenseSolver",
    "Device",
    "DeviceBuffer",
    "Driver",
    "Event",
    "Function",
    "Graph",
    "KernelName",
    "Launch",
    "LibraryError",
    "LibraryLaunch",
    "Module",
    "PinnedBuffer",
    "Pool",
    "PoolStats",
    "Stream",
    "assemble",
    "capture",
    "copy_bandwidth",
    "device",
    "device_count",
]
