"""Timing of two sides in turn, so that a slow moment of a shared machine hits both."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass

Call = Callable[[], object]
Clock = Callable[[int], float]
"""Seconds that so many calls of a side take, one after the other."""


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


def host_clock(call: Call) -> Clock:
    """Times `call` by the host's clock, as it returns when its work is done."""

    def seconds(count: int) -> float:
        started = time.perf_counter()
        for _ in range(count):
            call()
        return time.perf_counter() - started

    return seconds


def time_in_turn(sides: list[Call], rounds: int = 5, each: float = 0.02, pause: float = 0.15) -> list[Seconds]:
    """Seconds of one call of every side: `rounds` figures each, from runs of about `each` seconds.

    `pause` lets the other side's threads stop spinning before a side is timed.
    """
    return clocks_in_turn([host_clock(call) for call in sides], rounds, each, pause)


def clocks_in_turn(clocks: list[Clock], rounds: int = 5, each: float = 0.02, pause: float = 0.15) -> list[Seconds]:
    """`time_in_turn` of sides that bring a clock of their own."""
    counts = []
    for clock in clocks:
        clock(1)
        counts.append(max(1, int(each / max(clock(1), 1e-7))))
    found: list[list[float]] = [[] for _ in clocks]
    pause = pause if len(clocks) > 1 else 0.0
    for _ in range(rounds):
        for n, clock in enumerate(clocks):
            time.sleep(pause)
            clock(1)
            found[n].append(clock(counts[n]) / counts[n])
    return [Seconds(tuple(f)) for f in found]
