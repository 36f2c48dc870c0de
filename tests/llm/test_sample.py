"""Samplers against a plain float64 reference, frequencies with fixed seeds, faults."""

from __future__ import annotations

import math
import pickle
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from heliostat.llm.sample import Sampler, SamplingError, largest


def reference(logits: np.ndarray, history: list[int], **options: Any) -> np.ndarray:
    """The distribution that the sampler draws from, (V,) float64, written down step by step."""
    row = logits.astype(np.float64)
    penalty, window = options.get("repetition_penalty", 1.0), options.get("repetition_window", 64)
    recent = history if window < 0 else history[max(len(history) - window, 0) :]
    for token in set(recent):
        row[token] = row[token] / penalty if row[token] > 0 else row[token] * penalty
    order = np.lexsort((np.arange(len(row)), -row))
    if options.get("top_k", 0) > 0:
        order = order[: options["top_k"]]
    weights = np.exp(row[order] - row[order[0]])
    if options.get("top_p", 1.0) < 1.0:
        before = np.cumsum(weights) - weights
        order = order[before < options["top_p"] * weights.sum()]
    floor = row[order[0]] + (math.log(options["min_p"]) if options.get("min_p", 0.0) > 0 else -math.inf)
    order = order[row[order] >= floor]
    out = np.zeros(len(row))
    out[order] = np.exp((row[order] - row[order[0]]) / options["temperature"])
    return out / out.sum()


CASES: list[dict[str, Any]] = [
    {"temperature": 1.0},
    {"temperature": 0.7},
    {"temperature": 1.3, "top_k": 5},
    {"temperature": 1.0, "top_k": 1},
    {"temperature": 1.0, "top_k": 1000},
    {"temperature": 0.9, "top_p": 0.8},
    {"temperature": 1.0, "top_p": 0.001},
    {"temperature": 1.0, "min_p": 0.1},
    {"temperature": 1.0, "min_p": 1.0},
    {"temperature": 1.5, "top_k": 20, "top_p": 0.9, "min_p": 0.05},
    {"temperature": 1.0, "repetition_penalty": 1.5},
    {"temperature": 1.0, "repetition_penalty": 1.5, "repetition_window": 2},
    {"temperature": 0.8, "top_k": 10, "top_p": 0.9, "repetition_penalty": 1.3, "repetition_window": -1},
]


@pytest.mark.parametrize("options", CASES, ids=str)
def test_frequencies(options: dict[str, Any]) -> None:
    """4000 draws: every frequency within five standard deviations of the reference, nothing outside of its support."""
    logits = np.random.default_rng(5).normal(0, 2, 40).astype(np.float32)
    history = [*np.argsort(-logits)[:6].tolist(), 3, 4]
    expected = reference(logits, history, **options)
    sampler = Sampler(**options, seed=11)
    draws = 4000
    counts = np.bincount([sampler.sample(logits, history).token for _ in range(draws)], minlength=40)
    assert not counts[expected == 0].any()
    assert (np.abs(counts - draws * expected) <= 5 * np.sqrt(draws * expected * (1 - expected)) + 1).all()


@settings(max_examples=200, deadline=None)
@given(data=st.data())
def test_support(data: st.DataObject) -> None:
    """Ties, forbidden tokens and every combination of options: the kept tokens are the reference's."""
    size = data.draw(st.integers(1, 700))
    values = data.draw(st.sampled_from([3, 30, 10**6]))
    rng = np.random.default_rng(data.draw(st.integers(0, 99)))
    logits = (rng.integers(-values, values, size) / values * 8).astype(np.float32)
    logits[rng.random(size) < data.draw(st.sampled_from([0, 0.5]))] = -np.inf
    logits[rng.integers(size)] = 9.0
    options = {
        "temperature": 1.0,
        "top_k": data.draw(st.sampled_from([0, 1, 2, 7, size, size + 1])),
        "top_p": data.draw(st.sampled_from([1.0, 0.9, 0.123])),
        "min_p": data.draw(st.sampled_from([0.0, 0.01, 0.3])),
    }
    sampler = Sampler(**options, seed=data.draw(st.integers(0, 99)))
    expected = reference(logits, [], **options)
    for _ in range(5):
        assert expected[sampler.sample(logits).token] > 0
    tokens, kept = sampler._candidates(logits)
    if options["min_p"] == 0.0 and size > 1 and np.isfinite(kept).all():
        assert set(tokens.tolist()) == set(np.flatnonzero(expected).tolist())


def test_wide_rows() -> None:
    """A vocabulary of usual size, flat enough that top-p needs more than its first look."""
    logits = np.random.default_rng(3).normal(0, 3, 151_936).astype(np.float32)
    logits[::7] = logits[0]
    for options in ({"top_p": 0.9}, {"top_p": 0.3}, {"top_k": 40}, {"top_k": 5000, "top_p": 0.5}):
        tokens, _ = Sampler(1.0, **options)._candidates(logits)
        expected = np.flatnonzero(reference(logits, [], temperature=1.0, **options))
        assert abs(len(tokens) - len(expected)) <= 2, "float32 sums may move the edge by a token"
        assert len(np.setxor1d(tokens, expected)) <= 2


@pytest.mark.parametrize("size", [9, 5000])
def test_of_equals_at_the_edge_those_of_lower_ids_stay(size: int) -> None:
    """In either of the ways in which the nucleus is found."""
    logits = np.zeros(size, np.float32)
    logits[size // 3] = 1.0
    tokens, _ = Sampler(1.0, top_p=0.5)._candidates(logits)
    assert size // 3 in tokens
    others = np.delete(np.arange(size), size // 3)[: len(tokens) - 1]
    assert sorted(tokens) == sorted([size // 3, *others])
    assert abs(len(tokens) - size / 2) <= 2


@given(st.lists(st.integers(-3, 3), min_size=1, max_size=600), st.integers(1, 700))
def test_largest(values: list[int], k: int) -> None:
    row = np.array(values, np.float32)
    tokens, kept = largest(row, k)
    assert tokens.tolist() == sorted(range(len(row)), key=lambda token: (-row[token], token))[:k]
    assert kept.tolist() == row[tokens].tolist()


def test_greedy_and_its_probability() -> None:
    logits = np.array([1.0, 3.0, 3.0, -np.inf], np.float32)
    token, logprob = Sampler().sample(logits)
    assert token == 1, "of equals the lowest id"
    assert logprob == pytest.approx(3 - math.log(math.exp(1) + 2 * math.exp(3)), abs=1e-6)
    assert Sampler(repetition_penalty=2.0).sample(logits, [1]).token == 2
    assert Sampler(repetition_penalty=2.0).sample(logits, [1, 2]).token == 1
    assert Sampler(repetition_penalty=2.0, repetition_window=1).sample(logits, [1, 2]).token == 1
    assert Sampler(repetition_penalty=2.0, repetition_window=0).sample(logits, [1, 2]).token == 1
    assert Sampler(repetition_penalty=2.0).sample(np.array([-1.0, -1.5], np.float32), [0]).token == 1


def test_probability_is_the_models_own() -> None:
    logits = np.random.default_rng(1).normal(0, 2, 1000).astype(np.float32)
    exact = logits.astype(np.float64) - np.log(np.exp(logits.astype(np.float64)).sum())
    for options in CASES:
        token, logprob = Sampler(**options, seed=3).sample(logits, [1, 2, 3])
        assert logprob == pytest.approx(exact[token], abs=1e-5)


def test_seeds() -> None:
    logits = np.random.default_rng(1).normal(0, 1, 500).astype(np.float32)

    def draw(seed: int | None) -> list[int]:
        sampler = Sampler(1.0, top_k=100, seed=seed)
        again = Sampler(1.0, top_k=100, seed=sampler.seed)
        tokens = [sampler.sample(logits).token for _ in range(20)]
        assert tokens == [again.sample(logits).token for _ in range(20)]
        return tokens

    assert draw(1) == draw(1) != draw(2)
    assert draw(None) != draw(None)
    assert draw(7)[:6] == [draw(7)[i] for i in range(6)]


def test_other_inputs() -> None:
    assert Sampler().sample([0.0, 2.0, 1.0]).token == 1
    assert Sampler().sample(np.array([0, 2, 1], np.float16)).token == 1
    row = np.array([0.0, 2.0, 1.0], np.float32)
    row.setflags(write=False)
    assert Sampler(1.0, repetition_penalty=1.2, seed=1).sample(row, np.array([1])).token in (0, 1, 2)
    extreme = np.array([-1e30, 1e30, 0], np.float32)
    assert Sampler(0.01, seed=1).sample(extreme) == (1, 0.0)
    assert Sampler(1e-30, seed=1).sample(row).token == 1
    assert Sampler(1e30, seed=1).sample(row).token in (0, 1, 2)


@pytest.mark.parametrize(
    ("logits", "message"),
    [
        ([1.0, math.nan, 2.0], r"NaN \(first at token 1\): the weights or the cache are damaged"),
        ([1.0, math.inf], r"\+inf \(first at token 1\)"),
        ([-math.inf, -math.inf], "every logit is -inf"),
        ([], "have shape"),
        ([[1.0]], "have shape"),
    ],
)
@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_damaged_logits(logits: Any, message: str, temperature: float) -> None:
    with pytest.raises(SamplingError, match=message):
        Sampler(temperature, seed=1).sample(np.array(logits, np.float32))


@pytest.mark.parametrize("history", [[-1], [3]])
def test_strange_history(history: list[int]) -> None:
    with pytest.raises(SamplingError, match="outside of the 3 logits"):
        Sampler(repetition_penalty=1.1).sample([0.0, 1.0, 2.0], history)


@pytest.mark.parametrize(
    "options",
    [
        {"temperature": -0.1}, {"temperature": math.nan}, {"temperature": math.inf}, {"temperature": "hot"},
        {"temperature": True}, {"top_k": -1}, {"top_k": 2.5}, {"top_p": 0.0}, {"top_p": 1.1}, {"min_p": -0.1},
        {"min_p": 1.5}, {"repetition_penalty": 0.0}, {"repetition_penalty": math.nan}, {"repetition_window": -2},
        {"seed": -1}, {"seed": 1.0}, {"seed": True},
    ],
    ids=str,
)  # fmt: skip
def test_parameters(options: dict[str, Any]) -> None:
    with pytest.raises(SamplingError, match=f"^{next(iter(options))} must be") as caught:
        Sampler(**options)
    assert isinstance(caught.value, ValueError)
    assert str(pickle.loads(pickle.dumps(caught.value))) == str(caught.value)
