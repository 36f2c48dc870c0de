"""Formats of code vectors, signs, parity and overlapping windows can be said, and decode as gguf-py has them."""

from __future__ import annotations

import numpy as np
import pytest
from gguf import GGMLQuantizationType, quants

from heliostat.diagnostics import FormatError, UnsupportedError
from heliostat.ir.types import f16
from heliostat.quant import dequantize, quantize
from heliostat.quant.format import Bits, BlockFormat, Grid, Scalar, Stream, uint
from heliostat.quant.panel import refusal


def grid(name: str) -> tuple[tuple[float, ...], ...]:
    reference = quants._type_traits[GGMLQuantizationType[name]]
    reference.init_grid()
    return tuple(tuple(row) for row in reference.grid.reshape(reference.grid_shape).tolist())


SIGN_PARITY = BlockFormat(  # two indices of 4 bits, 7 sign bits for 8 elements
    "sign_parity",
    8,
    4,
    [
        Scalar("d", f16, at=0),
        Grid(
            "g",
            tuple((a, b, a + b, 1) for a in range(4) for b in range(4)),
            index=(Bits(at=2, width=4, run=1),),
            signs=(Stream(at=3, width=7),),
            parity=True,
        ),
    ],
    lambda b: b.d * b.g,
)


def iq_formats() -> list[BlockFormat]:
    d = Scalar("d", f16, at=0)
    every_bit = lambda at: (Bits(at=at, width=1, run=1),)  # noqa: E731
    xs_signs = Bits(at=3, width=7, run=1, shift=1, stride=2)
    iq3_signs = Stream(at=66, width=7, per=4, stride=4)
    xxs_signs = Stream(at=6, width=7, per=4, stride=8)
    iq2 = lambda b: b.d * (0.5 + b.s) * 0.25 * b.g  # noqa: E731
    return [
        BlockFormat(
            "IQ2_XXS", 256, 66,
            [
                d,
                Grid("g", grid("IQ2_XXS"), (Bits(at=2, width=8, run=4, stride=8),), (xxs_signs,), parity=True),
                Scalar("s", uint(4), count=8, bits=[Bits(at=9, width=4, run=1, shift=4, stride=8)]),
            ],
            iq2,
        ),
        BlockFormat(
            "IQ2_XS", 256, 74,
            [
                d,
                Grid("g", grid("IQ2_XS"), (Stream(at=2, width=9, step=16),), (xs_signs,), parity=True),
                Scalar("s", uint(4), count=16, bits=[Bits(at=66, width=4, run=1)]),
            ],
            iq2,
        ),
        BlockFormat(
            "IQ2_S", 256, 82,
            [
                d,
                Grid("g", grid("IQ2_S"), (Bits(at=2, width=8, run=32), Bits(at=66, width=2, run=1)), every_bit(34)),
                Scalar("s", uint(4), count=16, bits=[Bits(at=74, width=4, run=1)]),
            ],
            iq2,
        ),
        BlockFormat(
            "IQ3_XXS", 256, 98,
            [
                d,
                Grid("g", grid("IQ3_XXS"), (Bits(at=2, width=8, run=64),), (iq3_signs,), parity=True),
                Scalar("s", uint(4), count=8, bits=[Bits(at=69, width=4, run=1, shift=4, stride=4)]),
            ],
            lambda b: b.d * (0.5 + b.s) * 0.5 * b.g,
        ),
        BlockFormat(
            "IQ3_S", 256, 110,
            [
                d,
                Grid("g", grid("IQ3_S"), (Bits(at=2, width=8, run=64), Bits(at=66, width=1, run=1)), every_bit(74)),
                Scalar("s", uint(4), count=8, bits=[Bits(at=106, width=4, run=1)]),
            ],
            lambda b: b.d * (1 + 2 * b.s) * b.g,
        ),
        BlockFormat(
            "IQ1_S", 256, 50,
            [
                d,
                Grid("g", grid("IQ1_S"), (Bits(at=2, width=8, run=32), Stream(at=34, width=3, per=4, stride=2))),
                Scalar("s", uint(3), count=8, bits=[Bits(at=35, width=3, run=1, shift=4, stride=2)]),
                Scalar("minus", uint(1), count=8, bits=[Bits(at=35, width=1, run=1, shift=7, stride=2)]),
            ],
            lambda b: b.d * (2 * b.s + 1) * (b.g + (0.125 - 0.25 * b.minus)),
        ),
        BlockFormat(
            "IQ1_M", 256, 56,
            [
                Grid("g", grid("IQ1_S"), (Bits(at=0, width=8, run=32), Stream(at=32, width=3, step=4))),
                Scalar("minus", uint(1), count=32, bits=[Stream(at=32, width=1, step=4, shift=3)]),
                Scalar("s", uint(3), count=16, bits=[Stream(at=48, width=3, per=4, stride=2)]),
                Scalar("d", f16, bits=[Bits(at=a, width=4, run=1, shift=4) for a in (49, 51, 53, 55)]),
            ],
            lambda b: b.d * (2 * b.s + 1) * (b.g + (0.125 - 0.25 * b.minus)),
        ),
    ]  # fmt: skip


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize("name", ["IQ2_XXS", "IQ2_XS", "IQ2_S", "IQ3_XXS", "IQ3_S", "IQ1_S", "IQ1_M"])
def test_grid_formats_decode_as_gguf_has_them(name: str) -> None:
    (fmt,) = [f for f in iq_formats() if f.name == name]
    raw = np.random.default_rng(0).integers(0, 256, (60, fmt.nbytes), dtype=np.uint8)
    reference = quants.dequantize(raw, GGMLQuantizationType[name])
    assert np.array_equal(dequantize(raw, fmt), reference, equal_nan=True)


def test_a_small_sign_parity_format_by_hand() -> None:
    raw = np.float16(2).tobytes() + bytes([0xC6, 0b0000101])
    # index 6 -> (1, 2, 3, 1), index 12 -> (3, 0, 3, 1); signs 1, 0, 1 and an even parity
    assert dequantize(raw, SIGN_PARITY).tolist() == [-2, 4, -6, 2, 6, 0, 6, 2]
    odd = raw[:3] + bytes([0b0000100])
    assert dequantize(odd, SIGN_PARITY).tolist() == [2, 4, -6, 2, 6, 0, 6, -2]


def test_a_trellis_reads_overlapping_windows() -> None:
    """Each element sees 6 bits of a stream that moves on by 2, as trellis-coded formats do."""
    table = tuple((v * 0.5 - 3,) for v in range(64))
    fmt = BlockFormat(
        "trellis",
        6,
        4,
        [Scalar("d", f16, at=0), Grid("g", table, (Stream(at=2, width=6, step=2),))],
        lambda b: b.d * b.g,
    )
    stream = 0xB1E5
    found = dequantize(np.float16(1).tobytes() + stream.to_bytes(2, "little"), fmt)
    assert found.tolist() == [((stream >> 2 * e) & 63) * 0.5 - 3 for e in range(6)]


def test_grids_are_refused_where_a_code_per_element_is_needed() -> None:
    assert SIGN_PARITY.normal is None
    assert "grid of vectors" in str(SIGN_PARITY.reason)
    assert "no normal form" in str(refusal(SIGN_PARITY, 16))
    with pytest.raises(UnsupportedError, match="grid of vectors"):
        quantize(np.zeros(8), SIGN_PARITY)
    with pytest.raises(FormatError, match="field g: vectors of 4 do not tile a block of 10"):
        BlockFormat("bad", 10, 4, SIGN_PARITY.fields, SIGN_PARITY.value)
