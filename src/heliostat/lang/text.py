"""The syntax tree as text: an indented outline for people, JSON for programs, and `.lum` source again.

`parse(source_text(tree))` gives an equal tree.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import fields
from typing import Any

from heliostat.lang import ast
from heliostat.lang.parse import COMPARISONS, MINUS_PRECEDENCE, NOT_PRECEDENCE, PRECEDENCE
from heliostat.lang.source import Source

_POSTFIX_PRECEDENCE = 9


def outline(node: ast.Node, source: Source) -> str:
    """One line a node, children indented; types and bounds on the line of what has them."""
    return "\n".join(_lines(node, source, 0, ""))


def _lines(node: ast.Node, source: Source, depth: int, role: str) -> Iterator[str]:
    head = type(node).__name__
    line, column = source.position(node.start)
    words: list[str] = []
    children: list[tuple[str, ast.Node]] = []
    for field in fields(node)[2:]:
        value = getattr(node, field.name)
        if field.name == "sign" or (value is None and not isinstance(node, ast.Literal)):
            continue
        if field.name == "broken" and not value:
            continue
        if isinstance(value, (ast.Identifier, ast.TypeExpr)) or field.name == "names":
            one = value if isinstance(value, tuple) else (value,)
            words.append(", ".join(_type(v) if isinstance(v, ast.TypeExpr) else v.name for v in one))
        elif isinstance(value, ast.Node):
            children.append((field.name, value))
        elif isinstance(value, tuple):
            children += [("", item) for item in value]
        elif isinstance(node, ast.Literal):
            words.append(_literal(value))
        elif field.name in ("op", "name"):
            words.append(value)
        else:
            words.append(f"{field.name}={value}")
    prefix = f"{role}: " if role in ("first", "stop", "step", "table") else ""
    yield f"{'  ' * depth}{prefix}{' '.join([head, *words])}  @{line}:{column}"
    for role_, child in children:
        yield from _lines(child, source, depth + 1, role_)


def to_json(node: ast.Node, source: Source) -> dict[str, Any]:
    """The tree as plain data: `kind`, `at` as [line, column, end line, end column], and the node's own fields."""
    out: dict[str, Any] = {
        "kind": type(node).__name__,
        "at": [*source.position(node.start), *source.position(max(node.start, node.end))],
    }
    for field in fields(node)[2:]:
        value = getattr(node, field.name)
        if field.name == "sign":
            continue
        if isinstance(value, ast.Node):
            out[field.name] = value.name if isinstance(value, ast.Identifier) else to_json(value, source)
        elif isinstance(value, tuple):
            out[field.name] = [v.name if isinstance(v, ast.Identifier) else to_json(v, source) for v in value]
        elif isinstance(value, float) and not math.isfinite(value):
            out[field.name] = str(value)  # JSON has neither infinity nor NaN
        else:
            out[field.name] = value
    return out


def source_text(node: ast.File) -> str:
    """`.lum` source that says the same; comments and spacing are not kept. The tree must hold no error."""
    return "\n\n".join(_declaration(d) for d in node.declarations) + ("\n" if node.declarations else "")


def _declaration(node: ast.Declaration) -> str:
    if isinstance(node, ast.Function):
        shapes = f"<{', '.join(_shape_parameter(s) for s in node.shapes)}>" if node.shapes else ""
        parameters = ", ".join(f"{p.name.name}: {_type(p.type)}" for p in node.parameters)
        body = "".join(f"  {_statement(s)}\n" for s in node.body)
        return f"fn {node.name.name}{shapes}({parameters}) -> {_type(node.result)} {{\n{body}}}"
    assert isinstance(node, ast.Format)
    rows = [f"block {expression_text(node.block)};"] if node.block is not None else []
    rows += [_field(f) for f in node.fields]
    rows += [f"value = {expression_text(node.value)};"] if node.value is not None else []
    return f"format {node.name.name} {{\n" + "".join(f"  {row}\n" for row in rows) + "}"


def _field(node: ast.FormatField | ast.FormatTable) -> str:
    if isinstance(node, ast.FormatTable):
        return f"{node.name.name}: table {expression_text(node.values)};"
    count = f"[{node.count}]" if node.count is not None else ""
    words = [p.function.name if p.end == p.function.end else expression_text(p) for p in node.packing]
    return " ".join([f"{node.name.name}: {node.type.name}{count}", *words]) + ";"


def _shape_parameter(node: ast.ShapeParameter) -> str:
    lower = f"{node.lower} <= " if node.lower else ""
    upper = f" <= {node.upper}" if node.upper is not None else ""
    return f"{lower}{node.name.name}{upper}"


def _statement(node: ast.Statement) -> str:
    if isinstance(node, ast.Let):
        names = ", ".join(n.name for n in node.names)
        target = f"({names})" if len(node.names) > 1 else names
        annotation = f": {_type(node.type)}" if node.type is not None else ""
        return f"let {target}{annotation} = {expression_text(node.value)};"
    assert isinstance(node, ast.Return)
    return f"return {expression_text(node.value)};"


def _type(node: ast.TypeExpr) -> str:
    if isinstance(node, ast.TensorTypeExpr):
        return f"tensor<{node.element.name}, [{', '.join(map(expression_text, node.shape))}]>"
    if isinstance(node, ast.TupleTypeExpr):
        return f"({', '.join(map(_type, node.items))})"
    return "<error>"


def _literal(value: float | bool | str | None) -> str:
    if value is None:
        return "none"
    if isinstance(value, str):
        escaped = value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n").replace("\t", "\\t")
        return f'"{escaped}"'
    return str(value).lower()


def expression_text(node: ast.Expr) -> str:
    """An expression as source, with no more parentheses than it needs."""
    return _expression(node, 0)


def _expression(node: ast.Expr, minimum: int) -> str:
    text, power = _with_precedence(node)
    return f"({text})" if power < minimum else text


def _with_precedence(node: ast.Expr) -> tuple[str, int]:
    if isinstance(node, ast.Binary):
        power = PRECEDENCE[node.op]
        left = _expression(node.left, power + (node.op == "**" or node.op in COMPARISONS))
        right = _expression(node.right, power + (node.op != "**"))
        return f"{left} {node.op} {right}", power
    if isinstance(node, ast.Unary):
        power = MINUS_PRECEDENCE if node.op == "-" else NOT_PRECEDENCE
        return f"{node.op}{' ' * (node.op == 'not')}{_expression(node.operand, power)}", power
    if isinstance(node, ast.Call):
        arguments = [*map(expression_text, node.arguments)]
        arguments += [f"{k.name.name}={expression_text(k.value)}" for k in node.keywords]
        return f"{node.function.name}({', '.join(arguments)})", _POSTFIX_PRECEDENCE
    if isinstance(node, ast.Index):
        items = ", ".join(_slice(i) if isinstance(i, ast.Slice) else expression_text(i) for i in node.items)
        return f"{_expression(node.value, _POSTFIX_PRECEDENCE)}[{items}]", _POSTFIX_PRECEDENCE
    if isinstance(node, ast.ListExpr):
        return f"[{', '.join(map(expression_text, node.items))}]", _POSTFIX_PRECEDENCE
    if isinstance(node, ast.TupleExpr):
        text = ", ".join(map(expression_text, node.items))
        return f"({text})", _POSTFIX_PRECEDENCE
    if isinstance(node, ast.Literal):
        return _literal(node.value), _POSTFIX_PRECEDENCE
    return node.name if isinstance(node, ast.Name) else "<error>", _POSTFIX_PRECEDENCE


def _slice(node: ast.Slice) -> str:
    parts = [expression_text(p) if p is not None else "" for p in (node.first, node.stop, node.step)]
    return ":".join(parts if node.step is not None else parts[:2])
