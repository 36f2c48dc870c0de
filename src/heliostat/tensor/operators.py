"""Operators of tensors, and casts by name: `x + 1`, `x < y`, `x.float()`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

import numpy as np

from .. import ops
from ..ir.types import DType, SymbolicDim, f32, f64
from . import quick
from .comparison import (
    bitwise_and,
    bitwise_left_shift,
    bitwise_not,
    bitwise_or,
    bitwise_right_shift,
    bitwise_xor,
    eq,
    ge,
    gt,
    le,
    lt,
    ne,
)
from .conversion import as_tensor, convert
from .core import Tensor
from .memory_formats import check_memory_format
from .pointwise import add, binary, div, floor_divide, mul, positive, pow, remainder, sub
from .register import FUNCTIONS, METHODS


def _cast_method(name: str, dtype: DType) -> None:
    def f(self: Tensor, memory_format: Any = None) -> Tensor:
        check_memory_format(name, memory_format, self.shape)
        return convert(self, dtype)

    f.__name__ = name
    f.__doc__ = f"This tensor in {dtype}. A memory format changes nothing: elements always lie in the order of axes."
    METHODS[name] = f


def _publish_casts() -> None:
    from ..ir import types as t

    for name, dtype in (
        ("float", t.f32), ("double", t.f64), ("half", t.f16), ("bfloat16", t.bf16), ("long", t.i64), ("int", t.i32),
        ("short", t.i16), ("char", t.i8), ("byte", t.u8), ("bool", t.bool_),
    ):  # fmt: skip
        _cast_method(name, dtype)


_publish_casts()

Operand: TypeAlias = Tensor | complex | np.generic | np.ndarray[Any, Any] | SymbolicDim
"""What stands beside a tensor at an operator; `complex` has whole numbers and floats among them."""
_OPERANDS = (Tensor, bool, int, float, np.generic, SymbolicDim)
_swap: Callable[[Any], Any] = lambda f: lambda self, o: f(o, self)  # noqa: E731


def _checked(f: Any, back: str) -> Any:
    """An operator: NotImplemented for what is neither a tensor nor a number. `back`: what a complex number is asked."""

    def run(self: Tensor, o: Any) -> Any:
        if isinstance(o, np.ndarray | complex):
            o = as_tensor(o)
            if hasattr(o, "_pair"):
                return getattr(o, back)(self)
        return f(self, o) if isinstance(o, _OPERANDS) else NotImplemented

    return run


def _arithmetic(name: str, f: Any, back: str, swapped: bool = False) -> Any:
    """`_checked` of an op that needs no more than a common dtype."""
    other = _checked(_swap(f) if swapped else f, back)
    op = ops.REGISTRY[name].call

    def run(self: Tensor, o: Any) -> Any:
        dtype = self._v.type.element
        if (dtype is f32 or dtype is f64) and (isinstance(o, Tensor) or type(o) is float or type(o) is int):
            return binary(op, o, self) if swapped else binary(op, self, o)
        return other(self, o)

    return quick.binary(ops.REGISTRY[name], run, swapped)


for _name, _f in (
    ("add", add), ("sub", sub), ("mul", mul), ("truediv", div), ("floordiv", floor_divide), ("mod", remainder),
    ("pow", pow), ("and", bitwise_and), ("or", bitwise_or), ("xor", bitwise_xor), ("lshift", bitwise_left_shift),
    ("rshift", bitwise_right_shift),
):  # fmt: skip
    METHODS[f"__{_name}__"] = _checked(_f, f"__r{_name}__")
    METHODS[f"__r{_name}__"] = _checked(_swap(_f), f"__{_name}__")
    METHODS[f"__i{_name}__"] = (lambda f: lambda self, o: self._in_place(f, o))(_f)
for _name, _f in (("eq", eq), ("ne", ne), ("lt", lt), ("le", le), ("gt", gt), ("ge", ge)):
    METHODS[f"__{_name}__"] = _checked(_f, f"__{_name}__")
for _name, _op, _f in (("add", "add", add), ("sub", "sub", sub), ("mul", "mul", mul), ("truediv", "div", div)):
    METHODS[f"__{_name}__"] = _arithmetic(_op, _f, f"__r{_name}__")
    METHODS[f"__r{_name}__"] = _arithmetic(_op, _f, f"__{_name}__", swapped=True)
METHODS["__neg__"] = FUNCTIONS["neg"]
METHODS["__pos__"] = positive
METHODS["__abs__"] = FUNCTIONS["abs"]
METHODS["__invert__"] = bitwise_not
METHODS["__divmod__"] = lambda self, o: (floor_divide(self, o), remainder(self, o))
