"""Moves cheap arithmetic from the group that could make it early to the one group that reads it.

A node joins the group of its producer, so that 1 - s of a sigmoid, which only its gradient reads, would be written
beside s and read again much later. Where s is stored anyway, the reader makes it in registers.
"""

from __future__ import annotations

from types import ModuleType
from typing import TYPE_CHECKING

from ..ir.graph import Node, Value

if TYPE_CHECKING:
    from .fuse import Fuser

CHEAP = frozenset({"add", "sub", "mul", "neg"})
MOST = 3
"""Nodes that move for one value."""


def defer(fuser: Fuser) -> None:
    """Move what can be moved, from elementwise groups to elementwise groups and epilogues of products."""
    for number, host in enumerate(fuser.open):
        if not host.nodes or not fuser.is_map(host):
            continue
        for value in fuser.close(host).outputs:
            reader = _reader(fuser, number, value)
            if reader is None:
                continue
            moved = _made_of_one(fuser, number, value)
            if moved is not None:
                _move(fuser, number, reader, moved)


def _reader(fuser: Fuser, number: int, value: Value) -> int | None:
    """The one group that reads a value, if nobody in its own does."""
    if id(value) in fuser.kept or value.node.op.name not in CHEAP:
        return None
    readers = {fuser.group_of.get(id(u), -1) for u in fuser.users.get(id(value), ())}
    reader = readers.pop() if len(readers) == 1 else -1
    if reader < 0 or reader == number or not fuser.open[reader].nodes:
        return None
    return reader if fuser.is_map(fuser.open[reader]) or fuser.is_product(fuser.open[reader]) else None


def _made_of_one(fuser: Fuser, number: int, value: Value) -> list[Node] | None:
    """The nodes that make a value of one other that is stored in any case; None where it takes more."""
    moved, sources = [value.node], dict[int, Value]()
    for node in moved:
        for v in node.inputs:
            if v.node.op.name == "constant" and v.type.shape == ():
                continue
            if v.node in moved:
                continue
            inside = {id(u) for u in moved}
            alone = all(id(u) in inside for u in fuser.users.get(id(v), ())) and id(v) not in fuser.kept
            if not alone:
                others = [u for u in fuser.users.get(id(v), ()) if fuser.group_of.get(id(u), -1) != number]
                elsewhere = fuser.group_of.get(id(v.node)) != number  # it is stored, as this group reads it
                if not (elsewhere or others or id(v) in fuser.kept):
                    return None
                sources[id(v)] = v
            elif v.node.op.name in CHEAP and fuser.group_of.get(id(v.node)) == number and len(moved) < MOST:
                moved.append(v.node)
            else:
                return None
    return moved if len(sources) == 1 else None


def _move(fuser: Fuser, number: int, reader: int, moved: list[Node]) -> None:
    host, consumer = fuser.open[number], fuser.open[reader]
    gone = {id(n) for n in moved}
    rest = [n for n in host.nodes if id(n) not in gone]
    nodes = fuser.together(consumer.root, moved, consumer.nodes)
    left = rest[-1] if rest and id(host.root) in gone else host.root
    if not rest:
        return
    one, other = fuser.select(rest, left), fuser.select(nodes, consumer.root)
    if not isinstance(one, ModuleType) or not isinstance(other, ModuleType):
        return
    host.nodes, host.root, host.schedule = rest, left, one
    consumer.nodes, consumer.schedule = nodes, other
    consumer.notes.append(f"{', '.join(n.op.name for n in moved)} of {left.op.name} is made here, where it is read")
    for node in moved:
        fuser.group_of[id(node)] = reader
