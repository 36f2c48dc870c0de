"""Padding as modules. A padding is one number, or one before and after each axis, the last axis first."""

from __future__ import annotations

from typing import Any

from ..diagnostics import ShapeError
from ..tensor import Tensor
from . import functional as F
from .functional.sizes import many
from .module import Module


class _Pad(Module):
    axes: int
    mode: str

    def __init__(self, padding: Any) -> None:
        super().__init__()
        self.padding = many(padding, 2 * self.axes, "padding")

    def forward(self, input: Tensor) -> Tensor:
        if self.mode != "constant" and input.ndim not in (self.axes + 1, self.axes + 2):
            raise ShapeError(f"expected {self.axes + 1}D or {self.axes + 2}D input (got {input.ndim}D input)")
        return F.pad(input, self.padding, self.mode)

    def extra_repr(self) -> str:
        return f"{self.padding}"


class _ConstantPad(_Pad):
    mode = "constant"

    def __init__(self, padding: Any, value: float) -> None:
        super().__init__(padding)
        self.value = value

    def forward(self, input: Tensor) -> Tensor:
        return F.pad(input, self.padding, "constant", self.value)

    def extra_repr(self) -> str:
        return f"padding={self.padding}, value={self.value}"


class ConstantPad1d(_ConstantPad):
    """One number around the last axis."""

    axes = 1


class ConstantPad2d(_ConstantPad):
    """One number around the last 2 axes."""

    axes = 2


class ConstantPad3d(_ConstantPad):
    """One number around the last 3 axes."""

    axes = 3


class ZeroPad1d(_Pad):
    """Zeros around the last axis."""

    axes, mode = 1, "constant"


class ZeroPad2d(_Pad):
    """Zeros around the last 2 axes."""

    axes, mode = 2, "constant"


class ZeroPad3d(_Pad):
    """Zeros around the last 3 axes."""

    axes, mode = 3, "constant"


class ReflectionPad1d(_Pad):
    """The neighbours in opposite order around the last axis. input: (N, C, L) or (C, L)."""

    axes, mode = 1, "reflect"


class ReflectionPad2d(_Pad):
    """The neighbours in opposite order around the last 2 axes. input: (N, C, H, W) or (C, H, W)."""

    axes, mode = 2, "reflect"


class ReflectionPad3d(_Pad):
    """The neighbours in opposite order around the last 3 axes. input: (N, C, D, H, W) or (C, D, H, W)."""

    axes, mode = 3, "reflect"


class ReplicationPad1d(_Pad):
    """The border elements around the last axis. input: (N, C, L) or (C, L)."""

    axes, mode = 1, "replicate"


class ReplicationPad2d(_Pad):
    """The border elements around the last 2 axes. input: (N, C, H, W) or (C, H, W)."""

    axes, mode = 2, "replicate"


class ReplicationPad3d(_Pad):
    """The border elements around the last 3 axes. input: (N, C, D, H, W) or (C, D, H, W)."""

    axes, mode = 3, "replicate"


class CircularPad1d(_Pad):
    """The other end's elements around the last axis. input: (N, C, L) or (C, L)."""

    axes, mode = 1, "circular"


class CircularPad2d(_Pad):
    """The other end's elements around the last 2 axes. input: (N, C, H, W) or (C, H, W)."""

    axes, mode = 2, "circular"


class CircularPad3d(_Pad):
    """The other end's elements around the last 3 axes. input: (N, C, D, H, W) or (C, D, H, W)."""

    axes, mode = 3, "circular"
