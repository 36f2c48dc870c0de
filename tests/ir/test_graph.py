"""Graphs: text round trip, structural keys, sharing and verification, on random graphs."""

from __future__ import annotations

import random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from heliostat import ops
from heliostat.diagnostics import LumSyntaxError, VerifyError
from heliostat.ir.graph import Graph, Node, Value, parameter
from heliostat.ir.rewrite import share_equal
from heliostat.ir.text import parse_graph, print_graph
from heliostat.ir.types import Symbol, dim, f32, tensor
from heliostat.ir.verify import verify
from heliostat.ops.evaluate import evaluate

N = dim(Symbol("n", 9, 1))


def random_graph(seed: int) -> Graph:
    choose = random.Random(seed)
    x, y = parameter("x", tensor(f32, N, 6)), parameter("y", tensor(f32, 6))
    values: list[Value] = [x]
    for _ in range(choose.randrange(1, 12)):
        a, b = choose.choice(values), choose.choice([*values, y])
        kind = choose.randrange(7)
        if kind == 0:
            values.append(ops.add(a, b))
        elif kind == 1:
            values.append(ops.mul(a, choose.choice([0.5, -2.0, 1e-3])))
        elif kind == 2:
            values.append(ops.tanh(a))
        elif kind == 3:
            values.append(ops.softmax(a))
        elif kind == 4:
            values.append(ops.sub(a, ops.mean(a, -1, True)))
        elif kind == 5:
            values.append(ops.reshape(ops.reshape(a, (N * 2, 3)), (N, 6)))
        else:
            values.append(ops.where(ops.lt(a, b), a, 0.0))
    return Graph("g", [x, y], [values[-1], ops.slice(values[-1], 0, N - 1, N)])


@settings(max_examples=80, deadline=None)
@given(seed=st.integers(0, 1 << 30))
def test_random_graphs_round_trip_and_keep_their_meaning(seed: int) -> None:
    g = random_graph(seed)
    verify(g)
    text = print_graph(g)
    back = parse_graph(text, ops.get)
    verify(back)
    assert print_graph(back) == text
    assert back.structural_key() == g.structural_key() == random_graph(seed).structural_key()
    rng = np.random.default_rng(seed)
    given = {"x": rng.standard_normal((4, 6)), "y": rng.standard_normal(6)}
    expected = evaluate(g, given)
    for other in (back, share_equal(g)):
        for a, b in zip(evaluate(other, given), expected, strict=True):
            np.testing.assert_array_equal(a, b)


def test_structural_keys_tell_graphs_apart() -> None:
    x = parameter("x", tensor(f32, 4))
    keys = {
        Graph("g", [x], [y]).structural_key()
        for y in (ops.add(x, x), ops.mul(x, x), ops.mul(x, 2.0), ops.mul(x, 3.0), ops.tanh(ops.tanh(x)))
    }
    assert len(keys) == 5


def test_sharing_makes_equal_nodes_one() -> None:
    x = parameter("x", tensor(f32, 4))
    g = share_equal(Graph("g", [x], [ops.add(ops.tanh(x), ops.tanh(x))]))
    assert [n.op.name for n in g.nodes()] == ["parameter", "tanh", "add"]


def test_the_verifier_names_what_is_wrong() -> None:
    x = parameter("x", tensor(f32, 4))
    wrong = Node(ops.get("tanh"), (x,), {}, (tensor(f32, 5),), "wrong").results[0]
    with pytest.raises(VerifyError, match="wrong"):
        verify(Graph("g", [x], [wrong]))
    with pytest.raises(VerifyError, match="x"):
        verify(Graph("g", [], [ops.tanh(x)]))
    with pytest.raises(VerifyError, match="x"):
        verify(Graph("g", [x, parameter("x", tensor(f32, 4))], [x]))


def test_deep_graphs_need_no_recursion() -> None:
    y = parameter("x", tensor(f32, 4))
    first = y
    for _ in range(20000):
        y = ops.neg(y)
    assert len(Graph("deep", [first], [y]).nodes()) == 20001


@pytest.mark.parametrize("text", ["", "graph", "graph g(", "graph g() { %0 = nothing() : tensor<f32, [1]> return %0 }"])
def test_bad_text_is_a_syntax_error_with_a_place(text: str) -> None:
    with pytest.raises(LumSyntaxError) as caught:
        parse_graph(text, ops.get)
    assert caught.value.at is not None
