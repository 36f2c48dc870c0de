"""Reductions with few results, on GPUs: cut into parts that all multiprocessors work at, whose results are reduced.

Sums of f16 and bf16 meet in f32, as they would in one kernel.
"""

from __future__ import annotations

from collections.abc import Sequence

from ..ir.graph import Graph, Node, Value
from ..ir.rewrite import rewrite
from ..ir.types import bf16, f16, f32
from ..ops import REGISTRY, cast, reshape
from ..targets.target import Target

LEAST = 1 << 20  # elements: less is done before a second launch pays
FEW_ROWS = 32  # results of reductions over the last axes that are worth it
PART_BYTES = 32 << 10  # of a row that one team holds
BLOCKS = 512  # that are wanted for columns
COLUMNS = 256  # of a block
LEAST_ROWS = 64  # of a part of columns


def split_reductions(graph: Graph, target: Target) -> Graph:
    """sum, mean, max, min and prod of static tensors over their first or their last axes; elsewhere nothing changes."""
    if not target.gpu:
        return graph

    def replace(node: Node, inputs: tuple[Value, ...]) -> Sequence[Value] | None:
        if node.op.name not in ("sum", "mean", "max", "min", "prod") or not node.inputs[0].type.static:
            return None
        return _parts(node, inputs[0])

    return rewrite(graph, replace)


def _parts(node: Node, x: Value) -> Sequence[Value] | None:
    shape = [int(d) for d in x.type.shape if isinstance(d, int)]
    axes: tuple[int, ...] = tuple(node.attrs["axes"])
    count, kept = 1, 1
    for i, d in enumerate(shape):
        count, kept = (count * d, kept) if i in axes else (count, kept * d)
    if count * kept < LEAST or not axes:
        return None
    lead = len(shape) - len(axes)
    if axes == tuple(range(lead, len(shape))):  # rows
        nbytes = x.type.dtype.nbytes
        wanted = -(-count * nbytes // PART_BYTES)
        parts = divisor(count, wanted) if kept <= FEW_ROWS and wanted > 1 else 1
        cut, inner, outer = (kept, parts, count // parts), 2, 1
    elif axes == tuple(range(len(axes))):  # columns
        wanted = min(count // LEAST_ROWS, BLOCKS // -(-kept // COLUMNS))
        parts = divisor(count, wanted) if wanted > 1 else 1
        cut, inner, outer = (parts, count // parts, kept), 1, 0
    else:
        return None
    if parts < 2:
        return None
    result = node.results[0].type
    name = "sum" if node.op.name == "mean" else node.op.name
    source = x.node.inputs[0] if x.node.op.name == "cast" else x
    if source.type.element in (f16, bf16) and x.type.element is f32:
        x = source  # f32 is made of it where parts are added
    x = reshape(x, cut)
    halves = x.type.dtype.name in ("f16", "bf16")
    some = REGISTRY[name].build(cast(x, f32) if halves else x, axes=(inner,), keepdim=False)
    whole = REGISTRY[name].build(some, axes=(outer,), keepdim=outer == 1)  # what follows joins a kernel of rows
    if node.op.name == "mean":
        whole = cast(whole, f32 if halves else result.dtype) / float(count)
    return (reshape(cast(whole, result.dtype), result.shape),)


def divisor(count: int, wanted: int) -> int:
    """The least divisor of `count` from `wanted` to four times as much; 1 where there is none."""
    return next((parts for parts in range(wanted, min(4 * wanted, count)) if count % parts == 0), 1)
