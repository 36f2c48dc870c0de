"""Attention and its caches in pages on GPUs: bit for bit what contiguous caches give, by every schedule."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from heliostat.compiler.pipeline import Options, compile_graph
from heliostat.ir.types import bf16, f32
from heliostat.ops.evaluate import evaluate
from heliostat.targets.target import CUDA

from .device import RUNNERS, Runner, lockstep_of_8
from .paged import assert_same, given, step

CASES: list[tuple[str, dict[str, Any]]] = [
    ("decode", {"starts": 70, "heads": 2, "kv": 1, "size": 64, "page": 64}),
    ("decode", {"starts": 255, "heads": 1, "kv": 1, "size": 32, "page": 128, "window": 100, "rotated": False}),
    ("decode", {"starts": (70, 0), "heads": 1, "kv": 1, "size": 32, "page": 64, "dtype": f32}),
    ("group", {"starts": (70, 0, 127), "heads": 2, "kv": 1, "size": 32, "page": 64}),
    ("group", {"starts": (201, 64), "heads": 2, "kv": 1, "size": 32, "page": 128, "dtype": bf16, "window": 90}),
    ("prompt", {"starts": 100, "heads": 2, "kv": 1, "size": 32, "page": 64, "tokens": 70}),
    ("prompt", {"starts": 3, "heads": 1, "kv": 1, "size": 64, "page": 64, "tokens": 20, "dtype": bf16}),
    ("prompt", {"starts": 90, "heads": 1, "kv": 1, "size": 32, "page": 128, "tokens": 20, "window": 30}),
]


@pytest.mark.parametrize(("schedule", "case"), CASES[::2], ids=lambda c: c if isinstance(c, str) else f"{c['size']}")
def test_pages_give_what_contiguous_caches_give_on_8(schedule: str, case: dict[str, Any]) -> None:
    check_pages(schedule, case, lockstep_of_8)


@pytest.mark.parametrize("run", RUNNERS)
@pytest.mark.parametrize(("schedule", "case"), CASES, ids=lambda c: c if isinstance(c, str) else f"{c['size']}")
def test_pages_give_what_contiguous_caches_give(schedule: str, case: dict[str, Any], run: Runner) -> None:
    check_pages(schedule, case, run)


def check_pages(schedule: str, case: dict[str, Any], run: Runner) -> None:
    paged, contiguous, arrays, numbers = step(**case, unwritten=7 if schedule == "decode" else np.nan)
    found, wanted = (run(g, given(g, arrays), {}) for g in (paged, contiguous))
    assert_same(found, wanted, arrays, numbers)
    exact = evaluate(paged, given(paged, arrays))[0]
    np.testing.assert_allclose(found[0].reshape(exact.shape), exact, rtol=0, atol=2e-2)
    names = [k.name for k in compile_graph(paged, CUDA, Options()).program.kernels]
    kind = "warpgroup_attention" if schedule == "prompt" else f"{schedule}_attention"
    assert any(n.startswith(kind) for n in names)


@pytest.mark.parametrize("run", RUNNERS)
def test_wrong_numbers_stay_inside(run: Runner) -> None:
    paged, _, arrays, _ = step((70, 10), 1, 1, 32, 64)
    arrays["table"] = np.array([[3, -7, 2**31 - 1, 5], [10**6, 1, -(2**31), 2]], np.int32)
    for name in ("key_pages", "value_pages"):
        arrays[name] = np.nan_to_num(arrays[name], nan=1)
    found = run(paged, given(paged, arrays), {})
    for after, name in zip(found[1:], ("key_pages", "value_pages"), strict=True):
        np.testing.assert_array_equal(after.reshape(-1), arrays[name].reshape(-1))
