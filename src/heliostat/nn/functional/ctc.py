"""Connectionist temporal classification: the likelihood of labels over all their alignments. Source: Graves 2006."""

from __future__ import annotations

from typing import Any

import numpy as np

from ...diagnostics import ShapeError
from ...tensor import FUNCTIONS, Tensor
from ...tensor.autocast import ruled
from ...tensor.core import as_tensor, from_array
from .loss import reduced

where = FUNCTIONS["where"]
LOW = -1e30
"""Stands for the logarithm of 0, so that differences are no NaN."""


def _targets(targets: Tensor, lengths: Any, batch: int, blank: int) -> Any:
    """Labels with blanks around them, (B, 2 L + 1)."""
    given = np.asarray(targets.detach().array(), np.int64)
    longest = int(lengths.max()) if batch else 0
    wide = np.full((batch, 2 * longest + 1), blank, np.int64)
    if given.ndim == 1 and int(lengths.sum()) != given.size:
        raise ShapeError(f"ctc_loss: {given.size} targets do not fit target_lengths of {int(lengths.sum())} in total")
    if given.ndim == 2 and (given.shape[0] != batch or given.shape[1] < longest):
        raise ShapeError(f"ctc_loss: targets of {list(given.shape)} do not hold {batch} rows of up to {longest}")
    at = 0
    for b, n in enumerate(lengths):
        wide[b, 1 : 2 * n : 2] = given[b, :n] if given.ndim == 2 else given[at : at + n]
        at += n
    return wide


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

    "mean" divides by the lengths of targets, then averages. Targets and lengths are read when this is called."""
    single = log_probs.ndim == 2
    x = log_probs.unsqueeze(1) if single else log_probs
    if x.ndim != 3:
        raise ShapeError(f"ctc_loss needs log_probs (T, B, C) or (T, C), found {list(log_probs.shape)}")
    steps, batch, classes = x.shape
    if not 0 <= blank < classes:
        raise ValueError(f"blank must be in label range, found {blank} of {classes} classes")
    times = np.asarray(as_tensor(input_lengths).array(), np.int64).reshape(-1)
    lengths = np.asarray(as_tensor(target_lengths).array(), np.int64).reshape(-1)
    if times.shape != (batch,) or lengths.shape != (batch,):
        raise ShapeError(f"ctc_loss: input_lengths and target_lengths must be of size {batch}")
    if batch and int(times.max()) > steps:
        raise ShapeError(f"Expected input_lengths to have value at most {steps}, but got value {int(times.max())}")
    labels = _targets(targets.unsqueeze(0) if single and targets.ndim == 1 else targets, lengths, batch, blank)
    width = labels.shape[1]
    place = np.arange(width)
    # a step of two is allowed onto a label that differs from the one before
    jump = np.zeros(labels.shape, bool)
    jump[:, 2:] = (labels[:, 2:] != blank) & (labels[:, 2:] != labels[:, :-2])
    may_jump = from_array(jump)
    scores = x.gather(2, from_array(np.broadcast_to(labels, (steps, batch, width)).copy()))
    first = from_array(np.broadcast_to((place < 2) & (place <= 2 * lengths[:, None]), labels.shape).copy())
    alpha = where(first, scores[0], LOW)
    pad = FUNCTIONS["pad"]
    for t in range(1, steps):
        one = pad(alpha, (1, 0), value=LOW)[:, :width]
        two = where(may_jump, pad(alpha, (2, 0), value=LOW)[:, :width], LOW)
        moved = _log_sum(alpha, one, two) + scores[t]
        new = where(moved > LOW / 2, moved, LOW)
        alpha = new if (times > t).all() else where(from_array(times > t).unsqueeze(1), new, alpha)
    last = from_array(2 * lengths).unsqueeze(1)
    end = alpha.gather(1, last).squeeze(1)
    before = alpha.gather(1, (last - 1).clamp(min=0)).squeeze(1)
    before = where(from_array(lengths > 0), before, LOW)
    likelihood = _log_sum(end, before)
    possible = likelihood.detach() > LOW / 2
    loss = where(possible, -likelihood, 0.0 if zero_infinity else float("inf"))
    if reduction == "mean":
        return (loss / from_array(np.maximum(lengths, 1), loss.dtype)).mean()
    return reduced(loss.squeeze(0) if single else loss, reduction)
