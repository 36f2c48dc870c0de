"""Attention of training stays whole where a schedule takes it, and becomes products and softmax everywhere else, before
products are looked at. Where it stays, it reads queries, keys and values as parts of what a product made of all three,
and writes their gradients as parts of one."""

from __future__ import annotations

from collections.abc import Sequence

from ..ir.graph import Graph, Node, Value
from ..ir.rewrite import rewrite
from ..kernels import flash_operands
from ..ops import REGISTRY, reshape
from ..targets.target import Target
from .lower import expand


def expand_attention(graph: Graph, target: Target) -> Graph:
    """Ops of `ops.scaled_dot_product_attention` that no schedule takes are replaced by what defines them."""
    names = flash_operands.OPERANDS
    return expand(graph, lambda n: n.op.name in names and flash_operands.refusal(n, target) is not None)


def heads_of_attention(graph: Graph, target: Target) -> Graph:
    """q = reshape(slice(x), (B, L, H, E)) becomes some heads of reshape(x, (B, L, all heads, E)); a concat of such
    gradients, (B, L, H E), one along their heads."""

    def replace(node: Node, inputs: tuple[Value, ...]) -> Sequence[Value] | None:
        letters = flash_operands.OPERANDS.get(node.op.name)
        if letters is not None:
            return None if node.attrs["heads"] else _of_parts(node, inputs, letters, target)
        if node.op.name == "concat" and node.attrs["axis"] == 2 and all(map(_gradient, inputs)):
            parts = [v.node.inputs[0] for v in inputs]
            if len({p.type.shape[3] for p in parts}) == 1:
                return (reshape(REGISTRY["concat"].build(*parts, axis=2), node.results[0].type.shape),)
        return None

    return rewrite(graph, replace)


def _of_parts(node: Node, inputs: tuple[Value, ...], letters: str, target: Target) -> Sequence[Value] | None:
    given, heads = list(inputs), dict[str, tuple[int, int]]()
    for n, letter in enumerate(letters):
        if letter in "qkv":
            given[n], first = _whole(inputs[n])
            count = inputs[n].type.shape[2]
            assert isinstance(count, int)
            heads[letter] = (first, count)
    if all(a is b for a, b in zip(given, inputs, strict=True)):
        return None
    heads.setdefault("v", heads["k"])
    parts = tuple(i for letter in "qkv" for i in heads[letter])
    made = REGISTRY[node.op.name].build(*given, **{**node.attrs, "heads": parts})
    return (made,) if flash_operands.refusal(made.node, target) is None else None


def _whole(value: Value) -> tuple[Value, int]:
    """What a slice of the last axis took its heads from, by heads, and the first of them; or the value and 0."""
    b, rows, _, size = value.type.shape
    part = value.node.inputs[0] if value.node.op.name == "reshape" else value
    if (
        part.node.op.name != "slice"
        or part.type.rank != 3
        or part.node.attrs["axis"] != 2
        or part.type.shape[1] != rows
    ):
        return value, 0
    (source,), first = part.node.inputs, part.node.attrs["start"]
    width = source.type.shape[2]
    if (
        not (isinstance(width, int) and isinstance(first, int) and isinstance(size, int))
        or width % size
        or first % size
    ):
        return value, 0
    return reshape(source, (b, rows, width // size, size)), first // size


def _gradient(value: Value) -> bool:
    """Whether a value is a gradient of attention, (B, L, H, E), as (B, L, H E)."""
    if value.node.op.name != "reshape" or value.type.rank != 3:
        return False
    source = value.node.inputs[0]
    return source.node.op.name in flash_operands.OPERANDS and source.type.shape[:2] == value.type.shape[:2]
