"""Attention of one token on GPUs that rotates the token itself and does not wait for the caches to hold it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from heliostat import ops
from heliostat.compiler.pipeline import Options, compile_graph
from heliostat.ir.graph import Graph, parameter
from heliostat.ir.types import TensorType, bf16, f16, f32, i32, tensor
from heliostat.kernels import group_attention
from heliostat.ops.evaluate import evaluate
from heliostat.targets.target import CUDA

from .device import RUNNERS, Runner, lockstep_of_8


def step(
    dtype: Any, heads: int, kv: int, size: int, window: int, rotated: int, start: int
) -> tuple[Graph, dict[str, Any]]:
    """One token's rows, rotated in their first `rotated` elements, put into caches of 128 and attended to."""
    rng = np.random.default_rng(heads + start)
    shapes = {"q": (1, heads, size), "k": (1, kv, size), "v": (1, kv, size)}
    rows = {name: parameter(name, tensor(f32, *shape)) for name, shape in shapes.items()}
    caches = {name: parameter(name, TensorType(dtype, (kv, 128, size)), "state") for name in ("keys", "values")}
    at = parameter("at", tensor(i32))
    angles = {name: parameter(name, tensor(f32, 1, rotated // 2)) for name in ("cos", "sin")} if rotated else {}
    q, k = rows["q"], rows["k"]
    if rotated:
        q, k = (ops.rope(x, angles["cos"], angles["sin"], interleaved=size == 32) for x in (q, k))
    keys, values = ops.cache_update(caches["keys"], k, at), ops.cache_update(caches["values"], rows["v"], at)
    y = ops.attention(q, keys, values, at, scale=size**-0.5, causal=True, window=window)
    updates = [(caches["keys"], keys), (caches["values"], values)]
    arrays: dict[str, Any] = {name: rng.standard_normal(shape).astype(np.float32) for name, shape in shapes.items()}
    for name in caches:
        drawn = rng.standard_normal((kv, 128, size)).astype(np.float32)
        arrays[name] = (drawn.view(np.uint32) >> 16).astype(np.uint16) if dtype == bf16 else drawn
        if dtype == f16:
            arrays[name] = drawn.astype(np.float16)
    turn = rng.uniform(0, 6, (1, rotated // 2))
    arrays |= {"cos": np.cos(turn).astype(np.float32), "sin": np.sin(turn).astype(np.float32)} if rotated else {}
    arrays["at"] = np.array(start, np.int32)
    return Graph("step", [*rows.values(), *caches.values(), at, *angles.values()], [y], updates), arrays


CASES = [
    (4, 2, 64, 0, 64, 70),
    (3, 1, 32, 0, 32, 0),
    (2, 2, 64, 40, 32, 90),
    (4, 4, 64, 0, 0, 127),
    (2, 1, 64, 0, 64, 33),
]


@pytest.mark.parametrize("run", [*RUNNERS, pytest.param(lockstep_of_8, id="lockstep-8.0")])
@pytest.mark.parametrize(("heads", "kv", "size", "window", "rotated", "start"), CASES)
@pytest.mark.parametrize("dtype", [f16, bf16, f32], ids=str)
def test_a_token_attends_to_itself(
    heads: int, kv: int, size: int, window: int, rotated: int, start: int, dtype: Any, run: Runner
) -> None:
    graph, arrays = step(dtype, heads, kv, size, window, rotated, start)
    found = run(graph, arrays, {})
    for a, b in zip(found, evaluate(graph, arrays), strict=True):
        bound = 2e-2 if dtype == bf16 else 2e-3 if dtype == f16 else 2e-5  # of what the caches round
        np.testing.assert_allclose(_floats(a).reshape(b.shape), _floats(b), rtol=0, atol=bound)


def _floats(a: np.ndarray) -> np.ndarray:
    return (a.astype(np.uint32) << 16).view(np.float32) if a.dtype == np.uint16 else np.asarray(a, np.float32)


def batch(
    starts: list[int], heads: int, kv: int, size: int, window: int, rotated: bool, dtype: Any = f16
) -> tuple[Graph, dict[str, Any]]:
    """One token of each sequence, put into its part of the caches and attended to there. What lies behind the tokens
    of several sequences in a cache of values of halves is NaN.
    """
    rng = np.random.default_rng(len(starts))
    count = len(starts)
    shapes = {"q": (count, heads, size), "k": (count, kv, size), "v": (count, kv, size)}
    rows = {name: parameter(name, tensor(f32, *shape)) for name, shape in shapes.items()}
    whole = (count * kv, 128, size)
    caches = {name: parameter(name, TensorType(dtype, whole), "state") for name in ("keys", "values")}
    at = parameter("at", tensor(i32, count))
    angles = {name: parameter(name, tensor(f32, count, size // 2)) for name in ("cos", "sin")} if rotated else {}
    q, k = rows["q"], rows["k"]
    if rotated:
        q, k = (ops.rope(x, angles["cos"], angles["sin"]) for x in (q, k))
    keys, values = ops.cache_update(caches["keys"], k, at), ops.cache_update(caches["values"], rows["v"], at)
    y = ops.attention(q, keys, values, at, scale=size**-0.5, window=window)
    arrays: dict[str, Any] = {name: rng.standard_normal(shape).astype(np.float32) for name, shape in shapes.items()}
    for name in caches:
        drawn = rng.standard_normal((count, kv, 128, size)).astype(np.float32)
        for n, start in enumerate(starts):
            drawn[n, :, start:] = np.nan if name == "values" and dtype != f32 and count > 1 else 9
        drawn = drawn.reshape(whole)
        arrays[name] = (drawn.view(np.uint32) >> 16).astype(np.uint16) if dtype == bf16 else drawn
        if dtype == f16:
            arrays[name] = drawn.astype(np.float16)
    turn = rng.uniform(0, 6, (count, size // 2))
    arrays |= {"cos": np.cos(turn).astype(np.float32), "sin": np.sin(turn).astype(np.float32)} if rotated else {}
    arrays["at"] = np.array(starts, np.int32)
    updates = [(caches["keys"], keys), (caches["values"], values)]
    return Graph("batch", [*rows.values(), *caches.values(), at, *angles.values()], [y], updates), arrays


@pytest.mark.parametrize("run", [*RUNNERS, pytest.param(lockstep_of_8, id="lockstep-8.0")])
@pytest.mark.parametrize(
    ("starts", "heads", "kv", "size", "window", "rotated", "dtype"),
    [
        ([70, 0, 127], 4, 2, 32, 0, True, f16),
        ([5, 90], 2, 2, 64, 40, False, f16),
        ([5, 90], 6, 1, 128, 40, True, bf16),  # six heads of a key head, of the eight that there may be
        ([64, 31], 9, 1, 32, 0, True, f16),  # nine, of which three are taken together
        ([70, 0], 2, 1, 32, 0, True, f32),
        ([33], 3, 1, 32, 0, True, f16),
    ],
)
def test_sequences_attend_to_their_own_keys(
    starts: list[int],
    heads: int,
    kv: int,
    size: int,
    window: int,
    rotated: bool,
    dtype: Any,
    run: Runner,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(group_attention, "ITEMS", 1)  # as many query heads together as there may be
    graph, arrays = batch(starts, heads, kv, size, window, rotated, dtype)
    found, wanted = run(graph, arrays, {}), evaluate(graph, arrays)
    bound = 2e-2 if dtype == bf16 else 2e-3
    np.testing.assert_allclose(_floats(found[0]), _floats(wanted[0]), rtol=0, atol=bound)
    for a, b in zip(found[1:], wanted[1:], strict=True):
        np.testing.assert_allclose(_floats(a).reshape(b.shape), _floats(b), rtol=0, atol=bound)


@pytest.mark.parametrize("run", [*RUNNERS, pytest.param(lockstep_of_8, id="lockstep-8.0")])
@pytest.mark.parametrize(
    ("starts", "heads", "kv", "size", "items"),
    [([70, 0, 127], 4, 2, 32, 1), ([5, 100], 8, 1, 64, 4), ([3, 40], 6, 2, 32, 1)],
)
def test_query_heads_of_a_key_head_are_one_team(
    starts: list[int], heads: int, kv: int, size: int, items: int, run: Runner, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All of them or as many as leave `items` teams."""
    monkeypatch.setattr(group_attention, "ITEMS", items)
    graph, arrays = batch(starts, heads, kv, size, 0, True)
    program = compile_graph(graph, CUDA, Options()).program
    (kernel,) = (k for k in program.kernels if k.name.startswith("group"))
    (teams,) = (int(i.args[0].value) for i in kernel.walk() if i.op == "parallel")
    assert teams == {1: 2 * len(starts), 4: 4}[items]
    found = run(graph, arrays, {})
    for a, b in zip(found, evaluate(graph, arrays), strict=True):
        np.testing.assert_allclose(_floats(a).reshape(b.shape), _floats(b), rtol=0, atol=2e-3)


def test_tokens_of_a_batch_do_not_wait_for_the_caches() -> None:
    graph, _ = batch([5, 7], 4, 2, 64, 0, True)
    program = compile_graph(graph, CUDA, Options()).program
    names = [program.kernels[launch.kernel].name.split("_")[0] for launch in program.launches]
    assert names[0] == "group"
    assert sorted(names[1:]) == ["cache", "rope"]


def test_caches_are_written_behind() -> None:
    """Rotation of q has no launch, and attention reads the caches as they were."""
    graph, _ = step(f16, 4, 2, 64, 0, 64, 5)
    program = compile_graph(graph, CUDA, Options()).program
    names = [program.kernels[launch.kernel].name.split("_")[0] for launch in program.launches]
    assert names[0] == "decode"
    assert sorted(names[1:]) == ["cache", "rope"]


def test_what_others_read_is_rotated_once() -> None:
    """Where the rotated q is a result too it has its launch."""
    graph, _ = step(f16, 4, 2, 64, 0, 64, 5)
    rotated = graph.outputs[0].node.inputs[0]
    both = Graph("both", graph.parameters, [*graph.outputs, rotated], graph.updates)
    names = [k.name.split("_")[0] for k in compile_graph(both, CUDA, Options()).program.kernels]
    assert names.count("rope") == 2
