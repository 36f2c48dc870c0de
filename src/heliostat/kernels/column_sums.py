"""Sums over rows beside what is computed of each row, on a GPU: gradients of a norm's weight and bias, and of the bias
before it, in the kernel that has their elements in registers.

Parts of a sum as `split_reductions` cuts them: sum(reshape(x, (parts, rows, columns)), axis 1) of an x with the shape
of the kernel's rows. A team then has the rows of a part one after the other.
"""

from __future__ import annotations

from dataclasses import replace

from ..ir.graph import Node, Value
from ..ir.types import Dim, numel
from .group import Group
from .reduction import REDUCTIONS


def summed(node: Node, shape: tuple[Dim, ...]) -> tuple[Value, list[Node]] | None:
    """The value of a shape whose rows a node sums in parts, and what stands between; None for other nodes."""
    if node.op.name != "sum" or node.attrs["axes"] != (1,) or node.attrs.get("keepdim", False):
        return None
    value, between = node.inputs[0], list[Node]()
    if value.node.op.name == "cast":
        between.append(value.node)
        value = value.node.inputs[0]
    if value.type.rank != 3 or not value.type.static or value.type.shape[-1] != shape[-1]:
        return None
    if numel(value.type.shape) != numel(shape):
        return None
    while value.node.op.name == "reshape" and tuple(value.type.shape) != shape:
        between.append(value.node)
        value = value.node.inputs[0]
    cut = any(n.op.name == "reshape" for n in between)  # sums by batches are kernels of columns
    return (value, between[::-1]) if tuple(value.type.shape) == shape and cut else None


def row_shape(group: Group) -> tuple[Dim, ...] | None:
    """The shape of what a group reduces along rows; None where it does not."""
    for node in group.nodes:
        if node.op.name in REDUCTIONS - {"argmax"} and node.attrs["axes"] == (node.inputs[0].type.rank - 1,):
            return tuple(node.inputs[0].type.shape)
    return None


def column_sums(group: Group) -> dict[Value, Value]:
    """What a group of rows sums over them: each sum, and the value of the rows' shape that it is a sum of."""
    shape = row_shape(group)
    if shape is None:
        return {}
    found = ((n.results[0], summed(n, shape)) for n in group.nodes)
    return {y: source[0] for y, source in found if source is not None}


def rows_alone(group: Group) -> Group:
    """The group without its sums over rows."""
    shape, gone = row_shape(group), set[int]()
    for node in group.nodes if shape is not None else ():
        assert shape is not None
        if (found := summed(node, shape)) is not None:
            gone.update(id(n) for n in (node, *found[1]))
    if not gone:
        return group
    outputs = tuple(v for v in group.outputs if id(v.node) not in gone)
    return replace(group, nodes=tuple(n for n in group.nodes if id(n) not in gone), outputs=outputs)
