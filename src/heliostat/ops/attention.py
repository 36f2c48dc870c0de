"""Attention over a key/value cache, rotary positions, and the update of the cache."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ..diagnostics import DTypeError, ShapeError
from ..ir.graph import Value, constant
from ..ir.types import Dim, DType, Symbol, TensorType, bf16, dim, f16, f32, f64, i32, lower_bound, tensor, upper_bound
from ..quant.format import BlockFormat
from ..quant.formats import Q8_0
from .compare import eq, ge, logical_and, lt, where
from .composite import Claimed, Composite
from .elementwise import add, cast, cos, mul, sin, sub, widened
from .error import LargestUlp, Ulp
from .matmul import matmul
from .normalize import softmax
from .op import Amp, Array, Batching, NotDifferentiable, Op, get, public
from .pages import check_table, gathered, gathered_array, slots, slots_array, unpaged
from .quantize import dequantize
from .reduce import sum
from .rules import float_only, plain
from .samples import Exactly, Sample, Uniform, sample
from .shape import concat, iota, reshape, slice, transpose, unsqueeze

N = Symbol("n", 4, 1)
_PAGES = Exactly((2, 4))  # of each sequence of a sample: their rows do not meet


def _attention_samples() -> tuple[Sample, ...]:
    found = []
    for q, cache, rows, start, attrs in (
        (f32, f16, 3, 4, {}),
        (f32, bf16, dim(N), 5, {"window": 2}),
        (f64, f64, 2, 0, {}),
        (f64, f64, 2, 5, {"window": 3}),
        (f64, f64, 2, 3, {"causal": False}),
        (f32, f32, 1, 7, {}),
        (bf16, bf16, 2, 1, {}),
    ):
        k = tensor(cache, 2, 8, 4)
        operands = (tensor(q, rows, 6, 4), k, k, (tensor(i32), Exactly(start)))
        found.append(sample(*operands, symbols={"n": 3}, scale=0.5, **attrs))
    for q, cache, tokens, starts, attrs in (
        (f64, f64, 2, (4, 0), {"window": 3}),
        (f32, f16, 1, (0, 7, 3), {}),
        (f64, f64, 1, (2,), {"causal": False}),
    ):
        k = tensor(cache, 2 * len(starts), 8, 4)
        given = tensor(i32, len(starts)), Exactly(starts)
        found.append(sample(tensor(q, tokens * len(starts), 4, 4), k, k, given, scale=0.5, **attrs))
    for dtypes, rows, starts, numbers, attrs in (
        ((f64, f64), 4, (4, 0), 4, {"window": 3}),  # pages 0 .. 4 of both, some in both tables
        ((f32, f16), 3, (0, 7, 3), 4, {}),
        ((f64, f64), 1, (2,), 9, {"causal": False}),  # page 0 for numbers outside
    ):
        pages, table = tensor(dtypes[1], 5, 2, 4, 4), (tensor(i32, len(starts), 2), Uniform(4 - numbers, numbers))
        given = tensor(i32, len(starts)), Exactly(starts)
        found.append(sample(tensor(dtypes[0], rows, 4, 4), pages, pages, given, table, scale=0.5, **attrs))
    blocks = tensor(Q8_0, 4, 6, 32)
    found.append(sample(tensor(f32, 2, 4, 32), blocks, blocks, (tensor(i32, 2), Exactly((3, 0))), scale=0.2))
    pages, table = tensor(bf16, 5, 2, 4, 4), (tensor(i32, 2), Uniform(0, 4))
    q_type, behind = tensor(f32, dim(N), 4, 4), (tensor(i32), Exactly(5))
    found.append(sample(q_type, pages, pages, behind, table, symbols={"n": 3}, scale=0.5))
    return tuple(found)


def _is_held(cache: TensorType) -> bool:
    """Whether keys or values may be of that type: floats, or whole blocks along the last axis."""
    if isinstance(cache.element, BlockFormat):
        return isinstance(cache.shape[-1], int) and cache.shape[-1] % cache.element.block == 0
    return isinstance(cache.element, DType) and cache.element.is_float


def _sequences(start: TensorType, rows: Dim, heads: Dim, op: str) -> int:
    """How many sequences there are: one, or as many as `start` has elements, which must divide rows and cache."""
    count = start.shape[0] if start.rank == 1 else 1
    if start.rank > 1 or start.element != i32 or not isinstance(count, int) or count < 1:
        raise DTypeError(f"{op}: start must be one i32, or one for each sequence, found {start}")
    for size, what in ((rows, "rows"), (heads, "heads of the cache")):
        if count > 1 and (not isinstance(size, int) or size % count):
            raise ShapeError(f"{op}: {size} {what} do not divide into {count} sequences, one for each start")
    return count


def _parts(start: Value, *values: Value) -> list[tuple[Value, ...]]:
    """For each sequence its start, () i32, and its part of the first axis of each value."""
    count = int(start.type.shape[0]) if start.type.rank else 1  # type: ignore[arg-type]
    if count == 1:
        return [(reshape(start, ()), *values)]
    sizes = [int(v.type.shape[0]) // count for v in values]  # type: ignore[arg-type]
    return [
        (
            reshape(slice(start, 0, s, s + 1), ()),
            *(slice(v, 0, s * n, (s + 1) * n) for v, n in zip(values, sizes, strict=True)),
        )
        for s in range(count)
    ]


def _joined(parts: Sequence[Value]) -> Value:
    return parts[0] if len(parts) == 1 else concat(*parts, axis=0)


class Attention(Claimed, name="attention", version=1, amp=Amp.FLOAT32):
    """softmax(q k^T * scale) v over a cache. q: (N, Hq, D) float; k, v: (Hkv, C, D), of one float dtype or block
    format; start: () i32.

    `start` tokens stood in the cache before this block, whose own keys are already there: query i is at position
    start + i and sees keys 0 .. start + i, or all start + N of them if not `causal`; with a `window` w > 0 it sees none
    that is w or more before it. start + N must not exceed C. Query head h reads key/value head h // (Hq / Hkv). `scale`
    multiplies the scores, usually 1 / sqrt(D). Softmax and sums are f32 for narrower floats; what lies in the cache
    past start + N is never read into the result, even NaN. Result: (N, Hq, D) of q's dtype.

    Several sequences: start: (S,) i32. Sequence s has rows s N to (s + 1) N of q, (S N, Hq, D), and heads s Hkv to
    (s + 1) Hkv of the caches, (S Hkv, C, D); all else is as above for each of them.

    With a `table` of pages, (S, M) i32 or (M,), caches are (P, Hkv, page, D): see `ops.pages`; C is M page.
    Source: arXiv 1706.03762, 2305.13245, 2309.06180.
    """

    samples = _attention_samples()
    error = LargestUlp(f64=64, f32=64, f16=4, bf16=4)

    def infer(
        self,
        q: TensorType,
        k: TensorType,
        v: TensorType,
        start: TensorType,
        table: TensorType | None = None,
        *,
        scale: float,
        causal: bool = True,
        window: int = 0,
    ) -> TensorType:
        if table is not None:
            check_table(k, start, table, "attention")
            k, v = (unpaged(t, start, table) for t in (k, v))
        if q.rank != 3 or k.rank != 3 or v.shape != k.shape:
            raise ShapeError(f"attention needs q (N, Hq, D) and k, v (Hkv, C, D), found {q}, {k} and {v}")
        if q.shape[2] != k.shape[2]:
            raise ShapeError(f"attention: heads of q have {q.shape[2]} elements, those of k {k.shape[2]}")
        count = _sequences(start, q.shape[0], k.shape[0], "attention")
        heads, groups = q.shape[1], k.shape[0] if count == 1 else int(k.shape[0]) // count  # type: ignore[arg-type]
        if not isinstance(heads, int) or not isinstance(groups, int) or groups == 0 or heads % groups:
            raise ShapeError(f"attention: {heads} query heads do not divide into {groups} key/value heads")
        if lower_bound(q.shape[0]) // count > upper_bound(k.shape[1]):
            raise ShapeError(f"attention: {q.shape[0]} queries are more than the cache of {k.shape[1]} holds")
        for t in (k, v):
            if not _is_held(t) or t.element != k.element:
                raise DTypeError(f"attention needs k and v of one float dtype or block format, found {k} and {v}")
        if window < 0:
            raise ShapeError(f"attention: the window must be 0 (none) or more, found {window}")
        return TensorType(float_only(q, "attention"), q.shape)

    def call(
        self,
        q: Value,
        k: Value,
        v: Value,
        start: Value,
        scale: float,
        causal: bool = True,
        window: int = 0,
        table: Value | None = None,
    ) -> Value:
        given = (q, k, v, start) if table is None else (q, k, v, start, table)
        return self.build(*given, scale=float(scale), causal=bool(causal), window=int(window))

    def reference(
        self,
        q: Array,
        k: Array,
        v: Array,
        start: Array,
        table: Array | None = None,
        *,
        scale: float,
        causal: bool = True,
        window: int = 0,
    ) -> Array:
        if table is not None:
            k, v = (gathered_array(x, table) for x in (k, v))
        if start.shape:
            each = zip(*(np.split(x, start.size) for x in (q, k, v)), start, strict=True)
            parts = [self.reference(*s, scale=scale, causal=causal, window=window) for s in each]
            return np.concatenate(parts)
        n, heads, _ = q.shape
        group, first = heads // k.shape[0], int(start)
        total = first + n
        if not 0 <= first <= total <= k.shape[1]:
            raise ShapeError(f"attention: {first} and {n} tokens are more than the cache of {k.shape[1]} holds")
        out = np.empty(q.shape, np.float64)
        position = first + np.arange(n)[:, None]
        key = np.arange(total)[None, :]
        seen = key <= position if causal else np.ones((n, total), bool)
        if window:
            seen = seen & (key > position - window)
        for h in range(heads):
            scores = np.where(seen, (q[:, h] @ k[h // group, :total].T) * scale, -np.inf)
            weights = np.exp(scores - scores.max(-1, keepdims=True))
            out[:, h] = (weights / weights.sum(-1, keepdims=True)) @ v[h // group, :total]
        return out

    def decompose(
        self,
        q: Value,
        k: Value,
        v: Value,
        start: Value,
        table: Value | None = None,
        *,
        scale: float,
        causal: bool = True,
        window: int = 0,
    ) -> Value:
        """Over the whole capacity, with a mask; heads of one group are rows of one product."""
        if table is not None:
            k, v = (gathered(x, table) for x in (k, v))
        if start.type.rank:
            k, v = (dequantize(x) if isinstance(x.type.element, BlockFormat) else x for x in (k, v))
            attrs: dict[str, Any] = {"scale": scale, "causal": causal, "window": window}
            return _joined([self.decompose(p[1], p[2], p[3], p[0], **attrs) for p in _parts(start, q, k, v)])
        k, v = (dequantize(x) if isinstance(x.type.element, BlockFormat) else x for x in (k, v))
        n, heads, size = q.type.shape
        groups, capacity, _ = k.type.shape
        assert isinstance(heads, int)
        assert isinstance(groups, int)
        each = heads // groups
        rows = reshape(transpose(widened(q), (1, 0, 2)), (groups, n * each, size))
        scores = mul(matmul(rows, transpose(widened(k))), scale)
        seen = _seen(start, n, capacity, causal, window)
        hidden = constant(-np.inf, TensorType(scores.type.dtype, ()))
        weights = softmax(where(seen, reshape(scores, (groups, each, n, capacity)), hidden))
        filled = lt(iota(capacity), add(start, _size(n)))
        values = where(reshape(filled, (capacity, 1)), widened(v), 0.0)  # what was never written may be NaN
        mixed = matmul(reshape(weights, (groups, n * each, capacity)), values)
        return cast(transpose(reshape(mixed, (heads, n, size)), (1, 0, 2)), q.type.dtype)


def _size(n: Dim) -> Value:
    """A size as () i32; a symbolic one is one more than the last of 0 .. n - 1."""
    if isinstance(n, int):
        return constant(n, tensor(i32))
    return add(reshape(slice(iota(n), 0, n - 1, n), ()), 1)


def _seen(start: Value, n: Dim, capacity: Dim, causal: bool, window: int) -> Value:
    """(N, C) bool: whether query i sees key j. Every query sees at least its own key."""
    position = reshape(add(iota(n), start), (n, 1))
    key = reshape(iota(capacity), (1, capacity))
    seen = ge(position, key) if causal else lt(key, add(start, _size(n)))
    if window:
        seen = logical_and(seen, lt(sub(position, window), key))
    return seen


class Rope(Claimed, name="rope", version=1, amp=Amp.FLOAT32):
    """Rotate pairs of the last axis. x: (N, H, D) float; cos, sin: (N, R / 2) f32 with R <= D; elements from R on stay.

    Pairs are (i, i + R / 2), or (2i, 2i + 1) if `interleaved`. Computed in f32 at least; result of x's shape and dtype.
    Source: arXiv 2104.09864."""

    samples = (
        sample(tensor(f32, 3, 2, 8), tensor(f32, 3, 4), tensor(f32, 3, 4)),
        sample(tensor(f64, 2, 3, 8), tensor(f64, 2, 3), tensor(f64, 2, 3), interleaved=True),
        sample(tensor(f64, 2, 1, 6), tensor(f64, 2, 2), tensor(f64, 2, 2)),
        sample(tensor(f16, dim(N), 2, 4), tensor(f32, dim(N), 2), tensor(f32, dim(N), 2), symbols={"n": 2}),
        sample(tensor(bf16, 2, 1, 4), tensor(f32, 2, 2), tensor(f32, 2, 2), interleaved=True),
    )
    error = LargestUlp(f64=4, f32=4, f16=2, bf16=2)

    def infer(self, x: TensorType, cos: TensorType, sin: TensorType, *, interleaved: bool = False) -> TensorType:
        if x.rank != 3 or cos.rank != 2 or cos.shape != sin.shape or cos.shape[0] != x.shape[0]:
            raise ShapeError(f"rope needs x (N, H, D) and tables (N, R / 2), found {x}, {cos} and {sin}")
        half, size = cos.shape[1], x.shape[2]
        if isinstance(half, int) and isinstance(size, int) and 2 * half > size:
            raise ShapeError(f"rope: tables for {2 * half} elements, but heads have {size}: {x} and {cos}")
        for table in (cos, sin):
            float_only(table, "rope")
        return TensorType(float_only(x, "rope"), x.shape)

    def call(self, x: Value, cos: Value, sin: Value, interleaved: bool = False) -> Value:
        return self.build(x, cos, sin, interleaved=bool(interleaved))

    def reference(self, x: Array, cos: Array, sin: Array, *, interleaved: bool = False) -> Array:
        y = np.array(x)
        r = 2 * cos.shape[1]
        c, s = cos[:, None, :], sin[:, None, :]
        halves = (np.s_[..., : r // 2], np.s_[..., r // 2 : r])
        first, second = (np.s_[..., 0:r:2], np.s_[..., 1:r:2]) if interleaved else halves
        a, b = x[first], x[second]
        y[first], y[second] = a * c - b * s, b * c + a * s
        return y

    def decompose(self, x: Value, cos: Value, sin: Value, *, interleaved: bool = False) -> Value:
        n, heads, size = x.type.shape
        half = cos.type.shape[1]
        wide = widened(x)
        c, s = unsqueeze(cos, 1), unsqueeze(sin, 1)
        if interleaved:
            pairs = reshape(slice(wide, 2, 0, half * 2), (n, heads, half, 2))
            a, b = (reshape(slice(pairs, 3, i, i + 1), (n, heads, half)) for i in range(2))
            turned = [unsqueeze(a * c - b * s, 3), unsqueeze(b * c + a * s, 3)]
            y = reshape(concat(*turned, axis=3), (n, heads, half * 2))
        else:
            a, b = slice(wide, 2, 0, half), slice(wide, 2, half, half * 2)
            y = concat(a * c - b * s, b * c + a * s, axis=2)
        if size != half * 2:
            y = concat(y, cast(slice(wide, 2, half * 2, size), y.type.dtype), axis=2)
        return cast(y, x.type.dtype)


class RopeAngles(Composite, name="rope_angles", version=1, amp=Amp.FLOAT32):
    """cos or sin of positions * frequencies, times scale, (N, R / 2) f32.

    positions: (N,) integers, frequencies: (R / 2,) float. Angles are rounded to f32 first."""

    samples = (
        sample((tensor(i32, 3), Uniform(0, 60)), (tensor(f32, 4), Uniform(0, 1)), function="cos"),
        sample((tensor(i32, dim(N)), Uniform(0, 60)), tensor(f32, 2), symbols={"n": 3}, function="sin", scale=1.5),
    )
    error = LargestUlp(f64=4, f32=4, f16=1, bf16=1)
    gradient = NotDifferentiable("a table of angles belongs to the model's positions; use cos and sin to train it")  # type: ignore[assignment]

    def infer(self, positions: TensorType, frequencies: TensorType, *, function: str, scale: float = 1.0) -> TensorType:
        if positions.rank != 1 or frequencies.rank != 1 or function not in ("cos", "sin"):
            raise ShapeError(
                f"rope_table needs positions (N,) and frequencies (R / 2,), found {positions} and {frequencies}"
            )
        plain(positions, "rope_table")
        float_only(frequencies, "rope_table")
        return TensorType(f32, (positions.shape[0], frequencies.shape[0]))

    def call(self, positions: Value, frequencies: Value, function: str, scale: float = 1.0) -> Value:
        return self.build(positions, frequencies, function=function, scale=float(scale))

    def reference(self, positions: Array, frequencies: Array, *, function: str, scale: float = 1.0) -> Array:
        angle = positions.astype(np.float32)[:, None] * frequencies.astype(np.float32)[None, :]
        y = np.cos(angle.astype(np.float64)) if function == "cos" else np.sin(angle.astype(np.float64))
        return np.asarray(y * scale)

    def decompose(self, positions: Value, frequencies: Value, *, function: str, scale: float = 1.0) -> Value:
        angle = cast(reshape(positions, (positions.type.shape[0], 1)), f32) * cast(frequencies, f32)
        y = cos(angle) if function == "cos" else sin(angle)
        return y if scale == 1.0 else y * scale


class CacheUpdate(Op, name="cache_update", version=1, amp=Amp.KEEP_INPUT):
    """The cache with new rows: cache[h, start + n] = new[n, h], converted to its dtype. Type and layout of the cache.

    cache: (H, C, D) floats, a state; new: (N, H, D) float; start: () i32. Rows outside 0 .. C are dropped. A cache of a
    block format takes rows of that format: quantize(x, format).
    Several sequences as in `attention`: start: (S,) i32, new: (S N, H, D), cache: (S H, C, D). With a `table` of pages,
    (S, M) i32 or (M,), the cache is (P, H, page, D): see `ops.pages`. No two rows may go to one place, except that it
    does not matter what stands there."""

    samples = (
        sample(tensor(f32, 2, 6, 3), tensor(f32, 2, 2, 3), (tensor(i32), Exactly(3))),
        sample(tensor(f64, 2, 6, 3), tensor(f64, 2, 2, 3), (tensor(i32), Exactly(0))),
        sample(tensor(f16, 1, 4, 2), tensor(f32, dim(N), 1, 2), (tensor(i32), Exactly(2)), symbols={"n": 4}),
        sample(tensor(bf16, 1, 4, 2), tensor(f32, 1, 1, 2), (tensor(i32), Exactly(1))),
        sample(tensor(f16, 6, 4, 2), tensor(f32, 3, 2, 2), (tensor(i32, 3), Exactly((3, 0, 4)))),
        sample(tensor(f64, 2, 6, 3), tensor(f64, 4, 1, 3), (tensor(i32, 2), Exactly((1, 3)))),
        sample(tensor(Q8_0, 2, 6, 64), tensor(Q8_0, 3, 2, 64), (tensor(i32), Exactly(2))),
        *(
            sample(tensor(dtype, 5, 2, 4, 2), tensor(new, tokens, 2, 2), start, table, symbols={"n": 3})
            for dtype, new, tokens, start, table in (
                (f64, f64, 4, (tensor(i32, 2), Exactly((3, 6))), (tensor(i32, 2, 2), _PAGES)),
                (f16, f32, dim(N), (tensor(i32), Exactly(2)), (tensor(i32, 3), Exactly((4, 1, 0)))),
                (f64, f64, 3, (tensor(i32), Exactly(-1)), (tensor(i32, 2), Exactly((-1, 3)))),
            )
        ),
    )
    error = Ulp(f64=0, f32=0, f16=1, bf16=1)
    batching = Batching.REFUSED

    def infer(
        self, cache: TensorType, new: TensorType, start: TensorType, table: TensorType | None = None
    ) -> TensorType:
        if table is not None:
            check_table(cache, start, table, "cache_update")
            self.infer(unpaged(cache, start, table), new, start)
            return cache
        if cache.rank != 3 or new.rank != 3:
            raise ShapeError(f"cache_update needs a cache (H, C, D) and rows (N, H, D), found {cache} and {new}")
        count = _sequences(start, new.shape[0], cache.shape[0], "cache_update")
        heads = cache.shape[0] if count == 1 else int(cache.shape[0]) // count  # type: ignore[arg-type]
        if (heads, cache.shape[2]) != new.shape[1:]:
            raise ShapeError(f"cache_update needs a cache (H, C, D) and rows (N, H, D), found {cache} and {new}")
        if not _is_held(cache):
            raise DTypeError(f"cache_update needs a cache of floats, found {cache}")
        if not isinstance(cache.element, BlockFormat):
            float_only(new, "cache_update")
        elif new.element != cache.element:
            raise DTypeError(f"cache_update: a cache of {cache.element} takes rows of it, found {new}")
        return cache

    def call(self, cache: Value, new: Value, start: Value, table: Value | None = None) -> Value:
        return self.build(*((cache, new, start) if table is None else (cache, new, start, table)))

    def reference(self, cache: Array, new: Array, start: Array, table: Array | None = None) -> Array:
        if table is not None:
            out = np.array(cache)
            slot, page = slots_array(cache, start, table, new.shape[0]), cache.shape[2]
            kept = slot >= 0
            out[slot[kept] // page, :, slot[kept] % page] = new[kept]
            return out
        if start.shape:
            each = zip(*(np.split(x, start.size) for x in (cache, new)), start, strict=True)
            return np.concatenate([self.reference(*s) for s in each])
        out = np.array(cache)
        at = int(start) + np.arange(new.shape[0])
        kept = (at >= 0) & (at < cache.shape[1])
        out[:, at[kept]] = new[kept].transpose(1, 0, 2)
        return out

    def gradient(self, g: Value, cache: Value, new: Value, start: Value, *table_and_y: Value) -> Sequence[Value | None]:
        """Rows that were written have the gradient of `new`, the others that of the old cache."""
        if len(table_and_y) > 1:
            return self._gradient_of_pages(g, cache, new, start, table_and_y[0])
        if start.type.rank:
            parts = [self.gradient(p[1], p[2], p[3], p[0], p[1]) for p in _parts(start, g, cache, new)]
            by_cache, by_new, _ = zip(*parts, strict=True)
            return _joined(by_cache), _joined(by_new), None
        capacity, n = cache.type.shape[1], new.type.shape[0]
        source = sub(iota(capacity), start)  # (C,): which row of `new` stands at a place
        written = logical_and(ge(source, 0), lt(source, _size(n)))
        g_cache = where(reshape(written, (capacity, 1)), 0.0, g)
        pick = cast(eq(reshape(source, (1, capacity)), reshape(iota(n), (n, 1))), g.type.dtype)  # (N, C)
        return g_cache, transpose(matmul(pick, g), (1, 0, 2)), None

    def _gradient_of_pages(
        self, g: Value, cache: Value, new: Value, start: Value, table: Value
    ) -> Sequence[Value | None]:
        pages, heads, page, size = cache.type.shape
        rows = new.type.shape[0]
        slot = reshape(slots(cache, start, table, rows), (rows, 1))
        pick = cast(eq(slot, reshape(iota(pages * page), (1, pages * page))), g.type.dtype)  # (N, P page)
        by_head = reshape(transpose(g, (1, 0, 2, 3)), (heads, pages * page, size))
        written = reshape(sum(pick, 0), (pages, 1, page, 1))
        return where(eq(written, 0.0), g, 0.0), transpose(matmul(pick, by_head), (1, 0, 2)), None, None


attention = public(Attention, Attention.call)
rope = public(Rope, Rope.call)
cache_update = public(CacheUpdate, CacheUpdate.call)


def rope_table(positions: Value, frequencies: Value, scale: float = 1.0) -> tuple[Value, Value]:
    """Cosine and sine of positions * frequencies, times scale: (N, R / 2) f32 each.

    positions: (N,) integers; frequencies: (R / 2,) f32, radians for each position. Angles are rounded to f32."""
    angles = get("rope_angles")
    return angles(positions, frequencies, "cos", scale), angles(positions, frequencies, "sin", scale)
