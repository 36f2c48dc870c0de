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

from .device import RUNNERS, Runner, lockstep


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


@pytest.mark.parametrize("turned", [False, True])
def test_sums_in_other_parts_stay_apart(turned: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """A team has the same rows of each sum of its kernel."""
    monkeypatch.setattr(split, "LEAST", 1)
    shape = (16, 32, 64)
    g, x = parameter("g", tensor(f32, *shape)), parameter("x", tensor(f32, *shape))
    back = g - x * reduce.mean(g * x, -1, True)
    parts = (64, 32)[:: -1 if turned else 1]
    sums = [reduce.sum(ops.reshape(back, (n, 512 // n, 64)), 1) for n in parts]
    rng = np.random.default_rng(1)
    held = {name: rng.standard_normal(shape).astype(np.float32) for name in "gx"}
    found = lockstep(Graph("norm", [g, x], [back, *sums]), held, {})
    wanted = held["g"] - held["x"] * (held["g"].astype(np.float64) * held["x"]).mean(-1, keepdims=True)
    for n, values in zip(parts, found[1:], strict=True):
        np.testing.assert_allclose(values, wanted.reshape(n, -1, 64).sum(1), atol=1e-4)


@pytest.mark.parametrize("cut", [False, True])
def test_few_batches_are_no_parts(cut: bool) -> None:
    """Each would have one team for all of its rows."""
    shape = (512, 64) if cut else (4, 128, 64)
    g, x = parameter("g", tensor(f32, *shape)), parameter("x", tensor(f32, *shape))
    back = g - x * reduce.mean(g * x, -1, True)
    halves = ops.cast(ops.cast(back, bf16), f32)
    library = KernelLibrary()
    graph = Graph("norm", [g, x], [back, reduce.sum(ops.reshape(halves, (4, 128, 64)) if cut else halves, 1)])
    compile_graph(graph, CUDA, Options(), library)
    assert not any(column_sums(f.group) for f in library.groups.values())
