"""Dtypes of the standard that tensors have, questions about them, and what the namespace can do."""

from __future__ import annotations

import builtins
from typing import Any

from ..diagnostics import DTypeError
from ..ir.types import DType
from ..tensor import Tensor, cuda
from ..tensor.conversion import convert, number_tensor
from ..tensor.devices import Device, get_default_device
from ..tensor.dtypes import NAMES, default_complex, get_default_dtype, promote, result_dtype
from ..tensor.dtypes import finfo as Finfo
from ..tensor.dtypes import iinfo as Iinfo

SIGNED = ("int8", "int16", "int32", "int64")
UNSIGNED = ("uint8", "uint16", "uint32")
REAL = ("float32", "float64")
COMPLEX = ("complex64", "complex128")

bool = NAMES["bool"]
int8, int16, int32, int64 = (NAMES[n] for n in SIGNED)
uint8, uint16, uint32 = (NAMES[n] for n in UNSIGNED)
float32, float64 = (NAMES[n] for n in REAL)
complex64, complex128 = (NAMES[n] for n in COMPLEX)

KINDS: dict[str, tuple[str, ...]] = {
    "bool": ("bool",), "signed integer": SIGNED, "unsigned integer": UNSIGNED, "integral": SIGNED + UNSIGNED,
    "real floating": REAL, "complex floating": COMPLEX, "numeric": SIGNED + UNSIGNED + REAL + COMPLEX,
}  # fmt: skip


def finfo(type: Any, /) -> Finfo:
    """The numbers of a float dtype, or of an array's: bits, eps, max, min, smallest_normal."""
    return Finfo(_dtype(type))


def iinfo(type: Any, /) -> Iinfo:
    """The numbers of an integer dtype, or of an array's: bits, max, min."""
    return Iinfo(_dtype(type))


def isdtype(dtype: DType, kind: Any) -> Any:
    """Whether a dtype is another, of a kind by name, or one of several."""
    if isinstance(kind, tuple):
        return any(isdtype(dtype, k) for k in kind)
    if isinstance(kind, str):
        if kind not in KINDS:
            raise ValueError(f"a kind of dtypes is one of {', '.join(KINDS)}, not {kind!r}")
        return any(dtype == NAMES[n] for n in KINDS[kind])
    return dtype == kind


def _dtype(x: Any) -> DType:
    found = x.dtype if isinstance(x, Tensor) else x
    if not isinstance(found, DType):
        raise DTypeError(f"an array or a dtype is needed, found {type(x).__name__}")
    return found


def can_cast(from_: Any, to: DType, /) -> Any:
    """Whether promotion of both gives `to`."""
    return _same_kind(_dtype(from_), to) and promote(_dtype(from_), to) == to


def _same_kind(a: DType, b: DType) -> Any:
    """Promotion between kinds is not part of the standard, but for integers of both signs."""
    return (a.kind in "fc") == (b.kind in "fc") and (a == bool) == (b == bool)


def result_type(*arrays_and_dtypes: Any) -> DType:
    """The common dtype, whatever the arrays' ranks; Python numbers take part by their kind only."""
    typed = [_dtype(x) for x in arrays_and_dtypes if not isinstance(x, PYTHON)]
    numbers = [x for x in arrays_and_dtypes if isinstance(x, PYTHON)]
    if not typed:
        raise DTypeError("result_type needs at least one array or dtype")
    found = typed[0]
    for d in typed[1:]:
        found = promote(found, d)
    return result_dtype([number_tensor(0, found).reshape(1), *numbers]) if numbers else found


PYTHON = (builtins.bool, int, float, complex)


def promoted(*operands: Any) -> list[Tensor]:
    """Arrays and numbers as tensors of their common dtype. Raises DTypeError for numbers alone."""
    if not any(isinstance(o, Tensor) for o in operands):
        raise DTypeError("at least one operand must be an array")
    dtype = result_type(*operands)
    return [convert(o, dtype) if isinstance(o, Tensor) else number_tensor(o, dtype) for o in operands]


def astype(x: Tensor, dtype: DType, /, *, copy: Any = True, device: Any = None) -> Tensor:
    """x in another dtype; itself where it has it and copy is False."""
    found = x.to(dtype) if dtype == bool else convert(x, dtype)
    if device is not None:
        found = found.to(device)
    return found.clone() if copy and found is x else found


def on(device: Any) -> None:
    """Raise UnsupportedError for a device that there is not."""
    if device is not None:
        Device(device)


class Info:
    """What the namespace can do: `__array_namespace_info__()`."""

    def capabilities(self) -> dict[str, Any]:
        """Boolean indexing and data-dependent shapes are there; ranks have no limit."""
        return {"boolean indexing": True, "data-dependent shapes": True, "max dimensions": None}

    def default_device(self) -> Device:
        """Where arrays are made: cpu, unless `hs.set_default_device` says otherwise."""
        return get_default_device()

    def devices(self) -> tuple[Device, ...]:
        """All devices."""
        return (Device("cpu"), *(Device("cuda", n) for n in range(cuda.device_count())))

    def default_dtypes(self, *, device: Any = None) -> dict[str, DType]:
        """Dtypes of Python numbers, and of indices. The default float is set by `hs.set_default_dtype`."""
        on(device)
        return {
            "real floating": get_default_dtype(),
            "complex floating": default_complex(),
            "integral": int64,
            "indexing": int64,
        }

    def dtypes(self, *, device: Any = None, kind: Any = None) -> dict[str, DType]:
        """The dtypes of a kind, or of several."""
        on(device)
        names = ("bool", *KINDS["numeric"])
        return {n: NAMES[n] for n in names if kind is None or isdtype(NAMES[n], kind)}


__all__ = [
    "Info", "astype", "bool", "can_cast", "complex64", "complex128", "finfo", "float32", "float64", "iinfo", "int8",
    "int16", "int32", "int64", "isdtype", "promoted", "result_type", "uint8", "uint16", "uint32",
]  # fmt: skip
