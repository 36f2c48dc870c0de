"""Element-wise functions: tensors' own, with the standard's promotion, which is blind to rank."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ..tensor import FUNCTIONS, Tensor
from .dtypes import promoted

UNARY = {
    **{n: n for n in (
        "abs", "conj", "real",
        "acos", "acosh", "asin", "asinh", "atan", "atanh", "ceil", "cos", "cosh", "exp", "expm1", "floor",
        "isfinite", "isinf", "isnan", "log", "log1p", "log2", "log10", "logical_not", "negative", "positive",
        "reciprocal", "signbit", "sin", "sinh", "square", "sqrt", "tan", "tanh", "trunc",
    )}, "bitwise_invert": "bitwise_not",
}  # fmt: skip
BINARY = {
    **{n: n for n in (
        "add", "atan2", "bitwise_and", "bitwise_or", "bitwise_xor", "copysign", "divide", "floor_divide", "greater",
        "greater_equal", "hypot", "less", "less_equal", "logaddexp", "logical_and", "logical_or", "logical_xor",
        "maximum", "minimum", "multiply", "nextafter", "not_equal", "pow", "remainder", "subtract",
    )}, "equal": "eq", "bitwise_left_shift": "bitwise_left_shift", "bitwise_right_shift": "bitwise_right_shift",
}  # fmt: skip


def _unary(name: str, ours: str) -> Callable[..., Tensor]:
    f: Any = FUNCTIONS[ours]

    def function(x: Tensor, /) -> Tensor:
        return f(x)

    function.__name__ = function.__qualname__ = name
    function.__doc__ = f"{f.__doc__}"
    return function


def _binary(name: str, ours: str) -> Callable[..., Tensor]:
    f: Any = FUNCTIONS[ours]

    def function(x1: Any, x2: Any, /) -> Tensor:
        return f(*promoted(x1, x2))

    function.__name__ = function.__qualname__ = name
    function.__doc__ = f"{f.__doc__}"
    return function


TABLE: dict[str, Any] = {n: _unary(n, o) for n, o in UNARY.items()}
TABLE.update((n, _binary(n, o)) for n, o in BINARY.items() if o in FUNCTIONS)


def clip(x: Tensor, /, min: Any = None, max: Any = None) -> Tensor:
    """x with smaller elements raised to min and larger ones lowered to max; both broadcast. dtype of x."""
    y = x
    if min is not None:
        y = FUNCTIONS["maximum"](*promoted(y, min))
    if max is not None:
        y = FUNCTIONS["minimum"](*promoted(y, max))
    return y.clone() if y is x else y.to(x.dtype)


def where(condition: Tensor, x1: Any, x2: Any, /) -> Tensor:
    """x1 where the condition holds, else x2."""
    made: Tensor = FUNCTIONS["where"](condition, *promoted(x1, x2))
    return made


def sign(x: Tensor, /) -> Tensor:
    """-1, 0 or 1 as each element; NaN of NaN, where PyTorch has 0."""
    if x.dtype.kind == "c":
        turned: Tensor = FUNCTIONS["sgn"](x)
        return turned
    made: Tensor = FUNCTIONS["sign"](x)
    return FUNCTIONS["where"](x != x, x, made + 0.0) if x.dtype.is_float else made


def round(x: Tensor, /) -> Tensor:
    """The nearest whole number, of two the even one; of complex numbers both parts, which PyTorch refuses."""
    made: Tensor
    if x.dtype.kind == "c":
        made = FUNCTIONS["complex"](FUNCTIONS["round"](x.real), FUNCTIONS["round"](x.imag))
    else:
        made = FUNCTIONS["round"](x)
    return made


def imag(x: Tensor, /) -> Tensor:
    """Imaginary parts of complex numbers."""
    made: Tensor = FUNCTIONS["imag"](x)
    return made


TABLE.update(clip=clip, imag=imag, round=round, sign=sign, where=where)
