"""Formats and bytes that several tests of this folder share: users' declarations, and blocks with special scales."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from heliostat.ir.types import f16
from heliostat.quant.algebra import Table
from heliostat.quant.format import Bits, BlockFormat, Codes, FieldSpec, Packing, Scalar

Bytes = npt.NDArray[np.uint8]

_LEVELS = Table("levels", (-8.0, -4.0, -2.0, -1.0, 0.5, 1.5, 3.0, 7.0))

USER_FORMATS = (
    BlockFormat.from_fields(
        "q3z",
        64,
        [FieldSpec("d", "f16"), FieldSpec("z", "i8"), FieldSpec("q", "u3", 64)],
        lambda b: b.d * (b.q - b.z),
    ),
    BlockFormat.from_fields(
        "q7_planes",
        64,
        [FieldSpec("d", "f32"), FieldSpec("m", "bf16"), FieldSpec("q", "u7", 64, (Packing("split"),))],
        lambda b: b.d * b.q + b.m,
    ),
    BlockFormat.from_fields(
        "q4_two_scales",
        128,
        [
            FieldSpec("d", "f16"),
            FieldSpec("dm", "f16"),
            FieldSpec("sc", "u4", 8),
            FieldSpec("m", "i4", 8),
            FieldSpec("q", "u4", 128, (Packing("split", (16,)),)),
        ],
        lambda b: b.d * (b.sc + 1) * b.q + b.dm * b.m,
    ),
    BlockFormat.from_fields(
        "q5_signed",
        32,
        [FieldSpec("d", "bf16"), FieldSpec("q", "i5", 32)],
        lambda b: b.q * b.d,
    ),
    BlockFormat.from_fields(
        "q4_nested_floats",
        64,
        [FieldSpec("d", "f16"), FieldSpec("e", "ue4m3", 4), FieldSpec("q", "u4", 64)],
        lambda b: b.d * b.e * (b.q - 8),
    ),
    BlockFormat.from_fields(
        "q3_table", 64, [FieldSpec("d", "f16"), FieldSpec("q", "u3", 64)], lambda b: b.d * _LEVELS[b.q]
    ),
    BlockFormat.from_fields(
        "q_base5",
        96,
        [
            FieldSpec("d", "f16"),
            FieldSpec("q", "u3", 96, (Packing("digits", (), (("at", 2), ("radix", 5), ("digits", 3), ("run", 32))),)),
        ],
        lambda b: b.d * (b.q - 2),
    ),
)

QUADRATIC = BlockFormat(
    "quadratic",
    32,
    18,
    [Scalar("d", f16, at=0), Codes("q", [Bits(at=2, width=4, run=16)])],
    lambda b: b.d * b.q * b.q,
)


def random_blocks(fmt: BlockFormat, n: int, seed: int) -> Bytes:
    """Random bytes; the float scalars of the first blocks are zero, subnormal, infinite, NaN and the like."""
    rng = np.random.default_rng(seed)
    raw = rng.integers(0, 256, (n, fmt.nbytes), dtype=np.uint8)
    special = {
        16: [0x0000, 0x8000, 0x0001, 0x8001, 0x03FF, 0x7BFF, 0x7C00, 0xFC00, 0x7E00, 0x7C01, 0xFFFF],
        32: [0, 0x80000000, 1, 0x007FFFFF, 0x7F7FFFFF, 0x7F800000, 0xFF800000, 0x7FC00000, 0x7F800001],
        8: [0, 1, 2, 7, 8, 0x7E, 0x7F, 0x80, 0xFE, 0xFF],
    }
    for scalar in fmt.scalars:
        if not scalar.dtype.is_float:
            continue
        for row, bits in enumerate(special[scalar.width][:n]):
            for j in range(scalar.count):
                for s in scalar.slices(j):
                    raw[row, s.byte_offset] = bits >> s.into_bit & 0xFF
    return raw


def finite_blocks(fmt: BlockFormat, n: int, seed: int) -> Bytes:
    """Random blocks whose float scalars are ordinary numbers."""
    rng = np.random.default_rng(seed)
    raw = rng.integers(0, 256, (n, fmt.nbytes), dtype=np.uint8)
    ordinary = {"f16": 0x2C00, "bf16": 0x3D00, "f32": 0x3D000000, "e8m0": 0x78, "ue4m3": 0x28}
    for scalar in fmt.scalars:
        if not scalar.dtype.is_float:
            continue
        for row in range(n):
            for j in range(scalar.count):
                bits = ordinary[scalar.dtype.name] + int(rng.integers(0, 16))
                for s in scalar.slices(j):
                    raw[row, s.byte_offset] = bits >> s.into_bit & 0xFF
    return raw


def cosine(n: int = 4096) -> npt.NDArray[np.float32]:
    """The input of the reference engines' own quantizer tests."""
    return (0.1 + 2 * np.cos(np.arange(n))).astype(np.float32)
