"""The block formats of GGUF, each declared once. Data only: nothing here computes.

Order of factors in a value rule is the order of the f32 operations of the reference decoder. Layouts: GGUF v3.
"""

from __future__ import annotations

from heliostat.diagnostics import FormatError
from heliostat.ir.types import DType, Element, bf16, element, elements, f16, f32, i8, i16, register_element
from heliostat.quant.format import (
    Bits,
    BlockFormat,
    Codes,
    Digits,
    Rule,
    Scalar,
    SumOf,
    e8m0,
    ue4m3,
    uint,
)
from heliostat.quant.tables.codebooks import FP4_DOUBLED, IQ4

Q4_0 = BlockFormat(
    "Q4_0",
    block=32,
    nbytes=18,
    source="GGUF v3, block_q4_0",
    fields=[
        Scalar("d", f16, at=0),
        Codes("q", [Bits(at=2, width=4, run=16)]),  # byte 2+i: element i low, element 16+i high
    ],
    value=lambda b: b.d * (b.q - 8),
    rule=Rule("signed_max", over=-8, rounding="shifted"),
)
Q4_1 = BlockFormat(
    "Q4_1",
    block=32,
    nbytes=20,
    source="GGUF v3, block_q4_1",
    fields=[Scalar("d", f16, at=0), Scalar("m", f16, at=2), Codes("q", [Bits(at=4, width=4, run=16)])],
    value=lambda b: b.d * b.q + b.m,
    rule=Rule("range", over=15, rounding="shifted"),
)
Q5_0 = BlockFormat(
    "Q5_0",
    block=32,
    nbytes=22,
    source="GGUF v3, block_q5_0",
    fields=[
        Scalar("d", f16, at=0),
        Codes("q", [Bits(at=6, width=4, run=16), Bits(at=2, width=1, run=1)]),  # fifth bits: bit i for element i
    ],
    value=lambda b: b.d * (b.q - 16),
    rule=Rule("signed_max", over=-16, rounding="shifted"),
)
Q5_1 = BlockFormat(
    "Q5_1",
    block=32,
    nbytes=24,
    source="GGUF v3, block_q5_1",
    fields=[
        Scalar("d", f16, at=0),
        Scalar("m", f16, at=2),
        Codes("q", [Bits(at=8, width=4, run=16), Bits(at=4, width=1, run=1)]),
    ],
    value=lambda b: b.d * b.q + b.m,
    rule=Rule("range", over=31, rounding="shifted"),
)
Q8_0 = BlockFormat(
    "Q8_0",
    block=32,
    nbytes=34,
    source="GGUF v3, block_q8_0",
    fields=[Scalar("d", f16, at=0), Codes("q", [Bits(at=2, width=8, run=1)], signed=True)],
    value=lambda b: b.d * b.q,
    rule=Rule("absmax", over=127, rounding="away"),
)
Q8_1 = BlockFormat(
    "Q8_1",
    block=32,
    nbytes=36,
    source="GGUF v3, block_q8_1: activations only",
    fields=[
        Scalar("d", f16, at=0),
        Scalar("s", f16, at=2, sum_of=SumOf("q", times="d")),
        Codes("q", [Bits(at=4, width=8, run=1)], signed=True),
    ],
    value=lambda b: b.d * b.q,
    rule=Rule("absmax", over=127, rounding="away"),
)
Q2_K = BlockFormat(
    "Q2_K",
    block=256,
    nbytes=84,
    source="GGUF v3, block_q2_K",
    fields=[
        Scalar("sc", uint(4), count=16, bits=[Bits(at=0, width=4, run=16)]),
        Scalar("m", uint(4), count=16, bits=[Bits(at=0, width=4, run=16, shift=4)]),
        Codes("q", [Bits(at=16, width=2, run=32)]),
        Scalar("d", f16, at=80),
        Scalar("dmin", f16, at=82),
    ],
    value=lambda b: b.d * b.sc * b.q - b.dmin * b.m,
)
Q3_K = BlockFormat(
    "Q3_K",
    block=256,
    nbytes=110,
    source="GGUF v3, block_q3_K",
    fields=[
        Codes("q", [Bits(at=32, width=2, run=32), Bits(at=0, width=1, run=32)]),  # a clear high bit means minus 4
        Scalar("sc", uint(6), count=16, bits=[Bits(at=96, width=4, run=8), Bits(at=104, width=2, run=4)]),
        Scalar("d", f16, at=108),
    ],
    value=lambda b: b.d * (b.sc - 32) * (b.q - 4),
)
# Eight 6-bit scales and mins in 12 bytes: 0 to 3 are whole; 4 to 7 are a nibble of bytes 8 to 11 and the two bits
# above a whole one.
_K_SCALES = (
    Bits(at=4, width=6, run=4, count=4),
    Bits(at=12, width=4, run=4, start=4),
    Bits(at=4, width=2, run=4, shift=6, start=4),
)
_K_MINS = (
    Bits(at=8, width=6, run=4, count=4),
    Bits(at=12, width=4, run=4, shift=4, start=4),
    Bits(at=8, width=2, run=4, shift=6, start=4),
)
Q4_K = BlockFormat(
    "Q4_K",
    block=256,
    nbytes=144,
    source="GGUF v3, block_q4_K",
    fields=[
        Scalar("d", f16, at=0),
        Scalar("dmin", f16, at=2),
        Scalar("sc", uint(6), count=8, bits=_K_SCALES),
        Scalar("m", uint(6), count=8, bits=_K_MINS),
        Codes("q", [Bits(at=16, width=4, run=32)]),
    ],
    value=lambda b: b.d * b.sc * b.q - b.dmin * b.m,
)
Q5_K = BlockFormat(
    "Q5_K",
    block=256,
    nbytes=176,
    source="GGUF v3, block_q5_K",
    fields=[
        Scalar("d", f16, at=0),
        Scalar("dmin", f16, at=2),
        Scalar("sc", uint(6), count=8, bits=_K_SCALES),
        Scalar("m", uint(6), count=8, bits=_K_MINS),
        Codes("q", [Bits(at=48, width=4, run=32), Bits(at=16, width=1, run=32)]),
    ],
    value=lambda b: b.d * b.sc * b.q - b.dmin * b.m,
)
Q6_K = BlockFormat(
    "Q6_K",
    block=256,
    nbytes=210,
    source="GGUF v3, block_q6_K",
    fields=[
        Codes("q", [Bits(at=0, width=4, run=64), Bits(at=128, width=2, run=32)]),
        Scalar("sc", i8, at=192, count=16),
        Scalar("d", f16, at=208),
    ],
    value=lambda b: b.d * b.sc * (b.q - 32),
)
Q8_K = BlockFormat(
    "Q8_K",
    block=256,
    nbytes=292,
    source="GGUF v3, block_q8_K: activations only",
    fields=[
        Scalar("d", f32, at=0),
        Codes("q", [Bits(at=4, width=8, run=1)], signed=True),
        Scalar("sums", i16, at=260, count=16, sum_of=SumOf("q")),
    ],
    value=lambda b: b.d * b.q,
    rule=Rule("signed_max", over=-127, rounding="even"),
)
IQ4_NL = BlockFormat(
    "IQ4_NL",
    block=32,
    nbytes=18,
    source="GGUF v3, block_iq4_nl",
    fields=[Scalar("d", f16, at=0), Codes("q", [Bits(at=2, width=4, run=16)])],
    value=lambda b: b.d * IQ4[b.q],
)
IQ4_XS = BlockFormat(
    "IQ4_XS",
    block=256,
    nbytes=136,
    source="GGUF v3, block_iq4_xs",
    fields=[
        Scalar("d", f16, at=0),
        Scalar("sc", uint(6), count=8, bits=[Bits(at=4, width=4, run=1), Bits(at=2, width=2, run=1)]),
        Codes("q", [Bits(at=8, width=4, run=16)]),
    ],
    value=lambda b: b.d * (b.sc - 32) * IQ4[b.q],
)
MXFP4 = BlockFormat(
    "MXFP4",
    block=32,
    nbytes=17,
    source="GGUF v3, block_mxfp4; OCP Microscaling Formats 1.0",
    fields=[Scalar("d", e8m0, at=0), Codes("q", [Bits(at=1, width=4, run=16)])],
    value=lambda b: b.d * FP4_DOUBLED[b.q],
    rule=Rule("absmax", over=8, rounding="nearest"),  # the largest power of two not above max|x| becomes 4.0
)
NVFP4 = BlockFormat(
    "NVFP4",
    block=64,
    nbytes=36,
    source="GGUF v3, block_nvfp4; the scale per tensor is a tensor of its own",
    fields=[Scalar("d", ue4m3, at=0, count=4), Codes("q", [Bits(at=4, width=4, run=8)])],
    value=lambda b: b.d * FP4_DOUBLED[b.q],
    rule=Rule("absmax", over=12, rounding="nearest"),
)
TQ1_0 = BlockFormat(
    "TQ1_0",
    block=256,
    nbytes=54,
    source="GGUF v3, block_tq1_0",
    fields=[
        Codes(
            "q",
            [
                Digits(at=0, radix=3, digits=5, run=32, count=160),
                Digits(at=32, radix=3, digits=5, run=16, start=160, count=80),
                Digits(at=48, radix=3, digits=4, run=4, start=240, count=16),
            ],
        ),
        Scalar("d", f16, at=52),
    ],
    value=lambda b: b.d * (b.q - 1),
    rule=Rule("absmax", over=1, rounding="away"),
)
TQ2_0 = BlockFormat(
    "TQ2_0",
    block=256,
    nbytes=66,
    source="GGUF v3, block_tq2_0",
    fields=[Codes("q", [Bits(at=0, width=2, run=32)]), Scalar("d", f16, at=64)],
    value=lambda b: b.d * (b.q - 1),
    rule=Rule("absmax", over=1, rounding="away"),
)
Q1_0 = BlockFormat(
    "Q1_0",
    block=128,
    nbytes=18,
    source="GGUF v3, block_q1_0",
    fields=[Scalar("d", f16, at=0), Codes("q", [Bits(at=2, width=1, run=1)])],
    value=lambda b: b.d * (2 * b.q - 1),
    rule=Rule("mean", over=1, rounding="nearest"),
)
Q2_0 = BlockFormat(
    "Q2_0",
    block=64,
    nbytes=18,
    source="GGUF v3, block_q2_0; a fork has blocks of 128 elements under the same name",
    fields=[Scalar("d", f16, at=0), Codes("q", [Bits(at=2, width=2, run=1)])],
    value=lambda b: b.d * (b.q - 1),
    rule=Rule("absmax", over=1, rounding="away"),
)

_ALL: tuple[BlockFormat, ...] = (
    Q4_0, Q4_1, Q5_0, Q5_1, Q8_0, Q8_1, Q2_K, Q3_K, Q4_K, Q5_K, Q6_K, Q8_K,
    IQ4_NL, IQ4_XS, MXFP4, NVFP4, TQ1_0, TQ2_0, Q1_0, Q2_0,
)  # fmt: skip
_PLAIN: tuple[DType, ...] = (f32, f16, bf16)

for _format in _ALL:
    register_element(_format)


def all() -> tuple[BlockFormat, ...]:
    """The block formats that ship with the package."""
    return _ALL


def register(declared: BlockFormat) -> BlockFormat:
    """Make a user's format known to `get` and to the text form of types. Raises FormatError if the name is taken."""
    try:
        register_element(declared)
    except ValueError as error:
        raise FormatError(
            f"a different format named {declared.name} is declared already", help="choose another name"
        ) from error
    return declared


def find(name: str) -> Element | None:
    try:
        found = element(name)
    except KeyError:
        return None
    return found if isinstance(found, BlockFormat) or found in _PLAIN else None


def get(name: str) -> BlockFormat | DType:
    """The format of that name, case ignored; also F32, F16 and BF16. Raises FormatError that lists the known names."""
    found = find(name)
    if isinstance(found, BlockFormat | DType):
        return found
    known = [d.name.upper() for d in _PLAIN] + [e.name for e in elements() if isinstance(e, BlockFormat)]
    raise FormatError(f"no format is named {name!r}", help=f"known: {', '.join(known)}")
