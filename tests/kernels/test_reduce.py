"""kernels/reduce.py against NumPy, and its quantized rows bit for bit against `ActivationFormat.encode`."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
from run_kernel import HOST, group_of, run_group, targets

from heliostat import ops
from heliostat.ir.graph import Value, parameter
from heliostat.ir.types import DType, Symbol, bool_, dim, f16, f32, f64, i16, i32, i64, tensor, u8
from heliostat.kernels import reduce as reduce_schedule
from heliostat.kernels.group import Accept, Refuse
from heliostat.quant.activation import ActivationFormat, activation_format
from heliostat.targets.target import Target

N = dim(Symbol("n", 100_000))
NATIVE = [pytest.param(t, id=f"{t.vector_bytes}-byte") for t in targets()]
FORMATS = [
    activation_format(block, sub, sums, factor, planes)
    for block, sub, sums, factor in (
        (32, 32, "i32", 1),
        (32, 16, "i32", -32),
        (256, 16, "i32", -32),
        (256, 32, "f32", 1),
    )
    for planes in (1, 2)
] + [
    activation_format(256, 16, "i32", -32, 1, 1023),
    activation_format(256, 32, "i16", 1, 1, 2184),
    activation_format(256, 16, "i16", 1, 2),
    activation_format(32, 32, "i32", -8, 2, biased=True),
]


def decomposed(op: str, *inputs: Value, **attrs: Any) -> Value:
    value: Value = ops.get(op).decompose(*inputs, **attrs)  # type: ignore[attr-defined]
    return value


@pytest.mark.parametrize("target", NATIVE)
@pytest.mark.parametrize("columns", [1, 2, 15, 16, 17, 63, 64, 65, 130, 896])
def test_softmax(columns: int, target: Target) -> None:
    x = parameter("x", tensor(f32, 3, N))
    a = (np.random.default_rng(columns).standard_normal((3, columns)) * 4).astype(np.float32)
    runs = [
        run_group(reduce_schedule, [decomposed("softmax", x)], {x: a}, {"n": columns}, w, guard=True, target=target)[0]
        for w in (1, 2, 5)
    ]
    e = np.exp(a.astype(np.float64) - a.max(-1, keepdims=True))
    np.testing.assert_allclose(runs[0], e / e.sum(-1, keepdims=True), rtol=2e-6)
    for other in runs[1:]:
        np.testing.assert_array_equal(runs[0], other)


@pytest.mark.parametrize("columns", [1, 19, 64, 200])
@pytest.mark.parametrize("interp", [False, True], ids=["native", "interp"])
def test_layer_norm(columns: int, interp: bool) -> None:
    r = np.random.default_rng(columns)
    x, w, b = parameter("x", tensor(f32, 2, 3, N)), parameter("w", tensor(f32, N)), parameter("b", tensor(f32, N))
    values = {v: r.standard_normal(s).astype(np.float32) for v, s in ((x, (2, 3, columns)), (w, columns), (b, columns))}
    y = decomposed("layer_norm", x, w, b, eps=1e-5)
    (got,) = run_group(reduce_schedule, [y], values, {"n": columns}, interp=interp, guard=not interp)
    want = ops.get("layer_norm").reference(*(values[v].astype(np.float64) for v in (x, w, b)), eps=1e-5)
    np.testing.assert_allclose(got, want, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("target", NATIVE)
@pytest.mark.parametrize("name", ["sum", "mean", "max", "min", "prod"])
@pytest.mark.parametrize("dtype", [f64, f32, f16, i64, i32, u8, bool_], ids=str)
def test_last_axis(name: str, dtype: DType, target: Target) -> None:
    for columns in (1, 5, 16, 33, 64, 71):
        x = parameter("x", tensor(dtype, 3, N))
        a = _draw(np.random.default_rng(columns), dtype, (3, columns))
        (got,) = run_group(
            reduce_schedule, [getattr(ops, name)(x, -1)], {x: a}, {"n": columns}, guard=True, target=target
        )
        with np.errstate(over="ignore"):
            want = getattr(np, name)(a.astype(np.float64 if dtype.is_float else np.int64), -1).astype(got.dtype)
        np.testing.assert_allclose(got, want, rtol=3e-3 if dtype == f16 else 3e-5, atol=1e-2 if dtype == f16 else 1e-4)


def _draw(r: np.random.Generator, dtype: DType, shape: tuple[int, ...]) -> Any:
    if dtype == bool_:
        return r.random(shape) > 0.1
    if dtype.is_float:
        return r.standard_normal(shape).astype(f"float{dtype.bits}")
    return r.integers(0, 100, shape).astype(f"{'u' if dtype.kind == 'u' else ''}int{dtype.bits}")


@pytest.mark.parametrize("interp", [False, True], ids=["native", "interp"])
@pytest.mark.parametrize("shape", [(3, 4, 5), (2, 17, 33), (1, 1, 40), (5, 1, 1)])
@pytest.mark.parametrize("name", ["sum", "mean", "max", "min", "argmax"])
def test_any_axes(name: str, shape: tuple[int, ...], interp: bool) -> None:
    r = np.random.default_rng(9)
    for count in (1,) if name == "argmax" else (1, 2, 3):
        for axes, keepdim, dtype in itertools.product(
            itertools.combinations(range(3), count), (False, True), (f32, i16, bool_)
        ):
            x = parameter("x", tensor(dtype, *shape))
            a = _draw(r, dtype, shape)
            y = ops.get(name).build(x, axes=axes, keepdim=keepdim)
            (got,) = run_group(reduce_schedule, [y], {x: a}, workers=2, interp=interp, guard=not interp)
            if name == "argmax":
                want = np.argmax(a, axes[0], keepdims=keepdim)
            else:
                wide = a.astype(np.float64 if name == "mean" or dtype.is_float else np.int64)
                want = getattr(np, name)(wide, axis=axes, keepdims=keepdim)
            np.testing.assert_allclose(got.astype(np.float64), want.astype(np.float64), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("shape", "axes"), [((7, 1030), (0,)), ((5, 3, 4, 299), (0, 2)), ((9, 2, 260), (0,))])
def test_columns_side_by_side(shape: tuple[int, ...], axes: tuple[int, ...]) -> None:
    """Vectors of columns that share a pass, of which the last ones are cut short or empty."""
    a = np.random.default_rng(len(shape)).standard_normal(shape).astype(np.float32)
    x = parameter("x", tensor(f32, *shape))
    found = [
        run_group(reduce_schedule, [ops.sum(x, axes)], {x: a}, workers=workers, interp=interp, guard=not interp)[0]
        for workers, interp in ((1, False), (3, False), (2, True))
    ]
    np.testing.assert_allclose(found[0], a.sum(axes, dtype=np.float64), rtol=1e-4, atol=1e-5)
    assert found[0].tobytes() == found[1].tobytes() == found[2].tobytes()


@pytest.mark.parametrize("target", NATIVE)
@pytest.mark.parametrize(
    ("shape", "axes", "name"), [((6, 1030), (0,), "sum"), ((5, 3, 4, 299), (0, 2), "mean"), ((9, 2, 260), (0,), "max")]
)
def test_columns_of_what_is_computed(shape: tuple[int, ...], axes: tuple[int, ...], name: str, target: Target) -> None:
    """Gradients of a norm's weight: a sum over rows of a product, here with an operand of another dtype and one that
    is broadcast, in the order of the sum of the product as it lies in memory."""
    r = np.random.default_rng(len(shape))
    x, g, w = parameter("x", tensor(f32, *shape)), parameter("g", tensor(f16, *shape)), parameter("w", tensor(f32, 1))
    given = {x: _draw(r, f32, shape).astype(np.float32), g: _draw(r, f16, shape), w: np.float32([0.75])}
    computed = ops.exp(x * 0.5) * ops.cast(g, f32) + w
    y = ops.get(name).build(computed, axes=axes, keepdim=False)
    assert isinstance(reduce_schedule.accepts(group_of([y]), target), Accept)
    found = [run_group(reduce_schedule, [y], given, workers=n, guard=True, target=target)[0] for n in (1, 3)]
    wide = np.exp(given[x].astype(np.float64) * 0.5) * given[g] + 0.75
    np.testing.assert_allclose(found[0], getattr(wide, name)(axes), rtol=1e-4, atol=1e-5)
    assert found[0].tobytes() == found[1].tobytes()


def test_few_columns_are_computed_by_all_workers_first() -> None:
    x = parameter("x", tensor(f32, 3000, 20))
    refused = [[ops.sum(x * x, 0)], [ops.sum(x * x, (0, 1))]]
    wide = parameter("y", tensor(f32, 300, 1024))
    product = wide * wide
    refused += [[ops.sum(product, 0), product], [ops.argmax(product, 0)]]
    for outputs in refused:
        assert isinstance(reduce_schedule.accepts(group_of(outputs), HOST), Refuse)


def test_argmax_takes_the_first_and_a_nan() -> None:
    x = parameter("x", tensor(f32, 4, 200))
    a = np.random.default_rng(1).integers(0, 9, (4, 200)).astype(np.float32)
    a[0, 140] = a[0, 30] = np.nan
    a[1, 199] = np.inf
    a[2] = -np.inf
    (got,) = run_group(reduce_schedule, [ops.argmax(x, -1)], {x: a}, guard=True)
    np.testing.assert_array_equal(got, np.argmax(a, -1))


@pytest.mark.parametrize("target", NATIVE)
@pytest.mark.parametrize(
    ("format", "columns"),
    [(f, size) for i, f in enumerate(FORMATS) for size in ((256, 896), (512, 1792))[i % 2] if size % f.block == 0],
    ids=str,
)
def test_quantized_rows(format: ActivationFormat, columns: int, target: Target) -> None:
    """Alone, after a product, and after a norm: always the bytes of `encode` of the same f32 rows."""
    x, w, a, weight = _rows(columns)
    norm = decomposed("rms_norm", x, w, eps=1e-6)
    for source in (x, x * w, norm):
        outputs = [ops.quantize(source, format)] + ([] if source is x else [source])
        got = run_group(reduce_schedule, outputs, {x: a, w: weight}, workers=3, guard=True, target=target)
        row = a if source is x else got[1]
        _same_codes(got[0], format, row)
    np.testing.assert_allclose(got[1], ops.get("rms_norm").reference(a.astype(np.float64), weight, eps=1e-6), rtol=2e-6)


@pytest.mark.parametrize("format", FORMATS[:4] + FORMATS[-3:], ids=str)
def test_quantized_rows_by_the_interpreter(format: ActivationFormat) -> None:
    x, w, a, weight = _rows(512)
    norm = decomposed("rms_norm", x, w, eps=1e-6)
    got = run_group(reduce_schedule, [ops.quantize(norm, format), norm], {x: a, w: weight}, interp=True)
    _same_codes(got[0], format, got[1])


def _rows(columns: int) -> tuple[Value, Value, Any, Any]:
    r = np.random.default_rng(columns)
    a = (r.standard_normal((2, 3, columns)) * r.choice([1e-3, 1, 30], (2, 3, 1))).astype(np.float32)
    a[0, 0, :32] = 0  # a block of zeros has scale 0
    a[1, 1] = 0
    a[1, 2] = np.sign(a[1, 2])  # sums of a sub-block as large as they can be
    x, w = parameter("x", tensor(f32, 2, 3, columns)), parameter("w", tensor(f32, columns))
    return x, w, a, r.standard_normal(columns).astype(np.float32)


def _same_codes(got: Any, format: ActivationFormat, rows: Any) -> None:
    """Every byte but the padding at the end of a plane."""
    size = rows.shape[-1]
    used = format.sums_at(size) + format.sum_bytes * (size // format.sub)
    want = format.encode(rows.reshape(-1, size))
    for p in range(format.planes):
        part = slice(p * format.plane_bytes(size), p * format.plane_bytes(size) + used)
        np.testing.assert_array_equal(got[:, part], want[:, part])


def test_several_outputs_of_rows_and_of_one_element_each() -> None:
    x = parameter("x", tensor(f32, 4, 100))
    a = np.random.default_rng(3).standard_normal((4, 100)).astype(np.float32)
    total = ops.sum(x, -1, True)
    outputs = [ops.sub(x, total), total, ops.mul(total, 2.0), ops.max(x, -1)]
    got = run_group(reduce_schedule, outputs, {x: a}, workers=2, guard=True)
    want = a.astype(np.float64).sum(-1, keepdims=True)
    for g, expected in zip(got, (a - want, want, want * 2, a.max(-1)), strict=True):
        np.testing.assert_allclose(g, expected, rtol=1e-4, atol=1e-5)


def test_refusals() -> None:
    x, y = parameter("x", tensor(f32, 4, 4, 64)), parameter("y", tensor(f32, 4, 4, 48))
    mean = ops.mean(x, -1, True)
    accepted = [[x * ops.rsqrt(mean)], [ops.sum(x, 1)], [ops.sum(ops.transpose(x, (1, 0, 2)), -1)]]
    refused = [
        [x + 1.0],
        [ops.sum(x, -1), ops.sum(y, -1)],
        [ops.sum(ops.sum(x, -1), -1)],
        [ops.exp(ops.argmax(x, -1))],
        [x + ops.broadcast_to(ops.transpose(mean, (1, 0, 2)), (4, 4, 64))],  # another row's mean
        [ops.transpose(ops.sub(x, mean), (1, 0, 2))],
    ]
    for outputs in accepted:
        assert isinstance(reduce_schedule.accepts(group_of(outputs), HOST), Accept)
    for outputs in refused:
        assert isinstance(reduce_schedule.accepts(group_of(outputs), HOST), Refuse)
