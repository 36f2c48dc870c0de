"""Sums of gradients, put together: what many slices of a tensor give back, and what many uses of a weight do.

The gradient of a slice is the tensor's shape full of zeros around it, so T slices would add T such tensors, T * T
slices' worth of bytes; where they do not overlap, the sum is one concat. Products of gradients and inputs, summed over
the steps of a loop, are one product over all rows.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ..ir.graph import Graph, Node, Value, constant
from ..ir.rewrite import Replace, rewrite
from ..ir.types import DType, TensorType, numel
from ..ops import REGISTRY, broadcast_to, concat, matmul, reshape, transpose

Span = tuple[int, int]


@dataclass(frozen=True)
class _Padded:
    """A tensor that is zero but for `parts`, by where they begin and end along `axis`."""

    axis: int
    parts: tuple[tuple[Span, Value], ...]


def accumulate(graph: Graph) -> Graph:
    """Sums of padded slices become one concat, sums of products of transposes one product, and slices of a concat the
    parts that they name."""
    return rewrite(graph, replacement(graph))


def replacement(graph: Graph, launches: bool = False) -> Replace:
    """What `accumulate` has `rewrite` put in the places of nodes of a graph; None for those that stay.

    launches: whether each step is a launch of its own, so that one product, and one sum of rows, is better whatever it
    copies."""
    return _Pass(graph, launches).replace


class _Pass:
    def __init__(self, graph: Graph, launches: bool = False) -> None:
        self.graph, self.launches = graph, launches
        self.users = graph.users()
        self.results = {id(v) for v in graph.results()}
        self.nothing: set[int] = set()  # zeros that stood around slices

    def replace(self, node: Node, inputs: tuple[Value, ...]) -> Sequence[Value] | None:
        if node.op.name == "slice":
            found = self._part(node, inputs[0])
            return None if found is None else (found,)
        if node.op.name != "add" or not _whole(node) or self._inner(node):
            return None
        leaves = list(self._leaves(node, inputs))
        if len(leaves) == 2 and not any(self._concerns(v) for v in leaves):
            return None
        kept = [v for v in leaves if id(v) not in self.nothing] or leaves[:1]
        made = _products(_slices(kept), self.launches)
        if self.launches:
            made = _row_sums(made)
        if len(made) == len(leaves):
            return None
        total = made[0]
        for v in made[1:]:
            total = REGISTRY["add"].build(total, v)
        return (total,)

    def _inner(self, node: Node) -> bool:
        """Whether the sum is a summand of another and nothing else."""
        (value,) = node.results
        users = self.users.get(id(value), [])
        return len(users) == 1 and users[0].op.name == "add" and _whole(users[0]) and id(value) not in self.results

    def _leaves(self, node: Node, inputs: tuple[Value, ...]) -> list[Value]:
        """The new values that a sum is of; sums that are no one else's are looked through."""
        found: list[Value] = []
        stack = list(zip(node.inputs, inputs, strict=True))[::-1]
        while stack:
            old, new = stack.pop()
            if old.node.op.name == "add" and _whole(old.node) and self._inner(old.node) and new.node.op.name == "add":
                stack += list(zip(old.node.inputs, new.node.inputs, strict=True))[::-1]
            else:
                found.append(new)
        return found

    def _concerns(self, v: Value) -> bool:
        return id(v) in self.nothing or _padded(v) is not None or _factors(v) is not None or self.launches

    def _part(self, node: Node, x: Value) -> Value | None:
        """A slice that lies in one part of a concat, taken of that part; None where it does not."""
        axis, start, stop, step = (node.attrs.get(name, 1) for name in ("axis", "start", "stop", "step"))
        if x.node.op.name != "concat" or x.node.attrs["axis"] != axis or step != 1:
            return None
        for (low, high), v in _spans(x.node) or ():
            if isinstance(start, int) and isinstance(stop, int) and low <= start < stop <= high:
                if (start, stop) == (low, high):
                    part = v
                else:
                    part = REGISTRY["slice"].build(v, axis=axis, start=start - low, stop=stop - low, step=1)
                if _zero(v):
                    part = _zeros(node.results[0].type)
                    self.nothing.add(id(part))
                return part
        return None


def _whole(node: Node) -> bool:
    """Whether the operands of a sum have its type: nothing is broadcast or promoted."""
    return all(v.type == node.results[0].type for v in node.inputs)


def _zeros(type: TensorType) -> Value:
    return broadcast_to(constant(0, TensorType(type.dtype, ())), type.shape)


def _zero(v: Value) -> bool:
    return v.node.op.name == "broadcast_to" and (s := v.node.inputs[0]).is_constant and not s.node.attrs["value"].any()


def _spans(node: Node) -> list[tuple[Span, Value]] | None:
    """Where each operand of a concat begins and ends; None if that is not known."""
    found: list[tuple[Span, Value]] = []
    at = 0
    for v in node.inputs:
        size = v.type.shape[node.attrs["axis"]]
        if not isinstance(size, int):
            return None
        found.append(((at, at + size), v))
        at += size
    return found


# --- slices ---------------------------------------------------------------------------------------------------------
def _padded(v: Value) -> _Padded | None:
    if v.node.op.name != "concat" or not any(_zero(p) for p in v.node.inputs):
        return None
    spans = _spans(v.node)
    return None if spans is None else _Padded(v.node.attrs["axis"], tuple(s for s in spans if not _zero(s[1])))


def _slices(leaves: list[Value]) -> list[Value]:
    """The summands, those that are padded along the same axis put together where they do not overlap."""
    padded = {n: p for n, v in enumerate(leaves) if (p := _padded(v)) is not None}
    rest = [v for n, v in enumerate(leaves) if n not in padded]
    for axis in dict.fromkeys(p.axis for p in padded.values()):
        parts: dict[Span, Value] = {}
        joined: list[Value] = []
        for n, p in padded.items():
            if p.axis != axis:
                continue
            if all(s in parts or not any(_overlap(s, other) for other in parts) for s, _ in p.parts):
                for s, v in p.parts:
                    parts[s] = REGISTRY["add"].build(parts[s], v) if s in parts else v
                joined.append(leaves[n])
            else:
                rest.append(leaves[n])
        rest.append(joined[0] if len(joined) == 1 else _joined(parts, axis, joined[0].type))
    return rest


def _overlap(a: Span, b: Span) -> bool:
    return a[0] < b[1] and b[0] < a[1]


def _joined(parts: dict[Span, Value], axis: int, type: TensorType) -> Value:
    """One concat of parts and the zeros between them."""
    shape = type.shape
    size = shape[axis]
    assert isinstance(size, int)
    row: list[Value] = []
    at = 0
    for (low, high), v in [*sorted(parts.items(), key=lambda s: s[0]), ((size, size), None)]:
        if at < low:
            row.append(_zeros(TensorType(type.element, (*shape[:axis], low - at, *shape[axis + 1 :]))))
        if v is not None:
            row.append(v)
        at = high
    return row[0] if len(row) == 1 else _concat(row, axis)


def _concat(row: list[Value], axis: int) -> Value:
    """A concat; of single steps along a new first axis it is one of rows, which the product over all rows shares."""
    inner = [v.node.inputs[0] for v in row if v.node.op.name in ("reshape", "unsqueeze") and v.type.shape[0] == 1]
    steps = axis == 0 and len(inner) == len(row) and row[0].type.rank > 1
    if not steps or any(v.type.shape != row[0].type.shape[1:] for v in inner):
        return concat(*row, axis=axis)
    return reshape(concat(*inner, axis=0), (len(row), *row[0].type.shape[1:]))


# --- products -------------------------------------------------------------------------------------------------------
def _factors(v: Value) -> tuple[Value, Value] | None:
    """a and b of transpose(a) @ b, matrices of one dtype with a known count of rows. The product may be transposed."""
    node = v.node
    if node.op.name == "transpose" and node.attrs["axes"] == (1, 0):
        turned = _factors(node.inputs[0])
        return None if turned is None else turned[::-1]
    if node.op.name != "matmul" or node.inputs[0].node.op.name != "transpose" or v.type.rank != 2:
        return None
    a, b = node.inputs[0].node.inputs[0], node.inputs[1]
    plain = isinstance(a.type.element, DType) and a.type.element == b.type.element == v.type.element
    return (a, b) if plain and a.type.rank == b.type.rank == 2 and isinstance(a.type.shape[0], int) else None


def _products(leaves: list[Value], launches: bool) -> list[Value]:
    """The summands, products of transposes as one product where copying their operands moves less than the sums, or
    each would be a launch."""
    found = [(v, f) for v in leaves if (f := _factors(v)) is not None]
    if len(found) < 2:
        return leaves
    copied = sum(numel(f.type.shape) for _, pair in found for f in pair)
    summed = len(found) * numel(found[0][0].type.shape)
    if not launches and not (isinstance(copied, int) and isinstance(summed, int) and copied < summed):
        return leaves
    a, b = (concat(*(pair[side] for _, pair in found), axis=0) for side in (0, 1))
    taken = {id(v) for v, _ in found}
    return [*(v for v in leaves if id(v) not in taken), matmul(transpose(a), b)]


def _reshaped(v: Value) -> Value:
    """What v is in another shape, or v."""
    return v.node.inputs[0] if v.node.op.name == "reshape" else v


def _row_sums(leaves: list[Value]) -> list[Value]:
    """The summands, sums over the first axis and others as one sum over all rows, as the gradient of a bias is."""
    kinds: dict[Any, list[Value]] = {}
    for v in leaves:
        total = _reshaped(v)
        if total.node.op.name == "sum" and 0 in total.node.attrs["axes"]:
            x = total.node.inputs[0]
            kind = (x.type.element, x.type.shape[1:], total.node.attrs["axes"], total.type.shape, v.type)
            kinds.setdefault(kind, []).append(v)
    for found in kinds.values():
        if len(found) > 1:
            totals = [_reshaped(v) for v in found]
            rows = concat(*(t.node.inputs[0] for t in totals), axis=0)
            total = REGISTRY["sum"].build(rows, **totals[0].node.attrs)
            taken = {id(v) for v in found}
            leaves = [*(v for v in leaves if id(v) not in taken), reshape(total, found[0].type.shape)]
    return leaves
