"""Far tails to full precision, parameters and arguments that are refused, and the largest ones."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

import heliostat as hs
from heliostat import distributions as D
from heliostat.diagnostics import CaptureError, ConstraintError, DTypeError, ShapeError

f64 = hs.float64
NUMBERS = [hs.tensor(v, dtype=f64) for v in (0.0, 1.0)]


@pytest.mark.parametrize(
    ("family", "rule"),
    [
        (D.Normal, lambda x: 0.5 * math.erfc(-x / math.sqrt(2))),
        (D.Laplace, lambda x: 0.5 * math.exp(x)),
        (D.Cauchy, lambda x: math.atan2(1, -x) / math.pi),
    ],
)
def test_small_probabilities_of_far_values(family: Any, rule: Any) -> None:
    x = [-300.0, -30.0, -9.0, -4.0, -0.5]
    expected = [rule(v) for v in x]
    np.testing.assert_allclose(family(*NUMBERS).cdf(hs.tensor(x, dtype=f64)).numpy(), expected, 1e-12)


@pytest.mark.parametrize(
    ("family", "arguments", "rule"),
    [
        (D.HalfNormal, [1.0], lambda x: math.erf(x / math.sqrt(2))),
        (D.HalfCauchy, [1.0], lambda x: 2 / math.pi * math.atan(x)),
        (D.Weibull, [1.0, 2.0], lambda x: -math.expm1(-x * x)),
    ],
)
def test_small_probabilities_of_small_values(family: Any, arguments: list[float], rule: Any) -> None:
    p = family(*(hs.tensor(a, dtype=f64) for a in arguments))
    x = [1e-100, 1e-20, 1e-9, 1e-3, 0.7]
    np.testing.assert_allclose(p.cdf(hs.tensor(x, dtype=f64)).numpy(), [rule(v) for v in x], 1e-12)


FAMILIES = [
    (D.Laplace, [2.0, 3.0]), (D.Cauchy, [0.0, 3.0]), (D.Gumbel, [0.0, 1.0]), (D.HalfNormal, [3.0]),
    (D.HalfCauchy, [3.0]), (D.Weibull, [3.0, 0.7]),
]  # fmt: skip


@pytest.mark.parametrize(("family", "arguments"), FAMILIES)
def test_icdf_of_small_and_large_probabilities(family: Any, arguments: list[float]) -> None:
    p = family(*(hs.tensor(a, dtype=f64) for a in arguments))
    y = hs.tensor([1e-100, 1e-30, 1e-9, 0.01, 0.3, 0.5, 0.7, 0.99, 1 - 1e-9], dtype=f64, requires_grad=True)
    x = p.icdf(y)
    np.testing.assert_allclose(p.cdf(x).detach().numpy(), y.detach().numpy(), 1e-9)
    x.sum().backward()
    # The slope of the inverse is one over the density.
    np.testing.assert_allclose(y.grad.log().numpy(), -p.log_prob(x).detach().numpy(), 1e-6, 1e-6)
    ends = p.icdf(hs.tensor([0.0, 1.0], dtype=f64))
    low = 0.0 if family in (D.HalfNormal, D.HalfCauchy, D.Weibull) else -math.inf
    assert ends.tolist() == [low, math.inf]


@pytest.mark.parametrize(
    ("make", "kind", "text"),
    [
        (lambda: D.Normal(0.0, 1.0).sample(3), ShapeError, r"write \(3,\)"),
        (lambda: D.Categorical([0.5, 0.5]), DTypeError, "`probs` must be a tensor, found list"),
        (lambda: D.Multinomial(-1, hs.ones(3)), ConstraintError, "total_count must be at least 0, found -1"),
        (lambda: D.Independent(D.Normal(hs.zeros(2), 1.0), -1), ShapeError, "actual -1 vs 1"),
        (lambda: D.MultivariateNormal(hs.zeros(3), hs.eye(2)), ShapeError, r"covariance_matrix \[2, 2\] does not fit"),
        (lambda: D.MultivariateNormal(hs.zeros(2), scale_tril=hs.ones(2, 3)), ShapeError, "square"),
    ],
)
def test_what_is_refused(make: Any, kind: type[Exception], text: str) -> None:
    with pytest.raises(kind, match=text):
        make()


def test_what_is_computed_on_the_host_names_itself_in_a_compiled_function() -> None:
    with pytest.raises(CaptureError, match="computes at once"):
        hs.compile(lambda c: D.MultivariateNormal(c, hs.eye(2)).sample())(hs.ones(2))


def test_counts_beyond_64_bits_and_of_no_number() -> None:
    hs.manual_seed(0)
    rate = hs.tensor([3.0, 1e20, math.inf, math.nan], dtype=f64)
    few, many, infinite, none = D.Poisson(rate, validate_args=False).sample((2000,)).numpy().T
    assert abs(few.mean() - 3) < 0.2
    assert abs((many - 1e20).std() / 1e10 - 1) < 0.1
    assert np.isinf(infinite).all()
    assert np.isnan(none).all()
    probs = hs.tensor([1.0, math.nan])
    drawn = D.Binomial(5, probs, validate_args=False).sample().tolist()
    assert drawn[0] == 5
    assert math.isnan(drawn[1])


def test_divergence_of_counts_that_are_always_zero() -> None:
    p, q = hs.tensor([0.0, 0.0, 2.0]), hs.tensor([0.0, 3.0, 0.0], requires_grad=True)
    assert D.kl_divergence(D.Poisson(p), D.Poisson(q)).tolist() == [0, 3, math.inf]


def test_weights_that_a_batch_of_mixtures_shares() -> None:
    hs.manual_seed(0)
    weights = D.Categorical(hs.tensor([0.25, 0.75]))
    p = D.MixtureSameFamily(weights, D.Normal(hs.tensor([[0.0, 10.0], [100.0, 110.0], [200.0, 210.0]]), 0.1))
    drawn = p.sample((2000,)).numpy()
    upper = drawn - np.array([0, 100, 200]) > 5
    np.testing.assert_allclose(upper.mean(0), 0.75, atol=0.05)
    assert (upper[:, 0] != upper[:, 1]).any()  # each draws for itself
    np.testing.assert_allclose(p.mean.numpy(), [7.5, 107.5, 207.5], 1e-6)
    wide = p.expand((4, 3))
    assert tuple(wide.sample((5,)).shape) == (5, 4, 3)
    assert tuple(wide.log_prob(wide.sample()).shape) == (4, 3)
