"""The types a GGUF file may name: of metadata values, and of tensors. Data, and the limits both ends keep to."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import Any, TypeAlias

MAGIC = b"GGUF"
VERSION = 3
DEFAULT_ALIGNMENT = 32
MAX_DIMS = 4
MAX_NAME_BYTES = 63  # of a tensor: ggml keeps names in 64 bytes, the last a NUL. Checked when writing only

Value: TypeAlias = bool | int | float | str | list[Any]
"""A metadata value in Python: an array is a list, nested arrays are lists of lists."""


class ValueType(IntEnum):
    """Type of a metadata value, with the number the file has for it."""

    UINT8 = 0
    INT8 = 1
    UINT16 = 2
    INT16 = 3
    UINT32 = 4
    INT32 = 5
    FLOAT32 = 6
    BOOL = 7
    STRING = 8
    ARRAY = 9
    UINT64 = 10
    INT64 = 11
    FLOAT64 = 12

    def __str__(self) -> str:
        return self.name.lower()


@dataclass(frozen=True)
class ArrayType:
    """Type of an array. `element` is ValueType.ARRAY only for an array of arrays that holds none to tell their type."""

    element: ValueType | ArrayType

    @property
    def element_id(self) -> ValueType:
        """The number the file has for the elements' type."""
        return self.element if isinstance(self.element, ValueType) else ValueType.ARRAY

    def __str__(self) -> str:
        return f"array of {self.element}"


def unify(a: ValueType | ArrayType, b: ValueType | ArrayType) -> ValueType | ArrayType | None:
    """The type that covers both: equal types, or one where the other leaves open what its arrays hold. None: none."""
    if a == b:
        return a
    if isinstance(a, ArrayType) and isinstance(b, ArrayType):
        element = unify(a.element, b.element)
        return None if element is None else ArrayType(element)
    if isinstance(a, ArrayType) and b is ValueType.ARRAY:
        return a
    if isinstance(b, ArrayType) and a is ValueType.ARRAY:
        return b
    return None


STRUCT_CODES = {
    ValueType.UINT8: "B",
    ValueType.INT8: "b",
    ValueType.UINT16: "H",
    ValueType.INT16: "h",
    ValueType.UINT32: "I",
    ValueType.INT32: "i",
    ValueType.FLOAT32: "f",
    ValueType.BOOL: "?",
    ValueType.UINT64: "Q",
    ValueType.INT64: "q",
    ValueType.FLOAT64: "d",
}
"""Letters of the `struct` module for the types of fixed size; a bool is one byte, 0 or 1."""

INTEGER_TYPES = frozenset(t for t in ValueType if t.name.lstrip("U").startswith("INT"))
FLOAT_TYPES = frozenset({ValueType.FLOAT32, ValueType.FLOAT64})


@dataclass(frozen=True)
class TensorType:
    """How a tensor's elements are stored: rows are runs of blocks of `block` elements in `block_bytes` bytes."""

    name: str
    id: int
    block: int
    block_bytes: int


# name, id, elements per block, bytes per block. Source: ggml.h (enum ggml_type) and ggml-common.h.
# gguf-py 0.19 gives Q8_1 40 bytes; ggml has 36 (two f16, 32 x i8), and the type never occurs in files.
_TENSOR_TYPES = """
F32      0   1   4     F16      1   1   2     BF16    30   1   2     F64    28   1   8
I8      24   1   1     I16     25   1   2     I32     26   1   4     I64    27   1   8
Q4_0     2  32  18     Q4_1     3  32  20     Q5_0     6  32  22     Q5_1    7  32  24
Q8_0     8  32  34     Q8_1     9  32  36     Q2_K    10 256  84     Q3_K   11 256 110
Q4_K    12 256 144     Q5_K    13 256 176     Q6_K    14 256 210     Q8_K   15 256 292
IQ2_XXS 16 256  66     IQ2_XS  17 256  74     IQ3_XXS 18 256  98     IQ1_S  19 256  50
IQ4_NL  20  32  18     IQ3_S   21 256 110     IQ2_S   22 256  82     IQ4_XS 23 256 136
IQ1_M   29 256  56     TQ1_0   34 256  54     TQ2_0   35 256  66     MXFP4  39  32  17
NVFP4   40  64  36     Q1_0    41 128  18     Q2_0    42  64  18
"""


def _table() -> dict[str, TensorType]:
    words = _TENSOR_TYPES.split()
    rows = zip(*(words[i::4] for i in range(4)), strict=True)
    return {name: TensorType(name, int(id), int(block), int(nbytes)) for name, id, block, nbytes in rows}


TENSOR_TYPES = _table()
"""Every tensor type by GGUF's name for it."""

TENSOR_TYPES_BY_ID = {t.id: t for t in TENSOR_TYPES.values()}

REMOVED_TENSOR_TYPES = {
    4: ("Q4_2", "Q4_0"),
    5: ("Q4_3", "Q4_1"),
    31: ("Q4_0_4_4", "Q4_0"),
    32: ("Q4_0_4_8", "Q4_0"),
    33: ("Q4_0_8_8", "Q4_0"),
    36: ("IQ4_NL_4_4", "IQ4_NL"),
    37: ("IQ4_NL_4_8", "IQ4_NL"),
    38: ("IQ4_NL_8_8", "IQ4_NL"),
}
"""Ids that ggml gave up: (name, the type to convert such a file to)."""


def printable(name: str, limit: int = 80) -> str:
    """A name out of a file, fit for a one-line message: control characters escaped, long names cut."""
    text = name if name.isprintable() else ascii(name)[1:-1]
    return text if len(text) <= limit else f"{text[:limit]}..."
