"""Schedule of `scaled_dot_product_attention`, with the logsumexp of its scores, on GPUs whose tensor cores serve four
warps together: four warps take 64 rows of queries over all keys, 64 at a time, in the order of `warpgroup_attention`.

Queries are operands in registers; keys and values lie in shared memory as they lie in memory, so that nothing is
turned or packed first. Heads that share keys are rows of one tile.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from ..kernel.builder import KernelBuilder, Variable
from ..kernel.ir import Instruction, Kernel, Operand
from ..targets.target import Target
from .flash_operands import LINE, Heads, Operands, group_refusal
from .group import Accept, Group, Refuse
from .math import Math
from .prompt_attention import COLUMNS, Rows, Steps, over_row
from .tensor_linear import FRAGMENT
from .warpgroup_attention import SLOTS, Pipelined

ROOTS = ("scaled_dot_product_attention", "attention_logsumexp")
STEP = 64  # keys
WARPS = 4  # of a team, 16 rows for each: teams that share a multiprocessor fill each other's waits


def accepts(group: Group, target: Target) -> Accept | Refuse:
    """Heads of 16 to 128 elements of bf16 or f16, of known lengths; both ops of the same operands, or one."""
    reason = group_refusal(group, target, ROOTS)
    return Accept() if reason is None else Refuse(reason)


def build(group: Group, target: Target, name: str) -> Kernel:
    """q: (B, L, H, E), k, v: (B, S, Hkv, E), out: (B, L, H, E), lse: (B, L, H) f32.

    4 E operations for each pair of a query and a key; keys and values are read L / 64 times, from the cache.
    """
    return _Tiles(group, target, name).build()


class _Tiles(Pipelined):
    def __init__(self, group: Group, target: Target, name: str) -> None:
        k = self.k = KernelBuilder(name, target.capability)
        o = self.o = Operands(k, group, WARPS)
        self.q, self.row, self.place = o.x["q"].buffer, o.row, o.place
        self.start, self.tokens, self.counted = k.const(0, "i64"), k.const(o.rows, "i64"), True
        self.kv_heads, self.group_size = o.batch * o.groups, o.each
        self.size, self.capacity, self.step = o.size, o.keys, STEP
        self.kind = self.value_kind = o.kind
        self.warps = WARPS
        self.causal, self.window, self.exponent = o.causal, 0, o.exponent
        self.key_tile = self.value_tile = STEP * o.blocks * LINE * 2
        self.memory = k.alloc(2 * SLOTS * self.key_tile)

    def _key(self, lane: Instruction) -> Instruction:
        return ((lane >> 2) & 3) * 2 + (lane & 1)

    def _block(self, n: int) -> int:
        return n * COLUMNS

    def _steps(self, head: Instruction, first: Instruction, last: Instruction) -> Steps:
        k = self.k
        end = k.const(self.capacity, "i64")
        if self.causal:
            end = k.minimum(last // self.group_size + 1, end)
        return Steps(head, k.const(0, "i64"), end, (end + (STEP - 1)) // STEP)

    def _place(self, head: Instruction, row: Instruction) -> Instruction:
        """Numbers of rows in (B, L, H)."""
        k, o = self.k, self.o
        batch, first = (k.splat(k.convert(i, "i32"), 32) for i in (head // o.groups, head % o.groups * o.each))
        return (batch * o.rows + row // o.each) * o.heads + first + row % o.each

    def _queries(self, places: Sequence[Instruction]) -> Callable[[], list[Instruction]]:
        q, heads = self.o.x["q"], self.o.heads
        numbers = [n if q.total == heads else n // heads * q.total + n % heads for n in places]
        operands = self.o.operands_a(q, q.first * self.size * 2, [n * (self.size * 2) for n in numbers])
        return lambda: operands

    def _copy_keys(self, warp: Instruction, steps: Steps, base: Instruction, at: Operand) -> None:
        self._copy(self.o.x["k"], warp, steps, base, at)

    def _copy_values(self, warp: Instruction, steps: Steps, base: Instruction, at: Operand) -> None:
        self._copy(self.o.x["v"], warp, steps, base, at + SLOTS * self.key_tile)

    def _copy(self, source: Heads, warp: Instruction, steps: Steps, base: Instruction, at: Operand) -> None:
        """Past the last step: that one once more, to where nothing is read."""
        groups = self.o.groups
        base = self.k.minimum(base, (steps.count - 1) * STEP)
        start = source.start(steps.head // groups, steps.head % groups)
        self.o.copy(self.memory, at, source, start, warp, base, STEP)

    def _score(self, query: Sequence[Instruction], scores: Sequence[Variable], at: Instruction) -> None:
        self.o.score(self.memory, query, at, scores, STEP)

    def _weigh(self, words: Sequence[Variable], sums: Sequence[Variable], slot: Instruction) -> list[Instruction]:
        k = self.k
        taken = [k.bitcast(v.get(), "i16") for v in words]
        self.o.mix(self.memory, taken, slot * self.value_tile + SLOTS * self.key_tile, sums, STEP)
        return taken

    def _store(self, sums: Sequence[Variable], rows: Rows, places: Sequence[Instruction]) -> None:
        k, out = self.k, self.o.out
        total = over_row(k, rows.total.get(), "add")
        if ROOTS[0] in out:
            factor = k.rcp(total)  # a division is a call, with which products wait for each other
            wide = k.shuffle(factor, factor, [n // 2 for n in range(FRAGMENT)])
            self.o.store(out[ROOTS[0]], 0, [n * (self.size * 2) for n in places], sums, wide)
        if ROOTS[1] in out:
            made = k.fma(rows.best.get(), self.o.scale, Math(k).log(total))
            for h, place in enumerate(places):
                half = k.shuffle(made, made, [2 * t + h for t in range(32)])
                k.scatter(out[ROOTS[1]].buffer, 0, place * 4, half)
