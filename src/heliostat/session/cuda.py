"""Programs on NVIDIA GPUs: kernels become one module, buffers lie on the device, a step is one CUDA graph."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from ..compiler.pipeline import Compiled, KernelLibrary, Options
from ..compiler.plan import type_nbytes
from ..diagnostics import DeviceUnavailableError, ShapeError
from ..ir.graph import Graph, storage_dtype
from ..ir.types import DType, TensorType
from ..kernel.ir import Kernel
from ..kernel.program import Program
from ..kernel.text import print_kernel
from ..runtime.cuda import (
    CublasLt,
    CublasLtError,
    Cufft,
    DenseSolver,
    DeviceBuffer,
    Event,
    Function,
    Launch,
    LibraryLaunch,
    Module,
    PinnedBuffer,
    Stream,
    assembly_worker,
    capture,
    device,
)
from ..runtime.cuda import Graph as CudaGraph
from ..runtime.cuda.assemble import entry_key, linked, packed, unpacked
from ..runtime.object_cache import ObjectCache, cache_key
from ..runtime.trace import LaunchTime
from ..targets.llvm_compile import version
from ..targets.nvptx_blocks import overlaps
from ..targets.nvptx_module import Phase, print_nvptx
from ..targets.target import Target, cuda_target
from . import stages
from .compile_workers import PTX_TEXT, Maker, emit_all
from .executable import check_symbols
from .phases import phases_of
from .session import from_layout, prepare, shaped, to_layout

Ready = Launch | LibraryLaunch
Ahead = Ready | None


class CudaDevice:
    """A GPU with the stream that programs run on, and what the compiler knows of it."""

    def __init__(self, number: int = 0) -> None:
        """Raises DeviceUnavailableError, with what is missing."""
        self.gpu = device(number)
        self.stream = Stream(self.gpu)
        self.target: Target = replace(cuda_target(self.gpu.compute_capability), machine=self.gpu.name)

    @cached_property
    def library(self) -> CublasLt | None:
        """cuBLASLt for this device's stream; None where it is not installed or does not start."""
        try:
            return CublasLt(self.gpu, self.stream)
        except (DeviceUnavailableError, CublasLtError):
            return None

    @cached_property
    def solver(self) -> DenseSolver:
        """cuSOLVER and cuBLAS for this device's stream. Raises DeviceUnavailableError where they are not installed."""
        return DenseSolver(self.gpu, self.stream)

    @cached_property
    def fft(self) -> Cufft | None:
        """cuFFT for this device's stream; None where it is not installed."""
        try:
            return Cufft(self.gpu, self.stream)
        except DeviceUnavailableError:
            return None

    def has_library(self, program: Program) -> bool:
        """Whether a library computes products of a program."""
        return any(k.library is not None for k in program.kernels) and self.library is not None

    def upload(self, array: npt.NDArray[Any]) -> DeviceBuffer:
        return DeviceBuffer.of(array, self.stream)

    def pinned(self, nbytes: int) -> PinnedBuffer:
        return PinnedBuffer(self.gpu, nbytes)

    def allocate(self, nbytes: int) -> DeviceBuffer:
        return DeviceBuffer.allocate(self.gpu, max(nbytes, 64), self.stream)


class CudaCode:
    """The functions of launches: each printed, assembled (both kept on disk) and loaded once, a module for each."""

    def __init__(self, place: CudaDevice) -> None:
        self.place = place
        self.functions: dict[Phase, Function] = {}
        self.compiled = 0

    def launch(self, phase: Phase, program: str, arguments: Sequence[DeviceBuffer | int], after: Ahead) -> Ready:
        """A launch of a phase that was loaded. `after`: the one ahead, None for the first; it may be overlapped."""
        kernel = phase.kernels[0]
        if phase not in self.functions:
            assert self.place.library is not None
            assert kernel.library is not None
            made = self.place.library.launch(kernel.library, kernel.name, program)
            made.arguments.words()[:] = [a if isinstance(a, int) else a.address for a in arguments]
            return made
        assert phase.blocks is not None
        overlap = overlaps(self.place.target) and isinstance(after, Launch)
        blocks, threads, function = sum(phase.blocks), phase.threads, self.functions[phase]
        return function.prepare(blocks, threads, list(arguments), shared=phase.shared, overlap=overlap)

    def load(self, phases: Sequence[Phase], program: str, library: bool = False) -> dict[Phase, Function]:
        """The function of every phase; `library`: but of those that are a library's. Raises CompileError."""
        missing = [p for p in dict.fromkeys(phases) if p not in self.functions]
        missing = [p for p in missing if not library or p.kernels[0].library is None]
        named = []
        for phase in missing:
            kernels = tuple(stages.replaced_kernel(k) for k in phase.kernels)
            named.append(Phase(_name(kernels, phase.blocks), kernels, phase.blocks))
        functions = []
        for phase, image in zip(named, self._cubins(self._ptx(named), program), strict=True):
            module = Module(self.place.gpu, image, program=program)
            functions.append(module.function(phase.name, [8] * sum(len(k.buffers) for k in phase.kernels)))
        self.functions.update(zip(missing, functions, strict=True))
        return self.functions

    def _ptx(self, phases: Sequence[Phase]) -> list[str]:
        """The text of each, found or made and kept."""
        cache, t = ObjectCache.default(), self.place.target
        keys = [cache_key(["ptx 8", version(), t.cpu, t.feature_string, _text(p)]) for p in phases]
        found = {key: cache.get(key) for key in dict.fromkeys(keys)}
        wanted = {key: p for key, p in zip(keys, phases, strict=True) if found[key] is None}
        names = list(wanted)
        self.compiled += len(names)
        made = emit_modules(list(wanted.values()), t, lambda n, code: cache.put(names[n], code))
        found.update(zip(names, made, strict=True))
        return [(found[key] or b"").decode() for key in keys]

    def _cubins(self, texts: Sequence[str], program: str) -> list[bytes]:
        """Machine code of each PTX text, found or made and kept. Raises CompileError."""
        cache, gpu = ObjectCache.default(), self.place.gpu
        keys = {text: entry_key(gpu, text) for text in dict.fromkeys(texts)}
        found = {text: unpacked(cache.get(key)) for text, key in keys.items()}
        wanted = [text for text, cubin in found.items() if cubin is None]

        def make(stage: str, text: str, target: Target) -> bytes:
            return packed(linked(gpu, text, program))

        made = emit_all(
            f"cubin {gpu.index}", wanted, self.place.target, lambda n, entry: cache.put(keys[wanted[n]], entry),
            maker=Maker(make, assembly_worker.__name__, PTX_TEXT),
        )  # fmt: skip
        images = {text: cubin.image for text, cubin in found.items() if cubin is not None}
        for text, entry in zip(wanted, made, strict=True):
            cubin = unpacked(entry) or linked(gpu, text, program)  # a process that answers nonsense is done without
            images[text] = cubin.image
        return [images[text] for text in texts]


def emit_modules(phases: Sequence[Phase], target: Target, keep: Callable[[int, bytes], object]) -> list[bytes]:
    """A module of PTX for each; `keep` gets its number and text as soon as it is made. Raises CompileError."""
    return emit_all("assembly", [print_nvptx([p], target) for p in phases], target, keep)


def _name(kernels: Sequence[Kernel], blocks: Sequence[int] | None) -> str:
    """A phase of several kernels begins with one that may begin others too."""
    if blocks is None:
        return kernels[0].name
    others = hashlib.sha256(repr((*(k.name for k in kernels), *blocks)).encode()).hexdigest()
    return f"phase_{kernels[0].name}_{others[:8]}"


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
        self.sent = b""  # what they hold: nothing yet, whatever their memory held before
        self.number = {s.name: i for i, s in enumerate(program.symbols)}
        self.bounds = {s.name: (s.lower, s.upper) for s in program.symbols}
        library = place.has_library(program)
        self.code = code
        self.phases, self.members = phases_of(program, place.target, place.gpu.sm_count, library)
        code.load(self.phases, program.name, library)
        self.names = [" + ".join(k.name for k in phase.kernels) for phase in self.phases]
        self.launches = self.launches_behind([], {})
        self.graph = self._captured(len(self.launches))

    def _captured(self, count: int) -> CudaGraph | None:
        """The first launches as a graph; None for none."""
        if not count:
            return None
        with capture(self.place.stream, name=self.program.name) as captured:
            for step in self.launches[:count]:
                step(self.place.stream)
        return captured.graph

    @cached_property
    def _graph_for_states(self) -> CudaGraph | None:
        end = self.program.states_end  # launches between two barriers may have changed places
        return self._captured(max((n for n, some in enumerate(self.members, 1) if min(some) < end), default=0))

    def launches_behind(self, ahead: Sequence[Ready], own: Mapping[int, DeviceBuffer]) -> list[Ready]:
        """Its launches, behind others of the same stream, with buffers of their own for some of the program's numbers.

        The first may begin before the last one ahead has ended, as each does within a program.
        """
        made = list(ahead)
        for phase, numbers in zip(self.phases, self.members, strict=True):
            args: list[DeviceBuffer] = []
            for launch in (self.program.launches[n] for n in numbers):
                args += [own.get(b, self.buffers[b]) for b in launch.buffers]
                args += [self.device_slots.slice(8 * self.number[s], 8) for s in launch.symbols]
            made.append(self.code.launch(phase, self.program.name, args, made[-1] if made else None))
        return made[len(ahead) :]

    def buffer(self, name: str) -> DeviceBuffer:
        """The buffer of that name. Raises KeyError."""
        return self.buffers[self.program.by_name(name)]

    def set_symbols(self, symbols: Mapping[str, int]) -> None:
        """Set dimension values. Raises ShapeError outside their bounds: kernels rely on them."""
        check_symbols(self.program, self.number, self.bounds, self.slots, symbols)
        now = self.slots.tobytes()
        if symbols and now != self.sent:
            self.device_slots.copy_from_host(self.slots, self.place.stream)
            self.sent = now

    def run(self) -> None:
        """One step with the symbols and inputs as they are. The host does not wait."""
        if self.graph is not None:
            self.graph.launch(self.place.stream)

    def run_for_states(self) -> None:
        """The same where nobody reads the outputs: what comes behind the last use of a state is left out."""
        if self._graph_for_states is not None:
            self._graph_for_states.launch(self.place.stream)

    def output(self, n: int, symbols: Mapping[str, int]) -> npt.NDArray[Any]:
        """Output n, copied to the host when the step is done."""
        number = self.program.outputs[n]
        return as_array(self.buffers[number], self.program.buffers[number].type, symbols, self.place.stream)

    def profile(self, repeat: int = 10, filled: float = 1.0) -> list[LaunchTime]:
        """Best time of each launch, each run alone in order: what a launch costs by itself is in them; and its bytes,
        see `Program.launch_nbytes`."""
        stream = self.place.stream
        best = [float("inf")] * len(self.launches)
        for _ in range(repeat):
            marks: list[Event] = [stream.record()]
            for launch in self.launches:
                launch(stream)
                marks.append(stream.record())
            stream.synchronize()
            best = [min(b, marks[n + 1].elapsed_ms(marks[n]) / 1e3) for n, b in enumerate(best)]
        sizes = self.program.launch_nbytes({name: int(self.slots[n]) for name, n in self.number.items()}, filled)
        nbytes = [sum(sizes[n] for n in some) for some in self.members]
        return [
            LaunchTime(n, 1, s * 1e9, s * 1e9, s * 1e9, size)
            for n, s, size in zip(self.names, best, nbytes, strict=True)
        ]


def as_array(buffer: DeviceBuffer, type: TensorType, symbols: Mapping[str, int], stream: Stream) -> npt.NDArray[Any]:
    """A buffer's elements on the host: plain dtypes in their shape (bf16 as uint16), anything else as bytes."""
    if not isinstance(type.element, DType) or type.layout is not None:
        return buffer.array(np.uint8, stream=stream)[: type_nbytes(type)]
    shape = type.shape_at(symbols)
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
