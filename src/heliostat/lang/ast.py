"""The syntax tree of a `.lum` file: what was written, before any name or type has a meaning.

Every node covers the text from `start` up to `end`; two nodes are equal when they say the same, wherever they stand.
"""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Node:
    start: int = field(compare=False, repr=False)
    end: int = field(compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class Identifier(Node):
    """A name where it is declared, called or used as a keyword."""

    name: str


# -- expressions


@dataclass(frozen=True, slots=True)
class Expr(Node):
    pass


@dataclass(frozen=True, slots=True)
class Bad(Expr):
    """What could not be parsed. The error is reported already: whatever depends on this stays silent."""


@dataclass(frozen=True, slots=True)
class Literal(Expr):
    """A number, `true`, `false`, `none` or a string."""

    value: int | float | bool | str | None

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Literal) and repr(self.value) == repr(other.value)  # 1, 1.0 and true differ

    def __hash__(self) -> int:
        return hash(repr(self.value))


@dataclass(frozen=True, slots=True)
class Name(Expr):
    name: str


@dataclass(frozen=True, slots=True)
class ListExpr(Expr):
    """`[a, b]`: a shape, a list of axes, a table."""

    items: tuple[Expr, ...]


@dataclass(frozen=True, slots=True)
class TupleExpr(Expr):
    """`(a, b)`: several results."""

    items: tuple[Expr, ...]


@dataclass(frozen=True, slots=True)
class Unary(Expr):
    """`op` is `-` or `not`."""

    op: str
    operand: Expr


@dataclass(frozen=True, slots=True)
class Binary(Expr):
    """`sign` is where the operator stands."""

    op: str
    left: Expr
    right: Expr
    sign: tuple[int, int] = field(compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class Keyword(Node):
    """`name=value` in a call."""

    name: Identifier
    value: Expr


@dataclass(frozen=True, slots=True)
class Call(Expr):
    function: Identifier
    arguments: tuple[Expr, ...]
    keywords: tuple[Keyword, ...]


@dataclass(frozen=True, slots=True)
class Slice(Node):
    """`start:stop:step` between the brackets of an index; each may be left out."""

    first: Expr | None
    stop: Expr | None
    step: Expr | None


@dataclass(frozen=True, slots=True)
class Index(Expr):
    """`value[items]`. In a `format`, a table read: `table[code]`."""

    value: Expr
    items: tuple[Expr | Slice, ...]


# -- types


@dataclass(frozen=True, slots=True)
class TypeExpr(Node):
    pass


@dataclass(frozen=True, slots=True)
class BadType(TypeExpr):
    """A type that could not be parsed; reported already."""


@dataclass(frozen=True, slots=True)
class TensorTypeExpr(TypeExpr):
    """`tensor<element, [shape]>`."""

    element: Identifier
    shape: tuple[Expr, ...]


@dataclass(frozen=True, slots=True)
class TupleTypeExpr(TypeExpr):
    """`(type, type)`: the results of a function that returns several."""

    items: tuple[TypeExpr, ...]


# -- statements


@dataclass(frozen=True, slots=True)
class Statement(Node):
    pass


@dataclass(frozen=True, slots=True)
class Let(Statement):
    """`let name: type = value;` or `let (a, b) = value;`."""

    names: tuple[Identifier, ...]
    type: TypeExpr | None
    value: Expr


@dataclass(frozen=True, slots=True)
class Return(Statement):
    value: Expr


@dataclass(frozen=True, slots=True)
class BadStatement(Statement):
    """A statement that could not be parsed; reported already."""


# -- declarations


@dataclass(frozen=True, slots=True)
class ShapeParameter(Node):
    """`lower <= name <= upper` between `<` and `>`."""

    name: Identifier
    lower: int
    upper: int | None


@dataclass(frozen=True, slots=True)
class Parameter(Node):
    name: Identifier
    type: TypeExpr


@dataclass(frozen=True, slots=True)
class Declaration(Node):
    name: Identifier


@dataclass(frozen=True, slots=True)
class Function(Declaration):
    shapes: tuple[ShapeParameter, ...]
    parameters: tuple[Parameter, ...]
    result: TypeExpr
    body: tuple[Statement, ...]


@dataclass(frozen=True, slots=True)
class FormatField(Node):
    """`name: type[count] packing;`. `packing` are the words behind the type, some with arguments, as calls."""

    name: Identifier
    type: Identifier
    count: int | None
    packing: tuple[Call, ...]


@dataclass(frozen=True, slots=True)
class FormatTable(Node):
    """`name: table [..];`"""

    name: Identifier
    values: ListExpr


@dataclass(frozen=True, slots=True)
class Format(Declaration):
    """`format name { block n; fields; value = expression; }`. `broken`: something in it was reported already."""

    block: Literal | None
    fields: tuple[FormatField | FormatTable, ...]
    value: Expr | None
    broken: bool


@dataclass(frozen=True, slots=True)
class File(Node):
    declarations: tuple[Declaration, ...]
