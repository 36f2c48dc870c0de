"""A fake driver with one device, and kernels for it."""

from __future__ import annotations

import ctypes
import struct
from collections.abc import Iterator

import numpy as np
import pytest

from heliostat.runtime.cuda import Device, Driver, Stream
from heliostat.settings import override
from runtime.cuda.fake_bindings import FakeBindings, Fault, Kernel, u64


@pytest.fixture(autouse=True)
def no_cache() -> Iterator[None]:
    """Nothing is read from or written to the user's cache."""
    with override(cache=False):
        yield


@pytest.fixture
def fake() -> FakeBindings:
    """The bindings. Kernels: `axpy(y, x, n: i32, a: f32)` sets y += a * x; `fault` fails; `nothing` does nothing."""
    out = FakeBindings(memory=256 << 20)

    def axpy(grid: tuple[int, ...], block: tuple[int, ...], arguments: list[bytes]) -> None:
        (n,), (a,) = struct.unpack("<i", arguments[2]), struct.unpack("<f", arguments[3])
        views = []
        for data in arguments[:2]:
            out.check(u64(data), 4 * n)
            views.append(np.ctypeslib.as_array((ctypes.c_float * n).from_address(u64(data))))
        views[0] += np.float32(a) * views[1]

    def fault(*launch: object) -> None:
        raise Fault("on purpose")

    out.kernels["axpy"] = Kernel(axpy, (8, 8, 4, 4))
    out.kernels["fault"] = Kernel(fault)
    out.kernels["nothing"] = Kernel(lambda *launch: None)
    return out


@pytest.fixture
def gpu(fake: FakeBindings) -> Device:
    return Device(0, Driver(fake))


@pytest.fixture
def stream(gpu: Device) -> Stream:
    return Stream(gpu)
