"""Programs whose inputs and outputs are other buffers at each run: what lazy tensors and compiled steps run by.

Scratch memory is shared by all programs of the process: their runs take turns.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from functools import cache
from typing import Any

import numpy as np

from ..compiler.pipeline import Compiled, KernelLibrary, Options, compile_graph
from ..ir.graph import Graph
from ..kernel.program import Program
from ..runtime.buffer import Buffer
from ..runtime.worker_pool import BARRIER, WorkerPool
from .executable import SMALL_LAUNCH, CodeStore
from .host import host_target
from .recorder import Recorder


class Engine:
    """Kernels, their code, worker threads and scratch memory: one for the process, `engine()`."""

    def __init__(self) -> None:
        self.target = host_target()
        self.library = KernelLibrary()
        self.code = CodeStore(self.target)
        self.pool = WorkerPool()
        self.lock = threading.RLock()
        self.arena = Buffer.allocate(64)
        self.compiled = 0
        self.recorder: Recorder | None = None  # of the profiler that is open

    def compile(self, graph: Graph) -> Runner:
        """A program of the graph, whose parameters are all inputs. Raises CompileError."""
        return Runner(self.build(graph).program, self)

    def build(self, graph: Graph) -> Compiled:
        """The compiled graph, whose parameters are all inputs or states. Raises CompileError."""
        made = compile_graph(graph, self.target, Options(), self.library)
        assert not made.loads
        self.compiled += 1
        return made

    def scratch(self, nbytes: int) -> int:
        """The address of that many bytes, which the next run may use too."""
        if self.arena.nbytes < nbytes:
            self.arena = Buffer.allocate(nbytes, zeroed=False)
        return self.arena.address

    def release(self) -> None:
        """Give the scratch memory back to the system; the next run takes new."""
        with self.lock:
            self.arena = Buffer.allocate(64)


@cache
def engine() -> Engine:
    """The engine of this process, made at first use."""
    return Engine()


class Runner:
    """A program with its code. `run` takes a buffer for each input and gives new ones for the outputs."""

    def __init__(self, program: Program, owner: Engine) -> None:
        self.program, self.owner = program, owner
        addresses = owner.code.load(program.kernels)
        plans = program.buffers
        self.address = np.zeros(max(1, len(plans)), np.int64)
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
        place = {number: n for n, number in enumerate(made)}
        # where each output's buffer comes from: those made here, or an input that it is another name of
        self.sources = [(True, place[n]) if n in place else (False, given[n]) for n in program.outputs]
        rows = [launch.buffers for launch in program.launches]
        self.which = np.array([b for row in rows for b in row], np.int64)
        self.arguments = np.zeros(max(1, len(self.which)), np.int64)
        self.table = np.zeros((max(1, len(rows)), 3), np.int64)
        at = 0
        for n, (launch, row) in enumerate(zip(program.launches, rows, strict=True)):
            name = program.kernels[launch.kernel].name
            self.table[n] = addresses[name], self.arguments.ctypes.data + 8 * at, BARRIER if launch.barrier else 0
            at += len(row)
        self.arena = 0
        self.alone = program.operations < SMALL_LAUNCH * len(rows)
        self._run: Any = owner.pool.bind(self.table.ctypes.data, len(rows), alone=self.alone)

    def run(self, inputs: Sequence[Buffer]) -> list[Buffer]:
        """The outputs' buffers. `inputs`: in the order of the graph's parameters."""
        owner = self.owner
        made = [Buffer.allocate(n, zeroed=False) for n in self.output_nbytes]
        with owner.lock:
            arena = owner.scratch(max(self.program.arena_nbytes, 64))
            if arena != self.arena:
                self.arena = arena
                self.address[self.scratch] = self.offsets + arena
            if inputs:
                self.address[self.input_numbers] = [b.address for b in inputs]
            if made:
                self.address[self.output_numbers] = [b.address for b in made]
            if len(self.which):
                np.take(self.address, self.which, out=self.arguments)
                if owner.recorder is None:
                    self._run()
                else:
                    owner.recorder.run(self.program, owner.pool, self.table.ctypes.data, self.alone)
        return [made[n] if new else inputs[n] for new, n in self.sources]
