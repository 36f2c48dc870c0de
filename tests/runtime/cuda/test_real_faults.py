"""A kernel's fault on a real GPU, in a process of its own, which loses its context."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from heliostat.diagnostics import DeviceError
from heliostat.runtime.cuda import device_count

pytestmark = pytest.mark.cuda

SOURCE = Path(__file__).parents[3] / "src"
FAULT = """
import numpy as np
import heliostat as hs
from heliostat.diagnostics import KernelFaultError
from heliostat.runtime.cuda import DeviceBuffer, Module, Stream, device
gpu = device(0)
stream = Stream(gpu)
HEAD = ".version 8.0\\n.target sm_80\\n.address_size 64\\n"
PTX = HEAD + ".visible .entry wild() { .reg .b64 %a; mov.u64 %a, 64; st.global.u32 [%a], 1; ret; }"
wild = Module(gpu, PTX, program="broken").function("wild")
held = DeviceBuffer.of(np.ones(4, np.float32), stream)
try:
    wild.launch(1, 1, [], stream=stream)
    stream.synchronize()
except KernelFaultError as error:
    assert "kernel `wild` of program `broken` read or wrote an illegal address on cuda:0" in error.message, error
uses = (
    lambda: held.array(np.float32, stream=stream), lambda: DeviceBuffer.allocate(gpu, 64, stream),
    lambda: wild.launch(1, 1, [], stream=stream), lambda: hs.ones(3, device="cuda").tolist(),
)
for use in uses:
    try:
        use()
    except KernelFaultError as error:
        assert "lost since an earlier fault" in error.message, error
    else:
        raise AssertionError("a lost device served a call")
assert (hs.ones(3) * 2).tolist() == [2, 2, 2]
"""


def test_a_fault_names_its_kernel_and_every_later_use_says_so() -> None:
    try:
        count = device_count()
    except DeviceError as error:
        pytest.skip(str(error))
    if not count:
        pytest.skip("no GPU")
    environment = {**os.environ, "PYTHONPATH": str(SOURCE)}
    done = subprocess.run([sys.executable, "-c", FAULT], capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == 0, done.stderr
