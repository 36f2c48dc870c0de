"""A factor that all elements of a quantized row share, a norm's reciprocal root say, taken out of what makes the row.

Codes do not depend on it, and a product of the row may be multiplied by it at last: what is quantized need not wait for
the reduction that the factor comes from.
"""

from __future__ import annotations

from ..ir.graph import Node, Value
from ..ir.types import DType, f32
from .group import Group
from .reduction import REDUCTIONS


def apart(group: Group) -> tuple[Group, Value] | None:
    """What makes a row without the factor that its elements share, and that factor; None where there is none. The
    group that is returned still computes the factor, and its only output is the quantized row."""
    *_, last = group.nodes
    if last.op.name != "quantize" or sum(n.op.name in REDUCTIONS for n in group.nodes) != 1:
        return None
    if len(group.outputs) != 1 or group.outputs[0] is not last.results[0]:
        return None
    chain: list[tuple[Node, Value]] = []  # products from the row down to the factor, each with the operand that stays
    value = last.inputs[0]
    while True:
        node = value.node
        if node.op.name != "mul" or node not in group.nodes or _uses(group, value) != 1 or not _plain(value):
            return None
        if (factor := next((v for v in node.inputs if _shared(v, value)), None)) is not None:
            break
        inner = next((v for v in node.inputs if v.node.op.name == "mul" and v.type == value.type), None)
        if inner is None:
            return None
        chain.append((node, inner))
        value = inner
    rest = next(v for v in value.node.inputs if v is not factor)
    if rest.type != value.type or factor.node not in group.nodes or _reduced(group) & _needed(rest, chain):
        return None
    removed = {id(node) for node, _ in chain} | {id(value.node), id(last)}
    made: list[Node] = []
    for node, inner in reversed(chain):
        inputs = tuple(rest if v is inner else v for v in node.inputs)
        made.append(Node(node.op, inputs, dict(node.attrs), tuple(r.type for r in node.results)))
        rest = made[-1].results[0]
    made.append(Node(last.op, (rest,), dict(last.attrs), tuple(r.type for r in last.results)))
    nodes = (*(n for n in group.nodes if id(n) not in removed), *made)
    return Group(nodes, group.inputs, made[-1].results, made[-1]), factor


def _reduced(group: Group) -> set[int]:
    """By id(): what a group's reduction gives, and all that follows from it."""
    found: set[int] = set()
    for node in group.nodes:
        if node.op.name in REDUCTIONS or any(id(v) in found for v in node.inputs):
            found.update(id(r) for r in node.results)
    return found


def _needed(rest: Value, chain: list[tuple[Node, Value]]) -> set[int]:
    """By id(): what the elements of a row are made of once the factor is out of them."""
    return {id(rest)} | {id(v) for node, inner in chain for v in node.inputs if v is not inner}


def _plain(value: Value) -> bool:
    return isinstance(value.type.element, DType) and value.type.dtype is f32


def _shared(value: Value, row: Value) -> bool:
    """Whether a value has one element for each row."""
    return _plain(value) and value.type.shape == (*row.type.shape[:-1], 1) != row.type.shape


def _uses(group: Group, value: Value) -> int:
    return sum(v is value for n in group.nodes for v in n.inputs)
