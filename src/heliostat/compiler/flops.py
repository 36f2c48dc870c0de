"""How many arithmetic operations a graph stands for, counted as the field counts them: a product of matrices is
2 M N K, an elementwise op one for each result, a reduction one for each operand; moving and converting is none."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from ..ir.graph import Graph, Node
from ..ir.types import TensorType, evaluate, numel
from ..ops import Op

_REDUCTIONS = frozenset({"sum", "mean", "max", "min", "prod", "argmax"})


def flops(graph: Graph, symbols: Mapping[str, int]) -> int:
    """Operations of one run with those values of the symbols. Composite ops count as their decomposition."""
    return flops_of(graph.nodes(), symbols)


def flops_of(nodes: Iterable[Node], symbols: Mapping[str, int]) -> int:
    """Operations of some nodes of a graph."""
    return sum(_node_flops(node, symbols) for node in nodes)


def _node_flops(node: Node, symbols: Mapping[str, int]) -> int:
    op, name = node.op, node.op.name
    inputs = [v.type for v in node.inputs]
    if name in ("matmul", "linear"):
        depth = inputs[0].shape[-2 if node.attrs.get("transpose_a") else -1]
        return 2 * _size(node.results[0].type, symbols) * evaluate(depth, symbols)
    if name == "conv2d":
        per_output = numel(inputs[1].shape[1:])
        return 2 * _size(node.results[0].type, symbols) * evaluate(per_output, symbols)
    if name == "attention":  # two products for each head: queries with keys, weights with values
        return 4 * _size(inputs[0], symbols) * evaluate(inputs[1].shape[1], symbols)
    if name == "rope":
        return 3 * _size(inputs[0], symbols)
    if name in _REDUCTIONS:
        return _size(inputs[0], symbols)
    kind = op.kind if isinstance(op, Op) else "leaf"
    if kind == "elementwise":
        return 0 if name == "cast" else _size(node.results[0].type, symbols)
    if kind == "composite":
        return _composite_flops(node, symbols)
    return 0


def _composite_flops(node: Node, symbols: Mapping[str, int]) -> int:
    """The operations of the nodes that a composite's decomposition puts between its operands and its result."""
    result = node.op.decompose(*node.inputs, **node.attrs)  # type: ignore[attr-defined]
    given = {id(v.node) for v in node.inputs}
    total = 0
    stack = [v.node for v in (result if isinstance(result, tuple) else (result,))]
    while stack:
        inner = stack.pop()
        if id(inner) not in given:
            given.add(id(inner))
            total += _node_flops(inner, symbols)
            stack += [v.node for v in inner.inputs]
    return total


def _size(type_: TensorType, symbols: Mapping[str, int]) -> int:
    return evaluate(numel(type_.shape), symbols)
