"""Greedy choice where the logits are: a program finds the largest logit and its probability, in parts of the vocabulary
first. Two numbers go to the host instead of all logits, and the token to where the next step reads it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy.typing as npt

from ..ir.graph import Graph
from .sample import Sample, Sampler

MOST_PARTS = 512
LEAST_PARTS = 16
STATES = ("tokens", "positions", "start")


def parts_of(vocabulary: int, count: int = 1) -> int:
    """Parts of equal size that a vocabulary is looked at in: a power of two, up to MOST_PARTS for all of `count` rows
    together, or up to LEAST_PARTS for each where that is more.
    """
    each = 1 << (MOST_PARTS // count).bit_length() - 1 if count <= MOST_PARTS else 1
    return math.gcd(vocabulary, max(LEAST_PARTS, each))


def choice_graph(vocabulary: int, count: int = 1) -> Graph | None:
    """logits (count, V) f32 to two (count,) f32: of each row the place of the largest, below 2 ** 24, and its logprob.

    States `tokens`, `positions` and `start`, (count,) i32, become those of the step that follows: the next token of a
    sequence need not pass the host. A row that is not finite has a logprob that is no finite number, and any token.
    None for a vocabulary that does not divide into enough parts.
    """
    from .. import ops  # not needed where programs are found on disk
    from ..ir.graph import parameter
    from ..ir.types import f32, i32, tensor

    parts = parts_of(vocabulary, count)
    if parts < LEAST_PARTS:
        return None
    logits = parameter("logits", tensor(f32, count, vocabulary))
    tokens, positions, start = (parameter(n, tensor(i32, count), kind="state") for n in STATES)
    size = vocabulary // parts
    rows = ops.reshape(logits, (count * parts, size))
    high = ops.max(rows, -1, keepdim=True)
    numbers = ops.cast(ops.arange(size), f32)  # below 2 ** 24, exact
    # Not argmax: on a GPU a team of warps shares a row of other reductions, 82 microseconds for 32 rows instead of 225.
    place = ops.min(ops.where(ops.eq(rows, high), numbers, float(size)), -1)
    total = ops.sum(ops.exp(ops.sub(rows, high)), -1)

    high, place, total = (ops.reshape(v, (count, parts)) for v in (high, place, total))
    best = ops.max(high, -1, keepdim=True)
    places = ops.add(place, ops.cast(ops.mul(ops.arange(parts), size), f32))
    # Both keep their axis, so that what is made of them is in the kernel that makes them.
    token = ops.min(ops.where(ops.eq(high, best), places, float(vocabulary)), -1, keepdim=True)
    norm = ops.sum(ops.mul(total, ops.exp(ops.sub(high, best))), -1, keepdim=True)
    # Two results, not a concat: each is written where the host reads it, without a launch for that.
    found = [ops.reshape(v, (count,)) for v in (token, ops.neg(ops.log(norm)))]
    following = ops.reshape(ops.cast(token, i32), (count,))
    updates = [(tokens, following), *((v, ops.add(v, 1)) for v in (positions, start))]
    return Graph("choice" if count == 1 else f"choice_{count}", [logits, tokens, positions, start], found, updates)


def is_greedy(sampler: Sampler) -> bool:
    """Whether a sampler takes the largest logit as it is."""
    return sampler.temperature == 0.0 and (sampler.repetition_penalty == 1.0 or sampler.repetition_window == 0)


def chosen(found: Sequence[npt.NDArray[Any]]) -> list[Sample | None]:
    """The token of each row and its logprob, from both results of a choice, in whatever shape; None for rows that are
    not finite, for a sampler to say what is wrong."""
    rows = zip(*(part.ravel().tolist() for part in found), strict=True)
    return [Sample(int(token), logprob) if math.isfinite(logprob) else None for token, logprob in rows]
