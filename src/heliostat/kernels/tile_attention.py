"""Schedule of `attention` of many tokens on a GPU's tensor cores (flash attention): a warp takes 16 rows of queries
over all keys, 32 at a time, with a running softmax. Scores never leave registers.

Rows are tokens times the heads of a group, as in `attention`. Caches lie in runs of 16 bytes, which a thread loads at
once. The order of K inside a tensor core instruction is free as long as both operands have the same: a thread's run of
a key's elements serves two instructions. So is the order of keys: column 2 q + e of block b of the scores is key
8 q + 2 b + e, so that thread q has the weights of eight neighbours, as the runs of values have them.

A team of warps takes a few tiles, and shares the keys of each; the parts are joined at the end. So many loads are
under way at a time.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from ..ir.types import upper_bound
from ..kernel.builder import KernelBuilder, Variable
from ..kernel.ir import Instruction, Kernel
from ..targets.target import Target
from . import attention
from .attention import LOWEST
from .cache import sequences
from .group import Accept, Dims, Group, Refuse, TensorOperand
from .tensor_linear import FRAGMENT, zipped

ROWS = 16  # of a warp's tile
STEP = 32  # keys of a step
COLUMNS = 8  # of a tensor core tile
TILES = 4  # of rows that a team takes: what its warps read of the caches lies in the first-level cache for the others
SPLIT = 2  # warps that share the keys of a tile
TEAM = TILES * SPLIT


def accepts(group: Group, target: Target) -> Accept | Refuse:
    """What `attention` accepts, over caches in runs of eight."""
    verdict = attention.accepts_caches(group, target)
    if isinstance(verdict, Refuse):
        return verdict
    q, keys = group.root.inputs[:2]
    if getattr(keys.type.layout, "run", 1) != 8 or target.capability < 80:
        return Refuse("caches are not in runs for tensor cores")
    if upper_bound(q.type.shape[0]) * int(q.type.shape[1]) * int(q.type.shape[2]) * 4 >= 1 << 31:  # type: ignore[arg-type]
        return Refuse("queries of 2 GiB and more")
    if (count := sequences(group.root.inputs[3].type)) > 1:
        return Refuse(f"blocks of tokens of {count} sequences")
    if q.type.dtype.name != "f32" or group.outputs[0].type.dtype.name != "f32":
        return Refuse("queries and results are f32 here")
    return verdict


def build(group: Group, target: Target, name: str) -> Kernel:
    """q: (N, Hq, D) f32, keys and values: (Hkv, C, D), start: () i32, out: (N, Hq, D) f32.

    Per tile of 16 rows and key: 4 * 16 * D operations; 4 * D bytes of the caches.
    """
    return _Tiles(group, name).build()


class Prompt:
    """Queries, caches and where a warp's 16 rows of them are; how operands of tensor cores are made of rows."""

    def __init__(self, group: Group, name: str) -> None:
        k = self.k = KernelBuilder(name)
        buffers = {v: k.buffer(f"i{n}", "r") for n, v in enumerate(group.inputs)}
        self.out = k.buffer("o0", "w")
        dims = Dims(k, group.symbols)
        q, keys, values, start = group.root.inputs
        self.q, self.keys, self.values = buffers[q], buffers[keys], buffers[values]
        self.kind = keys.type.dtype.name
        self.value_kind = values.type.dtype.name
        self.tokens = dims(q.type.shape[0])
        self.heads, self.size = int(q.type.shape[1]), int(q.type.shape[2])  # type: ignore[arg-type]
        self.kv_heads, self.capacity = int(keys.type.shape[0]), int(keys.type.shape[1])  # type: ignore[arg-type]
        self.group_size = self.heads // self.kv_heads
        attrs = group.root.attrs
        self.scale = float(attrs["scale"]) * math.log2(math.e)  # weights are powers of two
        self.causal = bool(attrs.get("causal", True))
        self.window = int(attrs.get("window", 0) or 0)
        self.start = k.convert(TensorOperand(k, dims, buffers[start], start.type).load([0] * start.type.rank), "i64")
        thread = k.iota("i32", 32)
        self.row, self.place = thread >> 2, thread & 3  # a thread's row of 8, and its place in the row's quad

    def _rows(self, head: Instruction, first: Instruction, last: Instruction) -> tuple[list[Instruction], ...]:
        """Numbers of a thread's two rows, and their places. Rows past the last are the last once more."""
        k = self.k
        halves = [
            k.minimum(k.splat(k.convert(first, "i32"), 32) + (self.row + 8 * h), k.splat(k.convert(last, "i32"), 32))
            for h in range(2)
        ]
        return halves, [self._place(head, row) for row in halves]

    def _place(self, head: Instruction, row: Instruction) -> Instruction:
        """Byte offsets of rows in q and in the result: row r is token r / group of head `head` * group + r % group."""
        k, each = self.k, self.group_size
        token, member = row // each, row % each
        number = token * self.heads + (k.splat(k.convert(head * each, "i32"), 32) + member)
        return number * (self.size * 4)

    def _operand_a(self, *words: Instruction) -> Instruction:
        k = self.k
        together = zipped(k, zipped(k, words[0], words[1], 1), zipped(k, words[2], words[3], 1), 2)
        return k.bitcast(together, "i16")

    def _of_rows(self, halves: Sequence[Instruction]) -> Instruction:
        """A value for each of 16 rows, as a fragment wants it."""
        k, (low, high) = self.k, halves
        return zipped(k, zipped(k, low, low, 1), zipped(k, high, high, 1), 2)


class _Tiles(Prompt):
    def __init__(self, group: Group, name: str) -> None:
        super().__init__(group, name)
        # Of a part: largest scores, sums of weights, weighed values, each as a fragment.
        self.record = (2 + self.size // COLUMNS) * FRAGMENT * 4
        self.parts = self.k.alloc(TEAM * self.record)

    def build(self) -> Kernel:
        k = self.k
        rows = self.tokens * self.group_size
        groups = (rows + (ROWS * TILES - 1)) // (ROWS * TILES)
        for item in k.parallel(groups * self.kv_heads):
            # Tiles of late tokens see most keys: they come first.
            head, group = item % self.kv_heads, groups - 1 - item // self.kv_heads
            for body in (self._part, self._join):
                for s in k.team(TEAM):
                    first = k.minimum((group * TILES + s % TILES) * ROWS, rows - 1)  # past the end: the last once more
                    body(head, first, k.minimum(first + ROWS, rows) - 1, s)
        return k.finish()

    def _part(self, head: Instruction, first: Instruction, last: Instruction, s: Instruction) -> None:
        """Every SPLIT-th step of keys."""
        k = self.k
        halves, places = self._rows(head, first, last)
        query = self._queries(places)
        tokens = self._of_rows([row // self.group_size for row in halves])
        start32 = k.convert(self.start, "i32")
        own = tokens + (start32 + 1)
        ends = own if self.causal else k.splat(start32 + k.convert(self.tokens, "i32"), FRAGMENT)
        begins = own - self.window if self.window else None
        newest = self.start + (last // self.group_size + 1 if self.causal else self.tokens)
        end = k.minimum(newest, self.capacity)
        begin = k.const(0, "i64")
        if self.window:
            oldest = self.start + first // self.group_size + 1
            begin = k.maximum(oldest - self.window, 0) // STEP * STEP
        best = k.var(k.const(LOWEST, "f32", FRAGMENT))
        total = k.var(k.zeros("f32", FRAGMENT))
        sums = [k.var(k.zeros("f32", FRAGMENT)) for _ in range(self.size // COLUMNS)]
        for base in k.loop(begin + s // TILES * STEP, end, STEP * SPLIT):
            scores = self._scores(query, head, base)
            weights = self._softmax(scores, base, ends, begins, best, total, sums)
            self._weigh(weights, head, base, end, sums)
        everything = self._over_row(total.get(), "add")
        for n, value in enumerate([best.get(), everything, *(v.get() for v in sums)]):
            k.store(self.parts, s * self.record + n * FRAGMENT * 4, value)

    def _join(self, head: Instruction, first: Instruction, last: Instruction, s: Instruction) -> None:
        """The parts' values, weighed by how far each part's largest score lies below the largest of all; every SPLIT-th
        block of columns.
        """
        k = self.k
        _, places = self._rows(head, first, last)

        def held(part: int, n: int | Instruction) -> Instruction:
            at = (s % TILES + part * TILES) * self.record
            return k.load(self.parts, at + n * (FRAGMENT * 4), "f32", FRAGMENT)

        best = [held(p, 0) for p in range(SPLIT)]
        top = best[0]
        for b in best[1:]:
            top = k.maximum(top, b)
        factors = [k.exp2(b - top) for b in best]
        total = k.zeros("f32", FRAGMENT)
        for p, factor in enumerate(factors):
            total = k.fma(held(p, 1), factor, total)
        factors = [factor / total for factor in factors]
        for n in k.loop(s // TILES, self.size // COLUMNS, SPLIT):
            value = k.zeros("f32", FRAGMENT)
            for p, factor in enumerate(factors):
                value = k.fma(held(p, n + 2), factor, value)
            for h in range(2):
                pair = k.shuffle(value, value, [4 * t + 2 * h + e for t in range(32) for e in range(2)])
                k.scatter(self.out, n * (COLUMNS * 4), places[h] + self.place * 8, pair)

    def _queries(self, places: Sequence[Instruction]) -> list[Instruction]:
        """Operand a of every 16 elements of the head, scaled: a thread's runs of 8 elements, in 32 elements each."""
        k = self.k
        operands: list[Instruction] = []
        for d in range(0, self.size, 32):
            words: list[list[Instruction]] = []
            for h in range(2):
                parts = [
                    k.gather(self.q, (d + 4 * n) * 4, places[h] + self.place * 32, "f32", 4) * self.scale
                    for n in range(2)
                ]
                elements = [k.shuffle(p, p, range(e, FRAGMENT, 4)) for p in parts for e in range(4)]
                words.append([k.pack_pair(elements[e], elements[e + 1], self.kind) for e in range(0, 8, 2)])
            for s in range(2):
                operands.append(self._operand_a(*(words[h][2 * s + j] for j in range(2) for h in range(2))))
        return operands

    def _halves_of(self, run: Instruction) -> list[Instruction]:
        """The two operands b in runs of four words."""
        k = self.k
        pairs = [[4 * t + 2 * s + e for t in range(32) for e in range(2)] for s in range(2)]
        return [k.bitcast(k.shuffle(run, run, lanes), "i16") for lanes in pairs]

    def _scores(self, query: Sequence[Instruction], head: Instruction, base: Instruction) -> list[Instruction]:
        """q . key of 16 rows and 32 keys, in four blocks of columns."""
        k = self.k
        at = (head * self.capacity + base) * (self.size * 2)
        scores = []
        for b in range(4):
            lanes = ((self.row >> 1) * 8 + (self.row & 1) + 2 * b) * 16 + self.place * (32 * 16)
            acc = k.zeros("f32", FRAGMENT)
            for d in range(0, self.size, 32):
                run = k.gather(self.keys, at + d * 64, lanes, "i32", 4)
                for s, half in enumerate(self._halves_of(run)):
                    acc = k.mma(acc, query[d // 16 + s], half, self.kind)
            scores.append(acc)
        return scores

    def _softmax(
        self,
        scores: Sequence[Instruction],
        base: Instruction,
        ends: Instruction,
        begins: Instruction | None,
        best: Variable,
        total: Variable,
        sums: Sequence[Variable],
    ) -> list[Instruction]:
        """Weights 2 ** (score - best) of a step, where best is a row's largest so far; what was summed is scaled."""
        k = self.k
        lane = k.iota("i32", FRAGMENT)
        column = ((lane >> 2) & 3) * 8 + (lane & 1)
        first = k.splat(k.convert(base, "i32"), FRAGMENT) + column
        masked = []
        for b, score in enumerate(scores):
            key = first + 2 * b
            seen = key < ends
            if begins is not None:
                seen = seen & (key >= begins)
            masked.append(k.select(seen, score, LOWEST))
        top = k.maximum(k.maximum(masked[0], masked[1]), k.maximum(masked[2], masked[3]))
        old = best.get()
        new = k.maximum(old, self._over_row(top, "max"))
        # A row that has seen no key yet keeps the mark LOWEST; its weights must be 0, not 1.
        weights = [k.select(m > LOWEST, k.exp2(m - new), 0.0) for m in masked]
        factor = k.exp2(old - new)
        total.set(k.fma(total.get(), factor, (weights[0] + weights[1]) + (weights[2] + weights[3])))
        for v in sums:
            v.set(v.get() * factor)
        best.set(new)
        return weights

    def _over_row(self, value: Instruction, kind: str) -> Instruction:
        """The sum or maximum of a row in all threads that have some of it: two neighbours, in a quad of threads."""
        k = self.k
        for lanes in (
            [n ^ 1 for n in range(FRAGMENT)],
            [n ^ 4 for n in range(FRAGMENT)],
            [n ^ 12 for n in range(FRAGMENT)],
        ):
            other = k.shuffle(value, value, lanes)
            value = k.maximum(value, other) if kind == "max" else value + other
        return value

    def _weigh(
        self,
        weights: Sequence[Instruction],
        head: Instruction,
        base: Instruction,
        end: Instruction,
        sums: Sequence[Variable],
    ) -> None:
        """Adds weights times values of 32 keys. Past the end there may be NaN, which a weight of 0 does not hide."""
        k = self.k
        words = []
        for weight in weights:
            parts = [k.shuffle(weight, weight, range(e, FRAGMENT, 4)) for e in range(4)]
            words.append([k.pack_pair(parts[2 * h], parts[2 * h + 1], self.value_kind) for h in range(2)])
        operands = [self._operand_a(*(words[2 * s + j][h] for j in range(2) for h in range(2))) for s in range(2)]
        at = (head * self.capacity + base) * (self.size * 2)
        lanes = self.place * (self.size * 16) + self.row * 16
        word = k.iota("i32", FRAGMENT)  # of a thread, two keys each
        left = k.splat(k.convert(end - base, "i32"), FRAGMENT) - ((word >> 2) & 3) * 8 - (word & 3) * 2
        kept = k.select(
            left >= 2, k.const(-1, "i32", FRAGMENT), k.select(left == 1, k.const(0xFFFF, "i32", FRAGMENT), 0)
        )
        for n, v in enumerate(sums):
            run = k.gather(self.values, at + n * (COLUMNS * 16), lanes, "i32", 4) & kept
            acc = v.get()
            for operand, half in zip(operands, self._halves_of(run), strict=True):
                acc = k.mma(acc, operand, half, self.value_kind)
            v.set(acc)
