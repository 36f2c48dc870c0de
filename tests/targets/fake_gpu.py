"""A GPU for whole commands and models on a machine without one: the driver's stand-in, whose kernels are run by the
lock-step interpreter. Small sizes only.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import numpy as np
import pytest

from heliostat.kernel.lockstep import run_lockstep
from heliostat.runtime.cuda import Device, Driver
from heliostat.session import cuda
from heliostat.settings import override
from heliostat.targets.nvptx_module import Phase
from heliostat.targets.target import Target
from runtime.cuda.fake_bindings import FakeBindings, Kernel, u64


@contextmanager
def fake_gpu(memory: int = 64 << 20) -> Iterator[Device]:
    """`cuda:0` is the stand-in inside a `with` block. Kernels are not printed: no PTX is read here."""
    fake = FakeBindings(memory=memory)

    def emit(phases: Sequence[Phase], target: Target, keep: object) -> list[bytes]:
        for phase in phases:
            fake.kernels[phase.name] = Kernel(_runner(fake, phase), (8,) * sum(len(k.buffers) for k in phase.kernels))
        return [b"nothing"] * len(phases)

    with pytest.MonkeyPatch.context() as patch, override(cache=False):
        gpu = Device(0, Driver(fake))
        patch.setattr(cuda, "emit_modules", emit)
        patch.setattr(cuda, "device", lambda number: gpu)
        yield gpu


def _runner(fake: FakeBindings, phase: Phase) -> Callable[..., None]:
    def run(grid: tuple[int, ...], block: tuple[int, ...], arguments: list[bytes]) -> None:
        left = list(arguments)
        for kernel in phase.kernels:
            given, left = left[: len(kernel.buffers)], left[len(kernel.buffers) :]
            run_lockstep(kernel, [_memory(fake, u64(a)) for a in given])

    return run


def _memory(fake: FakeBindings, address: int) -> np.ndarray:
    """The bytes from an address to the end of what it was allocated in, which may be the host's pinned memory."""
    for start, (nbytes, _) in (*fake.live.items(), *fake.pinned.items()):
        if start <= address < start + nbytes:
            return np.ctypeslib.as_array((ctypes.c_uint8 * (start + nbytes - address)).from_address(address))
    raise AssertionError(f"{address:#x} is not allocated")
