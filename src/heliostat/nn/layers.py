"""The layers that decoders are made of. Weights may be of any element type: dense or a quantized block format."""

from __future__ import annotations

from .. import ops
from ..ir.graph import Value
from ..ir.types import Element, f32, tensor
from .module import Module, Parameter


class Linear(Module):
    """y = x @ weight^T + bias. x: (..., in_features), weight: (out_features, in_features) of any element type."""

    def __init__(self, weight: Parameter, bias: Parameter | None = None) -> None:
        super().__init__()
        self.weight = weight
        self.bias = bias

    @classmethod
    def of(cls, in_features: int, out_features: int, element: Element = f32, bias: bool = False) -> Linear:
        """A layer of that shape; names come from the module that holds it."""
        return cls(
            Parameter(tensor(element, out_features, in_features)),
            Parameter(tensor(f32, out_features)) if bias else None,
        )

    def forward(self, x: Value) -> Value:
        y = ops.matmul(x, ops.transpose(self.weight.value))
        return y if self.bias is None else ops.add(y, self.bias.value)


class RMSNorm(Module):
    """x / sqrt(mean(x * x) + eps) * weight over the last axis. weight: (D,)."""

    def __init__(self, weight: Parameter, eps: float) -> None:
        super().__init__()
        self.weight = weight
        self.eps = eps

    def forward(self, x: Value) -> Value:
        return ops.rms_norm(x, self.weight.value, eps=self.eps)


class Embedding(Module):
    """Rows of a table by number. weight: (V, K) of any element type, ids: (N,) i32; result (N, K) f32."""

    def __init__(self, weight: Parameter) -> None:
        super().__init__()
        self.weight = weight

    def forward(self, ids: Value) -> Value:
        return ops.embedding(self.weight.value, ids)
