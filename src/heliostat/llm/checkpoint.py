"""A folder of safetensors as a model file: its tensors under GGUF's names, its config as GGUF's metadata.

Matrices are views of the mapped files. Vectors (norms, biases) become f32, as in GGUF files.
"""

from __future__ import annotations

import mmap
import re
from pathlib import Path

import numpy as np
import numpy.typing as npt

from ..diagnostics import FileFormatError, UnsupportedError
from ..runtime.platform import release_pages
from .checkpoint_config import metadata_of
from .gguf import Metadata, TensorInfo
from .safetensors import SafetensorInfo, SafetensorsModel, shown

_OUTSIDE = {
    "model.embed_tokens": "token_embd",
    "model.norm": "output_norm",
    "lm_head": "output",
}
_INSIDE = {
    "input_layernorm": "attn_norm",
    "post_attention_layernorm": "ffn_norm",
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "self_attn.q_norm": "attn_q_norm",
    "self_attn.k_norm": "attn_k_norm",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
}
_LAYER = re.compile(r"model\.layers\.(0|[1-9]\d{0,5})\.(.+)\.(weight|bias)", re.ASCII)
_BUFFER = re.compile(r".*\.rotary_emb\.inv_freq")  # old files hold what follows from the config


def gguf_name(name: str) -> str | None:
    """GGUF's name of a Hugging Face tensor, None for one that no decoder here has."""
    match = _LAYER.fullmatch(name)
    if match is not None:
        return f"blk.{match[1]}.{_INSIDE[match[2]]}.{match[3]}" if match[2] in _INSIDE else None
    stem, _, kind = name.rpartition(".")
    return f"{_OUTSIDE[stem]}.{kind}" if stem in _OUTSIDE and kind in ("weight", "bias") else None


class Checkpoint:
    """An open folder, with the interface of `weights.ModelFile`."""

    def __init__(self, path: str | Path) -> None:
        self.path = str(path)
        self.model = SafetensorsModel.open(path)
        folder = self.model.parts[0].parent
        if self.model.config is None:
            raise FileFormatError(f"{self.path}: there is no config.json beside the weights")
        config = Metadata(str(folder / "config.json"), self.model.config)
        self.metadata, self._made = metadata_of(config)
        tied = config.boolean("tie_word_embeddings", False)
        self.tokenizer_path = self.model.tokenizer_path
        self._sources: dict[str, SafetensorInfo] = {}
        self.tensors: dict[str, TensorInfo] = {}
        for info in self.model.tensors.values():
            name = gguf_name(info.name)
            if name is None and _BUFFER.fullmatch(info.name):
                continue
            if name is None:
                raise UnsupportedError(f"{self.path}: tensor {shown(info.name)} belongs to no supported decoder")
            if name == "output.weight" and tied:
                continue
            self._add(name, info)
        if not tied and "output.weight" not in self.tensors:
            raise FileFormatError(f"{self.path}: tensor lm_head.weight is missing")
        for name, values in self._made.items():
            self.tensors[name] = TensorInfo(name, "F32", values.shape, values.nbytes, 0, 0)

    def _add(self, name: str, info: SafetensorInfo) -> None:
        if len(info.shape) == 1 and info.dtype in ("F16", "BF16"):
            self._made[name] = _widened(self.model.array(info.name), info.dtype)
            return
        self._sources[name] = info
        self.tensors[name] = TensorInfo(name, info.dtype, info.shape, info.nbytes, info.part, info.offset)

    @property
    def size(self) -> int:
        """Bytes of all files."""
        return self.model.size

    def data(self, name: str) -> npt.NDArray[np.uint8]:
        """A tensor's bytes, of matrices a view of the mapped file. Raises KeyError; ValueError once closed."""
        if name in self._made:
            return self._made[name].view(np.uint8)
        return self.model.data(self._sources[name].name)

    def release(self, name: str) -> None:
        """Let the system drop a tensor's pages; they are read again when touched."""
        if name in self._made:
            return
        view, page = self.data(name), mmap.PAGESIZE
        start = -(-view.ctypes.data // page) * page
        end = (view.ctypes.data + view.nbytes) // page * page
        if end > start:
            release_pages(start, end - start)

    def release_all(self) -> None:
        """The same for all files: headers, and pages that the system brought in around what was read."""
        self.model.release()

    def close(self) -> None:
        """Forget the files. A map goes when the last view of it does."""
        self.model.close()


def _widened(values: npt.NDArray[np.generic], dtype: str) -> npt.NDArray[np.float32]:
    """A copy as f32; bf16 comes as its bits."""
    if dtype == "BF16":
        return (values.astype(np.uint32) << 16).view(np.float32)
    return values.astype(np.float32)
