"""Memory as the threads of a warp see it: accesses at an offset of each thread's own, every one checked against the
buffer's end and against the alignment that the kernel claims. Called by the source that `lockstep_source` writes.

Offsets are i64 in bytes, (rows, runs): rows is 32, or 1 where all threads say the same; a run is what lies together.
"""

from __future__ import annotations

from typing import Any, NoReturn

import numpy as np
import numpy.typing as npt

from .arithmetic import DTYPES
from .warp import WARP

Array = npt.NDArray[Any]
_U64 = np.dtype(np.uint64)
_UNITS: dict[int, np.dtype[Any]] = {
    1: np.dtype("u1"),
    2: np.dtype("u2"),
    4: np.dtype("u4"),
    8: np.dtype("u8"),
    16: np.dtype("c16"),
}
_COUNTS = {n: np.arange(n) for n in (1, 2, 4, 8, 16, 32, 64)}


class LockstepError(Exception):
    """A thread broke a rule: an access outside of a buffer, a wrong alignment, threads that part at a branch."""


class Memory:
    """A buffer's bytes, seen as units of 1 to 16 bytes."""

    __slots__ = ("data", "size", "views")

    def __init__(self, data: Array) -> None:
        self.data, self.size = data, data.size
        self.views: dict[int, Array] = {1: data}

    def view(self, unit: int) -> Array:
        """Whole units; what is left at the end belongs to none."""
        found = self.views.get(unit)
        if found is None:
            found = self.views[unit] = self.data[: self.size // unit * unit].view(_UNITS[unit])
        return found

    def refuse(self, first: int, last: int, align: int) -> NoReturn:
        """The error of an access of bytes first .. last, which is outside or not aligned."""
        if first < 0 or last >= self.size:
            raise LockstepError(f"an access of bytes {first} .. {last} of a buffer of {self.size}")
        raise LockstepError(f"an access that claims to be aligned to {align} bytes is not")

    def check(self, places: Array, nbytes: int, align: int) -> None:
        """Raise unless all runs of so many bytes lie inside and are aligned."""
        last = int(np.maximum.reduce(places.view(_U64), axis=None))  # a negative offset is a large number
        if last > self.size - nbytes or int(np.bitwise_or.reduce(places, axis=None)) & align - 1:
            self.refuse(int(places.min()), int(places.max()) + nbytes - 1, align)


def _counts(n: int) -> Array:
    found = _COUNTS.get(n)
    return np.arange(n) if found is None else found


def _numbers(places: Array, nbytes: int, unit: int) -> Array:
    """The units of each run: (places, nbytes / unit)."""
    first = (places >> unit.bit_length() - 1).reshape(-1, 1)
    return first if nbytes == unit else first + _counts(nbytes // unit)


def unit_of(nbytes: int, align: int) -> int:
    """How many bytes at once an access of `nbytes` takes: a power of two that divides both."""
    return min(nbytes & -nbytes, align, 16)


def load_runs(memory: Memory, offsets: Array, elem: str, nbytes: int, align: int) -> Array:
    """(rows, elements): runs of `nbytes` of each thread, one behind the other."""
    memory.check(offsets, nbytes, align)
    unit = unit_of(nbytes, align)
    taken = memory.view(unit).take(_numbers(offsets, nbytes, unit))
    return taken.reshape(offsets.shape[0], -1).view(DTYPES[elem])


def load_matrices(memory: Memory, offsets: Array, turned: bool) -> Array:
    """(32, 4) of i32: what threads hold of four 8 x 8 matrices of 16 bits, whose rows lie at offsets (32, 1)."""
    memory.check(offsets, 16, 16)
    held = memory.view(16).take(offsets.reshape(-1) >> 4).view(np.uint16).reshape(4, 8, 8)
    if turned:
        held = held.swapaxes(1, 2)
    return np.ascontiguousarray(held.reshape(4, WARP, 2).swapaxes(0, 1)).view(np.int32).reshape(WARP, 4)


def load_masked(memory: Memory, offsets: Array, elem: str, mask: Array, align: int) -> Array:
    """(rows, lanes) of offsets (rows, 1): elements where the mask holds, zeros elsewhere."""
    dtype = DTYPES[elem]
    if len(mask) < len(offsets):
        mask = mask.repeat(len(offsets), 0)
    held = mask.nonzero()
    if held[0].size == mask.size and len(offsets) == len(mask):
        return load_runs(memory, offsets, elem, mask.shape[1] * dtype.itemsize, align)
    out = np.zeros(mask.shape, dtype)
    if held[0].size:
        view, numbers = _masked_units(memory, offsets, held, dtype.itemsize, align)
        out[held] = view.take(numbers).view(dtype)
    return out


def _masked_units(
    memory: Memory, offsets: Array, held: tuple[Array, ...], size: int, align: int
) -> tuple[Array, Array]:
    """Elements of `size` bytes, counted from offsets (rows, 1), by their rows and lanes: a view of the memory, and
    which of its units they are."""
    rows, lanes = held
    first = offsets.reshape(-1).take(rows) if len(offsets) > 1 else offsets.reshape(-1)
    places = first + lanes * size
    memory.check(places, size, 1)
    if align > 1 and int(np.bitwise_or.reduce(first)) & align - 1:
        memory.refuse(0, 0, align)
    unit = unit_of(size, align)
    return memory.view(unit), _numbers(places, size, unit).reshape(-1)


def store_runs(
    memory: Memory, offsets: Array, value: Array, nbytes: int, align: int, active: Array | None = None
) -> None:
    """Write runs of `nbytes` of each thread's elements; of the threads of `active` (rows,) where that is given."""
    if value.shape[0] != offsets.shape[0]:
        value = value.repeat(offsets.shape[0] // value.shape[0], axis=0)
    if active is not None:
        offsets, value = offsets[active], value[active]
    memory.check(offsets, nbytes, align)
    unit = unit_of(nbytes, align)
    numbers = _numbers(offsets, nbytes, unit)
    memory.view(unit)[numbers] = np.ascontiguousarray(value).view(_UNITS[unit]).reshape(numbers.shape)


def store_masked(
    memory: Memory, offsets: Array, value: Array, mask: Array, align: int, active: Array | None = None
) -> None:
    """Write elements (rows, lanes) at offsets (rows, 1) where the mask holds."""
    if active is not None:
        mask = mask & active[:, None]
    rows = max(len(offsets), len(mask), len(value))
    mask, value = (a.repeat(rows, 0) if len(a) < rows else a for a in (mask, value))
    held = mask.nonzero()
    if held[0].size:
        view, numbers = _masked_units(memory, offsets, held, value.itemsize, align)
        view[numbers] = value[held].view(view.dtype)


Copy = tuple[Memory, Array, Array]  # units of 16 bytes on their way: where to, and what


def copy_runs(private: Memory, to: Array, buffer: Memory, source: Array, count: Array, poison: int) -> Copy:
    """Begin to copy 16 bytes, or the first `count` (rows, 1) and zeros, for each of offsets (rows, 1): private memory
    holds poison until they come."""
    private.check(to, 16, 16)
    if (count == 16).all():
        buffer.check(source, 16, 16)
        taken = buffer.view(16).take(source.reshape(-1) >> 4)
    else:
        used = np.arange(16) < np.broadcast_to(count, (max(len(source), len(count)), 1))
        raw, held = np.zeros(used.shape, np.uint8), used.nonzero()
        if held[0].size:
            view, numbers = _masked_units(buffer, source, held, 1, 16)
            raw[held] = view.take(numbers)
        taken = raw.view(_UNITS[16]).reshape(-1)
    where = to.reshape(-1) >> 4
    private.view(16)[where] = np.full(16, poison, np.uint8).view(_UNITS[16])
    return private, where, taken
