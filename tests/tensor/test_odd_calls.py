"""Calls with shapes, dtypes and arguments that are seldom used, against PyTorch."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import heliostat as hs
from heliostat.diagnostics import ShapeError

from .compare import check, floats, integers

Call = Callable[[Any, Any], Any]

OF_FLOATS: dict[str, Call] = {
    "std_mean": lambda m, x: [*m.std_mean(x, False), *m.std_mean(x, 0, False), *m.var_mean(x, 1, correction=0)],
    "var_mean": lambda m, x: m.var_mean(x, dim=0, unbiased=True, keepdim=True),
    "cov": lambda m, x: [m.cov(x), m.cov(x[0]), m.cov(x[:1]), m.corrcoef(x), m.corrcoef(x[0])],
    "weighted cov": lambda m, x: [
        m.cov(x, fweights=m.tensor([1, 2, 0, 3])), m.cov(x, aweights=x[0].abs(), correction=0),
        m.cov(x, fweights=m.tensor([1, 2, 1, 3]), aweights=x[1].abs()),
    ],
    "trapezoid": lambda m, x: [
        m.trapezoid(x, x, dim=0), m.cumulative_trapezoid(x, x[:, :1], dim=0), m.trapezoid(x, x[:, 0], dim=0),
    ],
    "flip": lambda m, x: [x.flip(dims=(0, 1)), m.flip(x, dims=[0]), m.flip(x, (1,)), x.flip(0, 1)],
    "squeeze": lambda m, x: [x[:, None].squeeze(()), x[:, None].squeeze((0, 1))],
    "tensor_split": lambda m, x: [*m.tensor_split(x, m.tensor(3)), *m.tensor_split(x, m.tensor([1, 2]), 1)],
    "atleast": lambda m, x: [*m.atleast_1d([x, x[0, 0]]), *m.atleast_2d([x[0]]), m.atleast_3d(x), *m.atleast_3d(x, x)],
    "masked_scatter": lambda m, x: m.masked_scatter(x[0], x > 0, x * 2),
    "quantile": lambda m, x: [m.quantile(x[0, 0], 0.3), m.nanquantile(x[0, 0], 0.3)],
    "repeat_interleave": lambda m, x: m.repeat_interleave(x, 2, 1, output_size=8),
    "cdist": lambda m, x: m.cdist(x, x[:2] + 1, 2.0, "donot_use_mm_for_euclid_dist"),
    "vander": lambda m, x: m.linalg.vander(x[0, 0], N=3),
    "unfold": lambda m, x: m.nn.functional.unfold(x.reshape(1, 1, 3, 4)[:0], 2),
}  # fmt: skip


@pytest.mark.parametrize("name", OF_FLOATS)
def test_seldom_used_arguments(name: str) -> None:
    check(OF_FLOATS[name], floats(3, 4), grad=name not in ("quantile", "masked_scatter"))


def test_of_integers() -> None:
    check(lambda m, x: [m.cov(x), m.repeat_interleave(x[0].abs())], integers(3, 4))
    check(lambda m, x: [m.logspace(0, 1.2, 4, 5.0, dtype=m.int64), m.sign(x > 0)], integers(3, 4))


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_running_sums_of_numbers_far_apart(dtype: Any) -> None:
    x = np.array([[-300.0, -100, 3, 2], [5, -8, -8.0625, 0], [-np.inf, 1, np.inf, 2], [-np.inf, -np.inf, 0, 1]], dtype)
    check(lambda m, x: [m.logcumsumexp(x, 1), m.logcumsumexp(x[:, :0], 1)], x)
    check(lambda m, x: m.logcumsumexp(x[:2], 0), x, grad=dtype is not np.float16)


@pytest.mark.parametrize("shape", [(0, 0), (2, 0, 0), (0, 2, 2)], ids=str)
def test_empty_matrices(shape: tuple[int, ...]) -> None:
    def f(m: Any, a: Any, b: Any) -> Any:
        factors = m.linalg.lu_factor(a)
        norms = [m.linalg.matrix_norm(a, ord) for ord in ("fro", "nuc", 1, 2, float("inf"))]
        return [*factors, m.linalg.lu_solve(*factors, b), m.linalg.solve(a, b), m.linalg.inv(a), *norms]

    check(f, np.zeros(shape), np.zeros((*shape[:-1], 3)))


def test_what_does_not_fit() -> None:
    with pytest.raises(ShapeError, match="output_size 7"):
        hs.repeat_interleave(hs.ones(3), 2, output_size=7)
    with pytest.raises(ShapeError, match="weights"):
        hs.cov(hs.ones(2, 3), fweights=hs.tensor([1, 2]))
    with pytest.raises(ValueError, match="compute_mode"):
        hs.cdist(hs.ones(2, 3), hs.ones(2, 3), compute_mode="fast")
