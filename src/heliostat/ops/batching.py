"""Batching (`vmap`): a node with one more leading axis on some of its operands, by the rule of its op's record."""

from __future__ import annotations

from collections.abc import Sequence

from ..diagnostics import UnsupportedError
from ..ir.graph import Node, Value, parameter, topological
from .op import Batching, Op
from .shape import lengthened


def batch_node(node: Node, size: int, batched: Sequence[bool], inputs: Sequence[Value]) -> Value:
    """The node's result with a leading axis of `size` elements, which operand i has where batched[i].

    Raises UnsupportedError for an op that has no rule, and names it."""
    op = node.op
    if not isinstance(op, Op) or op.batching is Batching.REFUSED or len(node.results) != 1:
        raise UnsupportedError(f"vmap: {op.name} has no batching rule", help="call it outside of vmap, or loop over it")
    if op.batching is Batching.RULE:
        return op.batch(size, batched, *inputs, **node.attrs)
    if op.batching is Batching.DECOMPOSE:
        return _decomposed(node, op, size, batched, inputs)
    rank = node.results[0].type.rank
    given = [lengthened(v, rank) if on else v for v, on in zip(inputs, batched, strict=True)]
    return op.build(*given, **node.attrs)


def _decomposed(node: Node, op: Op, size: int, batched: Sequence[bool], inputs: Sequence[Value]) -> Value:
    stand_ins = [parameter(f"x{i}", v.type) for i, v in enumerate(node.inputs)]
    y: Value = op.decompose(*stand_ins, **node.attrs)  # type: ignore[attr-defined]
    known = {id(s): (v, on) for s, v, on in zip(stand_ins, inputs, batched, strict=True)}
    for inner in topological([y]):
        if id(inner.results[0]) in known:
            continue
        found = [known[id(v)] for v in inner.inputs]
        flags = [on for _, on in found]
        if any(flags):
            made = batch_node(inner, size, flags, [v for v, _ in found])
        else:
            values = [v for v, _ in found]
            made = inner.op.build(*values, **inner.attrs) if isinstance(inner.op, Op) else inner.results[0]
        known[id(inner.results[0])] = (made, any(flags))
    v, on = known[id(y)]
    return v if on else lengthened(v, v.type.rank)
