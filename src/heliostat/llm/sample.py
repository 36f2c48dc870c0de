"""Choosing the next token from one row of logits.

Steps, in the order of llama.cpp's default chain: repetition penalty, top-k, top-p, min-p, temperature. Every step
works on what the one before it left. Pure NumPy; the only state is the random generator.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from heliostat.diagnostics import HeliostatError

_HOTTEST = 1e30  # temperature, far beyond what changes a weight; one over it is the coldest
_BLOCK = 64  # logits per block when the k-th largest is bounded from below
_FIRST_NUCLEUS = 512  # candidates looked at first for top-p without top-k; most rows need far fewer


class SamplingError(HeliostatError, ValueError):
    """A sampling parameter is out of range, or logits cannot be sampled."""


class Sample(NamedTuple):
    """A chosen token and the natural logarithm of its probability under the softmax of the raw logits: before
    penalty, truncation and temperature, so that it says what the model thought, whatever the sampler did."""

    token: int
    logprob: float


class Sampler:
    """Draws tokens, the same ones for the same seed, logits and histories.

    `temperature`: >= 0; 0 takes the largest logit (after the penalty), of equals the lowest id.
    `top_k`: keep the k largest logits, of equals the lower ids; 0 keeps all.
    `top_p`: keep the fewest largest whose probabilities reach p, 0 < p <= 1.
    `min_p`: keep those at least p times as probable as the largest, 0 <= p <= 1.
    `repetition_penalty`: > 0; logits of the last `repetition_window` tokens are divided by it if positive, multiplied
    if not; 1 is none. A window of -1 is the whole history. `seed`: >= 0; None draws one, kept in `.seed`.
    Raises SamplingError for values outside. Sources: arXiv 1909.05858 (penalty), 1904.09751 (top-p), 2407.01082
    (min-p).
    """

    def __init__(
        self,
        temperature: float = 0.0,
        *,
        top_k: int = 0,
        top_p: float = 1.0,
        min_p: float = 0.0,
        repetition_penalty: float = 1.0,
        repetition_window: int = 64,
        seed: int | None = None,
    ) -> None:
        self.temperature = _number("temperature", temperature, 0.0, math.inf)
        self.top_k = _whole("top_k", top_k, 0)
        self.top_p = _number("top_p", top_p, 0.0, 1.0, above=True)
        self.min_p = _number("min_p", min_p, 0.0, 1.0)
        self.repetition_penalty = _number("repetition_penalty", repetition_penalty, 0.0, math.inf, above=True)
        self.repetition_window = _whole("repetition_window", repetition_window, -1)
        self.seed: int = int(np.random.SeedSequence().generate_state(1)[0]) if seed is None else _whole("seed", seed, 0)
        self._random = np.random.Generator(np.random.PCG64(self.seed))
        self._numbers: deque[float] = deque()  # drawn, for tokens to come

    @property
    def warmth(self) -> float:
        """One over a temperature that is not 0; where f32 has no such number, the nearest at which weights stay what
        they are: all the largest's, or all equal."""
        return min(max(1.0 / self.temperature, 1.0 / _HOTTEST), _HOTTEST)

    def coming(self, ahead: int = 0) -> float:
        """The random number, in 0 .. 1, that draws a token after `ahead` others, for whoever draws in its place."""
        while len(self._numbers) <= ahead:
            self._numbers.append(self._random.random())
        return self._numbers[ahead]

    def drawn(self) -> float:
        """The same of the next token, which takes it."""
        number = self.coming()
        self._numbers.popleft()
        return number

    def sample(self, logits: ArrayLike, history: Sequence[int] = ()) -> Sample:
        """Choose a token. `logits`: (V,) float, -inf forbids a token. `history`: the tokens so far, prompt included.

        Raises SamplingError for another shape, for NaN and +inf, and if every logit is -inf.
        """
        raw = np.asarray(logits, dtype=np.float32)
        top = _largest(raw)
        norm = _log_sum_exp(raw, float(raw[top]))
        row = self._penalized(raw, history)
        if self.temperature == 0.0:
            token = top if row is raw else int(np.argmax(row))
        else:
            token = self._draw(row)
        return Sample(token, float(raw[token]) - norm)

    def _penalized(self, raw: NDArray[np.float32], history: Sequence[int]) -> NDArray[np.float32]:
        window, penalty = self.repetition_window, self.repetition_penalty
        if penalty == 1.0 or window == 0 or len(history) == 0:
            return raw
        recent = np.unique(np.asarray(history if window < 0 else history[-window:], dtype=np.int64))
        if recent[0] < 0 or recent[-1] >= len(raw):
            raise SamplingError(f"the history holds a token outside of the {len(raw)} logits")
        row = raw.copy()
        values = row[recent]
        row[recent] = np.where(values > 0, values / np.float32(penalty), values * np.float32(penalty))
        return row

    def _draw(self, row: NDArray[np.float32]) -> int:
        tokens, values = self._candidates(row)
        peak = values.max()
        if self.min_p > 0.0:
            kept = values >= peak + math.log(self.min_p)
            tokens, values = tokens[kept], values[kept]
        with np.errstate(over="ignore"):  # -inf is the exponent of no weight
            weights = np.exp((values - peak) * values.dtype.type(self.warmth))
        reach = np.cumsum(weights, dtype=np.float64)
        place = int(np.searchsorted(reach, self.drawn() * reach[-1], side="right"))
        if place == len(reach):  # the product was rounded up to the whole
            place = int(np.flatnonzero(weights)[-1])
        return int(tokens[place])

    def _candidates(self, row: NDArray[np.float32]) -> tuple[NDArray[np.int64], NDArray[np.floating[Any]]]:
        """Tokens and logits that top-k and top-p leave, in an order that depends on the row alone."""
        if 0 < self.top_k < len(row):
            tokens, values = largest(row, self.top_k)
            count = _nucleus(values, self.top_p, float(np.exp(values - values[0]).sum()))
            return tokens[:count], values[:count]
        if self.top_p == 1.0:
            return np.arange(len(row)), row
        total = float(np.exp(row - row.max()).sum(dtype=np.float64))
        tokens, values = largest(row, min(_FIRST_NUCLEUS, len(row)))
        count = _nucleus(values, self.top_p, total)
        # What min-p takes away anyway need not be known; `draw.py` does not look further either.
        if count <= len(values) or (self.min_p > 0.0 and values[-1] < values[0] + math.log(self.min_p)):
            return tokens[:count], values[:count]
        values = np.sort(row)[::-1].astype(np.float64)  # sorting values alone is several times faster than their places
        count = _nucleus(values, self.top_p, total)
        last = values[min(count, len(values)) - 1]
        surplus = int((values >= last).sum()) - count  # equals of the last one kept
        tokens = np.flatnonzero(row >= last)
        if surplus > 0:
            tokens = np.delete(tokens, np.flatnonzero(row[tokens] == last)[-surplus:])
        return tokens, row[tokens]


def largest(row: NDArray[np.float32], k: int) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Ids and values of the `k` largest entries of `row`, largest first, of equals the lower id first.

    The k-th largest of the blocks' maxima is no larger than the k-th largest entry: what lies below it needs no look.
    """
    blocks = len(row) // _BLOCK
    if k < blocks:
        maxima = row[: blocks * _BLOCK].reshape(blocks, _BLOCK).max(axis=1)
        floor = np.partition(maxima, blocks - k)[blocks - k]
        tokens = np.flatnonzero(row >= floor)
    else:
        tokens = np.arange(len(row))
    values = row[tokens]
    order = np.argsort(-values, kind="stable")[:k]
    return tokens[order], values[order].astype(np.float64)


def _nucleus(values: NDArray[np.float64], p: float, total: float) -> int:
    """How many leading `values` (largest first) it takes until their share of `total`, the sum of exp(value - largest),
    reaches `p`: at least 1, and len(values) + 1 if all of them do not."""
    if p >= 1.0:
        return len(values)
    return int(np.searchsorted(np.cumsum(np.exp(values - values[0])), p * total, side="left")) + 1


def _largest(raw: NDArray[np.float32]) -> int:
    """Place of the largest logit. NumPy's argmax stops at the first NaN, so one look finds every fault."""
    if raw.ndim != 1 or len(raw) == 0:
        raise SamplingError(f"logits must be one row, have shape {raw.shape}")
    top = int(np.argmax(raw))
    if np.isnan(raw[top]):
        raise SamplingError(f"logits hold NaN (first at token {top}): the weights or the cache are damaged")
    if np.isposinf(raw[top]):
        raise SamplingError(f"logits hold +inf (first at token {top}): the weights or the cache are damaged")
    if np.isneginf(raw[top]):
        raise SamplingError("every logit is -inf: no token is allowed")
    return top


def _log_sum_exp(raw: NDArray[np.float32], peak: float) -> float:
    return peak + math.log(float(np.exp(raw - np.float32(peak)).sum(dtype=np.float64)))


def _number(name: str, value: float, low: float, high: float, *, above: bool = False) -> float:
    """`value` if it is finite and within low (`above`: greater) .. high; else SamplingError."""
    if isinstance(value, bool) or not isinstance(value, int | float | np.integer | np.floating):
        raise SamplingError(f"{name} must be a number, is {value!r}")
    if not (math.isfinite(value) and low <= value <= high) or (above and value == low):
        bounds = f"{'greater than' if above else 'at least'} {low:g}" + (
            f" and at most {high:g}" if high < math.inf else ""
        )
        raise SamplingError(f"{name} must be {bounds}, is {value!r}")
    return float(value)


def _whole(name: str, value: int, low: int) -> int:
    """`value` if it is an integer >= `low`; else SamplingError."""
    if isinstance(value, bool) or not isinstance(value, int | np.integer) or value < low:
        raise SamplingError(f"{name} must be an integer, at least {low}, is {value!r}")
    return int(value)
