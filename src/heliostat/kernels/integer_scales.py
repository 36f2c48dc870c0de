"""What a format's integer scales and offsets become where panels are unpacked for many rows: part of the codes, or
pairs that one instruction multiplies with the sums of two sub-blocks. Derived from the ranges of codes and integers.
"""

from __future__ import annotations

from dataclasses import dataclass

from ..quant.activation import FLOAT_BIAS, MOST_I16
from ..quant.algebra import Factor
from ..quant.format import BlockFormat

WORD = 32767  # largest integer of two bytes
LARGEST_CODE = 127  # of activations
USUAL = 60  # absolute codes of a sub-block that are rarely larger on average: 127 is the largest of the whole block


@dataclass(frozen=True)
class Folded:
    """Codes times integer scales as unsigned bytes: (t(code) - zero_of_format) * integer + zero, at most `maximum`."""

    zero: int
    maximum: int


def fold(format: BlockFormat) -> Folded | None:
    """How codes take their integer scales in; None where they have none, or the products need more than a byte."""
    normal = format.normal
    if normal is None or normal.scale.integer is None or (normal.offset is not None and normal.zero):
        return None
    if any(format.scalar(name).count > 1 for name in normal.scale.floats):
        return None
    ends = _ends(format, normal.scale.integer)
    products = [level * end for level in (min(normal.levels), max(normal.levels)) for end in ends]
    zero = max(0, -min(products))
    return Folded(zero, max(products) + zero) if max(products) + zero <= 255 else None


def _ends(format: BlockFormat, integer: tuple[str, int]) -> tuple[int, int]:
    """The least and the largest value of an integer field plus its bias."""
    name, bias = integer
    scalar = format.scalar(name)
    low = -(1 << (scalar.width - 1)) if scalar.signed else 0
    return low + bias, low + (1 << scalar.width) - 1 + bias


def bound(format: BlockFormat) -> int | None:
    """What absolute activations of a sub-block may sum up to, so that their products with codes fit 16 bits: integer
    scales then multiply two sub-blocks in one instruction. None where scales are no integers, lie in the codes
    already, or activations would have to be coarser than they usually are.
    """
    normal = format.normal
    if normal is None or normal.scale.integer is None or fold(format) is not None:
        return None
    if any(format.scalar(name).count > 1 for name in normal.scale.floats) or not _pairs(format, normal.scale):
        return None
    most = WORD // max(abs(level) for level in normal.levels)
    return most if most >= USUAL * normal.sub else None


def becomes_float(format: BlockFormat) -> bool:
    """Whether a block's sum of products is an f32 by where its accumulator begins, at the bits of FLOAT_BIAS: the sum
    has to fit beside that, and to take the bias off again in the multiplication with the scale is exact if the scale
    times FLOAT_BIAS is. A scale of one f16 (11 bits, and 2 of the bias) is; others may end in infinity.
    """
    normal, folded = format.normal, fold(format)
    if normal is None or (folded is None and (normal.scale.integer is not None or normal.sub < format.block)):
        return False
    if folded is not None and normal.offset is not None:
        return False
    scale = normal.scale
    if len(scale.floats) != 1 or scale.constant != 1.0 or format.scalar(scale.floats[0]).dtype.name != "f16":
        return False
    ends = (1,) if scale.integer is None else _ends(format, scale.integer)
    largest = max(abs(level * end) for level in normal.levels for end in ends)
    return format.scalar(scale.floats[0]).count == 1 and largest * LARGEST_CODE * format.block < FLOAT_BIAS // 3


def has_offset_pairs(format: BlockFormat) -> bool:
    """Whether a format's offsets are integers times one float of the block, so that they are multiplied with the sums
    of two sub-blocks in one instruction."""
    offset = None if format.normal is None else format.normal.offset
    if offset is None or offset.integer is None or any(format.scalar(name).count > 1 for name in offset.floats):
        return False
    assert format.normal is not None
    return _pairs(format, offset) and format.normal.sub <= MOST_I16


def _pairs(format: BlockFormat, factor: Factor) -> bool:
    """Whether a factor has an integer for every sub-block, of which there is an even number, and a block's sum of them
    times two bytes each fits four."""
    assert format.normal is not None
    assert factor.integer is not None
    subs = format.block // format.normal.sub
    most = max(abs(end) for end in _ends(format, factor.integer))
    return format.scalar(factor.integer[0]).count == subs and subs % 2 == 0 and subs * most * WORD < 1 << 31
