"""Caches in pages: what `attention` and `cache_update` do where a table says which pages are a sequence's.

A cache of P pages has the type (P, H, page, D): a page holds `page` neighbouring positions of all heads. The table,
(S, M) i32 beside starts (S,), or (M,) beside a start (), names the pages of each sequence in the order of positions:
position p of sequence s lies in page table[s, p / page], at p % page. A sequence has room for M * page positions. Pages
may be in any order, and in several tables at once. A number outside 0 .. P reads page 0, and nothing is written there.
"""

from __future__ import annotations

import numpy as np

from ..diagnostics import DTypeError, ShapeError
from ..ir.graph import Value
from ..ir.types import Dim, TensorType, f64, i32
from .compare import ge, logical_and, lt, where
from .elementwise import add, cast, mul, sub
from .index import embedding
from .integer import floor_divide
from .op import Array
from .shape import iota, reshape, transpose


def check_table(cache: TensorType, start: TensorType, table: TensorType, op: str) -> None:
    """Raise ShapeError or DTypeError unless a cache in pages, starts and table belong together."""
    if cache.rank != 4 or not all(isinstance(d, int) and d > 0 for d in cache.shape):
        raise ShapeError(f"{op}: with a table a cache is pages (P, H, page, D) of known sizes, found {cache}")
    if table.element != i32 or table.rank != start.rank + 1 or table.shape[:-1] != start.shape:
        raise DTypeError(f"{op}: a table is i32, a row of pages for each start, found {table} beside {start}")
    if not isinstance(table.shape[-1], int) or table.shape[-1] < 1:
        raise ShapeError(f"{op}: a table needs a known number of pages, found {table}")


def unpaged(cache: TensorType, start: TensorType, table: TensorType | None) -> TensorType:
    """The type of the caches of all sequences, (S H, M page, D), one behind the other; a cache without a table as it
    is."""
    if table is None or cache.rank != 4:
        return cache
    count = int(start.shape[0]) if start.rank else 1  # type: ignore[arg-type]
    _, heads, page, size = cache.shape
    return TensorType(cache.element, (count * heads, table.shape[-1] * page, size))


def gathered(cache: Value, table: Value) -> Value:
    """The caches of all sequences, (S H, M page, D), f32 or f64: the pages of each in order."""
    pages, heads, page, size = (int(d) for d in cache.type.shape)  # type: ignore[arg-type]
    width = int(table.type.shape[-1])  # type: ignore[arg-type]
    found = embedding(reshape(cache, (pages, heads * page * size)), reshape(table, (-1,)))
    by_head = transpose(reshape(found, (-1, width, heads, page, size)), (0, 2, 1, 3, 4))
    return reshape(by_head, (-1, width * page, size))


def gathered_array(cache: Array, table: Array) -> Array:
    """`gathered` in NumPy."""
    pages, _, page, size = cache.shape
    inside = np.where((table >= 0) & (table < pages), table, 0).reshape(-1, table.shape[-1])
    return np.asarray(cache[inside].transpose(0, 2, 1, 3, 4).reshape(-1, inside.shape[1] * page, size))


def slots_array(cache: Array, start: Array, table: Array, rows: int) -> Array:
    """For each of `rows` new rows the slot page * page_size + offset that it goes to, -1 for none."""
    pages, _, page, _ = cache.shape
    table = table.reshape(-1, table.shape[-1])
    each = rows // len(table)
    at = start.reshape(-1, 1).astype(np.int64) + np.arange(each)
    room = (at >= 0) & (at < table.shape[1] * page)
    number = np.take_along_axis(table, np.where(room, at // page, 0), 1).astype(np.int64)
    kept = room & (number >= 0) & (number < pages)
    return np.asarray(np.where(kept, number * page + at % page, -1).reshape(-1))


def slots(cache: Value, start: Value, table: Value, rows: Dim) -> Value:
    """`slots_array` as graph: (rows,) i32."""
    pages, _, page, _ = (int(d) for d in cache.type.shape)  # type: ignore[arg-type]
    *counts, width = (int(d) for d in table.type.shape)  # type: ignore[arg-type]
    count = counts[0] if counts else 1
    each = rows if count == 1 else int(rows) // count  # type: ignore[arg-type]
    at = reshape(add(reshape(start, (count, 1)), reshape(iota(each), (1, each))), (rows,))
    room = logical_and(ge(at, 0), lt(at, width * page))
    inside = where(room, at, 0)
    place = floor_divide(inside, page)
    sequence = floor_divide(iota(rows), int(each)) if count > 1 else 0  # type: ignore[arg-type]
    entry = place if count == 1 else add(mul(sequence, width), place)
    numbers = embedding(reshape(cast(table, f64), (-1, 1)), entry)  # whole numbers, which f64 holds
    number = cast(reshape(numbers, (rows,)), i32)
    kept = logical_and(room, logical_and(ge(number, 0), lt(number, pages)))
    return where(kept, add(mul(number, page), sub(inside, mul(place, page))), -1)
