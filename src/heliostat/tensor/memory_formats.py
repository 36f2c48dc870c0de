"""Orders of elements in memory under PyTorch's names. Programs choose the order in which images lie by themselves, so
a format is taken and changes nothing that can be seen."""

from __future__ import annotations

import enum
from typing import Any

from ..diagnostics import ShapeError
from ..ops.rules import shown


class memory_format(enum.Enum):
    """How elements lie: by the order of the axes, as before, or with the channels of images last."""

    contiguous_format = "contiguous_format"
    preserve_format = "preserve_format"
    channels_last = "channels_last"
    channels_last_3d = "channels_last_3d"

    def __repr__(self) -> str:
        return f"heliostat.{self.name}"


class layout(enum.Enum):
    """How a tensor is stored: there are dense ones alone."""

    strided = "strided"

    def __repr__(self) -> str:
        return f"heliostat.{self.name}"


AXES = {memory_format.channels_last: 4, memory_format.channels_last_3d: 5}
PUBLIC: dict[str, Any] = {
    "layout": layout, "memory_format": memory_format, "strided": layout.strided,
    **{f.name: f for f in memory_format},
}  # fmt: skip


def check_memory_format(what: str, given: Any, shape: Any = None) -> None:
    """Raise TypeError for what is no memory format, ShapeError where a tensor has other axes than the format."""
    if given is None:
        return
    if not isinstance(given, memory_format):
        raise TypeError(
            f"{what}: memory_format is one of hs.{', hs.'.join(f.name for f in memory_format)}, not {given!r}"
        )
    if shape is not None and len(shape) != AXES.get(given, len(shape)):
        raise ShapeError(
            f"{what}: {given.name} is an order of {AXES[given]} axes, found a tensor of shape {shown(shape)}"
        )
