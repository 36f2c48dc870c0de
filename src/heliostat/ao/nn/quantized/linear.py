"""Linear layers of codes."""

from __future__ import annotations

from typing import Any, Self

from .... import nn
from ....nn import functional as F
from ....tensor import Tensor
from ....tensor.quantized import qint8
from .codes import OutputCodes, WeightCodes, taken, weight_observer, with_weight_codes


class Linear(WeightCodes, OutputCodes, nn.Linear):  # type: ignore[misc]
    """`nn.Linear` of codes: input (..., in_features) codes, weight (out_features, in_features) qint8 with one scale or
    one for each row, bias float32; codes (..., out_features) of `scale` and `zero_point`."""

    def __init__(self, in_features: int, out_features: int, bias_: bool = True, dtype: Any = qint8) -> None:
        self.make_codes(nn.Linear(in_features, out_features, bias_), dtype)
        self.set_output()

    def activation(self, y: Tensor) -> Tensor:
        """What comes behind the product, in float32."""
        return y

    def forward(self, input: Tensor) -> Tensor:
        return self.codes_of(self.activation(F.linear(self.codes_in(input), self.weight(), self.bias())), input)

    def extra_repr(self) -> str:
        w = self.weight()
        return (
            f"in_features={self.in_features}, out_features={self.out_features}, scale={float(self.scale)}, "
            f"zero_point={int(self.zero_point)}, qscheme={w.qscheme()}"
        )

    @classmethod
    def from_float(cls, mod: Any, use_precomputed_fake_quant: bool = False) -> Self:
        """Of an observed Linear, or of one fused with what comes behind it, or of one that trained with rounded
        weights."""
        source = taken(mod)
        observer = weight_observer(mod if "weight_fake_quant" in mod._modules else source)
        made = with_weight_codes(cls, mod, source, observer, use_precomputed_fake_quant)
        found: Self = made.set_output(*mod.activation_post_process.calculate_qparams())
        return found


class LinearReLU(Linear):
    """`Linear` and ReLU: codes are not below the zero point."""

    def activation(self, y: Tensor) -> Tensor:
        return y.relu()


class LinearLeakyReLU(Linear):
    """`Linear` and LeakyReLU."""

    def __init__(
        self, in_features: int, out_features: int, negative_slope: float, bias: bool = True, dtype: Any = qint8
    ) -> None:
        super().__init__(in_features, out_features, bias, dtype)
        self.negative_slope = negative_slope

    def activation(self, y: Tensor) -> Tensor:
        return F.leaky_relu(y, self.negative_slope)

    @classmethod
    def from_float(cls, mod: Any, use_precomputed_fake_quant: bool = False) -> Self:
        """Of an observed `intrinsic.LinearLeakyReLU`."""
        made = super().from_float(mod, use_precomputed_fake_quant)
        made.negative_slope = mod[1].negative_slope
        return made


class LinearTanh(Linear):
    """`Linear` and tanh."""

    def activation(self, y: Tensor) -> Tensor:
        return y.tanh()
