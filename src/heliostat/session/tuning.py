"""Measuring tiles on this machine: the candidates of every tunable kernel, the best kept by `tuning_file`."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..compiler.fuse import FusedGroup
from ..compiler.plan import type_nbytes
from ..compiler.tuning import Tunable, TuningTable, key_text, tunable
from ..diagnostics import CompileError
from ..ir.graph import Value
from ..runtime.buffer import Buffer
from ..runtime.jit import load_objects
from ..runtime.trace import Trace
from ..runtime.worker_pool import BARRIER, WorkerPool
from ..targets.llvm import print_llvm
from ..targets.llvm_compile import emit_object
from ..targets.target import Target
from .tuning_file import tuning_entries

COLD_BYTES = 192 << 20  # weights are taken from so much memory in turn, so that caches do not hold them
MOST_BYTES = 64 << 20  # of a result: larger ones, such as all logits of a prompt, are measured with fewer rows
MIN_GAIN = 1.02  # a choice must be this much faster than the default, or the default stays


def load_tuning(target: Target) -> TuningTable:
    """The choices for this machine: those of the package, and over them those that were measured here."""
    return TuningTable(tuning_entries(target))


@dataclass(frozen=True)
class Tuned:
    """What was found for one key: seconds of the default tile and of the best, and the best's fields."""

    key: str
    default_seconds: float
    best_seconds: float
    tile: Mapping[str, Any]
    tried: int

    @property
    def gain(self) -> float:
        return self.default_seconds / self.best_seconds


Progress = Callable[[int, int, str], None]


def tune(
    groups: Iterable[FusedGroup],
    target: Target,
    pool: WorkerPool,
    rows: int = 512,
    progress: Progress | None = None,
    keep: Callable[[Tuned], object] | None = None,
) -> list[Tuned]:
    """Measure the candidates of every tunable group, each key once. `rows`: the value of symbolic dimensions. `keep`
    gets each result as soon as it is there: all of them take minutes, which may be cut short."""
    work: dict[str, tuple[Tunable, FusedGroup]] = {}
    for fused in groups:
        schedule = tunable(fused.schedule)
        if schedule is not None:
            work.setdefault(key_text(*schedule.tuning_key(fused.group)), (schedule, fused))
    found = []
    for n, (key, (schedule, fused)) in enumerate(work.items()):
        if progress:
            progress(n, len(work), key)
        result = _tune_one(key, schedule, fused, target, pool, rows)
        if result is not None:
            found.append(result)
            if keep:
                keep(result)
    if progress:
        progress(len(work), len(work), "")
    return found


def _tune_one(
    key: str, schedule: Tunable, fused: FusedGroup, target: Target, pool: WorkerPool, rows: int
) -> Tuned | None:
    tiles = schedule.candidates(fused.group, target)
    if len(tiles) < 2:
        return None
    bench = _Bench(fused, target, pool, rows)
    kernels = []
    for n, tile in enumerate(tiles):
        try:
            kernel = schedule.build(fused.group, target, f"candidate_{n}", tile)
            kernels.append((tile, load_objects([emit_object(print_llvm([kernel], target), target)]), kernel.name))
        except CompileError:
            continue
    best = dict.fromkeys(range(len(kernels)), float("inf"))

    def measure(candidates: Iterable[int]) -> None:
        for n in candidates:
            best[n] = min(best[n], bench.seconds(kernels[n][1][kernels[n][2]]))

    measure([0])  # brings data and workers in; what is slow at first must not count against the default
    for _ in range(2):  # in turn, so that a slow moment of the machine hits all
        measure(best)
    measure([n for n in best if best[n] <= 1.15 * min(best.values())])
    winner = min(best, key=lambda n: best[n])
    for _ in range(3):
        measure([0, winner])
    winner = min(best, key=lambda n: best[n])
    if best[0] < best[winner] * MIN_GAIN:
        winner = 0
    tile = dataclasses.asdict(kernels[winner][0])
    return Tuned(key, best[0], best[winner], tile, len(kernels))


class _Bench:
    """Runs one kernel on made-up data; weights come from cold memory, as in a model."""

    def __init__(self, fused: FusedGroup, target: Target, pool: WorkerPool, rows: int) -> None:
        self.pool = pool
        group = fused.group
        weight = max(group.inputs, key=lambda v: type_nbytes(v.type))
        self.turns = max(1, min(48, COLD_BYTES // max(1, type_nbytes(weight.type))))
        fixed = {v: [_filled(v)] for v in (*group.inputs, *group.outputs)}
        fixed[weight] = [_filled(weight) for _ in range(self.turns)]
        most = max(type_nbytes(v.type) for v in group.outputs)
        rows = max(1, min(rows, rows * MOST_BYTES // most))
        slots = np.array([max(s.lower, min(s.upper, rows)) for s in group.symbols] or [0], np.int64)
        self.keep = (fixed, slots)
        lines = [
            [fixed[v][turn % len(fixed[v])].address for v in (*group.inputs, *group.outputs)]
            + [slots.ctypes.data + 8 * n for n in range(len(group.symbols))]
            for turn in range(self.turns)
        ]
        self.arguments = np.array(lines, np.int64)
        self.table = np.zeros((self.turns, 3), np.int64)
        self.table[:, 1] = self.arguments.ctypes.data + self.arguments.strides[0] * np.arange(self.turns)
        self.table[:, 2] = BARRIER

    def seconds(self, address: int) -> float:
        """The best time of one launch over a few walks."""
        self.table[:, 0] = address
        best = float("inf")
        for _ in range(2):
            trace = Trace(self.pool, self.turns)
            trace.run(self.table.ctypes.data)
            times = sorted(row.wall_ns for row in trace.report([""] * self.turns))
            best = min(best, times[len(times) // 4] / 1e9)
        return best


def _filled(value: Value) -> Buffer:
    """Bytes that are small normal numbers in every float format; `start` of an attention is a length in the cache."""
    buffer = Buffer.allocate(max(64, type_nbytes(value.type)) + 4096, zeroed=False)
    data = buffer.array(np.uint8)
    data[:] = np.random.default_rng(0).integers(40, 60, 1 << 16, np.uint8)[np.arange(data.size) % (1 << 16)]
    if not value.type.shape and value.type.element.name == "i32":
        data[:4] = np.array([512], np.int32).view(np.uint8)
    return buffer
