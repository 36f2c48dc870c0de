"""Cutting special tokens out of a text before it is tokenized.

The longest token at the leftmost place wins, as with Hugging Face's added tokens. What lies between is ordinary text.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Iterable, Iterator

from heliostat.diagnostics import TokenizerError

MAX_LENGTH = 1000
"""Characters of the longest special token; real ones have a tenth of that. It bounds the work for hostile files."""


class SpecialTokens:
    """Finds the given token texts by binary search, at the places where a first character of theirs stands."""

    def __init__(self, tokens: Iterable[tuple[str, int]]) -> None:
        """`tokens`: (text, id); of equal texts the first counts, empty ones are ignored.

        Raises TokenizerError for a text longer than MAX_LENGTH.
        """
        ids: dict[str, int] = {}
        for text, token in tokens:
            if len(text) > MAX_LENGTH:
                raise TokenizerError(f"special token {token} is {len(text)} characters long, the limit is {MAX_LENGTH}")
            if text:
                ids.setdefault(text, token)
        self._texts = sorted(ids)
        self._ids = [ids[text] for text in self._texts]
        self._shorter: list[int] = []  # for each text the place of the longest other one that it begins with, or -1
        for place, text in enumerate(self._texts):
            at = place - 1
            while at >= 0 and not text.startswith(self._texts[at]):
                at = self._shorter[at]
            self._shorter.append(at)
        self._longest = max(map(len, self._texts), default=0)
        starts = "".join(re.escape(char) for char in sorted({text[0] for text in self._texts}))
        self._start = re.compile(f"[{starts}]") if starts else None

    def split(self, text: str) -> Iterator[str | int]:
        """The text in order as strings (never empty) and token ids."""
        done = 0
        match = self._start.search(text) if self._start else None
        while match is not None:
            at = match.start()
            place = self._find(text, at)
            if place < 0:
                end = at + 1
            else:
                if at > done:
                    yield text[done:at]
                yield self._ids[place]
                done = end = at + len(self._texts[place])
            match = match.re.search(text, end)
        if done < len(text):
            yield text[done:]

    def _find(self, text: str, at: int) -> int:
        """The place of the longest special token that stands in `text` at `at`, or -1.

        The last of the sorted texts that is not greater than the text here begins with every one that stands here.
        """
        place = bisect_right(self._texts, text[at : at + self._longest]) - 1
        while place >= 0 and not text.startswith(self._texts[place], at):
            place = self._shorter[place]
        return place
