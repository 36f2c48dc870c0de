"""Losses. `reduction`: "none" keeps one number for each element or sample, "mean" and "sum" give one number."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from typing import Any

from ... import ops
from ...diagnostics import DTypeError, ShapeError
from ...ir.types import f32, i64
from ...tensor import FUNCTIONS, Tensor
from ...tensor.autocast import ruled
from ...tensor.conversion import scalar
from ...tensor.core import wrap
from ...tensor.index import check_known
from .activation import logsigmoid, softplus
from .linear import cosine_similarity, pairwise_distance

where = FUNCTIONS["where"]


def legacy(size_average: bool | None, reduce: bool | None, reduction: str) -> str:
    """The reduction that PyTorch's former arguments mean."""
    if size_average is None and reduce is None:
        return reduction
    if reduce is False:
        return "none"
    return "sum" if size_average is False else "mean"


def reduced(loss: Tensor, reduction: str) -> Tensor:
    """All of a loss, its mean or its sum."""
    if reduction == "none":
        return loss
    if reduction == "mean":
        return loss.mean()
    if reduction == "sum":
        return loss.sum()
    raise ValueError(f"{reduction} is not a valid value for reduction")


def _fits(name: str, input: Tensor, target: Tensor) -> None:
    if input.shape != target.shape:
        warnings.warn(
            f"{name}: a target size ({list(target.shape)}) that is different to the input size ({list(input.shape)}) "
            f"will likely lead to incorrect results due to broadcasting.",
            stacklevel=3,
        )


def _same(name: str, input: Tensor, target: Tensor) -> None:
    if input.shape != target.shape:
        raise ShapeError(
            f"{name}: target size ({list(target.shape)}) must be the same as input size ({list(input.shape)})"
        )


def _weighed(loss: Tensor, weight: Tensor | None, reduction: str) -> Tensor:
    if weight is None:
        return reduced(loss, reduction)
    weighed = loss * weight
    return weighed.sum() / weight.expand_as(loss).sum() if reduction == "mean" else reduced(weighed, reduction)


@ruled
def mse_loss(
    input: Tensor, target: Tensor, size_average: bool | None = None, reduce: bool | None = None,
    reduction: str = "mean", weight: Tensor | None = None,
) -> Tensor:  # fmt: skip
    """(x - y)^2."""
    _fits("mse_loss", input, target)
    d = input - target
    return _weighed(d * d, weight, legacy(size_average, reduce, reduction))


@ruled
def l1_loss(
    input: Tensor, target: Tensor, size_average: bool | None = None, reduce: bool | None = None,
    reduction: str = "mean", weight: Tensor | None = None,
) -> Tensor:  # fmt: skip
    """|x - y|."""
    _fits("l1_loss", input, target)
    return _weighed((input - target).abs(), weight, legacy(size_average, reduce, reduction))


@ruled
def smooth_l1_loss(
    input: Tensor, target: Tensor, size_average: bool | None = None, reduce: bool | None = None,
    reduction: str = "mean", beta: float = 1.0,
) -> Tensor:  # fmt: skip
    """d^2 / (2 beta) below beta, else d - beta / 2, of d = |x - y|."""
    if beta < 0:
        raise ValueError(f"smooth_l1_loss does not support negative values for beta, found {beta}")
    _fits("smooth_l1_loss", input, target)
    how = legacy(size_average, reduce, reduction)
    if beta == 0:
        return l1_loss(input, target, reduction=how)
    d = (input - target).abs()
    return reduced(where(d < beta, d * d * (0.5 / beta), d - 0.5 * beta), how)


@ruled
def huber_loss(
    input: Tensor, target: Tensor, reduction: str = "mean", delta: float = 1.0, weight: Tensor | None = None
) -> Tensor:
    """d^2 / 2 below delta, else delta (d - delta / 2), of d = |x - y|."""
    if delta <= 0:
        raise ValueError(f"huber_loss does not support non-positive values for delta, found {delta}")
    _fits("huber_loss", input, target)
    d = (input - target).abs()
    return _weighed(where(d < delta, d * d * 0.5, (d - 0.5 * delta) * delta), weight, reduction)


@ruled
def binary_cross_entropy(
    input: Tensor, target: Tensor, weight: Tensor | None = None, size_average: bool | None = None,
    reduce: bool | None = None, reduction: str = "mean",
) -> Tensor:  # fmt: skip
    """-(y log p + (1 - y) log(1 - p)), logarithms at least -100. input: probabilities."""
    if input.shape != target.shape:
        raise ShapeError(
            f"Using a target size ({list(target.shape)}) that is different to the input size ({list(input.shape)}) is "
            f"not supported. Please ensure they have the same size."
        )
    tiny = 1e-12
    p = input.clamp(min=tiny) if input.dtype.name != "f64" else input.clamp(min=1e-100)
    q = (1 - input).clamp(min=tiny) if input.dtype.name != "f64" else (1 - input).clamp(min=1e-100)
    low = where(input <= 0, -100.0, p.log().clamp(min=-100.0))
    high = where(input >= 1, -100.0, q.log().clamp(min=-100.0))
    loss = -(target * low + (1 - target) * high)
    return reduced(loss if weight is None else loss * weight, legacy(size_average, reduce, reduction))


@ruled
def binary_cross_entropy_with_logits(
    input: Tensor, target: Tensor, weight: Tensor | None = None, size_average: bool | None = None,
    reduce: bool | None = None, reduction: str = "mean", pos_weight: Tensor | None = None,
) -> Tensor:  # fmt: skip
    """`binary_cross_entropy` of sigmoid(x), without overflow; pos_weight weighs the positive part."""
    _same("binary_cross_entropy_with_logits", input, target)
    if pos_weight is None:
        loss = (1 - target) * input - logsigmoid(input)
    else:
        loss = (1 - target) * input - (1 + (pos_weight - 1) * target) * logsigmoid(input)
    return reduced(loss if weight is None else loss * weight, legacy(size_average, reduce, reduction))


@ruled
def kl_div(
    input: Tensor, target: Tensor, size_average: bool | None = None, reduce: bool | None = None,
    reduction: str = "mean", log_target: bool = False,
) -> Tensor:  # fmt: skip
    """target * (log target - input) of log probabilities input; "batchmean" divides the sum by the first axis."""
    how = legacy(size_average, reduce, reduction)
    loss = target.exp() * (target - input) if log_target else target.xlogy(target) - target * input
    return loss.sum() / input.shape[0] if how == "batchmean" else reduced(loss, how)


@ruled
def poisson_nll_loss(
    input: Tensor, target: Tensor, log_input: bool = True, full: bool = False, size_average: bool | None = None,
    eps: float = 1e-8, reduce: bool | None = None, reduction: str = "mean",
) -> Tensor:  # fmt: skip
    """exp(x) - y x, or x - y log(x + eps) where x is no logarithm; `full` adds Stirling's approximation."""
    loss = input.exp() - target * input if log_input else input - target * (input + eps).log()
    if full:
        large = target > 1
        y = where(large, target, 1.0)
        term = y * y.log() - y + (y * (2 * math.pi)).log() * 0.5
        loss = loss + where(large, term, 0.0)
    return reduced(loss, legacy(size_average, reduce, reduction))


def gaussian_nll_loss(
    input: Tensor, target: Tensor, var: Tensor | float, full: bool = False, eps: float = 1e-6, reduction: str = "mean"
) -> Tensor:
    """(log var + (x - y)^2 / var) / 2 of a variance that is at least eps (without a gradient of that bound)."""
    v = var if isinstance(var, Tensor) else FUNCTIONS["full_like"](input, var)
    if v.shape != input.shape:
        if v.ndim == input.ndim - 1 and input.shape[:-1] == v.shape:
            v = v.unsqueeze(-1)
        elif v.ndim != input.ndim or any(a not in (1, b) for a, b in zip(v.shape, input.shape, strict=True)):
            raise ShapeError(f"var is of incorrect size: {list(v.shape)} for an input of {list(input.shape)}")
    v = v + (v.detach().clamp(min=eps) - v.detach())
    d = input - target
    loss = (v.log() + d * d / v) * 0.5
    return reduced(loss + 0.5 * math.log(2 * math.pi) if full else loss, reduction)


# --- classes ----------------------------------------------------------------------------------------------------------
def _rows(input: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    """Scores as (M, C) and classes as (M,) of (C,), (N, C) or (N, C, d1 ..)."""
    if input.ndim == 0:
        raise ShapeError("Expected input with at least one axis of classes")
    if input.ndim == 1:
        if target.ndim != 0 and target.numel() != 1:
            raise ShapeError(f"Expected a target of one class, found shape {list(target.shape)}")
        return input.unsqueeze(0), target.reshape(1)
    if input.shape[0] != (target.shape[0] if target.ndim else -1):
        found = target.shape[0] if target.ndim else "none"
        raise ShapeError(f"Expected input batch_size ({input.shape[0]}) to match target batch_size ({found}).")
    if input.shape[2:] != target.shape[1:]:
        expected = [input.shape[0], *input.shape[2:]]
        raise ShapeError(f"Expected target size {expected}, got {list(target.shape)}")
    rows = input if input.ndim == 2 else input.movedim(1, -1).reshape(-1, input.shape[1])
    return rows, target if target.ndim == 1 else target.reshape(-1)


@ruled
def nll_loss(
    input: Tensor, target: Tensor, weight: Tensor | None = None, size_average: bool | None = None,
    ignore_index: int = -100, reduce: bool | None = None, reduction: str = "mean",
) -> Tensor:  # fmt: skip
    """-input[class] of log probabilities. input: (C,), (N, C) or (N, C, d1 ..); target: integers, (N, d1 ..)."""
    how = legacy(size_average, reduce, reduction)
    if target.dtype.is_float:
        raise DTypeError(f"nll_loss takes classes as integers, found a target of {target.dtype}")
    rows, classes = _rows(input, target)
    if weight is not None and tuple(weight.shape) != (rows.shape[1],):
        raise ShapeError(
            f"weight tensor should be defined either for all {rows.shape[1]} classes or no classes but got weight "
            f"tensor of shape: {list(weight.shape)}"
        )
    check_known("class", target, rows.shape[1], ignore_index)
    # A mask instead of gathered elements: it is a part of the softmax's loops, and so is its gradient, no scatter.
    mask = ops.eq(ops.arange(rows.shape[1]), ops.reshape(ops.cast(classes.value, i64), (-1, 1)))
    if how == "mean" and weight is None and ignore_index < 0 and classes.dtype == i64 and input.dtype == f32:
        # of every day; the same values as below without a tensor for each
        chosen = ops.where(mask, rows.value, scalar(0.0, f32))
        counts = ops.cast(ops.ne(classes.value, scalar(ignore_index, i64)), f32)
        return wrap(ops.div(ops.sum(ops.neg(ops.sum(chosen, 1)), 0), ops.sum(counts, 0)), rows)
    hit = wrap(mask)
    if 0 <= ignore_index < rows.shape[1]:
        hit = hit & (classes != ignore_index).reshape(-1, 1)
    loss = -where(hit, rows, 0.0).sum(1)
    if weight is None:
        counted = (classes != ignore_index).to(input.dtype)
    else:
        counted = where(hit, weight, 0.0).sum(1)
        loss = loss * counted
    if how == "mean":
        return loss.sum() / counted.sum()
    return loss.reshape(target.shape) if how == "none" else reduced(loss, how)


@ruled
def cross_entropy(
    input: Tensor, target: Tensor, weight: Tensor | None = None, size_average: bool | None = None,
    ignore_index: int = -100, reduce: bool | None = None, reduction: str = "mean", label_smoothing: float = 0.0,
) -> Tensor:  # fmt: skip
    """Negative log likelihood of the softmax over classes. input: (C,), (N, C) or (N, C, d1 ..); target: classes as
    integers, or probabilities of the shape of input."""
    if not 0 <= label_smoothing <= 1:
        raise ValueError(f"label_smoothing must be between 0.0 and 1.0. Got: {label_smoothing}")
    how = legacy(size_average, reduce, reduction)
    axis = 0 if input.ndim == 1 else 1
    scores = input.log_softmax(axis)
    classes = input.shape[axis]
    if target.dtype.is_float:
        return _soft_cross_entropy(scores, target, weight, how, label_smoothing, axis)
    hard = nll_loss(scores, target, weight, ignore_index=ignore_index, reduction=how)
    if label_smoothing == 0:
        return hard
    rows, flat = _rows(scores, target)
    kept = flat != ignore_index
    smooth = -(rows if weight is None else rows * weight).sum(1)
    smooth = where(kept, smooth, 0.0)
    if how == "mean":
        if weight is None:
            total = kept.to(input.dtype).sum()
        else:
            total = (kept.to(input.dtype) * weight.index_select(0, where(kept, flat, 0))).sum()
        spread = smooth.sum() / total
    else:
        spread = smooth.reshape(target.shape) if how == "none" else reduced(smooth, how)
    return hard * (1 - label_smoothing) + spread * (label_smoothing / classes)


def _soft_cross_entropy(
    scores: Tensor, target: Tensor, weight: Tensor | None, how: str, smoothing: float, axis: int
) -> Tensor:
    if scores.shape != target.shape:
        raise ShapeError(
            f"Expected floating point type for target with class probabilities of shape {list(scores.shape)}, "
            f"got {list(target.shape)}"
        )
    classes = scores.shape[axis]
    if smoothing > 0:
        target = target * (1 - smoothing) + smoothing / classes
    if weight is not None:
        scores = scores * weight.reshape([-1 if i == axis else 1 for i in range(scores.ndim)])
    loss = -(scores * target).sum(axis)
    if how == "mean":
        return loss.sum() / max(scores.numel() // classes, 1)
    return reduced(loss, how)


@ruled
def multi_margin_loss(
    input: Tensor, target: Tensor, p: int = 1, margin: float = 1.0, weight: Tensor | None = None,
    size_average: bool | None = None, reduce: bool | None = None, reduction: str = "mean",
) -> Tensor:  # fmt: skip
    """sum over other classes of max(0, margin - x[y] + x[i])^p over C. input: (N, C) or (C,), target: (N,) or ()."""
    if p not in (1, 2):
        raise ValueError("only p == 1 and p == 2 supported")
    rows, classes = _rows(input if input.ndim else input.reshape(1), target)
    right = rows.gather(1, classes.unsqueeze(1))
    loss = (margin - right + rows).relu()
    loss = loss * loss if p == 2 else loss
    if weight is not None:
        loss = loss * weight.index_select(0, classes).unsqueeze(1)
    others = FUNCTIONS["arange"](rows.shape[1]) != classes.unsqueeze(1)
    loss = where(others, loss, 0.0).sum(1) / rows.shape[1]
    return reduced(loss if input.ndim > 1 else loss.squeeze(0), legacy(size_average, reduce, reduction))


@ruled
def multilabel_margin_loss(
    input: Tensor, target: Tensor, size_average: bool | None = None, reduce: bool | None = None,
    reduction: str = "mean",
) -> Tensor:  # fmt: skip
    """sum of max(0, 1 - x[y] + x[i]) over labels y and other classes i, over C. target: labels, up to the first -1."""
    _same("multilabel_margin_loss", input, target)
    rows = input.reshape(-1, input.shape[-1]) if input.ndim else input.reshape(1, 1)
    labels = target.reshape(rows.shape)
    known = (labels < 0).to(labels.dtype).cumsum(1) == 0
    safe = where(known, labels, 0)
    classes = FUNCTIONS["arange"](rows.shape[1])
    is_label = ((safe.unsqueeze(2) == classes) & known.unsqueeze(2)).any(1)  # (N, C)
    margins = (1 - rows.gather(1, safe).unsqueeze(2) + rows.unsqueeze(1)).relu()  # (N, label, class)
    counted = known.unsqueeze(2) & is_label.logical_not().unsqueeze(1)
    loss = where(counted, margins, 0.0).sum((1, 2)) / rows.shape[1]
    return reduced(loss if input.ndim > 1 else loss.squeeze(0), legacy(size_average, reduce, reduction))


def multilabel_soft_margin_loss(
    input: Tensor, target: Tensor, weight: Tensor | None = None, size_average: bool | None = None,
    reduce: bool | None = None, reduction: str = "mean",
) -> Tensor:  # fmt: skip
    """Mean over classes of the binary cross entropy of sigmoid(x)."""
    loss = -(target * logsigmoid(input) + (1 - target) * logsigmoid(-input))
    loss = loss if weight is None else loss * weight
    return reduced(loss.sum(-1) / input.shape[-1], legacy(size_average, reduce, reduction))


# --- margins and pairs ------------------------------------------------------------------------------------------------
@ruled
def soft_margin_loss(
    input: Tensor, target: Tensor, size_average: bool | None = None, reduce: bool | None = None,
    reduction: str = "mean",
) -> Tensor:  # fmt: skip
    """log(1 + exp(-y x)) of y in -1, 1."""
    return reduced(softplus(-target * input), legacy(size_average, reduce, reduction))


@ruled
def hinge_embedding_loss(
    input: Tensor, target: Tensor, margin: float = 1.0, size_average: bool | None = None,
    reduce: bool | None = None, reduction: str = "mean",
) -> Tensor:  # fmt: skip
    """x where y is 1, max(0, margin - x) where y is -1."""
    near = where(target != -1, input, 0.0)
    far = where(target != 1, (margin - input).relu(), 0.0)
    return reduced(near + far, legacy(size_average, reduce, reduction))


@ruled
def margin_ranking_loss(
    input1: Tensor, input2: Tensor, target: Tensor, margin: float = 0.0, size_average: bool | None = None,
    reduce: bool | None = None, reduction: str = "mean",
) -> Tensor:  # fmt: skip
    """max(0, -y (x1 - x2) + margin)."""
    if input1.ndim != input2.ndim or input1.ndim != target.ndim:
        raise ShapeError(
            f"margin_ranking_loss : All input tensors should have same dimension but got sizes: input1: "
            f"{list(input1.shape)}, input2: {list(input2.shape)}, target: {list(target.shape)}"
        )
    loss = -target * (input1 - input2) + margin
    return reduced(where(loss >= 0, loss, 0.0), legacy(size_average, reduce, reduction))


@ruled
def cosine_embedding_loss(
    input1: Tensor, input2: Tensor, target: Tensor, margin: float = 0.0, size_average: bool | None = None,
    reduce: bool | None = None, reduction: str = "mean",
) -> Tensor:  # fmt: skip
    """1 - cos where y is 1, max(0, cos - margin) where y is -1. input1, input2: (N, D) or (D,); target: (N,) or ()."""
    if target.ndim + 1 != input1.ndim or input1.ndim != input2.ndim:
        raise ShapeError(
            f"{target.ndim}D target tensor expects {target.ndim + 1}D input tensors, but found inputs with sizes "
            f"{list(input1.shape)} and {list(input2.shape)}."
        )
    axis = input1.ndim - 1
    eps = 1e-12
    a, b = (input1 * input1).sum(axis) + eps, (input2 * input2).sum(axis) + eps
    cos = (input1 * input2).sum(axis) / (a * b).sqrt()
    far = cos - margin
    loss = where(target == 1, 1 - cos, 0.0) + where(target == -1, where(far > 0, far, 0.0), 0.0)
    return reduced(loss, legacy(size_average, reduce, reduction))


@ruled
def triplet_margin_loss(
    anchor: Tensor, positive: Tensor, negative: Tensor, margin: float = 1.0, p: float = 2, eps: float = 1e-6,
    swap: bool = False, size_average: bool | None = None, reduce: bool | None = None, reduction: str = "mean",
) -> Tensor:  # fmt: skip
    """max(0, margin + d(a, p) - d(a, n)) of p-norms; with `swap` the smaller of d(a, n) and d(p, n)."""

    def distance(x: Tensor, y: Tensor) -> Tensor:
        return pairwise_distance(x, y, p, eps)

    how = legacy(size_average, reduce, reduction)
    return triplet_margin_with_distance_loss(
        anchor, positive, negative, distance_function=distance, margin=margin, swap=swap, reduction=how
    )


def triplet_margin_with_distance_loss(
    anchor: Tensor, positive: Tensor, negative: Tensor, *,
    distance_function: Callable[[Tensor, Tensor], Tensor] | None = None, margin: float = 1.0, swap: bool = False,
    reduction: str = "mean",
) -> Tensor:  # fmt: skip
    """max(0, margin + d(a, p) - d(a, n)) of any distance."""
    if margin <= 0:
        raise ValueError(f"margin must be greater than 0, got {margin}")
    if not anchor.ndim == positive.ndim == negative.ndim:
        raise ShapeError(
            f"The anchor, positive, and negative tensors are expected to have the same number of dimensions, but got: "
            f"anchor {anchor.ndim}D, positive {positive.ndim}D, and negative {negative.ndim}D inputs"
        )
    d: Any = pairwise_distance if distance_function is None else distance_function
    near, far = d(anchor, positive), d(anchor, negative)
    if swap:
        far = far.minimum(d(positive, negative))
    loss = margin + near - far
    return reduced(where(loss < 0, 0.0, loss), reduction)


__all__ = [
    "binary_cross_entropy", "binary_cross_entropy_with_logits", "cosine_embedding_loss", "cosine_similarity",
    "cross_entropy", "gaussian_nll_loss", "hinge_embedding_loss", "huber_loss", "kl_div", "l1_loss",
    "margin_ranking_loss", "mse_loss", "multi_margin_loss", "multilabel_margin_loss", "multilabel_soft_margin_loss",
    "nll_loss", "poisson_nll_loss", "smooth_l1_loss", "soft_margin_loss", "triplet_margin_loss",
    "triplet_margin_with_distance_loss",
]  # fmt: skip
