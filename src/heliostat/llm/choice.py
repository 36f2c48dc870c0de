"""Greedy choice where the logits are: a program finds the largest logit and its probability, in parts of the vocabulary
first. Two numbers go to the host instead of all logits, and the token to where the next step reads it. What draws by
chance is in `draw.py`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

from ..ir.graph import Graph, Value
from .sample import Sample

MOST_PARTS = 512
LEAST_PARTS = 16
STATES = ("tokens", "positions", "start")


def parts_of(vocabulary: int, count: int = 1) -> int:
    """Parts of equal size that a vocabulary is looked at in: a power of two, up to MOST_PARTS for all of `count` rows
    together, or up to LEAST_PARTS for each where that is more.
    """
    each = 1 << (MOST_PARTS // count).bit_length() - 1 if count <= MOST_PARTS else 1
    return math.gcd(vocabulary, max(LEAST_PARTS, each))


class Parts(NamedTuple):
    """Rows of logits in parts: `rows` (count * parts, size), their largest logits `peaks` (count * parts, 1), and by
    sequences, (count, parts), the same and the sums of exp(logit - largest)."""

    rows: Value
    peaks: Value
    high: Value
    total: Value

    @classmethod
    def of(cls, logits: Value, parts: int) -> Parts:
        """Of logits (count, V), V a multiple of `parts`."""
        from .. import ops  # not needed where programs are found on disk

        count, vocabulary = (int(d) for d in logits.type.shape)  # type: ignore[arg-type]
        rows = ops.reshape(logits, (count * parts, vocabulary // parts))
        peaks = ops.max(rows, -1, keepdim=True)
        total = ops.sum(ops.exp(ops.sub(rows, peaks)), -1)
        return cls(rows, peaks, *(ops.reshape(v, (count, parts)) for v in (peaks, total)))

    def norm(self, best: Value) -> Value:
        """(count, 1): the sum of exp(logit - best) over whole rows."""
        from .. import ops

        return ops.sum(ops.mul(self.total, ops.exp(ops.sub(self.high, best))), -1, keepdim=True)


def followed(name: str, logits: Value, token: Value, logprob: Value, more: Sequence[Value] = ()) -> Graph:
    """The graph of a choice: token (count, 1) f32 and logprob (count, 1) are its results, and the states `tokens`,
    `positions` and `start`, (count,) i32, become those of the step that follows: the next token of a sequence need not
    pass the host. `more`: other inputs."""
    from .. import ops
    from ..ir.graph import parameter
    from ..ir.types import i32, tensor

    count = int(logits.type.shape[0])  # type: ignore[arg-type]
    tokens, positions, start = (parameter(n, tensor(i32, count), kind="state") for n in STATES)
    # Two results, not a concat: each is written where the host reads it, without a launch for that.
    found = [ops.reshape(v, (count,)) for v in (token, logprob)]
    following = ops.reshape(ops.cast(token, i32), (count,))
    updates = [(tokens, following), *((v, ops.add(v, 1)) for v in (positions, start))]
    return Graph(named(name, count), [logits, *more, tokens, positions, start], found, updates)


def named(kind: str, count: int) -> str:
    """What the program of a kind of choice is called for so many rows."""
    return kind if count == 1 else f"{kind}_{count}"


def choice_graph(vocabulary: int, count: int = 1) -> Graph | None:
    """logits (count, V) f32 to two (count,) f32: of each row the place of the largest, below 2 ** 24, and its logprob.

    A row that is not finite has a logprob that is no finite number, and any token. `followed` says what becomes of it.
    None for a vocabulary that does not divide into enough parts.
    """
    from .. import ops
    from ..ir.graph import parameter
    from ..ir.types import f32, tensor

    parts = parts_of(vocabulary, count)
    if parts < LEAST_PARTS:
        return None
    logits = parameter("logits", tensor(f32, count, vocabulary))
    size = vocabulary // parts
    cut = Parts.of(logits, parts)
    numbers = ops.cast(ops.arange(size), f32)  # below 2 ** 24, exact
    # Not argmax: on a GPU a team of warps shares a row of other reductions, 82 microseconds for 32 rows instead of 225.
    place = ops.min(ops.where(ops.eq(cut.rows, cut.peaks), numbers, float(size)), -1)
    place = ops.reshape(place, (count, parts))
    best = ops.max(cut.high, -1, keepdim=True)
    places = ops.add(place, ops.cast(ops.mul(ops.arange(parts), size), f32))
    # Both keep their axis, so that what is made of them is in the kernel that makes them.
    token = ops.min(ops.where(ops.eq(cut.high, best), places, float(vocabulary)), -1, keepdim=True)
    return followed("choice", logits, token, ops.neg(ops.log(cut.norm(best))))


def chosen(tokens: Sequence[float], logprobs: Sequence[float]) -> list[Sample | None]:
    """The token of each row and its logprob, from both results of a choice; None for rows that are not finite, for a
    sampler to say what is wrong."""
    rows = zip(tokens, logprobs, strict=True)
    return [Sample(int(token), logprob) if math.isfinite(logprob) else None for token, logprob in rows]
