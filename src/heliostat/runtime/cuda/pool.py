"""A caching pool of device memory: blocks by stream, cut from segments, joined again when they are freed.

Allocation and release of the driver wait for the device, so memory that was freed is kept and handed out again. This is
bookkeeping alone: where segments come from, and when an event is done, are told by `Source` and `Fence`.
"""

from __future__ import annotations

import threading
from bisect import bisect_left, insort
from collections import deque
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Protocol

from ...diagnostics import DeviceMemoryError

GRAIN = 512
"""Sizes and addresses of blocks are multiples of this many bytes."""

_MIB = 1 << 20


@dataclass(frozen=True)
class SizeClass:
    """Requests up to `most` bytes are cut from segments of `segment` bytes; a rest of `least_rest` bytes or more
    becomes a block of its own. `segment` 0: a segment of the request's own size, in multiples of 2 MiB."""

    most: int
    segment: int
    least_rest: int


SIZE_CLASSES = (
    SizeClass(most=1 * _MIB, segment=2 * _MIB, least_rest=GRAIN),
    SizeClass(most=8 * _MIB, segment=32 * _MIB, least_rest=1 * _MIB),
    SizeClass(most=1 << 62, segment=0, least_rest=1 * _MIB),
)
_LARGE_GRAIN = 2 * _MIB  # the driver maps memory in pages of 2 MiB


class Source(Protocol):
    """Where segments come from."""

    def allocate_segment(self, nbytes: int) -> int:
        """Address of new memory. Raises DeviceMemoryError."""

    def release_segment(self, address: int) -> None:
        """Give memory back; waits until the device no longer uses it."""

    def free_bytes(self) -> int:
        """Memory of the device that nobody has allocated."""


class Fence(Protocol):
    """A point in another stream's work."""

    def done(self) -> bool:
        """Whether the device has passed it."""

    def synchronize(self) -> None:
        """Wait for it."""


class Block:
    """A run of bytes inside a segment: `nbytes` at `address`, in use or free. Neighbours are linked."""

    __slots__ = ("address", "after", "before", "free", "kind", "nbytes", "requested", "stream")

    def __init__(self, address: int, nbytes: int, stream: Hashable, kind: int) -> None:
        self.address = address
        self.nbytes = nbytes
        self.requested = 0
        self.stream = stream
        self.kind = kind
        self.free = True
        self.before: Block | None = None
        self.after: Block | None = None

    @property
    def whole(self) -> bool:
        """Whether the block is a whole segment."""
        return self.before is None and self.after is None

    def __repr__(self) -> str:
        return f"Block({self.nbytes} bytes at {self.address:#x}, {'free' if self.free else 'used'})"


@dataclass(frozen=True)
class PoolStats:
    """Bytes and counts of a pool since it was made. `reserved` - `allocated` is what is kept for later use."""

    allocated: int = 0  # bytes of blocks in use
    reserved: int = 0  # bytes of all segments
    peak_allocated: int = 0
    peak_reserved: int = 0
    requests: int = 0
    segments_made: int = 0  # calls of cuMemAlloc that succeeded
    segments_released: int = 0  # calls of cuMemFree
    retries: int = 0  # requests that emptied the pool and tried again

    @property
    def pooled(self) -> int:
        """Bytes that the pool holds and nobody uses."""
        return self.reserved - self.allocated


_Key = tuple[int, int]  # size, address


class Pool:
    """The memory of one device. Safe to use from several threads, and from finalizers.

    A block belongs to the stream it was allocated for: freed, it may be handed out again at once, since work on one
    stream runs in order. Use on other streams is told to `free` by fences.
    """

    def __init__(self, source: Source, name: str = "device") -> None:
        self._source = source
        self._name = name
        self.limit: int | None = None  # bytes of all segments that are not to be passed
        self._lock = threading.Lock()
        self._free: dict[tuple[Hashable, int], list[_Key]] = {}  # sorted by size, then address
        self._blocks: dict[int, Block] = {}  # all blocks by address
        self._returned: deque[tuple[Block, Sequence[Fence]]] = deque()  # freed, not yet taken back
        self._fenced: list[tuple[Block, Sequence[Fence]]] = []  # freed, still used by another stream
        self._allocated = self._reserved = self._peak_allocated = self._peak_reserved = 0
        self._requests = self._made = self._released = self._retries = 0

    def allocate(self, nbytes: int, stream: Hashable = 0) -> Block:
        """A block of at least `nbytes` bytes (none at all for 0: the smallest block) for work on `stream`.

        Out of memory, the pool is emptied and the request made once more. Raises DeviceMemoryError, ValueError if
        `nbytes` is negative.
        """
        if nbytes < 0:
            raise ValueError(f"nbytes must not be negative, got {nbytes}")
        size = max(-(-nbytes // GRAIN), 1) * GRAIN
        kind = next(i for i, c in enumerate(SIZE_CLASSES) if size <= c.most)
        with self._lock:
            self._requests += 1
            self._take_back()
            block = self._find(size, stream, kind) or self._grow(size, stream, kind, nbytes)
            self._cut(block, size, SIZE_CLASSES[kind].least_rest)
            block.free = False
            block.requested = nbytes
            self._allocated += block.nbytes
            self._peak_allocated = max(self._peak_allocated, self._allocated)
            return block

    def free(self, block: Block, fences: Sequence[Fence] = ()) -> None:
        """Take a block back, once the fences of other streams are passed. Never waits, takes no lock that is held."""
        self._returned.append((block, fences))
        if self._lock.acquire(blocking=False):  # a finalizer may run inside `allocate`, which then does this later
            try:
                self._take_back()
            finally:
                self._lock.release()

    def empty(self, wait: bool = True) -> int:
        """Release every segment that is not in use. Waits for fences. Returns the bytes given back to the device: none
        if another call has the pool, unless it may `wait`."""
        if not self._lock.acquire(blocking=wait):
            return 0
        try:
            return self._empty()
        finally:
            self._lock.release()

    def stats(self) -> PoolStats:
        """Where the memory is now, and what was done so far."""
        with self._lock:
            self._take_back()
            return PoolStats(
                self._allocated,
                self._reserved,
                self._peak_allocated,
                self._peak_reserved,
                self._requests,
                self._made,
                self._released,
                self._retries,
            )

    def shortage(self, what: str) -> DeviceMemoryError:
        """The error of something else that found no memory on the device, with where the memory is."""
        return self._error(what, None)

    def reset_peak(self) -> None:
        """Count both peaks from what is allocated and reserved now."""
        with self._lock:
            self._peak_allocated, self._peak_reserved = self._allocated, self._reserved

    def blocks(self) -> list[Block]:
        """All blocks by address, for reports and tests."""
        with self._lock:
            self._take_back()
            return [self._blocks[address] for address in sorted(self._blocks)]

    def segments(self) -> list[list[Block]]:
        """The blocks of each segment, both by address."""
        found: list[list[Block]] = []
        for block in self.blocks():
            if block.before is None:
                found.append([])
            found[-1].append(block)
        return found

    def _take_back(self) -> None:
        while self._returned:
            block, fences = self._returned.popleft()
            if block.free:
                raise ValueError(f"{block} is freed twice")
            if all(fence.done() for fence in fences):
                self._join(block)
            else:
                self._fenced.append((block, fences))
        if self._fenced:
            waiting = self._fenced
            self._fenced = []
            for block, fences in waiting:
                if all(fence.done() for fence in fences):
                    self._join(block)
                else:
                    self._fenced.append((block, fences))

    def _find(self, size: int, stream: Hashable, kind: int) -> Block | None:
        """The smallest free block that is large enough, the one of the lowest address among equals."""
        keys = self._free.get((stream, kind))
        if not keys:
            return None
        at = bisect_left(keys, (size, 0))
        return self._blocks[keys.pop(at)[1]] if at < len(keys) else None

    def _grow(self, size: int, stream: Hashable, kind: int, nbytes: int) -> Block:
        segment = SIZE_CLASSES[kind].segment or -(-size // _LARGE_GRAIN) * _LARGE_GRAIN
        try:
            address = self._segment(segment)
        except DeviceMemoryError:
            self._retries += 1
            self._empty()
            try:
                address = self._segment(segment)
            except DeviceMemoryError as error:
                raise self._error(f"asked for {_size(nbytes)} (a segment of {_size(segment)})", nbytes) from error
        block = Block(address, segment, stream, kind)
        self._blocks[address] = block
        self._made += 1
        self._reserved += segment
        self._peak_reserved = max(self._peak_reserved, self._reserved)
        return block

    def _segment(self, nbytes: int) -> int:
        if self.limit is not None and self._reserved + nbytes > self.limit:
            raise DeviceMemoryError(f"{self._name}: {_size(nbytes)} more would pass the limit of {_size(self.limit)}")
        return self._source.allocate_segment(nbytes)

    def _error(self, what: str, nbytes: int | None) -> DeviceMemoryError:
        free, pooled = self._source.free_bytes(), self._reserved - self._allocated
        limit = "" if self.limit is None else f", the limit of this process is {_size(self.limit)}"
        return DeviceMemoryError(
            f"{self._name} is out of memory: {what}, free are {_size(free)}, in use by this process"
            f" {_size(self._allocated)}, pooled {_size(pooled)}{limit}",
            requested=nbytes,
            free=free,
            pooled=pooled,
            help="use a smaller model, context or batch, a smaller weight format, or free what other processes hold",
        )

    def _cut(self, block: Block, size: int, least_rest: int) -> None:
        rest = block.nbytes - size
        if rest < least_rest:
            return
        tail = Block(block.address + size, rest, block.stream, block.kind)
        tail.before, tail.after = block, block.after
        if block.after is not None:
            block.after.before = tail
        block.after = tail
        block.nbytes = size
        self._blocks[tail.address] = tail
        self._insert(tail)

    def _join(self, block: Block) -> None:
        self._allocated -= block.nbytes
        block.free = True
        if block.after is not None and block.after.free:
            self._remove(block.after)
            self._absorb(block, block.after)
        if block.before is not None and block.before.free:
            before = block.before
            self._remove(before)
            self._absorb(before, block)
            block = before
        self._insert(block)

    def _absorb(self, block: Block, after: Block) -> None:
        """`after`, which is in no free list, becomes the end of `block`."""
        block.nbytes += after.nbytes
        block.after = after.after
        if block.after is not None:
            block.after.before = block
        del self._blocks[after.address]

    def _insert(self, block: Block) -> None:
        insort(self._free.setdefault((block.stream, block.kind), []), (block.nbytes, block.address))

    def _remove(self, block: Block) -> None:
        keys = self._free[block.stream, block.kind]
        del keys[bisect_left(keys, (block.nbytes, block.address))]

    def _empty(self) -> int:
        for _, fences in self._fenced:
            for fence in fences:
                fence.synchronize()
        self._take_back()
        before = self._reserved
        unused = [block for block in self._blocks.values() if block.free and block.whole]
        for block in unused:
            self._remove(block)
            del self._blocks[block.address]
            self._released += 1
            self._reserved -= block.nbytes
            self._source.release_segment(block.address)
        self._free = {key: keys for key, keys in self._free.items() if keys}
        return before - self._reserved


def _size(nbytes: int) -> str:
    return (
        f"{nbytes / 1e9:.2f} GB" if nbytes >= 1e8 else f"{nbytes / 1e6:.2f} MB" if nbytes >= 1e5 else f"{nbytes} bytes"
    )
