"""The parser: precedence, recovery, bounds, and the way back to text."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from heliostat.diagnostics import Diagnostic, FileFormatError
from heliostat.lang import ast
from heliostat.lang.parse import MAX_DEPTH, MAX_ERRORS, PRECEDENCE, parse
from heliostat.lang.source import MAX_BYTES, Source, decode_source
from heliostat.lang.text import expression_text, outline, source_text, to_json

EXAMPLES = sorted(Path(__file__).parents[2].joinpath("examples").glob("*.lum"))


def body(statements: str) -> tuple[tuple[ast.Statement, ...], list[Diagnostic]]:
    tree, errors = parse(Source(f"fn f() -> tensor<f32, []> {{ {statements} }}"))
    function = tree.declarations[0]
    assert isinstance(function, ast.Function)
    return function.body, errors


def expression(text: str) -> ast.Expr:
    statements, errors = body(f"return {text};")
    assert errors == []
    assert isinstance(statements[0], ast.Return)
    return statements[0].value


def fully_parenthesized(node: ast.Expr) -> str:
    if isinstance(node, ast.Binary):
        return f"({fully_parenthesized(node.left)} {node.op} {fully_parenthesized(node.right)})"
    if isinstance(node, ast.Unary):
        return f"({node.op} {fully_parenthesized(node.operand)})"
    return expression_text(node)


@pytest.mark.parametrize(
    ("text", "grouped"),
    [
        ("a + b * c", "(a + (b * c))"),
        ("a - b - c", "((a - b) - c)"),
        ("a * b @ c / d", "(((a * b) @ c) / d)"),
        ("a ** b ** c", "(a ** (b ** c))"),
        ("-a ** 2", "(- (a ** 2))"),
        ("2 ** -a", "(2 ** (- a))"),
        ("-a * b", "((- a) * b)"),
        ("a @ -b", "(a @ (- b))"),
        ("not a == b", "(not (a == b))"),
        ("not a and b", "((not a) and b)"),
        ("a or b and c", "(a or (b and c))"),
        ("a < b and c >= d", "((a < b) and (c >= d))"),
        ("a + b < c * d", "((a + b) < (c * d))"),
        ("(a < b) == c", "((a < b) == c)"),
        ("(a + b) * c", "((a + b) * c)"),
        ("- - a", "(- (- a))"),
        ("not not a", "(not (not a))"),
    ],
)
def test_precedence(text: str, grouped: str) -> None:
    assert fully_parenthesized(expression(text)) == grouped


@pytest.mark.parametrize(
    "text",
    [
        "f()",
        "f(a, b, eps=1e-06)",
        "reshape(x, [M, 64])",
        "x[0, 1:2, ::2, :]",
        "[[1, 2], []]",
        "(a, b)",
        '"tanh"',
        "none",
        "-inf",
        "true",
    ],
)
def test_expressions_print_as_they_were_written(text: str) -> None:
    assert expression_text(expression(text)) == text


def test_a_trailing_comma_is_allowed_everywhere() -> None:
    text = "fn f<M <= 4,>(x: tensor<f32, [M,]>,) -> (tensor<f32, [M]>, tensor<f32, [M]>,) { return (g(x,), [1,],); }"
    assert parse(Source(text))[1] == []


def test_the_closing_angle_may_touch_an_equals_sign() -> None:
    statements, errors = body("let y: tensor<f32, [4]>= 3; return y;")
    assert errors == []
    assert isinstance(statements[0], ast.Let)


# -- errors


def messages(text: str) -> list[str]:
    return [f"{d.at.line}:{d.at.column} {d.message}" for d in parse(Source(text))[1] if d.at]


def test_every_statement_reports_its_own_error() -> None:
    text = "fn f() -> tensor<f32, []> {\n  let a = 1 +;\n  let b = ) ;\n  return a b;\n}\nfn g( {}\nfn h -> x {}\n"
    assert messages(text) == [
        "2:14 expected an expression, found `;`",
        "3:11 expected an expression, found `)`",
        "4:12 expected `;` after the value, found `b`",
        "6:7 expected a parameter's name, found `{`",
        "7:6 expected `(` before the parameters, found `->`",
    ]


def test_each_parameter_reports_its_own_error() -> None:
    assert messages("fn f(x: f32, y: tensor<f16>, z: tensor<f32, [1]>) -> 3 { return z; }") == [
        "1:9 expected a type, found `f32`",
        "1:27 expected `,` and a shape after the element type, found `>`",
        "1:54 expected a type, found `3`",
    ]


def test_a_missing_semicolon_costs_nothing_else() -> None:
    statements, errors = body("let a = 1\nlet b = a\nreturn b")
    assert [d.message for d in errors] == ["expected `;` after the value"] * 3
    assert [type(s).__name__ for s in statements] == ["Let", "Let", "Return"]


def test_comparisons_do_not_chain() -> None:
    _, errors = body("return a < b <= c == d;")
    assert [d.message for d in errors] == ["comparisons do not chain: `<` stands before `<=`"]
    assert errors[0].help == "write `a < b and b <= c`"


@pytest.mark.parametrize(
    ("statement", "help"),
    [
        ("return a && b;", "write `and`"),
        ("return a ^ b;", "write `**`"),
        ("return !a;", "write `not`"),
        ("return a.sum();", "write a call: `sum(x)`"),
        ("a = b;", "a new value is named by `let a = ...;`"),
        ("return a, b;", "write `return (a, b);`"),
        ("let b = a = 1;", "write `==`"),
    ],
)
def test_habits_of_other_languages_get_an_answer(statement: str, help: str) -> None:
    _, errors = body(statement)
    assert [d.help for d in errors] == [help]


def test_statements_in_a_format_end() -> None:
    assert messages("format q { let x = 1; return; block 4; d: let }") == [
        "1:12 `let` is a keyword, it cannot be a field's name, `block` or `value`",
        "1:23 `return` is a keyword, it cannot be a field's name, `block` or `value`",
        "1:43 `let` is a keyword, it cannot be the field's type",
    ]


# -- bounds


@pytest.mark.parametrize(
    "text",
    [
        "(" * 10_000 + "a" + ")" * 10_000,
        "-" * 10_000 + "a",
        "not " * 10_000 + "a",
        "[" * 10_000,
        "f(" * 10_000,
        "a[" * 10_000,
        "2 ** " * 10_000 + "2",
        "a" + " + a" * 10_000,
        "a" + "[0]" * 10_000,
        "(" * 60 + "a" + " + a)" * 60 + " + a" * 60,
    ],
)
def test_nesting_is_bounded(text: str) -> None:
    _, errors = body(f"return {text};")
    assert [d.message for d in errors] == [f"this is nested more than {MAX_DEPTH} levels deep"]


def test_nested_types_are_bounded() -> None:
    _, errors = parse(Source("fn f() -> " + "(" * 10_000))
    assert "nested" in errors[0].message


def test_what_is_just_not_too_deep_parses() -> None:
    node = expression("(" * (MAX_DEPTH - 2) + "a" + ")" * (MAX_DEPTH - 2))
    assert node == ast.Name(0, 0, "a")


def test_errors_are_bounded() -> None:
    _, errors = parse(Source("fn f() -> tensor<f32, []> { " + "let = ; " * 10_000 + "}"))
    assert len(errors) == MAX_ERRORS + 1
    assert errors[-1].message == f"stopped after {MAX_ERRORS} syntax errors"


def test_a_large_file_is_refused_at_once() -> None:
    with pytest.raises(FileFormatError, match="at most"):
        decode_source(b"a" * (MAX_BYTES + 1), "f.lum")


def test_bytes_that_are_no_text() -> None:
    with pytest.raises(FileFormatError, match=r"f.lum: line 2, byte 3: 0xff is not valid UTF-8"):
        decode_source(b"// a\nab\xff", "f.lum")


def test_a_byte_order_mark_is_dropped() -> None:
    assert decode_source(b"\xef\xbb\xbffn", "f.lum").text == "fn"


def test_lines_end_as_on_windows_too() -> None:
    assert messages("fn f() -> tensor<f32, []> {\r\n  return $;\r\n}") == ["2:10 unexpected character `$`"]


# -- properties

names = st.sampled_from(["a", "b", "x1", "M", "_w"])
leaves = names.map(lambda n: ast.Name(0, 0, n)) | (
    st.integers(0, 2**63 - 1) | st.floats(0, 1e300) | st.booleans() | st.none() | st.text('ab"\\\n\t \u00e9')
).map(lambda v: ast.Literal(0, 0, v))


def identifier(name: str) -> ast.Identifier:
    return ast.Identifier(0, 0, name)


def larger(inner: st.SearchStrategy[ast.Expr]) -> st.SearchStrategy[ast.Expr]:
    keyword = st.builds(lambda n, v: ast.Keyword(0, 0, identifier(n), v), names, inner)
    keywords = st.lists(keyword, max_size=2, unique_by=lambda k: k.name.name).map(tuple)
    part = st.none() | inner
    index = inner | st.builds(lambda a, b, c: ast.Slice(0, 0, a, b, c), part, part, part)
    items = st.lists(inner, max_size=3).map(tuple)
    return (
        st.builds(lambda o, a, b: ast.Binary(0, 0, o, a, b, (0, 0)), st.sampled_from(sorted(PRECEDENCE)), inner, inner)
        | st.builds(lambda o, a: ast.Unary(0, 0, o, a), st.sampled_from(["-", "not"]), inner)
        | st.builds(lambda n, a, k: ast.Call(0, 0, identifier(n), a, k), names, items, keywords)
        | st.builds(lambda a, i: ast.Index(0, 0, a, tuple(i)), inner, st.lists(index, min_size=1, max_size=3))
        | items.map(lambda i: ast.ListExpr(0, 0, i))
        | st.lists(inner, min_size=2, max_size=3).map(lambda i: ast.TupleExpr(0, 0, tuple(i)))
    )


@pytest.mark.filterwarnings("ignore:Generating overly large repr")
@settings(max_examples=150, deadline=None)
@given(st.recursive(leaves, larger, max_leaves=12))
def test_printing_and_parsing_an_expression_gives_it_back(node: ast.Expr) -> None:
    assert expression(expression_text(node)) == node


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda p: p.stem)
def test_printing_and_parsing_an_example_gives_it_back(path: Path) -> None:
    source = Source(path.read_text(encoding="utf-8"), path.name)
    tree, errors = parse(source)
    assert errors == []
    assert parse(Source(source_text(tree))) == (tree, [])
    assert json.loads(json.dumps(to_json(tree, source)))["kind"] == "File"
    assert outline(tree, source).startswith("File")


def test_the_outline_names_what_stands_where() -> None:
    source = Source("fn f<M <= 8>(x: tensor<f32, [M]>) -> tensor<f32, [M]> {\n  return -x;\n}")
    assert outline(parse(source)[0], source).splitlines() == [
        "File  @1:1",
        "  Function f tensor<f32, [M]>  @1:1",
        "    ShapeParameter M lower=0 upper=8  @1:6",
        "    Parameter x tensor<f32, [M]>  @1:14",
        "    Return  @2:3",
        "      Unary -  @2:10",
        "        Name x  @2:11",
    ]


SOUP = sorted(
    {*"()[]{}<>,;:=+-*/%@.!&|#'$\"", "->", "**", "<=", "==", "fn", "format", "let", "return", "not", "and", "tensor"}
    | {"block", "value", "table", "f32", "q4_0", "x", "M", "1", "0.5", "1e", "0x", "\n", "//", "/*", "*/", "\x00", "é"}
)  # fmt: skip


@settings(max_examples=200, deadline=None)
@given(st.lists(st.sampled_from(SOUP), max_size=60).map(" ".join))
def test_token_soup_gives_diagnostics_only(text: str) -> None:
    tree, errors = parse(Source(text))
    if not errors:
        assert parse(Source(source_text(tree))) == (tree, [])


@settings(max_examples=100, deadline=None)
@given(st.text(max_size=200))
def test_any_text_gives_diagnostics_only(text: str) -> None:
    parse(Source(text))
