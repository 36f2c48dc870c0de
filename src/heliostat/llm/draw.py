"""Drawing the next token where the logits are: what `Sampler` does by chance, as a program. Two numbers go to the host
instead of all logits, and the token to where the next step reads it.

`Sampler` is the reference and draws the random numbers, in the order in which it would use them itself. It is asked
where a program cannot tell: for logits that are not finite, for a repetition penalty, and where top-p leaves more than
LARGEST tokens.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Sequence
from enum import StrEnum

from ..ir.graph import Graph, Value
from .choice import LEAST_PARTS, Parts, choice_graph, followed, parts_of
from .sample import Sampler

LARGEST = 512
"""Tokens among which a draw with top-k or top-p chooses. Fewer are sorted faster; real nuclei are smaller."""

EACH_ALONE = 2048  # running sums up to which each is computed by itself

FIELDS = 5  # of a row of `draws`
_ROW = struct.Struct(f"={FIELDS}d")


class Choice(StrEnum):
    """A way to choose where the logits are; its value is what its program is called."""

    GREEDY = "choice"
    DRAW = "draw"
    """Among all tokens that min-p leaves, in their order."""
    DRAW_LARGEST = "draw_largest"
    """Among those that top-k, top-p and min-p leave, the largest first."""


def choice_of(sampler: Sampler, vocabulary: int) -> Choice | None:
    """How a sampler's tokens can be chosen where the logits are; None where it has to look at them itself."""
    if sampler.repetition_penalty != 1.0 and sampler.repetition_window:
        return None
    if sampler.temperature == 0.0:
        return Choice.GREEDY
    top = sampler.top_k if sampler.top_k < vocabulary else 0
    if not top and sampler.top_p == 1.0:
        return Choice.DRAW
    return Choice.DRAW_LARGEST if top <= LARGEST else None


def graph_of(choice: Choice, vocabulary: int, count: int = 1) -> Graph | None:
    """The program of a choice for `count` rows: logits (count, V) f32, for draws `draws` (count, FIELDS) f64 too, to
    tokens and logprobs. None for a vocabulary that does not divide into enough parts."""
    if choice is Choice.GREEDY:
        return choice_graph(vocabulary, count)
    return draw_graph(vocabulary, choice is Choice.DRAW_LARGEST, count)


class Draws:
    """The input `draws`, (rows, FIELDS) f64, of steps whose tokens some samplers draw. A row: a random number in
    0 .. 1, one over the temperature, how many tokens top-k and what share top-p leaves (more than there is: no bound),
    and the logarithm of min-p. Rows that draw nothing, for a sampler None or of temperature 0, are zeros.

    What stays the same is computed once: a step comes when caches are cold, and pays for each operation.
    """

    def __init__(self, samplers: Sequence[Sampler | None], vocabulary: int) -> None:
        self.samplers = [None if s is None or s.temperature == 0.0 else s for s in samplers]
        self._fixed = [_fixed(s, vocabulary) for s in self.samplers]

    def numbers(self, ahead: int = 0) -> list[float]:
        """The random number of each row; `ahead`: that many draws come first. Nothing is taken from a sampler."""
        return [0.0 if s is None else s.coming(ahead) for s in self.samplers]

    def packed(self, numbers: Sequence[float]) -> bytes:
        """The input as bytes."""
        return b"".join([_ROW.pack(n, *fixed) for n, fixed in zip(numbers, self._fixed, strict=True)])


def _fixed(sampler: Sampler | None, vocabulary: int) -> tuple[float, ...]:
    """A row of `draws` without its random number."""
    if sampler is None:
        return (0.0,) * (FIELDS - 1)
    top = sampler.top_k if 0 < sampler.top_k < vocabulary else vocabulary
    share = sampler.top_p if sampler.top_p < 1.0 else math.inf
    least = math.log(sampler.min_p) if sampler.min_p > 0.0 else -math.inf
    return sampler.warmth, top, share, least


def draw_graph(vocabulary: int, largest: bool, count: int = 1) -> Graph | None:
    """The graph of `graph_of` for draws; `largest`: among what top-k, top-p and min-p leave of the LARGEST tokens.

    A row whose logits are not finite, or of which more than LARGEST tokens may be left, has a logprob that is no finite
    number, and any token."""
    from .. import ops  # not needed where programs are found on disk
    from ..ir.graph import parameter
    from ..ir.types import f32, f64, tensor

    parts = parts_of(vocabulary)  # of each row: running sums are short then
    if parts < LEAST_PARTS:
        return None
    logits = parameter("logits", tensor(f32, count, vocabulary))
    draws = parameter("draws", tensor(f64, count, FIELDS))
    chance, warmth, top, share, least = (ops.slice(draws, 1, n, n + 1) for n in range(FIELDS))
    warmth, least = ops.cast(warmth, f32), ops.cast(least, f32)
    cut = Parts.of(logits, parts)
    best = ops.max(cut.high, -1, keepdim=True)
    norm = cut.norm(best)
    token, value = (
        _among_largest(logits, best, norm, chance, warmth, top, share, least)
        if largest
        else _among_all(cut, best, chance, warmth, least)
    )
    logprob = ops.sub(ops.sub(value, best), ops.log(norm))
    return followed("draw_largest" if largest else "draw", logits, token, logprob, [draws])


def _among_all(cut: Parts, best: Value, chance: Value, warmth: Value, least: Value) -> tuple[Value, Value]:
    """Token and logit, (count, 1) f32: a part is drawn first, then an element of it, by one random number."""
    from .. import ops
    from ..ir.types import f32, f64, i32

    count, parts = (int(d) for d in cut.high.type.shape)  # type: ignore[arg-type]
    size = int(cut.rows.type.shape[1])  # type: ignore[arg-type]
    floor = ops.add(best, least)
    rows = ops.reshape(cut.rows, (count, parts, size))
    each, limit = (ops.unsqueeze(v, 2) for v in (warmth, floor))
    weights = ops.exp(ops.mul(ops.sub(rows, ops.unsqueeze(cut.high, 2)), each))
    shares = ops.sum(ops.where(ops.ge(rows, limit), weights, 0.0), -1)
    shares = ops.mul(shares, ops.exp(ops.mul(ops.sub(cut.high, best), warmth)))
    reach = _reach(ops.cast(shares, f64))
    whole = ops.slice(reach, 1, parts - 1, parts)
    part = _place(reach, chance)
    first = ops.lt(ops.cast(ops.arange(parts), f32), part)
    before = ops.max(ops.where(first, reach, 0.0), -1, keepdim=True)
    line = ops.add(ops.reshape(ops.cast(part, f32), (count,)), ops.cast(ops.mul(ops.arange(count), parts), f32))
    row = ops.take(cut.rows, ops.cast(line, i32))
    inside = ops.exp(ops.mul(ops.sub(row, best), warmth))
    inside = ops.cast(ops.where(ops.ge(row, floor), inside, 0.0), f64)
    target = ops.sub(ops.mul(chance, whole), before)
    place = _place_of(_reach(inside), target)
    return ops.add(ops.mul(part, float(size)), place), _at(row, place)


def _among_largest(
    logits: Value, best: Value, norm: Value, chance: Value, warmth: Value, top: Value, share: Value, least: Value
) -> tuple[Value, Value]:
    """The same among the largest logits; the logit is NaN where it cannot be told which are left."""
    from .. import ops
    from ..ir.types import f32, f64
    from ..ops.sort import along

    vocabulary = int(logits.type.shape[1])  # type: ignore[arg-type]
    most = min(LARGEST, vocabulary)
    places = ops.argsort(logits, True, most)
    values = along(logits, places)
    numbers = ops.cast(ops.arange(most), f64)
    weights = ops.cast(ops.exp(ops.sub(values, best)), f64)
    counted = ops.lt(numbers, top)
    bounded = ops.lt(top, float(most + 1))
    total = ops.where(bounded, ops.sum(ops.where(counted, weights, 0.0), -1, keepdim=True), ops.cast(norm, f64))
    short = ops.lt(_reach(weights), ops.mul(share, total))
    reached = ops.le(numbers, ops.sum(ops.cast(short, f64), -1, keepdim=True))
    left = ops.logical_and(ops.logical_and(counted, reached), ops.ge(values, ops.add(best, least)))
    warm = ops.cast(ops.exp(ops.mul(ops.sub(values, best), warmth)), f64)
    place = _place(_reach(ops.where(left, warm, 0.0)), chance)
    value = _at(values, place)
    if most < vocabulary:
        unknown = ops.logical_and(ops.slice(left, 1, most - 1, most), ops.logical_not(bounded))
        value = ops.where(unknown, math.nan, value)
    return _at(ops.cast(places, f32), place), value


def _reach(weights: Value) -> Value:
    """Running sums of (count, N). Each by itself where they are few: 512 in a row take a warp of a GPU 40 microseconds,
    and all its multiprocessors a few."""
    from .. import ops

    size = int(weights.type.shape[-1])  # type: ignore[arg-type]
    if size > EACH_ALONE:
        return ops.scan(weights, "sum")
    numbers = ops.arange(size)
    counted = ops.le(ops.reshape(numbers, (1, size)), ops.reshape(numbers, (size, 1)))
    return ops.sum(ops.where(counted, ops.unsqueeze(weights, 1), 0.0), -1)


def _place(reach: Value, chance: Value) -> Value:
    """(count, 1) f32: where a random number in 0 .. 1 lies in running sums (count, N) of weights that are not negative,
    of which one at least is positive. An element without weight is never taken."""
    from .. import ops

    size = int(reach.type.shape[-1])  # type: ignore[arg-type]
    return _place_of(reach, ops.mul(chance, ops.slice(reach, 1, size - 1, size)))


def _place_of(reach: Value, target: Value) -> Value:
    from .. import ops
    from ..ir.types import f32

    size = int(reach.type.shape[-1])  # type: ignore[arg-type]
    passed = ops.logical_and(ops.le(reach, target), ops.lt(reach, ops.slice(reach, 1, size - 1, size)))
    return ops.sum(ops.cast(passed, f32), -1, keepdim=True)


def _at(row: Value, place: Value) -> Value:
    """row[:, place], (count, 1) f32."""
    from .. import ops
    from ..ir.types import f32

    size = int(row.type.shape[-1])  # type: ignore[arg-type]
    here = ops.eq(ops.cast(ops.arange(size), f32), place)
    return ops.max(ops.where(here, row, -math.inf), -1, keepdim=True)
