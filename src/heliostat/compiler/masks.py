"""Masks that are made of little are made again where they are read: a comparison costs less than a byte for each of its
elements, written once and read by everyone."""

from __future__ import annotations

from collections.abc import Sequence

from ..ir.graph import PARAMETER, Graph, Node, Value
from ..ir.rewrite import copy, rewrite
from ..ir.types import bool_, numel, upper_bound

LESS = 16  # times fewer elements are read for a mask than it has
COMPARISONS = frozenset({"eq", "ne", "lt", "le", "gt", "ge"})


def masks_for_each(graph: Graph) -> Graph:
    """A comparison of several readers becomes one for each of them, so that it can be joined to each."""
    users = graph.users()
    kept = {id(v) for v in graph.results()}

    def replace(node: Node, inputs: tuple[Value, ...]) -> Sequence[Value] | None:
        if node.op is PARAMETER:
            return None
        mine = [_again(new) if shared(old) else new for old, new in zip(node.inputs, inputs, strict=True)]
        return copy(node, tuple(mine))

    def shared(value: Value) -> bool:
        if value.node.op.name not in COMPARISONS or id(value) in kept or len(users.get(id(value), ())) < 2:
            return False
        size = sum(upper_bound(numel(v.type.shape)) for v in value.node.inputs if v.node.op.name != "arange")
        return value.type.element is bool_ and size * LESS <= upper_bound(numel(value.type.shape))

    return rewrite(graph, replace)


def _again(value: Value) -> Value:
    """The same comparison, and the same numbers in a row, by nodes of their own."""
    node = value.node
    inputs = [_again(v) if v.node.op.name == "arange" else v for v in node.inputs]
    return Node(node.op, inputs, node.attrs, [r.type for r in node.results]).results[value.index]
