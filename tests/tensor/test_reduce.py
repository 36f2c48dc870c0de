"""Reductions over axes, statistics, and running reductions, against PyTorch."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import heliostat as hs
from heliostat.diagnostics import DTypeError, IndexOutOfRangeError, ShapeError

from .compare import bools, check, floats, integers, torch

SHAPES = [(5,), (3, 4), (2, 3, 5), (2, 1, 3, 4)]


def axes(shape: tuple[int, ...]) -> list[Any]:
    rank = len(shape)
    found: list[Any] = [0, -1, rank - 1]
    if rank > 1:
        found += [(0, 1), (0, -1), tuple(range(rank))]
    return found


@pytest.mark.parametrize("name", ["sum", "mean", "amax", "amin", "std", "var", "logsumexp", "nansum", "norm"])
@pytest.mark.parametrize("keepdim", [False, True])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_over_axes(name: str, keepdim: bool, shape: tuple[int, ...]) -> None:
    x = floats(*shape)
    for dim in axes(shape):
        if name in ("std", "var") and np.prod([shape[d] for d in np.atleast_1d(dim)]) == 1:
            continue
        if name == "norm" and np.size(dim) > 2:
            continue
        check(lambda m, x, dim=dim: getattr(m, name)(x, dim=dim, keepdim=keepdim), x, grad=True)
        check(lambda m, x, dim=dim: getattr(x, name)(dim=dim, keepdim=keepdim), x.astype(np.float32))


@pytest.mark.parametrize("name", ["prod", "max", "min", "median", "argmax", "argmin", "cummax", "cummin", "mode"])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_over_one_axis(name: str, shape: tuple[int, ...]) -> None:
    x = floats(*shape)
    for dim in (0, -1):
        keeps = [{}] if name.startswith("cum") else [{}, {"keepdim": True}]
        for keep in keeps:
            check(lambda m, x, d=dim, k=keep: getattr(m, name)(x, d, **k), x, grad=not name.startswith("arg"))


@pytest.mark.parametrize("name", ["sum", "mean", "prod", "max", "min", "std", "var", "argmax", "argmin", "median"])
def test_of_all_elements(name: str) -> None:
    check(lambda m, x: getattr(m, name)(x), floats(3, 7), grad=not name.startswith("arg"))
    check(lambda m, x: getattr(x, name)(), floats(4), grad=not name.startswith("arg"))


@pytest.mark.parametrize("name", ["sum", "prod", "max", "min", "amax", "argmax", "argmin", "cumsum", "cumprod"])
@pytest.mark.parametrize("dtype", [np.int64, np.int32, np.int8, np.uint8])
def test_of_integers(name: str, dtype: Any) -> None:
    x = integers(3, 5, low=0, high=4, dtype=dtype)
    arguments = (1,) if name.startswith("cum") else ()
    check(lambda m, x: getattr(m, name)(x, *arguments), x)
    check(lambda m, x: getattr(m, name)(x, 0), x)


def test_ties_go_to_the_first_and_share_gradients_as_in_pytorch() -> None:
    x = np.array([[1.0, 3.0, 3.0], [2.0, 2.0, 1.0]])
    check(lambda m, x: [m.argmax(x, 1), m.argmin(x, 1), m.argmax(x)], x)
    check(lambda m, x: [m.amax(x, 1), m.amin(x, 1)], x, grad=True)
    check(lambda m, x: [m.max(x), m.min(x)], x, grad=True)
    check(lambda m, x: m.aminmax(x, dim=0), x)


def test_nan_wins() -> None:
    x = np.array([[1.0, np.nan, 3.0], [0.0, 1.0, 2.0]])
    check(lambda m, x: [m.amax(x, 1), m.amin(x, 1), m.sum(x, 1), m.nansum(x, 1), m.nanmean(x, 1)], x)
    check(lambda m, x: [m.argmax(x, 1), m.argmin(x, 1)], x)


@pytest.mark.parametrize("name", ["all", "any"])
def test_logic(name: str) -> None:
    for x in (bools(4, 6), integers(4, 6, low=0, high=1), bools(0, 3)):
        check(lambda m, x: [getattr(m, name)(x), getattr(x, name)(0), getattr(x, name)(-1, keepdim=True)], x)
    check(lambda m, x: [m.count_nonzero(x), m.count_nonzero(x, 1)], integers(4, 6, low=-1, high=1))


@pytest.mark.parametrize("p", [0, 1, 2, 3, 2.5, float("inf"), float("-inf"), "fro"], ids=str)
def test_norms(p: Any) -> None:
    x = floats(3, 5)
    check(lambda m, x: m.norm(x, p), x, grad=p != 0)
    check(lambda m, x: m.norm(x, p, dtype=m.float64), np.float32(x))
    if p != "fro":
        check(lambda m, x: [m.norm(x, p, dim=1), m.norm(x, p, dim=0, keepdim=True)], x, grad=p != 0)


def test_statistics() -> None:
    x, y = floats(4, 6), floats(4, 6, seed=1)
    check(lambda m, x, y: [*m.var_mean(x, 1), *m.std_mean(x, 0)], x, y, grad=True)
    check(lambda m, x, y: [x.var(correction=0), x.std(1, unbiased=False), x.var(False)], x, y, grad=True)
    check(lambda m, x, y: [m.dist(x, y), m.cov(x), m.corrcoef(x)], x, y, grad=True)
    check(lambda m, x, y: m.renorm(x, 2, 0, 1.0), x, y)
    check(lambda m, x, y: [m.trapezoid(x), m.trapezoid(x, y), m.cumulative_trapezoid(x, dx=0.5)], x, y, grad=True)


@pytest.mark.parametrize("name", ["softmax", "log_softmax"])
def test_softmax(name: str) -> None:
    x = floats(3, 4, 5, low=-9, high=9)
    for dim in (0, 1, -1):
        check(lambda m, x, d=dim: getattr(m, name)(x, d), x, grad=True)
    check(lambda m, x: getattr(m, name)(x, -1), np.array([[1000.0, 0.0], [-1000.0, -1000.0]]))


@pytest.mark.parametrize("name", ["cumsum", "cumprod", "logcumsumexp"])
@pytest.mark.parametrize("shape", [*SHAPES, (1, 100), (64, 3)], ids=str)
def test_running(name: str, shape: tuple[int, ...]) -> None:
    x = floats(*shape, low=0.5, high=1.5)
    for dim in range(len(shape)):
        check(lambda m, x, d=dim: getattr(m, name)(x, d), x, grad=True, rtol=1e-8)


def test_differences() -> None:
    check(lambda m, x: [m.diff(x), m.diff(x, n=2), m.diff(x, dim=0)], floats(4, 6), grad=True)


def test_of_scalars_and_empty_tensors() -> None:
    names = ("sum", "mean", "prod", "max", "min", "argmax", "amax", "all", "any")
    check(lambda m, x: [getattr(m, n)(x) for n in names], np.array(2.5))
    check(lambda m, x: [x.sum(0), x.sum(-1), x.cumsum(0), x.softmax(0)], np.array(2.5))
    check(lambda m, x: [x.sum(), x.prod(), x.sum(0), x.sum(1), x.prod(1), x.mean(0)], floats(3, 0))
    check(lambda m, x: [x.amax(0), x.argmax(0), x.cumsum(1)], floats(3, 0))


def test_sums_of_short_floats_and_given_dtypes() -> None:
    x = torch.tensor(floats(5, 300)).to(torch.bfloat16)
    check(lambda m, x: [x.sum(), x.sum(1), x.mean(0)], x)
    check(lambda m, x: [x.sum(dtype=m.float64), m.cumsum(x, 0, dtype=m.float64)], integers(9))
    check(lambda m, x: m.mean(x, dtype=m.float32), integers(9))


def test_large_sums() -> None:
    x = floats(7, 3001)
    check(lambda m, x: [x.sum(), x.sum(0), x.sum(1), x.mean(), x.amax(1)], x, grad=True)


def test_errors() -> None:
    x = hs.zeros(2, 3)
    for f in (lambda: x.sum(2), lambda: x.mean(-3), lambda: x.softmax(5), lambda: x.cumsum(2), lambda: x.argmax(2)):
        with pytest.raises(IndexOutOfRangeError, match="axis"):
            f()
    with pytest.raises(ShapeError, match="twice"):
        x.sum((0, 0))
    with pytest.raises(DTypeError, match="floats"):
        hs.zeros(2, dtype=hs.int32).mean()
    with pytest.raises(ShapeError, match="empty"):
        hs.zeros(0, 2).amax(0)
    with pytest.raises(ShapeError, match="empty"):
        hs.zeros(0).argmax()
