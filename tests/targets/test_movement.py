"""Rows by number and transposes as GPUs move them, against NumPy."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from heliostat import ops
from heliostat.compiler.pipeline import Options, compile_graph
from heliostat.ir.graph import Graph, parameter
from heliostat.ir.types import DType, Symbol, bf16, dim, f32, f64, i32, i64, tensor, u8
from heliostat.targets.target import CUDA

from .device import RUNNERS, Runner


@pytest.mark.parametrize("run", RUNNERS)
@pytest.mark.parametrize("accumulate", [False, True])
@pytest.mark.parametrize(
    ("size", "columns", "count", "dtype"),
    [(7, 3, 40, f32), (90, 130, 33, f32), (5000, 1, 64, f32), (40, 257, 1, f64), (12, 32, 100, i64), (3, 20, 70, i32)],
)
def test_put(size: int, columns: int, count: int, dtype: DType, accumulate: bool, run: Runner) -> None:
    """Numbers that come again are added in order; those outside are left out."""
    rng = np.random.default_rng(size + columns)
    x, rows = (parameter(n, tensor(dtype, s, columns)) for n, s in (("x", size), ("rows", count)))
    ids = parameter("ids", tensor(i64, count))
    graph = Graph("put", [x, ids, rows], [ops.put(x, ids, rows, accumulate)])
    kind = {"f32": np.float32, "f64": np.float64, "i64": np.int64, "i32": np.int32}[dtype.name]
    held = {"x": (rng.standard_normal((size, columns)) * 9).astype(kind)}
    held["rows"] = (rng.standard_normal((count, columns)) * 9).astype(kind)
    held["ids"] = rng.integers(-1, size + 1, count)
    wanted = held["x"].copy()
    for n, v in enumerate(held["ids"]):
        if 0 <= v < size:
            wanted[v] = wanted[v] + held["rows"][n] if accumulate else held["rows"][n]
    np.testing.assert_array_equal(run(graph, held, {})[0], wanted)


@pytest.mark.parametrize("run", RUNNERS)
def test_put_symbolic(run: Runner) -> None:
    rng, n = np.random.default_rng(0), Symbol("n", 200, 1)
    x, rows = parameter("x", tensor(f32, 10, 40)), parameter("rows", tensor(f32, dim(n), 40))
    ids = parameter("ids", tensor(i64, dim(n)))
    graph = Graph("put", [x, ids, rows], [ops.put(x, ids, rows, True)])
    for count in (1, 32, 199):
        held: dict[str, Any] = {"x": np.zeros((10, 40), np.float32), "ids": rng.integers(0, 10, count)}
        held["rows"] = rng.integers(-9, 9, (count, 40)).astype(np.float32)
        wanted = np.zeros((10, 40), np.float32)
        np.add.at(wanted, held["ids"], held["rows"])
        np.testing.assert_array_equal(run(graph, held, {"n": count})[0], wanted)


@pytest.mark.parametrize("run", RUNNERS)
@pytest.mark.parametrize("dtype", [bf16, f32, f64, u8])
@pytest.mark.parametrize(
    ("shape", "axes"),
    [
        ((128, 64), (1, 0)),
        ((70, 33), (1, 0)),
        ((2, 48, 3, 65), (0, 2, 3, 1)),
        ((40, 2, 36), (2, 1, 0)),
        ((3, 2, 32, 64), (1, 0, 3, 2)),
    ],
)
def test_transpose(shape: tuple[int, ...], axes: tuple[int, ...], dtype: DType, run: Runner) -> None:
    x = parameter("x", tensor(dtype, *shape))
    graph = Graph("turn", [x], [ops.transpose(x, axes)])
    assert [k.name.split("_")[0] for k in compile_graph(graph, CUDA, Options()).program.kernels] == ["transpose"]
    kind = {"bf16": np.uint16, "f32": np.float32, "f64": np.float64, "u8": np.uint8}[dtype.name]
    held = np.arange(np.prod(shape)).astype(kind).reshape(shape)
    np.testing.assert_array_equal(run(graph, {"x": held}, {})[0], held.transpose(axes))
