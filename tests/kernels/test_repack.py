"""The native repack and dequantize kernels against the NumPy reference of panels and the reference codec."""

from __future__ import annotations

import numpy as np
import pytest

from heliostat import ops
from heliostat.ir.graph import Graph, parameter
from heliostat.ir.types import DType, bf16, f16, f32, tensor
from heliostat.kernels.repack import NEAR_BYTES
from heliostat.quant import formats
from heliostat.quant.codec import dequantize
from heliostat.quant.format import BlockFormat
from heliostat.quant.panel import Panel, pack
from heliostat.session import compile_graph, host_target
from targets.device import RUNNERS, Runner

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


@pytest.mark.parametrize("name", ["Q8_0", "Q4_0", "Q5_K"])
def test_long_rows_are_written_in_parts(name: str) -> None:
    """A part of all rows of a panel, then the next: the last is shorter, and so is the last panel."""
    format, lanes = formats.get(name), host_target().lanes
    blocks = 2 * (NEAR_BYTES // Panel(lanes).plan(format).block_bytes) + 3
    data = raw(format, lanes + 3, blocks)
    w = parameter("w", tensor(format, lanes + 3, blocks * format.block))
    got = compile_graph(Graph("pack", [w], [ops.repack(w, Panel(lanes))]), threads=2).run({"w": data})[0]
    expected = pack(data, format, lanes).reshape(-1)
    np.testing.assert_array_equal(got[: expected.size], expected)


def test_long_rows_of_halves_are_written_in_parts() -> None:
    lanes = host_target().lanes
    depth = NEAR_BYTES // (2 * lanes) + 5
    data = np.random.default_rng(0).standard_normal((lanes, depth)).astype(np.float16)
    w = parameter("w", tensor(f16, lanes, depth))
    (got,) = compile_graph(Graph("pack", [w], [ops.repack(w, Panel(lanes))]), threads=2).run({"w": data})
    np.testing.assert_array_equal(
        got.view(np.uint8).reshape(-1)[: data.nbytes], data.T.copy().view(np.uint8).reshape(-1)
    )


@pytest.mark.parametrize("format", BLOCKS, ids=str)
def test_dequantize_equals_codec(format: BlockFormat) -> None:
    data = raw(format, 9, 3)
    w = parameter("w", tensor(format, 9, 3 * format.block))
    got = compile_graph(Graph("values", [w], [ops.dequantize(w)]), threads=2).run({"w": data})[0]
    np.testing.assert_allclose(got.reshape(-1), np.asarray(dequantize(data, format)).reshape(-1), rtol=3e-7, atol=1e-30)


@pytest.mark.parametrize("run_graph", RUNNERS)
@pytest.mark.parametrize(("element", "rows", "lanes", "runs"), [(bf16, 64, 32, 5), (bf16, 32, 32, 8), (f32, 96, 32, 6)])
def test_panels_of_runs_on_a_gpu(run_graph: Runner, element: DType, rows: int, lanes: int, runs: int) -> None:
    """16 bytes of a row together, then those of the next row of the panel."""
    run = 16 // element.nbytes
    values = np.random.default_rng(rows).standard_normal((rows, runs * run)).astype(np.float32)
    data = values if element is f32 else (values.view(np.uint32) >> 16).astype(np.uint16)
    w = parameter("w", tensor(element, rows, runs * run))
    (got,) = run_graph(Graph("pack", [w], [ops.repack(w, Panel(lanes, run))]), {"w": data}, {})
    expected = data.reshape(rows // lanes, lanes, runs, run).transpose(0, 2, 1, 3).reshape(-1)
    np.testing.assert_array_equal(got.view(np.uint8).reshape(-1), expected.view(np.uint8))
