"""Where the bits of a field's elements lie in a block: planes of bytes, bit streams, and digits of another base.

Parts are what a declaration says; `place` turns them into slices, the one form that codecs and kernels read.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

from heliostat.diagnostics import FormatError


class Slice(NamedTuple):
    """`width` bits of one byte that are bits `into_bit`.. of an element: ((byte >> shift) & mask) << into_bit.

    With `radix` r > 0 the slice is digit number `shift` of a base-r fraction: ((byte * r**shift mod 256) * r) >> 8.
    """

    byte_offset: int
    shift: int
    width: int
    into_bit: int
    radix: int = 0


class Piece(NamedTuple):
    """`length` consecutive elements: element start + i is the OR of `slices` with i added to each byte_offset."""

    start: int
    length: int
    slices: tuple[Slice, ...]


MAX_ELEMENTS = 1 << 16  # of a block or a field: a declaration may come from a file, and every bit is listed
Place = tuple[int, int, int, int]  # byte, shift, width, radix


@dataclass(frozen=True)
class Bits:
    """`width` bits for each of `count` elements (default: all from `start` on), as planes of bytes.

    `run` neighbours lie in `run` consecutive bytes at bit `shift`; the next `run` take the next `width` bits of those
    bytes; when a byte is full, the next group begins `stride` bytes further (default `run`). `run=1` is one element
    after the other, low bits first. Parts that cover the same elements stack: the first gives the lowest bits.
    """

    at: int
    width: int
    run: int
    shift: int = 0
    stride: int | None = None
    start: int = 0
    count: int | None = None

    def places(self, count: int) -> list[list[Place]]:
        planes = (8 - self.shift) // self.width
        stride = self.run if self.stride is None else self.stride
        out: list[list[Place]] = []
        for e in range(count):
            group, plane = divmod(e // self.run, planes)
            byte = self.at + group * stride + e % self.run
            out.append([(byte, self.shift + plane * self.width, self.width, 0)])
        return out

    def problem(self) -> str | None:
        if self.run < 1:
            return f"run must be at least 1, is {self.run}"
        if not (self.width >= 1 and self.shift >= 0 and self.shift + self.width <= 8):
            return (
                f"width {self.width} at shift {self.shift} does not fit a byte: say stream for codes that cross bytes"
            )
        return None


@dataclass(frozen=True)
class Stream:
    """`width` bits for each element, packed one after the other without regard to bytes, lowest bit first.

    The first begins at bit `shift`, each `step` bits (default `width`) after the one before. With `per`, the stream
    restarts for every `per` elements, `stride` bytes further. A step smaller than the width makes windows that overlap,
    as trellis codes do.
    """

    at: int
    width: int
    step: int | None = None
    per: int | None = None
    stride: int = 0
    shift: int = 0
    start: int = 0
    count: int | None = None

    def places(self, count: int) -> list[list[Place]]:
        step = self.width if self.step is None else self.step
        out: list[list[Place]] = []
        for e in range(count):
            group, index = divmod(e, self.per) if self.per is not None else (0, e)
            bit, left = self.shift + index * step, self.width
            element: list[Place] = []
            while left:
                take = min(left, 8 - bit % 8)
                element.append((self.at + group * self.stride + bit // 8, bit % 8, take, 0))
                bit, left = bit + take, left - take
            out.append(element)
        return out

    def problem(self) -> str | None:
        if not 1 <= self.width <= 32:
            return f"width must be 1 to 32, is {self.width}"
        if self.step is not None and (self.step < 1 or self.shift < 0):
            return f"step ({self.step}) must be at least 1, shift ({self.shift}) at least 0"
        if self.per is not None and (self.per < 1 or self.stride < 1):
            return f"per ({self.per}) and stride ({self.stride}) must be at least 1"
        return None


@dataclass(frozen=True)
class Digits:
    """Base-`radix` digits, `digits` to a byte: the byte is ceil(number * 256 / radix**D), D the most that fit a byte.

    `run` neighbours are the first digits of `run` consecutive bytes, the next `run` their second digits, and so on.
    """

    at: int
    radix: int
    digits: int
    run: int
    start: int = 0
    count: int | None = None

    @property
    def most(self) -> int:
        """How many digits a byte can hold: the scale of the fraction, even where fewer are used."""
        most = 0
        while self.radix ** (most + 1) <= 256:
            most += 1
        return most

    def places(self, count: int) -> list[list[Place]]:
        width = (self.radix - 1).bit_length()
        out: list[list[Place]] = []
        for e in range(count):
            group, digit = divmod(e // self.run, self.digits)
            out.append([(self.at + group * self.run + e % self.run, digit, width, self.radix)])
        return out

    def problem(self) -> str | None:
        if not 3 <= self.radix <= 16:
            return f"radix must be 3 to 16, is {self.radix}"
        if not 1 <= self.digits <= self.most:
            return f"a byte holds 1 to {self.most} digits of radix {self.radix}, not {self.digits}"
        return None if self.run >= 1 else f"run must be at least 1, is {self.run}"


Part = Bits | Stream | Digits


@lru_cache(maxsize=1024)
def place(parts: tuple[Part, ...], count: int, field: str) -> tuple[tuple[Slice, ...], ...]:
    """The slices of each of `count` elements: parts stacked where they cover the same element. Raises FormatError."""
    if count > MAX_ELEMENTS:
        raise FormatError(f"field {field}: {count} values are more than {MAX_ELEMENTS}")
    elements: list[list[Slice]] = [[] for _ in range(count)]
    if len({part.radix if isinstance(part, Digits) else 0 for part in parts}) > 1:
        raise FormatError(f"field {field}: all of its parts must be bits, or digits of one radix")
    for part in parts:
        wrong = part.problem()
        if wrong is not None:
            raise FormatError(f"field {field}: {wrong}")
        length = count - part.start if part.count is None else part.count
        if part.start < 0 or length < 1 or part.start + length > count:
            raise FormatError(
                f"field {field}: elements {part.start} to {part.start + length - 1} are outside of its {count} elements"
            )
        for element, places in enumerate(part.places(length), part.start):
            into = sum(s.width for s in elements[element])
            for byte, shift, width, radix in places:
                elements[element].append(Slice(byte, shift, width, into, radix))
                into += width
    for element, slices in enumerate(elements):
        if sum(s.radix > 0 for s in slices) > 1:
            raise FormatError(f"field {field}: element {element} has two digits")
        if not slices:
            raise FormatError(f"field {field}: element {element} has no bits", help="every element needs a place")
    return tuple(tuple(e) for e in elements)


def uniform_width(elements: Sequence[Sequence[Slice]], field: str) -> int:
    widths = [sum(s.width for s in e) for e in elements]
    for element, width in enumerate(widths):
        if width != widths[0]:
            raise FormatError(f"field {field}: element {element} has {width} bits, element 0 has {widths[0]}")
    return widths[0]
