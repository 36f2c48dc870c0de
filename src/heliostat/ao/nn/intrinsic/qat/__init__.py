"""Fused modules that train with rounded weights."""

from __future__ import annotations

from .batch_norm import (
    ConvBn1d,
    ConvBn2d,
    ConvBn3d,
    ConvBnReLU1d,
    ConvBnReLU2d,
    ConvBnReLU3d,
    LinearBn1d,
    freeze_bn_stats,
    update_bn_stats,
)
from .relu import ConvReLU1d, ConvReLU2d, ConvReLU3d, LinearReLU

__all__ = [
    "ConvBn1d", "ConvBn2d", "ConvBn3d", "ConvBnReLU1d", "ConvBnReLU2d", "ConvBnReLU3d", "ConvReLU1d", "ConvReLU2d",
    "ConvReLU3d", "LinearBn1d", "LinearReLU", "freeze_bn_stats", "update_bn_stats",
]  # fmt: skip
