"""Byte-level BPE in Python alone, for machines without the `tokenizers` library: words by `re`, merges by rank.

The rules of `pre_tokenizers.py` are written for Oniguruma; here `\\p{...}` and `\\s` become ranges of characters, by
the categories of Python's `unicodedata`.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator, Sequence
from functools import lru_cache
from itertools import groupby

from heliostat.diagnostics import TokenizerError
from heliostat.llm.tokenizer.merging import WordCache, merged
from heliostat.llm.tokenizer.pre_tokenizers import PreTokenizer
from heliostat.llm.tokenizer.vocabulary import CHAR_OF

_CODE_POINTS = 0x110000

_WHITE = r"\t-\r \x85\xa0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000"
"""White_Space of Unicode. Python's own `\\s` takes four control characters more."""

_PART = re.compile(r"\\p\{(\w+)\}|\\(.)|(.)", re.DOTALL)


def check_merges(ids: dict[str, int], merges: Sequence[tuple[str, str]]) -> None:
    """Raises TokenizerError, with the token, if a merge names or makes none of the vocabulary."""
    for left, right in merges:
        for token in (left, right, left + right):
            if token not in ids:
                raise TokenizerError(f"tokenizer.ggml.merges do not fit the vocabulary: it has no token {token!r}")


class BytePairs:
    """The engine of `BytePairEncoder`: the same ids as the library's, but for characters that are newer than Python's
    `unicodedata`."""

    def __init__(self, ids: dict[str, int], merges: Sequence[tuple[str, str]], rule: PreTokenizer) -> None:
        """Raises TokenizerError if a merge names no token."""
        check_merges(ids, merges)
        self._ids = ids
        self._ranks = {pair: rank for rank, pair in enumerate(merges)}
        self._whole = rule.ignore_merges
        self._patterns = [pattern(p) for p in rule.patterns]
        self._cache = WordCache(self._word)

    def encode(self, text: str) -> list[int]:
        """Ids of `text`, whose bytes all have tokens."""
        return self._cache.ids(self.words(text))

    def encode_batch(self, texts: Sequence[str]) -> list[list[int]]:
        """`encode` of each text."""
        return [self.encode(text) for text in texts]

    def words(self, text: str) -> list[str]:
        """The pieces that the rule cuts `text` into."""
        pieces = [text]
        for known in self._patterns:
            pieces = [part for piece in pieces for part in _cut(known, piece)]
        return pieces

    def _word(self, word: str) -> list[int]:
        spelled = "".join(CHAR_OF[byte] for byte in word.encode())
        if self._whole and spelled in self._ids:
            return [self._ids[spelled]]
        ranks = self._ranks
        return [self._ids[part] for part in merged(spelled, lambda one, other: ranks.get((one, other)))]


def _cut(known: re.Pattern[str], text: str) -> Iterator[str]:
    """Matches and what lies between them."""
    at = 0
    for match in known.finditer(text):
        start, end = match.span()
        if at < start:
            yield text[at:start]
        if start < end:
            yield text[start:end]
        at = end
    if at < len(text):
        yield text[at:]


@lru_cache(maxsize=64)
def pattern(source: str) -> re.Pattern[str]:
    """A rule's expression for `re`."""
    out, inside = [], False
    for match in _PART.finditer(source):
        category, escaped, plain = match.groups()
        members = _members(category) if category else _WHITE if escaped in ("s", "S") else None
        if members is None:
            out.append(match[0])
            inside = plain == "[" or (inside and plain != "]")
        elif inside:
            assert escaped != "S"
            out.append(members)
        else:
            out.append(f"[{'^' if escaped == 'S' else ''}{members}]")
    return re.compile("".join(out))


@lru_cache(maxsize=32)
def _members(category: str) -> str:
    """The characters of a general category, or of all whose names begin so, as they stand between brackets."""
    out: list[tuple[str, str]] = []
    for name, first, last in _runs():
        if name.startswith(category):
            if out and ord(out[-1][1]) + 1 == first:
                out[-1] = (out[-1][0], chr(last))
            else:
                out.append((chr(first), chr(last)))
    return "".join(f"{re.escape(first)}-{re.escape(last)}" for first, last in out)


@lru_cache(maxsize=1)
def _runs() -> list[tuple[str, int, int]]:
    """Neighbouring characters of one general category: its name, the first and the last."""
    out, at = [], 0
    for name, members in groupby(map(unicodedata.category, map(chr, range(_CODE_POINTS)))):
        count = sum(1 for _ in members)
        out.append((name, at, at + count - 1))
        at += count
    return out
