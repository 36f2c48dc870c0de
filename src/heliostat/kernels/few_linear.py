"""Schedule of `linear` for a few rows on a GPU's tensor cores, several sequences' tokens say: y[n, o] = sum_k x[n, k] *
w[o, k] for 2 to 32 rows of bf16 with bf16 or quantized weights. Weights are read once, and their bytes are what it
waits for.

Weights are on the side of an instruction that has 16 rows. Codes are small integers, which bf16 holds exactly: they are
multiplied as they are, and the f32 sum over a sub-block is scaled behind. What is to be subtracted from every code is
one product more of a constant matrix with x, shared by all that a warp multiplies x with.

A team of warps takes a panel or a few, and each warp a part of the depth. Weights and x pass through a ring of stages
in private memory, in the order in which threads read them from different banks.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ..ir.types import DType, bf16, numel, upper_bound
from ..kernel.builder import KernelBuilder, Variable
from ..kernel.ir import Instruction, Kernel
from ..quant.algebra import Factor
from ..quant.format import BlockFormat
from ..quant.panel import CHUNK, QUAD, PanelParam, PanelPlan, panel_plan
from ..targets.target import Target
from . import dot, linear
from .group import Accept, Group, Refuse
from .linear_tile import LinearTile
from .stream_linear import MULTIPROCESSORS, small_to_float
from .tensor_linear import FRAGMENT, zipped

LEAST_ROWS, MOST_ROWS = 2, 32
DEPTH = 64  # elements of K, of which rows are whole stages
RUN = 8  # neighbours of a plain row that lie together
TOKENS = 8  # rows of x that an instruction takes
HALF = 16  # elements of K that one takes
UNIT = 16  # bytes that a thread copies at once
LINE = 128  # bytes of a line, which eight threads copy: a row of x in a stage, and a vector of codes
ROW = 4 * 32 + 16  # bytes of a row of sums: threads store to different banks
BASE = 128  # is added to codes of seven bits, and taken off those of eight, to make them bf16
MOST_SUMS = 8  # tiles of 8 rows by panels whose sums, with what is multiplied for them, fit the registers of a thread
ROOM = {90: 224 << 10, 100: 224 << 10}  # bytes of private memory on a multiprocessor, by compute capability
LEAST_ROOM = 96 << 10


@dataclass(frozen=True)
class FewTile:
    """`team`: warps that share the depth. `panels`: of each product, side by side. `depth`: elements of K in a stage.
    `stages`: of a warp's ring.
    """

    team: int = 8
    panels: int = 1
    depth: int = 64
    stages: int = 2

    def __post_init__(self) -> None:
        if not 0 < self.team <= 32 or not 0 < self.panels <= 8:
            raise ValueError(f"a team has 1 to 32 warps and 1 to 8 panels, got {self}")
        if self.depth not in (64, 128, 256) or not 1 < self.stages <= 16:
            raise ValueError(f"2 to 16 stages of 64, 128 or 256 elements are needed, got {self}")


Tile = FewTile


def accepts(group: Group, target: Target) -> Accept | Refuse:
    """What `linear` accepts, of 2 to 32 rows of bf16 with bf16 or quantized weights."""
    verdict = linear.accepts(group, target)
    if isinstance(verdict, Refuse):
        return verdict
    x, w = group.root.inputs
    if isinstance(w.type.element, DType) and w.type.layout.run != RUN:  # type: ignore[union-attr]
        return Refuse(f"panels of other runs than {RUN}")
    rows = upper_bound(numel(x.type.shape[:-1]))
    if not LEAST_ROWS <= rows <= MOST_ROWS:
        return Refuse(f"{rows} rows: this is for {LEAST_ROWS} to {MOST_ROWS}")
    if x.type.element != bf16:
        return Refuse(f"tensor cores here take bf16, not {x.type.element}")
    if len(linear.products(group)) * -(-rows // TOKENS) > MOST_SUMS:
        return Refuse(f"{len(linear.products(group))} products of {rows} rows: too many sums")
    reason = refusal(w.type.element, w.type.shape[1], target)
    return Accept() if reason is None else Refuse(reason)


def refusal(element: object, depth: object, target: Target) -> str | None:
    """Why weights or a depth do not fit; None where they do."""
    if target.capability < 80:
        return f"{target.name} has no tensor cores for bf16"
    if target.lanes != 32:
        return f"panels of {target.lanes} rows"
    if not isinstance(depth, int) or depth % DEPTH:
        return f"rows of {depth} elements are no whole stages"
    if isinstance(element, DType):
        return None if element == bf16 else f"{element} weights lose digits as bf16"
    assert isinstance(element, BlockFormat)
    if (reason := dot.refusal(element)) is not None:
        return reason
    normal = element.normal
    assert normal is not None
    plan = panel_plan(element, target.lanes)
    if normal.sub % HALF:
        return f"a scale for every {normal.sub} elements: an instruction multiplies {HALF}"
    if normal.sub > CHUNK and any(p.storage == "u4" for p in plan.params):
        return "nibbles of scales for more than a chunk"
    if element.block not in (32, 64, 128, 256) or plan.chunk_offset % UNIT:
        return f"blocks of {element.block} elements are no whole stages, or these no whole {UNIT} bytes"
    return None


def default_tile(plan: PanelPlan, rows: int, out: int, depth: int, products: int, target: Target) -> FewTile:
    """Two panels side by side where there are enough of them, and as many warps as private memory has room for."""
    panels, columns = plan.panels(out), -(-rows // TOKENS)
    wide = 2 if panels % 2 == 0 and panels >= 4 * MULTIPROCESSORS and 2 * products * columns <= MOST_SUMS else 1
    room = ROOM.get(target.capability, LEAST_ROOM)
    long = columns == 1 and isinstance(plan.format, BlockFormat) and depth % (2 * DEPTH) == 0
    each = 2 * DEPTH if long else DEPTH
    blocks = 2 if panels // wide * products >= 2 * MULTIPROCESSORS else 1
    stage = _Stage(plan, products * wide, columns, each).nbytes
    part = products * wide * columns * TOKENS * ROW
    team = min((16 if columns <= 2 else 8) // blocks, depth // each)
    while team > 1 and team * (2 * stage + part) > room // blocks:
        team -= 1
    team = -(-depth // each // -(-depth // each // team))  # no more than those with most steps make wait
    return FewTile(team, wide, each)  # a third stage was slower


def build(group: Group, target: Target, name: str, tile: FewTile | None = None) -> Kernel:
    """x: (..., K) bf16, w: (O, K) bf16 or quantized in panels, outputs (..., O). Reads w once, x once for each team."""
    x, w = group.root.inputs
    plan = w.type.layout.plan(w.type.element)  # type: ignore[union-attr]
    rows, (out, depth) = upper_bound(numel(x.type.shape[:-1])), (upper_bound(d) for d in w.type.shape)
    tile = tile or default_tile(plan, rows, out, depth, len(linear.products(group)), target)
    return _Few(group, target, name, plan, tile).build()


class _Stage:
    """Where the parts of a stage lie: codes of each matrix, lines of x, parameters of each matrix."""

    def __init__(self, plan: PanelPlan, matrices: int, columns: int, depth: int) -> None:
        self.plan, self.matrices, self.rows, self.depth = plan, matrices, columns * TOKENS, depth
        plain = isinstance(plan.format, DType)
        block = depth if plain else plan.format.block
        self.blocks = max(1, depth // block)  # in a stage
        self.split = max(1, block // depth)  # stages that share a block
        self.chunks = depth // CHUNK
        self.codes = depth * plan.rows * bf16.nbytes if plain else self.chunks * plan.chunk_bytes
        self.block_bytes = self.codes if plain else plan.block_bytes
        self.params = self.blocks * plan.chunk_offset
        self.x_at = matrices * self.codes
        self.lines = depth * bf16.nbytes // LINE  # of a row of x
        self.params_at = self.x_at + self.lines * self.rows * LINE
        self.nbytes = -(-(self.params_at + matrices * self.params) // LINE) * LINE


class _Rows(dot.PanelReader):
    """Reads parameters of four neighbouring rows for each thread: thread t has rows 4 (t / 4) to 4 (t / 4) + 3."""

    def __init__(self, k: KernelBuilder, plan: PanelPlan, buffer: Instruction) -> None:
        super().__init__(k, plan, buffer)
        self.rows, self.flush = FRAGMENT, True

    def read(self, p: PanelParam, base: Instruction, j: int | Instruction) -> Instruction:
        width = {"f16": 2, "bf16": 2, "f32": 4, "u16": 2, "i16": 2}.get(p.storage, 1)
        elem = {"f16": "f16", "f32": "f32"}.get(p.storage, {1: "i8", 2: "i16"}[width] if width < 4 else "i32")
        index = j if p.storage != "u4" else (j // 2 if isinstance(j, int) else j >> 1)
        mine = (self.k.iota("i32", 32) >> 2) * (QUAD * width)
        return self.k.gather(self.buffer, base + (index * (self.plan.rows * width) + p.offset), mine, elem, QUAD)

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


class _Few(linear._Nest):
    """A team for a panel, or a few neighbours, of every product."""

    def __init__(self, group: Group, target: Target, name: str, plan: PanelPlan, tile: FewTile) -> None:
        rows = numel(group.root.inputs[0].type.shape[:-1])
        self.columns = -(-upper_bound(rows) // TOKENS)
        self.few = tile
        self.matrices = tile.panels * len(linear.products(group))
        self.stage = _Stage(plan, self.matrices, self.columns, tile.depth)
        self.part_bytes = self.matrices * self.columns * TOKENS * ROW  # of a warp's sums
        nest = LinearTile((1,), panels=tile.panels, block=MOST_ROWS, team=tile.team)
        super().__init__(group, target, name, plan, nest, rows)
        self.memory = self.k.alloc(tile.team * tile.stages * self.stage.nbytes)
        self.steps = self.depth // tile.depth
        self.plain = isinstance(plan.format, DType)
        if self.plain:
            return
        self.reader = _Rows(self.k, plan, self.memory)
        maximum, zero = self.reader.codes.maximum, self.reader.codes.zero
        self.narrow = maximum < BASE
        self.excess = BASE + zero if self.narrow else zero - BASE  # of multiplied codes over t(code) - zero

    def private(self) -> Instruction:
        return self.k.alloc(self.few.team * self.part_bytes)

    def build(self) -> Kernel:
        k, wide, team = self.k, self.few.panels, self.few.team
        panels = self.plan.panels(self.out_features)
        items = -(-panels // wide)
        count = self.dims(self.rows)
        first, last = k.worker() * items // k.workers(), (k.worker() + 1) * items // k.workers()
        for warp in k.team(team):
            for _ in k.when(first < last):
                for n in range(self.few.stages - 1):
                    self._ask_for_weights(warp, first * wide, n)
        k.ready()
        for warp in k.team(team):
            for _ in k.when(first < last):
                self._ask_for_first_rows(warp, count)
        for item in k.parallel(items):
            for warp in k.team(team):
                self._sums(warp, item * wide, count)
                k.wait_copies(0)
                for _ in k.when(item + 1 < last):
                    for n in range(self.few.stages - 1):
                        self._ask_for_weights(warp, (item + 1) * wide, n)
                    self._ask_for_first_rows(warp, count)
            for warp in k.team(team):
                for row in k.loop(warp, count, team):
                    for p in range(wide):
                        if panels % wide == 0:
                            self._store(item * wide + p, [(row, self._joined(p, row))])
                            continue
                        for _ in k.when(item * wide + p < panels):
                            self._store(item * wide + p, [(row, self._joined(p, row))])
        return k.finish()

    # --- the ring ---------------------------------------------------------------------------------------------------
    def _part(self, warp: Instruction) -> tuple[Instruction, Instruction]:
        """The steps of a warp: the first, and the one behind the last."""
        return warp * self.steps // self.few.team, (warp * self.steps + self.steps) // self.few.team

    def _place(self, warp: Instruction, stage: Instruction | int) -> Instruction:
        return (warp * self.few.stages + stage) * self.stage.nbytes

    def _ask_for_weights(self, warp: Instruction, panel: Instruction, n: int) -> None:
        """The n-th stage of a warp's part, if there is one."""
        first, last = self._part(warp)
        for _ in self.k.when(first + n < last):
            self._weights(self._place(warp, n), panel, first + n)

    def _ask_for_first_rows(self, warp: Instruction, count: Instruction) -> None:
        """What belongs to the first stages of x, each with its weights a group."""
        first, last = self._part(warp)
        for n in range(self.few.stages - 1):
            for _ in self.k.when(first + n < last):
                self._rows_of_x(self._place(warp, n), first + n, count)
            self.k.commit_copies()

    def _weights(self, to: Instruction, panel: Instruction, step: Instruction) -> None:
        """Codes and parameters of every matrix. A vector of codes, a line, has its 16-byte pieces in another order."""
        k, plan, stage = self.k, self.plan, self.stage
        most = plan.panels(self.out_features) - 1
        for m in range(self.matrices):
            product, p = self.products[m // self.few.panels], m % self.few.panels
            source = self.buffers[product.inputs[1]]
            base = k.minimum(panel + p, most) * plan.nbytes(plan.rows, self.depth)
            block = base + (step // stage.split if stage.split > 1 else step * stage.blocks) * stage.block_bytes
            codes = stage.codes // stage.blocks
            skipped = plan.chunk_offset + (step % stage.split * codes if stage.split > 1 else 0)
            for unit in self._units(stage.codes):
                line, piece = unit >> 3, unit & 7
                place = line * LINE + (piece ^ self._turned(line)) * UNIT
                k.copy_async(
                    self.memory, to + m * stage.codes, place, source, block + skipped, self._spaced(unit, codes)
                )
            for unit in self._units(stage.params):
                place = to + (stage.params_at + m * stage.params)
                k.copy_async(self.memory, place, unit * UNIT, source, block, self._spaced(unit, plan.chunk_offset))

    def _turned(self, line: Instruction) -> Instruction:
        """What pieces' numbers in a line of weights are xored with, so that threads read from different banks: those of
        a quarter read four vectors of codes, or four runs of plain rows, which are four lines each.
        """
        return (line >> 2) & 3 if self.plain else (line & 3) << 1

    def _turned_row(self, row: Instruction) -> Instruction:
        """The same for lines of x, for reads of 8 and of 16 bytes."""
        return ((row & 1) << 2) | (row & 2)

    def _units(self, nbytes: int) -> list[Instruction]:
        """Numbers of 16-byte pieces, 32 at a time; past the last one, once more that."""
        k = self.k
        found = [k.iota("i32", 32) + n for n in range(0, nbytes // UNIT, 32)]
        if nbytes // UNIT % 32:
            found[-1] = k.minimum(found[-1], nbytes // UNIT - 1)
        return found

    def _spaced(self, unit: Instruction, nbytes: int) -> Instruction:
        """Where pieces come from that are `nbytes` of each of some blocks."""
        if self.stage.blocks == 1:
            return unit * UNIT
        each = nbytes // UNIT
        number = self.k.binary("div", unit, each)
        return number * (self.stage.block_bytes - nbytes) + unit * UNIT

    def _rows_of_x(self, to: Instruction, step: Instruction, count: Instruction) -> None:
        """A line of each row, or a few, with its pieces in another order; rows past the last are the last."""
        k, stage, x = self.k, self.stage, self.buffers[self.x]
        lane = k.iota("i32", 32)
        unit, row = lane & 7, lane >> 3
        most = k.splat(k.convert(count - 1, "i32"), 32)
        for line in range(stage.lines):
            for n in range(0, stage.rows, 4):
                source = k.minimum(row + n, most) * self.row_bytes + unit * UNIT
                place = (row + n) * LINE + (unit ^ self._turned_row(row)) * UNIT
                at = to + (stage.x_at + line * (stage.rows * LINE))
                k.copy_async(self.memory, at, place, x, step * (stage.depth * bf16.nbytes) + line * LINE, source)

    # --- products ---------------------------------------------------------------------------------------------------
    def _sums(self, warp: Instruction, panel: Instruction, count: Instruction) -> None:
        """Sums over a warp's part of the depth, into its place in private memory."""
        k, ahead = self.k, self.few.stages - 1
        first, last = self._part(warp)
        total = [
            [[k.var(k.zeros("f32", FRAGMENT)) for _ in range(self.columns)] for _ in range(2)]
            for _ in range(self.matrices)
        ]
        for n in k.loop(last - first):
            k.wait_copies(self.few.stages - 2)
            coming = first + n + ahead
            for _ in k.when(coming < last):
                to = self._place(warp, (n + ahead) % self.few.stages)
                self._weights(to, panel, coming)
                self._rows_of_x(to, coming, count)
            k.commit_copies()
            self._multiply(total, self._place(warp, n % self.few.stages), first + n)
        thread = k.iota("i32", 32)
        lanes = (thread & 3) * (2 * ROW) + (thread >> 2) * UNIT
        assert self.aside is not None
        for m, (low, high) in enumerate(total):
            for column in range(self.columns):
                for token in range(2):  # four neighbouring rows of a panel
                    own = [s + 4 * t + token for t in range(32) for s in (0, 2, FRAGMENT, FRAGMENT + 2)]
                    at = warp * self.part_bytes + ((m * self.columns + column) * TOKENS + token) * ROW
                    k.scatter(self.aside, at, lanes, k.shuffle(low[column].get(), high[column].get(), own))

    def _multiply(self, total: list[list[list[Variable]]], at: Instruction, step: Instruction) -> None:
        """The products of a stage."""
        if self.plain:
            self._multiply_plain(total, at)
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
            x = [self._x(at + stage.x_at, c, n) for n in range(self.columns)]
            begins, added = self._of_x(x, subs)
            block, inside = (c // each, self.k.const(c % each, "i64")) if stage.split == 1 else (0, skipped + c)
            for m in range(self.matrices):
                operands = self._codes(at + m * stage.codes, c)
                for s in range(subs):
                    j = inside * subs + s if normal.sub <= CHUNK else inside // (normal.sub // CHUNK)
                    parity = s % 2 if subs > 1 else c % 2
                    scale, offset = self._factors(bases[m][block], fixed[m][block], j, parity)
                    halves = range(s, s + 1) if subs > 1 else range(2)
                    self._scaled(total[m], operands, x, halves, begins[s], added[s], scale, offset)

    def _multiply_plain(self, total: list[list[list[Variable]]], at: Instruction) -> None:
        """The products of a stage of bf16 weights: of each chunk thread t has the run t % 4 of x and of weights."""
        k, stage = self.k, self.stage
        thread = k.iota("i32", 32)
        group, place = thread >> 2, thread & 3
        for c in range(stage.chunks):
            line, unit = c * CHUNK * bf16.nbytes // LINE, c * CHUNK * bf16.nbytes % LINE // UNIT
            piece = (place + unit) ^ self._turned_row(group)
            x = []
            for n in range(self.columns):
                start = at + (stage.x_at + (line * stage.rows + n * TOKENS) * LINE)
                run = k.gather(self.memory, start, group * LINE + piece * UNIT, "i32", QUAD)
                x.append([k.bitcast(k.shuffle(run, run, _words(2 * h, 2 * h + 1)), "i16") for h in range(2)])
            for m, tiles in enumerate(total):
                rows = []
                for r in range(QUAD):
                    row = group * QUAD + r
                    number = (row >> 3) + place * (self.plan.rows >> 3)
                    lanes = number * LINE + ((row & 7) ^ self._turned(number)) * UNIT
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
        operands: list[list[Instruction]],
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
            piece = ((place >> 1) + unit) ^ self._turned_row(row)
            lanes = row * LINE + piece * UNIT + (place & 1) * (UNIT // 2)
            base = at + (line * self.stage.rows + column * TOKENS) * LINE
            found.append(k.bitcast(k.gather(self.memory, base, lanes, "i32", 2), "i16"))
        return found

    def _codes(self, at: Instruction, chunk: int) -> list[list[Instruction]]:
        """A chunk's operands [quad t % 4, and the quad four further][tile]: bf16 codes, too large by `excess`. Rows of
        tile i are 4 r + 2 i and 4 r + 2 i + 1 of the panel.

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
                    lanes = line * LINE + (group ^ self._turned(line)) * UNIT
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
        return [self._operands(word) for word in words if word is not None]

    def _operands(self, word: Instruction) -> list[Instruction]:
        """Four codes of each of a thread's four rows as bf16: two tiles."""
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
        return scale, self.k.fma(scale, -float(self.excess), offset) if self.excess else offset

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
        integer = reader.integer(factor, base, j, parity)
        if integer is None:
            return value if value is not None else k.const(1.0, "f32", FRAGMENT)
        as_float = small_to_float(k, integer)
        return as_float if value is None else value * as_float

    # --- results ----------------------------------------------------------------------------------------------------
    def _joined(self, p: int, row: Instruction) -> list[Instruction]:
        """A row's sums of a panel, of every product: the warps' parts in order."""
        k, found = self.k, []
        assert self.aside is not None
        for n in range(len(self.products)):
            place = row * ROW + (n * self.few.panels + p) * self.columns * TOKENS * ROW
            parts = [k.load(self.aside, place + s * self.part_bytes, "f32", 32) for s in range(self.few.team)]
            found.append(_sum(parts))
        return found


def _sum(parts: list[Instruction]) -> Instruction:
    """By halves, of any number."""
    while len(parts) > 1:
        parts = [a + b for a, b in zip(parts[::2], parts[1::2], strict=False)] + parts[len(parts) // 2 * 2 :]
    return parts[0]


def _words(*numbers: int) -> list[int]:
    """Lanes of a thread's own of vectors with four in each."""
    return [QUAD * t + n for t in range(32) for n in numbers]


def _bf16_bits(value: float) -> int:
    """A small integer as bf16 bits."""
    bits = int(np.float32(value).view(np.uint32))
    assert not bits & 0xFFFF
    return bits >> 16
