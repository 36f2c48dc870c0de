"""A `.lum` source text: reading it from a file, and turning offsets into lines and columns.

Offsets count code points of the decoded text. Lines end at `\\n`; a `\\r` before it belongs to the line's white space.
"""

from __future__ import annotations

from bisect import bisect_right
from functools import cached_property
from pathlib import Path
from typing import Protocol

from heliostat.diagnostics import FileFormatError, Span

MAX_BYTES = 1 << 20  # a source is written by people: a larger file is a mistake, and would cost gigabytes as a tree


class Located(Protocol):
    """Whatever covers the text from `start` up to `end`: a token or a node of the tree."""

    @property
    def start(self) -> int: ...

    @property
    def end(self) -> int: ...


class Source:
    """The text of one file. `path` is what messages call it."""

    def __init__(self, text: str, path: str = "<string>") -> None:
        """Raises FileFormatError for a text of more than `MAX_BYTES` characters."""
        if len(text) > MAX_BYTES:
            raise FileFormatError(f"{path}: a source may have at most {MAX_BYTES} bytes, this has {len(text)}")
        self.text = text
        self.path = path

    @cached_property
    def lines(self) -> list[str]:
        return self.text.split("\n")

    @cached_property
    def _starts(self) -> list[int]:
        starts = [0]
        for line in self.lines[:-1]:
            starts.append(starts[-1] + len(line) + 1)
        return starts

    def position(self, offset: int) -> tuple[int, int]:
        """Line and column of `offset`, both from 1."""
        line = bisect_right(self._starts, offset)
        return line, offset - self._starts[line - 1] + 1

    def span(self, start: int, end: int) -> Span:
        """The place that covers `start <= offset < end`."""
        return Span(self.path, *self.position(start), *self.position(max(start, end)))

    def span_of(self, place: Located) -> Span:
        return self.span(place.start, place.end)


def read_source(path: str | Path) -> Source:
    """The source in that file. Raises OSError where it cannot be read, and FileFormatError as `decode_source` does."""
    with Path(path).open("rb") as file:
        return decode_source(file.read(MAX_BYTES + 1), str(path))


def decode_source(data: bytes, path: str) -> Source:
    """The source in those bytes, which must be UTF-8; a byte order mark is dropped.
    Raises FileFormatError where they are too many or not UTF-8."""
    if len(data) > MAX_BYTES:
        raise FileFormatError(f"{path}: a source may have at most {MAX_BYTES} bytes")
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        byte = error.start - data.rfind(b"\n", 0, error.start)
        raise FileFormatError(
            f"{path}: line {line}, byte {byte}: 0x{error.object[error.start]:02x} is not valid UTF-8",
            help="save the file as UTF-8 text",
        ) from None
    return Source(text, path)
