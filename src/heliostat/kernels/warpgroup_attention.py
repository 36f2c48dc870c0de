"""Schedule of `attention` of many tokens on GPUs whose tensor cores serve four warps together (flash attention): eight
warps take 128 rows of queries over all keys, 128 at a time, with a running softmax.

Rows are tokens times the heads of a group, as in `attention`. Caches in runs of 16 bytes are made of core matrices:
of keys for the scores, of values for their sum, so that keys and values are copied to shared memory as they lie, ahead
of their use. Queries, scores and weights never leave registers. While values are multiplied with the weights of one
step, the scores of the next become weights.
"""

from __future__ import annotations

from collections.abc import Sequence

from ..kernel.builder import KernelBuilder, Variable
from ..kernel.ir import BARRIER, Instruction, Kernel
from ..targets.target import Target
from . import tile_attention
from .attention import LOWEST
from .group import Accept, Group, Refuse
from .tensor_linear import FRAGMENT

WARPS = 8
ROWS = 16 * WARPS  # of a tile
KEYS = 128  # of a step
PANEL = 32  # keys of a panel
CORE = 128  # bytes of a core matrix
COLUMNS = 8  # that one var of sums has
SLOTS = 3  # of each ring: one that is read, one that is there for a warp that is ahead, one that copies go to
MOST_SIZE = 128  # of a head: sums of as many columns, scores, weights and queries fit a thread's 255 registers
SECTION = 16 << 20  # bytes of caches that tiles of one time read: they stay in the second-level cache


def accepts(group: Group, target: Target) -> Accept | Refuse:
    """What `tile_attention` accepts, on compute capability 9.0."""
    verdict = tile_attention.accepts(group, target)
    if isinstance(verdict, Refuse):
        return verdict
    if target.capability != 90:
        return Refuse(f"{target.name} has no products by four warps together")
    size = int(group.root.inputs[0].type.shape[2])  # type: ignore[arg-type]
    return Accept() if size <= MOST_SIZE else Refuse(f"heads of {size} elements: sums of {MOST_SIZE} fit registers")


def build(group: Group, target: Target, name: str) -> Kernel:
    """q: (N, Hq, D) f32, keys and values: (Hkv, C, D), start: () i32, out: (N, Hq, D) f32.

    Per tile of 128 rows and key: 4 * 128 * D operations; 4 * D bytes of the caches.
    """
    return _Tiles(group, name).build()


class _Tiles(tile_attention.Prompt):
    def __init__(self, group: Group, name: str) -> None:
        super().__init__(group, name)
        self.counted = isinstance(group.root.inputs[0].type.shape[0], int)
        self.tile_bytes = KEYS * self.size * 2
        self.memory = self.k.alloc(2 * SLOTS * self.tile_bytes)
        self.values_at = SLOTS * self.tile_bytes
        self.filled, self.done = self.k.alloc(BARRIER), self.k.alloc(BARRIER)

    def build(self) -> Kernel:
        k = self.k
        rows = self.tokens * self.group_size
        tiles = (rows + (ROWS - 1)) // ROWS
        for item in k.parallel(tiles * self.kv_heads):
            head, tile = self._order(item, tiles)
            last = k.minimum(tile * ROWS + ROWS, rows) - 1
            for warp in k.team(WARPS):
                self._warp(warp, head, tile * ROWS, last)
        return k.finish()

    def _order(self, item: Instruction, tiles: Instruction) -> tuple[Instruction, Instruction]:
        """Head and tile of a piece of work. Late tokens see most keys. Where each block takes one piece, the tiles of
        late tokens come first, of as many heads at a time as the second-level cache holds; where a block takes a run of
        pieces, late and early ones take turns.
        """
        k = self.k
        if not self.counted:
            n = item % tiles
            late = tiles - 1 - n // 2
            return item // tiles, k.select(n % 2 == 0, late, n // 2)
        wide = max(n for n in range(1, self.kv_heads + 1) if self.kv_heads % n == 0 and n * self._head_bytes <= SECTION)
        each = tiles * wide
        rest = item % each
        return item // each * wide + rest % wide, tiles - 1 - rest // wide

    @property
    def _head_bytes(self) -> int:
        return 4 * self.capacity * self.size

    def _warp(self, warp: Instruction, head: Instruction, first: Instruction, last: Instruction) -> None:
        """One warp's 16 rows of a tile; it copies an eighth of each step's keys and values."""
        k = self.k
        newest = self.start + (last // self.group_size + 1 if self.causal else self.tokens)
        end = k.minimum(newest, self.capacity)
        begin = k.const(0, "i64")
        if self.window:
            oldest = self.start + first // self.group_size + 1
            begin = k.maximum(oldest - self.window, 0) // KEYS * KEYS
        steps = (end - begin + (KEYS - 1)) // KEYS
        cache = head * self.capacity

        k.barrier()  # the tile before may still be read
        self._copy_keys(warp, cache, begin, end, 0)
        k.commit_copies()
        for n in range(2):
            self._copy_keys(warp, cache, begin + (n + 1) * KEYS, end, (n + 1) * self.tile_bytes)
            self._copy_values(warp, cache, begin + n * KEYS, end, n * self.tile_bytes)
            k.commit_copies()

        mine = k.minimum(first + warp * 16, last)
        halves, places = self._rows(head, mine, last)
        query = self._queries(places)
        rows = _Rows(self, mine, k.minimum(mine + 15, last), halves, end)
        sums = [k.var(k.zeros("f32", FRAGMENT)) for _ in range(self.size // COLUMNS)]
        scores = [k.var(k.zeros("f32", FRAGMENT)) for _ in range(KEYS // COLUMNS)]
        weights = [k.var(k.zeros("i32", FRAGMENT)) for _ in range(KEYS // 16)]

        k.wait_copies(2)
        k.barrier()
        self._score(query, scores, k.const(0, "i64"))
        k.wait_mma(scores, read=query)
        self._softmax(scores, begin, rows)
        self._pack(scores, weights)
        k.wait_copies(1)
        k.arrive(self.filled)
        k.arrive(self.done)
        for step in k.loop(steps - 1):
            # Four warps may be half a step ahead of the others: they make weights of scores while those multiply.
            base = begin + step * KEYS
            here, next_, last_ = ((step + n) % SLOTS * self.tile_bytes for n in range(3))
            k.await_all(self.filled)  # values of this step and keys of the next are there
            self._score(query, scores, next_)
            taken = self._weigh(weights, sums, here)
            k.wait_mma(scores, 1)
            factor = self._softmax(scores, base + KEYS, rows)
            k.await_all(self.done)  # with keys of this step and values of the one before
            k.wait_copies(0)
            k.arrive(self.filled)
            self._copy_keys(warp, cache, base + 3 * KEYS, end, here)
            self._copy_values(warp, cache, base + 2 * KEYS, end, last_)
            k.commit_copies()
            k.wait_mma(sums, 0, [*taken, *query])
            k.arrive(self.done)
            for v in sums:
                v.set(v.get() * factor)
            self._pack(scores, weights)
        k.await_all(self.filled)
        taken = self._weigh(weights, sums, (steps - 1) % SLOTS * self.tile_bytes)
        k.await_all(self.done)
        k.wait_copies(0)
        k.wait_mma(sums, 0, taken)
        self._store(sums, rows.total, places)

    # --- copies -----------------------------------------------------------------------------------------------------
    def _copy_keys(
        self, warp: Instruction, cache: Instruction, base: Instruction, end: Instruction, at: Instruction | int
    ) -> None:
        """Keys base .. base + KEYS of a head: runs of 8 elements of each key side by side. Two warps have a panel."""
        k = self.k
        lanes = k.iota("i32", 32) * 16
        panel, odd = warp & 3, warp >> 2
        first = base + panel * PANEL
        source = (cache + first) * (self.size * 2) + odd * (PANEL * 16)
        to = odd * (KEYS * 16) + panel * (PANEL * 16) + at
        nbytes = k.convert(k.select(first < end, k.const(16, "i64"), k.const(0, "i64")), "i32")
        for n in range(self.size // 16):
            k.copy_async(
                self.memory, to + n * (2 * KEYS * 16), lanes, self.keys, source + n * (2 * PANEL * 16), lanes, nbytes
            )

    def _copy_values(
        self, warp: Instruction, cache: Instruction, base: Instruction, end: Instruction, at: Instruction | int
    ) -> None:
        """Values base .. base + KEYS of a head, as they lie: runs of 8 keys. What lies past the end may be NaN; it is
        replaced by zeros, since a weight of zero would not hide it.
        """
        k = self.k
        lanes = k.iota("i32", 32) * 16
        source = (cache + base) * (self.size * 2)
        to = warp * 512 + self.values_at + at
        pieces = range(0, self.size // 16 * WARPS, WARPS)
        for _ in k.when(base + KEYS <= end):
            for n in pieces:
                k.copy_async(self.memory, to + n * 512, lanes, self.values, source + warp * 512 + n * 512, lanes)
        for _ in k.when(base + KEYS > end):
            for n in pieces:
                left = end - base - (warp + n) * 512 // (self.size * 16) * 8
                nbytes = k.convert(k.maximum(k.minimum(left * 2, 16), 0), "i32")
                k.copy_async(
                    self.memory, to + n * 512, lanes, self.values, source + warp * 512 + n * 512, lanes, nbytes
                )

    # --- products ---------------------------------------------------------------------------------------------------
    def _queries(self, places: Sequence[Instruction]) -> list[Instruction]:
        """Operand a of every 16 elements of the head, scaled."""
        k = self.k
        operands = []
        for d in range(0, self.size, 16):
            words = []
            for n in range(2):
                for place in places:
                    pair = k.gather(self.q, (d + 8 * n) * 4, place + self.place * 8, "f32", 2) * self.scale
                    low, high = (k.shuffle(pair, pair, range(e, 64, 2)) for e in range(2))
                    words.append(k.pack_pair(low, high, self.kind))
            operands.append(self._operand_a(*words))
        return operands

    def _score(self, query: Sequence[Instruction], scores: Sequence[Variable], at: Instruction) -> None:
        """scores = q . key of this warp's rows and the keys at `at`."""
        strides = (KEYS * 16, CORE)
        self.k.warpgroup_mma(self.memory, query, at, scores, len(query), None, strides, self.kind, fresh=True)

    def _weigh(self, weights: Sequence[Variable], sums: Sequence[Variable], at: Instruction) -> list[Instruction]:
        """sums += weights times the values at `at`. Returns what must stay until that is done."""
        k = self.k
        taken = [k.bitcast(v.get(), "i16") for v in weights]
        strides = (self.size * 16, CORE)
        k.warpgroup_mma(self.memory, taken, at + self.values_at, sums, len(taken), None, strides, self.value_kind)
        return taken

    # --- softmax ----------------------------------------------------------------------------------------------------
    def _softmax(self, scores: Sequence[Variable], base: Instruction, rows: _Rows) -> Instruction:
        """Scores become weights 2 ** (score - best), where best is a row's largest so far. Returns by what the sums so
        far are to be multiplied, for a fragment of them.
        """
        k = self.k
        rows.mask(scores, base)
        top = scores[0].get()
        for v in scores[1:]:
            top = k.maxnum(top, v.get())
        old = rows.best.get()
        new = k.maxnum(old, _over_row(k, _of_pairs(k, top, "max"), "max"))
        wide = k.shuffle(new, new, [n // 2 for n in range(FRAGMENT)])
        part: Instruction | None = None
        for v in scores:
            weight = k.exp2(v.get() - wide)
            v.set(weight)
            part = weight if part is None else part + weight
        assert part is not None
        factor = k.exp2(old - new)
        rows.total.set(k.fma(rows.total.get(), factor, _of_pairs(k, part, "add")))
        rows.best.set(new)
        return k.shuffle(factor, factor, [n // 2 for n in range(FRAGMENT)])

    def _pack(self, scores: Sequence[Variable], weights: Sequence[Variable]) -> None:
        """Weights of 16 keys each as words of an operand a."""
        k = self.k
        for n, word in enumerate(weights):
            words = []
            for v in scores[2 * n : 2 * n + 2]:
                parts = [k.shuffle(v.get(), v.get(), range(e, FRAGMENT, 4)) for e in range(4)]
                words += [k.pack_pair(parts[2 * h], parts[2 * h + 1], self.value_kind) for h in range(2)]
            word.set(k.bitcast(self._operand_a(*words), "i32"))

    def _store(self, sums: Sequence[Variable], total: Variable, places: Sequence[Instruction]) -> None:
        k = self.k
        everything = _over_row(k, total.get(), "add")
        factor = k.const(1.0, "f32", 64) / everything
        wide = k.shuffle(factor, factor, [n // 2 for n in range(FRAGMENT)])
        for n, v in enumerate(sums):
            value = v.get() * wide
            for h in range(2):
                pair = k.shuffle(value, value, [4 * t + 2 * h + e for t in range(32) for e in range(2)])
                k.scatter(self.out, n * (COLUMNS * 4), places[h] + self.place * 8, pair)


class _Rows:
    """A warp's rows: which keys they see, and the state of their softmax, of two rows in each thread."""

    def __init__(
        self,
        tiles: _Tiles,
        first: Instruction,
        last: Instruction,
        halves: Sequence[Instruction],
        end: Instruction,
    ) -> None:
        """Rows first .. last; `halves`: their numbers as threads have them; keys from `end` on are not there."""
        k = self.k = tiles.k
        each, window = tiles.group_size, tiles.window
        tokens = tiles._of_rows([row // each for row in halves])
        own = tokens + (k.convert(tiles.start, "i32") + 1)
        self.ends, self.whole = k.splat(k.convert(end, "i32"), FRAGMENT), end
        if tiles.causal:
            self.ends, self.whole = own, tiles.start + first // each + 1
        self.begins = own - window if window else None
        self.oldest = tiles.start + last // each + 1 - window if window else None
        # Below half of LOWEST nothing is seen: the weight of what a mask hides is 0 even before a first key is seen.
        self.best = k.var(k.const(LOWEST / 2, "f32", 64))
        self.total = k.var(k.zeros("f32", 64))

    def mask(self, scores: Sequence[Variable], base: Instruction) -> None:
        """Scores of keys base .. base + KEYS that a row does not see become LOWEST."""
        k = self.k
        partly = self.whole < base + KEYS
        if self.oldest is not None:
            partly = partly | (base < self.oldest)
        for _ in k.when(partly):
            lane = k.iota("i32", FRAGMENT)
            first = k.splat(k.convert(base, "i32"), FRAGMENT) + (((lane >> 2) & 3) * 2 + (lane & 1))
            for n, v in enumerate(scores):
                key = first + n * COLUMNS
                seen = key < self.ends
                if self.begins is not None:
                    seen = seen & (key >= self.begins)
                v.set(k.select(seen, v.get(), LOWEST))


def _of_pairs(k: KernelBuilder, value: Instruction, kind: str) -> Instruction:
    """The sums or maxima of a thread's two neighbours in each of its rows."""
    a, b = (k.shuffle(value, value, range(e, FRAGMENT, 2)) for e in range(2))
    return k.maxnum(a, b) if kind == "max" else a + b


def _over_row(k: KernelBuilder, value: Instruction, kind: str) -> Instruction:
    """The sum or maximum over a quad of threads, which have a row's columns together; two rows in each."""
    for other in ([n ^ 2 for n in range(64)], [n ^ 6 for n in range(64)]):
        moved = k.shuffle(value, value, other)
        value = k.maxnum(value, moved) if kind == "max" else value + moved
    return value
