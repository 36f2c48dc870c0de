"""Schedule of `merge_runs`: every share of the result finds by halves where it begins in both runs, and merges from
there on its own (Odeh et al., Merge path, 2012). On a GPU each thread has a share; a core has several at once, since
one comparison waits for the one before.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ..ir.types import numel
from ..kernel.builder import KernelBuilder, Variable
from ..kernel.ir import Instruction, Kernel
from ..ops.sort import PIECE
from ..targets.target import Target
from .group import Accept, Dims, Group, Refuse

ROOTS = ("merge_runs",)
CHAINS = 4  # shares that a core merges at once
MOST_SHARE = 1024  # elements of a share of a core


def accepts(group: Group, target: Target) -> Accept | Refuse:
    if group.root.op.name != "merge_runs" or len(group.nodes) != 1:
        return Refuse("not a merge_runs by itself")
    return Accept()


def build(group: Group, target: Target, name: str, tune: None = None) -> Kernel:
    """x: (..., N) i64. Reads x once, and for each share log2(run) elements more, and writes the result once."""
    k = KernelBuilder(name, target.capability)
    source, out = k.buffer("i0", "r"), k.buffer("o0", "w")
    type = group.root.inputs[0].type
    size, run = int(type.shape[-1]), group.root.attrs["run"]  # type: ignore[arg-type]
    rows = Dims(k, group.symbols)(numel(type.shape[:-1]))
    share = PIECE // (target.lanes if target.gpu else CHAINS)
    while not target.gpu and share < MOST_SHARE and size % (2 * CHAINS * share) == 0:
        share *= 2
    each = share * (target.lanes if target.gpu else CHAINS)
    pieces = size // each
    for item in k.parallel(rows * pieces):
        row, first = item // pieces, item % pieces * each
        merge = _Merge(k, source, out, row * (size * 8), size, run, share)
        if target.gpu:
            merge.by_threads(k.convert(first, "i32"), target.lanes)
        else:
            merge.by_core([first + n * share for n in range(CHAINS)])
    return k.finish()


class _Merge:
    """Shares of a row that lies at byte `base`. Places are i64 numbers, or vectors of i32 of which threads have one."""

    def __init__(
        self,
        k: KernelBuilder,
        source: Instruction,
        out: Instruction,
        base: Instruction,
        size: int,
        run: int,
        share: int,
    ) -> None:
        self.k, self.source, self.out, self.base = k, source, out, base
        self.size, self.run, self.share = size, run, share

    def at(self, place: Instruction) -> Instruction:
        """Elements by place; one outside of the row is the nearest inside."""
        k = self.k
        inside = k.maximum(k.minimum(place, self.size - 1), 0)
        if inside.lanes == 1:
            return k.load(self.source, self.base + inside * 8, "i64")
        return k.gather(self.source, self.base, inside * 8, "i64")

    def bound(self, start: Instruction) -> _Bound:
        """Where a share that starts there may begin."""
        k = self.k
        segment = start // (2 * self.run) * (2 * self.run)
        middle, end = (k.minimum(segment + n * self.run, self.size) for n in (1, 2))
        place = start - segment
        low, high = k.maximum(place - (end - middle), 0), k.minimum(place, middle - segment)
        return _Bound(segment, middle, end, place, k.var(low), k.var(high))

    def less(self, b: _Bound, place: Instruction, i: Instruction) -> Instruction:
        """Whether so many of the first run are too few of `place` elements of both."""
        return self.at(b.segment + i) < self.at(b.middle + (place - 1 - i))

    def halve(self, bounds: Sequence[_Bound], most: int) -> None:
        """The beginnings, of bounds that are at most so far apart."""
        k = self.k
        for _ in k.loop(most.bit_length()):
            for b in bounds:
                low, high = b.low.get(), b.high.get()
                half = (low + high) >> 1
                less = self.less(b, b.place, half)
                b.low.set(k.select((low < high) & less, half + 1, low))
                b.high.set(k.select((low < high) & ~less, half, high))

    def narrow(self, b: _Bound, lanes: int) -> None:
        """The beginning of one share by all threads of a warp: each tries another one of as many places."""
        k, most = self.k, min(self.run, self.size)
        rounds = 0
        while most:
            most, rounds = most // (lanes + 1), rounds + 1
        for _ in k.loop(rounds):
            low, high = b.low.get(), b.high.get()
            step = (high - low) // (lanes + 1) + 1
            tried = low + step * (k.iota("i32", lanes) + 1) - 1
            less = (tried < high) & self.less(b, b.place, tried)
            low = low + step * k.reduce_add(k.convert(less, "i32", signed=False))
            b.low.set(low)
            b.high.set(k.minimum(low + step - 1, high))

    def by_core(self, starts: Sequence[Instruction]) -> None:
        k, bounds = self.k, [self.bound(start) for start in starts]
        self.halve(bounds, min(self.run, self.size))
        shares = [_Share(self, b) for b in bounds]
        for n in k.loop(self.share):
            for start, share in zip(starts, shares, strict=True):
                k.store(self.out, self.base + (start + n) * 8, share.next())

    def by_threads(self, first: Instruction, lanes: int) -> None:
        """Threads begin near to where their warp does. Two elements of each are stored at once."""
        k = self.k
        whole = self.bound(first)
        self.narrow(whole, lanes)
        before = k.iota("i32", lanes) * self.share
        start = first + before
        mine = self.bound(start)
        mine.low.set(k.maximum(mine.low.get(), whole.low.get()))
        mine.high.set(k.minimum(mine.high.get(), whole.low.get() + before))
        self.halve([mine], PIECE)
        share = _Share(self, mine)
        both = [n // 2 + n % 2 * lanes for n in range(2 * lanes)]
        for n in range(0, self.share, 2):
            pair = k.shuffle(share.next(), share.next(), both)
            k.scatter(self.out, self.base, (start + n) * 8, pair)


@dataclass(frozen=True)
class _Bound:
    """A share that is `place` elements behind the beginning of two runs, `segment .. middle` and `middle .. end`: it
    begins with `low` to `high` of the first run before it."""

    segment: Instruction
    middle: Instruction
    end: Instruction
    place: Instruction
    low: Variable
    high: Variable


class _Share:
    """What is left of two runs: from places i and j on, to their ends."""

    def __init__(self, merge: _Merge, b: _Bound) -> None:
        k = merge.k
        i, j = b.segment + b.low.get(), b.middle + (b.place - b.low.get())
        self.merge, self.ends = merge, (b.middle, b.end)
        self.i, self.j = k.var(i), k.var(j)
        self.a, self.b = k.var(merge.at(i)), k.var(merge.at(j))

    def next(self) -> Instruction:
        """The smaller of both first elements, which goes."""
        k, merge = self.merge.k, self.merge
        i, j, a, b = (v.get() for v in (self.i, self.j, self.a, self.b))
        first = (j >= self.ends[1]) | ((i < self.ends[0]) & (a < b))
        after = merge.at(k.select(first, i, j) + 1)
        _step(k, self.i, self.a, first, i, a, after)
        _step(k, self.j, self.b, ~first, j, b, after)
        return k.select(first, a, b)


def _step(
    k: KernelBuilder,
    place: Variable,
    held: Variable,
    goes: Instruction,
    at: Instruction,
    value: Instruction,
    after: Instruction,
) -> None:
    place.set(k.select(goes, at + 1, at))
    held.set(k.select(goes, after, value))
