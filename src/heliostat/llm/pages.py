"""Pages of the key/value cache: which sequence has which, who shares them, and copies before a shared one is written.

A page holds the keys and values of some neighbouring positions, of all layers. Sequences that begin alike share pages;
before one of them writes into a shared page it gets a copy of its own. Page 0 is nobody's: tables name it where a
sequence has no page, and rows of a batch that run without a sequence write there.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt

from ..diagnostics import CacheFullError

NOBODY = 0
LEAST_PAGE = 64
"""Positions of a page are a multiple of this: whole steps of every attention kernel."""


def pages_of(positions: int, page_size: int) -> int:
    """Pages that so many positions take."""
    return -(-positions // page_size)


class PagePool:
    """`count` pages, of which each is free or has users. Bookkeeping alone: no memory is touched here."""

    def __init__(self, count: int) -> None:
        """Pages 1 to `count` - 1 are handed out. Raises ValueError for fewer than 2."""
        if count < 2:
            raise ValueError(f"a pool needs a page beside page {NOBODY}, got {count}")
        self.count = count
        self._free = list(range(count - 1, NOBODY, -1))
        self._users = [0] * count

    @property
    def free(self) -> int:
        """Pages that nobody has."""
        return len(self._free)

    @property
    def used(self) -> int:
        """Pages that somebody has."""
        return self.count - 1 - len(self._free)

    def users(self, page: int) -> int:
        """How many have a page."""
        return self._users[page]

    def take(self) -> int:
        """A free page. Raises CacheFullError where there is none."""
        if not self._free:
            raise CacheFullError(
                f"all {self.count - 1} pages of the key/value cache are in use",
                help="end other sequences first, or load with more cache_tokens",
            )
        page = self._free.pop()
        self._users[page] = 1
        return page

    def share(self, page: int) -> int:
        """The page, with one more user. Raises ValueError for a page that is free."""
        if not self._users[page]:
            raise ValueError(f"page {page} is free")
        self._users[page] += 1
        return page

    def release(self, page: int) -> None:
        """One user less; a page without users is free. Raises ValueError for a page that is free."""
        if not self._users[page]:
            raise ValueError(f"page {page} is free")
        self._users[page] -= 1
        if not self._users[page]:
            self._free.append(page)


class ContiguousSequence:
    """The `tokens` whose keys and values a cache of one sequence holds. There is room for all that fit the context."""

    def __init__(self) -> None:
        self.tokens: list[int] = []

    def cut(self, length: int) -> None:
        """Keep the first `length` tokens."""
        del self.tokens[length:]


class PagedSequence:
    """The pages of one sequence, in the order of positions, and the `tokens` whose keys and values they hold.

    `copy(target, source)` copies a page, in all layers, behind what was given to run before.
    """

    def __init__(self, pool: PagePool, page_size: int, copy: Callable[[int, int], None]) -> None:
        self.pool, self.page_size, self._copy = pool, page_size, copy
        self.pages: list[int] = []
        self.tokens: list[int] = []

    def fork(self, length: int) -> PagedSequence:
        """Another sequence that begins with the first `length` tokens of this one, in the same pages."""
        length = min(length, len(self.tokens))
        other = PagedSequence(self.pool, self.page_size, self._copy)
        other.pages = [self.pool.share(p) for p in self.pages[: pages_of(length, self.page_size)]]
        other.tokens = self.tokens[:length]
        return other

    def cut(self, length: int) -> None:
        """Keep the first `length` tokens, and the pages that hold them."""
        kept = pages_of(length, self.page_size)
        for page in self.pages[kept:]:
            self.pool.release(page)
        del self.pages[kept:], self.tokens[length:]

    def needs(self, start: int, stop: int) -> int:
        """Free pages that `reserve` would take."""
        first, last = start // self.page_size, pages_of(stop, self.page_size)
        shared = sum(self.pool.users(p) > 1 for p in self.pages[first:last])
        return max(0, last - len(self.pages)) + shared

    def reserve(self, start: int, stop: int) -> bool:
        """Make positions start .. stop - 1 this sequence's own to write; whether its pages changed.

        Positions before `start` have pages already. Raises CacheFullError, and takes nothing then.
        """
        wanted = self.needs(start, stop)
        if not wanted:
            return False
        if wanted > self.pool.free:
            raise CacheFullError(
                f"the key/value cache is full: {wanted} more pages of {self.page_size} tokens are needed, "
                f"{self.pool.free} of {self.pool.count - 1} are free",
                help="end other sequences first, or load with more cache_tokens",
            )
        first, last = start // self.page_size, pages_of(stop, self.page_size)
        for number in range(first, min(last, len(self.pages))):
            old = self.pages[number]
            if self.pool.users(old) > 1:
                self.pages[number] = self._copied(old)
                self.pool.release(old)
        while len(self.pages) < last:
            self.pages.append(self.pool.take())
        return True

    def _copied(self, old: int) -> int:
        """A new page with the content of another; free again where the copy is interrupted."""
        new = self.pool.take()
        try:
            self._copy(new, old)
        except BaseException:
            self.pool.release(new)
            raise
        return new


def alike(a: Sequence[int], b: Sequence[int]) -> int:
    """How many tokens two sequences begin with alike."""
    count = 0
    for x, y in zip(a, b, strict=False):
        if x != y:
            break
        count += 1
    return count


class PageTable:
    """The pages of some sequences as kernels read them: (rows, width) i32. `changed` until it was sent."""

    def __init__(self, pool: PagePool, rows: int, width: int) -> None:
        self.pool, self.width = pool, width
        self.array: npt.NDArray[np.int32] = np.full((rows, width), NOBODY, np.int32)
        self.changed = True

    def name(self, row: int, pages: Sequence[int]) -> None:
        """Name a row's pages; behind them stands nobody's. Raises ValueError for pages that are not in the pool, or
        more than a row has room for: a kernel goes where this says."""
        if len(pages) > self.width or not all(0 <= p < self.pool.count for p in pages):
            raise ValueError(f"pages {list(pages)} are not up to {self.width} of {self.pool.count}")
        new = np.full(self.width, NOBODY, np.int32)
        new[: len(pages)] = pages
        if not np.array_equal(self.array[row], new):
            self.array[row] = new
            self.changed = True
