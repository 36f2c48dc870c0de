"""Elementary functions as GPUs compute them, with their own powers of two and reciprocals."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from heliostat import ops
from heliostat.ir.graph import Graph, parameter
from heliostat.ir.types import f32, tensor
from heliostat.ops.elementwise import error_function

from .device import RUNNERS, Runner

ULP = 4.0


def values_of(name: str, x: Any, run: Runner) -> Any:
    p = parameter("x", tensor(f32, len(x)))
    return run(Graph("f", [p], [getattr(ops, name)(p)]), {"x": x}, {})[0]


def uniform(low: float, high: float) -> Any:
    return np.random.default_rng(5).uniform(low, high, 1 << 13).astype(np.float32)


CASES: list[tuple[str, Callable[..., Any], float, float]] = [
    ("exp", np.exp, -87, 88.7),
    ("exp", np.exp, -1, 1),
    ("sigmoid", lambda x: 1 / (1 + np.exp(-x)), -80, 80),
    ("tanh", np.tanh, -10, 10),
    ("tanh", np.tanh, -0.7, 0.7),
    ("tanh", np.tanh, -1e-3, 1e-3),
    ("silu", lambda x: x / (1 + np.exp(-x)), -80, 80),
]


@pytest.mark.parametrize("run", RUNNERS)
@pytest.mark.parametrize(("name", "reference", "low", "high"), CASES)
def test_distance_from_reference(
    name: str, reference: Callable[..., Any], low: float, high: float, run: Runner
) -> None:
    x = uniform(low, high)
    want = reference(x.astype(np.float64))
    distance = np.abs(values_of(name, x, run) - want) / np.spacing(np.abs(want).astype(np.float32))
    assert distance.max() <= ULP, (distance.max(), x[distance.argmax()])


@pytest.mark.parametrize("run", RUNNERS)
@pytest.mark.parametrize("name", ["sin", "cos", "tan"])
def test_angles(name: str, run: Runner) -> None:
    rng = np.random.default_rng(6)
    x = (np.exp(rng.uniform(-3, 88, 1 << 11)) * rng.choice([-1, 1], 1 << 11)).astype(np.float32)
    x[:1024] = rng.uniform(-100, 100, 1024)
    x[-4:] = [np.inf, np.nan, 0, 16367173 * 2.0**72]
    with np.errstate(invalid="ignore"):
        want = getattr(np, name)(x.astype(np.float64))
    found = values_of(name, x, run)
    np.testing.assert_array_equal(np.isnan(found), np.isnan(want))
    distance = np.nan_to_num(np.abs(found - want) / np.spacing(np.abs(want).astype(np.float32)))
    assert distance.max() <= ULP, (distance.max(), x[distance.argmax()])


@pytest.mark.parametrize("run", RUNNERS)
@pytest.mark.parametrize("name", ["gelu", "gelu_tanh"])
def test_gelus(name: str, run: Runner) -> None:
    """Relative to the result also where it is a small part of x; beyond, the result is as good as 0."""
    x = uniform(-5.5, 12)
    wide = x.astype(np.float64)
    if name == "gelu":
        want = 0.5 * wide * (1 + error_function(wide * np.sqrt(0.5)))
        want = np.where(wide < -3, [0.5 * v * math.erfc(-v * np.sqrt(0.5)) for v in wide], want)
    else:
        want = wide / (1 + np.exp(-2 * np.sqrt(2 / np.pi) * (wide + 0.044715 * wide**3)))
    np.testing.assert_allclose(values_of(name, x, run), want, rtol=1e-5)
    ends = np.array([-np.inf, -1e30, -200.0, -14.0, -0.0, 0.0, 14.0, 200.0, 1e30, np.inf, np.nan], np.float32)
    found = values_of(name, np.tile(ends, 40), run)[: len(ends)]
    if name == "gelu_tanh":  # infinity times a sigmoid of 0
        ends, found = ends[1:], found[1:]
    np.testing.assert_allclose(found, np.where(np.isnan(ends), ends, np.maximum(ends, 0)), atol=1e-20)


@pytest.mark.parametrize("run", RUNNERS)
def test_slope_of_gelu(run: Runner) -> None:
    x = uniform(-12, 12)
    wide = x.astype(np.float64)
    want = 0.5 * (1 + error_function(wide * np.sqrt(0.5))) + wide * np.exp(-0.5 * wide**2) / np.sqrt(2 * np.pi)
    np.testing.assert_allclose(values_of("gelu_slope", x, run), want, rtol=1e-6, atol=1e-6)
    ends = np.array([-np.inf, -1e30, -14.0, -0.0, 0.0, 14.0, 1e30, np.inf, np.nan], np.float32)
    found = values_of("gelu_slope", np.tile(ends, 40), run)[: len(ends)]
    np.testing.assert_allclose(found, [0, 0, 0, 0.5, 0.5, 1, 1, 1, np.nan], rtol=1e-6, atol=1e-12)


@pytest.mark.parametrize("run", RUNNERS)
def test_ends_of_exp(run: Runner) -> None:
    """Beyond the largest and below the smallest number, through the denormals, and NaN."""
    x = np.array([-np.inf, -1e30, -104.5, -100.0, -88.0, -0.0, 88.72, 89.0, 1e30, np.inf, np.nan] * 40, np.float32)
    with np.errstate(over="ignore", under="ignore"):
        want = np.exp(x)
    np.testing.assert_allclose(values_of("exp", x, run), want, rtol=1e-6, atol=3e-45)
    with np.errstate(over="ignore"):
        want = 1 / (1 + np.exp(-x.astype(np.float64)))
    np.testing.assert_allclose(values_of("sigmoid", x, run), want, rtol=1e-6, atol=2e-38)
    np.testing.assert_allclose(values_of("tanh", x, run), np.tanh(x), rtol=1e-6)
