"""Code loaded and buffers bound: a program ready to run by one native call. Nothing here needs the compiler."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from ..diagnostics import ShapeError
from ..ir.graph import storage_dtype
from ..ir.types import DType, TensorType, evaluate
from ..kernel.ir import Kernel
from ..kernel.program import Program
from ..runtime.buffer import Buffer
from ..runtime.jit import Loaded, load_objects
from ..runtime.object_cache import ObjectCache, cache_key
from ..runtime.trace import LaunchTime, Trace
from ..runtime.worker_pool import BARRIER, WorkerPool, native
from ..settings import settings
from ..targets.target import Target
from .shares import Shares

SMALL_LAUNCH = 150_000
"""Operations a launch below which a program runs on the caller's thread: waiting for workers would cost more."""

Progress = Callable[[int, int, str], None]


class Addresses(dict[str, int]):
    """Where kernels lie, by name. What holds this holds their machine code: it stays as long as any program runs it."""

    def __init__(self) -> None:
        super().__init__()
        self.code: list[Loaded] = []

    def add(self, loaded: Loaded, names: Iterable[str]) -> None:
        """Take loaded code, and the addresses of its functions of these names."""
        self.code.append(loaded)
        self.update({name: loaded[name] for name in names})


class CodeStore:
    """Machine code of kernels: from the cache on disk where it is there, else compiled; loaded once per kernel."""

    def __init__(self, target: Target, cache: ObjectCache | None = None) -> None:
        self.target = target
        self.cache = cache or ObjectCache.default()
        self.addresses = Addresses()
        self.keys: dict[str, str] = {}  # of machine code in the cache, by the name of its kernel
        self.compiled = 0

    def load(self, kernels: Sequence[Kernel], progress: Progress | None = None) -> Addresses:
        """The address of every kernel, by name."""
        self.load_kernels(kernels, progress)
        return self.addresses

    def load_kernels(self, kernels: Sequence[Kernel], progress: Progress | None = None) -> dict[str, bytes]:
        """Make kernels ready to run: `addresses` has them by name. The objects of those that were not, by name."""
        missing = [k for k in {k.name: k for k in kernels}.values() if k.name not in self.addresses]
        objects = self._objects(missing, progress)
        self.load_objects(objects)
        if progress:
            progress(len(missing), len(missing), "")
        return objects

    def load_objects(self, objects: Mapping[str, bytes]) -> None:
        """The same for finished machine code, by the name of its kernel."""
        if objects:
            self.addresses.add(load_objects(list(objects.values())), objects)

    def load_own(self, objects: Mapping[str, bytes]) -> Addresses:
        """Addresses of finished machine code by the name of its kernel, apart from those of all others: another
        process gave the names."""
        own = Addresses()
        if objects:
            own.add(load_objects(list(objects.values())), objects)
        return own

    def objects(self, kernels: Sequence[Kernel]) -> dict[str, bytes]:
        """The machine code of kernels that were loaded, by name, as far as the cache keeps it."""
        found = {k.name: self.cache.get(self.keys[k.name]) for k in kernels}
        return {name: code for name, code in found.items() if code is not None}

    def _objects(self, kernels: Sequence[Kernel], progress: Progress | None = None) -> dict[str, bytes]:
        """The machine code of each, by name: found, or made and kept."""
        if not kernels:
            return {}
        from . import stages  # the compiler's side: not imported where programs come from the cache
        from .compile_workers import emit_all

        anew = stages.wants_code()
        objects: dict[str, bytes] = {}
        texts: dict[str, tuple[str, str]] = {}  # keys and LLVM IR of what is to be made
        for kernel in kernels:
            if progress:
                progress(len(objects), len(kernels), kernel.name)
            key, text = self._text(kernel)
            self.keys[kernel.name] = key
            found = None if anew else self.cache.get(key)
            if found is None:
                texts[kernel.name] = key, text()
            else:
                objects[kernel.name] = found
        names, found_count = list(texts), len(objects)

        def keep(n: int, code: bytes) -> None:
            if not anew:
                self.cache.put(texts[names[n]][0], code)

        def show(count: int) -> None:
            if progress:
                progress(found_count + count, len(kernels), "")

        made = emit_all("object", [text for _, text in texts.values()], self.target, keep, show)
        self.compiled += len(made)
        objects.update(zip(names, made, strict=True))
        return {k.name: objects[k.name] for k in kernels}

    def _text(self, kernel: Kernel) -> tuple[str, Callable[[], str]]:
        """The key of a kernel's machine code, and what prints its LLVM IR."""
        from ..kernel.text import print_kernel
        from ..targets.llvm import print_llvm
        from ..targets.llvm_compile import version
        from . import stages

        t = self.target
        kernel = stages.replaced_kernel(kernel)
        key = cache_key(
            [
                print_kernel(kernel),
                t.triple,
                t.cpu,
                t.feature_string,
                str(t.vector_bytes),
                version(),
                str(settings().code_key()),
                stages.override_key(kernel.name),
            ]
        )
        return key, lambda: stages.replaced_llvm(kernel, print_llvm([kernel], t), t)


class Executable:
    """A program with its buffers bound: `run` is one native call. Scratch, outputs and states are allocated here.

    `given`: buffers by name for inputs, weights and states; what is not given of inputs and states is allocated.
    """

    def __init__(self, program: Program, addresses: Addresses, pool: WorkerPool, given: Mapping[str, Buffer]) -> None:
        self.program, self.pool, self.addresses = program, pool, addresses
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
        self._bind()

    def _bind(self) -> None:
        program = self.program
        self.table = np.zeros((max(1, len(program.launches)), 3), np.int64)
        sizes = [len(launch.buffers) + len(launch.symbols) for launch in program.launches]
        self.arguments = np.zeros(max(1, sum(sizes)), np.int64)
        launches = len(program.launches)
        alone = program.operations < SMALL_LAUNCH * launches
        self._shares = Shares(program, self.pool.threads, alone)
        at = 0
        for n, (launch, size) in enumerate(zip(program.launches, sizes, strict=True)):
            row = [self.buffers[b].address for b in launch.buffers]
            row += [self.slots.ctypes.data + 8 * self.number[s] for s in launch.symbols]
            self.arguments[at : at + size] = row
            name = program.kernels[launch.kernel].name
            code, arguments = self.addresses[name], self.arguments.ctypes.data + 8 * at
            self.table[n] = *self._shares.bound(n, launch, code, arguments), BARRIER if launch.barrier else 0
            at += size
        self._run = self.pool.bind(self.table.ctypes.data, launches, alone=alone)
        self._run_for_states = self.pool.bind(self.table.ctypes.data, program.states_end, alone=alone)

    def buffer(self, name: str) -> Buffer:
        """The buffer of that name. Raises KeyError."""
        return self.buffers[self.program.by_name(name)]

    def set_symbols(self, symbols: Mapping[str, int]) -> None:
        """Set dimension values. Raises ShapeError outside their bounds: kernels rely on them."""
        check_symbols(self.program, self.number, self.bounds, self.slots, symbols)

    def run(self) -> None:
        """One step with the symbols and inputs as they are."""
        self._run()

    def run_for_states(self) -> None:
        """The same where nobody reads the outputs: what comes behind the last use of a state is left out."""
        self._run_for_states()

    def run_in_parts(self, parts: int, after: Callable[[], None]) -> None:
        """The same for a program of one launch, in `parts` runs one behind the other, each of them followed by `after`.

        Part p does iterations `count * p / parts` to `count * (p + 1) / parts` of what is parallel; the result is that
        of `run`. Raises ValueError for a program of several launches.
        """
        if len(self.program.launches) != 1:
            raise ValueError(f"program {self.program.name} has {len(self.program.launches)} launches, not one")
        address = self.addresses[self.program.kernels[self.program.launches[0].kernel].name]
        inner = np.array([address, self.arguments.ctypes.data, 0, parts], np.int64)
        table = np.array([native().part, inner.ctypes.data, 0], np.int64)
        for part in range(parts):
            inner[2] = part
            self.pool.run(table.ctypes.data, 1)
            after()

    def output(self, n: int, symbols: Mapping[str, int]) -> npt.NDArray[Any]:
        """Output n as an array over its buffer, valid until the next run."""
        number = self.program.outputs[n]
        return as_array(self.buffers[number], self.program.buffers[number].type, symbols)

    def profile(self, repeat: int = 10, filled: float = 1.0) -> list[LaunchTime]:
        """Times and bytes of every launch of the fastest of `repeat` runs; see `Program.launch_nbytes`."""
        program = self.program
        names = [program.kernels[launch.kernel].name for launch in program.launches]
        best: list[LaunchTime] = []
        for _ in range(repeat):
            trace = Trace(self.pool, len(program.launches))
            trace.run(self.table.ctypes.data)
            times = trace.report(names)
            if not best or sum(t.wall_ns for t in times) < sum(t.wall_ns for t in best):
                best = times
        sizes = program.launch_nbytes({name: int(self.slots[n]) for name, n in self.number.items()}, filled)
        return [replace(t, nbytes=nbytes) for t, nbytes in zip(best, sizes, strict=True)]


def check_symbols(
    program: Program,
    number: Mapping[str, int],
    bounds: Mapping[str, tuple[int, int]],
    slots: npt.NDArray[np.int64],
    symbols: Mapping[str, int],
) -> None:
    """Write dimension values into their slots. Raises ShapeError outside their bounds."""
    for name, value in symbols.items():
        if name not in number:
            continue
        low, high = bounds[name]
        if not low <= value <= high:
            raise ShapeError(f"dimension {name} is {value}, outside {low} .. {high}")
        slots[number[name]] = value
    if program.constraints:
        now = {s: int(slots[i]) for s, i in number.items()}
        for size, meaning in program.constraints:
            if evaluate(size, now) < 0:
                shown = ", ".join(f"{s} = {now[s]}" for s in sorted(x.name for x in size.symbols))
                raise ShapeError(f"{meaning}: the bounds do not fit with {shown}")


def as_array(buffer: Buffer, type: TensorType, symbols: Mapping[str, int]) -> npt.NDArray[Any]:
    """A buffer's elements: plain dtypes in their shape (bf16 as uint16), anything else as bytes."""
    if not isinstance(type.element, DType) or type.layout is not None:
        from ..compiler.plan import type_nbytes

        return buffer.array(np.uint8)[: type_nbytes(type)]
    shape = type.shape_at(symbols)
    kind = np.uint16 if type.element.name == "bf16" else storage_dtype(type.element)
    count = int(np.prod(shape, dtype=np.int64))
    array: npt.NDArray[Any] = buffer.array(np.uint8)[: count * type.element.nbytes].view(kind).reshape(shape)
    return array
