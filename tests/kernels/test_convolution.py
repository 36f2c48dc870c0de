"""The schedule of `conv2d`: strides, padding, dilation, groups and sizes that fill no tile, against the reference."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from heliostat import ops
from heliostat.ir.graph import Graph, parameter
from heliostat.ir.types import DType, Symbol, dim, f16, f32, f64, tensor
from heliostat.ops.evaluate import evaluate
from heliostat.session import compile_graph
from heliostat.targets.target import X86_AVX2, Target

from .run_kernel import HOST

CASES: list[tuple[tuple[int, ...], tuple[int, ...], dict[str, Any]]] = [
    ((1, 3, 16, 16), (16, 3, 3, 3), {"padding": 1}),
    ((2, 3, 28, 28), (16, 3, 3, 3), {"padding": 1}),
    ((1, 4, 40, 37), (10, 4, 5, 3), {"padding": (2, 1)}),
    ((1, 4, 19, 70), (14, 2, 3, 3), {"padding": 1, "stride": 2, "groups": 2}),
    ((1, 2, 17, 23), (3, 2, 2, 3), {"padding": 3, "stride": (3, 4)}),
    ((1, 2, 40, 50), (9, 2, 3, 3), {"dilation": (2, 3), "padding": (1, 4)}),
    ((1, 6, 9, 33), (6, 1, 3, 3), {"padding": 1, "groups": 6}),
    ((1, 1, 1, 1), (1, 1, 1, 1), {}),
    ((1, 1, 3, 200), (2, 1, 3, 8), {}),
    ((2, 4, 3, 1), (9, 4, 1, 3), {"padding": 2}),
    ((1, 2, 1, 1), (3, 2, 3, 3), {"padding": (1, 2), "stride": (1, 2)}),
]


def check(shape: tuple[int, ...], kernel: tuple[int, ...], dtype: DType, target: Target, **attrs: Any) -> None:
    rng = np.random.default_rng(sum(shape))
    kind = {f32: np.float32, f64: np.float64, f16: np.float16}[dtype]
    x, w, b = (parameter(n, tensor(dtype, *s)) for n, s in (("x", shape), ("w", kernel), ("b", (kernel[0], 1, 1))))
    graph = Graph("g", [x, w, b], [ops.relu(ops.conv2d(x, w, **attrs) + b)])
    given = {p.node.attrs["name"]: rng.standard_normal(p.type.shape).astype(kind) for p in (x, w, b)}
    session = compile_graph(graph, threads=3, target=target)
    assert [k.name.split("_")[0] for k in session.compiled.program.kernels] == ["convolution"]
    (y,) = session.run(given)
    (exact,) = evaluate(graph, given)
    bound = {f32: 1e-5, f64: 1e-13, f16: 2e-2}[dtype] * max(1.0, float(np.abs(exact).max()))
    np.testing.assert_allclose(y.astype(np.float64), exact, rtol=0, atol=bound)


@pytest.mark.parametrize("target", [HOST, X86_AVX2], ids=["host", "avx2"])
@pytest.mark.parametrize("case", CASES, ids=str)
def test_against_the_reference(case: tuple[Any, Any, dict[str, Any]], target: Target) -> None:
    shape, kernel, attrs = case
    for dtype in (f32, f64, f16):
        check(shape, kernel, dtype, target, **attrs)


def test_a_symbolic_batch() -> None:
    n = dim(Symbol("n", 5, 1))
    x, w = parameter("x", tensor(f32, n, 2, 9, 9)), parameter("w", tensor(f32, 3, 2, 3, 3))
    session = compile_graph(Graph("g", [x, w], [ops.conv2d(x, w, padding=1)]), threads=2)
    rng = np.random.default_rng(1)
    for size in (1, 5, 2):
        given = {
            "x": rng.standard_normal((size, 2, 9, 9)).astype(np.float32),
            "w": rng.standard_normal((3, 2, 3, 3)).astype(np.float32),
        }
        exact = ops.get("conv2d").reference(
            given["x"].astype(np.float64), given["w"].astype(np.float64), padding=(1, 1)
        )
        np.testing.assert_allclose(session.run(given)[0], exact, atol=1e-4)
