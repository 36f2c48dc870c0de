"""Attention of many tokens on tensor cores: several steps of keys and tiles of rows, in lock-step and on a GPU."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from heliostat import ops
from heliostat.compiler.pipeline import Options, compile_graph
from heliostat.ir.graph import Graph, parameter
from heliostat.ir.types import Symbol, TensorType, bf16, dim, f16, f32, i32, tensor
from heliostat.ops.evaluate import evaluate
from heliostat.targets.nvptx_module import Phase
from heliostat.targets.target import cuda_target

from .device import RUNNERS, Runner, assemble_for_linking, emit_ptx, lockstep_of_8

N = dim(Symbol("n", 160, 1))


def prompt(
    dtype: Any, tokens: Any, n: int, heads: int, kv: int, size: int, capacity: int, start: int, **attrs: Any
) -> tuple[Graph, dict[str, np.ndarray], np.ndarray]:
    """Attention of n tokens at `start`, over a cache with NaN behind them; and what it is, in float64."""
    rng = np.random.default_rng(n + start)
    q, at = parameter("q", tensor(f32, tokens, heads, size)), parameter("at", tensor(i32))
    keys, values = (parameter(name, TensorType(dtype, (kv, capacity, size)), "state") for name in ("keys", "values"))
    graph = Graph("attend", [q, keys, values, at], [ops.attention(q, keys, values, at, scale=size**-0.5, **attrs)])
    arrays = {"q": rng.standard_normal((n, heads, size)).astype(np.float32), "at": np.array(start, np.int32)}
    for name in ("keys", "values"):
        drawn = 2 * rng.standard_normal((kv, capacity, size)).astype(np.float32)
        drawn = (drawn.view(np.uint32) & 0xFFFF0000).view(np.float32) if dtype == bf16 else drawn
        arrays[name] = drawn if dtype == bf16 else drawn.astype(np.float16)
    (exact,) = evaluate(graph, arrays, {"n": n})
    for name in ("keys", "values"):
        arrays[name][:, start + n :] = np.nan
    return graph, arrays, exact


CASES = [
    # tokens, heads, of them with keys, size, capacity, start, attributes
    (140, 1, 1, 64, 832, 690, {}),
    (37, 6, 1, 32, 704, 500, {}),
    (130, 2, 1, 64, 768, 600, {"window": 200}),
    (20, 4, 2, 96, 576, 555, {"causal": False}),
    (60, 1, 1, 32, 640, 300, {"causal": False, "window": 150}),
    (129, 1, 1, 128, 448, 319, {}),
    (5, 3, 3, 32, 128, 0, {}),
    (20, 2, 1, 256, 192, 150, {}),
    (9, 1, 1, 160, 128, 80, {}),
]


@pytest.mark.parametrize(("case", "dtype"), [(c, (f16, bf16)[n % 2]) for n, c in enumerate(CASES[::2])], ids=str)
def test_tokens_attend_over_steps_of_keys_on_8(case: tuple[Any, ...], dtype: Any) -> None:
    check_steps_of_keys(case, dtype, lockstep_of_8)


@pytest.mark.parametrize("run", RUNNERS)
@pytest.mark.parametrize(("case", "dtype"), [(c, (bf16, f16)[n % 2]) for n, c in enumerate(CASES)], ids=str)
def test_tokens_attend_over_steps_of_keys(case: tuple[Any, ...], dtype: Any, run: Runner) -> None:
    check_steps_of_keys(case, dtype, run)


def check_steps_of_keys(case: tuple[Any, ...], dtype: Any, run: Runner) -> None:
    n, heads, kv, size, capacity, start, attrs = case
    graph, arrays, exact = prompt(dtype, N, n, heads, kv, size, capacity, start, **attrs)
    (found,) = run(graph, arrays, {"n": n})
    bound = 2e-3 if dtype == f16 else 1.5e-2  # of queries and weights
    np.testing.assert_allclose(found, exact, rtol=0, atol=bound * float(np.abs(exact).max()))


@pytest.mark.parametrize("run", [*RUNNERS, pytest.param(lockstep_of_8, id="lockstep-8.0")])
@pytest.mark.parametrize("dtype", [bf16, f16], ids=str)
def test_results_are_rounded_where_they_are_made(dtype: Any, run: Runner) -> None:
    graph, arrays, exact = prompt(dtype, N, 37, 6, 2, 32, 64, 20)
    (mixed,) = graph.outputs
    rounded = Graph("attend", graph.parameters, [ops.cast(ops.cast(mixed, dtype), f32)])
    kernels = [k.name for k in compile_graph(rounded, cuda_target((9, 0)), Options()).program.kernels]
    assert sorted(name.partition("_")[0] for name in kernels) == ["map", "warpgroup"]  # back to f32 alone is apart
    (found,) = run(rounded, arrays, {"n": 37})
    bound = 2e-3 if dtype == f16 else 1.5e-2
    np.testing.assert_allclose(found, exact, rtol=0, atol=bound * float(np.abs(exact).max()))


@pytest.mark.parametrize("run", RUNNERS)
@pytest.mark.parametrize(("size", "half", "interleaved"), [(64, 32, False), (64, 16, False), (32, 16, True)], ids=str)
def test_queries_are_rotated_where_they_are_read(size: int, half: int, interleaved: bool, run: Runner) -> None:
    graph, arrays, _ = prompt(f16, N, 37, 6, 2, size, 64, 20)
    q, *others = graph.parameters
    cos, sin = (parameter(name, tensor(f32, N, half)) for name in ("cos", "sin"))
    rotated = ops.rope(q, cos, sin, interleaved=interleaved)
    mixed = ops.attention(rotated, *others, scale=size**-0.5)
    graph = Graph("attend", [q, cos, sin, *others], [ops.cast(ops.cast(mixed, f16), f32)])
    kernels = [k.name for k in compile_graph(graph, cuda_target((9, 0)), Options()).program.kernels]
    assert sorted(name.partition("_")[0] for name in kernels) == ["map", "warpgroup"]
    angles = np.random.default_rng(half).uniform(0, 6, (37, half))
    arrays |= {"cos": np.cos(angles).astype(np.float32), "sin": np.sin(angles).astype(np.float32)}
    seen = {name: np.nan_to_num(a) if a.ndim == 3 else a for name, a in arrays.items()}
    (exact,) = evaluate(graph, seen, {"n": 37})
    (found,) = run(graph, arrays, {"n": 37})
    np.testing.assert_allclose(found, exact, rtol=0, atol=2e-3 * float(np.abs(exact).max()))


@pytest.mark.parametrize("run", [*RUNNERS, pytest.param(lockstep_of_8, id="lockstep-8.0")])
@pytest.mark.parametrize(("growth", "tokens"), [(0.02, 24), (6.0, 24), (40.0, 24), (6.0, N)], ids=str)
def test_scores_that_grow_from_step_to_step(growth: float, tokens: Any, run: Runner) -> None:
    """By less than what weights may exceed 1 by, about as much, and by more; in every other row not at all."""
    graph, arrays, _ = prompt(f16, tokens, 24, 1, 1, 32, 640, 600)
    pattern = np.zeros(32, np.float32)
    pattern[0] = 1
    arrays["q"][:] = np.where(np.arange(24)[:, None, None] % 2, 1, -1) * pattern * 32**0.5
    arrays["keys"] = (np.arange(640)[None, :, None] / 64 * growth * pattern).astype(np.float16)
    arrays["keys"][:, 624:] = np.nan
    seen = {name: np.nan_to_num(a) for name, a in arrays.items()}
    (exact,) = evaluate(graph, seen, {"n": 24})
    (found,) = run(graph, arrays, {"n": 24} if tokens is N else {})
    np.testing.assert_allclose(found, exact, rtol=0, atol=4e-3 * float(np.abs(exact).max()))


@pytest.mark.parametrize("run", RUNNERS)
def test_heads_take_turns_where_lengths_are_known(run: Runner, monkeypatch: pytest.MonkeyPatch) -> None:
    """A tile for each block, the heads of a section of the caches together."""
    from heliostat.kernels import prompt_attention

    monkeypatch.setattr(prompt_attention, "SECTION", 2 * 4 * 320 * 32)
    graph, arrays, exact = prompt(bf16, 300, 300, 4, 4, 32, 320, 0)
    (found,) = run(graph, arrays, {})
    np.testing.assert_allclose(found, exact, rtol=0, atol=1.5e-2 * float(np.abs(exact).max()))


def test_which_machines_and_heads_it_takes() -> None:
    def schedules(size: int, capability: tuple[int, int]) -> str:
        graph, _, _ = prompt(bf16, N, 2, 1, 1, size, 64, 0)
        (kernel,) = compile_graph(graph, cuda_target(capability), Options()).program.kernels
        return kernel.name

    assert schedules(128, (9, 0)).startswith("warpgroup_attention")
    assert schedules(256, (9, 0)).startswith("warpgroup_attention")
    assert schedules(288, (9, 0)).startswith("tile_attention")
    assert schedules(128, (8, 0)).startswith("tile_attention")


@pytest.mark.parametrize("capability", [(9, 0), (8, 0)])
def test_ptx_is_assembled(capability: tuple[int, int], tmp_path: Path) -> None:
    """PTX with products of its kind, which do not wait for each other."""
    target = cuda_target(capability)
    graph, _, _ = prompt(f16, N, 2, 1, 1, 64, 64, 0)
    (kernel,) = compile_graph(graph, target, Options()).program.kernels
    text = emit_ptx([Phase(f"{kernel.name}_launch", (kernel,), (132,))], target)
    assert ("wgmma.mma_async" if capability == (9, 0) else "mma.sync") in text
    assemble_for_linking(text, target, tmp_path)
