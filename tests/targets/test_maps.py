"""Element-wise kernels for GPUs: whole batches of vectors, tails, rows that fill no vector, and unaligned ones."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from heliostat import ops
from heliostat.compiler.pipeline import Options, compile_graph
from heliostat.ir.graph import Graph, Value, parameter
from heliostat.ir.types import DType, Symbol, bf16, bool_, dim, f16, f32, f64, i64, tensor, u8
from heliostat.ops.evaluate import evaluate
from heliostat.targets.target import CUDA

from .device import RUNNERS, Runner

N = dim(Symbol("n", 4096, 1))


def drawn(dtype: DType, *shape: int, seed: int = 0) -> Any:
    """Values that a sum of two of them holds exactly in any of the dtypes."""
    whole = np.random.default_rng(seed).integers(0, 2 if dtype == bool_ else 100, shape)
    if dtype == bf16:
        return (whole.astype(np.float32).view(np.uint32) >> 16).astype(np.uint16)
    return whole.astype({"f64": "f8", "f32": "f4", "f16": "f2", "i64": "i8", "u8": "u1", "bool": "?"}[dtype.name])


def check(run: Runner, results: list[Value], inputs: dict[str, Any], symbols: dict[str, int] | None = None) -> None:
    parameters = sorted({v for r in results for v in _parameters(r)}, key=lambda v: str(v.node.attrs["name"]))
    graph = Graph("map", parameters, results)
    wide = {n: _wide(a, p.type.dtype) for p in parameters for n, a in inputs.items() if n == p.node.attrs["name"]}
    expected = evaluate(graph, wide, symbols or {})
    for value, got, want in zip(results, run(graph, inputs, symbols or {}), expected, strict=True):
        np.testing.assert_array_equal(_wide(got, value.type.dtype), want)


def _wide(array: Any, dtype: DType) -> Any:
    return (array.astype(np.uint32) << 16).view(np.float32) if dtype == bf16 else array


def _parameters(value: Value) -> list[Value]:
    if value.node.op.name == "parameter":
        return [value]
    return [v for x in value.node.inputs for v in _parameters(x)]


@pytest.mark.parametrize("run", RUNNERS)
@pytest.mark.parametrize("dtype", [f64, f32, f16, bf16, i64, u8, bool_], ids=str)
def test_one_axis(dtype: DType, run: Runner) -> None:
    for count in (1, 31, 65, 512, 1000, 1024, 2081):
        x, y = (parameter(n, tensor(dtype, count)) for n in "xy")
        check(run, [x + y], {"x": drawn(dtype, count), "y": drawn(dtype, count, seed=1)})
    x = parameter("x", tensor(dtype, N, 3))
    for n in (1, 700):
        check(run, [x + x], {"x": drawn(dtype, n, 3)}, {"n": n})


@pytest.mark.parametrize("run", RUNNERS)
@pytest.mark.parametrize("dtype", [f32, bf16], ids=str)
@pytest.mark.parametrize("columns", [1, 2, 7, 32, 64, 100, 128, 258, 512, 1024, 1032, 2049])
def test_rows(columns: int, dtype: DType, run: Runner) -> None:
    """A row and a column spread over rows, two results; rows that are short, or no multiple of a vector."""
    rows = 5 if columns > 64 else 37
    x, v = parameter("x", tensor(dtype, rows, columns)), parameter("v", tensor(dtype, columns))
    c = parameter("c", tensor(f32, rows, 1))
    inputs = {"x": drawn(dtype, rows, columns), "v": drawn(dtype, columns, seed=1), "c": drawn(f32, rows, 1, seed=2)}
    check(run, [x + v, ops.cast(x, f32) * (c + 1.0)], inputs)


@pytest.mark.parametrize("run", RUNNERS)
@pytest.mark.parametrize(("start", "columns"), [(0, 512), (8, 512), (4, 320), (1, 256), (3, 77)])
def test_views_are_read_where_they_lie(start: int, columns: int, run: Runner) -> None:
    """A slice whose rows begin anywhere, and a concat that puts results anywhere."""
    x, y = parameter("x", tensor(bf16, 3, 640)), parameter("y", tensor(bf16, 3, start or 64))
    part = ops.slice(x, 1, start, start + columns)
    inputs = {"x": drawn(bf16, 3, 640)}
    check(run, [part + part], inputs)
    inputs["y"] = drawn(bf16, 3, start or 64, seed=1)
    check(run, [ops.concat(y, part + part, axis=1)], inputs)
    check(run, [ops.concat(part, part + part, axis=0)], {"x": inputs["x"]})


@pytest.mark.parametrize("run", RUNNERS)
def test_rounding_of_pairs(run: Runner) -> None:
    """bf16 and f16 are rounded to nearest even, two at a time; NaN and infinities stay."""
    special = [
        0.0,
        -0.0,
        np.inf,
        -np.inf,
        np.nan,
        1e-40,
        65519.0,
        65520.0,
        3.4e38,
        1 + 2**-8,
        1 + 3 * 2**-8,
        1 + 2**-11,
    ]
    values = np.random.default_rng(3).standard_normal(1024).astype(np.float32) * 300
    values[: len(special)] = special
    x = parameter("x", tensor(f32, 1024))
    graph = Graph("round", [x], [ops.cast(x, bf16), ops.cast(x, f16)])
    bits, halves = run(graph, {"x": values}, {})
    with np.errstate(over="ignore"):
        np.testing.assert_array_equal(halves, values.astype(np.float16))
    u = values.view(np.uint32)
    rounded = ((u + 0x7FFF + ((u >> 16) & 1)) & 0xFFFF0000).view(np.float32)
    expected = np.where(np.isnan(values), values, rounded)
    np.testing.assert_array_equal((bits.astype(np.uint32) << 16).view(np.float32), expected)


@pytest.mark.parametrize("run", RUNNERS)
@pytest.mark.parametrize("shape", [(), (7,), (1000,), (3, 40), (5, 2050)], ids=str)
def test_states_where_they_lie(shape: tuple[int, ...], run: Runner) -> None:
    """A step of momentum: both states are overwritten by the kernel that reads them last, and nothing is copied."""
    w, m = (parameter(n, tensor(f32, *shape), "state") for n in "wm")
    g = parameter("g", tensor(f32, *shape))
    moment = m * 2.0 + g
    graph = Graph("step", [w, m, g], [w - g], [(w, w - moment), (m, moment)])
    given = {n: drawn(f32, *shape, seed=s) for s, n in enumerate("wmg")}
    assert not any("cast" in k.name for k in compile_graph(graph, CUDA, Options()).program.kernels)
    before, after, kept = run(graph, given, {})
    np.testing.assert_array_equal(kept, given["m"] * 2 + given["g"])
    np.testing.assert_array_equal(after, given["w"] - kept)
    np.testing.assert_array_equal(before, given["w"] - given["g"])


@pytest.mark.parametrize("run", RUNNERS)
@pytest.mark.parametrize(("shape", "dtype"), [((4, 3, 40), f32), ((8, 5, 2050), bf16), ((2, 700), f16)], ids=str)
def test_sums_of_a_few(shape: tuple[int, ...], dtype: DType, run: Runner) -> None:
    """Parts along a leading axis are added where the sum is used, without a launch of their own."""
    x, y = parameter("x", tensor(dtype, *shape)), parameter("y", tensor(f32, *shape[1:]))
    results = [ops.cast(ops.sum(x, 0), f32) * 2.0 + y]
    whole = np.random.default_rng(1).integers(0, 16, shape).astype(np.float32)  # sums that bf16 holds
    given = (whole.view(np.uint32) >> 16).astype(np.uint16) if dtype == bf16 else whole
    given = whole.astype(np.float16) if dtype == f16 else given
    program = compile_graph(Graph("few", [x, y], results), CUDA, Options()).program
    assert [k.name.split("_")[0] for k in program.kernels] == ["map"]
    check(run, results, {"x": given, "y": drawn(f32, *shape[1:])})
