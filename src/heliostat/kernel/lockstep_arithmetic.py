"""Ops of GPUs alone in NumPy, on arrays (rows, elements) of the threads of a warp, and what else the source that
`lockstep_source` writes calls.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from . import arithmetic
from .lockstep_memory import LockstepError

Array = npt.NDArray[Any]
_NAN = np.uint32(0x7FFFFFFF).view(np.float32)  # the one that a GPU gives: arithmetic on its bits tells it from others
_COMBINE = {"add": np.add, "max": np.maximum, "min": np.minimum}


def contiguous(a: Array) -> Array:
    """With neighbours of a row side by side, as a view of another size needs them."""
    return a if a.flags.c_contiguous else a.copy()


def uniform(a: Array, why: str = "a loop's bound differs between the threads of a warp") -> int:
    """The integer that all threads hold."""
    first = a.item(0)
    if (a != first).any():
        raise LockstepError(why)
    return int(first)


def from_one(a: Array, thread: int) -> Array:
    """(1, elements), as one thread holds them."""
    return a[thread : thread + 1]


def across(a: Array, kind: str) -> Array:
    """The i32s (32, 1) of all threads, combined."""
    return np.asarray(_COMBINE[kind].reduce(a, axis=0, keepdims=True, dtype=np.int32))


def reduce_rows(a: Array, kind: str) -> Array:
    """(rows, 1): the elements of each thread combined by halves."""
    return arithmetic.halved(a, kind)


def quotients(a: Array, b: Array) -> Array:
    """Integers toward zero; 0 where b is: idle lanes may hold anything."""
    divisor = np.where(b == 0, 1, b)
    return np.where(b == 0, 0, (a - np.fmod(a, divisor)) // divisor).astype(a.dtype)


def remainders(a: Array, b: Array) -> Array:
    return (a - b * quotients(a, b)).astype(a.dtype)


def with_nan(a: Array) -> Array:
    """The one NaN for any."""
    unordered = a != a
    return np.where(unordered, _NAN, a) if unordered.any() else a


def permute_bytes(a: Array, b: Array, chosen: Array) -> Array:
    words = np.stack([a, b], axis=-1).view(np.uint8)
    return words.take(chosen, -1).view(np.int32)[..., 0]


def round_tf32(a: Array) -> Array:
    """f32 to 11 bits, ties away from zero; a number that is none has its usual bits."""
    rounded = ((a.view(np.uint32) + np.uint32(0x1000)) & np.uint32(0xFFFFE000)).view(np.float32)
    return np.where(np.isfinite(a), rounded, np.where(np.isnan(a), np.float32(np.nan), a))


def exp2(a: Array) -> Array:
    return _flushed(np.exp2(a))


def rcp(a: Array) -> Array:
    return _flushed(np.float32(1.0) / _flushed(a))


def pack_pair(low: Array, high: Array, kind: str) -> Array:
    bits = _bf16_bits if kind == "bf16" else _f16_bits
    return (bits(low) | bits(high) << np.uint32(16)).view(np.int32)


def fma_pair(a: Array, b: Array, c: Array) -> Array:
    x, y, z = (
        (contiguous(v).view(np.uint16).astype(np.uint32) << 16).view(np.float32).astype(np.float64) for v in (a, b, c)
    )
    return _bf16_bits(_odd_f32(x * y + z)).astype(np.uint16).view(np.int32)


def _flushed(a: Array) -> Array:
    """f32 values with denormals as 0."""
    kept = np.where(np.abs(a) < np.float32(2.0**-126), np.copysign(np.float32(0), a), a)
    return with_nan(kept)


def _bf16_bits(a: Array) -> Array:
    bits = contiguous(a).view(np.uint32)
    rounded = bits + np.uint32(0x7FFF) + (bits >> 16 & np.uint32(1)) >> 16
    unordered = a != a
    return np.where(unordered, np.uint32(0x7FFF), rounded) if unordered.any() else rounded


def _odd_f32(exact: Array) -> Array:
    """f64 as f32 towards zero, the last bit set where something is lost: rounding that again rounds once."""
    with np.errstate(over="ignore", invalid="ignore"):
        near = exact.astype(np.float32)
        near = np.where(np.abs(near.astype(np.float64)) > np.abs(exact), np.nextafter(near, np.float32(0)), near)
        lost = near.astype(np.float64) != exact
    return (near.view(np.uint32) | (lost & ~np.isnan(exact)).astype(np.uint32)).view(np.float32)


def _f16_bits(a: Array) -> Array:
    return a.astype(np.float16).view(np.uint16).astype(np.uint32)
