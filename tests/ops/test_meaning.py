"""What single ops mean, by examples that can be checked by hand or against plain NumPy."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from heliostat import ops
from heliostat.diagnostics import DTypeError, ShapeError, UnsupportedError
from heliostat.ir.graph import Graph, Value, constant, parameter
from heliostat.ir.types import (
    DType,
    Symbol,
    bf16,
    bool_,
    dim,
    f16,
    f32,
    f64,
    i8,
    i32,
    i64,
    tensor,
    u8,
)
from heliostat.ops.error import LargestUlp, Ulp, spacing
from heliostat.ops.evaluate import evaluate
from heliostat.ops.rounding import to_dtype
from heliostat.ops.shape import iota
from heliostat.quant import quantize
from heliostat.quant.formats import Q4_0, Q8_0

NAN, INF = float("nan"), float("inf")


def run(build: Any, *arrays: Any, types: Any = None, symbols: Any = None) -> Any:
    """The result of `build` over inputs with these arrays."""
    kinds = {
        "float32": f32,
        "float64": f64,
        "float16": f16,
        "int32": i32,
        "int64": i64,
        "bool": bool_,
        "int8": i8,
        "uint8": u8,
    }
    given_arrays = [np.asarray(a) for a in arrays]
    declared = types or [tensor(kinds[str(a.dtype)], *a.shape) for a in given_arrays]
    inputs = [parameter(f"x{i}", t) for i, t in enumerate(declared)]
    y = build(*inputs)
    graph = Graph("f", inputs, y if isinstance(y, (tuple, list)) else [y])
    out = evaluate(graph, {f"x{i}": a for i, a in enumerate(given_arrays)}, symbols)
    return out if len(out) > 1 else out[0]


def test_casts_saturate_wrap_and_round_to_even() -> None:
    floats = np.array([1.9, -1.9, 300, -300, NAN, INF, -INF, 2.5], np.float32)
    np.testing.assert_array_equal(run(lambda x: ops.cast(x, i8), floats), [1, -1, 127, -128, 0, 127, -128, 2])
    np.testing.assert_array_equal(run(lambda x: ops.cast(x, u8), floats), [1, 0, 255, 0, 0, 255, 0, 2])
    np.testing.assert_array_equal(run(lambda x: ops.cast(x, i64), np.array([1e30, -1e30])), [2**63 - 1, -(2**63)])
    np.testing.assert_array_equal(run(lambda x: ops.cast(x, i8), np.array([300, -129], np.int32)), [44, 127])
    np.testing.assert_array_equal(run(lambda x: ops.cast(x, bool_), np.array([0.0, -0.0, 0.1, NAN])), [0, 0, 1, 1])
    halves = to_dtype(np.array([1 + 2**-8, 1 + 3 * 2**-8, 3.4e38, -NAN]), bf16)
    np.testing.assert_array_equal(halves, np.array([1, 1 + 2**-6, INF, NAN], np.float32))


@given(st.floats(width=32))
def test_bf16_is_the_nearest(x: float) -> None:
    y = float(to_dtype(np.array(x), bf16))
    if np.isnan(x):
        assert np.isnan(y)
        return
    bits = np.array(y, np.float32).view(np.uint32)
    assert bits & 0xFFFF == 0
    if np.isfinite(y) and np.isfinite(x):
        assert abs(y - x) <= float(spacing(np.array(x), bf16)) / 2


def test_integers_wrap_around() -> None:
    x = np.array([127, -128], np.int8)
    np.testing.assert_array_equal(run(lambda a: a + 1, x), [-128, -127])
    np.testing.assert_array_equal(run(lambda a: ops.matmul(a, a), x), 1)  # 127 * 127 + 128 * 128 = 32513
    assert run(lambda a: ops.sum(a), x).dtype == np.int64


def test_nan_is_the_extreme() -> None:
    x = np.array([[1, NAN, 3], [4, 5, 4]], np.float32)
    np.testing.assert_array_equal(run(lambda a: ops.max(a, -1), x), [NAN, 5])
    np.testing.assert_array_equal(run(lambda a: ops.minimum(a, 2.0), x), [[1, NAN, 2], [2, 2, 2]])
    np.testing.assert_array_equal(run(lambda a: ops.argmax(a, -1), x), [1, 1])
    np.testing.assert_array_equal(run(lambda a: ops.argmax(a, 0), np.array([[2], [2]], np.float32)), [0])


def test_reductions_of_nothing() -> None:
    x = np.zeros((2, 0), np.float32)
    np.testing.assert_array_equal(run(lambda a: ops.sum(a, -1), x), [0, 0])
    np.testing.assert_array_equal(run(lambda a: ops.prod(a, -1), x), [1, 1])
    np.testing.assert_array_equal(run(lambda a: ops.mean(a, -1), x), [NAN, NAN])


def test_softmax_takes_any_axis_and_large_numbers() -> None:
    x = np.array([[1e30, 1e30], [-1e30, 0]], np.float32)
    np.testing.assert_array_equal(run(lambda a: ops.softmax(a), x), [[0.5, 0.5], [0, 1]])
    np.testing.assert_array_equal(run(lambda a: ops.softmax(a, 0), x), [[1, 1], [0, 0]])
    y = np.random.default_rng(0).standard_normal((2, 3, 4))
    e = np.exp(y)
    np.testing.assert_allclose(run(lambda a: ops.softmax(a, 1), y), e / e.sum(1, keepdims=True))
    np.testing.assert_allclose(run(lambda a: ops.log_softmax(a, 0), y), np.log(e / e.sum(0, keepdims=True)), atol=1e-15)


def test_logsumexp_of_infinities() -> None:
    x = np.array([[-INF, -INF], [INF, 0], [1000, 1000], [-INF, 2]])
    np.testing.assert_allclose(run(lambda a: ops.logsumexp(a), x), [-INF, INF, 1000 + np.log(2), 2])
    inputs = [parameter("x0", tensor(f64, 4, 2))]
    parts: Any = ops.get("logsumexp")
    (found,) = evaluate(Graph("f", inputs, [parts.decompose(*inputs)]), {"x0": x})
    np.testing.assert_allclose(found, [-INF, INF, 1000 + np.log(2), 2])


def test_matmul_takes_vectors_as_numpy_does() -> None:
    rng = np.random.default_rng(1)
    for a, b in (((3,), (3,)), ((3,), (2, 3, 4)), ((2, 3, 4), (4,)), ((5, 1, 2, 3), (4, 3, 2)), ((0, 3), (3, 2))):
        x, y = rng.standard_normal(a), rng.standard_normal(b)
        np.testing.assert_array_equal(run(lambda p, q: p @ q, x, y), x @ y)


def test_matmul_with_blocks_reads_their_floats() -> None:
    rng = np.random.default_rng(2)
    x, w = rng.standard_normal((3, 64)).astype(np.float32), rng.standard_normal((5, 64)).astype(np.float32)
    raw = np.frombuffer(quantize(w, "Q8_0"), np.uint8).reshape(5, -1)
    found = run(lambda a, b: a @ ops.transpose(b), x, raw, types=[tensor(f32, 3, 64), tensor(Q8_0, 5, 64)])
    np.testing.assert_allclose(found, x @ w.T, atol=0.2)
    assert found.dtype == np.float32
    x_i8 = parameter("x", tensor(i8, 3, 64))
    assert ops.matmul(x_i8, ops.transpose(parameter("w", tensor(Q8_0, 5, 64)))).type == tensor(f32, 3, 5)
    with pytest.raises(DTypeError, match="left side of `@` must have plain elements"):
        ops.matmul(parameter("w", tensor(Q8_0, 5, 64)), ops.transpose(parameter("v", tensor(i8, 3, 64))))


def attention(q: Any, k: Any, v: Any, start: int, **attrs: Any) -> Any:
    """Written out once more, query by query."""
    n, heads, size = q.shape
    out = np.zeros((n, heads, size))
    for i in range(n):
        for h in range(heads):
            last = start + i if attrs.get("causal", True) else start + n - 1
            window = attrs.get("window", 0)
            keys = [j for j in range(last + 1) if not window or j > start + i - window]
            group = h // (heads // k.shape[0])
            scores = np.array([q[i, h] @ k[group, j] for j in keys]) * attrs["scale"]
            weights = np.exp(scores - scores.max())
            out[i, h] = sum(w * v[group, j] for w, j in zip(weights / weights.sum(), keys, strict=True))
    return out


@given(
    n=st.integers(1, 4), groups=st.integers(1, 2), each=st.integers(1, 3), start=st.integers(0, 4),
    window=st.integers(0, 5), causal=st.booleans(), seed=st.integers(0, 99),
)  # fmt: skip
def test_attention(n: int, groups: int, each: int, start: int, window: int, causal: bool, seed: int) -> None:
    """Reference and decomposition; keys that no query sees are NaN."""
    rng = np.random.default_rng(seed)
    q = rng.standard_normal((n, groups * each, 3))
    k, v = rng.standard_normal((2, groups, 9, 3))
    expected = attention(q, k, v, start, scale=0.7, causal=causal, window=window)
    k[:, start + n :], v[:, start + n :] = NAN, NAN
    record: Any = ops.get("attention")
    attrs = {"scale": 0.7, "causal": causal, "window": window}
    for build in (record.build, record.decompose):
        found = run(lambda *x, build=build: build(*x, **attrs), q, k, v, np.int32(start))
        np.testing.assert_allclose(found, expected, atol=1e-12)


def test_attention_refuses_what_does_not_fit() -> None:
    q, start = parameter("q", tensor(f32, 2, 6, 4)), parameter("start", tensor(i32))
    k = parameter("k", tensor(f16, 2, 8, 4))
    assert ops.attention(q, k, k, start, scale=1).type == q.type
    for heads, capacity, size, dtype, error, message in (
        (4, 8, 4, f16, ShapeError, "6 query heads do not divide into 4"),
        (2, 8, 3, f16, ShapeError, "heads of q have 4 elements, those of k 3"),
        (2, 1, 4, f16, ShapeError, "2 queries are more than the cache of 1 holds"),
        (2, 8, 4, i8, DTypeError, "k and v of one float dtype"),
        (0, 8, 4, f16, ShapeError, "do not divide into 0"),
    ):
        bad = parameter("k", tensor(dtype, heads, capacity, size))
        with pytest.raises(error, match=message):
            ops.attention(q, bad, bad, start, scale=1.0)
    with pytest.raises(DTypeError, match="start must be one i32"):
        ops.attention(q, k, k, parameter("s", tensor(i64)), scale=1.0)
    with pytest.raises(ShapeError, match="7 and 2 tokens are more than the cache of 8 holds"):
        run(
            lambda *x: ops.attention(*x, scale=1.0),
            np.ones((2, 1, 4)),
            np.ones((1, 8, 4)),
            np.ones((1, 8, 4)),
            np.int32(7),
        )


def test_rope_turns_pairs() -> None:
    x = np.arange(1, 7, dtype=np.float64).reshape(1, 1, 6)
    quarter = np.array([[0.0, 0.0]]), np.array([[1.0, 1.0]])
    np.testing.assert_array_equal(run(ops.rope, x, *quarter)[0, 0], [-3, -4, 1, 2, 5, 6])
    np.testing.assert_array_equal(
        run(lambda *a: ops.rope(*a, interleaved=True), x, *quarter)[0, 0], [-2, 1, -4, 3, 5, 6]
    )


def test_rope_table() -> None:
    positions, frequencies = np.array([0, 3, 100_000], np.int32), np.array([1, 0.1], np.float32)
    cos, sin = run(lambda p, f: ops.rope_table(p, f, scale=2.0), positions, frequencies)
    angle = positions[:, None].astype(np.float32) * frequencies
    np.testing.assert_allclose(cos, 2 * np.cos(angle.astype(np.float64)), rtol=1e-6)
    np.testing.assert_allclose(sin, 2 * np.sin(angle.astype(np.float64)), rtol=1e-6, atol=1e-7)


def test_cache_update_writes_rows_that_are_inside() -> None:
    cache, new = np.zeros((2, 4, 1), np.float32), np.arange(1, 7, dtype=np.float32).reshape(3, 2, 1)
    found = run(ops.cache_update, cache, new, np.int32(1))
    np.testing.assert_array_equal(found[:, :, 0], [[0, 1, 3, 5], [0, 2, 4, 6]])
    np.testing.assert_array_equal(run(ops.cache_update, cache, new, np.int32(3))[0, :, 0], [0, 0, 0, 1])
    np.testing.assert_array_equal(run(ops.cache_update, cache, new, np.int32(-1))[0, :, 0], [3, 5, 0, 0])


def test_numbers_outside_the_table_read_row_0() -> None:
    table = np.array([[1, 2], [3, 4]], np.float32)
    ids = np.array([1, -1, 2, 0], np.int32)
    np.testing.assert_array_equal(run(ops.embedding, table, ids), [[3, 4], [1, 2], [1, 2], [1, 2]])
    np.testing.assert_array_equal(run(lambda x, i: ops.gather(x, i, 0), table, np.array([[1, 5]], np.int32)), [[3, 2]])


def test_embedding_of_blocks() -> None:
    table = np.random.default_rng(3).standard_normal((4, 32)).astype(np.float32)
    raw = np.frombuffer(quantize(table, "Q4_0"), np.uint8).reshape(4, -1)
    types = [tensor(Q4_0, 4, 32), tensor(i32, 2)]
    found = run(ops.embedding, raw, np.array([3, 0], np.int32), types=types)
    np.testing.assert_allclose(found, table[[3, 0]], atol=0.5)


def test_shape_functions() -> None:
    x = np.arange(24, dtype=np.float32).reshape(2, 3, 4)
    np.testing.assert_array_equal(run(lambda a: ops.last_row(a), x), x[-1:])
    np.testing.assert_array_equal(run(lambda a: ops.take_rows(a, 0, 1), x), x[:1])
    np.testing.assert_array_equal(run(lambda a: ops.slice(a, -1, 1, 4, 2), x), x[..., 1:4:2])
    np.testing.assert_array_equal(run(lambda a: ops.flatten(a), x), x.reshape(-1))
    np.testing.assert_array_equal(run(lambda a: ops.squeeze(ops.unsqueeze(a, -1), 3), x), x)
    np.testing.assert_array_equal(run(lambda a: ops.transpose(a), x), x.swapaxes(1, 2))
    n = dim(Symbol("n", 8, 1))
    rows = parameter("x", tensor(f32, n, 4))
    assert ops.last_row(rows).type == tensor(f32, 1, 4)
    assert ops.reshape(rows, (-1, 2)).type == tensor(f32, n * 2, 2)
    assert ops.reshape(rows, (n * 4, -1)).type == tensor(f32, n * 4, 1)
    with pytest.raises(ShapeError, match="cannot tell"):
        ops.reshape(rows, (3, -1))


def test_iota_of_a_symbol_is_as_long() -> None:
    n = dim(Symbol("n", 9, 1))
    (found,) = evaluate(Graph("f", [], [iota(n)]), {}, {"n": 4})
    np.testing.assert_array_equal(found, [0, 1, 2, 3])


# --- evaluate ---------------------------------------------------------------------------------------------------------
def test_states_come_after_the_outputs() -> None:
    k, x = parameter("k", tensor(f16, 2), "state"), parameter("x", tensor(f32, 2))
    graph = Graph("f", [x, k], [x * 2.0], [(k, ops.cast(ops.cast(k, f32) + x, f16))])
    out, state = evaluate(graph, {"x": np.array([1, 2], np.float32), "k": np.array([0.5, 0], np.float16)})
    np.testing.assert_array_equal(out, [2, 4])
    np.testing.assert_array_equal(state, [1.5, 2])
    assert state.dtype == np.float16


def test_symbols_are_solved_and_checked() -> None:
    n, m = dim(Symbol("n", 8)), dim(Symbol("m", 8))
    x, y = parameter("x", tensor(f32, n * 2 + m)), parameter("y", tensor(f32, m + 1))
    graph = Graph("f", [x, y], [ops.slice(x, 0, n, n * 2)])
    np.testing.assert_array_equal(
        evaluate(graph, {"x": np.arange(7, dtype=np.float32), "y": np.zeros(2, np.float32)})[0], [3, 4, 5]
    )
    for sizes, message in (
        ((8, 2), r"parameter x is .* shape \[8\]|no value is given"),
        ((30, 2), "symbol n is .*outside 0 .. 8|no value is given|parameter x"),
        ((7, 20), "symbol m is 19, outside 0 .. 8"),
    ):
        with pytest.raises(ShapeError, match=message):
            evaluate(graph, {"x": np.zeros(sizes[0], np.float32), "y": np.zeros(sizes[1], np.float32)})
    with pytest.raises(ShapeError, match="no array is given for parameter 'y'"):
        evaluate(graph, {"x": np.zeros(3, np.float32)})
    start = parameter("s", tensor(f32, 4))
    free = Graph("f", [start], [ops.slice(start, 0, m, m + 1)])
    with pytest.raises(ShapeError, match="no value is given for the symbol m"):
        evaluate(free, {"s": np.zeros(4, np.float32)})
    with pytest.raises(ShapeError, match="slice 4:5 does not lie in axis 0"):
        evaluate(free, {"s": np.zeros(4, np.float32)}, {"m": 4})


def test_raw_blocks_must_fit() -> None:
    w = parameter("w", tensor(Q8_0, 2, 32))
    with pytest.raises(ShapeError, match=r"takes uint8 of shape \[2, 34\], found uint8 of shape \[2, 30\]"):
        evaluate(Graph("f", [w], [ops.dequantize(w)]), {"w": np.zeros((2, 30), np.uint8)})


def test_inexact_evaluation_rounds_every_step() -> None:
    x = parameter("x", tensor(f16))
    graph = Graph("f", [x], [(x + 2048.0) - 2048.0])
    assert evaluate(graph, {"x": np.float16(0.25)})[0] == 0.25
    assert evaluate(graph, {"x": np.float16(0.25)}, exact=False)[0] == 0


# --- gradients --------------------------------------------------------------------------------------------------------
def test_gradients_of_gradients() -> None:
    """d2/dx2 of x ** 3 = 6x; of silu and softmax by finite differences of the first."""
    x = parameter("x", tensor(f64, 4))
    ones = constant(1, x.type)
    (first,) = ops.gradients([x * x * x], [ones], [x])
    assert first is not None
    (second,) = ops.gradients([first], [ones], [x])
    assert second is not None
    at = np.array([1.0, -2.0, 0.5, 3.0])
    np.testing.assert_allclose(evaluate(Graph("f", [x], [second]), {"x": at})[0], 6 * at)
    for function in (ops.silu, ops.softmax, ops.gelu_tanh, ops.logsumexp):
        y: Value = function(x)  # type: ignore[operator]
        (one,) = ops.gradients([y], [constant([1, 2, 3, 4] if y.type.shape else 1, y.type)], [x])
        assert one is not None
        direction = constant([1, 2, 3, 4], x.type)
        (two,) = ops.gradients([one], [direction], [x])
        assert two is not None
        h, step = 1e-6, np.array([0.3, -1, 0.5, 2])
        graph = Graph("f", [x], [one, two])
        up, down = evaluate(graph, {"x": at + h * step})[0], evaluate(graph, {"x": at - h * step})[0]
        slope = float(((up - down) / (2 * h)) @ np.arange(1, 5))
        assert slope == pytest.approx(float(evaluate(graph, {"x": at})[1] @ step), rel=1e-5, abs=1e-8)


def test_one_value_as_two_operands() -> None:
    x = parameter("x", tensor(f64, 3))
    for y, expected in ((ops.swiglu(x, x), None), (x * x, 2), (ops.maximum(x, x), 1)):
        (g,) = ops.gradients([y], [constant(1, y.type)], [x])
        assert g is not None
        at = np.array([1.0, 2.0, -1.0])
        found = evaluate(Graph("f", [x], [g]), {"x": at})[0]
        if expected is None:
            s = 1 / (1 + np.exp(-at))
            np.testing.assert_allclose(found, 2 * at * s + at * at * s * (1 - s))
        else:
            np.testing.assert_allclose(found, at * 2 if expected == 2 else np.ones(3))


def test_gradients_at_special_points() -> None:
    x, b = parameter("x", tensor(f64, 3)), parameter("b", tensor(f64, 3))
    ones = constant(1, x.type)
    at = np.array([0.0, 0.0, 2.0])

    def grad(y: Value, seed: Value, wrt: Value, **given_arrays: Any) -> Any:
        (g,) = ops.gradients([y], [seed], [wrt])
        assert g is not None
        inputs = [v for v in (x, b) if v.name in given_arrays]
        with np.errstate(all="ignore"):
            return evaluate(Graph("f", inputs, [g]), given_arrays)[0]

    np.testing.assert_array_equal(grad(ops.relu(x), ones, x, x=at), [0, 0, 1])
    np.testing.assert_array_equal(grad(ops.abs(x), ones, x, x=at), [0, 0, 1])
    np.testing.assert_array_equal(grad(ops.max(x), constant(1, tensor(f64)), x, x=np.array([2.0, 1, 2])), [0.5, 0, 0.5])
    np.testing.assert_array_equal(grad(ops.prod(x), constant(1, tensor(f64)), x, x=np.array([0.0, 3, 2])), [6, 0, 0])
    np.testing.assert_array_equal(grad(ops.prod(x), constant(1, tensor(f64)), x, x=at), [0, 0, 0])
    powers = {"x": at, "b": np.array([0.0, 2.0, 3.0])}
    np.testing.assert_allclose(grad(ops.pow(x, b), ones, x, **powers), [0, 0, 12])
    np.testing.assert_allclose(grad(ops.pow(x, b), ones, b, **powers), [0, 0, 8 * np.log(2)])


def test_what_has_no_gradient_says_so() -> None:
    x, w = parameter("x", tensor(f32, 16, 32)), parameter("y", tensor(f32))
    packed = ops.repack(x, ops.get("repack").cases()[1].attrs["layout"])
    with pytest.raises(UnsupportedError, match="repack has no gradient: packed weights"):
        ops.gradients([packed], [parameter("g", packed.type)], [x])
    assert ops.gradients([ops.exp(x)], [x], [w]) == [None]
    flag = ops.where(x > 0, 1.0, ops.cast(x > 1, f32))
    assert ops.gradients([flag], [x], [x]) == [None]
    assert ops.gradients([ops.floor(x)], [x], [x]) == [None]
    assert ops.gradients([x], [w], [x]) == [w]


def test_gradients_have_the_dtype_of_the_value() -> None:
    x, w = parameter("x", tensor(f16, 2, 3)), parameter("w", tensor(f32, 3))
    y = x * w
    gx, gw = ops.gradients([y], [parameter("g", y.type)], [x, w])
    assert gx is not None
    assert gw is not None
    assert (gx.type, gw.type) == (x.type, w.type)


# --- error bounds -----------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("dtype", [f64, f32, f16])
def test_spacing_is_numpys(dtype: DType) -> None:
    kind = {"f64": np.float64, "f32": np.float32, "f16": np.float16}[dtype.name]
    x = np.array([0, 1, 1.5, 2, 3e-8, 1e-5, 6e4, -7], kind)
    np.testing.assert_array_equal(spacing(x, dtype), np.spacing(np.abs(x)).astype(np.float64))


def test_bounds_count_units() -> None:
    one = np.array([1.0, NAN, INF, 0.0])
    bound = Ulp(f32=2)
    assert bound.excess(one, one, f32) == 0
    assert bound.excess(one + 2 * np.array([2**-23, 0, 0, 0]), one, f32) == 1
    assert bound.excess(np.array([1.0, 1.0, INF, 0]), one, f32) == INF
    assert bound.excess(np.array([1.0, NAN, 3e38, 0]), one, f32) == INF
    assert LargestUlp(f32=1).excess(np.array([8.0, 2**-20]), np.array([8.0, 0]), f32) == 1
    assert Ulp().excess(np.array([1, 2]), np.array([1, 3]), i32) == INF
