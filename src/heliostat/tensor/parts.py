"""What PyTorch has for complex numbers and for lazily conjugated or negated tensors, of tensors that are neither;
and the parts of floats.
"""

from __future__ import annotations

import math
from typing import NamedTuple

from .. import ops
from ..diagnostics import DTypeError
from ..ir.types import DType, f32, f64, i32
from .core import Tensor, wrap
from .dtypes import can_cast as _can_cast
from .dtypes import dtype_of
from .pointwise import floats
from .register import FUNCTIONS, a_tensor, function


@function()
def conj(input: Tensor) -> Tensor:
    """input: it has no imaginary part."""
    return a_tensor("conj", input)


@function()
def conj_physical(input: Tensor) -> Tensor:
    """input: it has no imaginary part."""
    return a_tensor("conj_physical", input)


@function(method=False)  # of tensors it is an attribute
def real(input: Tensor) -> Tensor:
    """input: it has no imaginary part."""
    return a_tensor("real", input)


@function()
def resolve_conj(input: Tensor) -> Tensor:
    """input: no tensor is lazily conjugated."""
    return a_tensor("resolve_conj", input)


@function()
def resolve_neg(input: Tensor) -> Tensor:
    """input: no tensor is lazily negated."""
    return a_tensor("resolve_neg", input)


@function()
def is_conj(input: Tensor) -> bool:
    """False: no tensor is lazily conjugated."""
    a_tensor("is_conj", input)
    return False


@function()
def is_neg(input: Tensor) -> bool:
    """False: no tensor is lazily negated."""
    a_tensor("is_neg", input)
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
    """Mantissas of 1/2 <= |m| < 1, and exponents, i32. input: floats; the gradient goes to the mantissa.
    0, infinities and NaN are their own mantissas, with exponent 0."""
    if not input.dtype.is_float:
        raise DTypeError(f"frexp takes floats, found {input.dtype}")
    where = FUNCTIONS["where"]
    double = input.dtype == f64
    digits, bias = (52, 1022) if double else (23, 126)
    x = input.detach().to(f64 if double else f32)
    small = x.abs() < 2.0 ** (1 - bias)  # denormal: the bits of a multiple have its exponent
    bits = wrap(ops.bitcast(where(small, x * 2.0**digits, x).value))
    exponent = ((bits >> digits) & (2 * bias + 3)) - bias - where(small, digits, 0)
    exponent = where((x != 0) & x.isfinite(), exponent, 0).to(i32)
    # In two factors, as 2 ** -exponent is infinite for denormal numbers.
    power = -exponent.to(x.dtype)
    half = (power * 0.5).floor()
    mantissa = input.to(x.dtype) * half.exp2() * (power - half).exp2()
    return Frexp(mantissa.to(input.dtype), exponent)
