"""What a decoder of the Llama family is, as numbers: read from GGUF metadata, checked, and handed to `decoder.py`."""

from __future__ import annotations

import math
from array import array
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ..diagnostics import FileFormatError, UnsupportedError
from .gguf import Metadata

MOST_LOGITS = 512  # tokens whose logits a run gives
SCALINGS = ("none", "linear", "yarn", "longrope")


@dataclass(frozen=True)
class Architecture:
    """How a family differs from pre-norm, grouped heads, SwiGLU, no bias, half-split rotary positions."""

    interleaved_rope: bool = False
    qk_norm: bool = False


ARCHITECTURES = {
    "llama": Architecture(interleaved_rope=True),
    "qwen2": Architecture(),
    "qwen3": Architecture(qk_norm=True),
}


@dataclass(frozen=True)
class RopeConfig:
    """Rotary positions. `dim`: how many of a head's elements rotate. `scaling` as GGUF names it.

    `factor` stretches the context from `original_context`; `beta_fast`, `beta_slow`, `attention_factor` are YaRN's.
    """

    dim: int
    base: float
    interleaved: bool
    scaling: str = "none"
    factor: float = 1.0
    original_context: int = 0
    attention_factor: float = 1.0
    beta_fast: float = 32.0
    beta_slow: float = 1.0


@dataclass(frozen=True)
class DecoderConfig:
    """Shapes and constants of a decoder. `head_dim` of keys and values are equal; widths are heads * head_dim."""

    architecture: str
    hidden: int
    layers: int
    heads: int
    kv_heads: int
    head_dim: int
    feed_forward: int
    vocabulary: int
    context: int
    eps: float
    rope: RopeConfig
    qk_norm: bool
    sliding_window: int = 0

    @property
    def attention_scale(self) -> float:
        return 1.0 / math.sqrt(self.head_dim)


class _Keys:
    """The keys `ARCH.key` of a file's metadata."""

    def __init__(self, metadata: Metadata, architecture: str) -> None:
        self.path, self.metadata, self.architecture = metadata.path, metadata, architecture

    def integer(self, key: str, default: int | None = None, low: int = 1, high: int = 1 << 24) -> int:
        """An integer, or an array of equal ones, an item per layer."""
        name = f"{self.architecture}.{key}"
        if not isinstance(self.metadata.get(name), list | array):
            return self.metadata.integer(name, default, low, high)
        values = self.metadata.integers(name)
        if not values or any(v != values[0] for v in values):
            raise UnsupportedError(f"{self.path}: {name} differs between layers, which is not supported")
        return Metadata(self.path, {name: values[0]}).integer(name, None, low, high)

    def number(self, key: str, default: float) -> float:
        return self.metadata.number(f"{self.architecture}.{key}", default)

    def string(self, key: str, default: str) -> str:
        return self.metadata.string(f"{self.architecture}.{key}", default)

    def boolean(self, key: str, default: bool) -> bool:
        return self.metadata.boolean(f"{self.architecture}.{key}", default)


def read_config(metadata: Metadata, vocabulary: int) -> DecoderConfig:
    """The config that a file's metadata describes. `vocabulary`: rows of the embedding table.

    Raises UnsupportedError for an architecture this version does not know, FileFormatError for values that cannot be.
    """
    path, architecture = metadata.path, metadata.string("general.architecture")
    if vocabulary < 1:
        raise FileFormatError(f"{path}: the embedding table has no rows")
    family = ARCHITECTURES.get(architecture)
    if family is None:
        raise UnsupportedError(
            f"{path}: architecture {architecture!r} is not supported", help=f"supported: {', '.join(ARCHITECTURES)}"
        )
    keys = _Keys(metadata, architecture)
    if keys.integer("expert_count", 0, low=0) > 0:
        raise UnsupportedError(f"{path}: mixtures of experts are not supported yet")
    hidden = keys.integer("embedding_length")
    heads = keys.integer("attention.head_count")
    kv_heads = keys.integer("attention.head_count_kv", heads)
    if heads % kv_heads:
        raise FileFormatError(f"{path}: {heads} heads do not divide into {kv_heads} key/value heads")
    head_dim = keys.integer("attention.key_length", hidden // heads)
    if keys.integer("attention.value_length", head_dim) != head_dim:
        raise UnsupportedError(f"{path}: keys and values of different sizes are not supported")
    rope = _read_rope(keys, head_dim, family.interleaved_rope)
    return DecoderConfig(
        architecture=architecture,
        hidden=hidden,
        layers=keys.integer("block_count", high=4096),
        heads=heads,
        kv_heads=kv_heads,
        head_dim=head_dim,
        feed_forward=keys.integer("feed_forward_length"),
        vocabulary=vocabulary,
        context=keys.integer("context_length"),
        eps=keys.number("attention.layer_norm_rms_epsilon", 1e-5),
        rope=rope,
        qk_norm=family.qk_norm,
        sliding_window=keys.integer("attention.sliding_window", 0, low=0),
    )


def _read_rope(keys: _Keys, head_dim: int, interleaved: bool) -> RopeConfig:
    dim = keys.integer("rope.dimension_count", head_dim)
    if dim % 2 or dim > head_dim:
        raise FileFormatError(f"{keys.path}: {dim} rotated elements do not fit heads of {head_dim}")
    factor = keys.number("rope.scaling.factor", keys.number("rope.scale_linear", 1.0))
    scaling = keys.string("rope.scaling.type", "linear" if factor != 1.0 else "none")
    if scaling not in SCALINGS:
        raise UnsupportedError(
            f"{keys.path}: rope scaling {scaling!r} is not supported", help=f"supported: {', '.join(SCALINGS)}"
        )
    if factor <= 0:
        raise FileFormatError(f"{keys.path}: rope.scaling.factor must be positive, found {factor}")
    base = keys.number("rope.freq_base", 10000.0)
    if base <= 0:
        raise FileFormatError(f"{keys.path}: rope.freq_base must be positive, found {base}")
    return RopeConfig(
        dim=dim,
        base=base,
        interleaved=keys.boolean("rope.interleaved", interleaved),  # no key of GGUF: checkpoints have it
        scaling=scaling,
        factor=factor,
        original_context=keys.integer("rope.scaling.original_context_length", keys.integer("context_length"), low=0),
        attention_factor=keys.number("rope.scaling.attn_factor", 1.0),
        beta_fast=keys.number("rope.scaling.yarn_beta_fast", 32.0),
        beta_slow=keys.number("rope.scaling.yarn_beta_slow", 1.0),
    )


def rope_frequencies(
    rope: RopeConfig, divisors: npt.NDArray[np.float32] | None = None
) -> tuple[npt.NDArray[np.float32], float]:
    """Inverse frequencies (dim / 2,) in radians per position, and the factor on sine and cosine.

    `divisors`: the file's `rope_freqs` (Llama 3) or longrope factor tensor. YaRN: arXiv 2309.00071, section 3.
    """
    i = np.arange(0, rope.dim, 2, dtype=np.float64)
    frequencies = rope.base ** (-i / rope.dim)
    if divisors is not None:
        frequencies = frequencies / divisors.astype(np.float64)
    magnitude = 1.0
    if rope.scaling == "linear":
        frequencies = frequencies / rope.factor
    elif rope.scaling == "yarn":

        def correction(rotations: float) -> float:
            return rope.dim * math.log(rope.original_context / (rotations * 2 * math.pi)) / (2 * math.log(rope.base))

        low = max(0.0, math.floor(correction(rope.beta_fast)))
        high = min(rope.dim - 1.0, math.ceil(correction(rope.beta_slow)))
        ramp = np.clip((i / 2 - low) / max(0.001, high - low), 0.0, 1.0)
        frequencies = frequencies / rope.factor * ramp + frequencies * (1 - ramp)
        magnitude = rope.attention_factor * (1.0 + 0.1 * math.log(rope.factor))
    elif rope.scaling == "longrope":
        magnitude = rope.attention_factor
    return frequencies.astype(np.float32), magnitude
