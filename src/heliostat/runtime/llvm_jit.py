"""LLVM in this process: code from text, its loader for object files of every kind, and what it says of this machine.

Apart from `jit`, so that a start with all its code in the cache need not bring LLVM in.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache

import llvmlite.binding as llvm

from ..diagnostics import CompileError, DeviceError
from .jit import llvm_lock


@cache
def _initialize() -> None:
    with llvm_lock:
        llvm.initialize_native_target()
        llvm.initialize_native_asmprinter()


def host_triple() -> str:
    """LLVM triple of this process."""
    _initialize()
    return str(llvm.get_process_triple())


def host_cpu() -> str:
    """LLVM's name of this machine's CPU."""
    return str(llvm.get_host_cpu_name())


def host_features() -> dict[str, bool]:
    """What LLVM asks a CPU of this kind for, by its names, and whether this one can do it."""
    return {name: bool(on) for name, on in sorted(llvm.get_host_cpu_features().items())}


def compile_text(text: str, *, triple: str | None = None, cpu: str = "", features: str = "", level: int = 2) -> bytes:
    """Object code of LLVM text: code generation only, no optimizing passes over the text.

    Raises CompileError if the text does not parse or verify.
    """
    _initialize()
    with llvm_lock:
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


class Engine:
    """Object files that LLVM has brought into this process; addresses of their functions by name."""

    def __init__(self, objects: Sequence[bytes], externals: Mapping[str, int], defined: frozenset[str]) -> None:
        """`externals`: addresses of all that the objects do not define. Raises DeviceError for what LLVM refuses."""
        _initialize()
        with llvm_lock:
            for name in sorted(externals):
                llvm.add_symbol(name, externals[name])
            triple = host_triple()
            module = llvm.parse_assembly(f'target triple = "{triple}"')
            machine = llvm.Target.from_triple(triple).create_target_machine(jit=True)
            # All sections in one piece of memory, where nothing is called: apart, they can come to lie further from
            # each other than an instruction reaches, in a process that has mapped much (CUDA does), and LLVM then
            # ends it.
            engine = llvm.create_mcjit_compiler(module, machine, use_lmm=True if not externals else None)
            try:
                for data in objects:
                    engine.add_object_file(llvm.ObjectFileRef.from_data(data))
            except RuntimeError as error:
                engine.close()
                raise DeviceError(f"compiled object cannot be loaded: {str(error).strip()}") from None
            engine.finalize_object()
            self.addresses = {name: engine.get_function_address(name) for name in sorted(defined)}
        self._engine = engine

    def detach(self) -> None:
        """Let the code stay in memory until the process ends."""
        self._engine.detach()

    def close(self) -> None:
        """Release the code; no thread may be inside it."""
        with llvm_lock:
            self._engine.close()
