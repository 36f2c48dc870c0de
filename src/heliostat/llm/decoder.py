"""The decoder: one parameterised module for Llama, Qwen2, Qwen3 and their relatives.

Differences are data in the config.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from .. import ops
from ..ir.graph import Graph, Value
from ..ir.types import Dim, Layout, Symbol, TensorType, dim, element, f32, i32, tensor
from ..quant.format import BlockFormat
from . import modules
from .config import MOST_LOGITS, DecoderConfig

WeightType = Callable[[str], TensorType | None]


@dataclass(frozen=True)
class CacheConfig:
    """The key/value cache: `capacity` tokens of a sequence, of `dtype`, which may be a block format. `key_layout` is
    what the target's attention kernel reads. With `pages` it is in so many pages of `page_size` tokens, which all
    sequences share."""

    capacity: int
    dtype: str = "f16"
    key_layout: Layout | None = None
    pages: int = 0
    page_size: int = 0

    @property
    def table_width(self) -> int:
        """Pages that a sequence has room for."""
        return -(-self.capacity // self.page_size)


class Attention(modules.Module):
    """Grouped-query attention with rotary positions over a cache.

    x: (N, hidden), whose keys and values the caches take; asked: (R, hidden), the rows of x that ask, at the
    positions `at`. Returns (R, hidden) and the new caches.
    """

    def __init__(self, config: DecoderConfig, prefix: str, weight: WeightType) -> None:
        super().__init__()
        self.config = config
        self.q = _linear(prefix + "attn_q", weight)
        self.k = _linear(prefix + "attn_k", weight)
        self.v = _linear(prefix + "attn_v", weight)
        self.output = _linear(prefix + "attn_output", weight)
        if config.qk_norm:
            self.q_norm = _norm(prefix + "attn_q_norm", weight, config.eps)
            self.k_norm = _norm(prefix + "attn_k_norm", weight, config.eps)

    def forward(
        self, x: Value, positions: Positions, keys: Value, values: Value, asked: Value, at: Positions
    ) -> tuple[Value, Value, Value]:
        c, n, rows = self.config, x.type.shape[0], asked.type.shape[0]
        q = ops.reshape(self.q(asked), shape=(rows, c.heads, c.head_dim))
        k = ops.reshape(self.k(x), shape=(n, c.kv_heads, c.head_dim))
        v = ops.reshape(self.v(x), shape=(n, c.kv_heads, c.head_dim))
        if c.qk_norm:
            q, k = self.q_norm(q), self.k_norm(k)
        q = ops.rope(q, at.cos, at.sin, interleaved=c.rope.interleaved)
        k = ops.rope(k, positions.cos, positions.sin, interleaved=c.rope.interleaved)
        start, table = positions.start, positions.table
        if isinstance(keys.type.element, BlockFormat):
            k, v = ops.quantize(k, keys.type.element), ops.quantize(v, values.type.element)
        keys = ops.cache_update(keys, k, start, table)
        values = ops.cache_update(values, v, start, table)
        mixed = ops.attention(q, keys, values, at.start, c.attention_scale, True, c.sliding_window, table)
        return self.output(ops.reshape(mixed, shape=(rows, c.heads * c.head_dim))), keys, values


class FeedForward(modules.Module):
    """SwiGLU: down(silu(gate(x)) * up(x))."""

    def __init__(self, prefix: str, weight: WeightType) -> None:
        super().__init__()
        self.gate = _linear(prefix + "ffn_gate", weight)
        self.up = _linear(prefix + "ffn_up", weight)
        self.down = _linear(prefix + "ffn_down", weight)

    def forward(self, x: Value) -> Value:
        down: Value = self.down(ops.mul(ops.silu(self.gate(x)), self.up(x)))
        return down


class Block(modules.Module):
    """Attention and feed-forward, each behind a norm and added to the stream. With `last`, only rows of these
    positions, the stream's last ones, are returned; keys and values of all are stored."""

    def __init__(self, config: DecoderConfig, prefix: str, weight: WeightType) -> None:
        super().__init__()
        self.attention_norm = _norm(prefix + "attn_norm", weight, config.eps)
        self.attention = Attention(config, prefix, weight)
        self.feed_forward_norm = _norm(prefix + "ffn_norm", weight, config.eps)
        self.feed_forward = FeedForward(prefix, weight)

    def forward(
        self, x: Value, positions: Positions, keys: Value, values: Value, last: Positions | None = None
    ) -> tuple[Value, Value, Value]:
        normed = asked = self.attention_norm(x)
        if last is not None:
            x = last_rows(x, last.rows)
            asked = self.attention_norm(x)  # a few rows again, rather than all of them kept for a copy of a few
        mixed, keys, values = self.attention(normed, positions, keys, values, asked, last or positions)
        x = ops.add(x, mixed)
        return ops.add(x, self.feed_forward(self.feed_forward_norm(x))), keys, values


@dataclass(frozen=True)
class Positions:
    """Where a block of tokens stands: tables of cosine and sine (N, dim / 2), how many tokens the cache holds, and in
    which pages."""

    cos: Value
    sin: Value
    start: Value
    table: Value | None

    @property
    def rows(self) -> Dim:
        """How many tokens there are."""
        return self.cos.type.shape[0]


def last_rows(x: Value, rows: Dim) -> Value:
    """The last `rows` rows of x, (N, ...)."""
    n = x.type.shape[0]
    return ops.slice(x, axis=0, start=n - rows, stop=n)


class Decoder(modules.Module):
    """Tokens to logits. Parameters carry GGUF's tensor names; `weight(name)` gives a tensor's type, None if absent."""

    def __init__(self, config: DecoderConfig, weight: WeightType) -> None:
        super().__init__()
        self.config = config
        self.embedding = modules.Embedding(_parameter("token_embd.weight", weight))
        self.blocks = modules.ModuleList([Block(config, f"blk.{i}.", weight) for i in range(config.layers)])
        self.output_norm = _norm("output_norm", weight, config.eps)
        tied = weight("output.weight") is None
        self.output = modules.Linear(self.embedding.weight if tied else _parameter("output.weight", weight))

    def forward(
        self,
        tokens: Value,
        positions: Value,
        start: Value,
        frequencies: Value,
        caches: Sequence[tuple[Value, Value]],
        rows: Dim,
        magnitude: float,
        table: Value | None = None,
    ) -> tuple[Value, list[tuple[Value, Value]]]:
        """tokens, positions: (N,) i32; `table`: the pages of caches in pages. Returns logits (rows, V) f32 of the last
        `rows` tokens, and the new caches. If rows is not N, positions must be start, start + 1, ..."""

        def standing(positions: Value, start: Value) -> Positions:
            cos, sin = ops.rope_table(positions, frequencies, scale=magnitude)
            return Positions(cos, sin, start, table)

        every = standing(positions, start)
        last: Positions | None = None
        if rows != tokens.type.shape[0]:  # nobody reads other rows behind the last block's keys and values
            asked = last_rows(positions, rows)
            last = standing(asked, ops.reshape(ops.slice(asked, axis=0, start=0, stop=1), shape=()))
        x = self.embedding(tokens)
        renewed: list[tuple[Value, Value]] = []
        for number, (block, (keys, values)) in enumerate(zip(self.blocks, caches, strict=True), 1):
            x, keys, values = block(x, every, keys, values, last if number == len(self.blocks) else None)
            renewed.append((keys, values))
        return self.output(self.output_norm(x)), renewed


def step_graph(
    decoder: Decoder,
    cache: CacheConfig,
    tokens: int,
    *,
    name: str,
    magnitude: float = 1.0,
    all_rows: bool = False,
    sequences: int | None = None,
) -> Graph:
    """The graph of one step: exactly one token, or up to `tokens` of them with the count a symbol.

    Inputs: tokens (N,) i32, positions (N,) i32, start () i32, frequencies (dim / 2,) f32. States: keys.I and values.I.
    Output: logits of the last token, or of the last `rows` tokens (a symbol, at most MOST_LOGITS) if `all_rows`.

    With `sequences` S: one token of each, start (S,) i32, caches of all in turn, logits (S, V); `tokens` is 1 then.
    Where the cache is in pages, there is an input table (M,) i32, or (S, M), as `ops.pages` says.
    """
    config = decoder.config
    n: Dim = 1 if tokens == 1 else dim(Symbol("n", tokens, 1))
    rows: Dim = 1 if not all_rows else (dim(Symbol("rows", min(tokens, MOST_LOGITS), 1)) if tokens > 1 else 1)
    if sequences is not None:
        n = rows = sequences
    held = element(cache.dtype)
    shape: tuple[int, ...] = (config.kv_heads * (sequences or 1), cache.capacity, config.head_dim)
    if cache.pages:
        shape = (cache.pages, config.kv_heads, cache.page_size, config.head_dim)
    states: dict[str, TensorType] = {}
    for i in range(config.layers):
        states[f"keys.{i}"] = TensorType(held, shape, cache.key_layout)
        states[f"values.{i}"] = TensorType(held, shape)
    inputs = {
        "tokens": tensor(i32, n),
        "positions": tensor(i32, n),
        "start": tensor(i32) if sequences is None else tensor(i32, sequences),
        "frequencies": tensor(f32, config.rope.dim // 2),
    }
    if cache.pages:
        inputs["table"] = tensor(i32, *([] if sequences is None else [sequences]), cache.table_width)

    def run(
        tokens: Value, positions: Value, start: Value, frequencies: Value, table: Value | None = None, **held: Value
    ) -> tuple[list[Value], list[tuple[Value, Value]]]:
        caches = [(held[f"keys.{i}"], held[f"values.{i}"]) for i in range(config.layers)]
        logits, renewed = decoder(tokens, positions, start, frequencies, caches, rows, magnitude, table)
        updates = [pair for old, new in zip(caches, renewed, strict=True) for pair in zip(old, new, strict=True)]
        return [logits], updates

    return modules.capture(name, run, inputs, states)


def _parameter(name: str, weight: WeightType) -> modules.Parameter:
    type = weight(name)
    assert type is not None, name
    return modules.Parameter(type, name)


def _linear(name: str, weight: WeightType) -> modules.Linear:
    bias = weight(name + ".bias")
    return modules.Linear(
        _parameter(name + ".weight", weight), None if bias is None else modules.Parameter(bias, name + ".bias")
    )


def _norm(name: str, weight: WeightType, eps: float) -> modules.RMSNorm:
    return modules.RMSNorm(_parameter(name + ".weight", weight), eps)
