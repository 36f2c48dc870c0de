"""What HELIOSTAT_DEBUG, HELIOSTAT_DUMP and HELIOSTAT_OVERRIDE do: stages of compilation printed, written and replaced.

The stages are `graph` (what came in), `fuse` (the graph after all passes, and what was joined to what), and for every
kernel `kernel`, `llvm` and `asm`. A dump is a file, such as `007-linear_q8_0_896x896.kernel`; edited, it replaces the
stage when its directory is the override (the number does not matter). Replaced are `graph`, `kernel` and `llvm`: what
`fuse` and `asm` show is for reading. A replacement is checked as far as that goes: a graph must have the same
parameters, results and updates, a kernel the same parameters; text of LLVM must parse and verify.
"""

from __future__ import annotations

import itertools
import os
import re
import sys
import tempfile
from pathlib import Path

from .. import ops
from ..compiler import pipeline
from ..compiler.driver import explain
from ..compiler.pipeline import Compiled, KernelLibrary, Options
from ..diagnostics import CompileError
from ..ir.graph import Graph
from ..ir.text import parse_graph, print_graph
from ..ir.verify import verify as verify_graph
from ..kernel.ir import Kernel
from ..kernel.text import print_kernel
from ..kernel.text_parser import parse_kernel
from ..kernel.verify import verify as verify_kernel
from ..settings import settings
from ..targets.llvm_compile import check_function, emit_assembly
from ..targets.target import Target

STAGES = ("graph", "fuse", "kernel", "llvm", "asm")
_numbers = itertools.count(1)


def compile_graph(graph: Graph, target: Target, options: Options, library: KernelLibrary) -> Compiled:
    """`pipeline.compile_graph` with the stages that the settings ask for. Raises CompileError."""
    _check_names()
    _show("graph", graph.name, lambda: print_graph(graph))
    edited = _replacement(graph.name, "graph")
    if edited is not None:
        graph = _same_graph(parse_graph(edited[1], ops.get, path=str(edited[0])), graph, edited[0])
    compiled = pipeline.compile_graph(graph, target, options, library)
    if compiled.graph is not None:
        _show("fuse", graph.name, lambda: f"{print_graph(compiled.graph)}\n{_commented(explain(compiled))}")
    return compiled


def replaced_kernel(kernel: Kernel) -> Kernel:
    """The kernel, or what the override has in its place."""
    _show("kernel", kernel.name, lambda: print_kernel(kernel))
    edited = _replacement(kernel.name, "kernel")
    if edited is None:
        return kernel
    other = parse_kernel(edited[1], str(edited[0]))
    verify_kernel(other)
    if (other.name, other.parameters) != (kernel.name, kernel.parameters):
        raise CompileError(f"{edited[0]}: the name and parameters of kernel {kernel.name} must stay as they are")
    return other


def replaced_llvm(kernel: Kernel, text: str, target: Target) -> str:
    """The LLVM text of a kernel, or what the override has in its place."""
    _show("llvm", kernel.name, lambda: text)
    edited = _replacement(kernel.name, "llvm")
    if edited is not None:
        text = edited[1]
        check_function(text, kernel.name, str(edited[0]))
    _show("asm", kernel.name, lambda: emit_assembly(text, target))
    return text


def override_key(name: str) -> str:
    """What a cached object of a kernel also depends on: the text of LLVM that replaces it."""
    edited = _replacement(name, "llvm")
    return "" if edited is None else edited[1]


def wants_code() -> bool:
    """Whether LLVM or assembly is to be shown: then objects are made anew, as the cache has no text."""
    now = settings()
    return now.dump is not None or bool(now.debug.stages & {"llvm", "asm"})


def _check_names() -> None:
    unknown = sorted(settings().debug.stages - set(STAGES))
    if unknown:
        raise CompileError(f"HELIOSTAT_DEBUG names no stage {unknown[0]!r}", help=f"stages: {', '.join(STAGES)}")


def _show(stage: str, name: str, text: object) -> None:
    now = settings()
    if stage not in now.debug.stages and now.dump is None:
        return
    shown = text()  # type: ignore[operator]
    if stage in now.debug.stages:
        print(f"--- {stage} {name}\n{shown.rstrip()}", file=sys.stderr)
    if now.dump is not None:
        _write(now.dump, f"{next(_numbers):03d}-{_file_name(name)}.{stage}", shown)


def _write(directory: Path, name: str, text: str) -> None:
    """Whole or not at all. Raises CompileError."""
    try:
        directory.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(prefix=f".{name}.", dir=directory)
        try:
            with os.fdopen(handle, "w", encoding="utf-8") as file:
                file.write(text)
            Path(temporary).replace(directory / name)
        except BaseException:
            Path(temporary).unlink(missing_ok=True)
            raise
    except OSError as error:
        raise CompileError(f"HELIOSTAT_DUMP={directory}: {error.strerror or error}") from None


def _replacement(name: str, stage: str) -> tuple[Path, str] | None:
    """The newest file of the override for a stage: `NAME.STAGE`, with or without a number before it."""
    directory = settings().override
    if directory is None:
        return None
    if not directory.is_dir():
        raise CompileError(f"HELIOSTAT_OVERRIDE={directory} is not a directory")
    ending = f"{_file_name(name)}.{stage}"
    found = [p for p in directory.iterdir() if p.name == ending or re.fullmatch(r"\d{3,}-" + re.escape(ending), p.name)]
    if not found:
        return None
    path = max(found, key=lambda p: (p.stat().st_mtime, p.name))
    try:
        return path, path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise CompileError(f"{path}: cannot be read: {error}") from None


def _file_name(name: str) -> str:
    return re.sub(r"[^\w.-]", "_", name)


def _commented(text: str) -> str:
    return "".join(f"// {line}\n" for line in text.splitlines())


def _same_graph(found: Graph, wanted: Graph, path: Path) -> Graph:
    verify_graph(found)

    def shape(graph: Graph) -> object:
        return (
            [(p.node.attrs["name"], p.kind, p.type) for p in graph.parameters],
            [v.type for v in graph.outputs],
            [(old.node.attrs["name"], new.type) for old, new in graph.updates],
        )

    if shape(found) != shape(wanted):
        raise CompileError(f"{path}: parameters, results and updates of graph {wanted.name} must stay as they are")
    return found
