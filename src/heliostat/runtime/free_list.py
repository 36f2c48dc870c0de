"""Memory of freed buffers, kept for the next buffer of its size.

Fresh pages cost more than most kernels that write them: the system hands them out one fault at a time. A loop frees and
wants the same sizes again and again.
"""

from __future__ import annotations

import weakref
from typing import Any

import numpy as np

from . import fork

Array = np.ndarray[Any, np.dtype[Any]]

SMALLEST = 64 << 10
"""Smaller memory stays in the heap by itself."""
MOST, LEAST = 256 << 20, 16 << 20
"""So many bytes are kept at most, and even where less than that is in use."""


class _Lent(weakref.ref[Array]):
    """Of the array that was given out. It dies after all of its views."""

    __slots__ = ("raw",)
    raw: Array


class FreeList:
    """Arrays of bytes by their size. `nbytes`: how much is kept and not in use."""

    def __init__(self, most: int = MOST, least: int = LEAST) -> None:
        self.most, self.least = most, least
        self.nbytes = self.lent = 0
        self._free: dict[int, list[Array]] = {}
        self._lent: dict[int, _Lent] = {}
        self._lock = fork.made_new()  # the collector may free an array while this thread takes one

    def take(self, size: int) -> Array | None:
        """Memory that was freed before, of exactly that size; None where there is none."""
        with self._lock:
            kept = self._free.get(size)
            if not kept:
                return None
            raw = kept.pop()
            self.nbytes -= size
        return self.lend(raw)

    def lend(self, raw: Array) -> Array:
        """An array over all of `raw`, which comes to the list when that array and all of its views are gone."""
        array = np.frombuffer(raw.data, np.uint8)  # not a view: a view's views would hold `raw` alone
        lent = _Lent(array, self._back)
        lent.raw = raw
        with self._lock:
            self._lent[id(lent)] = lent
            self.lent += raw.nbytes
        return array

    def clear(self) -> None:
        """Give what is not in use back to the system."""
        with self._lock:
            self._free.clear()
            self.nbytes = 0

    def _back(self, lent: Any) -> None:
        with self._lock:
            if self._lent.pop(id(lent), None) is None:
                return
            raw = lent.raw
            size = raw.nbytes
            self.lent -= size
            # as much is kept as is in use: what a loop turns over in a step, and not what a program used once
            if self.nbytes + size <= min(self.most, max(self.lent, self.least)):
                self._free.setdefault(size, []).append(raw)
                self.nbytes += size


free_list = FreeList()
"""Of this process."""
