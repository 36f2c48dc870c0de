"""`Program`: what the compiler hands to the runtime. Kernels, a buffer plan and the list of launches of one step.

A program is data. Buffers are numbered; a launch names its kernel and the buffers that are its arguments. Symbolic
dimensions are slots of one i64 each. Scratch buffers lie in one arena at planned offsets and share bytes in turn.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ..ir.graph import Graph
from ..ir.types import DType, Symbol, SymbolicDim, TensorType, evaluate, numel
from .ir import Kernel

ALIGNMENT = 64


@dataclass(frozen=True)
class BufferPlan:
    """One buffer. `kind`: input, output, weight, state, constant or scratch. `nbytes` is the most it takes.

    `offset`: where a scratch buffer starts in the arena. `data`: the bytes of a constant. `source`: for a weight, the
    name of the loaded value (a parameter, or a value that the load program makes of parameters).
    """

    name: str
    kind: str
    type: TensorType
    nbytes: int
    offset: int = 0
    data: bytes = b""

    def nbytes_at(self, symbols: Mapping[str, int]) -> int:
        """Bytes at values of the symbols, where the type says them; the most otherwise."""
        element = self.type.element
        if isinstance(element, DType) and any(isinstance(d, SymbolicDim) for d in self.type.shape):
            return evaluate(numel(self.type.shape), symbols) * element.nbytes
        return self.nbytes


@dataclass(frozen=True)
class Launch:
    """One kernel run. `buffers` index the program's buffers, then come the slots of `symbols`, by name.

    `barrier`: whether workers wait for each other after this launch. `chunks`: of the kernel, for runtimes that let
    workers take over from others.
    """

    kernel: int
    buffers: tuple[int, ...]
    symbols: tuple[str, ...]
    barrier: bool = True
    note: str = ""
    chunks: int = 1


@dataclass
class Program:
    """All kernels of a step, each once, and the launches in order.

    `updates` maps a state's buffer to the buffer that holds its new value (the same one where it is written in place).
    `operations`: arithmetic of one run at the symbols' upper bounds; a runtime may choose its workers by it.
    `constraints`: sizes that must not be negative, each with what it would mean; kernels rely on them.
    `report` explains what was fused and why not; see `compiler/driver.py`.
    """

    name: str
    kernels: list[Kernel]
    buffers: list[BufferPlan]
    launches: list[Launch]
    symbols: tuple[Symbol, ...]
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    arena_nbytes: int
    operations: int = 0
    constraints: tuple[tuple[SymbolicDim, str], ...] = ()
    report: list[Mapping[str, Any]] = field(default_factory=list)

    @property
    def states_end(self) -> int:
        """How many of the launches, from the first on, may read or write states: the others are for outputs alone."""
        states = {n for n, b in enumerate(self.buffers) if b.kind == "state"}
        return max((n for n, launch in enumerate(self.launches, 1) if states & set(launch.buffers)), default=0)

    def launch_nbytes(self, symbols: Mapping[str, int], filled: float = 1.0) -> list[int]:
        """Bytes that each launch cannot but read and write: each of its buffers once, of caches that attention reads
        the part that is `filled`. Tables that rows are taken from, and caches that rows are written to, do not count:
        rows are few beside them, and as many as the launch's other buffers have."""
        ops = {str(row["kernel"]): row["ops"] for row in self.report}
        found = []
        for launch in self.launches:
            of = ops.get(self.kernels[launch.kernel].name, ())
            part = {"weight": 0.0 if "embedding" in of else 1.0, "state": 1.0}
            if "attention" in of:
                part["state"] = filled
            elif "cache_update" in of:
                part["state"] = 0.0
            plans = [self.buffers[b] for b in set(launch.buffers)]
            found.append(round(sum(p.nbytes_at(symbols) * part.get(p.kind, 1.0) for p in plans)))
        return found

    def by_name(self, name: str) -> int:
        """The number of the buffer with that name. Raises KeyError."""
        for n, b in enumerate(self.buffers):
            if b.name == name:
                return n
        raise KeyError(name)


@dataclass
class Compiled:
    """A step's program, and the programs that make its packed weights: by the new weight's name.

    `graph`: what the program was made of, after all passes; None for a program from the cache.
    """

    program: Program
    loads: dict[str, Program] = field(default_factory=dict)
    graph: Graph | None = None

    def kernels(self) -> list[Kernel]:
        """The kernels of all programs, each once."""
        return list({k.name: k for p in (*self.loads.values(), self.program) for k in p.kernels}.values())
