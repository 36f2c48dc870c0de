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
from .attention import LOWEST
from .group import Accept, Dims, Group, Refuse, vectors
from .math import Math
from .transpose import transposed

KEYS = 6  # keys, and elements of values, that are multiplied together: with 4 vectors of queries 24 sums
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

    return RowAttentionTile(min(range(_most_vectors(target), 0, -1), key=spent))


def _most_vectors(target: Target) -> int:
    return 4 if target.vector_registers >= 32 else 2


def tuning_key(group: Group) -> tuple[str, str, str]:
    """`row attention`, `ExD` of a head, `LxS` with upper bounds for symbols."""
    q, _, v = (x.type for x in group.root.inputs)
    return "row attention", f"{q.shape[-1]}x{v.shape[-1]}", f"{upper_bound(q.shape[-2])}x{upper_bound(v.shape[-2])}"


def candidates(group: Group, target: Target) -> list[RowAttentionTile]:
    """The default, other blocks of keys, and other widths."""
    usual = default_tile(group.root, target)
    others = [replace(usual, keys=n) for n in (48, 72, 144, 192)]
    others += [replace(usual, vectors=n) for n in range(1, _most_vectors(target) + 1)]
    return list(dict.fromkeys([usual, *others]))


def accepts(group: Group, target: Target) -> Accept | Refuse:
    root = group.root
    if root.op.name != "dot_product_attention":
        return Refuse(f"root is {root.op.name}, not dot_product_attention")
    if len(group.nodes) != 1:
        return Refuse("nothing is fused into dot_product_attention")
    reason = refusal(root, target)
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
    """q: (..., L, E), k: (..., S, E), v: (..., S, D), out: (..., L, D), all f32.

    2 L S (E + D) operations, half of it if causal; keys and values are read once for each tile of queries.
    """
    return _Nest(group, target, name, tile or default_tile(group.root, target)).build()


class _Nest:
    def __init__(self, group: Group, target: Target, name: str, tile: RowAttentionTile) -> None:
        self.tile, self.lanes = tile, target.lanes
        k = self.k = KernelBuilder(name)
        self.math = Math(k)
        root = group.root
        held = {v: k.buffer(f"i{n}", "r") for n, v in enumerate(group.inputs)}
        self.out = k.buffer("o0", "w")
        self.dims = Dims(k, group.symbols)
        self.q, self.keys, self.values = (held[v] for v in root.inputs)
        q, keys, values = (v.type for v in root.inputs)
        self.batch = q.shape[:-2]
        self.queries, self.count = self.dims(q.shape[-2]), self.dims(keys.shape[-2])
        self.size, self.width = int(q.shape[-1]), int(values.shape[-1])  # type: ignore[arg-type]
        self.causal = bool(root.attrs["causal"])
        self.scale = float(root.attrs["scale"]) * math.log2(math.e)  # scores are in powers of two
        self.row = tile.vectors * self.lanes * 4  # bytes of a value for each query
        self.turned = k.alloc(_whole(self.size, self.lanes) * self.row)
        self.weights = k.alloc(tile.keys * self.row)
        self.sums = k.alloc(_whole(self.width, self.lanes) * self.row)
        self.factors = k.alloc(self.row)

    def build(self) -> Kernel:
        k = self.k
        tall = self.tile.vectors * self.lanes
        tiles = (self.queries + (tall - 1)) // tall
        for item in k.parallel(self.dims(numel(self.batch)) * tiles):
            head, number = item // tiles, item % tiles
            if self.causal:  # early tiles see few keys: each worker gets as many of them as of late ones
                number = k.select(k.binary("eq", number % 2, 0), number // 2, tiles - 1 - number // 2)
            self._rows(head, number * tall)
        return k.finish()

    def _vectors(self, n: Instruction | int = 0) -> list[Instruction | int]:
        """Byte offsets of the vectors of row `n` in private memory."""
        return [n * self.row + s * self.lanes * 4 for s in range(self.tile.vectors)]

    def _rows(self, head: Instruction, first: Instruction) -> None:
        k, lanes, tile = self.k, self.lanes, self.tile
        self._turn(head, first)
        for d in k.loop(_whole(self.width, lanes)):
            for at in self._vectors(d):
                k.store(self.sums, at, k.zeros("f32", lanes))
        best = [k.var(k.const(LOWEST, "f32", lanes)) for _ in range(tile.vectors)]
        total = [k.var(k.zeros("f32", lanes)) for _ in range(tile.vectors)]
        end = k.minimum(self.count, first + tile.vectors * lanes) if self.causal else self.count
        for base in k.loop(0, end, tile.keys):
            count = k.minimum(end - base, tile.keys)
            self._score(head, base, count)
            if self.causal:
                for _ in k.when(base + count > first + 1):
                    self._hide(first, base, count)
            self._softmax(count, best, total)
            self._mix(head, base, count)
        self._store(head, first, total)

    def _turn(self, head: Instruction, first: Instruction) -> None:
        """Queries of the tile, scaled: a row of vectors for each of their elements. Past the last it is repeated."""
        k, lanes = self.k, self.lanes
        for s in k.loop(self.tile.vectors):
            rows = [k.minimum(first + s * lanes + r, self.queries - 1) for r in range(lanes)]
            places = [(head * self.queries + row) * (self.size * 4) for row in rows]
            for d, mask in vectors(k, k.const(0, "i64"), k.const(self.size, "i64"), lanes):
                square = [k.load(self.q, at + d * 4, "f32", lanes, mask) for at in places]
                for n, column in enumerate(transposed(k, square)):
                    k.store(self.turned, (d + n) * self.row + s * (lanes * 4), column * self.scale)

    def _score(self, head: Instruction, base: Instruction, count: Instruction) -> None:
        """Scores of a block of keys. A last tile that is not full scores the last key again, which nothing reads."""
        k, lanes = self.k, self.lanes
        for key in k.loop(0, count, KEYS):
            rows = [k.minimum(base + key + j, self.count - 1) for j in range(KEYS)]
            places = [(head * self.count + row) * (self.size * 4) for row in rows]
            acc = [[k.var(k.zeros("f32", lanes)) for _ in range(self.tile.vectors)] for _ in rows]
            for e in k.loop(self.size):
                queries = [k.load(self.turned, at, "f32", lanes) for at in self._vectors(e)]
                for line, place in zip(acc, places, strict=True):
                    x = k.splat(k.load(self.keys, place + e * 4, "f32"), lanes)
                    for q, var in zip(queries, line, strict=True):
                        var.set(k.fma(x, q, var.get()))
            for j, line in enumerate(acc):
                for at, var in zip(self._vectors(key + j), line, strict=True):
                    k.store(self.weights, at, var.get())

    def _hide(self, first: Instruction, base: Instruction, count: Instruction) -> None:
        """Scores of keys behind their query become -inf."""
        k, lanes = self.k, self.lanes
        for key in k.loop(count):
            ahead = k.splat(k.convert(base + key - first, "i32"), lanes) - k.iota("i32", lanes)
            for s, at in enumerate(self._vectors(key)):
                score = k.load(self.weights, at, "f32", lanes)
                k.store(self.weights, at, k.select(ahead <= s * lanes, score, -math.inf))

    def _softmax(self, count: Instruction, best: Sequence[Variable], total: Sequence[Variable]) -> None:
        """Scores to powers of two of their distance from the largest so far; what that makes of earlier sums."""
        k, lanes = self.k, self.lanes
        tops = [k.var(v.get()) for v in best]
        for key in k.loop(count):
            for at, top in zip(self._vectors(key), tops, strict=True):
                top.set(k.maximum(top.get(), k.load(self.weights, at, "f32", lanes)))
        centers = [top.get() for top in tops]
        sums = [k.var(k.zeros("f32", lanes)) for _ in tops]
        for key in k.loop(count):
            for at, center, part in zip(self._vectors(key), centers, sums, strict=True):
                weight = self.math.exp2_below(k.load(self.weights, at, "f32", lanes) - center)
                k.store(self.weights, at, weight)
                part.set(part.get() + weight)
        for at, center, old, all_, part in zip(self._vectors(), centers, best, total, sums, strict=True):
            factor = self.math.exp2_below(old.get() - center)
            k.store(self.factors, at, factor)
            all_.set(k.fma(all_.get(), factor, part.get()))
            old.set(center)

    def _mix(self, head: Instruction, base: Instruction, count: Instruction) -> None:
        """sums = sums * factor + weights of the block times values."""
        k = self.k
        whole = self.width // KEYS * KEYS
        for d in k.loop(0, whole, KEYS):
            self._mix_elements(head, base, count, d, KEYS)
        if whole < self.width:
            self._mix_elements(head, base, count, k.const(whole, "i64"), self.width - whole)

    def _mix_elements(
        self, head: Instruction, base: Instruction, count: Instruction, d: Instruction, many: int
    ) -> None:
        k, lanes = self.k, self.lanes
        factors = [k.load(self.factors, at, "f32", lanes) for at in self._vectors()]
        acc = [
            [
                k.var(k.load(self.sums, at, "f32", lanes) * factor)
                for at, factor in zip(self._vectors(d + j), factors, strict=True)
            ]
            for j in range(many)
        ]
        start = ((head * self.count + base) * self.width + d) * 4
        for key in k.loop(count):
            weights = [k.load(self.weights, at, "f32", lanes) for at in self._vectors(key)]
            for j, line in enumerate(acc):
                x = k.splat(k.load(self.values, start + (key * (self.width * 4) + j * 4), "f32"), lanes)
                for weight, var in zip(weights, line, strict=True):
                    var.set(k.fma(x, weight, var.get()))
        for j, line in enumerate(acc):
            for at, var in zip(self._vectors(d + j), line, strict=True):
                k.store(self.sums, at, var.get())

    def _store(self, head: Instruction, first: Instruction, total: Sequence[Variable]) -> None:
        """Results over the sums of weights, turned back; queries past the last are dropped."""
        k, lanes = self.k, self.lanes
        for at, weight in zip(self._vectors(), total, strict=True):
            k.store(self.factors, at, 1.0 / weight.get())
        for s in k.loop(self.tile.vectors):
            column = s * (lanes * 4)
            factor = k.load(self.factors, column, "f32", lanes)
            for d, mask in vectors(k, k.const(0, "i64"), k.const(self.width, "i64"), lanes):
                square = [k.load(self.sums, (d + n) * self.row + column, "f32", lanes) * factor for n in range(lanes)]
                for n, row in enumerate(transposed(k, square)):
                    query = first + s * lanes + n
                    for _ in k.when(query < self.queries):
                        k.store(self.out, ((head * self.queries + query) * self.width + d) * 4, row, mask)


def _whole(count: int, lanes: int) -> int:
    return -(-count // lanes) * lanes
