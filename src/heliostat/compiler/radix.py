"""Long axes are sorted by digits on cores: a pass over 32 bits of an element takes less there than the comparisons of
a block and of merging. GPUs, where such passes scatter, sort by blocks."""

from __future__ import annotations

from collections.abc import Sequence

from ..ir.graph import Graph, Node, Value
from ..ir.rewrite import rewrite
from ..ops.sort import BLOCK, argsort_by_digits, digit_passes, key_bits
from ..targets.target import Target

LEAST = 1024  # elements of an axis for each pass: less is done before its counts are added up


def sort_by_digits(graph: Graph, target: Target) -> Graph:
    """`argsort` of long axes in passes by digits; of which few are wanted only where one pass does it."""

    def replace(node: Node, inputs: tuple[Value, ...]) -> Sequence[Value] | None:
        if node.op.name != "argsort":
            return None
        (x,) = inputs
        size, passes = x.type.shape[-1], digit_passes(key_bits(x.type))
        assert isinstance(size, int)
        count = size if node.attrs["count"] < 0 else node.attrs["count"]
        few = size > BLOCK and 2 * count <= BLOCK and passes > 1
        if size < LEAST * passes or few or not count or 0 in x.type.shape:
            return None
        return (argsort_by_digits(x, node.attrs["descending"], count),)

    return graph if target.gpu else rewrite(graph, replace)
