from __future__ import annotations

import ctypes
import gc
import struct

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from heliostat.diagnostics import DeviceError
from heliostat.runtime.cuda import Arguments, Device, DeviceBuffer, Stream


class Map(ctypes.Structure):
    _fields_ = [("words", ctypes.c_uint64 * 16)]


def read(arguments: Arguments, sizes: list[int]) -> list[bytes]:
    """What a driver would read: an array of addresses, and as many bytes at each as the parameter has."""
    addresses = (ctypes.c_void_p * len(sizes)).from_address(arguments.pointer)
    return [ctypes.string_at(address, size) for address, size in zip(addresses, sizes, strict=True)]


def test_widths_are_those_of_the_parameters(gpu: Device, stream: Stream) -> None:
    buffer = DeviceBuffer.allocate(gpu, 100, stream)
    tensor_map = Map((ctypes.c_uint64 * 16)(*range(16)))
    sizes = [8, 1, 2, 4, 8, 2, 4, 8, 128, 4]
    values = [buffer, True, -2, -3, 1 << 63, 0.5, 0.25, 0.1, tensor_map, np.float32(1.5)]
    want = [
        struct.pack("<Q", buffer.address),
        b"\1",
        struct.pack("<h", -2),
        struct.pack("<i", -3),
        struct.pack("<Q", 1 << 63),
        struct.pack("<e", 0.5),
        struct.pack("<f", 0.25),
        struct.pack("<d", 0.1),
        bytes(tensor_map),
        struct.pack("<f", 1.5),
    ]
    arguments = Arguments(values, sizes)
    assert read(arguments, sizes) == want
    assert [arguments.packed(i) for i in range(len(arguments))] == want


def test_widths_without_parameters() -> None:
    arguments = Arguments([5, np.int32(6), np.float16(2), b"abc"])
    assert read(arguments, [8, 4, 2, 3]) == [
        struct.pack("<q", 5),
        struct.pack("<i", 6),
        np.float16(2).tobytes(),
        b"abc",
    ]
    assert len(Arguments([])) == 0


@given(st.lists(st.tuples(st.sampled_from([1, 2, 4, 8]), st.integers(-(1 << 63), (1 << 64) - 1)), max_size=20))
def test_integers(cases: list[tuple[int, int]]) -> None:
    sizes = [size for size, _ in cases]
    values = [value % (1 << 8 * size - 1) * (-1 if value < 0 else 1) for size, value in cases]
    got = read(Arguments(values, sizes), sizes) if sizes else []
    assert [int.from_bytes(g, "little", signed=v < 0) for g, v in zip(got, values, strict=True)] == values


@pytest.mark.parametrize(
    ("values", "sizes", "says"),
    [
        ([1], [4, 4], "takes 2 arguments, got 1"),
        ([1 << 32], [4], "does not fit in 4 bytes"),
        ([-(1 << 31) - 1], [4], "does not fit in 4 bytes"),
        ([1], [128], "does not fit in 128 bytes"),
        ([1.0], None, "width of 1.0 is not known.*np.float32"),
        ([1.0], [1], "the parameter has 1 bytes"),
        ([np.float64(1)], [4], "a float64 of 8 bytes for a parameter of 4 bytes"),
        ([b"abc"], [4], "a bytes of 3 bytes"),
        (["x"], None, "argument 0 of `k` is a str"),
    ],
)
def test_values_that_do_not_fit(values: list[object], sizes: list[int] | None, says: str) -> None:
    with pytest.raises(DeviceError, match=says):
        Arguments(values, sizes, "k")  # type: ignore[arg-type]


def test_replaced_in_place(gpu: Device, stream: Stream) -> None:
    a, b = (DeviceBuffer.allocate(gpu, 4, stream) for _ in "ab")
    arguments = Arguments([a, 1], [8, 4])
    pointer = arguments.pointer
    arguments[0], arguments[1] = b, -7
    assert arguments.pointer == pointer
    assert read(arguments, [8, 4]) == [struct.pack("<Q", b.address), struct.pack("<i", -7)]
    assert arguments[0] is b
    del a, b
    gc.collect()
    assert gpu.pool.stats().allocated == 512  # the one that was replaced is free, the other is kept
