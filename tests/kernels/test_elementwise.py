"""kernels/elementwise.py through the map schedule: promotion, wrapping, views, presets, deep graphs."""

from __future__ import annotations

import numpy as np
import pytest
from run_kernel import HOST, Array, run_group, run_kernel

from heliostat import ops
from heliostat.ir.graph import Value, constant, parameter
from heliostat.ir.types import DType, bool_, f16, f32, f64, i8, i16, i32, i64, tensor, u8, u16, u32
from heliostat.kernel.builder import KernelBuilder
from heliostat.kernels import map as map_schedule
from heliostat.kernels.elementwise import PointEvaluator
from heliostat.kernels.group import Dims, TensorOperand


def test_depth_of_a_graph_is_not_depth_of_the_stack() -> None:
    y = x = parameter("x", tensor(f32, 20))
    for _ in range(3000):
        y = y + 1.0
    (got,) = run_group(map_schedule, [y], {x: np.zeros(20, np.float32)})
    np.testing.assert_array_equal(got, np.full(20, 3000.0))


def test_a_value_used_twice_is_computed_once() -> None:
    y = x = parameter("x", tensor(f32, 20))
    for _ in range(60):  # 2 ** 60 paths
        y = (y + y) * 0.5
    (got,) = run_group(map_schedule, [y], {x: np.ones(20, np.float32)})
    np.testing.assert_array_equal(got, np.ones(20))


@pytest.mark.parametrize("interp", [False, True], ids=["native", "interp"])
@pytest.mark.parametrize("dtype", [i8, u8, i16, u16, u32, i32, i64], ids=str)
def test_integers_wrap_between_fused_ops(dtype: DType, interp: bool) -> None:
    numpy_type = np.dtype(
        dtype.name.replace("u", "uint").replace("i", "int") if dtype.kind == "i" else f"uint{dtype.bits}"
    )
    info = np.iinfo(numpy_type)
    x = parameter("x", tensor(dtype, 37))
    a = np.linspace(float(info.min), float(info.max) * 0.999, 37).astype(numpy_type)
    big = constant(info.max, tensor(dtype))
    with np.errstate(over="ignore"):
        total = a + numpy_type.type(info.max)
        product = a * a
    got = run_group(map_schedule, [ops.gt(x + big, x), ops.lt(x * x, x)], {x: a}, interp=interp)
    np.testing.assert_array_equal(got[0], total > a)
    np.testing.assert_array_equal(got[1], product < a)


@pytest.mark.parametrize("a", [f64, f32, f16, i32, u8, bool_], ids=str)
@pytest.mark.parametrize("b", [f64, f32, i64, i8, bool_], ids=str)
def test_promotion(a: DType, b: DType) -> None:
    r = np.random.default_rng(1)
    x, y = parameter("x", tensor(a, 21)), parameter("y", tensor(b, 21))
    values = {v: _draw(r, t, 21) for v, t in ((x, a), (y, b))}
    (got,) = run_group(map_schedule, [ops.div(x, y)], values)
    with np.errstate(all="ignore"):
        want = values[x].astype(np.float64) / values[y].astype(np.float64)
    np.testing.assert_allclose(got, want, rtol=2e-3 if got.dtype == np.float16 else 1e-6)


def _draw(r: np.random.Generator, dtype: DType, count: int) -> Array:
    if dtype == bool_:
        return np.ones(count, np.bool_)
    name = f"float{dtype.bits}" if dtype.is_float else f"{'u' if dtype.kind == 'u' else ''}int{dtype.bits}"
    return r.integers(1, 100, count).astype(name)


@pytest.mark.parametrize("interp", [False, True], ids=["native", "interp"])
@pytest.mark.parametrize(
    "name",
    ["add", "mul", "maximum", "minimum", "eq", "ne", "lt", "le", "gt", "ge", "logical_and", "logical_or", "div"],
)
def test_flags(name: str, interp: bool) -> None:
    """Sums of bools are true where one is; False < True."""
    x, y = parameter("x", tensor(bool_, 20)), parameter("y", tensor(bool_, 20))
    a, b = np.arange(20) % 2 == 0, np.arange(20) % 3 == 0
    op = ops.get(name)
    (got,) = run_group(map_schedule, [op.build(x, y)], {x: a, y: b}, interp=interp)
    np.testing.assert_array_equal(got, op.reference(a, b))


def test_where_with_constants() -> None:
    x = parameter("x", tensor(f32, 5, 7))
    a = np.random.default_rng(2).standard_normal((5, 7)).astype(np.float32)
    (got,) = run_group(map_schedule, [ops.where(ops.gt(x, 0.0), x, float("-inf"))], {x: a})
    np.testing.assert_array_equal(got, np.where(a > 0, a, -np.inf))


def test_views_in_front_of_elementwise() -> None:
    r = np.random.default_rng(4)
    x, y = parameter("x", tensor(f32, 6, 5, 40)), parameter("y", tensor(f32, 1, 40))
    a, b = r.standard_normal((6, 5, 40)).astype(np.float32), r.standard_normal((1, 40)).astype(np.float32)
    part = ops.slice(ops.slice(x, 0, 1, 6, 2), 2, 3, 36)
    z: Value = ops.transpose(part, (1, 0, 2)) * ops.slice(ops.broadcast_to(y, (5, 3, 40)), 2, 7, 40)
    (got,) = run_group(map_schedule, [z], {x: a, y: b}, guard=True)
    np.testing.assert_array_equal(got, a[1:6:2, :, 3:36].transpose(1, 0, 2) * b[:, 7:40])


@pytest.mark.parametrize("interp", [False, True], ids=["native", "interp"])
def test_preset_and_mask(interp: bool) -> None:
    """As an epilogue of a product uses it: the product is in a register, the rest is read under a mask."""
    product, bias = parameter("product", tensor(f32, 3, 11)), parameter("bias", tensor(f32, 11))
    y = ops.relu(product + bias)
    k = KernelBuilder("epilogue")
    source, out = k.buffer("bias"), k.buffer("out", "w")
    dims = Dims(k, ())
    evaluate = PointEvaluator(k, dims, {bias: TensorOperand(k, dims, source, bias.type)})
    mask = k.ult(k.iota("i32", 16), k.const(11, "i32", 16))
    index = [k.const(2, "i64"), k.const(0, "i64")]
    value = evaluate.at(y, index, 16, mask=mask, preset={product: k.const(1.5, "f32", 16)})
    k.store(out, 0, value, mask)
    b = np.linspace(-4, 4, 11).astype(np.float32)
    got = np.empty(11, np.float32)
    run_kernel(k.finish(), [b, got], interp=interp, target=HOST)
    np.testing.assert_array_equal(got, np.maximum(b + np.float32(1.5), 0))
