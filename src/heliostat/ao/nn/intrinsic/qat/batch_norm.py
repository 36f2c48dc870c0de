"""Convolutions and linear layers that train as they will be after their batch norm is folded in.

The weight is multiplied by the norm's factor, by running variances, before it is rounded, and the result divided by it
again before the norm. Source: arXiv 1806.08342, in PyTorch's form with one product.
"""

from __future__ import annotations

import math
from typing import Any, Self

from ..... import nn
from .....nn import init
from .....nn.utils.fusion import fuse_conv_bn_weights, fuse_linear_bn_weights
from .....tensor import Tensor
from ...qat import modules as qat
from ...swap import copied
from .. import fused


class _WithBatchNorm(fused.Fused, qat.RoundedWeight):
    NORM: Any
    FUSED: Any
    bn: Any
    freeze_bn: bool

    def add_norm(self, bn: Any, freeze_bn: bool) -> Self:
        """Take a batch norm, whose statistics stay as they are if `freeze_bn`."""
        self.bn = bn
        return self.freeze_bn_stats() if freeze_bn or not self.training else self.update_bn_stats()

    def reset_running_stats(self) -> None:
        """Forget running means and variances."""
        self.bn.reset_running_stats()

    def reset_bn_parameters(self) -> None:
        """First values of the norm, and of the bias."""
        self.bn.reset_running_stats()
        init.uniform_(self.bn.weight)
        init.zeros_(self.bn.bias)
        if self.bias is not None:
            bound = 1 / math.sqrt(math.prod(self.weight.shape[1:]))
            init.uniform_(self.bias, -bound, bound)

    def update_bn_stats(self) -> Self:
        """Normalize by each batch from here on, and count it."""
        self.freeze_bn = False
        self.bn.training = True
        return self

    def freeze_bn_stats(self) -> Self:
        """Normalize by running means and variances from here on."""
        self.freeze_bn = True
        self.bn.training = False
        return self

    def train(self, mode: bool = True) -> Self:
        """Training mode, or evaluation; a frozen norm stays in evaluation."""
        self.training = mode
        if not self.freeze_bn:
            for module in self.children():
                module.train(mode)
        return self

    def _product(self, input: Tensor, weight: Tensor) -> Tensor:
        raise NotImplementedError

    def forward(self, input: Tensor) -> Tensor:
        factor = self.bn.weight / (self.bn.running_var + self.bn.eps).sqrt()
        weight = self.weight_fake_quant(self.weight * factor.reshape([-1, *[1] * (self.weight.ndim - 1)]))
        after = [-1, *[1] * (self.weight.ndim - 2)]
        y = self._product(input, weight) / factor.reshape(after)
        if self.bias is not None:
            y = y + self.bias.reshape(after)
        made: Tensor = self.bn(y)
        return made

    @classmethod
    def from_float(cls, mod: Any, use_precomputed_fake_quant: bool = False) -> Self:
        """Of the fused module of floats with a qconfig, whose parameters and statistics it shares."""
        made = copied(cls, mod[0])
        made.training = mod.training
        made.round_weight(getattr(mod, "qconfig", None)).add_norm(mod[1], False)
        return made

    def folded(self) -> tuple[Tensor, Tensor]:
        """Weight and bias of the product and the norm together."""
        bn = self.bn
        fold = fuse_linear_bn_weights if self.weight.ndim == 2 else fuse_conv_bn_weights
        return fold(self.weight, self.bias, bn.running_mean, bn.running_var, bn.eps, bn.weight, bn.bias)

    def to_float(self) -> Any:
        """The product of floats with the norm folded in, and what comes behind it."""
        made = copied(self.FLOAT, self)
        del made._modules["bn"]
        made.weight, made.bias = self.folded()
        return made


class _ConvBn(_WithBatchNorm):
    def __init__(
        self, in_channels: int, out_channels: int, kernel_size: Any, stride: Any = 1, padding: Any = 0,
        dilation: Any = 1, groups: int = 1, bias: Any = None, padding_mode: str = "zeros", eps: float = 1e-5,
        momentum: float = 0.1, freeze_bn: bool = False, qconfig: Any = None,
    ) -> None:  # fmt: skip
        super().__init__(in_channels, out_channels, kernel_size, stride, padding, dilation, groups, bool(bias),
                         padding_mode, qconfig)  # fmt: skip
        self.add_norm(self.NORM(out_channels, eps, momentum), freeze_bn)
        self.reset_bn_parameters()

    def _product(self, input: Tensor, weight: Tensor) -> Tensor:
        made: Tensor = self._conv_forward(input, weight, None)
        return made


class ConvBn1d(_ConvBn, qat.Conv1d):
    """bn(conv(input)) with a rounded weight. input: (N, C, L)."""

    NORM: Any = nn.BatchNorm1d
    FUSED: Any = fused.ConvBn1d


class ConvBn2d(_ConvBn, qat.Conv2d):
    """bn(conv(input)) with a rounded weight. input: (N, C, H, W)."""

    NORM: Any = nn.BatchNorm2d
    FUSED: Any = fused.ConvBn2d


class ConvBn3d(_ConvBn, qat.Conv3d):
    """bn(conv(input)) with a rounded weight. input: (N, C, D, H, W)."""

    NORM: Any = nn.BatchNorm3d
    FUSED: Any = fused.ConvBn3d


class _ReLU(_ConvBn):
    RELU: Any

    def forward(self, input: Tensor) -> Tensor:
        made: Tensor = super().forward(input).relu()
        return made

    def to_float(self) -> Any:
        """The convolution of floats with the norm folded in, and ReLU."""
        return self.RELU(super().to_float(), nn.ReLU())


class ConvBnReLU1d(_ReLU, ConvBn1d):
    """relu(bn(conv(input))) with a rounded weight. input: (N, C, L)."""

    FUSED, RELU = fused.ConvBnReLU1d, fused.ConvReLU1d


class ConvBnReLU2d(_ReLU, ConvBn2d):
    """relu(bn(conv(input))) with a rounded weight. input: (N, C, H, W)."""

    FUSED, RELU = fused.ConvBnReLU2d, fused.ConvReLU2d


class ConvBnReLU3d(_ReLU, ConvBn3d):
    """relu(bn(conv(input))) with a rounded weight. input: (N, C, D, H, W)."""

    FUSED, RELU = fused.ConvBnReLU3d, fused.ConvReLU3d


class LinearBn1d(_WithBatchNorm, qat.Linear):
    """bn(linear(input)) with a rounded weight. input: (N, in_features)."""

    NORM, FUSED = nn.BatchNorm1d, fused.LinearBn1d

    def __init__(
        self, in_features: int, out_features: int, bias: bool = True, eps: float = 1e-5, momentum: float = 0.1,
        freeze_bn: bool = False, qconfig: Any = None,
    ) -> None:  # fmt: skip
        super().__init__(in_features, out_features, bias, qconfig)
        self.add_norm(self.NORM(out_features, eps, momentum), freeze_bn)
        self.reset_bn_parameters()

    def _product(self, input: Tensor, weight: Tensor) -> Tensor:
        return nn.functional.linear(input, weight)


def update_bn_stats(mod: Any) -> None:
    """Let a module of these normalize by each batch: for `model.apply`."""
    if isinstance(mod, _WithBatchNorm):
        mod.update_bn_stats()


def freeze_bn_stats(mod: Any) -> None:
    """Let a module of these keep its statistics: for `model.apply`."""
    if isinstance(mod, _WithBatchNorm):
        mod.freeze_bn_stats()
