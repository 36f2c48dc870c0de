"""Quantizing: bit for bit as gguf-py where it quantizes, within the trusted error bounds everywhere."""

from __future__ import annotations

import numpy as np
import pytest
from gguf import GGMLQuantizationType, quants
from hypothesis import given, settings
from hypothesis import strategies as st

from heliostat.diagnostics import FormatError, ShapeError, UnsupportedError
from heliostat.quant import codec, dequantize, formats, quantize
from heliostat.quant.format import BlockFormat, FieldSpec
from heliostat.quant.quantize import encode

from .samples import QUADRATIC, USER_FORMATS, cosine

IN_GGUF = ["Q4_0", "Q4_1", "Q5_0", "Q5_1", "Q8_0", "TQ1_0", "TQ2_0", "MXFP4", "BF16", "F16", "F32"]
# Round-trip bounds of the reference engines, sqrt(sum d^2) / n for 0.1 + 2 cos(i), n = 4096.
BOUND = {
    "MXFP4": 0.003,
    "NVFP4": 0.003,
    "Q3_K": 0.004,
    "Q2_K": 0.0075,
    "TQ1_0": 0.01,
    "TQ2_0": 0.01,
    "Q2_0": 0.01,
    "Q1_0": 0.025,
}
USER_BOUND = {"q3z": 0.004, "q3_table": 0.005, "q_base5": 0.005}


def error(fmt: BlockFormat, x: np.ndarray) -> float:
    x = x[: x.size // fmt.block * fmt.block]
    return float(np.sqrt(np.sum((dequantize(quantize(x, fmt), fmt).astype(np.float64) - x) ** 2)) / x.size)


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize("name", IN_GGUF)
@given(
    seed=st.integers(0, 2**32 - 1),
    size=st.sampled_from([1e-6, 0.02, 1.0, 1e4]),
    shift=st.sampled_from([0.0, 1.0, -30.0]),
)
@settings(max_examples=12, deadline=None)
def test_quantizing_equals_gguf_bit_for_bit(name: str, seed: int, size: float, shift: float) -> None:
    rng = np.random.default_rng(seed)
    x = ((rng.standard_normal((8, 512)) + shift) * size).astype(np.float32)
    x[0, :256] = 0
    x[1] = np.float32(size)
    x[2] = np.rint(x[2] / size * 2) * size / 2  # ties of rounding
    x[3] = np.abs(x[3])
    x[4, ::2] = -x[4, 1::2]  # two elements of largest magnitude
    reference = quants.quantize(x, GGMLQuantizationType[name])
    assert np.array_equal(encode(x, name), np.ascontiguousarray(reference).view(np.uint8).reshape(8, -1))


def test_bf16_rounds_as_gguf_does() -> None:
    bits = np.random.default_rng(0).integers(0, 2**32, 4096, dtype=np.uint32)
    bits[:6] = [0x7F800000, 0x7F800001, 0x7FFFFFFF, 0xFF800000, 0x3F808000, 0x3F818000]
    x = bits.view(np.float32)
    assert np.array_equal(encode(x, "BF16"), quants.quantize(x, GGMLQuantizationType.BF16).view(np.uint8))


@pytest.mark.parametrize("fmt", formats.all(), ids=str)
def test_round_trip_error_is_within_the_trusted_bound(fmt: BlockFormat) -> None:
    assert error(fmt, cosine()) <= BOUND.get(fmt.name, 0.002)


@pytest.mark.parametrize("fmt", USER_FORMATS, ids=str)
def test_round_trip_error_of_user_formats(fmt: BlockFormat) -> None:
    assert error(fmt, cosine()) <= USER_BOUND.get(fmt.name, 0.002)


# Relative rms error on a normal distribution: what the reference C quantizers reach without importance weights.
@pytest.mark.parametrize(
    ("name", "reference"),
    [
        ("Q2_K", 0.2973),
        ("Q3_K", 0.1511),
        ("Q4_K", 0.0716),
        ("Q5_K", 0.0362),
        ("Q6_K", 0.0178),
        ("IQ4_NL", 0.0788),
        ("IQ4_XS", 0.0769),
    ],
)
def test_searched_formats_are_no_worse_than_the_reference(name: str, reference: float) -> None:
    x = np.random.default_rng(0).standard_normal((64, 4096)).astype(np.float32) * np.float32(0.02)
    found = np.sqrt(np.mean((dequantize(encode(x, name), name) - x) ** 2)) / 0.02
    assert found <= 1.01 * reference


@pytest.mark.parametrize("fmt", [*formats.all(), *USER_FORMATS], ids=str)
@pytest.mark.parametrize("value", [0.0, 3.7, -0.25])
def test_constant_blocks(fmt: BlockFormat, value: float) -> None:
    x = np.full(2 * fmt.block, value, np.float32)
    y = dequantize(quantize(x, fmt), fmt)
    assert np.isfinite(y).all()
    worst = 0.3 if fmt.name == "MXFP4" else 0.07 if fmt.name == "NVFP4" else 0.02
    assert np.abs(y - x).max() <= worst * abs(value)


@pytest.mark.parametrize("fmt", [f for f in (*formats.all(), *USER_FORMATS) if f.rule is None], ids=str)
def test_searched_scales_stay_finite(fmt: BlockFormat) -> None:
    x = np.random.default_rng(0).standard_normal(4 * fmt.block).astype(np.float32)
    for size in (1e-42, 1e-30, 1e30, 1e37):
        assert np.isfinite(dequantize(quantize(np.clip(x, -3, 3) * np.float32(size), fmt), fmt)).all()


def test_zero_point_far_from_the_data() -> None:
    fmt = USER_FORMATS[0]
    x = 100 + np.linspace(0, 1, 256, dtype=np.float32)
    assert np.abs(dequantize(quantize(x, fmt), fmt) - x).max() < 0.5


@pytest.mark.parametrize("fmt", [formats.Q4_0, formats.Q4_K], ids=str)
def test_not_finite_input_is_refused_by_place(fmt: BlockFormat) -> None:
    x = np.zeros((300, fmt.block), np.float32)
    for bad in (np.nan, np.inf, -np.inf):
        x[257, 5] = bad
        with pytest.raises(FormatError, match=r"element \[257, 5\]"):
            quantize(x, fmt)


def test_shape_and_value_rule_are_checked() -> None:
    with pytest.raises(ShapeError, match=r"multiple of 32 for Q4_0, is 33"):
        quantize(np.zeros((2, 33)), "Q4_0")
    with pytest.raises(ShapeError, match="last axis"):
        quantize(np.float32(1), "Q4_0")
    with pytest.raises(UnsupportedError, match="not linear in q"):
        quantize(np.zeros(32), QUADRATIC)
    fields = [FieldSpec("d", "f16"), FieldSpec("s", "u8"), FieldSpec("z", "u8"), FieldSpec("q", "u4", 32)]
    tied = BlockFormat.from_fields("tied", 32, fields, lambda b: b.d * b.s * b.q + b.d * b.z)
    with pytest.raises(UnsupportedError, match="share scalars"):
        quantize(np.zeros(32), tied)


@pytest.mark.parametrize("width", ["u3", "u6"])
def test_an_offset_that_is_a_multiple_of_the_scale(width: str) -> None:
    fields = [FieldSpec("d", "f16"), FieldSpec("q", width, 64)]
    fmt = BlockFormat.from_fields("shifted", 64, fields, lambda b: b.d * (b.q - 0.3))
    assert error(fmt, np.abs(cosine())) <= 0.002


def test_bytes_of_other_dtypes_and_layouts() -> None:
    x = np.random.default_rng(0).standard_normal((64, 6)).astype(np.float64)
    assert quantize(x.T, "Q8_0") == quantize(np.ascontiguousarray(x.T, dtype=np.float32), "Q8_0")
    assert quantize(np.zeros((0, 32)), "Q8_0") == b""


def test_sums_of_activation_formats() -> None:
    x = np.random.default_rng(0).standard_normal(512).astype(np.float32)
    q8_1 = encode(x, "Q8_1").reshape(-1, 36)
    codes = q8_1[:, 4:].view(np.int8).astype(np.int32)
    d = np.ascontiguousarray(q8_1[:, :2]).view(np.float16)[:, 0].astype(np.float32)
    s = np.ascontiguousarray(q8_1[:, 2:4]).view(np.float16)[:, 0].astype(np.float32)
    assert np.allclose(s, d * codes.sum(1), rtol=2e-3)
    q8_k = encode(x, "Q8_K").reshape(-1, 292)
    sums = np.ascontiguousarray(q8_k[:, 260:]).view(np.int16)
    assert np.array_equal(sums, q8_k[:, 4:260].view(np.int8).reshape(2, 16, 16).sum(2, dtype=np.int16))


@pytest.mark.parametrize("fmt", [*formats.all(), *USER_FORMATS], ids=str)
def test_quantizing_again_keeps_the_error_small(fmt: BlockFormat) -> None:
    """Decoded values are representable, so a second trip must not drift far."""
    x = cosine(4 * fmt.block)
    once = dequantize(quantize(x, fmt), fmt)
    twice = dequantize(codec.as_bytes(quantize(once, fmt)), fmt)
    assert np.sqrt(np.mean((twice - once) ** 2)) <= max(np.sqrt(np.mean((once - x) ** 2)), 1e-6)
