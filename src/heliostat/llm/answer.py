"""An answer as it grows: tokens in, pieces of text out, until an end token, a stop string or the limit."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from .sample import Sample
from .stop import TextStream
from .tokenizer import Tokenizer


class Piece(NamedTuple):
    """One generated token. `text` may be empty while a character is incomplete; `logprob` is of the raw logits."""

    token: int
    text: str
    logprob: float


class Answer:
    """What one prompt is continued with. `done` is set by the token that ends it, `left` counts those that may come."""

    def __init__(self, tokenizer: Tokenizer | None, limit: int, stop: str | Sequence[str], ignore_eos: bool) -> None:
        """`limit`: most tokens. Raises TokenizerError for an empty stop string."""
        self._ends = tokenizer.eog_ids if tokenizer is not None and not ignore_eos else frozenset[int]()
        self._stream = TextStream(tokenizer, stop) if tokenizer is not None else None
        self.left = limit
        self.done = limit <= 0

    def push(self, chosen: Sample) -> Piece | None:
        """Take the next token; None where it ends the answer and nothing is left to show."""
        ended, stream = chosen.token in self._ends, self._stream
        text = "" if stream is None or ended else stream.push(chosen.token)
        self.left -= 1
        self.done = ended or self.left <= 0 or (stream is not None and stream.stopped)
        if self.done and stream is not None:
            text += stream.finish()
        return None if ended and not text else Piece(chosen.token, text, chosen.logprob)
