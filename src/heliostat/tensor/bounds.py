"""Numbers that must lie in a range, as indices do: checked where they are known, and where they are views or casts of
what is known. What a capture does not know yet is noted, and checked at each call of the compiled function.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..diagnostics import IndexOutOfRangeError
from ..ir.graph import Node, Value
from ..ir.types import DType, concrete
from ..ops.rules import shown
from . import lazy

VIEWS = frozenset({"reshape", "transpose", "broadcast_to", "slice"})
SAME = frozenset({"detach", "to_device"})


@dataclass(frozen=True)
class Range:
    """Whole numbers from `low` to `high` - 1, and `ignored`. what: what a number is called. of: what it is outside of;
    where that is empty the message names its place."""

    what: str
    low: int
    high: int
    ignored: int | None = None
    of: str = ""

    def check(self, known: Any, counted: Any = None) -> None:
        """Raise IndexOutOfRangeError for an array that has other numbers, of those that an array of bools in `counted`
        names if it is given."""
        if not known.size or (known.min() >= self.low and known.max() < self.high):
            return
        bad = (known < self.low) | (known >= self.high)
        if self.ignored is not None:
            bad &= known != self.ignored
        if counted is not None:
            bad &= counted
        if not bad.any():
            return
        first = int(np.flatnonzero(bad)[0])
        where = f" is outside {self.of}"
        if not self.of:
            where = f", element {first} of a tensor of shape {shown(known.shape)}, is out of range"
        what = f"{self.what} {known.flat[first]}{where}"
        raise IndexOutOfRangeError(what, help=f"{self.low} to {self.high - 1} are there")


def source_of(v: Value) -> tuple[Value, list[Node]]:
    """The value whose elements v shows, and the nodes from it to v."""
    nodes: list[Node] = []
    while not lazy.on_host(v) and len(v.node.inputs) == 1:
        node, name = v.node, v.node.op.name
        if name in VIEWS:
            nodes.append(node)
        elif name not in SAME and not (name == "cast" and _widens(node)):
            break
        v = node.inputs[0]
    return v, nodes[::-1]


def _widens(node: Node) -> bool:
    """Whether a cast keeps all numbers: from integers to integers of more bits, or to signed ones of as many."""
    a, b = node.inputs[0].type.element, node.results[0].type.element
    if not isinstance(a, DType) or not isinstance(b, DType) or a.kind not in "iu" or b.kind not in "iu":
        return False
    return a == b or (a.nbytes < b.nbytes and (a.kind == "u" or b.kind == "i"))


def elements(array: Any, nodes: Sequence[Node], sizes: Mapping[str, int] | None = None) -> Any:
    """What nodes of `source_of` show of an array. sizes: of symbols in their attributes."""
    for node in nodes:
        attrs = node.attrs if sizes is None else {name: concrete(a, sizes) for name, a in node.attrs.items()}
        op: Any = node.op
        array = op.reference(array, **attrs)
    return array


def require(v: Value, range: Range, counted: Any = None) -> None:
    """Raise IndexOutOfRangeError where numbers are known and lie outside of a range. A capture notes it where they are
    not."""
    source, nodes = source_of(v)
    if lazy.on_host(source):
        range.check(elements(lazy.array_of(source), nodes), counted)
    elif counted is None and (scope := lazy._capture.get()) is not None:
        scope.ranges.append((source, nodes, range))


def asked_at_calls(noted: Sequence[tuple[Value, list[Node], Range]], number_of: Mapping[int, int]) -> list[Asked]:
    """What to check at each call, of what a capture noted. number_of: arguments by the id of what stood for them.
    Where a range lies in another of the same numbers, that one alone is asked for."""
    found: dict[Any, Asked] = {}
    for source, nodes, range in noted:
        number = number_of.get(id(source))
        if number is None or not isinstance(range.high, int):
            continue
        key = (number, tuple(map(id, nodes)), range.high, range.ignored)
        if key not in found or found[key].range.low < range.low:
            found[key] = Asked(number, nodes, range)
    return list(found.values())


@dataclass(frozen=True)
class Asked:
    """A range of what nodes show of an argument."""

    argument: int
    nodes: list[Node]
    range: Range

    def check(self, values: Sequence[Value], sizes: Mapping[str, int] | None) -> None:
        """Raise IndexOutOfRangeError for the arguments of a call. Those in a GPU's memory are not looked at: the host
        would wait for it."""
        v = values[self.argument]
        if lazy.on_host(v):
            self.range.check(elements(lazy.array_of(v), self.nodes, sizes))
