"""Attention of training stays whole where a schedule takes it, and becomes products and softmax everywhere else, before
products are looked at."""

from __future__ import annotations

from collections.abc import Sequence

from ..ir.graph import Graph, Node, Value
from ..ir.rewrite import rewrite
from ..kernels import flash_operands
from ..targets.target import Target


def expand_attention(graph: Graph, target: Target) -> Graph:
    """Ops of `ops.dot_product_attention` that no schedule takes are replaced by what defines them."""

    def replace(node: Node, inputs: tuple[Value, ...]) -> Sequence[Value] | None:
        if node.op.name not in flash_operands.OPERANDS or flash_operands.refusal(node, target) is None:
            return None
        made: Value = node.op.decompose(*inputs, **node.attrs)  # type: ignore[attr-defined]
        return (made,)

    return rewrite(graph, replace)
