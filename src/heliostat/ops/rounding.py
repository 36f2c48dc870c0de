"""Rounding of reference values to a dtype: what a cast means, and what storing a result does."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..ir.graph import round_bf16, storage_dtype
from ..ir.types import DType, bf16

Array = np.ndarray[Any, np.dtype[Any]]


def to_dtype(array: Array, dtype: DType) -> Array:
    """Values rounded to a dtype, as the array type that holds it (bf16 in float32).

    Floats go to the nearest float, ties to even, or to infinity; to integers toward zero, saturating, NaN to 0.
    Integers wrap around. Anything but 0 is true.
    """
    array = np.asarray(array)
    with np.errstate(over="ignore", invalid="ignore"):
        if dtype == bf16:
            return round_bf16(array.astype(np.float32))
        target = np.dtype(storage_dtype(dtype))
        if target.kind not in "iu" or array.dtype.kind != "f":
            return array.astype(target)
        info = np.iinfo(target)
        whole = np.clip(np.nan_to_num(np.trunc(array), nan=0.0, posinf=np.inf, neginf=-np.inf), info.min, info.max)
        return np.where(whole >= float(info.max), info.max, np.where(whole >= float(info.max), 0, whole).astype(target))
