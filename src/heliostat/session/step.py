"""Programs of captured steps: arguments stay bound from run to run, and only what moves is written anew.

States are written where they lie. Outputs get memory of their own; that of an earlier run is taken again once nobody
holds it. What buffers mean to tensors stands in `tensor/step.py`.
"""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from ..compiler.driver import explain
from ..compiler.pipeline import Compiled
from ..ir.graph import Graph, attribute_text
from ..ir.types import Element, SymbolicDim
from ..runtime.buffer import UNHELD, Buffer, references
from ..runtime.trace import LaunchTime, Trace
from ..runtime.worker_pool import BARRIER
from .devices import engine_of, gpu_engine, program_device
from .executable import SMALL_LAUNCH, check_symbols
from .runner import LARGE, Engine, engine
from .shares import Shares

if TYPE_CHECKING:
    from .cuda_runner import CudaStep

SLAB = 4096  # small outputs are cut from pieces of this size
_WAITING = 3  # outputs of so many runs wait to be used again

_LASTING = frozenset({str, int, float, bool, type(None)})
"""Types whose `repr` says all, and says the same in another process."""

_made: OrderedDict[Any, Compiled] = OrderedDict()


def compiled_step(
    key: Any, graph: Callable[[], Graph], device: str = "cpu", *, nodes: int = 0
) -> tuple[Compiled, bool]:
    """The compiled graph of that structure on a device, and whether it was there. Raises CompileError.

    `nodes`: how many the graph has, if all its ops are this package's: large ones are kept on disk by their key."""
    of_device = (program_device(device), key)
    found = _made.get(of_device)
    if found is not None:
        _made.move_to_end(of_device)
        return found, True
    owner = engine_of(device)
    with owner.lock:
        if device == "cpu" and nodes >= LARGE and (structure := key_text(key)):
            found = engine().made_from(structure, graph)
        else:
            found = owner.made(graph())
        _made[of_device] = found
        if len(_made) > 256:
            _made.popitem(last=False)
    return found, False


def key_text(key: tuple[Any, ...]) -> str:
    """A key of nested tuples as text that is equal for equal keys only, in any process; "" where there is none."""
    try:
        return f"step {_text(key)}"
    except TypeError:
        return ""


def _text(value: Any) -> str:
    kind = type(value)
    if kind in _LASTING:
        return repr(value)
    if isinstance(value, tuple):  # shapes too: keys with them are equal
        return f"({','.join([_text(v) for v in value])},)"
    if kind is bytes:
        return f"bytes({hashlib.sha256(value).hexdigest()})"
    if isinstance(value, (Element, SymbolicDim, np.ndarray)):
        return attribute_text(value)
    raise TypeError(kind)


def bound_step(compiled: Compiled, device: str) -> NativeStep | CudaStep:
    """A compiled step on its device, ready to be bound to memory."""
    if device == "cpu":
        return NativeStep(compiled)
    from .cuda_runner import CudaStep

    return CudaStep(compiled, gpu_engine(device))


class NativeStep:
    """A program bound to memory. `set` gives a buffer's address; `run` runs it once. Hold `engine().lock` for both."""

    def __init__(self, compiled: Compiled) -> None:
        self.owner: Engine = engine()
        self.compiled, self.program = compiled, compiled.program
        program = self.program
        self.addresses = self.owner.addresses(program)
        self.slots = np.zeros(max(1, len(program.symbols)), np.int64)
        self.number = {s.name: i for i, s in enumerate(program.symbols)}
        self.bounds = {s.name: (s.lower, s.upper) for s in program.symbols}
        sizes = [len(launch.buffers) + len(launch.symbols) for launch in program.launches]
        self.arguments = np.zeros(max(1, sum(sizes)), np.int64)
        self.table = np.zeros((max(1, len(sizes)), 3), np.int64)
        self.places: list[list[int]] = [[] for _ in program.buffers]
        self.alone = program.operations < SMALL_LAUNCH * len(sizes)
        self._shares = Shares(program, self.owner.pool.threads, self.alone)
        at = 0
        for n, (launch, size) in enumerate(zip(program.launches, sizes, strict=True)):
            for i, b in enumerate(launch.buffers):
                self.places[b].append(at + i)
            for i, s in enumerate(launch.symbols):
                self.arguments[at + len(launch.buffers) + i] = self.slots.ctypes.data + 8 * self.number[s]
            code = self.addresses[program.kernels[launch.kernel].name]
            bound = self._shares.bound(n, launch, code, self.arguments.ctypes.data + 8 * at)
            self.table[n] = *bound, BARRIER if launch.barrier else 0
            at += size
        words: Any = self.arguments
        self.words = memoryview(words)
        self.constants: list[Buffer] = []
        for n, plan in enumerate(program.buffers):
            if plan.kind == "constant":
                buffer = Buffer.allocate(max(plan.nbytes, 64))
                buffer.array(np.uint8)[: len(plan.data)] = np.frombuffer(plan.data, np.uint8)
                self.constants.append(buffer)
                self.set(n, buffer.address)
        self.arena = 0
        self._launches: Any = self.owner.pool.bind(self.table.ctypes.data, len(sizes), alone=self.alone)
        if not sizes:
            self._launches = lambda: None
        self.by_name = {p.name: n for n, p in enumerate(program.buffers) if p.kind in ("input", "state")}

    def allocate(self, nbytes: int) -> Buffer:
        """New memory for a value."""
        return Buffer.allocate(max(nbytes, 1), zeroed=False)

    def copied(self, buffer: Buffer) -> Buffer:
        """New memory with the same bytes."""
        made = self.allocate(buffer.nbytes)
        if buffer.nbytes:
            made.array(np.uint8)[: buffer.nbytes] = buffer.array(np.uint8)
        return made

    def uploaded(self, buffer: Buffer) -> Buffer:
        """Data of the host where programs read it: here it is there."""
        return buffer

    def outputs(self, nbytes: int) -> Outputs:
        """Memory for one output."""
        return Outputs(nbytes)

    def numbers_at(self, host: Buffer) -> Buffer:
        """Where programs find the bytes of `host`, which are new at each run."""
        return host

    def set(self, number: int, address: int) -> None:
        """Give a buffer its place in memory."""
        words = self.words
        for at in self.places[number]:
            words[at] = address

    def set_symbols(self, symbols: Mapping[str, int]) -> None:
        """Set dimension values. Raises ShapeError outside their bounds."""
        check_symbols(self.program, self.number, self.bounds, self.slots, symbols)

    def run(self) -> None:
        """One run with all buffers as they are set."""
        if self.owner.arena.address != self.arena or self.owner.arena.nbytes < self.program.arena_nbytes:
            self.arena = self.owner.scratch(max(self.program.arena_nbytes, 64))
            for n, plan in enumerate(self.program.buffers):
                if plan.kind == "scratch":
                    self.set(n, self.arena + plan.offset)
        recorder = self.owner.recorder
        if recorder is None or not self.program.launches:
            self._launches()
        else:
            sizes = {name: int(self.slots[n]) for name, n in self.number.items()}
            recorder.run(self.program, self.owner.pool, self.table.ctypes.data, self.alone, sizes)

    def profile(self, repeat: int = 1) -> list[LaunchTime]:
        """Times of every launch of `repeat` runs; they are real runs, which change states."""
        trace = Trace(self.owner.pool, len(self.program.launches))
        for _ in range(repeat):
            trace.run(self.table.ctypes.data)
        return trace.report([self.program.kernels[launch.kernel].name for launch in self.program.launches])

    def explain(self) -> str:
        """Which kernels the program has, and why neighbours were not joined."""
        return explain(self.compiled)


class Outputs:
    """Memory for one output, run after run."""

    def __init__(self, nbytes: int) -> None:
        self.nbytes = max(nbytes, 1)
        self.stride = -(-self.nbytes // 64) * 64
        self.small = self.stride * 4 <= SLAB
        self.slab = Buffer.allocate(64)
        self.at = SLAB
        self.waiting: list[Buffer] = []

    def next(self) -> Buffer:
        """Memory that nobody else holds."""
        if self.small:
            if self.at + self.stride > SLAB:
                self.slab, self.at = Buffer.allocate(SLAB, zeroed=False), 0
            at = self.at
            self.at += self.stride
            return self.slab.slice(at, self.nbytes)
        for buffer in self.waiting:
            if references(buffer) == UNHELD:
                return buffer
        made = Buffer.allocate(self.nbytes, zeroed=False)
        self.waiting.append(made)
        if len(self.waiting) > _WAITING:
            del self.waiting[0]
        return made
