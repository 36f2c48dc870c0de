"""One step of attention over caches in pages and over contiguous ones, on the same keys and values."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from heliostat import ops
from heliostat.ir.graph import Graph, parameter
from heliostat.ir.types import DType, TensorType, bf16, f16, f32, i32, tensor

Array = np.ndarray[Any, np.dtype[Any]]


def step(
    starts: Sequence[int] | int,
    heads: int,
    kv: int,
    size: int,
    page: int,
    *,
    tokens: int = 1,
    window: int = 0,
    rotated: bool = True,
    dtype: DType = f16,
    unwritten: float = np.nan,
    capacity: int = 256,
    seed: int = 0,
) -> tuple[Graph, Graph, dict[str, Array], Array]:
    """The step over pages, the step over contiguous caches, inputs of both (`keys`, `values` are the contiguous caches,
    `key_pages` and `value_pages` the pages), and the table.

    `starts`: of several sequences, or of one. `unwritten`: what stands in values where no sequence has written. Pages
    are in random order, and there are more than are used. `capacity`: positions of a sequence.
    """
    rng = np.random.default_rng([seed, heads, size, page])
    several = not isinstance(starts, int)
    each = list(starts) if not isinstance(starts, int) else [starts]
    count, width = len(each), capacity // page
    rows = tokens * count
    lead = (count,) if several else ()
    at, table = parameter("at", tensor(i32, *lead)), parameter("table", tensor(i32, *lead, width))
    new = {n: parameter(n, tensor(f32, rows, h, size)) for n, h in (("q", heads), ("k", kv), ("v", kv))}
    angles = {n: parameter(n, tensor(f32, rows, size // 2)) for n in ("cos", "sin")} if rotated else {}
    pages = count * width + 3

    def graph(kind: str, shape: tuple[int, ...], names: tuple[str, str], *place: Any) -> Graph:
        keys, values = (parameter(n, TensorType(dtype, shape), "state") for n in names)
        q, k = (ops.rope(new[n], *angles.values()) if rotated else new[n] for n in ("q", "k"))
        new_keys, new_values = ops.cache_update(keys, k, at, *place), ops.cache_update(values, new["v"], at, *place)
        y = ops.attention(q, new_keys, new_values, at, size**-0.5, True, window, *place)
        given = [*new.values(), *angles.values(), at, *place, keys, values]
        return Graph(kind, given, [y], [(keys, new_keys), (values, new_values)])

    contiguous = graph("contiguous", (count * kv, capacity, size), ("keys", "values"))
    paged = graph("paged", (pages, kv, page, size), ("key_pages", "value_pages"), table)

    arrays: dict[str, Array] = {n: rng.standard_normal(v.type.shape).astype(np.float32) for n, v in new.items()}
    if rotated:
        turn = rng.uniform(0, 6, (rows, size // 2))
        arrays |= {"cos": np.cos(turn).astype(np.float32), "sin": np.sin(turn).astype(np.float32)}
    numbers = rng.permutation(pages)[: count * width].reshape(count, width).astype(np.int32)
    for name, pool in (("keys", "key_pages"), ("values", "value_pages")):
        drawn = rng.standard_normal((count, kv, capacity, size)).astype(np.float32)
        for s, start in enumerate(each):
            drawn[s, :, start:] = unwritten if name == "values" else 9
        held = np.full((pages, kv, page, size), unwritten if name == "values" else 9, np.float32)
        held[numbers] = drawn.reshape(count, kv, width, page, size).transpose(0, 2, 1, 3, 4)
        arrays[name], arrays[pool] = stored(drawn.reshape(-1, capacity, size), dtype), stored(held, dtype)
    arrays["at"] = np.array(each if several else each[0], np.int32)
    arrays["table"] = numbers if several else numbers[0]
    return paged, contiguous, arrays, numbers


def stored(values: Array, dtype: DType) -> Array:
    """As a state of that dtype is given."""
    if dtype == bf16:
        return np.asarray((values.view(np.uint32) >> 16).astype(np.uint16))
    return values.astype(np.float16) if dtype == f16 else values


def given(graph: Graph, arrays: dict[str, Array]) -> dict[str, Array]:
    """What a graph takes of the arrays."""
    names = {p.node.attrs["name"] for p in graph.parameters}
    return {n: a for n, a in arrays.items() if n in names}


def in_order(pages: Array, numbers: Array) -> Array:
    """Pages (P, H, page, D) as the contiguous caches (S H, C, D) of the sequences of a table."""
    _, heads, page, size = pages.shape
    found = pages[numbers].transpose(0, 2, 1, 3, 4)
    return np.asarray(found.reshape(len(numbers) * heads, numbers.shape[1] * page, size))


def assert_same(paged: Sequence[Array], contiguous: Sequence[Array], before: dict[str, Array], numbers: Array) -> None:
    """Equal results, equal caches, and pages of nobody as they were: bit for bit."""
    np.testing.assert_array_equal(_bits(paged[0]), _bits(contiguous[0]))
    others = np.setdiff1d(np.arange(len(before["key_pages"])), numbers)
    for found, wanted, name in zip(paged[1:], contiguous[1:], ("key_pages", "value_pages"), strict=True):
        pages = _bits(found).reshape(before[name].shape)
        np.testing.assert_array_equal(in_order(pages, numbers).reshape(-1), _bits(wanted).reshape(-1))
        np.testing.assert_array_equal(pages[others], _bits(before[name])[others])


def _bits(a: Array) -> Array:
    return np.ascontiguousarray(a).view({2: np.uint16, 4: np.uint32}[a.itemsize])
