"""Type expressions to types: elements by name, dimensions from arithmetic over shape parameters."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping

from heliostat.ir.types import Dim, Element, Symbol, SymbolicDim, TensorType, elements, lower_bound, upper_bound
from heliostat.lang import ast
from heliostat.lang.findings import POISON, Findings
from heliostat.lang.fold import Constant, FoldError, fold_binary, fold_unary

MAX_RANK = 8
MAX_TENSOR = 1 << 63  # bytes


class Types:
    """Resolves the type expressions of one file, with the formats that the file declares."""

    def __init__(self, findings: Findings, formats: Mapping[str, Element], broken: Iterable[str] = ()) -> None:
        """`broken`: formats that the file declares wrongly; their uses are not reported too."""
        self.findings = findings
        self.broken = frozenset(broken)
        self.elements: dict[str, Element] = {e.name.lower(): e for e in elements()} | dict(formats)

    def element(self, name: ast.Identifier) -> Element | None:
        """The element type of that name; None where there is none, which is reported."""
        found = self.elements.get(name.name.lower())
        if found is None and name.name.lower() not in self.broken:
            self.findings.report(
                name, f"there is no element type `{name.name}`", help=did_you_mean(name.name.lower(), self.elements)
            )
        return found

    def symbols(self, parameters: Iterable[ast.ShapeParameter]) -> dict[str, Symbol]:
        """The shape parameters of a function by name. What is wrong with one is reported; it is kept with a bound."""
        found: dict[str, Symbol] = {}
        for p in parameters:
            name = p.name.name
            upper = p.upper
            if name in found:
                self.findings.report(p.name, f"`{name}` is declared twice")
                continue
            if upper is None:
                self.findings.report(
                    p.name,
                    f"the shape parameter `{name}` has no upper bound",
                    help=f"write `{name} <= 4096`: memory is planned for the largest value",
                )
                upper = max(p.lower, 1)
            elif p.lower > upper:
                self.findings.report(p, f"no value of `{name}` is at least {p.lower} and at most {upper}")
                upper = p.lower
            elif upper >= 1 << 40:
                self.findings.report(p, f"the bound of `{name}` is more than 2**40")
                upper = p.lower
            found[name] = Symbol(name, upper, p.lower)
        return found

    def tensor(self, node: ast.TypeExpr, names: Mapping[str, object]) -> TensorType | None:
        """The type that `node` says, or None where something is wrong with it, which is reported.
        `names`: what the names in dimensions stand for, ints and `SymbolicDim`s among them."""
        if not isinstance(node, ast.TensorTypeExpr):
            if isinstance(node, ast.TupleTypeExpr):
                self.findings.report(node, "expected the type of one tensor, not of several")
            return None
        element = self.element(node.element)
        dims = [self.dimension(d, names) for d in node.shape]
        shape = tuple(d for d in dims if d is not None)
        if element is None or len(shape) != len(dims):
            return None
        if len(shape) > MAX_RANK:
            self.findings.report(node, f"a tensor has at most {MAX_RANK} dimensions, this has {len(shape)}")
            return None
        type_ = TensorType(element, shape)
        if byte_bound(type_) >= MAX_TENSOR:
            self.findings.report(node, "this tensor may need more than 2**63 bytes")
            return None
        if element.block > 1 and not whole_blocks(shape, element.block):
            last = f"its last dimension is {shape[-1]}" if shape else "a scalar has no last dimension"
            self.findings.report(
                node,
                f"`{node.element.name}` holds blocks of {element.block} elements along the last dimension: {last}",
                help=f"the last dimension must be a multiple of {element.block}",
            )
            return None
        return type_

    def dimension(self, node: ast.Expr, names: Mapping[str, object]) -> Dim | None:
        """The dimension that `node` says, at least 0; None where something is wrong, which is reported."""
        value = self._constant(node, names)
        if value is None:
            return None
        if isinstance(value, (bool, float)):
            self.findings.report(node, f"a dimension is an integer, not {str(value).lower()}")
            return None
        if lower_bound(value) < 0:
            least = f" for some values of {_symbols(value)}" if isinstance(value, SymbolicDim) else ""
            self.findings.report(node, f"the dimension `{value}` is negative{least}")
            return None
        return value

    def _constant(self, node: ast.Expr, names: Mapping[str, object]) -> Constant | None:
        if isinstance(node, ast.Bad):
            return None
        try:
            if isinstance(node, ast.Literal) and isinstance(node.value, (int, float)):
                return node.value
            if isinstance(node, ast.Unary):
                operand = self._constant(node.operand, names)
                return None if operand is None else fold_unary(node.op, operand)
            if isinstance(node, ast.Binary):
                left, right = self._constant(node.left, names), self._constant(node.right, names)
                return None if left is None or right is None else fold_binary(node.op, left, right)
        except FoldError as error:
            self.findings.report(node, error.message, help=error.help)
            return None
        if isinstance(node, ast.Name):
            value = names.get(node.name)
            if isinstance(value, (int, float, SymbolicDim)):
                return value
            if node.name not in names:
                dims = [n for n, v in names.items() if isinstance(v, (int, SymbolicDim))]
                help = (
                    did_you_mean(node.name, dims) or f"declare it behind the function's name: `<{node.name} <= 4096>`"
                )
                self.findings.report(node, f"there is no shape parameter `{node.name}`", help=help)
            elif value is not POISON:
                self.findings.report(node, f"`{node.name}` is no integer that is known at compile time")
            return None
        self.findings.report(
            node, "a dimension is made of integers and shape parameters", help="such as `M`, `2 * M + 1` or 4096"
        )
        return None


def _symbols(value: SymbolicDim) -> str:
    return ", ".join(str(s) for s in value.symbols)


def byte_bound(type_: TensorType) -> int:
    """At least as many bytes as a tensor of that type ever has, blocks counted as elements."""
    size = type_.element.nbytes
    for d in type_.shape:
        size *= max(upper_bound(d), 1)
    return size


def whole_blocks(shape: tuple[Dim, ...], block: int) -> bool:
    """Whether the last dimension is a multiple of the block for every value of the symbols."""
    if not shape:
        return False
    last = shape[-1]
    coefficients = [c for _, c in last.terms] if isinstance(last, SymbolicDim) else [last]
    return all(c % block == 0 for c in coefficients)


def did_you_mean(name: str, known: Iterable[str]) -> str | None:
    """`did you mean ...?` for the closest of `known`, if one is close."""
    close = difflib.get_close_matches(name[:64], sorted({k for k in known if len(k) <= 64}), n=1, cutoff=0.6)
    return f"did you mean `{close[0]}`?" if close else None
