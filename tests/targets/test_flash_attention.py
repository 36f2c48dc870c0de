"""Attention of training on tensor cores, and its gradients: tails, masks, shared heads, in lock-step and on a GPU."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from heliostat import ops
from heliostat.compiler.pipeline import Options, compile_graph
from heliostat.ir.graph import Graph, parameter
from heliostat.ir.types import DType, bf16, f16, f32, tensor
from heliostat.ops.evaluate import evaluate
from heliostat.targets.target import CUDA

from .device import RUNNERS, Runner

FORWARD = ("scaled_dot_product_attention", "attention_logsumexp")


def drawn(rng: np.random.Generator, dtype: DType, *shape: int) -> np.ndarray[Any, Any]:
    """Values that the dtype holds; bf16 in f32."""
    values = rng.standard_normal(shape).astype(np.float32)
    if dtype is f16:
        return values.astype(np.float16)
    return (values.view(np.uint32) & 0xFFFF0000).view(np.float32)


def floats(found: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    return (found.astype(np.uint32) << 16).view(np.float32) if found.dtype == np.uint16 else found


CASES = [
    # batch, queries, keys, heads, of them with keys, size, causal
    (1, 128, 128, 1, 1, 64, True),
    (2, 200, 200, 2, 2, 64, True),
    (1, 70, 300, 2, 1, 64, False),
    (1, 300, 130, 1, 1, 64, True),
    (1, 61, 450, 3, 1, 32, True),
    (1, 140, 140, 2, 1, 128, True),
    (1, 33, 190, 1, 1, 96, False),
    (1, 20, 20, 1, 1, 24, False),
]


@pytest.mark.parametrize("run", RUNNERS)
@pytest.mark.parametrize(("case", "dtype"), [(c, (bf16, f16)[n % 2]) for n, c in enumerate(CASES)], ids=str)
def test_forward(case: tuple[Any, ...], dtype: DType, run: Runner) -> None:
    batch, rows, keys, heads, groups, size, causal = case
    rng = np.random.default_rng(rows + keys)
    of_q, of_k = (batch, rows, heads, size), (batch, keys, groups, size)
    q, k, v = (parameter(n, tensor(dtype, *s)) for n, s in (("q", of_q), ("k", of_k), ("v", of_k)))
    attrs = {"scale": 1.5 * size**-0.5, "causal": causal}
    made = [ops.scaled_dot_product_attention(q, k, v, **attrs), ops.attention_logsumexp(q, k, **attrs)]
    graph = Graph("attend", [q, k, v], made)
    arrays = {"q": drawn(rng, dtype, *of_q), "k": drawn(rng, dtype, *of_k), "v": drawn(rng, dtype, *of_k)}
    (kernel,) = compile_graph(graph, CUDA, Options()).program.kernels
    assert kernel.name.startswith("flash_attention")
    y, lse = run(graph, arrays, {})
    exact, exact_lse = evaluate(graph, arrays, {})
    bound = 2e-3 if dtype is f16 else 1.2e-2
    np.testing.assert_allclose(floats(y), exact, rtol=0, atol=bound * float(np.abs(exact).max()))
    np.testing.assert_allclose(lse, exact_lse, rtol=2e-6, atol=1e-5)


@pytest.mark.parametrize("run", RUNNERS)
@pytest.mark.parametrize(("case", "dtype"), [(c, (bf16, f16)[n % 2]) for n, c in enumerate(CASES)], ids=str)
def test_gradients(case: tuple[Any, ...], dtype: DType, run: Runner) -> None:
    batch, rows, keys, heads, groups, size, causal = case
    rng = np.random.default_rng(rows + keys)
    shapes = {"g": (batch, rows, heads, size), "k": (batch, keys, groups, size)}
    shapes |= {"q": shapes["g"], "v": shapes["k"]}
    g, q, k, v = (parameter(n, tensor(dtype, *shapes[n])) for n in "gqkv")
    attrs = {"scale": 1.5 * size**-0.5, "causal": causal}
    arrays = {n: drawn(rng, dtype, *s) for n, s in shapes.items()}
    y = ops.scaled_dot_product_attention(q, k, v, **attrs)
    made = ops.gradients([y], [g], [q, k, v])
    exact_y, exact_lse = evaluate(Graph("y", [q, k, v], [y, ops.attention_logsumexp(q, k, **attrs)]), arrays, {})
    lse, delta = (parameter(n, tensor(f32, batch, rows, heads)) for n in ("lse", "delta"))
    arrays["lse"] = np.asarray(exact_lse, np.float32)
    arrays["delta"] = np.asarray((exact_y * np.asarray(arrays["g"], np.float64)).sum(-1), np.float32)
    outputs = [
        ops.attention_query_gradient(g, q, k, v, lse, delta, **attrs),
        ops.attention_key_gradient(g, q, k, v, lse, delta, **attrs),
        ops.attention_value_gradient(g, q, k, lse, **attrs),
    ]
    graph = Graph("gradients", [g, q, k, v, lse, delta], outputs)
    kernels = [n.name.split("_attention")[0] for n in compile_graph(graph, CUDA, Options()).program.kernels]
    assert sorted(kernels) == ["flash_key", "flash_query"]
    exact = evaluate(Graph("wanted", [g, q, k, v], made), {n: arrays[n] for n in "gqkv"}, {})
    bound = 4e-3 if dtype is f16 else 2.5e-2
    for found, wanted in zip(run(graph, arrays, {}), exact, strict=True):
        np.testing.assert_allclose(floats(found), wanted, rtol=0, atol=bound * float(np.abs(wanted).max()))
