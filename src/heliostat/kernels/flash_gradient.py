"""Schedule of the gradients of `scaled_dot_product_attention` on GPUs whose tensor cores serve four warps together.
Scores are made again from queries, keys and their logsumexp, a block at a time, and never leave registers.

A team has a tile of keys and goes over queries: dK and dV, from the transposed scores, whose rows are keys. Then it has
a tile of queries and goes over keys: dQ. That is seven products for the five that there are to do, and no sums of
several teams meet in memory. Under a causal mask both tiles together are the same work for all teams.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from ..kernel.builder import KernelBuilder, Variable
from ..kernel.ir import Instruction, Kernel
from ..targets.target import Target
from .attention import LOWEST
from .flash_operands import LINE, Operands, group_refusal, in_sections
from .group import Accept, Group, Refuse
from .prompt_attention import SECTION
from .tensor_linear import FRAGMENT, packed

TILE = 64  # rows of a team: 16 for each warp
SLOTS = 3  # steps in shared memory: one that is read, one that is there, one that copies go to
QUERY, KEY, VALUE = "attention_query_gradient", "attention_key_gradient", "attention_value_gradient"
ROOTS = (QUERY, KEY, VALUE)


def accepts(group: Group, target: Target) -> Accept | Refuse:
    """What `flash_operands.refusal` allows: one to three gradients of the same operands, also joined to one."""
    reason = group_refusal(group, target, ROOTS)
    return Accept() if reason is None else Refuse(reason)


def build(group: Group, target: Target, name: str) -> Kernel:
    """g, q: (B, L, H, E), k, v: (B, S, Hkv, E), lse, delta: (B, L, H) f32; dq: (B, L, H, E), dk, dv: (B, S, Hkv, E).

    14 E operations for each pair of a query and a key.
    """
    k = KernelBuilder(name)
    o = Operands(k, group, TILE // 16)
    tiles: list[_Tiles] = []
    if KEY in o.out or VALUE in o.out:
        tiles.append(_KeyTiles(k, o))
    if QUERY in o.out:
        tiles.append(_QueryTiles(k, o))
    memory = k.alloc(max(t.nbytes for t in tiles))
    for t in tiles:
        t.build(memory)
    return k.finish()


class _Tiles:
    """What both parts share: a tile's 128 lines stay, and lines of two other operands pass in steps of `step`.

    `kept`: tiles that lie in shared memory all the time; `more`: further bytes of a step.
    """

    memory: Instruction

    def __init__(self, k: KernelBuilder, o: Operands, step: int, kept: int, more: int) -> None:
        self.k, self.o = k, o
        self.step, line = step, o.blocks * LINE * 2
        self.tile, self.half = TILE * line, step * line
        self.ring, self.slot = kept * self.tile, 2 * self.half + more

    @property
    def nbytes(self) -> int:
        """Of shared memory."""
        return self.ring + SLOTS * self.slot

    def build(self, memory: Instruction) -> None:
        raise NotImplementedError

    def slot_of(self, step: Instruction) -> Instruction:
        return step % SLOTS * self.slot + self.ring

    def own(self, warp: Instruction) -> Instruction:
        """Where the lines of a warp and its three neighbours begin in a tile that stays. They are read from there again
        and again: ptxas 13 gives registers of an operand that stays to another one, where their products do not meet.
        """
        return (warp >> 2) * (64 * LINE * 2)

    def weights(self, scores: Sequence[Variable], lse: Sequence[Instruction]) -> list[Instruction]:
        """exp(score * scale - lse), of scores and sums of rows in units of powers of two."""
        k = self.k
        return [k.exp2(k.fma(v.get(), self.o.exponent, k.negate(x))) for v, x in zip(scores, lse, strict=True)]

    def mask(self, scores: Sequence[Variable], partly: Instruction, seen: Instruction, step: int) -> None:
        """Scores that are not seen become LOWEST: those whose `seen` plus `step` for each var before is below 0."""
        k = self.k
        for _ in k.when(partly):
            for n, v in enumerate(scores):
                v.set(k.select(seen + n * step < 0, LOWEST, v.get()))

    def halves(self, first: Instruction, count: int) -> list[Instruction]:
        """Numbers of a thread's two rows, the last of `count` again past it."""
        k, o = self.k, self.o
        return [k.minimum(k.splat(k.convert(first, "i32"), 32) + (o.row + 8 * h), count - 1) for h in range(2)]

    def rows(self, first: Instruction, count: int) -> Instruction:
        """`halves` as sums are."""
        k, lane = self.k, self.k.iota("i32", FRAGMENT)
        return k.minimum(k.splat(k.convert(first, "i32"), FRAGMENT) + (lane >> 4) + ((lane >> 1) & 1) * 8, count - 1)


class _QueryTiles(_Tiles):
    """dQ: 6 E operations for each pair."""

    def __init__(self, k: KernelBuilder, o: Operands) -> None:
        super().__init__(k, o, 64 if o.blocks == 1 else 32, 2, 0)

    def build(self, memory: Instruction) -> None:
        k, o, self.memory = self.k, self.o, memory
        tiles = -(-o.rows // TILE)
        for item in k.parallel(tiles * o.batch * o.heads):
            head, n = in_sections(k, item, tiles, o.batch * o.heads, 8 * o.keys * o.size, SECTION)
            for warp in k.team(o.warps):
                self._warp(warp, head // o.heads, head % o.heads, n * TILE)

    def _warp(self, warp: Instruction, batch: Instruction, head: Instruction, first: Instruction) -> None:
        k, o = self.k, self.o
        end = k.const(o.keys, "i64")
        if o.causal:
            end = k.minimum(first + TILE, end)
        count = (end + (self.step - 1)) // self.step
        starts = [o.x[x].start(batch, head // o.each) for x in "kv"]

        def copy(step: Instruction) -> None:
            base, at = k.minimum(step, count - 1) * self.step, self.slot_of(step)
            for n, x in enumerate("kv"):
                o.copy(self.memory, at + n * self.half, o.x[x], starts[n], warp, base, self.step)
            k.commit_copies()

        k.barrier()  # the tile before may still be read
        for n, x in enumerate("qg"):
            o.copy(self.memory, n * self.tile, o.x[x], o.x[x].start(batch, head), warp, first, TILE, again=True)
        for n in range(SLOTS - 1):
            copy(k.const(n, "i64"))
        mine = first + warp * 16
        halves = self.halves(mine, o.rows)
        lse, delta = (
            self._of_rows(
                [k.gather(o.x[x].buffer, o.x[x].start(batch, head), half * o.x[x].stride, "f32") for half in halves]
            )
            for x in "ld"
        )
        lse = lse * math.log2(math.e)
        # key - row of the first var, counted down from what is not seen
        lane = k.iota("i32", FRAGMENT)
        column = ((lane >> 2) & 3) * 2 + (lane & 1)
        row = self.rows(mine, o.rows)
        last = k.minimum(row, o.keys - 1) if o.causal else k.const(o.keys - 1, "i32", FRAGMENT)
        whole = k.minimum(k.minimum(mine, o.rows - 1) + 1, o.keys) if o.causal else k.const(o.keys, "i64")
        own = self.own(warp)
        sums, scores, weighed = o.sums(o.size), o.sums(self.step), o.sums(self.step)
        for step in k.loop(count):
            k.wait_copies(SLOTS - 2)
            k.barrier()  # this step is there, and all have done with the one before
            copy(step + (SLOTS - 1))
            at, base = self.slot_of(step), step * self.step
            o.score(self.memory, own, at, scores, self.step, TILE)
            left = o.score(self.memory, own + self.tile, at + self.half, weighed, self.step, TILE)
            k.wait_mma(scores, left)
            self.mask(scores, whole < base + self.step, last - k.splat(k.convert(base, "i32"), FRAGMENT) - column, -8)
            weights = self.weights(scores, [lse] * len(scores))
            k.wait_mma(weighed)
            parts = [w * (v.get() - delta) for w, v in zip(weights, weighed, strict=True)]
            operands = packed(k, parts, o.kind)
            o.mix(self.memory, operands, at, sums, self.step)
            k.wait_mma(sums, 0, operands)
        k.wait_copies(0)
        out = o.out[QUERY]
        o.store(out, out.start(batch, head), [half * out.stride for half in halves], sums, o.scale)

    def _of_rows(self, halves: Sequence[Instruction]) -> Instruction:
        """A value for each of a thread's two rows, as its sums are."""
        k, (low, high) = self.k, halves
        return k.shuffle(low, high, [n // 4 + 32 * (n >> 1 & 1) for n in range(FRAGMENT)])


class _KeyTiles(_Tiles):
    """dK and dV: 8 E operations for each pair. The queries of all heads that share the keys pass by."""

    def __init__(self, k: KernelBuilder, o: Operands) -> None:
        # sums of both, scores and weights are in a thread's 255 registers together
        super().__init__(k, o, 64 if o.blocks == 1 else 32, 2, 1024)
        self.steps = -(-o.rows // self.step)

    def build(self, memory: Instruction) -> None:
        k, o, self.memory = self.k, self.o, memory
        tiles = -(-o.keys // TILE)
        for item in k.parallel(tiles * o.batch * o.groups):
            head, n = in_sections(k, item, tiles, o.batch * o.groups, 8 * o.each * o.rows * o.size, SECTION)
            for warp in k.team(o.warps):
                self._warp(warp, head // o.groups, head % o.groups, n * TILE)

    def _warp(self, warp: Instruction, batch: Instruction, group: Instruction, first: Instruction) -> None:
        k, o = self.k, self.o
        skipped = k.minimum(first // self.step, self.steps) if o.causal else k.const(0, "i64")
        each = self.steps - skipped  # of a head; the heads of a group follow each other
        count = each * o.each

        def copy(step: Instruction) -> None:
            head, base = self._step(step, group, skipped, each)
            at = self.slot_of(step)
            for n, x in enumerate("qg"):
                o.copy(self.memory, at + n * self.half, o.x[x], o.x[x].start(batch, head), warp, base, self.step)
            k.commit_copies()

        k.barrier()  # the tile before may still be read
        for n, x in enumerate("kv"):
            o.copy(self.memory, n * self.tile, o.x[x], o.x[x].start(batch, group), warp, first, TILE, again=True)
        for n in range(SLOTS - 1):
            step = k.const(n, "i64")
            self._keep_sums(step, warp, self._sums_of(step, warp, batch, group, skipped, each))
            copy(step)
        mine = first + warp * 16
        lane = k.iota("i32", FRAGMENT)
        column = ((lane >> 2) & 3) * 2 + (lane & 1)
        row = self.rows(mine, o.keys)
        own = self.own(warp)
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
        for name, sums, factor in ((KEY, dk, o.scale), (VALUE, dv, 1.0)):
            if name in o.out:
                out = o.out[name]
                places = [half * out.stride for half in self.halves(mine, o.keys)]
                o.store(out, out.start(batch, group), places, sums, factor)

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
        number, there = k.minimum(number, o.rows - 1), number < o.rows
        return [
            k.select(there, k.gather(x.buffer, x.start(batch, head), number * x.stride, "f32"), 0.0)
            for x in (o.x["l"], o.x["d"])
        ]

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
