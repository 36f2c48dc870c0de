"""Caches of Q8_0 blocks on GPUs: rows are quantized when they are put there, and made floats where they are read."""

from __future__ import annotations

import numpy as np
import pytest

from heliostat.compiler.pipeline import Options, compile_graph
from heliostat.ops.evaluate import evaluate
from heliostat.quant.codec import dequantize
from heliostat.quant.formats import Q8_0
from heliostat.targets.target import CUDA

from .blocks import CASES, step
from .device import RUNNERS, Runner


@pytest.mark.parametrize("run", RUNNERS)
@pytest.mark.parametrize("case", CASES, ids=str)
def test_attention_over_blocks_equals_reference(case: tuple, run: Runner) -> None:
    graph, arrays = step(*case, unwritten=0)
    found, wanted = run(graph, arrays, {}), evaluate(graph, arrays)
    np.testing.assert_allclose(found[0].reshape(wanted[0].shape), wanted[0], rtol=0, atol=1e-4)
    for after, exact in zip(found[1:], wanted[1:], strict=True):
        blocks = np.asarray(dequantize(after.reshape(-1, 34), Q8_0)).reshape(exact.shape)
        np.testing.assert_allclose(blocks, exact, rtol=0, atol=4e-2)  # a code's step, where division rounds otherwise
        assert (blocks == exact).mean() > 0.999
    names = {k.name.split("_4")[0] for k in compile_graph(graph, CUDA, Options()).program.kernels}
    assert any(n.startswith("block_decode" if case[1] == 1 else "block_attention") for n in names)
