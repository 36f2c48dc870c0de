"""Attention over a key/value cache, rotary positions, and the update of the cache."""

from __future__ import annotations

import numpy as np

from ..diagnostics import DTypeError, ShapeError
from ..ir.graph import Value
from ..ir.types import TensorType, f32, i32
from .op import REGISTRY, Amp, Array, Op, plain


class Attention(Op):
    """softmax(q k^T * scale) v over a cache. q: (N, Hq, D) float; k, v: (Hkv, C, D) plain floats; start: () i32.

    Query i stands at position start + i and sees keys 0 .. start + i (all start + N if not causal), with `window` w > 0
    only the last w of them. Query head h reads key/value head h // (Hq / Hkv). Result (N, Hq, D) of q's dtype.
    """

    name, amp = "attention", Amp.FLOAT32

    def infer(
        self,
        q: TensorType,
        k: TensorType,
        v: TensorType,
        start: TensorType,
        *,
        scale: float,
        causal: bool = True,
        window: int = 0,
    ) -> TensorType:
        if q.rank != 3 or k.rank != 3 or v.shape != k.shape:
            raise ShapeError(f"attention needs q (N, Hq, D) and k, v (Hkv, C, D), found {q}, {k} and {v}")
        if q.shape[2] != k.shape[2]:
            raise ShapeError(f"attention: heads of q have {q.shape[2]} elements, those of k {k.shape[2]}")
        if not isinstance(q.shape[1], int) or not isinstance(k.shape[0], int) or q.shape[1] % k.shape[0]:
            raise ShapeError(f"attention: {q.shape[1]} query heads do not divide into {k.shape[0]} key/value heads")
        if start.shape != () or start.element != i32:
            raise DTypeError(f"attention: start must be one i32, found {start}")
        return TensorType(plain(q, "attention"), q.shape)

    def reference(
        self, q: Array, k: Array, v: Array, start: Array, *, scale: float, causal: bool = True, window: int = 0
    ) -> Array:
        n, heads, _ = q.shape
        group, first = heads // k.shape[0], int(start)
        total = first + n
        out = np.empty_like(q)
        position = first + np.arange(n)[:, None]
        key = np.arange(total)[None, :]
        seen = key <= position if causal else np.ones((n, total), bool)
        if window:
            seen = seen & (key > position - window)
        for h in range(heads):
            scores = (q[:, h] @ k[h // group, :total].T) * scale
            scores = np.where(seen, scores, -np.inf)
            t = np.exp(scores - scores.max(-1, keepdims=True))
            out[:, h] = (t / t.sum(-1, keepdims=True)) @ v[h // group, :total]
        return out


class Rope(Op):
    """Rotate pairs of the last axis. x: (N, H, D); cos, sin: (N, R / 2) f32 with R <= D, elements from R on stay.

    Pairs are (i, i + R / 2), or (2i, 2i + 1) if `interleaved`. Source: arXiv 2104.09864.
    """

    name, amp = "rope", Amp.FLOAT32

    def infer(self, x: TensorType, cos: TensorType, sin: TensorType, *, interleaved: bool = False) -> TensorType:
        if x.rank != 3 or cos.rank != 2 or cos.shape != sin.shape or cos.shape[0] != x.shape[0]:
            raise ShapeError(f"rope needs x (N, H, D) and tables (N, R / 2), found {x}, {cos} and {sin}")
        half, size = cos.shape[1], x.shape[2]
        if isinstance(half, int) and isinstance(size, int) and 2 * half > size:
            raise ShapeError(f"rope: tables for {2 * half} elements, but heads have {size}")
        return TensorType(plain(x, "rope"), x.shape)

    def reference(self, x: Array, cos: Array, sin: Array, *, interleaved: bool = False) -> Array:
        y = x.copy()
        r = 2 * cos.shape[1]
        c, s = cos[:, None, :], sin[:, None, :]
        a, b = (x[..., 0:r:2], x[..., 1:r:2]) if interleaved else (x[..., : r // 2], x[..., r // 2 : r])
        first, second = a * c - b * s, b * c + a * s
        if interleaved:
            y[..., 0:r:2], y[..., 1:r:2] = first, second
        else:
            y[..., : r // 2], y[..., r // 2 : r] = first, second
        return y


class RopeAngles(Op):
    """cos or sin of positions * frequencies, times scale.

    positions: (N,) i32, frequencies: (R / 2,) f32; (N, R / 2) f32.
    """

    name, kind = "rope_angles", "composite"

    def infer(self, positions: TensorType, frequencies: TensorType, *, function: str, scale: float = 1.0) -> TensorType:
        if positions.rank != 1 or frequencies.rank != 1 or function not in ("cos", "sin"):
            raise ShapeError(
                f"rope_table needs positions (N,) and frequencies (R / 2,), found {positions} and {frequencies}"
            )
        return TensorType(f32, (positions.shape[0], frequencies.shape[0]))

    def reference(self, positions: Array, frequencies: Array, *, function: str, scale: float = 1.0) -> Array:
        angle = positions.astype(np.float32)[:, None] * frequencies.astype(np.float32)[None, :]
        return np.asarray(getattr(np, function)(angle.astype(np.float64)) * scale)

    def decompose(self, positions: Value, frequencies: Value, *, function: str, scale: float = 1.0) -> Value:
        from . import elementwise as e
        from .shape import reshape

        angle = e.mul(e.cast(reshape(positions, (positions.type.shape[0], 1)), f32), frequencies)
        y = e.cos(angle) if function == "cos" else e.sin(angle)
        return y if scale == 1.0 else e.mul(y, scale)


class CacheUpdate(Op):
    """The cache with new rows: cache[h, start + n] = new[n, h].

    cache: (H, C, D) state, new: (N, H, D), start: () i32.
    """

    name = "cache_update"

    def infer(self, cache: TensorType, new: TensorType, start: TensorType) -> TensorType:
        if cache.rank != 3 or new.rank != 3 or (cache.shape[0], cache.shape[2]) != new.shape[1:]:
            raise ShapeError(f"cache_update needs a cache (H, C, D) and rows (N, H, D), found {cache} and {new}")
        if start.shape != () or start.element != i32:
            raise DTypeError(f"cache_update: start must be one i32, found {start}")
        return cache

    def reference(self, cache: Array, new: Array, start: Array) -> Array:
        out = cache.copy()
        out[:, int(start) : int(start) + new.shape[0]] = new.transpose(1, 0, 2)
        return out


def attention(q: Value, k: Value, v: Value, start: Value, scale: float, causal: bool = True, window: int = 0) -> Value:
    """softmax(q k^T * scale) v over a cache; see the record for shapes and what each query sees."""
    return REGISTRY["attention"].build(q, k, v, start, scale=float(scale), causal=causal, window=window)


def rope(x: Value, cos: Value, sin: Value, interleaved: bool = False) -> Value:
    """Rotate pairs of the last axis by the angles whose cosine and sine are given. x: (N, H, D), tables (N, R / 2)."""
    return REGISTRY["rope"].build(x, cos, sin, interleaved=interleaved)


def rope_table(positions: Value, frequencies: Value, scale: float = 1.0) -> tuple[Value, Value]:
    """Cosine and sine of positions * frequencies, times scale: (N, R / 2) f32 each."""
    record = REGISTRY["rope_angles"]
    return (
        record.build(positions, frequencies, function="cos", scale=float(scale)),
        record.build(positions, frequencies, function="sin", scale=float(scale)),
    )


def cache_update(cache: Value, new: Value, start: Value) -> Value:
    """The cache with new rows: cache[h, start + n] = new[n, h], converted to the cache's dtype."""
    return REGISTRY["cache_update"].build(cache, new, start)
