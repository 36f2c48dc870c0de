"""Tokens drawn where the logits are, beside those that the sampler draws by the same random numbers."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pytest

from heliostat.llm.choice import STATES, chosen
from heliostat.llm.draw import FIELDS, LARGEST, Choice, Draws, choice_of, graph_of
from heliostat.llm.sample import Sampler
from heliostat.session import compile_graph

VOCABULARY = 2048 + 256

WAYS: list[dict[str, Any]] = [
    {},
    {"min_p": 0.05},
    {"top_k": 40},
    {"top_p": 0.9},
    {"top_k": 300, "top_p": 0.8, "min_p": 0.01},
    {"top_k": 1},
    {"top_k": LARGEST},
    {"top_p": 0.99999},
    {"top_k": 5000, "top_p": 0.5},
    {"top_p": 0.95, "min_p": 0.6},
]


def draws_of(samplers: Sequence[Sampler]) -> np.ndarray:
    draws = Draws(samplers, VOCABULARY)
    return np.frombuffer(draws.packed(draws.numbers())).reshape(-1, FIELDS)


@pytest.fixture(scope="module")
def sessions() -> Mapping[Choice, Any]:
    """Programs of two rows."""
    ways = (Choice.DRAW, Choice.DRAW_LARGEST)
    return {way: compile_graph(graph_of(way, VOCABULARY, 2), threads=1) for way in ways}  # type: ignore[arg-type]


def rows_of(rng: np.random.Generator, scale: float, kind: int) -> np.ndarray[Any, Any]:
    """Two rows of logits: as they come, with many equals, or with most tokens forbidden by a large negative number."""
    rows = (rng.standard_normal((2, VOCABULARY)) * scale).astype(np.float32)
    if kind == 1:
        rows = np.round(rows)
    if kind == 2:
        rows[:, rng.permutation(VOCABULARY)[: VOCABULARY - 9]] = -1e30
    return rows


@pytest.mark.parametrize("way", WAYS, ids=str)
def test_a_draw_is_the_samplers(sessions: Mapping[Choice, Any], way: dict[str, Any]) -> None:
    """The same tokens and logprobs; where a nucleus is larger than the program's choice, none."""
    rng = np.random.default_rng(7)
    told = 0
    for n in range(30):
        rows = rows_of(rng, (0.3, 3, 9)[n % 3], n % 4)
        samplers = [Sampler(float(rng.uniform(0.1, 2)), seed=2 * n + row, **way) for row in range(2)]
        choice = choice_of(samplers[0], VOCABULARY)
        assert choice in (Choice.DRAW, Choice.DRAW_LARGEST)
        states = {name: np.full(2, 7, np.int32) for name in STATES}
        given = {"logits": rows, "draws": draws_of(samplers), **states}
        *found, tokens, positions, start = sessions[choice].run(given)
        assert list(positions) == list(start) == [8, 8]
        for row, (sampler, got) in enumerate(zip(samplers, chosen(*(part.tolist() for part in found)), strict=True)):
            wanted = sampler.sample(rows[row])
            if got is None:
                chances = np.sort(np.exp(rows[row].astype(np.float64)))[::-1]
                assert way.get("top_p", 1.0) < 1.0
                assert chances[: LARGEST - 1].sum() < way["top_p"] * chances.sum()
                continue
            told += 1
            assert got.token == wanted.token == tokens[row]
            assert got.logprob == pytest.approx(wanted.logprob, abs=2e-5)
    assert told >= 20


@pytest.mark.parametrize("way", [{}, {"top_p": 0.9}, {"top_k": 9}], ids=str)
@pytest.mark.parametrize("temperature", [1e-300, 1e-40, 1e39, 1e300])
def test_temperatures_that_f32_does_not_hold(
    sessions: Mapping[Choice, Any], temperature: float, way: dict[str, Any]
) -> None:
    rows = rows_of(np.random.default_rng(1), 3, 0)
    rows[:, 7] = -np.inf
    samplers = [Sampler(temperature, seed=row, **way) for row in range(2)]
    choice = choice_of(samplers[0], VOCABULARY)
    assert choice is not None
    given = {"logits": rows, "draws": draws_of(samplers), **{s: np.zeros(2, np.int32) for s in STATES}}
    tokens = [s.token for s in chosen(*(part.tolist() for part in sessions[choice].run(given)[:2])) if s is not None]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert [s.sample(row).token for s, row in zip(samplers, rows, strict=True)] == tokens
    assert (tokens == list(rows.argmax(1))) == (temperature < 1)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("way", [{}, {"top_k": 3}], ids=str)
def test_logits_that_are_not_finite_are_left_to_the_sampler(
    sessions: Mapping[Choice, Any], way: dict[str, Any], bad: float
) -> None:
    rows = np.zeros((2, VOCABULARY), np.float32)
    rows[1, 77 if bad > 0 or np.isnan(bad) else slice(None)] = bad
    samplers = [Sampler(0.5, seed=1, **way), Sampler(0.5, seed=2, **way)]
    choice = choice_of(samplers[0], VOCABULARY)
    assert choice is not None
    given = {
        "logits": rows,
        "draws": draws_of(samplers),
        **{s: np.zeros(2, np.int32) for s in STATES},
    }
    first, second = chosen(*(part.tolist() for part in sessions[choice].run(given)[:2]))
    assert first is not None
    assert second is None


@pytest.mark.parametrize("chance", [0.0, 1.0 - 2.0**-53, 1.0])
def test_ends_of_the_random_numbers_draw_tokens_that_have_weight(sessions: Mapping[Choice, Any], chance: float) -> None:
    rows = np.full((2, VOCABULARY), -1e30, np.float32)
    rows[0, [5, 9]] = rows[1, [700, 2000]] = 1, 2
    for choice in (Choice.DRAW, Choice.DRAW_LARGEST):
        draws = np.array([[chance, 1.0, VOCABULARY, np.inf, -np.inf]] * 2)
        if choice is Choice.DRAW_LARGEST:
            draws[:, 2] = 7
        found = sessions[choice].run({"logits": rows, "draws": draws, **{s: np.zeros(2, np.int32) for s in STATES}})
        low = chance == 0.0
        order = (slice(None), slice(None)) if choice is Choice.DRAW else (slice(None, None, -1),) * 2
        wanted = [[5, 9][order[0]][0 if low else 1], [700, 2000][order[1]][0 if low else 1]]
        assert [s.token if s is not None else None for s in chosen(*(part.tolist() for part in found[:2]))] == wanted


def test_how_samplers_are_told_apart() -> None:
    assert choice_of(Sampler(), VOCABULARY) is Choice.GREEDY
    assert choice_of(Sampler(0.0, repetition_penalty=1.3, repetition_window=0), VOCABULARY) is Choice.GREEDY
    assert choice_of(Sampler(0.7), VOCABULARY) is Choice.DRAW
    assert choice_of(Sampler(0.7, top_k=VOCABULARY, min_p=0.1), VOCABULARY) is Choice.DRAW
    assert choice_of(Sampler(0.7, top_p=0.9), VOCABULARY) is Choice.DRAW_LARGEST
    assert choice_of(Sampler(0.7, top_k=LARGEST + 1), VOCABULARY) is None
    assert choice_of(Sampler(0.7, repetition_penalty=1.3), VOCABULARY) is None
    assert graph_of(Choice.DRAW, 1001) is None


def test_numbers_to_come_are_those_that_are_drawn() -> None:
    sampler, other = Sampler(1.0, seed=5), Sampler(1.0, seed=5)
    coming = [sampler.coming(n) for n in (2, 0, 1)]
    assert [other.drawn() for _ in range(3)] == [coming[1], coming[2], coming[0]]
    row = np.random.default_rng(0).standard_normal(64).astype(np.float32)
    alone = Sampler(1.0, seed=5)
    assert [sampler.sample(row) for _ in range(4)] == [alone.sample(row) for _ in range(4)]
