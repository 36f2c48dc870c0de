"""Samples: their moments, supports, seeds, and how they move with the parameters."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

import heliostat as hs
from heliostat import distributions as D
from heliostat.diagnostics import GradientError
from heliostat.ops import get
from tensor.compare import ours

from .table import TABLE, made

torch = pytest.importorskip("torch")
COUNT = 2000
gamma_slope, beta_slope = get("gamma_slope"), get("beta_slope")
# Moments that do not exist, are circular, or need more samples than a test should draw.
HEAVY = {
    "Cauchy",
    "HalfCauchy",
    "FisherSnedecor",
    "GeneralizedPareto",
    "InverseGamma",
    "LogNormal",
    "Pareto",
    "StudentT",
    "VonMises",
}
WITH_NOISE = [
    "Cauchy", "ContinuousBernoulli", "ExpRelaxedCategorical", "Exponential", "GeneralizedPareto", "Gumbel",
    "HalfCauchy", "HalfNormal", "Kumaraswamy", "Laplace", "LogNormal", "LogisticNormal", "LogitRelaxedBernoulli",
    "LowRankMultivariateNormal", "MultivariateNormal", "MultivariateNormal scale_tril", "Normal", "Pareto",
    "RelaxedBernoulli", "RelaxedOneHotCategorical", "Uniform", "Weibull",
]  # fmt: skip


def _made(case: str) -> tuple[Any, list[Any]]:
    return made(D, lambda a: ours(a, True), case)


@pytest.mark.parametrize("case", TABLE)
def test_moments(case: str) -> None:
    p, _ = _made(case)
    hs.manual_seed(11)
    x = p.sample((COUNT,))
    assert tuple(x.shape) == (COUNT, *p.batch_shape, *p.event_shape)
    assert not x.requires_grad
    assert p.support.check(x).all()
    try:
        mean, variance = p.mean.detach().numpy(), p.variance.detach().numpy()
    except NotImplementedError:
        return
    a = x.numpy()
    if case in HEAVY or not np.isfinite(variance).all():
        return
    error = np.sqrt(variance / COUNT)
    assert (np.abs(a.mean(0) - mean) <= 5 * error + 1e-12).all()
    spread = (a - mean) ** 2
    assert (np.abs(spread.mean(0) - variance) <= 6 * spread.std(0) / math.sqrt(COUNT) + 1e-12).all()


@pytest.mark.parametrize(
    "case", ["Cauchy", "HalfCauchy", "GeneralizedPareto", "InverseGamma", "LogNormal", "Pareto", "Gamma"]
)
def test_heavy_tails_by_their_cdf(case: str) -> None:
    p, _ = _made(case)
    hs.manual_seed(12)
    x = p.sample((COUNT,))
    # 1 - cdf where the transform falls; both are even.
    base = (lambda v: 1 - p.base_dist.cdf(1 / v)) if case == "InverseGamma" else p.cdf
    share = np.sort(base(x).detach().numpy(), 0)
    even = (np.arange(COUNT) + 0.5)[:, None] / COUNT
    assert np.abs(share - even).max() < 2.2 / math.sqrt(COUNT)  # Kolmogorov: beyond it one in 10^4


def test_student_and_fisher_by_their_medians() -> None:
    hs.manual_seed(3)
    t = D.StudentT(ours(np.array([1.0, 3.0])), 0.5, 2.0).sample((COUNT,)).numpy()
    # quartiles of t with 1 and 3 degrees of freedom
    quartiles = np.quantile((t - 0.5) / 2, [0.25, 0.5, 0.75], axis=0)
    np.testing.assert_allclose(quartiles, [[-1.0, -0.7649], [0, 0], [1.0, 0.7649]], atol=0.12)
    f = D.FisherSnedecor(ours(np.array([2.0])), ours(np.array([2.0]))).sample((COUNT,)).numpy()
    np.testing.assert_allclose(np.median(f), 1.0, atol=0.12)  # x / (1 + x) is even between 0 and 1


def test_von_mises_is_circular() -> None:
    hs.manual_seed(5)
    p = D.VonMises(hs.tensor([3.0, -1.0]), hs.tensor([4.0, 0.5]))
    x = p.sample((COUNT,)).numpy()
    assert (x >= -math.pi).all()
    assert (x < math.pi).all()
    mean = np.exp(1j * x).mean(0)
    np.testing.assert_allclose(1 - np.abs(mean), p.variance.numpy(), atol=0.05)
    np.testing.assert_allclose(np.angle(mean * np.exp(-1j * p.loc.numpy())), 0, atol=0.15)


@pytest.mark.parametrize(
    "case", ["Normal", "Gamma", "Beta", "Categorical", "Binomial", "VonMises", "LogNormal", "Wishart"]
)
def test_seeds_and_generators(case: str) -> None:
    p, _ = _made(case)
    hs.manual_seed(7)
    first, second = p.sample((2,)).tolist(), p.sample((2,)).tolist()
    hs.manual_seed(7)
    assert p.sample((2,)).tolist() == first
    assert first != second
    hs.manual_seed(8)
    generator = hs.Generator().manual_seed(7)
    assert p.sample((2,), generator=generator).tolist() == first
    assert p.sample((2,), generator=generator).tolist() == second


@pytest.mark.parametrize("case", WITH_NOISE)
def test_gradients_of_samples(case: str) -> None:
    """Against finite differences of the same noise."""
    p, floats = _made(case)
    weight = np.random.default_rng(2).normal(size=(3, *p.batch_shape, *p.event_shape))

    def total(q: Any) -> Any:
        hs.manual_seed(21)
        return (q.rsample((3,)) * hs.tensor(weight)).sum()

    total(p).backward()
    rng = np.random.default_rng(4)
    steps = [rng.normal(size=tuple(f.shape)) for f in floats]
    if case == "MultivariateNormal":
        steps[1] = steps[1] + steps[1].T
    elif case.endswith("scale_tril"):
        steps[1] = np.tril(steps[1])
    elif case == "GeneralizedPareto":
        steps[2][1] = 0  # at a concentration of 0 the other formula begins
    elif case == "ExpRelaxedCategorical":
        steps[1] = steps[1] - steps[1].mean(-1, keepdims=True)
    slope = sum((f.grad.numpy() * s).sum() for f, s in zip(floats, steps, strict=True) if f.grad is not None)

    def at(h: float) -> float:
        moved = iter([hs.tensor(f.detach().numpy() + h * s) for f, s in zip(floats, steps, strict=True)])
        q, _ = made(D, lambda a: next(moved), case)
        return float(total(q).item())

    h = 1e-6
    np.testing.assert_allclose(slope, (at(h) - at(-h)) / (2 * h), 1e-4, 1e-5)


def _parts(x: Any) -> Any:
    return torch.tensor(np.asarray(x, np.float64))


def test_how_gammas_move() -> None:
    rng = np.random.default_rng(1)
    a = np.array([0.01, 0.1, 0.5, 1.0, 2.0, 7.0, 50.0, 1e3, 2e4])[:, None]
    x = np.maximum(rng.standard_gamma(np.broadcast_to(a, (9, 40))), 1e-30)
    a = np.broadcast_to(a, x.shape)
    found = gamma_slope.reference(a, x, torch.digamma(_parts(a)).numpy())
    np.testing.assert_allclose(found, torch._standard_gamma_grad(_parts(a), _parts(x)).numpy(), 5e-3, 1e-12)
    # The share below stays the same, but for what rounding makes of a difference of shares.
    plain = (a > 0.3) & (a < 20)
    p, q, h = a[plain], x[plain], 1e-5
    density = np.exp((p - 1) * np.log(q) - q - torch.lgamma(_parts(p)).numpy())
    share = [hs.igamma(hs.tensor(p + s), hs.tensor(q)).numpy() for s in (h, -h)]
    np.testing.assert_allclose(found[plain], -(share[0] - share[1]) / (2 * h) / density, 2e-5, 1e-7)
    # Beyond 1e5 an expansion takes over.
    a = np.array([0.999e5, 1.001e5])
    edge = gamma_slope.reference(a, a + 300.0, torch.digamma(_parts(a)).numpy())
    np.testing.assert_allclose(edge[0], edge[1], 1e-5)


def test_how_betas_move() -> None:
    rng = np.random.default_rng(2)
    a, b = (rng.uniform(0.05, 30, 400) ** s for s in (1, 1.2))
    x = np.clip(rng.beta(a, b), 1e-8, 1 - 1e-8)
    psi = (torch.digamma(_parts(a)) - torch.digamma(_parts(a + b))).numpy()
    found = beta_slope.reference(a, b, x, psi)
    theirs = torch._dirichlet_grad(_parts(x), _parts(a), _parts(a + b)).numpy()
    np.testing.assert_allclose(found, theirs, 5e-3, 1e-10)  # theirs are approximations
    assert np.median(np.abs(found / theirs - 1)) < 1e-3
    # x^a is evenly distributed where b is 1: x moves by -x log(x) / a.
    one = beta_slope.reference(a, np.ones(400), x, (torch.digamma(_parts(a)) - torch.digamma(_parts(a + 1))).numpy())
    np.testing.assert_allclose(one * (1 - x), -x * np.log(x) / a, 1e-9)


@pytest.mark.parametrize(
    ("build", "mean"),
    [
        (lambda a: D.Gamma(a, 2.0), lambda a: a / 2),
        (lambda a: D.Chi2(a), lambda a: a),
        (lambda a: D.Beta(a, 1.5), lambda a: a / (a + 1.5)),
        (lambda a: D.FisherSnedecor(3.0, a + 6), lambda a: (a + 6) / (a + 4)),
        (lambda a: D.InverseGamma(a + 3, 2.0), lambda a: 2 / (a + 2)),
    ],
    ids=["Gamma", "Chi2", "Beta", "FisherSnedecor", "InverseGamma"],
)
def test_means_of_implicit_gradients(build: Any, mean: Any) -> None:
    hs.manual_seed(31)
    a = ours(np.full((COUNT, 2), [0.6, 3.0]), True)
    build(a).rsample().sum().backward()
    at = ours(np.array([0.6, 3.0]), True)
    mean(at).sum().backward()
    slopes = a.grad.numpy()
    assert (np.abs(slopes.mean(0) - at.grad.numpy()) <= 5 * slopes.std(0) / math.sqrt(COUNT)).all()


def test_dirichlets_and_students_and_wisharts_move() -> None:
    hs.manual_seed(32)
    c = ours(np.tile([0.7, 2.0, 1.3], (COUNT, 1)), True)
    weight = np.array([1.0, -2.0, 0.5])
    (D.Dirichlet(c).rsample() * hs.tensor(weight)).sum().backward()
    total = 4.0
    share = np.array([0.7, 2.0, 1.3]) / total
    slopes = c.grad.numpy()
    expected = (weight - (weight * share).sum()) / total
    assert (np.abs(slopes.mean(0) - expected) <= 5 * slopes.std(0) / math.sqrt(COUNT)).all()
    df, loc = ours(np.full(COUNT, 5.0), True), ours(np.zeros(COUNT), True)
    (D.StudentT(df, loc, 1.0).rsample() ** 2).sum().backward()
    slopes = df.grad.numpy()  # the variance is df / (df - 2)
    assert abs(slopes.mean() - -2 / 9) <= 5 * slopes.std() / math.sqrt(COUNT)
    scale = ours(np.eye(2), True)
    D.Wishart(ours(np.array(4.0)), scale_tril=scale).rsample((COUNT,)).mean(0).trace().backward()
    np.testing.assert_allclose(np.diag(scale.grad.numpy()), 8.0, rtol=0.1)  # df trace(L L^T)


def test_gradients_go_once() -> None:
    a = ours(np.array([1.5]), True)
    (g,) = hs.autograd.grad(D.Gamma(a, 1.0).rsample().sum(), a, create_graph=True)
    with pytest.raises(GradientError):
        hs.autograd.grad(g.sum(), a)


def test_no_gradient_where_there_is_none() -> None:
    with pytest.raises(NotImplementedError, match="Poisson does not implement rsample"):
        D.Poisson(1.0).rsample()
    x = D.OneHotCategoricalStraightThrough(logits=ours(np.zeros((2, 3)), True)).rsample()
    assert x.requires_grad
    assert sorted(x[0].tolist()) == [0, 0, 1]


def test_classes_of_no_probability_do_not_come() -> None:
    hs.manual_seed(1)
    p = D.Categorical(hs.tensor([[0.0, 0.5, 0.0, 0.5, 0.0], [1.0, 0.0, 0.0, 0.0, 0.0]]))
    x = p.sample((COUNT,)).numpy()
    assert {*x[:, 0]} == {1, 3}
    assert {*x[:, 1]} == {0}


# --- distributions of others ------------------------------------------------------------------------------------------
def test_mixtures_against_the_peer() -> None:
    rng = np.random.default_rng(5)
    weights, loc, scale = rng.dirichlet(np.ones(3), 2), rng.normal(size=(2, 3)), rng.uniform(0.5, 2, (2, 3))
    x = rng.normal(size=(4, 2))

    def mixed(R: Any, t: Any) -> Any:
        return R.MixtureSameFamily(R.Categorical(t(weights)), R.Normal(t(loc), t(scale)))

    p, q = mixed(D, hs.tensor), mixed(torch.distributions, torch.tensor)
    for ask in (lambda d, v: d.log_prob(v), lambda d, v: d.cdf(v), lambda d, v: d.mean, lambda d, v: d.variance):
        np.testing.assert_allclose(ask(p, hs.tensor(x)).numpy(), ask(q, torch.tensor(x)).numpy(), 1e-9)
    drawn = p.sample((COUNT,)).numpy()
    assert (np.abs(drawn.mean(0) - q.mean.numpy()) < 5 * np.sqrt(q.variance.numpy() / COUNT)).all()
    assert tuple(p.expand((5, 2)).sample((3,)).shape) == (3, 5, 2)
    vectors = D.MixtureSameFamily(D.Categorical(hs.ones(3)), D.Independent(D.Normal(hs.zeros(3, 2), hs.ones(3, 2)), 1))
    assert tuple(vectors.sample((4,)).shape) == (4, 2)
    assert tuple(vectors.log_prob(hs.zeros(4, 2)).shape) == (4,)
    assert vectors.support.event_dim == 1
    with pytest.raises(ValueError, match="does not equal"):
        D.MixtureSameFamily(D.Categorical(hs.ones(2)), D.Normal(hs.zeros(3), hs.ones(3)))
    with pytest.raises(TypeError, match="Categorical"):
        D.MixtureSameFamily(D.Normal(0.0, 1.0), D.Normal(hs.zeros(3), hs.ones(3)))  # type: ignore[arg-type]


def test_transformed_and_independent_against_the_peer() -> None:
    loc, scale = np.random.default_rng(6).normal(size=(2, 3)), np.full((2, 3), 0.7)

    def logistic(R: Any, t: Any) -> Any:
        base = R.Uniform(t(np.zeros((2, 3))), t(np.ones((2, 3))))
        return R.TransformedDistribution(base, [R.SigmoidTransform().inv, R.AffineTransform(t(loc), t(-scale))])

    p, q = logistic(D, hs.tensor), logistic(torch.distributions, torch.tensor)
    x, share = np.random.default_rng(7).normal(size=(4, 2, 3)), np.full((2, 3), 0.2)
    np.testing.assert_allclose(p.log_prob(hs.tensor(x)).numpy(), q.log_prob(torch.tensor(x)).numpy(), 1e-9)
    np.testing.assert_allclose(p.cdf(hs.tensor(x)).numpy(), q.cdf(torch.tensor(x)).numpy(), 1e-9)
    np.testing.assert_allclose(p.icdf(hs.tensor(share)).numpy(), q.icdf(torch.tensor(share)).numpy(), 1e-9)
    rows = D.TransformedDistribution(D.Normal(hs.zeros(2, 3), hs.ones(2, 3)), D.StickBreakingTransform())
    assert (tuple(rows.batch_shape), tuple(rows.event_shape)) == ((2,), (4,))
    assert rows.support.check(rows.sample((5,))).all()
    both = D.Independent(D.Normal(hs.tensor(loc), hs.tensor(scale)), 2)
    assert both.log_prob(hs.tensor(x)).shape == (4,)
    assert both.entropy().shape == ()
    peer = torch.distributions.Independent(torch.distributions.Normal(torch.tensor(loc), torch.tensor(scale)), 2)
    np.testing.assert_allclose(both.log_prob(hs.tensor(x)).numpy(), peer.log_prob(torch.tensor(x)).numpy(), 1e-9)
    with pytest.raises(TypeError, match="list of Transforms"):
        D.TransformedDistribution(D.Normal(0.0, 1.0), [1])
    with pytest.raises(ValueError, match="size at least 1"):
        D.TransformedDistribution(D.Normal(0.0, 1.0), D.StickBreakingTransform())
