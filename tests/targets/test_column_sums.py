"""Sums over rows in the kernel that has them: a norm's gradient with those of its weight, its bias and one before."""

from __future__ import annotations

import numpy as np
import pytest

from heliostat import ops
from heliostat.compiler import split
from heliostat.compiler.pipeline import KernelLibrary, Options, compile_graph
from heliostat.ir.graph import Graph, parameter
from heliostat.ir.types import bf16, f32, tensor
from heliostat.kernels.column_sums import column_sums
from heliostat.ops import reduce
from heliostat.targets.target import CUDA

from .device import RUNNERS, Runner


def exact(raw: np.ndarray) -> np.ndarray:  # type: ignore[type-arg]
    return (raw.astype(np.uint32) << 16).view(np.float32).astype(np.float64)


@pytest.mark.parametrize("run", RUNNERS)
@pytest.mark.parametrize("one", [False, True], ids=["two reductions", "one"])
@pytest.mark.parametrize(
    ("batch", "columns", "rows"),
    [((2, 24), 768, 4), ((48,), 40, 8), ((3, 2, 16), 1000, 3), ((16,), 6, 2), ((96,), 1536, 16)],
    ids=str,
)
def test_gradients_of_a_norm(
    batch: tuple[int, ...], columns: int, rows: int, one: bool, run: Runner, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A team of several warps with a ragged last vector, a warp alone, several warps with one reduction."""
    monkeypatch.setattr(split, "LEAST", 1)
    monkeypatch.setattr(split, "BESIDE_ROWS", rows)
    rng, shape = np.random.default_rng(columns), (*batch, columns)
    g, x = parameter("g", tensor(bf16, *shape)), parameter("x", tensor(f32, *shape))
    weight = parameter("weight", tensor(f32, columns))
    axes = tuple(range(len(batch)))
    wide = ops.cast(g, f32)
    scaled = wide * weight
    back = scaled - x * reduce.mean(scaled * x, -1, True)
    back = back if one else back - reduce.mean(scaled, -1, True)
    results = [
        back,
        reduce.sum(wide * x, axes),
        reduce.sum(wide, axes),
        reduce.sum(ops.cast(ops.cast(back, bf16), f32), axes),
    ]
    graph = Graph("norm", [g, x, weight], results)
    library = KernelLibrary()
    compile_graph(graph, CUDA, Options(), library)
    joined = [len(column_sums(fused.group)) for fused in library.groups.values()]
    assert max(joined) == 3
    held = {"g": (rng.standard_normal(shape).astype(np.float32).view(np.uint32) >> 16).astype(np.uint16)}
    held["x"] = rng.standard_normal(shape).astype(np.float32)
    held["weight"] = rng.standard_normal(columns).astype(np.float32)
    of_g, of_x = exact(held["g"]), held["x"].astype(np.float64)
    scale = of_g * held["weight"]
    wanted = scale - of_x * (scale * of_x).mean(-1, keepdims=True) - (0 if one else scale.mean(-1, keepdims=True))
    found = run(graph, held, {})
    np.testing.assert_allclose(found[0], wanted, rtol=1e-5, atol=1e-4)
    for n, value in enumerate((of_g * of_x, of_g, wanted), 1):
        error = np.abs(value).sum(axes) * (2.0**-8 if n == 3 else 1e-6)  # elements of the last one are rounded to bf16
        assert (np.abs(found[n] - value.sum(axes)) <= error + 1e-5).all()
