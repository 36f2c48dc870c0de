"""What a profiler records while it is open: each run of a program with the time stamps of its launches.

The stamps are those of `runtime.trace`, taken in native code around every kernel, and on GPUs those of `cuda_trace`.
What they mean is read later.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from ..kernel.program import Program
from ..runtime.trace import Trace
from ..runtime.worker_pool import WorkerPool, native


@dataclass(frozen=True)
class Run:
    """One run. stamps: (thread, launch, [begin, end of share, end of barrier]) in ticks. symbols: sizes of symbolic
    dimensions. caller: the Python thread."""

    program: Program
    stamps: npt.NDArray[np.int64]
    symbols: Mapping[str, int]
    caller: int


@dataclass(frozen=True)
class GpuRun:
    """One run on a GPU. members: of each launch the numbers of the program's launches that it joins. marks: times
    before the first launch and behind each, in ns of `time.perf_counter_ns`; the last one is when the host saw it.
    symbols: sizes of symbolic dimensions. caller: the Python thread."""

    device: str
    program: Program
    members: Sequence[Sequence[int]]
    marks: npt.NDArray[np.float64]
    symbols: Mapping[str, int]
    caller: int


@dataclass
class Recorder:
    """Runs in order, and the relation of ticks to `time.perf_counter_ns`."""

    runs: list[Run | GpuRun] = field(default_factory=list)
    _traces: dict[int, tuple[Program, Trace]] = field(default_factory=dict)
    _begin: tuple[int, int] = field(default_factory=lambda: (time.perf_counter_ns(), native().ticks()))

    def run(
        self, program: Program, pool: WorkerPool, table: int, alone: bool, symbols: Mapping[str, int] | None = None
    ) -> None:
        """Run the launch table of a program at address `table`, and keep its stamps. Hold the engine's lock."""
        found = self._traces.get(id(program))
        if found is None:
            found = self._traces[id(program)] = (program, Trace(pool, len(program.launches), alone))
        trace = found[1]
        trace.run(table)
        self.runs.append(Run(program, trace.stamps.copy(), dict(symbols or {}), threading.get_ident()))

    def add(
        self,
        device: str,
        program: Program,
        members: Sequence[Sequence[int]],
        marks: npt.NDArray[np.float64],
        symbols: Mapping[str, int],
    ) -> None:
        """Keep a run on a GPU."""
        self.runs.append(GpuRun(device, program, members, marks, dict(symbols), threading.get_ident()))

    def nanoseconds(self, ticks: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
        """Stamps as times of `time.perf_counter_ns`."""
        return self._begin[0] + (ticks - self._begin[1]) / native().ticks_per_ns()
