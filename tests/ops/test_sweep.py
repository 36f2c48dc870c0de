"""Each slot of each op against the others: type rule, reference, decomposition, gradient, scalar lowering, text."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from heliostat import ops
from heliostat.ir.graph import Graph, parameter
from heliostat.ir.text import parse_graph, print_graph
from heliostat.ir.types import DType, f64
from heliostat.ir.verify import verify
from heliostat.ops import Batching, NotDifferentiable, Op
from heliostat.ops.batching import batch_node
from heliostat.ops.evaluate import evaluate
from heliostat.ops.gradient import gradients
from heliostat.ops.rounding import to_dtype
from heliostat.ops.samples import Sample

from .numpy_math import NumpyMath
from .sweep import cases, decomposed, evaluated, graph_of, in_f64, leaves, shape_of

every_case = pytest.mark.parametrize(("op", "case"), cases())


@every_case
def test_reference_has_the_type_of_the_rule(op: Op, case: Sample) -> None:
    graph = graph_of(op, case)
    arrays = case.draw(1)
    verify(graph)
    for value, array in zip(graph.outputs, evaluated(graph, arrays, case.symbols), strict=True):
        assert array.shape == shape_of(value.type, case.symbols)
        if isinstance(value.type.element, DType):
            assert array.dtype.kind == value.type.element.kind


@every_case
def test_reference_leaves_its_inputs(op: Op, case: Sample) -> None:
    graph = graph_of(op, case)
    arrays = case.draw(2)
    before = [a.copy() for a in arrays]
    for a in arrays:
        a.setflags(write=False)
    first = evaluated(graph, arrays, case.symbols)
    for a, b in zip(arrays, before, strict=True):
        np.testing.assert_array_equal(a, b)
    for a, b in zip(first, evaluated(graph, arrays, case.symbols), strict=True):
        np.testing.assert_array_equal(a, b)


@every_case
def test_text_round_trips(op: Op, case: Sample) -> None:
    graph = graph_of(op, case)
    text = print_graph(graph)
    again = parse_graph(text, ops.get)
    verify(again)
    assert print_graph(again) == text
    assert again.structural_key() == graph.structural_key()


def _with(slot: str) -> list[Any]:
    return [p for p in cases() if getattr(p.values[0], slot, None) is not None]


@pytest.mark.parametrize(("op", "case"), _with("decompose"))
def test_decomposition_means_the_reference(op: Op, case: Sample) -> None:
    """Rounded at every step, within the op's error; and in f64, where a wrong term cannot hide."""
    whole, parts = graph_of(op, case), decomposed(op, case)
    assert [v.type for v in parts.outputs] == [v.type for v in whole.outputs]
    verify(parts)
    arrays = case.draw(3)
    (expected,) = evaluated(whole, arrays, case.symbols)
    (found,) = evaluated(parts, arrays, case.symbols, exact=False)
    dtype = whole.outputs[0].type.dtype
    assert op.error.excess(found, expected, dtype) <= 1
    wide = in_f64(case)
    if wide is not None and op.name != "rope_angles":  # whose angles are rounded to f32 on the way
        arrays = wide.draw(4)
        (expected,) = evaluated(graph_of(op, wide), arrays, case.symbols)
        (found,) = evaluated(decomposed(op, wide), arrays, case.symbols)
        np.testing.assert_allclose(found, expected, rtol=1e-12, atol=1e-13)


def _scalars() -> list[Any]:
    return [p for p in cases() if p.values[0].kind == "elementwise"]


@pytest.mark.parametrize(("op", "case"), _scalars())
def test_scalar_lowering_means_the_reference(op: Any, case: Sample) -> None:
    """The formula, by NumPy in float64; what the kernels' functions make of it is tested where they are."""
    if op.name == "cast":
        pytest.skip("rounding to a dtype is the kernel builder's")
    arrays = case.draw(5)
    graph = graph_of(op, case)
    (expected,) = evaluated(graph, arrays, case.symbols)
    type = graph.outputs[0].type
    kind = np.float64 if any(o.type.dtype.is_float for o in case.operands) or op.floats else np.int64
    wide = np.broadcast_arrays(*arrays)
    given = [np.array(a) if op.mixed or a.dtype == bool else a.astype(kind) for a in wide]
    if not op.mixed and op.name != "where" and any(a.dtype != bool for a in given):
        given = [a.astype(kind) for a in given]
    if not type.dtype.is_float and kind == np.int64 and np.abs(expected).max(initial=0) > 2**31:
        pytest.skip("wraps around")
    with np.errstate(all="ignore"):
        found = np.asarray(op.scalar(NumpyMath(), *given, **case.attrs))
    dtype = f64 if type.dtype.is_float else type.dtype
    if type.dtype.is_float:
        np.testing.assert_allclose(to_dtype(found, type.dtype), expected, rtol=1e-9)
    else:
        assert op.error.excess(found.astype(expected.dtype), expected, dtype) == 0


def _batched() -> list[Any]:
    return [
        p
        for p in cases()
        if p.values[0].batching is not Batching.REFUSED
        and not p.values[1].symbols
        and all(isinstance(o.type.element, DType) for o in p.values[1].operands)
    ]


@pytest.mark.parametrize(("op", "case"), _batched())
def test_a_batch_is_each_element(op: Op, case: Sample) -> None:
    """With a leading axis on all operands, on the first, on the last: the reference of every element alone."""
    inputs, count = leaves(case), 3
    (y,) = op.build_all(*inputs, **case.attrs)
    draws = [case.draw(40 + n) for n in range(count)]
    last = len(inputs) - 1
    for chosen in {tuple(range(last + 1)), (0,), (last,)} if inputs else ():
        flags = [i in chosen for i in range(last + 1)]
        rows = [[draws[n if on else 0][i] for i, on in enumerate(flags)] for n in range(count)]
        wide = [
            parameter(v.name or f"x{i}", replace(v.type, shape=(count, *v.type.shape)) if on else v.type)
            for i, (v, on) in enumerate(zip(inputs, flags, strict=True))
        ]
        graph = Graph("batch", wide, [batch_node(y.node, count, flags, wide)])
        verify(graph)
        stacked = [np.stack([r[i] for r in rows]) if on else draws[0][i] for i, on in enumerate(flags)]
        (found,) = evaluated(graph, stacked, {}, exact=False)
        one = graph_of(op, case)
        expected = np.stack([evaluated(one, r, {}, exact=False)[0] for r in rows])
        assert graph.outputs[0].type.shape == (count, *y.type.shape)
        assert op.error.excess(found, expected, y.type.dtype) <= 2


def _differentiable() -> list[Any]:
    found = []
    for p in cases():
        op, case = p.values
        wide = in_f64(case)
        if wide is None or isinstance(op.gradient, NotDifferentiable):
            continue
        (y,) = op.build_all(*leaves(wide), **wide.attrs)
        if y.type.element == f64 and all(0 not in o.type.shape for o in wide.operands):
            found.append(p)
    return found


@pytest.mark.parametrize(("op", "case"), _differentiable())
def test_gradient_is_the_finite_difference(op: Op, case: Sample) -> None:
    """Along random directions, in float64: (f(x + h d) - f(x - h d)) / 2h against the gradient's product with d."""
    wide = in_f64(case)
    assert wide is not None
    inputs = leaves(wide)
    (y,) = op.build_all(*inputs, **wide.attrs)
    seed = parameter("g", y.type)
    floats = [v for v in inputs if v.type.dtype.is_float]
    found = gradients([y], [seed], floats)
    graph = Graph("backward", [*inputs, seed], [y, *(g for g in found if g is not None)])
    verify(graph)
    rng = np.random.default_rng(6)
    arrays = wide.draw(7)
    g = rng.standard_normal(shape_of(y.type, wide.symbols))

    def forward(given: list[Any]) -> float:
        (out,) = evaluated(Graph("forward", inputs, [y]), given, wide.symbols)
        return float((out * g).sum())

    named = {f"x{i}": a for i, a in enumerate(arrays)} | {"g": g}
    grads = iter(evaluate(graph, named, wide.symbols)[1:])
    for value, grad in zip(floats, found, strict=True):
        at = inputs.index(value)
        assert grad is None or grad.type == value.type
        array = next(grads) if grad is not None else np.zeros_like(arrays[at])
        direction = rng.standard_normal(arrays[at].shape)
        h = 1e-6
        up, down = list(arrays), list(arrays)
        up[at], down[at] = arrays[at] + h * direction, arrays[at] - h * direction
        slope = (forward(up) - forward(down)) / (2 * h)
        expected = float((array * direction).sum())
        scale = max(1.0, abs(forward(arrays)), float(np.abs(array * direction).sum()))
        assert slope == pytest.approx(expected, rel=1e-5, abs=1e-8 * scale)
