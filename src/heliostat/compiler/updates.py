"""States are updated in place: which values live in a state's buffer, in which order launches may then run, and which
values must be copied because they cannot live there.

A value reads what a state was before the step, however late it is computed. So a launch that overwrites a state waits
for all that read it as it was, and where that cannot be, the new value gets a buffer of its own and is copied at last.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from ..diagnostics import CompileError
from ..ir.graph import Graph, Value
from ..ops import get
from .fuse import ordered, source_of


@dataclass(frozen=True, eq=False)
class Versions:
    """The values that live in one state's buffer, oldest first: the state itself, then what overwrites it."""

    values: tuple[Value, ...]


def versions_of(graph: Graph) -> list[Versions]:
    """What can live in the states' buffers. Updates that are not among them must be copied.

    Raises CompileError for an update of rows in what is no state: a cache's other rows have to be there already.
    """
    found: list[Versions] = []
    taken: set[int] = set()
    for old, new in graph.updates:
        chain = [source_of(new)]
        while chain[0].node.op.name == "cache_update":
            chain.insert(0, source_of(chain[0].node.inputs[0]))
        grows = len(chain) > 1
        if grows and chain[0] is not old:
            raise CompileError(
                f"{graph.name}: state {old.name} is updated with rows put into something else",
                help="put rows into the state itself, by cache_update(state, rows, start)",
            )
        if grows:
            found.append(Versions(tuple(chain)))
        elif not (chain[0].is_parameter or chain[0].is_constant or id(chain[0]) in taken):
            found.append(Versions((old, chain[0])))
        taken.add(id(chain[-1]))
    kept = {id(v) for versions in found for v in versions.values}
    for node in graph.nodes():
        if node.op.name == "cache_update" and id(node.results[0]) not in kept:
            raise CompileError(f"{graph.name}: rows are put into {node.inputs[0].name or 'a value'}, which is no state")
    return found


def in_order(
    reads: Sequence[Sequence[Value]],
    writes: Sequence[Sequence[Value]],
    versions: Sequence[Versions],
    over: Callable[[int, Value, Value], bool],
) -> tuple[list[int], list[Versions]]:
    """The launches in an order in which each follows what it reads, and every reader of a version comes before its
    overwriting; and the versions that allow no such order, without which the order is made.

    `reads`, `writes`: the values of each launch. The given order is kept where it can be. `over(launch, old, new)`:
    whether a launch that reads the one and writes the other may do so in the same memory.
    """
    read = [[id(source_of(v)) for v in mine] for mine in reads]
    made = [[id(v) for v in mine] for mine in writes]
    refused = [v for v in versions if _reads_what_it_overwrites(read, made, v, over)]
    kept = [v for v in versions if v not in refused]
    while True:
        order = ordered(_needs(read, made, kept))
        if order is not None:
            return order, refused
        plain = [v for v in kept if v.values[-1].node.op.name != "cache_update"]
        if not plain:
            raise CompileError(
                "a state is read as it was before the step by what depends on its new value",
                help="read it before it is updated, or update it by something else than cache_update",
            )
        kept.remove(plain[-1])
        refused.append(plain[-1])


def with_copies(graph: Graph, versions: Sequence[Versions]) -> tuple[Graph, list[Versions], list[Value]]:
    """The graph with copies to the states that are not updated in place, of results that a state's buffer does not hold
    until the end, and of results that are names of constants, which no launch would write; the versions with them; the
    copies.
    """
    known = {id(v.values[0]): v for v in versions}
    copies: list[Value] = []

    def copy(value: Value) -> Value:
        copies.append(get("cast").build(value, dtype=value.type.element))
        return copies[-1]

    updates: list[tuple[Value, Value]] = []
    made: list[Versions] = list(versions)
    for old, new in graph.updates:
        if id(old) not in known and new is not old:
            # what was a state goes by way of scratch: two states that are exchanged would wait for each other
            new = copy(copy(new) if source_of(new).is_parameter else new)
            made.append(Versions((old, new)))
        updates.append((old, new))
    stale = {id(v) for version in made for v in version.values[:-1]}
    outputs = [copy(v) if id(source_of(v)) in stale or source_of(v).is_constant else v for v in graph.outputs]
    return (Graph(graph.name, graph.parameters, outputs, updates) if copies else graph), made, copies


def _reads_what_it_overwrites(
    read: Sequence[list[int]],
    made: Sequence[list[int]],
    versions: Versions,
    over: Callable[[int, Value, Value], bool],
) -> bool:
    """Whether one launch does both, other than to put rows into a cache, and not element by element."""
    before, after = versions.values[0], versions.values[-1]
    if after.node.op.name == "cache_update":
        return False
    old, new = id(before), id(after)
    both = (n for n, (r, m) in enumerate(zip(read, made, strict=True)) if new in m and old in r)
    return any(not over(n, before, after) for n in both)


def _needs(read: Sequence[list[int]], made: Sequence[list[int]], versions: Sequence[Versions]) -> list[int]:
    """For each launch the ones that must have run before it, as bits. `read`, `made`: ids of the buffers' values."""
    maker = {v: n for n, mine in enumerate(made) for v in mine}
    needs = [_bits(maker[v] for v in mine if v in maker) & ~(1 << n) for n, mine in enumerate(read)]
    readers: dict[int, list[int]] = {}
    for n, mine in enumerate(read):
        for v in mine:
            readers.setdefault(v, []).append(n)
    for version in versions:
        before = 0
        for older, newer in itertools.pairwise(map(id, version.values)):
            before |= _bits(readers.get(older, ()))
            if newer in maker:
                needs[maker[newer]] |= before & ~(1 << maker[newer])
    return needs


def _bits(numbers: Iterable[int]) -> int:
    found = 0
    for n in numbers:
        found |= 1 << n
    return found
