"""The value rule of a block format as an expression tree, and its normal form.

`value` is evaluated once on symbols; polynomial algebra over exact fractions then splits it into scale, code, offset.
Kernels read only the `NormalForm`; the codec evaluates the tree itself, in the order in which it was written.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from fractions import Fraction
from math import lcm

MAX_TABLE = 16  # entries of a table that one byte shuffle can look up on every target


class Expr:
    """A node of a value rule. `+ - *` and unary `-` build larger nodes; there is no division: say `0.25 *`."""

    def __add__(self, other: Operand) -> Expr:
        return Binary("+", self, expression(other))

    def __radd__(self, other: Operand) -> Expr:
        return Binary("+", expression(other), self)

    def __sub__(self, other: Operand) -> Expr:
        return Binary("-", self, expression(other))

    def __rsub__(self, other: Operand) -> Expr:
        return Binary("-", expression(other), self)

    def __mul__(self, other: Operand) -> Expr:
        return Binary("*", self, expression(other))

    def __rmul__(self, other: Operand) -> Expr:
        return Binary("*", expression(other), self)

    def __neg__(self) -> Expr:
        return Negate(self)


Operand = Expr | int | float


def expression(value: Operand) -> Expr:
    """`value` itself, or a number as a `Number`."""
    return value if isinstance(value, Expr) else Number(value)


@dataclass(frozen=True)
class Number(Expr):
    """A constant. An int stays an integer until it meets a float; a float is an f32 constant."""

    value: int | float

    def __str__(self) -> str:
        return repr(self.value)


@dataclass(frozen=True)
class Ref(Expr):
    """A declared field: a scalar, spread over its share of the block, or the element's own code."""

    name: str

    def __str__(self) -> str:
        return self.name


@dataclass(frozen=True)
class Negate(Expr):
    operand: Expr

    def __str__(self) -> str:
        return f"-{_wrap(self.operand, 3)}"


@dataclass(frozen=True)
class Binary(Expr):
    """`op` is one of + - *. Integer operands give an exact integer, anything else is rounded once, to f32."""

    op: str
    left: Expr
    right: Expr

    def __str__(self) -> str:
        level = _LEVEL[self.op]
        return f"{_wrap(self.left, level)} {self.op} {_wrap(self.right, level + 1)}"


@dataclass(frozen=True)
class Table:
    """A codebook: `table[b.q]` in a value rule looks the code up. `values` has an entry for every code."""

    name: str
    values: tuple[int | float, ...]

    def __getitem__(self, index: Expr) -> Expr:
        return Lookup(self, index)


@dataclass(frozen=True)
class Lookup(Expr):
    """The entry of `table` at an integer index."""

    table: Table
    index: Expr

    def __str__(self) -> str:
        return f"{self.table.name}[{self.index}]"


_LEVEL = {"+": 1, "-": 1, "*": 2}


def _wrap(node: Expr, level: int) -> str:
    own = _LEVEL[node.op] if isinstance(node, Binary) else 3 if isinstance(node, Negate) else 4
    return f"({node})" if own < level else str(node)


def walk(node: Expr) -> tuple[Expr, ...]:
    """The nodes of a tree, parents first."""
    if isinstance(node, Binary):
        return (node, *walk(node.left), *walk(node.right))
    if isinstance(node, Negate):
        return (node, *walk(node.operand))
    if isinstance(node, Lookup):
        return (node, *walk(node.index))
    return (node,)


def references(node: Expr) -> tuple[str, ...]:
    """The names of the fields that a rule reads, each once, in order of first use."""
    return tuple(dict.fromkeys(n.name for n in walk(node) if isinstance(n, Ref)))


@dataclass(frozen=True)
class Symbol:
    """What the algebra must know of a field. kind: "float", "int", "code" or "grid". `count` values lie in a block."""

    name: str
    kind: str
    count: int
    width: int = 0
    signed: bool = False


@dataclass(frozen=True)
class Factor:
    """constant * product of the float scalars * (integer scalar + bias), where `integer` is (name, bias) or None."""

    floats: tuple[str, ...]
    integer: tuple[str, int] | None
    constant: float

    def __str__(self) -> str:
        parts = [] if self.constant == 1.0 else [repr(self.constant)]
        parts += self.floats
        if self.integer is not None:
            name, bias = self.integer
            parts.append(f"({name} {'+' if bias > 0 else '-'} {abs(bias)})" if bias else name)
        return " * ".join(parts) or "1.0"


@dataclass(frozen=True)
class NormalForm:
    """value[i] = scale * (t(u[i]) - zero) + offset; scale and offset are those of i's sub-block of `sub` elements.

    `u` is the stored code of field `code`, always unsigned: 0 <= u < 2**width; a signed field is biased by
    2**(width - 1). `t` is `table` (ints in -128..127, one per code, at most 16), or the identity where that is None.
    `offset` None is 0.
    """

    code: str
    width: int
    table: tuple[int, ...] | None
    zero: int
    scale: Factor
    offset: Factor | None
    sub: int

    @property
    def levels(self) -> tuple[int, ...]:
        """t(u) - zero for every code u."""
        values = self.table if self.table is not None else tuple(range(1 << self.width))
        return tuple(v - self.zero for v in values)

    def __str__(self) -> str:
        code = self.code if self.table is None else f"table[{self.code}]"
        inner = f"({code} {'-' if self.zero > 0 else '+'} {abs(self.zero)})" if self.zero else code
        tail = f" + {self.offset}" if self.offset is not None else ""
        return f"{self.scale} * {inner}{tail}, per {self.sub}"


class Refusal(Exception):
    """Why a rule has no normal form. Never leaves the package: `normal_form` returns the text."""


Monomial = tuple[str, ...]
Poly = dict[Monomial, Fraction]


def normal_form(value: Expr, symbols: Mapping[str, Symbol], block: int) -> NormalForm | str:
    """The normal form of `value`, or the reason why it has none (such a format is decoded by its codec only)."""
    try:
        return _normalize(value, symbols, block)
    except Refusal as refusal:
        return str(refusal)


def _normalize(value: Expr, symbols: Mapping[str, Symbol], block: int) -> NormalForm:
    tables: dict[str, Lookup] = {}
    poly = _polynomial(value, symbols, tables)
    atom, code = _code_atom(poly, symbols, tables)
    linear, constant = _split(poly, atom)
    if atom in tables:
        levels = [Fraction(v) for v in tables[atom].table.values[: 1 << code.width]]
        if len(levels) != 1 << code.width:
            raise Refusal(f"table {tables[atom].table.name} has {len(levels)} entries for codes of {code.width} bits")
        if code.signed:
            raise Refusal(f"table {tables[atom].table.name} is indexed by the signed field {code.name}")
        table, unit = _integer_table(levels, tables[atom].table.name)
        zero, scale, offset = _affine(_scaled(linear, unit), constant, symbols)
    else:
        if code.signed:
            constant = _sum(constant, _scaled(linear, Fraction(-(1 << (code.width - 1)))))
        zero_exact = _common_ratio(linear, constant)
        shifted = _shifted_table(code, zero_exact)
        if shifted is not None:
            table, unit = shifted
            zero, scale, offset = 0, _factor(_scaled(linear, unit), symbols), None
        else:
            table = None
            zero, scale, offset = _affine(linear, constant, symbols)
    used = [symbols[n] for f in (scale, offset) if f is not None for n in (*f.floats, *(f.integer or ())[:1])]
    counts = lcm(1, *(s.count for s in used))
    return NormalForm(code.name, code.width, table, zero, scale, offset, block // counts)


def _polynomial(node: Expr, symbols: Mapping[str, Symbol], tables: dict[str, Lookup]) -> Poly:
    if isinstance(node, Number):
        exact = Fraction(node.value)
        return {(): exact} if exact else {}
    if isinstance(node, Ref):
        if symbols[node.name].kind == "grid":
            raise Refusal(f"field {node.name} is a grid of vectors, not one code per element")
        return {(node.name,): Fraction(1)}
    if isinstance(node, Negate):
        return _scaled(_polynomial(node.operand, symbols, tables), Fraction(-1))
    if isinstance(node, Lookup):
        if not (isinstance(node.index, Ref) and symbols[node.index.name].kind == "code"):
            raise Refusal(f"table {node.table.name} is indexed by {node.index}, not by a code")
        tables[str(node)] = node
        return {(str(node),): Fraction(1)}
    assert isinstance(node, Binary)
    left, right = _polynomial(node.left, symbols, tables), _polynomial(node.right, symbols, tables)
    if node.op == "+":
        return _sum(left, right)
    if node.op == "-":
        return _sum(left, _scaled(right, Fraction(-1)))
    product: Poly = {}
    for a, x in left.items():
        for b, y in right.items():
            key = tuple(sorted(a + b))
            product[key] = product.get(key, Fraction(0)) + x * y
    return {k: v for k, v in product.items() if v}


def _sum(a: Poly, b: Poly) -> Poly:
    total = dict(a)
    for key, value in b.items():
        total[key] = total.get(key, Fraction(0)) + value
    return {k: v for k, v in total.items() if v}


def _scaled(a: Poly, by: Fraction) -> Poly:
    return {k: v * by for k, v in a.items()} if by else {}


def _code_atom(poly: Poly, symbols: Mapping[str, Symbol], tables: Mapping[str, Lookup]) -> tuple[str, Symbol]:
    atoms = {a for key in poly for a in key if a in tables or symbols[a].kind == "code"}
    if not atoms:
        raise Refusal("the value does not depend on a code")
    if len(atoms) > 1:
        raise Refusal(f"the value mixes {' and '.join(sorted(atoms))}: it must be linear in one of them")
    (atom,) = atoms
    if any(key.count(atom) > 1 for key in poly):
        raise Refusal(f"the value is not linear in {atom}")
    index = tables[atom].index if atom in tables else Ref(atom)
    assert isinstance(index, Ref)
    return atom, symbols[index.name]


def _split(poly: Poly, atom: str) -> tuple[Poly, Poly]:
    """The coefficient of `atom` and what is left without it."""
    linear: Poly = {}
    constant: Poly = {}
    for key, value in poly.items():
        if atom in key:
            linear[tuple(a for a in key if a != atom)] = value
        else:
            constant[key] = value
    return linear, constant


def _shifted_table(code: Symbol, zero: Fraction | None) -> tuple[tuple[int, ...], Fraction] | None:
    """u - zero as a table of integers times a unit, for a zero that is no integer: d * (2 * q - 1) has zero 1/2."""
    if zero is None or zero.denominator == 1 or 1 << code.width > MAX_TABLE:
        return None
    try:
        return _integer_table([u - zero for u in range(1 << code.width)], code.name)
    except Refusal:
        return None


def _integer_table(levels: list[Fraction], name: str) -> tuple[tuple[int, ...], Fraction]:
    """`levels` as integers times a unit. Raises Refusal where they do not fit bytes or one shuffle."""
    unit = Fraction(1, lcm(*(v.denominator for v in levels)))
    table = tuple(int(v / unit) for v in levels)
    if len(table) > MAX_TABLE:
        raise Refusal(f"table {name} has {len(table)} entries, more than {MAX_TABLE}")
    if not all(-128 <= v <= 127 for v in table):
        raise Refusal(f"table {name} needs integers beyond -128..127")
    return table, unit


def _common_ratio(linear: Poly, constant: Poly) -> Fraction | None:
    """z with constant = -z * linear exactly, if there is one."""
    if set(linear) != set(constant):
        return None
    ratios = {-constant[key] / linear[key] for key in linear}
    return ratios.pop() if len(ratios) == 1 else None


def _affine(linear: Poly, constant: Poly, symbols: Mapping[str, Symbol]) -> tuple[int, Factor, Factor | None]:
    """Zero, scale and offset with the simplest offset: none where the constant is a multiple of the scale."""
    scale = _factor(linear, symbols)
    shared = [-constant[key] / value for key, value in linear.items() if key in constant]
    candidates = [int(z) for z in dict.fromkeys([*shared, Fraction(0)]) if z.denominator == 1]
    reason = Refusal("the offset has no form")
    for zero in candidates:
        rest = _sum(constant, _scaled(linear, Fraction(zero)))
        try:
            return zero, scale, _factor(rest, symbols) if rest else None
        except Refusal as refusal:
            reason = refusal
    raise reason


def _factor(poly: Poly, symbols: Mapping[str, Symbol]) -> Factor:
    """`poly` as constant * floats * (integer + bias). Raises Refusal where it is no such product."""
    floats = {tuple(a for a in key if symbols[a].kind == "float") for key in poly}
    if len(floats) != 1:
        raise Refusal("scale and offset must each be one product of the float scalars")
    integers = {tuple(a for a in key if symbols[a].kind == "int"): value for key, value in poly.items()}
    names = {a for key in integers for a in key}
    if not names:
        return Factor(floats.pop(), None, float(integers[()]))
    if len(names) > 1 or any(len(key) > 1 for key in integers):
        raise Refusal(f"a scale or offset is not linear in one integer field ({', '.join(sorted(names))})")
    (name,) = names
    slope, bias = integers[(name,)], integers.get((), Fraction(0)) / integers[(name,)]
    if bias.denominator != 1:
        raise Refusal(f"the constant beside {name} is not a whole multiple of its factor")
    return Factor(floats.pop(), (name, int(bias)), float(slope))


def build(value: Callable[[Symbols], Operand] | Expr, names: tuple[str, ...]) -> Expr:
    """The tree of a rule: a tree already, or a callable that is run once on an object with one attribute per field."""
    return value if isinstance(value, Expr) else expression(value(Symbols(names)))


class Symbols:
    """What a `value` callable is called with: `b.d`, `b.q` ... are references to the declared fields."""

    def __init__(self, names: tuple[str, ...]) -> None:
        self._names = names

    def __getattr__(self, name: str) -> Expr:
        if name not in self._names:
            raise AttributeError(f"no field is named {name!r}; there are {', '.join(self._names)}")
        return Ref(name)
