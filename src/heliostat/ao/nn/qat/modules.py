"""Linear layers, convolutions and tables that multiply by fake quantized weights."""

from __future__ import annotations

from typing import Any, Self

from .... import nn
from ....diagnostics import UnsupportedError
from ....nn import functional as F
from ....tensor import Tensor
from ..swap import copied


class RoundedWeight(nn.Module):
    """A module whose weight passes `weight_fake_quant`, made by its qconfig. weight and bias are those of the module of
    floats that it stands for: optimizers that have them keep them."""

    FLOAT: Any
    qconfig: Any

    def round_weight(self, qconfig: Any) -> Self:
        """Fake quantize the weight as a qconfig says. Raises UnsupportedError without one."""
        if qconfig is None or not qconfig:
            raise UnsupportedError(f"qconfig must be provided for {type(self).__name__}")
        self.qconfig = qconfig
        self.weight_fake_quant = qconfig.weight()
        return self

    @property
    def rounded(self) -> Tensor:
        """The weight as it is multiplied with."""
        made: Tensor = self.weight_fake_quant(self.weight)
        return made

    @classmethod
    def from_float(cls, mod: Any, use_precomputed_fake_quant: bool = False) -> Self:
        """Of a module of floats with a qconfig, which it shares parameters with."""
        return copied(cls, mod).round_weight(getattr(mod, "qconfig", None))

    def to_float(self) -> Any:
        """The module of floats again, with the same parameters."""
        return copied(self.FLOAT, self)


class Linear(RoundedWeight, nn.Linear):
    """`nn.Linear` with a rounded weight."""

    FLOAT = nn.Linear

    def __init__(self, in_features: int, out_features: int, bias: bool = True, qconfig: Any = None,
                 device: Any = None, dtype: Any = None) -> None:  # fmt: skip
        super().__init__(in_features, out_features, bias, device, dtype)
        self.round_weight(qconfig)

    def forward(self, input: Tensor) -> Tensor:
        return F.linear(input, self.rounded, self.bias)


class _Conv(RoundedWeight):
    def __init__(
        self, in_channels: int, out_channels: int, kernel_size: Any, stride: Any = 1, padding: Any = 0,
        dilation: Any = 1, groups: int = 1, bias: bool = True, padding_mode: str = "zeros", qconfig: Any = None,
        device: Any = None, dtype: Any = None,
    ) -> None:  # fmt: skip
        super().__init__(
            in_channels, out_channels, kernel_size, stride, padding, dilation, groups, bias, padding_mode, device, dtype
        )
        self.round_weight(qconfig)

    def forward(self, input: Tensor) -> Tensor:
        made: Tensor = self._conv_forward(input, self.rounded, self.bias)
        return made


class Conv1d(_Conv, nn.Conv1d):
    """`nn.Conv1d` with a rounded weight."""

    FLOAT = nn.Conv1d


class Conv2d(_Conv, nn.Conv2d):
    """`nn.Conv2d` with a rounded weight."""

    FLOAT = nn.Conv2d


class Conv3d(_Conv, nn.Conv3d):
    """`nn.Conv3d` with a rounded weight."""

    FLOAT = nn.Conv3d


class Embedding(RoundedWeight, nn.Embedding):
    """`nn.Embedding` with rounded rows."""

    FLOAT = nn.Embedding

    def __init__(self, *args: Any, qconfig: Any = None, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.round_weight(qconfig)

    def forward(self, input: Tensor) -> Tensor:
        return F.embedding(input, self.rounded, self.padding_idx, None, 2.0, self.scale_grad_by_freq)


class EmbeddingBag(RoundedWeight, nn.EmbeddingBag):
    """`nn.EmbeddingBag` with rounded rows."""

    FLOAT = nn.EmbeddingBag

    def __init__(self, *args: Any, qconfig: Any = None, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.round_weight(qconfig)

    def forward(self, input: Tensor, offsets: Tensor | None = None, per_sample_weights: Tensor | None = None) -> Tensor:
        return F.embedding_bag(input, self.rounded, offsets, mode=self.mode, per_sample_weights=per_sample_weights,
                               include_last_offset=self.include_last_offset, padding_idx=self.padding_idx)  # fmt: skip
