"""Divergences against PyTorch's, and where it has none or another one, against sums and integrals."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import heliostat as hs
from heliostat import distributions as D
from heliostat.distributions.kl import _registry
from tensor.compare import ours, same, theirs

torch = pytest.importorskip("torch")
T = torch.distributions

Make = Callable[[Any, Any], Any]


def _a(seed: int, *shape: int, low: float = 0.4, high: float = 3.0) -> Any:
    return np.random.default_rng([seed, *shape]).uniform(low, high, shape or (4,))


def _m(seed: int) -> Any:
    x = np.random.default_rng(seed).normal(size=(2, 3, 3))
    return x @ np.swapaxes(x, -1, -2) + 0.5 * np.eye(3)


PAIRS: dict[str, Callable[[Any, Any, int], Any]] = {
    "Bernoulli": lambda R, t, s: R.Bernoulli(t(np.array([0.0, 0.2, 1.0, 0.7]) if s == 0 else _a(s, 4, high=0.9))),
    "Beta": lambda R, t, s: R.Beta(t(_a(s)), t(_a(s + 7))),
    "Binomial": lambda R, t, s: R.Binomial(t(np.array([5.0, 3.0, 4.0, 6.0]) - s), t(_a(s, high=0.9))),
    "Categorical": lambda R, t, s: R.Categorical(t(_a(s, 2, 3))),
    "Cauchy": lambda R, t, s: R.Cauchy(t(_a(s)), t(_a(s + 7))),
    "ContinuousBernoulli": lambda R, t, s: R.ContinuousBernoulli(t(_a(s, low=0.1, high=0.9))),
    "Dirichlet": lambda R, t, s: R.Dirichlet(t(_a(s, 2, 3))),
    "Exponential": lambda R, t, s: R.Exponential(t(_a(s))),
    "Gamma": lambda R, t, s: R.Gamma(t(_a(s)), t(_a(s + 7))),
    "Geometric": lambda R, t, s: R.Geometric(t(_a(s, high=0.9))),
    "Gumbel": lambda R, t, s: R.Gumbel(t(_a(s)), t(_a(s + 7))),
    "HalfNormal": lambda R, t, s: R.HalfNormal(t(_a(s))),
    "Independent": lambda R, t, s: R.Independent(R.Normal(t(_a(s, 2, 3)), t(_a(s + 7, 2, 3))), 1),
    "Laplace": lambda R, t, s: R.Laplace(t(_a(s)), t(_a(s + 7))),
    "LogNormal": lambda R, t, s: R.LogNormal(t(_a(s)), t(_a(s + 7))),
    "LowRankMultivariateNormal": lambda R, t, s: R.LowRankMultivariateNormal(
        t(_a(s, 2, 3)), t(_a(s, 2, 3, 2)), t(_a(s + 7, 2, 3))
    ),
    "MultivariateNormal": lambda R, t, s: R.MultivariateNormal(t(_a(s, 2, 3)), t(_m(s))),
    "Normal": lambda R, t, s: R.Normal(t(_a(s)), t(_a(s + 7))),
    "OneHotCategorical": lambda R, t, s: R.OneHotCategorical(t(_a(s, 2, 3))),
    "Pareto": lambda R, t, s: R.Pareto(t(_a(s, low=0.8)), t(_a(s + 7, low=0.8, high=4.0))),
    "Poisson": lambda R, t, s: R.Poisson(t(_a(s))),
    "TransformedDistribution": lambda R, t, s: R.TransformedDistribution(
        R.Normal(t(_a(s)), t(_a(s + 7))), [R.transforms.AffineTransform(1.0, 2.0), R.transforms.ExpTransform()]
    ),
    "Uniform": lambda R, t, s: R.Uniform(
        t(np.array([0.1, 0.2, -0.5, 2.5]) - 0.3 * s), t(np.array([0.6, 1.5, 0.9, 3.0]) + 0.3 * s)
    ),
}
BY_FAMILY = {"ExponentialFamily", "StudentT"}  # below
# PyTorch asks whether the interval of the uniform reaches the ends of [0, 1], not whether it goes beyond them.
OTHERWISE = {("Uniform", "ContinuousBernoulli"), ("ContinuousBernoulli", "Uniform")}
NAMES = sorted((p.__name__, q.__name__) for p, q in _registry)


@pytest.fixture(autouse=True)
def doubles() -> Any:
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


COMPARED = [n for n in NAMES if not BY_FAMILY & {*n} and n not in OTHERWISE]


@pytest.mark.parametrize(("p", "q"), COMPARED, ids=["|".join(n) for n in COMPARED])
def test_pairs(p: str, q: str) -> None:
    found = D.kl_divergence(PAIRS[p](D, ours, 0), PAIRS[q](D, ours, 1))
    same(found, T.kl_divergence(PAIRS[p](T, theirs, 0), PAIRS[q](T, theirs, 1)), 1e-8)


def test_uniform_and_continuous_bernoulli() -> None:
    low, high = np.array([0.0, 0.2, -0.1]), np.array([1.0, 0.7, 0.5])
    u, c = D.Uniform(ours(low), ours(high)), D.ContinuousBernoulli(hs.tensor(0.3, dtype=hs.float64))
    x = (np.arange(2000) + 0.5)[:, None] / 2000 * (high - low) + low
    expected = -np.log(high - low) - c.log_prob(hs.tensor(np.clip(x, 0, 1))).numpy().mean(0)
    found = D.kl_divergence(u, c).numpy()
    np.testing.assert_allclose(found[:2], expected[:2], 1e-6)
    assert np.isinf(found[2])
    wide = D.Uniform(hs.tensor([0.0, -1.0, 0.1]), hs.tensor([1.0, 1.5, 1.0]))
    back = D.kl_divergence(D.ContinuousBernoulli(hs.tensor(0.3)), wide).numpy()
    np.testing.assert_allclose(back[:2], np.log([1.0, 2.5]) - c.entropy().item(), 1e-5)
    assert np.isinf(back[2])


def test_student() -> None:
    df, loc, scale = np.array([[1.2, 2.0, 30.0], [3.0, 1.0, 2.5]]), np.array([[0.0, 1, -1], [2, 0, 0.5]]), _a(3, 2, 3)
    p, q = (D.StudentT(ours(df[i]), ours(loc[i]), ours(scale[i])) for i in (0, 1))
    # An integral over the angle whose tangent x is, which is finite and, as both densities are, smooth.
    angle = (np.arange(40_000) + 0.5)[:, None] / 40_000 * np.pi - np.pi / 2
    x = loc[0] + scale[0] * np.tan(angle)
    a, b = (
        T.StudentT(*(torch.tensor(v[i]) for v in (df, loc, scale))).log_prob(torch.tensor(x)).numpy() for i in (0, 1)
    )
    expected = (np.exp(a) * (a - b) * scale[0] / np.cos(angle) ** 2).mean(0) * np.pi
    np.testing.assert_allclose(D.kl_divergence(p, q).numpy(), expected, 1e-5)
    cauchy = [D.StudentT(ours(np.ones(4)), ours(_a(n)), ours(_a(n + 7))) for n in (0, 1)]
    same(D.kl_divergence(*cauchy), T.kl_divergence(*(PAIRS["Cauchy"](T, theirs, n) for n in (0, 1))), 1e-9)


@pytest.mark.parametrize("name", ["Bernoulli", "Beta", "Dirichlet", "Exponential", "Gamma", "Normal", "Poisson"])
def test_by_the_gradient_of_the_normalizer(name: str) -> None:
    family = _registry[D.ExponentialFamily, D.ExponentialFamily]
    p, q = (PAIRS[name](D, lambda x: ours(x, True), s) for s in (1, 2))
    np.testing.assert_allclose(family(p, q).detach().numpy(), D.kl_divergence(p, q).detach().numpy(), 1e-7, 1e-9)
    if name not in ("Beta", "Dirichlet", "Poisson"):  # whose carrier measures are not constant
        entropy = D.ExponentialFamily.entropy(p)
        np.testing.assert_allclose(entropy.detach().numpy(), p.entropy().detach().numpy(), 1e-7, 1e-9)


def test_gradients() -> None:
    loc = hs.tensor([0.3, 1.0], requires_grad=True)
    D.kl_divergence(D.Normal(loc, hs.ones(2)), D.Normal(hs.zeros(2), 2 * hs.ones(2))).sum().backward()
    np.testing.assert_allclose(loc.grad.numpy(), [0.3 / 4, 1.0 / 4], 1e-6)


def test_registering() -> None:
    class Mine(D.Normal):
        pass

    class Other(D.Normal):
        pass

    assert D.kl_divergence(Mine(0.0, 1.0), D.Normal(0.0, 1.0)).item() == 0
    try:
        D.register_kl(Mine, D.Normal)(lambda p, q: hs.tensor(1.0))
        D.register_kl(D.Normal, Other)(lambda p, q: hs.tensor(2.0))
        assert D.kl_divergence(Mine(0.0, 1.0), D.Normal(0.0, 1.0)).item() == 1
        with pytest.warns(RuntimeWarning, match=r"register_kl\(Mine, Other\)"):
            assert D.kl_divergence(Mine(0.0, 1.0), Other(0.0, 1.0)).item() == 1
    finally:
        del _registry[Mine, D.Normal], _registry[D.Normal, Other]
    with pytest.raises(TypeError, match="type_q"):
        D.register_kl(D.Normal, int)
    with pytest.raises(NotImplementedError, match="p type Cauchy and q type Normal"):
        D.kl_divergence(D.Cauchy(0.0, 1.0), D.Normal(0.0, 1.0))
    with pytest.raises(NotImplementedError, match="cross KL-divergence"):
        D.kl_divergence(D.Dirichlet(hs.ones(2)), D.Poisson(1.0))
    with pytest.raises(ValueError, match="different event shapes"):
        D.kl_divergence(D.MultivariateNormal(hs.zeros(2), hs.eye(2)), D.MultivariateNormal(hs.zeros(3), hs.eye(3)))
    with pytest.raises(NotImplementedError, match="total_count"):
        D.kl_divergence(D.Binomial(2, 0.5), D.Binomial(3, 0.5))
