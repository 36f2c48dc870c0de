"""A trained decoder as a GGUF file: metadata of its config and tokenizer, matrices in the type that is asked for."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import numpy.typing as npt

from ..llm.config import DecoderConfig
from ..llm.gguf import GGUFWriter, ValueType
from ..llm.gguf.types import TENSOR_IDS, TENSOR_KINDS
from ..quant.quantize import encode
from .tokenizer import Keys

Floats = npt.NDArray[np.float32]


def write_model(
    path: str | Path, config: DecoderConfig, tokenizer: Keys, tensors: Mapping[str, Floats], type_name: str, name: str
) -> None:
    """Write a model that `heliostat run` and llama.cpp load. tensors: by GGUF name; vectors stay F32."""
    writer = GGUFWriter(path, config.architecture)
    writer.add("general.name", name)
    writer.add("general.type", "model")
    for key, (value, kind) in metadata_of(config).items():
        writer.add(f"{config.architecture}.{key}", value, kind)
    for key, (value, kind) in tokenizer.items():
        writer.add(key, value, kind)
    for tensor, values in tensors.items():
        kind_name = type_name if values.ndim > 1 else "F32"
        kind_name = fitting(kind_name, values.shape[-1])
        writer.add_tensor(tensor, encode(values, kind_name), kind_name, values.shape)
    writer.write()


def fitting(type_name: str, row: int) -> str:
    """The type, or F16 where rows are no multiple of its block, as llama.cpp's quantizer does."""
    return type_name if row % TENSOR_KINDS[TENSOR_IDS[type_name]].block == 0 else "F16"


def metadata_of(c: DecoderConfig) -> Keys:
    """GGUF keys of a config, without the architecture in front."""
    integers = {
        "block_count": c.layers, "context_length": c.context, "embedding_length": c.hidden,
        "feed_forward_length": c.feed_forward, "attention.head_count": c.heads,
        "attention.head_count_kv": c.kv_heads, "attention.key_length": c.head_dim,
        "attention.value_length": c.head_dim, "rope.dimension_count": c.rope.dim, "vocab_size": c.vocabulary,
    }  # fmt: skip
    numbers = {"attention.layer_norm_rms_epsilon": c.eps, "rope.freq_base": c.rope.base}
    made: Keys = {key: (value, ValueType.UINT32) for key, value in integers.items()}
    return made | {key: (value, ValueType.FLOAT32) for key, value in numbers.items()}
