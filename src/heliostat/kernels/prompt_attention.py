"""What the schedules of `attention` of many tokens on tensor cores share: queries, the caches that go to shared memory,
the running softmax, and results. A team of warps takes 16 rows of queries each over all keys, some at a time.

Rows are tokens times the heads of a group, as in `attention`. Caches lie in runs of 16 bytes: of the head's elements
for keys, of keys for values, which is the direction that the products sum over. Scores never leave registers.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from ..kernel.builder import KernelBuilder, Variable
from ..kernel.ir import Instruction, Kernel, Operand
from .attention import LOWEST
from .cache import CacheRows, table_of
from .group import Dims, Group, TensorOperand
from .tensor_linear import FRAGMENT, operand_a, packed, zipped

WARPS = 8
ROWS = 16 * WARPS  # of a tile
PANEL = 32  # keys of a panel
RUN = 16  # bytes that lie together
COLUMNS = 8  # of scores or of the head that one var of sums has
SECTION = 16 << 20  # bytes of caches that tiles of one time read: they stay in the second-level cache


@dataclass(frozen=True)
class Steps:
    """Keys `begin` .. `end` of a head of the caches, in `count` steps."""

    head: Instruction
    begin: Instruction
    end: Instruction
    count: Instruction


@dataclass(frozen=True)
class Asked:
    """A warp's rows of a tile, from `first` on: a thread's two of them, their places, and what makes operands of their
    queries."""

    first: Instruction
    halves: list[Instruction]
    places: list[Instruction]
    operands: Callable[[], list[Instruction]]


class Attending:
    """Tiles of rows that attend over keys, wherever these come from: the order of the work, masks and softmax.

    `step`: keys of a step, whose scores a warp has in `step` / 8 vars. Element e (0 or 1) of thread q of a quad has
    key `_key(q, e)` + `_block(n)` of var n of the scores. `exponent`: what scores are multiplied by to be exponents of
    two. `growth`: by how much an exponent may be more than 0 before the sums so far are multiplied. `start`: the
    position of the first row's token.
    """

    k: KernelBuilder
    q: Instruction
    start: Instruction
    tokens: Instruction
    row: Instruction
    place: Instruction
    memory: Instruction
    counted: bool
    causal: bool
    window: int
    step: int
    size: int
    capacity: int
    kv_heads: int
    group_size: int
    kind: str
    value_kind: str
    exponent: float = 1.0
    growth: float = 0.0
    warps: int = WARPS  # of a team

    def _key(self, lane: Instruction) -> Instruction:
        raise NotImplementedError

    def _block(self, n: int) -> int:
        raise NotImplementedError

    def _queries(self, places: Sequence[Instruction]) -> Callable[[], list[Instruction]]:
        """Ask for the queries of rows at two places, and what makes of them operand a of every 16 elements of the head,
        scaled: what is asked for here has the time in between to come."""
        raise NotImplementedError

    def _warp(self, warp: Instruction, head: Instruction, first: Instruction, last: Instruction) -> None:
        """One warp's 16 rows of a tile, rows `first` to `last`; it copies an eighth of each step's keys and values."""
        raise NotImplementedError

    def build(self) -> Kernel:
        """A team of warps for every tile of rows of every head of keys."""
        k = self.k
        rows, each = self.tokens * self.group_size, 16 * self.warps
        tiles = (rows + (each - 1)) // each
        for item in k.parallel(tiles * self.kv_heads):
            head, tile = self._order(item, tiles)
            last = k.minimum(tile * each + each, rows) - 1
            for warp in k.team(self.warps):
                self._warp(warp, head, tile * each, last)
        return k.finish()

    def _place(self, head: Instruction, row: Instruction) -> Instruction:
        """Byte offsets of rows of a head's group."""
        raise NotImplementedError

    def _copy_keys(self, warp: Instruction, steps: Steps, base: Instruction, at: Operand) -> None:
        raise NotImplementedError

    def _copy_values(self, warp: Instruction, steps: Steps, base: Instruction, at: Operand) -> None:
        raise NotImplementedError

    def _steps(self, head: Instruction, first: Instruction, last: Instruction) -> Steps:
        raise NotImplementedError

    def _store(self, sums: Sequence[Variable], rows: Rows, places: Sequence[Instruction]) -> None:
        raise NotImplementedError

    # --- the work ---------------------------------------------------------------------------------------------------
    def _order(self, item: Instruction, tiles: Instruction) -> tuple[Instruction, Instruction]:
        """Head and tile of a piece of work. Late tokens see most keys. Where each block takes one piece, the tiles of
        late tokens come first, of as many heads at a time as the second-level cache holds; where a block takes a run of
        pieces, late and early ones take turns.
        """
        k = self.k
        if not self.counted:
            n = item % tiles
            return item // tiles, k.select(n % 2 == 0, tiles - 1 - n // 2, n // 2)
        head_bytes = 4 * self.capacity * self.size
        wide = max(
            n for n in range(1, self.kv_heads + 1) if self.kv_heads % n == 0 and (n == 1 or n * head_bytes <= SECTION)
        )
        each = tiles * wide
        rest = item % each
        return item // each * wide + rest % wide, tiles - 1 - rest // wide

    def _ask(self, warp: Instruction, head: Instruction, first: Instruction, last: Instruction) -> Asked:
        """Ask for the queries of a warp's part of a tile."""
        mine = self.k.minimum(first + warp * 16, last)
        halves, places = self._rows(head, mine, last)
        return Asked(mine, halves, places, self._queries(places))

    def _own(
        self, asked: Asked, last: Instruction, steps: Steps
    ) -> tuple[list[Instruction], Rows, list[Variable], list[Variable]]:
        """A warp's part of a tile: queries as operands, and the masks of its rows, their sums and scores."""
        k = self.k
        query = asked.operands()
        rows = Rows(self, asked.first, k.minimum(asked.first + 15, last), asked.halves, steps.end)
        sums = [k.var(k.zeros("f32", FRAGMENT)) for _ in range(self.size // COLUMNS)]
        scores = [k.var(k.zeros("f32", FRAGMENT)) for _ in range(self.step // COLUMNS)]
        return query, rows, sums, scores

    def _rows(self, head: Instruction, first: Instruction, last: Instruction) -> tuple[list[Instruction], ...]:
        """Numbers of a thread's two rows, and their places. Rows past the last are the last once more."""
        k = self.k
        halves = [
            k.minimum(k.splat(k.convert(first, "i32"), 32) + (self.row + 8 * h), k.splat(k.convert(last, "i32"), 32))
            for h in range(2)
        ]
        return halves, [self._place(head, row) for row in halves]

    def _operand_a(self, *words: Instruction) -> Instruction:
        return operand_a(self.k, words)

    def _of_rows(self, halves: Sequence[Instruction]) -> Instruction:
        """A value for each of 16 rows, as a fragment wants it."""
        k, (low, high) = self.k, halves
        return zipped(k, zipped(k, low, low, 1), zipped(k, high, high, 1), 2)

    # --- softmax ----------------------------------------------------------------------------------------------------
    def _softmax(self, scores: Sequence[Variable], base: Instruction, rows: Rows) -> tuple[Instruction, Instruction]:
        """Scores become weights 2 ** (score - best), where best is a row's largest so far, or one that is less by up to
        `growth`. Returns by what the sums so far are to be multiplied, for a fragment of them, and for which rows that
        is not 1.
        """
        k = self.k
        rows.mask(scores, base)
        top = scores[0].get()
        for v in scores[1:]:
            top = k.maxnum(top, v.get())
        old, top = rows.best.get(), over_row(k, _of_pairs(k, top, "max"), "max")
        more = top - old if self.exponent == 1 else (top - old) * self.exponent
        grows = more > self.growth
        new = k.select(grows, top, old) if self.growth else k.maxnum(old, top)
        wide = k.shuffle(new, new, [n // 2 for n in range(FRAGMENT)])
        part: Instruction | None = None
        lowered = wide if self.exponent == 1 else k.negate(wide * self.exponent)
        for v in scores:
            weight = k.exp2(v.get() - wide if self.exponent == 1 else k.fma(v.get(), self.exponent, lowered))
            v.set(weight)
            part = weight if part is None else part + weight
        assert part is not None
        factor = k.exp2(old - new if self.exponent == 1 else (old - new) * self.exponent)
        rows.total.set(k.fma(rows.total.get(), factor, _of_pairs(k, part, "add")))
        rows.best.set(new)
        return k.shuffle(factor, factor, [n // 2 for n in range(FRAGMENT)]), grows

    def _packed(self, scores: Sequence[Variable]) -> list[Instruction]:
        """Weights of 16 keys each as an operand a."""
        return packed(self.k, [v.get() for v in scores], self.value_kind)


class Prompt(Attending):
    """Reads q: (N, Hq, D) f32, or of the keys' dtype, keys and values: (Hkv, C, D) or pages, start: () i32; writes out:
    (N, Hq, D) f32, bf16 or f16. `rotation`: buffers of cosines and sines, pairs of a head, and whether they are
    interleaved, where q is rotated.

    `gap`: bytes between rows of runs in shared memory.
    """

    def __init__(self, group: Group, name: str, step: int, slots: int, gap: int) -> None:
        k = self.k = KernelBuilder(name)
        buffers = {v: k.buffer(f"i{n}", "r") for n, v in enumerate(group.inputs)}
        self.out, self.out_kind = k.buffer("o0", "w"), group.outputs[0].type.dtype.name
        dims = Dims(k, group.symbols)
        q, keys, values, start = group.root.inputs[:4]
        self.rotation: tuple[list[Instruction], int, bool] | None = None
        if q.node is group.nodes[0]:
            rotation = q.node
            angles = [buffers[v] for v in rotation.inputs[1:]]
            self.rotation = angles, int(rotation.inputs[1].type.shape[1]), bool(rotation.attrs["interleaved"])  # type: ignore[arg-type]
            q = rotation.inputs[0]
        self.q, self.keys, self.values = buffers[q], buffers[keys], buffers[values]
        self.rounded = q.type.element is keys.type.element  # queries are read as they are, and scores multiplied
        self.kind, self.value_kind = keys.type.dtype.name, values.type.dtype.name
        self.tokens, self.counted = dims(q.type.shape[0]), isinstance(q.type.shape[0], int)
        self.heads, self.size = int(q.type.shape[1]), int(q.type.shape[2])  # type: ignore[arg-type]
        self.cache = CacheRows(k, dims, keys.type, start.type, table_of(group.root), buffers)
        self.kv_heads, self.capacity = self.cache.heads, self.cache.capacity
        self.group_size = self.heads // self.kv_heads
        attrs = group.root.attrs
        self.scale = float(attrs["scale"]) * math.log2(math.e)  # weights are powers of two
        self.exponent = self.scale if self.rounded else 1.0
        self.causal = bool(attrs.get("causal", True))
        self.window = int(attrs.get("window", 0) or 0)
        self.start = k.convert(TensorOperand(k, dims, buffers[start], start.type).load([0] * start.type.rank), "i64")
        thread = k.iota("i32", 32)
        self.row, self.place = thread >> 2, thread & 3  # a thread's row of 8, and its place in the row's quad

        self.step = step
        self.key_row, self.value_row = step * RUN + gap, self.size * RUN + gap  # runs of all keys; of 8 keys
        self.key_tile, self.value_tile = tile_bytes(self.size, step, gap)
        self.values_at = slots * self.key_tile
        self.memory = k.alloc(self.values_at + slots * self.value_tile)

    def _steps(self, head: Instruction, first: Instruction, last: Instruction) -> Steps:
        """What rows first .. last see."""
        k = self.k
        newest = self.start + (last // self.group_size + 1 if self.causal else self.tokens)
        end = k.minimum(newest, self.capacity)
        begin = k.const(0, "i64")
        if self.window:
            oldest = self.start + first // self.group_size + 1
            begin = k.maximum(oldest - self.window, 0) // self.step * self.step
        return Steps(head, begin, end, (end - begin + (self.step - 1)) // self.step)

    def _place(self, head: Instruction, row: Instruction) -> Instruction:
        """Byte offsets of rows in q and in the result: row r is token r / group of head `head` * group + r % group."""
        k, each = self.k, self.group_size
        token, member = row // each, row % each
        number = token * self.heads + (k.splat(k.convert(head * each, "i32"), 32) + member)
        return number * (self.size * 4)

    # --- copies -----------------------------------------------------------------------------------------------------
    def _copy_keys(self, warp: Instruction, steps: Steps, base: Instruction, at: Operand) -> None:
        """Keys base .. base + step of a head to offset `at`: [size / 8][step] runs. Panels past the end are zeros."""
        k = self.k
        lanes = k.iota("i32", 32) * RUN
        panels = self.step // PANEL
        panel, row = warp % panels, warp // panels
        first = base + panel * PANEL
        source = self.cache.row(steps.head, first) * (self.size * 2) + row * (PANEL * RUN)
        to = row * self.key_row + panel * (PANEL * RUN) + at
        nbytes = k.convert(k.select(first < steps.end, k.const(RUN, "i64"), k.const(0, "i64")), "i32")
        for n in range(0, self.size // 8, WARPS // panels):
            for _ in self._if_any(row + n, self.size // 8, n + WARPS // panels):
                place, at_source = to + n * self.key_row, source + n * (PANEL * RUN)
                k.copy_async(self.memory, place, lanes, self.keys, at_source, lanes, nbytes)

    def _copy_values(self, warp: Instruction, steps: Steps, base: Instruction, at: Operand) -> None:
        """Values base .. base + step of a head to `values_at` + `at`: [step / 8][size] runs. What lies past the end may
        be NaN; it is replaced by zeros, since a weight of zero would not hide it.
        """
        k = self.k
        lanes = k.iota("i32", 32) * RUN
        each = self.size // 32  # pieces of 32 runs in a row of them
        pieces = self.step // 8 * each
        even = WARPS % each == 0  # then a warp's pieces are at one place in their rows
        together = math.gcd(self.cache.together, self.step)  # keys whose rows are neighbours
        sources = [
            self.cache.row(steps.head, base + key) * (self.size * 2) + warp * (32 * RUN)
            for key in range(0, self.step, together)
        ]
        run = together // 8 * each  # pieces of them
        assert run == pieces or run % WARPS == 0
        row, part = warp // each, warp % each
        to = row * self.value_row + part * (32 * RUN) + self.values_at + at
        left = (steps.end - base - row * 8) * 2
        for inside, whole in ((base + self.step <= steps.end, True), (base + self.step > steps.end, False)):
            for _ in k.when(inside):
                for n in range(0, pieces, WARPS):
                    piece = warp + n
                    for _ in self._if_any(piece, pieces, n + WARPS):
                        place, rest = to + n // each * self.value_row, left - n // each * 16
                        if not even:
                            row, part = piece // each, piece % each
                            place = row * self.value_row + part * (32 * RUN) + self.values_at + at
                            rest = (steps.end - base - row * 8) * 2
                        nbytes = None if whole else k.convert(k.maximum(k.minimum(rest, RUN), 0), "i32")
                        at_source = sources[n // run] + n % run * (32 * RUN)
                        k.copy_async(self.memory, place, lanes, self.values, at_source, lanes, nbytes)

    def _if_any(self, number: Instruction, count: int, most: int) -> Sequence[None]:
        """Runs once; under a condition where some of the numbers below `most` are not below `count`."""
        return [None] if most <= count else self.k.when(number < count)  # type: ignore[return-value]

    def _store(self, sums: Sequence[Variable], rows: Rows, places: Sequence[Instruction]) -> None:
        k = self.k
        factor = k.rcp(over_row(k, rows.total.get(), "add"))  # a division is a call, with which products wait
        wide = k.shuffle(factor, factor, [n // 2 for n in range(FRAGMENT)])
        for n, v in enumerate(sums):
            value = v.get() * wide
            for h in range(2):
                if self.out_kind == "f32":
                    pair = k.shuffle(value, value, [4 * t + 2 * h + e for t in range(32) for e in range(2)])
                    k.scatter(self.out, n * (COLUMNS * 4), places[h] + self.place * 8, pair)
                    continue
                low, high = (k.shuffle(value, value, range(2 * h + e, FRAGMENT, 4)) for e in range(2))
                word = k.pack_pair(low, high, self.out_kind)
                k.scatter(self.out, n * (COLUMNS * 2), (places[h] >> 1) + self.place * 4, word)


class Rows:
    """A warp's rows: which keys they see, and the state of their softmax, of two rows in each thread."""

    def __init__(
        self, prompt: Attending, first: Instruction, last: Instruction, halves: Sequence[Instruction], end: Instruction
    ) -> None:
        """Rows first .. last; `halves`: their numbers as threads have them; keys from `end` on are not there."""
        k = self.k = prompt.k
        self.prompt = prompt
        each, window = prompt.group_size, prompt.window
        tokens = prompt._of_rows([row // each for row in halves])
        own = tokens + (k.convert(prompt.start, "i32") + 1)
        self.ends, self.whole = k.splat(k.convert(end, "i32"), FRAGMENT), end
        if prompt.causal:
            whole = prompt.start + first // each + 1
            self.ends, self.whole = k.minimum(own, self.ends), k.minimum(whole, end)
        self.begins = own - window if window else None
        self.oldest = prompt.start + last // each + 1 - window if window else None
        # Below half of LOWEST nothing is seen: the weight of what a mask hides is 0 even before a first key is seen.
        self.best = k.var(k.const(LOWEST / 2, "f32", 64))
        self.total = k.var(k.zeros("f32", 64))

    def mask(self, scores: Sequence[Variable], base: Instruction) -> None:
        """Scores of the step of keys from `base` on that a row does not see become LOWEST."""
        k = self.k
        partly = self.whole < base + self.prompt.step
        if self.oldest is not None:
            partly = partly | (base < self.oldest)
        for _ in k.when(partly):
            first = k.splat(k.convert(base, "i32"), FRAGMENT) + self.prompt._key(k.iota("i32", FRAGMENT))
            for n, v in enumerate(scores):
                key = first + self.prompt._block(n)
                seen = key < self.ends
                if self.begins is not None:
                    seen = seen & (key >= self.begins)
                v.set(k.select(seen, v.get(), LOWEST))


def tile_bytes(size: int, step: int, gap: int) -> tuple[int, int]:
    """Bytes that the keys and the values of a step take in shared memory."""
    return size // 8 * (step * RUN + gap), step // 8 * (size * RUN + gap)


def _of_pairs(k: KernelBuilder, value: Instruction, kind: str) -> Instruction:
    """The sums or maxima of a thread's two neighbours in each of its rows."""
    a, b = (k.shuffle(value, value, range(e, FRAGMENT, 2)) for e in range(2))
    return k.maxnum(a, b) if kind == "max" else a + b


def over_row(k: KernelBuilder, value: Instruction, kind: str) -> Instruction:
    """The sum or maximum over a quad of threads, which have a row's columns together; two rows in each."""
    for other in ([n ^ 2 for n in range(64)], [n ^ 6 for n in range(64)]):
        moved = k.shuffle(value, value, other)
        value = k.maxnum(value, moved) if kind == "max" else value + moved
    return value
