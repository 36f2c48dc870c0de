"""Load compiled object files into this process and find their functions.

What is missing or wrong in an object is reported as DeviceError before LLVM's loader, which would end the process,
sees it. Kernels are compiled elsewhere; `compile_text` serves the runtime's own small native parts.
"""

from __future__ import annotations

import atexit
import platform as machine_info
import threading
import weakref
from collections.abc import Mapping, Sequence
from functools import cache

import llvmlite
import llvmlite.binding as llvm

from ..diagnostics import CompileError, DeviceError
from .object_symbols import read_symbols
from .platform import memory_functions

# LLVM's process-wide tables (targets, added symbols) are not locked by themselves.
_lock = threading.RLock()

COMPILER_VERSION = f"llvmlite {llvmlite.__version__}, LLVM {'.'.join(map(str, llvm.llvm_version_info))}"


@cache
def _initialize() -> None:
    with _lock:
        llvm.initialize_native_target()
        llvm.initialize_native_asmprinter()


def host_triple() -> str:
    """LLVM triple of this process."""
    _initialize()
    return str(llvm.get_process_triple())


@cache
def host_machine() -> str:
    """ "x86-64", "aarch64", or the system's own name of another machine."""
    name = machine_info.machine().lower()
    return {"amd64": "x86-64", "x86_64": "x86-64", "arm64": "aarch64"}.get(name, name)


def compile_text(text: str, *, triple: str | None = None, cpu: str = "", features: str = "", level: int = 2) -> bytes:
    """Object code of LLVM text: code generation only, no optimizing passes over the text.

    Raises CompileError if the text does not parse or verify.
    """
    _initialize()
    with _lock:
        try:
            module = llvm.parse_assembly(text)
            module.verify()
            target = llvm.Target.from_triple(triple or host_triple())
        except RuntimeError as error:
            raise CompileError(f"LLVM refuses the text: {str(error).strip()}") from None
        machine = target.create_target_machine(
            cpu=cpu, features=features, opt=level, reloc="pic", codemodel="small", jit=False
        )
        return bytes(machine.emit_object(module))


# A daemon thread may still run kernels while the interpreter shuts down: from then on no code is released.
_alive: weakref.WeakSet[Loaded] = weakref.WeakSet()


@atexit.register
def _keep_all() -> None:
    for loaded in list(_alive):
        loaded.keep()


class Loaded:
    """Object code in this process. Addresses are valid until `close`, or until this object is collected."""

    def __init__(self, engine: llvm.ExecutionEngine, addresses: Mapping[str, int], externals: frozenset[str]) -> None:
        self._engine: llvm.ExecutionEngine | None = engine
        self._addresses = dict(addresses)
        _alive.add(self)
        self.externals = externals
        """Names outside of the objects that the code was bound to (`memcpy`, say)."""

    @property
    def addresses(self) -> Mapping[str, int]:
        """Address of every function, by name. Empty after `close`."""
        return self._addresses

    def __getitem__(self, name: str) -> int:
        """Address of a function. Raises DeviceError if there is none of that name."""
        if self._engine is None:
            raise DeviceError(f"function {name} was asked for after its code was released")
        try:
            return self._addresses[name]
        except KeyError:
            raise DeviceError(f"compiled code has no function {name}") from None

    def __contains__(self, name: str) -> bool:
        return name in self._addresses

    def keep(self) -> None:
        """Let the code stay in memory until the process ends, even after this object is gone."""
        if self._engine is not None:
            self._engine.detach()

    def close(self) -> None:
        """Release the code; no thread may be inside it. A second call does nothing."""
        engine, self._engine = self._engine, None
        self._addresses.clear()
        if engine is not None:
            with _lock:
                engine.close()

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
    _initialize()
    with _lock:
        for name in sorted(wanted):
            llvm.add_symbol(name, known[name])
        triple = host_triple()
        module = llvm.parse_assembly(f'target triple = "{triple}"')
        machine = llvm.Target.from_triple(triple).create_target_machine(jit=True)
        # All sections in one piece of memory, where nothing is called: apart, they can come to lie further from each
        # other than an instruction reaches, in a process that has mapped much (CUDA does), and LLVM then ends it.
        alone = not any(table.undefined - {"_GLOBAL_OFFSET_TABLE_"} for table in tables)
        engine = llvm.create_mcjit_compiler(module, machine, use_lmm=True if alone else None)
        try:
            for data in objects:
                engine.add_object_file(llvm.ObjectFileRef.from_data(data))
        except RuntimeError as error:
            engine.close()
            raise DeviceError(f"compiled object cannot be loaded: {str(error).strip()}") from None
        engine.finalize_object()
        addresses = {name: engine.get_function_address(name) for name in sorted(defined)}
    return Loaded(engine, addresses, wanted)
