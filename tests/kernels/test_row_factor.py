"""Factors of quantized rows: which are found, what is left of the row, and that products with them are right."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from heliostat import ops
from heliostat.compiler.pipeline import KernelLibrary, Options, compile_graph
from heliostat.ir.graph import Graph, Value, parameter
from heliostat.ir.types import f32, tensor
from heliostat.kernel.lockstep import run_lockstep
from heliostat.kernels import row_factor, stream_linear
from heliostat.kernels.group import Group
from heliostat.quant import formats
from heliostat.quant.codec import dequantize
from heliostat.quant.panel import pack
from heliostat.quant.quantize import encode
from heliostat.targets.target import CUDA

Made = Callable[[Value, Value], Value]


def norm(x: Value, w: Value) -> Value:
    return ops.rms_norm(x, w, eps=1e-6)


def signed(x: Value, w: Value) -> Value:
    """A factor that may be negative, and comes first."""
    return ops.mul(w, ops.mul(ops.sum(x, -1, True), x))


def scaled(y: Value, x: Value) -> Value:
    return ops.mul(y, ops.mean(x, -1, True))


def group_of(made: Made, rows: int, depth: int, format: str = "Q8_0") -> Group:
    x, v = parameter("x", tensor(f32, 1, depth)), parameter("v", tensor(f32, depth), "weight")
    w = parameter("w", tensor(formats.get(format), rows, depth), "weight")
    library = KernelLibrary()
    compile_graph(Graph("p", [x, v, w], [ops.matmul(made(x, v), ops.transpose(w))]), CUDA, Options(), library)
    (group,) = (f.group for f in library.groups.values() if f.schedule is stream_linear)
    return group


@pytest.mark.parametrize("made", [norm, signed])
def test_what_is_left_of_a_row_does_not_need_the_reduction(made: Made) -> None:
    before, _ = stream_linear.parts(group_of(made, 64, 256))
    assert before is not None
    found = row_factor.apart(before)
    assert found is not None
    row, factor = found
    assert factor.type.shape == (1, 1)
    names = [n.op.name for n in row.nodes]
    assert names[-2:] == ["mul", "quantize"]
    assert row.nodes[-1].inputs[0].node is row.nodes[-2]
    assert {id(v) for v in row.nodes[-2].inputs} == {id(v) for v in before.inputs}  # the row and the weight alone
    assert names.count("mul") == [n.op.name for n in before.nodes].count("mul") - 1
    assert row.outputs == row.nodes[-1].results


@pytest.mark.parametrize(
    "made",
    [
        lambda x, v: ops.layer_norm(x, v, v, eps=1e-6),  # the bias is not multiplied
        lambda x, v: ops.mul(x, v),  # nothing is reduced
        lambda x, v: ops.add(ops.mul(x, ops.mean(x, -1, True)), v),
        lambda x, v: ops.mul(ops.mul(x, ops.max(x, -1, True)), ops.mean(x, -1, True)),  # two reductions
        lambda x, v: scaled(ops.sub(x, ops.mean(x, -1, True)), x),  # what is left of the row needs the reduction, too
        lambda x, v: ops.mul(scaled(x, x), ops.exp(ops.mean(x, -1, True))),
        lambda x, v: ops.mul(scaled(x, x), ops.sub(v, ops.mean(x, -1, True))),
    ],
)
def test_rows_without_such_a_factor(made: Made) -> None:
    before, _ = stream_linear.parts(group_of(made, 64, 256))
    assert before is None or row_factor.apart(before) is None


@pytest.mark.parametrize("made", [norm, signed])
@pytest.mark.parametrize(
    ("format", "rows", "depth"),
    [("Q8_0", 40, 160), ("Q4_K", 33, 2048), ("Q8_0", 300, 512)],  # no whole parts of a warp, idle warps, several panels
)
def test_products_with_a_factor(made: Made, format: str, rows: int, depth: int) -> None:
    rng = np.random.default_rng(depth)
    group = group_of(made, rows, depth, format)
    element, w = formats.get(format), group.root.inputs[1]
    before, _ = stream_linear.parts(group)
    assert before is not None
    assert row_factor.apart(before) is not None
    raw = np.asarray(encode(rng.standard_normal((rows, depth)).astype(np.float32), element)).reshape(rows, -1)
    exact = np.asarray(dequantize(raw, element)).reshape(rows, depth).astype(np.float64)
    values = (rng.standard_normal((1, depth)) * 10 ** rng.uniform(-3, 3)).astype(np.float32)
    scale = rng.standard_normal(depth).astype(np.float32)
    held = {v: values if v.type.shape == (1, depth) else scale for v in group.inputs} | {w: pack(raw, element, 32)}
    y = np.full((1, rows), np.nan, np.float32)
    run_lockstep(stream_linear.build(group, CUDA, "product"), [*(held[v] for v in group.inputs), y], blocks=2)
    m = values.astype(np.float64)
    m = m / np.sqrt((m**2).mean() + 1e-6) * scale if made is norm else m * m.sum() * scale
    wanted = m @ exact.T
    np.testing.assert_allclose(y, wanted, rtol=0, atol=1e-3 * float(np.abs(wanted).max()))
