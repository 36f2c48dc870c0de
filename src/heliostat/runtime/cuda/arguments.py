"""The arguments of a kernel, packed once into memory that launches point into."""

from __future__ import annotations

import ctypes
import struct
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from ...diagnostics import DeviceError
from .buffer import DeviceBuffer

Argument = DeviceBuffer | int | float | np.generic | bytes | ctypes.Structure | ctypes.Array[Any]
"""A buffer (its address), an int, a float, a NumPy scalar, or the bytes of a struct passed by value (a tensor map)."""

_SLOT = 16  # bytes between arguments are rounded up to this, so that any scalar is aligned

_FLOATS = {2: "<e", 4: "<f", 8: "<d"}


class Arguments:
    """Values of a kernel's parameters in packed form: `pointer` is the address of an array of their addresses.

    `sizes` are the parameters' bytes as the driver tells them; without (drivers before 12.4), ints take 8 bytes and
    floats must be NumPy scalars. Buffers are kept alive.
    """

    def __init__(self, values: Sequence[Argument], sizes: Sequence[int] | None = None, kernel: str = "kernel") -> None:
        """Raises DeviceError if count, kind or size of the values does not fit the parameters."""
        if sizes is not None and len(values) != len(sizes):
            raise DeviceError(f"`{kernel}` takes {len(sizes)} arguments, got {len(values)}")
        self._kernel = kernel
        self._kept: list[Argument] = list(values)
        packed = [self._pack(i, value, sizes[i] if sizes is not None else None) for i, value in enumerate(values)]
        self._sizes = [len(data) for data in packed]
        self._offsets: list[int] = []
        total = 0
        for data in packed:
            self._offsets.append(total)
            total += -(-len(data) // _SLOT) * _SLOT
        self._memory = ctypes.create_string_buffer(total or 1)
        base = ctypes.addressof(self._memory)
        self._base = base
        self._addresses = (ctypes.c_void_p * max(len(packed), 1))(*(base + offset for offset in self._offsets))
        self.pointer = ctypes.addressof(self._addresses)
        for offset, data in zip(self._offsets, packed, strict=True):
            ctypes.memmove(base + offset, data, len(data))

    def __len__(self) -> int:
        return len(self._sizes)

    def __getitem__(self, index: int) -> Argument:
        return self._kept[index]

    def __setitem__(self, index: int, value: Argument) -> None:
        """Replace one value; later launches see it. Raises DeviceError if it does not fit the parameter."""
        data = self._pack(index, value, self._sizes[index])
        ctypes.memmove(self._base + self._offsets[index], data, len(data))
        self._kept[index] = value

    def words(self) -> npt.NDArray[np.int64]:
        """The arguments as numbers that can be written: launches read them. Raises DeviceError unless each has 8 bytes.

        Whoever writes addresses here keeps the memory alive himself."""
        if any(size != 8 for size in self._sizes):
            raise DeviceError(f"`{self._kernel}` has arguments that are not of 8 bytes: {self._sizes}")
        return np.frombuffer(memoryview(self._memory), np.int64, count=2 * len(self._sizes))[::2]

    def packed(self, index: int) -> bytes:
        """The bytes of one argument, as the kernel gets them."""
        return ctypes.string_at(self._base + self._offsets[index], self._sizes[index])

    def _pack(self, index: int, value: Argument, size: int | None) -> bytes:
        if isinstance(value, DeviceBuffer):
            return self._checked(index, value, struct.pack("<Q", value.address), size)
        if isinstance(value, (bool, int)):
            width = 8 if size is None else size
            if width not in (1, 2, 4, 8) or not -(1 << 8 * width - 1) <= value < 1 << 8 * width:
                raise DeviceError(f"argument {index} of `{self._kernel}`: {value} does not fit in {width} bytes")
            return int(value).to_bytes(width, "little", signed=value < 0)
        if isinstance(value, np.generic):
            return self._checked(index, value, value.tobytes(), size)
        if isinstance(value, float):
            if size not in _FLOATS:
                known = "" if size is None else f"; the parameter has {size} bytes"
                raise DeviceError(
                    f"argument {index} of `{self._kernel}`: the width of {value} is not known{known}",
                    help="give np.float32(x), np.float64(x) or np.float16(x)",
                )
            return struct.pack(_FLOATS[size], value)
        if isinstance(value, (bytes, ctypes.Structure, ctypes.Array)):
            return self._checked(index, value, bytes(value), size)
        raise DeviceError(
            f"argument {index} of `{self._kernel}` is a {type(value).__name__}",
            help="give a DeviceBuffer, an int, a NumPy scalar, or the bytes of a struct",
        )

    def _checked(self, index: int, value: Argument, data: bytes, size: int | None) -> bytes:
        if size is not None and len(data) != size:
            kind = f"{type(value).__name__} of {len(data)} bytes"
            raise DeviceError(f"argument {index} of `{self._kernel}`: a {kind} for a parameter of {size} bytes")
        return data
