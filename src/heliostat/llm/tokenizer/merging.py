"""Merging neighbours, best pair first, and words that come again: what SentencePiece's BPE and byte-level BPE share."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from heapq import heapify, heappop, heappush
from itertools import pairwise

_CACHED_WORDS = 1 << 16
_CACHED_LENGTH = 32  # characters; longer words rarely come twice

Cost = Callable[[str, str], float | None]
"""What merging two neighbours costs; None for two that do not merge."""


def merged(pieces: Sequence[str], cost: Cost, met: Callable[[str, str], object] | None = None) -> list[str]:
    """`pieces` after merging the cheapest pair, of equals the leftmost, until no pair merges. n of them cost
    O(n log n). `met` hears of each pair that merges."""
    parts: list[str | None] = list(pieces)
    before = list(range(-1, len(parts) - 1))
    after = [*range(1, len(parts)), -1]
    heap: list[tuple[float, int, str, str]] = []
    for left, (one, other) in enumerate(pairwise(pieces)):
        price = cost(one, other)
        if price is not None:
            heap.append((price, left, one, other))
    heapify(heap)
    while heap:
        _, left, one, other = heappop(heap)
        right = after[left]
        if parts[left] != one or right < 0 or parts[right] != other:
            continue  # a part of this pair has merged with another neighbour since
        if met is not None:
            met(one, other)
        made = one + other
        parts[left], parts[right] = made, None
        beyond = after[left] = after[right]
        if beyond >= 0:
            before[beyond] = left
            third = parts[beyond]
            assert third is not None
            price = cost(made, third)
            if price is not None:
                heappush(heap, (price, left, made, third))
        ahead = before[left]
        if ahead >= 0:
            first = parts[ahead]
            assert first is not None
            price = cost(first, made)
            if price is not None:
                heappush(heap, (price, ahead, first, made))
    return [part for part in parts if part is not None]


class WordCache:
    """Ids of words, found once for those that come again."""

    def __init__(self, ids_of: Callable[[str], list[int]]) -> None:
        self._ids_of = ids_of
        self._known: dict[str, list[int]] = {}

    def ids(self, words: Iterable[str]) -> list[int]:
        """Those of all words, in order."""
        out: list[int] = []
        known = self._known
        for word in words:
            ids = known.get(word)
            if ids is None:
                ids = self._ids_of(word)
                if len(word) <= _CACHED_LENGTH:
                    if len(known) >= _CACHED_WORDS:
                        known.clear()
                    known[word] = ids
            out += ids
        return out
