"""Rebuilding graphs: the meaning stays, dead code goes, nothing is changed in place."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from heliostat import ops
from heliostat.diagnostics import ShapeError, VerifyError
from heliostat.ir.graph import CONSTANT, PARAMETER, Graph, Node, Value, constant, parameter
from heliostat.ir.rewrite import rewrite, share_equal, substitute
from heliostat.ir.text import print_graph
from heliostat.ir.types import f16, f32, tensor
from heliostat.ir.verify import verify
from heliostat.ops.evaluate import evaluate

from .random_graphs import HALVES, SYMBOLS, Halves, arrays, graphs

X = tensor(f32, 3, 4)


def same_meaning(a: Graph, b: Graph) -> None:
    given_arrays = arrays(a, 5)
    with np.errstate(all="ignore"):
        for x, y in zip(evaluate(a, given_arrays, SYMBOLS), evaluate(b, given_arrays, SYMBOLS), strict=True):
            np.testing.assert_array_equal(x, y)


@given(graph=graphs())
def test_a_rewriter_that_replaces_nothing_gives_the_graph(graph: Graph) -> None:
    before = print_graph(graph)
    again = rewrite(graph, lambda node, inputs: None)
    assert print_graph(again) == before
    assert [a is b for a, b in zip(again.outputs, graph.outputs, strict=True)]


@given(graph=graphs(), seed=st.integers(0, 2**20))
def test_replacing_by_equals_keeps_the_meaning(graph: Graph, seed: int) -> None:
    """relu(x) = maximum(x, 0), a - b = a + (-b), and copies of whatever else a coin picks."""
    rng = np.random.default_rng(seed)
    before = print_graph(graph)

    def replace(node: Node, inputs: tuple[Value, ...]) -> Sequence[Value] | None:
        if node.op.name == "relu":
            return (ops.maximum(inputs[0], 0),)
        if node.op.name == "sub":
            return (inputs[0] + -inputs[1],)
        if node.op not in (PARAMETER, CONSTANT) and rng.random() < 0.5:
            return Node(node.op, inputs, node.attrs, [r.type for r in node.results]).results
        return None

    again = rewrite(graph, replace)
    verify(again)
    assert not any(n.op.name in ("relu", "sub") for n in again.nodes())
    assert print_graph(graph) == before
    same_meaning(graph, again)


@given(graph=graphs())
def test_sharing_keeps_the_meaning_and_is_done_once(graph: Graph) -> None:
    shared = share_equal(graph)
    verify(shared)
    assert len(shared.nodes()) <= len(graph.nodes())
    assert len(share_equal(shared).nodes()) == len(shared.nodes())
    same_meaning(graph, shared)


def test_equal_expressions_become_one() -> None:
    x = parameter("x", X)
    a, b = ops.exp(x + 1.0), ops.exp(x + 1.0)
    shared = share_equal(Graph("f", [x], [a, b, ops.exp(x + 2.0)]))
    assert shared.outputs[0] is shared.outputs[1]
    assert shared.outputs[0] is not shared.outputs[2]
    kinds = [n.op.name for n in shared.nodes()]
    assert kinds.count("exp") == 2
    assert kinds.count("constant") == 2


def test_what_differs_is_not_shared() -> None:
    x = parameter("x", X)
    outputs = [
        ops.sum(x, 0), ops.sum(x, 1), ops.cast(x, f16), x + constant(0.0, tensor(f32)), x + constant(-0.0, tensor(f32)),
        x + constant(0.0, tensor(f32, 1)), x + constant(0.0, tensor(f16)), x - 1.0, 1.0 - x,
    ]  # fmt: skip
    shared = share_equal(Graph("f", [x], outputs))
    assert len({id(v) for v in shared.outputs}) == len(outputs)


def test_draws_of_random_numbers_are_not_shared() -> None:
    class Dice(Halves):
        """As if it were random."""

        deterministic = False

    x = parameter("x", X)
    dice = Dice()
    shared = share_equal(Graph("f", [x], [dice.build_all(x)[0], dice.build_all(x)[0]]))
    assert shared.outputs[0] is not shared.outputs[1]
    calm = share_equal(Graph("f", [x], [HALVES.build_all(x)[0], HALVES.build_all(x)[0]]))
    assert calm.outputs[0] is calm.outputs[1]


def test_dead_code_goes_and_parameters_stay() -> None:
    x, unused = parameter("x", X), parameter("unused", X)
    ops.exp(x)
    y = ops.neg(x) * 1.0

    def drop_one(node: Node, inputs: tuple[Value, ...]) -> Sequence[Value] | None:
        return inputs[:1] if node.op.name == "mul" else None

    graph = rewrite(Graph("f", [x, unused], [y]), drop_one)
    assert [n.op.name for n in graph.nodes()] == ["parameter", "parameter", "neg"]


def test_names_go_to_new_values_only() -> None:
    x = parameter("x", X)
    y = ops.neg(x)
    z = y * 1.0
    z.name = "z"
    graph = Graph("f", [x], [z])
    assert rewrite(graph, lambda n, i: i[:1] if n.op.name == "mul" else None).outputs[0] is y
    assert y.name == ""
    again = rewrite(graph, lambda n, i: (ops.exp(i[0]),) if n.op.name == "mul" else None)
    assert again.outputs[0].name == "z"


def test_types_follow_from_new_operands() -> None:
    x, state = parameter("x", X), parameter("s", X, "state")
    graph = Graph("f", [x, state], [ops.exp(x)], [(state, ops.neg(state))])

    def halve(node: Node, inputs: tuple[Value, ...]) -> Sequence[Value] | None:
        return (parameter(node.attrs["name"], tensor(f16, 3, 4), node.attrs["kind"]),) if node.op is PARAMETER else None

    again = rewrite(graph, halve)
    verify(again)
    assert again.outputs[0].type == tensor(f16, 3, 4)
    assert again.updates[0][0] is again.parameters[1]


def test_wrong_replacements_are_refused() -> None:
    x = parameter("x", X)
    graph = Graph("f", [x], [HALVES.build_all(x)[0], ops.rms_norm(x, parameter("w", tensor(f32, 4)))])
    with pytest.raises(VerifyError, match="has 2 results, its replacement has 1"):
        rewrite(graph, lambda n, i: i if n.op is HALVES else None)
    narrow = parameter("x", tensor(f32, 3, 2))
    with pytest.raises(ShapeError, match="rms_norm"):
        rewrite(graph, lambda n, i: (narrow,) if n.results[0] is x else None)


def test_substitute_shares_what_it_can() -> None:
    x, y = parameter("x", X), parameter("y", X)
    kept = ops.exp(x)
    total = kept + ops.neg(y)
    (made,) = substitute([total], {y: x})
    assert made.node.inputs[0] is kept
    assert made.node.inputs[1].node.inputs[0] is x
    assert substitute([kept, y], {y: x}) == [kept, x]
