"""Norms and activations of codes: modules of floats between dequantization and quantization, in one kernel."""

from __future__ import annotations

from typing import Any, Self

from .... import nn
from ....tensor import Tensor
from ....tensor.quantized import QuantizedTensor, quantize_per_tensor
from ..swap import copied, quantized_weight
from .codes import OfValues, OutputCodes, taken


class _BatchNorm(OfValues):
    """Channels by running means and variances, as in evaluation."""

    def forward(self, input: Tensor) -> Tensor:
        self.training = False
        return super().forward(input)

    @classmethod
    def from_float(cls, mod: Any, use_precomputed_fake_quant: bool = False) -> Self:
        """Of an observed batch norm, or of one fused with what comes behind it."""
        return copied(cls, taken(mod)).set_output(*mod.activation_post_process.calculate_qparams())


class BatchNorm2d(_BatchNorm, nn.BatchNorm2d):
    """`nn.BatchNorm2d` of codes, in evaluation. input: (N, C, H, W)."""

    def __init__(self, num_features: int, eps: float = 1e-5, momentum: float = 0.1, device: Any = None,
                 dtype: Any = None) -> None:  # fmt: skip
        super().__init__(num_features, eps, momentum, device=device, dtype=dtype)
        self.set_output()


class BatchNorm3d(_BatchNorm, nn.BatchNorm3d):
    """`nn.BatchNorm3d` of codes, in evaluation. input: (N, C, D, H, W)."""

    def __init__(self, num_features: int, eps: float = 1e-5, momentum: float = 0.1, device: Any = None,
                 dtype: Any = None) -> None:  # fmt: skip
        super().__init__(num_features, eps, momentum, device=device, dtype=dtype)
        self.set_output()


class BNReLU2d(BatchNorm2d):
    """`BatchNorm2d` and ReLU."""

    def codes_of(self, y: Tensor, input: Any) -> Tensor:
        return super().codes_of(y.relu(), input)


class BNReLU3d(BatchNorm3d):
    """`BatchNorm3d` and ReLU."""

    def codes_of(self, y: Tensor, input: Any) -> Tensor:
        return super().codes_of(y.relu(), input)


class LayerNorm(OfValues, nn.LayerNorm):
    """`nn.LayerNorm` of codes. weight, bias: tensors or None."""

    def __init__(self, normalized_shape: Any, weight: Any, bias: Any, scale: float, zero_point: int, eps: float = 1e-5,
                 elementwise_affine: bool = True, device: Any = None, dtype: Any = None) -> None:  # fmt: skip
        super().__init__(normalized_shape, eps, elementwise_affine, device=device, dtype=dtype)
        self.weight, self.bias = weight, bias
        self.set_output(scale, zero_point)


class GroupNorm(OfValues, nn.GroupNorm):
    """`nn.GroupNorm` of codes. weight, bias: tensors or None."""

    def __init__(self, num_groups: int, num_channels: int, weight: Any, bias: Any, scale: float, zero_point: int,
                 eps: float = 1e-5, affine: bool = True, device: Any = None, dtype: Any = None) -> None:  # fmt: skip
        super().__init__(num_groups, num_channels, eps, affine, device, dtype)
        self.weight, self.bias = weight, bias
        self.set_output(scale, zero_point)


class _InstanceNorm(OfValues):
    def __init__(self, num_features: int, weight: Any, bias: Any, scale: float, zero_point: int, eps: float = 1e-5,
                 momentum: float = 0.1, affine: bool = False, track_running_stats: bool = False, device: Any = None,
                 dtype: Any = None) -> None:  # fmt: skip
        super().__init__(num_features, eps, momentum, affine, track_running_stats, device, dtype)
        self.weight, self.bias = weight, bias
        self.set_output(scale, zero_point)


class InstanceNorm1d(_InstanceNorm, nn.InstanceNorm1d):
    """`nn.InstanceNorm1d` of codes. weight, bias: tensors or None."""


class InstanceNorm2d(_InstanceNorm, nn.InstanceNorm2d):
    """`nn.InstanceNorm2d` of codes. weight, bias: tensors or None."""


class InstanceNorm3d(_InstanceNorm, nn.InstanceNorm3d):
    """`nn.InstanceNorm3d` of codes. weight, bias: tensors or None."""


class ELU(OfValues, nn.ELU):
    """`nn.ELU` of codes."""

    def __init__(self, scale: float, zero_point: int, alpha: float = 1.0) -> None:
        super().__init__(alpha)
        self.set_output(scale, zero_point)


class Hardswish(OfValues, nn.Hardswish):
    """`nn.Hardswish` of codes."""

    def __init__(self, scale: float, zero_point: int, device: Any = None, dtype: Any = None) -> None:
        super().__init__()
        self.set_output(scale, zero_point)


class Hardsigmoid(OfValues, nn.Hardsigmoid):
    """`nn.Hardsigmoid` of codes."""

    def __init__(self, scale: float = 1 / 256, zero_point: int = 0) -> None:
        super().__init__()
        self.set_output(scale, zero_point)


class LeakyReLU(OfValues, nn.LeakyReLU):
    """`nn.LeakyReLU` of codes."""

    def __init__(self, scale: float, zero_point: int, negative_slope: float = 1e-2, inplace: bool = False,
                 device: Any = None, dtype: Any = None) -> None:  # fmt: skip
        super().__init__(negative_slope, inplace)
        self.set_output(scale, zero_point)


class Sigmoid(OfValues, nn.Sigmoid):
    """`nn.Sigmoid` of codes."""

    def __init__(self, output_scale: float = 1 / 256, output_zero_point: int = 0) -> None:
        super().__init__()
        self.set_output(output_scale, output_zero_point)


class Tanh(OfValues, nn.Tanh):
    """`nn.Tanh` of codes."""

    def __init__(self, output_scale: float = 2 / 256, output_zero_point: int = 128) -> None:
        super().__init__()
        self.set_output(output_scale, output_zero_point)


class Softmax(OfValues, nn.Softmax):
    """`nn.Softmax` of codes."""

    def __init__(self, dim: int | None = None, scale: float = 1.0, zero_point: int = 0) -> None:
        super().__init__(dim)
        self.set_output(scale, zero_point)


class PReLU(OfValues, nn.PReLU):
    """`nn.PReLU` of codes. Its weight is kept as the values of its codes."""

    def __init__(self, output_scale: float, output_zero_point: int, num_parameters: int = 1) -> None:
        super().__init__(num_parameters)
        self.set_output(output_scale, output_zero_point)

    @classmethod
    def from_float(cls, mod: Any, use_precomputed_fake_quant: bool = False) -> Self:
        """Of an observed PReLU, whose weight is rounded as its qconfig says."""
        made = super().from_float(mod)
        observer = mod.qconfig.weight()
        observer(mod.weight)
        made._parameters["weight"] = nn.Parameter(quantized_weight(mod.weight, observer).dequantize(), False)
        return made


class ReLU6(nn.ReLU6):
    """`nn.ReLU6` of codes, in their own scale and zero point."""

    def _get_name(self) -> str:
        return "QuantizedReLU6"

    @classmethod
    def from_float(cls, mod: Any, use_precomputed_fake_quant: bool = False) -> Self:
        """Of a ReLU6."""
        return copied(cls, mod)


class Dropout(nn.Dropout):
    """The identity: what dropout is in evaluation."""

    def forward(self, input: Tensor) -> Tensor:
        return input

    def _get_name(self) -> str:
        return "QuantizedDropout"

    @classmethod
    def from_float(cls, mod: Any, use_precomputed_fake_quant: bool = False) -> Self:
        """Of a Dropout."""
        return copied(cls, mod)


class Quantize(OutputCodes):
    """Codes of floats by a scale and a zero point. dtype: of the codes."""

    def __init__(self, scale: Any, zero_point: Any, dtype: Any, factory_kwargs: Any = None) -> None:
        super().__init__()
        self.dtype = dtype
        self.set_output(scale, zero_point)

    def forward(self, X: Tensor) -> Tensor:
        made: Tensor = quantize_per_tensor(X, self.scale, self.zero_point, self.dtype)
        return made

    def _get_name(self) -> str:
        return "Quantize"

    def extra_repr(self) -> str:
        return f"scale={float(self.scale)}, zero_point={int(self.zero_point)}, dtype={self.dtype}"

    @classmethod
    def from_float(cls, mod: Any, use_precomputed_fake_quant: bool = False) -> Self:
        """Of an observed QuantStub."""
        scale, zero_point = mod.activation_post_process.calculate_qparams()
        return cls(scale, zero_point, mod.activation_post_process.dtype)


class DeQuantize(nn.Module):
    """Values of codes in float32; floats as they are."""

    def forward(self, Xq: Tensor) -> Tensor:
        return Xq.dequantize() if isinstance(Xq, QuantizedTensor) else Xq

    @classmethod
    def from_float(cls, mod: Any, use_precomputed_fake_quant: bool = False) -> Self:
        """Of a DeQuantStub."""
        return cls()
