"""Greedy choice where the logits are: a program finds the largest logit and the sum for its probability in parts of the
vocabulary, and a few hundred numbers go to the host instead of all logits.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt

from ..ir.graph import Graph
from .sample import Sample, Sampler

MOST_PARTS = 512
LEAST_PARTS = 16


def parts_of(vocabulary: int, count: int = 1) -> int:
    """Parts of equal size that a vocabulary is looked at in: a power of two, up to MOST_PARTS for all of `count` rows
    together, or up to LEAST_PARTS for each where that is more.
    """
    each = 1 << (MOST_PARTS // count).bit_length() - 1 if count <= MOST_PARTS else 1
    return math.gcd(vocabulary, max(LEAST_PARTS, each))


def choice_graph(vocabulary: int, count: int = 1) -> Graph | None:
    """logits (count, V) f32 to (3, count * parts) f32: of each part of a row the largest, its place there, and the sum
    of exp(x - largest).

    None for a vocabulary that does not divide into enough parts.
    """
    from .. import ops  # not needed where programs are found on disk
    from ..ir.graph import parameter
    from ..ir.types import f32, tensor

    parts = parts_of(vocabulary, count)
    if parts < LEAST_PARTS:
        return None
    logits = parameter("logits", tensor(f32, count, vocabulary))
    size = vocabulary // parts
    rows = ops.reshape(logits, (count * parts, size))
    high = ops.max(rows, -1, keepdim=True)
    numbers = ops.cast(ops.arange(size), f32)  # below 2 ** 24, exact
    # Not argmax: on a GPU a team of warps shares a row of other reductions, 82 microseconds for 32 rows instead of 225.
    place = ops.min(ops.where(ops.eq(rows, high), numbers, float(size)), -1)
    total = ops.sum(ops.exp(ops.sub(rows, high)), -1)
    found = ops.concat(*(ops.reshape(v, (1, count * parts)) for v in (high, place, total)), axis=0)
    return Graph("choice" if count == 1 else f"choice_{count}", [logits], [found])


def is_greedy(sampler: Sampler) -> bool:
    """Whether a sampler takes the largest logit as it is."""
    return sampler.temperature == 0.0 and (sampler.repetition_penalty == 1.0 or sampler.repetition_window == 0)


def chosen(found: npt.NDArray[Any], vocabulary: int, rows: int = 1) -> list[Sample | None]:
    """For each of `rows` the token that its parts' results name, of equals the lowest, and its logprob; None where
    logits are not all finite: then a sampler says what is wrong.
    """
    high, place, total = found.reshape(3, rows, -1)
    parts, best = high.argmax(1), high.max(1, keepdims=True)
    with np.errstate(all="ignore"):
        norms = np.log((total * np.exp(high - best)).sum(1, dtype=np.float64))  # not finite where `best` is not
    size = vocabulary // high.shape[1]
    return [
        Sample(part * size + int(place[n, part]), -norm) if math.isfinite(norm) else None
        for n, (part, norm) in enumerate(zip(parts.tolist(), norms.tolist(), strict=True))
    ]
