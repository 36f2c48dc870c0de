"""Slices and concats of whole rows that need no launch: loops over steps, as programs without races, beside float64."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from compiler.races import find_lost, find_races, outside
from heliostat import ops
from heliostat.ir.graph import Graph, Value, parameter
from heliostat.ir.types import f32, tensor
from heliostat.ops.evaluate import evaluate
from heliostat.session import compile_graph


def check(graph: Graph, seed: int) -> list[str]:
    """The ops of all launches, after a run on one and on three threads."""
    rng = np.random.default_rng(seed)
    given: dict[str, Any] = {
        p.node.attrs["name"]: rng.standard_normal(p.type.shape).astype(np.float32) / 4 for p in graph.parameters
    }
    wanted = evaluate(graph, given)
    results = []
    for threads in (1, 3):
        session = compile_graph(graph, threads=threads)
        program = session.compiled.program
        assert (find_races(program), find_lost(program), outside(program)) == ([], [], [])
        results.append(session.run(given))
    for a, b, c in zip(*results, wanted, strict=True):
        assert a.tobytes() == b.tobytes()
        np.testing.assert_allclose(a, c, rtol=1e-3, atol=1e-4)
    return [name for row in program.report for name in row["ops"]]


def rows(x: Value, start: int, stop: int) -> Value:
    return ops.slice(x, 0, start, stop)


@pytest.mark.parametrize("seed", range(4))
def test_loops_over_steps(seed: int) -> None:
    """Products of rows of what was computed, states that go on, results joined, cut and joined again."""
    rng = np.random.default_rng(seed)
    steps, batch, wide = (int(n) for n in rng.integers((2, 1, 1), (6, 4, 5)))
    wide *= 16
    x, w = parameter("x", tensor(f32, steps, batch, wide)), parameter("w", tensor(f32, wide, wide))
    made = ops.tanh(ops.matmul(x, w))
    h: Value = ops.reshape(rows(made, 0, 1), (batch, wide))
    found: list[Value] = []
    for t in range(steps):
        h = ops.tanh(ops.matmul(h, w) + ops.reshape(rows(made, t, t + 1), (batch, wide)))
        found.append(ops.reshape(h, (1, batch, wide)))
    if rng.random() < 0.5:
        found.reverse()
    joined = ops.concat(*found, axis=0)
    some = rows(joined, 1, steps)
    twice = ops.concat(some, rows(made, 0, 1), axis=0)
    y = [ops.sum(ops.softmax(joined), 0), ops.exp(some), ops.sum(twice * made, -1)]
    names = check(Graph("g", [x, w], y[: int(rng.integers(1, 4))]), seed)
    assert names.count("concat") <= 1, "the second concat joins what lies elsewhere"
    assert "slice" not in names or names.count("slice") <= 2


def test_what_stays_a_copy() -> None:
    """Rows that begin between cache lines, results of the graph, states, columns, rows that stand in a concat twice."""
    x, s = parameter("x", tensor(f32, 4, 20)), parameter("s", tensor(f32, 4, 16), "state")
    made = ops.exp(x)
    odd = rows(made, 1, 2)
    assert "slice" in check(Graph("g", [x], [ops.matmul(odd, ops.transpose(made)), ops.sum(made, 0)]), 1)

    y = parameter("y", tensor(f32, 4, 16))
    made = ops.exp(y)
    cut = rows(made, 1, 3)
    assert "slice" in check(Graph("g", [y], [cut, ops.sum(made, 0)]), 2)

    twice = ops.softmax(ops.matmul(ops.concat(cut, cut, made, axis=0), ops.transpose(made)))
    assert "concat" in check(Graph("g", [y], [twice]), 3)

    joined = ops.concat(ops.exp(y), ops.softmax(y), axis=1)
    assert "concat" in check(Graph("g", [y], [ops.softmax(ops.matmul(joined, ops.transpose(joined)))]), 4)

    new = s + made
    both = ops.concat(new, ops.tanh(made), axis=0)
    graph = Graph("g", [y, s], [ops.softmax(ops.matmul(both, ops.transpose(both)))], [(s, new)])
    assert "concat" in check(graph, 5)
