"""Convolutions of codes and their transposes."""

from __future__ import annotations

from typing import Any, Self

from .... import nn
from ....tensor import Tensor
from ....tensor.quantized import qint8
from .codes import OutputCodes, WeightCodes, taken, weight_observer, with_weight_codes


class ConvCodes(WeightCodes, OutputCodes):
    """What convolutions of codes share. input: codes (N, C, ...); weight: qint8 with one scale, or one for each channel
    of the output; bias: (O,) float32; codes of `scale` and `zero_point`."""

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
        self.set_output()

    def activation(self, y: Tensor) -> Tensor:
        """What comes behind the product, in float32."""
        return y

    def forward(self, input: Tensor) -> Tensor:
        y = self._conv_forward(self.codes_in(input), self.weight(), self.bias())
        return self.codes_of(self.activation(y), input)

    @classmethod
    def from_float(cls, mod: Any, use_precomputed_fake_quant: bool = False) -> Self:
        """Of an observed convolution, or of one fused with what comes behind it, or of one that trained with rounded
        weights."""
        source = taken(mod)
        observer = weight_observer(mod if "weight_fake_quant" in mod._modules else source)
        made = with_weight_codes(cls, mod, source, observer, use_precomputed_fake_quant)
        found: Self = made.set_output(*mod.activation_post_process.calculate_qparams())
        return found


class Conv1d(ConvCodes, nn.Conv1d):  # type: ignore[misc]
    """`nn.Conv1d` of codes."""

    FLOAT = nn.Conv1d


class Conv2d(ConvCodes, nn.Conv2d):  # type: ignore[misc]
    """`nn.Conv2d` of codes."""

    FLOAT = nn.Conv2d


class Conv3d(ConvCodes, nn.Conv3d):  # type: ignore[misc]
    """`nn.Conv3d` of codes."""

    FLOAT = nn.Conv3d


class ConvReLU1d(Conv1d):
    """`Conv1d` and ReLU."""

    def activation(self, y: Tensor) -> Tensor:
        return y.relu()


class ConvReLU2d(Conv2d):
    """`Conv2d` and ReLU."""

    def activation(self, y: Tensor) -> Tensor:
        return y.relu()


class ConvReLU3d(Conv3d):
    """`Conv3d` and ReLU."""

    def activation(self, y: Tensor) -> Tensor:
        return y.relu()


class ConvAdd2d(Conv2d):
    """conv(x) + extra, both codes."""

    def forward(self, input: Tensor, extra_input: Tensor) -> Tensor:  # type: ignore[override]
        y = self._conv_forward(self.codes_in(input), self.weight(), self.bias())
        return self.codes_of(self.activation(y + self.codes_in(extra_input).dequantize()), input)


class ConvAddReLU2d(ConvAdd2d):
    """relu(conv(x) + extra), both codes."""

    def activation(self, y: Tensor) -> Tensor:
        return y.relu()


class ConvTransposeCodes(ConvCodes):
    """What transposed convolutions of codes share; their weights have one scale."""

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
        self.set_output()


class ConvTranspose1d(ConvTransposeCodes, nn.ConvTranspose1d):  # type: ignore[misc]
    """`nn.ConvTranspose1d` of codes."""

    FLOAT = nn.ConvTranspose1d


class ConvTranspose2d(ConvTransposeCodes, nn.ConvTranspose2d):  # type: ignore[misc]
    """`nn.ConvTranspose2d` of codes."""

    FLOAT = nn.ConvTranspose2d


class ConvTranspose3d(ConvTransposeCodes, nn.ConvTranspose3d):  # type: ignore[misc]
    """`nn.ConvTranspose3d` of codes."""

    FLOAT = nn.ConvTranspose3d
