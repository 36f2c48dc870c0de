"""How often the most probable class is right."""

from __future__ import annotations

from ...ir.types import f32, i64
from ...tensor import Tensor


def accuracy(logits: Tensor, target: Tensor, *, dim: int = -1) -> Tensor:
    """The part of samples whose largest score is the target's. logits: (*, C), target: (*,) integers; one number."""
    return (logits.argmax(dim) == target).to(f32).mean()


def correct_count(logits: Tensor, target: Tensor, *, dim: int = -1) -> Tensor:
    """The number of samples whose largest score is the target's. logits: (*, C), target: (*,); one int64."""
    return (logits.argmax(dim) == target).to(i64).sum()
