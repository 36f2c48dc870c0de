"""Byte-level BPE: pre-tokenizer, byte alphabet, merges by rank. The `tokenizers` library does it where it is installed,
several times faster than `byte_pairs.py`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

from heliostat.diagnostics import TokenizerError
from heliostat.llm.tokenizer.byte_pairs import BytePairs, check_merges
from heliostat.llm.tokenizer.pre_tokenizers import PreTokenizer
from heliostat.llm.tokenizer.vocabulary import BYTE_OF, CHAR_OF, Vocabulary

MAX_PIECE = 4_000_000
"""Longest text between two special tokens, in characters. The regex engine gives up after ten million steps inside one
match, and white space of that length is one match."""

TOGETHER = 2_000_000
"""Characters that are encoded at once, and one text more: the library keeps about 200 bytes a token meanwhile."""

_NEVER_IN_UTF8 = {0xC0, 0xC1, *range(0xF5, 0x100)}


class Engine(Protocol):
    """What cuts texts into words and merges their bytes."""

    def encode(self, text: str) -> list[int]: ...

    def encode_batch(self, texts: Sequence[str]) -> list[list[int]]: ...

    def words(self, text: str) -> list[str]: ...


class LibraryEngine:
    """The `tokenizers` library. Building takes about 0.2 s for 150 000 tokens and their merges."""

    def __init__(self, ids: dict[str, int], merges: list[tuple[str, str]], rule: PreTokenizer) -> None:
        """Raises TokenizerError if a merge names no token, ImportError without the library."""
        from tokenizers import Regex, Tokenizer, models, pre_tokenizers  # an optional package

        try:
            model = models.BPE(ids, merges, ignore_merges=rule.ignore_merges)
        except (KeyboardInterrupt, SystemExit, MemoryError):
            raise
        except BaseException as error:
            # The library raises plain Exception, UnicodeEncodeError for surrogates, and panics, which are no Exception,
            # where a merge makes more than its longest token.
            check_merges(ids, merges)
            raise TokenizerError(f"tokenizer.ggml.merges do not fit the vocabulary: {error}") from None
        self._tokenizer: Any = Tokenizer(model)
        splits = [pre_tokenizers.Split(Regex(pattern), "isolated") for pattern in rule.patterns]
        alphabet = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
        self._tokenizer.pre_tokenizer = pre_tokenizers.Sequence([*splits, alphabet])

    def encode(self, text: str) -> list[int]:
        ids: list[int] = self._tokenizer.encode(text, add_special_tokens=False).ids
        return ids

    def encode_batch(self, texts: Sequence[str]) -> list[list[int]]:
        return [e.ids for e in self._tokenizer.encode_batch(texts, add_special_tokens=False)]

    def words(self, text: str) -> list[str]:
        """The pieces that the rule cuts `text` into."""
        found = self._tokenizer.pre_tokenizer.pre_tokenize_str(text)
        return [bytes(BYTE_OF[char] for char in piece).decode() for piece, _ in found]


class BytePairEncoder:
    """Encodes text without special tokens."""

    def __init__(self, vocabulary: Vocabulary, merges: list[tuple[str, str]], rule: PreTokenizer) -> None:
        """Raises TokenizerError if a merge names no token."""
        self.engine: Engine
        try:
            self.engine = LibraryEngine(vocabulary.ids, merges, rule)
        except ImportError:
            self.engine = BytePairs(vocabulary.ids, merges, rule)
        missing = {byte for byte, char in CHAR_OF.items() if char not in vocabulary.ids}
        self._missing = bytes(sorted(missing - _NEVER_IN_UTF8))

    def encode(self, text: str, after_special: bool) -> list[int]:
        """Ids of `text`. Raises TokenizerError if it is too long, or holds a byte that the vocabulary cannot spell."""
        self._check(text)
        return self.engine.encode(text)

    def encode_batch(self, pieces: Sequence[tuple[str, bool]]) -> list[list[int]]:
        """`encode` of each text, on all cores. Raises as it does."""
        texts = [text for text, _ in pieces]
        for text in texts:
            self._check(text)
        out: list[list[int]] = []
        while len(out) < len(texts):
            begin = end = len(out)
            size = 0
            while end < len(texts) and size < TOGETHER:
                size += len(texts[end])
                end += 1
            out += self.engine.encode_batch(texts[begin:end])
        return out

    def _check(self, text: str) -> None:
        if len(text) > MAX_PIECE:
            raise TokenizerError(f"a text of {len(text)} characters is too long to tokenize, the limit is {MAX_PIECE}")
        if self._missing:  # the library would drop such bytes without a word
            lost = set(text.encode()).intersection(self._missing)
            if lost:
                raise TokenizerError(f"the vocabulary has no token for byte 0x{min(lost):02x} of the text")


def merge_pairs(lines: Sequence[str]) -> list[tuple[str, str]]:
    """`tokenizer.ggml.merges`, strings `left right` in rank order, as pairs. Of repeated ones the first counts.

    Raises TokenizerError if an entry is no pair.
    """
    lines = list(dict.fromkeys(lines))
    pairs: list[tuple[str, str]] = []
    for rank, line in enumerate(lines):
        left, _, right = line.partition(" ")
        if not left or not right or " " in right:
            raise TokenizerError(f"tokenizer.ggml.merges[{rank}] is {line!r}, not two tokens parted by a space")
        pairs.append((left, right))
    return pairs
