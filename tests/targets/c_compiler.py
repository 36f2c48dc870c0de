"""Compiles printed C with the system's compiler and runs kernels of it on NumPy arrays."""

from __future__ import annotations

import ctypes
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from heliostat.kernel.ir import Kernel
from heliostat.targets.c import c_name, print_c

FLAGS = ("-std=gnu11", "-O2", "-Wall", "-Wextra", "-Werror", "-Wno-psabi", "-fPIC", "-shared")
_SHUFFLE = "typedef int v __attribute__((vector_size(8))); v f(v a) { return __builtin_shufflevector(a, a, 1, 0); }"


def find_compiler() -> str | None:
    """The system's C compiler that knows `__builtin_shufflevector`, or None."""
    for name in ("cc", "gcc", "clang"):
        path = shutil.which(name)
        if path is None:
            continue
        command = [path, "-x", "c", "-", "-c", "-o", "/dev/null"]
        done = subprocess.run(command, input=_SHUFFLE, text=True, capture_output=True)
        if done.returncode == 0:
            return path
    return None


def compile_c(kernels: Sequence[Kernel], cc: str | None = None, flags: Sequence[str] = ()) -> ctypes.CDLL:
    """A library with the kernels. A warning is an error. Raises RuntimeError with the compiler's text."""
    cc = cc or find_compiler()
    assert cc is not None
    with tempfile.TemporaryDirectory() as folder:
        source, library = Path(folder, "kernels.c"), Path(folder, "kernels.so")
        source.write_text(print_c(kernels))
        command = [cc, *FLAGS, *flags, str(source), "-o", str(library), "-lm"]
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode:
            raise RuntimeError(done.stderr[:4000])
        return ctypes.CDLL(str(library))


def run_c(library: ctypes.CDLL, kernel: Kernel, arrays: Sequence[np.ndarray[Any, Any]], workers: int = 1) -> None:
    """Run a kernel once with every worker in turn."""
    function = getattr(library, c_name(kernel.name))
    addresses = (ctypes.c_void_p * max(len(arrays), 1))(*[a.ctypes.data for a in arrays])
    for worker in range(workers):
        function(addresses, ctypes.c_int64(worker), ctypes.c_int64(workers))
