"""All distributions against PyTorch's: densities and their gradients, moments, entropies, cdf and icdf, shapes."""

from __future__ import annotations

import inspect
import math
from collections.abc import Iterator
from typing import Any, ClassVar

import numpy as np
import pytest

import heliostat as hs
from distributions.table import TABLE, made
from heliostat import distributions as D
from heliostat.diagnostics import ConstraintError
from tensor.compare import ours, same, theirs

torch = pytest.importorskip("torch")
T = torch.distributions
LOOSE = {"VonMises": 1e-6}  # PyTorch's Bessel functions are polynomials of float32
# What PyTorch gets wrong, so that NumPy decides (below).
OTHERWISE = {("Kumaraswamy", "mode")}


ROOMS = {"LogitRelaxedBernoulli": "relaxed_bernoulli", "ExpRelaxedCategorical": "relaxed_categorical"}


@pytest.fixture(autouse=True)
def doubles() -> Iterator[None]:
    """PyTorch's distributions make constants of the default dtype."""
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


def _peer(case: str, seed: int = 0) -> tuple[Any, list[Any]]:
    room = getattr(T, ROOMS[case]) if case in ROOMS else T
    return made(room, lambda a: theirs(a, True), case, seed)


def _ours(case: str, seed: int = 0) -> tuple[Any, list[Any]]:
    return made(D, lambda a: ours(a, True), case, seed)


def _values(peer: Any, count: int = 3) -> Any:
    torch.manual_seed(5)
    return peer.sample((count,)).detach().numpy()


def test_names() -> None:
    for room, peer in ((D, T), (D.constraints, T.constraints), (D.transforms, T.transforms), (D.kl, T.kl)):
        assert [n for n in peer.__all__ if not hasattr(room, n)] == []
    assert {TABLE[case][0] for case in TABLE} | {"Independent", "MixtureSameFamily", "TransformedDistribution"} >= {
        n for n in D.__all__ if isinstance(getattr(D, n), type) and issubclass(getattr(D, n), D.Distribution)
    } - {"Distribution", "ExponentialFamily"}


def _signature(f: Any) -> list[tuple[str, Any]]:
    return [(p.name, p.default) for p in inspect.signature(f).parameters.values()]


def test_signatures() -> None:
    for room, peer in ((D, T), (D.transforms, T.transforms)):
        for name in peer.__all__:
            ours_, theirs_ = getattr(room, name), getattr(peer, name)
            if isinstance(theirs_, type):
                assert _signature(ours_) == _signature(theirs_), name
                public = {n for n in dir(theirs_) if not n.startswith("_")}
                assert public <= {*dir(ours_)}, name


@pytest.mark.parametrize("case", TABLE)
def test_log_prob_and_its_gradients(case: str) -> None:
    (p, own), (q, others) = _ours(case), _peer(case)
    value = _values(q)
    found, expected = p.log_prob(hs.tensor(value)), q.log_prob(torch.tensor(value))
    rtol = LOOSE.get(case, 1e-8)
    same(found, expected, rtol)
    weight = np.random.default_rng(3).normal(size=expected.shape)
    (found * hs.tensor(weight)).sum().backward()
    (expected * torch.tensor(weight)).sum().backward()
    for a, b in zip(own, others, strict=True):
        if b.grad is not None:
            grad = np.zeros(b.shape) if a.grad is None else a.grad.numpy()
            np.testing.assert_allclose(grad, b.grad.numpy(), rtol * 10, rtol * 10)


@pytest.mark.parametrize("case", TABLE)
def test_moments_and_entropy(case: str) -> None:
    (p, _), (q, _) = _ours(case), _peer(case)
    assert tuple(p.batch_shape) == tuple(q.batch_shape)
    assert tuple(p.event_shape) == tuple(q.event_shape)
    assert p.has_rsample == (q.has_rsample or case == "LogitRelaxedBernoulli")  # theirs has it all the same
    assert p.has_enumerate_support == q.has_enumerate_support
    for a, b in ((p.arg_constraints, q.arg_constraints), ({"support": p.support}, {"support": q.support})):
        assert {k: repr(c).split("(")[0] for k, c in a.items()} == {k: repr(c).split("(")[0] for k, c in b.items()}
    assert p.support.event_dim == q.support.event_dim
    assert p.support.is_discrete == q.support.is_discrete
    for what in ("mean", "mode", "variance", "stddev", "entropy", "perplexity"):
        if (case, what) in OTHERWISE:
            continue
        try:
            expected = getattr(q, what)
            expected = expected() if callable(expected) else expected
        except NotImplementedError:
            with pytest.raises(NotImplementedError, match=p.__class__.__name__):
                _ = getattr(p, what)() if what in ("entropy", "perplexity") else getattr(p, what)
            continue
        found = getattr(p, what)
        same(found() if callable(found) else found, expected, LOOSE.get(case, 1e-8), what)


@pytest.mark.parametrize("case", TABLE)
def test_cdf_and_icdf(case: str) -> None:
    (p, _), (q, _) = _ours(case), _peer(case)
    value = _values(q)
    try:
        expected = q.cdf(torch.tensor(value))
    except NotImplementedError:
        with pytest.raises(NotImplementedError, match=r"cdf|sign|inverse"):
            p.cdf(hs.tensor(value))
        return
    same(p.cdf(hs.tensor(value)), expected, 1e-8)
    try:
        q.icdf(expected)
    except NotImplementedError:
        with pytest.raises(NotImplementedError, match="icdf"):
            p.icdf(hs.tensor(value))
        return
    share = np.random.default_rng(1).uniform(0.01, 0.99, expected.shape)
    same(p.icdf(hs.tensor(share)), q.icdf(torch.tensor(share)), 1e-7)
    np.testing.assert_allclose(p.cdf(p.icdf(hs.tensor(share))).detach().numpy(), share, 1e-7, 1e-9)


@pytest.mark.parametrize("case", TABLE)
def test_expand(case: str) -> None:
    p, _ = _ours(case)
    q, _ = _peer(case)
    value = _values(q, 2)
    wide, peer = p.expand((2, *p.batch_shape)), q.expand((2, *q.batch_shape))
    assert tuple(wide.batch_shape) == tuple(peer.batch_shape)
    assert tuple(wide.event_shape) == tuple(peer.event_shape)
    np.testing.assert_allclose(wide.log_prob(hs.tensor(value)).detach(), p.log_prob(hs.tensor(value)).detach(), 1e-12)
    assert tuple(wide.sample((3,)).shape) == (3, 2, *p.batch_shape, *p.event_shape)
    for what in ("mean", "variance"):
        try:
            found = getattr(wide, what)
        except NotImplementedError:
            continue
        assert tuple(found.shape) == (2, *p.batch_shape, *p.event_shape), what


@pytest.mark.parametrize("case", [c for c in TABLE if getattr(D, TABLE[c][0]).has_enumerate_support is True])
@pytest.mark.parametrize("expand", [True, False])
def test_enumerate_support(case: str, expand: bool) -> None:
    (p, _), (q, _) = _ours(case), _peer(case)
    same(p.enumerate_support(expand), q.enumerate_support(expand))
    total = p.log_prob(p.enumerate_support()).exp().sum(0)
    np.testing.assert_allclose(total.detach().numpy(), 1, 1e-9)


# --- what PyTorch has otherwise ---------------------------------------------------------------------------------------
def test_kumaraswamy_mode() -> None:
    p = D.Kumaraswamy(hs.tensor([2.0, 3.0, 0.5]), hs.tensor([3.0, 1.5, 2.0]))
    x = hs.linspace(0.001, 0.999, 4001).unsqueeze(-1)
    best = x[:, 0].numpy()[p.log_prob(x).numpy().argmax(0)]
    np.testing.assert_allclose(p.mode.numpy()[:2], best[:2], atol=1e-3)
    assert math.isnan(p.mode[2].item())


def test_an_expanded_multinomial_has_an_entropy() -> None:
    p = D.Multinomial(3, hs.tensor([[0.2, 0.8]]))
    np.testing.assert_allclose(p.expand((2, 1)).entropy().numpy(), np.full((2, 1), p.entropy().item()), 1e-6)


def test_counts_with_a_number_of_probability() -> None:
    assert D.Binomial(hs.tensor([3, 4]), 0.25).mean.tolist() == [0.75, 1.0]
    assert D.NegativeBinomial(hs.tensor([3.0], dtype=hs.float64), probs=0.5).probs.dtype == hs.float64


# --- errors -----------------------------------------------------------------------------------------------------------
def test_a_parameter_outside_of_its_constraint() -> None:
    with pytest.raises(ConstraintError, match="Expected parameter scale") as caught:
        D.Normal(hs.zeros(2), hs.tensor([1.0, -1.0]))
    assert isinstance(caught.value, ValueError)
    assert caught.value.parameter == "scale"
    assert caught.value.constraint == "GreaterThan(lower_bound=0.0)"
    assert caught.value.value.tolist() == [1.0, -1.0]
    assert "-1." in str(caught.value)
    D.Normal(hs.zeros(2), hs.tensor([1.0, -1.0]), validate_args=False)


@pytest.mark.parametrize(
    ("build", "name"),
    [
        (lambda: D.Bernoulli(1.5), "probs"),
        (lambda: D.ContinuousBernoulli(-0.5), "probs"),
        (lambda: D.Geometric(0.0), "probs"),
        (lambda: D.Binomial(-1, 0.5), "total_count"),
        (lambda: D.Gamma(1.0, -1.0), "rate"),
        (lambda: D.Beta(-1.0, 1.0), "concentration1"),
        (lambda: D.Categorical(hs.tensor([0.5, -0.5, 1.0])), "probs"),
        (lambda: D.Dirichlet(hs.tensor([1.0, 0.0])), "concentration"),
        (lambda: D.StudentT(-1.0), "df"),
        (lambda: D.LogNormal(0.0, 0.0), "scale"),
        (lambda: D.Pareto(1.0, 0.0), "alpha"),
        (lambda: D.Weibull(1.0, -1.0), "concentration"),
        (lambda: D.Normal(float("nan"), 1.0), "loc"),
        (lambda: D.MultivariateNormal(hs.zeros(2), hs.tensor([[1.0, 2.0], [2.0, 1.0]])), "covariance_matrix"),
        (lambda: D.MultivariateNormal(hs.zeros(2), scale_tril=hs.ones(2, 2)), "scale_tril"),
        (lambda: D.Wishart(0.5, hs.eye(2)), "df"),
        (lambda: D.LKJCholesky(3, -1.0), "concentration"),
        (lambda: D.RelaxedBernoulli(1.0, probs=2.0), "probs"),
        (lambda: D.Poisson(-1.0), "rate"),
        (lambda: D.Uniform(1.0, hs.tensor([2.0, 0.5])), "low"),
    ],
)
def test_parameters_are_checked_by_name(build: Any, name: str) -> None:
    with pytest.raises(ConstraintError) as caught:
        build()
    assert caught.value.parameter == name


def test_a_value_outside_of_the_support() -> None:
    with pytest.raises(ConstraintError, match=r"within the support .*GreaterThanEq.* of the distribution Exponential"):
        D.Exponential(hs.ones(2)).log_prob(hs.tensor([1.0, -1.0]))
    with pytest.raises(ConstraintError, match="within the support"):
        D.Uniform(0.0, 1.0).cdf(hs.tensor(2.0))
    with pytest.raises(ValueError, match="not broadcastable"):
        D.Normal(hs.zeros(2), hs.ones(2)).log_prob(hs.zeros(3))
    with pytest.raises(ValueError, match="event_shape"):
        D.Dirichlet(hs.ones(3)).log_prob(hs.ones(2) / 2)
    with pytest.raises(TypeError, match="must be a Tensor"):
        D.Normal(0.0, 1.0).log_prob(0.5)
    assert D.Exponential(1.0, validate_args=False).log_prob(hs.tensor(-1.0)).item() == 1.0


def test_the_default_of_checks() -> None:
    try:
        D.Distribution.set_default_validate_args(False)
        D.Normal(0.0, -1.0)
    finally:
        D.Distribution.set_default_validate_args(True)
    with pytest.raises(ValueError, match="True or False"):
        D.Distribution.set_default_validate_args("yes")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("build", "match"),
    [
        (lambda: D.Bernoulli(), "not both"),
        (lambda: D.Categorical(hs.ones(2), hs.ones(2)), "not both"),
        (lambda: D.Categorical(hs.tensor(1.0)), "one-dimensional"),
        (lambda: D.MultivariateNormal(hs.zeros(2)), "Exactly one"),
        (lambda: D.MultivariateNormal(hs.zeros(2), hs.ones(2)), "covariance_matrix must be at least"),
        (lambda: D.LKJCholesky(1), "Found dim=1"),
        (lambda: D.Independent(D.Normal(0.0, 1.0), 1), "reinterpreted_batch_ndims"),
        (lambda: D.Multinomial(hs.ones(2), hs.ones(2)), "inhomogeneous"),
        (lambda: D.LowRankMultivariateNormal(hs.zeros(2), hs.zeros(3, 1), hs.ones(2)), "2 x m"),
    ],
)
def test_what_does_not_go_together(build: Any, match: str) -> None:
    with pytest.raises((ValueError, NotImplementedError), match=match):
        build()


def test_a_subclass_that_cannot_be_expanded_says_so() -> None:
    class Centered(D.Normal):
        def __init__(self, scale: Any) -> None:
            super().__init__(0.0, scale)

    with pytest.raises(NotImplementedError, match="must also define a custom"):
        Centered(1.0).expand((2,))

    class Own(D.Distribution):
        arg_constraints: ClassVar[Any] = {}

    class Silent(D.Distribution):
        pass

    with pytest.warns(UserWarning, match="does not define `arg_constraints`"):
        assert repr(Silent()) == "Silent()"
    with pytest.warns(UserWarning, match="does not define `support`"):
        Own()._validate_sample(hs.tensor(1.0))
    for ask in (lambda: Own().expand((2,)), lambda: Own().sample(), lambda: Own().mean, lambda: Own().entropy()):
        with pytest.raises(NotImplementedError, match="Own does not implement"):
            ask()


def test_series_of_the_continuous_bernoulli() -> None:
    probs, value = np.array([0.42, 0.47, 0.57]), np.array([0.2, 0.9, 0.5])
    p = D.ContinuousBernoulli(hs.tensor(probs), lims=(0.4, 0.6))
    q = T.ContinuousBernoulli(torch.tensor(probs), lims=(0.4, 0.6))
    for ask in (lambda d, v: d.log_prob(v), lambda d, v: d.mean, lambda d, v: d.variance, lambda d, v: d.entropy()):
        same(ask(p, hs.tensor(value)), ask(q, torch.tensor(value)), 1e-12)
    natural = hs.tensor(probs - 0.5)
    same(p._log_normalizer(natural), q._log_normalizer(torch.tensor(probs - 0.5)), 1e-12)


def test_a_subclass_as_users_write_it() -> None:
    class Doubled(D.Distribution):
        arg_constraints: ClassVar[Any] = {"loc": D.constraints.real}
        support = D.constraints.real
        has_rsample = True

        def __init__(self, loc: Any, validate_args: bool | None = None) -> None:
            self.loc = loc
            super().__init__(loc.shape, validate_args=validate_args)

        def expand(self, batch_shape: Any, _instance: Any = None) -> Any:
            new = self._get_checked_instance(Doubled, _instance)
            new.loc = self.loc.expand(batch_shape)
            super(Doubled, new).__init__(batch_shape, validate_args=False)
            new._validate_args = self._validate_args
            return new

        def rsample(self, sample_shape: Any = hs.Size()) -> Any:  # no generator
            return self.loc + 2 * hs.randn(*self._extended_shape(sample_shape))

        def log_prob(self, value: Any) -> Any:
            if self._validate_args:
                self._validate_sample(value)
            return D.Normal(self.loc, 2.0).log_prob(value)

    p = Doubled(hs.zeros(3)).expand((2, 3))
    wide = D.Independent(D.TransformedDistribution(p, D.ExpTransform()), 1)
    assert tuple(wide.sample((4,)).shape) == (4, 2, 3)
    expected = D.Independent(D.LogNormal(hs.zeros(2, 3), 2.0), 1).log_prob(hs.ones(2, 3))
    np.testing.assert_allclose(wide.log_prob(hs.ones(2, 3)).numpy(), expected.numpy(), 1e-6)
    with pytest.raises(ConstraintError, match="parameter loc"):
        Doubled(hs.tensor([float("nan")]))


def test_repr() -> None:
    for p, peer in ((D.Normal(0.0, 1.5), T.Normal(0.0, 1.5)), (D.Binomial(3, 0.5), T.Binomial(3, 0.5))):
        assert repr(p) == repr(peer)
    assert "concentration: Size([3])" in repr(D.Dirichlet(hs.ones(3)))
    assert repr(D.Independent(D.Normal(hs.zeros(2), hs.ones(2)), 1)).startswith("Independent(Normal(")
