"""Pages of the cache: who has which, copies before shared ones are written, and tables that name only what is there."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from heliostat.diagnostics import CacheFullError
from heliostat.llm.pages import NOBODY, PagedSequence, PagePool, PageTable, pages_of

PAGE = 4


class Memory:
    """What stands in pages: one number for each position."""

    def __init__(self, pages: int) -> None:
        self.pool = PagePool(pages)
        self.held = np.full((pages, PAGE), -1)

    def sequence(self) -> PagedSequence:
        return PagedSequence(self.pool, PAGE, self.copy)

    def copy(self, target: int, source: int) -> None:
        self.held[target] = self.held[source]

    def write(self, sequence: PagedSequence, token: int) -> None:
        at = len(sequence.tokens)
        sequence.reserve(at, at + 1)
        self.held[sequence.pages[at // PAGE], at % PAGE] = token
        sequence.tokens.append(token)

    def read(self, sequence: PagedSequence) -> list[int]:
        return [int(self.held[sequence.pages[n // PAGE], n % PAGE]) for n in range(len(sequence.tokens))]


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.sampled_from(["new", "fork", "write", "cut", "end"]), st.integers(0, 99)), max_size=80))
def test_sequences_keep_what_they_wrote(steps: list[tuple[str, int]]) -> None:
    """Whatever is shared, each sequence reads its own tokens, and pages are free when nobody has them."""
    memory, live = Memory(12), list[PagedSequence]()
    for n, (what, number) in enumerate(steps):
        one = live[number % len(live)] if live else None
        if what == "new":
            live.append(memory.sequence())
        elif one is None:
            continue
        elif what == "fork":
            live.append(one.fork(number % (len(one.tokens) + 1)))
        elif what == "cut":
            one.cut(number % (len(one.tokens) + 1))
        elif what == "end":
            one.cut(0)
            live.remove(one)
        else:
            before, wanted = memory.pool.free, one.needs(len(one.tokens), len(one.tokens) + 1)
            try:
                memory.write(one, n)
                assert memory.pool.free == before - wanted or wanted == 0
            except CacheFullError:
                assert wanted > before == memory.pool.free
        for sequence in live:
            assert memory.read(sequence) == sequence.tokens
        users = np.bincount([p for s in live for p in s.pages], minlength=12)
        assert [memory.pool.users(p) for p in range(12)] == list(users)
        assert memory.pool.used == np.count_nonzero(users)
    for sequence in live:
        sequence.cut(0)
    assert memory.pool.free == 11


def test_a_shared_page_is_copied_before_it_is_written() -> None:
    memory = Memory(8)
    first = memory.sequence()
    for token in range(6):
        memory.write(first, token)
    second = first.fork(6)
    assert second.pages == first.pages
    memory.write(second, 60)
    assert second.pages[0] == first.pages[0]
    assert second.pages[1] != first.pages[1]
    memory.write(first, 61)
    assert memory.read(first) == [0, 1, 2, 3, 4, 5, 61]
    assert memory.read(second) == [0, 1, 2, 3, 4, 5, 60]
    assert memory.pool.used == 3


def test_an_interrupted_copy_leaves_the_shared_page(monkeypatch: pytest.MonkeyPatch) -> None:
    memory = Memory(4)
    first = memory.sequence()
    for token in range(3):
        memory.write(first, token)

    def interrupted(target: int, source: int) -> None:
        raise KeyboardInterrupt

    second = first.fork(3)
    monkeypatch.setattr(second, "_copy", interrupted)
    with pytest.raises(KeyboardInterrupt):
        memory.write(second, 9)
    assert memory.read(second) == [0, 1, 2]
    second.cut(0)
    first.cut(0)
    assert memory.pool.used == 0


def test_a_full_pool_says_so_and_takes_nothing() -> None:
    memory = Memory(3)
    one, other = memory.sequence(), memory.sequence()
    other.reserve(0, 1)
    with pytest.raises(CacheFullError, match="2 more pages of 4 tokens are needed, 1 of 2 are free"):
        one.reserve(0, 8)
    assert (one.pages, memory.pool.free) == ([], 1)
    other.cut(0)
    assert one.reserve(0, 8)
    with pytest.raises(CacheFullError, match="all 2 pages"):
        memory.pool.take()


def test_tables_name_pages_that_are_there() -> None:
    table = PageTable(PagePool(5), 2, 3)
    table.changed = False
    table.name(1, [4, 2])
    assert table.array.tolist() == [[NOBODY] * 3, [4, 2, NOBODY]]
    assert table.changed
    for wrong in ([5], [-1], [1, 2, 3, 4]):
        with pytest.raises(ValueError, match="are not up to 3 of 5"):
            table.name(0, wrong)


def test_what_is_free_is_not_given_back() -> None:
    pool = PagePool(2)
    page = pool.take()
    pool.release(page)
    for action in (pool.release, pool.share):
        with pytest.raises(ValueError, match="page 1 is free"):
            action(page)
    with pytest.raises(ValueError, match="needs a page"):
        PagePool(1)
    assert pages_of(65, 64) == 2
