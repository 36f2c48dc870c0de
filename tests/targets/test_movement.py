"""Rows by number and transposes as GPUs move them, against NumPy."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from heliostat import ops
from heliostat.compiler.pipeline import Options, compile_graph
from heliostat.ir.graph import Graph, parameter
from heliostat.ir.types import DType, Symbol, bf16, dim, f16, f32, f64, i32, i64, tensor, u8
from heliostat.targets.target import CUDA

from .device import RUNNERS, Runner


@pytest.mark.parametrize("run", RUNNERS)
@pytest.mark.parametrize(
    ("size", "columns", "dtype"),
    [(9, 512, bf16), (9, 256, f16), (30, 768, f32), (9, 320, bf16), (5, 24, f32), (4, 512, i64)],
)
def test_rows_of_a_table(size: int, columns: int, dtype: DType, run: Runner) -> None:
    """Whole pieces of a row and others; row 0 for numbers outside."""
    rng = np.random.default_rng(columns)
    table = parameter("table", tensor(dtype, size, columns))
    ids = parameter("ids", tensor(i32, dim(Symbol("n", 40, 1))))
    graph = Graph("rows", [table, ids], [ops.take(table, ids) if dtype is i64 else ops.embedding(table, ids)])
    held: dict[str, Any] = {"ids": rng.integers(-2, size + 2, 21).astype(np.int32)}
    chosen = np.where((held["ids"] >= 0) & (held["ids"] < size), held["ids"], 0)
    values = (rng.standard_normal((size, columns)) * 9).astype(np.float32)
    if dtype is bf16:
        held["table"] = (values.view(np.uint32) >> 16).astype(np.uint16)
        values = (held["table"].astype(np.uint32) << 16).view(np.float32)
    else:
        held["table"] = values = values.astype({"f16": np.float16, "f32": np.float32, "i64": np.int64}[dtype.name])
    np.testing.assert_array_equal(run(graph, held, {"n": 21})[0], values[chosen])


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
