"""What a warp multiplies of a stage of weights and a few rows of x, in bf16 on a GPU's tensor cores, for `few_linear`.

Weights are on the side of an instruction that has 16 rows. Codes are small integers, which bf16 holds exactly: they are
multiplied as they are, and the f32 sum over a sub-block is scaled behind. What is to be subtracted from every code is
one product more of a constant matrix with x, shared by all that a warp multiplies x with; an infinite x gives NaN.

Scaling sums takes operations for every row of x. From `MADE` instructions of 8 rows on, weights of short codes are made
in bf16 instead, two in an instruction: scales and offsets are rounded to bf16, and what they make once more.

A thread has rows 4 r to 4 r + 3 of a panel, r = t / 4: those of tile i are 4 r + 2 i and the next.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ..ir.types import DType, bf16
from ..kernel.builder import KernelBuilder, Variable
from ..kernel.ir import ELEMENT_BYTES, Instruction, Operand
from ..quant.algebra import Factor
from ..quant.panel import CHUNK, QUAD, PanelPlan
from . import dot
from .tensor_linear import FRAGMENT, zipped

TOKENS = 8  # rows of x that an instruction takes
HALF = 16  # elements of K that one takes
UNIT = 16  # bytes that a thread copies at once
LINE = 128  # bytes of a line, which eight threads copy: a row of x in a stage, and a vector of codes
MADE = 2  # times 8 rows of x, from where on weights are made
BASE = 128  # is added to codes of seven bits, and taken off those of eight, to make them bf16

Sums = list[list[list[Variable]]]  # [matrix][tile of 16 rows of a panel][8 rows of x], f32 in a fragment's order


class Stage:
    """Where the parts of a stage lie: codes of each matrix, lines of x, parameters of each matrix. `shared`: lines of x
    lie elsewhere, as several warps read them.
    """

    def __init__(self, plan: PanelPlan, matrices: int, columns: int, depth: int, shared: bool = False) -> None:
        self.plan, self.matrices, self.rows, self.depth = plan, matrices, columns * TOKENS, depth
        plain = self.plain = isinstance(plan.format, DType)
        block = depth if plain else plan.format.block
        self.blocks = max(1, depth // block)  # in a stage
        self.split = max(1, block // depth)  # stages that share a block
        self.chunks = depth // CHUNK
        self.codes = depth * plan.rows * bf16.nbytes if plain else self.chunks * plan.chunk_bytes
        self.block_bytes = self.codes if plain else plan.block_bytes
        self.params = self.blocks * plan.chunk_offset
        self.x_at = matrices * self.codes
        self.lines = depth * bf16.nbytes // LINE  # of a row of x
        self.x_nbytes = self.lines * self.rows * LINE
        self.params_at = self.x_at + (0 if shared else self.x_nbytes)
        self.nbytes = -(-(self.params_at + matrices * self.params) // LINE) * LINE

    def turned(self, line: Instruction) -> Instruction:
        """What pieces' numbers in a line of weights are xored with, so that threads read from different banks: those of
        a quarter read four vectors of codes, or four runs of plain rows, which are four lines each.
        """
        return (line >> 2) & 3 if self.plain else (line & 3) << 1

    @staticmethod
    def turned_row(row: Instruction) -> Instruction:
        """The same for lines of x, for reads of 8 and of 16 bytes."""
        return ((row & 1) << 2) | (row & 2)


def makes(plan: PanelPlan, columns: int) -> bool:
    """Whether products with so many times 8 rows of x make bf16 weights."""
    return columns >= MADE and not isinstance(plan.format, DType) and dot.code_table(plan.format).maximum < BASE


class _Rows(dot.PanelReader):
    """Reads parameters of four neighbouring rows for each thread: thread t has rows 4 (t / 4) to 4 (t / 4) + 3."""

    def __init__(self, k: KernelBuilder, plan: PanelPlan, buffer: Instruction) -> None:
        super().__init__(k, plan, buffer)
        self.rows, self.flush, self.adds = FRAGMENT, True, True

    def load(self, offset: Instruction, elem: str, lanes: int) -> Instruction:
        mine = (self.k.iota("i32", 32) >> 2) * (QUAD * ELEMENT_BYTES[elem])
        return self.k.gather(self.buffer, offset, mine, elem, lanes // 32)

    def shifted(self, name: str, base: Instruction, j: Instruction, parity: int) -> Instruction | None:
        """An integer field of up to seven bits plus `BASE`, in f32: its byte in the mantissa. None for other fields."""
        k, p = self.k, self.plan.param(name)
        if p.storage not in ("u8", "u4") or self.format.scalar(name).width > 7:
            return None
        index = self._index(p, j) if p.count > 1 else k.const(0, "i64")
        mine = (k.iota("i32", 32) >> 2) * QUAD
        offset = (index if p.storage == "u8" else index >> 1) * self.plan.rows + p.offset
        word = k.gather(self.buffer, base + offset, mine, "i32")
        if p.storage == "u4":
            word = k.binary("lshr", word, 4 * parity) & 0x0F0F0F0F
        floats = [k.bitcast(k.permute_bytes(word, 0x43000000, 0x7054 | r << 8), "f32") for r in range(QUAD)]
        return zipped(k, zipped(k, floats[0], floats[1], 1), zipped(k, floats[2], floats[3], 1), 2)


class Products:
    """Multiplies stages that lie in private memory."""

    def __init__(self, k: KernelBuilder, plan: PanelPlan, memory: Instruction, stage: Stage) -> None:
        self.k, self.plan, self.memory, self.stage = k, plan, memory, stage
        self.matrices, self.columns = stage.matrices, stage.rows // TOKENS
        if stage.plain:
            return
        self.reader = _Rows(k, plan, memory)
        maximum, zero = self.reader.codes.maximum, self.reader.codes.zero
        self.narrow = maximum < BASE
        self.excess = BASE + zero if self.narrow else zero - BASE  # of multiplied codes over t(code) - zero
        self.made = makes(plan, self.columns)

    def multiply(self, total: Sums, at: Instruction, x_at: Instruction, step: Instruction) -> None:
        """Add the products of stage `step`, which lies at `at`, with lines of x at `x_at`."""
        if self.stage.plain:
            self._multiply_plain(total, at, x_at)
            return
        stage, plan, normal = self.stage, self.plan, self.reader.normal
        skipped = step % stage.split * stage.chunks if stage.split > 1 else self.k.const(0, "i64")
        subs = max(1, CHUNK // normal.sub)  # scales of a chunk
        each = plan.format.block // CHUNK  # chunks of a block
        bases = [
            [at + (stage.params_at + m * stage.params + b * plan.chunk_offset) for b in range(stage.blocks)]
            for m in range(self.matrices)
        ]
        fixed = [[self._fixed(base) for base in line] for line in bases]
        for c in range(stage.chunks):
            x = [self._x(x_at, c, n) for n in range(self.columns)]
            begins, added = ([], []) if self.made else self._of_x(x, subs)
            block, inside = (c // each, self.k.const(c % each, "i64")) if stage.split == 1 else (0, skipped + c)
            for m in range(self.matrices):
                pairs = self._codes(at + m * stage.codes, c)
                for s in range(subs):
                    j = inside * subs + s if normal.sub <= CHUNK else inside // (normal.sub // CHUNK)
                    parity = s % 2 if subs > 1 else c % 2
                    halves = range(s, s + 1) if subs > 1 else range(2)
                    scale, offset = self._factors(bases[m][block], fixed[m][block], j, parity)
                    if self.made:
                        self._multiply_made(total[m], pairs, x, halves, scale, offset)
                        continue
                    operands = {h: self._tiles(*pairs[h]) for h in halves}
                    self._scaled(total[m], operands, x, halves, begins[s], added[s], scale, offset)

    def _multiply_plain(self, total: Sums, at: Instruction, x_at: Instruction) -> None:
        """The products of a stage of bf16 weights: of each chunk thread t has the run t % 4 of x and of weights."""
        k, stage = self.k, self.stage
        thread = k.iota("i32", 32)
        group, place = thread >> 2, thread & 3
        for c in range(stage.chunks):
            line, unit = c * CHUNK * bf16.nbytes // LINE, c * CHUNK * bf16.nbytes % LINE // UNIT
            piece = (place + unit) ^ self.stage.turned_row(group)
            x = []
            for n in range(self.columns):
                start = x_at + (line * stage.rows + n * TOKENS) * LINE
                run = k.gather(self.memory, start, group * LINE + piece * UNIT, "i32", QUAD)
                x.append([k.bitcast(k.shuffle(run, run, _words(2 * h, 2 * h + 1)), "i16") for h in range(2)])
            for m, tiles in enumerate(total):
                rows = []
                for r in range(QUAD):
                    row = group * QUAD + r
                    number = (row >> 3) + place * (self.plan.rows >> 3)
                    lanes = number * LINE + ((row & 7) ^ self.stage.turned(number)) * UNIT
                    first = at + (m * stage.codes + c * CHUNK * self.plan.rows * bf16.nbytes)
                    rows.append(k.gather(self.memory, first, lanes, "i32", QUAD))
                for i, columns in enumerate(tiles):
                    for h in range(2):
                        low, high = rows[2 * i], rows[2 * i + 1]
                        halves = [k.shuffle(low, high, _words(w, 4 * 32 + w)) for w in (2 * h, 2 * h + 1)]
                        operand = k.bitcast(zipped(k, halves[0], halves[1], 2), "i16")
                        for n, sums in enumerate(columns):
                            sums.set(k.mma(sums.get(), operand, x[n][h], "bf16"))

    def _scaled(
        self,
        total: list[list[Variable]],
        operands: dict[int, list[Instruction]],
        x: list[list[Instruction]],
        halves: Sequence[int],
        begins: list[Instruction],
        added: list[Instruction],
        scale: Instruction,
        offset: Instruction | None,
    ) -> None:
        """A sub-block's products, scaled, and what its offset adds."""
        k = self.k
        for i in range(2):
            factor, more = self._of_tile(scale, i), None if offset is None else self._of_tile(offset, i)
            for n in range(self.columns):
                sums = begins[n]
                for h in halves:
                    sums = k.mma(sums, operands[h][i], x[n][h], "bf16")
                value = k.fma(sums, factor, total[i][n].get())
                total[i][n].set(value if more is None else k.fma(added[n], more, value))

    def _multiply_made(
        self,
        total: list[list[Variable]],
        pairs: list[tuple[Instruction, Instruction]],
        x: list[list[Instruction]],
        halves: Sequence[int],
        scale: Instruction,
        offset: Instruction | None,
    ) -> None:
        """A sub-block's products with weights as bf16."""
        k = self.k
        factor = k.pack_pair(scale, scale)
        more: Operand = 0 if offset is None else k.pack_pair(offset, offset)
        for h in halves:
            exact = [k.fma_pair(p, _pair(1.0), _pair(-self.excess)) if self.excess else p for p in pairs[h]]
            made = [k.fma_pair(p, factor, more) for p in exact]
            for i, operand in enumerate(self._tiles(made[0], made[1])):
                for n, sums in enumerate(total[i]):
                    sums.set(k.mma(sums.get(), operand, x[n][h], "bf16"))

    def _of_tile(self, values: Instruction, i: int) -> Instruction:
        """Of the rows of which each thread has four, those of tile i in the order of sums."""
        return self.k.shuffle(values, values, [4 * t + 2 * i + r for t in range(32) for r in (0, 0, 1, 1)])

    def _of_x(self, x: list[list[Instruction]], subs: int) -> tuple[list[list[Instruction]], list[list[Instruction]]]:
        """Of each sub-block and 8 rows of x: where sums begin, and the sum of x that an offset multiplies. Sums begin
        with what codes have too much; an offset takes that in.
        """
        k = self.k
        zero = k.zeros("f32", FRAGMENT)
        alone = self.reader.normal.offset is None
        factor = -self.excess if alone else 1
        if not factor:
            return [[zero] * len(x)] * subs, [[zero] * len(x)] * subs
        constant = k.const(_bf16_bits(factor), "i16", 2 * FRAGMENT)
        found = []
        for s in range(subs):
            halves = range(s, s + 1) if subs > 1 else range(2)
            sums = [zero] * len(x)
            for h in halves:
                sums = [k.mma(v, constant, column[h], "bf16") for v, column in zip(sums, x, strict=True)]
            found.append(sums)
        return (found, found) if alone else ([[zero] * len(x)] * subs, found)

    def _x(self, at: Instruction, chunk: int, column: int) -> list[Instruction]:
        """8 rows of x as operands: quad t % 4 of a chunk, and the quad four further."""
        k = self.k
        thread = k.iota("i32", 32)
        row, place = thread >> 2, thread & 3
        found = []
        for h in range(2):
            element = chunk * CHUNK + h * HALF
            line, unit = element * bf16.nbytes // LINE, element * bf16.nbytes % LINE // UNIT
            piece = ((place >> 1) + unit) ^ self.stage.turned_row(row)
            lanes = row * LINE + piece * UNIT + (place & 1) * (UNIT // 2)
            base = at + (line * self.stage.rows + column * TOKENS) * LINE
            found.append(k.bitcast(k.gather(self.memory, base, lanes, "i32", 2), "i16"))
        return found

    def _codes(self, at: Instruction, chunk: int) -> list[tuple[Instruction, Instruction]]:
        """A chunk's quads t % 4, and those four further: first and second pair of a thread's four rows as bf16 codes,
        too large by `excess`.

        A plane of p bits holds quad q in vector q % p at bit p * (q / p).
        """
        k, plan = self.k, self.plan
        thread = k.iota("i32", 32)
        group, place = thread >> 2, thread & 3
        words: list[Instruction | None] = [None, None]
        for plane in plan.planes:
            p = plane.bits
            held: Instruction | None = None
            for h in range(2):
                if held is None or p == 8:
                    vector = place + QUAD * h if p == 8 else place & (p - 1)
                    line = vector + (chunk * plan.chunk_bytes + plane.offset) // LINE
                    lanes = line * LINE + (group ^ self.stage.turned(line)) * UNIT
                    held = k.gather(self.memory, at, lanes, "i32", QUAD)
                    if p < QUAD:
                        shift = (place >> (p.bit_length() - 1)) * p
                        held = k.binary("lshr", held, k.shuffle(shift, shift, [n // QUAD for n in range(FRAGMENT)]))
                bits = held
                if p < 8:
                    bits = k.binary("lshr", bits, QUAD * h) & (0x01010101 * ((1 << p) - 1))
                if plane.into_bit:
                    bits = bits << plane.into_bit
                before = words[h]
                words[h] = bits if before is None else before | bits
        return [self._pairs(word) for word in words if word is not None]

    def _pairs(self, word: Instruction) -> tuple[Instruction, Instruction]:
        """Four codes of each of a thread's four rows as pairs of bf16."""
        k, table = self.k, self.reader.codes.values
        if table is not None:
            word = k.bitcast(k.table(table, k.bitcast(word, "i8")), "i32")
        if self.narrow:  # seven bits in the mantissa of 128
            low, high = (k.permute_bytes(word, 0x43434343, selector) for selector in (0x4140, 0x4342))
        else:  # eight in that of 2 ** 23; what is left after the subtraction is in the upper half of a float
            floats = [
                k.bitcast(k.permute_bytes(word, 0x4B000000, 0x7440 | e), "f32") - float((1 << 23) + BASE)
                for e in range(QUAD)
            ]
            bits = [k.bitcast(f, "i32") for f in floats]
            low, high = (k.permute_bytes(bits[e], bits[e + 1], 0x7632) for e in (0, 2))
        return low, high

    def _tiles(self, low: Instruction, high: Instruction) -> list[Instruction]:
        """Operands of two tiles: rows of tile i are 4 r + 2 i and 4 r + 2 i + 1 of the panel."""
        k = self.k
        return [
            k.bitcast(
                k.shuffle(low, high, [4 * t + 2 * i + r + s for t in range(32) for s in (0, FRAGMENT) for r in (0, 1)]),
                "i16",
            )
            for i in range(2)
        ]

    # --- scales -----------------------------------------------------------------------------------------------------
    def _fixed(self, base: Instruction) -> tuple[Instruction | None, Instruction | None]:
        """The floats of scale and offset that are the same in all sub-blocks of a block."""
        return tuple(
            self.reader.floats(f, base, 0, 0) if f is not None and not self.reader.varies(f) else None
            for f in (self.reader.normal.scale, self.reader.normal.offset)
        )  # type: ignore[return-value]

    def _factors(
        self,
        base: Instruction,
        fixed: tuple[Instruction | None, Instruction | None],
        j: Instruction,
        parity: int,
    ) -> tuple[Instruction, Instruction | None]:
        """What a sub-block's sum is multiplied with, and what the sum of x is."""
        normal = self.reader.normal
        scale = self._factor(normal.scale, base, fixed[0], j, parity)
        if normal.offset is None:
            return scale, None
        offset = self._factor(normal.offset, base, fixed[1], j, parity)
        if self.made or not self.excess:
            return scale, offset
        return scale, self.k.fma(scale, -float(self.excess), offset)

    def _factor(
        self, factor: Factor, base: Instruction, fixed: Instruction | None, j: Instruction, parity: int
    ) -> Instruction:
        k, reader = self.k, self.reader
        value = fixed if not reader.varies(factor) else reader.floats(factor, base, j, parity)
        if value is not None and factor.integer is not None:
            name, bias = factor.integer
            shifted = reader.shifted(name, base, j, parity)
            if shifted is not None:  # what is too much goes away in the same rounding
                return k.fma(shifted, value, value * float(bias - BASE))
        whole = reader.scaled(value, factor, base, j, parity)
        return whole if whole is not None else k.const(1.0, "f32", FRAGMENT)


def _words(*numbers: int) -> list[int]:
    """Lanes of a thread's own of vectors with four in each."""
    return [QUAD * t + n for t in range(32) for n in numbers]


def _pair(value: float) -> int:
    """Twice a small integer as bf16."""
    return _bf16_bits(value) * 0x10001


def _bf16_bits(value: float) -> int:
    """A small integer as bf16 bits."""
    bits = int(np.float32(value).view(np.uint32))
    assert not bits & 0xFFFF
    return bits >> 16
