"""Parts of floats, slopes, places, and solutions by triangles, against PyTorch."""

from __future__ import annotations

import numpy as np
import pytest

import heliostat as hs
from heliostat.diagnostics import DTypeError, ShapeError

from .compare import check, floats, integers, torch


def test_parts() -> None:
    x = np.array([0.0, -0.0, 1.5, -3.25, 1e-300, np.inf, -np.inf, np.nan])
    check(lambda m, a: [m.angle(a), m.real(a), m.conj(a), a.resolve_conj(), a.resolve_neg()], x)
    check(lambda m, a: [a.is_conj(), a.is_neg()], x)
    check(lambda m, a: m.frexp(a)[0], x)
    check(lambda m, a: list(m.frexp(a)), floats(3, 4))
    check(lambda m, a: m.frexp(a)[0], floats(3, 4), grad=True)
    for dtype, least in ((np.float16, -24), (np.float32, -149), (np.float64, -1074)):
        powers = np.ldexp(np.array(1.5, dtype), np.arange(least, -least // 2)) * dtype(-1)
        for found, expected in zip(hs.frexp(hs.tensor(powers)), np.frexp(powers), strict=True):
            np.testing.assert_array_equal(found.numpy(), expected)
    brief = [1.5, 8.0, -3e-39, 9.2e-41, 1e38, float("-inf")]
    for found, expected in zip(*(m.frexp(m.tensor(brief, dtype=m.bfloat16)) for m in (hs, torch)), strict=True):
        assert found.tolist() == expected.tolist()
    assert hs.compile(lambda a: hs.frexp(a).exponent)(hs.tensor([3.0, 8.0])).tolist() == [2, 4]
    with pytest.raises(DTypeError, match="frexp"):
        hs.frexp(hs.ones(2, dtype=hs.int64))
    assert hs.can_cast(hs.float32, hs.float64)
    assert not hs.can_cast(hs.float32, hs.int64)


def test_slopes() -> None:
    check(lambda m, a: list(m.gradient(a)), floats(3, 4), grad=True)
    check(lambda m, a: list(m.gradient(a, spacing=0.5, dim=1)), floats(3, 4))
    check(lambda m, a: list(m.gradient(a, spacing=[2.0, 0.5])), floats(3, 2))
    check(lambda m, a: list(m.gradient(a, spacing=m.tensor(0.5))), floats(4, 3), grad=True)
    check(lambda m, a: list(m.gradient(a, spacing=[0.1, 3], edge_order=2, dim=(1, -3))), floats(4, 3, 2), grad=True)
    check(lambda m, a: list(m.gradient(a, edge_order=2)), np.array([1, 2, 4, 7, 0]))
    places = np.array([0.0, 0.5, 2, 1.5, 7])
    for order in (1, 2):
        check(
            lambda m, a, p, q, o=order: list(m.gradient(a, spacing=(p, q), dim=(0, 2), edge_order=o)),
            floats(5, 2, 4), places, places[:4] - 3, grad=True,
        )  # fmt: skip
    check(lambda m, a: m.diff(a, n=0, prepend=a, append=a), floats(3))
    for error, call in [
        (ValueError, lambda: hs.gradient(hs.ones(3), edge_order=3)),
        (ShapeError, lambda: hs.gradient(hs.ones(2), edge_order=2)),
        (ShapeError, lambda: hs.gradient(hs.ones(3, 3), dim=(0, -2))),
        (ShapeError, lambda: hs.gradient(hs.ones(3), spacing=[hs.arange(2)])),
        (ShapeError, lambda: hs.gradient(hs.ones(3), spacing=hs.arange(3))),
        (ShapeError, lambda: hs.gradient(hs.ones(1))),
        (ShapeError, lambda: hs.gradient(hs.ones(3, 3), spacing=[1.0])),
    ]:
        with pytest.raises(error):
            call()


def test_places() -> None:
    check(lambda m, i: list(m.unravel_index(i, (2, 3, 4))), integers(5, 2, low=0, high=23))
    check(lambda m, i: list(m.unravel_index(i, 24)), integers(5, low=0, high=23))


def test_solutions_by_triangles() -> None:
    low = np.tril(floats(3, 3)) + 3 * np.eye(3)
    check(lambda m, a: m.cholesky_inverse(a), low)
    check(lambda m, a, b: m.cholesky_solve(b, a), low, floats(3, 2))
    check(lambda m, a, b: m.cholesky_solve(b, a, upper=True), low.T.copy(), floats(3, 2))
