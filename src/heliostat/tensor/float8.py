"""`Float8Tensor`: floats of eight bits, `float8_e4m3fn` and `float8_e5m2`, which are kept and converted: there is no
arithmetic of them. Source of the formats: arXiv 2209.05433, table 1, as PyTorch has them.

Numbers become codes by one rounding, ties to even, as a search among the middles of neighbours; codes become numbers by
a table.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any

import numpy as np

from ..diagnostics import DTypeError, ShapeError, UnsupportedError
from ..ir.types import DType, f32, i64, u8
from .coded import Coded, attach_coded
from .conversion import convert, from_array
from .copies import to_what
from .core import Tensor
from .dtypes import FLOAT8, dtype_of
from .gradient_mode import is_grad_enabled
from .pairs import withheld
from .printing import long_name
from .register import FLOAT8_MEANINGS, FUNCTIONS, watch


@functools.cache
def _values(dtype: DType) -> Any:
    """The numbers of all 256 codes, f32."""
    bits, bias, finite = FLOAT8[dtype]
    code = np.arange(256)
    exponent, fraction = (code & 127) >> bits, code & ((1 << bits) - 1)
    size = np.where(
        exponent == 0,
        np.ldexp(fraction.astype(np.float64), 1 - bias - bits),
        np.ldexp(1 + fraction / (1 << bits), exponent - bias),
    )
    if finite:
        size[(code & 127) == 127] = np.nan
    else:
        size[exponent == exponent.max()] = np.where(fraction[exponent == exponent.max()] == 0, np.inf, np.nan)
    return np.where(code < 128, size, -size).astype(np.float32)


@functools.cache
def _edges(dtype: DType) -> Any:
    """The largest f32 that becomes each code of a number from 0 on, but for the largest code: 448 of e4m3fn, infinity
    of e5m2."""
    values = _values(dtype).astype(np.float64)
    last = int(np.flatnonzero(~np.isfinite(values[:128]))[0])  # infinity, or the one NaN
    found = values[:last]
    if np.isinf(values[last]):
        found = np.append(found, 2 * found[-1] - found[-2])  # where another number would be
    middles = ((found[1:] + found[:-1]) / 2).astype(np.float32)
    odd = np.arange(len(middles)) % 2 == 1
    return np.where(odd, np.nextafter(middles, np.float32(0)), middles)


class Float8Tensor(Coded):
    """A tensor of floats of eight bits, over their bits. Made by `to(float8_e4m3fn)` and `to(float8_e5m2)`."""

    __slots__ = ("_kind",)
    called = "float8"
    _kind: DType
    _v, value, _base, _view, _rg, _leaf = (
        withheld(n, "float8") for n in ("value", "value", "base", "view", "flag", "flag")
    )

    def __new__(cls, data: Any = None, **kwargs: Any) -> Any:
        """Refused. Raises UnsupportedError: `to` makes tensors of floats of eight bits."""
        raise UnsupportedError("Float8Tensor is not called", help="use to(heliostat.float8_e4m3fn)")

    @property
    def dtype(self) -> DType:
        """float8_e4m3fn or float8_e5m2."""
        return self._kind

    def with_codes(self, codes: Tensor) -> Float8Tensor:
        """Other bits of the same dtype."""
        return of_bits(codes, self._kind)

    def dequantize(self) -> Tensor:
        """The values, in float32: exact."""
        table = from_array(_values(self._kind))
        made: Tensor = FUNCTIONS["take"](table.to(device=self.device), convert(self._codes, i64))
        return made

    def __repr__(self) -> str:
        return f"{repr(self.dequantize())[:-1]}, dtype={long_name(self._kind)})"

    def __reduce__(self) -> Any:
        return of_bits, (self._codes, self._kind)

    def __deepcopy__(self, memo: Any) -> Tensor:
        return of_bits(self._codes.__deepcopy__(memo), self._kind)

    def copy_(self, src: Any, non_blocking: bool = False) -> Float8Tensor:
        """Take the values of another tensor of this shape. Raises ShapeError for another one."""
        if tuple(src.shape) != tuple(self.shape):
            raise ShapeError(f"copy_: values of shape {list(src.shape)} do not fit {list(self.shape)}")
        self._codes.copy_(float8(src.detach(), self._kind)._codes)
        return self


watch(Float8Tensor, "float8")


def of_bits(bits: Tensor, dtype: DType) -> Float8Tensor:
    """A tensor over bits, u8, as they are. Raises DTypeError for others."""
    if bits.dtype != u8:
        raise DTypeError(f"bits of {dtype} are {u8}, found {bits.dtype}")
    made: Float8Tensor = object.__new__(Float8Tensor)
    made._codes, made._kind = bits, dtype
    return made


def float8(x: Tensor, dtype: DType) -> Float8Tensor:
    """Floats, integers and bools, by float32, in a dtype of eight bits: what is too large is infinity in e5m2, and 448
    in e4m3fn, which has no infinity. Raises UnsupportedError where a gradient would be lost."""
    if isinstance(x, Float8Tensor):
        return x if x.dtype == dtype else float8(x.dequantize(), dtype)
    if x.requires_grad and is_grad_enabled():
        raise UnsupportedError(
            f"there are no gradients through {dtype}", help="detach() it, or convert under no_grad()"
        )
    x = convert(x.detach(), f32)
    edges = from_array(_edges(dtype)).to(device=x.device)
    code = FUNCTIONS["searchsorted"](edges, x.abs().reshape(-1)).reshape(x.shape)
    code = FUNCTIONS["where"](x.isnan(), 127, code)
    return of_bits(convert(code + x.signbit() * 128, u8), dtype)


def to(self: Float8Tensor, *args: Any, dtype: Any = None, device: Any = None, copy: bool = False, **rest: Any) -> Any:
    """This tensor in another dtype, or on another device."""
    dtype, device = to_what(args, dtype, device)
    moved = self if device is None else of_bits(self._codes.to(device=device), self._kind)
    if dtype is None or dtype_of(dtype) == self._kind:
        return moved
    return FUNCTIONS["as_tensor"](moved.dequantize(), dtype=dtype_of(dtype))


def _viewed(input: Float8Tensor, *sizes: Any, dtype: Any = None) -> Any:
    """The bits, as they are or as another dtype, or other axes."""
    wanted = sizes[0] if sizes and isinstance(sizes[0], DType) else dtype
    if wanted is None:
        return input.with_codes(input._codes.view(*sizes))
    if wanted == input.dtype:
        return input
    return input._codes.view(wanted)


def _cat(tensors: Sequence[Any], dim: int = 0) -> Float8Tensor:
    if len({getattr(t, "_kind", None) for t in tensors}) != 1:
        raise DTypeError("cat takes tensors of one dtype where one is of floats of eight bits", help="convert by to()")
    return of_bits(FUNCTIONS["cat"]([t._codes for t in tensors], dim), tensors[0]._kind)


def _equal(input: Any, other: Any) -> bool:
    """Whether two tensors have one dtype, one shape and equal values."""
    if input.dtype != other.dtype or input.shape != other.shape:
        return False
    return bool(FUNCTIONS["equal"](input.dequantize(), other.dequantize()))


def attach_float8() -> None:
    """Fill the table, and put on `Float8Tensor` what each method means there."""
    cls: Any = Float8Tensor
    meanings = {
        "cat": _cat, "stack": lambda tensors, dim=0: _cat([t.unsqueeze(dim) for t in tensors], dim), "equal": _equal,
        "clone": lambda input, *, memory_format=None: input.with_codes(input._codes.clone()),
        "isnan": lambda input: input.dequantize().isnan(), "is_floating_point": lambda input: True,
        "is_signed": lambda input: True,
    }  # fmt: skip
    attach_coded(cls, FLOAT8_MEANINGS, meanings, to)
    cls.view = _viewed
    cls.type = lambda self, dtype=None: f"torch.{cls.__name__}" if dtype is None else self.to(dtype)
    for name in ("float", "double", "half", "bfloat16", "int", "long", "bool"):
        setattr(cls, name, lambda self, name=name: self.to(dtype_of({"float": "float32"}.get(name, name))))
