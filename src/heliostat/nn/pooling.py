"""Poolings as modules."""

from __future__ import annotations

from typing import Any

from ..tensor import Tensor
from . import functional as F
from .functional.sizes import many
from .module import Module


class _MaxPool(Module):
    function: Any

    def __init__(
        self,
        kernel_size: Any,
        stride: Any = None,
        padding: Any = 0,
        dilation: Any = 1,
        return_indices: bool = False,
        ceil_mode: bool = False,
    ) -> None:
        super().__init__()
        self.kernel_size, self.stride = kernel_size, kernel_size if stride is None else stride
        self.padding, self.dilation = padding, dilation
        self.return_indices, self.ceil_mode = return_indices, ceil_mode

    def forward(self, input: Tensor) -> Any:
        return type(self).function(
            input, self.kernel_size, self.stride, self.padding, self.dilation, self.ceil_mode, self.return_indices
        )

    def extra_repr(self) -> str:
        return (
            f"kernel_size={self.kernel_size}, stride={self.stride}, padding={self.padding}, "
            f"dilation={self.dilation}, ceil_mode={self.ceil_mode}"
        )


class MaxPool1d(_MaxPool):
    """Maxima of windows; with `return_indices` also where they stand. input: (N, C, L) or (C, L)."""

    function = F.max_pool1d


class MaxPool2d(_MaxPool):
    """Maxima of windows; with `return_indices` also where they stand. input: (N, C, H, W) or (C, H, W)."""

    function = F.max_pool2d


class MaxPool3d(_MaxPool):
    """Maxima of windows; with `return_indices` also where they stand. input: (N, C, D, H, W) or (C, D, H, W)."""

    function = F.max_pool3d


class _MaxUnpool(Module):
    axes: int
    function: Any

    def __init__(self, kernel_size: Any, stride: Any = None, padding: Any = 0) -> None:
        super().__init__()
        k = self.axes
        self.kernel_size, self.padding = many(kernel_size, k, "kernel_size"), many(padding, k, "padding")
        self.stride = self.kernel_size if stride is None else many(stride, k, "stride")

    def forward(self, input: Tensor, indices: Tensor, output_size: Any = None) -> Tensor:
        return type(self).function(input, indices, self.kernel_size, self.stride, self.padding, output_size)

    def extra_repr(self) -> str:
        return f"kernel_size={self.kernel_size}, stride={self.stride}, padding={self.padding}"


class MaxUnpool1d(_MaxUnpool):
    """Maxima put back where they stood, 0 elsewhere. input, indices: (N, C, L) or (C, L)."""

    axes = 1
    function = F.max_unpool1d


class MaxUnpool2d(_MaxUnpool):
    """Maxima put back where they stood, 0 elsewhere. input, indices: (N, C, H, W) or (C, H, W)."""

    axes = 2
    function = F.max_unpool2d


class MaxUnpool3d(_MaxUnpool):
    """Maxima put back where they stood, 0 elsewhere. input, indices: (N, C, D, H, W) or (C, D, H, W)."""

    axes = 3
    function = F.max_unpool3d


class AvgPool1d(Module):
    """Means of windows. input: (N, C, L) or (C, L)."""

    def __init__(
        self,
        kernel_size: Any,
        stride: Any = None,
        padding: Any = 0,
        ceil_mode: bool = False,
        count_include_pad: bool = True,
    ) -> None:
        super().__init__()
        self.kernel_size = many(kernel_size, 1, "kernel_size")
        self.stride = many(kernel_size if stride is None else stride, 1, "stride")
        self.padding = many(padding, 1, "padding")
        self.ceil_mode, self.count_include_pad = ceil_mode, count_include_pad

    def forward(self, input: Tensor) -> Tensor:
        return F.avg_pool1d(input, self.kernel_size, self.stride, self.padding, self.ceil_mode, self.count_include_pad)

    def extra_repr(self) -> str:
        return f"kernel_size={self.kernel_size}, stride={self.stride}, padding={self.padding}"


class _AvgPool(Module):
    function: Any

    def __init__(
        self,
        kernel_size: Any,
        stride: Any = None,
        padding: Any = 0,
        ceil_mode: bool = False,
        count_include_pad: bool = True,
        divisor_override: int | None = None,
    ) -> None:
        super().__init__()
        self.kernel_size, self.stride = kernel_size, kernel_size if stride is None else stride
        self.padding, self.ceil_mode = padding, ceil_mode
        self.count_include_pad, self.divisor_override = count_include_pad, divisor_override

    def forward(self, input: Tensor) -> Tensor:
        return type(self).function(
            input, self.kernel_size, self.stride, self.padding, self.ceil_mode, self.count_include_pad,
            self.divisor_override,
        )  # fmt: skip

    def extra_repr(self) -> str:
        return f"kernel_size={self.kernel_size}, stride={self.stride}, padding={self.padding}"


class AvgPool2d(_AvgPool):
    """Means of windows. input: (N, C, H, W) or (C, H, W)."""

    function = F.avg_pool2d


class AvgPool3d(_AvgPool):
    """Means of windows. input: (N, C, D, H, W) or (C, D, H, W)."""

    function = F.avg_pool3d


class _LPPool(Module):
    function: Any

    def __init__(self, norm_type: float, kernel_size: Any, stride: Any = None, ceil_mode: bool = False) -> None:
        super().__init__()
        self.norm_type, self.kernel_size, self.stride, self.ceil_mode = norm_type, kernel_size, stride, ceil_mode

    def forward(self, input: Tensor) -> Tensor:
        return type(self).function(input, float(self.norm_type), self.kernel_size, self.stride, self.ceil_mode)

    def extra_repr(self) -> str:
        return (
            f"norm_type={self.norm_type}, kernel_size={self.kernel_size}, stride={self.stride}, "
            f"ceil_mode={self.ceil_mode}"
        )


class LPPool1d(_LPPool):
    """(sum of x^p)^(1/p) of windows. input: (N, C, L) or (C, L)."""

    function = F.lp_pool1d


class LPPool2d(_LPPool):
    """(sum of x^p)^(1/p) of windows. input: (N, C, H, W) or (C, H, W)."""

    function = F.lp_pool2d


class LPPool3d(_LPPool):
    """(sum of x^p)^(1/p) of windows. input: (N, C, D, H, W) or (C, D, H, W)."""

    function = F.lp_pool3d


class _AdaptiveAvgPool(Module):
    function: Any

    def __init__(self, output_size: Any) -> None:
        super().__init__()
        self.output_size = output_size

    def forward(self, input: Tensor) -> Tensor:
        return type(self).function(input, self.output_size)

    def extra_repr(self) -> str:
        return f"output_size={self.output_size}"


class _AdaptiveMaxPool(_AdaptiveAvgPool):
    def __init__(self, output_size: Any, return_indices: bool = False) -> None:
        super().__init__(output_size)
        self.return_indices = return_indices

    def forward(self, input: Tensor) -> Any:
        return type(self).function(input, self.output_size, self.return_indices)


class AdaptiveAvgPool1d(_AdaptiveAvgPool):
    """Means of as many parts of each axis. input: (N, C, L) or (C, L)."""

    function = F.adaptive_avg_pool1d


class AdaptiveAvgPool2d(_AdaptiveAvgPool):
    """Means of as many parts of each axis. input: (N, C, H, W) or (C, H, W)."""

    function = F.adaptive_avg_pool2d


class AdaptiveAvgPool3d(_AdaptiveAvgPool):
    """Means of as many parts of each axis. input: (N, C, D, H, W) or (C, D, H, W)."""

    function = F.adaptive_avg_pool3d


class AdaptiveMaxPool1d(_AdaptiveMaxPool):
    """Maxima of as many parts of each axis. input: (N, C, L) or (C, L)."""

    function = F.adaptive_max_pool1d


class AdaptiveMaxPool2d(_AdaptiveMaxPool):
    """Maxima of as many parts of each axis. input: (N, C, H, W) or (C, H, W)."""

    function = F.adaptive_max_pool2d


class AdaptiveMaxPool3d(_AdaptiveMaxPool):
    """Maxima of as many parts of each axis. input: (N, C, D, H, W) or (C, D, H, W)."""

    function = F.adaptive_max_pool3d


class _FractionalMaxPool(Module):
    function: Any
    axes: int

    def __init__(
        self,
        kernel_size: Any,
        output_size: Any = None,
        output_ratio: Any = None,
        return_indices: bool = False,
        _random_samples: Tensor | None = None,
    ) -> None:
        super().__init__()
        if (output_size is None) == (output_ratio is None):
            raise ValueError("FractionalMaxPool takes either an output_size or an output_ratio")
        self.kernel_size, self.return_indices = many(kernel_size, self.axes, "kernel_size"), return_indices
        self.output_size = None if output_size is None else many(output_size, self.axes, "output_size")
        self.output_ratio = (output_ratio,) * self.axes if isinstance(output_ratio, float) else output_ratio
        self.register_buffer("_random_samples", _random_samples)
        for r in self.output_ratio or ():
            if not 0 < r < 1:
                raise ValueError(f"output_ratio must be between 0 and 1 (got {self.output_ratio})")

    def forward(self, input: Tensor) -> Any:
        return type(self).function(
            input, self.kernel_size, self.output_size, self.output_ratio, self.return_indices, self._random_samples
        )


class FractionalMaxPool2d(_FractionalMaxPool):
    """Maxima of windows at random steps. input: (N, C, H, W) or (C, H, W). Source: arXiv 1412.6071."""

    axes = 2
    function = F.fractional_max_pool2d


class FractionalMaxPool3d(_FractionalMaxPool):
    """Maxima of windows at random steps. input: (N, C, D, H, W) or (C, D, H, W). Source: arXiv 1412.6071."""

    axes = 3
    function = F.fractional_max_pool3d
