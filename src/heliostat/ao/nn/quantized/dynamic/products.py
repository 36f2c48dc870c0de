"""Linear layers and convolutions of floats by codes."""

from __future__ import annotations

from typing import Any, Self

from ..... import nn
from .....nn import functional as F
from .....tensor import Tensor
from .....tensor.quantized import qint8
from ..codes import WeightCodes, taken, weight_observer, with_weight_codes


class _Product(WeightCodes):
    def _get_name(self) -> str:
        return f"DynamicQuantized{type(self).__name__}"

    @classmethod
    def from_float(cls, mod: Any, use_precomputed_fake_quant: bool = False) -> Self:
        """Of a module of floats with a qconfig, or of one that trained with rounded weights."""
        source = taken(mod)
        observer = weight_observer(mod if "weight_fake_quant" in mod._modules or source is mod else source)
        made: Self = with_weight_codes(cls, mod, source, observer, use_precomputed_fake_quant)
        return made


class Linear(_Product, nn.Linear):  # type: ignore[misc]
    """`nn.Linear` of floats by codes: input (..., in_features) is quantized to 7 bits by its range. dtype: qint8, or
    float16 for weights that are only kept so."""

    def __init__(self, in_features: int, out_features: int, bias_: bool = True, dtype: Any = qint8) -> None:
        self.make_codes(nn.Linear(in_features, out_features, bias_), dtype)

    def forward(self, input: Tensor) -> Tensor:
        return F.linear(input, self.weight_of_product(), self.bias())

    def extra_repr(self) -> str:
        w = self.weight()
        text = f"in_features={self.in_features}, out_features={self.out_features}, dtype={w.dtype}"
        return text + (f", qscheme={w.qscheme()}" if w.dtype == qint8 else "")


class LinearReLU(Linear):
    """`Linear` and ReLU."""

    def forward(self, input: Tensor) -> Tensor:
        return super().forward(input).relu()


class _Conv(_Product):
    FLOAT: Any

    def __init__(
        self, in_channels: int, out_channels: int, kernel_size: Any, stride: Any = 1, padding: Any = 0,
        dilation: Any = 1, groups: int = 1, bias: bool = True, padding_mode: str = "zeros", device: Any = None,
        dtype: Any = None,
    ) -> None:  # fmt: skip
        float_ = self.FLOAT(
            in_channels, out_channels, kernel_size, stride, padding, dilation, groups, bias, padding_mode, device
        )
        self.make_codes(float_, qint8 if dtype is None else dtype)

    def forward(self, input: Tensor) -> Tensor:
        made: Tensor = self._conv_forward(input, self.weight_of_product(), self.bias())
        return made


class Conv1d(_Conv, nn.Conv1d):  # type: ignore[misc]
    """`nn.Conv1d` of floats by codes."""

    FLOAT = nn.Conv1d


class Conv2d(_Conv, nn.Conv2d):  # type: ignore[misc]
    """`nn.Conv2d` of floats by codes."""

    FLOAT = nn.Conv2d


class Conv3d(_Conv, nn.Conv3d):  # type: ignore[misc]
    """`nn.Conv3d` of floats by codes."""

    FLOAT = nn.Conv3d


class _ConvTranspose(_Conv):
    def __init__(
        self, in_channels: int, out_channels: int, kernel_size: Any, stride: Any = 1, padding: Any = 0,
        output_padding: Any = 0, groups: int = 1, bias: bool = True, dilation: Any = 1, padding_mode: str = "zeros",
        device: Any = None, dtype: Any = None,
    ) -> None:  # fmt: skip
        float_ = self.FLOAT(
            in_channels, out_channels, kernel_size, stride, padding, output_padding, groups, bias, dilation,
            padding_mode, device,
        )  # fmt: skip
        self.make_codes(float_, qint8 if dtype is None else dtype)


class ConvTranspose1d(_ConvTranspose, nn.ConvTranspose1d):  # type: ignore[misc]
    """`nn.ConvTranspose1d` of floats by codes, which have one scale."""

    FLOAT = nn.ConvTranspose1d


class ConvTranspose2d(_ConvTranspose, nn.ConvTranspose2d):  # type: ignore[misc]
    """`nn.ConvTranspose2d` of floats by codes, which have one scale."""

    FLOAT = nn.ConvTranspose2d


class ConvTranspose3d(_ConvTranspose, nn.ConvTranspose3d):  # type: ignore[misc]
    """`nn.ConvTranspose3d` of floats by codes, which have one scale."""

    FLOAT = nn.ConvTranspose3d
