"""What the type rules share: dtype promotion, broadcasting, axes, numbers as constants, and the checks of operands."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ..diagnostics import DTypeError, ShapeError
from ..ir.graph import Value, constant
from ..ir.types import Dim, DType, Shape, SymbolicDim, TensorType, bf16, bool_, f16, f32, i16, i32, i64, u8, u16, u32

if TYPE_CHECKING:
    from .op import Numeric


def promote(a: DType, b: DType) -> DType:
    """The common dtype of two tensors, as PyTorch's table has it, whatever their shapes.

    A float beats an integer of any width; of two floats the wider one wins, f16 with bf16 gives f32. A signed and an
    unsigned integer give the signed one that holds both (u32 with i32: i64). Anything beats bool.
    """
    if a == b:
        return a
    if a.is_float or b.is_float:
        if not a.is_float:
            return b
        if not b.is_float:
            return a
        return f32 if {a, b} == {f16, bf16} else max((a, b), key=lambda d: d.bits)
    if a == bool_ or b == bool_:
        return b if a == bool_ else a
    if a.kind != b.kind:
        unsigned, signed = (a, b) if a.kind == "u" else (b, a)
        return max(({u8: i16, u16: i32, u32: i64}[unsigned], signed), key=lambda d: d.bits)
    return max((a, b), key=lambda d: d.bits)


def floating(d: DType) -> DType:
    """The dtype of a float function of `d`: itself for floats, f32 for integers and bools."""
    return d if d.is_float else f32


def summed(d: DType) -> DType:
    """The dtype of a sum or product of elements: itself for floats, i64 for integers and bools."""
    return d if d.is_float else i64


def shown(shape: Sequence[Dim]) -> str:
    """A shape in a message: [n, 4]."""
    return "[" + ", ".join(map(str, shape)) + "]"


def broadcast(*shapes: Shape, what: str = "operands") -> Shape:
    """The common shape by NumPy's rule, right-aligned. Raises ShapeError with all shapes."""
    rank = max((len(s) for s in shapes), default=0)
    result: list[Dim] = []
    for axis in range(rank):
        size: Dim = 1
        for s in shapes:
            at = axis - rank + len(s)
            d: Dim = s[at] if at >= 0 else 1
            if d == 1 or d == size:
                continue
            if size != 1:
                raise ShapeError(
                    f"{what} do not broadcast: {' and '.join(map(shown, shapes))}",
                    help="sizes must be equal, or 1, counted from the right",
                )
            size = d
        result.append(size)
    return tuple(result)


def plain(type: TensorType, op: str) -> DType:
    """The plain dtype of an input. Raises DTypeError for a block format or a packed layout."""
    if not isinstance(type.element, DType):
        raise DTypeError(f"{op} takes plain elements, found {type}", help="use dequantize(x) first")
    if type.layout is not None:
        raise DTypeError(f"{op} takes elements in rows, found {type}", help="apply it before repack(x)")
    return type.element


def float_only(type: TensorType, op: str) -> DType:
    """The float dtype of an input. Raises DTypeError for anything else."""
    dtype = plain(type, op)
    if not dtype.is_float:
        raise DTypeError(f"{op} takes floats, found {type}", help="use cast(x, f32) first")
    return dtype


def lift(value: Numeric | SymbolicDim | np.generic, like: Value, op: str = "an operator") -> Value:
    """A number, or a size, as a constant of the other operand's dtype, unless a float meets an integer (f32) or a
    number a bool (i64 or f32), as in PyTorch. Raises DTypeError for what is no number, or does not fit the dtype."""
    if isinstance(value, Value):
        return value
    if isinstance(value, SymbolicDim):
        from .shape import counted

        element = plain(like.type, op)
        return counted(value, i64 if element == bool_ else element)
    number: Any = value.item() if isinstance(value, np.generic) else value
    if not isinstance(number, (bool, int, float)):
        raise DTypeError(f"{op} takes tensors and numbers, found {type(value).__name__}")
    dtype = plain(like.type, op)
    if isinstance(number, float) and not dtype.is_float:
        dtype = f32
    elif dtype == bool_ and not isinstance(number, bool):
        dtype = i64
    return constant(number, TensorType(dtype, ()))


def normalize_axis(axis: int, rank: int, op: str) -> int:
    """The axis counted from the front. Raises ShapeError if the tensor has no such axis."""
    if not -rank <= axis < rank:
        raise ShapeError(f"{op}: axis {axis} is outside a tensor of {rank} axes")
    return axis % rank
