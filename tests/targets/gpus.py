"""GPUs for tests of tensors: a real one, or a stand-in whose launches the lock-step interpreter runs on host memory.

The stand-in is below the driver's bindings: pools, streams, copies, graphs and bookkeeping are those of a real one, and
work runs as late as a device may run it.
"""

from __future__ import annotations

import contextlib
import ctypes
import sys
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pytest

from heliostat.diagnostics import DeviceError
from heliostat.kernel.lockstep import run_lockstep
from heliostat.runtime.cuda import Driver, libraries
from heliostat.session import cuda, devices, step
from heliostat.settings import override
from heliostat.targets.nvptx_module import Phase
from heliostat.tensor import lazy
from heliostat.tensor.devices import Current
from runtime.cuda.fake_bindings import FakeBindings, Kernel, u64

KINDS = [pytest.param("stand-in", id="stand-in"), pytest.param("real", id="gpu", marks=pytest.mark.cuda)]


def _run(fake: FakeBindings, phase: Phase, arguments: Sequence[bytes]) -> None:
    """A launch: its kernels one after the other, on what lies from each address to the end of its allocation."""
    addresses = iter(arguments)
    for kernel in phase.kernels:
        arrays = []
        for _ in kernel.buffers:
            address = u64(next(addresses))
            found = [s + size - address for s, (size, _) in fake.live.items() if s <= address < s + size]
            assert found, f"kernel {kernel.name} was given {address:#x}, where nothing is allocated"
            arrays.append(np.ctypeslib.as_array((ctypes.c_uint8 * found[0]).from_address(address)))
        run_lockstep(kernel, arrays)


def _forget_programs() -> None:
    """Programs of GPUs: those of a stand-in are not those of a real one."""
    for table in (lazy.programs.found, step._made):
        for key in [k for k in table if isinstance(k[0], str) and k[0] != "cpu"]:
            del table[key]
    lazy.programs.plans.clear()
    kinds = lazy.programs.symbolic.kinds
    for device, form in [key for key in kinds if key[0] != "cpu"]:
        del kinds[device, form]


@contextlib.contextmanager
def stand_in(count: int = 1) -> Iterator[FakeBindings]:
    """A process with so many GPUs that are none."""
    fake = FakeBindings(devices=count, memory=256 << 20)

    def emit(phases: Sequence[Phase], target: Any, keep: Any) -> list[bytes]:
        for phase in phases:
            size = sum(len(k.buffers) for k in phase.kernels)
            fake.kernels[phase.name] = Kernel(lambda grid, block, args, p=phase: _run(fake, p, args), (8,) * size)
        return [b"// run by the interpreter"] * len(phases)

    patch = pytest.MonkeyPatch()
    lazy.flush()
    _forget_programs()
    with override(cache=False), patch.context() as p:
        p.setattr(Driver, "_shared", Driver(fake))
        p.setattr(sys.modules["heliostat.runtime.cuda.device"], "_shared", {})
        p.setattr(cuda, "emit_modules", emit)
        p.setattr(libraries, "load", lambda library, version: f"a stand-in has no {library}")
        p.setattr(devices, "_gpus", {})
        p.setattr(Current, "number", 0)
        try:
            yield fake
        finally:
            with contextlib.suppress(DeviceError):
                lazy.flush()
            _forget_programs()


@contextlib.contextmanager
def real() -> Iterator[None]:
    """The first GPU of this machine. Skips the test where there is none."""
    try:
        devices.gpu_engine("cuda:0")
    except DeviceError as error:
        pytest.skip(str(error))
    yield
    lazy.flush()


@contextlib.contextmanager
def gpu(kind: str) -> Iterator[Any]:
    """A process with a GPU, by an id of `KINDS`."""
    with stand_in() if kind == "stand-in" else real() as found:
        yield found
