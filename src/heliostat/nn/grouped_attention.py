"""Attention whose heads share keys and values."""

from __future__ import annotations

from typing import Any

from ..tensor import Tensor
from . import functional as F
from .linear import Linear
from .module import Module


class GroupedQueryAttention(Module):
    """Attention of `num_heads` heads of which each num_heads / num_kv_heads share a head of keys and values. query:
    (B, L, embed_dim), key and value: (B, S, embed_dim), by default the query; (B, L, embed_dim).
    Source: arXiv 2305.13245."""

    def __init__(
        self, embed_dim: int, num_heads: int, num_kv_heads: int, dropout: float = 0.0, bias: bool = True,
        device: Any = None, dtype: Any = None,
    ) -> None:  # fmt: skip
        super().__init__()
        if num_heads < 1 or num_kv_heads < 1 or embed_dim % num_heads or num_heads % num_kv_heads:
            raise ValueError(
                f"embed_dim {embed_dim} must be divisible by num_heads {num_heads}, and that by num_kv_heads "
                f"{num_kv_heads}"
            )
        self.embed_dim, self.num_heads, self.num_kv_heads, self.dropout = embed_dim, num_heads, num_kv_heads, dropout
        self.head_dim = embed_dim // num_heads
        narrow = num_kv_heads * self.head_dim
        kept = {"device": device, "dtype": dtype}
        self.q_proj = Linear(embed_dim, embed_dim, bias, **kept)
        self.k_proj = Linear(embed_dim, narrow, bias, **kept)
        self.v_proj = Linear(embed_dim, narrow, bias, **kept)
        self.out_proj = Linear(embed_dim, embed_dim, bias, **kept)

    def forward(
        self, query: Tensor, key: Tensor | None = None, value: Tensor | None = None, attn_mask: Tensor | None = None,
        is_causal: bool = False,
    ) -> Tensor:  # fmt: skip
        """attn_mask: broadcast to (B, num_heads, L, S), bool (True takes part) or added."""
        key = query if key is None else key
        value = key if value is None else value
        q, k, v = self.q_proj(query), self.k_proj(key), self.v_proj(value)
        q, k, v = (t.unflatten(-1, (-1, self.head_dim)).transpose(-3, -2) for t in (q, k, v))
        y = F.scaled_dot_product_attention(
            q, k, v, attn_mask, self.dropout if self.training else 0.0, is_causal, enable_gqa=True
        )
        return self.out_proj(y.transpose(-3, -2).flatten(-2))

    def extra_repr(self) -> str:
        return f"embed_dim={self.embed_dim}, num_heads={self.num_heads}, num_kv_heads={self.num_kv_heads}"


class MultiQueryAttention(GroupedQueryAttention):
    """`GroupedQueryAttention` with one head of keys and values. Source: arXiv 1911.02150."""

    def __init__(
        self, embed_dim: int, num_heads: int, dropout: float = 0.0, bias: bool = True, device: Any = None,
        dtype: Any = None,
    ) -> None:  # fmt: skip
        super().__init__(embed_dim, num_heads, 1, dropout, bias, device, dtype)
