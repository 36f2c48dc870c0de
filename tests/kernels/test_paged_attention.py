"""Attention and its caches in pages on the CPU: bit for bit what contiguous caches give."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from heliostat import ops
from heliostat.diagnostics import DTypeError, ShapeError
from heliostat.ir.graph import parameter
from heliostat.ir.types import bf16, f16, f32, i32, i64, tensor
from heliostat.ops.evaluate import evaluate
from heliostat.session import compile_graph
from targets.paged import assert_same, given, step

CASES: list[dict[str, Any]] = [
    {"starts": 5, "heads": 4, "kv": 2, "size": 32, "page": 64},
    {"starts": 200, "heads": 6, "kv": 2, "size": 64, "page": 64, "dtype": bf16},
    {"starts": 131, "heads": 2, "kv": 1, "size": 128, "page": 128, "tokens": 70, "window": 40},
    {"starts": 0, "heads": 4, "kv": 4, "size": 32, "page": 64, "tokens": 200, "dtype": f32},
    {"starts": 900, "heads": 2, "kv": 1, "size": 32, "page": 512, "tokens": 3, "capacity": 1024},
    {"starts": (70, 0, 255), "heads": 4, "kv": 2, "size": 32, "page": 64},
    {"starts": (5, 190), "heads": 4, "kv": 2, "size": 64, "page": 128, "tokens": 9, "dtype": f32, "window": 70},
]


@pytest.mark.parametrize("case", CASES, ids=lambda c: f"{c['size']}-{c['page']}-{c['starts']}")
def test_pages_give_what_contiguous_caches_give(case: dict[str, Any]) -> None:
    paged, contiguous, arrays, numbers = step(**case)
    found = compile_graph(paged, threads=2).run(given(paged, arrays))
    wanted = compile_graph(contiguous, threads=2).run(given(contiguous, arrays))
    assert_same(found, wanted, arrays, numbers)
    exact = evaluate(paged, given(paged, arrays))[0]
    np.testing.assert_allclose(found[0], exact, rtol=0, atol=2e-2 if case.get("dtype") == bf16 else 2e-3)


def test_wrong_numbers_stay_inside() -> None:
    """Rows for a page that is not there are dropped; where one is read it is page 0, as in the reference."""
    paged, _, arrays, _ = step((70, 10), 4, 2, 32, 64, dtype=f32)
    wrong = np.array([[3, -7, 2**31 - 1, 5], [10**6, 1, -(2**31), 2]], np.int32)
    arrays["table"] = wrong
    for name in ("key_pages", "value_pages"):
        arrays[name] = np.nan_to_num(arrays[name], nan=1)
    found = compile_graph(paged, threads=2).run(given(paged, arrays))
    wanted = evaluate(paged, given(paged, arrays))
    np.testing.assert_allclose(found[0], wanted[0], rtol=0, atol=2e-5)
    for after, name in zip(found[1:], ("key_pages", "value_pages"), strict=True):
        np.testing.assert_array_equal(after, arrays[name])  # the pages that would be written are not there


def test_what_does_not_belong_together_is_refused() -> None:
    q, new = parameter("q", tensor(f32, 2, 4, 32)), parameter("new", tensor(f32, 2, 2, 32))
    pages, start = parameter("pages", tensor(f16, 9, 2, 64, 32)), parameter("start", tensor(i32, 2))
    table = parameter("table", tensor(i32, 2, 4))
    assert ops.attention(q, pages, pages, start, 1.0, table=table).type == q.type
    assert ops.cache_update(pages, new, start, table).type == pages.type
    with pytest.raises(ShapeError, match="with a table a cache is pages"):
        ops.attention(q, parameter("k", tensor(f16, 4, 64, 32)), pages, start, 1.0, table=table)
    for wrong in (tensor(i64, 2, 4), tensor(i32, 3, 4), tensor(i32, 4)):
        with pytest.raises(DTypeError, match="a row of pages for each start"):
            ops.cache_update(pages, new, start, parameter("table", wrong))
    with pytest.raises(ShapeError, match="found"):
        ops.cache_update(pages, new, start)
