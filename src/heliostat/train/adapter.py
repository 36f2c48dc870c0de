"""Adapters as files: safetensors, whose metadata say what they are for, and llama.cpp's GGUF form; and `merge`, which
writes the base with an adapter added to its matrices.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..diagnostics import FileFormatError, ShapeError
from ..llm.checkpoint import Checkpoint
from ..llm.gguf import GGUFFile, GGUFWriter, ValueType
from ..llm.model import open_model_file
from ..quant.codec import dequantize
from ..quant.quantize import encode
from ..serialization.bytes import as_bytes, from_bytes
from ..serialization.container import check_checksum, checksum
from ..serialization.files import read_all, write_all
from ..serialization.safetensors import pack, unpack
from ..tensor import Tensor
from .export import fitting
from .lora import delta
from .options import OptionError

FORMAT = "heliostat lora"
ABOUT = ("format", "architecture", "rank", "alpha")
TYPES = ("same", "F32", "F16", "BF16", "Q8_0", "Q4_0", "Q4_K", "Q5_K", "Q6_K")


@dataclass(frozen=True)
class Adapter:
    """Pairs (lora_a (rank, in), lora_b (out, rank)) by the GGUF name of their matrix."""

    architecture: str
    rank: int
    alpha: float
    pairs: Mapping[str, tuple[Tensor, Tensor]]

    def save(self, path: str | Path) -> None:
        """Write a safetensors file: `NAME.lora_a` and `NAME.lora_b`, and metadata with a checksum of all."""
        rows = [(f"{name}.lora_{x}", t) for name, pair in self.pairs.items() for x, t in zip("ab", pair, strict=True)]
        records = {name: as_bytes(t) for name, t in rows}
        values = (FORMAT, self.architecture, str(self.rank), json.dumps(self.alpha))
        about = dict(zip(ABOUT, values, strict=True))
        write_all(path, pack(records, about | {"sha256": checksum(_text(about), records)}))

    def save_gguf(self, path: str | Path) -> None:
        """Write an adapter that llama.cpp loads beside the base (`--lora`)."""
        writer = GGUFWriter(path, self.architecture)
        writer.add("general.type", "adapter")
        writer.add("adapter.type", "lora")
        writer.add("adapter.lora.alpha", self.alpha, ValueType.FLOAT32)
        for name, pair in self.pairs.items():
            for x, t in zip("ab", pair, strict=True):
                values = np.asarray(t.detach().cpu().numpy(), np.float32)
                writer.add_tensor(f"{name}.lora_{x}", values, "F32", values.shape)
        writer.write()

    @classmethod
    def load(cls, path: str | Path) -> Adapter:
        """Read what `save` wrote. Raises FileFormatError for anything else, and for a damaged file."""
        shown, data = read_all(path)
        records, about = unpack(shown, data)
        if about.get("format") != FORMAT:
            raise FileFormatError(
                f"{shown}: is not an adapter", help="`heliostat train lora` writes adapter.safetensors"
            )
        if about.keys() == {*ABOUT, "sha256"}:
            check_checksum(shown, data, _text(about), about["sha256"])
        elif about.keys() != set(ABOUT):  # those of the first files, which have no checksum
            raise FileFormatError(f"{shown}: is damaged: the metadata of an adapter are {', '.join(ABOUT)} and sha256")
        try:
            rank, alpha = int(about["rank"]), float(about["alpha"])
            names = sorted({name.removesuffix(".lora_a").removesuffix(".lora_b") for name in records})
            pairs = {
                name: (from_bytes(*records[f"{name}.lora_a"]), from_bytes(*records[f"{name}.lora_b"])) for name in names
            }
            made = cls(about["architecture"], rank, alpha, pairs)
        except (KeyError, ValueError) as error:
            raise FileFormatError(f"{shown}: the adapter is not complete: {error}") from None
        if rank < 1 or not math.isfinite(alpha):
            raise FileFormatError(f"{shown}: an adapter of rank {rank} and alpha {alpha}")
        return made


def _text(about: Mapping[str, str]) -> str:
    """What the checksum of an adapter is of, beside its tensors."""
    return json.dumps([about[name] for name in ABOUT])


def open_base(path: str | Path) -> GGUFFile:
    """A GGUF file that adapters may be for. Raises FileFormatError."""
    file = open_model_file(path)
    if isinstance(file, Checkpoint):
        file.close()
        raise FileFormatError(f"{path}: is a folder of safetensors", help="adapters are for GGUF files; convert it")
    return file


def merge(base: str | Path, adapter: str | Path, out: str | Path, type_name: str = "same") -> int:
    """Write the base with the adapter added. Matrices that change become `type_name`, "same": the type they have; all
    else is copied byte for byte. Returns how many changed.

    Raises FileFormatError and ShapeError where adapter and base do not belong together, UnsupportedError for a type
    that cannot be written, OptionError for an unknown one and for overwriting the base."""
    if type_name not in TYPES:
        raise OptionError(f"type must be one of {', '.join(TYPES)}, got {type_name!r}")
    for read, what in ((base, "base"), (adapter, "adapter")):
        if Path(out).exists() and Path(out).resolve() == Path(read).resolve():
            raise OptionError(f"{out}: is the {what} itself", help="choose another --out")
    file, found = open_base(base), Adapter.load(adapter)
    if file.architecture != found.architecture:
        raise FileFormatError(f"{adapter}: is for a {found.architecture} model, {base} is a {file.architecture} model")
    writer = GGUFWriter(out, file.architecture)
    for key, value in file.metadata.items():
        if not key.startswith("split.") and key not in (
            "general.architecture",
            "general.alignment",
            "heliostat.formats",
        ):
            writer.add(key, value, file.value_types[key])
    missing = [name for name in found.pairs if name not in file.tensors]
    if missing:
        raise FileFormatError(f"{adapter}: {base} has no tensor {missing[0]}")
    for text in file.declared_formats:
        from ..llm.formats import resolve_format  # the language's checker: only for files that declare a format

        writer.declare_format(resolve_format(text), text)
    for name, info in file.tensors.items():
        if name not in found.pairs:
            writer.add_tensor(name, file.data(name), info.type_name, info.shape)
            continue
        a, b = found.pairs[name]
        if tuple(a.shape) != (found.rank, info.shape[-1]) or tuple(b.shape) != (info.shape[0], found.rank):
            raise ShapeError(
                f"{adapter}: {name}: lora_a {list(a.shape)} and lora_b {list(b.shape)} of rank {found.rank} do not fit "
                f"a matrix of {list(info.shape)}"
            )
        values = dequantize(file.data(name), info.type_name, info.shape) + delta(a, b, found.alpha / found.rank)
        if not np.isfinite(values).all():
            raise FileFormatError(f"{adapter}: {name} with the adapter added holds NaN or infinities")
        kind = info.type_name if type_name == "same" else fitting(type_name, info.shape[-1])
        writer.add_tensor(name, encode(values, kind), kind, info.shape)
    writer.write()
    return len(found.pairs)
