"""Decoding equals gguf-py bit for bit, on every format that it knows, NaN payloads and all."""

from __future__ import annotations

import gguf
import numpy as np
import pytest
from gguf import GGMLQuantizationType, quants
from hypothesis import given, settings
from hypothesis import strategies as st

from heliostat.diagnostics import FormatError, ShapeError
from heliostat.quant import codec, dequantize, formats
from heliostat.quant.format import BlockFormat

from .samples import USER_FORMATS, random_blocks

UNKNOWN_TO_GGUF = {"Q8_1", "Q8_K", "Q1_0", "Q2_0"}  # no decoder there, or none in the oldest version we allow


def same_bits(a: np.ndarray, b: np.ndarray) -> bool:
    return np.array_equal(a.view(np.uint32), b.view(np.uint32))


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize("fmt", [f for f in formats.all() if f.name not in UNKNOWN_TO_GGUF], ids=str)
@given(seed=st.integers(0, 2**32 - 1))
@settings(max_examples=5, deadline=None)
def test_decoding_equals_gguf_bit_for_bit(fmt: BlockFormat, seed: int) -> None:
    raw = random_blocks(fmt, 40, seed)
    assert same_bits(dequantize(raw, fmt), quants.dequantize(raw, GGMLQuantizationType[fmt.name]))


@pytest.mark.parametrize("fmt", formats.all(), ids=str)
def test_block_sizes_equal_gguf(fmt: BlockFormat) -> None:
    if fmt.name not in UNKNOWN_TO_GGUF:
        assert gguf.GGML_QUANT_SIZES[GGMLQuantizationType[fmt.name]] == (fmt.block, fmt.nbytes)


def test_every_e2m1_code_and_every_fp4_scale() -> None:
    for name in ("MXFP4", "NVFP4"):
        fmt = formats.get(name)
        raw = np.zeros((256, fmt.nbytes), np.uint8)
        raw[:, : fmt.nbytes - fmt.block // 2] = np.arange(256, dtype=np.uint8)[:, None]
        raw[:, fmt.nbytes - fmt.block // 2 :] = np.resize(
            [0x10, 0x32, 0x54, 0x76, 0x98, 0xBA, 0xDC, 0xFE], fmt.block // 2
        )
        with np.errstate(over="ignore"):
            assert same_bits(dequantize(raw, fmt), quants.dequantize(raw, GGMLQuantizationType[name]))


def test_codes_without_a_decoder_in_gguf_follow_the_table_of_ggml() -> None:
    one = np.float16(2).tobytes()
    q1 = dequantize(one + bytes([0b10110001, *([0] * 15)]), "Q1_0")
    assert q1[:8].tolist() == [2, -2, -2, -2, 2, 2, -2, 2]
    q2 = dequantize(one + bytes([0b11100100, *([0] * 15)]), "Q2_0")
    assert q2[:5].tolist() == [-2, 0, 2, 4, -2]
    q8 = dequantize(one + bytes(2) + bytes([1, 0xFF, 0x80, 0x7F, *([0] * 28)]), "Q8_1")
    assert q8[:4].tolist() == [2, -2, -256, 254]


@pytest.mark.parametrize("name", ["F32", "F16", "BF16"])
def test_plain_types_equal_gguf(name: str) -> None:
    width = 4 if name == "F32" else 2
    raw = np.random.default_rng(0).integers(0, 256, (3, 64 * width), dtype=np.uint8)
    assert same_bits(dequantize(raw, name), quants.dequantize(raw, GGMLQuantizationType[name]))
    assert dequantize(raw.tobytes(), name, shape=(3, 64)).shape == (3, 64)


@pytest.mark.parametrize("fmt", [*formats.all(), *USER_FORMATS], ids=str)
def test_scatter_is_the_inverse_of_gather(fmt: BlockFormat) -> None:
    raw = random_blocks(fmt, 50, seed=1)
    if fmt.codes.radix != 1 << fmt.codes.width:  # not every byte is a number of digits: start from codes
        codes = np.random.default_rng(2).integers(0, fmt.codes.radix, (50, fmt.block), dtype=np.uint8)
    else:
        codes = codec.gather(raw, fmt.codes.parts, fmt.block, fmt.codes.width)
    fields = {s.name: codec.scalar_bits(raw, s) for s in fmt.scalars}
    back = codec.assemble(fmt, {**fields, fmt.codes.name: codes})
    assert np.array_equal(codec.codes(back, fmt) ^ codes.dtype.type(fmt.codes.flip), codes)
    if fmt.codes.radix == 1 << fmt.codes.width:
        assert np.array_equal(back, raw)


@pytest.mark.parametrize("fmt", [*formats.all(), *USER_FORMATS], ids=str)
def test_slices_and_pieces_place_what_the_codec_reads(fmt: BlockFormat) -> None:
    """The canonical view that native code gets, walked one element at a time in plain Python."""
    raw = random_blocks(fmt, 12, seed=3)

    def read(block: bytes, slices: tuple, i: int) -> int:
        total = 0
        for s in slices:
            byte = block[s.byte_offset + i]
            if s.radix:
                total |= (byte * s.radix**s.shift % 256 * s.radix) >> 8
            else:
                total |= (byte >> s.shift & ((1 << s.width) - 1)) << s.into_bit
        return total

    expected = codec.codes(raw, fmt)
    for row, block in enumerate(map(bytes, raw)):
        found = [0] * fmt.block
        for start, length, slices in fmt.codes.pieces():
            for i in range(length):
                found[start + i] = read(block, slices, i) ^ fmt.codes.flip
        assert found == expected[row].tolist()
        for scalar in fmt.scalars:
            bits = [read(block, scalar.slices(j), 0) for j in range(scalar.count)]
            assert bits == codec.scalar_bits(raw, scalar)[row].tolist()


def test_shapes() -> None:
    raw = np.zeros((2, 3, 36), np.uint8)
    assert dequantize(raw, "q4_0").shape == (2, 3, 64)
    assert dequantize(raw.tobytes(), "q4_0").shape == (384,)
    assert dequantize(raw, formats.Q4_0, shape=(6, 64)).shape == (6, 64)
    assert dequantize(b"", "q4_0").shape == (0,)
    with pytest.raises(FormatError, match="no whole number of Q4_0 blocks of 18 bytes"):
        dequantize(b"\0" * 19, "q4_0")
    with pytest.raises(FormatError, match="384 elements, shape \\(2, 64\\) needs 128"):
        dequantize(raw, "q4_0", shape=(2, 64))
    with pytest.raises(ShapeError, match="multiple of 32"):
        dequantize(raw, "q4_0", shape=(24, 16))


def test_unknown_names_list_the_known_ones() -> None:
    with pytest.raises(FormatError, match=r"'q9_9'.*Q4_0.*TQ2_0"):
        formats.get("q9_9")
    assert formats.get("q4_k") is formats.Q4_K
