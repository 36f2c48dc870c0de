"""The Python array API standard over tensors: `x.__array_namespace__()`.

Where the standard and PyTorch differ in names, arguments or results, `heliostat` follows PyTorch and this namespace the
standard: promotion that is blind to rank, `xy` grids, no correction of variances, positional-only arguments. There is
no uint64. The extensions `linalg` and `fft` are rooms of their own.
"""

from __future__ import annotations

import math
from typing import Any

from . import create, elementwise, fft, linalg, reduce, shape
from .dtypes import (
    Info,
    astype,
    bool,
    can_cast,
    complex64,
    complex128,
    finfo,
    float32,
    float64,
    iinfo,
    int8,
    int16,
    int32,
    int64,
    isdtype,
    result_type,
    uint8,
    uint16,
    uint32,
)

__array_api_version__ = "2025.12"
e, inf, nan, newaxis, pi = math.e, math.inf, math.nan, None, math.pi

_TABLE: dict[str, Any] = {**create.TABLE, **elementwise.TABLE, **reduce.TABLE, **shape.TABLE}
globals().update(_TABLE)


def __array_namespace_info__() -> Info:
    """What the namespace can do: dtypes, devices, capabilities."""
    return Info()


__all__ = [
    "__array_api_version__", "__array_namespace_info__", "astype", "bool", "can_cast", "complex64", "complex128",
    "e", "fft", "finfo", "float32", "float64", "iinfo", "inf", "int8", "int16", "int32", "int64", "isdtype",
    "linalg", "nan", "newaxis", "pi", "result_type", "uint8", "uint16", "uint32", *_TABLE,
]  # fmt: skip
