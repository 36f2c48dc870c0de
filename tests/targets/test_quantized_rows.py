"""Rows quantized by a team of warps on GPUs, four neighbours to a thread: always the bytes of `encode`."""

from __future__ import annotations

import numpy as np
import pytest

from heliostat import ops
from heliostat.compiler.pipeline import Options, compile_graph
from heliostat.ir.graph import Graph, parameter
from heliostat.ir.types import f32, tensor
from heliostat.kernels.quantize_block import spreads
from heliostat.quant.activation import ActivationFormat, activation_format
from heliostat.targets.target import CUDA

from .device import RUNNERS, Runner, lockstep_of_8

FORMATS = [
    activation_format(32, 32, "f32", 1, 2),
    activation_format(32, 16, "f32", 1, 2),
    activation_format(32, 32, "i32", -8, 2),
    activation_format(32, 16, "i32", -32, 1),
]


def graph(columns: int, *formats: ActivationFormat) -> Graph:
    x, w = parameter("x", tensor(f32, 1, columns)), parameter("w", tensor(f32, columns), "weight")
    norm = ops.rms_norm(x, w, eps=1e-6)
    return Graph("rows", [x, w], [*(ops.quantize(norm, f) for f in formats), norm])


@pytest.mark.parametrize("run", [*RUNNERS, pytest.param(lockstep_of_8, id="lockstep-8.0")])
@pytest.mark.parametrize("format", FORMATS, ids=str)
@pytest.mark.parametrize("columns", [640, 1024, 5120])
def test_bytes_are_those_of_encode(columns: int, format: ActivationFormat, run: Runner) -> None:
    """More and fewer warps than there is work for, blocks of zeros, of one large value, and of tiny ones."""
    rng = np.random.default_rng(columns)
    w = rng.standard_normal(columns).astype(np.float32)
    w[32:64], w[100], w[128:160] = 0, 1e6, w[128:160] * 1e-30
    x = rng.standard_normal((1, columns)).astype(np.float32)
    codes, norm = run(graph(columns, format), {"x": x, "w": w}, {})
    found, wanted = np.asarray(codes).reshape(-1).view(np.uint8), format.encode(norm).reshape(-1)
    assert found.size >= wanted.size
    for plane in range(format.planes):
        at = plane * format.plane_bytes(columns)
        used = format.sums_at(columns) + format.sum_bytes * (columns // format.sub)
        np.testing.assert_array_equal(found[at : at + used], wanted[at : at + used])


def test_which_rows_are_quantized_so() -> None:
    """A thread's four neighbours are of one block and one sum, and rows are whole shares of a warp."""

    def shared(columns: int, *formats: ActivationFormat) -> bool:
        (kernel,) = compile_graph(graph(columns, *formats), CUDA, Options()).program.kernels
        return any(i.op == "scatter" for i in kernel.walk())

    assert all(spreads(f) for f in FORMATS)
    assert shared(1024, FORMATS[0])
    assert shared(1024, FORMATS[0], FORMATS[2])
    assert not shared(1056, FORMATS[0])  # 33 blocks
    wide = activation_format(256, 32, "f32")
    assert not spreads(wide)
    assert not shared(1024, FORMATS[0], wide)
    assert not spreads(activation_format(32, 32, "f32", 1, 1, 1023))
    assert not spreads(activation_format(32, 2, "f32"))
