"""Schedule of `attention` of one token for each of several sequences, on a GPU's tensor cores: what `decode_attention`
does, with all query heads of a key head at once, so that each key and value goes to registers once.

Keys, then elements of values, are on the side of an instruction that has 16 rows, query heads on the one that has 8:
heads past the last are the last once more. The order of K inside an instruction is free as long as both operands have
the same: a thread's run of a key's elements serves two instructions. Row 2 q + e of block b of the scores of a panel is
key 8 q + 2 b + e, so that thread q of a quad is given the weights of eight neighbours, as the runs of values have them.
"""

from __future__ import annotations

import math

from ..ir.graph import Value
from ..kernel.builder import Variable
from ..kernel.ir import Instruction, Kernel
from ..targets.target import Target
from . import decode_attention
from .attention import LOWEST
from .cache import sequences
from .few_linear import LEFT
from .group import Accept, Group, Refuse
from .prompt_attention import COLUMNS, PANEL, RUN, tile_bytes
from .stream_linear import MULTIPROCESSORS
from .tensor_linear import FRAGMENT, operand_a, zipped
from .tile_attention import GAP

ROOTS = ("attention",)
ITEMS = 64  # teams that are enough to take query heads of one key head together
BLOCKS = PANEL // COLUMNS  # of 8 keys of a panel
MOST_WARPS = 12  # whose panels keep a multiprocessor's part of the memory busy
OTHERS = (4, 8, 16)  # numbers of threads that have other rows of the same columns differ by these


def accepts(group: Group, target: Target) -> Accept | Refuse:
    """What `decode_attention` accepts, of several sequences over caches in runs of eight."""
    verdict = decode_attention.accepts(group, target)
    if isinstance(verdict, Refuse):
        return verdict
    q, keys, _, start = group.root.inputs[:4]
    if getattr(keys.type.layout, "run", 1) != 8 or target.capability < 80:
        return Refuse("caches are not in runs for tensor cores")
    if sequences(start.type) == 1:
        return Refuse("the heads of one sequence are too few to be taken together")
    if q.type.dtype.name != "f32":
        return Refuse(f"queries are f32 here, not {q.type.dtype}")
    return verdict


def build(group: Group, target: Target, name: str) -> Kernel:
    """q: (S, Hq, D) f32, keys and values: (S Hkv, C, D) or pages, start: (S,) i32, out: (S, Hq, D). Reads each key and
    value once, or a few times where there are few sequences; 4 * 8 * D operations for each key.
    """
    return _Together(group, target, name).build()


class _Together(decode_attention._Nest):
    token_apart = True

    def _teams(self, start: Value) -> tuple[int, int, int]:
        heads, group = self.kv_heads, self.group_size
        fits = [n for n in range(1, min(group, COLUMNS) + 1) if group % n == 0]
        together = max((n for n in fits if heads * group // n >= ITEMS), default=1)
        self.key_row, self.value_row = PANEL * RUN + GAP, self.size * RUN + GAP
        self.key_tile, value_tile = tile_bytes(self.size, PANEL, GAP)
        self.ring = max(self.key_tile + value_tile, together * self.record)
        blocks = 2 if heads * group // together > MULTIPROCESSORS else 1
        kept = (together + 2) * (4 * self.size + 128)  # rotated queries, and the token's own key and value
        room = (self.target.shared_bytes - LEFT) // blocks - kept
        team = max(1, min(MOST_WARPS // blocks, room // self.ring))
        return team, together, team

    def _places(self) -> int:
        """A warp's panel of keys and of values lie where it puts its records in the end."""
        self.apart, self.each = self.ring, self.record
        return self.team * self.ring

    def _part(self, head: Instruction, s: Instruction, first: Instruction, end: Instruction) -> None:
        """Every panel of the team's heads whose number is s modulo the team, from that of `first` on."""
        k = self.k
        thread = k.iota("i32", 32)
        row, place = thread >> 2, thread & 3
        query = self._queries(head, row, place)
        best, total = (k.var(k.const(v, "f32", 64)) for v in (LOWEST / 2, 0.0))  # of a thread's two heads
        sums = [k.var(k.zeros("f32", FRAGMENT)) for _ in range(0, self.size, 16)]
        kv = self.kv_head(head)
        begin, step = first // PANEL * PANEL + s * PANEL, PANEL * self.team
        for _ in k.when(begin < end):
            self._copy_keys(s, self.rows.row(kv, begin))
        k.commit_copies()
        for base in k.loop(begin, end, step):
            k.wait_copies(0)
            self._copy_values(s, self.rows.row(kv, base), end - base)
            k.commit_copies()
            scores = self._scores_of(query, s * self.ring, row, place)
            partly = end < base + PANEL
            if self.window:
                partly = partly | (base < first)
            for _ in k.when(partly):
                self._mask(scores, base, first, end, row)
            factor = self._softmax(scores, best, total)
            weights = self._turned([v.get() for v in scores], row)
            k.wait_copies(0)
            for _ in k.when(base + step < end):
                self._copy_keys(s, self.rows.row(kv, base + step))
            k.commit_copies()
            lanes = row * RUN + place * self.value_row
            for n, v in enumerate(sums):
                at = s * self.ring + (self.key_tile + 16 * n * RUN)
                runs = [k.gather(self.parts, at + 8 * h * RUN, lanes, "i32", 4) for h in range(2)]
                acc = v.get() * factor
                for part, weight in enumerate(weights):
                    acc = k.mma(acc, self._operand(runs, part), weight, self.value_dtype.name)
                v.set(acc)
        k.wait_copies(0)  # all threads have read what lies where records go
        self._put(s, row, place, best.get(), self._over_rows(total.get(), "add"), sums)

    def _copy_keys(self, s: Instruction, key: Instruction) -> None:
        """The panel from a row of the cache on to warp s's place: [size / 8][32] runs."""
        k, lanes = self.k, self.k.iota("i32", 32) * RUN
        for n in range(self.size // 8):
            source = key * (self.size * 2) + n * (PANEL * RUN)
            k.copy_async(self.parts, s * self.ring + n * self.key_row, lanes, self.keys, source, lanes)

    def _copy_values(self, s: Instruction, key: Instruction, left: Instruction) -> None:
        """The panel from a row of the cache on, of which `left` are there: [32 / 8][size] runs. What lies behind may be
        NaN, which a weight of zero would not hide; it is replaced by zeros.
        """
        k, lanes = self.k, self.k.iota("i32", 32) * RUN
        for n in range(PANEL // 8):
            nbytes = k.convert(k.maximum(k.minimum((left - 8 * n) * 2, RUN), 0), "i32")
            for d in range(0, self.size, 32):
                at = s * self.ring + (self.key_tile + n * self.value_row + d * RUN)
                source = (key + 8 * n) * (self.size * 2) + d * RUN
                k.copy_async(self.parts, at, lanes, self.values, source, lanes, nbytes)

    def _queries(self, head: Instruction, row: Instruction, place: Instruction) -> list[Instruction]:
        """The team's heads as operand b of every 16 elements, scaled so that weights are powers of two."""
        k, scale = self.k, self.scale * math.log2(math.e)
        source, base = self.q.source(head)
        lanes = k.minimum(row, self.together - 1) * (self.size * 4) + place * (8 * 4)
        found = []
        for d in range(0, self.size, 32):
            parts = [k.gather(source, base + (d + 4 * n) * 4, lanes, "f32", 4) * scale for n in range(2)]
            for part in parts:
                elements = [k.shuffle(part, part, range(e, FRAGMENT, 4)) for e in range(4)]
                low, high = (k.pack_pair(elements[e], elements[e + 1], self.key_dtype.name) for e in (0, 2))
                found.append(k.bitcast(zipped(k, low, high, 1), "i16"))
        return found

    def _operand(self, runs: list[Instruction], step: int) -> Instruction:
        """Two words of a thread's runs of two rows as an operand a."""
        words = [self.k.shuffle(r, r, range(2 * step + w, FRAGMENT, 4)) for w in range(2) for r in runs]
        return operand_a(self.k, words)

    def _scores_of(
        self, query: list[Instruction], at: Instruction, row: Instruction, place: Instruction
    ) -> list[Variable]:
        """key . q of the panel at byte `at`: 16 keys by 8 heads in each var."""
        k = self.k
        lanes = ((row >> 1) * 8 + (row & 1)) * RUN + place * self.key_row
        found = [k.zeros("f32", FRAGMENT) for _ in range(BLOCKS // 2)]
        for d in range(0, self.size, 32):
            start = at + d // 8 * self.key_row
            runs = [k.gather(self.parts, start + 2 * b * RUN, lanes, "i32", 4) for b in range(BLOCKS)]
            for i, acc in enumerate(found):
                for step in range(2):
                    operand = self._operand(runs[2 * i : 2 * i + 2], step)
                    acc = k.mma(acc, operand, query[d // 16 + step], self.key_dtype.name)
                found[i] = acc
        return [k.var(acc) for acc in found]

    def _mask(
        self, scores: list[Variable], base: Instruction, first: Instruction, end: Instruction, row: Instruction
    ) -> None:
        """Scores of keys before `first` or from `end` on become LOWEST."""
        k = self.k
        own = k.splat(k.convert(base, "i32"), 32) + ((row >> 1) * 8 + (row & 1))
        for i, v in enumerate(scores):
            low, high = own + 4 * i, own + (4 * i + 2)
            key = zipped(k, zipped(k, low, low, 1), zipped(k, high, high, 1), 2)
            seen = key < k.splat(k.convert(end, "i32"), FRAGMENT)
            if self.window:
                seen = seen & (key >= k.splat(k.convert(first, "i32"), FRAGMENT))
            v.set(k.select(seen, v.get(), LOWEST))

    def _softmax(self, scores: list[Variable], best: Variable, total: Variable) -> Instruction:
        """Scores become weights 2 ** (score - best), where best is a head's largest so far. Returns by what the sums so
        far are to be multiplied. Totals are of a thread's own rows.
        """
        k = self.k
        halves = [self._half(v.get(), h) for v in scores for h in range(2)]
        top = halves[0]
        for h in halves[1:]:
            top = k.maxnum(top, h)
        old = best.get()
        new = k.maxnum(old, self._over_rows(top, "max"))
        wide = zipped(k, new, new, 2)
        part = k.zeros("f32", 64)
        for v in scores:
            weight = k.exp2(v.get() - wide)
            v.set(weight)
            part = part + self._half(weight, 0) + self._half(weight, 1)
        factor = k.exp2(old - new)
        total.set(k.fma(total.get(), factor, part))
        best.set(new)
        return zipped(k, factor, factor, 2)

    def _half(self, value: Instruction, half: int) -> Instruction:
        """Of a fragment, the two columns of one of a thread's rows."""
        return self.k.shuffle(value, value, [4 * t + 2 * half + e for t in range(32) for e in range(2)])

    def _over_rows(self, value: Instruction, kind: str) -> Instruction:
        """The sum or maximum over the eight threads that have a column each, of two columns."""
        k = self.k
        for other in OTHERS:
            moved = k.shuffle(value, value, [2 * (t ^ other) + e for t in range(32) for e in range(2)])
            value = k.maxnum(value, moved) if kind == "max" else value + moved
        return value

    def _turned(self, tiles: list[Instruction], row: Instruction) -> list[Instruction]:
        """Weights of a panel, keys by heads, as operands b of 16 keys each: a thread is given its row's head."""
        k, found = self.k, []
        odd = (row & 1) > 0
        for tile in tiles:
            for half in range(2):
                both = self._half(tile, half)
                low, high = (k.shuffle(both, both, range(e, 64, 2)) for e in range(2))
                word = k.pack_pair(low, high, self.value_dtype.name)
                first, second = (
                    k.shuffle(word, word, [(2 * (t % 4) + e) * 4 + t // 8 for t in range(32)]) for e in range(2)
                )
                even = k.permute_bytes(first, second, 0x5410)
                found.append(k.select(odd, k.permute_bytes(first, second, 0x7632), even))
        return [k.bitcast(zipped(k, found[n], found[n + 1], 1), "i16") for n in range(0, len(found), 2)]

    def _put(
        self,
        s: Instruction,
        row: Instruction,
        place: Instruction,
        best: Instruction,
        total: Instruction,
        sums: list[Variable],
    ) -> None:
        """This warp's records, of its heads: what two threads have of one head is the same."""
        k, start, natural = self.k, s * self.apart, best * math.log(2)
        for e in range(2):
            mine = k.minimum(place * 2 + e, self.together - 1) * self.each
            for n, value in enumerate((natural, total)):
                k.scatter(self.parts, start + 4 * n, mine, k.shuffle(value, value, range(e, 64, 2)))
            for n, v in enumerate(sums):
                for h in range(2):
                    value = k.shuffle(v.get(), v.get(), range(2 * h + e, FRAGMENT, 4))
                    k.scatter(self.parts, start + (8 + 4 * (16 * n + 8 * h)), mine + row * 4, value)
