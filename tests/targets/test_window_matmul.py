"""Convolutions as products on tensor cores: strides, paddings and dilations, ragged sizes, parts of a sum."""

from __future__ import annotations

import numpy as np
import pytest

from heliostat.ir.graph import Graph, parameter
from heliostat.ir.types import DType, bf16, f16, f32, tensor
from heliostat.ops import REGISTRY, round_tf32
from heliostat.ops.window import window_count

from .device import RUNNERS, RUNNERS_OF_8, Runner
from .test_warpgroup_matmul import close, drawn, exact, schedules

Pair = tuple[int, int]
CASES = [  # images, size, channels in and out, kernel, stride, padding, dilation
    (1, (9, 15), 64, 24, (3, 3), (1, 1), (1, 1), (1, 1), bf16),
    (1, (9, 8), 16, 24, (7, 7), (2, 2), (3, 3), (1, 1), bf16),
    (2, (5, 6), 24, 72, (3, 2), (2, 1), (1, 0), (1, 2), f16),
    (1, (8, 8), 128, 16, (1, 1), (2, 2), (0, 0), (1, 1), bf16),
    (1, (9, 5), 40, 24, (3, 3), (2, 1), (1, 1), (1, 1), f32),  # rounded to tf32
]


def case(seed: int, dtype: DType, count: int, size: Pair, kernel: Pair, stride: Pair, padding: Pair, dilation: Pair,
         channels: int, out: int):  # fmt: skip
    grid = tuple(map(window_count, size, kernel, stride, padding, dilation))
    rng = np.random.default_rng(seed)
    at = {"size": size, "grid": grid, "kernel": kernel, "stride": stride, "padding": padding, "dilation": dilation}
    x = drawn(rng, dtype, count * size[0] * size[1], channels)
    g = drawn(rng, dtype, count * grid[0] * grid[1], out)
    w = drawn(rng, dtype, kernel[0] * kernel[1] * channels, out)
    return at, x, g, w


@pytest.mark.parametrize("run", RUNNERS + RUNNERS_OF_8)
@pytest.mark.parametrize(
    ("count", "size", "channels", "out", "kernel", "stride", "padding", "dilation", "dtype"), CASES
)
def test_all_three_products(
    count: int, size: Pair, channels: int, out: int, kernel: Pair, stride: Pair, padding: Pair, dilation: Pair,
    dtype: DType, run: Runner,
) -> None:  # fmt: skip
    at, x, g, w = case(channels + out, dtype, count, size, kernel, stride, padding, dilation, channels, out)
    back = drawn(np.random.default_rng(out), dtype, kernel[0] * kernel[1] * out, channels)
    turned = {**at, "size": at["grid"], "grid": at["size"], "transposed": True}
    parts = next(p for p in (3, 2, 1) if len(g) % p == 0 and len(g) // p >= 16)
    held = {"x": x, "g": g, "w": w, "back": back}
    parameters = {n: parameter(n, tensor(dtype, *a.shape)) for n, a in held.items()}
    values = {n: round_tf32(v) if dtype is f32 else v for n, v in parameters.items()}
    forward, of_x, of_w = (REGISTRY[n] for n in ("window_matmul", "window_matmul", "window_gradient"))
    made = [
        forward.build(values["x"], values["w"], **at),
        of_x.build(values["g"], values["back"], **turned),
        of_w.build(values["x"], values["g"], **at, parts=parts),
    ]
    graph = Graph("windows", list(parameters.values()), made)
    for capability in ((9, 0), (8, 0)):
        assert sum("window_" in k for k in schedules(graph, capability)) == 3
    found = run(graph, held, {})
    wanted = [
        forward.reference(exact(x), exact(w), **at),
        of_x.reference(exact(g), exact(back), **turned),
        of_w.reference(exact(x), exact(g), **at, parts=parts),
    ]
    for a, b, value in zip(found, wanted, made, strict=True):
        close(a, b, value.type.dtype)
