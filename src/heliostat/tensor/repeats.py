"""Loops in a graph: parts that come again one behind the other, as time that Python unrolls, or steps of an episode.

A graph of T steps is another structure for each T. Where a loop comes with another T than before, the graph is cut at
the ends of its steps and run piece by piece: the pieces are structures that come again. Operands stand before users in
the order of their making, so that any cut is right, and one in the wrong place costs compilations only.
"""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Iterator, Sequence
from typing import Any, Protocol

import numpy as np

from ..ir.graph import CONSTANT, Value

LEAST_REPEATS = 4
"""Of a step: fewer are no loop."""

LEAST_STEP = 8
"""Values of a piece: smaller steps are taken together."""

LEAST_VALUES = 64
"""Of all loops of a graph: smaller graphs are compiled soon."""

OFTEN = 64
"""A graph that was cut so many times gets a program of its own, which is faster,"""

FEW_COUNTS = 32
"""unless there are more counts of steps than these."""

KEPT_LOOPS = 128
KEPT_CUTS = 256
MOST_TOKENS = 100_000
_CANDIDATES = 6

Bodies = tuple[tuple[int, ...], ...]


class Closed(Protocol):
    """What `lazy.Closed` found."""

    order: list[Value]
    leaves: list[Value]
    results: list[Value]
    key: Any


class _Loop:
    """What is known of graphs with the same steps. exact: how often each step comes in those that have programs of
    their own, or get one. uses: how often others were cut; None where there are too many to count."""

    def __init__(self, first: tuple[int, ...]) -> None:
        self.exact = {first}
        self.uses: dict[Any, int] | None = {}

    def has_own(self, counts: tuple[int, ...]) -> bool:
        """Whether a graph with these counts of steps is compiled as it is. Counts the use."""
        if counts in self.exact:
            return True
        if self.uses is not None:
            count = self.uses[counts] = self.uses.get(counts, 0) + 1
            if count > OFTEN:
                self.exact.add(counts)
                return True
            if len(self.uses) > FEW_COUNTS:
                self.uses = None
        return False


class Repeats:
    """The loops that were met."""

    def __init__(self) -> None:
        self._tokens: dict[Any, int] = {}
        self._loops: OrderedDict[tuple[str, Bodies], _Loop] = OrderedDict()
        self._cuts: OrderedDict[Any, tuple[list[list[int]], _Loop, tuple[int, ...]]] = OrderedDict()

    def pieces(self, closed: Closed, wanted: Sequence[Value], device: str) -> list[list[Value]] | None:
        """The values to compute one list after the other, of a graph whose loop came with another count of steps
        before; None where the graph is to be compiled as it is. wanted: those that are asked for."""
        key = (device, closed.key)
        known = self._cuts.get(key)
        if known is not None:
            self._cuts.move_to_end(key)
            places, loop, counts = known
            if loop.has_own(counts):
                return None
            return [[closed.order[n] for n in piece] for piece in places]
        fixed = set(closed.leaves)
        at = [n for n, v in enumerate(closed.order) if v not in fixed]
        if len(at) < LEAST_VALUES:
            return None
        tokens = self._read([closed.order[n] for n in at])
        found = sorted(_regions(tokens, 0))
        if sum(period * count for _, period, count in found) < LEAST_VALUES:
            return None
        bodies = tuple(tuple(tokens[start : start + period].tolist()) for start, period, _ in found)
        counts = tuple(count for _, _, count in found)
        loop = self._loops.get((device, bodies))
        if loop is None:
            self._loops[device, bodies] = _Loop(counts)
            if len(self._loops) > KEPT_LOOPS:
                self._loops.popitem(last=False)
            return None
        self._loops.move_to_end((device, bodies))
        if loop.has_own(counts):
            return None
        places = _cut(closed.order, at, found, wanted)
        self._cuts[key] = places, loop, counts
        if len(self._cuts) > KEPT_CUTS:
            self._cuts.popitem(last=False)
        return [[closed.order[n] for n in piece] for piece in places]

    def _read(self, values: Sequence[Value]) -> np.ndarray[Any, np.dtype[np.int64]]:
        """A number for each value: equal ones for those of equal type, made by equal ops."""
        tokens = self._tokens
        if len(tokens) > MOST_TOKENS:
            tokens.clear()
            self._loops.clear()
        found = [
            tokens.setdefault((v.node.op, v.index, len(v.node.inputs), v.type.element.name, v.type.shape), len(tokens))
            for v in values
        ]
        return np.array(found, np.int64)


def _regions(tokens: np.ndarray[Any, np.dtype[np.int64]], offset: int) -> Iterator[tuple[int, int, int]]:
    """(start, period, count) of each loop: the one that covers most, and then those before and behind it."""
    best = (0, 0, 0)
    for period in _periods(tokens):
        for start, end in _runs(tokens[:-period] == tokens[period:]):
            count = (end - start) // period + 1
            if count >= LEAST_REPEATS and (count - 1) * period > best[1] * (best[2] - 1):
                best = (start, period, count)
    start, period, count = best
    if not count:
        return
    end = start + period * count
    yield from _regions(tokens[:start], offset)
    together = -(-LEAST_STEP // period)  # small steps are taken several at a time
    if count >= together * LEAST_REPEATS:
        yield offset + start, period * together, count // together
    yield from _regions(tokens[end:], offset + end)


def _periods(tokens: np.ndarray[Any, np.dtype[np.int64]]) -> list[int]:
    """The distances at which equal values come again most."""
    if len(tokens) < LEAST_REPEATS:
        return []
    order = np.argsort(tokens, kind="stable")
    same = tokens[order[1:]] == tokens[order[:-1]]
    found = Counter((order[1:] - order[:-1])[same].tolist())
    weighted = sorted(found, key=lambda d: -d * found[d])
    return weighted[:_CANDIDATES]


def _runs(flags: np.ndarray[Any, np.dtype[np.bool_]]) -> list[tuple[int, int]]:
    """Start and end of each run of True."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], flags, [False]]).astype(np.int8)))
    return [(int(a), int(b)) for a, b in zip(edges[::2], edges[1::2], strict=True)]


def _cut(
    order: Sequence[Value], at: Sequence[int], regions: Sequence[tuple[int, int, int]], wanted: Sequence[Value]
) -> list[list[int]]:
    """The places in the order of what each piece gives: what others read, or is wanted. at: the places of the values
    that are computed, of which the regions speak."""
    ends: list[int] = []
    for start, period, count in regions:
        ends += range(start, start + period * count + 1, period)
    piece_of: dict[Value, int] = {}
    piece = 0
    ahead = iter([*sorted(set(ends)), len(at) + 1])
    end = next(ahead)
    for n, place in enumerate(at):
        while n >= end:
            end = next(ahead)
            piece += 1
        piece_of[order[place]] = piece
    asked = set(wanted)
    read: set[Value] = set()
    for place in at:
        v = order[place]
        for u in v.node.inputs:
            if u in piece_of and piece_of[u] != piece_of[v] and u.node.op is not CONSTANT:
                read.add(u)
    made: list[list[int]] = [[] for _ in range(piece + 1)]
    for place in at:
        v = order[place]
        if v in asked or v in read:
            made[piece_of[v]].append(place)
    return [places for places in made if places]
