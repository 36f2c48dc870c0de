"""States that are written over what their kernel reads, groups that are joined late, and products of transposes."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from heliostat import ops
from heliostat.ir.graph import Graph, Value, parameter
from heliostat.ir.types import f32, tensor
from heliostat.session import compile_graph

from .races import find_lost, find_races, outside


def made(*shape: int, seed: int = 0) -> Any:
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def run(graph: Graph, *arrays: Any) -> tuple[list[Any], Any]:
    session = compile_graph(graph)
    names = [p.node.attrs["name"] for p in graph.parameters]
    program = session.compiled.program
    assert not find_races(program)
    assert not find_lost(program)
    assert not outside(program)
    results = session.run(dict(zip(names, arrays, strict=True)))
    return results, program


def nodes(program: Any) -> list[list[str]]:
    return [list(row["ops"]) for row in program.report]


@pytest.mark.parametrize("shape", [(5,), (7, 300), (3, 4, 1)])
def test_an_elementwise_update_is_one_kernel(shape: tuple[int, ...]) -> None:
    """Of Adam's form: two averages and what is made of both."""
    p, m, v = (parameter(name, tensor(f32, *shape), "state") for name in "pmv")
    g = parameter("g", tensor(f32, *shape))
    new_m = m + (g - m) * 0.1
    new_v = v * 0.99 + g * g * 0.01
    new_p = p - new_m / (ops.sqrt(new_v) + 1e-3)
    graph = Graph("step", [p, m, v, g], [], [(p, new_p), (m, new_m), (v, new_v)])
    arrays = [made(*shape, seed=n) for n in range(4)]
    arrays[2] = np.abs(arrays[2])
    results, program = run(graph, *arrays)
    assert len(program.launches) == 1
    assert [x.mode for x in program.kernels[0].parameters].count("rw") == 3
    a, b, c, d = (x.astype(np.float64) for x in arrays)
    b = b + (d - b) * 0.1
    c = c * 0.99 + d * d * 0.01
    for found, expected in zip(results, (a - b / (np.sqrt(c) + 1e-3), b, c), strict=True):
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)


def turned(x: Value) -> Value:
    return x + ops.transpose(x)


def shifted(x: Value) -> Value:
    return x + ops.reshape(ops.slice(x, 0, 0, 1), (1, 40))


@pytest.mark.parametrize("update", [turned, shifted, lambda x: x + ops.sum(x, -1, keepdim=True)])
def test_what_reads_other_elements_is_not_overwritten(update: Any) -> None:
    s = parameter("s", tensor(f32, 40, 40), "state")
    array = made(40, 40)
    results, _ = run(Graph("step", [s], [], [(s, update(s))]), array)
    expected = {
        turned: array + array.T, shifted: array + array[:1],
    }.get(update, array + array.sum(-1, keepdims=True))  # fmt: skip
    np.testing.assert_allclose(results[0], expected, rtol=1e-4, atol=1e-5)


def test_the_gradient_of_a_weight_and_its_update_are_one_kernel() -> None:
    """transpose(transpose(x) @ g) turns into a product in the weight's own order, with the update behind it."""
    w = parameter("w", tensor(f32, 48, 100), "state")
    x, g = parameter("x", tensor(f32, 32, 100)), parameter("g", tensor(f32, 32, 48))
    slope = ops.transpose(ops.transpose(x) @ g)
    graph = Graph("step", [w, x, g], [], [(w, w - slope * 0.5)])
    arrays = made(48, 100), made(32, 100, seed=1), made(32, 48, seed=2)
    results, program = run(graph, *arrays)
    assert nodes(program)[-1] == ["matmul", "mul", "sub"]
    np.testing.assert_allclose(results[0], arrays[0] - 0.5 * arrays[2].T @ arrays[1], rtol=1e-4, atol=1e-4)


def test_transposes_of_transposes_go() -> None:
    x = parameter("x", tensor(f32, 3, 4, 5))
    graph = Graph("f", [x], [ops.transpose(ops.transpose(x, (1, 2, 0)), (2, 0, 1)) + 1])
    array = made(3, 4, 5)
    results, program = run(graph, array)
    assert nodes(program) == [["add"]]
    np.testing.assert_array_equal(results[0], array + 1)


@pytest.mark.parametrize(("rows", "depth"), [(16, 16), (32, 37), (20, 48), (5, 3)])
def test_panels_of_any_shape(rows: int, depth: int) -> None:
    x, w = parameter("x", tensor(f32, 9, depth)), parameter("w", tensor(f32, rows, depth))
    arrays = made(9, depth), made(rows, depth, seed=1)
    results, _ = run(Graph("f", [x, w], [ops.linear(x, w)]), *arrays)
    np.testing.assert_allclose(results[0], arrays[0] @ arrays[1].T, rtol=1e-4, atol=1e-4)
