"""`heliostat compile`: what becomes of a function at each stage, from graph to machine code."""

from __future__ import annotations

import argparse
import importlib
from pathlib import Path
from types import ModuleType

from heliostat.cli.program import load_program, pick_functions
from heliostat.diagnostics import UnsupportedError

STAGES = ("graph", "kernel", "c", "llvm", "asm")
TARGETS = ("x86-64", "aarch64", "host")


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
        parts = [str(graph) for graph in graphs]
    else:
        driver = compiler_driver(f"--emit {args.emit}")
        parts = [driver.emit(graph, args.emit, args.target) for graph in graphs]
    text = "\n\n".join(part.rstrip("\n") for part in parts) + "\n"
    if args.output is not None:
        Path(args.output).write_text(text, encoding="utf-8")
    else:
        print(text, end="")
    if args.explain:
        driver = compiler_driver("--explain")
        for graph in graphs:
            print(driver.explain(graph, args.target).rstrip("\n"))
    return 0


def compiler_driver(purpose: str) -> ModuleType:
    """The compiler's driver, imported only when a stage behind the graph is asked for. Raises UnsupportedError."""
    try:
        return importlib.import_module("heliostat.compiler.driver")
    except ModuleNotFoundError as error:
        if error.name is None or not error.name.startswith("heliostat.compiler"):
            raise
        raise UnsupportedError(f"{purpose} needs the compiler, which this build does not have") from None
