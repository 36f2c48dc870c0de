"""`QuantizedTensor`: integer codes with a scale and a zero point, for a whole tensor or for each index of an axis.

The value of a code q is (q - zero_point) * scale. Codes are a tensor as any other; nothing outside sees it but by
`int_repr`. What functions do with quantized tensors stands in `quantized_functions.py`; all others refuse them by name.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np

from ..diagnostics import DTypeError, ShapeError, UnsupportedError
from ..ir.types import DType, f32, f64, i8, i32, i64, u8
from .coded import Coded
from .conversion import convert
from .core import Tensor
from .dims import normal_dim
from .pairs import withheld
from .register import function, watch


@dataclass(frozen=True)
class QDtype:
    """What a quantized tensor is made of: codes from `lowest` to `highest`, kept in `storage`."""

    name: str
    storage: DType
    lowest: int
    highest: int

    @property
    def is_float(self) -> bool:
        """False."""
        return False

    @property
    def kind(self) -> str:
        """ "q": neither a float nor an integer."""
        return "q"

    @property
    def bits(self) -> int:
        """Those that a code is kept in."""
        return self.storage.bits

    def __reduce__(self) -> Any:
        return _one, (self.name,)  # a copy is the same object

    def __str__(self) -> str:
        return self.name

    __repr__ = __str__


def _one(name: str) -> QDtype:
    return QDTYPES[name]


quint8 = QDtype("quint8", u8, 0, 255)
qint8 = QDtype("qint8", i8, -128, 127)
qint32 = QDtype("qint32", i32, -(2**31), 2**31 - 1)
qint4 = QDtype("qint4", i8, -8, 7)
quint4x2 = QDtype("quint4x2", u8, 0, 15)


QDTYPES = {d.name: d for d in (quint8, qint8, qint32, qint4, quint4x2)}


class QScheme(enum.Enum):
    """How codes become values. Symmetric: the zero point is the middle of the codes. Float qparams: the zero point is
    no whole number."""

    per_tensor_affine = "per_tensor_affine"
    per_tensor_symmetric = "per_tensor_symmetric"
    per_channel_affine = "per_channel_affine"
    per_channel_symmetric = "per_channel_symmetric"
    per_channel_affine_float_qparams = "per_channel_affine_float_qparams"

    def __str__(self) -> str:
        return self.value

    __repr__ = __str__


per_tensor_affine, per_tensor_symmetric = QScheme.per_tensor_affine, QScheme.per_tensor_symmetric
per_channel_affine, per_channel_symmetric = QScheme.per_channel_affine, QScheme.per_channel_symmetric
per_channel_affine_float_qparams = QScheme.per_channel_affine_float_qparams

Number: TypeAlias = Tensor | float | int


def number(x: Any) -> Any:
    """A tensor of one number as one without axes; a Python number as it is. Raises ShapeError for more numbers."""
    if not isinstance(x, Tensor):
        return x
    if x.numel() != 1:
        raise ShapeError(f"a scale and a zero point of a whole tensor are one number each, found {list(x.shape)}")
    return x.reshape(()) if x.ndim else x


def kept(x: Any) -> Any:
    """A scale or zero point that stays as it is when the tensor it was given as is written to, say a buffer."""
    return x.detach().clone() if isinstance(x, Tensor) else x


def along(x: Any, axis: int | None, ndim: int) -> Any:
    """A number for each index of an axis, to be multiplied with a tensor of so many axes."""
    return x if axis is None else x.reshape([-1 if i == axis else 1 for i in range(ndim)])


def inverse(scale: Any) -> Any:
    """1 / scale in float32, which PyTorch multiplies by where others divide."""
    if isinstance(scale, Tensor):
        return 1.0 / convert(scale, f32)
    with np.errstate(divide="ignore"):
        return float(np.float32(1) / np.float32(scale))


def rounded(x: Tensor, scale: Any, zero_point: Any, lowest: float, highest: float) -> Tensor:
    """The codes of x as floats, not beyond lowest and highest: x / scale + zero_point, rounded to float32 as by one
    multiplication and addition, then to whole numbers, ties to even. x: float32, scale and zero_point: one number each,
    or tensors that broadcast with x. float64 has the sum exactly but for its last bits."""
    if isinstance(zero_point, Tensor):
        zero_point = convert(zero_point, f64)
    factor = inverse(scale)
    factor = convert(factor, f64) if isinstance(factor, Tensor) else factor
    return convert(convert(x, f64) * factor + zero_point, f32).round().clamp(lowest, highest)


class QuantizedTensor(Coded):
    """A tensor of integer codes. Made by `quantize_per_tensor` and `quantize_per_channel`; it has no gradients."""

    __slots__ = ("_axis", "_kind", "_scale", "_zero_point")
    called = "quantized"
    _kind: QDtype
    _axis: int | None
    _scale: Any
    _zero_point: Any
    _v, value, _base, _view, _rg, _leaf = (
        withheld(n, "quantized") for n in ("value", "value", "base", "view", "flag", "flag")
    )

    def __new__(cls, data: Any = None, **kwargs: Any) -> Any:
        """Refused. Raises UnsupportedError: `heliostat.quantize_per_tensor` makes quantized tensors."""
        raise UnsupportedError("QuantizedTensor is not called", help="use heliostat.quantize_per_tensor")

    # --- attributes -----------------------------------------------------------------------------------------------
    @property
    def dtype(self) -> Any:
        """The QDtype."""
        return self._kind

    @property
    def is_quantized(self) -> bool:
        """True."""
        return True

    # --- codes ----------------------------------------------------------------------------------------------------
    def int_repr(self) -> Tensor:
        """The codes, in the dtype that they are kept in: a tensor of its own."""
        return self._codes.clone()

    def qscheme(self) -> QScheme:
        """How codes become values."""
        if self._axis is None:
            return per_tensor_affine
        return per_channel_affine_float_qparams if self._zero_point.dtype.is_float else per_channel_affine

    def _whole(self, name: str) -> None:
        if self._axis is not None:
            raise UnsupportedError(f"{name}: this tensor has one for each index of axis {self._axis}",
                                   help=f"take {name.replace('q_', 'q_per_channel_')}s()")  # fmt: skip

    def _each(self, name: str) -> None:
        if self._axis is None:
            raise UnsupportedError(f"{name}: this tensor has one scale and one zero point", help="take q_scale()")

    def q_scale(self) -> float:
        """The scale. Computes it if it is open. Raises UnsupportedError for one for each channel."""
        self._whole("q_scale")
        return float(self._scale)

    def q_zero_point(self) -> int:
        """The zero point. Computes it if it is open. Raises UnsupportedError for one for each channel."""
        self._whole("q_zero_point")
        return int(self._zero_point)

    def q_per_channel_scales(self) -> Tensor:
        """The scales, (C,), a tensor of its own. Raises UnsupportedError for one scale of all."""
        self._each("q_per_channel_scales")
        return kept(self._scale)

    def q_per_channel_zero_points(self) -> Tensor:
        """The zero points, (C,), a tensor of its own. Raises UnsupportedError for one zero point of all."""
        self._each("q_per_channel_zero_points")
        return kept(self._zero_point)

    def q_per_channel_axis(self) -> int:
        """The axis whose indices have scales and zero points. Raises UnsupportedError if there is none."""
        self._each("q_per_channel_axis")
        assert self._axis is not None
        return self._axis

    def centred(self) -> Tensor:
        """Codes less zero points, in float32: exact, and what products multiply."""
        zero = self._zero_point
        if isinstance(zero, Tensor):
            zero = along(convert(zero, f32), self._axis, self.ndim)
        return convert(self._codes, f32) - zero

    def scales(self) -> Any:
        """The scale as a number or tensor without axes, or the scales as (1, ..., C, ..., 1), in float32."""
        if not isinstance(self._scale, Tensor):
            return float(np.float32(self._scale))
        return along(convert(self._scale, f32), self._axis, self.ndim)

    def dequantize(self) -> Tensor:
        """The values, in float32: (codes - zero_point) * scale."""
        return self.centred() * self.scales()

    def with_codes(self, codes: Tensor) -> QuantizedTensor:
        """Other codes of the same scale, zero point and dtype. Raises UnsupportedError for one for each channel, whose
        axis may have moved."""
        if self._axis is not None:
            raise UnsupportedError("this function takes no tensors quantized for each channel", help="dequantize() it")
        return of_codes(convert(codes, self._kind.storage), self._scale, self._zero_point, self._kind)

    # --- reading --------------------------------------------------------------------------------------------------
    def __repr__(self) -> str:
        how = f"scale={self.q_scale()}, zero_point={self.q_zero_point()}" if self._axis is None else (
            f"scale={self._scale.tolist()}, zero_point={self._zero_point.tolist()}, axis={self._axis}")  # fmt: skip
        body = repr(self.dequantize())[len("tensor(") : -1]
        return f"tensor({body}, dtype={self._kind}, quantization_scheme={self.qscheme()}, {how})"

    def __reduce__(self) -> Any:
        return of_codes, (self._codes, self._scale, self._zero_point, self._kind, self._axis)

    def __deepcopy__(self, memo: Any) -> Tensor:
        scale, zero = (x.__deepcopy__(memo) if isinstance(x, Tensor) else x for x in (self._scale, self._zero_point))
        return of_codes(self._codes.__deepcopy__(memo), scale, zero, self._kind, self._axis)

    def copy_(self, src: Any, non_blocking: bool = False) -> QuantizedTensor:
        """Take codes, scales, zero points and dtype of a quantized tensor of this shape: for state dicts. Raises
        DTypeError for other tensors, ShapeError for another shape."""
        if not isinstance(src, QuantizedTensor):
            raise DTypeError(f"copy_ into a quantized tensor takes a quantized one, found {src.dtype}")
        if src.shape != self.shape:
            raise ShapeError(f"copy_: codes of shape {list(src.shape)} do not fit {list(self.shape)}")
        self._codes, self._scale, self._zero_point = src._codes.clone(), src._scale, src._zero_point
        self._kind, self._axis = src._kind, src._axis
        return self

    def _in_place(self, f: Any, *args: Any, **kwargs: Any) -> Tensor:
        """Take the codes of f of this tensor, and its scale and zero point where these are others."""
        made = f(self, *args, **kwargs)
        if not isinstance(made, QuantizedTensor) or made.shape != self.shape:
            self._check_in_place()
        self._codes.copy_(made._codes)  # views have the same codes
        self._scale, self._zero_point = made._scale, made._zero_point
        return self


watch(QuantizedTensor, "quantized")


def of_codes(
    codes: Tensor, scale: Number, zero_point: Number, dtype: QDtype, axis: int | None = None
) -> QuantizedTensor:
    """A quantized tensor of codes, in the storage of `dtype`, as they are. Raises DTypeError for another dtype."""
    if codes.dtype != dtype.storage:
        raise DTypeError(f"codes of {dtype} are {dtype.storage}, found {codes.dtype}")
    made: QuantizedTensor = object.__new__(QuantizedTensor)
    made._codes, made._scale, made._zero_point, made._kind, made._axis = codes, scale, zero_point, dtype, axis
    return made


def _check(input: Any, dtype: Any) -> None:
    if not isinstance(dtype, QDtype):
        raise DTypeError(f"quantization goes to quint8, qint8, qint4, quint4x2 or qint32, not {dtype}")
    if isinstance(input, QuantizedTensor) or not input.dtype.is_float:
        raise DTypeError(f"quantization takes floats, found {input.dtype}")


def _codes(x: Tensor, scale: Any, zero_point: Any, dtype: QDtype) -> Tensor:
    x = x.detach()
    if dtype.storage != i32:
        codes = rounded(convert(x, f32), scale, zero_point, dtype.lowest, dtype.highest)
    else:  # 2 ** 31 - 1 is no float32
        codes = ((convert(x, f64) * inverse(scale)).round() + zero_point).clamp(dtype.lowest, dtype.highest)
    return convert(codes, dtype.storage)


@function(method=False)
def quantize_per_tensor(input: Any, scale: Any, zero_point: Any, dtype: QDtype) -> Any:
    """Codes of floats: round(input / scale) + zero_point within the range of `dtype`. scale, zero_point: numbers or
    tensors of one number; of a list of tensors, one for each. Raises DTypeError for other inputs and dtypes.

    As PyTorch, by a multiplication with 1 / scale in float32, ties to even."""
    if isinstance(input, list | tuple):
        given = zip(input, scale, zero_point, strict=True)
        return [quantize_per_tensor(x, s, z, dtype) for x, s, z in given]
    _check(input, dtype)
    scale, zero_point = number(scale), number(zero_point)
    if not isinstance(zero_point, Tensor) and not dtype.lowest <= zero_point <= dtype.highest:
        raise ValueError(f"zero_point {zero_point} is not between {dtype.lowest} and {dtype.highest}, as {dtype} needs")
    if not isinstance(scale, Tensor) and not scale > 0:
        raise ValueError(f"a scale is above 0, found {scale}")
    return of_codes(_codes(input, scale, zero_point, dtype), kept(scale), kept(zero_point), dtype)


@function(method=False)
def quantize_per_channel(input: Tensor, scales: Tensor, zero_points: Tensor, axis: int, dtype: QDtype) -> Any:
    """Codes of floats with a scale and a zero point for each index of an axis. scales, zero_points: (C,); zero points
    of a float dtype are added before rounding. Raises ShapeError where the axis has another size."""
    _check(input, dtype)
    axis = normal_dim(axis, input.ndim, "quantize_per_channel")
    for name, x in (("scales", scales), ("zero_points", zero_points)):
        if tuple(x.shape) != (input.shape[axis],):
            what = f"quantize_per_channel: {name} of shape {list(x.shape)}, axis {axis} has {input.shape[axis]} indices"
            raise ShapeError(what)
    s, z = (along(x, axis, input.ndim) for x in (scales, zero_points))
    x = convert(input.detach(), f32)  # zero points are added before, in float32: as PyTorch, other than for one scale
    codes = (x * inverse(s) + convert(z, f32)).round().clamp(dtype.lowest, dtype.highest)
    zero_points = zero_points if zero_points.dtype.is_float else convert(zero_points, i64)
    return of_codes(convert(codes, dtype.storage), kept(scales), kept(zero_points), dtype, axis)


def values_of(tensor: Any) -> Any:
    """The values of a quantized tensor in float32, or of each of a list; other tensors in float32."""
    return type(tensor)(values_of(t) for t in tensor) if isinstance(tensor, list | tuple) else tensor.dequantize()


@function(method=False)
def dequantize(tensor: Any) -> Any:
    """The values of a quantized tensor in float32, or of each of a list; other tensors in float32."""
    return values_of(tensor)


PUBLIC = {
    "QDtype": QDtype, "QScheme": QScheme, "per_channel_affine": per_channel_affine,
    "per_channel_affine_float_qparams": per_channel_affine_float_qparams,
    "per_channel_symmetric": per_channel_symmetric, "per_tensor_affine": per_tensor_affine,
    "per_tensor_symmetric": per_tensor_symmetric, "qint32": qint32, "qint4": qint4, "qint8": qint8,
    "quint4x2": quint4x2, "quint8": quint8, "qscheme": QScheme,
}  # fmt: skip
