"""Schedules of the gradients of `scaled_dot_product_attention` on GPUs whose tensor cores serve four warps together.
Scores are made again from queries, keys and their logsumexp, a block at a time, and never leave registers.

One kernel has a tile of keys and goes over queries: dK and dV, from the transposed scores, whose rows are keys. Another
has a tile of queries and goes over keys: dQ. That is seven products for the five that there are to do, and no sums of
several blocks meet in memory. `flash_operands` says how tiles lie.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from ..kernel.builder import KernelBuilder, Variable
from ..kernel.ir import Instruction, Kernel
from .flash_operands import LINE, WARPS, Operands, in_sections, packed
from .group import Group
from .prompt_attention import SECTION
from .tensor_linear import FRAGMENT

TILE = 128  # rows of a team: 64 for each four warps
SLOTS = 3  # steps in shared memory: one that is read, one that is there, one that copies go to
HIDDEN = -3.0e38  # a score whose weight is 0
QUERY, KEY, VALUE = "attention_query_gradient", "attention_key_gradient", "attention_value_gradient"


class _Tiles:
    """What both kernels share: a tile's 128 lines stay, and lines of two other operands pass in steps of `step`."""

    def __init__(self, group: Group, name: str, step: int, kept: int, more: int) -> None:
        """`kept`: tiles that lie in shared memory all the time; `more`: further bytes of a step."""
        k = self.k = KernelBuilder(name)
        o = self.o = Operands(k, group)
        self.step, line = step, o.blocks * LINE * 2
        self.tile, self.half = TILE * line, step * line
        self.ring, self.slot = kept * self.tile, 2 * self.half + more
        self.memory = k.alloc(self.ring + SLOTS * self.slot)

    def slot_of(self, step: Instruction) -> Instruction:
        return step % SLOTS * self.slot + self.ring

    def weights(self, scores: Sequence[Variable], lse: Sequence[Instruction]) -> list[Instruction]:
        """exp(score * scale - lse), of scores and sums of rows in units of powers of two."""
        k = self.k
        return [k.exp2(k.fma(v.get(), self.o.exponent, k.negate(x))) for v, x in zip(scores, lse, strict=True)]

    def mask(self, scores: Sequence[Variable], partly: Instruction, seen: Instruction, step: int) -> None:
        """Scores that are not seen become HIDDEN: those whose `seen` plus `step` for each var before is below 0."""
        k = self.k
        for _ in k.when(partly):
            for n, v in enumerate(scores):
                v.set(k.select(seen + n * step < 0, HIDDEN, v.get()))

    def halves(self, first: Instruction, count: int) -> list[Instruction]:
        """Numbers of a thread's two rows, the last of `count` again past it."""
        k, o = self.k, self.o
        return [k.minimum(k.splat(k.convert(first, "i32"), 32) + (o.row + 8 * h), count - 1) for h in range(2)]

    def rows(self, first: Instruction, count: int) -> Instruction:
        """`halves` as sums are."""
        k, lane = self.k, self.k.iota("i32", FRAGMENT)
        return k.minimum(k.splat(k.convert(first, "i32"), FRAGMENT) + (lane >> 4) + ((lane >> 1) & 1) * 8, count - 1)


class QueryTiles(_Tiles):
    """g, q: (B, L, H, E), k, v: (B, S, Hkv, E), lse, delta: (B, L, H); dq: (B, L, H, E).

    6 E operations for each pair of a query and a key.
    """

    def __init__(self, group: Group, name: str) -> None:
        super().__init__(group, name, 64, 0, 0)

    def build(self) -> Kernel:
        k, o = self.k, self.o
        tiles = -(-o.rows // TILE)
        for item in k.parallel(tiles * o.batch * o.heads):
            head, n = in_sections(k, item, tiles, o.batch * o.heads, 8 * o.keys * o.size, SECTION)
            for warp in k.team(WARPS):
                self._warp(warp, head // o.heads, head % o.heads, (tiles - 1 - n) * TILE)
        return k.finish()

    def _warp(self, warp: Instruction, batch: Instruction, head: Instruction, first: Instruction) -> None:
        k, o = self.k, self.o
        end = k.const(o.keys, "i64")
        if o.causal:
            end = k.minimum(first + TILE, end)
        count = (end + (self.step - 1)) // self.step
        start = o.start(batch, head // o.each, o.keys, o.groups)

        def copy(step: Instruction) -> None:
            base, at = k.minimum(step, count - 1) * self.step, self.slot_of(step)
            o.copy(self.memory, at, o.x["k"], start, warp, base, self.step, o.keys, o.groups)
            o.copy(self.memory, at + self.half, o.x["v"], start, warp, base, self.step, o.keys, o.groups)
            k.commit_copies()

        k.barrier()  # the tile before may still be read
        for n in range(SLOTS - 1):
            copy(k.const(n, "i64"))
        mine = first + warp * 16
        halves = self.halves(mine, o.rows)
        rows = o.start(batch, head, o.rows, o.heads)
        places = [half * (o.heads * o.size * 2) for half in halves]
        query, seed = o.operands_a(o.x["q"], rows, places), o.operands_a(o.x["g"], rows, places)
        at = o.sums_start(batch, head)
        lse, delta = (
            self._of_rows([k.gather(o.x[x], at, half * (o.heads * 4), "f32") for half in halves]) for x in "ld"
        )
        lse = lse * math.log2(math.e)
        # key - row of the first var, counted down from what is not seen
        lane = k.iota("i32", FRAGMENT)
        column = ((lane >> 2) & 3) * 2 + (lane & 1)
        row = self.rows(mine, o.rows)
        last = k.minimum(row, o.keys - 1) if o.causal else k.const(o.keys - 1, "i32", FRAGMENT)
        whole = k.minimum(k.minimum(mine, o.rows - 1) + 1, o.keys) if o.causal else k.const(o.keys, "i64")
        sums, scores, weighed = o.sums(o.size), o.sums(self.step), o.sums(self.step)
        for step in k.loop(count):
            k.wait_copies(SLOTS - 2)
            k.barrier()  # this step is there, and all have done with the one before
            copy(step + (SLOTS - 1))
            at, base = self.slot_of(step), step * self.step
            o.score(self.memory, query, at, scores, self.step)
            left = o.score(self.memory, seed, at + self.half, weighed, self.step)
            k.wait_mma(scores, left, query)
            self.mask(scores, whole < base + self.step, last - k.splat(k.convert(base, "i32"), FRAGMENT) - column, -8)
            weights = self.weights(scores, [lse] * len(scores))
            k.wait_mma(weighed, 0, seed)
            parts = [w * (v.get() - delta) for w, v in zip(weights, weighed, strict=True)]
            operands = packed(k, parts, o.kind)
            o.mix(self.memory, operands, at, sums, self.step)
            k.wait_mma(sums, 0, operands)
        k.wait_copies(0)
        o.store(o.out[QUERY], rows, places, sums, o.scale)

    def _of_rows(self, halves: Sequence[Instruction]) -> Instruction:
        """A value for each of a thread's two rows, as its sums are."""
        k, (low, high) = self.k, halves
        return k.shuffle(low, high, [n // 4 + 32 * (n >> 1 & 1) for n in range(FRAGMENT)])


class KeyTiles(_Tiles):
    """g, q: (B, L, H, E), k, v: (B, S, Hkv, E), lse, delta: (B, L, H); dk, dv: (B, S, Hkv, E).

    8 E operations for each pair of a query and a key. The queries of all heads that share the keys pass by.
    """

    def __init__(self, group: Group, name: str) -> None:
        blocks = -(-int(group.root.inputs[1].type.shape[3]) // LINE)  # type: ignore[arg-type]
        step = 64 if blocks == 1 else 32  # sums of both, scores and weights are in a thread's 255 registers together
        super().__init__(group, name, step, 2, 1024)
        self.steps = -(-self.o.rows // step)

    def build(self) -> Kernel:
        k, o = self.k, self.o
        tiles = -(-o.keys // TILE)
        for item in k.parallel(tiles * o.batch * o.groups):
            head, n = in_sections(k, item, tiles, o.batch * o.groups, 8 * o.each * o.rows * o.size, SECTION)
            for warp in k.team(WARPS):
                self._warp(warp, head // o.groups, head % o.groups, n * TILE)
        return k.finish()

    def _warp(self, warp: Instruction, batch: Instruction, group: Instruction, first: Instruction) -> None:
        k, o = self.k, self.o
        skipped = k.minimum(first // self.step, self.steps) if o.causal else k.const(0, "i64")
        each = self.steps - skipped  # of a head; the heads of a group follow each other
        count = each * o.each

        def copy(step: Instruction) -> None:
            head, base = self._step(step, group, skipped, each)
            start, at = o.start(batch, head, o.rows, o.heads), self.slot_of(step)
            o.copy(self.memory, at, o.x["q"], start, warp, base, self.step, o.rows, o.heads)
            o.copy(self.memory, at + self.half, o.x["g"], start, warp, base, self.step, o.rows, o.heads)
            k.commit_copies()

        k.barrier()  # the tile before may still be read
        start = o.start(batch, group, o.keys, o.groups)
        for n, x in enumerate("kv"):
            o.copy(self.memory, n * self.tile, o.x[x], start, warp, first, TILE, o.keys, o.groups, again=True)
        for n in range(SLOTS - 1):
            step = k.const(n, "i64")
            self._keep_sums(step, warp, self._sums_of(step, warp, batch, group, skipped, each))
            copy(step)
        mine = first + warp * 16
        lane = k.iota("i32", FRAGMENT)
        column = ((lane >> 2) & 3) * 2 + (lane & 1)
        row = self.rows(mine, o.keys)
        own = (warp >> 2) * (64 * LINE * 2)  # of the lines of these four warps
        dk, dv = o.sums(o.size), o.sums(o.size)
        scores, weighed = o.sums(self.step), o.sums(self.step)
        for step in k.loop(count):
            k.wait_copies(SLOTS - 2)
            k.barrier()  # this step is there, and all have done with the one before
            copy(step + (SLOTS - 1))
            coming = self._sums_of(step + (SLOTS - 1), warp, batch, group, skipped, each)
            at, base = self.slot_of(step), self._step(step, group, skipped, each)[1]
            o.score(self.memory, own, at, scores, self.step, TILE)
            left = o.score(self.memory, own + self.tile, at + self.half, weighed, self.step, TILE)
            k.wait_mma(scores, left)
            if o.causal:
                query = k.splat(k.convert(base, "i32"), FRAGMENT) + column
                self.mask(scores, base < mine + 15, query - row, 8)
            lse, delta = self._columns(at)
            weights = self.weights(scores, lse)
            operands = packed(k, weights, o.kind)
            k.wait_mma(weighed)
            o.mix(self.memory, operands, at + self.half, dv, self.step)
            parts = [w * (v.get() - d) for w, v, d in zip(weights, weighed, delta, strict=True)]
            others = packed(k, parts, o.kind)
            o.mix(self.memory, others, at, dk, self.step)
            self._keep_sums(step + (SLOTS - 1), warp, coming)
            k.wait_mma([*dv, *dk], 0, [*operands, *others])
        k.wait_copies(0)
        places = [half * (o.groups * o.size * 2) for half in self.halves(mine, o.keys)]
        if KEY in o.out:
            o.store(o.out[KEY], start, places, dk, o.scale)
        if VALUE in o.out:
            o.store(o.out[VALUE], start, places, dv, 1.0)

    def _step(
        self, step: Instruction, group: Instruction, skipped: Instruction, each: Instruction
    ) -> tuple[Instruction, Instruction]:
        """Head and first query of a step. Past the last: queries of the last head again, that nothing reads."""
        k, o = self.k, self.o
        if o.each == 1:
            return group, k.minimum(skipped + step, self.steps - 1) * self.step
        each = k.maximum(each, 1)
        member = k.minimum(step // each, o.each - 1)
        number = k.minimum(skipped + (step - member * each), self.steps - 1)
        return group * o.each + member, number * self.step

    def _sums_of(
        self, step: Instruction, warp: Instruction, batch: Instruction, group: Instruction, skipped: Instruction,
        each: Instruction,
    ) -> list[Instruction]:  # fmt: skip
        """lse and delta of the queries of a step, 32 of them to a warp; 0 past the last query."""
        k, o = self.k, self.o
        head, base = self._step(step, group, skipped, each)
        number = k.splat(k.convert(base + warp % (self.step // 32) * 32, "i32"), 32) + k.iota("i32", 32)
        place, start = k.minimum(number, o.rows - 1) * (o.heads * 4), o.sums_start(batch, head)
        return [k.select(number < o.rows, k.gather(o.x[x], start, place, "f32"), 0.0) for x in "ld"]

    def _keep_sums(self, step: Instruction, warp: Instruction, values: Sequence[Instruction]) -> None:
        """What `_sums_of` read goes behind the lines of its slot; several warps write the same."""
        k = self.k
        at = self.slot_of(step) + 2 * self.half + warp % (self.step // 32) * 128
        for n, (value, factor) in enumerate(zip(values, (math.log2(math.e), 1.0), strict=True)):
            k.scatter(self.memory, at + 512 * n, k.iota("i32", 32) * 4, value * factor)

    def _columns(self, at: Instruction) -> list[list[Instruction]]:
        """lse and delta for each var of scores, whose columns are queries."""
        k, o = self.k, self.o
        found = []
        for n in range(2):
            pairs = [
                k.gather(self.memory, at + (2 * self.half + 512 * n + 32 * j), o.place * 8, "f32", 2)
                for j in range(self.step // 8)
            ]
            found.append([k.shuffle(p, p, [i // 4 * 2 + i % 2 for i in range(FRAGMENT)]) for p in pairs])
        return found
