"""Which operand of a product goes into panels, and that results stay what they are."""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import pytest

from heliostat import ops
from heliostat.compiler.pipeline import Options, lower
from heliostat.ir.graph import Graph, parameter
from heliostat.ir.types import f32, tensor
from heliostat.session import compile_graph
from heliostat.session.host import host_target

LANES = host_target().lanes


def graph_of(rows: int, outputs: int, depth: int, kind: str = "input", uses: int = 1) -> Graph:
    """relu(x @ transpose(w) + b), with `uses` different x."""
    xs = [parameter(f"x{n}", tensor(f32, rows, depth)) for n in range(uses)]
    w, b = parameter("w", tensor(f32, outputs, depth), kind), parameter("b", tensor(f32, outputs))
    ys = [ops.relu(ops.linear(x, w) + b) for x in xs]
    return Graph("product", [*xs, w, b], ys)


def packed(graph: Graph) -> list[str]:
    """What goes into panels, by name."""
    nodes = lower(graph, host_target(), Options()).nodes()
    return sorted({str(n.inputs[0].node.attrs["name"]) for n in nodes if n.op.name == "repack"})


@pytest.mark.parametrize(
    ("case", "found"),
    [
        ({}, ["x0"]),
        ({"kind": "state"}, ["x0"]),
        ({"kind": "weight"}, ["w"]),  # packed once
        ({"uses": 2}, ["w"]),  # packed for both
        ({"outputs": 4 * LANES}, ["w"]),
        ({"rows": 4 * LANES + 1}, ["w"]),  # lanes would be empty
    ],
)
def test_the_smaller_operand_is_packed(case: dict[str, Any], found: list[str]) -> None:
    assert packed(graph_of(**{"rows": 4 * LANES, "outputs": 16 * LANES, "depth": 784} | case)) == found


def product_of(*shape: int, columns: int, turned: bool = False) -> Graph:
    """a @ b, or transpose(a) @ b."""
    a, b = parameter("a", tensor(f32, *shape)), parameter("b", tensor(f32, shape[0] if turned else shape[-1], columns))
    return Graph("product", [a, b], [ops.matmul(ops.transpose(a) if turned else a, b)])


@pytest.mark.parametrize(
    ("graph", "found"),
    [
        (product_of(512, 96, columns=40), True),
        (product_of(4, 130, 96, columns=40), True),
        (product_of(511, 96, columns=40), False),
        (product_of(512, 1024, columns=40), False),  # rows lie 4 KiB apart
        (product_of(2048, 1024, columns=40), True),
        (product_of(96, 600, columns=40, turned=True), False),
    ],
)
def test_many_rows_read_a_packed_matrix(graph: Graph, found: bool) -> None:
    nodes = lower(graph, host_target(), Options()).nodes()
    assert ("repack" in [n.op.name for n in nodes]) is found


@pytest.mark.parametrize("seed", range(2))
def test_products_of_many_rows_are_right(seed: int) -> None:
    rng = random.Random(seed)
    shape, columns = (
        ((rng.randint(256, 300), 2, rng.randint(17, 90)), (rng.randint(512, 600), 70))[seed],
        rng.randint(3, 70),
    )
    a, b = (
        np.random.default_rng(n).standard_normal(s).astype(np.float32)
        for n, s in enumerate((shape, (shape[-1], columns)))
    )
    (y,) = compile_graph(product_of(*shape, columns=columns)).run({"a": a, "b": b})
    np.testing.assert_allclose(y, a.astype(np.float64) @ b, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("seed", range(3))
def test_products_are_right_whichever_it_is(seed: int) -> None:
    rng = random.Random(seed)
    rows, outputs, depth = (
        LANES * rng.randint(1, 2),
        rng.randint(8, 12) * LANES + rng.randint(0, 7),
        rng.randint(300, 400),
    )
    graph = graph_of(rows, outputs, depth)
    assert packed(graph) == ["x0"]
    values = np.random.default_rng(seed)
    x, w, b = (values.standard_normal(s) for s in ((rows, depth), (outputs, depth), (outputs,)))
    (y,) = compile_graph(graph).run({n: v.astype(np.float32) for n, v in zip(("x0", "w", "b"), (x, w, b), strict=True)})
    np.testing.assert_allclose(y, np.maximum(x @ w.T + b, 0), rtol=1e-4, atol=1e-4)
