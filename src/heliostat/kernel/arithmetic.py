"""The arithmetic of kernel values in NumPy: what `interp.py` calls where an op is more than one NumPy operation.

A scalar integer is a Python int in its signed range, a scalar i1 a bool, a scalar float a NumPy scalar of its type; a
vector is an array. Nothing here writes into its operands.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Callable
from functools import lru_cache
from typing import Any

import numpy as np

from .ir import ELEMENT_BYTES, Type

Array = Any

DTYPES: dict[str, np.dtype[Any]] = {
    "i1": np.dtype(np.bool_), "i8": np.dtype(np.int8), "i16": np.dtype(np.int16), "i32": np.dtype(np.int32),
    "i64": np.dtype(np.int64), "f16": np.dtype(np.float16), "f32": np.dtype(np.float32), "f64": np.dtype(np.float64),
}  # fmt: skip
UNSIGNED: dict[str, np.dtype[Any]] = {e: np.dtype(f"u{ELEMENT_BYTES[e]}") for e in ("i8", "i16", "i32", "i64")}

_F32, _F64, _I64 = DTYPES["f32"], DTYPES["f64"], DTYPES["i64"]
_PACK = struct.Struct("<d")
_INT = struct.Struct("<q")


def bits_of(elem: str) -> int:
    """How many bits an integer element has."""
    return 1 if elem == "i1" else 8 * ELEMENT_BYTES[elem]


def wrap(value: int, bits: int) -> int:
    """An int brought into the signed range of `bits`, modulo 2 ** bits."""
    half = 1 << (bits - 1)
    return ((value + half) & ((1 << bits) - 1)) - half


def rounded(value: float | int, elem: str) -> float:
    """The number of a float element that is nearest to `value`, ties to even. An int is rounded once."""
    if isinstance(value, int) and abs(value) > 1 << 53:
        return float(int_to_float(value, elem))
    with np.errstate(over="ignore"):
        return float(value) if elem == "f64" else float(DTYPES[elem].type(value))


def constant(value: float | int, type: Type) -> Any:
    """The value of a constant as the interpreter holds it."""
    with np.errstate(over="ignore"):
        if type.lanes > 1:
            return np.full(type.lanes, value, DTYPES[type.elem])
        if type.is_float:
            return DTYPES[type.elem].type(value)
    return bool(value) if type.elem == "i1" else int(value)


# --- integer division -----------------------------------------------------------------------------------------------
def divide(a: int, b: int, bits: int) -> int:
    """Toward zero. Division by zero, and of the smallest number by -1, raise ZeroDivisionError."""
    if b == 0 or (b == -1 and a == -(1 << (bits - 1))):
        raise ZeroDivisionError
    return abs(a) // abs(b) if (a < 0) == (b < 0) else -(abs(a) // abs(b))


def remainder(a: int, b: int, bits: int) -> int:
    return a - b * divide(a, b, bits)


def _check_divisor(a: Array, b: Array) -> None:
    if not b.all() or ((b == -1) & (a == np.iinfo(a.dtype).min)).any():
        raise ZeroDivisionError


def divide_lanes(a: Array, b: Array) -> Array:
    _check_divisor(a, b)
    return (a - np.fmod(a, b)) // b


def remainder_lanes(a: Array, b: Array) -> Array:
    _check_divisor(a, b)
    return np.fmod(a, b)


# --- fused multiply-add ---------------------------------------------------------------------------------------------
# A product of two f32 is exact in f64, the sum is not: rounding it to f64 and then to f32 goes wrong only where the f64
# sum lies exactly between two f32 numbers and was itself inexact. Such a sum is moved one f64 step toward the exact
# value. Its low 28 bits are zero, which most sums are not: the common case pays one test.
# For f16 the exact sum never lies that close to a tie without being one: a tie differs from c by at least half a unit
# of the result, so the product reaches there with its 22 bits, 32 bits below the result at most, and f64 has 53.
def _tie_candidate(s: float) -> bool:
    return int(_INT.unpack(_PACK.pack(s))[0]) & 0xFFFFFFF == 0


def _sum_error(a: Any, b: Any, s: Any) -> Any:
    """The exact a + b - s where s = fl(a + b). Source: Knuth, TAOCP 2, 4.2.2 theorem B."""
    t = s - a
    return (a - (s - t)) + (b - t)


def fma32(a: Any, b: Any, c: Any) -> Any:
    p, z = float(a) * float(b), float(c)
    s = p + z
    if _tie_candidate(s) and math.isfinite(s) and (e := _sum_error(p, z, s)):
        s = math.nextafter(s, math.inf if e > 0 else -math.inf)
    return np.float32(s)


def fma32_lanes(a: Array, b: Array, c: Array) -> Array:
    p = a.astype(_F64) * b
    s = p + c
    if np.count_nonzero(s.view(_I64) & 0xFFFFFFF) != s.size:
        e = _sum_error(p, c.astype(_F64), s)
        if e.any():
            up, down = e > 0, e < 0
            s = np.where(up | down, np.nextafter(s, np.where(up, np.inf, -np.inf)), s)
    return s.astype(_F32)


def fma16(a: Any, b: Any, c: Any) -> Any:
    return np.float16(float(a) * float(b) + float(c))


def fma16_lanes(a: Array, b: Array, c: Array) -> Array:
    return (a.astype(_F64) * b + c).astype(np.float16)


def _fma64(a: float, b: float, c: float) -> float:
    """Exact integers, and one division, which Python rounds correctly."""
    if not (math.isfinite(a) and math.isfinite(b)):
        return a * b + c
    if not math.isfinite(c):
        return c
    (an, ad), (bn, bd), (cn, cd) = a.as_integer_ratio(), b.as_integer_ratio(), c.as_integer_ratio()
    n = an * bn * cd + cn * ad * bd
    if n == 0:
        return a * b + c  # the sign of zero: a zero product, or a sum that cancels, is exact in f64 too
    try:
        return n / (ad * bd * cd)
    except OverflowError:
        return math.inf if n > 0 else -math.inf


def fma64(a: Any, b: Any, c: Any) -> Any:
    return np.float64(_fma64(float(a), float(b), float(c)))


def fma64_lanes(a: Array, b: Array, c: Array) -> Array:
    shape = np.broadcast_shapes(a.shape, b.shape, c.shape)
    a, b, c = (np.broadcast_to(x, shape).ravel().tolist() for x in (a, b, c))
    return np.array([_fma64(*t) for t in zip(a, b, c, strict=True)], _F64).reshape(shape)


# --- conversions ----------------------------------------------------------------------------------------------------
def float_to_int(a: Any, bits: int) -> int:
    x = float(a)
    if x != x:
        return 0
    if x >= 2.0 ** (bits - 1):
        return (1 << (bits - 1)) - 1
    return max(int(x), -(1 << (bits - 1))) if x != -math.inf else -(1 << (bits - 1))


def float_to_int_lanes(a: Array, elem: str) -> Array:
    bits, dtype = bits_of(elem), DTYPES[elem]
    x = np.nan_to_num(a.astype(_F64), nan=0.0, posinf=np.inf, neginf=-np.inf)
    high = x >= 2.0 ** (bits - 1)
    x = np.where(high, 0.0, np.maximum(x, -(2.0 ** (bits - 1))))
    return np.where(high, np.iinfo(dtype).max, x.astype(_I64)).astype(dtype)


def int_to_float(a: int, elem: str) -> Any:
    """Rounded once: through a 64-bit NumPy integer, not through a Python float."""
    wide = np.int64(a) if a < 1 << 63 else np.uint64(a)
    with np.errstate(over="ignore"):
        return wide.astype(DTYPES[elem])


def bitcast(a: Any, source: Type, target: Type) -> Any:
    raw = np.asarray(a, DTYPES[source.elem]).reshape(-1).view(DTYPES[target.elem])
    if target.lanes > 1:
        return raw
    return raw[0] if target.is_float else raw.item(0)


# --- dot products and memory ----------------------------------------------------------------------------------------
_FOUR_ONES = np.ones(4, np.int32)


def dot4(acc: Array, a: Array, b: Array) -> Array:
    products = a.view(np.uint8).astype(np.int32) * b
    return products.reshape(-1, 4).dot(_FOUR_ONES) + acc


def dot2(acc: Array, a: Array, b: Array) -> Array:
    """Pairs of integers into i32, or of bf16 in i16 lanes into f32, where machines may round and flush denormals as
    they like between the two additions.
    """
    if acc.dtype == np.int32:
        wide = a.astype(_I64) * b.astype(_I64)
        return (acc + wide.reshape(-1, 2).sum(1)).astype(np.int32)
    x, y = ((v.view(np.uint16).astype(np.uint32) << 16).view(np.float32).reshape(-1, 2) for v in (a, b))
    with np.errstate(all="ignore"):
        return (acc + x[:, 1] * y[:, 1]) + x[:, 0] * y[:, 0]


_COMBINE: dict[str, Callable[[Array, Array], Array]] = {
    "add": lambda a, b: a + b,
    "min": lambda a, b: np.where(a < b, a, b),
    "max": lambda a, b: np.where(a > b, a, b),
    "maximum": np.maximum,
    "minimum": np.minimum,
    "or": np.bitwise_or,
}


def halved(a: Array, kind: str) -> Array:
    """The last axis, a power of two long, combined by halves until one element is left of it."""
    with np.errstate(all="ignore"):
        while a.shape[-1] > 1:
            half = a.shape[-1] // 2
            a = _COMBINE[kind](a[..., :half], a[..., half:])
    return a


def reduce_lanes(a: Array, kind: str) -> Any:
    """All lanes of a combined by halves."""
    last = halved(a, kind)
    return last[0] if a.dtype.kind == "f" else last.item(0)


@lru_cache(maxsize=4)
def _fragments(kind: str) -> tuple[Array, Array, Array]:
    """Where elements (16, K) of a lie among those that 32 threads hold, those of b (K, 8), and each sum in (16, 8)."""
    per = {"i8": 4, "tf32": 1}.get(kind, 2)  # elements of a word
    row, k, column = np.arange(16)[:, None], np.arange(8 * per), np.arange(8)
    word, half = k // per % 4, k // (4 * per)  # of a row's 4 words, and of 16 bytes
    rows = ((row % 8 * 4 + word) * 4 + row // 8 + 2 * half) * per + k % per
    columns = (((column * 4 + word[:, None]) * 2 + half[:, None]) * per) + (k % per)[:, None]
    t, j = np.divmod(np.arange(128), 4)
    return rows, columns, (t // 4 + 8 * (j // 2)) * 8 + 2 * (t % 4) + j % 2


def mma(acc: Array, a: Array, b: Array, kind: str) -> Array:
    """acc (16, 8) + a (16, K) b (K, 8), each in the order that the 32 threads of a warp hold it. Source: PTX ISA,
    mma.m16n8k16, m16n8k8 and m16n8k32. K is 16 of bf16 or f16 (in i16), 8 of tf32 (in f32, whose last 13 bits do not
    count), or 32 of bytes: a signed, b unsigned.

    acc: thread t holds rows t / 4 and t / 4 + 8 of columns 2 (t % 4) and the next. a: 4-byte words of row t / 4, row
    t / 4 + 8, and both again 16 bytes on; b: words of column t / 4, and 16 bytes on; a word starts at byte 4 (t % 4).
    """
    wide = b.view(np.uint8) if kind == "i8" else b
    rows, columns, sums = _fragments(kind)
    product = numbers(a, kind)[rows] @ numbers(wide, kind)[columns]
    taken = product.ravel()[sums]
    return (acc + taken).astype(acc.dtype) if kind != "i8" else acc + taken.astype(np.int64).astype(np.int32)


def numbers(a: Array, kind: str) -> Array:
    """What tensor cores take elements for, as float64: bytes, or the bits of bf16, f16 or tf32."""
    if kind == "i8":
        return a.astype(np.float64)
    if kind == "tf32":
        return (a.view(np.uint32) & np.uint32(0xFFFFE000)).view(np.float32).astype(np.float64)
    if kind == "f16":
        return a.view(np.float16).astype(np.float64)
    return (a.view(np.uint16).astype(np.uint32) << 16).view(np.float32).astype(np.float64)


def gathered(memory: Any, offsets: Array, elem: str, run: int = 1) -> Array:
    """Runs of elements of a byte buffer, one for each offset."""
    data, size = np.frombuffer(memory, np.uint8), DTYPES[elem].itemsize * run
    where = offsets[:, None] + np.arange(size)
    return np.ascontiguousarray(data[where]).view(DTYPES[elem]).reshape(-1)


def scattered(memory: Any, offsets: Array, value: Array) -> None:
    """Runs of a value into a byte buffer, one for each offset."""
    data = np.frombuffer(memory, np.uint8)
    runs = np.ascontiguousarray(value).view(np.uint8).reshape(len(offsets), -1)
    data[offsets[:, None] + np.arange(runs.shape[1])] = runs


def wrong_amount(b: Array, elem: str) -> bool:
    """Whether a lane of a shift's second operand is outside 0 .. bits - 1."""
    return bool(b.view(UNSIGNED[elem]).max() >= bits_of(elem))


def masked_run(mask: Array) -> tuple[int, int]:
    """The first and the last lane that a mask holds, (0, -1) for an empty one."""
    held = np.flatnonzero(mask)
    return (int(held[0]), int(held[-1])) if held.size else (0, -1)
