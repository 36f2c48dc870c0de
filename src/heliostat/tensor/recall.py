"""Structures that were run before, found again by a walk that makes nothing.

`lazy.Closed` numbers, sorts and hashes a graph to find its program. A loop asks for the same graph at every turn: a
`Plan` keeps how its nodes hang together, ops and attributes alone, and is compared with what is asked for node by node.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

from ..ir.graph import CONSTANT, Value

MOST_ALIKE = 4
"""Plans that begin and end with the same ops, of which the one that was found last is tried first."""

MOST_KINDS = 128

NEW = -1
"""An operand that no node before had."""


class Closed(Protocol):
    """What `lazy.Closed` found: values, operands before users; their numbers; those that a program reads and makes."""

    order: list[Value]
    number: dict[Value, int]
    leaves: list[Value]
    results: list[Value]


class Plan:
    """How the values behind some roots are made of each other, and the program that makes them.

    Values have places: those of the roots come first, then operands in the order in which they are met."""

    __slots__ = ("computed", "given", "rows", "runner", "sources")

    def __init__(self, roots: Sequence[Value], is_leaf: Callable[[Value], bool], closed: Closed, runner: Any) -> None:
        """Of roots that differ, which have no data. closed: what is behind them. runner: the program of that."""
        values = list(dict.fromkeys(roots))
        assert len(values) == len(roots)
        made = {closed.number[v]: n for n, v in enumerate(closed.results)}
        read = {closed.number[v]: n for n, v in enumerate(closed.leaves)}
        place = {v: n for n, v in enumerate(values)}
        nodes: dict[int, int] = {}  # of several results: the place of the first one met
        self.rows: list[tuple[Any, Any, int, tuple[int, ...], int]] = []
        for n, v in enumerate(values):  # grows on the way
            node = v.node
            if is_leaf(v):
                self.rows.append((None, v.type, 0, (), NEW))
                continue
            operands = []
            for u in node.inputs:
                operands.append(place.get(u, NEW))
                if u not in place:
                    place[u] = len(values)
                    values.append(u)
            twin = nodes.setdefault(id(node), n) if len(node.results) > 1 else n
            self.rows.append((node.op, node.attrs, v.index, tuple(operands), NEW if twin == n else twin))
        self.given = [place[v] for v in closed.leaves]
        self.computed = [place[v] for v in closed.order if not is_leaf(v)]
        # where a root's buffer comes from: what the program made (True) or read, and which of it
        numbers = [closed.number[v] for v in roots]
        self.sources = [(True, made[n]) if n in made else (False, read[n]) for n in numbers]
        self.runner = runner

    def match(self, roots: Sequence[Value]) -> list[Value] | None:
        """The values of all places behind these roots; None where they are made in another way."""
        values = list(roots)
        add = values.append
        n = 0
        for op, attrs, index, operands, twin in self.rows:
            v = values[n]
            n += 1
            m = v.meta
            if op is None:
                if m is None or m.buffer is None or (v.type is not attrs and v.type != attrs):
                    return None
                continue
            node = v.node
            if (node.op is not op and node.op != op) or (m is not None and m.buffer is not None) or v.index != index:
                return None
            if node.attrs is not attrs and not _alike(op, attrs, node.attrs):
                return None
            inputs = node.inputs
            if len(inputs) != len(operands) or (twin >= 0 and values[twin].node is not node):
                return None
            for u, at in zip(inputs, operands):  # noqa: B905 # of one length, and this is the innermost loop
                if at < 0:
                    add(u)
                elif values[at] is not u:
                    return None
        return values


def _alike(op: Any, a: Mapping[str, Any], b: Mapping[str, Any]) -> bool:
    if op is CONSTANT:
        x, y = a["value"], b["value"]
        return bool(x.dtype == y.dtype and x.shape == y.shape and x.tobytes() == y.tobytes())
    return a == b


class Plans:
    """Plans by the number of their roots, and the ops of the first and of the last."""

    def __init__(self) -> None:
        self.found: dict[Any, list[Plan]] = {}

    def find(self, roots: Sequence[Value]) -> tuple[Plan, list[Value]] | None:
        """The plan that these roots follow, with the values of its places."""
        plans = self.found.get((len(roots), roots[0].node.op, roots[-1].node.op))
        if plans is None:
            return None
        for n, plan in enumerate(plans):
            values = plan.match(roots)
            if values is not None:
                if n:
                    plans.insert(0, plans.pop(n))
                return plan, values
        return None

    def keep(self, roots: Sequence[Value], plan: Plan) -> None:
        """Remember a plan of these roots."""
        if len(self.found) >= MOST_KINDS:
            self.found.clear()
        plans = self.found.setdefault((len(roots), roots[0].node.op, roots[-1].node.op), [])
        plans.insert(0, plan)
        del plans[MOST_ALIKE:]
