"""The `config.json` of a Hugging Face model in GGUF's terms: metadata keys, and the tensors of rope factors."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from ..diagnostics import FileFormatError, UnsupportedError
from .config import ARCHITECTURES
from .gguf import Metadata

Floats = npt.NDArray[np.float32]


def metadata_of(config: Metadata) -> tuple[Metadata, dict[str, Floats]]:
    """GGUF metadata of a config, and the rope tensors that a converter would have written, by their GGUF names.

    Raises UnsupportedError for what this version does not run, FileFormatError for missing and wrong values.
    """
    kind = config.string("model_type")
    if kind not in ARCHITECTURES:
        raise UnsupportedError(
            f"{config.path}: model_type {kind!r} is not supported", help=f"supported: {', '.join(ARCHITECTURES)}"
        )
    if config.get("quantization_config") is not None:
        raise UnsupportedError(f"{config.path}: quantized checkpoints are not supported", help="convert it to GGUF")
    if config.string("hidden_act", "silu") != "silu":
        raise UnsupportedError(f"{config.path}: hidden_act {config['hidden_act']!r} is not supported, only silu")
    heads, hidden = config.integer("num_attention_heads", low=1), config.integer("hidden_size", low=1)
    size = config.integer("head_dim", hidden // heads, low=1)
    context = config.integer("max_position_embeddings", low=1)
    values: dict[str, Any] = {
        "block_count": config.integer("num_hidden_layers"),
        "context_length": context,
        "embedding_length": hidden,
        "feed_forward_length": config.integer("intermediate_size"),
        "attention.head_count": heads,
        "attention.head_count_kv": config.integer("num_key_value_heads", heads),
        "attention.key_length": size,
        "attention.value_length": size,
        "attention.layer_norm_rms_epsilon": config.number("rms_norm_eps", 1e-6),
        "rope.dimension_count": size,
        "rope.interleaved": False,  # the order of rows that llama.cpp's converter changes
    }
    if config.boolean("use_sliding_window", False):
        window = config.integer("sliding_window", context, low=1)
        if window < context:
            raise UnsupportedError(f"{config.path}: a sliding window of {window} tokens is not supported")
    rope, tensors = _rope(config, size, context)
    made = {f"{kind}.{key}": value for key, value in {**values, **rope}.items()}
    return Metadata(config.path, {"general.architecture": kind, **made}), tensors


def _rope(config: Metadata, size: int, context: int) -> tuple[dict[str, Any], dict[str, Floats]]:
    """Keys and tensors of the rotary positions. Newer files hold all of it in `rope_parameters`."""
    found = config.get("rope_parameters") or config.get("rope_scaling") or {}
    if not isinstance(found, Mapping):
        raise FileFormatError(f"{config.path}: rope_scaling must be an object, found {found!r}")
    if config.number("partial_rotary_factor", 1.0) != 1.0 or found.get("partial_rotary_factor", 1.0) != 1.0:
        raise UnsupportedError(f"{config.path}: heads that rotate in part are not supported")
    scaling = Metadata(f"{config.path}: rope_scaling", found)
    base = scaling.number("rope_theta", config.number("rope_theta", 10000.0))
    kind = scaling.string("rope_type", scaling.string("type", "default"))
    original = scaling.integer(
        "original_max_position_embeddings", config.integer("original_max_position_embeddings", context, low=1), low=1
    )
    keys: dict[str, Any] = {"rope.freq_base": base, "rope.scaling.original_context_length": original}
    if kind == "default":
        return keys, {}
    if kind == "linear":
        return keys | {"rope.scaling.type": "linear", "rope.scaling.factor": scaling.number("factor")}, {}
    if kind == "llama3":
        return keys, {"rope_freqs.weight": _llama3_divisors(scaling, base, size, original)}
    if kind == "yarn":
        factor = scaling.number("factor")
        usual = 1.0 + 0.1 * math.log(max(factor, 1e-9))  # what the reader of GGUF files multiplies with by itself
        return keys | {
            "rope.scaling.type": "yarn",
            "rope.scaling.factor": factor,
            "rope.scaling.attn_factor": scaling.number("attention_factor", usual) / usual,
            "rope.scaling.yarn_beta_fast": scaling.number("beta_fast", 32.0),
            "rope.scaling.yarn_beta_slow": scaling.number("beta_slow", 1.0),
        }, {}
    if kind == "longrope":
        factor = scaling.number("factor", context / original)
        magnitude = math.sqrt(1 + math.log(factor) / math.log(original)) if factor > 1 and original > 1 else 1.0
        tensors = {
            f"rope_factors_{name}.weight": _numbers(scaling, f"{name}_factor", size // 2) for name in ("long", "short")
        }
        magnitude = scaling.number("attention_factor", magnitude)
        return keys | {"rope.scaling.type": "longrope", "rope.scaling.attn_factor": magnitude}, tensors
    raise UnsupportedError(
        f"{config.path}: rope scaling {kind!r} is not supported",
        help="supported: default, linear, llama3, yarn, longrope",
    )


def _llama3_divisors(scaling: Metadata, base: float, size: int, original: int) -> Floats:
    """Long waves are stretched by `factor`, short ones stay, those in between are blended. Source: Llama 3.1's code."""
    factor, low, high = (scaling.number(key) for key in ("factor", "low_freq_factor", "high_freq_factor"))
    if factor <= 0 or base <= 0 or not 0 < low < high:
        raise FileFormatError(f"{scaling.path}: factor, low_freq_factor and high_freq_factor do not fit together")
    waves = 2 * math.pi * base ** (np.arange(0, size, 2, dtype=np.float64) / size)
    smooth = np.clip((original / waves - low) / (high - low), 0.0, 1.0)
    return (1.0 / ((1.0 - smooth) / factor + smooth)).astype(np.float32)


def _numbers(scaling: Metadata, key: str, count: int) -> Floats:
    values = scaling.get(key)
    if (
        not isinstance(values, Sequence)
        or len(values) != count
        or not all(type(v) in (int, float) and math.isfinite(v) for v in values)
    ):
        raise FileFormatError(f"{scaling.path}: {key} must be an array of {count} numbers")
    return np.array(values, np.float32)
