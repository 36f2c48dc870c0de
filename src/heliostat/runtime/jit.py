"""Load compiled object files into this process and find their functions.

What is missing or wrong in an object is reported as DeviceError before a loader sees it: LLVM's would end the process.
`elf` loads what kernels are made of; `llvm_jit`, which takes 0.1 s and 45 MB to bring in, the rest.
"""

from __future__ import annotations

import atexit
import platform as machine_info
import struct
import weakref
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Protocol

import llvmlite

from ..diagnostics import DeviceError
from . import fork
from .elf import Unfit, fits_here, load_elf
from .object_symbols import read_symbols
from .platform import memory_functions, release_library_pages

llvm_lock = fork.waited_for(within=True)
"""Held where LLVM is used in this process: its tables (targets, added symbols) are not locked by themselves, and a
child that is forked meanwhile would wait for llvmlite's own lock for ever."""


@cache
def compiler_version() -> str:
    """What tells compilers apart, without bringing LLVM in: llvmlite's version, size and time of its library."""
    text = f"llvmlite {llvmlite.__version__}"
    for library in _libraries():
        status = library.stat()
        text += f", {library.name} of {status.st_size} bytes, {status.st_mtime_ns}"
    return text


def release_compiler() -> None:
    """Give back the memory of LLVM's library, some 80 MB once much was compiled. It comes back where it is used."""
    for library in _libraries():
        release_library_pages(library)


def _libraries() -> list[Path]:
    """The files of LLVM, there where llvmlite brings them in from."""
    return sorted((Path(llvmlite.__file__).parent / "binding").glob("*llvmlite*"))


@cache
def host_machine() -> str:
    """ "x86-64", "aarch64", or the system's own name of another machine."""
    name = machine_info.machine().lower()
    return {"amd64": "x86-64", "x86_64": "x86-64", "arm64": "aarch64"}.get(name, name)


class _Code(Protocol):
    """Object code in this process."""

    addresses: dict[str, int]

    def detach(self) -> None: ...

    def close(self) -> None: ...


# A daemon thread may still run kernels while the interpreter shuts down: from then on no code is released.
_alive: weakref.WeakSet[Loaded] = weakref.WeakSet()


@atexit.register
def _keep_all() -> None:
    for loaded in list(_alive):
        loaded.keep()


class Loaded:
    """Object code in this process. Addresses are valid until `close`, or until this object is collected."""

    def __init__(self, code: _Code, externals: frozenset[str]) -> None:
        self._code: _Code | None = code
        self._addresses = dict(code.addresses)
        _alive.add(self)
        self.externals = externals
        """Names outside of the objects that the code was bound to (`memcpy`, say)."""

    @property
    def addresses(self) -> Mapping[str, int]:
        """Address of every function, by name. Empty after `close`."""
        return self._addresses

    def __getitem__(self, name: str) -> int:
        """Address of a function. Raises DeviceError if there is none of that name."""
        if self._code is None:
            raise DeviceError(f"function {name} was asked for after its code was released")
        try:
            return self._addresses[name]
        except KeyError:
            raise DeviceError(f"compiled code has no function {name}") from None

    def __contains__(self, name: str) -> bool:
        return name in self._addresses

    def keep(self) -> None:
        """Let the code stay in memory until the process ends, even after this object is gone."""
        if self._code is not None:
            self._code.detach()

    def close(self) -> None:
        """Release the code; no thread may be inside it. A second call does nothing."""
        code, self._code = self._code, None
        self._addresses.clear()
        if code is not None:
            code.close()

    def __enter__(self) -> Loaded:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def load_objects(objects: Sequence[bytes], externals: Mapping[str, int] | None = None) -> Loaded:
    """Bring object files into this process, bound to each other.

    `externals` gives addresses of functions outside of the objects. Besides those only the memory routines that LLVM
    itself inserts (memcpy and the like) are bound: a call to anything else, the C math library included, is an error,
    because its results would depend on the system.
    Raises DeviceError that names the missing, repeated or foreign thing.
    """
    tables = [read_symbols(data) for data in objects]
    defined: set[str] = set()
    for table in tables:
        if table.machine != host_machine():
            raise DeviceError(f"compiled object is for {table.machine}, this machine is {host_machine()}")
        repeated = defined & table.defined
        if repeated:
            raise DeviceError(f"function {min(repeated)} is defined by two compiled objects")
        defined |= table.defined
    known = {**memory_functions(), **(externals or {})}
    wanted = frozenset().union(*(table.undefined for table in tables)) - defined - {"_GLOBAL_OFFSET_TABLE_"}
    missing = sorted(wanted - known.keys())
    if missing:
        names = ", ".join(missing[:4]) + (f" and {len(missing) - 4} more" if len(missing) > 4 else "")
        raise DeviceError(
            f"compiled code calls {names}, which nothing here defines",
            help="the target lowered an operation to a library call; give its address in `externals` or avoid it",
        )
    given = {name: known[name] for name in wanted}
    return Loaded(_load(objects, given, frozenset(defined)), wanted)


def _load(objects: Sequence[bytes], externals: Mapping[str, int], defined: frozenset[str]) -> _Code:
    if host_machine() == "x86-64" and fits_here():
        try:
            return load_elf(objects, externals)
        except (Unfit, ValueError, IndexError, OverflowError, struct.error, OSError):
            pass  # LLVM knows more kinds of objects, and says what is wrong with a damaged one
    from .llvm_jit import Engine

    return Engine(objects, externals, defined)
