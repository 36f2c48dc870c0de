"""Attention that is written as products and a softmax becomes one op where a schedule takes it whole and nobody else
reads its scores or weights: they then never lie in memory. A step with gradients reads the weights again, and keeps
them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from ..ir.graph import Graph, Node, Value
from ..ir.rewrite import rewrite, share_equal
from ..ir.types import f32
from ..kernels import row_attention, row_attention_gradient
from ..ops import REGISTRY
from ..ops.dot_product_attention import DotProductAttention, DotProductAttentionGradient
from ..targets.target import Target

AXES_ALONE = frozenset({"reshape", "unsqueeze", "squeeze"})


def attend(graph: Graph, target: Target) -> Graph:
    """`dot_product_attention` in place of matmul(softmax(scores), v), scores a product of q and a transposed k, perhaps
    with a constant factor and a causal mask of constants; the reverse for those that no schedule takes."""
    graph = share_equal(_written_out(graph, target))
    users = graph.users()
    kept = {id(v) for v in graph.results()}

    def inner(value: Value) -> bool:
        return id(value) not in kept and len(users.get(id(value), ())) == 1

    def replace(node: Node, inputs: tuple[Value, ...]) -> Sequence[Value] | None:
        found = _parts(node, inputs, inner)
        if found is None:
            return None
        q, k, v, scale, causal = found
        if any(x.type.element is not f32 or x.type.layout is not None for x in (q, k, v)) or k.type.shape[-2] == 0:
            return None
        if not q.type.shape[:-2] == k.type.shape[:-2] == v.type.shape[:-2]:
            return None
        made = REGISTRY["dot_product_attention"].build(q, k, v, scale=scale, causal=causal)
        return None if row_attention.refusal(made.node, target) is not None else (made,)

    return rewrite(graph, replace)


def _written_out(graph: Graph, target: Target) -> Graph:
    """Attention as products and a softmax, so that weights which a gradient makes too are seen to be the same; but not
    where a schedule takes the gradient whole, which then needs no weights."""
    nodes = [n for n in graph.nodes() if isinstance(n.op, DotProductAttention | DotProductAttentionGradient)]
    backward = [n for n in nodes if isinstance(n.op, DotProductAttentionGradient)]
    whole = {id(n) for n in backward if row_attention_gradient.refusal(n, target) is None}
    read = {(id(n.inputs[1]), id(n.inputs[2])) for n in backward if id(n) not in whole}
    parts: dict[int, list[Value]] = {}

    def joined(node: Node, part: Value) -> bool:
        first, *rest = part.type.shape
        return node.results[0].type.shape == (3 * first, *rest)

    def replace(node: Node, inputs: tuple[Value, ...]) -> Sequence[Value] | None:
        op = node.op
        if isinstance(op, DotProductAttention):
            kept = row_attention.refusal(node, target) is None and (id(node.inputs[0]), id(node.inputs[1])) not in read
            return None if kept else (op.decompose(*inputs, **node.attrs),)
        if isinstance(op, DotProductAttentionGradient) and id(node) not in whole:
            made, how = op.decompose(*inputs, **node.attrs), dict(node.attrs)
            if not how.pop("joined", False):
                parts[id(made)] = op.parts(*inputs, **how)
            return (made,)
        if op.name == "reshape" and id(inputs[0]) in parts and joined(node, parts[id(inputs[0])][0]):
            made = REGISTRY["reshape"].build(inputs[0], **node.attrs)
            parts[id(made)] = parts[id(inputs[0])]
            return (made,)
        if op.name == "slice" and id(inputs[0]) in parts and inputs[0].node.op.name == "reshape":
            for n, part in enumerate(parts[id(inputs[0])]):
                first = part.type.shape[0]
                if node.attrs["axis"] == 0 and (node.attrs["start"], node.attrs["stop"]) == (
                    n * first,
                    (n + 1) * first,
                ):
                    return (part,)
        return None

    return rewrite(graph, replace) if nodes else graph


def _parts(
    node: Node, inputs: tuple[Value, ...], inner: Callable[[Value], bool]
) -> tuple[Value, Value, Value, float, bool] | None:
    """q, k, v of the new graph, the scores' factor, and whether the mask is causal; None where it is something else."""
    if node.op.name != "matmul" or node.attrs["transpose_a"] or node.inputs[0].node.op.name != "softmax":
        return None
    if not inner(node.inputs[0]):
        return None
    weights, v = inputs
    scores, old = weights.node.inputs[0], node.inputs[0].node.inputs[0]
    scale, causal = 1.0, False
    while inner(old):
        op = old.node.op.name
        if op == "matmul" and not old.node.attrs["transpose_a"]:
            q, turned = scores.node.inputs
            q, factor = _without_factor(q)
            scale *= factor
            rank = q.type.rank
            swapped = (*range(rank - 2), rank - 1, rank - 2)
            if rank < 2 or turned.node.op.name != "transpose" or turned.node.attrs["axes"] != swapped:
                return None
            return q, turned.node.inputs[0], v, scale, causal
        if op == "mul" and _without_factor(old)[0] is not old:
            source, factor = _without_factor(old)
            scale, at = scale * factor, int(old.node.inputs[0] is not source)
        elif op == "where" and not causal and scale == 1.0:
            seen, _, hidden = old.node.inputs
            if _number(hidden) != -np.inf or not _is_causal(seen):
                return None
            causal, at = True, 1
        else:
            return None
        old, scores = old.node.inputs[at], scores.node.inputs[at]
    return None


def _without_factor(value: Value) -> tuple[Value, float]:
    """What a product with a constant of one element multiplies, and the constant; other values as they are."""
    if value.node.op.name == "mul":
        for x, factor in (value.node.inputs, value.node.inputs[::-1]):
            if (number := _number(factor)) is not None and x.type == value.type:
                return x, number
    return value, 1.0


def _number(value: Value) -> float | None:
    """A constant of one element."""
    if not value.is_constant or any(d != 1 for d in value.type.shape):
        return None
    return float(np.asarray(value.node.attrs["value"]).reshape(()))


def _is_causal(mask: Value) -> bool:
    """Whether it is: numbers of rows, at least those of columns."""
    if mask.node.op.name != "ge" or mask.type.rank < 2:
        return False
    rows, columns = (_source(v) for v in mask.node.inputs)
    upright, flat = (v.type for v in mask.node.inputs)
    if not all(_counts(v) for v in (rows, columns)) or flat.rank < 1:
        return False
    across = (*(1 for _ in flat.shape[:-1]), columns.type.shape[0])
    down = (*(1 for _ in upright.shape[:-2]), rows.type.shape[0], 1)
    return flat.shape == across and upright.shape == down


def _source(value: Value) -> Value:
    while value.node.op.name in AXES_ALONE:
        value = value.node.inputs[0]
    return value


def _counts(value: Value) -> bool:
    """0, 1, 2 ... along one axis."""
    if value.type.rank != 1:
        return False
    if value.node.op.name == "arange":
        return True
    return value.is_constant and np.array_equal(value.node.attrs["value"], np.arange(len(value.node.attrs["value"])))
