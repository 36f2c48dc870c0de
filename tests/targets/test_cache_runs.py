"""Rows of many tokens written into caches a run of positions at a time, against the op's meaning."""

from __future__ import annotations

import numpy as np
import pytest

from heliostat import ops
from heliostat.compiler.pipeline import Options, compile_graph
from heliostat.ir.graph import Graph, parameter
from heliostat.ir.types import DType, Symbol, TensorType, bf16, dim, f16, f32, i32, tensor
from heliostat.ops.evaluate import evaluate
from heliostat.targets.target import CUDA

from .device import RUNNERS, Runner
from .paged import assert_same, given, step, stored

N = dim(Symbol("n", 64, 1))


@pytest.mark.parametrize("run", RUNNERS)
@pytest.mark.parametrize(
    ("size", "rotated", "interleaved", "start", "n", "dtype"),
    [
        (64, 64, False, 0, 16, f16),  # whole runs alone
        (64, 32, True, 5, 30, bf16),  # begins and ends within runs, half of the elements rotated
        (64, 64, True, 41, 3, f16),  # no whole run
        (32, 0, False, 39, 33, bf16),  # not rotated, over two panels of keys
        (96, 96, False, 8, 9, f16),  # pairs of 48 elements: one by one
        (64, 64, False, 101, 27, f16),  # to the end of the cache
    ],
)
def test_caches_take_runs_of_rows(
    size: int, rotated: int, interleaved: bool, start: int, n: int, dtype: DType, run: Runner
) -> None:
    rng = np.random.default_rng([size, start, n])
    heads, shape = 2, TensorType(dtype, (2, 128, size))
    at, q = parameter("at", tensor(i32)), parameter("q", tensor(f32, N, heads, size))
    new = {name: parameter(name, tensor(f32, N, heads, size)) for name in ("k", "v")}
    angles = {name: parameter(name, tensor(f32, N, rotated // 2)) for name in ("cos", "sin") if rotated}
    turned = ops.rope(new["k"], *angles.values(), interleaved=interleaved) if rotated else new["k"]
    caches = [parameter(name, shape, "state") for name in ("keys", "values")]
    held = [ops.cache_update(cache, rows, at) for cache, rows in zip(caches, (turned, new["v"]), strict=True)]
    y = ops.attention(q, *held, at, scale=size**-0.5, causal=True)
    updates = list(zip(caches, held, strict=True))
    graph = Graph("a", [q, *new.values(), *angles.values(), *caches, at], [y], updates=updates)
    arrays = {v: rng.standard_normal((n, heads, size)).astype(np.float32) for v in ("q", "k", "v")}
    arrays |= {v: rng.standard_normal((n, rotated // 2)).astype(np.float32) for v in angles}
    before = rng.standard_normal((2, 128, size)).astype(np.float32)
    arrays |= {"at": np.array(start, np.int32), "keys": stored(before, dtype), "values": stored(-before, dtype)}

    scatters = [
        i.args[3].type.nbytes
        for kernel in compile_graph(graph, CUDA, Options()).program.kernels
        if kernel.name.startswith("rope")
        for i in kernel.walk()
        if i.op == "scatter"
    ]
    assert not rotated or (max(scatters) == 16 * 32) is (size != 96)
    found = run(graph, arrays, {"n": n})[1:]
    exact = evaluate(graph, arrays, {"n": n})[1:]
    for a, b in zip(found, exact, strict=True):
        bits, wanted = (np.ascontiguousarray(v).view(np.uint16).reshape(-1) for v in (a, stored(np.asarray(b), dtype)))
        apart = np.abs(bits.astype(np.int32) - wanted)  # a rotation is rounded to f32 first
        assert apart.max() <= (2 if rotated else 0)
        assert np.count_nonzero(apart) < 1e-2 * apart.size


@pytest.mark.parametrize("run", RUNNERS)
@pytest.mark.parametrize(("start", "page", "rotated"), [(60, 64, True), (7, 128, False)])
def test_runs_of_pages_are_those_of_contiguous_caches(start: int, page: int, rotated: bool, run: Runner) -> None:
    paged, contiguous, arrays, numbers = step(start, 2, 1, 64, page, tokens=75, rotated=rotated)
    assert_same(*(run(g, given(g, arrays), {}) for g in (paged, contiguous)), arrays, numbers)
