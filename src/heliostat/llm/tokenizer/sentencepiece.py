"""SentencePiece-style BPE: neighbours merge in the order of the merged token's score, without a pre-tokenizer.

Characters that are in no token become byte tokens. The order of work is a priority queue's; the answer is defined by
the rule alone: merge the best-scored pair, of equals the leftmost, until no pair is a token.
Source: Kudo and Richardson 2018, and the BPE model of the SentencePiece library.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from heliostat.diagnostics import TokenizerError
from heliostat.llm.tokenizer.merging import WordCache, merged
from heliostat.llm.tokenizer.vocabulary import SPACE_MARK, TokenType, Vocabulary, byte_value

_WORD = re.compile(f"{SPACE_MARK}+[^{SPACE_MARK}]*|[^{SPACE_MARK}]+")


class SentencePieceEncoder:
    """Encodes text without special tokens. Building reads the vocabulary once."""

    def __init__(self, vocabulary: Vocabulary, scores: NDArray[np.float64], unknown: int | None, prefix: bool) -> None:
        """`scores`: (len(vocabulary),) finite. `unknown`: the id for characters without token or bytes. `prefix`: a
        text begins with a space that nobody wrote, so that its first word is spelt like the others."""
        self._prefix = SPACE_MARK if prefix else ""
        self._unknown = unknown
        self._bytes = {byte_value(vocabulary.tokens[i]): i for i in vocabulary.with_types([TokenType.BYTE])}
        # Control, unknown and byte tokens are no pieces: text that spells their names stays text.
        pieces = vocabulary.with_types(
            [TokenType.NORMAL, TokenType.USER_DEFINED, TokenType.UNUSED, TokenType.UNDEFINED]
        )
        costs = (-scores).tolist()
        self._cost: dict[str, float] = {vocabulary.tokens[i]: costs[i] for i in reversed(pieces)}
        self._id: dict[str, int] = {vocabulary.tokens[i]: i for i in reversed(pieces)}
        self._unused = {vocabulary.tokens[i] for i in vocabulary.with_types([TokenType.UNUSED])}
        # If no piece has a space after another character, no merge crosses the start of a word: words are independent.
        joined = "\0".join(self._id)
        crossing = re.search(f"[^{SPACE_MARK}\0]{SPACE_MARK}", joined)
        self._by_word = crossing is None and joined.count("\0") == len(self._id) - 1
        self._cache = WordCache(self._merge)

    def encode_batch(self, pieces: Sequence[tuple[str, bool]]) -> list[list[int]]:
        """`encode` of each text."""
        return [self.encode(text, after_special) for text, after_special in pieces]

    def encode(self, text: str, after_special: bool) -> list[int]:
        """Ids of `text`, which is not empty; `after_special`: it begins the input or follows a special token.

        Raises TokenizerError for a character that neither tokens nor bytes can spell, if there is no unknown token.
        """
        text = text.replace(" ", SPACE_MARK)
        if after_special:
            text = self._prefix + text
        if not self._by_word:
            return self._merge(text)
        return self._cache.ids(_WORD.findall(text))

    def _merge(self, text: str) -> list[int]:
        """Ids of `text` by merging: n characters cost O(n log n)."""
        cost, unused = self._cost, self._unused
        made: dict[str, tuple[str, str]] = {}  # how each unused token was put together

        def met(one: str, other: str) -> None:
            if one + other in unused:
                made[one + other] = (one, other)

        parts = merged(text, lambda one, other: cost.get(one + other), met if unused else None)
        out: list[int] = []
        for part in parts:
            self._emit(part, made, out)
        return out

    def _emit(self, part: str, made: dict[str, tuple[str, str]], out: list[int]) -> None:
        """Append the ids of one merged part. Unused tokens may stand between merges, never in the answer."""
        stack = [part]
        while stack:
            piece = stack.pop()
            if piece in made:
                one, other = made[piece]
                stack += (other, one)
            elif piece in self._id:
                out.append(self._id[piece])
            else:
                self._spell(piece, out)

    def _spell(self, char: str, out: list[int]) -> None:
        spelling = [self._bytes.get(byte) for byte in char.encode()]
        if None not in spelling:
            out += spelling  # type: ignore[arg-type]  # None was just excluded
        elif self._unknown is not None:
            out.append(self._unknown)
        else:
            raise TokenizerError(f"the vocabulary has no token for {char!r}, no bytes to spell it and no unknown token")
