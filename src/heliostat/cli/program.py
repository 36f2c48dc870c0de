"""A `.lum` file as the commands that go on with it want it: checked, its formats known, a function picked."""

from __future__ import annotations

import sys

from heliostat.cli.report import FindingsError, UsageError, open_source, print_findings
from heliostat.ir.graph import Graph
from heliostat.lang.check import Module, check
from heliostat.lang.types import did_you_mean


def load_program(path: str) -> Module:
    """The checked file. Its errors are printed to standard error; then FindingsError is raised."""
    source = open_source(path)
    module = check(source)
    if module.findings:
        print_findings(module.findings, source, sys.stderr)
        raise FindingsError(f"{path} has errors")
    module.register()
    return module


def pick_functions(module: Module, name: str | None) -> list[Graph]:
    """The function of that name, or all where no name is given. Raises UsageError where there is none."""
    path = module.source.path
    if not module.functions:
        raise UsageError(f"{path} declares no function")
    if name is None:
        return list(module.functions.values())
    if name not in module.functions:
        known = ", ".join(module.functions)
        raise UsageError(
            f"{path} has no function `{name}`", help=did_you_mean(name, module.functions) or f"it has {known}"
        )
    return [module.functions[name]]


def pick_function(module: Module, name: str | None) -> Graph:
    """The function of that name, or the only one. Raises UsageError where the choice is not clear."""
    found = pick_functions(module, name)
    if len(found) > 1:
        raise UsageError(
            f"{module.source.path} has {len(found)} functions", help=f"choose by --fn: {', '.join(module.functions)}"
        )
    return found[0]
