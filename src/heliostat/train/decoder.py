"""The decoder as modules with gradients. Parameters have GGUF's names, sizes are a `DecoderConfig`, rotations the same
op as in `llm.decoder`: what is trained here is what `heliostat run` computes.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

import numpy as np

from .. import nn, ops
from ..llm.config import DecoderConfig, rope_frequencies
from ..nn import functional as F
from ..tensor import Tensor
from ..tensor.conversion import from_array
from ..tensor.core import wrap


class Parts(Protocol):
    """What a decoder is made of: modules for parameters by their GGUF names, those of blocks with `blk.N.`."""

    def linear(self, name: str, inputs: int, outputs: int) -> nn.Module: ...

    def norm(self, name: str, size: int) -> nn.Module: ...

    def embedding(self, name: str, rows: int, size: int) -> nn.Module: ...

    def head(self, name: str, inputs: int, outputs: int) -> nn.Module | None:
        """The output matrix; None where it is the embedding table, whose module then has `project`."""


class Embedding(nn.Embedding):
    """A table that can also score: `project(x)` are the products of x with its rows."""

    def project(self, x: Tensor) -> Tensor:
        return F.linear(x, self.weight)


class Positions:
    """Cosine and sine of every position and frequency, (context, R / 2) f32."""

    def __init__(self, config: DecoderConfig, context: int, divisors: Any = None) -> None:
        frequencies, magnitude = rope_frequencies(config.rope, divisors)
        angles = (np.arange(context, dtype=np.float32)[:, None] * frequencies[None, :]).astype(np.float64)
        self.cos = from_array((np.cos(angles) * magnitude).astype(np.float32))
        self.sin = from_array((np.sin(angles) * magnitude).astype(np.float32))
        self.interleaved = config.rope.interleaved

    def rotate(self, x: Tensor) -> Tensor:
        """x: (B, T, H, D); token t of each sequence stands at position t."""
        b, t, heads, size = x.shape
        cos, sin = (table[:t].repeat(b, 1) for table in (self.cos, self.sin))
        flat = x.reshape(b * t, heads, size)
        turned = wrap(ops.rope(flat.value, cos.value, sin.value, interleaved=self.interleaved), flat)
        return turned.reshape(b, t, heads, size)


class Block(nn.Module):
    """Grouped-query attention and SwiGLU, each behind a norm and added to the stream. x: (B, T, hidden)."""

    def __init__(self, config: DecoderConfig, prefix: str, parts: Parts, dropout: float) -> None:
        super().__init__()
        c = self.config = config
        q, kv = c.heads * c.head_dim, c.kv_heads * c.head_dim
        self.attn_norm = parts.norm(prefix + "attn_norm", c.hidden)
        self.attn_q = parts.linear(prefix + "attn_q", c.hidden, q)
        self.attn_k = parts.linear(prefix + "attn_k", c.hidden, kv)
        self.attn_v = parts.linear(prefix + "attn_v", c.hidden, kv)
        self.attn_output = parts.linear(prefix + "attn_output", q, c.hidden)
        if c.qk_norm:
            self.attn_q_norm = parts.norm(prefix + "attn_q_norm", c.head_dim)
            self.attn_k_norm = parts.norm(prefix + "attn_k_norm", c.head_dim)
        self.ffn_norm = parts.norm(prefix + "ffn_norm", c.hidden)
        self.ffn_gate = parts.linear(prefix + "ffn_gate", c.hidden, c.feed_forward)
        self.ffn_up = parts.linear(prefix + "ffn_up", c.hidden, c.feed_forward)
        self.ffn_down = parts.linear(prefix + "ffn_down", c.feed_forward, c.hidden)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor, positions: Positions) -> Tensor:
        x = x + self.dropout(self.attend(self.attn_norm(x), positions))
        y = self.ffn_norm(x)
        return x + self.dropout(self.ffn_down(F.silu(self.ffn_gate(y)) * self.ffn_up(y)))

    def attend(self, x: Tensor, positions: Positions) -> Tensor:
        c = self.config
        b, t, _ = x.shape
        q = self.attn_q(x).reshape(b, t, c.heads, c.head_dim)
        k = self.attn_k(x).reshape(b, t, c.kv_heads, c.head_dim)
        v = self.attn_v(x).reshape(b, t, c.kv_heads, c.head_dim)
        if c.qk_norm:
            q, k = self.attn_q_norm(q), self.attn_k_norm(k)
        q, k, v = (y.transpose(1, 2) for y in (positions.rotate(q), positions.rotate(k), v))
        grouped = c.heads != c.kv_heads
        if 0 < c.sliding_window < t:
            at = np.arange(t)
            near = at[:, None] - at[None, :]
            mask = from_array((near >= 0) & (near < c.sliding_window))
            mixed = F.scaled_dot_product_attention(q, k, v, attn_mask=mask, enable_gqa=grouped)
        else:
            mixed = F.scaled_dot_product_attention(q, k, v, is_causal=True, enable_gqa=grouped)
        return self.attn_output(mixed.transpose(1, 2).reshape(b, t, c.heads * c.head_dim))


class Decoder(nn.Module):
    """Token ids (B, T) to logits (B, T, V) f32, T at most the context that positions are made for."""

    def __init__(
        self, config: DecoderConfig, parts: Parts, context: int, dropout: float = 0.0, divisors: Any = None
    ) -> None:
        super().__init__()
        self.config = config
        self.token_embd = parts.embedding("token_embd", config.vocabulary, config.hidden)
        self.blk = nn.ModuleList([Block(config, f"blk.{i}.", parts, dropout) for i in range(config.layers)])
        self.output_norm = parts.norm("output_norm", config.hidden)
        self.output = parts.head("output", config.hidden, config.vocabulary)
        self.dropout = nn.Dropout(dropout)
        self.positions = Positions(config, context, divisors)

    def forward(self, ids: Tensor) -> Tensor:
        x = self.dropout(self.token_embd(ids))
        for block in self.blk:
            x = block(x, self.positions)
        x = self.output_norm(x)
        return self.token_embd.project(x) if self.output is None else self.output(x)


class Trainable:
    """Parts whose parameters are all trained. First values: normal of 0.02, and 0.02 / sqrt(2 layers) where a block
    writes to the stream (GPT-2's rule), so that its size does not grow with depth."""

    def __init__(self, config: DecoderConfig, tied: bool) -> None:
        self.config, self.tied = config, tied
        self.biased = config.architecture == "qwen2"

    def linear(self, name: str, inputs: int, outputs: int) -> nn.Module:
        short = name.rpartition(".")[2]
        bias = self.biased and short in ("attn_q", "attn_k", "attn_v")
        made = nn.Linear(inputs, outputs, bias=bias)
        inner = short in ("attn_output", "ffn_down")
        nn.init.normal_(made.weight, 0.0, 0.02 / (2 * self.config.layers) ** 0.5 if inner else 0.02)
        if bias:
            nn.init.zeros_(made.bias)
        return made

    def norm(self, name: str, size: int) -> nn.Module:
        return nn.RMSNorm(size, self.config.eps)

    def embedding(self, name: str, rows: int, size: int) -> nn.Module:
        made = Embedding(rows, size)
        nn.init.normal_(made.weight, 0.0, 0.02)
        return made

    def head(self, name: str, inputs: int, outputs: int) -> nn.Module | None:
        return None if self.tied else self.linear(name, inputs, outputs)


def loss_of(model: Callable[[Tensor], Tensor], ids: Tensor, labels: Tensor) -> Tensor:
    """Mean cross entropy, in nats, of the places whose label is not IGNORED. ids, labels: (B, T)."""
    logits = model(ids)
    return F.cross_entropy(logits.reshape(-1, logits.shape[-1]), labels.reshape(-1))
