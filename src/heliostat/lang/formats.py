"""`format` declarations to block formats: the fields, the packing words and the value rule.

What a field may be is the business of `quant/spec.py`; here its refusals get places in the text.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping

from heliostat.diagnostics import FormatError
from heliostat.ir.types import Element, elements
from heliostat.lang import ast
from heliostat.lang.findings import Findings
from heliostat.lang.source import Located
from heliostat.lang.types import did_you_mean
from heliostat.quant.algebra import Binary, Expr, Lookup, Negate, Number, Ref, Table, expression
from heliostat.quant.format import BlockFormat
from heliostat.quant.spec import FieldSpec, Packing

MAX_BLOCK = 4096  # elements of a block: its bits are listed one by one
MAX_TABLE = 65536
MAX_RULE = 64  # nodes of a value rule, and
MAX_DEGREE = 4  # its degree: the algebra expands it


def declared_format(node: ast.Format, findings: Findings) -> BlockFormat | None:
    """The format that `node` declares, or None where it is wrong, which is reported.

    A declaration that says the same as a built-in format of that name gives the built-in one."""
    if node.broken:
        return None
    before = len(findings.all)
    block = _block(node, findings)
    fields: dict[str, ast.FormatField] = {}
    tables: dict[str, Table] = {}
    for field in node.fields:
        if field.name.name in fields or field.name.name in tables:
            findings.report(field.name, f"`{field.name.name}` is declared twice")
        elif isinstance(field, ast.FormatTable):
            tables[field.name.name] = Table(field.name.name, _table(field, findings))
        else:
            fields[field.name.name] = field
    specs = [_spec(f, findings) for f in fields.values()]
    if not fields:
        findings.report(node.name, f"the format `{node.name.name}` has no fields", help="such as `q: u4[32];`")
    if node.value is None:
        findings.report(
            node.name,
            f"the format `{node.name.name}` does not say what an element is worth",
            help="end it with a rule such as `value = d * (q - 8);`",
        )
        return None
    value = _Rule(fields, tables, findings).rule(node.value)
    if len(findings.all) > before or value is None or block is None:
        return None
    return _make(node, block, specs, value, fields, findings)


def _make(
    node: ast.Format,
    block: int,
    specs: list[FieldSpec],
    value: Expr,
    fields: Mapping[str, ast.FormatField],
    findings: Findings,
) -> BlockFormat | None:
    name = node.name.name
    try:
        made = BlockFormat.from_fields(name, block, specs, value)
        known = _known(name)
        if known is None:
            return made
        if isinstance(known, BlockFormat) and BlockFormat.from_fields(known.name, block, specs, value) == known:
            return known
        findings.report(
            node.name, f"`{name}` is a built-in element type", help="give the format another name, such as `my_format`"
        )
    except FormatError as error:
        message = re.sub(rf"^format {re.escape(name)}: ", "", error.message)
        place: Located = node.name
        told = re.match(r"field (\w+): ", message)
        if told is not None and told[1] in fields:
            place, message = fields[told[1]], message[told.end() :]
        findings.report(place, message, help=error.help)
    return None


def _known(name: str) -> Element | None:
    return next((e for e in elements() if e.name.lower() == name.lower()), None)


def _block(node: ast.Format, findings: Findings) -> int | None:
    if node.block is None:
        findings.report(
            node.name,
            f"the format `{node.name.name}` does not say how many elements a block has",
            help="begin it with `block 32;`",
        )
        return None
    block = node.block.value
    assert isinstance(block, int)
    if not 1 <= block <= MAX_BLOCK:
        findings.report(node.block, f"a block has 1 to {MAX_BLOCK} elements, not {block}")
        return None
    return block


def _table(node: ast.FormatTable, findings: Findings) -> tuple[int | float, ...]:
    values: list[int | float] = []
    for item in node.values.items[:MAX_TABLE]:
        number = _number(item)
        if number is None:
            findings.report(item, "a table holds numbers")
        else:
            values.append(number)
    if not node.values.items or len(node.values.items) > MAX_TABLE:
        findings.report(node.values, f"a table has 1 to {MAX_TABLE} entries, not {len(node.values.items)}")
    return tuple(values)


def _number(node: ast.Expr) -> int | float | None:
    """The number that a literal or its negative is."""
    if isinstance(node, ast.Unary) and node.op == "-":
        operand = _number(node.operand)
        return None if operand is None else -operand
    if isinstance(node, ast.Literal) and isinstance(node.value, (int, float)) and not isinstance(node.value, bool):
        return node.value if math.isfinite(node.value) else None
    return None


def _spec(field: ast.FormatField, findings: Findings) -> FieldSpec:
    if field.count is not None and not 1 <= field.count <= MAX_BLOCK:
        findings.report(field, f"a field has 1 to {MAX_BLOCK} values in a block, not {field.count}")
    packing: list[Packing] = []
    for word in field.packing:
        places = word.function.name != "quantize"
        args = tuple(_argument(a, places, findings) for a in word.arguments)
        named = tuple((k.name.name, _argument(k.value, places, findings)) for k in word.keywords)
        packing.append(Packing(word.function.name, args, named))
    return FieldSpec(field.name.name, field.type.name, field.count, tuple(packing))


def _argument(node: ast.Expr, places: bool, findings: Findings) -> int | float | str:
    """An argument of a packing word; `places`: its numbers count bytes, bits or elements of a block."""
    if isinstance(node, ast.Name):
        return node.name
    number = _number(node)
    if number is None:
        findings.report(node, "a packing takes numbers and names")
    elif places and not 0 <= number <= 1 << 20:
        findings.report(node, "this is out of range", help="places in a block are counted in bytes and elements")
    return number or 0


class _Rule:
    """Reads the value rule of a format: `+ - *` of fields, numbers and table entries."""

    def __init__(self, fields: Mapping[str, ast.FormatField], tables: Mapping[str, Table], findings: Findings) -> None:
        self.fields = fields
        self.tables = tables
        self.findings = findings
        self.nodes = 0

    def rule(self, node: ast.Expr) -> Expr | None:
        """The whole rule, if it is not too large to be expanded."""
        tree = self.expression(node)
        if self.nodes > MAX_RULE or (tree is not None and _degree(tree) > MAX_DEGREE):
            self.findings.report(
                node, f"a value rule has at most {MAX_RULE} terms and multiplies at most {MAX_DEGREE} fields"
            )
            return None
        return tree

    def expression(self, node: ast.Expr) -> Expr | None:
        """The rule as a tree of the formats' algebra, or None where it is wrong, which is reported."""
        self.nodes += 1
        if self.nodes > MAX_RULE:
            return None
        number = _number(node) if isinstance(node, ast.Literal) else None
        if number is not None:
            return Number(number)
        if isinstance(node, ast.Name):
            return self.name(node)
        if isinstance(node, ast.Unary) and node.op == "-":
            operand = self.expression(node.operand)
            return None if operand is None else Negate(operand)
        if isinstance(node, ast.Binary):
            return self.binary(node)
        if isinstance(node, ast.Index):
            return self.lookup(node)
        if not isinstance(node, ast.Bad):
            self.findings.report(node, "a value rule is made of fields, numbers, `+`, `-`, `*` and `table[code]`")
        return None

    def name(self, node: ast.Name) -> Expr | None:
        if node.name in self.fields:
            return Ref(node.name)
        if node.name in self.tables:
            self.findings.report(node, f"`{node.name}` is a table", help=f"look a code up: `{node.name}[q]`")
            return None
        self.findings.report(
            node,
            f"the format has no field `{node.name}`",
            help=did_you_mean(node.name, [*self.fields, *self.tables]) or f"it has {', '.join(self.fields) or 'none'}",
        )
        return None

    def binary(self, node: ast.Binary) -> Expr | None:
        left, right = self.expression(node.left), self.expression(node.right)
        if left is None or right is None:
            return None
        if node.op == "+":
            return left + right
        if node.op == "-":
            return left - right
        if node.op == "*":
            return left * right
        if node.op == "/" and isinstance(right, Number) and right.value:
            inverse = 1 / right.value
            if (inverse * right.value) == 1 and abs(inverse).hex().split("p")[0] == "0x1.0000000000000":
                return left * expression(inverse)  # a power of two: the product is exact
        help = "multiply by a constant instead, such as `0.25 * d`" if node.op == "/" else None
        self.findings.report(node, f"a value rule has no `{node.op}`: only `+`, `-` and `*`", help=help)
        return None

    def lookup(self, node: ast.Index) -> Expr | None:
        table = self.tables.get(node.value.name) if isinstance(node.value, ast.Name) else None
        if table is None:
            self.findings.report(
                node.value,
                "only a table can be indexed",
                help="declare one: `levels: table [-1, 0, 1, 2];`"
                if not self.tables
                else did_you_mean(getattr(node.value, "name", ""), self.tables),
            )
            return None
        item = node.items[0]
        if len(node.items) != 1 or isinstance(item, ast.Slice):
            self.findings.report(node, "a table is looked up by one code", help=f"such as `{table.name}[q]`")
            return None
        index = self.expression(item)
        return None if index is None else table[index]


def _degree(node: Expr) -> int:
    """How many fields and table entries the largest product of a rule has."""
    if isinstance(node, Binary):
        left, right = _degree(node.left), _degree(node.right)
        return left + right if node.op == "*" else max(left, right)
    if isinstance(node, Negate):
        return _degree(node.operand)
    return int(isinstance(node, (Ref, Lookup)))
