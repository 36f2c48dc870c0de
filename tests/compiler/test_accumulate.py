"""Sums of gradients: right for any slices and products, and one concat or product where they can be."""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import pytest

from heliostat import ops
from heliostat.compiler.accumulate import accumulate
from heliostat.compiler.lower import canonicalize, share
from heliostat.ir.graph import Graph, Value, parameter
from heliostat.ir.types import Symbol, dim, f32, tensor
from heliostat.ops.gradient import gradients
from heliostat.session import compile_graph


def made(*shape: int, seed: int = 0) -> Any:
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def run(graph: Graph, *arrays: Any) -> list[Any]:
    names = [p.node.attrs["name"] for p in graph.parameters]
    return list(compile_graph(graph).run(dict(zip(names, arrays, strict=True))))


def names(graph: Graph) -> list[str]:
    return [n.op.name for n in accumulate(canonicalize(share(graph))).nodes()]


def slices(x: Value, spans: list[tuple[int, int, int]]) -> list[Value]:
    return [ops.slice(x, axis, start, stop) for axis, start, stop in spans]


@pytest.mark.parametrize("seed", range(12))
def test_the_gradient_of_any_slices(seed: int) -> None:
    """Neighbours, gaps, overlaps, equal ones, two axes, and slices of slices."""
    rng = random.Random(seed)
    shape = (rng.randint(2, 9), rng.randint(2, 9), rng.randint(1, 20))
    x = parameter("x", tensor(f32, *shape))
    spans = []
    for _ in range(rng.randint(2, 9)):
        axis = rng.choice([0, 0, 1])
        start = rng.randrange(shape[axis])
        spans.append((axis, start, rng.randint(start + 1, shape[axis])))
    parts = slices(x, spans)
    inner = [ops.slice(p, 2, 0, (shape[2] + 1) // 2) for p in parts[::2]]
    everything = [*parts, *inner]
    seeds = [parameter(f"g{n}", v.type) for n, v in enumerate(everything)]
    (g,) = gradients(everything, seeds, [x])
    assert g is not None
    arrays = [made(*(int(d) for d in s.type.shape), seed=n) for n, s in enumerate(seeds)]
    (found,) = run(Graph("g", seeds, [g]), *arrays)
    expected = np.zeros(shape)
    views = [expected[(slice(None),) * axis + (slice(a, b),)] for axis, a, b in spans]
    for view, array in zip([*views, *(v[:, :, : (shape[2] + 1) // 2] for v in views[::2])], arrays, strict=True):
        view += array
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)


def test_steps_of_a_sequence_become_one_concat() -> None:
    x = parameter("x", tensor(f32, 6, 4, 5))
    rows = [ops.squeeze(v, 0) for v in slices(x, [(0, t, t + 1) for t in range(6)])]
    seeds = [parameter(f"g{t}", v.type) for t, v in enumerate(rows)]
    (g,) = gradients(rows, seeds, [x])
    assert g is not None
    graph = Graph("g", seeds, [g])
    assert names(graph).count("concat") == 1
    assert "add" not in names(graph)
    arrays = [made(4, 5, seed=t) for t in range(6)]
    np.testing.assert_array_equal(run(graph, *arrays)[0], np.stack(arrays))


def test_only_the_last_step_is_read() -> None:
    """A slice of a concat is the part it names, and what the other parts would get is nothing."""
    steps = [parameter(f"x{t}", tensor(f32, 1, 8)) for t in range(5)]
    y = ops.concat(*steps, axis=0)
    last = ops.slice(y, 0, 4, 5)
    seed = parameter("g", last.type)
    found = gradients([last, steps[4] * 2.0], [seed, seed], steps)
    graph = Graph("g", [*steps, seed], [last, *(v for v in found if v is not None)])
    assert "add" in names(graph)  # the last step's own two gradients
    arrays = [made(1, 8, seed=t) for t in range(6)]
    y_, *grads = run(graph, *arrays)
    np.testing.assert_array_equal(y_, arrays[4])
    for t, g in enumerate(grads):
        np.testing.assert_allclose(g, arrays[5] * (3 if t == 4 else 0), rtol=1e-6)


@pytest.mark.parametrize(("rows", "m", "n", "steps"), [(3, 40, 24, 7), (1, 17, 5, 2), (5, 3, 2, 3), (8, 64, 33, 12)])
def test_products_over_steps_become_one(rows: int, m: int, n: int, steps: int) -> None:
    """Where the operands of all steps are less than the sums; else they stay apart."""
    a = [parameter(f"a{t}", tensor(f32, rows, m)) for t in range(steps)]
    b = [parameter(f"b{t}", tensor(f32, rows, n)) for t in range(steps)]
    total = ops.matmul(ops.transpose(a[0]), b[0])
    for x, y in zip(a[1:], b[1:], strict=True):
        total = total + ops.matmul(ops.transpose(x), y)
    graph = Graph("g", [*a, *b], [total])
    assert names(graph).count("matmul") == (1 if rows * (m + n) < m * n else steps)
    arrays = [made(rows, m, seed=t) for t in range(steps)] + [made(rows, n, seed=99 + t) for t in range(steps)]
    expected = sum(x.astype(float).T @ y for x, y in zip(arrays[:steps], arrays[steps:], strict=True))
    np.testing.assert_allclose(run(graph, *arrays)[0], expected, rtol=1e-4, atol=1e-4)


def test_a_sum_that_is_read_elsewhere_stays() -> None:
    x = parameter("x", tensor(f32, 4, 6))
    a, b, c = slices(x, [(0, 0, 1), (0, 1, 2), (0, 2, 4)])
    seeds = [parameter(f"g{n}", v.type) for n, v in enumerate((a, b, c))]
    zeros = [gradients([v], [s], [x])[0] for v, s in zip((a, b, c), seeds, strict=True)]
    assert all(z is not None for z in zeros)
    first = zeros[0] + zeros[1]  # type: ignore[operator]
    graph = Graph("g", seeds, [first, first + zeros[2], first * 2.0])  # type: ignore[operator]
    arrays = [made(int(s.type.shape[0]), 6, seed=n) for n, s in enumerate(seeds)]
    low = np.concatenate([arrays[0], arrays[1], np.zeros((2, 6), np.float32)])
    whole = np.concatenate(arrays)
    for found, expected in zip(run(graph, *arrays), (low, whole, low * 2), strict=True):
        np.testing.assert_allclose(found, expected, rtol=1e-6)


def test_other_axes_may_be_symbols() -> None:
    n = Symbol("n", 8)
    x = parameter("x", tensor(f32, 3, dim(n), 4))
    rows = slices(x, [(0, t, t + 1) for t in range(3)])
    seeds = [parameter(f"g{t}", v.type) for t, v in enumerate(rows)]
    (g,) = gradients(rows, seeds, [x])
    assert g is not None
    arrays = [made(1, 5, 4, seed=t) for t in range(3)]
    given = {f"g{t}": a for t, a in enumerate(arrays)}
    (found,) = compile_graph(Graph("g", seeds, [g])).run(given, {"n": 5})
    np.testing.assert_array_equal(found, np.concatenate(arrays))
