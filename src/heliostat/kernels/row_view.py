"""Where the rows of an operand lie whose last axis is contiguous: in a buffer of its own, or in that of what it is a
view of, as heads are parts of the rows of a projection.

A kernel that reads whole rows takes slices and transposes before it, and a transpose behind it, as strides, so that
they cost no pass over memory. Not here: kernels whose vectors go across rows.
"""

from __future__ import annotations

from dataclasses import dataclass

from ..ir.graph import Node, Value
from ..ir.types import numel
from ..kernel.ir import Instruction
from .elementwise import keeps_last_axis
from .group import Dims, Group

VIEWS = frozenset({"slice", "transpose"})


@dataclass(frozen=True)
class Rows:
    """Rows of `size` f32 in a buffer, `count` of them from byte `start` on, `stride` bytes from each to the next."""

    start: Instruction
    count: Instruction
    size: int
    stride: int

    def offset(self, row: Instruction) -> Instruction:
        """Byte offset of a row."""
        return self.start + row * self.stride


@dataclass(frozen=True)
class RowView:
    """`value`, of f32, in the buffer of `source`: element (i, j, ...) lies `offset` + i * strides[0] + j * strides[1] +
    ... elements from its start. `strides` None: row-major, with axes that may be symbols."""

    value: Value
    source: Value
    offset: int = 0
    strides: tuple[int, ...] | None = None

    def rows(self, dims: Dims, number: Instruction) -> Rows:
        """The rows of matrix `number` of the leading axes."""
        *lead, count, size = self.value.type.shape
        assert isinstance(size, int)
        tall = dims(count)
        if self.strides is None:
            return Rows(number * tall * (size * 4), tall, size, size * 4)
        start = dims.k.const(self.offset * 4, "i64")
        for place, stride in zip(dims.index(lead, number) if lead else (), self.strides, strict=False):
            start = start + place * (stride * 4)
        return Rows(start, tall, size, self.strides[-2] * 4)


def views_before(value: Value) -> list[Node]:
    """The views that make a value, each after what it reads: all that keep rows contiguous."""
    found: list[Node] = []
    while value.node.op.name in VIEWS and value.type.static and keeps_last_axis(value.node):
        found.insert(0, value.node)
        value = value.node.inputs[0]
    return found


def read_view(group: Group, value: Value) -> RowView:
    """Where an operand of a group's root lies, whose views may be among the group's nodes."""
    inside = {id(n) for n in group.nodes}
    path: list[Node] = []
    source = value
    while id(source.node) in inside:
        path.insert(0, source.node)
        source = source.node.inputs[0]
    if not path:
        return RowView(value, value)
    offset, strides = 0, row_major(source)
    for node in path:
        if node.op.name == "transpose":
            strides = [strides[a] for a in node.attrs["axes"]]
            continue
        axis = node.attrs["axis"]
        offset += node.attrs["start"] * strides[axis]
        strides[axis] *= node.attrs.get("step", 1)
    return RowView(value, source, offset, tuple(strides))


def write_view(group: Group) -> RowView:
    """Where the result of a group's root lies: transposed, where that stands behind it."""
    (result,), (output,) = group.root.results, group.outputs
    if output is result:
        return RowView(result, result)
    places, strides = row_major(output), [0] * result.type.rank
    for axis, place in zip(output.node.attrs["axes"], places, strict=True):
        strides[axis] = place
    return RowView(result, output, 0, tuple(strides))


def refusal(group: Group) -> str | None:
    """Why what stands around a group's root cannot be taken as strides; None where there is nothing else."""
    at = group.nodes.index(group.root)
    if len(group.outputs) != 1 or len(group.nodes) - at > 2:
        return "there is one result, perhaps transposed"
    for n, node in enumerate(group.nodes):
        if node is group.root:
            continue
        if node.op.name not in (VIEWS if n < at else {"transpose"}) or not keeps_last_axis(node):
            return f"{node.op.name} is no view of whole rows"
        if (
            not node.inputs[0].type.static
            or node.inputs[0].type.layout is not None
            or not numel(node.inputs[0].type.shape)
        ):
            return "views have known sizes and are row-major"
    if at + 1 < len(group.nodes) and group.nodes[-1].inputs[0] is not group.root.results[0]:
        return "the result itself is transposed"
    return None


def row_major(value: Value) -> list[int]:
    """Elements from each index of an axis to the next."""
    strides, step = list[int](), 1
    for d in reversed(value.type.shape):
        strides.insert(0, step)
        step *= int(d)  # type: ignore[arg-type]
    return strides
