"""Memory formats under PyTorch's names: taken where PyTorch takes them, and nothing else is."""

from __future__ import annotations

import numpy as np
import pytest

import heliostat as hs
from heliostat import nn
from heliostat.diagnostics import ShapeError


def test_formats_are_taken_and_change_nothing() -> None:
    x, last = hs.randn(2, 3, 4, 5), hs.channels_last
    for f in (x.to, x.contiguous, x.clone, x.float):
        np.testing.assert_array_equal(f(memory_format=last).numpy(), x.numpy())
    assert hs.zeros_like(x, memory_format=hs.preserve_format).shape == x.shape
    layer = nn.Conv2d(3, 4, 3)
    assert layer.to(memory_format=last) is layer
    assert repr(last) == "heliostat.channels_last"


def test_other_axes_and_other_things_are_refused() -> None:
    x = hs.randn(3, 4, 5)
    for f in (x.contiguous, x.clone, x.to, x.float):
        with pytest.raises(ShapeError, match=r"channels_last is an order of 4 axes, found .* of shape \[3, 4, 5\]"):
            f(memory_format=hs.channels_last)
    for g in (x.contiguous, x.clone, x.to, nn.Linear(3, 4).to, x.float):
        with pytest.raises(TypeError, match=r"one of hs\.contiguous_format"):
            g(memory_format="channels_last")
