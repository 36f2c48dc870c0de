"""The text form: what it looks like, that it round-trips, and that errors point to their place."""

from __future__ import annotations

import textwrap

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from heliostat import ops
from heliostat.diagnostics import LumSyntaxError, VerifyError
from heliostat.ir.graph import Graph, constant, parameter
from heliostat.ir.text import _Parser, attribute_text, parse_graph, print_graph
from heliostat.ir.types import Symbol, bf16, bool_, dim, element, f16, f32, f64, i32, i64, tensor
from heliostat.ir.verify import verify
from heliostat.ops.evaluate import evaluate
from heliostat.quant.activation import activation_format
from heliostat.quant.formats import Q4_0, Q8_0
from heliostat.quant.panel import Panel

from .random_graphs import SYMBOLS, arrays, find_op, graphs

DECODE = """\
graph decode<n <= 512, 1 <= p <= 8>(%tokens: tensor<i32, [n]>, weight %w: tensor<Q4_0, [64, 32]>, state %k: CACHE) {
  %x = embedding(%w, %tokens) : tensor<f32, [n, 32]>
  %0 = rms_norm(%x, %w) {eps = 1e-06} : tensor<f32, [n, 32]>
  %1 = constant [1.0, 0.1, inf, 1e-07] : tensor<f32, [4]>
  %x_2 = reshape(%x) {shape = [(n), 2, 16]} : tensor<f32, [n, 2, 16]>
  %2 = constant 2 : tensor<i32, []>
  %"keys, new" = cache_update(%k, %x_2, %2) : CACHE
  update %k = %"keys, new"
  return %0, %1
}
""".replace("CACHE", "tensor<f16, [2, 64, 16]>")


def test_what_it_looks_like() -> None:
    n = dim(Symbol("n", 512))
    x = parameter("x", tensor(f32, n, 4))
    w = parameter("w", tensor(Q4_0, 2, 32), "weight")
    k = parameter("k 0", tensor(f16, 2), "state")
    y = ops.slice(x * 0.1, 0, n - 1, n)
    y.name = "x"
    graph = Graph("one", [x, w, k], [y, ops.repack(w, Panel(16))], [(k, ops.neg(k))])
    expected = """\
        graph one<n <= 512>(%x: tensor<f32, [n, 4]>, weight %w: tensor<Q4_0, [2, 32]>, state %"k 0": tensor<f16, [2]>) {
          %0 = constant 0.1 : tensor<f32, []>
          %1 = mul(%x, %0) : tensor<f32, [n, 4]>
          %x_2 = slice(%1) {axis = 0, start = (n-1), step = 1, stop = (n)} : tensor<f32, [1, 4]>
          %2 = repack(%w) {layout = @panel(16)} : tensor<Q4_0, [2, 32], panel(16)>
          %3 = neg(%"k 0") : tensor<f16, [2]>
          update %"k 0" = %3
          return %x_2, %2
        }
        """
    assert print_graph(graph) == str(graph) == textwrap.dedent(expected)


def test_a_text_with_everything_is_read() -> None:
    graph = parse_graph(DECODE, ops.get)
    assert [p.kind for p in graph.parameters] == ["input", "weight", "state"]
    assert graph.symbols == (Symbol("n", 512), Symbol("p", 8, 1))
    assert graph.outputs[0].node.attrs["eps"] == 1e-6
    assert graph.outputs[0].name == ""
    assert graph.updates[0][1].name == "keys, new"
    assert print_graph(graph) == DECODE


@given(graph=graphs())
def test_round_trip(graph: Graph) -> None:
    text = print_graph(graph)
    again = parse_graph(text, find_op)
    assert print_graph(again) == text
    verify(again)
    assert again.structural_key() == graph.structural_key()
    assert [p.name for p in again.parameters] == [p.name for p in graph.parameters]
    given_arrays = arrays(graph, 1)
    for a, b in zip(evaluate(graph, given_arrays, SYMBOLS), evaluate(again, given_arrays, SYMBOLS), strict=True):
        np.testing.assert_array_equal(a, b)


@given(st.floats(width=64), st.sampled_from([f64, f32, f16, bf16]), st.integers(1, 3))
def test_numbers_come_back_to_the_bit(number: float, dtype: object, count: int) -> None:
    with np.errstate(over="ignore"):
        v = constant([number, 1.5, -0.0][:count], tensor(dtype, count))  # type: ignore[arg-type]
    again = parse_graph(print_graph(Graph("f", [], [v])), ops.get).outputs[0]
    before, after = v.node.attrs["value"], again.node.attrs["value"]
    assert before.dtype == after.dtype
    np.testing.assert_array_equal(before, after)
    np.testing.assert_array_equal(np.signbit(before[~np.isnan(before)]), np.signbit(after[~np.isnan(after)]))


@given(st.floats(allow_nan=False), st.text(max_size=12), st.integers(), st.booleans())
def test_attributes_come_back(number: float, text: str, whole: int, flag: bool) -> None:
    if abs(whole) >= 10**39:
        whole %= 10**39
    n, m = Symbol("n", 8), Symbol("m", 9)
    size = dim(n) * dim(m) * 2 - dim(n) + 3
    item = (number, text, whole, flag, None, size, 3 - dim(m), f32, Q8_0, Panel(8), (), ((1,), ("a",)))
    parser = _Parser(attribute_text(item), ops.get, None, "")
    parser.symbols = {"n": n, "m": m}
    found = parser.attribute()
    assert found == item
    assert [type(a) for a in found] == [type(a) for a in item]  # type: ignore[union-attr]


def test_constants_are_short_where_all_are_one() -> None:
    texts = [
        print_graph(Graph("f", [], [v])).splitlines()[1].strip()
        for v in (
            constant(0.1, tensor(f32, 100, 100)), constant([0.0, -0.0], tensor(f32, 2)), constant(True, tensor(bool_)),
            constant([True, False], tensor(bool_, 2)), constant(0.1, tensor(bf16)), constant(0, tensor(i64, 0, 2)),
            constant(np.arange(4).reshape(2, 2), tensor(i64, 2, 2)),
        )
    ]  # fmt: skip
    assert texts == [
        "%0 = constant 0.1 : tensor<f32, [100, 100]>",
        "%0 = constant [0.0, -0.0] : tensor<f32, [2]>",
        "%0 = constant true : tensor<bool, []>",
        "%0 = constant [true, false] : tensor<bool, [2]>",
        "%0 = constant 0.100097656 : tensor<bf16, []>",
        "%0 = constant [] : tensor<i64, [0, 2]>",
        "%0 = constant [[0, 1], [2, 3]] : tensor<i64, [2, 2]>",
    ]


def test_activation_formats_go_by_their_name() -> None:
    x = parameter("x", tensor(f32, 2, 256))
    made = ops.quantize(x, activation_format(256, 16, "i32", -32))
    graph = Graph("f", [x], [ops.linear(made, parameter("w", tensor(Q8_0, 4, 256)))])
    text = print_graph(Graph("f", [*graph.parameters, graph.nodes()[-1].inputs[1]], graph.outputs))
    assert "quantize(%x) {format = !a8_256_16_i32x-32} : tensor<a8_256_16_i32x-32, [2, 256]>" in text
    assert print_graph(parse_graph(text, ops.get)) == text
    biased = activation_format(32, 32, "i32", -8, 2, biased=True)
    assert element(str(biased)) == biased
    with pytest.raises(KeyError, match="a8_32_32_f32x1_biased"):
        element("a8_32_32_f32x1_biased")


@pytest.mark.parametrize(
    ("old", "new", "message", "place"),
    [
        ("graph", "grph", "expected `graph`, found 'grph decode<'", (1, 1)),
        ("weight %w", "wait %w", "a parameter is one of input, weight, state, not wait", (1, 64)),
        ("Q4_0", "Q4_9", "there is no element type Q4_9", (1, 82)),
        ("%x = emb", "%x = unknown", "there is no op unknownedding", (2, 8)),
        ("(%w, %tokens)", "(%w, %nothing)", "%nothing is not defined", (2, 22)),
        ("  %x = ", "  %w = ", "%w is defined twice", (2, 3)),
        ("  %x = ", "  %x, %y = ", "2 names are given to 1 results", (2, 3)),
        ("[n, 32]>\n  %0", "[m, 32]>\n  %0", "expected a size or a declared symbol, found 'm, 32]>'", (2, 46)),
        ("constant 2", "constant 3000000000", "a constant of tensor<i32, []> cannot be made", (6, 8)),
        ("constant 2", "constant 2.5", "these are no values of tensor<i32, []>", (6, 8)),
        ("constant 2", 'constant "a"', "these are no values of tensor<i32, []>", (6, 8)),
        ("{eps = 1e-06}", "{eps = 1, eps = 2}", "attribute eps is given twice", (3, 35)),
        ("{eps = 1e-06}", "{eps = @spiral(3)}", "there is no layout spiral(3)", (3, 33)),
        ("{eps = 1e-06}", "{eps = 1e-06", "expected `,`, found ': tensor<f32'", (3, 38)),
        ("1 <= p <= 8", "p <= 8, p <= 8", "symbol p is declared twice", (1, 32)),
        ("return %0, %1\n}", "return %0, %1\n} x", "expected the end of the text, found 'x'", (10, 3)),
        ("  return %0, %1\n}\n", "", "expected a value, found the end", (9, 1)),
        ("[1.0, 0.1, inf, 1e-07]", "[1.0, 0.1", "expected `,`, found ': tensor<f32'", (4, 27)),
        ("[1.0, 0.1, inf, 1e-07]", "[" * 70, "lists are nested more than 64 deep", (4, 82)),
        ("<f32, [4]>", "<f32, [999999999, 9]>", "a constant of 8999999991 elements is too large", (4, 8)),
    ],
)  # fmt: skip
def test_errors_point(old: str, new: str, message: str, place: tuple[int, int]) -> None:
    text = DECODE.replace(old, new, 1)
    assert text != DECODE
    with pytest.raises(LumSyntaxError) as caught:
        parse_graph(text, ops.get, path="step.graph")
    assert caught.value.message.startswith(message)
    at = caught.value.at
    assert at is not None
    assert (at.path, at.line, at.column) == ("step.graph", *place)
    assert caught.value.source == text


@settings(max_examples=300)
@given(st.integers(0, len(DECODE)), st.integers(0, 6), st.text('%<>[](){}=:,!@"\\0n-*.eé ', max_size=3))
@example(0, len(DECODE), "")
def test_any_text_is_a_graph_or_a_syntax_error(at: int, cut: int, put: str) -> None:
    text = DECODE[:at] + put + DECODE[at + cut :]
    try:
        graph = parse_graph(text, ops.get)
        verify(graph)
    except (LumSyntaxError, VerifyError):
        return
    assert parse_graph(print_graph(graph), ops.get).structural_key() == graph.structural_key()


def test_comments_and_spaces_do_not_count() -> None:
    text = "// a comment\ngraph f(%x:tensor<i32,[2]>){ // here\n%y=neg(%x):tensor<i32,[2]>\nreturn %y}"
    graph = parse_graph(text, ops.get)
    assert print_graph(graph) == (
        "graph f(%x: tensor<i32, [2]>) {\n  %y = neg(%x) : tensor<i32, [2]>\n  return %y\n}\n"
    )
    assert graph.outputs[0].type == tensor(i32, 2)
