"""Cheap arithmetic that moves to the one kernel that reads it: which kernel makes it, and that results stay."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from heliostat import ops
from heliostat.ir.graph import Graph, Value, parameter
from heliostat.ir.types import f32, tensor
from heliostat.ops.evaluate import evaluate
from heliostat.session import compile_graph


def slope(kind: str, s: Value, c: Value) -> Value:
    if kind == "two":  # of two values: more would be read than before
        return ops.sub(s, c)
    if kind == "costly":
        return ops.exp(s)
    return ops.sub(1.0, ops.mul(s, s) if kind == "square" else s)


@pytest.mark.parametrize(
    ("kind", "moves"),
    [("line", True), ("square", True), ("two", False), ("costly", False), ("kept", False), ("shared", False)],
)
def test_what_moves_behind_a_product(kind: str, moves: bool) -> None:
    """s = sigmoid(...) is stored for a product; behind it a kernel reads s and what is made of s alone."""
    x, w = parameter("x", tensor(f32, 24, 32)), parameter("w", tensor(f32, 32, 32))
    c = ops.tanh(x)
    s = ops.sigmoid(c * 2.0)
    d = slope(kind, s, c)
    y = ops.matmul(s, w)
    outputs = [y * d * s, c]
    if kind == "kept":
        outputs.append(d)
    if kind == "shared":
        outputs.append(ops.matmul(outputs[0], w) * d)
    graph = Graph("g", [x, w], outputs)
    rng = np.random.default_rng(len(kind))
    given = {name: rng.standard_normal((n, 32)).astype(np.float32) for name, n in (("x", 24), ("w", 32))}
    session = compile_graph(graph, threads=2)
    for found, wanted in zip(session.run(given), evaluate(graph, given), strict=True):
        np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=1e-5)
    first = next(row["ops"] for row in session.compiled.program.report if "sigmoid" in row["ops"])
    assert moves == (not {"sub", "exp"} & set(first)), first


@pytest.mark.parametrize("product", [ops.matmul, ops.linear], ids=["matmul", "linear"])
@pytest.mark.parametrize("behind", [False, True])
def test_what_a_square_product_reads_is_made_before_it(product: Callable[..., Value], behind: bool) -> None:
    """Operand and result have one shape, so that nothing but the order says that the operand is no epilogue."""
    x, w = parameter("x", tensor(f32, 32, 32)), parameter("w", tensor(f32, 32, 32))
    e = ops.exp(x)
    scaled = e * 0.5
    y = product(scaled, w)
    graph = Graph("g", [x, w], [e, y + scaled if behind else y])
    rng = np.random.default_rng(7)
    given = {name: rng.standard_normal((32, 32)).astype(np.float32) for name in ("x", "w")}
    session = compile_graph(graph, threads=2)
    for found, wanted in zip(session.run(given), evaluate(graph, given), strict=True):
        np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=1e-4)
