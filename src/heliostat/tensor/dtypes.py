"""Dtypes by PyTorch's names, and which dtype a result has: of tensors with and without axes, and Python numbers.

Complex dtypes and floats of eight bits are known here and above only: tensors of them are pairs of floats, and bytes,
to all that is below.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ..diagnostics import DTypeError, UnsupportedError
from ..ir.types import DType, SymbolicDim, bf16, bool_, f16, f32, f64, i8, i16, i32, i64, u8, u16, u32
from ..ops import promote as _promote

c64 = DType("c64", "c", 64)
c128 = DType("c128", "c", 128)
f8e4m3fn = DType("f8e4m3fn", "e", 8)
f8e5m2 = DType("f8e5m2", "e", 8)
FLOAT8 = {f8e4m3fn: (3, 7, True), f8e5m2: (2, 15, False)}
"""Floats that are kept and not computed with: bits of the fraction, bias of the exponent, whether without infinity."""
COMPLEX_OF = {f32: c64, f64: c128}
REAL_OF = {c64: f32, c128: f64}

NAMES: dict[str, DType] = {
    "float64": f64, "double": f64, "float32": f32, "float": f32, "float16": f16, "half": f16, "bfloat16": bf16,
    "int64": i64, "long": i64, "int32": i32, "int": i32, "int16": i16, "short": i16, "int8": i8, "uint8": u8,
    "uint16": u16, "uint32": u32, "bool": bool_, "bool_": bool_,
    "complex64": c64, "cfloat": c64, "complex128": c128, "cdouble": c128,
    "float8_e4m3fn": f8e4m3fn, "float8_e5m2": f8e5m2,
}  # fmt: skip

# The names of PyTorch's types, a dtype each: what `Tensor.type` returns and takes.
TYPES: dict[str, DType] = {
    "FloatTensor": f32, "DoubleTensor": f64, "HalfTensor": f16, "BFloat16Tensor": bf16, "LongTensor": i64,
    "IntTensor": i32, "ShortTensor": i16, "CharTensor": i8, "ByteTensor": u8, "UInt16Tensor": u16, "UInt32Tensor": u32,
    "BoolTensor": bool_, "ComplexFloatTensor": c64, "ComplexDoubleTensor": c128,
}  # fmt: skip
_TYPE_OF = {dtype: name for name, dtype in TYPES.items()}

_FROM_NUMPY: dict[Any, DType] = {
    np.dtype(n): d
    for n, d in (
        ("float64", f64), ("float32", f32), ("float16", f16), ("int64", i64), ("int32", i32), ("int16", i16),
        ("int8", i8), ("uint8", u8), ("uint16", u16), ("uint32", u32), ("bool", bool_),
        ("complex64", c64), ("complex128", c128),
    )
}  # fmt: skip


class _Default:
    dtype: DType = f32


def get_default_dtype() -> DType:
    """The dtype of Python floats: float32 unless set otherwise."""
    return _Default.dtype


def set_default_dtype(dtype: DType) -> None:
    """Set the dtype of Python floats. Raises DTypeError unless it is a float dtype."""
    if not dtype.is_float:
        raise DTypeError(f"the default dtype must be a float dtype, found {dtype}")
    _Default.dtype = dtype


def dtype_of(value: Any) -> DType:
    """A dtype given as ours, by name, as NumPy's, as a Python type, or as a type of PyTorch (`"torch.LongTensor"`, or a
    class with a `dtype`). Raises DTypeError."""
    if isinstance(value, DType):
        return value
    if isinstance(value, type) and isinstance(given := getattr(value, "dtype", None), DType):
        return given
    if value is float:
        return get_default_dtype()
    if value is int or value is bool:
        return i64 if value is int else bool_
    if value is complex:
        return default_complex()
    if isinstance(value, str) and value.rpartition(".")[2] in NAMES:
        return NAMES[value.rpartition(".")[2]]
    if isinstance(value, str) and value.rpartition(".")[2] in TYPES:
        return TYPES[value.rpartition(".")[2]]
    try:
        return of_numpy(np.dtype(value))
    except TypeError:
        raise DTypeError(f"{value!r} is no dtype") from None


def type_name(dtype: DType, device: str) -> str:
    """PyTorch's name for tensors of a dtype on a device: `torch.FloatTensor`, `torch.cuda.FloatTensor`."""
    return f"torch.{'cuda.' if device.startswith('cuda') else ''}{_TYPE_OF[dtype]}"


def of_numpy(dtype: np.dtype[Any]) -> DType:
    """Our dtype of a NumPy one. Raises UnsupportedError."""
    found = _FROM_NUMPY.get(dtype.newbyteorder("="))
    if found is None:
        raise UnsupportedError(f"there is no tensor of dtype {dtype}", help=f"dtypes: {', '.join(sorted(set(NAMES)))}")
    return found


def default_complex() -> DType:
    """The dtype of complex Python numbers: that of two numbers of the default dtype, complex64 for short ones."""
    return COMPLEX_OF.get(get_default_dtype(), c64)


def number_dtype(value: Any) -> DType:
    """The dtype of a Python number, or a symbolic size, by itself."""
    if isinstance(value, bool | np.bool_):
        return bool_
    if isinstance(value, int | np.integer | SymbolicDim):
        return i64
    if isinstance(value, float | np.floating):
        return get_default_dtype()
    if isinstance(value, complex | np.complexfloating):
        return default_complex()
    raise UnsupportedError(
        f"there are no tensors of {type(value).__name__}", help="only of bools, integers, floats and complex numbers"
    )


def promote(a: DType, b: DType) -> DType:
    """The common dtype of two. Raises UnsupportedError for complex numbers of two float16, which are not there."""
    if "e" in (a.kind, b.kind):
        if a == b:
            return a
        raise DTypeError(
            f"{a} and {b} have no common dtype: floats of eight bits are only kept", help="use x.to(dtype)"
        )
    if a.kind != "c" and b.kind != "c":
        return _promote(a, b)
    if a.kind == b.kind:
        return a if a.bits >= b.bits else b
    wide, other = (a, b) if a.kind == "c" else (b, a)
    return COMPLEX_OF[_promote(REAL_OF[wide], other)] if other.is_float else wide


def combine(higher: DType | None, lower: DType | None) -> DType | None:
    """The dtype of operands of a higher rank with those of a lower: only a higher category of the lower counts."""
    if higher is None or lower is None:
        return higher or lower
    if higher.kind == "c":
        return higher
    if lower.kind == "c" and higher.is_float:
        if higher.name == "f16":
            raise UnsupportedError("there are no complex numbers of two float16", help="convert it to float32 first")
        return COMPLEX_OF.get(higher, c64)
    if higher.is_float:
        return higher
    return promote(higher, lower) if higher == bool_ or lower.kind in "fc" else higher


def result_dtype(operands: Any) -> DType:
    """The common dtype of tensors and numbers, as torch.result_type."""
    ranks: list[DType | None] = [None, None, None]
    for o in operands:
        if hasattr(o, "_pair"):
            rank, dtype = (0 if o.ndim else 1), o.dtype
        elif (v := getattr(o, "_v", None)) is not None:
            rank, dtype = (0 if v.type.shape else 1), v.type.element
        else:
            rank, dtype = 2, number_dtype(o)
        now = ranks[rank]
        ranks[rank] = dtype if now is None else promote(now, dtype)
    found = combine(ranks[0], combine(ranks[1], ranks[2]))
    assert found is not None
    return found


def can_cast(source: DType, target: DType) -> bool:
    """Whether a value may be written into a tensor: not floats into integers, nor integers into bools."""
    order = {"b": 0, "u": 1, "i": 1, "f": 2, "e": 2, "c": 3}
    return order[source.kind] <= order[target.kind]


def promote_types(type1: Any, type2: Any) -> DType:
    """The common dtype of two dtypes."""
    return promote(dtype_of(type1), dtype_of(type2))


def is_float(dtype: DType) -> bool:
    return dtype.is_float


# Bits of the fraction, and the largest exponent.
_DIGITS = {
    "f64": (52, 1023), "f32": (23, 127), "f16": (10, 15), "bf16": (7, 127), "f8e4m3fn": (3, 7), "f8e5m2": (2, 15),
}  # fmt: skip


class finfo:
    """The numbers of a float dtype: bits, eps, max, min, tiny."""

    def __init__(self, dtype: Any = None) -> None:
        d = get_default_dtype() if dtype is None else dtype_of(dtype)
        d = REAL_OF.get(d, d)
        if not d.is_floating_point:
            raise DTypeError(f"finfo takes a float dtype, found {d}", help="use iinfo")
        digits, top = _DIGITS[d.name]
        self.dtype, self.bits, self.eps = d, d.bits, 2.0**-digits
        self.max = (2.0 - 2.0**-digits) * 2.0**top
        self.min, self.tiny = -self.max, 2.0 ** (1 - top)
        if d == f8e4m3fn:  # has numbers where others have infinity, and one NaN
            self.max, self.min = 448.0, -448.0
        self.smallest_normal = self.tiny


class iinfo:
    """The numbers of an integer dtype: bits, max, min."""

    def __init__(self, dtype: Any) -> None:
        d = dtype_of(dtype)
        if d.kind not in "iu":
            raise DTypeError(f"iinfo takes an integer dtype, found {d}", help="use finfo")
        self.dtype, self.bits = d, d.bits
        self.max = 2 ** (d.bits - (d.kind == "i")) - 1
        self.min = -(2 ** (d.bits - 1)) if d.kind == "i" else 0
