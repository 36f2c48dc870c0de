"""Schedule of `attention` over a key/value cache: blocks of keys with a running softmax, grouped heads without copies.

Query rows that share a key/value head (tokens times the heads of its group) form tiles, so keys and values are read
once
per tile. The key cache lies in `KeyPanels`: a vector holds one key per lane and no horizontal sums are needed.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from ..diagnostics import CompileError
from ..ir.types import Dim, TensorType, upper_bound
from ..kernel.builder import KernelBuilder, Variable
from ..kernel.ir import Instruction, Kernel
from ..targets.target import Target
from .cache import CacheRows, Sequences, sequences, table_of
from .cache_layout import KeyPanels
from .group import CHUNKS, Accept, Dims, Group, Refuse, TensorOperand, load_as_compute
from .math import Math

ROOTS = ("attention",)
KEY_STEP = 64  # keys that a cache's capacity is a multiple of: whole steps of any tile
LOWEST = -3.0e38  # below every finite score: a power of the difference is 0, and no infinity is subtracted from another


@dataclass(frozen=True)
class AttentionTile:
    """`rows`: tile heights, largest first, ending in 1. `keys`: most keys a block. `key_panels`: those scored together.

    A block costs every row two horizontal reductions and a rescaling; its scores should stay in the first-level cache.
    """

    rows: tuple[int, ...] = (8, 4, 1)
    keys: int = 256
    key_panels: int = 2

    def __post_init__(self) -> None:
        if not self.rows or not all(0 < n <= 16 for n in self.rows) or not 0 < self.key_panels <= 4:
            raise ValueError(f"1 to 16 rows and 1 to 4 panels of keys are needed, got {self}")
        if self.keys < KEY_STEP or self.keys % KEY_STEP or self.keys > 4096:
            raise ValueError(f"a block of keys is a multiple of {KEY_STEP} up to 4096, got {self.keys}")


Tile = AttentionTile


def default_tile(tokens: Dim, group: int, target: Target) -> AttentionTile:
    """One tile for the heads of a group when there is one token; otherwise the height that registers allow."""
    most = 8 if target.vector_registers >= 32 else 4
    if upper_bound(tokens) == 1:
        parts = -(-group // most)
        height = -(-group // parts)
        heights = [height]
        if group % height:
            heights.append(group % height)
        return AttentionTile(tuple(heights), key_panels=2)
    return AttentionTile(tuple(dict.fromkeys((most, 4, 1))), key_panels=2)


def heads_of_a_key(group: Group) -> int:
    """Query heads that read one head of the caches."""
    return upper_bound(group.root.inputs[0].type.shape[1]) // heads_of_a_cache(group)


def heads_of_a_cache(group: Group) -> int:
    """Heads of keys and values that a sequence has."""
    keys, start = group.root.inputs[1].type, group.root.inputs[3].type
    if table_of(group.root) is not None:
        return upper_bound(keys.shape[1])
    return upper_bound(keys.shape[0]) // sequences(start)


def tuning_key(group: Group) -> tuple[str, str, str]:
    """`attention DTYPE`, `Hq/HkvxD`, and `1` for a single token or `n`."""
    q, keys, _, start = group.root.inputs[:4]
    single = "1" if upper_bound(q.type.shape[0]) == sequences(start.type) else "n"
    return f"attention {keys.type.element}", f"{q.type.shape[1]}/{heads_of_a_cache(group)}x{q.type.shape[2]}", single


def candidates(group: Group, target: Target) -> list[AttentionTile]:
    """The default, and other blocks of keys; panels that a step of the cache holds whole."""
    rows, count = group.root.inputs[0].type.shape[0], sequences(group.root.inputs[3].type)
    tokens = rows if count == 1 else upper_bound(rows) // count
    usual = default_tile(tokens, heads_of_a_key(group), target)
    panels = [p for p in (1, 2, 4) if KEY_STEP % (p * target.lanes) == 0]
    others = [replace(usual, keys=n, key_panels=p) for n in (64, 128, 256, 512) for p in panels]
    return list(dict.fromkeys([usual, *others]))


def accepts(group: Group, target: Target) -> Accept | Refuse:
    verdict = accepts_caches(group, target)
    if isinstance(verdict, Accept) and group.root.inputs[2].type.layout is not None:
        return Refuse(f"values lie in {group.root.inputs[2].type.layout}: rows are needed")
    return verdict


def accepts_caches(group: Group, target: Target) -> Accept | Refuse:
    """What all schedules of attention need: caches of known size, in rows or panels that a vector fits."""
    root = group.root
    if root.op.name != "attention":
        return Refuse(f"root is {root.op.name}, not attention")
    if len(group.nodes) != 1:
        return Refuse("nothing is fused into attention")
    q, k, v = root.inputs[:3]
    if not all(isinstance(d, int) for d in (*q.type.shape[1:], *k.type.shape, *v.type.shape)):
        return Refuse("head counts, head sizes and the cache's capacity must be known")
    if k.type.shape[-2] % KEY_STEP:
        what = "cache's capacity" if table_of(root) is None else "page size"
        return Refuse(f"the {what} {k.type.shape[-2]} is not a multiple of {KEY_STEP} keys")
    if q.type.shape[-1] % target.lanes:
        return Refuse(f"head size {q.type.shape[-1]} is not a multiple of {target.lanes} lanes")
    runs = getattr(k.type.layout, "run", 1), getattr(v.type.layout, "run", 1)
    if not isinstance(k.type.layout, KeyPanels) or runs[0] != runs[1]:
        return Refuse(
            f"keys lie in {k.type.layout or 'rows'}, values in {v.type.layout or 'rows'}: "
            "key panels and rows are needed"
        )
    if k.type.layout.keys != target.lanes:
        return Refuse(f"key panels of {k.type.layout.keys}, but a vector has {target.lanes} lanes")
    return Accept()


def build(group: Group, target: Target, name: str, tile: AttentionTile | None = None) -> Kernel:
    """q: (S N, Hq, D), keys and values: (S Hkv, C, D) or pages, start: () or (S,) i32, out: (S N, Hq, D).

    Per tile of M rows and key: 4 * M * D operations, 2 * D cache elements read.
    """
    q, start = group.root.inputs[0], group.root.inputs[3]
    rows, count = q.type.shape[0], sequences(start.type)
    tokens = rows if count == 1 else int(rows) // count  # type: ignore[arg-type]
    chosen = tile or default_tile(tokens, heads_of_a_key(group), target)
    if (reason := tile_refusal(chosen, group, target)) is not None:
        raise CompileError(f"{chosen} does not serve {q.type}: {reason}")
    return _Nest(group, target, name, chosen).build()


def tile_refusal(tile: AttentionTile, group: Group, target: Target) -> str | None:
    """Why a tile does not serve a group; None where it does."""
    q, count = group.root.inputs[0].type, sequences(group.root.inputs[3].type)
    if KEY_STEP % (tile.key_panels * target.lanes):
        return f"panels scored together divide {KEY_STEP} keys"
    rows: int | None = None
    if isinstance(q.shape[0], int):
        rows = q.shape[0] // count * heads_of_a_key(group)
    for left in {tile.rows[0], *range(tile.rows[0])} if rows is None else {tile.rows[0], rows % tile.rows[0]}:
        for height in tile.rows:
            left %= height
        if left:
            return "heights do not come to every number of rows"
    return None


class _Nest:
    def __init__(self, group: Group, target: Target, name: str, tile: AttentionTile) -> None:
        self.tile, self.target, self.group = tile, target, group
        k = self.k = KernelBuilder(name)
        self.math = Math(k)
        buffers = {v: k.buffer(f"i{n}", "r") for n, v in enumerate(group.inputs)}
        out = k.buffer("o0", "w")
        self.dims = Dims(k, group.symbols)
        q, keys, values, start = group.root.inputs[:4]
        self.q = TensorOperand(k, self.dims, buffers[q], q.type)
        self.out = TensorOperand(k, self.dims, out, group.outputs[0].type)
        self.keys, self.values = buffers[keys], buffers[values]
        self._hold(keys.type, values.type)
        self.heads, self.head_dim = int(q.type.shape[1]), int(q.type.shape[2])  # type: ignore[arg-type]
        self.rows = CacheRows(k, self.dims, keys.type, start.type, table_of(group.root), buffers)
        self.each, self.capacity = self.rows.heads, self.rows.capacity  # of a sequence
        self.kv_heads = self.each * sequences(start.type)
        self.group_size = self.heads // self.each
        attrs = group.root.attrs
        self.scale = float(attrs["scale"]) * math.log2(math.e)  # scores are in powers of two
        self.causal = bool(attrs.get("causal", True))
        self.window = int(attrs.get("window", 0) or 0)
        self.sequences = Sequences(k, self.dims, buffers[start], start.type, q.type.shape[0])
        self.tokens = self.dims(self.sequences.tokens)
        self.lanes = target.lanes
        self.unroll = 4 if target.gpu else 1  # steps written out: their loads become one, and hide each other's time
        most = max(tile.rows)
        self.q_scaled = k.alloc(most * self.head_dim * 4)
        self.scores = k.alloc(most * tile.keys * 4)
        self.sums = k.alloc(most * self.head_dim * 4)
        self.rescale = k.alloc(most * 4)

    def _hold(self, keys: TensorType, values: TensorType) -> None:
        """How elements of the caches are read."""
        self.key_dtype, self.value_dtype = keys.dtype, values.dtype

    def build(self) -> Kernel:
        k = self.k
        rows = self.tokens * self.group_size
        tall = self.tile.rows[0]
        tiles = (rows + (tall - 1)) // tall
        for item in k.parallel(tiles * self.kv_heads):
            head, first = item // tiles, item % tiles * tall
            last = k.minimum(first + tall, rows)
            for height in self.tile.rows:
                whole = (last - first) // height * height + first
                for r in k.loop(first, whole, height):
                    self._tile(head, [r + m for m in range(height)])
                first = whole
        return k.finish(chunks=1 if self.target.gpu or self.sequences.tokens == 1 else CHUNKS)

    def _tile(self, head: Instruction, rows: Sequence[Instruction]) -> None:
        """All keys for a tile of rows: row r is token r / group of query head `head` * group + r % group."""
        k, tile, lanes = self.k, self.tile, self.lanes
        tokens = [r // self.group_size for r in rows]
        sequence = head if self.sequences.count == 1 else head // self.each
        start, mine = self.sequences.start(sequence), tokens
        if self.sequences.count == 1:
            heads = [head * self.group_size + r % self.group_size for r in rows]
        else:
            heads = [head % self.each * self.group_size + r % self.group_size for r in rows]
            mine = [sequence * self.tokens + n for n in tokens]
        for m, (n, h) in enumerate(zip(mine, heads, strict=True)):
            for d in k.loop(0, self.head_dim, lanes):
                k.store(self.q_scaled, (d + m * self.head_dim) * 4, self.q.load([n, h, d], lanes) * self.scale)
                k.store(self.sums, (d + m * self.head_dim) * 4, k.zeros("f32", lanes))
        ends = [start + n + 1 if self.causal else start + self.tokens for n in tokens]
        end = k.minimum(ends[-1], self.capacity)
        first = k.const(0, "i64")
        begins = [k.maximum(start + n + 1 - self.window, 0) for n in tokens] if self.window else None
        if begins is not None:
            first = begins[0] // tile.keys * tile.keys
        best = [k.var(k.const(LOWEST, "f32")) for _ in rows]
        total = [k.var(k.zeros("f32")) for _ in rows]
        step = lanes * tile.key_panels
        for base in k.loop(first, end, tile.keys):
            count = k.minimum(end - base, tile.keys)
            whole = (count + (step - 1)) // step * step
            self._score(head, rows, base, whole, ends, begins)
            for m in range(len(rows)):
                self._softmax(m, whole, best[m], total[m])
            self._weigh(head, len(rows), base, count)
        for m, (n, h) in enumerate(zip(mine, heads, strict=True)):
            inverse = k.splat(k.const(1.0, "f32") / total[m].get(), lanes)
            for d in k.loop(0, self.head_dim, lanes):
                value = k.load(self.sums, (d + m * self.head_dim) * 4, "f32", lanes)
                self.out.store([n, h, d], value * inverse)

    def _score(
        self,
        head: Instruction,
        rows: Sequence[Instruction],
        base: Instruction,
        count: Instruction,
        ends: Sequence[Instruction],
        begins: Sequence[Instruction] | None,
    ) -> None:
        """scores[m][t] = q[m] . key[base + t] for t < count, or LOWEST where row m must not see the key."""
        k, step = self.k, self.lanes * self.tile.key_panels
        for piece, end in self._pieces(count):
            rows_at = self.rows.row(head, base + piece) - piece
            for group in k.loop(piece, end, step):
                self._score_group(rows, base, group, (rows_at + group) * self.head_dim, ends, begins)

    def _score_group(
        self,
        rows: Sequence[Instruction],
        base: Instruction,
        group: Instruction,
        at: Instruction,
        ends: Sequence[Instruction],
        begins: Sequence[Instruction] | None,
    ) -> None:
        """The scores of some panels of keys, which start at element `at` of the cache."""
        k, lanes, tile = self.k, self.lanes, self.tile
        wide, size = tile.key_panels, self.key_dtype.nbytes
        acc = [[k.var(k.zeros("f32", lanes)) for _ in range(wide)] for _ in rows]
        for first in k.loop(0, self.head_dim, self.unroll):
            for d in (first + e for e in range(self.unroll)):
                vectors = [
                    load_as_compute(
                        k, self.keys, (at + d * lanes + s * self.head_dim * lanes) * size, self.key_dtype, lanes
                    )
                    for s in range(wide)
                ]
                for m in range(len(rows)):
                    q = k.splat(k.load(self.q_scaled, (d + m * self.head_dim) * 4, "f32"), lanes)
                    for s in range(wide):
                        acc[m][s].set(k.fma(vectors[s], q, acc[m][s].get()))
        for s in range(wide):
            number = k.splat(k.convert(base + group + s * lanes, "i32"), lanes) + k.iota("i32", lanes)
            for m in range(len(rows)):
                seen = number < k.convert(ends[m], "i32")
                if begins is not None:
                    seen = seen & (number >= k.convert(begins[m], "i32"))
                value = k.select(seen, acc[m][s].get(), LOWEST)
                k.store(self.scores, (group + (m * tile.keys + s * lanes)) * 4, value)

    def _softmax(self, m: int, count: Instruction, best: Variable, total: Variable) -> None:
        """Turn a row of scores into 2 ** (score - best), where best is the largest so far; note the old sums' factor.

        Weights below 2 ** -126 are 0: Intel's multiply-adds take some 150 cycles for each denormal operand.
        """
        k, lanes, wide = self.k, self.lanes, self.tile.key_panels
        row = m * self.tile.keys
        tops = [k.var(k.const(LOWEST, "f32", lanes)) for _ in range(wide)]
        for t in k.loop(0, count, lanes * wide):
            for s, top in enumerate(tops):
                top.set(k.maximum(top.get(), k.load(self.scores, (t + (row + s * lanes)) * 4, "f32", lanes)))
        highest = tops[0].get()
        for top in tops[1:]:
            highest = k.maximum(highest, top.get())
        old = best.get()
        new = k.maximum(k.reduce_max(highest), old)
        center = k.splat(new, lanes)
        sums = [k.var(k.zeros("f32", lanes)) for _ in range(wide)]
        for t in k.loop(0, count, lanes * wide):
            for s, sum_ in enumerate(sums):
                at = (t + (row + s * lanes)) * 4
                score = k.load(self.scores, at, "f32", lanes)
                # A row that has seen no key yet keeps the mark LOWEST; its weights must be 0, not 2 ** 0. A score that
                # is no number passes on.
                weight = k.select(score <= LOWEST, 0.0, self.math.exp2_below(score - center))
                k.store(self.scores, at, weight)
                sum_.set(sum_.get() + weight)
        summed = sums[0].get()
        for sum_ in sums[1:]:
            summed = summed + sum_.get()
        factor = k.extract(self.math.exp2_below(k.splat(old - new, lanes)), 0)
        k.store(self.rescale, m * 4, factor)
        total.set(k.fma(total.get(), factor, k.reduce_add(summed)))
        best.set(new)

    def _weigh(self, head: Instruction, rows: int, base: Instruction, count: Instruction) -> None:
        """sums[m] = sums[m] * factor[m] + sum over keys t of weight[m][t] * value[base + t]."""
        k, lanes, keys = self.k, self.lanes, self.tile.keys
        size = self.value_dtype.nbytes
        vectors = self.head_dim // lanes
        wide = max(1, min(4, vectors, (self.target.vector_registers - 4) // rows))
        while vectors % wide:
            wide -= 1
        for d in k.loop(0, self.head_dim, lanes * wide):
            acc = [[k.var(self._sum(m, d, s)) for s in range(wide)] for m in range(rows)]
            for piece, end in self._pieces(count):
                at = (self.rows.row(head, base + piece) - piece) * self.head_dim + d
                # Keys past the last have weight 0; they lie inside the cache, whose capacity is whole steps.
                for first in k.loop(piece, end, self.unroll):
                    for t in (first + e for e in range(self.unroll)):
                        values = [
                            load_as_compute(
                                k, self.values, (at + t * self.head_dim + s * lanes) * size, self.value_dtype, lanes
                            )
                            for s in range(wide)
                        ]
                        for m in range(rows):
                            weight = k.splat(k.load(self.scores, (t + m * keys) * 4, "f32"), lanes)
                            for s in range(wide):
                                acc[m][s].set(k.fma(values[s], weight, acc[m][s].get()))
            for m in range(rows):
                for s in range(wide):
                    k.store(self.sums, (d + (m * self.head_dim + s * lanes)) * 4, acc[m][s].get())

    def _pieces(self, count: Instruction) -> Iterator[tuple[Instruction, Instruction]]:
        """Parts of a block of `count` keys, each of keys whose rows are neighbours: one, unless pages are smaller."""
        k, together = self.k, math.gcd(self.rows.together, self.tile.keys)
        if together == self.tile.keys:
            yield k.const(0, "i64"), count
            return
        for piece in k.loop(0, count, together):
            yield piece, k.minimum(piece + together, count)

    def _sum(self, m: int, d: Instruction, s: int) -> Instruction:
        k, lanes = self.k, self.lanes
        value = k.load(self.sums, (d + (m * self.head_dim + s * lanes)) * 4, "f32", lanes)
        return value * k.splat(k.load(self.rescale, m * 4, "f32"), lanes)
