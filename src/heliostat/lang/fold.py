"""Arithmetic at compile time: integers, floats, truth values, and dimensions over shape parameters.

Everything is bounded, so that no source can make the compiler compute for long: integers by 64 bits, dimensions by
their degree and number of terms.
"""

from __future__ import annotations

import operator
from collections.abc import Callable

from heliostat.diagnostics import HeliostatError
from heliostat.ir.types import Dim, SymbolicDim, lower_bound, upper_bound

Constant = bool | int | float | SymbolicDim

MAX_DEGREE = 6
MAX_TERMS = 32
_LIMIT = 1 << 63
_TOO_LARGE = "the result does not fit in 64 bits"


class FoldError(HeliostatError, ValueError):
    """A compile-time computation has no value. `help` says what to write instead."""


_COMPARE: dict[str, Callable[[float, float], bool]] = {
    "==": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}


def fold_unary(op: str, a: Constant) -> Constant:
    """`-a` or `not a`. Raises FoldError."""
    if op == "not":
        if not isinstance(a, bool):
            raise FoldError(f"`not` needs a truth value, not {shown(a)}")
        return not a
    if isinstance(a, bool):
        raise FoldError("a truth value has no sign", help="write `not`")
    return _bounded(-a)


def fold_binary(op: str, a: Constant, b: Constant) -> Constant:
    """`a op b`. A quotient of integers that is whole stays an integer; a dimension must divide exactly.
    Raises FoldError."""
    if op in ("and", "or"):
        if not (isinstance(a, bool) and isinstance(b, bool)):
            raise FoldError(f"`{op}` needs truth values, not {shown(b if isinstance(a, bool) else a)}")
        return (a and b) if op == "and" else (a or b)
    if op in ("==", "!=") and isinstance(a, bool) and isinstance(b, bool):
        return a == b if op == "==" else a != b
    if isinstance(a, bool) or isinstance(b, bool):
        raise FoldError(f"`{op}` needs numbers, not a truth value")
    if op == "@":
        raise FoldError("`@` needs tensors, not numbers", help="the product of numbers is written `*`")
    if isinstance(a, SymbolicDim) or isinstance(b, SymbolicDim):
        return _fold_dims(op, a, b)
    if op in _COMPARE:
        return _COMPARE[op](a, b)
    try:
        return _bounded(_number(op, a, b))
    except ZeroDivisionError:
        raise FoldError("division by zero") from None
    except OverflowError:
        raise FoldError("the result is too large for a float") from None


def _number(op: str, a: int | float, b: int | float) -> int | float:
    if op == "+":
        return a + b
    if op == "-":
        return a - b
    if op == "*":
        return a * b
    if op == "%":
        return a % b
    if op == "/":
        if isinstance(a, int) and isinstance(b, int) and b and a % b == 0:
            return a // b
        return a / b
    if isinstance(a, int) and isinstance(b, int) and b >= 0:
        if b > 64 and abs(a) > 1:
            raise FoldError(_TOO_LARGE, help="write a float, like `2.0 ** 100`")
        return int(a ** min(b, 64 + b % 2))  # 0, 1 and -1 only depend on whether b is 0, odd or even
    power = a**b
    if isinstance(power, complex):
        raise FoldError("a negative number has no real power of that exponent")
    return float(power)


def _fold_dims(op: str, a: int | float | SymbolicDim, b: int | float | SymbolicDim) -> Constant:
    if isinstance(a, float) or isinstance(b, float):
        raise FoldError(
            f"`{op}` mixes a dimension and a float: the dimension is known only when the program runs",
            help="dimensions take part in shapes; in arithmetic use a literal number",
        )
    if op == "+":
        return _bounded(a + b)
    if op == "-":
        return _bounded(a - b)
    if op == "*":
        if isinstance(a, SymbolicDim) and isinstance(b, SymbolicDim) and len(a.terms) * len(b.terms) > MAX_TERMS:
            raise FoldError("this dimension is too complicated", help=f"at most {MAX_TERMS} terms")
        return _bounded(a * b)
    if op == "/" and isinstance(b, int) and isinstance(a, SymbolicDim):
        if b == 0:
            raise FoldError("division by zero")
        try:
            return a // b
        except ValueError:
            raise FoldError(
                f"`{a}` does not divide by {b} for every value of its shape parameters",
                help=f"take a parameter for the quotient, and write `{b} * m`",
            ) from None
    if op in _COMPARE:
        known = _compare_dims(op, a, b)
        if known is not None:
            return known
    raise FoldError(
        f"`{op}` of {shown(a)} and {shown(b)} is not known before the program runs",
        help="dimensions can be added, subtracted, multiplied, and divided by an integer",
    )


def _compare_dims(op: str, a: Dim, b: Dim) -> bool | None:
    """A comparison that the bounds of the shape parameters decide, or None."""
    low, high = lower_bound(a - b), upper_bound(a - b)
    if low == high == 0 or low > 0 or high < 0:
        return _COMPARE[op](low, 0)
    if low == 0 and op in ("<", ">="):
        return op == ">="
    if high == 0 and op in (">", "<="):
        return op == "<="
    return None


def _bounded(value: int | float | SymbolicDim) -> int | float | SymbolicDim:
    if isinstance(value, int) and not -_LIMIT <= value < _LIMIT:
        raise FoldError(_TOO_LARGE)
    if isinstance(value, SymbolicDim):
        if len(value.terms) > MAX_TERMS or any(len(key) > MAX_DEGREE for key, _ in value.terms):
            raise FoldError(
                "this dimension is too complicated", help=f"at most {MAX_TERMS} terms of degree {MAX_DEGREE}"
            )
        if any(abs(coefficient) >= _LIMIT for _, coefficient in value.terms) or value.upper >= _LIMIT:
            raise FoldError(_TOO_LARGE)
    return value


def shown(value: object) -> str:
    """A compile-time value in a message."""
    if isinstance(value, bool):
        return f"`{str(value).lower()}`"
    return f"`{value}`"
