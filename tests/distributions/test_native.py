"""Distributions in compiled programs: float32, steps that are captured, vmap."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import heliostat as hs
from heliostat import distributions as D
from heliostat.diagnostics import ConstraintError
from heliostat.func import vmap
from targets.gpus import gpu

torch = pytest.importorskip("torch")


def test_float32() -> None:
    rng = np.random.default_rng(1)
    a, b = rng.uniform(0.5, 3, (2, 4)).astype(np.float32)
    x, share = rng.normal(size=4).astype(np.float32), rng.uniform(0.1, 0.9, 4).astype(np.float32)

    def scores(R: Any, t: Any) -> Any:
        return [
            R.Normal(t(x), t(a)).log_prob(t(b)), R.Gamma(t(a), t(b)).log_prob(t(a)), R.Beta(t(a), t(b)).entropy(),
            R.Bernoulli(t(share)).log_prob(t(np.ones(4, np.float32))), R.StudentT(t(a)).log_prob(t(x)),
        ]  # fmt: skip

    for found, expected in zip(scores(D, hs.tensor), scores(torch.distributions, torch.tensor), strict=True):
        np.testing.assert_allclose(found.numpy(), expected.numpy(), 2e-5, 2e-6)


def test_a_captured_step_draws_anew_and_does_not_look_at_values() -> None:
    loc = hs.zeros(3, requires_grad=True)

    @hs.compile
    def step(scale: Any) -> Any:
        q = D.Normal(loc, scale)
        z = q.rsample((64,))
        loss = (z - 1).pow(2).mean() + D.kl_divergence(q, D.Normal(0.0, 1.0)).sum() * 0.01
        loc.grad = None
        loss.backward()
        return loss, loc.grad, D.Categorical(logits=loc.detach()).sample((5,))

    first, second = step(hs.ones(3)), step(hs.ones(3))
    assert first[0].item() != second[0].item()
    np.testing.assert_allclose(first[1].numpy(), -2 / 3, atol=0.3)
    assert first[2].numpy().max() < 3
    step(-hs.ones(3))  # would be refused outside


SAMPLED = {
    "gamma": lambda a: D.Gamma(a, 2.0), "beta": lambda a: D.Beta(a, a), "dirichlet": lambda a: D.Dirichlet(a),
    "poisson": lambda a: D.Poisson(20 * a), "binomial": lambda a: D.Binomial(40, a / 4), "t": lambda a: D.StudentT(a),
    "von mises": lambda a: D.VonMises(a, a),
}  # fmt: skip


@pytest.mark.parametrize("make", SAMPLED.values(), ids=SAMPLED)
def test_rejection_is_part_of_compiled_functions_and_equal_on_gpus(make: Any) -> None:
    def draw(a: hs.Tensor) -> hs.Tensor:
        return make(a).sample((3,))

    a = hs.tensor([0.5, 1.5, 3.0])
    hs.manual_seed(3)
    expected = [draw(a).numpy() for _ in range(2)]
    assert (expected[0] != expected[1]).any()
    compiled = hs.compile(draw)
    hs.manual_seed(3)
    for wanted in expected:
        np.testing.assert_allclose(compiled(a).numpy(), wanted, 1e-5)
    with gpu("stand-in"):
        hs.manual_seed(3)
        x = draw(a.to("cuda"))
        assert str(x.device) == "cuda:0"
        np.testing.assert_allclose(x.cpu().numpy(), expected[0], 1e-5)


def test_on_a_gpu() -> None:
    with gpu("stand-in"):
        scale = hs.ones(3, device="cuda")
        p = D.HalfNormal(scale)  # whose mean is a number
        x = p.sample()
        assert str(x.device) == "cuda:0"
        expected = D.HalfNormal(hs.ones(3)).log_prob(x.cpu()).numpy()
        np.testing.assert_allclose(p.log_prob(x).cpu().numpy(), expected, 1e-5)
        with pytest.raises(ConstraintError):
            D.Normal(0.0, -scale)
        hs.manual_seed(1)
        D.Gamma(scale.requires_grad_(), 1.0).rsample().sum().backward()
        hs.manual_seed(1)
        there = hs.ones(3).requires_grad_()
        D.Gamma(there, 1.0).rsample().sum().backward()
        np.testing.assert_allclose(scale.grad.cpu(), there.grad, 1e-5)


def test_vmap() -> None:
    loc, x = hs.arange(3.0), hs.ones(3)
    found = vmap(lambda m, v: D.Normal(m, 2.0).log_prob(v))(loc, x)
    np.testing.assert_allclose(found.numpy(), D.Normal(loc, 2.0).log_prob(x).numpy(), 1e-6)
    drawn = vmap(lambda c: D.Gamma(c, 1.0).sample(), randomness="different")(hs.ones(2)).numpy()
    assert drawn[0] != drawn[1]
