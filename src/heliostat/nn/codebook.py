"""Vector quantization as a module."""

from __future__ import annotations

from typing import Any

from ..tensor import Tensor
from . import functional as F
from . import init
from .functional.codebook import VectorQuantizerOutput
from .linear import empty
from .module import Module


class VectorQuantizer(Module):
    """Vectors replaced by the nearest rows of a learned codebook (num_embeddings, embedding_dim), as
    `functional.vector_quantize`. input: (..., embedding_dim). Source: arXiv 1711.00937."""

    def __init__(
        self, num_embeddings: int, embedding_dim: int, commitment_cost: float = 0.25, device: Any = None,
        dtype: Any = None,
    ) -> None:  # fmt: skip
        super().__init__()
        if num_embeddings < 1 or embedding_dim < 1:
            raise ValueError(f"VectorQuantizer: {num_embeddings} rows of {embedding_dim} numbers make no codebook")
        self.num_embeddings, self.embedding_dim, self.commitment_cost = num_embeddings, embedding_dim, commitment_cost
        self.weight = empty(num_embeddings, embedding_dim, device=device, dtype=dtype)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """First rows, within 1 / num_embeddings."""
        init.uniform_(self.weight, -1 / self.num_embeddings, 1 / self.num_embeddings)

    def forward(self, input: Tensor) -> VectorQuantizerOutput:
        return F.vector_quantize(input, self.weight, self.commitment_cost)

    def extra_repr(self) -> str:
        return f"{self.num_embeddings}, {self.embedding_dim}, commitment_cost={self.commitment_cost}"
