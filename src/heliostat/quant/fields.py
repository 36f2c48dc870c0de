"""The fields of a block: scalars, codes, grids of code vectors; and how a quantizer picks scales.

A field knows where its bits lie and nothing of the value rule. Formats are put together in `format.py`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

from heliostat.diagnostics import FormatError
from heliostat.ir.types import DType
from heliostat.quant.bits import Bits, Digits, Part, Piece, Slice, Stream, place, uniform_width

# GGUF keeps FP4 tables doubled and halves the scales in turn: both kinds below decode to half of their plain meaning.
e8m0 = DType("e8m0", "f", 8)  # 2 ** (byte - 128); bytes 0 and 1 are the f32 subnormals 2**-128 and 2**-127
ue4m3 = DType("ue4m3", "f", 8)  # half of an unsigned E4M3 (bias 7, top bit ignored); 0x00 and 0x7F are 0


def uint(width: int) -> DType:
    """An unsigned integer of 1 to 32 bits: `u6`."""
    return DType(f"u{width}", "u", width)


def sint(width: int) -> DType:
    """A two's complement integer of 1 to 32 bits: `i6`."""
    return DType(f"i{width}", "i", width)


def sequential(width: int, at: int) -> list[Part]:
    """Values of `width` bits one after the other from byte `at`, lowest bit first."""
    if width % 8 == 0:
        size = width // 8
        return [Bits(at + i, 8, run=1, stride=size if size > 1 else None) for i in range(size)]
    return [Bits(at, width, run=1) if 8 % width == 0 else Stream(at, width)]


@dataclass(frozen=True)
class SumOf:
    """A scalar that the value rule does not need: the sum of its share of codes, times the scalar `times` if given."""

    codes: str
    times: str | None = None


class Scalar:
    """`count` values of `dtype` for a block; value j belongs to elements j * block / count and on.

    Whole bytes, little-endian, from byte `at`; or `bits`, the parts that make up each value. `sum_of` says how a
    quantizer fills a field that decoding does not read. Compared by declaration.
    """

    def __init__(
        self,
        name: str,
        dtype: DType,
        at: int | None = None,
        count: int = 1,
        *,
        bits: Sequence[Part] = (),
        sum_of: SumOf | None = None,
    ) -> None:
        if (at is None) == (not bits):
            raise FormatError(f"field {name}: give either `at` or `bits`")
        if count < 1:
            raise FormatError(f"field {name}: count must be at least 1, is {count}")
        self.name, self.dtype, self.count, self.sum_of = name, dtype, count, sum_of
        self.parts: tuple[Part, ...] = tuple(bits) if at is None else tuple(sequential(dtype.bits, at))
        self._slices = place(self.parts, count, name)
        width = uniform_width(self._slices, name)
        if width != dtype.bits:
            raise FormatError(f"field {name}: its parts have {width} bits, {dtype} has {dtype.bits}")

    @property
    def signed(self) -> bool:
        return self.dtype.kind == "i"

    @property
    def width(self) -> int:
        return self.dtype.bits

    def slices(self, j: int) -> tuple[Slice, ...]:
        """Where the bits of value j lie; OR-ed together they are the value's bit pattern."""
        return self._slices[j]

    def all_slices(self) -> tuple[tuple[Slice, ...], ...]:
        return self._slices

    def _key(self) -> tuple[object, ...]:
        return (self.name, self.dtype, self.count, self.parts, self.sum_of)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Scalar) and self._key() == other._key()

    def __hash__(self) -> int:
        return hash(self._key())

    def __repr__(self) -> str:
        return f"Scalar({self.name!r}, {self.dtype}, count={self.count}, parts={self.parts})"


@dataclass(frozen=True, init=False)
class Codes:
    """One code per element. `signed` codes are two's complement; kernels see them biased to unsigned (`flip`).

    `count` is the block's element count; the format fills it in.
    """

    name: str
    parts: tuple[Part, ...]
    signed: bool = False
    count: int = 0

    def __init__(self, name: str, parts: Sequence[Part], signed: bool = False, count: int = 0) -> None:
        object.__setattr__(self, "name", name)
        object.__setattr__(self, "parts", tuple(parts))
        object.__setattr__(self, "signed", signed)
        object.__setattr__(self, "count", count)

    @cached_property
    def width(self) -> int:
        """Bits of a code."""
        return uniform_width(self.all_slices(), self.name)

    @property
    def flip(self) -> int:
        """u = (stored bits) ^ flip: the top bit where the field is signed, else 0."""
        return 1 << (self.width - 1) if self.signed else 0

    @property
    def radix(self) -> int:
        """Codes are below this: 2**width, or the base of packed digits."""
        return max((p.radix for p in self.parts if isinstance(p, Digits)), default=1 << self.width)

    def slices(self, i: int) -> tuple[Slice, ...]:
        """Where the bits of element i lie."""
        return self.all_slices()[i]

    def all_slices(self) -> tuple[tuple[Slice, ...], ...]:
        return place(self.parts, self.count, self.name)

    def pieces(self) -> tuple[Piece, ...]:
        """The whole block as runs of consecutive elements from consecutive bytes, longest first come, in order."""
        pieces: list[Piece] = []
        for element, slices in enumerate(self.all_slices()):
            if pieces:
                start, length, first = pieces[-1]
                if slices == tuple(s._replace(byte_offset=s.byte_offset + length) for s in first):
                    pieces[-1] = Piece(start, length + 1, first)
                    continue
            pieces.append(Piece(element, 1, slices))
        return tuple(pieces)


@dataclass(frozen=True)
class Grid:
    """Codes by the vector: an index selects a row of `table`, the values of `vector` neighbours; signs may be apart.

    `index` places block / vector indices. `signs` places one bit an element; with `parity` 7 bits for 8 elements, the
    eighth bit being the parity of the seven. The value rule reads the signed number. Indices may overlap (trellis).
    """

    name: str
    table: tuple[tuple[int | float, ...], ...]
    index: tuple[Part, ...]
    signs: tuple[Part, ...] = ()
    parity: bool = False
    count: int = 0

    @property
    def vector(self) -> int:
        return len(self.table[0])

    @property
    def parts(self) -> tuple[Part, ...]:
        return (*self.index, *self.signs)

    @property
    def sign_count(self) -> int:
        return self.count // 8 if self.parity else self.count

    def index_slices(self) -> tuple[tuple[Slice, ...], ...]:
        return place(self.index, self.count // self.vector, self.name)

    def sign_slices(self) -> tuple[tuple[Slice, ...], ...]:
        return place(self.signs, self.sign_count, self.name) if self.signs else ()

    def all_slices(self) -> tuple[tuple[Slice, ...], ...]:
        return (*self.index_slices(), *self.sign_slices())


Field = Scalar | Codes | Grid


@dataclass(frozen=True)
class Rule:
    """How a quantizer picks the scalars of a format that has a customary way; formats without one are searched.

    `scale`, over the elements of a scale: "absmax" max|x|, "signed_max" the x of largest magnitude, "range" max - min
    (the offset being min), "mean" mean|x|. The scale's target is that, divided by `over`.
    `rounding`: "shifted" truncates x / scale + zero + 1/2, "away" rounds halves away from zero, "even" to even; these
    divide by the scale before it is stored. "nearest" takes the level nearest to x under the stored scale.
    """

    scale: str
    over: float
    rounding: str


def bind(field: Field, block: int) -> Field:
    """`field` with the count that a format fills in. Raises FormatError where a grid does not tile the block."""
    if isinstance(field, Scalar):
        return field
    if isinstance(field, Codes):
        return Codes(field.name, field.parts, field.signed, block)
    if block % field.vector or (field.parity and block % 8):
        raise FormatError(f"field {field.name}: vectors of {field.vector} do not tile a block of {block}")
    return replace(field, count=block)
