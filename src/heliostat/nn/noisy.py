"""Linear layers with noise in their weights, for exploration."""

from __future__ import annotations

import math
from typing import Any

from ..tensor import Tensor, create
from . import functional as F
from . import init
from .linear import empty
from .module import Module


class NoisyLinear(Module):
    """`Linear` whose weight and bias have noise of a learned size while training, and none in evaluation. The noise of
    a weight is the product of two vectors' (`functional.scaled_noise`); `reset_noise` draws anew. input: (...,
    in_features); (..., out_features). Source: arXiv 1706.10295."""

    weight_epsilon: Tensor
    bias_epsilon: Tensor | None

    def __init__(
        self, in_features: int, out_features: int, bias: bool = True, sigma_init: float = 0.5, device: Any = None,
        dtype: Any = None,
    ) -> None:  # fmt: skip
        super().__init__()
        self.in_features, self.out_features, self.sigma_init = in_features, out_features, sigma_init
        kept = {"device": device, "dtype": dtype}
        self.weight_mu = empty(out_features, in_features, **kept)
        self.weight_sigma = empty(out_features, in_features, **kept)
        self.register_parameter("bias_mu", empty(out_features, **kept) if bias else None)
        self.register_parameter("bias_sigma", empty(out_features, **kept) if bias else None)
        self.register_buffer("weight_epsilon", create.zeros(out_features, in_features, **kept))
        self.register_buffer("bias_epsilon", create.zeros(out_features, **kept) if bias else None)
        self.reset_parameters()
        self.reset_noise()

    def reset_parameters(self) -> None:
        """First values: means within 1 / sqrt(in_features), sizes of the noise sigma_init times that."""
        bound = 1 / math.sqrt(self.in_features) if self.in_features > 0 else 0.0
        for mu, sigma in ((self.weight_mu, self.weight_sigma), (self.bias_mu, self.bias_sigma)):
            if mu is not None:
                init.uniform_(mu, -bound, bound)
                init.constant_(sigma, self.sigma_init * bound)

    def reset_noise(self) -> None:
        """Draw other noise."""
        like = {"dtype": self.weight_mu.dtype, "device": self.weight_mu.device}
        before, behind = F.scaled_noise(self.in_features, **like), F.scaled_noise(self.out_features, **like)
        self.weight_epsilon.copy_(behind.outer(before))
        if self.bias_epsilon is not None:
            self.bias_epsilon.copy_(behind)

    def forward(self, input: Tensor) -> Tensor:
        if not self.training:
            return F.linear(input, self.weight_mu, self.bias_mu)
        return F.noisy_linear(
            input, self.weight_mu, self.weight_sigma, self.weight_epsilon, self.bias_mu, self.bias_sigma,
            self.bias_epsilon,
        )  # fmt: skip

    def extra_repr(self) -> str:
        bias = self.bias_mu is not None
        return f"in_features={self.in_features}, out_features={self.out_features}, bias={bias}"
