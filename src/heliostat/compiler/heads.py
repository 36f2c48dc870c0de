"""Heads of attention on cores: cut where they are transposed, gradients put together where they are transposed back.

q = transpose(reshape(slice(x))) copies its part of x twice, as the reshape stands between two views. Cut from x by
heads, slice and transpose are one view, and the concat of three gradients takes them out of their transposes itself:
where they are those of one attention, in their order, its gradient is asked for joined.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial

from ..ir.graph import Graph, Node, Value
from ..ir.rewrite import rewrite
from ..ops import REGISTRY, reshape
from ..targets.target import Target


def heads_by_views(graph: Graph, target: Target) -> Graph:
    """transpose(reshape(slice(x, last axis), (..., H, E))) for attention becomes transpose(slice(reshape(x, (..., all
    heads, E)))), and a concat of reshape(transpose(g), (..., H E)) along the last axis one along their heads."""
    if target.gpu:
        return graph
    users = graph.users()
    kept = {id(v) for v in graph.results()}

    def replace(node: Node, inputs: tuple[Value, ...]) -> Sequence[Value] | None:
        if node.op.name == "transpose":
            (value,) = node.results
            readers = users.get(id(value), [])
            if id(value) in kept or not all(n.op.name.startswith("dot_product_attention") for n in readers):
                return None
            cut = _cut(inputs[0]) if _keeps_last(node) else None
            return None if cut is None else (REGISTRY["transpose"].build(cut, **node.attrs),)
        if node.op.name == "concat" and node.attrs["axis"] == node.results[0].type.rank - 1:
            parts = [_turned(v) for v in inputs]
            known = [p for p in parts if p is not None]
            if len(known) == len(parts) and len({(p.type.shape[:-2], p.type.shape[-1]) for p in known}) == 1:
                axis = known[0].type.rank - 2
                if _alone(node, users, kept) and (made := _joined(known)) is not None:
                    return (reshape(made, node.results[0].type.shape),)
                return (reshape(REGISTRY["concat"].build(*known, axis=axis), node.results[0].type.shape),)
        return None

    return rewrite(graph, replace)


def _alone(node: Node, users: Mapping[int, list[Node]], kept: set[int]) -> bool:
    """Whether nobody but a concat of three reads what stands between it and what they are all cut from."""
    waiting, seen = list(node.inputs), set[int]()
    while waiting:
        value = waiting.pop()
        if id(value) in seen:
            continue
        seen.add(id(value))
        cut = value.node.op.name == "reshape" and any(u.op.name == "slice" for u in users[id(value)])
        if id(value) in kept or len(users[id(value)]) != (len(node.inputs) if cut else 1):
            return False
        if value.node.op.name in ("reshape", "transpose", "slice"):
            waiting += value.node.inputs
    return True


def _joined(parts: Sequence[Value]) -> Value | None:
    """The gradients of q, k and v of one attention side by side, of which `parts` are all, by tokens; None where they
    are something else."""
    found: Node | None = None
    for n, part in enumerate(parts):
        rank, cut = part.type.rank, part.node.inputs[0].node
        if rank < 3 or part.node.attrs["axes"] != (*range(rank - 3), rank - 2, rank - 3, rank - 1):
            return None
        if cut.op.name != "slice" or cut.attrs["axis"] != 0 or cut.inputs[0].node.op.name != "reshape":
            return None
        together = cut.inputs[0].node.inputs[0]
        first = cut.results[0].type.shape[0]
        whole = (3 * first, *cut.results[0].type.shape[1:])
        if together.node.op.name != "dot_product_attention_gradient" or found not in (None, together.node):
            return None
        found = together.node
        same = together.type.shape == (3, *cut.results[0].type.shape) and cut.inputs[0].type.shape == whole
        if not same or (cut.attrs["start"], cut.attrs["stop"]) != (n * first, (n + 1) * first):
            return None
    if found is None or len(parts) != 3 or found.attrs.get("joined", False):
        return None
    return REGISTRY["dot_product_attention_gradient"].build(*found.inputs, **{**found.attrs, "joined": True})


def _keeps_last(node: Node) -> bool:
    return bool(node.attrs["axes"][-1] == node.inputs[0].type.rank - 1)


def _cut(value: Value) -> Value | None:
    """reshape(slice(x)) as a slice of x by heads; None where it is something else, or ends within a head."""
    if value.node.op.name != "reshape" or value.type.rank < 2:
        return None
    (part,) = value.node.inputs
    if (
        part.node.op.name != "slice"
        or part.node.attrs["axis"] != part.type.rank - 1
        or part.node.attrs.get("step", 1) != 1
    ):
        return None
    (source,) = part.node.inputs
    *lead, heads, each = value.type.shape
    numbers = heads, each, source.type.shape[-1], part.type.shape[-1], part.node.attrs["start"]
    if not all(isinstance(n, int) for n in numbers):
        return None
    _, _, whole, size, start = numbers
    if not each or heads * each != size or whole % each or start % each:
        return None
    by_heads = reshape(source, (*lead, whole // each, each))
    build = partial(REGISTRY["slice"].build, axis=len(lead), step=1)
    return build(by_heads, start=start // each, stop=start // each + heads)


def _turned(value: Value) -> Value | None:
    """What reshape(transpose(g)) makes one axis of its last two; None where it is something else."""
    if value.node.op.name != "reshape":
        return None
    (turned,) = value.node.inputs
    if turned.node.op.name != "transpose" or not _keeps_last(turned.node) or turned.type.rank < 3:
        return None
    heads, each = turned.type.shape[-2:]
    whole = value.type.shape[-1]
    if not (isinstance(heads, int) and isinstance(each, int) and isinstance(whole, int)):
        return None
    return turned if heads * each == whole else None
