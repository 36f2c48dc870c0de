"""Weights with noise of a size that is learned. Source: arXiv 1706.10295."""

from __future__ import annotations

from typing import Any

from ...tensor import FUNCTIONS, Tensor
from .linear import linear


def scaled_noise(*size: int, dtype: Any = None, device: Any = None) -> Tensor:
    """sign(e) sqrt(|e|) of normally distributed e: the factors of a noise whose products keep their size."""
    e: Tensor = FUNCTIONS["randn"](*size, dtype=dtype)
    e = e if device is None else e.to(device)
    return e.sign() * e.abs().sqrt()


def noisy_linear(
    input: Tensor, weight_mu: Tensor, weight_sigma: Tensor, weight_epsilon: Tensor, bias_mu: Tensor | None = None,
    bias_sigma: Tensor | None = None, bias_epsilon: Tensor | None = None,
) -> Tensor:  # fmt: skip
    """`linear` by weight_mu + weight_sigma * weight_epsilon, (out, in) each, and a bias of the same kind, (out,) each,
    where it is given: all three of it, or ValueError."""
    given = [t for t in (bias_mu, bias_sigma, bias_epsilon) if t is not None]
    if len(given) not in (0, 3):
        raise ValueError("noisy_linear takes bias_mu, bias_sigma and bias_epsilon, or none of them")
    bias = given[0] + given[1] * given[2] if given else None
    return linear(input, weight_mu + weight_sigma * weight_epsilon, bias)
