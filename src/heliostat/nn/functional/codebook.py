"""Numbers by the nearest of some: codebooks of vectors, and weights of two neighbours."""

from __future__ import annotations

from typing import NamedTuple

from ...diagnostics import ShapeError
from ...ir.types import f32, f64
from ...tensor import FUNCTIONS, Tensor
from .embedding import embedding
from .loss import mse_loss

where = FUNCTIONS["where"]


class VectorQuantizerOutput(NamedTuple):
    """quantized: rows of the codebook in the place of vectors. indices: their numbers. loss: what brings both nearer to
    each other. perplexity: how many rows are used, as if all of them were used alike."""

    quantized: Tensor
    indices: Tensor
    loss: Tensor
    perplexity: Tensor


def straight_through(hard: Tensor, soft: Tensor) -> Tensor:
    """The values of hard with the gradient of soft, of one shape. Source: arXiv 1308.3432."""
    if hard.shape != soft.shape:
        raise ShapeError(f"straight_through: {list(hard.shape)} and {list(soft.shape)} are not one shape")
    return hard.detach() + (soft - soft.detach())


def two_hot(input: Tensor, bins: Tensor) -> Tensor:
    """Weights of the two bins that a number lies between, whose mean is the number. input: any shape, numbers beyond
    the ends count as the ends; bins: (K,) in order, K >= 2; (..., K) of the dtype of bins. Source: arXiv 2301.04104."""
    if bins.ndim != 1 or bins.shape[0] < 2:
        raise ShapeError(f"two_hot takes bins (K,) with K of at least 2, found {list(bins.shape)}")
    x = input.to(bins.dtype).unsqueeze(-1)
    x = where(x < bins[0], bins[0], where(x > bins[-1], bins[-1], x))
    width = bins[1:] - bins[:-1]
    share = ((x - bins[:-1]) / width).clamp(0, 1)  # 1 below the bin of x, 0 above
    one = FUNCTIONS["ones_like"](x)
    made: Tensor = FUNCTIONS["cat"]([one, share], -1) - FUNCTIONS["cat"]([share, one * 0], -1)
    return made


def nearest_codebook(input: Tensor, codebook: Tensor) -> Tensor:
    """The number of the row of the codebook that is nearest to each vector, the first of equal ones. input: (..., D);
    codebook: (K, D); (...,) of int64."""
    if codebook.ndim != 2 or not input.ndim or input.shape[-1] != codebook.shape[1]:
        raise ShapeError(f"nearest_codebook: vectors {list(input.shape)} do not fit a codebook {list(codebook.shape)}")
    x, c = input.detach(), codebook.detach()
    found: Tensor = ((c * c).sum(-1) - 2 * (x @ c.t())).argmin(-1)  # x * x would be the same for all rows
    return found


def vector_quantize(input: Tensor, codebook: Tensor, commitment_cost: float = 0.25) -> VectorQuantizerOutput:
    """Vectors replaced by the nearest rows of a codebook, with the gradient of what they replace. input: (..., D);
    codebook: (K, D).

    The loss is the mean square of the distances, by which rows move, and `commitment_cost` times that by which vectors
    move. Source: arXiv 1711.00937."""
    indices = nearest_codebook(input, codebook)
    rows = embedding(indices, codebook)
    loss = mse_loss(rows, input.detach()) + commitment_cost * mse_loss(input, rows.detach())
    # In the graph, unlike bincount, whose size depends on what is counted.
    flat = indices.reshape(-1)
    exact = {"dtype": f64 if input.dtype == f64 else f32, "device": input.device}
    used = FUNCTIONS["zeros"](codebook.shape[0], **exact).index_add(0, flat, FUNCTIONS["ones"](flat.shape[0], **exact))
    share = (used / max(flat.shape[0], 1)).to(input.dtype)
    perplexity = (-FUNCTIONS["xlogy"](share, share).sum()).exp()
    return VectorQuantizerOutput(straight_through(rows, input), indices, loss, perplexity)
