"""Fused modules of codes."""

from __future__ import annotations

from ...quantized.conv import ConvAdd2d, ConvAddReLU2d, ConvReLU1d, ConvReLU2d, ConvReLU3d
from ...quantized.linear import LinearLeakyReLU, LinearReLU, LinearTanh
from ...quantized.values import BNReLU2d, BNReLU3d

__all__ = [
    "BNReLU2d", "BNReLU3d", "ConvAdd2d", "ConvAddReLU2d", "ConvReLU1d", "ConvReLU2d", "ConvReLU3d", "LinearLeakyReLU",
    "LinearReLU", "LinearTanh",
]  # fmt: skip
