"""What PyTorch has for complex numbers and for lazily conjugated or negated tensors, of tensors that are neither;
and the parts of floats.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from ..diagnostics import DTypeError
from ..ir.types import DType, bf16, i32
from .core import Tensor, convert
from .dtypes import can_cast as _can_cast
from .dtypes import dtype_of
from .levels import on_host
from .pointwise import floats
from .register import FUNCTIONS, function


@function()
def conj(input: Tensor) -> Tensor:
    """input: it has no imaginary part."""
    return input


@function()
def conj_physical(input: Tensor) -> Tensor:
    """input: it has no imaginary part."""
    return input


@function()
def real(input: Tensor) -> Tensor:
    """input: it has no imaginary part."""
    return input


@function()
def resolve_conj(input: Tensor) -> Tensor:
    """input: no tensor is lazily conjugated."""
    return input


@function()
def resolve_neg(input: Tensor) -> Tensor:
    """input: no tensor is lazily negated."""
    return input


@function()
def is_conj(input: Tensor) -> bool:
    """False: no tensor is lazily conjugated."""
    return False


@function()
def is_neg(input: Tensor) -> bool:
    """False: no tensor is lazily negated."""
    return False


@function()
def angle(input: Tensor) -> Tensor:
    """pi for negative elements, 0 for others, NaN for NaN; as floats."""
    x = floats(input)
    turned = FUNCTIONS["where"](x < 0, math.pi, x * 0)
    made: Tensor = FUNCTIONS["where"](FUNCTIONS["isinf"](x) & (x > 0), 0.0, turned)
    return made


@function(method=False)
def can_cast(from_: DType, to: DType) -> bool:
    """Whether values of one dtype may be written into a tensor of another."""
    return _can_cast(dtype_of(from_), dtype_of(to))


class Frexp(NamedTuple):
    """Parts of floats: mantissa * 2 ** exponent."""

    mantissa: Tensor
    exponent: Tensor


@function()
def frexp(input: Tensor) -> Frexp:
    """Mantissas of 1/2 <= |m| < 1, and exponents, i32. float16, float32, float64; the gradient goes to the mantissa."""
    if not input.dtype.is_float or input.dtype == bf16:
        raise DTypeError(f"frexp takes float16, float32 and float64, found {input.dtype}")
    exponent = convert(on_host(lambda a: np.frexp(a)[1], input), i32)
    plain = on_host(lambda a: np.frexp(a)[0], input)
    if not input.requires_grad:
        return Frexp(plain, exponent)
    scale = on_host(lambda e: np.ldexp(np.ones((), np.float64), -e), exponent).to(input.dtype)
    return Frexp(input * scale, exponent)
