"""Compiling for the host, loading the code, binding buffers and running. All state of a bound program lives here."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from ..compiler.pipeline import Compiled, KernelLibrary, Options
from ..compiler.plan import type_nbytes
from ..diagnostics import ShapeError
from ..ir.graph import Graph, Value, storage_dtype
from ..ir.types import DType, SymbolicDim, TensorType, evaluate
from ..kernel.ir import Kernel
from ..kernel.program import Program
from ..kernel.text import print_kernel
from ..ops.rounding import to_dtype
from ..runtime.buffer import Buffer
from ..runtime.jit import Loaded, load_objects
from ..runtime.object_cache import ObjectCache
from ..runtime.trace import LaunchTime, Trace
from ..runtime.worker_pool import BARRIER, WorkerPool
from ..settings import settings
from ..targets.llvm import emit_object, print_llvm, version
from ..targets.target import Target
from . import stages
from .host import host_target
from .tuning import load_tuning

SMALL_LAUNCH = 150_000
"""Operations a launch below which a program runs on the caller's thread: waiting for workers would cost more."""

Progress = Callable[[int, int, str], None]


class CodeStore:
    """Machine code of kernels: from the cache on disk where it is there, else compiled; loaded once per kernel."""

    def __init__(self, target: Target, cache: ObjectCache | None = None) -> None:
        self.target = target
        self.cache = cache or ObjectCache.default()
        self.addresses: dict[str, int] = {}
        self.loaded: list[Loaded] = []
        self.compiled = 0

    def load(self, kernels: Sequence[Kernel], progress: Progress | None = None) -> dict[str, int]:
        """The address of every kernel, by name."""
        missing = [k for k in {k.name: k for k in kernels}.values() if k.name not in self.addresses]
        objects: list[bytes] = []
        for n, kernel in enumerate(missing):
            if progress:
                progress(n, len(missing), kernel.name)
            objects.append(self._object(kernel))
        if objects:
            loaded = load_objects(objects)
            self.loaded.append(loaded)
            self.addresses.update({k.name: loaded[k.name] for k in missing})
        if progress:
            progress(len(missing), len(missing), "")
        return self.addresses

    def _object(self, kernel: Kernel) -> bytes:
        t = self.target
        kernel = stages.replaced_kernel(kernel)
        key = [
            print_kernel(kernel),
            t.triple,
            t.cpu,
            t.feature_string,
            str(t.vector_bytes),
            version(),
            str(settings().code_key()),
            stages.override_key(kernel.name),
        ]

        def make() -> bytes:
            self.compiled += 1
            return emit_object(stages.replaced_llvm(kernel, print_llvm([kernel], t), t), t)

        if stages.wants_code():
            return make()
        return self.cache.get_or_make(key, make)


class Executable:
    """A program with its buffers bound: `run` is one native call. Scratch, outputs and states are allocated here.

    `given`: buffers by name for inputs, weights and states; what is not given of inputs and states is allocated.
    """

    def __init__(
        self, program: Program, addresses: Mapping[str, int], pool: WorkerPool, given: Mapping[str, Buffer]
    ) -> None:
        self.program, self.pool = program, pool
        self.buffers: list[Buffer] = []
        self.arena = Buffer.allocate(max(program.arena_nbytes, 64), zeroed=False)
        for plan in program.buffers:
            if plan.kind == "scratch":
                buffer = self.arena.slice(plan.offset, plan.nbytes)
            elif plan.kind == "constant":
                buffer = Buffer.allocate(max(plan.nbytes, 64))
                buffer.array(np.uint8)[: len(plan.data)] = np.frombuffer(plan.data, np.uint8)
            elif plan.name in given:
                buffer = given[plan.name]
                if buffer.nbytes < plan.nbytes:
                    raise ShapeError(
                        f"{plan.kind} {plan.name} needs {plan.nbytes} bytes, but {buffer.nbytes} are given"
                    )
            elif plan.kind == "weight":
                raise ShapeError(f"weight {plan.name} is not given")
            else:
                buffer = Buffer.allocate(max(plan.nbytes, 64))
            self.buffers.append(buffer)
        self.slots = np.zeros(max(1, len(program.symbols)), np.int64)
        self.number = {s.name: i for i, s in enumerate(program.symbols)}
        self.bounds = {s.name: (s.lower, s.upper) for s in program.symbols}
        self._bind(addresses)

    def _bind(self, addresses: Mapping[str, int]) -> None:
        program = self.program
        self.table = np.zeros((max(1, len(program.launches)), 3), np.int64)
        sizes = [len(launch.buffers) + len(launch.symbols) for launch in program.launches]
        self.arguments = np.zeros(max(1, sum(sizes)), np.int64)
        at = 0
        for n, (launch, size) in enumerate(zip(program.launches, sizes, strict=True)):
            row = [self.buffers[b].address for b in launch.buffers]
            row += [self.slots.ctypes.data + 8 * self.number[s] for s in launch.symbols]
            self.arguments[at : at + size] = row
            name = program.kernels[launch.kernel].name
            self.table[n] = addresses[name], self.arguments.ctypes.data + 8 * at, BARRIER if launch.barrier else 0
            at += size
        launches = len(program.launches)
        alone = program.operations < SMALL_LAUNCH * launches
        self._run = self.pool.bind(self.table.ctypes.data, launches, alone=alone)

    def buffer(self, name: str) -> Buffer:
        """The buffer of that name. Raises KeyError."""
        return self.buffers[self.program.by_name(name)]

    def set_symbols(self, symbols: Mapping[str, int]) -> None:
        """Set dimension values. Raises ShapeError outside their bounds: kernels rely on them."""
        check_symbols(self.program, self.number, self.bounds, self.slots, symbols)

    def run(self) -> None:
        """One step with the symbols and inputs as they are."""
        self._run()

    def output(self, n: int, symbols: Mapping[str, int]) -> npt.NDArray[Any]:
        """Output n as an array over its buffer, valid until the next run."""
        number = self.program.outputs[n]
        return as_array(self.buffers[number], self.program.buffers[number].type, symbols)

    def profile(self, repeat: int = 1) -> list[LaunchTime]:
        """Times of every launch of `repeat` runs."""
        trace = Trace(self.pool, len(self.program.launches))
        for _ in range(repeat):
            trace.run(self.table.ctypes.data)
        return trace.report([self.program.kernels[launch.kernel].name for launch in self.program.launches])


def check_symbols(
    program: Program,
    number: Mapping[str, int],
    bounds: Mapping[str, tuple[int, int]],
    slots: npt.NDArray[np.int64],
    symbols: Mapping[str, int],
) -> bool:
    """Write dimension values into their slots; whether any changed. Raises ShapeError outside their bounds."""
    changed = False
    for name, value in symbols.items():
        if name not in number:
            continue
        low, high = bounds[name]
        if not low <= value <= high:
            raise ShapeError(f"dimension {name} is {value}, outside {low} .. {high}")
        changed |= bool(slots[number[name]] != value)
        slots[number[name]] = value
    if program.constraints:
        now = {s: int(slots[i]) for s, i in number.items()}
        for size, meaning in program.constraints:
            if evaluate(size, now) < 0:
                shown = ", ".join(f"{s} = {now[s]}" for s in sorted(x.name for x in size.symbols))
                raise ShapeError(f"{meaning}: the bounds do not fit with {shown}")
    return changed


def as_array(buffer: Buffer, type: TensorType, symbols: Mapping[str, int]) -> npt.NDArray[Any]:
    """A buffer's elements: plain dtypes in their shape (bf16 as uint16), anything else as bytes."""
    if not isinstance(type.element, DType) or type.layout is not None:
        return buffer.array(np.uint8)[: type_nbytes(type)]
    shape = tuple(evaluate(d, symbols) for d in type.shape)
    kind = np.uint16 if type.element.name == "bf16" else storage_dtype(type.element)
    count = int(np.prod(shape, dtype=np.int64))
    array: npt.NDArray[Any] = buffer.array(np.uint8)[: count * type.element.nbytes].view(kind).reshape(shape)
    return array


def shaped(array: npt.NDArray[Any], value: Value, symbols: Mapping[str, int]) -> npt.NDArray[Any]:
    """An output in its own shape: its buffer may be that of the value it was reshaped from."""
    if not isinstance(value.type.element, DType) or value.type.layout is not None:
        return array
    return array.reshape(tuple(evaluate(d, symbols) for d in value.type.shape))


class Session:
    """A compiled graph bound to this machine, run with arrays: for `.lum` functions and tests."""

    def __init__(self, graph: Graph, target: Target, threads: int | None, options: Options) -> None:
        self.graph = graph
        self.compiled: Compiled = stages.compile_graph(graph, target, options, KernelLibrary())
        self.pool = WorkerPool(threads)
        self.code = CodeStore(target)
        kernels = [k for p in (*self.compiled.loads.values(), self.compiled.program) for k in p.kernels]
        self.addresses = self.code.load(kernels)
        self.executable: Executable | None = None
        self.bound: dict[str, Any] = {}

    def run(
        self, inputs: Mapping[str, npt.NDArray[Any]], symbols: Mapping[str, int] | None = None
    ) -> list[npt.NDArray[Any]]:
        """Outputs, then the new states. `inputs`: an array per parameter; block formats as uint8 rows, bf16 as uint16.

        Weights are packed at the first run with them, and again when other arrays are given. Raises ShapeError.
        """
        known = dict(symbols or {})
        raw = prepare(self.graph, inputs, known)
        weights = {p.node.attrs["name"] for p in self.graph.parameters if p.kind == "weight"}
        same = self.executable is not None and all(self.bound.get(n) is inputs[n] for n in weights)
        if not same:
            self._bind(raw, weights)
            self.bound = {n: inputs[n] for n in weights}
        executable = self.executable
        assert executable is not None
        executable.set_symbols(known)
        for plan, buffer in zip(executable.program.buffers, executable.buffers, strict=True):
            if plan.kind in ("input", "state") and plan.name in raw:
                data = raw[plan.name].reshape(-1).view(np.uint8)
                if plan.type.layout is not None:
                    data = to_layout(data, plan.type)
                buffer.array(np.uint8)[: data.size] = data
        executable.run()
        results = [
            shaped(executable.output(n, known), value, known).copy() for n, value in enumerate(self.graph.outputs)
        ]
        for old, _ in self.graph.updates:
            number = executable.program.by_name(old.node.attrs["name"])
            type = executable.program.buffers[number].type
            data = as_array(executable.buffers[number], type, known)
            results.append(from_layout(data, type).copy() if type.layout is not None else data.copy())
        return results

    def _bind(self, raw: Mapping[str, npt.NDArray[Any]], weights: set[str]) -> None:
        given = {n: Buffer.of(raw[n]) for n in weights}
        for name, program in self.compiled.loads.items():
            load = Executable(program, self.addresses, self.pool, given)
            load.run()
            given[name] = load.buffers[program.outputs[0]]
        self.executable = Executable(self.compiled.program, self.addresses, self.pool, given)


def prepare(graph: Graph, inputs: Mapping[str, npt.NDArray[Any]], known: dict[str, int]) -> dict[str, npt.NDArray[Any]]:
    """The arrays of all parameters in the bytes that programs read; learns symbol values from shapes."""
    raw: dict[str, npt.NDArray[Any]] = {}
    for p in graph.parameters:
        name = p.node.attrs["name"]
        if name not in inputs:
            raise ShapeError(f"no array is given for parameter {name!r}")
        raw[name] = _prepare(np.asarray(inputs[name]), p.type, known, name)
    return raw


def _prepare(array: npt.NDArray[Any], type: TensorType, known: dict[str, int], name: str) -> npt.NDArray[Any]:
    """The array in the bytes that the program reads; learns symbol values from its shape."""
    if not isinstance(type.element, DType):
        return np.ascontiguousarray(array, np.uint8)
    if array.ndim != type.rank:
        raise ShapeError(f"parameter {name} is {type}, but the array has shape {list(array.shape)}")
    for d, size in zip(type.shape, array.shape, strict=True):
        if isinstance(d, SymbolicDim) and len(d.terms) == 1 and d.terms[0][1] == 1 and len(d.terms[0][0]) == 1:
            known.setdefault(d.symbols[0].name, size)
        if evaluate(d, known) != size:
            raise ShapeError(f"parameter {name} is {type}, but the array has shape {list(array.shape)}")
    if type.element.name == "bf16":
        if array.dtype == np.uint16:
            return np.ascontiguousarray(array)
        rounded = np.ascontiguousarray(to_dtype(array, type.element), np.float32)
        return (rounded.view(np.uint32) >> 16).astype(np.uint16)
    return np.ascontiguousarray(array, storage_dtype(type.element))


def to_layout(data: npt.NDArray[np.uint8], type: TensorType) -> npt.NDArray[np.uint8]:
    """Row-major cache bytes in the order of the type's key panels."""
    return _swap(data, type, inverse=False)


def from_layout(data: npt.NDArray[np.uint8], type: TensorType) -> npt.NDArray[Any]:
    """A cache in key panels as a row-major array."""
    heads, capacity, size = (int(d) for d in type.shape)  # type: ignore[arg-type]
    return _swap(data, type, inverse=True).view(storage_dtype(type.dtype)).reshape(heads, capacity, size)


def _swap(data: npt.NDArray[np.uint8], type: TensorType, inverse: bool) -> npt.NDArray[np.uint8]:
    heads, capacity, size = (int(d) for d in type.shape)  # type: ignore[arg-type]
    keys = type.layout.keys  # type: ignore[union-attr]
    inner = (size, keys) if inverse else (keys, size)
    shaped = data.reshape(heads, capacity // keys, *inner, type.element.nbytes)
    return np.ascontiguousarray(shaped.swapaxes(2, 3)).reshape(-1)


def compile_graph(
    graph: Graph, threads: int | None = None, target: Target | None = None, options: Options | None = None
) -> Session:
    """Compile a graph for this machine (or a given target that it can run)."""
    target = target or host_target()
    return Session(graph, target, threads, options or Options(tuning=load_tuning(target)))
