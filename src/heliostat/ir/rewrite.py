"""Rebuilding graphs: every pass that changes a graph is a function from nodes to replacement values.

Here are the walk itself, substitution of values, and common subexpression elimination. No graph is changed in place.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from ..diagnostics import VerifyError
from .graph import CONSTANT, PARAMETER, Graph, Node, Value, attribute_text, topological, type_text

Replace = Callable[[Node, tuple[Value, ...]], Sequence[Value] | None]


def rewrite(graph: Graph, replace: Replace) -> Graph:
    """A graph in which `replace(node, new_inputs)` stands for each node, in topological order; None copies the node.

    Parameters are offered too. New values keep the names of those they replace where they have none. Dead nodes go.
    Where every node stays, so does the graph: most passes find nothing to do.
    Raises VerifyError if a node of several results is replaced by another number of values.
    """
    nodes = graph.nodes()
    before = {id(v) for node in nodes for v in node.results}
    new: dict[int, Value] = {}
    changed = False
    for node in nodes:
        inputs = tuple([new[id(v)] for v in node.inputs])
        values = replace(node, inputs)
        if values is None:
            values = copy(node, inputs) if changed else node.results
        if values is node.results:
            for old in values:
                new[id(old)] = old
            continue
        changed = True
        if len(values) != len(node.results):
            raise VerifyError(
                f"graph {graph.name}: {node!r} has {len(node.results)} results, its replacement has {len(values)}"
            )
        for old, value in zip(node.results, values, strict=True):
            if old.name and not value.name and id(value) not in before:
                value.name = old.name
            new[id(old)] = value
    if not changed:
        return graph
    return Graph(
        graph.name,
        [new[id(p)] for p in graph.parameters],
        [new[id(v)] for v in graph.outputs],
        [(new[id(s)], new[id(v)]) for s, v in graph.updates],
    )


def copy(node: Node, inputs: tuple[Value, ...]) -> tuple[Value, ...]:
    """The node's results over new inputs; the node itself where nothing changed. Types are inferred anew.

    Raises ShapeError or DTypeError where the new inputs do not fit the op."""
    for a, b in zip(node.inputs, inputs, strict=True):
        if a is not b:
            break
    else:
        return node.results
    types = node.op.infer_types([v.type for v in inputs], node.attrs)
    made = Node(node.op, inputs, node.attrs, types).results
    for old, value in zip(node.results, made, strict=True):
        value.name = old.name
    return made


def substitute(values: Sequence[Value], given: Mapping[Value, Value]) -> list[Value]:
    """`values` rebuilt with `given[v]` in place of each v; what does not depend on one of them is shared."""
    new = {id(old): value for old, value in given.items()}
    for node in topological(values):
        pending = [r for r in node.results if id(r) not in new]
        if pending:
            made = copy(node, tuple(new[id(v)] for v in node.inputs))
            new.update((id(r), made[r.index]) for r in pending)
    return [new[id(v)] for v in values]


def share_equal(graph: Graph) -> Graph:
    """Common subexpression elimination: nodes of equal op, attributes and inputs become one.

    Ops that are not deterministic are left: two draws of random numbers are two."""
    seen: dict[tuple[object, ...], tuple[Value, ...]] = {}

    def replace(node: Node, inputs: tuple[Value, ...]) -> Sequence[Value] | None:
        if node.op is PARAMETER or not getattr(node.op, "deterministic", True):
            return None
        attrs = tuple(sorted((k, attribute_text(v)) for k, v in node.attrs.items()))
        held = type_text(node.results[0].type) if node.op is CONSTANT else ""
        key = (node.op.name, node.op.version, attrs, held, *map(id, inputs))
        found = seen.get(key)
        if found is None:
            found = seen[key] = copy(node, inputs)
        return found

    return rewrite(graph, replace)
