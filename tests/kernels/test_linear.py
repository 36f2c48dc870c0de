"""The schedule of `linear` in every format: machine code with inaccessible pages behind all buffers, the interpreter,
sizes that fill no tile; and results that neither tiles nor the number of workers change.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from heliostat import ops
from heliostat.ir.graph import parameter
from heliostat.ir.types import Dim, DType, Element, Symbol, bf16, dim, f16, f32, tensor, upper_bound
from heliostat.kernels import dot, expanded, linear
from heliostat.kernels.group import Accept, Group, Refuse
from heliostat.kernels.linear_tile import LinearTile
from heliostat.quant import formats
from heliostat.quant.codec import dequantize
from heliostat.quant.format import BlockFormat
from heliostat.quant.panel import Panel, pack
from heliostat.quant.quantize import encode
from heliostat.runtime.guard import guarded_buffer
from heliostat.targets.target import Target

from .run_kernel import HOST, Compiled, run_kernel, stored, targets

BLOCKS = [f for f in formats.all() if dot.refusal(f) is None and f.block % 32 == 0 and f.name not in ("Q8_1", "Q8_K")]
FLOATS: list[Element] = [f32, f16, bf16]
N = dim(Symbol("n", 64, 1))
LEFTOVERS = LinearTile((3, 2, 1), panels=2, single_panels=2, block=7)


def case(
    element: Element, rows: int, depth: int, n: int, integers: bool, target: Target, planes: int = 1, count: Dim = N
) -> Any:
    """The group of one product with a bias, its arrays (activations, weights in panels, bias) and the exact result.
    `count`: what is known of more than one row."""
    lanes, most = target.lanes, 1 if n == 1 else upper_bound(count)
    rng = np.random.default_rng(rows * 100 + n)
    x = rng.standard_normal((n, depth)).astype(np.float32)
    w = rng.standard_normal((rows, depth)).astype(np.float32)
    if isinstance(element, BlockFormat):
        raw = np.asarray(encode(w, element)).reshape(rows, -1)
        exact_w = np.asarray(dequantize(raw, element)).reshape(rows, depth)
    else:
        assert isinstance(element, DType)
        held = stored(w, element)
        raw = held.reshape(rows, -1).view(np.uint8).reshape(rows, -1)
        exact_w = (held.astype(np.uint32) << 16).view(np.float32) if element == bf16 else held
    whole = integers and isinstance(element, BlockFormat)
    activation = expanded.partner(element, planes, target, most) if whole else f32
    count = 1 if n == 1 else count
    a = parameter("x", tensor(activation, count, depth))
    b = parameter("w", tensor(element, rows, depth), "weight")
    c = parameter("c", tensor(f32, rows))
    packed = ops.repack(b, Panel(lanes))
    panels = parameter("p", packed.type, "weight")
    product = ops.linear(a, panels)
    y = product + c
    group = Group((product.node, y.node), (a, panels, c), (y,), product.node)
    given = activation.encode(x) if activation is not f32 else x
    seen = activation.decode(given, depth).reshape(n, depth) if activation is not f32 else x
    bias = rng.standard_normal(rows).astype(np.float32)
    exact = seen.astype(np.float64) @ exact_w.astype(np.float64).T + bias
    arrays = [np.ascontiguousarray(given), pack(raw, element.name, lanes), bias]
    order = {a: arrays[0], panels: arrays[1], c: arrays[2]}
    return group, [order[v] for v in group.inputs], exact


def check(
    target: Target,
    element: Element,
    shape: tuple[int, int, int],
    integers: bool,
    tile: Any,
    interp: bool,
    planes: int = 1,
) -> None:
    rows, depth, n = shape
    planes = 2 if n == 1 and integers else planes
    group, arrays, exact = case(element, rows, depth, n, integers, target, planes)
    kernel = linear.build(group, target, "k", tile)
    keep, placed = [], []
    for array in [*arrays, np.full((n, rows), 99, np.float32)]:
        buffer = guarded_buffer(array.nbytes)
        keep.append(buffer)
        flat = buffer.array(np.uint8)[: array.nbytes]
        flat[:] = array.reshape(-1).view(np.uint8)
        placed.append(flat.view(array.dtype).reshape(array.shape))
    sizes = [np.array([n], np.int64)] if n > 1 else []
    run_kernel(kernel, [*placed, *sizes], 3, interp, target)
    bound = 2e-5 * float(np.abs(exact).max()) * (1 if element in FLOATS else depth**0.5 / 4)
    np.testing.assert_allclose(placed[-1], exact, rtol=0, atol=bound)


@pytest.mark.parametrize("target", targets(), ids=lambda t: f"{t.vector_bytes} bytes")
@pytest.mark.parametrize("element", [*FLOATS, *BLOCKS], ids=str)
def test_every_format(target: Target, element: Element) -> None:
    """The default tiles of many rows on this machine are those of `session/test_products.py`, and for one row they
    leave nothing over. What tiles leave over in many rows is tried on this and on that target in turn."""
    block = max(element.block, 32)
    turn = [*FLOATS, *BLOCKS].index(element) % len(targets()) == targets().index(target)
    for rows, blocks, n, tiles in (
        (1, 1, 1, [None]),
        (33, 2, 1, [LEFTOVERS]),
        (37, 3, 23, ([] if target == HOST else [None]) + [LEFTOVERS] * turn),
    ):
        for integers in (True, False) if isinstance(element, BlockFormat) else (False,):
            for tile in tiles:
                check(target, element, (rows, blocks * block, n), integers, tile, False)


@pytest.mark.parametrize("name", ["Q4_0", "Q5_1", "Q6_K", "IQ4_XS", "MXFP4"])
def test_interpreted(name: str) -> None:
    element = formats.get(name)
    check(targets()[0], element, (18, max(element.block, 64), 5), True, LEFTOVERS, True)


@pytest.mark.parametrize("name", ["Q8_0", "Q4_K", "Q3_K"])
def test_workers_and_tiles_do_not_change_results(name: str) -> None:
    target = targets()[0]
    element = formats.get(name)
    for n in (1, 29):
        group, arrays, _ = case(element, 100, 512, n, True, target)
        results = set()
        for tile in (None, LEFTOVERS, LinearTile((4, 1), panels=3, block=8)):
            compiled = Compiled(linear.build(group, target, "k", tile), target)
            for workers in (1, 2, 5, 16):
                out = np.zeros((n, 100), np.float32)
                compiled.run([*arrays, out, *([np.array([n], np.int64)] if n > 1 else [])], workers)
                results.add(out.tobytes())
        assert len(results) == 1


@pytest.mark.parametrize("tile", [None, LEFTOVERS], ids=["default", "leftovers"])
@pytest.mark.parametrize("element", [f32, formats.get("Q4_0")], ids=str)
def test_heights_that_known_rows_come_to(element: Element, tile: LinearTile | None) -> None:
    """As of any number of rows, bit for bit: with tiles that only those rows need."""
    target = targets()[0]
    for n in (2, 13, 24):
        results, lengths = [], []
        for count in (n, N):
            group, arrays, exact = case(element, 40, 64, n, True, target, count=count)
            compiled = Compiled(linear.build(group, target, "k", tile), target)
            lengths.append(len(list(compiled.kernel.walk())))
            out = np.full((n, 40), 99, np.float32)
            compiled.run([*arrays, out, *([np.array([n], np.int64)] if count is N else [])], 3)
            np.testing.assert_allclose(out, exact, rtol=0, atol=5e-5 * float(np.abs(exact).max()))
            results.append(out.tobytes())
        assert results[0] == results[1]
        assert lengths[0] < lengths[1]


@pytest.mark.parametrize("outputs", [10, 48, 64, 100, 128])
@pytest.mark.parametrize("tile", [None, LEFTOVERS], ids=["default", "leftovers"])
def test_workers_share_rows_or_panels_of_floats(outputs: int, tile: LinearTile | None) -> None:
    """Which worker makes what changes nothing: rows of few outputs, panels that are whole groups for all, or rows."""
    target = targets()[0]
    group, arrays, exact = case(f32, outputs, 40, 29, False, target)
    compiled = Compiled(linear.build(group, target, "k", tile), target)
    results = set()
    for workers in (1, 2, 3, 16):
        out = np.zeros((29, outputs), np.float32)
        compiled.run([*arrays, out, np.array([29], np.int64)], workers)
        np.testing.assert_allclose(out, exact, rtol=0, atol=2e-5 * float(np.abs(exact).max()))
        results.add(out.tobytes())
    assert len(results) == 1


@pytest.mark.parametrize("target", targets(), ids=lambda t: f"{t.vector_bytes} bytes")
@pytest.mark.parametrize("name", ["Q8_0", "Q4_K", "MXFP4", "f16", "bf16"])
def test_two_products_and_their_epilogue_are_one_kernel(target: Target, name: str) -> None:
    """silu(gate) * up, in whole tiles and what is left over, beside the exact result."""
    element = {"f16": f16, "bf16": bf16}.get(name) or formats.get(name)
    rows, depth, n = 37, 2 * max(element.block, 32), 23
    made = [case(element, rows, depth, n, True, target), case(element, rows, depth, n, True, target)]
    (group, arrays, exact), (other, other_arrays, _) = made
    x, w = group.root.inputs
    w2 = other.root.inputs[1]
    gate, up = ops.linear(x, w), ops.linear(x, w2)
    active = ops.silu(gate)
    y = active * up
    flipped = np.array(other_arrays[1])
    both = Group((gate.node, active.node, up.node, y.node), (x, w, w2), (y,), gate.node)
    assert isinstance(linear.accepts(both, target), Accept)
    bias = arrays[2].astype(np.float64)
    product = exact - bias
    wanted = product / (1 + np.exp(-product)) * product
    for tile in (None, LEFTOVERS):
        out = np.full((n, rows), 99, np.float32)
        kernel = linear.build(both, target, "k", tile)
        run_kernel(kernel, [arrays[0], arrays[1], flipped, out, np.array([n], np.int64)], 3, False, target)
        np.testing.assert_allclose(out, wanted, rtol=0, atol=1e-4 * float(np.abs(wanted).max()) * depth**0.5)


def test_products_side_by_side_share_activations() -> None:
    target = targets()[0]
    group = case(f32, 8, 32, 5, False, target)[0]
    x, w = group.root.inputs
    z = parameter("z", x.type)
    a, b = ops.linear(x, w), ops.linear(z, w)
    y = a * b
    refused = linear.accepts(Group((a.node, b.node, y.node), (x, z, w), (y,), a.node), target)
    assert isinstance(refused, Refuse)
    assert "share their activations" in refused.reason


@pytest.mark.parametrize("target", targets(), ids=lambda t: f"{t.vector_bytes} bytes")
@pytest.mark.parametrize("shape", [(33, 64, 1), (37, 46, 23), (16, 8, 40)], ids=str)
def test_pairs_of_bf16(target: Target, shape: tuple[int, int, int]) -> None:
    rows, depth, n = shape
    _, arrays, _ = case(bf16, rows, depth, n, False, target)
    x = (arrays[0].view(np.uint32) >> 16).astype(np.uint16)
    a = parameter("x", tensor(bf16, 1 if n == 1 else N, depth))
    panels = parameter("p", ops.repack(parameter("w", tensor(bf16, rows, depth)), Panel(target.lanes)).type, "weight")
    y = ops.linear(a, panels, f32)
    group = Group((y.node,), (a, panels), (y,), y.node)
    seen = (x.astype(np.uint32) << 16).view(np.float32).astype(np.float64)
    exact = case(bf16, rows, depth, n, False, target)[2] - arrays[2]
    # the exact product of the rounded activations, from that of the unrounded ones by linearity
    w = np.linalg.lstsq(arrays[0].astype(np.float64), exact, rcond=None)[0] if n > depth else None
    for interp in (False, True):
        out = np.full((n, rows), 99, np.float32)
        sizes = [np.array([n], np.int64)] if n > 1 else []
        run_kernel(linear.build(group, target, "k"), [x, arrays[1], out, *sizes], 2, interp, target)
        if w is not None:
            np.testing.assert_allclose(out, seen @ w, rtol=0, atol=1e-4 * float(np.abs(exact).max()))
        np.testing.assert_allclose(out, exact, rtol=0, atol=0.02 * float(np.abs(exact).max()))
