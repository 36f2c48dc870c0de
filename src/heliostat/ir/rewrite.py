"""Rebuilding graphs: every pass that changes a graph is a function from nodes to replacement values."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from .graph import CONSTANT, PARAMETER, Graph, Node, Value, attribute_text

Replace = Callable[[Node, tuple[Value, ...]], Sequence[Value] | None]


def rewrite(graph: Graph, replace: Replace) -> Graph:
    """A graph in which `replace(node, new_inputs)` stands for each node, in topological order; None copies the node.

    Parameters are offered too. Results keep the names of those they replace where they have none. Dead nodes go.
    """
    new: dict[int, Value] = {}
    for node in graph.nodes():
        inputs = tuple(new[id(v)] for v in node.inputs)
        values = replace(node, inputs)
        if values is None:
            values = copy(node, inputs)
        for old, value in zip(node.results, values, strict=True):
            if old.name and not value.name:
                value.name = old.name
            new[id(old)] = value
    return Graph(
        graph.name,
        [new[id(p)] for p in graph.parameters],
        [new[id(v)] for v in graph.outputs],
        [(new[id(s)], new[id(v)]) for s, v in graph.updates],
    )


def copy(node: Node, inputs: tuple[Value, ...]) -> tuple[Value, ...]:
    """The node's results over new inputs; the node itself where nothing changed. Types are inferred anew."""
    if all(a is b for a, b in zip(node.inputs, inputs, strict=True)):
        return node.results
    types = node.op.infer_types([v.type for v in inputs], node.attrs)
    return Node(node.op, inputs, node.attrs, types, node.results[0].name).results


def share_equal(graph: Graph) -> Graph:
    """Common subexpression elimination: nodes of equal op, attributes and inputs become one."""
    seen: dict[tuple[object, ...], tuple[Value, ...]] = {}

    def replace(node: Node, inputs: tuple[Value, ...]) -> Sequence[Value] | None:
        if node.op is PARAMETER:
            return None
        attrs = tuple(sorted((k, attribute_text(v)) for k, v in node.attrs.items()))
        type_text = str(node.results[0].type) if node.op is CONSTANT else ""
        key = (node.op.name, attrs, type_text, *map(id, inputs))
        found = seen.get(key)
        if found is None:
            found = seen[key] = copy(node, inputs)
        return found

    return rewrite(graph, replace)
