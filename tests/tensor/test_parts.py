"""Rows and batches of known data: copied at once, whatever their place, and still views."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import heliostat as hs
from heliostat.tensor import lazy


def known(dtype: str = "float32") -> Any:
    return hs.tensor(np.arange(24).reshape(4, 6), dtype=dtype)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "int64", "bool"])
def test_parts_at_other_places_are_not_other_programs(dtype: str) -> None:
    x = known(dtype)
    rows = np.array(x.tolist())
    before = lazy.programs.misses + lazy.programs.hits
    for i in range(4):
        assert x[i].tolist() == rows[i].tolist()
        assert x[-1 - i, i].item() == rows[-1 - i, i]
        assert x[i:, 1:5:2].tolist() == rows[i:, 1:5:2].tolist()
        assert x[i, None].dtype == x.dtype
    assert lazy.programs.misses + lazy.programs.hits == before


def test_they_are_still_views() -> None:
    x = known()
    row, batch = x[1], x[2:, :2]
    x[1, 0] = 100
    x.mul_(2)
    assert row.tolist()[:2] == [200.0, 14.0]
    row.fill_(5)
    batch[0] += 1
    assert x[1].tolist() == [5.0] * 6
    assert x[2].tolist() == [25.0, 27.0, 28.0, 30.0, 32.0, 34.0]
    assert batch.tolist()[1] == [36.0, 38.0]


def test_gradients_and_lazy_values_go_the_other_way() -> None:
    w = known().requires_grad_(True)
    w[1:3].sum().backward()
    assert w.grad.sum().item() == 12
    y = w * 2
    y.sum().item()
    z = y[0]
    z.sum().backward()
    assert w.grad[0].tolist() == [2.0] * 6
    before = lazy.programs.misses + lazy.programs.hits
    part = (known() + 1)[1:]
    assert lazy.programs.misses + lazy.programs.hits == before
    assert part[0, 0].item() == 7


def test_large_parts_stay_part_of_the_program(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("heliostat.tensor.shape.COPIED", 30)
    x = known()
    assert not lazy.is_data(x[1:].value)
    assert lazy.is_data(x[1].value)
    assert x[1:].sum().item() == sum(range(6, 24))
