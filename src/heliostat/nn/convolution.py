"""Convolutions and their transposes as modules."""

from __future__ import annotations

import math
from typing import Any

from ..diagnostics import ShapeError
from ..tensor import FUNCTIONS, Tensor
from . import functional as F
from . import init
from .functional.convolution import reversed_pairs
from .functional.sizes import many
from .linear import empty
from .module import Module


class _Convolution(Module):
    axes: int
    transposed = False

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: Any,
        stride: Any = 1,
        padding: Any = 0,
        dilation: Any = 1,
        groups: int = 1,
        bias: bool = True,
        padding_mode: str = "zeros",
        device: Any = None,
        dtype: Any = None,
        output_padding: Any = 0,
    ) -> None:
        super().__init__()
        if groups <= 0:
            raise ValueError("groups must be a positive integer")
        if in_channels % groups:
            raise ValueError("in_channels must be divisible by groups")
        if out_channels % groups:
            raise ValueError("out_channels must be divisible by groups")
        if isinstance(padding, str) and padding not in ("same", "valid"):
            raise ValueError(f"Invalid padding string {padding!r}, should be one of {{'same', 'valid'}}")
        if padding_mode not in ("zeros", "reflect", "replicate", "circular"):
            raise ValueError(
                "padding_mode must be one of ['zeros', 'reflect', 'replicate', 'circular'], "
                f"but got padding_mode='{padding_mode}'"
            )
        k = self.axes
        self.in_channels, self.out_channels, self.groups = in_channels, out_channels, groups
        self.kernel_size, self.stride = many(kernel_size, k, "kernel_size"), many(stride, k, "stride")
        self.padding = padding if isinstance(padding, str) else many(padding, k, "padding")
        self.dilation, self.output_padding = many(dilation, k, "dilation"), many(output_padding, k, "output_padding")
        self.padding_mode = padding_mode
        if padding == "same" and any(s != 1 for s in self.stride):
            raise ValueError("padding='same' is not supported for strided convolutions")
        first, second = (in_channels, out_channels) if self.transposed else (out_channels, in_channels)
        self.weight = empty(first, second // groups, *self.kernel_size, device=device, dtype=dtype)
        self.register_parameter("bias", empty(out_channels, device=device, dtype=dtype) if bias else None)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """First values, within 1 / sqrt(fan in)."""
        init.kaiming_uniform_(self.weight, a=math.sqrt(5))
        if self.bias is not None:
            fan = self.weight.shape[1] * math.prod(self.kernel_size)
            if fan:
                init.uniform_(self.bias, -1 / math.sqrt(fan), 1 / math.sqrt(fan))

    def extra_repr(self) -> str:
        text = f"{self.in_channels}, {self.out_channels}, kernel_size={self.kernel_size}, stride={self.stride}"
        if self.padding != (0,) * self.axes:
            text += f", padding={self.padding}"
        if self.dilation != (1,) * self.axes:
            text += f", dilation={self.dilation}"
        if self.output_padding != (0,) * self.axes:
            text += f", output_padding={self.output_padding}"
        if self.groups != 1:
            text += f", groups={self.groups}"
        if self.bias is None:
            text += ", bias=False"
        if self.padding_mode != "zeros":
            text += f", padding_mode={self.padding_mode}"
        return text


class _Conv(_Convolution):
    function: Any

    def forward(self, input: Tensor) -> Tensor:
        return self._conv_forward(input, self.weight, self.bias)

    def _conv_forward(self, input: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        padding = self.padding
        if self.padding_mode != "zeros":
            input = FUNCTIONS["pad"](input, self._around(), self.padding_mode)
            padding = (0,) * self.axes
        return type(self).function(input, weight, bias, self.stride, padding, self.dilation, self.groups)

    def _around(self) -> list[int]:
        if self.padding == "valid":
            return [0] * (2 * self.axes)
        if self.padding != "same":
            return reversed_pairs(self.padding)
        total = [d * (k - 1) for d, k in zip(self.dilation, self.kernel_size, strict=True)]
        return [n for t in reversed(total) for n in (t // 2, t - t // 2)]


class Conv1d(_Conv):
    """Correlation with a weight (out_channels, in_channels / groups, K). input: (N, C, L) or (C, L).
    padding: numbers, "same" or "valid"; padding_mode: "zeros", "reflect", "replicate" or "circular"."""

    axes = 1
    function = F.conv1d


class Conv2d(_Conv):
    """Correlation with a weight (out_channels, in_channels / groups, KH, KW). input: (N, C, H, W) or (C, H, W).
    padding: numbers, "same" or "valid"; padding_mode: "zeros", "reflect", "replicate" or "circular"."""

    axes = 2
    function = F.conv2d


class Conv3d(_Conv):
    """Correlation with a weight (out_channels, in_channels / groups, KD, KH, KW). input: (N, C, D, H, W) or
    (C, D, H, W). padding: numbers, "same" or "valid"; padding_mode: "zeros", "reflect", "replicate" or "circular"."""

    axes = 3
    function = F.conv3d


class _ConvTranspose(_Convolution):
    function: Any
    transposed = True

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: Any,
        stride: Any = 1,
        padding: Any = 0,
        output_padding: Any = 0,
        groups: int = 1,
        bias: bool = True,
        dilation: Any = 1,
        padding_mode: str = "zeros",
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        if padding_mode != "zeros":
            raise ValueError(f'Only "zeros" padding mode is supported for {type(self).__name__}')
        if isinstance(padding, str):
            raise TypeError(f"{type(self).__name__} takes padding as numbers, not {padding!r}")
        super().__init__(
            in_channels, out_channels, kernel_size, stride, padding, dilation, groups, bias, padding_mode, device,
            dtype, output_padding,
        )  # fmt: skip

    def forward(self, input: Tensor, output_size: Any = None) -> Tensor:
        return self._conv_forward(input, self.weight, self.bias, output_size)

    def _conv_forward(self, input: Tensor, weight: Tensor, bias: Tensor | None, output_size: Any = None) -> Tensor:
        more = self.output_padding if output_size is None else self._more(input, output_size)
        return type(self).function(input, weight, bias, self.stride, self.padding, more, self.groups, self.dilation)

    def _more(self, input: Tensor, output_size: Any) -> tuple[int, ...]:
        k = self.axes
        wanted = list(output_size)
        if len(wanted) == input.ndim:
            wanted = wanted[-k:]
        if len(wanted) != k:
            raise ShapeError(
                f"{type(self).__name__}: output_size must have {k} or {input.ndim} elements, found {wanted}"
            )
        least = [
            (n - 1) * s - 2 * p + d * (ks - 1) + 1
            for n, s, p, d, ks in zip(
                input.shape[-k:], self.stride, many(self.padding, k), self.dilation, self.kernel_size, strict=True
            )
        ]
        most = [a + s - 1 for a, s in zip(least, self.stride, strict=True)]
        if any(not a <= w <= b for a, w, b in zip(least, wanted, most, strict=True)):
            raise ShapeError(
                f"requested an output size of {wanted}, but valid sizes range from {least} to {most} (for an input of "
                f"{list(input.shape[-k:])})"
            )
        return tuple(w - a for w, a in zip(wanted, least, strict=True))


class ConvTranspose1d(_ConvTranspose):
    """The transpose of Conv1d, weight (in_channels, out_channels / groups, K). input: (N, C, L) or (C, L)."""

    axes = 1
    function = F.conv_transpose1d


class ConvTranspose2d(_ConvTranspose):
    """The transpose of Conv2d, weight (in_channels, out_channels / groups, KH, KW).

    input: (N, C, H, W) or (C, H, W)."""

    axes = 2
    function = F.conv_transpose2d


class ConvTranspose3d(_ConvTranspose):
    """The transpose of Conv3d, weight (in_channels, out_channels / groups, KD, KH, KW).

    input: (N, C, D, H, W) or (C, D, H, W)."""

    axes = 3
    function = F.conv_transpose3d
