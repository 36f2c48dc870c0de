"""The text form of graphs: `print_graph` and `parse_graph` round-trip. Ops, element types and layouts go by name.

    graph f<n <= 512>(%x: tensor<f32, [n, 8]>, weight %w: tensor<q8_0, [4, 32]>, state %k: tensor<f16, [4, 64]>) {
      %0 = mul(%x, %x) : tensor<f32, [n, 8]>
      update %k = %1
      return %0
    }

A name with other characters than letters, digits, `_` and `.` is quoted: `%"blk/0"`. Comments run from `//` to the
line's end. Parsing does not verify: `verify.py` does.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any, NoReturn

import numpy as np

from ..diagnostics import HeliostatError, LumSyntaxError, Span
from .graph import CONSTANT, PARAMETER, PARAMETER_KINDS, Graph, Node, OpRecord, Value, constant, parameter
from .types import Dim, DType, Element, Layout, Symbol, SymbolicDim, TensorType, dim, element, layout

FindOp = Callable[[str], OpRecord]
FindLayout = Callable[[str], Layout]

_WORD = r"[A-Za-z_][\w.]*"
_PLAIN_NAME = re.compile(rf"{_WORD}\Z", re.ASCII)
_ELEMENT_NAME = re.compile(r"[A-Za-z_][\w.+-]*\Z", re.ASCII)


# --- printing ---------------------------------------------------------------------------------------------------------
def value_names(graph: Graph) -> dict[int, str]:
    """What each value is called in the text, by its id(): `%` and the user's name, made unique, or a number."""
    names: dict[int, str] = {}
    taken: set[str] = set()
    values = [*graph.parameters, *(r for node in graph.nodes() for r in node.results)]
    count = 0
    for v in values:
        if id(v) in names:
            continue
        label = base = v.name
        if not base:
            label, count = str(count), count + 1
        n = 1
        while base and label in taken:
            n += 1
            label = f"{base}_{n}"
        taken.add(label)
        names[id(v)] = f"%{_quoted(label) if base else label}"
    return names


def print_graph(graph: Graph) -> str:
    """The graph as text. Names of users stay; where two are equal, later ones get a number."""
    names = value_names(graph)

    def listed(values: Any) -> str:
        return ", ".join(names[id(v)] for v in values)

    symbols = ", ".join(f"{f'{s.lower} <= ' if s.lower else ''}{s.name} <= {s.upper}" for s in graph.symbols)
    parameters = ", ".join(
        f"{'' if p.kind == 'input' else p.kind + ' '}{names[id(p)]}: {type_text(p.type)}" for p in graph.parameters
    )
    lines = [f"graph {_quoted(graph.name)}{f'<{symbols}>' if symbols else ''}({parameters}) {{"]
    for node in graph.nodes():
        if node.op is PARAMETER:
            continue
        types = ", ".join(type_text(r.type) for r in node.results)
        if node.op is CONSTANT:
            lines.append(f"  {listed(node.results)} = constant {_constant_text(node.results[0])} : {types}")
            continue
        attrs = ", ".join(f"{k} = {attribute_text(a)}" for k, a in sorted(node.attrs.items()))
        call = f"{node.op.name}({listed(node.inputs)}){f' {{{attrs}}}' if attrs else ''}"
        lines.append(f"  {listed(node.results)} = {call} : {types}")
    lines += [f"  update {names[id(old)]} = {names[id(new)]}" for old, new in graph.updates]
    lines.append(f"  return {listed(graph.outputs)}".rstrip())
    return "\n".join([*lines, "}", ""])


def type_text(type: TensorType) -> str:
    """A tensor type as `parse_graph` reads it: `tensor<f32, [n, 8]>`."""
    tail = f", {type.layout}" if type.layout is not None else ""
    return f"tensor<{_element_text(type.element)}, [{', '.join(map(str, type.shape))}]{tail}>"


def _quoted(name: str) -> str:
    return name if _PLAIN_NAME.match(name) else json.dumps(name)


def _element_text(e: Element) -> str:
    return e.name if _ELEMENT_NAME.match(e.name) else json.dumps(e.name)


def attribute_text(a: Any) -> str:
    """An attribute as `parse_graph` reads it. Raises TypeError for a value that has no text form."""
    if isinstance(a, bool) or a is None:
        return {True: "true", False: "false", None: "none"}[a]
    if isinstance(a, tuple):
        return "[" + ", ".join(map(attribute_text, a)) + "]"
    if isinstance(a, str):
        return json.dumps(a)
    if isinstance(a, SymbolicDim):
        return f"({a})"
    if isinstance(a, Element):
        return f"!{_element_text(a)}"
    if isinstance(a, Layout):
        return f"@{a}"
    if isinstance(a, (int, float)):
        return repr(a)
    raise TypeError(f"an attribute of type {type(a).__name__} has no text form")


def _constant_text(v: Value) -> str:
    """The values of a constant as nested lists; one value where all are that one."""
    array = np.asarray(v.node.attrs["value"])
    raw = np.ascontiguousarray(array).reshape(-1)
    if raw.size and bytes(raw.data) == bytes(raw[:1].data) * raw.size:
        return _number_text(raw[0])
    return _nested(array)


def _nested(array: np.ndarray[Any, Any]) -> str:
    if array.ndim == 0:
        return _number_text(array[()])
    return "[" + ", ".join(_nested(row) for row in array) + "]"


def _number_text(x: Any) -> str:
    """The shortest digits that give back the value in its own dtype."""
    return str(bool(x)).lower() if isinstance(x, np.bool_) else str(x)


# --- parsing ----------------------------------------------------------------------------------------------------------
def parse_graph(text: str, find_op: FindOp, find_layout: FindLayout | None = None, path: str = "<graph>") -> Graph:
    """The graph that a text describes, not yet verified. Raises LumSyntaxError that points to the place.

    `find_op`: a record by name, KeyError if there is none. `find_layout`: a layout by its text `panel(16)`; without it
    the
    subclasses of `Layout` are known. `path` names the text in errors.
    """
    return _Parser(text, find_op, find_layout, path).graph()


_SPACE = re.compile(r"(?:\s|//[^\n]*)*")
_STRING = r'"(?:[^"\\\n]|\\.)*"'
_TOKENS = {
    kind: re.compile(pattern, re.ASCII)
    for kind, pattern in {
        "name": rf"{_WORD}|{_STRING}",
        "value": rf"%(?:[\w.]+|{_STRING})",
        "element": rf"[A-Za-z_][\w.+-]*|{_STRING}",
        "word": _WORD,
        "symbol": r"[^\W\d]\w*",
        "integer": r"\d{1,40}(?![\w.])",
        "number": r"-?(?:inf|nan|\d+\.\d*(?:[eE][+-]?\d+)?|\d+[eE][+-]?\d+|\d{1,40})(?![\w.])",
        "string": _STRING,
    }.items()
}
_TOKENS["symbol"] = re.compile(r"[^\W\d]\w*")  # Python identifiers, Korean ones too
_MAX_NESTING = 64
_MAX_CONSTANT = 1 << 28  # elements: a text cannot make a constant fill the memory
Item = int | float | bool | str | None | Element | Layout | SymbolicDim | tuple[Any, ...]


class _Parser:
    """Reads what it expects at each place; there is no token list. `at` is the place in the text."""

    def __init__(self, text: str, find_op: FindOp, find_layout: FindLayout | None, path: str) -> None:
        self.text, self.find_op, self.find_layout, self.path = text, find_op, find_layout, path
        self.at = 0
        self.symbols: dict[str, Symbol] = {}
        self.values: dict[str, Value] = {}

    # --- tokens -------------------------------------------------------------------------------------------------------
    def fail(self, message: str, start: int | None = None, end: int | None = None) -> NoReturn:
        start = self._skip() if start is None else start
        line = self.text.count("\n", 0, start) + 1
        column = start - self.text.rfind("\n", 0, start)
        width = max(1, (end or start + 1) - start)
        raise LumSyntaxError(message, at=Span(self.path, line, column, line, column + width), source=self.text)

    def _skip(self) -> int:
        match = _SPACE.match(self.text, self.at)
        assert match is not None
        self.at = match.end()
        return self.at

    def _found(self) -> str:
        rest = self.text[self._skip() : self.at + 12].split("\n")[0]
        return repr(rest) if rest else "the end"

    def peek(self, sign: str) -> bool:
        return self.text.startswith(sign, self._skip())

    def accept(self, sign: str) -> bool:
        if self.peek(sign):
            self.at += len(sign)
            return True
        return False

    def expect(self, sign: str) -> None:
        if not self.accept(sign):
            self.fail(f"expected `{sign}`, found {self._found()}")

    def keyword(self, word: str) -> bool:
        """Take the word if it stands here by itself."""
        match = _TOKENS["word"].match(self.text, self._skip())
        if match is None or match[0] != word:
            return False
        self.at = match.end()
        return True

    def take(self, kind: str) -> str:
        match = _TOKENS[kind].match(self.text, self._skip())
        if match is None:
            article = "an" if kind[0] in "aeiou" else "a"
            self.fail(f"expected {article} {kind}, found {self._found()}")
        self.at = match.end()
        return match[0]

    def unquote(self, text: str, start: int) -> str:
        if not text.startswith('"'):
            return text
        try:
            return str(json.loads(text))
        except ValueError as error:
            self.fail(f"the string cannot be read: {error}", start)

    def take_name(self, kind: str) -> str:
        start = self._skip()
        return self.unquote(self.take(kind), start)

    def commas(self, end: str) -> bool:
        """Whether another item of a list follows; takes the comma, or the `end` sign."""
        if self.accept(end):
            return False
        self.expect(",")
        return True

    # --- graph --------------------------------------------------------------------------------------------------------
    def graph(self) -> Graph:
        if not self.keyword("graph"):
            self.fail(f"expected `graph`, found {self._found()}")
        start = self._skip()
        name = self.take_name("name")
        if self.accept("<") and not self.accept(">"):
            self.symbol()
            while self.commas(">"):
                self.symbol()
        self.expect("(")
        parameters: list[Value] = []
        if not self.accept(")"):
            parameters.append(self.parameter())
            while self.commas(")"):
                parameters.append(self.parameter())
        self.expect("{")
        updates: list[tuple[Value, Value]] = []
        outputs: list[Value] = []
        while not self.keyword("return"):
            if self.keyword("update"):
                old = self.use()
                self.expect("=")
                updates.append((old, self.use()))
            else:
                self.statement()
        if self.peek("%"):
            outputs.append(self.use())
            while self.accept(","):
                outputs.append(self.use())
        self.expect("}")
        if self._skip() != len(self.text):
            self.fail(f"expected the end of the text, found {self._found()}")
        try:
            return Graph(name, parameters, outputs, updates, symbols=self.symbols.values())
        except HeliostatError as error:
            self.fail(error.message, start)

    def symbol(self) -> None:
        low = 0
        if _TOKENS["integer"].match(self.text, self._skip()):
            low = int(self.take("integer"))
            self.expect("<=")
        start = self._skip()
        name = self.take("symbol")
        if name in self.symbols:
            self.fail(f"symbol {name} is declared twice", start, self.at)
        self.expect("<=")
        self.symbols[name] = Symbol(name, int(self.take("integer")), low)

    def parameter(self) -> Value:
        kind = "input"
        if not self.peek("%"):
            start = self._skip()
            kind = self.take("word")
            if kind not in PARAMETER_KINDS:
                self.fail(f"a parameter is one of {', '.join(PARAMETER_KINDS)}, not {kind}", start, self.at)
        start = self._skip()
        label = self.take("value")
        self.expect(":")
        made = parameter(self.unquote(label[1:], start), self.type(), kind)
        self.define(label, made, start)
        return made

    def define(self, label: str, value: Value, start: int) -> None:
        if label in self.values:
            self.fail(f"{label} is defined twice", start, start + len(label))
        self.values[label] = value
        if not label[1].isdigit():
            value.name = self.unquote(label[1:], start)

    def use(self) -> Value:
        start = self._skip()
        label = self.take("value")
        if label not in self.values:
            self.fail(f"{label} is not defined", start, self.at)
        return self.values[label]

    def statement(self) -> None:
        labels = [(self._skip(), self.take("value"))]
        while self.accept(","):
            labels.append((self._skip(), self.take("value")))
        self.expect("=")
        start = self._skip()
        word = self.take("word")
        results = self.constant(start) if word == "constant" else self.node(word, start)
        if len(results) != len(labels):
            self.fail(f"{len(labels)} names are given to {len(results)} results", labels[0][0], start)
        for (place, label), value in zip(labels, results, strict=True):
            self.define(label, value, place)

    def constant(self, start: int) -> tuple[Value, ...]:
        value = self.attribute()
        self.expect(":")
        type = self.type()
        size = 1
        for d in type.shape:
            size *= d if isinstance(d, int) else 1
        if size > _MAX_CONSTANT:
            self.fail(f"a constant of {size} elements is too large", start)
        numbers = _same_kind(value)
        if numbers is None or (isinstance(type.element, DType) and not _holds(type.element, numbers)):
            self.fail(f"these are no values of {type}", start)
        try:
            return (constant(value, type),)
        except HeliostatError as error:
            self.fail(error.message, start)

    def node(self, word: str, start: int) -> tuple[Value, ...]:
        try:
            op = self.find_op(word)
        except KeyError:
            self.fail(f"there is no op {word}", start, self.at)
        self.expect("(")
        inputs: list[Value] = []
        if not self.accept(")"):
            inputs.append(self.use())
            while self.commas(")"):
                inputs.append(self.use())
        attrs: dict[str, Item] = {}
        if self.accept("{") and not self.accept("}"):
            self.named_attribute(attrs)
            while self.commas("}"):
                self.named_attribute(attrs)
        self.expect(":")
        types = [self.type()]
        while self.accept(","):
            types.append(self.type())
        return Node(op, tuple(inputs), attrs, types).results

    # --- attributes ---------------------------------------------------------------------------------------------------
    def named_attribute(self, attrs: dict[str, Item]) -> None:
        start = self._skip()
        key = self.take("word")
        if key in attrs:
            self.fail(f"attribute {key} is given twice", start, self.at)
        self.expect("=")
        attrs[key] = self.attribute()

    def attribute(self, depth: int = 0) -> Item:
        start = self._skip()
        if (match := _TOKENS["number"].match(self.text, start)) is not None:
            self.at = match.end()
            return float(match[0]) if re.search(r"[.eEinf]", match[0]) else int(match[0])
        for word, value in (("true", True), ("false", False), ("none", None)):
            if self.keyword(word):
                return value
        if self.peek('"'):
            return self.take_name("string")
        if self.accept("!"):
            return self.element()
        if self.accept("@"):
            return self.layout()
        if self.accept("("):
            size = self.size()
            self.expect(")")
            return size
        if not self.accept("["):
            self.fail(f"expected an attribute, found {self._found()}")
        return self.items(depth)

    def items(self, depth: int) -> tuple[Item, ...]:
        if depth == _MAX_NESTING:
            self.fail(f"lists are nested more than {_MAX_NESTING} deep")
        if self.accept("]"):
            return ()
        items = [self.attribute(depth + 1)]
        while self.commas("]"):
            items.append(self.attribute(depth + 1))
        return tuple(items)

    # --- types --------------------------------------------------------------------------------------------------------
    def type(self) -> TensorType:
        if not self.keyword("tensor"):
            self.fail(f"expected a type, found {self._found()}")
        self.expect("<")
        held = self.element()
        self.expect(",")
        self.expect("[")
        shape: list[Dim] = []
        if not self.accept("]"):
            shape.append(self.size())
            while self.commas("]"):
                shape.append(self.size())
        found = self.layout() if self.accept(",") else None
        self.expect(">")
        return TensorType(held, tuple(shape), found)

    def element(self) -> Element:
        start = self._skip()
        name = self.take_name("element")
        try:
            return element(name)
        except KeyError:
            self.fail(f"there is no element type {name}", start, self.at)

    def layout(self) -> Layout:
        start = self._skip()
        word = self.take("word")
        self.expect("(")
        values: list[int] = []
        if not self.accept(")"):
            values.append(int(self.take("integer")))
            while self.commas(")"):
                values.append(int(self.take("integer")))
        try:
            if self.find_layout is not None:
                return self.find_layout(f"{word}({', '.join(map(str, values))})")
            return layout(word, values)
        except (KeyError, TypeError):
            self.fail(f"there is no layout {self.text[start : self.at]}", start, self.at)

    def size(self) -> Dim:
        """A polynomial over symbols as `SymbolicDim` prints it: `2*n*m-n+3`."""
        total: Dim = 0
        sign = -1 if self.accept("-") else 1
        while True:
            term: Dim = sign * self.factor()
            while self.accept("*"):
                term = term * self.factor()
            total = total + term
            if self.accept("+"):
                sign = 1
            elif self.accept("-"):
                sign = -1
            else:
                return total

    def factor(self) -> Dim:
        start = self._skip()
        if _TOKENS["integer"].match(self.text, start):
            return int(self.take("integer"))
        match = _TOKENS["symbol"].match(self.text, start)
        if match is None or match[0] not in self.symbols:
            self.fail(f"expected a size or a declared symbol, found {self._found()}")
        self.at = match.end()
        return dim(self.symbols[match[0]])


def _same_kind(value: Item) -> type | None:
    """The widest of bool, int and float among the numbers of nested lists; None where something else is in them."""
    widest: type = bool
    order = (bool, int, float)
    stack = [value]
    while stack:
        item = stack.pop()
        if isinstance(item, tuple):
            stack += item
        elif type(item) in order:
            widest = max(widest, type(item), key=order.index)
        else:
            return None
    return widest


def _holds(dtype: DType, kind: type) -> bool:
    """Whether a constant of `dtype` may be written with literals of `kind`."""
    return dtype.is_float or kind is bool or (kind is int and dtype.kind != "b")
