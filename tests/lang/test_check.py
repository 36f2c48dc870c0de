"""The checker: what is right passes, what is wrong is said as the golden files have it, and nothing else comes out."""

from __future__ import annotations

import re
import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from heliostat import ops
from heliostat.ir.text import parse_graph
from heliostat.ir.types import Symbol, dim, tensor
from heliostat.ir.types import f32 as F32
from heliostat.lang.calls import op_names
from heliostat.lang.check import Module, check
from heliostat.lang.parse import MINUS_PRECEDENCE, NOT_PRECEDENCE, PRECEDENCE
from heliostat.lang.source import Source, read_source

HERE = Path(__file__).parent
EXAMPLES = sorted(HERE.parents[1].joinpath("examples").glob("*.lum"))
GOLDEN = sorted(HERE.joinpath("golden").glob("*.lum"))


def checked(text: str) -> Module:
    return check(Source(text, "f.lum"))


def messages(text: str) -> list[str]:
    return [f.message for f in checked(text).findings]


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda p: p.stem)
def test_examples_type_check(path: Path) -> None:
    module = check(read_source(path))
    assert [f.render(module.source.lines) for f in module.findings] == []
    assert module.functions


def test_the_examples_of_the_reference_type_check() -> None:
    text = HERE.parents[1].joinpath("docs", "language.md").read_text(encoding="utf-8")
    blocks = re.findall(r"```lum\n(.*?)```", text, re.DOTALL)
    assert len(blocks) >= 3
    for block in blocks:
        assert messages(block) == []


def test_the_reference_lists_the_operators_in_order() -> None:
    text = HERE.parents[1].joinpath("docs", "language.md").read_text(encoding="utf-8")
    rows = [re.findall(r"`([^`]+)`", row) for row in re.findall(r"^\| (`[^|]*`) \|", text, re.MULTILINE)]
    places = {op: i for i, row in enumerate(rows) for op in row}
    powers = {**PRECEDENCE, "-": MINUS_PRECEDENCE, "not": NOT_PRECEDENCE}
    listed = sorted((op for op in powers if op in places), key=lambda op: places[op])
    assert set(PRECEDENCE) <= places.keys()
    assert [powers[op] for op in listed if op != "-"] == sorted(
        (powers[op] for op in listed if op != "-"), reverse=True
    )


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda p: p.stem)
def test_graphs_of_examples_survive_their_text_form(path: Path) -> None:
    module = check(read_source(path))
    module.register()
    for graph in module.functions.values():
        again = parse_graph(str(graph), ops.get)
        assert again.structural_key() == graph.structural_key()


@pytest.mark.parametrize("path", GOLDEN, ids=lambda p: p.stem)
def test_errors_read_as_expected(path: Path, request: pytest.FixtureRequest) -> None:
    source = Source(path.read_text(encoding="utf-8"), path.name)
    found = "\n\n".join(f.render(source.lines) for f in check(source).findings) + "\n"
    expected = path.with_suffix(".txt")
    if request.config.getoption("--update-golden"):
        expected.write_text(found, encoding="utf-8")
    assert found == expected.read_text(encoding="utf-8")


@pytest.mark.parametrize("path", GOLDEN, ids=lambda p: p.stem)
def test_each_error_is_reported_once_and_in_order(path: Path) -> None:
    found = check(read_source(path)).findings
    places = [(f.at.line, f.at.column) for f in found if f.at]
    assert places == sorted(places)
    assert len(set(found)) == len(found)


SIGNATURE = "fn f<1 <= M <= 8>(x: tensor<f32, [M, 4]>, w: tensor<f32, [6, 4]>) -> tensor<f32, [M, 6]>"


def test_a_function_becomes_a_graph_with_its_types() -> None:
    module = checked(SIGNATURE + "{ return x @ transpose(w); }")
    assert module.findings == ()
    graph = module.functions["f"]
    m = dim(Symbol("M", 8, 1))
    assert [(p.name, p.type) for p in graph.parameters] == [("x", tensor(F32, m, 4)), ("w", tensor(F32, 6, 4))]
    assert [v.type for v in graph.outputs] == [tensor(F32, m, 6)]


def test_let_may_use_a_name_again() -> None:
    text = "fn f(x: tensor<f32, [4]>) -> tensor<f32, [2, 2]> { let x = reshape(x, [2, 2]); return x; }"
    assert messages(text) == []


def test_a_function_of_the_file_hides_the_op_of_its_name() -> None:
    text = """
    fn relu(x: tensor<f32, [4]>) -> tensor<f32, [2, 2]> { return reshape(x, [2, 2]); }
    fn f(x: tensor<f32, [4]>) -> tensor<f32, [2, 2]> { return relu(x); }
    """
    assert messages(text) == []


def test_functions_may_stand_in_any_order() -> None:
    text = """
    fn f(x: tensor<f32, [4]>) -> tensor<f32, [4]> { return g(x); }
    fn g(x: tensor<f32, [4]>) -> tensor<f32, [4]> { return -x; }
    """
    assert messages(text) == []


def test_shape_parameters_follow_from_the_arguments() -> None:
    text = """
    fn g<M <= 64, N <= 64>(x: tensor<f32, [2 * M + 1, N]>, y: tensor<f32, [N + M]>) -> tensor<f32, [M]> {
      return reshape(y[0:M], [M]);
    }
    fn f<N <= 9>(x: tensor<f32, [2 * N + 3, 7]>, y: tensor<f32, [N + 8]>) -> tensor<f32, [N + 1]> { return g(x, y); }
    """
    assert messages(text) == []


def test_several_results() -> None:
    text = """
    fn g(x: tensor<f32, [4]>) -> (tensor<f32, [4]>, tensor<f32, [2, 2]>) { return (-x, reshape(x, [2, 2])); }
    fn f(x: tensor<f32, [4]>) -> tensor<f32, [2, 2]> { let (a, b) = g(x); return b + 1.0; }
    fn h(x: tensor<f32, [4]>) -> (tensor<f32, [4]>, tensor<f32, [2, 2]>) { return g(x); }
    """
    assert messages(text) == []


def test_operators_bind_to_ops() -> None:
    text = """
    fn f(x: tensor<f32, [4]>, y: tensor<f32, [4]>) -> tensor<bool, [4]> {
      let z = (x + 1) * 2 - y / 3.5 + x ** 2;
      return x < y and not (z == y or x >= 0.5) and x <= 1 and x != z and z > 2;
    }
    """
    assert messages(text) == []


def test_a_broken_function_does_not_hide_errors_in_its_callers() -> None:
    text = """
    fn g(x: tensor<f32, [4]>) -> tensor<f32, [4]> { return oops; }
    fn f(x: tensor<f32, [4]>) -> tensor<f32, [5]> { return g(x); }
    """
    assert messages(text) == ["there is no value `oops`", "expected tensor<f32, [5]>, found tensor<f32, [4]>"]


def test_a_syntax_error_does_not_hide_type_errors_elsewhere() -> None:
    text = """
    fn g(x: tensor<f32, [4]>) -> tensor<f32, [4]> { let y = x +; return y + oops; }
    fn f(x: tensor<f32, [4]>) -> tensor<f16, [4]> { return g(x); }
    """
    assert len(messages(text)) == 3


def test_two_files_may_declare_different_formats_of_one_name() -> None:
    text = "format mine {{ block 32; d: f16; q: u{}[32]; value = d * q; }}"
    assert messages(text.format(4)) == messages(text.format(5)) == []


# -- bounds


def test_inlining_is_bounded() -> None:
    rows = ["fn f0(x: tensor<f32, [4]>) -> tensor<f32, [4]> { return -x; }"]
    for i in range(1, 40):
        rows.append(f"fn f{i}(x: tensor<f32, [4]>) -> tensor<f32, [4]> {{ return f{i - 1}(f{i - 1}(x)); }}")
    found = messages("\n".join(rows))
    assert any("too much to inline" in m for m in found)


def test_long_chains_of_calls_are_bounded() -> None:
    rows = ["fn f0(x: tensor<f32, [4]>) -> tensor<f32, [4]> { return -x; }"]
    for i in range(1, 500):
        rows.append(f"fn f{i}(x: tensor<f32, [4]>) -> tensor<f32, [4]> {{ return f{i - 1}(x); }}")
    found = messages("\n".join(reversed(rows)))
    assert all("too much to inline" in m for m in found)


def test_deep_expressions_inlined_into_deep_expressions_are_bounded() -> None:
    rows = ["fn f0(x: tensor<f32, [4]>) -> tensor<f32, [4]> { return -x; }"]
    for i in range(1, 30):
        deep = "silu(" * 90 + f"f{i - 1}(x)" + ")" * 90
        rows.append(f"fn f{i}(x: tensor<f32, [4]>) -> tensor<f32, [4]> {{ return {deep}; }}")
    found = messages("\n".join(rows))
    assert found
    assert all("too much to inline" in m for m in found)


@pytest.mark.parametrize(
    "text",
    [
        "fn f(x: tensor<f32, [4]>) -> tensor<f32, [4]> {" + "let x = -x;" * 20_000 + "return x; }",
        "fn f(x: tensor<f32, [4]>) -> tensor<f32, [4]> {" + "let x = oops + x;" * 20_000 + "return x; }",
        "fn f(x: tensor<f32, [" + "4, " * 100_000 + "]>) -> tensor<f32, [4]> { return x; }",
        "fn f(" + "x: tensor<f32, [4]>, " * 20_000 + ") -> tensor<f32, [4]> { return x; }",
        "fn f() -> tensor<f32, [4]> { return x; }" * 20_000,
        "/*" * 400_000,
        "\0" * 900_000,
    ],
    ids=["lets", "errors", "dimensions", "parameters", "functions", "comments", "zeros"],
)
def test_large_sources_take_bounded_time(text: str) -> None:
    begin = time.perf_counter()
    check(Source(text[: (1 << 20) - 1]))
    assert time.perf_counter() - begin < 60  # bounded, not fast: a quadratic step would take hours


TEXTS = [p.read_text(encoding="utf-8") for p in (*EXAMPLES, *GOLDEN)]
WORDS = [
    *"<>(){}[],;:=@*/%-",
    "->",
    "**",
    "==",
    "fn",
    "let",
    "return",
    "format",
    "tensor",
    "not",
    "and",
    "true",
    "none",
]
WORDS += ["x", "M", "w", "0", "1", "64", "-1", "1e30", "inf", "9223372036854775807", '"s"', "f32", "q4_0", "[[1]]"]
WORDS += ["softmax(x)", "reshape(x, [M, -1])", "transpose(", "sum(x)", "cast(x, f16)", "x[0:M]"]


@st.composite
def mutated(draw: st.DrawFn) -> str:
    text = draw(st.sampled_from(TEXTS))
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, len(text)))
        drop = draw(st.integers(0, 12))
        put = draw(st.lists(st.sampled_from(WORDS), max_size=3).map(" ".join))
        text = f"{text[:at]}{put}{text[at + drop :]}"
    return text


@settings(max_examples=200, deadline=None)
@given(mutated())
def test_mutated_sources_give_diagnostics_only(text: str) -> None:
    module = checked(text)
    for finding in module.findings:
        assert finding.at is not None
        assert finding.render(module.source.lines)
        assert "Traceback" not in finding.message


ATOMS = ["x", "w", "M", "2", "0", "0.5", "-1", "true", "none", "f16", "[M, 4]", '"s"', "[1, 0]"]
OPERATORS = ["+", "-", "*", "/", "%", "@", "**", "==", "<", "and", "or"]
FUNCTIONS = [*op_names(), "f"]


def combined(inner: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    return (
        st.builds("({} {} {})".format, inner, st.sampled_from(OPERATORS), inner)
        | st.builds("{}({})".format, st.sampled_from(FUNCTIONS), inner)
        | st.builds("{}({}, {})".format, st.sampled_from(FUNCTIONS), inner, inner)
        | st.builds("{}[{}:{}]".format, inner, inner, inner)
        | st.builds("(-{})".format, inner)
    )


@settings(max_examples=300, deadline=None)
@given(st.recursive(st.sampled_from(ATOMS), combined, max_leaves=8))
def test_well_formed_nonsense_gives_diagnostics_only(text: str) -> None:
    for finding in checked(f"{SIGNATURE} {{ let y = {text}; return y; }}").findings:
        assert finding.at is not None
