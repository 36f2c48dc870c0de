"""What the command line shows of the compiler: each stage of a graph as text, and the fusion report."""

from __future__ import annotations

from collections.abc import Sequence

from ..diagnostics import UnsupportedError
from ..ir.graph import Graph
from ..ir.text import print_graph
from ..kernel.text import print_kernel
from ..targets.c import print_c
from ..targets.llvm import print_llvm
from ..targets.llvm_compile import emit_assembly
from ..targets.nvptx_module import print_nvptx, single
from ..targets.target import Target
from .pipeline import Compiled, KernelLibrary, Options, compile_graph

STAGES = ("graph", "kernel", "c", "llvm", "asm")


def emit(graphs: Sequence[Graph], stage: str, target: Target) -> str:
    """The text of a stage: graph, kernel, c, llvm or asm. Functions share kernels, and are one module of C or LLVM."""
    if stage == "graph":
        return "\n\n".join(print_graph(graph).rstrip("\n") for graph in graphs) + "\n"
    if stage not in STAGES:
        raise UnsupportedError(f"there is no stage {stage!r}", help=f"stages: {', '.join(STAGES)}")
    library = KernelLibrary()
    every = [compile_graph(graph, target, Options(), library) for graph in graphs]
    kernels = [k for compiled in every for p in (*compiled.loads.values(), compiled.program) for k in p.kernels]
    kernels = list({id(k): k for k in kernels}.values())
    if stage == "kernel":
        return "\n".join(print_kernel(k) for k in kernels)
    if stage == "c":
        return print_c(kernels)
    text = print_nvptx([single(k) for k in kernels], target) if target.gpu else print_llvm(kernels, target)
    return text if stage == "llvm" else emit_assembly(text, target)


def explain(compiled: Compiled) -> str:
    """Which kernels a step has, what each is made of, and why neighbours were not joined. Equal ones are shown once."""
    lines: list[str] = []
    program = compiled.program
    barriers = sum(launch.barrier for launch in program.launches)
    lines.append(
        f"{program.name}: {len(program.launches)} launches of {len(program.kernels)} kernels, {barriers} barriers, "
        f"arena {program.arena_nbytes / 1e6:.1f} MB"
    )
    counts: dict[str, int] = {}
    for row in program.report:
        counts[row["kernel"]] = counts.get(row["kernel"], 0) + 1
    shown: set[str] = set()
    for row in program.report:
        if row["kernel"] in shown:
            continue
        shown.add(row["kernel"])
        lines.append(f"  {row['kernel']}  x{counts[row['kernel']]}: {' + '.join(row['ops'])}")
        lines += [f"      {note}" for note in dict.fromkeys(row["notes"]) if " joins " not in note]
    loads: dict[str, list[str]] = {}
    for name, load in compiled.loads.items():
        loads.setdefault(" + ".join(k.name for k in load.kernels), []).append(name)
    for kernels, names in loads.items():
        more = f" and {len(names) - 1} more" if len(names) > 1 else ""
        lines.append(f"  once, when loading: {kernels}  x{len(names)}: {names[0]}{more}")
    return "\n".join(lines)
