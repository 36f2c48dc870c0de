"""kernels/map.py against NumPy: every tail, broadcasting, views, concat, several outputs, what is refused."""

from __future__ import annotations

import numpy as np
import pytest
from run_kernel import HOST, Array, group_of, run_group, targets

from heliostat import ops
from heliostat.ir.graph import Value, parameter
from heliostat.ir.types import DType, Symbol, bf16, bool_, dim, f16, f32, f64, i64, tensor, u8
from heliostat.kernels import map as map_schedule
from heliostat.kernels.group import Accept, Refuse
from heliostat.targets.target import Target

N = dim(Symbol("n", 100_000))
NATIVE = [pytest.param(t, id=f"{t.vector_bytes}-byte") for t in targets()]


@pytest.mark.parametrize("target", NATIVE)
@pytest.mark.parametrize("count", [0, 1, 7, 8, 15, 16, 17, 33, 4095, 4096, 4097, 9001])
def test_one_axis(count: int, target: Target) -> None:
    x = parameter("x", tensor(f32, N))
    a = np.random.default_rng(count).standard_normal(count).astype(np.float32)
    for workers in (1, 3):
        (got,) = run_group(map_schedule, [ops.silu(x)], {x: a}, {"n": count}, workers, guard=True, target=target)
        np.testing.assert_allclose(got, a / (1 + np.exp(-a)), rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("target", NATIVE)
@pytest.mark.parametrize("count", [5, 64, 127, 4096 + 4 * 64 + 17])
def test_long_chains_take_several_vectors_at_once(count: int, target: Target) -> None:
    x = parameter("x", tensor(f32, N))
    chain = [ops.sigmoid(ops.tanh(x) * x), ops.exp(x)]
    a = np.random.default_rng(count).uniform(-3, 3, count).astype(np.float32)
    for workers in (1, 2):
        got = run_group(map_schedule, chain, {x: a}, {"n": count}, workers, guard=True, target=target)
        np.testing.assert_allclose(got[0], 1 / (1 + np.exp(-np.tanh(a.astype(np.float64)) * a)), rtol=1e-6)
        np.testing.assert_allclose(got[1], np.exp(a.astype(np.float64)), rtol=1e-6)
    if target.lanes >= map_schedule.WIDE and target.vector_registers >= map_schedule.REGISTERS:
        group = group_of(chain)
        lanes = {i.lanes for i in map_schedule.build(group, target, "chain").walk() if i.op == "load" and i.lanes > 1}
        assert lanes == {target.lanes, map_schedule.TOGETHER * target.lanes}


@pytest.mark.parametrize("target", NATIVE)
@pytest.mark.parametrize("count", [1, 16, 37, 48, 64, 100, 4096 + 48])
def test_long_chains_of_known_sizes(count: int, target: Target) -> None:
    x = parameter("x", tensor(f32, count))
    a = np.random.default_rng(count).uniform(-3, 3, count).astype(np.float32)
    chain = [ops.sigmoid(ops.tanh(x) * x), ops.exp(x)]
    got = run_group(map_schedule, chain, {x: a}, workers=2, guard=True, target=target)
    np.testing.assert_allclose(got[0], 1 / (1 + np.exp(-np.tanh(a.astype(np.float64)) * a)), rtol=1e-6)
    np.testing.assert_allclose(got[1], np.exp(a.astype(np.float64)), rtol=1e-6)


@pytest.mark.parametrize("target", NATIVE)
@pytest.mark.parametrize("dtype", [f64, f32, f16, bf16, i64, u8, bool_], ids=str)
def test_tails_of_every_dtype(dtype: DType, target: Target) -> None:
    """Nothing is read or written past the end: a page there is not accessible."""
    for count in range(1, 36):
        x = parameter("x", tensor(dtype, count))
        a = np.random.default_rng(count).integers(0, 2, count)
        (got,) = run_group(map_schedule, [ops.maximum(x, x)], {x: a}, guard=True, target=target)
        np.testing.assert_array_equal(got.astype(np.int64), a)


@pytest.mark.parametrize("columns", [1, 2, 5, 16, 19, 40])
@pytest.mark.parametrize("interp", [False, True], ids=["native", "interp"])
def test_broadcasting_and_two_outputs(columns: int, interp: bool) -> None:
    r = np.random.default_rng(columns)
    x, b, c = (
        parameter("x", tensor(f32, 3, 4, columns)),
        parameter("b", tensor(f16, columns)),
        parameter("c", tensor(f32, 4, 1)),
    )
    values: dict[Value, Array] = {
        x: r.standard_normal((3, 4, columns)).astype(np.float32),
        b: r.standard_normal(columns).astype(np.float16),
        c: r.standard_normal((4, 1)).astype(np.float32),
    }
    row = ops.exp(c)
    outputs = [ops.add(x * b, row), ops.mul(row, x)]
    got = run_group(map_schedule, outputs, values, workers=3, interp=interp, guard=not interp)
    np.testing.assert_allclose(got[0], values[x] * values[b] + np.exp(values[c]), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(got[1], values[x] * np.exp(values[c]), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("axes", [(0, 1, 2), (1, 0, 2), (2, 0, 1), (0, 2, 1), (2, 1, 0)])
def test_transpose(axes: tuple[int, ...]) -> None:
    x = parameter("x", tensor(f32, 3, 5, 20))
    a = np.random.default_rng(0).standard_normal((3, 5, 20)).astype(np.float32)
    (got,) = run_group(map_schedule, [ops.transpose(x, axes) + 1.0], {x: a}, workers=2, guard=True)
    np.testing.assert_array_equal(got, a.transpose(axes) + 1)


@pytest.mark.parametrize(("start", "stop", "step"), [(0, 30, 1), (3, 29, 1), (3, 29, 3), (5, 6, 1), (4, 4, 1)])
def test_slice_of_the_last_axis(start: int, stop: int, step: int) -> None:
    x = parameter("x", tensor(f32, 2, 30))
    a = np.arange(60, dtype=np.float32).reshape(2, 30)
    (got,) = run_group(map_schedule, [ops.slice(x, 1, start, stop, step) * 2.0], {x: a}, guard=True)
    np.testing.assert_array_equal(got, a[:, start:stop:step] * 2)


@pytest.mark.parametrize("axis", [0, 1, 2])
@pytest.mark.parametrize("interp", [False, True], ids=["native", "interp"])
def test_concat_with_what_makes_its_operands(axis: int, interp: bool) -> None:
    r = np.random.default_rng(axis)
    shapes = [[3, 4, 19], [3, 4, 19], [3, 4, 19]]
    for n, s in enumerate(shapes):
        s[axis] += n
    xs = [parameter(f"x{n}", tensor(f32, *s)) for n, s in enumerate(shapes)]
    values = {x: r.standard_normal(s).astype(np.float32) for x, s in zip(xs, shapes, strict=True)}
    y = ops.concat(xs[0] * 2.0, xs[1], ops.neg(xs[2]), axis=axis)
    (got,) = run_group(map_schedule, [y], values, workers=2, interp=interp, guard=not interp)
    want = [values[xs[0]] * 2, values[xs[1]], -values[xs[2]]]
    np.testing.assert_array_equal(got, np.concatenate(want, axis))


def test_no_axis_and_one_element() -> None:
    x, y = parameter("x", tensor(f32)), parameter("y", tensor(f32, 1, 1))
    (got,) = run_group(map_schedule, [x + 1.0], {x: np.array(2, np.float32)})
    assert got == 3
    (got,) = run_group(map_schedule, [x + y], {x: np.array(2, np.float32), y: np.ones((1, 1), np.float32)})
    assert got.shape == (1, 1)
    assert got[0, 0] == 3


def test_small_tensors_are_one_worker() -> None:
    """The second of two workers has nothing to do, whether rows are flattened or not."""
    x, b = parameter("x", tensor(f32, 8, 16)), parameter("b", tensor(f32, 16))
    for y in (x + 1.0, x + b):
        kernel = map_schedule.build(group_of([y]), HOST, "small")
        (region,) = (i for i in kernel.walk() if i.op == "parallel")
        assert region.args[0].value == 1


def test_refusals() -> None:
    x, y = parameter("x", tensor(f32, 4, 8)), parameter("y", tensor(f32, 4, 4))
    assert isinstance(map_schedule.accepts(group_of([x + 1.0]), HOST), Accept)
    for outputs in ([ops.sum(x, -1)], [x + 1.0, y + 1.0], [ops.concat(x, y, axis=1) + 1.0]):
        assert isinstance(map_schedule.accepts(group_of(outputs), HOST), Refuse)
