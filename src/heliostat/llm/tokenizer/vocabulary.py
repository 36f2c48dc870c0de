"""The vocabulary: token texts, types and roles, and the bytes that each token stands for.

This is all that decoding needs; no encoder is built for it. Data from files is checked here, once.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import IntEnum
from functools import cached_property
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from heliostat.diagnostics import TokenizerError
from heliostat.llm.gguf.strings import Strings


class TokenType(IntEnum):
    """What a token is, with the numbers of `tokenizer.ggml.token_type`."""

    UNDEFINED = 0
    NORMAL = 1
    UNKNOWN = 2
    CONTROL = 3
    USER_DEFINED = 4
    UNUSED = 5
    BYTE = 6


SPACE_MARK = "\u2581"
"""SentencePiece writes a space inside a token as this character."""

END_OF_GENERATION = frozenset(
    {
        *("<|eot_id|>", "<|eom_id|>", "<|end_of_text|>", "<|im_end|>", "<|endoftext|>", "<|end|>", "</s>", "<eos>"),
        *("<end_of_turn>", "<turn|>", "<|tool_response>", "<EOT>", "_<EOT>", "[EOT]", "[EOS]", "<end_of_utterance>"),
        *("<|return|>", "<|call|>", "<|calls|>", "<|flush|>", "<｜end▁of▁sentence｜>", "[e~[", "[|endofturn|]"),
        *("<|endofturn|>", "<|stop|>"),
        *("<|fim_pad|>", "<fim-pad>", "<fim_pad>", "<|fim_repo|>", "<|repo_name|>", "<|file_sep|>"),
    }
)
"""Texts of tokens after which no model continues its answer. A file names one or two of its own; a chat model's file
often names the other one. Source: llama.cpp's list, and the configurations of EXAONE and HyperCLOVA X."""


def _byte_alphabet() -> dict[str, int]:
    """GPT-2's alphabet: one printable character for each byte. Printable Latin-1 bytes are themselves, the other 68 in
    order are the characters from U+0100 on. Source: Radford et al. 2019, byte-level BPE."""
    own = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [b for b in range(256) if b not in own]
    return {chr(b): b for b in own} | {chr(0x100 + i): b for i, b in enumerate(others)}


BYTE_OF = _byte_alphabet()
CHAR_OF = {byte: char for char, byte in BYTE_OF.items()}


@dataclass(frozen=True)
class Vocabulary:
    """Tokens in id order. `types`: one `TokenType` number each. `style` says how a normal token's text spells bytes:
    `byte_level` through GPT-2's alphabet, `sentencepiece` as UTF-8 with U+2581 for the space."""

    tokens: Sequence[str]
    types: bytes
    style: Literal["byte_level", "sentencepiece"]
    _bytes: dict[int, bytes] = field(default_factory=dict, repr=False, compare=False)

    def __len__(self) -> int:
        return len(self.tokens)

    @cached_property
    def ids(self) -> dict[str, int]:
        """Token text -> id; of equal texts the lowest id."""
        last = len(self.tokens) - 1
        return {text: last - i for i, text in enumerate(reversed(self.tokens))}

    def with_types(self, kinds: Sequence[TokenType]) -> list[int]:
        """Ids of the tokens whose type is one of `kinds`, ascending."""
        return np.flatnonzero(np.isin(np.frombuffer(self.types, np.uint8), kinds)).tolist()

    def token_bytes(self, token: int) -> bytes:
        """The bytes that `token` adds to a text; for a control or user-defined token its name.

        Raises TokenizerError if the id is outside of the vocabulary.
        """
        known = self._bytes.get(token)
        if known is None:
            if not 0 <= token < len(self.tokens):
                raise TokenizerError(f"token id {token} is outside of the vocabulary of {len(self.tokens)} tokens")
            known = self._bytes[token] = self._spell(self.tokens[token], self.types[token])
        return known

    def _spell(self, text: str, kind: int) -> bytes:
        if kind in (TokenType.CONTROL, TokenType.UNKNOWN, TokenType.USER_DEFINED):
            return _utf8(text)
        if kind == TokenType.BYTE:
            return bytes([byte_value(text)])
        if self.style == "sentencepiece":
            return _utf8(text.replace(SPACE_MARK, " "))
        out = bytearray()
        for char in text:
            byte = BYTE_OF.get(char)
            if byte is None:  # no spelling of a byte: the converter left plain text here
                out += _utf8(char)
            else:
                out.append(byte)
        return bytes(out)


def _utf8(text: str) -> bytes:
    """UTF-8 of a token's text; bytes that were not UTF-8 in the file come back as they were."""
    try:
        return text.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        return text.encode("utf-8", "replace")


def byte_value(text: str) -> int:
    """The byte that a token called `<0x41>` stands for. Raises TokenizerError for a text of another form."""
    if len(text) == 6 and text.startswith("<0x") and text.endswith(">"):
        try:
            return int(text[3:5], 16)
        except ValueError:
            pass
    raise TokenizerError(f"byte token {text!r} is not of the form <0x00>")


def read_vocabulary(metadata: Mapping[str, Any], style: Literal["byte_level", "sentencepiece"]) -> Vocabulary:
    """The vocabulary in GGUF metadata: `tokenizer.ggml.tokens` and `tokenizer.ggml.token_type` (normal if absent).

    Raises TokenizerError for missing or malformed arrays.
    """
    tokens = strings(metadata, "tokenizer.ggml.tokens")
    if not tokens:
        raise TokenizerError("tokenizer.ggml.tokens is empty")
    types = numbers(metadata, "tokenizer.ggml.token_type", len(tokens), "iu")
    if types is None:
        kinds = np.full(len(tokens), TokenType.NORMAL, np.uint8)
    elif types.min() < 0 or types.max() > max(TokenType):
        bad = int(np.flatnonzero((types < 0) | (types > max(TokenType)))[0])
        raise TokenizerError(f"tokenizer.ggml.token_type[{bad}] is {int(types[bad])}; known are 0 to {max(TokenType)}")
    else:
        kinds = types.astype(np.uint8)
    kinds[sorted(endings(tokens, kinds))] = TokenType.CONTROL  # whatever a careless converter wrote
    vocabulary = Vocabulary(tokens, kinds.tobytes(), style)
    for token in vocabulary.with_types([TokenType.BYTE]):
        byte_value(tokens[token])
    return vocabulary


def strings(metadata: Mapping[str, Any], key: str) -> Sequence[str]:
    """The array of strings under `key`. Raises TokenizerError if it is absent or anything else."""
    values = metadata.get(key)
    if values is None:
        raise TokenizerError(f"{key} is missing")
    if isinstance(values, Strings):
        return values
    if isinstance(values, np.ndarray):
        values = values.tolist()
    if not isinstance(values, list | tuple):
        raise TokenizerError(f"{key} is {type(values).__name__}, not an array of strings")
    if not set(map(type, values)) <= {str}:
        raise TokenizerError(f"{key} is not an array of strings")
    return values


def numbers(metadata: Mapping[str, Any], key: str, length: int, kinds: str) -> NDArray[Any] | None:
    """The numeric array under `key` with `length` entries of the NumPy kinds in `kinds`; None if absent.

    Raises TokenizerError for another length or kind, or a value that is not finite.
    """
    values = metadata.get(key)
    if values is None:
        return None
    try:
        array = np.asarray(values)
    except (ValueError, OverflowError):
        array = np.empty((), object)
    if array.ndim != 1 or array.dtype.kind not in kinds:
        raise TokenizerError(f"{key} is not an array of {'integers' if kinds == 'iu' else 'numbers'}")
    if len(array) != length:
        raise TokenizerError(f"{key} has {len(array)} entries for {length} tokens")
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        raise TokenizerError(f"{key}[{int(np.flatnonzero(~np.isfinite(array))[0])}] is not finite")
    return array


def special_id(metadata: Mapping[str, Any], role: str, size: int) -> int | None:
    """The id under `tokenizer.ggml.<role>_token_id`, or None if absent. Raises TokenizerError if it is no token."""
    key = f"tokenizer.ggml.{role}_token_id"
    value = metadata.get(key)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | np.integer):
        raise TokenizerError(f"{key} is {value!r}, not a token id")
    if not 0 <= value < size:
        raise TokenizerError(f"{key} is {int(value)}, outside of the vocabulary of {size} tokens")
    return int(value)


def flag(metadata: Mapping[str, Any], key: str, default: bool) -> bool:
    """The boolean under `key`, or `default` if absent. Raises TokenizerError if it is no boolean."""
    value = metadata.get(key)
    if value is None:
        return default
    if not isinstance(value, bool | np.bool_):
        raise TokenizerError(f"{key} is {value!r}, not a boolean")
    return bool(value)


def endings(tokens: Sequence[str], types: Sequence[int] | NDArray[np.uint8] | bytes) -> set[int]:
    """Ids of the tokens called as in `END_OF_GENERATION`, less those that some families use inside an answer."""
    if isinstance(tokens, Strings):
        found = {text: token for token, text in tokens.find(END_OF_GENERATION)}
    else:
        found = {text: token for token, text in enumerate(tokens) if text in END_OF_GENERATION}
    if {"<|return|>", "<|call|>"} <= found.keys() or {"<|flush|>", "<|calls|>"} <= found.keys():
        found.pop("<|end|>", None)  # gpt-oss, Solar Open: ends one message of several
    if "</s>" in found and types[found["</s>"]] != TokenType.CONTROL:
        found.pop("</s>")  # Qwen2, Gemma: an HTML tag among the ordinary tokens
    return set(found.values())
