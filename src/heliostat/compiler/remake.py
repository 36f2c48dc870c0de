"""Lets a kernel make again what another one would store for it, where a few elementwise nodes make it of what is stored
anyway: the normalized rows that a norm's gradient reads are (x - mean) * scale of rows x that the next sum reads too.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..ir.graph import Node, Value
from ..kernels import reduce
from .defer import CHEAP

if TYPE_CHECKING:
    from .fuse import Fuser

MOST = 3
"""Nodes that are made again."""


def remake(fuser: Fuser) -> None:
    """For kernels of rows on a GPU, which wait for memory: a value less to write."""
    for number, host in enumerate(fuser.open):
        if not host.nodes or host.schedule is not reduce:
            continue
        for value in fuser.close(host).outputs:
            readers = {fuser.group_of.get(id(u), -1) for u in fuser.users.get(id(value), ())} - {number}
            if len(readers) == 1 and id(value) not in fuser.kept:
                _remake(fuser, number, readers.pop(), value)


def _remake(fuser: Fuser, number: int, reader: int, value: Value) -> None:
    host, consumer = fuser.open[number], fuser.open[max(reader, 0)]
    if reader < 0 or consumer.schedule is not reduce or consumer.before:
        return
    chain = _chain(fuser, number, value)
    if chain is None:
        return
    nodes, sources = chain
    users = {id(v): fuser.users.get(id(v), []) for v in (value, *sources)}
    inside = [u for u in users[id(value)] if fuser.group_of.get(id(u)) == number]
    fuser.users |= {id(v): [*users[id(v)], consumer.root] for v in sources} | {id(value): inside}
    consumer.before = nodes
    verdicts = [fuser.verdict(fuser.close(o)) for o in (host, consumer)]
    if verdicts == [reduce, reduce] and reduce.reads_once(fuser.close(consumer), fuser.target):
        consumer.notes.append(f"{value.node.op.name} is made again where it is read")
        return
    fuser.users |= users
    consumer.before = []


def _chain(fuser: Fuser, number: int, value: Value) -> tuple[list[Node], list[Value]] | None:
    """The nodes that make a value, in order, and what they make it of: one value of its shape that is stored in any
    case, and others of one element a row. None where it takes more."""
    shape, stored = value.type.shape, {id(v) for v in fuser.close(fuser.open[number]).outputs} - {id(value)}
    nodes, waiting, sources = list[Node](), [value], dict[int, Value]()
    while waiting:
        v = waiting.pop()
        node = v.node
        given = v is not value and (id(v) in stored or fuser.group_of.get(id(node)) != number)
        if given or _narrow(v, value):
            sources[id(v)] = v
        elif node.op.name in CHEAP and v.type.shape == shape and len(nodes) < MOST:
            nodes.append(node)
            waiting += [i for i in node.inputs if i.node.op.name != "constant"]
        else:
            return None
    whole = sum(v.type.shape == shape for v in sources.values())
    narrow = sum(_narrow(v, value) for v in sources.values())
    if whole != 1 or whole + narrow != len(sources):
        return None
    return sorted(nodes, key=lambda n: fuser.position[id(n)]), list(sources.values())


def _narrow(value: Value, whole: Value) -> bool:
    """Whether a value has one element for each row of another one."""
    return value.type.shape == (*whole.type.shape[:-1], 1) != whole.type.shape
