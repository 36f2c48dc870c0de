"""How many arithmetic operations a graph stands for, counted as the field counts them: a product of matrices is
2 M N K, an elementwise op one for each result, a reduction one for each operand; moving and converting is none."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from ..ir.graph import Graph, Node
from ..ir.types import TensorType, evaluate, numel
from ..ops import Op

_REDUCTIONS = frozenset({"sum", "mean", "max", "min", "prod", "argmax"})

# Operations for each pair of a query and a key and each element of a head; products that are made again do not count.
_PAIRS = {
    "scaled_dot_product_attention": 4, "attention_logsumexp": 0, "attention_query_gradient": 4,
    "attention_key_gradient": 2, "attention_value_gradient": 2,
}  # fmt: skip


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
        table = inputs[4].shape[-1] if len(inputs) > 4 else 1
        return 4 * _size(inputs[0], symbols) * evaluate(inputs[1].shape[-2] * table, symbols)
    if name in _PAIRS:
        return _PAIRS[name] * _pairs(node, symbols)
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


def _pairs(node: Node, symbols: Mapping[str, int]) -> int:
    """Pairs of a query and a key that it sees, for each element of each query head."""
    q, k = (node.inputs[n + (len(node.inputs) > 3)].type for n in range(2))
    rows, keys, heads = evaluate(q.shape[1], symbols), evaluate(k.shape[1], symbols), node.attrs["heads"]
    both = min(rows, keys)
    seen = both * (both + 1) // 2 + (rows - both) * keys if node.attrs["causal"] else rows * keys
    count = heads[1] if heads else evaluate(q.shape[2], symbols)
    return seen * evaluate(q.shape[0], symbols) * count * evaluate(q.shape[3], symbols)


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
