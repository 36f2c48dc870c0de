"""How much memory buffers take: counted where they are allocated, and again when the last holder lets go."""

from __future__ import annotations

import weakref
from dataclasses import dataclass
from typing import Any

import numpy as np

from . import fork

Array = np.ndarray[Any, np.dtype[Any]]


@dataclass(frozen=True)
class MemoryStats:
    """current_bytes: alive now. peak_bytes: the most since the beginning or the last reset. pooled_bytes: of the
    current ones, what is held for the next run without being used. alloc_count, free_count: how often."""

    current_bytes: int
    peak_bytes: int
    pooled_bytes: int
    alloc_count: int
    free_count: int


class _Tracked(weakref.ref[Array]):
    __slots__ = ("nbytes",)
    nbytes: int


class Account:
    """The sums, for all threads."""

    def __init__(self) -> None:
        self.current = self.peak = self.allocations = self.frees = 0
        self._lock = fork.made_new()  # the collector may free memory while this thread counts
        self._live: dict[int, _Tracked] = {}

    def add(self, raw: Array, nbytes: int) -> None:
        """Count an array that owns its memory, until it is gone. nbytes: what of it is used."""
        tracked = _Tracked(raw, self._freed)
        tracked.nbytes = nbytes
        with self._lock:
            self._live[id(tracked)] = tracked
            self.allocations += 1
            self.current += nbytes
            if self.current > self.peak:
                self.peak = self.current

    def _freed(self, tracked: Any) -> None:
        with self._lock:
            if self._live.pop(id(tracked), None) is not None:
                self.frees += 1
                self.current -= tracked.nbytes

    def stats(self, scratch: int, freed: int) -> MemoryStats:
        """The sums as they are. scratch: bytes of them that only a run uses. freed: bytes kept beside them."""
        with self._lock:
            held = self.current + freed
            return MemoryStats(held, max(self.peak, held), scratch + freed, self.allocations, self.frees)

    def reset_peak(self) -> None:
        """Begin a new peak at what is alive."""
        with self._lock:
            self.peak = self.current

    def reset_counts(self) -> None:
        """Count allocations and frees from 0 again."""
        with self._lock:
            self.allocations = self.frees = 0


account = Account()
"""Of this process."""
