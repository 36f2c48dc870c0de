"""Runs a kernel as the threads of a GPU do: warps of 32 threads in lock-step, private memory shared by a block,
barriers and shuffles. For tests: it gives `warp.for_threads` its meaning on a machine without a GPU.

A kernel becomes the source of one Python generator (`lockstep_source`), kept as long as the kernel is, which runs a
warp and stops where other warps must have come to a barrier. Here is what warps do with each other: their order,
barriers, copies and products under way. Buffers are byte arrays; every access is checked (`lockstep_memory`).
"""

from __future__ import annotations

import random
import weakref
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt

from .arithmetic import numbers
from .ir import Kernel
from .lockstep_memory import Copy, LockstepError, Memory, copy_runs
from .lockstep_source import Writer
from .warp import WARP, for_threads, team_size

__all__ = ["LockstepError", "run_lockstep"]

Array = npt.NDArray[Any]
_Barrier = str | None  # that of the block is None
_Turn = tuple[_Barrier, int]  # a barrier, to which a warp comes the n-th time, from 1 on
_Steps = Generator[_Turn | None, None, None]  # where a warp waits; None: it goes on, but others may run before
POISON = 0xA5  # what private memory holds before it is written


@dataclass(frozen=True)
class _Program:
    """A kernel made ready: what a warp does, and how many warps a block has (0: those of a block are on their own)."""

    run: Callable[[_Warp], _Steps]
    team: int


_programs: weakref.WeakKeyDictionary[Kernel, _Program] = weakref.WeakKeyDictionary()


def _program(kernel: Kernel) -> _Program:
    found = _programs.get(kernel)
    if found is None:
        found = _programs[kernel] = _Program(Writer(for_threads(kernel)).function(), team_size(kernel))
    return found


def run_lockstep(kernel: Kernel, arrays: Sequence[Array], blocks: int = 2, warps: int = 2) -> None:
    """Run a kernel once on `arrays`, one for each parameter, with `blocks` of `warps` warps (of its team, if it has
    one). Raises LockstepError.
    """
    program = _program(kernel)
    memory = [Memory(a.reshape(-1).view(np.uint8)) for _, a in zip(kernel.buffers, arrays, strict=True)]
    team = program.team
    workers = blocks if team else blocks * warps
    with np.errstate(all="ignore"):
        for block in range(blocks):
            shared: dict[int, Memory] = {}
            meeting = _Meeting(team or warps)
            together = [
                _Warp(memory, shared if team else {}, w, block if team else block * warps + w, workers, meeting)
                for w in range(team or warps)
            ]
            _run_together(kernel.name, program.run, together, meeting)


def _run_together(name: str, run: Callable[[_Warp], _Steps], warps: Sequence[_Warp], meeting: _Meeting) -> None:
    """Run the warps of a block in an order of chance, each up to where it comes to a barrier or waits there."""
    running = [run(w) for w in warps]
    chance, free = random.Random(0), meeting.free
    while free:
        at = chance.randrange(len(free))
        n = free[at]
        try:
            waits = next(running[n])
        except StopIteration:
            del free[at]
            if warps[n].is_busy():
                raise LockstepError(f"kernel {name} ends while copies or products are under way") from None
        else:
            if waits is not None and not meeting.is_complete(waits):
                del free[at]
                meeting.waiting.setdefault(waits, []).append(n)
    if meeting.waiting:
        raise LockstepError(f"kernel {name}: a warp ended while others wait at a barrier, or all wait")


class _Meeting:
    """How often the warps of a block came to each barrier, which of them wait there, and which may go on."""

    def __init__(self, size: int) -> None:
        self.size = size
        self.free = list(range(size))
        self.waiting: dict[_Turn, list[int]] = {}
        self.came: dict[_Turn, int] = {}

    def come(self, turn: _Turn) -> None:
        """One more warp is there; with the last one, those that wait are free."""
        self.came[turn] = self.came.get(turn, 0) + 1
        if self.came[turn] == self.size:
            self.free += self.waiting.pop(turn, ())

    def is_complete(self, turn: _Turn) -> bool:
        """Whether all warps came to that barrier so often; none needs to have come 0 times."""
        return turn[1] == 0 or self.came.get(turn, 0) == self.size


@dataclass
class _Product:
    """One of `warpgroup_mma` under way: what it adds to which sums, and the tiles that it read, as bits."""

    sums: Sequence[int]
    parts: list[Array]
    fresh: bool
    tiles: Callable[[], list[Array]]
    read: list[Array]


class _Warp:
    """A warp as the source of a kernel sees it."""

    def __init__(
        self,
        memory: list[Memory],
        private: dict[int, Memory],
        warp: int,
        worker: int,
        workers: int,
        meeting: _Meeting,
    ) -> None:
        self.memory, self.private, self.meeting = memory, private, meeting
        self.warp, self.worker, self.workers = warp, worker, workers
        self.arrived: dict[_Barrier, int] = {}
        self.awaited: dict[_Barrier, int] = {}
        self.copies: list[Copy] = []
        self.groups: list[list[Copy]] = []
        self.products: list[_Product] = []
        self.sums: dict[int, Array] = {}
        self.before: dict[int, Array] = {}  # sums of products under way, without them

    def came(self, barrier: _Barrier) -> int:
        """How often this warp came to a barrier."""
        return self.arrived.get(barrier, 0)

    def is_busy(self) -> bool:
        """Whether copies or products are under way."""
        return bool(self.copies or any(self.groups) or self.products)

    def private_memory(self, number: int, nbytes: int) -> Memory:
        """Private memory, which all warps of a team share."""
        if number not in self.private:
            self.private[number] = Memory(np.full(nbytes, POISON, np.uint8))
        return self.private[number]

    def part(self, count: int) -> range:
        """The iterations of a parallel region that this worker does."""
        return range(count * self.worker // self.workers, count * (self.worker + 1) // self.workers)

    # --- barriers ---------------------------------------------------------------------------------------------------
    def arrive(self, barrier: _Barrier) -> _Turn:
        """Come to a barrier: where to wait for the others."""
        self.arrived[barrier] = self.came(barrier) + 1
        turn = barrier, self.arrived[barrier]
        self.meeting.come(turn)
        return turn

    def arrive_before_wait(self, barrier: str) -> None:
        if self.came(barrier) != self.awaited.get(barrier, 0):
            raise LockstepError("a warp comes to a barrier again before it waited there")
        self.arrive(barrier)

    def wait(self, barrier: str) -> _Turn:
        self.awaited[barrier] = self.awaited.get(barrier, 0) + 1
        return barrier, self.came(barrier)

    # --- copies -----------------------------------------------------------------------------------------------------
    def copy(self, private: Memory, to: Array, buffer: Memory, source: Array, count: Array) -> None:
        self.copies.append(copy_runs(private, to, buffer, source, count, POISON))

    def commit_copies(self) -> None:
        self.groups.append(self.copies)
        self.copies = []

    def wait_copies(self, left: int) -> None:
        while len(self.groups) > left:
            for private, where, units in self.groups.pop(0):
                private.view(16)[where] = units

    # --- products ---------------------------------------------------------------------------------------------------
    def multiply(
        self,
        private: Memory,
        b_at: int,
        a: Sequence[Array] | int,
        sums: Sequence[int],
        steps: int,
        strides: Sequence[int],
        kind: str,
        turned: tuple[bool, bool],
        fresh: bool,
    ) -> None:
        """Begin a product: each warp takes its 16 rows of A, which lie at `a` or are in registers. The tiles are read
        here, so that a missing barrier shows, and once more when the product is done; until then its sums are NaN.
        """
        turned_a, turned_b = turned
        first = 16 * (self.warp % 4)
        wanted = [(b_at, 0, 8 * len(sums), strides[-2:], turned_b)]
        if isinstance(a, int):
            wanted.append((a, first, first + 16, strides[:2], turned_a))

        def tiles() -> list[Array]:
            return [
                _core_matrices(private, at, start, end, 16 * steps, tuple(apart), turn)
                for at, start, end, apart, turn in wanted
            ]

        read = tiles()
        if isinstance(a, int):
            x = numbers(read[1], kind)
        else:
            x = np.concatenate([_rows_of_a(v, kind) for v in a], axis=1)
        product = x @ numbers(read[0], kind).T
        held = product.reshape(2, 8, len(sums), 4, 2).transpose(2, 1, 3, 0, 4).reshape(len(sums), WARP, 4)
        self.products.append(_Product(sums, list(held), fresh, tiles, read))
        for v in sums:
            if v not in self.before:
                self.before[v] = self.sums[v]
            self.sums[v] = _UNKNOWN

    def wait_products(self, left: int) -> None:
        """The oldest products are done: their sums are there, unless a later one adds to them."""
        while len(self.products) > left:
            done = self.products.pop(0)
            if not all(map(np.array_equal, done.tiles(), done.read)):
                raise LockstepError("a tile changed while a product read it")
            later = {v for p in self.products for v in p.sums}
            for v, part in zip(done.sums, done.parts, strict=True):
                self.before[v] = (part if done.fresh else self.before[v] + part).astype(np.float32)
                if v not in later:
                    self.sums[v] = self.before.pop(v)


_UNKNOWN = np.full((WARP, 4), np.nan, np.float32)
_UNKNOWN.flags.writeable = False


def _core_matrices(
    memory: Memory, at: int, first: int, end: int, columns: int, strides: tuple[int, ...], turned: bool
) -> Array:
    """The 16 bits of elements (rows first .. end, columns) that lie in core matrices, `strides` apart, or in lines of
    64 rows."""
    if at % 16:
        raise LockstepError(f"a tile at {at} is not aligned to 16 bytes")
    base = at - at % 1024  # bits that are exchanged lie below
    where, last = _tile(at - base, first, end, columns, strides, turned)
    if at < 0 or base + last + 2 > memory.size:
        raise LockstepError(f"a tile at {at} reaches past private memory of {memory.size} bytes")
    return memory.view(2)[base // 2 :].take(where)


@lru_cache(maxsize=128)
def _tile(at: int, first: int, end: int, columns: int, strides: tuple[int, ...], turned: bool) -> tuple[Array, int]:
    """Where the elements lie, in units of 2 bytes, and the last byte of all."""
    r, c = np.arange(first, end)[:, None], np.arange(columns)
    if turned:
        where = at + r // 64 * strides[0] + c // 8 * strides[1] + c % 8 * 128 + r % 64 * 2
        where ^= where >> 3 & 112
    elif strides == (16, 1024):
        where = at + r * 128 + c * 2
        where ^= (where >> 7 & 7) << 4
    else:
        where = at + c // 8 * strides[0] + r // 8 * strides[1] + r % 8 * 16 + c % 8 * 2
    return where // 2, int(where.max())


def _rows_of_a(value: Array, kind: str) -> Array:
    """Operand a of `mma`, 8 elements of each thread, as rows (16, 16)."""
    held = numbers(np.ascontiguousarray(value).view(np.uint16), kind)
    return held.reshape(8, 4, 2, 2, 2).transpose(3, 0, 2, 1, 4).reshape(16, 16)
