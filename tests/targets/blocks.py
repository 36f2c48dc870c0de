"""One step of attention over caches of Q8_0 blocks, contiguous or in pages."""

from __future__ import annotations

from typing import Any

import numpy as np

from heliostat import ops
from heliostat.ir.graph import Graph, parameter
from heliostat.ir.types import TensorType, f32, i32, tensor
from heliostat.quant.formats import Q8_0
from heliostat.quant.quantize import encode

Array = np.ndarray[Any, np.dtype[Any]]


def step(
    starts: tuple[int, ...],
    tokens: int,
    heads: int,
    kv: int,
    size: int,
    window: int = 0,
    page: int = 0,
    unwritten: int = 0xFF,
) -> tuple[Graph, dict[str, Array]]:
    """Rows of several sequences behind `starts`, caches of 128 positions; with `page` in pages of that size, in random
    order. `unwritten`: every byte of blocks that nobody has written; 0xFF makes their scales NaN."""
    rng = np.random.default_rng([size, *starts])
    count = len(starts)
    at = parameter("at", tensor(i32, count))
    new = {n: parameter(n, tensor(f32, count * tokens, h, size)) for n, h in (("q", heads), ("k", kv), ("v", kv))}
    shape = (count * kv, 128, size)
    width = 128 // page if page else 0
    pages = count * width + 2
    if page:
        shape = (pages, kv, page, size)
    place = [parameter("table", tensor(i32, count, width))] if page else []
    keys, values = (parameter(n, TensorType(Q8_0, shape), "state") for n in ("keys", "values"))
    held = [ops.cache_update(c, ops.quantize(new[n], Q8_0), at, *place) for c, n in ((keys, "k"), (values, "v"))]
    y = ops.attention(new["q"], *held, at, size**-0.5, True, window, *place)
    updates = list(zip((keys, values), held, strict=True))
    graph = Graph("blocks", [*new.values(), at, *place, keys, values], [y], updates)

    arrays: dict[str, Array] = {n: rng.standard_normal(v.type.shape).astype(np.float32) for n, v in new.items()}
    arrays["at"] = np.array(starts, np.int32)
    numbers = rng.permutation(pages)[: count * width].reshape(count, width).astype(np.int32)
    if page:
        arrays["table"] = numbers
    for name in ("keys", "values"):
        blocks = encode(rng.standard_normal((count * kv * 128, size)).astype(np.float32), Q8_0)
        whole = blocks.reshape(count, kv, 128, -1)
        for s, start in enumerate(starts):
            whole[s, :, start:] = unwritten
        if page:
            held_pages = np.full((pages, kv, page, whole.shape[-1]), unwritten, np.uint8)
            held_pages[numbers] = whole.reshape(count, kv, width, page, -1).transpose(0, 2, 1, 3, 4)
            whole = held_pages
        arrays[name] = whole.reshape(*shape[:-1], -1)
    return graph, arrays


CASES = [
    ((70, 0), 1, 4, 2, 64, 0, 0),
    ((5,), 20, 2, 1, 32, 0, 0),
    ((90,), 3, 6, 2, 32, 30, 64),
    ((64, 3), 1, 2, 1, 64, 0, 64),
]
