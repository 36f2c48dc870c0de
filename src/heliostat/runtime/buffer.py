"""Memory that kernels read and write: address, size, and whatever keeps it alive. No shapes, no dtypes, no copies."""

from __future__ import annotations

import ctypes
import mmap
from collections import deque
from collections.abc import Sequence
from pathlib import Path
from sys import getrefcount
from typing import Any

import numpy as np
import numpy.typing as npt

from ..diagnostics import DeviceError, FileFormatError
from ..settings import settings
from . import platform
from .free_list import SMALLEST, free_list
from .memory import account

ALIGNMENT = 64
"""Every allocation begins at a multiple of this: a cache line, and the widest vector register."""

_MAPPED_FROM = 1 << 20  # from here on an allocation has pages of its own, so that it goes back to the system when freed
_HUGE_PAGE = 2 << 20


class Buffer:
    """`nbytes` bytes at `address`. `owner` is whatever keeps them alive; slices share it.

    `writable` False marks memory that no kernel may write (a mapped file).
    """

    __slots__ = ("_bytes", "address", "nbytes", "writable")

    def __init__(self, data: npt.NDArray[np.uint8]) -> None:
        self._bytes = data
        self.address = int(data.__array_interface__["data"][0])
        self.nbytes = int(data.nbytes)
        self.writable = bool(data.flags.writeable)

    @classmethod
    def allocate(cls, nbytes: int, *, zeroed: bool = True, recycled: bool = False) -> Buffer:
        """New memory, aligned to 64 bytes; from 1 MiB on to whole pages, with huge pages where the system has them.

        Without `zeroed` the content is undefined. `recycled`: the memory may be that of a freed buffer of this size,
        and is kept for another one when it is freed. Raises DeviceError if there is not enough memory.
        """
        if recycled and not zeroed and 0 <= nbytes < SMALLEST:
            return small_buffers.take(nbytes)
        if nbytes < 0:
            raise ValueError(f"nbytes must not be negative, got {nbytes}")
        unit = _HUGE_PAGE if nbytes >= _HUGE_PAGE and settings().huge_pages else ALIGNMENT
        try:
            if nbytes < SMALLEST:
                raw = (np.zeros if zeroed else np.empty)(nbytes + unit, np.uint8)
            else:
                again = recycled and not zeroed
                found = free_list.take(nbytes + unit) if again else None
                raw = _fresh(nbytes, unit, zeroed) if found is None else found
                if again and found is None:
                    raw = free_list.lend(raw)
        except (MemoryError, OSError, OverflowError, ValueError):
            raise DeviceError(f"cannot allocate {nbytes / 1e9:.2f} GB of memory") from None
        account.add(raw, nbytes)
        begin = ctypes.addressof(ctypes.c_char.from_buffer(raw))  # type: ignore[arg-type] # fastest
        skip = -begin % unit
        made = object.__new__(cls)
        made._bytes, made.address = raw[skip : skip + nbytes], begin + skip
        made.nbytes, made.writable = nbytes, True
        return made

    @classmethod
    def of(cls, array: npt.NDArray[Any]) -> Buffer:
        """The memory of an array, without a copy. Raises ValueError unless the array is C-contiguous."""
        if not array.flags.c_contiguous:
            raise ValueError(f"array of shape {array.shape} and strides {array.strides} is not contiguous")
        return cls(array.reshape(-1).view(np.uint8))

    @classmethod
    def owning(cls, array: npt.NDArray[Any]) -> Buffer:
        """The memory of a contiguous array that was made for this buffer, which counts it."""
        account.add(array if array.base is None else array.base, array.nbytes)
        return cls.of(array)

    @property
    def owner(self) -> object:
        """The object whose life keeps the memory valid."""
        return self._bytes

    def slice(self, offset: int, nbytes: int) -> Buffer:
        """A part of this memory, which shares its owner. Raises ValueError if it does not lie inside."""
        if offset < 0 or nbytes < 0 or offset + nbytes > self.nbytes:
            raise ValueError(f"bytes {offset} to {offset + nbytes} do not lie in a buffer of {self.nbytes}")
        part = object.__new__(Buffer)
        part._bytes, part.address = self._bytes[offset : offset + nbytes], self.address + offset
        part.nbytes, part.writable = nbytes, self.writable
        return part

    def array(self, dtype: npt.DTypeLike, shape: Sequence[int] | int = -1) -> npt.NDArray[Any]:
        """A NumPy view from the start of the buffer; shape -1 takes all of it.

        Raises ValueError if the shape needs more bytes than there are.
        """
        if isinstance(shape, int):
            shape = (self.nbytes // np.dtype(dtype).itemsize if shape == -1 else shape,)
        try:
            return np.ndarray(shape, dtype, self._bytes)
        except (TypeError, ValueError):
            kind = np.dtype(dtype)
            raise ValueError(f"{kind} array of shape {tuple(shape)} does not fit in {self.nbytes} bytes") from None

    def __len__(self) -> int:
        return self.nbytes

    def __repr__(self) -> str:
        return f"Buffer({self.nbytes} bytes at {self.address:#x}{'' if self.writable else ', read-only'})"


class SmallBuffers:
    """Buffers below `SMALLEST` bytes by their size, given out again once nobody else holds them.

    Making one takes longer than most kernels that write it. Reference counts tell whether one is held: of the buffer,
    of its bytes, and of the memory behind them, which all arrays over it refer to. `most`: bytes that are kept at most.
    """

    KEPT = 16  # of one size: what is held for long leaves when others come
    TRIES = 4

    def __init__(self, most: int = 4 << 20) -> None:
        self.most = most
        self.nbytes = 0
        self._kept: dict[int, deque[Buffer]] = {}

    def take(self, nbytes: int) -> Buffer:
        """A buffer of that size whose content is undefined. Raises DeviceError if there is not enough memory."""
        kept = self._kept.get(nbytes)
        if kept is None:
            kept = self._kept[nbytes] = deque(maxlen=self.KEPT)
        # Another thread that looks at the same buffer counts as a holder: neither takes it then.
        for _ in range(min(len(kept), self.TRIES)):
            buffer = kept[0]
            kept.rotate(-1)
            if references(buffer) == UNHELD:
                return buffer
        made = Buffer.allocate(nbytes, zeroed=False)
        if self.nbytes + nbytes > self.most:
            self.clear()
        else:
            self.nbytes += nbytes if len(kept) < self.KEPT else 0
            kept.append(made)
        return made

    def idle(self) -> int:
        """Bytes of kept buffers that nobody holds."""
        found = 0
        for kept in list(self._kept.values()):
            for n in range(len(kept)):
                buffer = kept[n]
                found += buffer.nbytes if references(buffer) == UNHELD else 0
        return found

    def clear(self) -> None:
        """Forget all of them: those that nobody holds go back to the system."""
        self._kept = {}
        self.nbytes = 0


def references(buffer: Buffer) -> int:
    """How often a buffer, its bytes and the memory behind them are referred to, this call included."""
    data = buffer._bytes
    return getrefcount(buffer) + getrefcount(data) + getrefcount(data.base)


def _unheld() -> int:
    waiting = [Buffer.allocate(64)]
    for buffer in waiting:
        return references(buffer)
    return 0


UNHELD = _unheld()
"""`references` of memory that only a collection and a variable of who asks hold."""

small_buffers = SmallBuffers()
"""Of this process."""


def _fresh(nbytes: int, unit: int, zeroed: bool) -> npt.NDArray[np.uint8]:
    """New memory, of `unit` bytes more so that it can begin at a multiple of that many."""
    size = max(nbytes, 1) + unit
    if nbytes < _MAPPED_FROM:
        return (np.zeros if zeroed else np.empty)(size, np.uint8)
    # A fresh anonymous mapping is zero, so `zeroed` costs nothing here.
    raw = np.frombuffer(platform.anonymous_memory(size), np.uint8)
    if unit == _HUGE_PAGE:
        begin = raw.ctypes.data
        platform.advise_huge_pages(begin + -begin % unit, nbytes)
    return raw


class Arena:
    """One allocation that a plan cuts into scratch buffers by offset. The plan decides what may overlap."""

    def __init__(self, nbytes: int) -> None:
        self.buffer = Buffer.allocate(nbytes, zeroed=False)

    @property
    def nbytes(self) -> int:
        """Size of the whole arena."""
        return self.buffer.nbytes

    def at(self, offset: int, nbytes: int) -> Buffer:
        """The scratch buffer at a planned offset, which must be a multiple of 64. Raises ValueError otherwise."""
        if offset % ALIGNMENT:
            raise ValueError(f"offset {offset} is not a multiple of {ALIGNMENT}")
        return self.buffer.slice(offset, nbytes)


class MappedFile:
    """A file mapped read-only into memory. Pages are read when they are first touched."""

    def __init__(self, path: Path | str) -> None:
        self.path = Path(path)
        try:
            with self.path.open("rb") as file:
                size = file.seek(0, 2)
                if size == 0:
                    raise FileFormatError(f"{self.path}: the file is empty")
                self._map = mmap.mmap(file.fileno(), size, access=mmap.ACCESS_READ)
        except (OSError, ValueError) as error:
            if isinstance(error, FileFormatError):
                raise
            reason = error.strerror if isinstance(error, OSError) and error.strerror else error
            raise FileFormatError(f"{self.path}: {reason}") from None
        self.buffer = Buffer(np.frombuffer(self._map, np.uint8))

    @property
    def nbytes(self) -> int:
        """Size of the file."""
        return self.buffer.nbytes

    def at(self, offset: int, nbytes: int) -> Buffer:
        """Bytes of the file, which keep the mapping alive. Raises FileFormatError if they lie past its end."""
        if offset < 0 or nbytes < 0 or offset + nbytes > self.nbytes:
            raise FileFormatError(
                f"{self.path}: bytes {offset} to {offset + nbytes} are past the end ({self.nbytes} bytes)"
            )
        return self.buffer.slice(offset, nbytes)

    def release(self, offset: int = 0, nbytes: int | None = None) -> bool:
        """Drop the resident pages inside a range: they no longer count as memory of this process, and are read from
        the file again if touched. Returns whether the system did so."""
        part = self.at(offset, self.nbytes - offset if nbytes is None else nbytes)
        return platform.release_pages(part.address, part.nbytes)
