"""Modules of floats that train with rounded weights; those with ReLU are `intrinsic.qat`'s."""

from __future__ import annotations

from .modules import Conv1d, Conv2d, Conv3d, Embedding, EmbeddingBag, Linear  # isort: skip  others need these
from ..intrinsic.qat.relu import ConvReLU1d, ConvReLU2d, ConvReLU3d, LinearReLU

__all__ = [
    "Conv1d", "Conv2d", "Conv3d", "ConvReLU1d", "ConvReLU2d", "ConvReLU3d", "Embedding", "EmbeddingBag", "Linear",
    "LinearReLU",
]  # fmt: skip
