"""Positions as vectors, made once: sines of many wavelengths, tables of rotations, and times of a diffusion."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..diagnostics import ShapeError
from ..ir.types import f32
from ..tensor import FUNCTIONS, Tensor
from ..tensor.conversion import from_array
from ..tensor.dtypes import get_default_dtype
from . import functional as F
from .activation import SiLU
from .linear import Linear
from .module import Module


class SinusoidalEmbedding(Module):
    """A table (num_positions, embedding_dim) of sines and cosines, which a call returns. Source: arXiv 1706.03762."""

    def __init__(self, num_positions: int, embedding_dim: int, *, base: float = 10_000.0) -> None:
        super().__init__()
        self.num_positions, self.embedding_dim, self.base = num_positions, embedding_dim, base
        self.register_buffer("pe", F.sinusoidal_embedding(num_positions, embedding_dim, base=base), persistent=False)

    def forward(self) -> Tensor:
        return self.pe


class SinusoidalEmbedding2D(Module):
    """A table (height * width, embedding_dim) of the sines of columns and rows. Source: arXiv 2005.12872."""

    def __init__(self, height: int, width: int, embedding_dim: int, *, base: float = 10_000.0) -> None:
        super().__init__()
        self.height, self.width, self.embedding_dim, self.base = height, width, embedding_dim, base
        table = F.sinusoidal_embedding_2d(height, width, embedding_dim, base=base)
        self.register_buffer("pe", table, persistent=False)

    def forward(self) -> Tensor:
        return self.pe


class RotaryEmbedding(Module):
    """Tables of cosines and sines, (max_position_embeddings, head_dim) each, for `functional.apply_rotary_emb`.
    Source: arXiv 2104.09864."""

    def __init__(self, head_dim: int, max_position_embeddings: int, base: float = 10_000.0) -> None:
        super().__init__()
        if head_dim % 2:
            raise ShapeError(f"RotaryEmbedding requires an even head_dim, got {head_dim}")
        self.head_dim, self.max_position_embeddings, self.base = head_dim, max_position_embeddings, base
        half = np.arange(max_position_embeddings)[:, None] * base ** (-np.arange(0, head_dim, 2) / head_dim)
        angles = np.concatenate([half, half], -1)
        self.register_buffer("cos_cached", from_array(np.cos(angles), get_default_dtype()), persistent=False)
        self.register_buffer("sin_cached", from_array(np.sin(angles), get_default_dtype()), persistent=False)

    def forward(self) -> tuple[Tensor, Tensor]:
        return self.cos_cached, self.sin_cached


class TimestepEmbedding(Module):
    """Sines of times through two linear layers. timesteps: any shape; (*shape, out_dim). Source: arXiv 2006.11239."""

    def __init__(self, in_dim: int, out_dim: int, *, base: float = 10_000.0) -> None:
        super().__init__()
        if in_dim % 2:
            raise ShapeError(f"TimestepEmbedding requires an even in_dim, got {in_dim}")
        self.in_dim, self.out_dim, self.base = in_dim, out_dim, base
        self.linear_1, self.act, self.linear_2 = Linear(in_dim, out_dim), SiLU(), Linear(out_dim, out_dim)

    def forward(self, timesteps: Tensor) -> Tensor:
        half = self.in_dim // 2
        waves = from_array(self.base ** (-np.arange(half) / max(half - 1, 1)), f32)
        angles = timesteps.to(f32).unsqueeze(-1) * waves
        x: Any = FUNCTIONS["cat"]([angles.cos(), angles.sin()], -1).to(self.linear_1.weight.dtype)
        made: Tensor = self.linear_2(self.act(self.linear_1(x)))
        return made
