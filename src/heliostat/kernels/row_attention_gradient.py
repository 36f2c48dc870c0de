"""Schedule of `dot_product_attention_gradient` on cores: the gradients of queries, keys and values of a head in one
kernel, with weights made again from queries and keys (flash attention).

As in `row_attention` a lane is a query while scores and weights are made, of all keys that a tile of queries sees.
Gradients of keys and values are sums over queries: there a lane is an element of a row, weights are spread, and rows of
queries and of the given gradient are read as they lie. A head is one worker's, so that its sums stay in private memory.
After: Dao et al., FlashAttention, 2022 (arXiv 2205.14135).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from ..ir.graph import Node
from ..ir.types import f32, numel, upper_bound
from ..kernel.builder import KernelBuilder
from ..kernel.ir import Instruction, Kernel
from ..targets.target import Target
from . import row_view
from .attention import LOWEST
from .group import Accept, Dims, Group, Refuse
from .math import Math
from .query_lanes import KEYS, QueryLanes, most_vectors
from .row_view import Rows, read_view

ROOTS = ("dot_product_attention_gradient",)
PRIVATE_BYTES = 1 << 20  # for the scores of a tile and the gradients of a head
LEAST_TOKENS, LEAST_HEADS = 32, 4  # below, products one after the other take less, or workers have nothing to do


def accepts(group: Group, target: Target) -> Accept | Refuse:
    root = group.root
    if root.op.name != "dot_product_attention_gradient":
        return Refuse(f"root is {root.op.name}, not dot_product_attention_gradient")
    if group.outputs != root.results:
        return Refuse("nothing is fused behind dot_product_attention_gradient")
    reason = refusal(root, target) or row_view.refusal(group)
    return Accept() if reason is None else Refuse(reason)


def refusal(node: Node, target: Target) -> str | None:
    """Why a gradient is left to its decomposition; None where this schedule takes it."""
    q = node.inputs[1].type
    if target.gpu or target.lanes not in (4, 8, 16):
        return f"{target.name} has no vectors of 4, 8 or 16 queries"
    if q.element != f32 or any(v.type.layout is not None for v in node.inputs):
        return f"all are rows of f32 here, found {q}"
    if not isinstance(q.shape[-1], int) or q.shape[-1] % target.lanes or q.shape[-1] == 0:
        return f"heads of {q.shape[-1]} elements: whole vectors are needed"
    if node.attrs.get("joined", False) and not isinstance(q.shape[-3], int):
        return f"{q.shape[-3]} heads side by side: their number must be known"
    tokens = upper_bound(q.shape[-2])
    if tokens < LEAST_TOKENS or upper_bound(numel(q.shape[:-2])) < LEAST_HEADS:
        return f"{tokens} tokens in {numel(q.shape[:-2])} heads are too few"
    if _private_bytes(tokens, q.shape[-1], target) > PRIVATE_BYTES:
        return f"scores and gradients of {tokens} tokens do not fit the caches"
    return None


def _padded(tokens: int) -> int:
    return -(-tokens // KEYS) * KEYS


def _private_bytes(tokens: int, size: int, target: Target) -> int:
    tall = most_vectors(target) * target.lanes
    return 2 * (_padded(tokens) * (tall + size) + tall * size) * 4


def build(group: Group, target: Target, name: str) -> Kernel:
    """g, q, k, v: (..., T, E), out: (3, ..., T, E), or (..., T, 3 H, E) of joined heads, all f32: the gradients of q, k
    and v. Operands may be views of what the group reads.

    10 T T E operations for a head, half of it if causal.
    """
    return _Nest(group, target, name).build()


@dataclass(frozen=True)
class _Head:
    """The rows of a head in the buffers of all operands."""

    g: Rows
    q: Rows
    keys: Rows
    values: Rows


class _Nest:
    def __init__(self, group: Group, target: Target, name: str) -> None:
        k = self.k = KernelBuilder(name)
        self.math = Math(k)
        held = {v: k.buffer(f"i{n}", "r") for n, v in enumerate(group.inputs)}
        self.out = k.buffer("o0", "w")
        dims = self.dims = Dims(k, group.symbols)
        self.views = [read_view(group, v) for v in group.root.inputs]
        self.g, self.q, self.keys, self.values = (held[view.source] for view in self.views)
        q = group.root.inputs[1].type
        self.heads, self.tokens = dims(numel(q.shape[:-2])), dims(q.shape[-2])
        self.size = int(q.shape[-1])  # type: ignore[arg-type]
        self.joined = bool(group.root.attrs.get("joined", False))
        self.side = int(q.shape[-3]) if self.joined else 1  # type: ignore[arg-type] # heads in a row of the result
        self.causal, self.scale = bool(group.root.attrs["causal"]), float(group.root.attrs["scale"])
        lanes = self.lanes = QueryLanes(k, target, most_vectors(target))
        most = self.most = _padded(upper_bound(q.shape[-2]))
        self.turned_q, self.turned_g, self.sums = (k.alloc(self.size * lanes.row) for _ in range(3))
        self.weights, self.slopes = k.alloc(most * lanes.row), k.alloc(most * lanes.row)
        self.by_keys, self.by_values = k.alloc(most * self.size * 4), k.alloc(most * self.size * 4)
        self.ones = k.alloc(lanes.row)
        # Rows of a tile that lie some KiB apart fall on few sets of the first-level cache, and all keys take them.
        apart = {"q": self.views[1], "g": self.views[0]}
        self.copies = {n: k.alloc(lanes.tall * self.size * 4) for n, v in apart.items() if v.strides is not None}

    def build(self) -> Kernel:
        k, lanes = self.k, self.lanes
        for head in k.parallel(self.heads):
            of_g, of_q, of_keys, of_values = (view.rows(self.dims, head) for view in self.views)
            rows = _Head(of_g, of_q, of_keys, of_values)
            for at in lanes.places():
                k.store(self.ones, at, k.const(1.0, "f32", lanes.lanes))
            for at in k.loop(0, self.most * self.size * 4, lanes.lanes * 4):
                for memory in (self.by_keys, self.by_values):
                    k.store(memory, at, k.zeros("f32", lanes.lanes))
            for first in k.loop(0, self.tokens, lanes.tall):
                self._tile(rows, self._results(head, 0), first)
            for number, (memory, factor) in enumerate(((self.by_keys, self.scale), (self.by_values, 1.0)), 1):
                results = self._results(head, number)
                for row in k.loop(self.tokens):
                    to, at = results.offset(row), row * (self.size * 4)
                    for d in range(0, self.size * 4, lanes.lanes * 4):
                        k.store(self.out, to + d, k.load(memory, at + d, "f32", lanes.lanes) * factor)
        return k.finish()

    def _results(self, head: Instruction, number: int) -> Rows:
        """Where the gradients of a head's queries, keys or values (`number` 0, 1 and 2) go."""
        each = self.size * 4
        if not self.joined:
            return Rows((head + self.heads * number) * self.tokens * each, self.tokens, self.size, each)
        first = head // self.side * self.tokens * (3 * self.side) + head % self.side + number * self.side
        return Rows(first * each, self.tokens, self.size, 3 * self.side * each)

    def _tile(self, rows: _Head, results: Rows, first: Instruction) -> None:
        """A tile of queries and all keys that it sees."""
        k, lanes = self.k, self.lanes
        zero = k.const(0, "i64")
        lanes.turn(self.q, rows.q, first, self.turned_q, self.scale * math.log2(math.e), self.copies.get("q"))
        lanes.turn(self.g, rows.g, first, self.turned_g, 1.0, self.copies.get("g"))
        end = k.minimum(self.tokens, first + lanes.tall) if self.causal else self.tokens
        asked = (self.keys, rows.keys), (self.values, rows.values)
        lanes.score(self.keys, rows.keys, zero, end, self.turned_q, self.weights, asked)
        lanes.score(self.values, rows.values, zero, end, self.turned_g, self.slopes)
        if self.causal:
            lanes.hide(self.weights, zero, end - first, first)
        self._softmax(first, end)
        lanes.clear(self.sums, self.size)
        lanes.mix(self.keys, rows.keys, zero, end, self.slopes, self.sums, self.ones)
        lanes.turn_back(self.sums, self.out, results, first, self.scale)
        for key in k.loop(end, (end + (KEYS - 1)) // KEYS * KEYS):  # a last tile of keys that is not full
            for memory in (self.weights, self.slopes):
                for at in lanes.places(key):
                    k.store(memory, at, k.zeros("f32", lanes.lanes))
        count = k.minimum(self.tokens - first, lanes.tall)
        for step in range(0, self.size // lanes.lanes, lanes.count):
            wide = min(lanes.count, self.size // lanes.lanes - step)
            for key in k.loop(0, end, KEYS):
                column = step * lanes.lanes * 4
                self._gather(*self._tile_of("q", rows.q, first), count, key, self.slopes, self.by_keys, column, wide)
                self._gather(*self._tile_of("g", rows.g, first), count, key, self.weights, self.by_values, column, wide)

    def _softmax(self, first: Instruction, end: Instruction) -> None:
        """Scores to weights p, and products of the gradient with values to p (product - sum of p products)."""
        k, lanes = self.k, self.lanes
        width = lanes.lanes
        tops = [k.var(k.const(LOWEST, "f32", width)) for _ in range(lanes.count)]
        for key in k.loop(end):
            for at, top in zip(lanes.places(key), tops, strict=True):
                top.set(k.maximum(top.get(), k.load(self.weights, at, "f32", width)))
        centers = [top.get() for top in tops]
        sums, dots = ([k.var(k.zeros("f32", width)) for _ in tops] for _ in range(2))
        for key in k.loop(end):
            for at, center, total, dot in zip(lanes.places(key), centers, sums, dots, strict=True):
                weight = self.math.exp2_below(k.load(self.weights, at, "f32", width) - center)
                k.store(self.weights, at, weight)
                total.set(total.get() + weight)
                dot.set(k.fma(weight, k.load(self.slopes, at, "f32", width), dot.get()))
        factors, means = [], []
        there = k.splat(k.convert(self.tokens - first, "i32"), width) - k.iota("i32", width)
        for s, (total, dot) in enumerate(zip(sums, dots, strict=True)):
            inverse = 1.0 / total.get()
            means.append(dot.get() * inverse)
            factors.append(k.select(there > s * width, inverse, 0.0))  # queries past the last weigh nothing
        for key in k.loop(end):
            for at, factor, mean in zip(lanes.places(key), factors, means, strict=True):
                weight = k.load(self.weights, at, "f32", width) * factor
                k.store(self.weights, at, weight)
                k.store(self.slopes, at, weight * (k.load(self.slopes, at, "f32", width) - mean))

    def _tile_of(self, name: str, rows: Rows, first: Instruction) -> tuple[Instruction, Instruction, int]:
        """Buffer, begin and distance of the rows of queries or of the given gradient that a tile takes."""
        if name in self.copies:
            return self.copies[name], self.k.const(0, "i64"), self.size * 4
        return (self.q if name == "q" else self.g), rows.offset(first), rows.stride

    def _gather(
        self, buffer: Instruction, begin: Instruction, stride: int, count: Instruction, key: Instruction,
        weights: Instruction, sums: Instruction, column: int, wide: int,
    ) -> None:  # fmt: skip
        """Sums of some keys += the weighted sum of `count` rows from byte `begin` on; `wide` vectors from `column`."""
        k, lanes = self.k, self.lanes
        width, each = lanes.lanes, self.size * 4
        at = [[(key + j) * each + (column + s * width * 4) for s in range(wide)] for j in range(KEYS)]
        acc = [[k.var(k.load(sums, place, "f32", width)) for place in line] for line in at]
        start = begin + column
        for query in k.loop(count):
            held = [k.load(buffer, start + (query * stride + s * width * 4), "f32", width) for s in range(wide)]
            for j, line in enumerate(acc):
                x = k.splat(k.load(weights, (key + j) * lanes.row + query * 4, "f32"), width)
                for value, var in zip(held, line, strict=True):
                    var.set(k.fma(x, value, var.get()))
        for places, line in zip(at, acc, strict=True):
            for place, var in zip(places, line, strict=True):
                k.store(sums, place, var.get())
