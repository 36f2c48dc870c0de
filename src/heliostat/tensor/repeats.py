"""Loops in a graph: parts that come again one behind the other, as time that Python unrolls, or steps of an episode.

A graph of T steps is another structure for each T. Where a loop comes with another T than before, the graph is cut at
the ends of its steps and run piece by piece: the pieces are structures that come again. Operands stand before users in
the order of their making, so that any cut is right, and one in the wrong place costs compilations only.
"""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple, Protocol

import numpy as np

from ..ir.graph import CONSTANT, PARAMETER, Graph, Node, Value

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

FIRST_CUTS, MOST_COMPILED, MOST_WASTED = 2, 4, 2
"""The first cuts of a loop compile its pieces. Where later ones compile more pieces than that, and do so again, pieces
are not what comes again: such loops are compiled whole."""

KEPT_LOOPS = 128
KEPT_CUTS = 256
MOST_TOKENS = 100_000
_CANDIDATES = 6


class Closed(Protocol):
    """What `lazy.Closed` found."""

    order: list[Value]
    leaves: list[Value]
    results: list[Value]
    key: Any


class Piece(NamedTuple):
    """Part of a graph. values: what it computes. names: values that are other names of what is computed then."""

    values: list[Value]
    names: list[tuple[Value, Value]]


class Cut(NamedTuple):
    """A graph as pieces, one behind the other. made: values that were made for it. loops: what is known of those in
    it, with their counts of steps."""

    pieces: list[Piece]
    made: list[Value]
    loops: list[tuple[_Loop, int]]

    def compiled(self, count: int) -> None:
        """Note that so many programs were compiled for its pieces."""
        for loop, _ in self.loops:
            loop.cuts += 1
            loop.wasted += loop.cuts > FIRST_CUTS and count > MOST_COMPILED


class _Loop:
    """What is known of graphs with a step of one kind. exact: how often it comes in those that have programs of their
    own, or get one. uses: how often others were cut, by the same; None where there are too many to count. cuts: how
    often all were; wasted: how many of these compiled much."""

    def __init__(self) -> None:
        self.exact: set[int] = set()
        self.uses: dict[int, int] | None = {}
        self.cuts = self.wasted = 0

    def has_own(self, count: int) -> bool:
        """Whether a graph with so many steps is compiled as it is. Counts the use."""
        if count in self.exact or self.wasted >= MOST_WASTED:
            return True
        if self.uses is not None:
            uses = self.uses[count] = self.uses.get(count, 0) + 1
            if uses > OFTEN:
                self.exact.add(count)
                return True
            if len(self.uses) > FEW_COUNTS:
                self.uses = None
        return False


class Repeats:
    """The loops that were met."""

    def __init__(self) -> None:
        self._tokens: dict[Any, int] = {}
        self._loops: OrderedDict[tuple[str, tuple[int, ...]], _Loop] = OrderedDict()
        self._known: OrderedDict[Any, tuple[list[int], list[tuple[_Loop, int]]]] = OrderedDict()

    def cut(self, closed: Closed, wanted: Sequence[Value], device: str) -> Cut | None:
        """A graph in pieces, whose loop came with another count of steps before; None where it is to be compiled as it
        is. wanted: the values that are asked for."""
        # The hash alone: the key would hold what backwards recorded of each count of steps. Where two have one, the
        # ends are those of another graph, and any ends are right.
        key = (device, hash(closed.key))
        known = self._known.get(key)
        if known is not None:
            self._known.move_to_end(key)
            ends, loops = known
            return None if _has_own(loops) else _Expanded(closed).cut(ends, wanted, loops)
        tokens = self._read(closed)
        if len(tokens) < LEAST_VALUES:
            return None
        found = _regions(tokens)
        if sum(period * count for _, period, count in found) < LEAST_VALUES:
            return None
        loops = []
        new: set[_Loop] = set()
        for start, period, count in found:
            body = (device, tuple(tokens[start : start + period].tolist()))
            loop = self._loops.get(body)
            if loop is None:
                loop = self._loops[body] = _Loop()
                new.add(loop)
            if loop in new:
                loop.exact.add(count)
            self._loops.move_to_end(body)
            loops.append((loop, count))
        while len(self._loops) > KEPT_LOOPS:
            self._loops.popitem(last=False)
        if _has_own(loops):
            return None
        ends = [end for region in found for end in _ends(*region)]
        self._known[key] = ends, loops
        if len(self._known) > KEPT_CUTS:
            self._known.popitem(last=False)
        return _Expanded(closed).cut(ends, wanted, loops)

    def _read(self, closed: Closed) -> np.ndarray[Any, np.dtype[np.int64]]:
        """A number for each value that is computed, those inside of large `Inlined` ops too: equal ones for those of
        equal type, made by equal ops."""
        tokens = self._tokens
        if len(tokens) > MOST_TOKENS:
            tokens.clear()
            self._loops.clear()

        def token(v: Value) -> int:
            key = (v.node.op, v.index, len(v.node.inputs), v.type.element.name, v.type.shape)
            return tokens.setdefault(key, len(tokens))

        fixed = set(closed.leaves)
        found: list[int] = []
        expanded: set[Node] = set()
        for v in closed.order:
            if v in fixed or v.node in expanded:
                continue
            if _is_large(v.node):
                expanded.add(v.node)
                graph: Graph = v.node.op.graph  # type: ignore[attr-defined]
                found += [token(u) for node in graph.nodes() if node.op is not PARAMETER for u in node.results]
            else:
                found.append(token(v))
        return np.array(found, np.int64)


def _has_own(loops: Sequence[tuple[_Loop, int]]) -> bool:
    """Whether a graph with these loops, each with its count of steps, is compiled as it is. Counts the use."""
    return sum(not loop.has_own(count) for loop, count in loops) == 0


def _is_large(node: Node) -> bool:
    """Whether a node stands for a graph that may have loops, as the gradient of one does."""
    graph: Graph | None = getattr(node.op, "graph", None)
    return graph is not None and len(graph.nodes()) >= LEAST_VALUES


class _Expanded:
    """The values that a graph computes in order, with those inside of large `Inlined` ops in their places."""

    def __init__(self, closed: Closed) -> None:
        fixed = set(closed.leaves)
        self.order: list[Value] = []
        self.made: list[Value] = []
        self.names: dict[int, list[tuple[Value, Value]]] = {}  # by the place behind what they are names of
        places: dict[Node, tuple[int, list[Value]]] = {}
        for v in closed.order:
            if v in fixed:
                continue
            node = v.node
            if not _is_large(node):
                self.order.append(v)
                continue
            if node not in places:
                before = len(self.order)
                results = node.op.inline(node.inputs, self._copied)  # type: ignore[attr-defined]
                self.made += self.order[before:]
                places[node] = len(self.order), results
            end, results = places[node]
            self.names.setdefault(end, []).append((v, results[v.index]))

    def _copied(self, node: Node, inputs: tuple[Value, ...]) -> Sequence[Value]:
        if node.op is CONSTANT:
            found = node.results  # the op's own: nobody gives data to them
        else:
            found = Node(node.op, inputs, node.attrs, [v.type for v in node.results]).results
        self.order += found
        return found

    def cut(self, ends: Sequence[int], wanted: Sequence[Value], loops: list[tuple[_Loop, int]]) -> Cut:
        """Pieces that end before these places: each computes what others read, or what is wanted."""
        number: dict[Value, int] = {}
        sorted_ends = sorted({*ends, *self.names, len(self.order)} - {0})
        starts = [0, *sorted_ends[:-1]]
        for n, (start, end) in enumerate(zip(starts, sorted_ends, strict=True)):
            for v in self.order[start:end]:
                number[v] = n
        asked = {*wanted, *(source for names in self.names.values() for _, source in names)}
        for v in self.order:
            here = number[v]
            for u in v.node.inputs:
                if u.node.op is not CONSTANT and number.get(u, here) != here:
                    asked.add(u)
        pieces = [
            Piece([v for v in self.order[start:end] if v in asked], self.names.get(end, []))
            for start, end in zip(starts, sorted_ends, strict=True)
        ]
        return Cut(pieces, self.made, loops)


def _regions(tokens: np.ndarray[Any, np.dtype[np.int64]]) -> list[tuple[int, int, int]]:
    """(start, period, count) of each loop, in order: the one that covers most, and then those before and behind it."""
    found: list[tuple[int, int, int]] = []
    parts = [(0, len(tokens))]
    while parts:
        begin, end = parts.pop()
        start, period, count = _longest(tokens[begin:end])
        if count:
            start += begin
            found.append((start, period, count))
            parts += [(begin, start), (start + period * count, end)]
    return sorted(found)


def _longest(tokens: np.ndarray[Any, np.dtype[np.int64]]) -> tuple[int, int, int]:
    """(start, period, count) of the loop that covers most; a count of 0 where there is none."""
    best = (0, 0, 0)
    for period in _periods(tokens):
        for start, end in _runs(tokens[:-period] == tokens[period:]):
            count = (end - start) // period + 1
            if count < LEAST_REPEATS or count * period < 2 * LEAST_STEP:
                continue
            if (count - 1) * period > (best[2] - 1) * best[1]:
                best = (start, period, count)
    return best


def _ends(start: int, period: int, count: int) -> Iterator[int]:
    """Where the steps of a loop end. Small ones are taken several at a time, as many as there are wholly."""
    together = -(-LEAST_STEP // period)
    for n in range(0, count // together * together + 1, together):
        yield start + n * period
    for n in range(count // together * together, count):
        yield start + (n + 1) * period


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
