"""Heads of attention as views: the same numbers for any cut, and one pass for each where that can be."""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import pytest

from heliostat import ops
from heliostat.compiler.heads import heads_by_views
from heliostat.compiler.pipeline import compile_graph as made_program
from heliostat.compiler.pipeline import lower
from heliostat.ir.graph import Graph, parameter
from heliostat.ir.types import f32, tensor
from heliostat.ops import REGISTRY
from heliostat.ops.evaluate import evaluate
from heliostat.session import compile_graph
from heliostat.session.host import host_target
from heliostat.targets.target import CUDA

SHAPE = (2, 48, 3, 16)  # batch, tokens, heads, elements: enough that a schedule takes attention whole


def attention(starts: list[int], width: int, shape: tuple[int, int, int, int] = SHAPE) -> Graph:
    """Attention of q, k and v cut from rows of x, and the gradients of these side by side."""
    batch, length, heads, each = shape
    x, g = parameter("x", tensor(f32, batch, length, width)), parameter("g", tensor(f32, batch, heads, length, each))
    parts = [ops.slice(x, 2, start, start + heads * each) for start in starts]
    q, k, v = (ops.transpose(ops.reshape(p, (batch, length, heads, each)), (0, 2, 1, 3)) for p in parts)
    made = REGISTRY["dot_product_attention_gradient"].build(g, q, k, v, scale=each**-0.5, causal=True)
    whole = ops.reshape(made, (3 * batch, heads, length, each))  # as the gradient of attention gives its parts
    back = [ops.slice(whole, 0, n * batch, (n + 1) * batch) for n in range(3)]
    rows = [ops.reshape(ops.transpose(b, (0, 2, 1, 3)), (batch, length, heads * each)) for b in back]
    by_parts = REGISTRY["concat"].build(*rows, axis=2)
    return Graph("attention", [x, g], [ops.dot_product_attention(q, k, v, each**-0.5, True), by_parts])


def arrays(graph: Graph) -> dict[str, Any]:
    rng = np.random.default_rng(5)
    found = ((p.node.attrs["name"], tuple(map(int, p.type.shape))) for p in graph.parameters)  # type: ignore[arg-type]
    return {name: rng.standard_normal(shape).astype(np.float32) for name, shape in found}


def stages(graph: Graph) -> dict[str, Graph]:
    """The graph before this pass, and behind it."""
    seen: dict[str, Graph] = {}
    lower(graph, host_target(), observe=lambda name, g: seen.__setitem__(name, g))
    return {"before": seen["heads"], "behind": seen["heads_by_views"]}


def shapes(graph: Graph, op: str) -> list[tuple[Any, ...]]:
    return [n.results[0].type.shape for n in graph.nodes() if n.op.name == op]


def test_parts_of_rows_are_cut_and_put_together_by_heads() -> None:
    batch, length, heads, each = SHAPE
    graph = attention([0, 48, 96], 144)
    seen = stages(graph)
    assert shapes(seen["before"], "slice").count((batch, length, heads * each)) == 3
    assert shapes(seen["behind"], "slice").count((batch, length, heads * each)) == 0
    assert shapes(seen["behind"], "slice").count((batch, length, heads, each)) == 3
    assert shapes(seen["behind"], "concat") == []
    assert (batch, length, 3 * heads, each) in shapes(seen["behind"], "dot_product_attention_gradient")
    made = made_program(graph, host_target()).program
    names = [made.kernels[launch.kernel].name for launch in made.launches]
    assert len(names) == 2, f"q, k and v are read as they lie, and their gradients written side by side: {names}"
    assert heads_by_views(seen["before"], CUDA) is seen["before"], "GPUs have ways of their own"


@pytest.mark.parametrize("seed", range(8))
def test_any_cut_gives_the_same(seed: int) -> None:
    """Whole heads, cuts inside of one, parts that overlap, in any order, with gaps, and rows of no whole heads."""
    rng = random.Random(seed)
    heads, each = rng.randint(1, 4), rng.choice([1, 8, 16, 20])
    unit = each if seed % 2 else 1
    starts = [unit * rng.randrange(3 * heads * each // unit) for _ in range(3)]
    width = max(starts) + heads * each + unit * rng.randint(0, 2)
    graph = attention(starts, width, (rng.randint(1, 3), rng.choice([5, 48]), heads, each))
    given = arrays(graph)
    want = evaluate(graph, given)
    for a, b in zip(evaluate(heads_by_views(graph, host_target()), given), want, strict=True):
        np.testing.assert_array_equal(a, b)
    for got, exact in zip(compile_graph(graph, threads=2).run(given), want, strict=True):
        np.testing.assert_allclose(got, exact, rtol=2e-4, atol=2e-5)


@pytest.mark.parametrize("case", ["in another order", "with another reader"])
def test_gradients_that_are_not_joined(case: str) -> None:
    batch, length, heads, each = SHAPE
    graph = attention([0, 48, 96], 144)
    joined = graph.outputs[1].node
    if case == "in another order":
        q, k, v = joined.inputs
        graph = Graph("other", graph.parameters, [REGISTRY["concat"].build(k, q, v, axis=2)])
    else:
        graph = Graph("read", graph.parameters, [graph.outputs[1], ops.exp(joined.inputs[1])])
    behind = heads_by_views(stages(graph)["before"], host_target())
    assert (batch, length, 3 * heads, each) in shapes(behind, "concat")
    assert shapes(behind, "dot_product_attention_gradient") == [(3, batch, heads, length, each)]
    given = arrays(graph)
    for got, exact in zip(compile_graph(graph, threads=2).run(given), evaluate(graph, given), strict=True):
        np.testing.assert_allclose(got, exact, rtol=2e-4, atol=2e-5)


def test_views_that_others_read_are_made_for_these() -> None:
    """q as a result too, and the result both as it is and transposed."""
    batch, length, heads, each = SHAPE
    x = parameter("x", tensor(f32, batch, length, 3 * heads, each))
    q, k, v = (ops.transpose(ops.slice(x, 2, n * heads, n * heads + heads), (0, 2, 1, 3)) for n in range(3))
    y = ops.dot_product_attention(q, k, v, each**-0.5, True)
    for outputs, passes in (([y], 0), ([y, q], 1), ([ops.transpose(y, (0, 2, 1, 3))], 0),
                            ([y, ops.transpose(y, (0, 2, 1, 3))], 1), ([ops.exp(q), y], 1)):  # fmt: skip
        graph = Graph("views", [x], outputs)
        made = made_program(graph, host_target()).program
        names = [made.kernels[launch.kernel].name for launch in made.launches]
        assert len(names) == passes + 1, names
        given = arrays(graph)
        for got, exact in zip(compile_graph(graph, threads=2).run(given), evaluate(graph, given), strict=True):
            np.testing.assert_allclose(got, exact, rtol=2e-4, atol=2e-5)


def test_what_others_read_stays() -> None:
    """A transpose that is a result, and one that something else reads, are not touched."""
    x = parameter("x", tensor(f32, 2, 5, 24))
    part = ops.transpose(ops.reshape(ops.slice(x, 2, 0, 12), (2, 5, 3, 4)), (0, 2, 1, 3))
    for graph in (Graph("a", [x], [part]), Graph("b", [x], [ops.exp(part)])):
        assert shapes(heads_by_views(graph, host_target()), "slice") == [(2, 5, 12)]
