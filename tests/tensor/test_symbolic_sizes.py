"""Compiled functions whose leading axis is a symbol: what programs do with sizes that are not fixed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import heliostat as hs
from heliostat import nn
from heliostat.diagnostics import ShapeError

F = nn.functional

FUNCTIONS: dict[str, Callable[[Any], Any]] = {
    "view": lambda x: (x * 2).unsqueeze(2).view(x.size(0), -1),
    "neighbours": lambda x: x[1:] - x[:-1],
    "ends": lambda x: x[-1] + x[0] + x[x.shape[0] - 2],
    "inner": lambda x: x[1:-1].sum(0) + x.narrow(0, 1, x.shape[0] - 1).sum(0),
    "size": lambda x: x.sum(0) / x.shape[0] + x.size(0) * x[0] - (x.shape[0] - 1),
    "made": lambda x: hs.zeros(x.shape[0], 5) + hs.full((x.shape[0], 5), 2.5) * x + hs.ones_like(x),
    "counted": lambda x: hs.arange(x.shape[0]).to(x.dtype).unsqueeze(1) * x + hs.arange(1, x.shape[0] + 1)[0],
    "joined": lambda x: hs.cat([x, x * 2], 0)[1:-1].flip(0),
    "repeated": lambda x: x.unsqueeze(0).expand(3, -1, -1).reshape(3, -1),
    "products": lambda x: (x @ x.T).softmax(-1).tril(),
    "padded": lambda x: F.pad(x, (0, 0, 1, 1)).max(0).values,
    "chosen": lambda x: hs.where(x > 0, x, hs.zeros_like(x)).chunk(5, 1)[2],
}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_one_program_for_all_sizes(name: str) -> None:
    f = FUNCTIONS[name]
    compiled = hs.compile(f, dynamic=True)
    for rows in (4, 7, 3):
        x = hs.randn(rows, 5)
        found, wanted = compiled(x), f(x)
        assert found.shape == wanted.shape
        np.testing.assert_allclose(found.numpy(), wanted.numpy(), rtol=1e-5, atol=1e-6)
    assert compiled.cache_info().compiled == 1, compiled.cache_info().reasons


def test_sizes_as_numbers_may_be_0_and_below() -> None:
    compiled = hs.compile(lambda x: x * (x.shape[0] - 4) + (2 * x.shape[0] * x.shape[0] - 30), dynamic=True)
    for rows in (7, 4, 2):
        x = hs.randn(rows, 5)
        wanted = x.numpy() * (rows - 4) + (2 * rows * rows - 30)
        np.testing.assert_allclose(compiled(x).numpy(), wanted, rtol=1e-6)
    assert compiled.cache_info().compiled == 1, compiled.cache_info().reasons


def test_counts_that_may_be_negative_keep_a_size_fixed() -> None:
    compiled = hs.compile(lambda x: hs.arange(x.shape[0] - 5), dynamic=True)
    assert compiled(hs.ones(9, 2)).tolist() == [0, 1, 2, 3]
    with pytest.raises(ShapeError, match="from 0 to -2"):
        compiled(hs.ones(3, 2))


def test_results_that_need_gradients_have_the_sizes_of_their_run() -> None:
    hs.manual_seed(1)
    model = nn.Sequential(nn.Conv2d(2, 3, 3), nn.BatchNorm2d(3), nn.ReLU(), nn.Flatten(), nn.Linear(12, 4))
    compiled = hs.compile(model, dynamic=True)
    for rows in (4, 6, 3):
        x, labels = hs.randn(rows, 2, 4, 4), hs.arange(rows) % 4
        wanted: list[Any] = []
        before = model[1].running_var.clone()
        for run in (compiled, model):
            model.zero_grad()
            model[1].running_var.copy_(before)
            y = run(x)
            assert tuple(y.shape) == (rows, 4)
            F.cross_entropy(y, labels).backward()
            now = [p.grad.numpy().copy() for p in model.parameters()]
            now.append(model[1].running_var.numpy().copy())
            for a, b in zip(now, wanted, strict=False):
                np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6)
            wanted = now
    assert compiled.cache_info().compiled == 1, compiled.cache_info().reasons


def test_slices_that_may_end_beyond_a_size_keep_it_fixed() -> None:
    compiled = hs.compile(lambda x: x[:5] * 2, dynamic=True)
    for rows in (4, 9):
        x = hs.randn(rows, 3)
        np.testing.assert_array_equal(compiled(x).numpy(), x.numpy()[:5] * 2)
    assert "depends on the symbols" in compiled.cache_info().reasons[0]
