"""Joins to products what makes rows of heads of their results: the rotation of queries and keys, and what puts keys and
values into caches. Names of reshaped buffers stand in between, through which fusion does not look otherwise."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..ir.graph import Node, Value
from ..kernels.group import ALIASES

if TYPE_CHECKING:
    from .fuse import Fuser

FIRST = frozenset({"rope", "cache_update"})


def join_rows_of_heads(fuser: Fuser) -> None:
    """Join groups that begin with a rotation or the update of a cache to the product that they read by another name,
    where its schedule takes them."""
    for number, later in enumerate(fuser.open):
        if not later.nodes or later.nodes[0].op.name not in FIRST:
            continue
        first = later.nodes[0]
        new = first.inputs[0] if first.op.name == "rope" else first.inputs[1]
        names = _names(new)
        source = names[0].inputs[0] if names else new
        host = fuser.group_of.get(id(source.node), -1)
        if not names or host < 0 or not _alone(fuser, [source, *(n.results[0] for n in names)]):
            continue
        product = fuser.open[host]
        if not fuser.is_product(product) or product.before or id(product.root) in fuser.library:
            continue
        behind = _behind(fuser, later.nodes[-1].results[0])
        for moved in ([number, behind], [number]) if behind is not None else ([number],):
            if _join(fuser, host, names, moved):
                break


def _names(value: Value) -> list[Node]:
    """The nodes by which a value is a name of another, in their order."""
    found: list[Node] = []
    while value.node.op.name in ALIASES:
        found.insert(0, value.node)
        value = value.node.inputs[0]
    return found


def _alone(fuser: Fuser, values: list[Value]) -> bool:
    """Whether each of some values has one reader."""
    return all(len(fuser.users.get(id(v), ())) == 1 and id(v) not in fuser.kept for v in values)


def _behind(fuser: Fuser, value: Value) -> int | None:
    """The elementwise group that alone reads a value."""
    readers = {fuser.group_of.get(id(u), -1) for u in fuser.users.get(id(value), ())}
    reader = readers.pop() if len(readers) == 1 else -1
    return reader if reader >= 0 and fuser.open[reader].nodes and fuser.is_map(fuser.open[reader]) else None


def _join(fuser: Fuser, number: int, names: list[Node], moved: list[int]) -> bool:
    host, others = fuser.open[number], [fuser.open[n] for n in moved]
    nodes = [*host.nodes, *names, *(n for o in others for n in o.nodes)]
    verdict = fuser.select(nodes, host.root)
    if verdict is not host.schedule:
        reason = verdict if isinstance(verdict, str) else "the product's own schedule does not take them"
        host.notes.append(f"rows of heads have a launch of their own: {reason}")
        return False
    mine = 1 << number | sum(1 << n for n in moved)
    needs = host.needs
    for other in others:
        needs |= other.needs
    needs &= ~mine
    if any(needs >> n & 1 and o.needs & mine for n, o in enumerate(fuser.open)):
        return False  # what they read depends on the product
    host.nodes, host.needs = nodes, needs
    for other in others:
        host.notes += [*other.notes, f"{other.root.op.name} joins {host.root.op.name}"]
        for node in other.nodes:
            fuser.group_of[id(node)] = number
        other.nodes, other.needs = [], 0
    for other in fuser.open:
        if other.needs & mine:
            other.needs = other.needs & ~mine | 1 << number | needs
    return True
