"""Normalized rows that the gradient of a norm makes again of rows that are stored anyway."""

from __future__ import annotations

import numpy as np
import pytest

from heliostat import ops
from heliostat.compiler.pipeline import KernelLibrary, Options, compile_graph
from heliostat.ir.graph import Graph, Value, parameter
from heliostat.ir.types import bf16, f32, tensor
from heliostat.ops import reduce
from heliostat.targets.target import CUDA

from .device import RUNNERS, Runner


def norm(x: Value, weight: Value, w: Value, g: Value) -> tuple[Value, Value, Value]:
    """Normalized rows, a product with them, and the gradient by x for one by that of the product and g."""
    away = x - reduce.mean(x, -1, True)
    scale = ops.rsqrt(reduce.mean(away * away, -1, True) + 1e-5)
    rows = away * scale
    y = ops.matmul(ops.cast(rows * weight, bf16), w)
    scaled = (ops.cast(y, f32) + g) * weight
    back = (scaled - reduce.mean(scaled, -1, True) - rows * reduce.mean(scaled * rows, -1, True)) * scale
    return rows, y, back


@pytest.mark.parametrize("run", RUNNERS)
@pytest.mark.parametrize("stored", ["sum", "input", "nothing", "kept"])
def test_a_norm_and_its_gradient(stored: str, run: Runner) -> None:
    """With rows that are a result, an operand, or nobody's but the norm's; with normalized rows that are a result."""
    rng, shape = np.random.default_rng(1), (3, 24, 200)
    a, b, g = (parameter(name, tensor(f32, *shape)) for name in "abg")
    weight, w = parameter("weight", tensor(f32, 200)), parameter("w", tensor(bf16, 200, 200))
    x = a if stored == "input" else a + b
    rows, y, back = norm(x, weight, w, g)
    results = [y, back, *{"sum": [x], "kept": [x, rows]}.get(stored, [])]
    used = [v for v in (a, b, g, weight, w) if v is not b or stored != "input"]
    graph, library = Graph("norm", used, results), KernelLibrary()
    notes = [n for row in compile_graph(graph, CUDA, Options(), library).program.report for n in row["notes"]]
    assert any("made again" in n for n in notes) == (stored in ("sum", "input"))
    drawn = {str(v.node.attrs["name"]): rng.standard_normal(v.type.shape).astype(np.float32) for v in used}  # type: ignore[arg-type]
    drawn["w"] /= 14
    halves = {n: (v.view(np.uint32) >> 16).astype(np.uint16) for n, v in drawn.items()}
    exact = {n: (v.astype(np.uint32) << 16).view(np.float32) for n, v in halves.items()}
    held = {n: halves[n] if n == "w" else exact[n] for n in drawn}
    found = run(graph, held, {})
    rest = exact["a"].astype(np.float64) + (0 if stored == "input" else exact["b"])
    away = rest - rest.mean(-1, keepdims=True)
    scale = 1 / np.sqrt((away**2).mean(-1, keepdims=True) + 1e-5)
    normal = away * scale
    y = normal * exact["weight"] @ exact["w"]
    scaled = (y + exact["g"]) * exact["weight"]
    back = (scaled - scaled.mean(-1, keepdims=True) - normal * (scaled * normal).mean(-1, keepdims=True)) * scale
    np.testing.assert_allclose(found[1], back, rtol=2e-2, atol=4e-2)
    first = (found[0].astype(np.uint32) << 16).view(np.float32)
    np.testing.assert_allclose(first, y, rtol=2e-2, atol=8e-2)
