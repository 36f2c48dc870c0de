"""The native repack and dequantize kernels against the NumPy reference of panels and the reference codec."""

from __future__ import annotations

import numpy as np
import pytest

from heliostat import ops
from heliostat.ir.graph import Graph, parameter
from heliostat.ir.types import tensor
from heliostat.quant import formats
from heliostat.quant.codec import dequantize
from heliostat.quant.format import BlockFormat
from heliostat.quant.panel import Panel, pack
from heliostat.session import compile_graph, host_target

BLOCKS = [f for f in formats.all() if f.normal is not None and f.block % 32 == 0 and f.name not in ("Q8_1", "Q8_K")]


def raw(format: BlockFormat, rows: int, blocks: int) -> np.ndarray:
    """Random blocks with finite scales."""
    from heliostat.quant.quantize import encode

    rng = np.random.default_rng(rows)
    return np.asarray(encode(rng.standard_normal((rows, blocks * format.block)).astype(np.float32), format))


@pytest.mark.parametrize("format", BLOCKS, ids=str)
@pytest.mark.parametrize(("rows", "blocks"), [(1, 1), (17, 2), (48, 3)])
def test_repack_equals_reference_bit_for_bit(format: BlockFormat, rows: int, blocks: int) -> None:
    lanes = host_target().lanes
    data = raw(format, rows, blocks)
    w = parameter("w", tensor(format, rows, blocks * format.block))
    got = compile_graph(Graph("pack", [w], [ops.repack(w, Panel(lanes))]), threads=2).run({"w": data})[0]
    expected = pack(data, format, lanes).reshape(-1)
    np.testing.assert_array_equal(got[: expected.size], expected)


@pytest.mark.parametrize("format", BLOCKS, ids=str)
def test_dequantize_equals_codec(format: BlockFormat) -> None:
    data = raw(format, 9, 3)
    w = parameter("w", tensor(format, 9, 3 * format.block))
    got = compile_graph(Graph("values", [w], [ops.dequantize(w)]), threads=2).run({"w": data})[0]
    np.testing.assert_allclose(got.reshape(-1), np.asarray(dequantize(data, format)).reshape(-1), rtol=3e-7, atol=1e-30)
