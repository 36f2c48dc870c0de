"""Numbers as memory that kernels read: 8 bytes each of pages that many share."""

from __future__ import annotations

import struct
from typing import Any

import numpy as np
import numpy.typing as npt

from .buffer import Buffer

_PACK = {name: struct.Struct("=" + code) for name, code in (("f64", "d"), ("f32", "f"), ("i64", "q"), ("i32", "i"))}
_SLOT = 8
_SLOTS = 512


class _Page:
    """Slots that are given out once each."""

    def __init__(self) -> None:
        self.bytes = np.zeros(_SLOT * _SLOTS, np.uint8)
        self.address = int(self.bytes.__array_interface__["data"][0])
        self.memory = self.bytes.data
        self.free = list(range(0, _SLOT * _SLOTS, _SLOT))


class _Last:
    page = _Page()


class NumberBuffer(Buffer):
    """The memory of one number. No kernel may write it."""

    __slots__ = ("_at", "_page")

    def __init__(self, number: float, dtype: str) -> None:
        """dtype: f64, f32, i64 or i32. Raises OverflowError or struct.error for a number that it cannot hold."""
        pack = _PACK[dtype]
        page = _Last.page
        try:
            at = page.free.pop()  # in one step, so that two threads never get the same
        except IndexError:
            page = _Last.page = _Page()
            at = page.free.pop()
        pack.pack_into(page.memory, at, number)
        self._page, self._at = page, at
        self.address, self.nbytes, self.writable = page.address + at, pack.size, False

    @property
    def _bytes(self) -> npt.NDArray[np.uint8]:  # type: ignore[override]
        found: npt.NDArray[Any] = self._page.bytes[self._at : self._at + self.nbytes]
        return found
