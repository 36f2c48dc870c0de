"""Fake quantization: floats rounded to the values that codes have, with gradients as if nothing had been rounded.

Source: arXiv 1308.3432; arithmetic as PyTorch's.
"""

from __future__ import annotations

from typing import Any

from ..diagnostics import DTypeError, ShapeError
from .conversion import convert
from .core import Tensor
from .dims import normal_dim
from .quantized import along, inverse, number
from .register import FUNCTIONS, function


def _faked(x: Tensor, scale: Any, zero_point: Any, lowest: int, highest: int) -> Tensor:
    if not x.dtype.is_float:
        raise DTypeError(f"fake quantization takes floats, found {x.dtype}")
    if lowest > highest:
        raise ValueError(f"quant_min {lowest} is above quant_max {highest}")
    plain = x.detach()
    before = isinstance(zero_point, Tensor) and zero_point.dtype.is_float  # as PyTorch, where it is no whole number
    if isinstance(zero_point, Tensor):
        zero_point = convert(zero_point, x.dtype)
    if isinstance(scale, Tensor):
        scale = convert(scale, x.dtype)
    steps = plain * inverse(scale)
    steps = (steps + zero_point).round() if before else steps.round() + zero_point
    y = (steps.clamp(lowest, highest) - zero_point) * scale
    if not x.requires_grad:
        return convert(y, x.dtype)
    inside = (steps >= lowest) & (steps <= highest)
    passed = FUNCTIONS["where"](inside, x, 0.0)
    return convert(y, x.dtype).detach() + (passed - passed.detach())


@function(method=False)
def fake_quantize_per_tensor_affine(
    input: Tensor, scale: Any, zero_point: Any, quant_min: int, quant_max: int
) -> Tensor:
    """(clamp(round(input / scale) + zero_point, quant_min, quant_max) - zero_point) * scale, in the dtype of input.

    The gradient is 1 where the code is within the range, and 0 elsewhere. scale, zero_point: numbers, or tensors of one
    number, which take no gradients. Raises DTypeError for integers."""
    return _faked(input, number(scale), number(zero_point), quant_min, quant_max)


@function(method=False)
def fake_quantize_per_channel_affine(
    input: Tensor, scale: Tensor, zero_point: Tensor, axis: int, quant_min: int, quant_max: int
) -> Tensor:
    """`fake_quantize_per_tensor_affine` with a scale and a zero point for each index of an axis, (C,) both."""
    axis = normal_dim(axis, input.ndim, "fake_quantize_per_channel_affine")
    for name, x in (("scale", scale), ("zero_point", zero_point)):
        if tuple(x.shape) != (input.shape[axis],):
            what = f"fake_quantize_per_channel_affine: {name} has shape {list(x.shape)}"
            raise ShapeError(f"{what}, axis {axis} has {input.shape[axis]} indices")
    s, z = (along(x, axis, input.ndim) for x in (scale, zero_point))
    return _faked(input, s, z, quant_min, quant_max)
