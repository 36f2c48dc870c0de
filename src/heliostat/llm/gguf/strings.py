"""Arrays of very many strings, a vocabulary or its merges, as the bytes that they are in the file."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from typing import Any, overload

import numpy as np
import numpy.typing as npt

HEAD = 8  # bytes of a string's length, in front of it


class Strings(Sequence[str]):
    """Strings that are decoded when they are asked for: 150 000 of them take 3 MB instead of 15.

    Equal to any sequence of the same strings. Bytes that are not UTF-8 come as surrogates, which encode back to them.
    """

    def __init__(self, data: bytes, ends: npt.NDArray[np.int64]) -> None:
        """`data`: heads of 8 bytes, each with its string behind. `ends` (N,): where each string ends."""
        self._data, self._ends = data, ends

    def __len__(self) -> int:
        return len(self._ends)

    def _starts(self) -> npt.NDArray[np.int64]:
        starts = np.empty_like(self._ends)
        starts[:1], starts[1:] = HEAD, self._ends[:-1] + HEAD
        return starts

    def _decoded(self, places: Any) -> Iterator[str]:
        data = self._data
        for start, end in zip(self._starts()[places].tolist(), self._ends[places].tolist(), strict=True):
            yield str(data[start:end], "utf-8", "surrogateescape")

    @overload
    def __getitem__(self, index: int) -> str: ...

    @overload
    def __getitem__(self, index: slice) -> list[str]: ...

    def __getitem__(self, index: int | slice) -> str | list[str]:
        if isinstance(index, slice):
            return list(self._decoded(index))
        number = range(len(self._ends))[index]
        start = HEAD + (int(self._ends[number - 1]) if number else 0)
        return str(self._data[start : int(self._ends[number])], "utf-8", "surrogateescape")

    def __iter__(self) -> Iterator[str]:
        return self._decoded(slice(None))

    def __reversed__(self) -> Iterator[str]:
        return self._decoded(slice(None, None, -1))

    def __eq__(self, other: object) -> bool:
        if isinstance(other, Strings):
            return self._data == other._data
        return isinstance(other, list | tuple) and len(self) == len(other) and all(map(str.__eq__, self, other))

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        shown = ", ".join(map(repr, self[:4]))
        return f"[{shown}, ...] ({len(self)} strings)" if len(self) > 4 else f"[{shown}]"

    def find(self, texts: Collection[str]) -> Iterator[tuple[int, str]]:
        """Numbers and texts, ascending, of the strings that are among `texts`; most others are never decoded."""
        wanted = {text.encode("utf-8", "surrogateescape") for text in texts}
        starts = self._starts()
        sizes = self._ends - starts
        near = np.isin(sizes, list({len(text) for text in wanted}))
        first = np.frombuffer(self._data, np.uint8)[np.minimum(starts, len(self._data) - 1)]
        near &= np.isin(first, list({text[0] for text in wanted if text})) | (sizes == 0)
        for number in np.flatnonzero(near).tolist():
            text = self[number]
            if text in texts:
                yield number, text
