"""A plain NumPy forward of Llama, Qwen2 and Qwen3 in float64, written apart from the engine, and random model files
for it.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from heliostat.llm.gguf import GGUFWriter
from heliostat.quant import dequantize, quantize

HIDDEN, LAYERS, HEADS, KV, FEED, VOCABULARY = 256, 2, 8, 2, 512, 96


def write_model(
    path: Path,
    architecture: str,
    kind: str | Callable[[str], str],
    seed: int = 0,
    extra: dict[str, Any] | None = None,
    vectors: dict[str, np.ndarray] | None = None,
) -> dict[str, Any]:
    """A random model whose matrices are of type `kind`, or of what it gives for a matrix's name; returns its exact
    weights and metadata.

    `extra`: keys beside or instead of the usual ones. `vectors`: further F32 tensors.
    """
    rng = np.random.default_rng(seed)
    size = 64 if architecture == "qwen3" else 32
    writer = GGUFWriter(path, architecture)
    keys: dict[str, Any] = {
        "context_length": 256, "embedding_length": HIDDEN, "block_count": LAYERS, "feed_forward_length": FEED,
        "attention.head_count": HEADS, "attention.head_count_kv": KV, "attention.key_length": size,
        "attention.value_length": size, "rope.dimension_count": size, "rope.freq_base": 10000.0,
        "attention.layer_norm_rms_epsilon": 1e-5, **(extra or {}),
    }  # fmt: skip
    for key, value in keys.items():
        writer.add(f"{architecture}.{key}", value)
    weights: dict[str, Any] = {"architecture": architecture, "size": size, "keys": keys}

    def add(name: str, *shape: int, mean: float = 0.0) -> None:
        values = (rng.standard_normal(shape) * (0.1 if mean else shape[-1] ** -0.5) + mean).astype(np.float32)
        held = kind if isinstance(kind, str) else kind(name)
        if len(shape) == 1 or held == "F32":
            writer.add_tensor(name, values, "F32", shape)
            weights[name] = values.astype(np.float64)
            return
        raw = quantize(values, held)
        writer.add_tensor(name, raw, held, shape)
        weights[name] = np.asarray(dequantize(raw, held)).reshape(shape).astype(np.float64)

    for name, values in (vectors or {}).items():
        writer.add_tensor(name, values.astype(np.float32), "F32", values.shape)
    add("token_embd.weight", VOCABULARY, HIDDEN)
    for i in range(LAYERS):
        for name, rows, columns in (
            ("attn_q", HEADS * size, HIDDEN), ("attn_k", KV * size, HIDDEN), ("attn_v", KV * size, HIDDEN),
            ("attn_output", HIDDEN, HEADS * size), ("ffn_gate", FEED, HIDDEN), ("ffn_up", FEED, HIDDEN),
            ("ffn_down", HIDDEN, FEED),
        ):  # fmt: skip
            add(f"blk.{i}.{name}.weight", rows, columns)
            if architecture == "qwen2" and name in ("attn_q", "attn_k", "attn_v"):
                add(f"blk.{i}.{name}.bias", rows)
        add(f"blk.{i}.attn_norm.weight", HIDDEN, mean=1.0)
        add(f"blk.{i}.ffn_norm.weight", HIDDEN, mean=1.0)
        if architecture == "qwen3":
            add(f"blk.{i}.attn_q_norm.weight", size, mean=1.0)
            add(f"blk.{i}.attn_k_norm.weight", size, mean=1.0)
    add("output_norm.weight", HIDDEN, mean=1.0)
    if architecture == "llama":
        add("output.weight", VOCABULARY, HIDDEN)
        if "rope_freqs" in (extra or {}):
            raise ValueError("give rope_freqs as a tensor")
    writer.write()
    return weights


def norm(x: np.ndarray, weight: np.ndarray) -> np.ndarray:
    return x / np.sqrt((x * x).mean(-1, keepdims=True) + 1e-5) * weight


def forward(
    w: dict[str, Any], ids: list[int], frequencies: np.ndarray | None = None, magnitude: float = 1.0
) -> np.ndarray:
    """Logits (N, V) of every position."""
    size, n, group = w["size"], len(ids), HEADS // KV
    if frequencies is None:
        frequencies = 10000.0 ** -(np.arange(0, size, 2) / size)
    angle = np.arange(n)[:, None, None] * frequencies
    c, s = np.cos(angle) * magnitude, np.sin(angle) * magnitude

    def turn(x: np.ndarray) -> np.ndarray:
        y = np.empty_like(x)
        if w["architecture"] == "llama":
            a, b = x[..., 0::2], x[..., 1::2]
            y[..., 0::2], y[..., 1::2] = a * c - b * s, a * s + b * c
        else:
            a, b = x[..., : size // 2], x[..., size // 2 :]
            y[..., : size // 2], y[..., size // 2 :] = a * c - b * s, a * s + b * c
        return y

    x = w["token_embd.weight"][ids]
    for i in range(LAYERS):
        p = f"blk.{i}."

        def project(name: str, h: np.ndarray, p: str = p) -> np.ndarray:
            return np.asarray(h @ w[f"{p}{name}.weight"].T + w.get(f"{p}{name}.bias", 0.0))

        h = norm(x, w[p + "attn_norm.weight"])
        q = project("attn_q", h).reshape(n, HEADS, size)
        k = project("attn_k", h).reshape(n, KV, size)
        v = project("attn_v", h).reshape(n, KV, size)
        if w["architecture"] == "qwen3":
            q, k = norm(q, w[p + "attn_q_norm.weight"]), norm(k, w[p + "attn_k_norm.weight"])
        q, k = turn(q), turn(k)
        mixed = np.empty((n, HEADS, size))
        for j in range(HEADS):
            scores = q[:, j] @ k[:, j // group].T / np.sqrt(size)
            scores = np.where(np.tri(n, dtype=bool), scores, -np.inf)
            e = np.exp(scores - scores.max(-1, keepdims=True))
            mixed[:, j] = e / e.sum(-1, keepdims=True) @ v[:, j // group]
        x = x + project("attn_output", mixed.reshape(n, -1))
        h = norm(x, w[p + "ffn_norm.weight"])
        gate = project("ffn_gate", h)
        x = x + project("ffn_down", gate / (1 + np.exp(-gate)) * project("ffn_up", h))
    return np.asarray(norm(x, w["output_norm.weight"]) @ w.get("output.weight", w["token_embd.weight"]).T)
