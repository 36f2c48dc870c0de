"""Tokenizers in Hugging Face's `tokenizer.json`, for directories of safetensors files.

The library runs the file's own pipeline; read here are only the vocabulary, for decoding, and the neighbouring
`tokenizer_config.json` and `generation_config.json`, for the roles of tokens and the chat template.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from heliostat.diagnostics import PackageMissingError, TokenizerError
from heliostat.llm.tokenizer.vocabulary import TokenType, Vocabulary, endings

if TYPE_CHECKING:
    from tokenizers import Tokenizer


@dataclass(frozen=True)
class HuggingFaceFiles:
    """What the files of one directory say. `prefix` and `suffix`: ids put around a text with `add_special`."""

    source: str
    vocabulary: Vocabulary
    prefix: list[int]
    suffix: list[int]
    bos: int | None
    eos: int | None
    ends: frozenset[int]
    template: str | None
    strips_space: bool


class HuggingFaceEncoder:
    """Encodes whole texts, special tokens included, with the library's own pipeline."""

    def __init__(self, source: str) -> None:
        self._parsing = _build(source)
        self._literal = _build(source)
        self._literal.encode_special_tokens = True

    def encode_batch(self, texts: Sequence[str], parse_special: bool) -> list[list[int]]:
        """`encode` of each text."""
        return [self.encode(text, parse_special) if text else [] for text in texts]

    def encode(self, text: str, parse_special: bool) -> list[int]:
        """Ids of `text`; without `parse_special` the names of control tokens are ordinary text."""
        tokenizer = self._parsing if parse_special else self._literal
        ids: list[int] = tokenizer.encode(text, add_special_tokens=False).ids
        return ids


def read_tokenizer_json(path: Path) -> HuggingFaceFiles:
    """Read `path` (a `tokenizer.json`, or the directory that holds one) and its neighbours.

    Raises TokenizerError, beginning with the path, for missing, malformed or unsupported files.
    """
    if path.is_dir():
        path = path / "tokenizer.json"
    source = _read(path)
    data = _object(path, source)
    tokenizer = _build(source, path)
    style, strips = _style(path, data)
    vocabulary = _vocabulary(tokenizer, data, style)
    config_path, generation_path = path.with_name("tokenizer_config.json"), path.with_name("generation_config.json")
    config = _object(config_path, _read(config_path)) if config_path.exists() else {}
    generation = _object(generation_path, _read(generation_path)) if generation_path.exists() else {}
    bos, eos = (_role(config.get(role), vocabulary) for role in ("bos_token", "eos_token"))
    stops = generation.get("eos_token_id")
    stops = stops if isinstance(stops, list) else [stops]
    ends = endings(vocabulary.tokens, vocabulary.types)
    ends |= {stop for stop in stops if isinstance(stop, int) and 0 <= stop < len(vocabulary)}
    if eos is None:
        eos = next((s for s in stops if s in ends), None)
    else:
        ends.add(eos)
    prefix, suffix = _surroundings(tokenizer)
    template = _template(path, config)
    return HuggingFaceFiles(source, vocabulary, prefix, suffix, bos, eos, frozenset(ends), template, strips)


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except OSError as error:
        raise TokenizerError(f"{path}: {error.strerror or error}") from None
    except UnicodeDecodeError:
        raise TokenizerError(f"{path}: not UTF-8 text") from None


def _object(path: Path, text: str) -> dict[str, Any]:
    try:
        data = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise TokenizerError(f"{path}: not JSON: {error}") from None
    if not isinstance(data, dict):
        raise TokenizerError(f"{path}: not a JSON object")
    return data


def _build(source: str, path: Path | None = None) -> Tokenizer:
    try:
        from tokenizers import Tokenizer  # an optional package
    except ImportError as error:
        raise PackageMissingError.of("files `tokenizer.json`", "tokenizers") from error
    try:
        return Tokenizer.from_str(source)
    except Exception as error:  # the library raises plain Exception
        raise TokenizerError(f"{path or 'tokenizer.json'}: {error}") from None


def _style(path: Path, data: dict[str, Any]) -> tuple[Literal["byte_level", "sentencepiece"], bool]:
    """How the decoder spells bytes, and whether it drops the space before the first word."""
    decoder = data.get("decoder")
    kinds = _decoders(decoder if isinstance(decoder, dict) else {})
    if "ByteLevel" in kinds:
        return "byte_level", False
    if "Metaspace" in kinds or "ByteFallback" in kinds:
        return "sentencepiece", "Strip" in kinds or "Metaspace" in kinds
    raise TokenizerError(f"{path}: decoder {sorted(kinds) or 'absent'} is neither byte-level nor SentencePiece-like")


def _decoders(decoder: dict[str, Any]) -> set[str]:
    inner = decoder.get("decoders")
    steps = [step for step in inner if isinstance(step, dict)] if isinstance(inner, list) else []
    return {str(decoder.get("type"))}.union(*(map(_decoders, steps))) - {"None", "Sequence"}


def _vocabulary(
    tokenizer: Tokenizer, data: dict[str, Any], style: Literal["byte_level", "sentencepiece"]
) -> Vocabulary:
    ids: dict[str, int] = tokenizer.get_vocab(with_added_tokens=True)
    size = max(ids.values(), default=-1) + 1
    if not ids or size > 4 * len(ids) + 65536:
        raise TokenizerError(f"tokenizer.json: {len(ids)} tokens with ids up to {size - 1}")
    tokens = [""] * size  # ids without a token decode to nothing
    for text, token in ids.items():
        tokens[token] = text
    types = bytearray([TokenType.NORMAL]) * size
    if style == "sentencepiece":
        for byte in range(256):
            token = ids.get(f"<0x{byte:02X}>", -1)
            if token >= 0:
                types[token] = TokenType.BYTE
    for token, added in tokenizer.get_added_tokens_decoder().items():
        types[token] = TokenType.CONTROL if added.special else TokenType.USER_DEFINED
    for token in endings(tokens, types):
        types[token] = TokenType.CONTROL
    return Vocabulary(tokens, bytes(types), style)


def _role(value: Any, vocabulary: Vocabulary) -> int | None:
    """The id of a token that a configuration names, as text or as an object with `content`."""
    text = value.get("content") if isinstance(value, dict) else value
    return vocabulary.ids.get(text) if isinstance(text, str) else None


def _surroundings(tokenizer: Tokenizer) -> tuple[list[int], list[int]]:
    """The ids that the file's post-processor puts before and after a text."""
    bare: list[int] = tokenizer.encode("a", add_special_tokens=False).ids
    full: list[int] = tokenizer.encode("a", add_special_tokens=True).ids
    for start in range(len(full) - len(bare) + 1):
        if full[start : start + len(bare)] == bare:
            return full[:start], full[start + len(bare) :]
    return [], []


def _template(path: Path, config: dict[str, Any]) -> str | None:
    """The chat template: a file of its own, or a string or a list of named ones in the configuration."""
    beside = path.with_name("chat_template.jinja")
    if beside.exists():
        return _read(beside)
    value = config.get("chat_template")
    if isinstance(value, list):
        named = {t.get("name"): t.get("template") for t in value if isinstance(t, dict)}
        value = named.get("default")
    return value if isinstance(value, str) else None
