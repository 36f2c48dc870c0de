"""Values that lie inside of others: whole rows cut from a scratch value, and the rows that a concat joins.

A slice of leading axes is a name for bytes that are there; what a concat joins can be written to its place at once.
Neither needs a launch, nor memory of its own. States, outputs and constants have buffers of their own and stay apart.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from ..ir.graph import Graph, Node, Value
from ..ir.types import DType, numel
from ..kernel.program import ALIGNMENT
from .fuse import FusedGroup, source_of
from .updates import Versions


@dataclass
class Parts:
    """inside: by a value's id, the value in whose memory it lies, and from which byte on. dropped: numbers of groups
    that nothing is left to do for."""

    inside: dict[int, tuple[Value, int]] = field(default_factory=dict)
    dropped: set[int] = field(default_factory=set)

    def place(self, value: Value) -> tuple[Value, int]:
        """The outermost value around one that has a buffer, and where in it that one begins."""
        offset = 0
        while (found := self.inside.get(id(value))) is not None:
            value, offset = found[0], offset + found[1]
        return value, offset


def find_parts(graph: Graph, groups: Sequence[FusedGroup], versions: Sequence[Versions]) -> Parts:
    """What of a graph's groups are slices and concats of scratch values, of sizes that are known."""
    fixed = {id(source_of(v)) for v in graph.outputs} | {id(v) for version in versions for v in version.values}
    made = {id(v) for f in groups for v in f.group.outputs if id(v) not in fixed and _is_plain(v)}
    parts = Parts()
    for n, fused in enumerate(groups):
        node, group = fused.group.root, fused.group
        if len(group.nodes) > 1 or node.op.name not in ("slice", "concat") or id(node.results[0]) not in made:
            continue
        rows = _slice(node) if node.op.name == "slice" else _concat(node)
        own = [v for v, _, _ in rows if id(v) in made and id(v) not in parts.inside]
        there = all(id(around) in made and offset % ALIGNMENT == 0 for _, around, offset in rows)
        if rows and there and len({id(v) for v in own}) == len(rows):
            parts.inside |= {id(v): (around, offset) for v, around, offset in rows}
            parts.dropped.add(n)
    return parts


def _slice(node: Node) -> list[tuple[Value, Value, int]]:
    """(part, value around it, its first byte), none where a copy is needed."""
    (x,), (part,) = node.inputs, node.results
    axis, start, step = (node.attrs[name] for name in ("axis", "start", "step"))
    around = source_of(x)
    if step != 1 or not _leads(x, axis) or not isinstance(start, int):
        return []
    return [(part, around, start * _row_bytes(x, axis))]


def _concat(node: Node) -> list[tuple[Value, Value, int]]:
    axis, (result,) = node.attrs["axis"], node.results
    found: list[tuple[Value, Value, int]] = []
    at = 0
    for x in node.inputs:
        if not _leads(x, axis):
            return []
        found.append((source_of(x), result, at))
        at += _nbytes(x)
    return found


def _leads(v: Value, axis: int) -> bool:
    """Whether indices of an axis are runs of memory, one after the other."""
    return _is_plain(v) and all(d == 1 for d in v.type.shape[:axis])


def _is_plain(v: Value) -> bool:
    known = all(isinstance(d, int) and d > 0 for d in v.type.shape)
    return known and isinstance(v.type.element, DType) and v.type.layout is None


def _row_bytes(v: Value, axis: int) -> int:
    return _nbytes(v) // int(v.type.shape[axis])  # type: ignore[arg-type]


def _nbytes(v: Value) -> int:
    return int(numel(v.type.shape)) * v.type.dtype.nbytes  # type: ignore[arg-type]
