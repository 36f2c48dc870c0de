from __future__ import annotations

import threading
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from heliostat.diagnostics import DeviceMemoryError
from heliostat.runtime.cuda.pool import GRAIN, SIZE_CLASSES, Block, Pool

MIB = 1 << 20


class Memory:
    """A source of `limit` bytes that hands out addresses and checks what comes back."""

    def __init__(self, limit: int = 1 << 40) -> None:
        self.limit = limit
        self.live: dict[int, int] = {}
        self.made = 0
        self._next = 1 << 30

    def allocate_segment(self, nbytes: int) -> int:
        assert nbytes % (2 * MIB) == 0
        if sum(self.live.values()) + nbytes > self.limit:
            raise DeviceMemoryError("full")
        address, self._next = self._next, self._next + nbytes  # neighbours touch: joining over them would show
        self.live[address] = nbytes
        self.made += 1
        return address

    def release_segment(self, address: int) -> None:
        del self.live[address]

    def free_bytes(self) -> int:
        return self.limit - sum(self.live.values())


class Point:
    """A fence that is passed when it is told so."""

    def __init__(self) -> None:
        self.passed = False
        self.waited = 0

    def done(self) -> bool:
        return self.passed

    def synchronize(self) -> None:
        self.waited += 1
        self.passed = True


def consistent(pool: Pool, memory: Memory) -> None:
    """Blocks tile the segments, free neighbours are joined, the free lists hold each free block once."""
    blocks = pool.blocks()
    stats = pool.stats()
    assert sum(b.nbytes for b in blocks) == stats.reserved == sum(memory.live.values())
    assert sum(b.nbytes for b in blocks if not b.free) == stats.allocated
    for a, b in pairwise(blocks):
        assert a.address + a.nbytes <= b.address
        if a.after is b:
            assert b.before is a
            assert a.address + a.nbytes == b.address
            assert not (a.free and b.free)
            assert (a.stream, a.kind) == (b.stream, b.kind)
        else:
            assert a.after is None
            assert b.before is None
            assert b.address in memory.live
    listed = sorted(address for keys in pool._free.values() for _, address in keys)
    assert listed == [b.address for b in blocks if b.free]
    for (stream, kind), keys in pool._free.items():
        assert keys == sorted(keys)
        for nbytes, address in keys:
            block = pool._blocks[address]
            assert (block.nbytes, block.stream, block.kind) == (nbytes, stream, kind)


def test_small_requests_share_a_segment_and_join_again() -> None:
    memory = Memory()
    pool = Pool(memory)
    a, b, c = (pool.allocate(n) for n in (1, 513, 512))
    assert (memory.made, pool.stats().reserved) == (1, 2 * MIB)
    assert [x.nbytes for x in (a, b, c)] == [512, 1024, 512]
    assert (b.address, c.address) == (a.address + 512, b.address + 1024)
    pool.free(a)
    pool.free(c)
    assert [x.free for x in pool.blocks()] == [True, False, True]
    pool.free(b)  # joins with both sides: one block again
    assert [(x.nbytes, x.free) for x in pool.blocks()] == [(2 * MIB, True)]
    consistent(pool, memory)


def test_smallest_block_that_fits_is_taken() -> None:
    pool = Pool(Memory())
    blocks = [pool.allocate(n * GRAIN) for n in (8, 1, 4, 1, 6, 1)]
    for at in (0, 2, 4):
        pool.free(blocks[at])
    assert pool.allocate(3 * GRAIN).address == blocks[2].address
    assert pool.allocate(5 * GRAIN).address == blocks[4].address
    assert pool.allocate(7 * GRAIN).address == blocks[0].address


def test_freed_memory_is_used_again_without_the_driver() -> None:
    memory = Memory()
    pool = Pool(memory)
    for _ in range(10):
        pool.free(pool.allocate(100 * MIB + 5))
    assert (memory.made, pool.stats().requests, pool.stats().segments_made) == (1, 10, 1)
    assert pool.stats().peak_reserved == 102 * MIB
    assert pool.stats().pooled == 102 * MIB


def test_large_blocks_keep_small_rests() -> None:
    pool = Pool(Memory())
    block = pool.allocate(20 * MIB - 4096)
    assert (block.nbytes, block.requested) == (20 * MIB, 20 * MIB - 4096)
    assert len(pool.blocks()) == 1


def test_streams_do_not_share_blocks() -> None:
    pool = Pool(Memory())
    a = pool.allocate(1000, stream=1)
    pool.free(a)
    assert pool.allocate(1000, stream=2).address != a.address
    assert pool.allocate(1000, stream=1).address == a.address


def test_fences_delay_reuse() -> None:
    memory = Memory()
    pool = Pool(memory)
    a = pool.allocate(1000)
    fence = Point()
    pool.free(a, [fence])
    b = pool.allocate(1000)
    assert b.address != a.address
    assert pool.stats().allocated == 2048
    fence.passed = True
    assert pool.allocate(1000).address == a.address
    consistent(pool, memory)


def test_empty_gives_back_whole_segments_only() -> None:
    memory = Memory()
    pool = Pool(memory)
    a, b = pool.allocate(30 * MIB), pool.allocate(10 * MIB)
    c, d = pool.allocate(1000), pool.allocate(1000)
    for block in (a, c):
        pool.free(block)
    fence = Point()
    pool.free(b, [fence])
    assert pool.empty() == 40 * MIB  # waits for the fence; the small segment still holds d
    assert (fence.waited, pool.stats().reserved, pool.stats().segments_released) == (1, 2 * MIB, 2)
    consistent(pool, memory)
    pool.free(d)
    pool.empty()
    assert not memory.live
    assert pool.stats().reserved == 0


def test_out_of_memory_empties_the_pool_and_tries_again() -> None:
    memory = Memory(100 * MIB)
    pool = Pool(memory)
    pool.free(pool.allocate(60 * MIB, stream=1))
    assert pool.allocate(80 * MIB, stream=2).nbytes == 80 * MIB
    assert (pool.stats().retries, list(memory.live.values())) == (1, [80 * MIB])
    consistent(pool, memory)


def test_out_of_memory_says_asked_free_and_pooled_and_the_pool_lives_on() -> None:
    memory = Memory(100 * MIB)
    pool = Pool(memory, "cuda:1")
    kept = pool.allocate(1000)
    with pytest.raises(
        DeviceMemoryError, match=r"cuda:1 is out of memory: asked for 0\.21 GB .*free are 0\.10 GB"
    ) as e:
        pool.allocate(200 * MIB)
    assert (e.value.requested, e.value.free, e.value.pooled) == (200 * MIB, 98 * MIB, 2 * MIB - 1024)
    assert pool.allocate(1 * MIB).address == kept.address + kept.nbytes
    consistent(pool, memory)


def test_bad_use() -> None:
    pool = Pool(Memory())
    with pytest.raises(ValueError, match="negative"):
        pool.allocate(-1)
    block = pool.allocate(0)
    assert block.nbytes == GRAIN
    pool.free(block)
    with pytest.raises(ValueError, match="freed twice"):
        pool.free(block)


def test_free_inside_of_allocate_does_not_wait_for_the_lock() -> None:
    """A finalizer may run while its own thread is inside the pool."""
    memory = Memory()
    pool = Pool(memory)
    a = pool.allocate(10)

    class Collecting(Memory):
        def allocate_segment(self, nbytes: int) -> int:
            pool.free(a)
            return memory.allocate_segment(nbytes)

    pool._source = Collecting()
    b = pool.allocate(5 * MIB)
    assert not b.free
    assert pool.allocate(10).address == a.address
    consistent(pool, memory)


def test_threads() -> None:
    memory = Memory()
    pool = Pool(memory)

    def work(stream: int) -> None:
        held: list[Block] = []
        for i in range(300):
            held.append(pool.allocate((i * 7919) % (3 * MIB), stream))
            if len(held) > 5:
                pool.free(held.pop(i % 5))
        for block in held:
            pool.free(block)

    threads = [threading.Thread(target=work, args=(i % 2,)) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert pool.stats().allocated == 0
    assert all(block.whole for block in pool.blocks())
    consistent(pool, memory)


SIZES = st.one_of(st.integers(0, 5000), st.integers(0, 4 * MIB), st.sampled_from([c.most for c in SIZE_CLASSES[:2]]),
                  st.integers(7 * MIB, 80 * MIB))  # fmt: skip


@given(st.lists(st.tuples(st.integers(0, 3), SIZES, st.integers(0, 2), st.integers(0, 99)), max_size=60))
def test_any_order_of_calls_keeps_the_pool_consistent(steps: list[tuple[int, int, int, int]]) -> None:
    memory = Memory(300 * MIB)
    pool = Pool(memory)
    held: list[Block] = []
    fences: list[Point] = []
    for action, size, stream, pick in steps:
        if action <= 1:
            try:
                block = pool.allocate(size, stream)
            except DeviceMemoryError:
                continue
            assert block.nbytes >= size
            assert block.stream == stream
            assert all(block.address + block.nbytes <= b.address or b.address + b.nbytes <= block.address for b in held)
            held.append(block)
        elif action == 2 and held:
            fences.append(Point())
            pool.free(held.pop(pick % len(held)), fences[-1:] if pick % 3 == 0 else ())
        elif pick % 4 == 0:
            pool.empty()
        elif fences:
            fences.pop(pick % len(fences)).passed = True
        consistent(pool, memory)
    for block in held:
        pool.free(block)
    pool.empty()
    assert not memory.live


def test_a_limit_is_kept_and_unused_segments_make_room() -> None:
    pool = Pool(Memory())
    pool.limit = 80 * MIB
    a = pool.allocate(40 * MIB)
    pool.free(a)
    b = pool.allocate(60 * MIB)  # the other segment goes back first
    assert pool.stats().reserved == 60 * MIB
    with pytest.raises(DeviceMemoryError, match="the limit of this process is 83"):
        pool.allocate(30 * MIB)
    assert [len(blocks) for blocks in pool.segments()] == [1]
    pool.limit = None
    assert pool.allocate(30 * MIB).nbytes == 30 * MIB
    pool.free(b)
