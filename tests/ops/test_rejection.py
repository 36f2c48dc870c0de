"""Samples by rejection against the distribution functions they are to have."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from heliostat import ops
from heliostat.ir.graph import Graph, parameter
from heliostat.ir.types import f64, i64, tensor
from heliostat.ops.evaluate import evaluate
from heliostat.session import compile_graph

COUNT = 80_000


def drawn(name: str, *parameters: float, seed: int = 5) -> Any:
    wide = [np.full(COUNT, p) for p in parameters]
    return ops.get(name).reference(np.arange(COUNT), np.int64(seed), np.int64(3), *wide)


def furthest(samples: Any, cdf: Any) -> float:
    """Kolmogorov's distance times the root of the count: 1.95 is passed once in a thousand times."""
    x = np.sort(samples)
    expected = cdf(x)
    steps = np.arange(len(x) + 1) / len(x)
    return float(max(np.abs(expected - steps[1:]).max(), np.abs(expected - steps[:-1]).max()) * math.sqrt(len(x)))


def chi_squared(samples: Any, pmf: Any) -> float:
    """Pearson's statistic over counts with 10 expected or more, and the rest, in deviations from its mean."""
    low, high = int(samples.min()), int(samples.max())
    counts = np.arange(low, high + 1)
    expected = np.array([pmf(int(c)) for c in counts]) * len(samples)
    found = np.bincount((samples - low).astype(np.int64), minlength=len(counts))
    usual = expected >= 10
    rest = len(samples) - expected[usual].sum()
    total = float(((found - expected)[usual] ** 2 / expected[usual]).sum())
    freedom = int(usual.sum()) - 1
    if rest > 10:
        total += (found[~usual].sum() - rest) ** 2 / rest
        freedom += 1
    return (total - freedom) / math.sqrt(2 * max(freedom, 1))


@pytest.mark.parametrize("a", [0.02, 0.5, 1.0, 1.5, 30.0, 1e4])
def test_gamma(a: float) -> None:
    x = np.exp(drawn("random_log_gamma", a))
    assert furthest(x, lambda v: ops.get("incomplete_gamma").reference(np.full(v.shape, a), v)) < 1.95


def test_gamma_of_what_is_no_concentration() -> None:
    a = np.array([0.0, math.inf, math.nan, -1.0, -0.5])
    found = ops.get("random_log_gamma").reference(np.arange(5), np.int64(1), np.int64(1), a)
    np.testing.assert_array_equal(found, [-math.inf, math.inf, math.nan, math.nan, math.nan])


@pytest.mark.parametrize(
    ("name", "parameters"),
    [
        ("random_poisson", [(-1.0,), (-math.inf,), (math.nan,)]),
        ("random_binomial", [(7.0, 1.5), (7.0, -0.5), (-3.0, 0.5), (math.nan, 0.5), (40.0, math.nan)]),
        ("random_von_mises", [(math.nan,), (-1.0,)]),
    ],
)
def test_no_number_of_parameters_that_no_distribution_has(name: str, parameters: list[tuple[float, ...]]) -> None:
    given = [np.array(p) for p in zip(*parameters, strict=True)]
    place = [np.arange(len(parameters)), np.array(5), np.array(3)]
    x = [parameter(f"x{n}", tensor(i64 if n < 3 else f64, *a.shape)) for n, a in enumerate([*place, *given])]
    graph = Graph("g", x, [ops.get(name).build(*x)])
    arrays = {v.name: a for v, a in zip(x, [*place, *given], strict=True)}
    assert np.isnan(evaluate(graph, arrays)[0]).all()
    assert np.isnan(compile_graph(graph, threads=1).run(arrays)[0]).all()


@pytest.mark.parametrize("rate", [0.01, 0.8, 9.99, 10.0, 60.0, 3000.0])
def test_poisson(rate: float) -> None:
    def pmf(c: int) -> float:
        return math.exp(c * math.log(rate) - rate - math.lgamma(c + 1))

    assert abs(chi_squared(drawn("random_poisson", rate), pmf)) < 4


def test_poisson_of_large_rates() -> None:
    for rate in (1e9, 1e18):
        x = (drawn("random_poisson", rate) - rate) / math.sqrt(rate)
        assert furthest(x, lambda v: 0.5 * (1 + np.vectorize(math.erf)(v / math.sqrt(2)))) < 1.95
    found = ops.get("random_poisson").reference(
        np.arange(3), np.int64(1), np.int64(1), np.array([0.0, math.inf, math.nan])
    )
    assert found[:2].tolist() == [0.0, math.inf]
    assert np.isnan(found[2])


@pytest.mark.parametrize(
    ("count", "prob"), [(1, 0.3), (30, 0.1), (19, 0.5), (20, 0.5), (60, 0.83), (400, 0.2), (100_000, 0.001)]
)
def test_binomial(count: int, prob: float) -> None:
    def pmf(c: int) -> float:
        ways = math.lgamma(count + 1) - math.lgamma(c + 1) - math.lgamma(count - c + 1)
        return math.exp(ways + c * math.log(prob) + (count - c) * math.log1p(-prob))

    x = drawn("random_binomial", float(count), prob)
    assert ((x >= 0) & (x <= count)).all()
    assert abs(chi_squared(x, pmf)) < 4


def test_binomial_at_the_ends() -> None:
    count, prob = np.array([0.0, 7.0, 7.0, 7.0, 1e6]), np.array([0.3, 0.0, 1.0, math.nan, 1.0])
    found = ops.get("random_binomial").reference(np.arange(5), np.int64(1), np.int64(1), count, prob)
    np.testing.assert_array_equal(found, [0, 0, 7, math.nan, 1e6])


@pytest.mark.parametrize("kappa", [0.0, 1e-5, 0.3, 2.0, 50.0, 1e8])
def test_von_mises(kappa: float) -> None:
    x = drawn("random_von_mises", kappa)
    assert (np.abs(x) <= math.pi).all()
    width = min(math.pi, 12 / math.sqrt(max(kappa, 1e-9)))
    grid = np.linspace(-width, width, 20_001)
    density = np.exp(-2 * kappa * np.sin(grid / 2) ** 2)
    total = np.concatenate([[0.0], np.cumsum(density[1:] + density[:-1])])
    assert furthest(x, lambda v: np.interp(v, grid, total / total[-1])) < 1.95


def test_elements_rounds_and_draws_are_independent() -> None:
    first, again = drawn("random_log_gamma", 2.0), drawn("random_log_gamma", 2.0, seed=6)
    assert np.unique(first).size == COUNT
    assert abs(np.corrcoef(first[:-1], first[1:])[0, 1]) < 0.03
    assert abs(np.corrcoef(first, again)[0, 1]) < 0.03
