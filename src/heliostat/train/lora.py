"""Adapters of low rank over a frozen decoder (arXiv 2106.09685): y = W x + (alpha / rank) * B (A x).

W stays in the file, quantized as it is: products read blocks, and gradients pass through their values without leaving
any for them. Only A and B are parameters.
"""

from __future__ import annotations

import math

import numpy as np

from .. import nn, ops
from ..ir.types import TensorType
from ..llm.weights import DecoderWeights
from ..nn import functional as F
from ..runtime.buffer import Buffer
from ..tensor import Tensor, lazy
from ..tensor.core import new, wrap
from ..tensor.create import zeros


class FrozenLinear(nn.Module):
    """x times a matrix of any element type, (out, in), and a bias. Neither is a parameter."""

    def __init__(self, weight: Tensor, bias: Tensor | None = None) -> None:
        super().__init__()
        self.weight, self.bias = weight, bias

    def forward(self, x: Tensor) -> Tensor:
        y = wrap(ops.linear(x.value, self.weight.value), x)
        return y if self.bias is None else y + self.bias


class LoraLinear(FrozenLinear):
    """A frozen matrix with an adapter. lora_a: (rank, in), of small values; lora_b: (out, rank), of zeros."""

    def __init__(self, weight: Tensor, bias: Tensor | None, rank: int, alpha: float, dropout: float) -> None:
        super().__init__(weight, bias)
        outputs, inputs = weight.value.type.shape
        self.scale = alpha / rank
        self.dropout = nn.Dropout(dropout)
        self.lora_a = nn.Parameter(zeros(rank, int(inputs)))  # type: ignore[arg-type]
        self.lora_b = nn.Parameter(zeros(int(outputs), rank))  # type: ignore[arg-type]
        nn.init.kaiming_uniform_(self.lora_a, math.sqrt(5))

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) + F.linear(F.linear(self.dropout(x), self.lora_a), self.lora_b) * self.scale


class FrozenNorm(nn.Module):
    """`RMSNorm` whose weight is no parameter."""

    def __init__(self, weight: Tensor, eps: float) -> None:
        super().__init__()
        self.weight, self.eps = weight, eps

    def forward(self, x: Tensor) -> Tensor:
        made: Tensor = F.rms_norm(x, tuple(self.weight.shape), self.weight, self.eps)
        return made


class FrozenEmbedding(nn.Module):
    """Rows of a table of any element type; `project(x)` are the products of x with them."""

    def __init__(self, weight: Tensor) -> None:
        super().__init__()
        self.weight = weight

    def forward(self, ids: Tensor) -> Tensor:
        rows: Tensor = wrap(ops.embedding(self.weight.value, ids.reshape(-1).value))
        return rows.reshape(*ids.shape, -1)

    def project(self, x: Tensor) -> Tensor:
        return wrap(ops.linear(x.value, self.weight.value), x)


class Frozen:
    """Parts whose weights are those of a model file, with adapters at the matrices called in `targets`."""

    def __init__(
        self, weights: DecoderWeights, targets: tuple[str, ...], rank: int, alpha: float, dropout: float = 0.0
    ) -> None:
        self.weights, self.targets, self.rank, self.alpha, self.dropout = weights, targets, rank, alpha, dropout

    def tensor(self, name: str) -> Tensor:
        """A matrix over the file's own bytes. Raises FileFormatError where the file has none of the right shape."""
        type = self.weights.type(name)
        assert type is not None
        return new(Tensor, lazy.leaf(Buffer.of(self.weights.file.data(name)), TensorType(type.element, type.shape)))

    def vector(self, name: str) -> Tensor:
        """A vector as f32."""
        return self.tensor(name).float().detach()

    def linear(self, name: str, inputs: int, outputs: int) -> nn.Module:
        weight = self.tensor(f"{name}.weight")
        bias = None if self.weights.type(f"{name}.bias") is None else self.vector(f"{name}.bias")
        if name.startswith("blk.") and name.rpartition(".")[2] in self.targets:
            return LoraLinear(weight, bias, self.rank, self.alpha, self.dropout)
        return FrozenLinear(weight, bias)

    def norm(self, name: str, size: int) -> nn.Module:
        return FrozenNorm(self.vector(f"{name}.weight"), self.weights.config.eps)

    def embedding(self, name: str, rows: int, size: int) -> nn.Module:
        return FrozenEmbedding(self.tensor(f"{name}.weight"))

    def head(self, name: str, inputs: int, outputs: int) -> nn.Module | None:
        return None if self.weights.type(f"{name}.weight") is None else self.linear(name, inputs, outputs)


def delta(lora_a: Tensor, lora_b: Tensor, scale: float) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
    """What an adapter adds to its matrix, (out, in), summed in f64."""
    a, b = (np.asarray(t.detach().cpu().numpy(), np.float64) for t in (lora_a, lora_b))
    return np.asarray(b @ a * scale, np.float32)
