"""Gradients where a formula is not smooth or its parts are infinite: PyTorch's, not NaN."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import heliostat as hs
import heliostat.nn.functional as hf
from heliostat import func

from .compare import check, ours, same, theirs, torch

ZEROS = np.array([[0.0, 0.0], [3.0, 0.0], [-4.0, 1.0]])
MOVED = np.array([[0.0], [1.0], [0.0]])


@pytest.mark.parametrize("p", [0.5, 1, 1.5, 2, 3, "fro", float("inf"), -float("inf")])
@pytest.mark.parametrize("x", [ZEROS, np.zeros((2, 3))], ids=["some", "all"])
def test_norms_of_zeros(p: Any, x: Any) -> None:
    check(lambda m, x: [m.norm(x, p), m.norm(x, p, dim=1)], x, grad=True)


def test_what_is_made_of_norms() -> None:
    x = np.zeros((2, 3))
    check(lambda m, a, b: [m.dist(a, b), m.cdist(a, b), m.cdist(a, a)], ZEROS, ZEROS + MOVED, grad=True)
    check(lambda m, a: [a.renorm(2, 0, 0.5), a.std(0), m.std_mean(a, 1)[0]], ZEROS, grad=True)
    check(lambda m, a: [a.std(), a.std(1)], x + 2, grad=True)
    xs, ys = ours(ZEROS, True), theirs(ZEROS, True)
    hf.normalize(xs).sum().backward()
    torch.nn.functional.normalize(ys).sum().backward()
    same(xs.grad, ys.grad)


def test_fmod_and_its_kin_at_zero() -> None:
    check(lambda m, a: [a.fmod(2), a.remainder(2), a.frac()], np.array([0.0, -1.5, 2.5, -0.0]), grad=True)


def test_angles_on_the_axes() -> None:
    a = np.array([0.0, 0.0, 2.0, -2.0, 1.0, -1.0, 3.0, -3.0, 0.0, -0.0])
    b = np.array([1.0, -1.0, 0.0, -0.0, 1.0, -1.0, -4.0, 4.0, 0.0, -0.0])
    check(lambda m, a, b: m.atan2(a, b), a, b, grad=True)
    for point in ([2.0, 0.0], [-1.0, 3.0]):
        found = func.hessian(lambda v: hs.atan2(v[0], v[1]))(hs.tensor(point, dtype=hs.float64))
        same(found, torch.func.hessian(lambda v: torch.atan2(v[0], v[1]))(torch.tensor(point, dtype=torch.float64)))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_angles_of_special_numbers(dtype: Any) -> None:
    some = [0.0, -0.0, 1.0, -1.0, np.inf, -np.inf, np.nan, 1e-40, 3e38, -3e38]
    a, b = (v.astype(dtype).reshape(-1) for v in np.meshgrid(some, some))
    found, expected = hs.atan2(hs.tensor(a), hs.tensor(b)).numpy(), np.arctan2(a, b)
    np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-7)
    here = ~np.isnan(expected)
    assert (np.signbit(found) == np.signbit(expected))[here].all()


def test_relu_passes_the_gradient_where_there_is_no_number() -> None:
    check(lambda m, x: m.relu(x), np.array([np.nan, 1.5, -1.5, 0.0, -0.0, np.inf, -np.inf]), grad=True)
