"""For which parts of a tensor there are scales, how ranges become codes, and which declared formats do so."""

from __future__ import annotations

import enum
from dataclasses import dataclass

from ...diagnostics import ShapeError, UnsupportedError
from ...quant.format import BlockFormat
from ...quant.formats import Q4_0, Q4_1, Q5_0, Q5_1, Q8_0


class MappingType(enum.Enum):
    """How a range becomes codes: around 0; around 0, with a scale for each sign of which the larger is taken; or as it
    is."""

    SYMMETRIC = enum.auto()
    SYMMETRIC_NO_CLIPPING_ERR = enum.auto()
    ASYMMETRIC = enum.auto()


class ZeroPointDomain(enum.Enum):
    """What a zero point is: a code, a value, or nothing."""

    INT = enum.auto()
    FLOAT = enum.auto()
    NONE = enum.auto()


@dataclass(frozen=True)
class Granularity:
    """Base of what says for which elements there is one scale."""


@dataclass(frozen=True)
class PerTensor(Granularity):
    """One scale for all elements."""


@dataclass(frozen=True)
class PerAxis(Granularity):
    """A scale for each index of an axis."""

    axis: int


@dataclass(frozen=True)
class PerGroup(Granularity):
    """A scale for so many neighbours of a row of a matrix: what block formats have."""

    group_size: int


@dataclass(frozen=True)
class PerBlock(Granularity):
    """A scale for each block of a size along each axis."""

    block_size: tuple[int, ...]


@dataclass(frozen=True)
class PerRow(Granularity):
    """A scale for each row of the last axis."""


@dataclass(frozen=True)
class PerToken(Granularity):
    """A scale for each vector of the last axis, which is a token's."""


def get_block_size(input_shape: tuple[int, ...], granularity: Granularity) -> tuple[int, ...]:
    """Along each axis, how many elements share a scale. Raises ShapeError where a group or block does not divide the
    shape."""
    shape = tuple(input_shape)
    if isinstance(granularity, PerTensor):
        return shape
    if isinstance(granularity, PerAxis):
        if not -len(shape) <= granularity.axis < len(shape):
            raise ShapeError(f"PerAxis: there is no axis {granularity.axis} of {list(shape)}")
        return tuple(1 if i == granularity.axis % len(shape) else n for i, n in enumerate(shape))
    if isinstance(granularity, PerRow | PerToken):
        return (*(1,) * (len(shape) - 1), shape[-1])
    if isinstance(granularity, PerGroup | PerBlock):
        size = granularity.block_size if isinstance(granularity, PerBlock) else (1, granularity.group_size)
        if len(size) != len(shape) or any(b < 1 or n % b for n, b in zip(shape, size, strict=True)):
            raise ShapeError(f"blocks of {list(size)} do not divide a tensor of {list(shape)}")
        return tuple(size)
    raise UnsupportedError(f"there is no block size of {granularity!r}")


_FORMATS = {
    (8, MappingType.SYMMETRIC): Q8_0, (5, MappingType.SYMMETRIC): Q5_0, (4, MappingType.SYMMETRIC): Q4_0,
    (5, MappingType.ASYMMETRIC): Q5_1, (4, MappingType.ASYMMETRIC): Q4_1,
}  # fmt: skip


def block_format(granularity: Granularity, bits: int, mapping: MappingType = MappingType.SYMMETRIC) -> BlockFormat:
    """The declared format of weights with codes of so many bits and a scale for each group: files hold it, and products
    read it as it lies. Raises UnsupportedError where there is none."""
    group = granularity.group_size if isinstance(granularity, PerGroup) else (
        granularity.block_size[-1] if isinstance(granularity, PerBlock) and set(granularity.block_size[:-1]) <= {1}
        else None)  # fmt: skip
    found = _FORMATS.get((bits, mapping))
    if found is None or found.block != group:
        raise UnsupportedError(
            f"no declared format has {bits} bits and {mapping.name.lower()} codes for {granularity}",
            help="groups of 32 with 8, 5 or 4 bits are; or declare a format in a .lum file",
        )
    return found
