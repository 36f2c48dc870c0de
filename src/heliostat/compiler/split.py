"""Reductions as two, one behind the other: on GPUs those with few results, in parts that all multiprocessors work at;
on cores those over the last axes and others before them, of which rows come first.

Sums of f16 and bf16 meet in f32, as they would in one kernel.
"""

from __future__ import annotations

from collections.abc import Sequence

from ..ir.graph import Graph, Node, Value
from ..ir.rewrite import rewrite
from ..ir.types import bf16, f16, f32, numel, upper_bound
from ..ops import REGISTRY, cast, reshape
from ..targets.target import Target

LEAST = 1 << 20  # elements: less is done before a second launch pays
FEW_ROWS = 32  # results of reductions over the last axes that are worth it
PART_BYTES = 32 << 10  # of a row that one team holds
BLOCKS = 512  # that are wanted for columns
COLUMNS = 256  # of a block
LEAST_ROWS = 64  # of a part of columns
BESIDE, BESIDE_ROWS = 1024, 16  # parts of columns that a kernel of rows may sum, a team for each, and least rows of one


def split_reductions(graph: Graph, target: Target) -> Graph:
    """sum, mean, max, min and prod of static tensors: over their first or their last axes on GPUs, over their last axes
    and others apart from them on cores. Elsewhere nothing changes."""

    beside = _beside_rows(graph) if target.gpu else set()

    def replace(node: Node, inputs: tuple[Value, ...]) -> Sequence[Value] | None:
        if node.op.name not in ("sum", "mean", "max", "min", "prod") or not node.inputs[0].type.static:
            return None
        if not target.gpu:
            return _rows_first(node, inputs[0], target)
        return _parts(node, inputs[0], node.op.name == "sum" and id(node.inputs[0]) in beside)

    return rewrite(graph, replace)


def _beside_rows(graph: Graph) -> set[int]:
    """Values, by id(), that elementwise nodes of their shape join with what is reduced along rows of that shape: a
    kernel may have them in registers."""
    users, found = graph.users(), set[int]()
    for node in graph.nodes():
        if node.op.name not in ("sum", "mean") or node.attrs["axes"] != (node.inputs[0].type.rank - 1,):
            continue
        shape, waiting = node.inputs[0].type.shape, [node.inputs[0]]
        while waiting:
            value = waiting.pop()
            if id(value) in found or value.type.shape != shape:
                continue
            found.add(id(value))
            if getattr(value.node.op, "elementwise", False):
                waiting += value.node.inputs
            for user in users.get(id(value), ()):
                waiting += user.results if getattr(user.op, "elementwise", False) else ()
    return found


def _rows_first(node: Node, x: Value, target: Target) -> Sequence[Value] | None:
    """Axes with kept ones between them, the last among them: a kernel over such would take element by element, one over
    rows takes vectors."""
    axes: tuple[int, ...] = tuple(sorted(node.attrs["axes"]))
    lead = x.type.rank
    while lead - 1 in axes:
        lead -= 1
    rows, others = tuple(a for a in axes if a >= lead), tuple(a for a in axes if a < lead)
    if not rows or not others or upper_bound(numel(tuple(x.type.shape[lead:]))) < target.lanes:
        return None
    result, dtype = node.results[0].type, x.type.dtype
    reduction = REGISTRY["sum" if node.op.name == "mean" else node.op.name]
    wide = cast(x, f32) if dtype in (f16, bf16) else x
    whole = reduction.build(reduction.build(wide, axes=rows, keepdim=False), axes=others, keepdim=False)
    if node.op.name == "mean":
        count = upper_bound(numel(tuple(x.type.shape[a] for a in axes)))
        whole = (cast(whole, result.dtype) if result.dtype not in (f16, bf16) else whole) / float(count)
    return (reshape(cast(whole, result.dtype), result.shape),)


def _parts(node: Node, x: Value, beside: bool) -> Sequence[Value] | None:
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
        if beside and kept == shape[-1]:
            wanted = min(count // BESIDE_ROWS, BESIDE)
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


def are_many(parts: int, rows: int) -> bool:
    """Whether a kernel of rows may sum over them in so many parts, a team for each: about as many as sums beside it are
    cut into, and not one for each of a few batches."""
    return rows <= 2 * parts * max(BESIDE_ROWS, rows // BESIDE)


def divisor(count: int, wanted: int) -> int:
    """The least divisor of `count` from `wanted` to four times as much; 1 where there is none."""
    return next((parts for parts in range(wanted, min(4 * wanted, count)) if count % parts == 0), 1)
