"""Streaming: tokens in, pieces of text out, ending before the first stop string.

A piece never ends inside a character, and never shows the beginning of a stop string that the next token may complete.
"""

from __future__ import annotations

import codecs
from collections.abc import Iterable

from heliostat.diagnostics import TokenizerError
from heliostat.llm.tokenizer import Tokenizer


class StopString:
    """One stop string as an automaton (Knuth, Morris, Pratt): after every character, how much of it is matched."""

    def __init__(self, text: str) -> None:
        """Raises TokenizerError for an empty text, which would stop before the first token."""
        if not text:
            raise TokenizerError("a stop string is empty")
        self.text = text
        self.matched = 0
        self._border = [0] * len(text)
        for i in range(1, len(text)):
            self._border[i] = self._after(self._border[i - 1], text[i])

    def _after(self, matched: int, char: str) -> int:
        while matched and self.text[matched] != char:
            matched = self._border[matched - 1]
        return matched + (self.text[matched] == char)

    def push(self, char: str) -> bool:
        """Take one character; whether the stop string ends with it. Not to be called again after that."""
        self.matched = self._after(self.matched, char)
        return self.matched == len(self.text)


class TextStream:
    """The text of a growing list of tokens.

    Pieces joined are `tokenizer.decode_bytes` of the tokens as text, up to the first stop string: the one that ends
    first, of those the longest, so that the cut does not depend on how the text fell into tokens. A space at the start
    is kept: generated text goes on after a prompt. Control tokens add nothing, unless `skip_special` is False.
    """

    def __init__(self, tokenizer: Tokenizer, stop: Iterable[str] = (), *, skip_special: bool = True) -> None:
        """Raises TokenizerError if a stop string is empty or no string."""
        if isinstance(stop, str):
            stop = (stop,)
        self._tokenizer = tokenizer
        self._skip_special = skip_special
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._held = ""  # text that may turn out to be the beginning of a stop string
        self._stops: list[StopString] = []
        for text in stop:
            if not isinstance(text, str):
                raise TokenizerError(f"a stop string is {text!r}, not a string")
            self._stops.append(StopString(text))
        self.stopped: bool = False
        self.stop_text: str | None = None

    def push(self, token: int) -> str:
        """Take one token; the text that is certain now, often empty. After a stop string always empty.

        Sets `stopped`, and `stop_text` to the stop string that was met. Raises TokenizerError for an unknown id.
        """
        if self.stopped or (self._skip_special and self._tokenizer.is_control(token)):
            return ""
        return self._take(self._decoder.decode(self._tokenizer.token_bytes(token)))

    def finish(self) -> str:
        """The text held back, with U+FFFD for an incomplete character. The stream is at its end then."""
        if self.stopped:
            return ""
        text = self._take(self._decoder.decode(b"", final=True))
        if not self.stopped:
            text, self._held = text + self._held, ""
            self.stopped = True
        return text

    def _take(self, text: str) -> str:
        if not self._stops:
            return text
        for i, char in enumerate(text):
            met = [stop.text for stop in self._stops if stop.push(char)]
            if met:
                self.stopped = True
                self.stop_text = max(met, key=len)
                whole = self._held + text[: i + 1]
                self._held = ""
                return whole[: len(whole) - len(self.stop_text)]
        whole = self._held + text
        safe = len(whole) - max(stop.matched for stop in self._stops)
        self._held = whole[safe:]
        return whole[:safe]
