"""The greedy choice made where the logits are names the token and the logprob that the sampler does."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from heliostat.llm.choice import STATES, choice_graph, chosen, parts_of
from heliostat.llm.sample import Sampler
from heliostat.session import compile_graph


def lists(found: list[np.ndarray]) -> list[list[float]]:
    return [part.ravel().tolist() for part in found]


def at(*positions: int) -> dict[str, np.ndarray[Any, Any]]:
    """States of rows at these positions."""
    return {name: np.array(positions, np.int32) for name in STATES}


@pytest.mark.parametrize("vocabulary", [512, 2048 + 256, 151936, 128256])
def test_it_is_what_the_sampler_takes(vocabulary: int) -> None:
    graph = choice_graph(vocabulary)
    assert graph is not None
    session = compile_graph(graph, threads=2)
    rng = np.random.default_rng(vocabulary)
    rows = [rng.standard_normal(vocabulary).astype(np.float32) * scale for scale in (0.01, 3, 40)]
    rows.append(np.round(rows[0] * 100) / 50)  # many equals: the lowest id counts
    rows.append(np.full(vocabulary, -2.5, np.float32))
    masked = rows[1].copy()
    masked[rng.permutation(vocabulary)[: vocabulary // 2]] = -1e30
    rows.append(masked)
    for row in rows:
        *found, tokens, positions, start = session.run({"logits": row[None], **at(7)})
        (got,), wanted = chosen(*lists(found)), Sampler().sample(row)
        assert got is not None
        assert got.token == wanted.token == tokens[0]
        assert (positions[0], start[0]) == (8, 8)
        assert got.logprob == pytest.approx(wanted.logprob, abs=2e-5)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_logits_that_are_not_finite_are_left_to_the_sampler(bad: float) -> None:
    graph = choice_graph(512)
    assert graph is not None
    row = np.zeros(512, np.float32)
    row[77] = bad
    found = compile_graph(graph, threads=1).run({"logits": row[None], **at(0)})[:2]
    assert chosen(*lists(found)) == [None]


def test_rows_of_a_batch_are_told_apart() -> None:
    """Three rows together give what each gives alone, also beside one that is not finite."""
    graph, alone = choice_graph(512, 3), choice_graph(512)
    assert graph is not None
    assert alone is not None
    logits = np.random.default_rng(0).standard_normal((3, 512)).astype(np.float32)
    logits[1, 5] = np.nan
    found = compile_graph(graph, threads=1).run({"logits": logits, **at(3, 1, 2)})[:2]
    single = compile_graph(alone, threads=1)
    wanted = [chosen(*lists(single.run({"logits": row[None], **at(0)})[:2]))[0] for row in logits]
    for got, one in zip(chosen(*lists(found)), wanted, strict=True):
        assert (got is None) == (one is None)
        if got is not None and one is not None:
            assert got.token == one.token
            assert got.logprob == pytest.approx(one.logprob, abs=2e-5)
    assert [w is None for w in wanted] == [False, True, False]


def test_vocabularies_that_do_not_divide_have_no_program() -> None:
    assert choice_graph(1001) is None
    assert parts_of(151936) == 128
    assert [parts_of(128256, n) for n in (1, 3, 8, 32, 2000)] == [256, 128, 64, 16, 16]
