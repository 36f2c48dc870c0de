"""Schedule of `merge_runs`: every share of the result finds by halves where it begins in both runs, and merges from
there on its own (Odeh et al., Merge path, 2012). On a GPU each thread has a share; a core has several at once, since
one comparison waits for the one before.
"""

from __future__ import annotations

from collections.abc import Sequence

from ..ir.types import numel
from ..kernel.builder import KernelBuilder, Variable
from ..kernel.ir import Instruction, Kernel
from ..ops.sort import PIECE
from ..targets.target import Target
from .group import Accept, Dims, Group, Refuse

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
            start = k.splat(k.convert(first, "i32"), target.lanes) + k.iota("i32", target.lanes) * share
            merge.by_threads(start)
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

    def begin(self, starts: Sequence[Instruction]) -> list[_Share]:
        """Shares of the result from each start on, where they begin in both runs of theirs."""
        k = self.k
        bounds = []
        for start in starts:
            segment = start // (2 * self.run) * (2 * self.run)
            middle, end = (k.minimum(segment + n * self.run, self.size) for n in (1, 2))
            place = start - segment
            low = k.maximum(place - (end - middle), 0)
            high = k.minimum(place, middle - segment)
            bounds.append((segment, middle, end, place, k.var(low), k.var(high)))
        for _ in k.loop(min(self.run, self.size).bit_length()):
            for segment, middle, _end, place, lowest, highest in bounds:
                a, b = lowest.get(), highest.get()
                half = (a + b) >> 1
                less = self.at(segment + half) < self.at(middle + (place - 1 - half))
                lowest.set(k.select((a < b) & less, half + 1, a))
                highest.set(k.select((a < b) & ~less, half, b))
        made = []
        for segment, middle, end, place, lowest, _ in bounds:
            i, j = segment + lowest.get(), middle + (place - lowest.get())
            made.append(_Share(self, i, j, middle, end))
        return made

    def by_core(self, starts: Sequence[Instruction]) -> None:
        k, shares = self.k, self.begin(starts)
        for n in k.loop(self.share):
            for start, share in zip(starts, shares, strict=True):
                k.store(self.out, self.base + (start + n) * 8, share.next())

    def by_threads(self, start: Instruction) -> None:
        """Two elements of each thread are stored at once."""
        k, lanes = self.k, start.lanes
        (share,) = self.begin([start])
        both = [n // 2 + n % 2 * lanes for n in range(2 * lanes)]
        for n in range(0, self.share, 2):
            pair = k.shuffle(share.next(), share.next(), both)
            k.scatter(self.out, self.base, (start + n) * 8, pair)


class _Share:
    """What is left of two runs: from places i and j on, to ends."""

    def __init__(self, merge: _Merge, i: Instruction, j: Instruction, i_end: Instruction, j_end: Instruction) -> None:
        k = merge.k
        self.merge, self.ends = merge, (i_end, j_end)
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
