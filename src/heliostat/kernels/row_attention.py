"""Schedule of `dot_product_attention` on cores: a tile of queries goes over blocks of keys with a running softmax, and
scores never leave the first-level cache (flash attention).

A vector holds a query per lane. Scores of a key are then products of vectors of queries with its elements, spread; the
softmax of a query stays in its lane, without horizontal sums; and weights are in the order in which they multiply
elements of values. Keys and values are read as they lie; queries are turned once, results once. Both products are tiles
of `KEYS` elements by some vectors, as in a product of matrices. Each query adds in the order of keys, whatever the tile
it is in. After: Dao et al., FlashAttention, 2022 (arXiv 2205.14135).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from ..ir.graph import Node
from ..ir.types import f32, numel, upper_bound
from ..kernel.builder import KernelBuilder, Variable
from ..kernel.ir import Instruction, Kernel
from ..targets.target import Target
from . import row_view
from .attention import LOWEST
from .group import CHUNKS, Accept, Dims, Group, Refuse
from .math import Math
from .query_lanes import KEYS, QueryLanes, most_vectors, whole_lanes
from .row_view import read_view, write_view

ROOTS = ("dot_product_attention",)
MOST_SIZE = 256  # elements of a head: a tile of queries and of results is in the second-level cache then
LEAST_SCORES = 2048  # of a head: below, products and softmax one after the other take less


NARROWEST, OVERHEAD = 1.5, 0.25  # vectors: below, sums wait for each other; what a tile costs beside its products


@dataclass(frozen=True)
class RowAttentionTile:
    """`vectors` of queries in a tile; `keys` in a block, whose weights are in the first-level cache with the values."""

    vectors: int = 4
    keys: int = 96

    def __post_init__(self) -> None:
        if not 0 < self.vectors <= 4 or self.keys % KEYS or not 0 < self.keys <= 768:
            raise ValueError(f"1 to 4 vectors and blocks of up to 768 keys, a multiple of {KEYS}, got {self}")


def default_tile(node: Node, target: Target) -> RowAttentionTile:
    """The width for which one worker and two, each alone, spend least in all: idle lanes and idle workers are spent."""
    q = node.inputs[0].type
    heads, vectors = upper_bound(numel(q.shape[:-2])), -(-upper_bound(q.shape[-2]) // target.lanes)

    def spent(width: int) -> float:
        items = heads * -(-vectors // width)
        return (items + -(-items // 2) * 2) * (max(width, NARROWEST) + OVERHEAD)

    return RowAttentionTile(min(range(most_vectors(target), 0, -1), key=spent))


def tuning_key(group: Group) -> tuple[str, str, str]:
    """`row attention`, `ExD` of a head, `LxS` with upper bounds for symbols."""
    q, _, v = (x.type for x in group.root.inputs)
    return "row attention", f"{q.shape[-1]}x{v.shape[-1]}", f"{upper_bound(q.shape[-2])}x{upper_bound(v.shape[-2])}"


def candidates(group: Group, target: Target) -> list[RowAttentionTile]:
    """The default, other blocks of keys, and other widths."""
    usual = default_tile(group.root, target)
    others = [replace(usual, keys=n) for n in (48, 72, 144, 192)]
    others += [replace(usual, vectors=n) for n in range(1, most_vectors(target) + 1)]
    return list(dict.fromkeys([usual, *others]))


def accepts(group: Group, target: Target) -> Accept | Refuse:
    root = group.root
    if root.op.name != "dot_product_attention":
        return Refuse(f"root is {root.op.name}, not dot_product_attention")
    reason = refusal(root, target) or row_view.refusal(group)
    return Accept() if reason is None else Refuse(reason)


def refusal(node: Node, target: Target) -> str | None:
    """Why an attention is left to its decomposition; None where this schedule takes it."""
    q, k, v = (x.type for x in node.inputs)
    if target.gpu or target.lanes not in (4, 8, 16):
        return f"{target.name} has no vectors of 4, 8 or 16 queries"
    if q.element != f32 or any(t.layout is not None for t in (q, k, v)):
        return f"queries, keys and values are rows of f32 here, found {q}, {k} and {v}"
    if not isinstance(q.shape[-1], int) or not isinstance(v.shape[-1], int):
        return "the sizes of a head must be known"
    if not 0 < q.shape[-1] <= MOST_SIZE or not 0 < v.shape[-1] <= MOST_SIZE:
        return f"heads of {q.shape[-1]} and {v.shape[-1]} elements: 1 to {MOST_SIZE} fit the caches"
    if upper_bound(q.shape[-2]) * upper_bound(k.shape[-2]) < LEAST_SCORES or upper_bound(q.shape[-2]) < target.lanes:
        return f"{q.shape[-2]} queries and {k.shape[-2]} keys are too few"
    return None


Tile = RowAttentionTile


def build(group: Group, target: Target, name: str, tile: RowAttentionTile | None = None) -> Kernel:
    """q: (..., L, E), k: (..., S, E), v: (..., S, D), out: (..., L, D), all f32; each may be a view of what the group
    reads, and the result transposed.

    2 L S (E + D) operations, half of it if causal; keys and values are read once for each tile of queries.
    """
    return _Nest(group, target, name, tile or default_tile(group.root, target)).build()


class _Nest:
    def __init__(self, group: Group, target: Target, name: str, tile: RowAttentionTile) -> None:
        self.tile = tile
        k = self.k = KernelBuilder(name)
        self.math = Math(k)
        root = group.root
        held = {v: k.buffer(f"i{n}", "r") for n, v in enumerate(group.inputs)}
        self.out = k.buffer("o0", "w")
        dims = self.dims = Dims(k, group.symbols)
        self.views = [read_view(group, v) for v in root.inputs]
        self.result = write_view(group)
        self.q, self.keys, self.values = (held[view.source] for view in self.views)
        q, keys, values = (v.type for v in root.inputs)
        self.heads = dims(numel(q.shape[:-2]))
        self.queries, self.count = dims(q.shape[-2]), dims(keys.shape[-2])
        self.size, self.width = int(q.shape[-1]), int(values.shape[-1])  # type: ignore[arg-type]
        self.causal = bool(root.attrs["causal"])
        self.scale = float(root.attrs["scale"]) * math.log2(math.e)  # scores are in powers of two
        lanes = self.lanes = QueryLanes(k, target, tile.vectors)
        self.turned = k.alloc(whole_lanes(self.size, target) * lanes.row)
        self.weights = k.alloc(tile.keys * lanes.row)
        self.elements = whole_lanes(self.width, target)
        self.sums = k.alloc(self.elements * lanes.row)
        self.factors = k.alloc(lanes.row)

    def build(self) -> Kernel:
        k, tall = self.k, self.lanes.tall
        tiles = (self.queries + (tall - 1)) // tall
        for item in k.parallel(self.heads * tiles):
            head, number = item // tiles, item % tiles
            if self.causal:  # early tiles see few keys: each worker gets as many of them as of late ones
                number = k.select(k.binary("eq", number % 2, 0), number // 2, tiles - 1 - number // 2)
            self._rows(head, number * tall)
        return k.finish(chunks=CHUNKS)

    def _rows(self, head: Instruction, first: Instruction) -> None:
        k, lanes, tile = self.k, self.lanes, self.tile
        queries, keys, values = (view.rows(self.dims, head) for view in self.views)
        results = self.result.rows(self.dims, head)
        lanes.turn(self.q, queries, first, self.turned, self.scale)
        lanes.clear(self.sums, self.elements)
        best = [k.var(k.const(LOWEST, "f32", lanes.lanes)) for _ in range(tile.vectors)]
        total = [k.var(k.zeros("f32", lanes.lanes)) for _ in range(tile.vectors)]
        end = k.minimum(self.count, first + lanes.tall) if self.causal else self.count
        for base in k.loop(0, end, tile.keys):
            count = k.minimum(end - base, tile.keys)
            asked = ((self.keys, keys), (self.values, values))
            lanes.score(self.keys, keys, base, count, self.turned, self.weights, asked)
            if self.causal:
                for _ in k.when(base + count > first + 1):
                    lanes.hide(self.weights, base - first, count)
            self._softmax(count, best, total)
            lanes.mix(self.values, values, base, count, self.weights, self.sums, self.factors)
        for at, weight in zip(lanes.places(), total, strict=True):
            k.store(self.factors, at, 1.0 / weight.get())
        lanes.turn_back(self.sums, self.out, results, first, self.factors)

    def _softmax(self, count: Instruction, best: Sequence[Variable], total: Sequence[Variable]) -> None:
        """Scores to powers of two of their distance from the largest so far; what that makes of earlier sums."""
        k, lanes = self.k, self.lanes.lanes
        tops = [k.var(v.get()) for v in best]
        for key in k.loop(count):
            for at, top in zip(self.lanes.places(key), tops, strict=True):
                top.set(k.maximum(top.get(), k.load(self.weights, at, "f32", lanes)))
        centers = [top.get() for top in tops]
        sums = [k.var(k.zeros("f32", lanes)) for _ in tops]
        for key in k.loop(count):
            for at, center, part in zip(self.lanes.places(key), centers, sums, strict=True):
                weight = self.math.exp2_below(k.load(self.weights, at, "f32", lanes) - center)
                k.store(self.weights, at, weight)
                part.set(part.get() + weight)
        for at, center, old, all_, part in zip(self.lanes.places(), centers, best, total, sums, strict=True):
            factor = self.math.exp2_below(old.get() - center)
            k.store(self.factors, at, factor)
            all_.set(k.fma(all_.get(), factor, part.get()))
            old.set(center)
