"""Maxima of windows with channels last: equal elements, no numbers, and the way back to the first largest."""

from __future__ import annotations

import numpy as np
import pytest

from heliostat import ops
from heliostat.ir.graph import Graph, parameter
from heliostat.ir.types import f32, i8, tensor

from .device import RUNNERS, Runner


@pytest.mark.parametrize("run", RUNNERS)
@pytest.mark.parametrize("channels", [5, 64])
def test_the_first_of_equal_elements_is_chosen(channels: int, run: Runner) -> None:
    at = {"size": (6, 7), "grid": (3, 4), "kernel": (3, 3), "stride": (2, 2), "padding": (1, 1), "dilation": (1, 1)}
    rng = np.random.default_rng(channels)
    x = rng.integers(0, 3, (84, channels)).astype(np.float32)
    x[rng.random(x.shape) < 0.05] = np.nan
    g = rng.standard_normal((24, channels)).astype(np.float32)
    values = [parameter("x", tensor(f32, *x.shape)), parameter("g", tensor(f32, *g.shape))]
    places = ops.pixel_argmax(values[0], **at)  # type: ignore[arg-type]
    made = [ops.pixel_max(values[0], **at), places, ops.pixel_max_gradient(values[1], places, **at)]  # type: ignore[arg-type]
    assert places.type.element is i8
    largest, found, back = run(Graph("pool", values, made), {"x": x, "g": g}, {})
    chosen = ops.get("pixel_argmax").reference(x, **at)
    np.testing.assert_array_equal(largest, ops.get("pixel_max").reference(x, **at))
    np.testing.assert_array_equal(found, chosen)
    np.testing.assert_allclose(back, ops.get("pixel_max_gradient").reference(g, chosen, **at), rtol=1e-6, atol=1e-6)
