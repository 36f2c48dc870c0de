"""Products with quantized weights, for every format: against exact arithmetic on the dequantized weights."""

from __future__ import annotations

import numpy as np
import pytest

from heliostat import ops
from heliostat.compiler.pipeline import Options
from heliostat.ir.graph import Graph, Value, parameter
from heliostat.ir.types import DType, Element, Symbol, bf16, dim, f16, f32, i32, tensor
from heliostat.kernels import dot
from heliostat.lang.check import check
from heliostat.lang.source import Source
from heliostat.ops.evaluate import evaluate, to_dtype
from heliostat.quant import formats
from heliostat.quant.format import BlockFormat
from heliostat.quant.quantize import encode
from heliostat.session import compile_graph

BLOCKS = [f for f in formats.all() if f.normal is not None and f.block % 32 == 0 and f.name not in ("Q8_1", "Q8_K")]
ELEMENTS: list[Element] = [*BLOCKS, f32, f16, bf16]


def weights(rng: np.random.Generator, element: Element, rows: int, depth: int) -> np.ndarray:
    values = rng.standard_normal((rows, depth)).astype(np.float32)
    if isinstance(element, BlockFormat):
        return np.asarray(encode(values, element))
    if element == bf16:
        return (to_dtype(values, bf16).view(np.uint32) >> 16).astype(np.uint16)
    return values.astype(np.float16) if element == f16 else values


def graph(element: Element, rows: int, depth: int) -> Graph:
    n = dim(Symbol("n", 40, 1))
    x = parameter("x", tensor(f32, n, depth))
    w = parameter("w", tensor(element, rows, depth), "weight")
    bias = parameter("bias", tensor(f32, rows))
    ids = parameter("ids", tensor(i32, n))
    y: Value = ops.matmul(x, ops.transpose(w)) + bias
    return Graph("product", [x, w, bias, ids], [y, ops.embedding(w, ids)])


@pytest.mark.parametrize("activations", ["int8", "float"])
@pytest.mark.parametrize("element", ELEMENTS, ids=str)
def test_product_and_rows_of_every_format(element: Element, activations: str) -> None:
    """Four panels of 16 rows of which the last is cut short, or of every other format two and one by itself: what lies
    around a format is the same for all, and `kernels/test_linear.py` has each with other tiles and depths."""
    rng = np.random.default_rng(len(element.name))
    rows, depth = 33 if ELEMENTS.index(element) % 2 else 50, 3 * max(element.block, 32)
    g = graph(element, rows, depth)
    session = compile_graph(g, threads=2, options=Options(activations))
    w = weights(rng, element, rows, depth)
    for n in (1, 2, 5, 13, 37):
        given = {
            "x": rng.standard_normal((n, depth)).astype(np.float32),
            "w": w,
            "bias": rng.standard_normal(rows).astype(np.float32),
            "ids": rng.integers(0, rows, n).astype(np.int32),
        }
        y, picked = session.run(given)
        exact, row = evaluate(g, given)
        np.testing.assert_allclose(picked, row, rtol=1e-6, atol=1e-30)
        bound = product_bound(element, activations, given["x"], row_norms(g, given))
        assert np.all(np.abs(y - exact) <= bound), float(np.max(np.abs(y - exact) / bound))


def row_norms(g: Graph, given: dict[str, np.ndarray]) -> np.ndarray:
    """Sum of |w| over each row, by the product with a matrix of ones of the dequantized magnitudes."""
    w = g.parameters[1]
    rows, depth = int(w.type.shape[0]), int(w.type.shape[1])  # type: ignore[arg-type]
    if isinstance(w.type.element, BlockFormat):
        from heliostat.quant.codec import dequantize

        values = np.asarray(dequantize(given["w"], w.type.element)).reshape(rows, depth)
    elif w.type.element == bf16:
        values = (given["w"].astype(np.uint32) << 16).view(np.float32)
    else:
        values = np.asarray(given["w"], np.float64)
    return np.abs(values).astype(np.float64)


def product_bound(element: Element, activations: str, x: np.ndarray, magnitude: np.ndarray) -> np.ndarray:
    """Half a step of the activations' int8 form times |w|, plus f32 rounding of the sums."""
    rounding = 4e-6 * (np.abs(x).astype(np.float64) @ magnitude.T + 4.0)
    if activations == "int8" and element == bf16:  # where the machine multiplies pairs, activations are bf16 too
        return rounding + 2.0**-9 * (np.abs(x).astype(np.float64) @ magnitude.T)
    if activations == "float" or isinstance(element, DType):
        return rounding
    assert isinstance(element, BlockFormat)
    partner = dot.partner(element)
    blocks = np.abs(x).reshape(x.shape[0], -1, partner.scale_block)
    step = np.repeat(blocks.max(-1) / 127, partner.scale_block, axis=1)
    return rounding + (0.5 * 1.001 * step) @ magnitude.T


def test_result_does_not_depend_on_the_number_of_threads() -> None:
    rng = np.random.default_rng(3)
    element = formats.get("Q4_K")
    g = graph(element, 130, 512)
    w = weights(rng, element, 130, 512)
    given = {
        "x": rng.standard_normal((29, 512)).astype(np.float32),
        "w": w,
        "bias": np.zeros(130, np.float32),
        "ids": np.zeros(29, np.int32),
    }
    results = [compile_graph(g, threads=t).run(given)[0] for t in (1, 2, 3)]
    assert np.array_equal(results[0], results[1])
    assert np.array_equal(results[0], results[2])


def test_one_row_is_computed_with_two_planes() -> None:
    """The int8 form of a single row keeps 15 bits, so its product is nearly exact."""
    rng = np.random.default_rng(4)
    element = formats.get("Q8_0")
    x = parameter("x", tensor(f32, 1, 256))
    w = parameter("w", tensor(element, 48, 256), "weight")
    g = Graph("row", [x, w], [ops.matmul(x, ops.transpose(w))])
    given = {"x": rng.standard_normal((1, 256)).astype(np.float32), "w": weights(rng, element, 48, 256)}
    y, exact = compile_graph(g, threads=1).run(given)[0], evaluate(g, given)[0]
    assert np.abs(y - exact).max() < 1e-4 * np.abs(exact).max()


LUM = "format t3z { block 64; d: f16; z: i8; q: u3[64]; value = d * (q - z); }"


def test_a_declared_format_multiplies() -> None:
    from heliostat.lang.check import check
    from heliostat.lang.source import Source

    module = check(Source(LUM, "t3z.lum"))
    assert not module.findings
    module.register()
    element = module.formats["t3z"]
    rng = np.random.default_rng(5)
    g = graph(element, 40, 128)
    given = {
        "x": rng.standard_normal((7, 128)).astype(np.float32),
        "w": weights(rng, element, 40, 128),
        "bias": np.zeros(40, np.float32),
        "ids": rng.integers(0, 40, 7).astype(np.int32),
    }
    y, rows = compile_graph(g, threads=2).run(given)
    exact, expected = evaluate(g, given)
    np.testing.assert_allclose(rows, expected, rtol=1e-6)
    assert np.all(np.abs(y - exact) <= product_bound(element, "int8", given["x"], row_norms(g, given)))


@pytest.mark.parametrize(
    "text",
    [
        "format long_offset { block 128; d: f16; m: f16; q: u4[128]; value = d * q + m; }",
        "format long_zero { block 256; d: f16; z: i8; q: u3[256]; value = d * (q - z); }",
        "format long_scaled { block 128; d: f16; s: i8; q: u4[128]; value = d * s * (q - 8); }",
        "format two_long { block 256; d: f16; s: i8[2]; q: u4[256]; value = d * s * (q - 8); }",
    ],
)
@pytest.mark.parametrize("activations", ["int8", "float"])
def test_products_of_formats_with_long_sub_blocks(text: str, activations: str) -> None:
    """A scale for 128 elements and more: the integer tile loops over the chunks of a sub-block."""
    module = check(Source(text, "f.lum"))
    assert not module.findings
    (element,) = module.formats.values()
    rng = np.random.default_rng(5)
    w = parameter("w", tensor(element, 33, 512), "weight")
    for rows in (1, 30):
        n = dim(Symbol("n", rows, 1)) if rows > 1 else 1
        x = parameter("x", tensor(f32, n, 512))
        g = Graph("product", [x, w], [ops.matmul(x, ops.transpose(w))])
        given = {"x": rng.standard_normal((rows, 512)).astype(np.float32), "w": weights(rng, element, 33, 512)}
        (y,) = compile_graph(g, threads=1, options=Options(activations)).run(given)
        (exact,) = evaluate(g, given)
        # of every product half a step of int8 over the whole block: 1 / 254 of its largest factor
        magnitude = np.abs(given["x"]).max() * row_norms(Graph("g", [x, w], [x]), given).sum(1)
        assert np.all(np.abs(y - exact) <= (1 / 200 if activations == "int8" else 1e-5) * magnitude)
