"""Modules of quantized models: `intrinsic` (fused), `qat` (that train with rounded weights), `quantized` (of codes)."""

from __future__ import annotations

from . import intrinsic, qat, quantized
from .intrinsic import qat as _intrinsic_qat
from .intrinsic import quantized as _intrinsic_quantized

__all__ = ["intrinsic", "qat", "quantized"]
assert _intrinsic_qat
assert _intrinsic_quantized
