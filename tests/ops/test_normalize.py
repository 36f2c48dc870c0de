"""Gradients of norms, written out, beside those of what the norms are made of."""

from __future__ import annotations

import numpy as np
import pytest

from heliostat import ops
from heliostat.compiler.pipeline import compile_graph
from heliostat.ir.graph import Graph, Value, parameter
from heliostat.ir.types import DType, bf16, f32, f64, tensor
from heliostat.ops import REGISTRY
from heliostat.ops.composite import Composite
from heliostat.ops.evaluate import evaluate
from heliostat.targets.target import CUDA


def _parameters(name: str, dtype: DType, kept: DType, shape: tuple[int, ...]) -> list[Value]:
    rows = {"x": tensor(dtype, *shape), "weight": tensor(kept, shape[-1]), "bias": tensor(kept, shape[-1])}
    names = ["x", "weight", *(["bias"] if name == "layer_norm" else [])]
    return [parameter(n, rows[n]) for n in names]


@pytest.mark.parametrize("name", ["layer_norm", "rms_norm"])
@pytest.mark.parametrize(("dtype", "kept"), [(f64, f64), (f32, f32), (bf16, f32)], ids=str)
@pytest.mark.parametrize("shape", [(7,), (3, 5), (2, 3, 4), (4, 1)], ids=str)
def test_gradients(shape: tuple[int, ...], dtype: DType, kept: DType, name: str) -> None:
    op = REGISTRY[name]
    assert isinstance(op, Composite)
    inputs = _parameters(name, dtype, kept, shape)
    y = op.build(*inputs, eps=1e-3)
    g = parameter("g", y.type)
    ours = op.gradient(g, *inputs, y, eps=1e-3)
    theirs = Composite.gradient(op, g, *inputs, y, eps=1e-3)
    assert [v.type for v in ours if v is not None] == [v.type for v in inputs]
    rng = np.random.default_rng(sum(shape))
    given = {v.node.attrs["name"]: rng.standard_normal(v.type.shape).astype(np.float64) for v in (*inputs, g)}
    values = [v for v in (*ours, *theirs) if v is not None]
    found = evaluate(Graph("both", [*inputs, g], values), given)
    bound = {"f64": 1e-9, "f32": 1e-4, "bf16": 3e-2}[dtype.name]
    for a, b in zip(found[: len(inputs)], found[len(inputs) :], strict=True):
        np.testing.assert_allclose(a, b, rtol=bound, atol=bound)


def test_products_before_it_stay_narrow() -> None:
    """On a GPU the rows of a norm's gradient are read as the product made them, and summed where they are."""
    a, w = parameter("a", tensor(bf16, 4096, 64)), parameter("w", tensor(bf16, 64, 512))
    x, weight, bias = (parameter(n, tensor(f32, *s)) for n, s in (("x", (4096, 512)), ("s", (512,)), ("b", (512,))))
    y = ops.layer_norm(x, weight, bias)
    g = ops.cast(ops.matmul(a, w), f32)
    graph = Graph("back", [a, w, x, weight, bias], [y, *y.node.op.gradient(g, x, weight, bias, y, eps=1e-5)])
    report = compile_graph(graph, CUDA).program.report
    assert [r["ops"] for r in report if "matmul" in r["ops"]] == [["matmul"]]
    (rows,) = (r["ops"] for r in report if "rsqrt" in r["ops"])
    assert ("cast" in rows, rows.count("sum")) == (True, 2)
    assert [r["ops"] for r in report[2:]] == [["sum"], ["sum"]]  # of the parts
