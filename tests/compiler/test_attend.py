"""Attention found in products and a softmax: what is taken for it, what is left, and that the numbers are the same."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from heliostat import ops
from heliostat.compiler.attend import attend
from heliostat.ir.graph import Graph, Value, constant, parameter
from heliostat.ir.types import f32, i64, tensor
from heliostat.ops.evaluate import evaluate
from heliostat.session import compile_graph
from heliostat.session.host import host_target
from heliostat.targets.target import CUDA

SHAPE = (2, 3, 50, 16)
LOW = constant(-np.inf, tensor(f32))


def turned(k: Value) -> Value:
    return ops.transpose(k, (*range(k.type.rank - 2), k.type.rank - 1, k.type.rank - 2))


def causal(rows: int, columns: int) -> Value:
    return ops.ge(ops.reshape(ops.arange(rows), (rows, 1)), ops.arange(columns))


def graph_of(build: Callable[..., Value | tuple[Value, ...]], shape: tuple[int, ...] = SHAPE) -> Graph:
    q, k, v = (parameter(n, tensor(f32, *shape)) for n in "qkv")
    found = build(q, k, v)
    return Graph("a", [q, k, v], list(found) if isinstance(found, tuple) else [found])


def plain(q: Value, k: Value, v: Value) -> Value:
    return ops.softmax(q @ turned(k)) @ v


TAKEN = {
    "plain": (plain, (1.0, False)),
    "scaled scores": (lambda q, k, v: ops.softmax((q @ turned(k)) * 0.25) @ v, (0.25, False)),
    "scaled twice": (lambda q, k, v: ops.softmax(0.5 * ((q * 0.5) @ turned(k))) @ v, (0.25, False)),
    "causal": (lambda q, k, v: ops.softmax(ops.where(causal(50, 50), (q * 2.0) @ turned(k), LOW)) @ v, (2.0, True)),
    "op": (lambda q, k, v: ops.dot_product_attention(q, k, v, 0.5, True), (0.5, True)),
}  # fmt: skip
LEFT = {
    "weights are read": lambda q, k, v: (ops.softmax(w := q @ turned(k)) @ v, w),
    "another mask": lambda q, k, v: ops.softmax(ops.where(ops.lt(q @ turned(k), 0.5), q @ turned(k), LOW)) @ v,
    "hidden by a number": lambda q, k, v: ops.softmax(ops.where(causal(50, 50), q @ turned(k), LOW * 0.0)) @ v,
    "hidden, then scaled": lambda q, k, v: ops.softmax(ops.where(causal(50, 50), q @ turned(k), LOW) * -1.0) @ v,
    "the other half": lambda q, k, v: ops.softmax(
        ops.where(ops.ge(ops.arange(50), ops.reshape(ops.arange(50), (50, 1))), q @ turned(k), LOW)) @ v,
}  # fmt: skip


def arrays(shape: tuple[int, ...] = SHAPE) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    return {n: rng.standard_normal(shape).astype(np.float32) for n in "qkv"}


@pytest.mark.parametrize("name", TAKEN)
def test_taken(name: str) -> None:
    build, (scale, masked) = TAKEN[name]
    graph = graph_of(build)
    found = attend(graph, host_target()).outputs[0].node
    assert (found.op.name, found.attrs["scale"], found.attrs["causal"]) == ("dot_product_attention", scale, masked)
    assert [v.is_parameter for v in found.inputs] == [True] * 3
    (got,), (want,) = compile_graph(graph, threads=2).run(arrays()), evaluate(graph, arrays())
    np.testing.assert_allclose(got, want, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", LEFT)
def test_left(name: str) -> None:
    graph = graph_of(LEFT[name])
    assert not [n for n in attend(graph, host_target()).nodes() if n.op.name == "dot_product_attention"]
    with np.errstate(all="ignore"):
        want = evaluate(graph, arrays())
    for g, w in zip(compile_graph(graph, threads=2).run(arrays()), want, strict=True):
        np.testing.assert_allclose(g, w, rtol=1e-3, atol=1e-4)


def with_gradients(q: Value, k: Value, v: Value) -> tuple[Value, ...]:
    y = ops.dot_product_attention(q, k, v, 0.5, True)
    return (y, *(g for g in ops.gradients([y], [y * 0.1], [q, k, v]) if g is not None))


@pytest.mark.parametrize(("shape", "whole"), [(SHAPE, True), ((3, 50, 16), False)], ids=["whole", "written out"])
def test_gradients(shape: tuple[int, ...], whole: bool) -> None:
    """Taken whole, or products whose weights are those of the forward pass, without parts put together and cut."""
    graph = graph_of(with_gradients, shape)
    names = [n.op.name for n in attend(graph, host_target()).nodes()]
    assert ("dot_product_attention" in names, "dot_product_attention_gradient" in names) == (whole, whole)
    assert names.count("softmax") == (0 if whole else 1)
    assert whole or not {"slice", "concat"} & set(names)
    want = evaluate(graph, arrays(shape))
    for got, exact in zip(compile_graph(graph, threads=2).run(arrays(shape)), want, strict=True):
        np.testing.assert_allclose(got, exact, rtol=1e-3, atol=1e-4)


def test_other_targets_and_other_numbers_keep_products() -> None:
    for graph, target in ((graph_of(plain), CUDA), (graph_of(plain, (4, 4)), host_target())):
        assert "dot_product_attention" not in [n.op.name for n in attend(graph, target).nodes()]
    numbers = constant(np.arange(50)[::-1], tensor(i64, 50))
    build = lambda q, k, v: ops.softmax(  # noqa: E731
        ops.where(ops.ge(ops.reshape(numbers, (50, 1)), numbers), q @ turned(k), LOW)) @ v  # fmt: skip
    assert "softmax" in [n.op.name for n in attend(graph_of(build), host_target()).nodes()]
