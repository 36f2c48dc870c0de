"""The key/value cache in pages on a device: memory of all layers, tables that programs are bound to, and the copies of
pages that sequences share.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from ..session.place import Place
from .pages import PagedSequence, PagePool, PageTable, alike, pages_of


class BoundTable(PageTable):
    """A table that a program reads: `buffer`."""

    def __init__(self, place: Place, pool: PagePool, rows: int, width: int) -> None:
        super().__init__(pool, rows, width)
        self.place = place
        self.buffer = place.weight(self.array)

    def send(self) -> None:
        """Make what runs from now on read the table as it is."""
        if self.changed:
            self.place.write(self.buffer, self.array)
            self.changed = False


class PagedCache:
    """All pages, `page_size` tokens each, and the sequences that have them."""

    def __init__(self, place: Place, pages: int, page_size: int, capacity: int) -> None:
        """`capacity`: tokens of one sequence. Memory is what `bind` says."""
        self.place, self.page_size = place, page_size
        self.width = pages_of(capacity, page_size)
        self.pool = PagePool(pages)
        self._parts: list[tuple[Any, int]] = []  # each layer's keys and values, and the bytes of a page of them

    def bind(self, states: Iterable[tuple[Any, Any]]) -> dict[str, Any]:
        """Plans and buffers of keys and values, which hold the pages; the buffers by name."""
        found = list(states)
        self._parts = [(buffer, plan.nbytes // self.pool.count) for plan, buffer in found]
        return {plan.name: buffer for plan, buffer in found}

    def sequence(self) -> PagedSequence:
        """A sequence without tokens."""
        return PagedSequence(self.pool, self.page_size, self._copy)

    def table(self, rows: int) -> BoundTable:
        """A table for so many sequences."""
        return BoundTable(self.place, self.pool, rows, self.width)

    def begun(self, ids: list[int], known: Iterable[PagedSequence]) -> PagedSequence:
        """A sequence that shares with one of the known ones what they begin with alike, but not the last of `ids`."""
        ids = ids[:-1]
        best = max(known, key=lambda s: alike(s.tokens, ids), default=None)
        return self.sequence() if best is None else best.fork(alike(best.tokens, ids))

    def needed(self, ids: list[int], known: Iterable[PagedSequence]) -> int:
        """Free pages that a sequence of these tokens and one more would take."""
        begun = self.begun(ids, known)
        try:
            return begun.needs(len(begun.tokens), len(ids) + 1)
        finally:
            begun.cut(0)

    def _copy(self, target: int, source: int) -> None:
        for buffer, nbytes in self._parts:
            self.place.copy(buffer.slice(target * nbytes, nbytes), buffer.slice(source * nbytes, nbytes))
