"""What is done without a program where numbers are few and known: as the program does it, draw for draw."""

from __future__ import annotations

import math
import warnings
from typing import Any

import numpy as np
import pytest

import heliostat as hs
from heliostat import distributions as D
from heliostat.distributions import categorical, constraint
from heliostat.tensor import lazy
from heliostat.tensor.random import Generator, uniform_array, uniform_value


def classes(*shape: int, logits: bool = False) -> Any:
    x = np.random.default_rng(3).standard_normal(shape).astype(np.float32)
    return hs.tensor(x, requires_grad=True) if logits else hs.tensor(np.exp(x), requires_grad=True)


@pytest.mark.parametrize("count", [1, 16, 17, 300])
def test_draws_are_those_of_programs(count: int) -> None:
    for seed in (0, 7, 2**40 + 5):
        a, b = (Generator().manual_seed(seed) for _ in range(2))
        for _ in range(2):  # draws go on
            expected = _of_value(uniform_value((count,), hs.float64, a))
            np.testing.assert_array_equal(uniform_array(count, b), expected)
        assert a.get_state().tolist() == b.get_state().tolist()


def _of_value(v: Any) -> Any:
    lazy.realize([v])
    return lazy.array_of(v)


@pytest.mark.parametrize("name", ["probs", "logits"])
@pytest.mark.parametrize("shape", [(5,), (3, 4), (2, 3, 7)])
@pytest.mark.parametrize("sample_shape", [(), (6,), (2, 3)])
def test_categories(monkeypatch: pytest.MonkeyPatch, name: str, shape: Any, sample_shape: Any) -> None:
    found = []
    for few in (4096, 0):
        for module in (categorical, constraint):
            monkeypatch.setattr(module, "FEW", few)
        x = classes(*shape, logits=name == "logits")
        hs.manual_seed(5)
        d = D.Categorical(**{name: x})
        drawn = d.sample(sample_shape)
        again = d.sample(sample_shape)
        scores = d.log_prob(drawn)
        (scores.sum() * 2 + d.log_prob(hs.tensor(1)).sum()).backward()
        assert (drawn.dtype, tuple(drawn.shape)) == (hs.int64, (*sample_shape, *shape[:-1]))
        found.append([t.detach().numpy() for t in (drawn, again, scores, x.grad)])
    for a, b in zip(*found, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-6)


def test_shares_of_many_draws() -> None:
    d = D.Categorical(hs.tensor([0.1, 0.0, 0.6, 0.3]))
    counts = np.bincount([d.sample().item() for _ in range(2000)], minlength=4) / 2000
    np.testing.assert_allclose(counts, [0.1, 0, 0.6, 0.3], atol=0.04)


def test_one_program_for_one_action(monkeypatch: pytest.MonkeyPatch) -> None:
    ran = []
    run = lazy._run
    monkeypatch.setattr(lazy, "_run", lambda roots: ran.append(1) or run(roots))
    x = hs.ones(1, 4) * 3.0
    d = D.Categorical(hs.softmax(x, -1))
    action = d.sample()
    d.log_prob(action)
    action.item()
    assert len(ran) == 1


def test_what_breaks_a_constraint_is_found() -> None:
    for probs in ([0.5, -0.5], [0.5, float("nan")]):
        with pytest.raises(ValueError, match="to satisfy the constraint"):
            D.Categorical(hs.tensor(probs) * 1.0)
    with pytest.raises(ValueError, match="within the support"):
        D.Categorical(hs.tensor([0.5, 0.5])).log_prob(hs.tensor(2))


def test_scores_of_what_is_no_class_warn_of_nothing() -> None:
    """Without a check NaN is read as the functions of tensors read it; NumPy has no say in that."""
    d = D.Categorical(hs.tensor([0.25, 0.75]), validate_args=False)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert d.log_prob(hs.tensor(math.nan)).shape == ()
