"""Timing of two sides in turn, so that a slow moment of a shared machine hits both."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass

Call = Callable[[], object]


@dataclass(frozen=True)
class Seconds:
    """Times of one side, a figure per round: seconds of one call."""

    rounds: tuple[float, ...]

    @property
    def best(self) -> float:
        return min(self.rounds)

    @property
    def median(self) -> float:
        return statistics.median(self.rounds)

    @property
    def spread(self) -> float:
        """(slowest - best) / best."""
        return max(self.rounds) / self.best - 1.0


def time_in_turn(sides: list[Call], rounds: int = 5, each: float = 0.02, pause: float = 0.15) -> list[Seconds]:
    """Seconds of one call of every side: `rounds` figures each, from runs of about `each` seconds.

    `pause` lets the other side's threads stop spinning before a side is timed.
    """
    counts = []
    for call in sides:
        call()
        started = time.perf_counter()
        call()
        counts.append(max(1, int(each / max(time.perf_counter() - started, 1e-7))))
    found: list[list[float]] = [[] for _ in sides]
    pause = pause if len(sides) > 1 else 0.0
    for _ in range(rounds):
        for n, call in enumerate(sides):
            time.sleep(pause)
            call()
            started = time.perf_counter()
            for _ in range(counts[n]):
                call()
            found[n].append((time.perf_counter() - started) / counts[n])
    return [Seconds(tuple(f)) for f in found]
