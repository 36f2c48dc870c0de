"""Convolutional networks over matrices of pixels: what a step computes there is what it computes as written."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
import pytest

from heliostat import ops
from heliostat.compiler.pipeline import Options, compile_graph, lower
from heliostat.ir.graph import Graph, Value, parameter
from heliostat.ir.types import DType, bf16, f32, tensor
from heliostat.ops.evaluate import evaluate
from heliostat.targets.target import CUDA
from targets.device import RUNNERS, Runner
from targets.test_warpgroup_matmul import exact

Arrays = dict[str, np.ndarray[Any, Any]]


def block(x: Value, w: Value, scale: Value, bias: Value, stride: int, padding: int, element: DType) -> Value:
    """conv2d as autocast runs it, or all in float32, then a normalization in float32 and relu."""
    y = ops.conv2d(ops.cast(x, element), ops.cast(w, element), stride, padding)
    return ops.cast(ops.batch_norm(ops.cast(y, f32), scale, bias, 1e-5), element)


def network(count: int, size: int, channels: int, element: DType = bf16) -> tuple[Graph, list[Value]]:
    """A stem of 3 channels with a maximum behind, a residual block whose first convolution has stride 2, means over
    its images, and the gradients of all weights."""
    x = parameter("x", tensor(f32, count, 3, size, size))
    wide = 2 * channels
    shapes = [(channels, 3, 3, 3), (wide, channels, 3, 3), (wide, wide, 1, 1), (wide, channels, 1, 1)]
    ws = [parameter(f"w{n}", tensor(f32, *s)) for n, s in enumerate(shapes)]
    ss = [parameter(f"s{n}", tensor(f32, s[0])) for n, s in enumerate(shapes)]
    bs = [parameter(f"b{n}", tensor(f32, s[0])) for n, s in enumerate(shapes)]
    stem = ops.max_pool2d(ops.relu(block(x, ws[0], ss[0], bs[0], 1, 1, element)), (3, 3), (2, 2), (1, 1), (1, 1))
    inner = ops.relu(block(stem, ws[1], ss[1], bs[1], 2, 1, element))
    aside = block(stem, ws[3], ss[3], bs[3], 2, 0, element)
    out = ops.relu(block(inner, ws[2], ss[2], bs[2], 1, 0, element) + aside)
    out = ops.mean(ops.mean(out, 3, True), 2, True)  # as adaptive_avg_pool2d has it
    g = parameter("g", tensor(element, *out.type.shape))  # type: ignore[arg-type]
    found = ops.gradients([out], [g], [*ws, *ss, *bs])
    assert all(v is not None for v in found)
    return Graph("net", [x, *ws, *ss, *bs, g], [out, *found]), [out, *found]  # type: ignore[list-item]


def drawn(graph: Graph, seed: int) -> Arrays:
    rng = np.random.default_rng(seed)
    held: Arrays = {}
    for p in graph.parameters:
        a = rng.standard_normal([int(d) for d in p.type.shape]).astype(np.float32)  # type: ignore[arg-type]
        held[p.name] = (a.view(np.uint32) >> 16).astype(np.uint16) if p.type.element is bf16 else a
    return held


@pytest.mark.parametrize(
    ("run", "element"),
    [pytest.param(*r.values, e, id=f"{r.id}-{e.name}", marks=r.marks) for r in RUNNERS for e in (bf16, f32)],
)
def test_a_step_with_channels_last(run: Runner, element: DType) -> None:
    """bf16, and f32 whose convolutions round it to tf32."""
    options = Options(tf32_convolutions=True)
    graph, values = network(1, 7, 16, element)
    assert any("window_" in k.name for k in compile_graph(graph, CUDA, options).program.kernels)
    held = drawn(graph, 5)
    found = partial(run, options=options)(graph, held, {})
    given = {n: exact(a) if a.dtype == np.uint16 else a.astype(np.float64) for n, a in held.items()}
    wanted = evaluate(graph, given)
    for value, a, b in zip(values, found, wanted, strict=True):
        a = exact(a) if value.type.element is bf16 else np.asarray(a, np.float64)
        error = float(np.linalg.norm(a - b) / np.linalg.norm(b))
        most = 0.06 if element is bf16 else 0.005  # sums of few pixels, rounded eight times on the way
        assert error < most, (value, error)


def test_images_stay_as_they_are_between_convolutions() -> None:
    """No transpose but those of weights; the input is packed, and means need none."""
    graph, _ = network(2, 32, 64)
    lowered = lower(graph, CUDA, Options())
    turned = [n for n in lowered.nodes() if n.op.name == "transpose" and n.inputs[0].type.shape[0] == 2]
    assert not turned
    kernels = [k.name for k in compile_graph(graph, CUDA, Options()).program.kernels]
    assert not any("convolution" in k or "unfold" in k or "fold" in k for k in kernels)


def test_sums_and_what_is_stored_are_made_of_what_lies_in_memory() -> None:
    """A normalization's two sums for its gradients are one kernel; nothing wider than bf16 is stored for each pixel."""
    graph, _ = network(3, 32, 64)
    program = compile_graph(graph, CUDA, Options()).program
    sums = [r["ops"].count("pixel_sums") for r in program.report if "pixel_sums" in r["ops"]]
    assert len(sums) == 10  # mean, variance and gradients of four: in two places two normalizations share a kernel
    assert set(sums) == {1}
    pixels = {3 * 32 * 32, 3 * 16 * 16, 3 * 8 * 8}
    wide = [b for b in program.buffers if b.type.rank == 2 and b.type.shape[0] in pixels]
    assert len(wide) > 10
    assert all(b.type.dtype.nbytes <= 2 for b in wide), wide
