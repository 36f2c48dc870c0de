"""Which tensors a decoder needs, checked against what a file has: names, shapes and element types."""

from __future__ import annotations

from typing import Protocol

import numpy as np
import numpy.typing as npt

from ..diagnostics import FileFormatError, UnsupportedError
from ..ir.types import Element, TensorType, bf16, f16, f32
from .config import DecoderConfig, read_config
from .gguf import Metadata, TensorInfo

_DENSE: dict[str, Element] = {"F32": f32, "F16": f16, "BF16": bf16}


class ModelFile(Protocol):
    """What a decoder reads: a GGUF file or a checkpoint. Tensors have GGUF's names, types and row-major shapes."""

    path: str
    metadata: Metadata
    tensors: dict[str, TensorInfo]

    @property
    def size(self) -> int: ...

    def data(self, name: str) -> npt.NDArray[np.uint8]: ...

    def release(self, name: str) -> None: ...

    def release_all(self) -> None: ...

    def close(self) -> None: ...


def element_of(file: ModelFile, name: str) -> Element:
    """The element type of a tensor. Raises UnsupportedError for a type without kernels."""
    kind = file.tensors[name].type_name
    if kind in _DENSE:
        return _DENSE[kind]
    from ..quant import formats  # not needed where the programs are found on disk

    try:
        return formats.get(kind)
    except Exception:
        raise UnsupportedError(f"{file.path}: tensor {name} has type {kind}, which is not supported yet") from None


class DecoderWeights:
    """The tensors of a model file as a decoder asks for them."""

    def __init__(self, file: ModelFile) -> None:
        self.file = file
        table = file.tensors.get("token_embd.weight")
        if table is None or len(table.shape) != 2:
            raise FileFormatError(
                f"{file.path}: tensor token_embd.weight is missing",
                help="is this a vocabulary-only file, or not a language model?",
            )
        self.config: DecoderConfig = read_config(file.metadata, table.shape[0])
        self.expected = expected_shapes(self.config)

    def type(self, name: str) -> TensorType | None:
        """A tensor's type, None where an optional one is absent.

        Raises FileFormatError for a missing or misshapen one.
        """
        info = self.file.tensors.get(name)
        shape = self._shape(name)
        if info is None:
            if name == "output.weight" or name.endswith(".bias"):
                return None
            raise FileFormatError(f"{self.file.path}: tensor {name} is missing")
        if info.shape != shape:
            raise FileFormatError(
                f"{self.file.path}: tensor {name} has shape {list(info.shape)}, expected {list(shape)}"
            )
        return TensorType(element_of(self.file, name), shape)

    def _shape(self, name: str) -> tuple[int, ...]:
        parts = name.split(".")
        return self.expected[".".join(parts[2:]) if parts[0] == "blk" else name]

    def divisors(self, context: int) -> npt.NDArray[np.float32] | None:
        """Divisors of the rotary frequencies (dim / 2,): Llama 3's `rope_freqs`, or longrope's factors, which are
        others for contexts longer than the original one. None where the model has none.

        Raises FileFormatError for missing or misshapen ones, and for divisors that are not positive.
        """
        rope = self.config.rope
        name = "rope_freqs.weight"
        if name not in self.file.tensors:
            if rope.scaling != "longrope":
                return None
            name = f"rope_factors_{'long' if context > rope.original_context else 'short'}.weight"
        info = self.file.tensors.get(name)
        if info is None:
            raise FileFormatError(f"{self.file.path}: tensor {name} is missing")
        if info.type_name != "F32" or info.shape != (rope.dim // 2,):
            raise FileFormatError(f"{self.file.path}: tensor {name} must be F32 of {rope.dim // 2} elements")
        found: npt.NDArray[np.float32] = self.file.data(name).view(np.float32)
        if not (np.isfinite(found) & (found > 0)).all():
            raise FileFormatError(f"{self.file.path}: tensor {name} must hold positive numbers")
        return found


def expected_shapes(c: DecoderConfig) -> dict[str, tuple[int, ...]]:
    """Shapes by tensor name, those of blocks without their `blk.N.`."""
    q, kv = c.heads * c.head_dim, c.kv_heads * c.head_dim
    matrices = {
        "attn_q": (q, c.hidden),
        "attn_k": (kv, c.hidden),
        "attn_v": (kv, c.hidden),
        "attn_output": (c.hidden, q),
        "ffn_gate": (c.feed_forward, c.hidden),
        "ffn_up": (c.feed_forward, c.hidden),
        "ffn_down": (c.hidden, c.feed_forward),
    }
    shapes: dict[str, tuple[int, ...]] = {
        "token_embd.weight": (c.vocabulary, c.hidden),
        "output.weight": (c.vocabulary, c.hidden),
        "output_norm.weight": (c.hidden,),
        "output.bias": (c.vocabulary,),
        "attn_norm.weight": (c.hidden,),
        "ffn_norm.weight": (c.hidden,),
        "attn_q_norm.weight": (c.head_dim,),
        "attn_k_norm.weight": (c.head_dim,),
    }
    for name, shape in matrices.items():
        shapes[f"{name}.weight"] = shape
        shapes[f"{name}.bias"] = shape[:1]
    return shapes
