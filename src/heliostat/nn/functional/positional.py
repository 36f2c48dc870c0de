"""Positions as vectors: sines of many wavelengths, and rotations of pairs of features."""

from __future__ import annotations

from typing import Any

import numpy as np

from ...diagnostics import ShapeError
from ...tensor import FUNCTIONS, Tensor
from ...tensor.conversion import from_array
from ...tensor.devices import default_name
from ...tensor.dtypes import get_default_dtype

Array = np.ndarray[Any, np.dtype[Any]]


def _waves(count: int, size: int, base: float) -> Array:
    """Sines and cosines in turn, (count, size)."""
    angles = np.arange(count)[:, None] * base ** (-np.arange(0, size, 2) / size)
    return np.stack([np.sin(angles), np.cos(angles)], -1).reshape(count, size)


def sinusoidal_embedding(
    num_positions: int, embedding_dim: int, *, base: float = 10_000.0, device: Any = None
) -> Tensor:
    """(num_positions, embedding_dim): sines and cosines of p * base^(-2 i / D) in turn. Source: arXiv 1706.03762."""
    if embedding_dim % 2:
        raise ShapeError(f"sinusoidal_embedding requires an even embedding_dim, got {embedding_dim}")
    return from_array(_waves(num_positions, embedding_dim, base), get_default_dtype(), default_name(device))


def sinusoidal_embedding_2d(
    height: int, width: int, embedding_dim: int, *, base: float = 10_000.0, device: Any = None
) -> Tensor:
    """(height * width, embedding_dim), row by row: the column's sines, then the row's. Source: arXiv 2005.12872."""
    if embedding_dim % 4:
        raise ShapeError(f"sinusoidal_embedding_2d requires embedding_dim divisible by 4, got {embedding_dim}")
    half = embedding_dim // 2
    columns = np.broadcast_to(_waves(width, half, base), (height, width, half))
    rows = np.broadcast_to(_waves(height, half, base)[:, None], (height, width, half))
    made = np.concatenate([columns, rows], -1).reshape(-1, embedding_dim)
    return from_array(made, get_default_dtype(), default_name(device))


def _turned(x: Tensor) -> Tensor:
    a, b = x.chunk(2, -1)
    made: Tensor = FUNCTIONS["cat"]([-b, a], -1)
    return made


def apply_rotary_emb(
    q: Tensor, k: Tensor, cos: Tensor, sin: Tensor, position_ids: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """Queries and keys with the pairs (i, i + D / 2) rotated by their position. q, k: (..., S, D); cos, sin: (P, D);
    position_ids: (S,) integers, 0 .. S - 1 where not given. Source: arXiv 2104.09864."""

    def rows(table: Tensor, x: Tensor) -> Tensor:
        return table[: x.shape[-2]] if position_ids is None else table[position_ids]

    return q * rows(cos, q) + _turned(q) * rows(sin, q), k * rows(cos, k) + _turned(k) * rows(sin, k)
