"""The vocabularies and vectors under `data/vocab`, read without the package's own GGUF reader."""

from __future__ import annotations

import json
import lzma
import struct
from functools import cache
from pathlib import Path
from typing import Any

from heliostat.llm.tokenizer import Tokenizer

VOCABULARIES = Path(__file__).parent / "data" / "vocab"
NAMES = ("gpt-2", "llama-bpe", "llama-spm", "qwen2")
_SCALARS = dict(enumerate("BbHhIif?")) | {10: "Q", 11: "q", 12: "d"}


@cache
def vectors() -> dict[str, Any]:
    """`texts`, `ids` by vocabulary, and `demo` with both."""
    return json.loads((VOCABULARIES / "vectors.json").read_text())


@cache
def metadata(name: str) -> dict[str, Any]:
    """The metadata of one vocabulary file."""
    data = lzma.decompress((VOCABULARIES / f"{name}.gguf.xz").read_bytes())
    at = 24
    keys = struct.unpack_from("<Q", data, 16)[0]

    def string() -> str:
        nonlocal at
        (length,) = struct.unpack_from("<Q", data, at)
        at += 8 + length
        return data[at - length : at].decode()

    def value(kind: int) -> Any:
        nonlocal at
        if kind == 8:
            return string()
        if kind == 9:
            kind, count = struct.unpack_from("<IQ", data, at)
            at += 12
            if kind == 8:
                return [string() for _ in range(count)]
            values = struct.unpack_from(f"<{count}{_SCALARS[kind]}", data, at)
            at += struct.calcsize(f"<{count}{_SCALARS[kind]}")
            return list(values)
        (number,) = struct.unpack_from("<" + _SCALARS[kind], data, at)
        at += struct.calcsize("<" + _SCALARS[kind])
        return number

    found = {}
    for _ in range(keys):
        key = string()
        at += 4
        found[key] = value(struct.unpack_from("<I", data, at - 4)[0])
    return found


@cache
def tokenizer(name: str) -> Tokenizer:
    """The tokenizer of one vocabulary, made once."""
    return Tokenizer.from_gguf(metadata(name))
