"""NVIDIA's libraries through ctypes, where they are installed: in its pip packages (PyTorch brings them too) and where
the system finds libraries. Nothing needs them to start; functions that do say what to install.
"""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

from ...diagnostics import DeviceError, DeviceUnavailableError, UnsupportedError
from .buffer import DeviceBuffer

VERSIONS: dict[str, dict[str, str]] = {
    "cublasLt": {"13": "13", "12": "12"}, "cublas": {"13": "13", "12": "12"}, "cusolver": {"13": "12", "12": "11"},
    "cufft": {"13": "12", "12": "11"},
}  # fmt: skip
"""The library's own major version by CUDA's, newest first."""

FOLDERS = {"cublasLt": "cublas"}
"""Folders of pip packages of CUDA 12 that are not named like the library."""


def candidates(library: str, version: int, path: Sequence[str] | None = None) -> list[str]:
    """Names to load, best first, for a driver of that version (13000 is CUDA 13.0). `path`: Python's, by default."""
    found = []
    for major, own in VERSIONS[library].items():
        if int(major) > max(version // 1000, 12):
            continue
        name = f"lib{library}.so.{own}"
        for folder in sys.path if path is None else path:
            found += [
                str(p)
                for inside in (f"cu{major}", FOLDERS.get(library, library))
                if (p := Path(folder, "nvidia", inside, "lib", name)).exists()
            ]
        found.append(name)
    return found


@lru_cache(maxsize=16)
def load(library: str, version: int) -> ctypes.CDLL | str:
    """The library, or why there is none."""
    for name in candidates(library, version):
        try:
            return ctypes.CDLL(name)
        except OSError:
            continue
    return f"lib{library}.so is neither among NVIDIA's Python packages nor on the system's path"


class LibraryError(DeviceError):
    """A call of one of NVIDIA's libraries failed. `status` is what it returned."""

    def __init__(self, message: str, *, status: int = 0, **place: Any) -> None:
        super().__init__(message, **place)
        self.status = status


class Library:
    """A library whose functions return 0 where they succeed."""

    def __init__(self, name: str, version: int, statuses: Mapping[int, str], package: str) -> None:
        """Raises DeviceUnavailableError where it is not installed."""
        found = load(name, version)
        if isinstance(found, str):
            raise DeviceUnavailableError(
                f"{package} is not installed: {found}",
                help="pip install heliostat[cuda-libraries], or copy the tensors by .cpu() first",
            )
        self.name, self.loaded, self.statuses = package, found, statuses

    def has(self, function: str) -> bool:
        """Whether the library is new enough to have a function."""
        return hasattr(self.loaded, function)

    def call(self, function: str, *args: Any) -> None:
        """Call a function: integers as C's int, device memory and None as pointers, others as ctypes has them.

        Raises LibraryError, UnsupportedError where the library has no such function."""
        found = getattr(self.loaded, function, None)
        if found is None:
            raise UnsupportedError(
                f"{self.name} has no {function}: it is of another release of CUDA",
                help="pip install -U heliostat[cuda-libraries]",
            )
        status = int(found(*map(_passed, args)))
        if status:
            reason = self.statuses.get(status, f"status {status}")
            raise LibraryError(f"{self.name}: {function} failed: {reason}", status=status)


def _passed(x: Any) -> Any:
    if x is None:
        return ctypes.c_void_p()
    if isinstance(x, DeviceBuffer):
        return ctypes.c_void_p(x.address)
    return ctypes.c_int(x) if isinstance(x, int) else x
