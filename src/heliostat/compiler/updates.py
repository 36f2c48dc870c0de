"""States are updated in place: which values live in a state's buffer, in which order launches may then run, and which
values must be copied because they cannot live there.

A value reads what a state was before the step, however late it is computed. So a launch that overwrites a state waits
for all that read it as it was, and where that cannot be, the new value gets a buffer of its own and is copied at last.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ..diagnostics import CompileError
from ..ir.graph import Graph, Value
from ..ops import get
from .fuse import ordered, source_of


@dataclass(frozen=True)
class Versions:
    """The values that live in one state's buffer, oldest first: the state itself, then what overwrites it."""

    values: tuple[Value, ...]

    def age(self, value: Value) -> int | None:
        """The number of a value's version, None for a value that lives elsewhere."""
        source = source_of(value)
        return next((n for n, v in enumerate(self.values) if v is source), None)


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
    reads: Sequence[Sequence[Value]], writes: Sequence[Sequence[Value]], versions: Sequence[Versions]
) -> tuple[list[int], list[Versions]]:
    """The launches in an order in which each follows what it reads, and every reader of a version comes before its
    overwriting; and the versions that allow no such order, without which the order is made.

    `reads`, `writes`: the values of each launch. The given order is kept where it can be.
    """
    refused: list[Versions] = []
    kept = list(versions)
    for v in versions:
        if _reads_what_it_overwrites(reads, writes, v):
            kept.remove(v)
            refused.append(v)
    while True:
        order = ordered(_needs(reads, writes, kept))
        if order is not None:
            return order, refused
        plain = [v for v in kept if len(v.values) == 2 and v.values[1].node.op.name != "cache_update"]
        if not plain:
            raise CompileError(
                "a state is read as it was before the step by what depends on its new value",
                help="read it before it is updated, or update it by something else than cache_update",
            )
        kept.remove(plain[-1])
        refused.append(plain[-1])


def with_copies(graph: Graph, versions: Sequence[Versions]) -> tuple[Graph, list[Versions], list[Value]]:
    """The graph with copies to the states that are not updated in place, and of results that a state's buffer does
    not hold until the end; the versions with them; the copies.
    """
    known = {id(v.values[0]): v for v in versions}
    copies: list[Value] = []

    def copy(value: Value) -> Value:
        copies.append(get("cast").build(value, dtype=value.type.element))
        return copies[-1]

    updates: list[tuple[Value, Value]] = []
    made: list[Versions] = list(versions)
    for old, new in graph.updates:
        if id(old) not in known:
            # what was a state goes by way of scratch: two states that are exchanged would wait for each other
            new = copy(copy(new) if source_of(new).is_parameter else new)
            made.append(Versions((old, new)))
        updates.append((old, new))
    stale = {id(v) for version in made for v in version.values[:-1]}
    outputs = [copy(v) if id(source_of(v)) in stale else v for v in graph.outputs]
    return (Graph(graph.name, graph.parameters, outputs, updates) if copies else graph), made, copies


def _reads_what_it_overwrites(
    reads: Sequence[Sequence[Value]], writes: Sequence[Sequence[Value]], versions: Versions
) -> bool:
    """Whether one launch does both, other than to put rows into a cache: its order of elements is not known."""
    if versions.values[-1].node.op.name == "cache_update":
        return False
    return any(
        any(versions.age(v) == 0 for v in mine) and any(versions.age(v) == 1 for v in made)
        for mine, made in zip(reads, writes, strict=True)
    )


def _needs(
    reads: Sequence[Sequence[Value]], writes: Sequence[Sequence[Value]], versions: Sequence[Versions]
) -> list[set[int]]:
    """For each launch the ones that must have run before it."""
    maker = {id(v): n for n, made in enumerate(writes) for v in made}
    needs = [{maker[id(s)] for s in map(source_of, mine) if id(s) in maker} - {n} for n, mine in enumerate(reads)]
    for version in versions:
        readers = [(n, a) for n, mine in enumerate(reads) for v in mine if (a := version.age(v)) is not None]
        writers = [(n, a) for n, made in enumerate(writes) for v in made if (a := version.age(v)) is not None]
        for writer, made_age in writers:
            needs[writer] |= {reader for reader, age in readers if age < made_age and reader != writer}
    return needs
