"""Programs whose inputs and outputs are other buffers at each run: what lazy tensors and compiled steps run by.

Scratch memory is shared by all programs of the process: their runs take turns.
"""

from __future__ import annotations

import math
import weakref
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from typing import Any

import numpy as np

from ..compiler.pipeline import Compiled, KernelLibrary, Options, compile_graph
from ..compiler.tuning import TuningTable
from ..ir.graph import Graph
from ..ir.types import TensorType
from ..kernel.program import Program
from ..runtime import fork
from ..runtime.buffer import Buffer, small_buffers
from ..runtime.free_list import free_list
from ..runtime.worker_pool import BARRIER, WorkerPool
from .executable import SMALL_LAUNCH, Addresses, CodeStore
from .host import host_target
from .recorder import Recorder
from .shares import Shares
from .stored import load_programs, program_key, save_programs
from .tuning_file import tuning_entries

FEW = 40
MOST_SIZES = 1024
MOST_SCRATCH = 1 << 30
"""Bytes of scratch memory of a program of symbols, at their upper bounds. Pages are touched only as far as a run's
sizes go."""

LARGE = 200
"""Nodes of a graph from which on its program is kept on disk."""


def graph_key(graph: Graph) -> str:
    """What a program depends on: structure, and the names that its buffers have."""
    names = [[v.name for v in graph.parameters], [v.name for v in graph.outputs], [v.name for _, v in graph.updates]]
    kinds = [str(v.node.attrs["name"]) for v in graph.parameters]
    return f"{graph.name} {names} {kinds} {graph.structural_key()}"


class Engine:
    """Kernels, their code, worker threads and scratch memory: one for the process, `engine()`.

    most_scratch: bytes of scratch memory that a program of symbols may want at their upper bounds."""

    most_scratch = MOST_SCRATCH

    def __init__(self) -> None:
        self.target = host_target()
        self.options = Options(tuning=TuningTable(tuning_entries(self.target)))
        self.library = KernelLibrary()
        self.code = CodeStore(self.target)
        self.pool = WorkerPool()
        self.lock = fork.waited_for()
        self.arena = Buffer.allocate(64)
        self.compiled = 0
        self.recorder: Recorder | None = None  # of the profiler that is open
        self.gpu_recorder: Recorder | None = None  # the same for programs on GPUs
        self._own: dict[int, Addresses] = {}

    def compile(self, graph: Graph) -> Runner:
        """A program of the graph, whose parameters are all inputs. Raises CompileError."""
        return Runner(self.made(graph).program, self)

    def made(self, graph: Graph) -> Compiled:
        """A graph compiled, or found on disk: those that take long are kept there. Raises CompileError."""
        return self.made_from(graph_key(graph) if len(graph.nodes()) >= LARGE else "", lambda: graph)

    def made_from(self, structure: str, graph: Callable[[], Graph]) -> Compiled:
        """The same for a graph that is built only where nothing is found. `structure` is what is looked up, equal for
        equal graphs in any process; "": nothing is kept."""
        with self.lock:
            key = None
            if structure:
                tiles = repr(sorted(self.options.tuning.entries.items()))
                key = program_key([structure, tiles], self.target)
            found = load_programs(key)
            if found is not None:
                (made,), objects = found
                program = made.program
                self._own[id(program)] = self.code.load_own(objects)
                weakref.finalize(program, self._own.pop, id(program), None)
                return made
            made = compile_graph(graph(), self.target, self.options, self.library)
            assert not made.loads
            self.compiled += 1
            self.code.load(made.program.kernels)
            if key is not None:
                save_programs(key, [made], self.code.objects(made.program.kernels))
            for kernel in made.program.kernels:
                kernel.drop_body()
            return made

    def addresses(self, program: Program) -> Addresses:
        """Where the kernels of a program lie, by name. Programs from disk have code, and names, of their own."""
        own = self._own.get(id(program))
        return self.code.load(program.kernels) if own is None else own

    def scratch(self, nbytes: int) -> int:
        """The address of that many bytes, which the next run may use too."""
        if self.arena.nbytes < nbytes:
            free_list.clear()
            self.arena = Buffer.allocate(nbytes, zeroed=False)
        return self.arena.address

    def release(self) -> None:
        """Give memory that no value lies in back to the system; the next run takes new."""
        with self.lock:
            free_list.clear()
            small_buffers.clear()
            self.arena = Buffer.allocate(64)


def nbytes_at(type: TensorType, values: Mapping[str, int]) -> int:
    """Bytes of a tensor of plain elements in rows, at values of its symbols."""
    return math.prod(type.shape_at(values)) * type.element.nbytes


@cache
def engine() -> Engine:
    """The engine of this process, made at first use."""
    return Engine()


class Runner:
    """A program with its code. `run` takes a buffer for each input and gives new ones for the outputs.

    symbols: names of the program's symbolic sizes, in the order in which `run` takes their values."""

    def __init__(self, program: Program, owner: Engine) -> None:
        self.program, self.owner = program, owner
        self.addresses = owner.addresses(program)
        plans = program.buffers
        self.symbols = tuple(s.name for s in program.symbols)
        self.uppers = [max(s.upper, 1) for s in program.symbols]
        self.slots = np.zeros(max(1, len(self.symbols)), np.int64)
        # behind the buffers' addresses those of the symbols' values
        slot = {name: len(plans) + n for n, name in enumerate(self.symbols)}
        self.address = np.zeros(max(1, len(plans) + len(slot)), np.int64)
        for n in range(len(slot)):
            self.address[len(plans) + n] = self.slots.ctypes.data + 8 * n
        self.constants: list[Buffer] = []
        for n, plan in enumerate(plans):
            if plan.kind == "constant":
                buffer = Buffer.allocate(max(plan.nbytes, 64))
                buffer.array(np.uint8)[: len(plan.data)] = np.frombuffer(plan.data, np.uint8)
                self.constants.append(buffer)
                self.address[n] = buffer.address
        scratch = [n for n, plan in enumerate(plans) if plan.kind == "scratch"]
        self.scratch = np.array(scratch, np.int64)
        self.offsets = np.array([plans[n].offset for n in scratch], np.int64)
        self.inputs = list(program.inputs)
        self.input_numbers = np.array(self.inputs, np.int64)
        given = {number: n for n, number in enumerate(self.inputs)}
        made = sorted({number for number in program.outputs if number not in given})
        self.output_numbers = np.array(made, np.int64)
        self.output_nbytes = [max(plans[n].nbytes, 1) for n in made]
        self.output_types = [plans[n].type for n in made]
        place = {number: n for n, number in enumerate(made)}
        # where each output's buffer comes from: those made here, or an input that it is another name of
        self.sources = [(True, place[n]) if n in place else (False, given[n]) for n in program.outputs]
        self.as_made = self.sources == [(True, n) for n in range(len(made))]
        rows = [[*launch.buffers, *(slot[name] for name in launch.symbols)] for launch in program.launches]
        which = [b for row in rows for b in row]
        self.which = np.array(which, np.int64)
        self.arguments = np.zeros(max(1, len(self.which)), np.int64)
        # One word at a time where there are few: an operation of NumPy takes as long as twenty words.
        self.places: list[tuple[int, int]] | None = None
        if len(which) <= FEW:
            order = {number: n for n, number in enumerate((*self.inputs, *made))}
            self.places = [(at, order[b]) for at, b in enumerate(which) if b in order]
            self.words = self.arguments.data
        self.table = np.zeros((max(1, len(rows)), 3), np.int64)
        self.alone = program.operations < SMALL_LAUNCH * len(rows)
        self._shares = Shares(program, owner.pool.threads, self.alone)
        at = 0
        for n, (launch, row) in enumerate(zip(program.launches, rows, strict=True)):
            code = self.addresses[program.kernels[launch.kernel].name]
            bound = self._shares.bound(n, launch, code, self.arguments.ctypes.data + 8 * at)
            self.table[n] = *bound, BARRIER if launch.barrier else 0
            at += len(row)
        self.arena = 0
        self.launches = len(rows)
        self.arena_nbytes = max(program.arena_nbytes, 64)
        self._at_sizes: dict[tuple[int, ...], tuple[list[int], bool]] = {}
        self._run: Any = owner.pool.bind(self.table.ctypes.data, len(rows), alone=self.alone)
        self._run_small = self._run
        if slot and not self.alone:
            self._run_small = owner.pool.bind(self.table.ctypes.data, len(rows), alone=True)

    def _sized(self, sizes: Sequence[int]) -> tuple[list[int], bool]:
        """Bytes of each output at these sizes, and whether a run is small."""
        key = tuple(sizes)
        found = self._at_sizes.get(key)
        if found is None:
            values = dict(zip(self.symbols, sizes, strict=True))
            if len(self._at_sizes) >= MOST_SIZES:
                self._at_sizes.clear()
            found = [max(nbytes_at(type, values), 1) for type in self.output_types], self._is_small(sizes)
            self._at_sizes[key] = found
        return found

    def _is_small(self, sizes: Sequence[int]) -> bool:
        """Whether a run at these sizes is done sooner without the other workers. Operations are counted at the upper
        bounds; a size takes its part of them."""
        operations: float = self.program.operations
        for size, upper in zip(sizes, self.uppers, strict=True):
            operations *= size / upper
        return operations < SMALL_LAUNCH * self.launches

    def run(self, inputs: Sequence[Buffer], sizes: Sequence[int] = ()) -> list[Buffer]:
        """The outputs' buffers. `inputs`: in the order of the graph's parameters. `sizes`: the values of `symbols`,
        which must lie within their bounds and keep the program's constraints."""
        owner = self.owner
        places = self.places
        output_nbytes, small = self._sized(sizes) if sizes else (self.output_nbytes, False)
        made = [Buffer.allocate(n, zeroed=False, recycled=True) for n in output_nbytes]
        with owner.lock:
            if sizes:
                self.slots[: len(sizes)] = sizes
            if owner.arena.address != self.arena or owner.arena.nbytes < self.arena_nbytes:
                self.arena = owner.scratch(self.arena_nbytes)
                self.address[self.scratch] = self.offsets + self.arena
                if self.launches:
                    np.take(self.address, self.which, out=self.arguments)
            if places is not None:
                words, buffers = self.words, (*inputs, *made)
                for at, n in places:
                    words[at] = buffers[n].address
            else:
                if inputs:
                    self.address[self.input_numbers] = [b.address for b in inputs]
                if made:
                    self.address[self.output_numbers] = [b.address for b in made]
                np.take(self.address, self.which, out=self.arguments)
            if self.launches:
                if owner.recorder is not None:
                    symbols = dict(zip(self.symbols, sizes, strict=True))
                    owner.recorder.run(self.program, owner.pool, self.table.ctypes.data, self.alone, symbols)
                elif small:
                    self._run_small()
                else:
                    self._run()
        return made if self.as_made else [made[n] if new else inputs[n] for new, n in self.sources]
