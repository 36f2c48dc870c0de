"""Blocks that a team of warps sorts, and their merging, by lock-step threads and on a GPU."""

from __future__ import annotations

import numpy as np
import pytest

from heliostat import ops
from heliostat.ir.graph import Graph, parameter
from heliostat.ir.types import f32, tensor
from heliostat.ops.sort import BLOCK

from .device import RUNNERS, Runner, lockstep


@pytest.mark.parametrize("run", RUNNERS)
def test_an_axis_of_several_blocks(run: Runner, monkeypatch: pytest.MonkeyPatch) -> None:
    block = BLOCK
    if run is lockstep:  # threads one after the other take their time
        block = 256
        monkeypatch.setattr("heliostat.ops.sort.BLOCK", block)
    size = 2 * block + 77
    x = parameter("x", tensor(f32, size))
    a = np.round(np.random.default_rng(2).standard_normal(size) * 50).astype(np.float32)
    order, first = run(Graph("order", [x], [ops.argsort(x), ops.argsort(x, True, 70)]), {"x": a}, {})
    np.testing.assert_array_equal(order, np.argsort(a, kind="stable"))
    np.testing.assert_array_equal(first, np.argsort(-a, kind="stable")[:70])
