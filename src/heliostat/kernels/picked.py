"""Sums over where(arange == place, x, 0): one element of a row, which is read at its place."""

from __future__ import annotations

from collections.abc import Mapping

from ..ir.graph import Node, Value
from ..kernel.builder import KernelBuilder
from ..kernel.ir import Instruction
from .elementwise import PointEvaluator
from .reduction import Reduction


def picked(node: Node) -> tuple[Value, Value] | None:
    """What is picked of a row and its place, of one element a row, for a sum that adds nothing else; None for others.

    The classes of a loss are picked so.
    """
    if node.op.name != "sum" or node.inputs[0].node.op.name != "where":
        return None
    hit, x, other = node.inputs[0].node.inputs
    if hit.node.op.name != "eq" or other.node.op.name != "constant" or (other.node.attrs["value"] != 0).any():
        return None
    size = node.inputs[0].type.shape[-1]
    for numbers, place in (hit.node.inputs, tuple(reversed(hit.node.inputs))):
        if numbers.node.op.name == "arange" and numbers.type.shape == (size,):
            narrow = not place.type.shape or place.type.shape[-1] == 1
            if narrow and place.type.dtype.kind in "iu" and size != 1:
                return x, place
    return None


def element(
    k: KernelBuilder,
    evaluate: PointEvaluator,
    node: Node,
    index: list[Instruction],
    size: Instruction,
    known: Mapping[Value, Instruction],
) -> Instruction:
    """The result of such a sum in the row at `index`: zero where the place is none of `size`."""
    found = picked(node)
    assert found is not None
    x, place = found
    how = Reduction(k, "sum", node.results[0].type.dtype)
    zero = k.const(0, "i64")
    at = k.convert(evaluate.at(place, [*index, zero], 1, preset=known), "i64", signed=place.type.dtype.kind == "i")
    inside = (at >= 0) & (at < size)
    value = how.taken(evaluate.at(x, [*index, k.select(inside, at, zero)], 1, preset=known))
    return how.result(k.select(inside, value, k.const(0, how.elem)), size)
