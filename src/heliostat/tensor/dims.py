"""Sizes of tensors, and axes by number."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, SupportsIndex, overload

from ..diagnostics import IndexOutOfRangeError, ShapeError


class Size(tuple[int, ...]):
    """A shape."""

    __slots__ = ()

    def numel(self) -> int:
        """The number of elements."""
        total = 1
        for d in self:
            total *= d
        return total

    @overload
    def __getitem__(self, index: SupportsIndex) -> int: ...
    @overload
    def __getitem__(self, index: slice) -> Size: ...
    def __getitem__(self, index: SupportsIndex | slice) -> int | Size:
        """A size, or a shape of some of them."""
        found = tuple.__getitem__(self, index)
        return Size(found) if type(found) is tuple else found  # type: ignore[return-value]

    def __add__(self, other: Any) -> Any:
        """A shape with the sizes of another behind."""
        return Size((*self, *other)) if isinstance(other, tuple) else NotImplemented

    def __radd__(self, other: Any) -> Any:
        """A shape with the sizes of another before."""
        return Size((*other, *self)) if isinstance(other, tuple) else NotImplemented

    def __mul__(self, count: SupportsIndex) -> Size:
        """The sizes that many times."""
        return Size(tuple.__mul__(self, count))

    __rmul__ = __mul__

    def __repr__(self) -> str:
        return f"Size({list(self)})"


def normal_dim(dim: int, rank: int, op: str = "") -> int:
    """An axis counted from the front; a tensor without axes has one for this purpose. Raises IndexOutOfRangeError."""
    size = max(rank, 1)
    if not -size <= dim < size:
        name = f"{op}: " if op else ""
        what = f"{name}axis {dim} is outside a tensor of {rank} axes"
        raise IndexOutOfRangeError(what, help=f"{-size} to {size - 1} are there")
    return int(dim) % size


def normal_dims(dim: int | Sequence[int] | None, rank: int, op: str = "") -> tuple[int, ...]:
    """Axes counted from the front, sorted; all where none is named."""
    if dim is None or (not isinstance(dim, int) and len(dim) == 0):
        return tuple(range(rank))
    named = (dim,) if isinstance(dim, int) else tuple(dim)
    found = tuple(sorted({normal_dim(d, rank, op) for d in named}))
    if len(found) != len(named):
        raise ShapeError(f"{op}: an axis is named twice in {list(named)}")
    return found if rank else ()
