"""Programs on GPUs whose buffers are others at each run: what lazy tensors and compiled steps of a GPU run by.

The counterpart of `runner.py` and `step.py`. All work of a device goes to one stream, so that memory which is given
back may be used again at once; nothing here waits for the device.
"""

from __future__ import annotations

import sys
import threading
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from ..compiler.driver import explain
from ..compiler.pipeline import Compiled, KernelLibrary, Options, compile_graph
from ..compiler.tuning import TuningTable
from ..ir.graph import Graph
from ..kernel.program import Program
from ..runtime.buffer import Buffer
from ..runtime.cuda import DeviceBuffer, Event, capture
from ..runtime.cuda import Graph as CudaGraph
from ..runtime.trace import LaunchTime
from ..settings import current
from .cuda import CudaCode, CudaDevice, Ready
from .cuda_trace import GpuTrace
from .cuda_tuning import entries, tune_cuda
from .devices import Float32Products, gpu_engine
from .executable import check_symbols
from .phases import phases_of
from .recorder import Recorder
from .runner import engine, nbytes_at
from .tuning import load_tuning
from .tuning_file import save_tuning

SLOT = 64  # bytes between small values that are sent together
SCRATCH_SHARE = 16  # a program of symbols may want one in so many bytes of a device for scratch at their upper bounds
GRAPHS = 4  # captured graphs of a step: one for each set of addresses that comes again


class CudaEngine:
    """Kernels, their code and scratch memory of one GPU; `devices.gpu_engine` makes one for the process."""

    def __init__(self, number: int) -> None:
        """Raises DeviceUnavailableError, with what is missing."""
        self.place = CudaDevice(number)
        self.name = f"cuda:{number}"
        self.target = self.place.target
        self.library = KernelLibrary()
        self.tuning = load_tuning(self.target)
        self.code = CudaCode(self.place)
        self.lock = threading.RLock()
        self.arena = self.place.allocate(64)
        self.most_scratch = self.place.gpu.total_memory // SCRATCH_SHARE
        self.compiled = 0

    def compile(self, graph: Graph) -> CudaRunner:
        """A program of the graph, whose parameters are all inputs. Raises CompileError."""
        return CudaRunner(self.made(graph).program, self)

    def made(self, graph: Graph) -> Compiled:
        """The compiled graph. Raises CompileError."""
        made = self._made(graph)
        if current("tune") and self._tuned(made):
            made = self._made(graph)
        assert not made.loads
        self.compiled += 1
        return made

    def _made(self, graph: Graph) -> Compiled:
        exactness = Float32Products.precision, Float32Products.tf32_convolutions()
        options = Options("int8", self.tuning, *exactness)
        return compile_graph(graph, self.target, options, self.library)

    def _tuned(self, made: Compiled) -> bool:
        """Measure the products of a program that no choice is known for, and keep the choices; whether there are new
        ones. Raises KernelFaultError."""
        groups = [self.library.groups[k.name] for k in made.program.kernels if k.name in self.library.groups]
        found = entries(tune_cuda(groups, self.place, known=self.tuning.entries))
        if not found:
            return False
        save_tuning(self.target, found)
        self.tuning = TuningTable({**self.tuning.entries, **found})
        self.library = KernelLibrary()  # its kernels have other tiles
        return True

    def scratch(self, nbytes: int) -> int:
        """The address of that many bytes, which the next run may use too."""
        if self.arena.nbytes < nbytes:
            self.arena = self.place.allocate(64)  # the smaller one goes back first
            self.arena = self.place.allocate(nbytes)
        return self.arena.address

    def upload(self, array: npt.NDArray[Any]) -> DeviceBuffer:
        """A copy of an array's bytes on the device. Raises DeviceMemoryError."""
        buffer = self.place.allocate(array.nbytes)
        if array.nbytes:
            buffer.copy_from_host(array, self.place.stream)
        return buffer

    def download(self, buffer: DeviceBuffer, nbytes: int) -> npt.NDArray[np.uint8]:
        """A buffer's first bytes, after all that was asked of the device before. Raises KernelFaultError."""
        if not nbytes:
            return np.zeros(0, np.uint8)
        return buffer.slice(0, nbytes).array(np.uint8, stream=self.place.stream)

    def copy(self, source: DeviceBuffer, nbytes: int) -> DeviceBuffer:
        """A buffer with the same bytes here, of another GPU too."""
        made = self.place.allocate(nbytes)
        if nbytes:
            here, part = self.place.stream, source.slice(0, nbytes)
            if source.device is self.place.gpu:
                made.copy_from(part, here)
                return made
            there = gpu_engine(str(source.device)).place.stream
            here.wait(there.record(Event(source.device, timing=False)))
            made.copy_from(part, here)
            there.wait(here.record(Event(self.place.gpu, timing=False)))  # its memory may be written again behind it
        return made

    def synchronize(self) -> None:
        """Wait for all that was asked of the device. Raises KernelFaultError."""
        self.place.gpu.synchronize()

    def release(self) -> None:
        """Give memory that nobody uses back to the driver."""
        with self.lock:
            self.arena = self.place.allocate(64)
            self.place.gpu.pool.empty()


class _Launches:
    """A program's launches with addresses that can be written."""

    def __init__(self, program: Program, owner: CudaEngine) -> None:
        self.program, self.owner = program, owner
        place = owner.place
        library = place.has_library(program)
        phases, members = phases_of(program, place.target, place.gpu.sm_count, library)
        owner.code.load(phases, program.name, library)
        self.members = members
        self.trace: GpuTrace | None = None
        self.names = [" + ".join(k.name for k in phase.kernels) for phase in phases]
        self.number = {s.name: i for i, s in enumerate(program.symbols)}
        self.bounds = {s.name: (s.lower, s.upper) for s in program.symbols}
        self.slots = np.zeros(max(1, len(program.symbols)), np.int64)
        self.device_slots = place.allocate(self.slots.nbytes)
        self.sent = b""  # what the device's slots hold: nothing yet, whatever their memory held before
        self.constants: dict[int, DeviceBuffer] = {}
        self.launches: list[Ready] = []
        self.parts: list[tuple[npt.NDArray[np.int64], slice]] = []
        which: list[int] = []  # of each argument: the number of its buffer, behind them those of symbols
        for phase, numbers in zip(phases, members, strict=True):
            begin = len(which)
            for launch in (program.launches[n] for n in numbers):
                which += launch.buffers
                which += [len(program.buffers) + self.number[s] for s in launch.symbols]
            ahead = self.launches[-1] if self.launches else None
            made = owner.code.launch(phase, program.name, [0] * (len(which) - begin), ahead)
            self.launches.append(made)
            self.parts.append((made.arguments.words(), slice(begin, len(which))))
        self.which = np.array(which, np.int64)
        self.address = np.zeros(len(program.buffers) + len(self.slots), np.int64)
        self.address[len(program.buffers) :] = self.device_slots.address + 8 * np.arange(len(self.slots))
        for n, plan in enumerate(program.buffers):
            if plan.kind == "constant":
                buffer = owner.upload(np.frombuffer(plan.data.ljust(max(plan.nbytes, 64), b"\0"), np.uint8))
                self.constants[n] = buffer
                self.address[n] = buffer.address
        scratch = [n for n, plan in enumerate(program.buffers) if plan.kind == "scratch"]
        self.scratch = np.array(scratch, np.int64)
        self.offsets = np.array([program.buffers[n].offset for n in scratch], np.int64)

    def set_symbols(self, symbols: Mapping[str, int]) -> None:
        """Set dimension values for the next launches. Raises ShapeError outside their bounds."""
        check_symbols(self.program, self.number, self.bounds, self.slots, symbols)
        now = self.slots.tobytes()
        if symbols and now != self.sent:  # also where a size is 0, and where another one was refused
            self.device_slots.copy_from_host(self.slots, self.owner.place.stream)
            self.sent = now

    def bind(self) -> npt.NDArray[np.int64]:
        """The arguments of all launches, with scratch memory as it lies now."""
        if len(self.scratch):
            self.address[self.scratch] = self.offsets + self.owner.scratch(max(self.program.arena_nbytes, 64))
        return self.address[self.which]

    def launch(self, arguments: npt.NDArray[np.int64]) -> None:
        """Give all launches to the device, which the host does not wait for."""
        stream = self.owner.place.stream
        for (words, part), launch in zip(self.parts, self.launches, strict=True):
            words[:] = arguments[part]
            launch(stream)

    def record(self, arguments: npt.NDArray[np.int64], recorder: Recorder) -> None:
        """Run all launches, wait for them, and let a profiler know how long each took."""
        if not self.launches:
            return
        if self.trace is None:
            self.trace = GpuTrace(self.program.name, self.launches)

        def fill(words: Sequence[npt.NDArray[np.int64]]) -> None:
            for to, (_, part) in zip(words, self.parts, strict=True):
                to[:] = arguments[part]

        marks = self.trace.run(self.owner.place.stream, fill)
        sizes = {name: int(self.slots[n]) for name, n in self.number.items()}
        recorder.add(self.owner.name, self.program, self.members, marks, sizes)


class CudaRunner:
    """A program with its code. `run` takes a buffer for each input and gives new ones for the outputs.

    symbols: names of the program's symbolic sizes, in the order in which `run` takes their values."""

    def __init__(self, program: Program, owner: CudaEngine) -> None:
        self.program, self.owner = program, owner
        self.launches = _Launches(program, owner)
        self.symbols = tuple(self.launches.number)
        given = {number: n for n, number in enumerate(program.inputs)}
        self.made = sorted({number for number in program.outputs if number not in given})

    def run(self, inputs: Sequence[DeviceBuffer | Buffer], sizes: Sequence[int] = ()) -> list[DeviceBuffer]:
        """The outputs' buffers. `inputs`: in the order of the graph's parameters; those of the host are sent.
        `sizes`: the values of `symbols`.

        Raises ShapeError for sizes outside of their bounds, DeviceMemoryError, KernelFaultError."""
        owner, plans = self.owner, self.program.buffers
        values = dict(zip(self.symbols, sizes, strict=True))
        with owner.lock:
            if values:
                self.launches.set_symbols(values)
            found = _sent(inputs, owner)
            made = {
                n: owner.place.allocate(nbytes_at(plans[n].type, values) if values else plans[n].nbytes)
                for n in self.made
            }
            address = self.launches.address
            for n, buffer in zip(self.program.inputs, found, strict=True):
                address[n] = buffer.address
            for n, buffer in made.items():
                address[n] = buffer.address
            arguments = self.launches.bind()
            recorder = engine().gpu_recorder
            if recorder is None:
                self.launches.launch(arguments)
            else:
                self.launches.record(arguments, recorder)
        given = dict(zip(self.program.inputs, found, strict=True))
        return [made[n] if n in made else given[n] for n in self.program.outputs]


def _sent(inputs: Sequence[DeviceBuffer | Buffer], owner: CudaEngine) -> list[DeviceBuffer]:
    """Inputs on the device: what lies on the host, numbers mostly, goes there by one copy."""
    here = [b for b in inputs if isinstance(b, Buffer)]
    if not here:
        return list(inputs)  # type: ignore[arg-type]
    starts: list[int] = []
    total = 0
    for b in here:
        starts.append(total)
        total += -(-max(b.nbytes, 1) // SLOT) * SLOT
    packed = np.zeros(total, np.uint8)
    for at, b in zip(starts, here, strict=True):
        packed[at : at + b.nbytes] = b.array(np.uint8)
    there = owner.upload(packed)
    parts = iter([there.slice(at, max(b.nbytes, 1)) for at, b in zip(starts, here, strict=True)])
    return [next(parts) if isinstance(b, Buffer) else b for b in inputs]


class CudaStep:
    """A step's program bound to memory; see `step.NativeStep`. Runs with addresses that were seen before are one
    CUDA graph."""

    def __init__(self, compiled: Compiled, owner: CudaEngine) -> None:
        self.owner, self.compiled, self.program = owner, compiled, compiled.program
        self.launches = _Launches(self.program, owner)
        self.number, self.bounds, self.slots = self.launches.number, self.launches.bounds, self.launches.slots
        self.by_name = {p.name: n for n, p in enumerate(self.program.buffers) if p.kind in ("input", "state")}
        self.graphs: OrderedDict[bytes, CudaGraph | None] = OrderedDict()
        self.numbers: tuple[Buffer, DeviceBuffer] | None = None

    def set(self, number: int, address: int) -> None:
        """Give a buffer its place in memory."""
        self.launches.address[number] = address

    def set_symbols(self, symbols: Mapping[str, int]) -> None:
        """Set dimension values. Raises ShapeError outside their bounds."""
        self.launches.set_symbols(symbols)

    def allocate(self, nbytes: int) -> DeviceBuffer:
        """New memory for a value."""
        return self.owner.place.allocate(nbytes)

    def copied(self, buffer: DeviceBuffer) -> DeviceBuffer:
        """New memory with the same bytes."""
        return self.owner.copy(buffer, buffer.nbytes)

    def uploaded(self, buffer: Buffer | DeviceBuffer) -> DeviceBuffer:
        """Data of the host where programs read it."""
        return self.owner.upload(buffer.array(np.uint8)) if isinstance(buffer, Buffer) else buffer

    def outputs(self, nbytes: int) -> CudaOutputs:
        """Memory for one output."""
        return CudaOutputs(nbytes, self.owner)

    def numbers_at(self, host: Buffer) -> DeviceBuffer:
        """Memory of the device that gets the bytes of `host`, which are new at each run, before it."""
        self.numbers = (host, self.owner.place.allocate(host.nbytes))
        return self.numbers[1]

    def run(self) -> None:
        """One run with all buffers as they are set. The host does not wait."""
        stream = self.owner.place.stream
        if self.numbers is not None:
            host, there = self.numbers
            there.copy_from_host(host.array(np.uint8), stream)
        arguments = self.launches.bind()
        if (recorder := engine().gpu_recorder) is not None:
            self.launches.record(arguments, recorder)
            return
        if len(self.launches.launches) < 2:
            self.launches.launch(arguments)
            return
        key = arguments.tobytes()
        if key not in self.graphs:
            self.graphs[key] = None  # most addresses do not come again before others settled
            if len(self.graphs) > GRAPHS:
                self.graphs.popitem(last=False)
            self.launches.launch(arguments)
            return
        self.graphs.move_to_end(key)
        graph = self.graphs[key]
        if graph is None:
            with capture(stream, name=self.program.name) as captured:
                self.launches.launch(arguments)
            graph = self.graphs[key] = captured.graph
        assert graph is not None
        graph.launch(stream)

    def profile(self, repeat: int = 1) -> list[LaunchTime]:
        """Times of every launch of `repeat` runs; they are real runs, which change states."""
        stream = self.owner.place.stream
        arguments = self.launches.bind()
        best = [float("inf")] * len(self.launches.launches)
        for _ in range(repeat):
            marks: list[Event] = [stream.record()]
            for (words, part), launch in zip(self.launches.parts, self.launches.launches, strict=True):
                words[:] = arguments[part]
                launch(stream)
                marks.append(stream.record())
            stream.synchronize()
            best = [min(b, marks[n + 1].elapsed_ms(marks[n]) / 1e3) for n, b in enumerate(best)]
        return [LaunchTime(n, 1, s * 1e9, s * 1e9, s * 1e9) for n, s in zip(self.launches.names, best, strict=True)]

    def explain(self) -> str:
        """Which kernels the program has, and why neighbours were not joined."""
        return explain(self.compiled)


def held(buffer: DeviceBuffer) -> int:
    """References to a buffer and to its memory."""
    return sys.getrefcount(buffer) + sys.getrefcount(buffer._owner)


class CudaOutputs:
    """Memory for one output, run after run: with addresses that come again a step stays one graph."""

    def __init__(self, nbytes: int, owner: CudaEngine) -> None:
        self.nbytes, self.owner = max(nbytes, 1), owner
        self.waiting: list[DeviceBuffer] = []

    def next(self) -> DeviceBuffer:
        """Memory that nobody else holds."""
        for buffer in self.waiting:
            if held(buffer) == FREE:
                return buffer
        made = self.owner.place.allocate(self.nbytes)
        self.waiting.append(made)
        if len(self.waiting) > 3:
            del self.waiting[0]
        return made


def _free() -> int:
    waiting = [DeviceBuffer.__new__(DeviceBuffer)]
    waiting[0]._owner = object()
    for buffer in waiting:
        return held(buffer)
    return 0


FREE = _free()
"""`held` of memory that only a list and a loop's variable hold."""
