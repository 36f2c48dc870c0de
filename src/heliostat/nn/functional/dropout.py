"""Dropout: random zeros while training. What is kept is made larger, so that the mean stays."""

from __future__ import annotations

import math
import warnings

from ...tensor import FUNCTIONS, Tensor
from .activation import SELU_ALPHA, SELU_SCALE, writable


def _check(p: float) -> None:
    if not 0.0 <= p <= 1.0:
        raise ValueError(f"dropout probability has to be between 0 and 1, but got {p}")


def _kept(input: Tensor, p: float, shape: list[int]) -> Tensor:
    return (FUNCTIONS["rand"](*shape) >= p).to(input.dtype)


def _dropout(input: Tensor, p: float, training: bool, shape: list[int]) -> Tensor:
    _check(p)
    if not training or p == 0:
        return input
    return input * 0 if p == 1 else input * (_kept(input, p, shape) * (1 / (1 - p)))


@writable
def dropout(input: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False) -> Tensor:
    """Elements become 0 with probability p, others 1 / (1 - p) times as large. Any shape."""
    return _dropout(input, p, training, list(input.shape))


def _channels(input: Tensor, axes: int, p: float, training: bool) -> Tensor:
    _check(p)
    if input.ndim not in (axes + 1, axes + 2):
        warnings.warn(
            f"dropout{axes}d: Received a {input.ndim}-D input, which is not (N, C, *axes) or (C, *axes)", stacklevel=3
        )
    lead = 1 if input.ndim == axes + 1 else min(2, input.ndim)
    shape = [*input.shape[:lead], *[1] * (input.ndim - lead)]
    return _dropout(input, p, training, shape)


@writable
def dropout1d(input: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False) -> Tensor:
    """Whole channels become 0. input: (N, C, L) or (C, L)."""
    return _channels(input, 1, p, training)


@writable
def dropout2d(input: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False) -> Tensor:
    """Whole channels become 0. input: (N, C, H, W), or (N, C, L)."""
    lead = min(2, input.ndim)  # PyTorch takes three axes for (N, C, L) here
    return _dropout(input, p, training, [*input.shape[:lead], *[1] * (input.ndim - lead)])


@writable
def dropout3d(input: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False) -> Tensor:
    """Whole channels become 0. input: (N, C, D, H, W) or (C, D, H, W)."""
    return _channels(input, 3, p, training)


def _alpha(input: Tensor, p: float, training: bool, shape: list[int]) -> Tensor:
    _check(p)
    if not training or p == 0:
        return input
    if p == 1:
        return input * 0
    low = -SELU_ALPHA * SELU_SCALE
    a = 1 / math.sqrt((low * low * p + 1) * (1 - p))
    kept = _kept(input, p, shape)
    return (input * kept + (1 - kept) * low) * a - a * low * p


@writable
def alpha_dropout(input: Tensor, p: float = 0.5, training: bool = False, inplace: bool = False) -> Tensor:
    """Elements become the lowest value of SELU with probability p; mean and variance stay. Source: arXiv 1706.02515."""
    return _alpha(input, p, training, list(input.shape))


@writable
def feature_alpha_dropout(input: Tensor, p: float = 0.5, training: bool = False, inplace: bool = False) -> Tensor:
    """`alpha_dropout` of whole channels. input: (N, C, ...)."""
    lead = min(2, input.ndim)
    return _alpha(input, p, training, [*input.shape[:lead], *[1] * (input.ndim - lead)])
