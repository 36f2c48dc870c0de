"""Caches of Q8_0 blocks on the CPU: rows are quantized when they are put there, and made floats where they are read."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from heliostat import ops
from heliostat.diagnostics import DTypeError, ShapeError
from heliostat.ir.graph import Graph, parameter
from heliostat.ir.types import f16, f32, i32, tensor
from heliostat.ops.evaluate import evaluate
from heliostat.quant.codec import dequantize
from heliostat.quant.formats import Q4_0, Q8_0
from heliostat.quant.quantize import encode
from heliostat.session import compile_graph
from targets.blocks import CASES, step


@pytest.mark.parametrize("case", CASES, ids=str)
def test_attention_over_blocks_equals_reference(case: tuple) -> None:
    graph, arrays = step(*case)
    found = compile_graph(graph, threads=2).run(arrays)
    wanted = evaluate(graph, arrays)
    np.testing.assert_allclose(found[0], wanted[0], rtol=0, atol=2e-5)
    for after, exact in zip(found[1:], wanted[1:], strict=True):
        blocks = np.asarray(dequantize(after.reshape(-1, 34), Q8_0)).reshape(exact.shape)
        np.testing.assert_array_equal(blocks, exact)


_ROWS = parameter("x", tensor(f32, 64, 64))
_QUANTIZE = compile_graph(Graph("quantize", [_ROWS], [ops.quantize(_ROWS, Q8_0)]), threads=1)


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 1 << 30), scale=st.sampled_from([0.0, 1e-6, 1.0, 300.0, 1e5]))
def test_blocks_are_made_bit_for_bit(seed: int, scale: float) -> None:
    rng = np.random.default_rng(seed)
    x = (rng.standard_normal((64, 64)) * scale).astype(np.float32)
    x[rng.random(x.shape) < 0.1] = 0
    found = _QUANTIZE.run({"x": x})[0]
    np.testing.assert_array_equal(np.asarray(found).reshape(-1), encode(x, Q8_0).reshape(-1))


def test_rows_of_another_format_are_refused() -> None:
    cache, start = parameter("cache", tensor(Q8_0, 2, 64, 32)), parameter("start", tensor(i32))
    rows = parameter("rows", tensor(f32, 1, 2, 32))
    for wrong in (rows, ops.quantize(rows, Q4_0)):
        with pytest.raises(DTypeError, match="takes rows of it"):
            ops.cache_update(cache, wrong, start)
    with pytest.raises(DTypeError, match="one float dtype or block format"):
        ops.attention(rows, cache, parameter("v", tensor(f16, 2, 64, 32)), start, scale=1.0)
    with pytest.raises(ShapeError):
        ops.cache_update(cache, ops.quantize(parameter("r", tensor(f32, 1, 3, 32)), Q8_0), start)
