"""The checker: a source text to a `Module` of graphs, and every error in it.

Here are the declarations: names, signatures, formats, and who calls whom. Bodies are typed while they are lowered
(`lower.py`), by the type rules of the ops themselves, so that a checked function is a graph.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields

from heliostat.diagnostics import Diagnostic
from heliostat.ir.graph import Graph
from heliostat.ir.types import dim
from heliostat.lang import ast
from heliostat.lang.calls import is_op
from heliostat.lang.findings import Findings
from heliostat.lang.formats import declared_format
from heliostat.lang.lower import Function, Lowering
from heliostat.lang.parse import parse
from heliostat.lang.source import Source
from heliostat.lang.types import Types
from heliostat.quant.format import BlockFormat
from heliostat.quant.formats import register


@dataclass(frozen=True)
class Module:
    """A checked file. `functions` and `formats` hold what has no error, `findings` every error in order."""

    source: Source
    tree: ast.File
    functions: Mapping[str, Graph]
    formats: Mapping[str, BlockFormat]
    findings: tuple[Diagnostic, ...]

    def register(self) -> None:
        """Make the file's formats known to the whole process, by name, as a graph's text form needs it.
        Raises FormatError where another format of a name is known already."""
        for format_ in self.formats.values():
            register(format_)


def check(source: Source) -> Module:
    """Parse and type-check `source`. Never raises for what the text holds: that is in `findings`."""
    tree, errors = parse(source)
    findings = Findings(source, errors)
    unique = _unique(tree, findings)
    formats: dict[str, BlockFormat] = {}
    for node in unique.values():
        if isinstance(node, ast.Format):
            made = declared_format(node, findings)
            if made is not None:
                formats[node.name.name.lower()] = made
    broken = {n.name.name.lower() for n in unique.values() if isinstance(n, ast.Format)} - formats.keys()
    types = Types(findings, formats, broken)
    functions = {n.name.name: _signature(n, types, findings) for n in unique.values() if isinstance(n, ast.Function)}
    lowering = Lowering(types, functions, findings)
    for name in _callees_first(functions, findings):
        lowering.function(functions[name])
    graphs = {name: f.graph for name, f in functions.items() if f.graph is not None and not f.broken}
    return Module(source, tree, graphs, formats, findings.sorted())


def _unique(tree: ast.File, findings: Findings) -> dict[str, ast.Declaration]:
    """The declarations by kind and name; the first of each counts."""
    found: dict[str, ast.Declaration] = {}
    for node in tree.declarations:
        word = "fn" if isinstance(node, ast.Function) else "format"
        name = node.name.name if word == "fn" else node.name.name.lower()
        before = found.setdefault(f"{word} {name}", node)
        if before is not node:
            line, column = findings.source.position(before.name.start)
            findings.report(
                node.name, f"`{node.name.name}` is declared twice", help=f"the first declaration is at {line}:{column}"
            )
    return found


def _signature(node: ast.Function, types: Types, findings: Findings) -> Function:
    """Parameters and results of a function. Something wrong there leaves it `broken`, and that type None."""
    before = len(findings.all)
    symbols = types.symbols(node.shapes)
    names: dict[str, object] = {name: dim(symbol) for name, symbol in symbols.items()}
    parameters = [types.tensor(p.type, names) for p in node.parameters]
    taken: dict[str, ast.Identifier] = {s.name.name: s.name for s in node.shapes}
    for p in node.parameters:
        if p.name.name in taken:
            line, column = findings.source.position(taken[p.name.name].start)
            findings.report(
                p.name, f"`{p.name.name}` is declared twice", help=f"the first declaration is at {line}:{column}"
            )
        taken.setdefault(p.name.name, p.name)
    result = node.result
    items = result.items if isinstance(result, ast.TupleTypeExpr) else (result,)
    results = [types.tensor(item, names) for item in items]
    broken = len(findings.all) > before or None in parameters or None in results
    return Function(node, symbols, tuple(parameters), tuple(results), broken)


def _calls(node: object) -> Iterator[ast.Call]:
    """The calls in a part of the tree, in the order of the text."""
    if isinstance(node, tuple):
        for item in node:
            yield from _calls(item)
    elif isinstance(node, ast.Node):
        if isinstance(node, ast.Call):
            yield node
        for field in fields(node):
            yield from _calls(getattr(node, field.name))


def _callees_first(functions: Mapping[str, Function], findings: Findings) -> list[str]:
    """The functions such that each stands behind those it calls. Recursion is reported once for each cycle, and all
    functions of the cycle are `broken`."""
    calls = {name: [c for c in _calls(f.node.body) if c.function.name in functions] for name, f in functions.items()}
    order: list[str] = []
    done: set[str] = set()
    for root in functions:
        if root in done:
            continue
        path = {root: 0}  # a dict for its order: the functions between root and here
        stack = [(root, iter(calls[root]))]
        while stack:
            name, rest = stack[-1]
            call = next(rest, None)
            if call is None:
                stack.pop()
                del path[name]
                done.add(name)
                order.append(name)
                continue
            callee = call.function.name
            if callee in path:
                _report_cycle([*list(path)[path[callee] :], callee], call, functions, findings)
            elif callee not in done:
                path[callee] = len(path)
                stack.append((callee, iter(calls[callee])))
    return order


def _report_cycle(cycle: list[str], call: ast.Call, functions: Mapping[str, Function], findings: Findings) -> None:
    for name in cycle:
        functions[name].broken = functions[name].cyclic = True
    shown = cycle if len(cycle) <= 8 else [*cycle[:4], "...", *cycle[-3:]]
    help = "functions are inlined, so none may call itself"
    if len(cycle) == 2 and is_op(cycle[0]):
        help = f"this file's `{cycle[0]}` hides the op of that name: rename it to call the op"
    findings.report(call.function, f"`{cycle[0]}` calls itself: {' -> '.join(shown)}", help=help)
