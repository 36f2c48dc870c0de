"""Compiles LLVM IR text to object code or assembly through llvmlite: text in, bytes out."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache

import llvmlite
import llvmlite.binding as llvm

from ..diagnostics import CompileError
from .target import Target


@lru_cache(maxsize=1)
def _initialise() -> None:
    llvm.initialize_all_targets()
    llvm.initialize_all_asmprinters()


def version() -> str:
    """The version of LLVM and of the printer: part of every cache key."""
    return f"llvm {'.'.join(map(str, llvm.llvm_version_info))} llvmlite {llvmlite.__version__} printer 8"


@lru_cache(maxsize=8)
def _machine(target: Target, opt: int) -> llvm.TargetMachine:
    """LLVM's of a target, kept: each derives anew what its CPU can do, a tenth of the time of a small kernel."""
    _initialise()
    return llvm.Target.from_triple(target.triple).create_target_machine(
        cpu=target.cpu, features=target.feature_string, opt=opt, reloc="pic", codemodel="default"
    )


@contextmanager
def _parsed(text: str, blame: str, help: str | None = None) -> Iterator[llvm.ModuleRef]:
    """A verified module of some text, closed in order: a module that outlives its context would end the process."""
    context = llvm.create_context()
    module = None
    try:
        try:
            module = llvm.parse_assembly(text, context)
            module.verify()
        except RuntimeError as error:
            raise CompileError(f"{blame}: {' '.join(str(error).split())}", help=help) from None
        yield module
    finally:
        if module is not None:
            module.close()
        context.close()


def _run_passes(module: llvm.ModuleRef, machine: llvm.TargetMachine, target: Target) -> None:
    """For CPUs: ranges of loop counters first, which make masks that are always full go away, then LLVM's passes of a
    function at level 1. All passes of level 2 leave inner loops of the same length and take longer
    (docs/performance.md); GPUs, where that was not measured, keep them.
    """
    # Schedules unroll and vectorise themselves; LLVM's own attempts cost time and disturb the register blocking.
    tuning = llvm.PipelineTuningOptions(speed_level=2 if target.gpu else 1)
    tuning.loop_unrolling = tuning.loop_vectorization = False
    tuning.slp_vectorization = tuning.loop_interleaving = False
    with llvm.create_pass_builder(machine, tuning) as builder:
        if target.gpu:
            with builder.getModulePassManager() as every:
                every.run(module, builder)
            return
        with llvm.create_new_module_pass_manager() as ranges:
            ranges.add_sroa_pass()
            ranges.add_ipsccp_pass()
            ranges.add_simplify_cfg_pass()
            ranges.run(module, builder)
        with builder.getFunctionPassManager() as simplify:
            for function in module.functions:
                if not function.is_declaration:
                    simplify.run(function, builder)


@contextmanager
def _optimised(text: str, target: Target, opt: int) -> Iterator[tuple[llvm.ModuleRef, llvm.TargetMachine]]:
    machine = _machine(target, opt)
    with _parsed(text, "the generated LLVM IR is not valid", "this is a bug in Heliostat") as module:
        module.data_layout = str(machine.target_data)
        _run_passes(module, machine, target)
        yield module, machine


def check_function(text: str, name: str, path: str) -> None:
    """Check that edited LLVM text defines the kernel `name`. Raises CompileError that starts with `path`."""
    with _parsed(text, f"{path}: not valid LLVM IR") as module:
        heads = [str(f).split("{")[0] for f in module.functions if f.name == name and not f.is_declaration]
    wanted = rf"(?s).*\bvoid @{re.escape(name)}\(ptr[^,]*, i64[^,]*, i64[^,]*\).*"
    if not any(re.fullmatch(wanted, head) for head in heads):
        raise CompileError(
            f"{path}: does not hold the kernel's function", help=f"it must have define void @{name}(ptr, i64, i64)"
        )


def emit_object(text: str, target: Target, opt: int = 3) -> bytes:
    """Compile LLVM IR text to an object file for the target. Raises CompileError for text that LLVM refuses."""
    with _optimised(text, target, opt) as (module, machine):
        return bytes(machine.emit_object(module))


def emit_assembly(text: str, target: Target, opt: int = 3) -> str:
    """Compile LLVM IR text to assembly for the target."""
    with _optimised(text, target, opt) as (module, machine):
        return str(machine.emit_assembly(module))
