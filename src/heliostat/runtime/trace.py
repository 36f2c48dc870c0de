"""Time of every launch of a run, from the CPU's counter. The caller knows what the launches are called."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from .worker_pool import WorkerPool, native


@dataclass(frozen=True)
class LaunchTime:
    """Nanoseconds of one launch, summed over the recorded runs.

    wall: from its begin in the caller's thread to the end of its barrier (of its own share, if none follows).
    mean and longest: the threads' own shares; their ratio is how evenly the work was cut. nbytes: that one run of it
    reads and writes, 0 where that is not known.
    """

    name: str
    runs: int
    wall_ns: float
    mean_ns: float
    longest_ns: float
    nbytes: int = 0

    @property
    def imbalance(self) -> float:
        """Longest share over mean share: 1 is perfect, the number of threads is the worst. 1 if nothing was timed."""
        return self.longest_ns / self.mean_ns if self.mean_ns > 0 else 1.0


class Trace:
    """Runs of one launch table with time stamps: `run` as often as wanted, then `report`.

    Two reads of the counter per launch and thread, some 20 ns, are the cost; a run without a trace has none.
    `alone`: on the caller's thread, as programs of a few microseconds run.
    """

    def __init__(self, pool: WorkerPool, count: int, alone: bool = False) -> None:
        self._run = pool.run_alone if alone else pool.run
        self._stamps = np.zeros((1 if alone else pool.threads, count, 3), np.int64)
        self._sums = np.zeros((3, count), np.float64)  # wall, mean, longest; in ticks
        self._total = 0.0
        self.runs = 0

    @property
    def stamps(self) -> npt.NDArray[np.int64]:
        """Counter values of the latest run: (thread, launch, [begin, end of share, end of barrier])."""
        return self._stamps

    def run(self, table: int) -> None:
        """Run the launch table at address `table` and add its times."""
        count = self._stamps.shape[1]
        self._run(table, count, self._stamps.ctypes.data)
        self.runs += 1
        if count == 0:
            return
        share = np.maximum(self._stamps[:, :, 1] - self._stamps[:, :, 0], 0)
        self._sums[0] += self._stamps[0, :, 2] - self._stamps[0, :, 0]
        self._sums[1] += share.mean(axis=0)
        self._sums[2] += share.max(axis=0)
        self._total += float(self._stamps[0, -1, 2] - self._stamps[0, 0, 0])

    def total_ns(self) -> float:
        """Nanoseconds of all runs, from the first launch's begin to the last one's end."""
        return self._total / native().ticks_per_ns()

    def report(self, names: Sequence[str]) -> list[LaunchTime]:
        """One row per launch, in table order. Raises ValueError unless there is one name per launch."""
        if len(names) != self._stamps.shape[1]:
            raise ValueError(f"{len(names)} names for {self._stamps.shape[1]} launches")
        rate = native().ticks_per_ns()
        wall, mean, longest = (self._sums / rate).tolist()
        return [LaunchTime(name, self.runs, wall[n], mean[n], longest[n]) for n, name in enumerate(names)]


def group_by_name(times: Sequence[LaunchTime]) -> list[tuple[LaunchTime, int]]:
    """Launches of one name added up, with their number; the longest first."""
    groups: dict[str, list[LaunchTime]] = {}
    for time in times:
        groups.setdefault(time.name, []).append(time)
    rows = [
        (
            LaunchTime(
                name,
                members[0].runs,
                sum(t.wall_ns for t in members),
                sum(t.mean_ns for t in members),
                sum(t.longest_ns for t in members),
                sum(t.nbytes for t in members),
            ),
            len(members),
        )
        for name, members in groups.items()
    ]
    return sorted(rows, key=lambda row: -row[0].wall_ns)
