"""The schedule of `conv2d_weight_gradient`: strides, padding, dilation, groups and sizes that fill no tile or vector,
against the reference and the decomposition."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from heliostat import ops
from heliostat.ir.graph import Graph, parameter
from heliostat.ir.types import DType, Symbol, dim, f16, f32, f64, tensor
from heliostat.kernels import convolution_weights
from heliostat.session import compile_graph
from heliostat.targets.target import X86_AVX2, Target

from .run_kernel import HOST, run_group

# x, channels of g, and attributes
CASES: list[tuple[tuple[int, ...], int, dict[str, Any]]] = [
    ((3, 3, 16, 16), 16, {"kernel": (3, 3), "padding": (1, 1)}),
    ((2, 4, 6, 40), 10, {"kernel": (5, 3), "padding": (2, 1)}),
    ((1, 2, 70, 90), 9, {"kernel": (3, 3), "padding": (0, 1)}),
    ((2, 6, 9, 33), 6, {"kernel": (3, 3), "padding": (1, 1), "groups": 6}),
    ((2, 4, 19, 37), 14, {"kernel": (2, 4), "padding": (1, 3), "stride": (3, 1), "dilation": (2, 3), "groups": 2}),
    ((7, 5, 3, 14), 3, {"kernel": (1, 7), "padding": (0, 3)}),
    ((1, 2, 2, 20), 1, {"kernel": (5, 1), "padding": (4, 0)}),
    ((2, 1, 4, 9), 2, {"kernel": (3, 3), "padding": (2, 6), "dilation": (1, 5)}),
]
KIND = {f32: np.float32, f64: np.float64, f16: np.float16}


def built(shape: tuple[Any, ...], channels: int, dtype: DType, at: dict[str, Any]) -> tuple[Any, Any, Any]:
    """x, g, and the gradient."""
    at = {"stride": (1, 1), "dilation": (1, 1), "groups": 1, **at}
    x = parameter("x", tensor(dtype, *shape))
    w = tensor(dtype, channels, shape[1] // at["groups"], *at["kernel"])
    rest = {n: at[n] for n in ("stride", "padding", "dilation", "groups")}
    g = parameter("g", ops.get("conv2d").infer(x.type, w, **rest))
    return x, g, ops.get("conv2d_weight_gradient").build(x, g, **at)


def random(shape: tuple[int, ...], dtype: DType, seed: int) -> Any:
    return np.random.default_rng(seed).standard_normal(shape).astype(KIND[dtype])


@pytest.mark.parametrize("target", [HOST, X86_AVX2], ids=["host", "avx2"])
@pytest.mark.parametrize("case", CASES, ids=str)
def test_against_the_reference(case: tuple[Any, Any, Any], target: Target) -> None:
    for dtype in (f32,) if CASES.index(case) % 4 else (f32, f64, f16):
        x, g, y = built(*case[:2], dtype, case[2])
        given = {x: random(x.type.shape, dtype, 1), g: random(g.type.shape, dtype, 2)}
        found = run_group(convolution_weights, [y], given, workers=3, guard=True, target=target)[0]
        want = y.node.op.reference(*(a.astype(np.float64) for a in given.values()), **y.node.attrs)
        bound = {f32: 1e-5, f64: 1e-13, f16: 2e-2}[dtype] * max(1.0, float(np.abs(want).max()))
        np.testing.assert_allclose(found.astype(np.float64), want, rtol=0, atol=bound)


def test_the_interpreter_says_the_same() -> None:
    x, g, y = built((2, 2, 3, 18), 2, f32, {"kernel": (2, 3), "padding": (1, 1)})
    given = {x: random(x.type.shape, f32, 1), g: random(g.type.shape, f32, 2)}
    native, meant = (run_group(convolution_weights, [y], given, interp=i)[0] for i in (False, True))
    np.testing.assert_allclose(native, meant, rtol=1e-5, atol=1e-5)


def test_what_lies_outside_of_g_takes_no_part() -> None:
    """Infinite elements of x that meet no element of g."""
    x, g, y = built((1, 1, 1, 18), 1, f32, {"kernel": (1, 2), "padding": (0, 0)})
    given = {x: np.zeros(x.type.shape, np.float32), g: np.ones(g.type.shape, np.float32)}
    given[x][..., 17] = np.inf
    found = run_group(convolution_weights, [y], given)[0]
    assert found.reshape(-1).tolist() == [0.0, np.inf]


def test_where_it_is_taken() -> None:
    """By itself on cores; windows a column apart and rows of some length."""
    n = dim(Symbol("n", 5, 1))
    x, g, y = built((n, 2, 9, 16), 3, f32, {"kernel": (3, 3), "padding": (1, 1)})
    session = compile_graph(Graph("g", [x, g], [y]), threads=2)
    (kernel,) = session.compiled.program.kernels
    assert kernel.name.startswith("convolution_weights_")
    for size in (1, 5, 2):
        given = {"x": random((size, 2, 9, 16), f32, 1), "g": random((size, 3, 9, 16), f32, 2)}
        want = y.node.op.reference(*(a.astype(np.float64) for a in given.values()), **y.node.attrs)
        np.testing.assert_allclose(session.run(given)[0], want, atol=1e-3)
    for shape, at in (((2, 2, 9, 4), {}), ((2, 2, 9, 40), {"stride": (1, 2)})):
        *_, y = built(shape, 3, f32, {"kernel": (3, 3), "padding": (1, 1), **at})
        assert convolution_weights.refusal(y.node, HOST) is not None
