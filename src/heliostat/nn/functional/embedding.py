"""Rows of a table by number, and sums of them."""

from __future__ import annotations

from typing import Any

from ...diagnostics import DTypeError, ShapeError, UnsupportedError
from ...tensor import FUNCTIONS, Tensor, no_grad
from ...tensor.conversion import as_tensor
from ...tensor.index import check_known

where = FUNCTIONS["where"]


def _checked(name: str, input: Tensor, weight: Tensor, padding_idx: int | None, sparse: bool) -> int | None:
    if sparse:
        raise UnsupportedError(f"{name}: sparse gradients (sparse=True) do not exist here", help="use sparse=False")
    if input.dtype.is_float:
        raise DTypeError(f"{name} takes integers as numbers of rows, found {input.dtype}")
    if weight.ndim != 2:
        raise ShapeError("'weight' must be 2-D")
    rows = weight.shape[0]
    if padding_idx is None:
        return None
    if not -rows <= padding_idx < rows:
        raise ValueError("Padding_idx must be within num_embeddings")
    return padding_idx % rows


def _renormalized(input: Tensor, weight: Tensor, max_norm: float, norm_type: float) -> None:
    """Rows of the table that are read and longer than max_norm are brought to it, in place."""
    with no_grad():
        size = weight.norm(norm_type, 1, True)
        scale = where(size > max_norm, max_norm / (size + 1e-7), 1.0)
        read = FUNCTIONS["zeros"](weight.shape[0], dtype=weight.dtype).index_fill(0, input.reshape(-1), 1.0)
        weight.copy_(where(read.unsqueeze(1) > 0, weight * scale, weight))


def _rows(input: Tensor, weight: Tensor, padding_idx: int | None, by_frequency: bool) -> Tensor:
    """(*input.shape, D), whose gradients reach the table as asked for."""
    check_known("row", input, weight.shape[0])
    y = weight[input]
    if not weight.requires_grad:
        return y
    if padding_idx is not None:
        y = where((input == padding_idx).unsqueeze(-1), y.detach(), y)
    if by_frequency:
        flat = input.reshape(-1)
        count = FUNCTIONS["zeros"](weight.shape[0], dtype=weight.dtype)
        count = count.index_add(0, flat, FUNCTIONS["ones"](flat.numel(), dtype=weight.dtype))
        share = (1 / count.index_select(0, flat)).reshape(*input.shape, 1)
        y = y * share + y.detach() * (1 - share)
    return y


def embedding(
    input: Tensor,
    weight: Tensor,
    padding_idx: int | None = None,
    max_norm: float | None = None,
    norm_type: float = 2.0,
    scale_grad_by_freq: bool = False,
    sparse: bool = False,
) -> Tensor:
    """Rows by number. input: integers, any shape; weight: (V, D); (*input.shape, D). The row `padding_idx` gets no
    gradient. `max_norm` shortens rows of the table in place before they are read."""
    at = _checked("embedding", input, weight, padding_idx, sparse)
    if max_norm is not None:
        _renormalized(input, weight, max_norm, norm_type)
    return _rows(input, weight, at, scale_grad_by_freq)


def embedding_bag(
    input: Tensor,
    weight: Tensor,
    offsets: Tensor | None = None,
    max_norm: float | None = None,
    norm_type: float = 2,
    scale_grad_by_freq: bool = False,
    mode: str = "mean",
    sparse: bool = False,
    per_sample_weights: Tensor | None = None,
    include_last_offset: bool = False,
    padding_idx: int | None = None,
) -> Tensor:
    """Sums, means or maxima of rows. input: (B, n), or (N,) with offsets (B,), where bags begin; (B, D)."""
    at = _checked("embedding_bag", input, weight, padding_idx, sparse)
    if mode not in ("sum", "mean", "max"):
        raise ValueError("mode has to be one of sum, mean or max")
    if per_sample_weights is not None:
        if mode != "sum":
            raise UnsupportedError(
                "embedding_bag: per_sample_weights was not None. per_sample_weights is only supported for mode='sum' "
                f"(got mode='{mode}')"
            )
        if input.shape != per_sample_weights.shape:
            raise ShapeError(
                f"embedding_bag: If per_sample_weights ({list(per_sample_weights.shape)}) is not None, then it must "
                f"have the same shape as the input ({list(input.shape)})"
            )
    if max_norm is not None:
        _renormalized(input, weight, max_norm, norm_type)
    flat, bag, bags = _bags(input, offsets, include_last_offset)
    rows = _rows(flat, weight, at, scale_grad_by_freq)
    counted = FUNCTIONS["ones"](flat.numel(), dtype=weight.dtype) if at is None else (flat != at).to(weight.dtype)
    if mode == "max":
        return _largest(rows, bag, bags, counted)
    share = counted if per_sample_weights is None else counted * per_sample_weights.reshape(-1)
    empty = FUNCTIONS["zeros"](bags, weight.shape[1], dtype=weight.dtype)
    total = empty.index_add(0, bag, rows * share.unsqueeze(1))
    if mode == "sum":
        return total
    count = FUNCTIONS["zeros"](bags, dtype=weight.dtype).index_add(0, bag, counted)
    return total / count.clamp(min=1).unsqueeze(1)


def _bags(input: Tensor, offsets: Tensor | None, include_last: bool) -> tuple[Tensor, Tensor, int]:
    """Numbers of rows in order, the bag of each, and how many bags there are."""
    arange: Any = FUNCTIONS["arange"]
    if input.ndim == 2:
        if offsets is not None:
            raise ValueError(
                "if input is 2D, then offsets has to be None, as input is treated is a mini-batch of fixed length "
                f"sequences. However, found offsets of type {type(offsets)}"
            )
        return input.reshape(-1), arange(input.numel()) // max(input.shape[1], 1), input.shape[0]
    if input.ndim != 1:
        raise ShapeError(f"input has to be 1D or 2D Tensor, but got Tensor of dimension {input.ndim}")
    if offsets is None:
        raise ValueError("offsets has to be a 1D Tensor but got None")
    starts = as_tensor(offsets)
    if starts.ndim != 1:
        raise ShapeError("offsets has to be a 1D Tensor")
    if include_last:
        starts = starts[:-1]
    bag = (arange(input.numel()).unsqueeze(1) >= starts).sum(1) - 1
    return input, bag, starts.shape[0]


def _largest(rows: Tensor, bag: Tensor, bags: int, counted: Tensor) -> Tensor:
    inside = (bag == FUNCTIONS["arange"](bags).unsqueeze(1)) & (counted > 0)  # (B, N)
    wide = where(inside.unsqueeze(2), rows.detach().unsqueeze(0), float("-inf"))
    at = wide.argmax(1)  # (B, D)
    found = rows.gather(0, at)
    return where(inside.any(1).unsqueeze(1), found, 0.0)
