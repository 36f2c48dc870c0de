"""Scale and zero point of a range of values, and the range of codes of a dtype. Nothing is read: all stays graph.

Source of the formulas: PyTorch's observers. What its kernels compute instead is `tensor.quantized_range`.
"""

from __future__ import annotations

from typing import Any

from ..diagnostics import DTypeError
from ..ir.types import DType, i32, i64
from ..tensor import FUNCTIONS, Tensor
from ..tensor.quantized import QDtype, QScheme, quint4x2, quint8
from ..tensor.quantized_range import QParams

maximum, minimum, where = FUNCTIONS["maximum"], FUNCTIONS["minimum"], FUNCTIONS["where"]


def code_range(dtype: Any, reduce_range: bool = False, custom: tuple[int, int] | None = None) -> tuple[int, int]:
    """The lowest and the highest code of a dtype, or those that are asked for; half of them if `reduce_range`.
    Raises DTypeError for floats, ValueError for a range without 0 or beyond 2 ** 31."""
    if custom is not None:
        lowest, highest = custom
        if not lowest <= 0 <= highest or lowest == highest:
            raise ValueError(f"a range of codes has 0 within and more than one code, found {lowest} to {highest}")
        if highest - lowest >= 2**32:
            raise ValueError(f"a range of codes fits 32 bits, found {lowest} to {highest}")
        return (lowest // 2, highest // 2) if reduce_range else (lowest, highest)
    if isinstance(dtype, QDtype):
        lowest, highest = dtype.lowest, dtype.highest
    elif isinstance(dtype, DType) and dtype.kind in "iu":
        lowest, highest = (-(2 ** (dtype.bits - 1)), 2 ** (dtype.bits - 1) - 1) if dtype.kind == "i" else (
            0, 2**dtype.bits - 1)  # fmt: skip
    else:
        raise DTypeError(f"codes are of an integer or a quantized dtype, found {dtype}")
    return (lowest // 2, highest // 2) if reduce_range and highest - lowest == 255 else (lowest, highest)


def is_unsigned(dtype: Any) -> bool:
    """Whether codes are kept in bytes without a sign."""
    return bool((dtype.storage if isinstance(dtype, QDtype) else dtype).kind == "u")


def is_symmetric(qscheme: QScheme) -> bool:
    """Whether the zero point is the middle of the codes."""
    return qscheme in (QScheme.per_tensor_symmetric, QScheme.per_channel_symmetric)


def is_per_channel(qscheme: QScheme) -> bool:
    """Whether there is a scale for each index of an axis."""
    return qscheme.value.startswith("per_channel")


def calculate_qparams(
    min_val: Tensor, max_val: Tensor, quant_min: int = 0, quant_max: int = 255, dtype: Any = quint8,
    qscheme: QScheme = QScheme.per_tensor_affine, eps: Any = 2.0**-23, custom_range: bool = False,
) -> QParams:  # fmt: skip
    """Scale and zero point for values from min_val to max_val, as PyTorch's observers compute them: the range is
    widened to hold 0, and a scale is at least eps. min_val, max_val: no axes or (C,); where min_val is above max_val,
    nothing was seen, and the scale is 1 and the zero point 0. custom_range: whether the middle of the codes of an
    unsigned dtype is that of quant_min and quant_max instead of 128."""
    if not min_val.numel() or not max_val.numel():
        return QParams(FUNCTIONS["ones"](1), FUNCTIONS["zeros"](1, dtype=i64))
    low, high = minimum(min_val, 0.0), maximum(max_val, 0.0)
    if qscheme == QScheme.per_channel_affine_float_qparams:
        scale = (max_val - min_val) / float(quant_max - quant_min)
        scale = where(scale > eps, scale, 1.0)
        zero = -1 * min_val / scale
    elif is_symmetric(qscheme):
        scale = maximum(maximum(-low, high) / (float(quant_max - quant_min) / 2), eps)
        middle = 0
        if is_unsigned(dtype) and dtype != quint4x2:  # whose zero point is 0 in PyTorch, too
            middle = (quant_min + quant_max) // 2 if custom_range else 2 ** (dtype.bits - 1 if isinstance(dtype, DType)
                                                                             else dtype.storage.bits - 1)  # fmt: skip
        zero = FUNCTIONS["full_like"](scale, middle, dtype=i64)
    else:
        scale = maximum((high - low) / float(quant_max - quant_min), eps)
        zero = (quant_min - (low / scale).round()).clamp(quant_min, quant_max).to(i32)
    unseen = min_val > max_val
    return QParams(where(unseen, 1.0, scale).reshape(-1), where(unseen, 0, zero).to(zero.dtype).reshape(-1))
