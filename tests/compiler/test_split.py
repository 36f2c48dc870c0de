"""Reductions cut in two: the same numbers, more kernels."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from heliostat import ops
from heliostat.compiler import split
from heliostat.compiler.pipeline import compile_graph
from heliostat.ir.graph import Graph, parameter
from heliostat.ir.types import DType, bf16, f16, f32, f64, i32, tensor
from heliostat.targets.target import CUDA, X86_AVX2
from targets.device import RUNNERS, Runner


@pytest.fixture
def _small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in (("LEAST", 512), ("PART_BYTES", 512), ("LEAST_ROWS", 4), ("BLOCKS", 8)):
        monkeypatch.setattr(split, name, value)


@pytest.mark.usefixtures("_small_parts")
@pytest.mark.parametrize("run", RUNNERS)
@pytest.mark.parametrize("dtype", [f64, f32, f16, bf16, i32], ids=str)
@pytest.mark.parametrize(
    ("shape", "axes", "keepdim"),
    [
        ((60, 40), (0,), False),
        ((8, 90, 4), (0, 1), True),
        ((4000,), (0,), False),
        ((3, 20, 30), (1, 2), True),
        ((4, 3, 5, 7), (0, 2, 3), False),
        ((2, 3, 2, 40), (0, 3), True),
    ],
)
def test_parts_make_the_whole(
    shape: tuple[int, ...], axes: tuple[int, ...], keepdim: bool, dtype: DType, run: Runner
) -> None:
    whole = np.random.default_rng(1).integers(-3, 4, shape).astype(np.float64)
    given: Any = whole.astype({"f64": "f8", "f32": "f4", "f16": "f2", "bf16": "f4", "i32": "i4"}[dtype.name])
    if dtype == bf16:
        given = (given.view(np.uint32) >> 16).astype(np.uint16)
    x = parameter("x", tensor(dtype, *shape))
    names = ("sum", "mean", "max", "min", "prod")
    graph = Graph("r", [x], [getattr(ops, n)(x, axes, keepdim) for n in names])
    for name, found in zip(names, run(graph, {"x": given}, {}), strict=True):
        if found.dtype == np.uint16:
            found = (found.astype(np.uint32) << 16).view(np.float32)
        want = np.asarray(getattr(whole, name)(axes, keepdims=keepdim))
        assert found.shape == want.shape
        bound = {"bf16": 2**-8, "f16": 2**-11, "f64": 1e-15}.get(dtype.name, 2**-23)
        np.testing.assert_allclose(found, want, rtol=bound)


def kernels(x: Any, y: Any, target: Any) -> int:
    return len(compile_graph(Graph("r", [x], [y]), target).program.kernels)


def test_what_is_cut() -> None:
    """Large tensors with few results, of known sizes, for GPUs alone; columns that fill the device stay whole."""
    x = parameter("x", tensor(f32, 1 << 14, 1 << 10))
    assert kernels(x, ops.sum(x, 0), CUDA) == 2
    assert kernels(x, ops.sum(x), CUDA) == 2
    assert kernels(x, ops.sum(x, 1), CUDA) == 1
    assert kernels(x, ops.sum(x), X86_AVX2) == 1
    images = parameter("x", tensor(f32, 8, 3, 6, 6))
    assert kernels(images, ops.sum(images, (0, 2, 3)), X86_AVX2) == 2
    assert kernels(images, ops.sum(images, (2, 3)), X86_AVX2) == kernels(images, ops.sum(images, (0, 1)), X86_AVX2) == 1
    wide = parameter("x", tensor(f32, 64, 1 << 18))
    assert kernels(wide, ops.sum(wide, 0), CUDA) == 1
    prime = parameter("x", tensor(f32, 16777213))
    assert kernels(prime, ops.sum(prime), CUDA) == 1
    half = parameter("x", tensor(bf16, 1 << 14, 1 << 10))
    assert kernels(half, ops.mean(half), CUDA) == 2
