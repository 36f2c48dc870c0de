"""Dropout as modules: random zeros while training, nothing in evaluation."""

from __future__ import annotations

from typing import Any

from ..tensor import Tensor
from . import functional as F
from .module import Module


class _Dropout(Module):
    function: Any

    def __init__(self, p: float = 0.5, inplace: bool = False) -> None:
        super().__init__()
        if not 0 <= p <= 1:
            raise ValueError(f"dropout probability has to be between 0 and 1, but got {p}")
        self.p, self.inplace = p, inplace

    def forward(self, input: Tensor) -> Tensor:
        return type(self).function(input, self.p, self.training, self.inplace)

    def extra_repr(self) -> str:
        return f"p={self.p}, inplace={self.inplace}"


class Dropout(_Dropout):
    """Elements become 0 with probability p, others 1 / (1 - p) times as large. Any shape."""

    function = F.dropout


class Dropout1d(_Dropout):
    """Whole channels become 0. input: (N, C, L) or (C, L)."""

    function = F.dropout1d


class Dropout2d(_Dropout):
    """Whole channels become 0. input: (N, C, H, W) or (N, C, L)."""

    function = F.dropout2d


class Dropout3d(_Dropout):
    """Whole channels become 0. input: (N, C, D, H, W) or (C, D, H, W)."""

    function = F.dropout3d


class AlphaDropout(_Dropout):
    """Elements become the lowest value of SELU; mean and variance stay. Any shape."""

    function = F.alpha_dropout


class FeatureAlphaDropout(_Dropout):
    """Whole channels become the lowest value of SELU. input: (N, C, ...)."""

    function = F.feature_alpha_dropout
