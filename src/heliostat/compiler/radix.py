"""Bools are put in order by counting them, and long axes on cores by digits: a pass over an element takes less there
than the comparisons of a block and of merging. GPUs, where such passes scatter, sort by blocks."""

from __future__ import annotations

from collections.abc import Sequence

from ..ir.graph import Graph, Node, Value
from ..ir.rewrite import rewrite
from ..ir.types import bool_, i8, u8
from ..ops.sort import BLOCK, argsort_by_digits, argsort_of_flags, digit_passes, key_bits
from ..targets.target import Target

LEAST_FLAGS = 64  # of fewer a vector or two are sorted at once
LEAST = 2048  # elements of an axis for each pass: less is done before its counts are added up
LEAST_BYTES = 256  # of which there are no more different ones


def sort_by_digits(graph: Graph, target: Target) -> Graph:
    """`argsort` of bools, and on cores of long axes in passes by digits: where few are wanted, only if one pass does it
    or keys have two halves."""

    def replace(node: Node, inputs: tuple[Value, ...]) -> Sequence[Value] | None:
        if node.op.name != "argsort":
            return None
        (x,) = inputs
        size, bits = x.type.shape[-1], key_bits(x.type)
        passes = 1 if x.type.dtype in (i8, u8) else digit_passes(bits)
        assert isinstance(size, int)
        count = size if node.attrs["count"] < 0 else node.attrs["count"]
        # of keys in two halves the low one puts all elements in order first, whatever is wanted
        few = size > BLOCK and 4 * count <= BLOCK and passes > 1 and bits < 64
        if not count or 0 in x.type.shape:
            return None
        if x.type.dtype == bool_ and size >= LEAST_FLAGS:
            return (argsort_of_flags(x, node.attrs["descending"], count),)
        least = LEAST_BYTES if x.type.dtype in (i8, u8) else LEAST * passes
        if target.gpu or size < least or few:
            return None
        return (argsort_by_digits(x, node.attrs["descending"], count),)

    return rewrite(graph, replace)
