"""Tokens to a syntax tree: recursive descent for declarations, operator precedence (Pratt) for expressions.

An error costs the statement or declaration it stands in; parsing goes on behind it, so one run reports every error.
Nesting is bounded, so no input exhausts the stack.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import TypeVar

from heliostat.diagnostics import Diagnostic
from heliostat.lang import ast
from heliostat.lang.lex import KEYWORDS, RESERVED, Token, lex
from heliostat.lang.source import Source

MAX_DEPTH = 100  # levels of an expression, as parsed: the later stages recurse over it
MAX_ERRORS = 200  # syntax errors after which a file is taken for something else

PRECEDENCE: dict[str, int] = {
    "or": 1,
    "and": 2,
    "==": 4, "!=": 4, "<": 4, "<=": 4, ">": 4, ">=": 4,
    "+": 5, "-": 5,
    "*": 6, "/": 6, "%": 6, "@": 6,
    "**": 8,
}  # fmt: skip
"""Binary operators by how tightly they bind. `**` groups to the right, comparisons not at all, others to the left."""

NOT_PRECEDENCE = 3
MINUS_PRECEDENCE = 7
COMPARISONS = frozenset({"==", "!=", "<", "<=", ">", ">="})
_MISSPELT = {"&&": "and", "||": "or", "&": "and", "|": "or", "^": "**", "=": "==", "!": "not"}

T = TypeVar("T")


def parse(source: Source) -> tuple[ast.File, list[Diagnostic]]:
    """The tree of `source`, as far as it can be made out, and every syntax error in the order of the text."""
    return _Parser(source).file()


class _Recover(Exception):
    """An error was reported; the nearest statement or declaration goes on behind it."""


class _Stop(Exception):
    """Too many errors: nothing more is parsed."""


class _Parser:
    def __init__(self, source: Source) -> None:
        self.source = source
        self.errors: list[Diagnostic] = []
        self.seen: set[tuple[int, str]] = set()
        self.tokens: Iterator[Token] = lex(source, self.report)
        self.ahead: deque[Token] = deque()
        self.depth = 0  # of this parser's recursion
        self.height = 0  # of the tree last parsed: a long chain of operators is a high tree without recursion
        self.token = Token("end", "", 0, 0)
        self.previous_end = 0

    # -- tokens and errors

    def report(self, start: int, end: int, message: str, help: str | None = None) -> None:
        if (start, message) in self.seen:
            return
        self.seen.add((start, message))
        self.errors.append(Diagnostic(message, self.source.span(start, end), help=help))
        if len(self.errors) >= MAX_ERRORS:
            self.errors.append(Diagnostic(f"stopped after {MAX_ERRORS} syntax errors", self.source.span(start, end)))
            raise _Stop

    def fail(self, message: str, help: str | None = None, at: Token | None = None) -> _Recover:
        """Report an error at the current token, or at `at`; the caller raises what this returns."""
        token = at or self.token
        if token.kind not in ("bad", "broken"):  # the lexer reported those
            self.report(token.start, token.end, message, help)
        return _Recover()

    def advance(self) -> Token:
        token = self.token
        self.previous_end = token.end
        if token.kind != "end":
            self.token = self.ahead.popleft() if self.ahead else next(self.tokens)
        return token

    def peek(self, distance: int = 1) -> Token:
        """The token so far behind the current one; the end stays the end."""
        last = self.ahead[-1] if self.ahead else self.token
        while len(self.ahead) < distance and last.kind != "end":
            last = next(self.tokens)
            self.ahead.append(last)
        return self.ahead[distance - 1] if distance <= len(self.ahead) else last

    def at(self, *kinds: str) -> bool:
        return self.token.kind in kinds

    def take(self, kind: str) -> Token | None:
        return self.advance() if self.token.kind == kind else None

    def expect(self, kind: str, where: str, help: str | None = None) -> Token:
        if self.token.kind == kind:
            return self.advance()
        raise self.fail(f"expected `{kind}` {where}, found {_shown(self.token)}", help)

    def identifier(self, what: str) -> ast.Identifier:
        """A name being declared or called. A keyword there gets an error of its own."""
        token = self.token
        if token.kind == "name":
            self.advance()
            return ast.Identifier(token.start, token.end, token.text)
        if token.kind in KEYWORDS or token.kind in RESERVED:
            raise self.fail(f"`{token.text}` is a keyword, it cannot be {what}", f"`{token.text}_` would do")
        raise self.fail(f"expected {what}, found {_shown(token)}")

    def close_angle(self, where: str) -> None:
        """Take `>`, also off the front of `>=`."""
        if self.token.kind == ">=":
            start = self.token.start
            self.token = Token("=", "=", start + 1, self.token.end)
            self.previous_end = start + 1
        else:
            self.expect(">", where)

    def semicolon(self, where: str) -> None:
        """Take `;`. Where it is missing, report that behind the last token and go on as if it stood there, if the
        next token may start or end a statement; otherwise the statement holds something wrong."""
        if self.take(";"):
            return
        if self.at("let", "return", "}", "fn", "format", "end") or (self.at("name") and self.fresh_line()):
            self.report(self.previous_end, self.previous_end + 1, f"expected `;` {where}", "add `;` here")
            return
        token = self.token
        if token.kind in _MISSPELT and token.kind != "!":
            raise self.fail(f"`{token.text}` is no operator", f"write `{_MISSPELT[token.kind]}`")
        raise self.fail(f"expected `;` {where}, found {_shown(token)}")

    def fresh_line(self) -> bool:
        return "\n" in self.source.text[self.previous_end : self.token.start]

    # -- declarations

    def file(self) -> tuple[ast.File, list[Diagnostic]]:
        declarations: list[ast.Declaration] = []
        try:
            self.token = next(self.tokens)
            while not self.at("end"):
                try:
                    declarations.append(self.declaration())
                except _Recover:
                    self.skip_declaration()
        except _Stop:
            pass
        self.errors.sort(key=lambda d: (d.at.line, d.at.column) if d.at else (0, 0))
        return ast.File(0, len(self.source.text), tuple(declarations)), self.errors

    def skip_declaration(self) -> None:
        """Go to the next `fn` or `format` that starts a declaration."""
        self.depth = 0
        while not (self.at("end") or self.at_declaration()):
            self.advance()

    def at_declaration(self) -> bool:
        return self.at("fn", "format") and self.peek().kind == "name"

    def declaration(self) -> ast.Declaration:
        if self.at("fn"):
            return self.function()
        if self.at("format"):
            return self.format()
        if self.at("let", "return", "}", ";"):
            raise self.fail(f"{_shown(self.token)} stands outside of a function", "is a `}` too many before it?")
        advice = "write `fn`" if self.token.text in ("def", "func", "function", "fun") else None
        raise self.fail(f"expected `fn` or `format`, found {_shown(self.token)}", advice)

    def function(self) -> ast.Function:
        start = self.advance().start
        name = self.identifier("a function's name")
        try:
            shapes: tuple[ast.ShapeParameter, ...] = ()
            if self.take("<"):
                shapes = tuple(self.listed(self.shape_parameter, ">", ">="))
                self.close_angle("after the shape parameters")
            self.expect("(", "before the parameters")
            parameters = tuple(self.listed(self.parameter, ")"))
            self.expect(")", "after the parameters")
            self.expect("->", "and the type of the result", "a function says what it returns: `-> tensor<f32, [4]>`")
            result = self.type_before(lambda: self.at("{"))
            if not self.at("{"):
                raise self.fail(f"expected `{{` before the body, found {_shown(self.token)}")
        except _Recover:
            # The name stays known, so that calls of it are not reported too; the body is parsed for its own errors.
            self.depth = 0
            while not (self.at("{", "end") or self.at_declaration()):
                self.advance()
            if self.at("{"):
                self.body()
            bad = ast.BadType(self.previous_end, self.previous_end)
            return ast.Function(start, self.previous_end, name, (), (), bad, ())
        body = self.body()
        return ast.Function(start, self.previous_end, name, shapes, parameters, result, body)

    def listed(self, item: Callable[[], T], *closing: str) -> Iterator[T]:
        """Items parted by `,`, up to one of `closing`; a last `,` is allowed."""
        while not self.at(*closing):
            yield item()
            if not self.take(","):
                break

    def shape_parameter(self) -> ast.ShapeParameter:
        start = self.token.start
        lower, upper = 0, None
        if self.at("int"):
            lower = self.integer()
            self.expect("<=", "between a bound and its shape parameter")
        name = self.identifier("a shape parameter")
        if self.take("<="):
            upper = self.integer()
        elif self.at("<"):
            raise self.fail("the bound of a shape parameter is written with `<=`", "for M < 8, write `M <= 7`")
        elif self.at(":"):
            raise self.fail("a shape parameter has bounds, not a type", f"write `{name.name} <= 4096`")
        return ast.ShapeParameter(start, self.previous_end, name, lower, upper)

    def integer(self) -> int:
        token = self.token
        if token.kind != "int":
            raise self.fail(f"expected an integer, found {_shown(token)}")
        self.advance()
        assert isinstance(token.value, int)
        return token.value

    def parameter(self) -> ast.Parameter:
        name = self.identifier("a parameter's name")
        self.expect(":", f"and a type after the parameter `{name.name}`", f"write `{name.name}: tensor<f32, [4]>`")
        type_ = self.type_before(lambda: self.at(")", "{") or (self.at(",") and self.peek(2).kind == ":"))
        return ast.Parameter(name.start, self.previous_end, name, type_)

    def type_before(self, closing: Callable[[], bool]) -> ast.TypeExpr:
        """A type; where it does not parse, what comes after it goes on at the token that `closing` accepts."""
        try:
            return self.type()
        except _Recover:
            self.depth = 0
            while not (closing() or self.at(";", "}", "end") or self.at_declaration()):
                self.advance()
            return ast.BadType(self.previous_end, self.previous_end)

    def type(self) -> ast.TypeExpr:
        start = self.token.start
        if self.at("("):
            self.enter()
            self.advance()
            items = tuple(self.listed(self.type, ")"))
            self.expect(")", "after the types")
            if not items:
                raise self.fail("a function returns at least one tensor", at=self.token)
            self.depth -= 1
            return items[0] if len(items) == 1 else ast.TupleTypeExpr(start, self.previous_end, items)
        if not (self.at("name") and self.token.text == "tensor"):
            advice = "a type looks like `tensor<f32, [64, 128]>`; a scalar is `tensor<f32, []>`"
            raise self.fail(f"expected a type, found {_shown(self.token)}", advice)
        self.advance()
        self.expect("<", "after `tensor`", "a type looks like `tensor<f32, [64, 128]>`")
        element = self.identifier("an element type")
        self.expect(",", "and a shape after the element type", f"write `tensor<{element.name}, [64, 128]>`")
        self.expect("[", "before the dimensions", f"write `tensor<{element.name}, [64, 128]>`")
        shape = tuple(self.listed(self.expression, "]"))
        self.expect("]", "after the dimensions")
        self.close_angle("after the shape")
        return ast.TensorTypeExpr(start, self.previous_end, element, shape)

    # -- formats

    def format(self) -> ast.Format:
        start = self.advance().start
        name = self.identifier("a format's name")
        errors = len(self.errors)
        block: ast.Literal | None = None
        value: ast.Expr | None = None
        fields: list[ast.FormatField | ast.FormatTable] = []
        try:
            self.expect("{", "before the fields of the format")
        except _Recover:
            return ast.Format(start, self.previous_end, name, None, (), None, True)
        while not (self.at("}", "end") or self.at_declaration()):
            try:
                token, behind = self.token, self.peek().kind
                if token.text == "block" and behind not in (":", "="):
                    self.advance()
                    size = self.token
                    number = self.integer()
                    self.once(token, block)
                    block = ast.Literal(size.start, size.end, number)
                elif token.text == "value" and behind == "=":
                    self.advance()
                    self.advance()
                    self.once(token, value)
                    value = self.expression()
                else:
                    fields.append(self.format_field())
                self.semicolon("after the field" if behind == ":" else f"after `{token.text}`")
            except _Recover:
                if self.at("let", "return"):  # where a statement begins skipping would stop at once
                    self.advance()
                self.skip_statement()
        if not self.take("}"):
            self.report(self.token.start, self.token.end, f"expected `}}` after the fields, found {_shown(self.token)}")
        broken = len(self.errors) > errors
        return ast.Format(start, self.previous_end, name, block, tuple(fields), value, broken)

    def once(self, token: Token, before: object) -> None:
        if before is not None:
            self.report(token.start, token.end, f"`{token.text}` is given twice")

    def format_field(self) -> ast.FormatField | ast.FormatTable:
        name = self.identifier("a field's name, `block` or `value`")
        self.expect(":", f"and a type after the field `{name.name}`", "a field looks like `d: f16;` or `q: u4[32];`")
        type_ = self.identifier("the field's type")
        if type_.name == "table":
            values = self.primary()
            if not isinstance(values, ast.ListExpr):
                self.report(values.start, values.end, "the values of a table stand between `[` and `]`")
                raise _Recover
            return ast.FormatTable(name.start, self.previous_end, name, values)
        count: int | None = None
        if self.take("["):
            count = self.integer()
            self.expect("]", "after the number of values")
        packing: list[ast.Call] = []
        while self.at("name") and not self.fresh_line():
            if self.peek().kind == "(":
                packing.append(self.call())
            else:
                word = self.identifier("a packing")
                packing.append(ast.Call(word.start, word.end, word, (), ()))
        return ast.FormatField(name.start, self.previous_end, name, type_, count, tuple(packing))

    # -- statements

    def body(self) -> tuple[ast.Statement, ...]:
        self.expect("{", "before the body")
        statements: list[ast.Statement] = []
        while not (self.at("}", "end") or self.at_declaration()):
            start = self.token.start
            try:
                statements.append(self.statement())
            except _Recover:
                self.skip_statement()
                statements.append(ast.BadStatement(start, self.previous_end))
        if not self.take("}"):
            self.report(self.token.start, self.token.end, f"expected `}}` after the body, found {_shown(self.token)}")
        return tuple(statements)

    def skip_statement(self) -> None:
        """Go behind the next `;`, or up to what starts a statement or ends the body."""
        self.depth = 0
        nested = 0
        while not (self.at("end") or self.at_declaration()):
            if self.at("{"):
                nested += 1
            elif self.at("}"):
                if not nested:
                    return
                nested -= 1
            elif not nested and self.at("let", "return"):
                return
            if self.advance().kind == ";" and not nested:
                return

    def statement(self) -> ast.Statement:
        if self.at("let"):
            return self.let()
        if self.at("return"):
            return self.return_()
        token = self.token
        if token.kind in RESERVED:
            raise self.fail(
                f"`{token.text}` is reserved; there is no such statement",
                "`where(condition, a, b)` chooses per element" if token.kind in ("if", "else", "match") else None,
            )
        if token.kind == "name" and self.peek().kind in ("=", ":"):
            raise self.fail("expected `let` or `return`", f"a new value is named by `let {token.text} = ...;`")
        raise self.fail(
            f"expected `let` or `return`, found {_shown(token)}",
            "an expression alone has no effect: name its value by `let`, or `return` it"
            if token.kind == "name"
            else None,
        )

    def let(self) -> ast.Statement:
        start = self.advance().start
        if self.take("("):
            names = tuple(self.listed(lambda: self.identifier("a name"), ")"))
            self.expect(")", "after the names")
            if not names:
                raise self.fail("`let ()` names nothing")
        else:
            names = (self.identifier("a name"),)
        annotation: ast.TypeExpr | None = None
        value: ast.Expr
        try:
            if self.take(":"):
                annotation = self.type()
            self.expect("=", "and a value after `let`")
            value = self.expression()
            self.semicolon("after the value")
        except _Recover:
            # The names stay known, so that their uses are not reported too.
            self.skip_statement()
            value, annotation = ast.Bad(self.previous_end, self.previous_end), None
        return ast.Let(start, self.previous_end, names, annotation, value)

    def return_(self) -> ast.Statement:
        start = self.advance().start
        value = self.expression()
        if self.at(","):
            raise self.fail("several results stand between parentheses", "write `return (a, b);`")
        self.semicolon("after the value")
        return ast.Return(start, self.previous_end, value)

    # -- expressions

    def enter(self) -> None:
        self.depth += 1
        if self.depth > MAX_DEPTH:
            raise self.too_deep()

    def too_deep(self) -> _Recover:
        return self.fail(
            f"this is nested more than {MAX_DEPTH} levels deep", "name a part of it by `let` in a statement before"
        )

    def grow(self, *heights: int) -> None:
        """Note that a node above subtrees of these heights was parsed."""
        self.height = max(heights, default=0) + 1
        if self.height > MAX_DEPTH:
            raise self.too_deep()

    def expressions(self, *closing: str) -> tuple[ast.Expr, ...]:
        """Expressions parted by `,`, and the height of a node above them."""
        items: list[ast.Expr] = []
        heights: list[int] = []
        for item in self.listed(self.expression, *closing):
            items.append(item)
            heights.append(self.height)
        self.grow(*heights)
        return tuple(items)

    def expression(self, minimum: int = 0) -> ast.Expr:
        """An expression of operators that bind tighter than `minimum`."""
        self.enter()
        left = self.prefix()
        height = self.height
        compared: ast.Expr | None = None
        while True:
            op = self.token
            power = PRECEDENCE.get(op.kind)
            if power is None or power <= minimum:
                break
            self.advance()
            right = self.expression(power - 1 if op.kind == "**" else power)
            self.grow(height, self.height)
            height = self.height
            if op.kind in COMPARISONS and compared is left:
                compared = left = self.chained(op, left, right)
                continue
            left = ast.Binary(left.start, right.end, op.kind, left, right, (op.start, op.end))
            if op.kind in COMPARISONS:
                compared = left
        self.depth -= 1
        self.height = height
        return left

    def chained(self, op: Token, left: ast.Expr, right: ast.Expr) -> ast.Expr:
        """Report `a < b < c`, given `a < b`; a longer chain only once."""
        if isinstance(left, ast.Binary):
            text = self.source.text
            first, middle, last = (text[e.start : e.end] for e in (left, left.right, right))
            parts = f"{first} and {middle} {op.text} {last}"
            advice = f"write `{parts}`" if len(parts) < 80 and "\n" not in parts else "compare pairs, joined by `and`"
            self.report(op.start, op.end, f"comparisons do not chain: `{left.op}` stands before `{op.text}`", advice)
        return ast.Bad(left.start, right.end)

    def prefix(self) -> ast.Expr:
        token = self.token
        if token.kind in ("-", "not"):
            self.advance()
            operand = self.expression(MINUS_PRECEDENCE - 1 if token.kind == "-" else NOT_PRECEDENCE - 1)
            self.grow(self.height)
            return ast.Unary(token.start, operand.end, token.kind, operand)
        if token.kind == "+":
            raise self.fail("there is no unary `+`", "leave it out")
        if token.kind in ("!", "~"):
            raise self.fail(f"there is no operator `{token.text}`", "write `not`")
        return self.postfix(self.primary())

    def postfix(self, value: ast.Expr) -> ast.Expr:
        while self.at("[", "(", "."):
            if self.at("("):
                raise self.fail("only a name can be called", "`f(x)` calls the op or function f")
            if self.at("."):
                name = self.peek().text if self.peek().kind == "name" else "f"
                raise self.fail("there are no methods or attributes", f"write a call: `{name}(x)`")
            self.advance()
            heights = [self.height]
            items: list[ast.Expr | ast.Slice] = []
            for item in self.listed(self.index_item, "]"):
                items.append(item)
                heights.append(self.height)
            self.grow(*heights)
            if not items:
                raise self.fail("an index is missing between `[` and `]`")
            self.expect("]", "after the index")
            value = ast.Index(value.start, self.previous_end, value, tuple(items))
        return value

    def index_item(self) -> ast.Expr | ast.Slice:
        start = self.token.start
        parts: list[ast.Expr | None] = [None, None, None]
        heights: list[int] = []
        part = 0
        while not self.at("]", ","):
            if self.at(":"):
                self.advance()
                part += 1
                if part > 2:
                    raise self.fail("a slice has at most three parts", "`first:stop:step`")
            elif parts[part] is None:
                parts[part] = self.expression()
                heights.append(self.height)
            else:
                raise self.fail(f"expected `]` after the index, found {_shown(self.token)}")
        self.height = max(heights, default=0)
        if part == 0 and parts[0] is not None:
            return parts[0]
        if part == 0:
            raise self.fail(f"expected an index, found {_shown(self.token)}")
        return ast.Slice(start, self.previous_end, *parts)

    def primary(self) -> ast.Expr:
        token = self.token
        self.height = 1
        if token.kind in ("int", "float", "string"):
            self.advance()
            return ast.Literal(token.start, token.end, token.value)
        if token.kind == "broken":
            self.advance()
            return ast.Bad(token.start, token.end)
        if token.kind in _CONSTANTS:
            self.advance()
            return ast.Literal(token.start, token.end, _CONSTANTS[token.kind])
        if token.kind == "name":
            if self.peek().kind == "(":
                return self.call()
            self.advance()
            return ast.Name(token.start, token.end, token.text)
        if token.kind == "[":
            self.advance()
            items = self.expressions("]")
            self.expect("]", "after the list")
            return ast.ListExpr(token.start, self.previous_end, items)
        if token.kind == "(":
            return self.parenthesized()
        if token.kind in KEYWORDS or token.kind in RESERVED:
            raise self.fail(f"expected an expression, found the keyword `{token.text}`")
        if token.kind == "=":
            raise self.fail("expected an expression, found `=`", "equality is written `==`")
        raise self.fail(f"expected an expression, found {_shown(token)}")

    def parenthesized(self) -> ast.Expr:
        start = self.advance().start
        if self.at(")"):
            raise self.fail("expected an expression between `(` and `)`")
        first = self.expression()
        height = self.height
        if self.take(","):
            items = (first, *self.expressions(")"))
            self.grow(height, self.height - 1)
            self.expect(")", "after the last result")
            if len(items) == 1:
                return replace(first, start=start, end=self.previous_end)
            return ast.TupleExpr(start, self.previous_end, items)
        self.expect(")", "to close the parenthesis")
        return replace(first, start=start, end=self.previous_end)

    def call(self) -> ast.Call:
        function = self.identifier("a function")
        self.advance()
        arguments: list[ast.Expr] = []
        keywords: list[ast.Keyword] = []
        heights: list[int] = []
        while not self.at(")"):
            if self.at("name") and self.peek().kind == "=":
                name = self.identifier("an argument's name")
                self.advance()
                value = self.expression()
                if any(k.name.name == name.name for k in keywords):
                    self.report(name.start, name.end, f"`{name.name}` is given twice")
                else:
                    keywords.append(ast.Keyword(name.start, self.previous_end, name, value))
            else:
                item = self.expression()
                if keywords:
                    self.report(
                        item.start, item.end, "an argument without a name stands behind one with a name",
                        "put it before the others, or name it",
                    )  # fmt: skip
                else:
                    arguments.append(item)
            heights.append(self.height)
            if not self.take(","):
                break
        self.grow(*heights)
        self.expect(")", "after the arguments")
        return ast.Call(function.start, self.previous_end, function, tuple(arguments), tuple(keywords))


_CONSTANTS: dict[str, int | float | bool | None] = {
    "true": True,
    "false": False,
    "none": None,
    "inf": float("inf"),
    "nan": float("nan"),
}


def _shown(token: Token) -> str:
    if token.kind == "end":
        return "the end of the file"
    text = token.text if len(token.text) <= 30 else token.text[:30] + "..."
    return f"`{text}`"
