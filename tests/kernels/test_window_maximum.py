"""The schedule of maxima over windows and of their gradient: sizes that fill no vector, windows that overlap, reach
outside, leave gaps or hold no numbers, against the references."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from heliostat import ops
from heliostat.ir.graph import Graph, parameter
from heliostat.ir.types import DType, Symbol, bool_, dim, f16, f32, f64, tensor
from heliostat.kernels import window_maximum
from heliostat.session import compile_graph
from heliostat.targets.target import X86_AVX2, Target

from .run_kernel import HOST, run_group

HALVES: dict[str, Any] = {"kernel": (2, 2), "stride": (2, 2), "padding": (0, 0), "dilation": (1, 1)}
CASES: list[tuple[tuple[int, ...], dict[str, Any]]] = [
    ((2, 3, 8, 64), HALVES),
    ((1, 2, 6, 22), HALVES),
    ((1, 2, 7, 37), HALVES),
    ((2, 2, 9, 40), {**HALVES, "kernel": (3, 3), "padding": (1, 1)}),
    ((1, 3, 6, 35), {**HALVES, "kernel": (3, 3), "stride": (1, 1), "padding": (1, 1)}),
    ((1, 1, 11, 50), {**HALVES, "kernel": (2, 3), "stride": (3, 2), "padding": (1, 1), "dilation": (2, 2)}),
    ((1, 2, 9, 33), {**HALVES, "kernel": (3, 3), "stride": (3, 3)}),
    ((1, 2, 12, 36), {**HALVES, "kernel": (2, 1), "stride": (2, 1)}),
    ((1, 2, 40, 1), {**HALVES, "kernel": (2, 1), "stride": (2, 1)}),
    ((2, 1, 2, 2), HALVES),
]
KIND = {f32: np.float32, f64: np.float64, f16: np.float16}


def images(shape: tuple[int, ...], dtype: DType) -> Any:
    """Few different values, so that maxima are found twice; the lowest number, and what is no number."""
    rng = np.random.default_rng(sum(shape))
    x = rng.integers(-4, 5, shape).astype(KIND[dtype])
    x[rng.random(shape) < 0.3] = -np.inf
    x[rng.random(shape) < 0.02] = np.nan
    return x


@pytest.mark.parametrize("target", [HOST, X86_AVX2], ids=["host", "avx2"])
@pytest.mark.parametrize("case", CASES, ids=str)
def test_against_the_references(case: tuple[Any, Any], target: Target) -> None:
    shape, at = case
    for dtype in (f32,) if CASES.index(case) % 3 else (f32, f64, f16):
        x = parameter("x", tensor(dtype, *shape))
        y = ops.get("max_pool2d").build(x, **at)
        given = images(shape, dtype)
        (found,) = run_group(window_maximum, [y], {x: given}, workers=3, guard=True, target=target)
        np.testing.assert_array_equal(found, ops.get("max_pool2d").reference(given.astype(np.float64), **at))
        g = parameter("g", y.type)
        dx = ops.get("max_pool2d_gradient").build(g, x, **at)
        if dtype is f16 and window_maximum.overlapping(dx.node):
            assert window_maximum.refusal(dx.node, target) is not None
            continue
        passed = np.random.default_rng(1).integers(-8, 9, y.type.shape).astype(KIND[dtype])
        (found,) = run_group(window_maximum, [dx], {g: passed, x: given}, workers=3, guard=True, target=target)
        want = ops.get("max_pool2d_gradient").reference(passed.astype(np.float64), given.astype(np.float64), **at)
        inside = windows_with_elements(want, given, at)
        np.testing.assert_array_equal(found[inside], want[inside])


def windows_with_elements(want: Any, x: Any, at: dict[str, Any]) -> Any:
    """Images where no window holds the lowest number alone: the reference puts its gradient outside."""
    largest = ops.get("max_pool2d").reference(x.astype(np.float64), **at)
    return ~np.isneginf(largest).any((2, 3)) if at["padding"] != (0, 0) else np.ones(want.shape[:2], bool)


@pytest.mark.parametrize("at", [CASES[0][1], CASES[3][1], CASES[5][1]], ids=str)
def test_as_decomposed(at: dict[str, Any]) -> None:
    """Windows of the lowest number too: its first element inside has the gradient."""
    x = parameter("x", tensor(f32, 2, 2, 10, 44))
    g = parameter("g", ops.get("max_pool2d").build(x, **at).type)
    op = ops.get("max_pool2d_gradient")
    given = {"x": images((2, 2, 10, 44), f32), "g": np.ones(g.type.shape, np.float32)}
    given["x"][0, 0] = -np.inf
    whole, parts = (Graph("r", [x, g], [f(g, x, **at)]) for f in (op.build, op.decompose))
    results = []
    for graph in (whole, parts):
        session = compile_graph(graph, threads=2)
        results.append(session.run(given)[0])
        names = {k.name.split("_")[0] for k in session.compiled.program.kernels}
        assert (names == {"window"}) == (graph is whole)
    np.testing.assert_array_equal(*results)


def test_the_interpreter_says_the_same() -> None:
    x = parameter("x", tensor(f32, 1, 2, 6, 20))
    for at in (HALVES, CASES[3][1]):
        g = parameter("g", ops.get("max_pool2d").build(x, **at).type)
        dx = ops.get("max_pool2d_gradient").build(g, x, **at)
        given = {x: images((1, 2, 6, 20), f32), g: np.ones(g.type.shape, np.float32)}
        native, meant = (run_group(window_maximum, [dx], given, interp=i)[0] for i in (False, True))
        np.testing.assert_array_equal(native, meant)


@pytest.mark.parametrize("width", [32, 22])
def test_what_stands_behind_a_gradient(width: int) -> None:
    """The gradient of relu in the same kernel where windows cover the image, in another one where they do not."""
    x, m = parameter("x", tensor(f32, 2, 2, 6, width)), parameter("m", tensor(bool_, 2, 2, 6, width))
    for at in (HALVES, CASES[3][1]):
        g = parameter("g", ops.get("max_pool2d").build(x, **at).type)
        dx = ops.get("max_pool2d_gradient").build(g, x, **at)
        y = ops.where(m, 0.0, dx * 2.0)
        given = {"x": np.nan_to_num(images((2, 2, 6, width), f32)), "g": np.full(g.type.shape, 3, np.float32)}
        given["m"] = given["x"] <= 0
        session = compile_graph(Graph("r", [x, g, m], [y]), threads=2)
        want = dx.node.op.reference(given["g"].astype(np.float64), given["x"].astype(np.float64), **at)
        np.testing.assert_array_equal(session.run(given)[0], np.where(given["m"], 0, want * 2))
        assert (len(session.compiled.program.kernels) == 1) == (at is HALVES)


def test_a_symbolic_batch() -> None:
    n = dim(Symbol("n", 5, 1))
    x = parameter("x", tensor(f32, n, 2, 8, 8))
    session = compile_graph(Graph("g", [x], [ops.get("max_pool2d").build(x, **HALVES)]), threads=2)
    for size in (1, 5, 2):
        given = images((size, 2, 8, 8), f32)
        np.testing.assert_array_equal(
            session.run({"x": given})[0], ops.get("max_pool2d").reference(given.astype(np.float64), **HALVES)
        )
