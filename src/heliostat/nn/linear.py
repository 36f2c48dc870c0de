"""Modules that multiply by weights."""

from __future__ import annotations

import math
from typing import Any

from ..tensor import Tensor, create
from ..tensor.devices import default_name
from . import functional as F
from . import init
from .module import Module
from .parameter import Parameter


def empty(*shape: int, device: Any = None, dtype: Any = None) -> Parameter:
    """A parameter of a shape, to be given its first values."""
    return Parameter(create.zeros(*shape, dtype=dtype, device=default_name(device)))


class Identity(Module):
    """What it is given; it takes any arguments."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__()

    def forward(self, input: Tensor) -> Tensor:
        return input


class Linear(Module):
    """input @ weight^T + bias. input: (..., in_features); weight: (out_features, in_features); (..., out_features)."""

    def __init__(
        self, in_features: int, out_features: int, bias: bool = True, device: Any = None, dtype: Any = None
    ) -> None:
        super().__init__()
        self.in_features, self.out_features = in_features, out_features
        self.weight = empty(out_features, in_features, device=device, dtype=dtype)
        self.register_parameter("bias", empty(out_features, device=device, dtype=dtype) if bias else None)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """First values, within 1 / sqrt(in_features)."""
        init.kaiming_uniform_(self.weight, a=math.sqrt(5))
        if self.bias is not None:
            bound = 1 / math.sqrt(self.in_features) if self.in_features > 0 else 0
            init.uniform_(self.bias, -bound, bound)

    def forward(self, input: Tensor) -> Tensor:
        return F.linear(input, self.weight, self.bias)

    def extra_repr(self) -> str:
        return f"in_features={self.in_features}, out_features={self.out_features}, bias={self.bias is not None}"


class FusedLinear(Linear):
    """`Linear` and an activation behind it, "relu", "gelu" or None; the compiler makes one kernel of them."""

    def __init__(
        self, in_features: int, out_features: int, bias: bool = True, activation: str | None = "relu",
        device: Any = None, dtype: Any = None,
    ) -> None:  # fmt: skip
        if activation not in ("relu", "gelu", None):
            raise ValueError(f"FusedLinear: activation is 'relu', 'gelu' or None, not {activation!r}")
        super().__init__(in_features, out_features, bias, device, dtype)
        self.activation = activation

    def forward(self, input: Tensor) -> Tensor:
        y = F.linear(input, self.weight, self.bias)
        return y if self.activation is None else getattr(F, self.activation)(y)

    def extra_repr(self) -> str:
        return f"{super().extra_repr()}, activation={self.activation}"


class Bilinear(Module):
    """y[o] = input1^T weight[o] input2 + bias[o]. (..., in1_features), (..., in2_features); (..., out_features)."""

    def __init__(
        self,
        in1_features: int,
        in2_features: int,
        out_features: int,
        bias: bool = True,
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        super().__init__()
        if in1_features <= 0:
            raise ValueError(f"in1_features must be > 0, but got {in1_features}")
        self.in1_features, self.in2_features, self.out_features = in1_features, in2_features, out_features
        self.weight = empty(out_features, in1_features, in2_features, device=device, dtype=dtype)
        self.register_parameter("bias", empty(out_features, device=device, dtype=dtype) if bias else None)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """First values, within 1 / sqrt(in1_features)."""
        bound = 1 / math.sqrt(self.weight.shape[1])
        init.uniform_(self.weight, -bound, bound)
        if self.bias is not None:
            init.uniform_(self.bias, -bound, bound)

    def forward(self, input1: Tensor, input2: Tensor) -> Tensor:
        return F.bilinear(input1, input2, self.weight, self.bias)

    def extra_repr(self) -> str:
        return (
            f"in1_features={self.in1_features}, in2_features={self.in2_features}, out_features={self.out_features}, "
            f"bias={self.bias is not None}"
        )
