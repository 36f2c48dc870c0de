"""Rows that a GPU holds in registers: every way that threads and warps share a row, tails, narrow and full results."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from heliostat import ops
from heliostat.compiler.pipeline import Options, compile_graph
from heliostat.ir.graph import Graph, Value, parameter
from heliostat.ir.types import DType, Symbol, bf16, bool_, dim, f16, f32, f64, i32, tensor
from heliostat.kernels.group import Group
from heliostat.kernels.held_rows import HELD, HeldTile, tile_of
from heliostat.ops import reduce
from heliostat.ops.evaluate import evaluate
from heliostat.targets.target import CUDA

from .device import RUNNERS, Runner

N = dim(Symbol("n", 200, 1))
BOUND = {"f64": 1e-12, "f32": 2e-5, "f16": 2e-3, "bf16": 1.6e-2, "i32": 0, "i64": 0}


def drawn(dtype: DType, *shape: int, seed: int = 0) -> Any:
    values = np.random.default_rng(seed).standard_normal(shape) * 3
    if dtype == bf16:
        return (values.astype(np.float32).view(np.uint32) >> 16).astype(np.uint16)
    return values.astype({"f64": "f8", "f32": "f4", "f16": "f2", "i32": "i4"}[dtype.name])


def wide(array: Any, dtype: DType) -> Any:
    return (array.astype(np.uint32) << 16).view(np.float32) if dtype == bf16 else array


def check(run: Runner, parameters: list[Value], results: list[Value], arrays: dict[str, Any], **symbols: int) -> None:
    graph = Graph("rows", parameters, results)
    given = {str(p.node.attrs["name"]): wide(arrays[str(p.node.attrs["name"])], p.type.dtype) for p in parameters}
    expected = evaluate(
        graph, {n: a.astype(np.float64) if a.dtype.kind == "f" else a for n, a in given.items()}, symbols
    )
    for value, got, want in zip(results, run(graph, arrays, symbols), expected, strict=True):
        bound = BOUND[value.type.dtype.name]
        np.testing.assert_allclose(wide(got, value.type.dtype), want, rtol=bound, atol=bound * 4)


@pytest.mark.parametrize("run", RUNNERS)
@pytest.mark.parametrize("dtype", [f32, bf16, f16], ids=str)
@pytest.mark.parametrize("columns", [2, 33, 64, 257, 1000, 2049, 4096])
def test_softmax_and_norms(columns: int, dtype: DType, run: Runner) -> None:
    """Several reductions of which each needs the one before."""
    n = 19 if columns < 100 else 2
    x, w = parameter("x", tensor(dtype, N, columns)), parameter("w", tensor(f32, columns))
    arrays = {"x": drawn(dtype, n, columns), "w": drawn(f32, columns, seed=1)}
    check(run, [x], [ops.softmax(x, -1)], arrays, n=n)
    check(run, [x, w], [ops.layer_norm(x, w, w, eps=1e-5)], arrays, n=n)
    check(run, [x, w], [ops.rms_norm(x, w, eps=1e-5)], arrays, n=n)


@pytest.mark.parametrize("run", RUNNERS)
@pytest.mark.parametrize("dtype", [f64, f32, bf16, i32], ids=str)
@pytest.mark.parametrize("columns", [3, 70, 320, 1500])
def test_reductions_alone(columns: int, dtype: DType, run: Runner) -> None:
    x = parameter("x", tensor(dtype, N, 3, columns))
    arrays = {"x": drawn(dtype, 3, 3, columns)}
    for name in ("sum", "max", "min", "mean"):
        if name != "mean" or dtype != i32:
            check(run, [x], [getattr(ops, name)(x, -1)], arrays, n=3)


@pytest.mark.parametrize("run", RUNNERS)
@pytest.mark.parametrize("columns", [48, 900, 2048])
def test_two_operands_and_three_results(columns: int, run: Runner) -> None:
    """Results of a whole row and of one element each; an unknown number of rows."""
    y, g = (parameter(n, tensor(f32, N, columns)) for n in "yg")
    inner = reduce.sum(g * y, -1, True)
    for n in (1, 11):
        arrays = {"y": drawn(f32, n, columns), "g": drawn(f32, n, columns, seed=1)}
        check(run, [y, g], [y * (g - inner), inner, ops.cast(g - inner, bf16)], arrays, n=n)


@pytest.mark.parametrize("run", RUNNERS)
@pytest.mark.parametrize("dtype", [f32, f64], ids=str)
@pytest.mark.parametrize("columns", [40, 3000])
def test_largest_of_special_values(columns: int, dtype: DType, run: Runner) -> None:
    """NaN anywhere in a row is its largest and its smallest; infinities are numbers."""
    values = drawn(dtype, 9, columns)
    for row, (column, value) in enumerate([(0, np.nan), (columns - 1, np.nan), (7, np.inf), (columns // 2, -np.inf)]):
        values[row, column] = value
    values[5] = -np.inf
    x = parameter("x", tensor(dtype, N, columns))
    largest, smallest = run(Graph("m", [x], [ops.max(x, -1), ops.min(x, -1)]), {"x": values}, {"n": 9})
    np.testing.assert_array_equal(largest, values.max(-1))
    np.testing.assert_array_equal(smallest, values.min(-1))


@pytest.mark.parametrize("run", RUNNERS)
@pytest.mark.parametrize("dtype", [f64, f32, bf16, i32, bool_], ids=str)
@pytest.mark.parametrize("columns", [5, 300, 2500])
def test_argmax(columns: int, dtype: DType, run: Runner) -> None:
    """The first of equal ones, the first NaN before all numbers; rows of nothing but the least value."""
    values = np.random.default_rng(4).integers(-3, 4, (7, columns)).astype(np.float64)
    if dtype.is_float:
        values[1, [3, columns - 1]] = np.nan
        values[2] = -np.inf
        values[3, columns - 2] = np.inf
    if dtype == bf16:
        given = (values.astype(np.float32).view(np.uint32) >> 16).astype(np.uint16)
    else:
        given = values.astype({"f64": "f8", "f32": "f4", "i32": "i4", "bool": "?"}[dtype.name])
    x = parameter("x", tensor(dtype, N, columns))
    (found,) = run(Graph("a", [x], [ops.argmax(x, -1)]), {"x": given}, {"n": 7})
    np.testing.assert_array_equal(found, wide(given, dtype).argmax(-1))


@pytest.mark.parametrize("run", RUNNERS)
@pytest.mark.parametrize(("rows", "columns", "together"), [(1, 256, True), (5, 700, True), (2, 1500, False)])
def test_reductions_of_few_short_rows_share_a_launch(rows: int, columns: int, together: bool, run: Runner) -> None:
    x, first = (parameter(n, tensor(f32, rows, columns)) for n in ("x", "first"))
    high = ops.max(x, -1, keepdim=True)
    places = ops.add(first, ops.cast(ops.mul(ops.arange(columns), 3), f32))  # a group that could be the minimum's
    place = ops.min(ops.where(ops.eq(x, high), places, 1e6), -1, keepdim=True)
    total = ops.sum(ops.exp(ops.sub(x, high)), -1, keepdim=True)
    results = [ops.cast(place, i32), ops.neg(ops.log(total))]
    kernels = compile_graph(Graph("rows", [x, first], results), CUDA, Options()).program.kernels
    assert (len(kernels) == 1) is together
    arrays = {"x": drawn(f32, rows, columns), "first": np.round(drawn(f32, rows, columns, seed=1))}
    check(run, [x, first], results, arrays)


def test_tiles() -> None:
    """16 bytes a thread where rows allow it; never more elements in a thread than `HELD`; what is not held."""

    def tile(dtype: DType, rows: int, columns: int) -> HeldTile | None:
        x = parameter("x", tensor(dtype, rows, columns))
        y = ops.sum(x, -1)
        return tile_of(Group((y.node,), (x,), (y,), y.node), CUDA)

    assert tile(bf16, 32768, 4096) == HeldTile(8, 4, 4, 1)
    assert tile(f32, 32768, 4096) == HeldTile(4, 4, 8, 1)
    assert tile(bf16, 32768, 896) == HeldTile(4, 1, 7, 1)
    assert tile(bf16, 100000, 1001) == HeldTile(1, 1, 32, 1)
    assert tile(f32, 100000, 6) == HeldTile(1, 1, 1, 16)
    assert tile(f32, 64, 4096) is None
    assert tile(f32, 1, 256) == HeldTile(4, 2, 1, 1)
    assert tile(f32, 1, 1025) is None
    assert tile(f32, 1000, 1 << 17) is None
    for columns in range(2, 40000, 321):
        found = tile(bf16, 1 << 20, columns)
        assert found is None or found.run * found.rounds * found.rows <= HELD
        assert found is None or 32 * found.run * found.rounds * found.team >= columns
