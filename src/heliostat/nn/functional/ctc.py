"""Connectionist temporal classification: the likelihood of labels over all their alignments. Source: Graves 2006."""

from __future__ import annotations

from typing import Any

import numpy as np

from ...diagnostics import ShapeError
from ...ir.types import i64
from ...ops.rules import shown
from ...tensor import FUNCTIONS, Tensor
from ...tensor.autocast import ruled
from ...tensor.conversion import as_tensor, from_array
from ...tensor.index import check_known
from .loss import reduced

where = FUNCTIONS["where"]
LOW = -1e30
"""Stands for the logarithm of 0, so that differences are no NaN."""


def _targets(targets: Tensor, lengths: Any, batch: int, blank: int) -> Tensor:
    """Labels with blanks around them, (B, 2 L + 1)."""
    longest = int(lengths.max()) if batch else 0
    if targets.ndim == 1 and int(lengths.sum()) != targets.shape[0]:
        what = f"ctc_loss: {targets.shape[0]} targets do not fit target_lengths of {int(lengths.sum())} in total"
        raise ShapeError(what)
    if targets.ndim == 2 and (targets.shape[0] != batch or targets.shape[1] < longest):
        raise ShapeError(f"ctc_loss: targets of {shown(targets.shape)} do not hold {batch} rows of up to {longest}")
    given = targets.detach().to(i64)
    there = np.arange(longest) < lengths[:, None]
    if targets.ndim == 1 and longest:
        places = np.where(there, (np.cumsum(lengths) - lengths)[:, None] + np.arange(longest), 0)
        rows = given[from_array(places)]
    else:
        rows = given[:, :longest] if longest else FUNCTIONS["zeros"](batch, 0, dtype=i64)
    rows = where(from_array(there), rows, blank)
    pairs = FUNCTIONS["stack"]([FUNCTIONS["full_like"](rows, blank), rows], 2).reshape(batch, 2 * longest)
    return FUNCTIONS["cat"]([pairs, FUNCTIONS["full"]((batch, 1), blank, dtype=i64)], 1)


def _log_sum(*terms: Tensor) -> Tensor:
    top = terms[0].detach()
    for t in terms[1:]:
        top = top.maximum(t.detach())
    total = (terms[0] - top).exp()
    for t in terms[1:]:
        total = total + (t - top).exp()
    return total.log() + top


@ruled
def ctc_loss(
    log_probs: Tensor,
    targets: Tensor,
    input_lengths: Any,
    target_lengths: Any,
    blank: int = 0,
    reduction: str = "mean",
    zero_infinity: bool = False,
) -> Tensor:
    """-log likelihood of labels. log_probs: (T, B, C) or (T, C), targets: (B, S) or all labels in order, lengths: (B,).

    "mean" divides by the lengths of targets, then averages. The host reads the lengths when this is called."""
    single = log_probs.ndim == 2
    x = log_probs.unsqueeze(1) if single else log_probs
    if x.ndim != 3:
        raise ShapeError(f"ctc_loss needs log_probs (T, B, C) or (T, C), found {list(log_probs.shape)}")
    steps, batch, classes = x.shape
    if not 0 <= blank < classes:
        raise ValueError(f"blank must be in label range, found {blank} of {classes} classes")
    times = np.asarray(as_tensor(input_lengths).host_array(), np.int64).reshape(-1)
    lengths = np.asarray(as_tensor(target_lengths).host_array(), np.int64).reshape(-1)
    if times.shape != (batch,) or lengths.shape != (batch,):
        raise ShapeError(f"ctc_loss: input_lengths and target_lengths must be of size {batch}")
    if batch and int(times.max()) > steps:
        raise ShapeError(f"Expected input_lengths to have value at most {steps}, but got value {int(times.max())}")
    for name, given in (("input_lengths", times), ("target_lengths", lengths)):
        if (given < 0).any():
            raise ShapeError(f"Expected {name} to have value at least 0, but got value {int(given.min())}")
    labels = _targets(targets.unsqueeze(0) if single and targets.ndim == 1 else targets, lengths, batch, blank)
    padded = single or targets.ndim == 2  # behind the labels may stand anything
    counted = (np.arange(targets.shape[-1]) < lengths[:, None]).reshape(targets.shape) if padded else None
    check_known("class", targets, classes, counted=counted)
    width = labels.shape[1]
    place = np.arange(width)
    # a step of two is allowed onto a label that differs from the one before
    pad = FUNCTIONS["pad"]
    before_last = pad(labels, (2, 0), value=blank)[:, :width]
    may_jump = (labels != blank) & (labels != before_last) & from_array(place >= 2)
    scores = x.gather(2, labels.expand(steps, batch, width))
    first = from_array((place < 2) & (place <= 2 * lengths[:, None]))
    alpha = where(first, scores[0], LOW)
    if not times.all():  # no steps say no labels
        nothing = from_array(np.where(place == 0, 0.0, LOW), x.dtype)
        alpha = where(from_array(times == 0).unsqueeze(1), nothing, alpha)
    for t in range(1, steps):
        one = pad(alpha, (1, 0), value=LOW)[:, :width]
        two = where(may_jump, pad(alpha, (2, 0), value=LOW)[:, :width], LOW)
        moved = _log_sum(alpha, one, two) + scores[t]
        new = where(moved <= LOW / 2, LOW, moved)  # NaN stays
        alpha = new if (times > t).all() else where(from_array(times > t).unsqueeze(1), new, alpha)
    last = from_array(2 * lengths).unsqueeze(1)
    end = alpha.gather(1, last).squeeze(1)
    before = alpha.gather(1, (last - 1).clamp(min=0)).squeeze(1)
    before = where(from_array(lengths > 0), before, LOW)
    likelihood = _log_sum(end, before)
    possible = ~(likelihood.detach() <= LOW / 2)
    loss = where(possible, -likelihood, 0.0 if zero_infinity else float("inf"))
    if reduction == "mean":
        return (loss / from_array(np.maximum(lengths, 1), loss.dtype)).mean()
    return reduced(loss.squeeze(0) if single else loss, reduction)
