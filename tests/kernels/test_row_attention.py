"""kernels/row_attention.py and row_attention_gradient.py against float64: tails of every kind, widths of vectors,
infinities, what is refused."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from run_kernel import group_of, run_group, targets

from heliostat import ops
from heliostat.ir.graph import Value, parameter
from heliostat.ir.types import Symbol, dim, f16, f32, tensor
from heliostat.kernels import row_attention as schedule
from heliostat.kernels import row_attention_gradient
from heliostat.kernels.group import Accept
from heliostat.targets.target import NAMED, Target

NATIVE = [pytest.param(t, id=f"{t.vector_bytes}-byte") for t in targets()]


def operands(heads: Any, queries: Any, keys: Any, size: int, width: int) -> tuple[Value, Value, Value]:
    shapes = {"q": (queries, size), "k": (keys, size), "v": (keys, width)}
    q, k, v = (parameter(n, tensor(f32, *heads, *s)) for n, s in shapes.items())
    return q, k, v


def distance(got: np.ndarray, want: np.ndarray) -> float:
    return float(np.abs(got - want).max() / np.abs(want).max())


@pytest.mark.parametrize("target", NATIVE)
@settings(max_examples=2, deadline=None)
@given(
    heads=st.sampled_from([(), (2,), (2, 1)]), queries=st.integers(33, 140), keys=st.integers(64, 230),
    size=st.integers(1, 70), width=st.integers(1, 40), causal=st.booleans(), seed=st.integers(0, 1 << 30),
)  # fmt: skip
@example(heads=(), queries=64, keys=96, size=64, width=64, causal=False, seed=0)
@example(heads=(3,), queries=65, keys=97, size=16, width=17, causal=True, seed=0)
def test_equals_float64(
    target: Target, heads: Any, queries: int, keys: int, size: int, width: int, causal: bool, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    values = operands(heads, queries, keys, size, width)
    given_ = {x: (2 * rng.standard_normal(x.type.shape)).astype(np.float32) for x in values}
    y = ops.dot_product_attention(*values, size**-0.5, causal)
    want = y.node.op.reference(*(given_[x].astype(float) for x in values), scale=size**-0.5, causal=causal)
    found = [run_group(schedule, [y], given_, {}, n, guard=True, target=target)[0] for n in (1, 3)]
    assert distance(found[0], want) < 1e-5
    np.testing.assert_array_equal(*found)


def test_known_when_it_runs() -> None:
    n, m = dim(Symbol("n", 200, 1)), dim(Symbol("m", 300, 1))
    values = operands((dim(Symbol("b", 3, 1)),), n, m, 8, 8)
    y = ops.dot_product_attention(*values, 0.5, True)
    rng = np.random.default_rng(3)
    for b, queries, keys in ((1, 1, 1), (3, 130, 96), (2, 17, 300)):
        shapes = (b, queries, 8), (b, keys, 8), (b, keys, 8)
        arrays = [rng.standard_normal(s).astype(np.float32) for s in shapes]
        want = y.node.op.reference(*(a.astype(float) for a in arrays), scale=0.5, causal=True)
        given_, sizes = dict(zip(values, arrays, strict=True)), {"b": b, "n": queries, "m": keys}
        assert distance(run_group(schedule, [y], given_, sizes, 2, guard=True)[0], want) < 1e-5


def test_large_and_infinite_scores() -> None:
    values = operands((), 40, 70, 4, 4)
    q, k, v = (np.random.default_rng(n).standard_normal(x.type.shape).astype(np.float32) for n, x in enumerate(values))
    q *= 1000  # weights of all but one key vanish
    k[3], q[7], q[9] = 0, np.inf, np.nan
    y = ops.dot_product_attention(*values, 1.0)
    (got,) = run_group(schedule, [y], dict(zip(values, (q, k, v), strict=True)))
    fine = [n for n in range(40) if n not in (7, 9)]
    want = y.node.op.reference(q[fine].astype(float), k.astype(float), v.astype(float), scale=1.0)
    assert distance(got[fine], want) < 1e-5
    assert np.isnan(got[[7, 9]]).all()
    k[5, :2] = -np.inf, np.inf  # NaN or infinite for everyone, as in plain arithmetic
    (got,) = run_group(schedule, [y], dict(zip(values, (q, k, v), strict=True)))
    assert np.isnan(got[9]).all()
    q[:], k[:] = 1, 0
    k[30] = -np.inf  # a key that nobody weighs
    (got,) = run_group(schedule, [y], dict(zip(values, (q, k, v), strict=True)))
    np.testing.assert_allclose(got, np.tile(np.delete(v, 30, 0).mean(0), (40, 1)), rtol=1e-5, atol=1e-6)
    k[:] = -np.inf
    (got,) = run_group(schedule, [y], dict(zip(values, (q, k, v), strict=True)))
    assert np.isnan(got).all()


def test_the_interpreter_agrees() -> None:
    values = operands((2,), 33, 63, 9, 7)
    rng = np.random.default_rng(5)
    given_ = {x: rng.standard_normal(x.type.shape).astype(np.float32) for x in values}
    y = ops.dot_product_attention(*values, 0.3, True)
    (slow,), (fast,) = (run_group(schedule, [y], given_, interp=n) for n in (True, False))
    np.testing.assert_array_equal(slow, fast)


@pytest.mark.parametrize("tile", [schedule.RowAttentionTile(v, n) for v, n in ((1, 6), (3, 48))], ids=str)
def test_tiles_are_alike(tile: Any) -> None:
    """The width of a tile changes no bit; blocks of keys change the order of sums."""
    values = operands((), 70, 100, 12, 20)
    rng = np.random.default_rng(1)
    given_ = {x: rng.standard_normal(x.type.shape).astype(np.float32) for x in values}
    y = ops.dot_product_attention(*values, 0.3)

    def run(chosen: Any) -> np.ndarray:
        class Chosen:
            accepts = staticmethod(schedule.accepts)

            @staticmethod
            def build(*given: Any) -> Any:
                return schedule.build(*given, tile=chosen)

        return run_group(Chosen, [y], given_)[0]

    same = schedule.RowAttentionTile(4 if targets()[0].vector_registers >= 32 else 2, tile.keys)
    np.testing.assert_array_equal(run(tile), run(same))
    np.testing.assert_allclose(run(tile), run(None), rtol=1e-4, atol=1e-5)


def test_what_is_refused() -> None:
    target = NAMED["x86-64-avx2"]
    fine = ops.dot_product_attention(*operands((), 64, 64, 8, 8), 1.0)
    assert isinstance(schedule.accepts(group_of([fine]), target), Accept)
    few = ops.dot_product_attention(*operands((), 16, 64, 8, 8), 1.0)
    wide = ops.dot_product_attention(*operands((), 64, 64, 300, 8), 1.0)
    half = ops.dot_product_attention(*(parameter(n, tensor(f16, 64, 64)) for n in "qkv"), 1.0)
    for value in (few, wide, half, fine + 1):
        assert not isinstance(schedule.accepts(group_of([value]), target), Accept)
    assert not isinstance(schedule.accepts(group_of([fine]), NAMED["cuda"]), Accept)


def test_tiles_that_cannot_be() -> None:
    for vectors, keys in ((0, 6), (5, 6), (1, 7), (1, 0), (1, 774)):
        with pytest.raises(ValueError, match="multiple of 6"):
            schedule.RowAttentionTile(vectors, keys)


@pytest.mark.parametrize("target", NATIVE)
@settings(max_examples=1, deadline=None)
@given(
    heads=st.sampled_from([(4,), (3, 2)]), tokens=st.integers(32, 150), size=st.sampled_from([16, 32, 80]),
    causal=st.booleans(), seed=st.integers(0, 1 << 30),
)  # fmt: skip
@example(heads=(5,), tokens=64, size=64, causal=False, seed=0)
@example(heads=(2, 2), tokens=67, size=16, causal=True, seed=0)
def test_gradients_equal_float64(target: Target, heads: Any, tokens: int, size: int, causal: bool, seed: int) -> None:
    rng = np.random.default_rng(seed)
    values = [parameter(n, tensor(f32, *heads, tokens, size)) for n in "gqkv"]
    given_ = {x: (2 * rng.standard_normal(x.type.shape)).astype(np.float32) for x in values}
    y = ops.dot_product_attention_gradient(*values, size**-0.5, causal)
    want = y.node.op.reference(*(given_[x].astype(float) for x in values), scale=size**-0.5, causal=causal)
    found = [run_group(row_attention_gradient, [y], given_, {}, n, guard=True, target=target)[0] for n in (1, 3)]
    for got, exact in zip(found[0], want, strict=True):
        assert distance(got, exact) < 1e-5
    np.testing.assert_array_equal(*found)


def test_gradients_of_sizes_known_when_it_runs_and_interpreted() -> None:
    tokens, heads = dim(Symbol("n", 70, 1)), dim(Symbol("h", 5, 1))
    values = [parameter(n, tensor(f32, heads, tokens, 16)) for n in "gqkv"]
    y = ops.dot_product_attention_gradient(*values, 0.4, True)
    rng = np.random.default_rng(2)
    for h, n in ((2, 1), (1, 70), (1, 37)):
        arrays = [rng.standard_normal((h, n, 16)).astype(np.float32) for _ in values]
        want = y.node.op.reference(*(a.astype(float) for a in arrays), scale=0.4, causal=True)
        given_, sizes = dict(zip(values, arrays, strict=True)), {"h": h, "n": n}
        (got,) = run_group(row_attention_gradient, [y], given_, sizes, guard=True)
        assert np.abs(got - want).max() < 1e-4
    (slow,) = run_group(row_attention_gradient, [y], given_, sizes, interp=True)
    np.testing.assert_array_equal(slow, got)


def cut(x: Value, axes: tuple[int, ...], at: int, heads: int) -> tuple[Value, Any]:
    """Heads from number `at` on of rows in some order of axes, as graph and in NumPy."""
    where = axes.index(1)
    part = ops.slice(x, where, at, at + heads)
    back = tuple(axes.index(a) for a in range(4))
    return ops.transpose(part, back), lambda a: np.ascontiguousarray(
        np.take(a, range(at, at + heads), where).transpose(back)
    )


@pytest.mark.parametrize("seed", range(4))
def test_operands_and_results_that_are_views(seed: int) -> None:
    """Heads cut from rows of any order of axes, and the result transposed: the bits of contiguous operands."""
    rng = np.random.default_rng(seed)
    batch, heads, tokens, size = (int(n) for n in rng.integers([1, 2, 46, 1], [4, 4, 90, 3]) * [1, 1, 1, 16])
    axes = [(0, 2, 1, 3), (2, 0, 1, 3), (1, 0, 2, 3), (0, 1, 2, 3)][seed]  # of batch, heads, tokens, elements
    shape = [(batch, heads * 3 + 1, tokens, size)[a] for a in axes]
    x, g = parameter("x", tensor(f32, *shape)), parameter("g", tensor(f32, *shape))
    given_ = {v: rng.standard_normal(v.type.shape).astype(np.float32) for v in (x, g)}
    starts = [int(n) for n in rng.integers(0, 2 * heads + 2, 4)]
    parts = [cut(v, axes, at, heads) for v, at in zip((g, x, x, x), starts, strict=True)]
    arrays = [made(given_[v]) for v, (_, made) in zip((g, x, x, x), parts, strict=True)]
    plain = [parameter(n, tensor(f32, batch, heads, tokens, size)) for n in "gqkv"]
    straight = dict(zip(plain, arrays, strict=True))
    views = [value for value, _ in parts]
    name = "dot_product_attention"
    (want,) = run_group(schedule, [ops.dot_product_attention(*plain[1:], 0.3, True)], dict(list(straight.items())[1:]))
    y = ops.transpose(ops.dot_product_attention(*views[1:], 0.3, True), (0, 2, 1, 3))
    (got,) = run_group(schedule, [y], {x: given_[x]}, workers=3, guard=True, root=name)
    np.testing.assert_array_equal(got, want.transpose(0, 2, 1, 3))
    if batch * heads < 4:
        return
    y = ops.dot_product_attention_gradient(*plain, 0.3, True)
    (want,) = run_group(row_attention_gradient, [y], straight)
    for joined in (False, True):
        y = ops.dot_product_attention_gradient(*views, 0.3, True, joined)
        (got,) = run_group(row_attention_gradient, [y], given_, workers=2, guard=True, root=f"{name}_gradient")
        np.testing.assert_array_equal(got, np.concatenate(want, 1).transpose(0, 2, 1, 3) if joined else want)


def test_views_that_are_refused() -> None:
    x = parameter("x", tensor(f32, 2, 64, 6, 16))
    q = ops.transpose(ops.slice(x, 2, 0, 2), (0, 2, 1, 3))
    y, name = ops.dot_product_attention(q, q, q, 0.3), "dot_product_attention"
    wide = parameter("w", tensor(f32, 2, 2, 64, 32))
    by_two = ops.dot_product_attention(*[ops.slice(wide, 3, 0, 32, 2)] * 3, 0.3)
    n = dim(Symbol("n", 90, 1))
    some = ops.transpose(parameter("s", tensor(f32, 2, n, 6, 16)), (0, 2, 1, 3))
    assert isinstance(schedule.accepts(group_of([y], name), NAMED["x86-64-avx2"]), Accept)
    for outputs in ([ops.transpose(y, (0, 1, 3, 2))], [y, ops.transpose(y, (0, 2, 1, 3))], [ops.exp(y)], [by_two],
                    [ops.dot_product_attention(some, some, some, 0.3)]):  # fmt: skip
        assert not isinstance(schedule.accepts(group_of(outputs, name), NAMED["x86-64-avx2"]), Accept)


def test_gradients_that_are_refused() -> None:
    target = NAMED["x86-64-avx2"]

    def gradient(*shape: int) -> Value:
        return ops.dot_product_attention_gradient(*(parameter(n, tensor(f32, *shape)) for n in "gqkv"), 1.0)

    accepts = row_attention_gradient.accepts
    assert isinstance(accepts(group_of([gradient(4, 64, 16)]), target), Accept)
    assert not isinstance(accepts(group_of([gradient(4, 64, 16)]), NAMED["cuda"]), Accept)
    for value in (gradient(4, 64, 12), gradient(3, 64, 16), gradient(4, 16, 16), gradient(4, 4096, 64),
                  gradient(4, 64, 16) + 1):  # fmt: skip
        assert not isinstance(accepts(group_of([value]), target), Accept)
