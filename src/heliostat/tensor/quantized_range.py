"""Scale and zero point of what is quantized when it passes, as PyTorch's dynamic and fused kernels choose them."""

from __future__ import annotations

from typing import NamedTuple

from ..ir.types import f32, f64, i32
from .core import Tensor
from .register import FUNCTIONS

maximum, minimum, where = FUNCTIONS["maximum"], FUNCTIONS["minimum"], FUNCTIONS["where"]
SMALLEST_SCALE = 6.1e-5  # below it those kernels widen the range: about the smallest normal float16


class QParams(NamedTuple):
    """scale: float32, zero_point: integers, or floats for float qparams; (1,), or (C,) for each channel."""

    scale: Tensor
    zero_point: Tensor


def choose_qparams(
    min_val: Tensor, max_val: Tensor, quant_min: int, quant_max: int, symmetric: bool = False
) -> QParams:
    """Scale and zero point for values from min_val to max_val, as PyTorch's dynamic and fused kernels choose them, in
    float64: the zero point is counted from the end of the range where that is more exact. min_val, max_val: no axes or
    (C,). The results have the shape of these."""
    low, high = minimum(min_val.to(f64), 0.0), maximum(max_val.to(f64), 0.0)
    span = float(quant_max - quant_min)
    if symmetric:
        below, above = -((quant_max - quant_min) // 2 + 1), (quant_max - quant_min) // 2
        step = maximum((low / below).abs(), (high / above).abs())
        both = (low < 0) & (high > 0)
        low, high = where(both, step * below, low), where(both, step * above, high)
    scale = (high - low) / span
    scale = where((scale.to(f32) == 0) | (1.0 / scale.to(f32)).isinf(), 0.1, scale)
    small = scale < SMALLEST_SCALE
    wider = SMALLEST_SCALE / scale
    wide_low = where(low == 0, 0.0, where(high == 0, -SMALLEST_SCALE * span, low * wider))
    wide_high = where(low == 0, SMALLEST_SCALE * span, where(high == 0, 0.0, high * wider))
    low, high, scale = where(small, wide_low, low), where(small, wide_high, high), where(small, SMALLEST_SCALE, scale)
    from_low, from_high = quant_min - low / scale, quant_max - high / scale
    error_low, error_high = abs(quant_min) - (low / scale).abs(), abs(quant_max) - (high / scale).abs()
    zero = where(error_low < error_high, from_low, from_high)
    if symmetric:
        zero = where(both, (quant_min + quant_max) / 2, zero)
    zero = zero.round().clamp(quant_min, quant_max)
    return QParams(scale.to(f32), zero.to(i32))
