"""Prompts over caches of blocks on GPUs: the blocks become halves in panels, and attention is that of tensor cores."""

from __future__ import annotations

import numpy as np
import pytest

from heliostat import ops
from heliostat.compiler.pipeline import Options, compile_graph
from heliostat.ir.graph import Graph, parameter
from heliostat.ir.types import DType, Symbol, TensorType, bf16, dim, f16, f32, i32, tensor
from heliostat.kernels.cache_layout import KeyPanels, ValuePanels
from heliostat.kernels.dequantize_cache import refusal
from heliostat.ops import REGISTRY
from heliostat.ops.evaluate import evaluate
from heliostat.quant.codec import dequantize
from heliostat.quant.format import BlockFormat
from heliostat.quant.formats import Q4_0, Q8_0
from heliostat.quant.quantize import encode
from heliostat.session.session import to_layout
from heliostat.targets.target import CUDA, cuda_target

from .device import RUNNERS, Runner, lockstep_of_8
from .paged import stored

N = dim(Symbol("n", 64, 1))


@pytest.mark.parametrize("run", [*RUNNERS, pytest.param(lockstep_of_8, id="lockstep-8.0")])
@pytest.mark.parametrize("layout", [KeyPanels(32, 8), ValuePanels(8)], ids=str)
@pytest.mark.parametrize(("format", "dtype"), [(Q8_0, f16), (Q8_0, bf16)], ids=str)
def test_blocks_become_halves_in_panels(
    layout: KeyPanels | ValuePanels, format: BlockFormat, dtype: DType, run: Runner
) -> None:
    rng = np.random.default_rng(3)
    x = parameter("x", TensorType(format, (2, 64, 96)), "state")
    graph = Graph("d", [x], [REGISTRY["dequantize"].build(x, dtype=dtype, layout=layout)])
    blocks = encode(rng.standard_normal((128, 96)).astype(np.float32), format)
    (found,) = run(graph, {"x": blocks.reshape(2, 64, -1)}, {})
    exact = np.asarray(dequantize(blocks.reshape(-1, format.nbytes), format), np.float32).reshape(2, 64, 96)
    rows = stored(exact, f16) if dtype == f16 else _rounded(exact)
    wanted = to_layout(rows.reshape(-1).view(np.uint8), graph.outputs[0].type)
    np.testing.assert_array_equal(_bits(found), _bits(wanted))


@pytest.mark.parametrize("run", [*RUNNERS, pytest.param(lockstep_of_8, id="lockstep-8.0")])
@pytest.mark.parametrize(("start", "n"), [(0, 20), (75, 37)])
def test_prompts_attend_over_blocks(start: int, n: int, run: Runner) -> None:
    rng = np.random.default_rng(start)
    shape, at = TensorType(Q8_0, (1, 128, 64)), parameter("at", tensor(i32))
    new = {name: parameter(name, tensor(f32, N, heads, 64)) for name, heads in (("q", 2), ("k", 1), ("v", 1))}
    caches = [parameter(name, shape, "state") for name in ("keys", "values")]
    held = [ops.cache_update(c, ops.quantize(new[r], Q8_0), at) for c, r in zip(caches, ("k", "v"), strict=True)]
    y = ops.attention(new["q"], *held, at, 0.125, True)
    graph = Graph("a", [*new.values(), *caches, at], [y], list(zip(caches, held, strict=True)))
    for target, schedule in ((CUDA, "warpgroup"), (cuda_target((8, 0)), "tile")):
        names = [k.name for k in compile_graph(graph, target, Options()).program.kernels]
        assert any(name.startswith(f"{schedule}_attention") for name in names)
    arrays = {v: rng.standard_normal((n, p.type.shape[1], 64)).astype(np.float32) for v, p in new.items()}
    arrays["at"] = np.array(start, np.int32)
    for name in ("keys", "values"):
        blocks = encode(rng.standard_normal((128, 64)).astype(np.float32), Q8_0).reshape(1, 128, -1)
        blocks[:, start:] = 0xFF  # scales that are NaN, where nobody wrote
        arrays[name] = blocks
    found = run(graph, arrays, {"n": n})[0]
    clean = {v: np.where(a == 0xFF, 0, a) if v in ("keys", "values") else a for v, a in arrays.items()}
    for name in ("keys", "values"):
        clean[name][:, :start] = arrays[name][:, :start]
    (exact,) = evaluate(graph, clean, {"n": n})[:1]
    np.testing.assert_allclose(found.reshape(exact.shape), exact, rtol=0, atol=4e-3 * float(np.abs(exact).max()))


def test_what_is_not_made_halves() -> None:
    cache = TensorType(Q8_0, (2, 64, 64))
    assert refusal(cache, CUDA) is None
    for other, target in (
        (TensorType(Q4_0, cache.shape), CUDA),  # runs of 16 codes
        (TensorType(Q8_0, (2, 96, 64)), CUDA),  # half a step of keys more
        (TensorType(Q8_0, (5, 2, 64, 64)), CUDA),  # pages
        (cache, cuda_target((7, 5))),
    ):
        assert refusal(other, target) is not None
    x = parameter("x", cache, "state")
    (kernel,) = compile_graph(Graph("d", [x], [ops.dequantize(x)]), CUDA, Options()).program.kernels
    assert not kernel.name.startswith("dequantize_cache")


def _rounded(values: np.ndarray) -> np.ndarray:
    """f32 to the bits of bf16, nearest even."""
    bits = np.ascontiguousarray(values, np.float32).view(np.uint32).astype(np.uint64)
    return ((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16).astype(np.uint16)


def _bits(values: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(values).reshape(-1).view(np.uint16)
