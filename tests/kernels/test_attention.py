"""Attention over the cache, rotary positions and cache updates, against the ops' references."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from heliostat import ops
from heliostat.diagnostics import DTypeError, ShapeError
from heliostat.ir.graph import Graph, parameter
from heliostat.ir.types import DType, Symbol, dim, f16, f32, i32, tensor
from heliostat.ops.evaluate import evaluate
from heliostat.session import compile_graph
from heliostat.session.session import Session

CAPACITY = 192
_SESSIONS: dict[object, tuple[Graph, Session]] = {}


def session(
    heads: int, kv: int, size: int, dtype: DType, window: int, interleaved: bool, single: bool
) -> tuple[Graph, Session]:
    key = (heads, kv, size, dtype, window, interleaved, single)
    if key not in _SESSIONS:
        n = 1 if single else dim(Symbol("n", 80, 1))
        start = parameter("start", tensor(i32))
        q = parameter("q", tensor(f32, n, heads, size))
        k = parameter("k", tensor(f32, n, kv, size))
        v = parameter("v", tensor(f32, n, kv, size))
        positions = parameter("positions", tensor(i32, n))
        frequencies = parameter("frequencies", tensor(f32, size // 2))
        keys = parameter("keys", tensor(dtype, kv, CAPACITY, size), "state")
        values = parameter("values", tensor(dtype, kv, CAPACITY, size), "state")
        cos, sin = ops.rope_table(positions, frequencies)
        new_keys = ops.cache_update(keys, ops.rope(k, cos, sin, interleaved=interleaved), start)
        new_values = ops.cache_update(values, v, start)
        turned = ops.rope(q, cos, sin, interleaved=interleaved)
        y = ops.attention(turned, new_keys, new_values, start, scale=size**-0.5, causal=True, window=window)
        g = Graph("attend", [start, q, k, v, positions, frequencies, keys, values], [y],
                  [(keys, new_keys), (values, new_values)])  # fmt: skip
        _SESSIONS[key] = g, compile_graph(g, threads=2)
    return _SESSIONS[key]


CASES = [
    (4, 4, 32, f32, 0, False), (14, 2, 64, f16, 0, False), (7, 1, 16, f16, 16, True), (8, 2, 128, f16, 0, False),
    (6, 2, 64, f32, 16, True),
]  # fmt: skip


@pytest.mark.parametrize("case", CASES, ids=str)
@settings(max_examples=12, deadline=None)
@given(n=st.sampled_from([1, 2, 3, 17, 70]), start=st.integers(0, CAPACITY - 80), seed=st.integers(0, 1 << 30))
def test_attention_with_cache_equals_reference(case: tuple, n: int, start: int, seed: int) -> None:
    heads, kv, size, dtype, window, interleaved = case
    g, run = session(heads, kv, size, dtype, window, interleaved, n == 1)
    rng = np.random.default_rng(seed)
    held = np.float32 if dtype == f32 else np.float16
    past = np.zeros((2, kv, CAPACITY, size), held)
    past[:, :, :start] = rng.standard_normal((2, kv, start, size))
    past[:, :, start:] = np.nan  # what lies past the block must not be read
    inputs = {
        "start": np.array(start, np.int32),
        "q": rng.standard_normal((n, heads, size)).astype(np.float32),
        "k": rng.standard_normal((n, kv, size)).astype(np.float32),
        "v": rng.standard_normal((n, kv, size)).astype(np.float32),
        "positions": np.arange(start, start + n, dtype=np.int32),
        "frequencies": (10000.0 ** -(np.arange(0, size, 2) / size)).astype(np.float32),
        "keys": past[0], "values": past[1],
    }  # fmt: skip
    y, keys, values = run.run(inputs)
    expected, new_keys, new_values = evaluate(g, inputs)
    bound = 2e-5 if dtype == f32 else 2e-3
    assert np.abs(y - expected).max() < bound
    end = start + n
    tolerance = {"rtol": 1e-5, "atol": 1e-5} if dtype == f32 else {"rtol": 1e-3, "atol": 1e-3}
    np.testing.assert_allclose(keys[:, :end].astype(float), new_keys[:, :end].astype(float), **tolerance)
    np.testing.assert_array_equal(values[:, :end], new_values[:, :end])
    assert np.isnan(values[:, end:]).all()


@pytest.mark.parametrize(("window", "start"), [(20, 100), (40, 3)])
def test_a_window_without_causality_ends_with_the_block(window: int, start: int) -> None:
    """Every query sees the whole block, and no key that is `window` or more before it."""
    q, at = parameter("q", tensor(f32, 30, 2, 32)), parameter("at", tensor(i32))
    keys, values = (parameter(name, tensor(f32, 1, CAPACITY, 32), "state") for name in ("keys", "values"))
    y = ops.attention(q, keys, values, at, scale=0.25, causal=False, window=window)
    g = Graph("attend", [q, keys, values, at], [y])
    rng = np.random.default_rng(window)
    inputs = {name: rng.standard_normal((1, CAPACITY, 32)).astype(np.float32) for name in ("keys", "values")}
    inputs |= {"q": rng.standard_normal((30, 2, 32)).astype(np.float32), "at": np.array(start, np.int32)}
    (found,) = compile_graph(g, threads=2).run(inputs)
    np.testing.assert_allclose(found, evaluate(g, inputs)[0], rtol=0, atol=2e-5)


@pytest.mark.parametrize("n", [1, 3])
def test_a_key_that_is_no_number_is_not_left_out(n: int) -> None:
    g, run = session(4, 4, 32, f32, 0, False, n == 1)
    rng = np.random.default_rng(1)
    inputs = {v: rng.standard_normal((n, 4, 32)).astype(np.float32) for v in "qkv"}
    keys = rng.standard_normal((4, CAPACITY, 32)).astype(np.float32)
    keys[0, 3, 0] = np.nan
    inputs |= {"start": np.array(70, np.int32), "positions": np.arange(70, 70 + n, dtype=np.int32)}
    inputs |= {"frequencies": np.ones(16, np.float32), "keys": keys, "values": np.ones_like(keys)}
    found = run.run(inputs)[0]
    np.testing.assert_array_equal(np.isnan(found), np.isnan(evaluate(g, inputs)[0]))
    assert np.isnan(found[:, 0]).all()
    assert not np.isnan(found[:, 1:]).any()


@pytest.mark.parametrize("tokens", [1, 30])
def test_weights_are_never_denormal(tokens: int) -> None:
    """Scores far below the largest weigh nothing; those above 2 ** -126 of it weigh what they should."""
    q, at = parameter("q", tensor(f32, tokens, 2, 32)), parameter("at", tensor(i32))
    keys, values = (parameter(name, tensor(f32, 1, CAPACITY, 32), "state") for name in ("keys", "values"))
    y = ops.attention(q, keys, values, at, scale=1.0, causal=False)
    run = compile_graph(Graph("attend", [q, keys, values, at], [y]), threads=2)
    distance = np.where(np.arange(CAPACITY) % 2, 90.0, 80.0)  # e ** -90 is a denormal
    inputs = {
        "q": np.zeros((tokens, 2, 32), np.float32), "at": np.array(100, np.int32),
        "keys": np.zeros((1, CAPACITY, 32), np.float32), "values": np.full((1, CAPACITY, 32), 1e38, np.float32),
    }  # fmt: skip
    inputs["q"][..., 0] = 1
    inputs["keys"][0, 1:, 0] = -distance[1:]
    inputs["values"][0, 0] = 0
    inputs["values"][0, 2::2] = 0
    assert not run.run(inputs)[0].any()
    inputs["values"][0, 2::2] = 1e38
    even = (100 + tokens - 1) // 2
    np.testing.assert_allclose(run.run(inputs)[0], even * np.exp(-80.0) * 1e38, rtol=1e-4)


@pytest.mark.parametrize("tokens", [1, 3])
@pytest.mark.parametrize("case", CASES, ids=str)
@settings(max_examples=4, deadline=None)
@given(starts=st.lists(st.integers(0, CAPACITY - 3), min_size=3, max_size=3), seed=st.integers(0, 1 << 30))
def test_sequences_have_their_own_keys(case: tuple, tokens: int, starts: list[int], seed: int) -> None:
    """Rows of three sequences, each behind so many tokens of its own."""
    heads, kv, size, dtype, window, interleaved = case
    g, run = batch(heads, kv, size, dtype, window, interleaved, tokens)
    rng = np.random.default_rng(seed)
    held = np.float32 if dtype == f32 else np.float16
    past = np.full((2, 3 * kv, CAPACITY, size), np.nan, held)
    for s, start in enumerate(starts):
        past[:, s * kv : (s + 1) * kv, :start] = rng.standard_normal((2, kv, start, size))
    turn = rng.uniform(0, 6, (3 * tokens, size // 2))
    inputs = {
        "start": np.array(starts, np.int32), "keys": past[0], "values": past[1],
        "cos": np.cos(turn).astype(np.float32), "sin": np.sin(turn).astype(np.float32),
        **{n: rng.standard_normal((3 * tokens, h, size)).astype(np.float32)
           for n, h in (("q", heads), ("k", kv), ("v", kv))},
    }  # fmt: skip
    y, keys, values = run.run(inputs)
    expected, new_keys, new_values = evaluate(g, inputs)
    bound = 2e-5 if dtype == f32 else 2e-3
    assert np.abs(y - expected).max() < bound
    np.testing.assert_allclose(keys.astype(float), new_keys.astype(float), rtol=bound, atol=bound)
    np.testing.assert_array_equal(values, new_values)


def batch(
    heads: int, kv: int, size: int, dtype: DType, window: int, interleaved: bool, tokens: int
) -> tuple[Graph, Session]:
    key = ("batch", heads, kv, size, dtype, window, interleaved, tokens)
    if key not in _SESSIONS:
        start = parameter("start", tensor(i32, 3))
        q, k, v = (parameter(n, tensor(f32, 3 * tokens, h, size)) for n, h in (("q", heads), ("k", kv), ("v", kv)))
        cos, sin = (parameter(n, tensor(f32, 3 * tokens, size // 2)) for n in ("cos", "sin"))
        keys, values = (parameter(n, tensor(dtype, 3 * kv, CAPACITY, size), "state") for n in ("keys", "values"))
        new_keys = ops.cache_update(keys, ops.rope(k, cos, sin, interleaved=interleaved), start)
        new_values = ops.cache_update(values, v, start)
        turned = ops.rope(q, cos, sin, interleaved=interleaved)
        y = ops.attention(turned, new_keys, new_values, start, scale=size**-0.5, window=window)
        updates = [(keys, new_keys), (values, new_values)]
        g = Graph("batch", [start, q, k, v, cos, sin, keys, values], [y], updates)
        _SESSIONS[key] = g, compile_graph(g, threads=2)
    return _SESSIONS[key]


def test_rows_that_do_not_divide_are_refused() -> None:
    q, k = parameter("q", tensor(f32, 3, 4, 8)), parameter("k", tensor(f32, 4, 16, 8))
    with pytest.raises(ShapeError, match="3 rows do not divide into 2 sequences"):
        ops.attention(q, k, k, parameter("start", tensor(i32, 2)), scale=1.0)
    with pytest.raises(ShapeError, match="heads of the cache do not divide into 3"):
        ops.cache_update(k, q, parameter("start", tensor(i32, 3)))
    with pytest.raises(DTypeError, match="one for each sequence"):
        ops.attention(q, k, k, parameter("start", tensor(i32, 3, 1)), scale=1.0)
