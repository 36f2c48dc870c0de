"""`heliostat compile`: what becomes of a function at each stage, from graph to machine code."""

from __future__ import annotations

import argparse
from pathlib import Path

from heliostat.cli.program import load_program, pick_functions
from heliostat.ir.graph import Graph
from heliostat.targets.target import NAMED, Target

STAGES = ("graph", "kernel", "c", "llvm", "asm")
TARGETS = (*NAMED, "host")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("file", metavar="F.lum", help="the source; `-` reads standard input")
    parser.add_argument("--emit", choices=STAGES, default="graph", help="the stage to print (default: graph)")
    parser.add_argument("--fn", metavar="NAME", help="the function (default: all of the file)")
    parser.add_argument("--target", choices=TARGETS, default="host", help="the machine to compile for (default: host)")
    parser.add_argument("-o", "--output", metavar="FILE", help="write the stage to FILE instead of printing it")
    parser.add_argument("--explain", action="store_true", help="print what was fused, what was not, and why")


def run(args: argparse.Namespace) -> int:
    graphs = pick_functions(load_program(args.file), args.fn)
    if args.emit == "graph":
        text = "\n\n".join(str(graph).rstrip("\n") for graph in graphs) + "\n"
    else:
        from heliostat.compiler import driver  # and all of LLVM with it, which the graph does not need

        text = driver.emit(graphs, args.emit, named_target(args.target)).rstrip("\n") + "\n"
    if args.output is not None:
        Path(args.output).write_text(text, encoding="utf-8")
    else:
        print(text, end="")
    if args.explain:
        for graph in graphs:
            print(_explanation(graph, named_target(args.target)))
    return 0


def _explanation(graph: Graph, target: Target) -> str:
    from heliostat.compiler import driver, pipeline

    return driver.explain(pipeline.compile_graph(graph, target)).rstrip("\n")


def named_target(name: str) -> Target:
    """The target of that name; `host` is this machine. Raises UnsupportedError if that cannot run kernels."""
    if name in NAMED:
        return NAMED[name]
    from heliostat.session import host_target

    return host_target()
