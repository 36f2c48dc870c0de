"""Programs on NVIDIA GPUs: kernels become one module, buffers lie on the device, a step is one CUDA graph."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from ..compiler.pipeline import Compiled, KernelLibrary, Options
from ..compiler.plan import type_nbytes
from ..diagnostics import ShapeError
from ..ir.graph import Graph, storage_dtype
from ..ir.types import DType, TensorType, evaluate
from ..kernel.program import Program
from ..kernel.text import print_kernel
from ..runtime.cuda import DeviceBuffer, Event, Function, Launch, Module, PinnedBuffer, Stream, capture, device
from ..runtime.cuda import Graph as CudaGraph
from ..runtime.object_cache import ObjectCache
from ..runtime.trace import LaunchTime
from ..targets.llvm import version
from ..targets.nvptx import Phase, emit_ptx, overlaps
from ..targets.target import Target, cuda_target
from . import stages
from .executable import check_symbols
from .phases import phases_of
from .session import from_layout, prepare, shaped, to_layout


class CudaDevice:
    """A GPU with the stream that programs run on, and what the compiler knows of it."""

    def __init__(self, number: int = 0) -> None:
        """Raises DeviceUnavailableError, with what is missing."""
        self.gpu = device(number)
        self.stream = Stream(self.gpu)
        self.target: Target = cuda_target(self.gpu.compute_capability)

    def upload(self, array: npt.NDArray[Any]) -> DeviceBuffer:
        return DeviceBuffer.of(array, self.stream)

    def pinned(self, nbytes: int) -> PinnedBuffer:
        return PinnedBuffer(self.gpu, nbytes)

    def allocate(self, nbytes: int) -> DeviceBuffer:
        return DeviceBuffer.allocate(self.gpu, max(nbytes, 64), self.stream)


class CudaCode:
    """The functions of launches, by name: printed, assembled (both kept on disk) and loaded once each."""

    def __init__(self, place: CudaDevice) -> None:
        self.place = place
        self.functions: dict[Phase, Function] = {}
        self.modules: list[Module] = []
        self.compiled = 0
        self.taken: set[str] = set()

    def load(self, phases: Sequence[Phase], program: str) -> dict[Phase, Function]:
        """The function of every phase. Raises CompileError."""
        missing = [p for p in dict.fromkeys(phases) if p not in self.functions]
        if missing:
            t = self.place.target
            named: list[Phase] = []
            for n, phase in enumerate(missing):  # names are the module's; equal kernels may stand in many phases
                kernels = tuple(stages.replaced_kernel(k) for k in phase.kernels)
                name = kernels[0].name if len(kernels) == 1 else f"phase_{n}_{kernels[0].name}"
                while name in self.taken:
                    name += "_"
                self.taken.add(name)
                named.append(Phase(name, kernels, phase.blocks))
            key = ["ptx 4", version(), t.cpu, t.feature_string, *(_text(p) for p in named)]

            def make() -> bytes:
                self.compiled += len(named)
                return emit_ptx(named, t).encode()

            ptx = ObjectCache.default().get_or_make(key, make).decode()
            module = Module(self.place.gpu, ptx, program=program, linker=False)
            self.modules.append(module)
            self.functions.update({p: module.function(n.name) for p, n in zip(missing, named, strict=True)})
        return self.functions


def _text(phase: Phase) -> str:
    return f"{phase.name} {phase.blocks}\n" + "\n".join(print_kernel(k) for k in phase.kernels)


class CudaExecutable:
    """A program with its buffers on a device: `run` launches one graph. Scratch, outputs and states are allocated.

    `given`: buffers by name for inputs, weights and states; what is not given of inputs and states is allocated.
    """

    def __init__(
        self,
        program: Program,
        code: CudaCode,
        given: Mapping[str, DeviceBuffer],
    ) -> None:
        self.program, self.place = program, code.place
        place = code.place
        self.arena = place.allocate(program.arena_nbytes)
        self.buffers: list[DeviceBuffer] = []
        for plan in program.buffers:
            if plan.kind == "scratch":
                buffer = self.arena.slice(plan.offset, max(plan.nbytes, 1))
            elif plan.kind == "constant":
                buffer = place.upload(np.frombuffer(plan.data.ljust(max(plan.nbytes, 64), b"\0"), np.uint8))
            elif plan.name in given:
                buffer = given[plan.name]
                if buffer.nbytes < plan.nbytes:
                    raise ShapeError(
                        f"{plan.kind} {plan.name} needs {plan.nbytes} bytes, but {buffer.nbytes} are given"
                    )
            elif plan.kind == "weight":
                raise ShapeError(f"weight {plan.name} is not given")
            else:
                buffer = place.allocate(plan.nbytes)
                if plan.kind == "state":
                    buffer.fill(0, place.stream)
            self.buffers.append(buffer)
        self.slots = np.zeros(max(1, len(program.symbols)), np.int64)
        self.device_slots = place.allocate(self.slots.nbytes)
        self.number = {s.name: i for i, s in enumerate(program.symbols)}
        self.bounds = {s.name: (s.lower, s.upper) for s in program.symbols}
        phases, members = phases_of(program, place.gpu.sm_count)
        functions = code.load(phases, program.name)
        self.names = [" + ".join(k.name for k in phase.kernels) for phase in phases]
        self.launches: list[Launch] = []
        for phase, numbers in zip(phases, members, strict=True):
            args: list[DeviceBuffer] = []
            for launch in (program.launches[n] for n in numbers):
                args += [self.buffers[b] for b in launch.buffers]
                args += [self.device_slots.slice(8 * self.number[s], 8) for s in launch.symbols]
            assert phase.blocks is not None
            overlap = overlaps(place.target) and bool(self.launches)
            function = functions[phase]
            self.launches.append(
                function.prepare(sum(phase.blocks), phase.threads, args, shared=phase.shared, overlap=overlap)
            )
        self.graph: CudaGraph | None = None
        if self.launches:
            with capture(place.stream, name=program.name) as captured:
                for step in self.launches:
                    step(place.stream)
            self.graph = captured.graph

    def buffer(self, name: str) -> DeviceBuffer:
        """The buffer of that name. Raises KeyError."""
        return self.buffers[self.program.by_name(name)]

    def set_symbols(self, symbols: Mapping[str, int]) -> None:
        """Set dimension values. Raises ShapeError outside their bounds: kernels rely on them."""
        if check_symbols(self.program, self.number, self.bounds, self.slots, symbols):
            self.device_slots.copy_from_host(self.slots, self.place.stream)

    def run(self) -> None:
        """One step with the symbols and inputs as they are. The host does not wait."""
        if self.graph is not None:
            self.graph.launch(self.place.stream)

    def output(self, n: int, symbols: Mapping[str, int]) -> npt.NDArray[Any]:
        """Output n, copied to the host when the step is done."""
        number = self.program.outputs[n]
        return as_array(self.buffers[number], self.program.buffers[number].type, symbols, self.place.stream)

    def profile(self, repeat: int = 10) -> list[LaunchTime]:
        """Best time of each launch, each run alone in order: what a launch costs by itself is in them."""
        stream = self.place.stream
        best = [float("inf")] * len(self.launches)
        for _ in range(repeat):
            marks: list[Event] = [stream.record()]
            for launch in self.launches:
                launch(stream)
                marks.append(stream.record())
            stream.synchronize()
            best = [min(b, marks[n + 1].elapsed_ms(marks[n]) / 1e3) for n, b in enumerate(best)]
        return [LaunchTime(n, 1, s * 1e9, s * 1e9, s * 1e9) for n, s in zip(self.names, best, strict=True)]


def as_array(buffer: DeviceBuffer, type: TensorType, symbols: Mapping[str, int], stream: Stream) -> npt.NDArray[Any]:
    """A buffer's elements on the host: plain dtypes in their shape (bf16 as uint16), anything else as bytes."""
    if not isinstance(type.element, DType) or type.layout is not None:
        return buffer.array(np.uint8, stream=stream)[: type_nbytes(type)]
    shape = tuple(evaluate(d, symbols) for d in type.shape)
    kind = plain_dtype(type)
    count = int(np.prod(shape, dtype=np.int64))
    if not count:
        return np.zeros(shape, kind)
    return buffer.slice(0, count * type.element.nbytes).array(kind, shape, stream=stream)


def plain_dtype(type: TensorType) -> np.dtype[Any]:
    """What NumPy holds the elements of a plain type as: bf16 as uint16."""
    assert isinstance(type.element, DType)
    return np.dtype(np.uint16 if type.element.name == "bf16" else storage_dtype(type.element))


class CudaSession:
    """A compiled graph on a GPU, run with arrays: the counterpart of `Session`."""

    def __init__(self, graph: Graph, place: CudaDevice, options: Options) -> None:
        self.graph, self.place = graph, place
        self.compiled: Compiled = stages.compile_graph(graph, place.target, options, KernelLibrary())
        self.code = CudaCode(place)
        self.executable: CudaExecutable | None = None
        self.bound: dict[str, Any] = {}

    def run(
        self, inputs: Mapping[str, npt.NDArray[Any]], symbols: Mapping[str, int] | None = None
    ) -> list[npt.NDArray[Any]]:
        """Outputs, then the new states, as `Session.run` gives them. Raises ShapeError."""
        known = dict(symbols or {})
        raw = prepare(self.graph, inputs, known)
        weights = {p.node.attrs["name"] for p in self.graph.parameters if p.kind == "weight"}
        if self.executable is None or not all(self.bound.get(n) is inputs[n] for n in weights):
            given = {n: self.place.upload(raw[n].reshape(-1).view(np.uint8)) for n in weights}
            for name, program in self.compiled.loads.items():
                load = CudaExecutable(program, self.code, given)
                load.run()
                given[name] = load.buffers[program.outputs[0]]
            self.executable = CudaExecutable(self.compiled.program, self.code, given)
            self.bound = {n: inputs[n] for n in weights}
        executable, stream = self.executable, self.place.stream
        executable.set_symbols(known)
        for plan, buffer in zip(executable.program.buffers, executable.buffers, strict=True):
            if plan.kind in ("input", "state") and plan.name in raw:
                data = raw[plan.name].reshape(-1).view(np.uint8)
                if data.size:
                    data = to_layout(data, plan.type) if plan.type.layout is not None else data
                    buffer.copy_from_host(data, stream)
        executable.run()
        results = [shaped(executable.output(n, known), v, known) for n, v in enumerate(self.graph.outputs)]
        for old, _ in self.graph.updates:
            number = executable.program.by_name(old.node.attrs["name"])
            type = executable.program.buffers[number].type
            data = as_array(executable.buffers[number], type, known, stream)
            results.append(from_layout(data, type) if type.layout is not None else data)
        return results
