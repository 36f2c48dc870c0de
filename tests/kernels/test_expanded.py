"""Panels that are unpacked once for a block of rows: codes that take their integer scales in, every value of a format,
activations in two planes, and that tiles and workers change nothing.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from heliostat import ops
from heliostat.ir.graph import parameter
from heliostat.ir.types import Symbol, dim, tensor
from heliostat.kernel.text import print_kernel
from heliostat.kernels import dot, expanded, integer_scales, linear
from heliostat.kernels.group import Accept, Group, Refuse
from heliostat.kernels.linear_tile import LinearTile, default_tile
from heliostat.lang.check import check as check_source
from heliostat.lang.source import Source
from heliostat.quant import formats
from heliostat.quant.activation import ActivationFormat, activation_format
from heliostat.quant.codec import dequantize
from heliostat.quant.format import BlockFormat
from heliostat.quant.panel import Panel, PanelPlan, pack
from heliostat.targets.llvm import print_llvm
from heliostat.targets.llvm_compile import emit_assembly
from heliostat.targets.target import AARCH64, CUDA, X86_AVX2, X86_VNNI

from .run_kernel import HOST, Compiled, run_kernel
from .test_linear import BLOCKS, LEFTOVERS, check

ROWS, MANY = 21, 512
UNPACKED = [f for f in BLOCKS if expanded.takes(f, X86_VNNI, MANY)]
here = pytest.mark.skipif(not expanded.takes(formats.Q4_0, HOST, MANY), reason="needs AVX-512 VNNI")


def any_bytes(element: BlockFormat, rows: int, depth: int) -> np.ndarray:
    """Blocks of any contents, whose float scales are of one magnitude."""
    rng = np.random.default_rng(depth)
    raw = rng.integers(0, 256, (rows, depth // element.block, element.nbytes), dtype=np.uint8)
    for scalar in element.scalars:
        if scalar.dtype.is_float:
            at, end = scalar.parts[0].at, scalar.parts[0].at + scalar.count * scalar.dtype.bits // 8
            one = {"f16": np.array([0x00, 0x3E], np.uint8), "e8m0": np.array([126], np.uint8)}
            raw[..., at:end] = np.resize(one.get(scalar.dtype.name, np.array([56], np.uint8)), end - at)
    return raw.reshape(rows, -1)


def units(element: BlockFormat, depth: int) -> tuple[Group, list[Any]]:
    """The product of unit vectors with a weight: its columns. Int8 activations hold a unit vector exactly."""
    activation = expanded.partner(element, 1, HOST, MANY)
    a = parameter("x", tensor(activation, dim(Symbol("n", MANY, 1)), depth))
    panels = parameter("p", ops.repack(parameter("w", tensor(element, ROWS, depth)), Panel(HOST.lanes)).type, "weight")
    y = ops.linear(a, panels)
    raw = any_bytes(element, ROWS, depth)
    x = activation.encode(np.eye(depth, dtype=np.float32))
    return Group((y.node,), (a, panels), (y,), y.node), [x, pack(raw, element.name, HOST.lanes), raw]


def panels_of(group: Group) -> PanelPlan:
    """How the weight of a product lies."""
    weight = group.root.inputs[1].type
    assert isinstance(weight.layout, Panel)
    return weight.layout.plan(weight.element)


@here
@pytest.mark.parametrize("element", UNPACKED, ids=str)
def test_every_weight_is_itself(element: BlockFormat) -> None:
    depth = 768  # a piece and a half
    group, (x, packed, raw) = units(element, depth)
    exact = np.asarray(dequantize(raw, element)).reshape(ROWS, depth).T.astype(np.float64)
    y = np.full((depth, ROWS), 99, np.float32)
    run_kernel(linear.build(group, HOST, "k"), [x, packed, y, np.array([depth], np.int64)], 3)
    # what is multiplied by zero and added leaves the rounding of a block's sums
    bound = 1e-5 * np.abs(exact).max()
    np.testing.assert_allclose(y, exact, rtol=1e-6, atol=bound)


@here
@pytest.mark.parametrize("name", ["Q6_K", "Q4_K", "Q5_K", "Q2_K", "Q3_K", "Q8_0", "Q5_1", "TQ2_0"])
def test_largest_products(name: str) -> None:
    """Codes and activations at the ends of their ranges, all of one sign: sums of products fill their two bytes."""
    element, depth, rows = formats.get(name), 512, 2 * ROWS
    activation = expanded.partner(element, 1, HOST, MANY)
    a = parameter("x", tensor(activation, dim(Symbol("n", MANY, 1)), depth))
    panels = parameter("p", ops.repack(parameter("w", tensor(element, rows, depth)), Panel(HOST.lanes)).type, "weight")
    y = ops.linear(a, panels)
    group = Group((y.node,), (a, panels), (y,), y.node)
    raw = any_bytes(element, rows, depth).reshape(rows, depth // element.block, -1)
    floats = np.zeros(element.nbytes, bool)
    for scalar in element.scalars:
        if scalar.dtype.is_float:
            floats[scalar.parts[0].at : scalar.parts[0].at + scalar.count * scalar.dtype.bits // 8] = True
    for row, byte in enumerate([0, 255, 0x7F, 0x80]):
        raw[row][:, ~floats] = byte
    rng = np.random.default_rng(0)
    ends = np.concatenate([np.ones((1, depth)), -np.ones((1, depth)), rng.choice([-1, 1], (18, depth))])
    smooth = ends * rng.uniform(0.4, 1, ends.shape)
    codes = activation.encode(np.concatenate([ends, smooth]).astype(np.float32))
    exact_w = np.asarray(dequantize(raw.reshape(rows, -1), element)).reshape(rows, depth).astype(np.float64)
    exact = activation.decode(codes, depth).astype(np.float64) @ exact_w.T
    y = np.full(exact.shape, 99, np.float32)
    run_kernel(
        linear.build(group, HOST, "k"), [codes, pack(raw.reshape(rows, -1), name, HOST.lanes), y, np.array([len(y)])]
    )
    np.testing.assert_allclose(y, exact, rtol=0, atol=2e-6 * np.abs(exact).max())


@here
@pytest.mark.parametrize("name", ["Q4_0", "Q3_K", "Q4_1", "TQ1_0"])
def test_sums_that_are_floats_are_the_same(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Taking the bias off with the multiplication by the scale rounds as a conversion and a multiplication do."""
    element, depth, rows = formats.get(name), 768, 24
    raw = np.random.default_rng(1).integers(0, 256, (ROWS, depth // element.block, element.nbytes), dtype=np.uint8)
    for scalar in element.scalars:
        if scalar.dtype.is_float:  # of every exponent, f16's denormals too, of either sign; no infinities
            raw[..., scalar.parts[0].at + 1] &= 0xBB
    x = np.random.default_rng(2).standard_normal((rows, depth)).astype(np.float32)
    results = []
    for biased in (True, False):
        if not biased:
            monkeypatch.setattr(expanded, "becomes_float", lambda format: False)
        assert integer_scales.becomes_float(element)
        group, _ = units(element, depth)
        codes = expanded.partner(element, 1, HOST, MANY).encode(x)
        y = np.full((rows, ROWS), 99, np.float32)
        packed = pack(raw.reshape(ROWS, -1), element.name, HOST.lanes)
        run_kernel(linear.build(group, HOST, "k"), [codes, packed, y, np.array([rows], np.int64)])
        results.append(y)
    assert np.isfinite(results[0]).all()
    assert np.unique(results[0]).size > rows * ROWS // 2
    np.testing.assert_array_equal(results[0], results[1])


@here
@pytest.mark.parametrize("name", ["Q6_K", "Q4_K"])
def test_ports_change_nothing(name: str) -> None:
    """Integer scales of two sub-blocks in one instruction, or one by one where joining sums takes slots of products."""
    element, depth, rows = formats.get(name), 768, 19
    group, (_, packed, _) = units(element, depth)
    x = np.random.default_rng(3).standard_normal((rows, depth)).astype(np.float32)
    codes = expanded.partner(element, 1, HOST, MANY).encode(x)
    results, heights = [], set()
    for cpu in ("znver4", "x86-64-v4"):
        target = replace(HOST, cpu=cpu)
        kernel = linear.build(group, target, "k")
        heights.add(default_tile(panels_of(group), target, rows, depth).tokens[0])
        y = np.full((rows, ROWS), 99, np.float32)
        run_kernel(kernel, [codes, packed, y, np.array([rows], np.int64)])
        results.append(y)
    assert heights == {4, 6}
    np.testing.assert_array_equal(results[0], results[1])


@here
def test_products_of_pairs_stay_one_instruction() -> None:
    kernel = linear.build(units(formats.Q4_K, 512)[0], HOST, "k")
    text = emit_assembly(print_llvm([kernel], HOST), HOST)
    assert "vpdpwssd" in text
    assert "vpmaddwd" not in text


def gated(element: BlockFormat, format: ActivationFormat, features: int = 96, depth: int = 768) -> Group:
    """silu(gate) * up of the same activations, quantized to a format."""
    activation = expanded.partner(element, 1, X86_VNNI, MANY)
    a = parameter("x", tensor(activation, dim(Symbol("n", MANY, 1)), depth))
    weight = ops.repack(parameter("w", tensor(element, features, depth)), Panel(X86_VNNI.lanes)).type
    panels = [parameter(name, weight, "weight") for name in ("g", "u")]
    gate, up = (ops.linear(a, p) for p in panels)
    y = ops.mul(ops.silu(gate), up)
    q = ops.quantize(y, format)
    inside = [gate, up, y.node.inputs[0], y, q]
    return Group(tuple(v.node for v in inside), (a, *panels), (q,), gate.node)


@here
@pytest.mark.parametrize("tile", [None, LEFTOVERS, LinearTile((3, 1), panels=2, block=9)])
@pytest.mark.parametrize("name", ["Q4_0", "Q6_K"])
def test_what_follows_is_quantized_in_registers(name: str, tile: LinearTile | None) -> None:
    """The same bytes as results in f32 that are quantized afterwards, whatever the tile and the rows."""
    element, rows, rng = formats.get(name), 37, np.random.default_rng(4)
    group = gated(element, activation_format(32, 32, "i32", -8, biased=True))
    assert isinstance(linear.accepts(group, X86_VNNI), Accept)
    plain = Group(group.nodes[:-1], group.inputs, (group.nodes[-2].results[0],), group.root)
    activation, (features, depth) = group.inputs[0].type.element, group.inputs[1].type.shape
    assert isinstance(activation, ActivationFormat)
    given = [activation.encode(rng.standard_normal((rows, depth)).astype(np.float32))]
    given += [pack(any_bytes(element, features, depth)[rng.permutation(features)], name, 16) for _ in range(2)]
    count, y = np.array([rows], np.int64), np.full((rows, features), 99, np.float32)
    run_kernel(linear.build(plain, HOST, "k", tile), [*given, y, count])
    wanted = group.nodes[-1].attrs["format"]
    made = np.zeros((rows, wanted.row_bytes(features)), np.uint8)
    run_kernel(linear.build(group, HOST, "q", tile), [*given, made, count], 3)
    np.testing.assert_array_equal(made, wanted.encode(y))


def test_what_is_not_quantized_in_registers() -> None:
    usual = activation_format(32, 32, "i32", -8)
    group = gated(formats.Q4_0, usual)
    kept = Group(group.nodes, group.inputs, (group.nodes[-2].results[0], *group.outputs), group.root)
    for refused in (
        gated(formats.Q4_0, activation_format(256, 32, "f32"), 512),
        gated(formats.Q4_0, activation_format(32, 32, "i32", -8, 2)),
        kept,
    ):
        assert isinstance(linear.accepts(refused, X86_VNNI), Refuse)
    assert isinstance(linear.accepts(group, X86_VNNI), Accept)
    assert isinstance(linear.accepts(group, X86_AVX2), Refuse)


def test_formats_whose_sums_are_floats() -> None:
    """A scale of another float than f16, an integer scale beside the code, and sums that are too large are refused."""
    assert [f.name for f in BLOCKS if integer_scales.becomes_float(f)] == [
        *("Q4_0", "Q4_1", "Q5_0", "Q5_1", "Q8_0", "Q3_K", "IQ4_NL", "TQ1_0", "TQ2_0", "Q1_0", "Q2_0")
    ]
    assert integer_scales.becomes_float(
        declared("format t8l { block 256; d: f16; q: u8[256]; value = d * (q - 128); }")
    )
    for rule in (
        "block 512; d: f16; q: u8[512]; value = d * (q - 128)",
        "block 32; d: f16; q: u4[32]; value = 0.5 * d * q",
    ):
        assert not integer_scales.becomes_float(declared(f"format t8w {{ {rule}; }}"))


@here
@pytest.mark.parametrize("name", ["Q3_K", "Q6_K", "Q2_K", "MXFP4", "Q4_K"])
def test_tiles_and_workers_change_nothing(name: str) -> None:
    element = formats.get(name)
    group, (x, packed, _) = units(element, 512)
    results = set()
    for tile in (None, LEFTOVERS, LinearTile((4, 1), panels=3, block=8)):
        compiled = Compiled(linear.build(group, HOST, "k", tile))
        for workers in (1, 2, 5):
            y = np.full((512, ROWS), 99, np.float32)
            compiled.run([x, packed, y, np.array([512], np.int64)], workers)
            results.add(y.tobytes())
    assert len(results) == 1


@here
@pytest.mark.parametrize("name", ["Q4_0", "Q3_K", "Q4_K"])
def test_two_planes(name: str) -> None:
    element = formats.get(name)
    for tile in (None, LEFTOVERS):
        check(HOST, element, (37, 3 * max(element.block, 256), 23), True, tile, False, planes=2)


@here
@pytest.mark.parametrize("name", ["Q6_K", "Q3_K", "Q5_K", "Q4_0"])
def test_rows_that_do_not_stay_near(name: str) -> None:
    """Of long rows the next tile's are asked for, also past the last: guard pages lie there. Results stay the same."""
    check(HOST, formats.get(name), (19, 2816, 23), True, None, False)
    asked = [print_kernel(linear.build(units(formats.get(name), depth)[0], HOST, "k")) for depth in (768, 2816)]
    near, far = (text.count("prefetch") for text in asked)
    assert near < far


@pytest.mark.skipif(not expanded.takes(formats.Q4_0, HOST, MANY), reason="needs AVX-512 VNNI")
@pytest.mark.parametrize("name", ["Q3_K", "Q2_K", "Q6_K", "Q5_K"])
def test_interpreted(name: str) -> None:
    check(HOST, formats.get(name), (18, 768, 5), True, LEFTOVERS, True)


def declared(text: str) -> BlockFormat:
    (element,) = check_source(Source(text, "t3.lum")).formats.values()
    return element


def test_which_codes_take_their_scales_in() -> None:
    assert integer_scales.fold(formats.Q3_K) == integer_scales.Folded(
        zero=124, maximum=252
    )  # -4 * -32 is 128, -4 * 31 is -124
    assert integer_scales.fold(formats.Q2_K) == integer_scales.Folded(zero=0, maximum=45)
    assert integer_scales.fold(formats.Q6_K) is None  # 63 * 127
    assert integer_scales.fold(formats.Q4_0) is None  # no integers
    wide = "format t3w { block 256; d: f16; s: u7[16]; q: u2[256]; value = d * s * (q - 1); }"
    assert integer_scales.fold(declared(wide)) is None  # from -127 to 254
    fitting = "format t3v { block 256; d: f16; s: u6[16]; q: u2[256]; value = d * s * (q - 1); }"
    assert integer_scales.fold(declared(fitting)) == integer_scales.Folded(zero=63, maximum=189)


def test_which_integers_are_multiplied_in_pairs() -> None:
    assert integer_scales.bound(formats.Q6_K) == 1023  # 32 * 1023 is 32736
    assert integer_scales.bound(formats.Q4_K) == 2184  # 15 * 2184 is 32760
    assert integer_scales.bound(formats.Q5_K) is None  # 31 * 1057: activations would be half as fine
    assert integer_scales.bound(formats.Q3_K) is None  # codes take their scales in
    assert integer_scales.bound(formats.Q4_0) is None  # no integers
    assert {f.name for f in formats.all() if integer_scales.has_offset_pairs(f)} == {"Q2_K", "Q4_K", "Q5_K"}
    assert expanded.partner(formats.Q6_K, 1, X86_VNNI, MANY).most == 1023
    assert expanded.partner(formats.Q6_K, 2, X86_VNNI, MANY).most == 0
    odd = "format t6o { block 96; d: f16; s: i8[3]; q: u4[96]; value = d * s * (q - 8); }"
    assert integer_scales.bound(declared(odd)) is None


def test_where_panels_are_unpacked_once() -> None:
    for target in (X86_AVX2, AARCH64, CUDA):
        assert not expanded.takes(formats.Q4_K, target, MANY)
        assert expanded.partner(formats.Q3_K, 1, target, MANY) == dot.partner(formats.Q3_K)
    assert expanded.takes(formats.Q8_0, X86_VNNI, MANY)  # whole bytes, but a piece of them stays near
    assert not expanded.takes(formats.Q4_K, X86_VNNI, 1)
    assert expanded.partner(formats.Q3_K, 1, X86_VNNI, MANY).sub == 256


def test_activations_of_another_sum_are_refused() -> None:
    x = parameter("x", tensor(dot.partner(formats.Q3_K), dim(Symbol("n", MANY, 1)), 512))
    w = parameter("w", ops.repack(parameter("w", tensor(formats.Q3_K, 16, 512)), Panel(X86_VNNI.lanes)).type, "weight")
    y = ops.linear(x, w)
    group = Group((y.node,), (x, w), (y,), y.node)
    assert isinstance(linear.accepts(group, X86_VNNI), Refuse)
    assert isinstance(linear.accepts(group, X86_AVX2), Accept)
