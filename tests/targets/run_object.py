"""Loads compiled objects into this process and runs kernels of them on NumPy arrays."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from typing import Any

import llvmlite.binding as llvm
import numpy as np

from heliostat.kernel.ir import Kernel
from heliostat.runtime.jit import Loaded, host_machine
from heliostat.targets.target import X86_AVX2, X86_AVX512, X86_VNNI, Target

_KERNEL = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_int64, ctypes.c_int64)


def runnable_targets() -> list[Target]:
    """The named x86-64 targets whose features this CPU has; none on another machine."""
    if host_machine() != "x86-64":
        return []
    features = llvm.get_host_cpu_features()
    return [t for t in (X86_AVX2, X86_AVX512, X86_VNNI) if all(features.get(f) for f in t.features)]


def run_object(loaded: Loaded, kernel: Kernel, arrays: Sequence[np.ndarray[Any, Any]], workers: int = 1) -> None:
    """Run a kernel once with every worker in turn."""
    function = _KERNEL(loaded[kernel.name])
    addresses = (ctypes.c_void_p * max(len(arrays), 1))(*[a.ctypes.data for a in arrays])
    for worker in range(workers):
        function(ctypes.addressof(addresses), worker, workers)
