"""Loops in a graph: parts that come again one behind the other, as time that Python unrolls, or steps of an episode.

A graph of T steps is another structure for each T. Where a loop comes with another T than before, the graph is cut at
the ends of its steps and run piece by piece: the pieces are structures that come again. Operands stand before users in
the order of their making, so that any cut is right, and one in the wrong place costs compilations only.
"""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Callable, Iterator, Sequence
from operator import attrgetter
from typing import Any, NamedTuple, Protocol

import numpy as np

from ..compiler.accumulate import replacement
from ..ir.graph import CONSTANT, PARAMETER, Graph, Node, Value
from ..ir.rewrite import rewrite
from ..ops import REGISTRY

CONCAT, RESHAPE = REGISTRY["concat"], REGISTRY["reshape"]

LEAST_REPEATS = 4
"""Of a step: fewer are no loop."""

LEAST_STEP = 8
"""Values of a piece: smaller steps are taken together."""

LEAST_JOINED = 4
"""Operands of a `concat` that may come from the steps of a loop, each of them: it is a piece of its own."""

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


Tokens = np.ndarray[Any, np.dtype[np.int64]]


class Closed(Protocol):
    """What `lazy.Closed` found."""

    order: list[Value]
    number: dict[Value, int]
    leaves: list[Value]
    results: list[Value]
    key: Any

    def graph(self, name: str = ..., copy: Callable[..., Sequence[Value]] = ...) -> Graph: ...


class Cut(NamedTuple):
    """A graph as pieces, one behind the other: the values that each computes. names: values that are asked for, with
    those that are the same. made: all that were made for it, parameters with the data of leaves first. loops: what is
    known of those in it, with their counts of steps."""

    pieces: list[list[Value]]
    names: list[tuple[Value, Value]]
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

    def cut(self, closed: Closed, wanted: Sequence[Value], device: str, data: Callable[[Value], Any]) -> Cut | None:
        """A graph in pieces, whose loop came with another count of steps before; None where it is to be compiled as it
        is. wanted: the values that are asked for. data: what the parameter for a leaf has as its `meta`."""
        # The hash alone: the key would hold what backwards recorded of each count of steps. Where two have one, the
        # ends are those of another graph, and any ends are right.
        key = (device, hash(closed.key))
        known = self._known.get(key)
        if known is not None:
            self._known.move_to_end(key)
            ends, loops = known
            return None if _has_own(loops) else _Expanded(closed, data).cut(ends, wanted, loops)
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
        expanded = _Expanded(closed, data)
        ends = expanded.ends(_regions(self._numbers(expanded.order)))
        self._known[key] = ends, loops
        if len(self._known) > KEPT_CUTS:
            self._known.popitem(last=False)
        return expanded.cut(ends, wanted, loops)

    def _read(self, closed: Closed) -> Tokens:
        """A number for each value that is computed, those inside of large `Inlined` ops too: equal ones for those of
        equal type, made by equal ops."""
        if len(self._tokens) > MOST_TOKENS:
            self._tokens.clear()
            self._loops.clear()
        fixed = set(closed.leaves)
        found: list[Value] = []
        expanded: set[Node] = set()
        for v in closed.order:
            if v in fixed or v.node in expanded:
                continue
            if _is_large(v.node):
                expanded.add(v.node)
                graph: Graph = v.node.op.graph  # type: ignore[attr-defined]
                found += [u for node in graph.nodes() if node.op is not PARAMETER for u in node.results]
            else:
                found.append(v)
        return self._numbers(found)

    def _numbers(self, values: Sequence[Value]) -> Tokens:
        tokens = self._tokens
        found: list[int] = []
        for v in values:
            key = (v.node.op, v.index, len(v.node.inputs), v.type.element.name, v.type.shape)
            found.append(tokens.setdefault(key, len(tokens)))
        return np.array(found, np.int64)


def _has_own(loops: Sequence[tuple[_Loop, int]]) -> bool:
    """Whether a graph with these loops, each with its count of steps, is compiled as it is. Counts the use."""
    return sum(not loop.has_own(count) for loop, count in loops) == 0


def _is_large(node: Node) -> bool:
    """Whether a node stands for a graph that may have loops, as the gradient of one does."""
    graph: Graph | None = getattr(node.op, "graph", None)
    return graph is not None and len(graph.nodes()) >= LEAST_VALUES


def _copied(node: Node, inputs: tuple[Value, ...]) -> Sequence[Value]:
    """The results of a node over new inputs of the same types."""
    return Node(node.op, inputs, node.attrs, [v.type for v in node.results]).results if inputs else node.results


def _joins_many(node: Node) -> bool:
    """Whether a node joins so many values that they may be as many as the steps of a loop."""
    return node.op is CONCAT and len(node.inputs) >= LEAST_JOINED


class _Expanded:
    """The values that a graph computes in order, over parameters that have the data of its leaves. Sums of what the
    steps of a loop give are put together as the compiler does it: there is one product for a weight and one `concat`
    for what was cut into steps, whichever their number."""

    def __init__(self, closed: Closed, data: Callable[[Value], Any]) -> None:
        self.closed = closed
        whole = closed.graph(copy=_copied)
        replace = replacement(whole, launches=True)
        # What is made anew stands in the order of the whole.
        graph = rewrite(whole, lambda node, inputs: replace(node, inputs) or _copied(node, inputs))
        for p, v in zip(graph.parameters, closed.leaves, strict=True):
            p.meta, p.device = data(v), v.device
        self.parameters, self.outputs = graph.parameters, graph.outputs
        nodes = sorted((n for n in graph.nodes() if n.op not in (PARAMETER, CONSTANT)), key=attrgetter("serial"))
        self.order = [v for node in nodes for v in node.results]

    def ends(self, regions: Sequence[tuple[int, int, int]]) -> list[int]:
        """Where pieces end: the steps of loops do, and what joins values between loops is a piece of its own."""
        found = [end for region in regions for end in _ends(*region)]
        at = 0
        for start, period, count in [*regions, (len(self.order), 0, 0)]:
            found += [n + k for n in range(at, start) if _joins_many(self.order[n].node) for k in (0, 1)]
            at = start + period * count
        return found

    def cut(self, ends: Sequence[int], wanted: Sequence[Value], loops: list[tuple[_Loop, int]]) -> Cut:
        """Pieces that end before these places: each computes what others read, or what is wanted."""
        order, closed = self.order, self.closed
        number: dict[Value, int] = {}
        sorted_ends = sorted({*ends, len(order)} - {0})
        starts = [0, *sorted_ends[:-1]]
        for n, (start, end) in enumerate(zip(starts, sorted_ends, strict=True)):
            for v in order[start:end]:
                number[v] = n
        asked = set(self.outputs)
        for v in order:
            here = number[v]
            inputs: Sequence[Value] = v.node.inputs
            if v.node.op is CONCAT:  # `lazy.join` looks through other shapes
                inputs = [u.node.inputs[0] if u.node.op is RESHAPE and number[u] != here else u for u in inputs]
            asked.update([u for u in inputs if number.get(u, here) != here])
        pieces = [[v for v in order[start:end] if v in asked] for start, end in zip(starts, sorted_ends, strict=True)]
        made = {closed.number[v]: found for v, found in zip(closed.results, self.outputs, strict=True)}
        names = [(v, made[n]) for v in wanted if (n := closed.number[v]) in made]
        return Cut([p for p in pieces if p], names, [*self.parameters, *order], loops)


def _regions(tokens: Tokens) -> list[tuple[int, int, int]]:
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


def _longest(tokens: Tokens) -> tuple[int, int, int]:
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


def _periods(tokens: Tokens) -> list[int]:
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
