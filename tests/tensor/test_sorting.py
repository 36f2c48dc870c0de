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
    check(lambda m, x: [m.histc(x, 5, -1, 1), m.histc(x, 7)], floats(50).astype(np.float32))
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
