"""First values: formulas and distributions."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

import heliostat as hs
from heliostat.nn import init

from .sweep import torch


def test_gains() -> None:
    for name in ("linear", "conv2d", "sigmoid", "tanh", "relu", "selu", "leaky_relu"):
        assert init.calculate_gain(name) == torch.nn.init.calculate_gain(name)
    assert init.calculate_gain("leaky_relu", 0.2) == torch.nn.init.calculate_gain("leaky_relu", 0.2)
    with pytest.raises(ValueError, match="Unsupported nonlinearity"):
        init.calculate_gain("swish")


BOUNDS: list[tuple[str, dict[str, Any], float]] = [
    ("uniform_", {"a": -2.0, "b": 2.0}, 2.0),
    ("xavier_uniform_", {"gain": 2.0}, 2 * math.sqrt(6 / (60 * 5 + 50 * 5))),
    ("kaiming_uniform_", {"a": 0.3}, math.sqrt(3 / (60 * 5)) * math.sqrt(2 / 1.09)),
    ("kaiming_uniform_", {"mode": "fan_out", "nonlinearity": "relu"}, math.sqrt(3 / (50 * 5)) * math.sqrt(2)),
]


@pytest.mark.parametrize(("name", "kwargs", "bound"), BOUNDS, ids=str)
def test_even_distributions(name: str, kwargs: Any, bound: float) -> None:
    hs.manual_seed(0)
    x = getattr(init, name)(hs.zeros(50, 60, 5), **kwargs).numpy()
    assert np.abs(x).max() <= bound
    assert np.abs(x).max() > 0.99 * bound
    assert abs(x.std() - bound / math.sqrt(3)) < 0.02 * bound


SPREADS: list[tuple[str, dict[str, Any], float]] = [
    ("normal_", {"std": 0.7}, 0.7),
    ("xavier_normal_", {}, math.sqrt(2 / (60 * 5 + 50 * 5))),
    ("kaiming_normal_", {"nonlinearity": "relu"}, math.sqrt(2 / (60 * 5))),
]


@pytest.mark.parametrize(("name", "kwargs", "std"), SPREADS, ids=str)
def test_normal_distributions(name: str, kwargs: Any, std: float) -> None:
    hs.manual_seed(0)
    x = getattr(init, name)(hs.zeros(50, 60, 5), **kwargs).numpy()
    assert abs(x.mean()) < 0.05 * std
    assert abs(x.std() - std) < 0.03 * std


def test_cut_normal_distribution() -> None:
    x = init.trunc_normal_(hs.zeros(200, 100), mean=0.2, std=1.0, a=-0.5, b=1.0).numpy()
    assert x.min() >= -0.5
    assert x.max() <= 1.0
    other = torch.nn.init.trunc_normal_(torch.zeros(200, 100), mean=0.2, std=1.0, a=-0.5, b=1.0)
    assert abs(x.mean() - float(other.mean())) < 0.02
    assert abs(x.std() - float(other.std())) < 0.02


def test_fixed_values() -> None:
    for name, args, shape in (
        ("eye_", (), (3, 4)), ("dirac_", (), (4, 2, 3)), ("dirac_", (2,), (4, 2, 3, 3)), ("ones_", (), (2,)),
        ("zeros_", (), (2,)), ("constant_", (0.3,), (2, 2)),
    ):  # fmt: skip
        found = getattr(init, name)(hs.ones(*shape), *args).numpy()
        np.testing.assert_array_equal(found, getattr(torch.nn.init, name)(torch.ones(*shape), *args).numpy())


@pytest.mark.parametrize("shape", [(5, 8), (8, 5), (4, 3, 2)], ids=str)
def test_orthogonal(shape: Any) -> None:
    x = init.orthogonal_(hs.zeros(*shape), gain=2.0).numpy().reshape(shape[0], -1)
    product = x @ x.T if x.shape[0] <= x.shape[1] else x.T @ x
    np.testing.assert_allclose(product, 4 * np.eye(len(product)), atol=1e-5)


def test_sparse_and_former_names() -> None:
    x = init.sparse_(hs.zeros(10, 7), 0.3, std=0.5).numpy()
    assert ((x == 0).sum(0) == 3).all()
    with pytest.warns(FutureWarning, match="deprecated"):
        init.constant(hs.zeros(2), 1.0)


def test_parameters_are_written_in_place_and_seeds_repeat() -> None:
    p = hs.zeros(3, 3).requires_grad_(True)
    hs.manual_seed(5)
    assert init.normal_(p) is p
    first = p.detach().numpy().copy()
    hs.manual_seed(5)
    np.testing.assert_array_equal(init.normal_(hs.zeros(3, 3)).numpy(), first)
    assert p.is_leaf
    with pytest.raises(ValueError, match="fewer than 2 dimensions"):
        init.xavier_uniform_(hs.zeros(3))
