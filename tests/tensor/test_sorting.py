"""Order, search, sets and counts, against PyTorch."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import heliostat as hs
from heliostat.diagnostics import IndexOutOfRangeError, ShapeError

from .compare import check, floats, integers


@pytest.mark.parametrize("shape", [(9,), (3, 7), (2, 3, 5), (0, 3), ()], ids=str)
@pytest.mark.parametrize("descending", [False, True])
def test_sort(shape: tuple[int, ...], descending: bool) -> None:
    x = floats(*shape)
    for dim in (0, -1) if shape else (-1,):
        check(lambda m, x, d=dim: m.sort(x, dim=d, descending=descending), x, grad=True)
        check(lambda m, x, d=dim: m.argsort(x, dim=d, descending=descending), x)
    ties = integers(*shape, low=0, high=2)
    check(lambda m, x: m.sort(x, dim=-1, descending=descending, stable=True), ties)


def test_sort_puts_nan_last() -> None:
    x = np.array([1.0, np.nan, -1.0, np.inf, -np.inf])
    check(lambda m, x: [*m.sort(x), *m.sort(x, descending=True), m.msort(x)], x)


@pytest.mark.parametrize("k", [0, 1, 3, 7])
@pytest.mark.parametrize("largest", [True, False])
def test_topk(k: int, largest: bool) -> None:
    check(lambda m, x: m.topk(x, k, largest=largest), floats(4, 7), grad=True)
    check(lambda m, x: m.topk(x, min(k, 4), dim=0, largest=largest), floats(4, 7), grad=True)


@pytest.mark.parametrize("keepdim", [True, False])
def test_middles(keepdim: bool) -> None:
    x = floats(3, 8)
    for dim in (0, 1):
        check(lambda m, x, d=dim: m.kthvalue(x, 2, d, keepdim), x, grad=True)
        check(lambda m, x, d=dim: m.median(x, d, keepdim), x, grad=True)
        check(lambda m, x, d=dim: m.nanmedian(x, d, keepdim), x, grad=True)
        for how in ("linear", "lower", "higher", "midpoint", "nearest"):
            q = np.array([0.0, 0.3, 0.9])
            check(lambda m, x, q, d=dim, h=how: m.quantile(x, q, d, keepdim, interpolation=h), x, q)
    check(lambda m, x: [m.median(x), m.quantile(x, 0.4), m.nanmedian(x)], x, grad=True)
    check(lambda m, x: m.mode(x, 1, keepdim)[0], integers(4, 9, low=0, high=3))
    y = np.where(floats(3, 8, seed=2) > 1, np.nan, x)
    check(lambda m, x: [m.median(x, 1)[0], m.nanmedian(x, 1)[0], m.nanquantile(x, 0.3, 1)], y)


def test_sets() -> None:
    x = integers(3, 8, low=0, high=4)
    check(lambda m, x: m.unique(x), x)
    check(lambda m, x: m.unique(x, return_inverse=True, return_counts=True), x)
    check(lambda m, x: m.unique(x, dim=0), x[[0, 1, 0]])
    check(lambda m, x: m.unique_consecutive(x.reshape(-1), return_inverse=True, return_counts=True), x)
    check(lambda m, x: [m.isin(x, m.tensor([1, 3])), m.isin(x, m.tensor([1]), invert=True)], x)


def test_counts_and_search() -> None:
    x = integers(30, low=0, high=6)
    check(lambda m, x: [m.bincount(x), m.bincount(x, minlength=12)], x)
    check(lambda m, x, w: m.bincount(x, w), x, floats(30))
    check(lambda m, x: [m.histc(x, 5, -1, 1), m.histc(x, 7), m.histc(x, 4, 2, 2)], floats(50).astype(np.float32))
    edges = np.sort(floats(6))
    for right in (False, True):
        check(
            lambda m, e, v, r=right: [m.searchsorted(e, v, right=r), m.bucketize(v, e, right=r)],
            edges,
            floats(3, 4, seed=1),
        )
    rows = np.sort(floats(3, 6), axis=1)
    check(lambda m, e, v: m.searchsorted(e, v, out_int32=True), rows, floats(3, 4, seed=1))


def test_errors() -> None:
    x = hs.zeros(3, 4)
    for f in (lambda: x.topk(5), lambda: x.sort(2), lambda: x.kthvalue(0), lambda: x.argsort(-3)):
        with pytest.raises(IndexOutOfRangeError):
            f()
    with pytest.raises(ShapeError, match="bincount"):
        hs.tensor([-1]).bincount()


def test_extremes_of_an_axis() -> None:
    def pairs(m: Any, x: Any) -> Any:
        return [*m.max(x, 1), *m.min(x, 0), *m.cummax(x, 1), *m.cummin(x, 0)]

    check(pairs, floats(5, 6), grad=True)
    check(pairs, integers(5, 6))


@pytest.mark.parametrize("right", [False, True])
def test_places_among_and_of_nan(right: bool) -> None:
    rng = np.random.default_rng(4)
    rows = np.sort(rng.integers(0, 5, (6, 7)).astype(np.float64), 1)
    rows[rng.random(rows.shape) < 0.25] = np.nan
    x = np.concatenate([rng.integers(-1, 6, (6, 5)), np.full((6, 1), np.nan)], 1)
    check(lambda m, s, a: [m.searchsorted(s, a, right=right), m.searchsorted(s[0], a, right=right)], rows, x)
    check(lambda m, s, a: m.bucketize(a, s[1], right=right), rows, x)
    check(lambda m, s, a: m.searchsorted(s, a, side="right" if right else "left", out_int32=True), rows[:, :0], x)


def test_places_in_rows_by_their_order() -> None:
    rows, x = floats(3, 6), floats(3, 4, seed=1)
    check(lambda m, s, a: m.searchsorted(s, a, sorter=m.argsort(s, -1)), rows, x)
    check(lambda m, s, a: [m.searchsorted(s, 2.5), m.bucketize(1.5, s), m.bucketize(a, s)], np.arange(4), x)
    check(lambda m, s, a: m.searchsorted(s, a[:0]), rows[0], x)
    for call, error in (
        (lambda: hs.searchsorted(hs.ones(2, 3), hs.ones(3, 3)), "do not fit"),
        (lambda: hs.searchsorted(hs.ones(3), hs.ones(3), right=True, side="left"), "right is True"),
        (lambda: hs.searchsorted(hs.ones(3), hs.ones(3), side="up"), "'up'"),
        (lambda: hs.bucketize(hs.ones(3), hs.ones(2, 3)), "one axis"),
    ):
        with pytest.raises(ValueError, match=error):
            call()


def test_quantiles_of_infinities_and_of_whole_numbers() -> None:
    inf = np.inf
    rows = np.array([[1.0, inf, inf], [-inf, 1.0, 2.0], [-1e20, 1.0, 1e20], [-inf, -inf, inf]])
    for how in ("lower", "higher", "nearest"):
        check(lambda m, x, q, h=how: m.quantile(x, q, 1, interpolation=h), rows, np.array([0.0, 0.2, 0.5, 0.9, 1.0]))
    for how in ("linear", "midpoint"):  # of elements that are met
        met = hs.tensor(rows).quantile(hs.tensor([0.0, 0.5, 1.0]), 1, interpolation=how)
        np.testing.assert_array_equal(met, rows.T)
    np.testing.assert_array_equal(hs.quantile(hs.tensor([3, 1, 2, 6]), hs.tensor([0.5, 0.25])), [2.5, 1.75])
    outside = hs.tensor([2.0, 0.5, -1.0]) * 1.0  # computed, and not known before
    np.testing.assert_array_equal(hs.quantile(hs.arange(3.0), outside), [np.nan, 1.0, np.nan])


def test_what_has_no_quantile_or_middle() -> None:
    x = hs.arange(4.0)
    for call, error in (
        (lambda: x.quantile(2.0), "from 0 to 1, found 2.0"),
        (lambda: x.nanquantile(hs.tensor([0.5, -0.1])), "from 0 to 1"),
        (lambda: x.quantile(np.nan), "from 0 to 1"),
        (lambda: x.quantile(0.5, interpolation="up"), "'up'"),
        (lambda: x.quantile([[0.5]]), "one axis"),
        (lambda: hs.zeros(2, 0).quantile(0.5, 1), "is empty"),
        (lambda: hs.zeros(2, 0).median(1), "median: axis 1"),
        (lambda: hs.zeros(0, dtype=hs.int64).median(), "is empty"),
        (lambda: hs.zeros(2, 0).mode(1), "mode: axis 1"),
    ):
        with pytest.raises(ValueError, match=error):
            call()
    for f in (lambda: hs.tensor(1.0).sort(3), lambda: hs.tensor(1.0).argsort(-2)):
        with pytest.raises(IndexOutOfRangeError, match="sort: axis"):
            f()


def test_what_is_not_counted() -> None:
    x, whole = hs.arange(4.0), hs.tensor([1, 0, 2, 1])
    for call, error in (
        (lambda: x.histc(0), "at least one bin"),
        (lambda: x.histc(3, 2, 1), "from 2.0 to 1.0"),
        (lambda: (x / 0).histc(3), "finite limits"),
        (lambda: x.histogram(hs.tensor([4.0, 2.0, 1.0])), "must not fall"),
        (lambda: x.histogram(hs.tensor([1.0, np.nan])), "NaN"),
        (lambda: x.histogram(hs.tensor([1.0])), "at least two"),
        (lambda: x.histogram(3, weight=hs.ones(3)), r"weights of \[3\]"),
        (lambda: whole.bincount(hs.ones(3)), r"weights of \[3\]"),
        (lambda: whole.bincount(minlength=-1), "found -1"),
        (lambda: x.repeat_interleave(hs.tensor([1, 2])), r"repeats of \[2\]"),
        (lambda: x.repeat_interleave(hs.tensor([1, 0, 2, -1])), "found -1"),
        (lambda: x.repeat_interleave(-1), "found -1"),
    ):
        with pytest.raises(ValueError, match=error):
            call()
    for f in (x.bincount, lambda: x.repeat_interleave(x)):
        with pytest.raises(TypeError, match="whole numbers"):
            f()
    for g in (lambda: hs.tensor(1.0).unique(dim=0), lambda: hs.tensor(1.0).unique_consecutive(dim=0)):
        with pytest.raises(IndexOutOfRangeError, match="without axes"):
            g()


def test_counts_of_nothing() -> None:
    nothing = np.zeros(0, np.float32)
    check(lambda m, x: [m.histc(x, 3), *m.histogram(x, 3), m.histogram(x, m.tensor([1.0, 2.0]))[0]], nothing)
    check(lambda m, x: m.repeat_interleave(x, m.tensor([], dtype=m.int64)), nothing)
    check(lambda m, x: m.repeat_interleave(x, m.tensor([0, 0])), np.zeros(2))
    assert hs.zeros(2).histogram(hs.tensor([0.0, 1.0], dtype=hs.float64)).hist.tolist() == [2.0]


def test_draws_of_columns() -> None:
    weights = hs.tensor([[0.0, 1.0, 0.0, 3.0], [2.0, 0.0, 0.0, 0.0]])
    drawn = hs.multinomial(weights, 4000, True).numpy()
    assert set(drawn[0]) == {1, 3}
    assert set(drawn[1]) == {0}
    assert abs((drawn[0] == 3).mean() - 0.75) < 0.05  # seven standard deviations
    assert hs.multinomial(hs.zeros(0, 3), 2).shape == (0, 2)
    for call, error in (
        (lambda: hs.multinomial(hs.ones(2, 2, 2), 1), "one axis or two"),
        (lambda: hs.multinomial(hs.ones(3), 0), "at least one sample"),
        (lambda: hs.multinomial(hs.ones(3), 4), "as many weights"),
        (lambda: hs.multinomial(hs.tensor([1.0, np.nan]), 1), "finite"),
    ):
        with pytest.raises(ShapeError, match=error):
            call()
