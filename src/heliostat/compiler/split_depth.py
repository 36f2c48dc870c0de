"""Products with few results and long sums, gradients of weights say, are cut along the depth where a GPU would be left
mostly idle: parts of the sum are a batch of products, and are added in f32."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from ..ir.graph import Graph, Node, Value
from ..ir.rewrite import rewrite
from ..ir.types import f32
from ..kernel.library import LibraryProduct
from ..kernels.matmul_packed import sizes
from ..kernels.matmul_tiles import DEPTH, KINDS, ROWS, fits, kind_of
from ..kernels.stream_linear import MULTIPROCESSORS
from ..ops import REGISTRY, cast, reshape, sum
from ..targets.target import Target

MOST = 8  # parts
TILE = 3e-6  # seconds of a tile for its beginning and its end
LAUNCH = 4e-6  # of the addition
BYTES = 3.5e12  # a second, of the addition


@dataclass(frozen=True)
class Cost:
    """What a tile of ROWS by `columns` takes: `stage` seconds for DEPTH elements, measured on an H200. `least`:
    elements of a part; shorter ones pay more for their beginnings and for the addition."""

    columns: int
    stage: float
    least: int


TENSOR = Cost(256, 0.5e-6, 16 * DEPTH)
SIMT = Cost(128, 5e-6, 2 * DEPTH)


def split_depth(
    graph: Graph, target: Target, library: Callable[[Graph], Mapping[int, LibraryProduct]] = lambda graph: {}
) -> Graph:
    """Matrices alone, of sizes that are known, but for those that a tuner gave to a library, `library(graph)`. A sum in
    parts has another order, and no fewer digits."""
    if target.capability < 80:
        return graph
    given = library(graph)

    def replace(node: Node, inputs: tuple[Value, ...]) -> Sequence[Value] | None:
        if node.op.name != "matmul" or id(node) in given:
            return None
        if any(v.type.rank != 2 or not v.type.static for v in inputs):
            return None
        a, b = inputs
        if fits(node, target, KINDS) is not None:
            return None
        rows, depth, columns = (int(d) for d in sizes(node))  # type: ignore[arg-type]
        count = parts(rows, depth, columns, cost=SIMT if kind_of(node) == "f32" else TENSOR)
        if count == 1:
            return None
        turned = bool(node.attrs["transpose_a"])
        shape = (count, depth // count, rows) if turned else (rows, count, depth // count)
        left = reshape(a, shape)
        if not turned:
            left = REGISTRY["transpose"].build(left, axes=(1, 0, 2))
        right = reshape(b, (count, depth // count, columns))
        made = REGISTRY["matmul"].build(left, right, transpose_a=turned, dtype=f32)
        return (cast(sum(made, 0), node.results[0].type.dtype),)

    return rewrite(graph, replace)


def parts(rows: int, depth: int, columns: int, most: int = MOST, cost: Cost = TENSOR) -> int:
    """How many parts the depth is cut into: tiles come in rounds of as many as there are multiprocessors."""
    tiles = -(-rows // ROWS) * -(-columns // cost.columns)

    def seconds(count: int) -> float:
        rounds = -(-tiles * count // MULTIPROCESSORS)
        added = 0.0 if count == 1 else LAUNCH + 2 * 4 * count * rows * columns / BYTES
        return rounds * (depth / count / DEPTH * cost.stage + TILE) + added

    counts = [1]
    while counts[-1] < most and depth % (2 * counts[-1]) == 0 and depth // (2 * counts[-1]) >= cost.least:
        counts.append(2 * counts[-1])
    return min(counts, key=seconds)
