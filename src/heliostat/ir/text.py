"""The text form of graphs: `print_graph` and `parse_graph` round-trip. Ops and element types are found by name.

graph f<n <= 512>(%x: tensor<f32, [n, 8]>, weight %w: tensor<q8_0, [4, 32]>) {
  %0 = mul(%x, %x) : tensor<f32, [n, 8]>
  return %0
}
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import numpy as np

from ..diagnostics import LumSyntaxError, Span
from .graph import CONSTANT, PARAMETER, Graph, Node, OpRecord, Value, constant, parameter
from .types import Dim, Element, Layout, Symbol, SymbolicDim, TensorType, dim, element

FindOp = Callable[[str], OpRecord]
FindLayout = Callable[[str], Layout]


def print_graph(graph: Graph) -> str:
    """The graph as text. Names of users stay; where two are equal, later ones get a number."""
    names: dict[int, str] = {}
    taken: set[str] = set()
    count = 0

    def name(v: Value) -> str:
        nonlocal count
        if id(v) not in names:
            base = re.sub(r"[^A-Za-z0-9_.]", "_", v.name)
            if not base or base[0].isdigit():
                base = str(count)
                count += 1
            label, n = base, 1
            while label in taken:
                n += 1
                label = f"{base}_{n}"
            taken.add(label)
            names[id(v)] = label
        return "%" + names[id(v)]

    symbols = ", ".join(
        f"{s.lower} <= {s.name} <= {s.upper}" if s.lower else f"{s.name} <= {s.upper}" for s in graph.symbols
    )
    parameters = ", ".join(f"{'' if p.kind == 'input' else p.kind + ' '}{name(p)}: {p.type}" for p in graph.parameters)
    lines = [f"graph {graph.name}{f'<{symbols}>' if symbols else ''}({parameters}) {{"]
    for node in graph.nodes():
        if node.op is PARAMETER:
            continue
        if node.op is CONSTANT:
            v = node.results[0]
            lines.append(f"  {name(v)} = constant {_value(np.asarray(node.attrs['value']).tolist())} : {v.type}")
            continue
        args = ", ".join(name(v) for v in node.inputs)
        attrs = ", ".join(f"{k} = {_value(a)}" for k, a in sorted(node.attrs.items()))
        results = ", ".join(name(r) for r in node.results)
        types = ", ".join(str(r.type) for r in node.results)
        lines.append(f"  {results} = {node.op.name}({args}){f' {{{attrs}}}' if attrs else ''} : {types}")
    for old, new in graph.updates:
        lines.append(f"  update {name(old)} = {name(new)}")
    lines.append(f"  return {', '.join(name(v) for v in graph.outputs)}")
    return "\n".join([*lines, "}", ""])


def _value(a: Any) -> str:
    if isinstance(a, bool) or a is None:
        return {True: "true", False: "false", None: "none"}[a]
    if isinstance(a, (tuple, list)):
        return "[" + ", ".join(map(_value, a)) + "]"
    if isinstance(a, str):
        return '"' + a.replace("\\", "\\\\").replace('"', '\\"') + '"'
    if isinstance(a, SymbolicDim):
        return f"({a})"
    if isinstance(a, Element):
        return f"!{a.name}"
    if isinstance(a, Layout):
        return f"@{a}"
    return repr(a)


_TOKEN = re.compile(
    r"""\s*(?:(?P<number>-?(?:inf|nan|\d+\.\d*(?:e[+-]?\d+)?|\d+e[+-]?\d+|\d+)(?![\w.]))|(?P<value>%[\w.]+)
    |(?P<string>"(?:[^"\\]|\\.)*")|(?P<element>![\w.-]+)|(?P<layout>@\w+\(\d+\))|(?P<word>[A-Za-z_][\w.]*)|(?P<sign><=|[-+*<>()\[\]{}:,=]))""",
    re.VERBOSE,
)


class _Parser:
    def __init__(self, text: str, find_op: FindOp, find_layout: FindLayout, path: str) -> None:
        self.text, self.find_op, self.find_layout, self.path = text, find_op, find_layout, path
        self.tokens: list[tuple[str, str, int]] = []
        at = 0
        end = len(text.rstrip())
        while at < end:
            match = _TOKEN.match(text, at)
            if match is None or match.lastgroup is None:
                raise self.error(f"unexpected {text[at:].strip()[:10]!r}", at)
            self.tokens.append((match.lastgroup, match[match.lastgroup], match.start(match.lastgroup)))
            at = match.end()
        self.tokens.append(("end", "", end))
        self.i = 0
        self.symbols: dict[str, Symbol] = {}
        self.values: dict[str, Value] = {}

    def error(self, message: str, at: int) -> LumSyntaxError:
        line = self.text.count("\n", 0, at) + 1
        column = at - (self.text.rfind("\n", 0, at) + 1) + 1
        return LumSyntaxError(message, at=Span(self.path, line, column, line, column + 1), source=self.text)

    def peek(self) -> str:
        return self.tokens[self.i][1]

    def next(self, kind: str | None = None) -> str:
        found, text, at = self.tokens[self.i]
        if kind is not None and found != kind:
            raise self.error(f"expected a {kind}, found {text!r}", at)
        self.i += 1
        return text

    def expect(self, sign: str) -> None:
        _, text, at = self.tokens[self.i]
        if text != sign:
            raise self.error(f"expected {sign!r}, found {text!r}", at)
        self.i += 1

    def accept(self, sign: str) -> bool:
        if self.peek() == sign and self.tokens[self.i][0] != "string":
            self.i += 1
            return True
        return False

    def graph(self) -> Graph:
        self.expect("graph")
        name = self.next("word")
        if self.accept("<"):
            while not self.accept(">"):
                low = 0
                if self.tokens[self.i][0] == "number":
                    low = int(self.next())
                    self.expect("<=")
                symbol = self.next("word")
                self.expect("<=")
                self.symbols[symbol] = Symbol(symbol, int(self.next("number")), low)
                self.accept(",")
        self.expect("(")
        parameters: list[Value] = []
        while not self.accept(")"):
            kind = self.next("word") if self.tokens[self.i][0] == "word" else "input"
            label = self.next("value")
            self.expect(":")
            made = parameter(label[1:], self.type(), kind)
            self.define(label, made)
            parameters.append(made)
            self.accept(",")
        self.expect("{")
        updates: list[tuple[Value, Value]] = []
        outputs: list[Value] = []
        while not self.accept("}"):
            if self.accept("update"):
                old = self.use()
                self.expect("=")
                updates.append((old, self.use()))
            elif self.accept("return"):
                while self.tokens[self.i][0] == "value":
                    outputs.append(self.use())
                    self.accept(",")
            else:
                self.statement()
        return Graph(name, parameters, outputs, updates)

    def define(self, label: str, value: Value) -> None:
        if label in self.values:
            raise self.error(f"{label} is defined twice", self.tokens[self.i - 1][2])
        self.values[label] = value

    def use(self) -> Value:
        at = self.tokens[self.i][2]
        label = self.next("value")
        if label not in self.values:
            raise self.error(f"{label} is not defined", at)
        return self.values[label]

    def statement(self) -> None:
        labels = [self.next("value")]
        while self.accept(","):
            labels.append(self.next("value"))
        self.expect("=")
        at = self.tokens[self.i][2]
        word = self.next("word")
        if word == "constant":
            value = self.attribute()
            self.expect(":")
            made = constant(value, self.type())
            made.name = _user_name(labels[0])
            self.define(labels[0], made)
            return
        try:
            op = self.find_op(word)
        except KeyError:
            raise self.error(f"there is no op {word}", at) from None
        self.expect("(")
        inputs: list[Value] = []
        while not self.accept(")"):
            inputs.append(self.use())
            self.accept(",")
        attrs: dict[str, Any] = {}
        if self.accept("{"):
            while not self.accept("}"):
                key = self.next("word")
                self.expect("=")
                attrs[key] = self.attribute()
                self.accept(",")
        self.expect(":")
        types = [self.type()]
        while self.accept(","):
            types.append(self.type())
        node = Node(op, tuple(inputs), attrs, types)
        for label, result in zip(labels, node.results, strict=True):
            result.name = _user_name(label)
            self.define(label, result)

    def attribute(self) -> Any:
        kind, text, at = self.tokens[self.i]
        self.i += 1
        if kind == "number":
            return float(text) if re.search(r"[.einf]", text) else int(text)
        if kind == "string":
            return text[1:-1].replace('\\"', '"').replace("\\\\", "\\")
        if kind == "element":
            try:
                return element(text[1:])
            except KeyError:
                raise self.error(f"there is no element type {text[1:]}", at) from None
        if kind == "layout":
            return self.find_layout(text[1:])
        if text in ("true", "false", "none"):
            return {"true": True, "false": False, "none": None}[text]
        if text == "[":
            items: list[Any] = []
            while not self.accept("]"):
                items.append(self.attribute())
                self.accept(",")
            return tuple(items)
        if text == "(":
            size = self.size()
            self.expect(")")
            return size
        raise self.error(f"unexpected {text!r}", at)

    def size(self) -> Dim:
        """A polynomial over symbols as `Dim` prints it."""
        total: Dim = 0
        sign = 1
        while True:
            term: Dim = sign
            while True:
                kind, text, at = self.tokens[self.i]
                self.i += 1
                if kind == "number":
                    value = int(text)
                    term = term * value
                elif kind == "word" and text in self.symbols:
                    term = term * dim(self.symbols[text])
                else:
                    raise self.error(f"{text!r} is not a size or a declared symbol", at)
                if not self.accept("*"):
                    break
            total = total + term
            if self.accept("+"):
                sign = 1
            elif self.accept("-"):
                sign = -1
            elif self.tokens[self.i][0] == "number" and self.peek().startswith("-"):
                sign = 1
            else:
                return total

    def type(self) -> TensorType:
        self.expect("tensor")
        self.expect("<")
        at = self.tokens[self.i][2]
        name = self.next("word")
        while self.tokens[self.i][1] == "-" or (
            self.tokens[self.i][0] == "number" and self.tokens[self.i][1].startswith("-")
        ):
            name += self.next()
        try:
            held: Element = element(name)
        except KeyError:
            raise self.error(f"there is no element type {name}", at) from None
        self.expect(",")
        self.expect("[")
        shape: list[Dim] = []
        while not self.accept("]"):
            shape.append(self.size())
            self.accept(",")
        layout = None
        if self.accept(","):
            word = self.next("word")
            self.expect("(")
            layout = self.find_layout(f"{word}({self.next('number')})")
            self.expect(")")
        self.expect(">")
        return TensorType(held, tuple(shape), layout)


def _user_name(label: str) -> str:
    return "" if label[1].isdigit() else label[1:]


def parse_graph(text: str, find_op: FindOp, find_layout: FindLayout | None = None, path: str = "<graph>") -> Graph:
    """The graph that a text describes. `find_op`: a record by name, KeyError if there is none.

    Raises LumSyntaxError.
    """

    def no_layout(name: str) -> Layout:
        raise LumSyntaxError(f"no layouts are known here: {name}")

    return _Parser(text, find_op, find_layout or no_layout, path).graph()
