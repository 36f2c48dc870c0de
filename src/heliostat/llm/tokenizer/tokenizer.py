"""The front: `Tokenizer`, made from GGUF metadata or from a `tokenizer.json`."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from heliostat.diagnostics import TokenizerError
from heliostat.llm.tokenizer.bpe import BytePairEncoder, merge_pairs
from heliostat.llm.tokenizer.huggingface import HuggingFaceEncoder, read_tokenizer_json
from heliostat.llm.tokenizer.pre_tokenizers import pre_tokenizer
from heliostat.llm.tokenizer.sentencepiece import SentencePieceEncoder
from heliostat.llm.tokenizer.special import SpecialTokens
from heliostat.llm.tokenizer.vocabulary import (
    TokenType,
    Vocabulary,
    endings,
    flag,
    numbers,
    read_vocabulary,
    special_id,
    strings,
)

_NO_TEXT = frozenset({TokenType.CONTROL, TokenType.UNKNOWN})


class Encoder(Protocol):
    """Text to ids, special tokens included."""

    def encode(self, text: str, parse_special: bool) -> list[int]: ...

    def encode_batch(self, texts: Sequence[str], parse_special: bool) -> list[list[int]]: ...


class TextEncoder(Protocol):
    """Text that holds no special token to ids; `after_special`: it begins the input or follows a special token."""

    def encode(self, text: str, after_special: bool) -> list[int]: ...

    def encode_batch(self, pieces: Sequence[tuple[str, bool]]) -> list[list[int]]: ...


class Tokenizer:
    """Text to token ids and back.

    `bos_id`, `eos_id`: int or None. `eog_ids`: every id that ends a generation. `add_bos`, `add_eos`: what
    `add_special` puts around a text. `chat_template`: the file's Jinja source or None. Cheap to make: encoders are
    built on first use.
    """

    def __init__(
        self,
        vocabulary: Vocabulary,
        build: Callable[[], Encoder],
        *,
        bos_id: int | None,
        eos_id: int | None,
        eog_ids: frozenset[int],
        prefix: list[int],
        suffix: list[int],
        strips_space: bool,
        chat_template: str | None,
    ) -> None:
        """`prefix`, `suffix`: ids around a text with `add_special`. `strips_space`: encoding puts a space before the
        first word, which decoding takes away."""
        self.vocabulary = vocabulary
        self.bos_id = bos_id
        self.eos_id = eos_id
        self.eog_ids = eog_ids
        self.chat_template = chat_template
        self._build = build
        self._prefix = prefix
        self._suffix = suffix
        self._strips_space = strips_space

    @classmethod
    def from_gguf(cls, metadata: Mapping[str, Any], *, pre: str | None = None) -> Tokenizer:
        """The tokenizer that GGUF metadata describes. `pre` overrules the file's `tokenizer.ggml.pre`.

        Raises TokenizerError for an unknown kind or pre-tokenizer, and for malformed data. Faults that only the merges
        show are raised by the first `encode`.
        """
        kind = metadata.get("tokenizer.ggml.model")
        if kind == "gpt2":
            return _byte_level(metadata, pre)
        if kind == "llama":
            return _sentencepiece(metadata)
        if kind is None:
            raise TokenizerError("tokenizer.ggml.model is missing: the file holds no tokenizer")
        raise TokenizerError(f"unknown tokenizer {kind!r} (tokenizer.ggml.model)", help="known are gpt2, llama")

    @classmethod
    def from_json(cls, path: str | Path) -> Tokenizer:
        """The tokenizer of a Hugging Face `tokenizer.json`, or of the directory that holds one.

        Read beside it are `tokenizer_config.json`, `generation_config.json` and `chat_template.jinja`.

        Raises TokenizerError, beginning with the path, for missing, malformed or unsupported files.
        """
        files = read_tokenizer_json(Path(path))
        return cls(
            files.vocabulary,
            lambda: HuggingFaceEncoder(files.source),
            bos_id=files.bos,
            eos_id=files.eos,
            eog_ids=files.ends,
            prefix=files.prefix,
            suffix=files.suffix,
            strips_space=files.strips_space,
            chat_template=files.template,
        )

    @property
    def vocab_size(self) -> int:
        """Number of tokens. A model may have more rows than this in its embedding, never fewer."""
        return len(self.vocabulary)

    @property
    def add_bos(self) -> bool:
        """Whether `add_special` begins a text with BOS."""
        return self.bos_id is not None and self.bos_id in self._prefix

    @property
    def add_eos(self) -> bool:
        """Whether `add_special` ends a text with EOS."""
        return self.eos_id is not None and self.eos_id in self._suffix

    @cached_property
    def _encoder(self) -> Encoder:
        return self._build()

    def encode(self, text: str, add_special: bool = False, parse_special: bool = True) -> list[int]:
        """Ids of `text`.

        `add_special`: put BOS and EOS around it where the file says so; a text that spells BOS at its start (most chat
        templates do) keeps the one it has. `parse_special`: the names of control tokens become those tokens; pass False
        for text from strangers. User-defined tokens are always found.
        Raises TokenizerError for unpaired surrogates, and for text that the vocabulary cannot spell.
        """
        _check_surrogates(text)
        with _panics():
            ids = self._encoder.encode(text, parse_special) if text else []
        if add_special:
            start = [] if ids[: len(self._prefix)] == self._prefix else self._prefix
            return [*start, *ids, *self._suffix]
        return ids

    def encode_batch(self, texts: Sequence[str], parse_special: bool = True) -> list[list[int]]:
        """`encode` of each text, without what surrounds it, on all cores where the encoder can. Raises as `encode`."""
        for text in texts:
            _check_surrogates(text)
        with _panics():
            return self._encoder.encode_batch(texts, parse_special)

    def decode(self, ids: Iterable[int], skip_special: bool = False) -> str:
        """The text of `ids`. Bytes that are not UTF-8 become U+FFFD. `skip_special`: control tokens add nothing.

        Raises TokenizerError for an id outside of the vocabulary.
        """
        ids = list(ids)
        kinds = self.vocabulary.types
        start = 0
        while start < len(ids) and self.is_control(ids[start]):
            start += 1
        head, tail = ids[:start], ids[start:]
        if skip_special:
            head, tail = [], [token for token in tail if not self.is_control(token)]
        body = self.decode_bytes(tail)
        if self._strips_space and tail and kinds[tail[0]] == TokenType.NORMAL and body.startswith(b" "):
            body = body[1:]
        return (self.decode_bytes(head) + body).decode("utf-8", "replace")

    def decode_bytes(self, ids: Iterable[int]) -> bytes:
        """The bytes of `ids`, one after the other: control tokens as their names, no space taken away at the start."""
        return b"".join(map(self.vocabulary.token_bytes, ids))

    def token_bytes(self, token: int) -> bytes:
        """The bytes of one token. Raises TokenizerError for an id outside of the vocabulary."""
        return self.vocabulary.token_bytes(token)

    def is_control(self, token: int) -> bool:
        """Whether `token` is a control or unknown token: no part of a text. Raises TokenizerError as `token_bytes`."""
        types = self.vocabulary.types
        if not 0 <= token < len(types):
            self.vocabulary.token_bytes(token)
        return types[token] in _NO_TEXT


def _check_surrogates(text: str) -> None:
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise TokenizerError(
            f"character {error.start} of the text is an unpaired surrogate", help="the text must be UTF-8"
        ) from None


@contextmanager
def _panics() -> Iterator[None]:
    """Failures of the tokenizers library, which are not Exceptions, as TokenizerError."""
    try:
        yield
    except BaseException as error:
        if type(error).__name__ == "PanicException":
            raise TokenizerError(f"the tokenizers library failed: {error}") from None
        raise


class SplittingEncoder:
    """Cuts special tokens out and gives the text between them to a `TextEncoder`."""

    def __init__(self, vocabulary: Vocabulary, text: TextEncoder) -> None:
        def finder(*kinds: TokenType) -> SpecialTokens:
            return SpecialTokens((vocabulary.tokens[i], i) for i in vocabulary.with_types(kinds))

        self._text = text
        self._all = finder(TokenType.CONTROL, TokenType.UNKNOWN, TokenType.USER_DEFINED)
        self._user_defined = finder(TokenType.USER_DEFINED)

    def encode(self, text: str, parse_special: bool) -> list[int]:
        """Ids of `text`; without `parse_special` only user-defined tokens are found."""
        out: list[int] = []
        for piece, after_special in self._pieces(text, parse_special):
            out += [piece] if isinstance(piece, int) else self._text.encode(piece, after_special)
        return out

    def encode_batch(self, texts: Sequence[str], parse_special: bool) -> list[list[int]]:
        """`encode` of each text."""
        parts = [list(self._pieces(text, parse_special)) for text in texts]
        pieces = [(piece, after) for part in parts for piece, after in part if isinstance(piece, str)]
        found = iter(self._text.encode_batch(pieces))
        return [
            [token for piece, _ in part for token in ([piece] if isinstance(piece, int) else next(found))]
            for part in parts
        ]

    def _pieces(self, text: str, parse_special: bool) -> Iterator[tuple[str | int, bool]]:
        """Special tokens and the texts between them, each with whether it begins the text or follows such a token."""
        after_special = True
        for piece in (self._all if parse_special else self._user_defined).split(text) if text else ():
            yield piece, after_special
            after_special = isinstance(piece, int)


def _byte_level(metadata: Mapping[str, Any], pre: str | None) -> Tokenizer:
    name = pre if pre is not None else metadata.get("tokenizer.ggml.pre")
    if not isinstance(name, str):
        raise TokenizerError(
            "tokenizer.ggml.pre is missing: the file does not say how its tokenizer cuts words",
            help="convert the model again with a current converter, or name the rule",
        )
    rule = pre_tokenizer(name)
    vocabulary = read_vocabulary(metadata, "byte_level")
    merges = strings(metadata, "tokenizer.ggml.merges")

    def build() -> Encoder:
        return SplittingEncoder(vocabulary, BytePairEncoder(vocabulary, merge_pairs(merges), rule))

    return _front(metadata, vocabulary, build, bos=None, eos=None, add_bos=rule.add_bos, strips_space=False)


def _sentencepiece(metadata: Mapping[str, Any]) -> Tokenizer:
    vocabulary = read_vocabulary(metadata, "sentencepiece")
    scores = numbers(metadata, "tokenizer.ggml.scores", len(vocabulary), "fiu")
    if scores is None:
        raise TokenizerError("tokenizer.ggml.scores is missing")
    if flag(metadata, "tokenizer.ggml.remove_extra_whitespaces", False):
        raise TokenizerError("tokenizer.ggml.remove_extra_whitespaces is set, which this version cannot do")
    prefix = flag(metadata, "tokenizer.ggml.add_space_prefix", True)
    unknown = special_id(metadata, "unknown", len(vocabulary))

    def usual(token: int, kind: TokenType) -> int | None:
        return token if token < len(vocabulary) and vocabulary.types[token] == kind else None

    unknown = usual(0, TokenType.UNKNOWN) if unknown is None else unknown
    bos, eos = usual(1, TokenType.CONTROL), usual(2, TokenType.CONTROL)  # where SentencePiece puts them
    known = scores.astype(np.float64)

    def build() -> Encoder:
        return SplittingEncoder(vocabulary, SentencePieceEncoder(vocabulary, known, unknown, prefix))

    return _front(metadata, vocabulary, build, bos=bos, eos=eos, add_bos=True, strips_space=prefix)


def _front(
    metadata: Mapping[str, Any],
    vocabulary: Vocabulary,
    build: Callable[[], Encoder],
    *,
    bos: int | None,
    eos: int | None,
    add_bos: bool,
    strips_space: bool,
) -> Tokenizer:
    """The parts of GGUF metadata that both kinds share: special ids, what surrounds a text, the chat template.
    `bos`, `eos`: the ids for files that name none."""
    named = [special_id(metadata, role, len(vocabulary)) for role in ("bos", "eos", "eot", "eom")]
    bos, eos = (mine if mine is not None else given for mine, given in zip(named[:2], (bos, eos), strict=True))
    around = {
        "bos": (bos, flag(metadata, "tokenizer.ggml.add_bos_token", add_bos and bos is not None)),
        "eos": (eos, flag(metadata, "tokenizer.ggml.add_eos_token", False)),
    }
    for role, (token, wanted) in around.items():
        if wanted and token is None:
            raise TokenizerError(f"tokenizer.ggml.add_{role}_token is set, but there is no {role}_token_id")
    template = metadata.get("tokenizer.chat_template")
    if template is not None and not isinstance(template, str):
        raise TokenizerError("tokenizer.chat_template is not a string")
    ends = endings(vocabulary.tokens, vocabulary.types)
    ends |= {token for token in (eos, *named[2:]) if token is not None}
    prefix, suffix = ([token] if wanted and token is not None else [] for token, wanted in around.values())
    return Tokenizer(
        vocabulary,
        build,
        bos_id=bos,
        eos_id=eos,
        eog_ids=frozenset(ends),
        prefix=prefix,
        suffix=suffix,
        strips_space=strips_space,
        chat_template=template,
    )
