"""Schedule of `linear` for many rows on GPUs whose tensor cores serve four warps together: tiles of up to 256 rows or
256 outputs, y[n, o] = sum_k x[n, k] * w[o, k] in bf16 or f16 with f32 sums.

Tiles of x and of weights pass through a ring of stages in private memory, weights in core matrices (8 rows of 8
elements), which is the order in which bf16 panels lie. Quantized weights become bf16 on their way there: every format
that has panels. A worker is eight warps; while they multiply one stage, the copies of later ones are under way. Sums
then go through the same memory to rows, where the epilogue takes them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

from ..diagnostics import CompileError
from ..ir.types import Dim, DType, bf16, f16, numel, upper_bound
from ..kernel.builder import KernelBuilder, Variable
from ..kernel.ir import Instruction, Kernel
from ..kernel.warp import WARP
from ..quant.format import BlockFormat
from ..quant.panel import CHUNK, QUAD, PanelPlan, panel_plan
from ..targets.target import Target
from . import dot, linear
from .dot import PanelReader
from .elementwise import unrounded
from .fragment_rows import PADDED, ROWS, rows_at_once, run_of, store_rows, sums_of_row
from .group import Accept, Group, Refuse
from .head_rows import HeadRows, tail_of, without_tail
from .head_rows import refusal as tail_refusal
from .linear_tile import LinearTile
from .tensor_linear import FRAGMENT, OUTPUTS, zipped
from .warpgroup_tile import DEPTH, HALF, MOST, WarpgroupTile, candidates_of, default_tile, fits, tiles_of
from .warpgroup_tile import tuning_key as tuning_key

ROOTS = ("linear",)
WARPS = 8
RUN = 8  # elements of K in a row of a core matrix, 16 bytes
CORE = 128  # bytes of a core matrix
CORE_ROWS = 8
STAGES = 4
AHEAD = 4  # stages: so early codes are asked for from memory
Tile = WarpgroupTile


def accepts(group: Group, target: Target) -> Accept | Refuse:
    """What `linear` accepts, of many rows of bf16 with bf16 or quantized weights, or of f16 with f16, on compute
    capability 9.0."""
    tail = tail_of(group)
    verdict = linear.accepts(group if tail is None else without_tail(group, tail), target)
    if isinstance(verdict, Refuse):
        return verdict
    x, w = group.root.inputs
    reason = refusal(x.type.element, w.type.element, w.type.shape[1], target)
    if reason is not None:
        return Refuse(reason)
    rows = upper_bound(numel(x.type.shape[:-1]))
    if rows <= 1:
        return Refuse("a single row waits for memory")
    if rows * int(w.type.shape[1]) * 2 >= 1 << 31:  # type: ignore[arg-type]
        return Refuse("activations of 2 GiB and more")
    if isinstance(w.type.element, DType) and w.type.layout.run != RUN:  # type: ignore[union-attr]
        return Refuse(f"panels of other runs than {RUN}")
    if tail is not None:
        reason = tail_refusal(group, tail) if len(linear.products(group)) == 1 else "two products"
        if reason is None and not tiles_of(group, w.type.layout.plan(w.type.element)):  # type: ignore[union-attr]
            reason = "no tile has whole heads alone"
        if reason is not None:
            return Refuse(reason)
    return Accept()


def refusal(x: object, w: object, depth: object, target: Target) -> str | None:
    """Why elements or a depth do not fit; None where they do."""
    if target.capability != 90:
        return f"{target.name} has no products by four warps together"
    if x not in (bf16, f16):
        return f"tensor cores here take bf16 or f16, not {x}"
    if not isinstance(depth, int) or depth % DEPTH:
        return f"rows of {depth} elements are no whole stages"
    if isinstance(w, DType):
        return None if w == x else f"{w} weights lose digits as {x}"
    assert isinstance(w, BlockFormat)
    if x != bf16:
        return f"quantized weights become bf16, not {x}"
    if (reason := dot.refusal(w)) is not None:
        return reason
    assert w.normal is not None
    if w.normal.sub > CHUNK and any(p.storage == "u4" for p in panel_plan(w, target.lanes).params):
        return "nibbles of scales for more than a chunk"
    return None


def build(group: Group, target: Target, name: str, tile: WarpgroupTile | None = None) -> Kernel:
    """x: (..., K) bf16 or f16, w: (O, K) of x's dtype or quantized, in panels, outputs (..., O). Reads w once for each
    tile of rows."""
    x, w = group.root.inputs
    plan = w.type.layout.plan(w.type.element)  # type: ignore[union-attr]
    tile = tile or default_tile(group, plan)
    if not fits(tile, group, plan):
        raise CompileError(
            f"{tile} does not serve {w.type}: products share panels evenly, warps codes, and heads are whole"
        )
    return _Tiles(group, target, name, plan, tile, numel(x.type.shape[:-1])).build()


def candidates(group: Group, target: Target) -> list[WarpgroupTile]:
    """The default, and what else serves the group."""
    w = group.root.inputs[1].type
    return candidates_of(group, w.layout.plan(w.element))  # type: ignore[union-attr]


class _Ahead(PanelReader):
    """Reads a chunk in two steps: `fetching` loads what it takes, and what was loaded before is what it works on."""

    def __init__(self, k: KernelBuilder, plan: PanelPlan, buffer: Instruction) -> None:
        super().__init__(k, plan, buffer)
        self.flush = True
        self.taken: list[Instruction] | None = None
        self.held: list[Instruction] = []

    def load(self, offset: Instruction, elem: str, lanes: int) -> Instruction:
        if self.taken is None:
            return self.held.pop(0)
        self.taken.append(super().load(offset, elem, lanes))
        return self.taken[-1]


_Chunk = int | Instruction


@dataclass(frozen=True)
class _Part:
    """What a warp makes of a stage: chunks of panel `number` of a product."""

    product: int
    number: Instruction
    chunks: Sequence[_Chunk]


class _Tiles(linear._Nest):
    """A team of eight warps computes a tile of rows by some panels, shared evenly by the products."""

    def __init__(
        self, group: Group, target: Target, name: str, plan: PanelPlan, tile: WarpgroupTile, rows: Dim
    ) -> None:
        (self.few, self.many), self.last_of_few = tile.both, tile.many[2]
        self.together = len(linear.products(group))
        self._take(self.few)
        super().__init__(group, target, name, plan, self.tile, rows)
        tail = tail_of(group)
        self.heads: HeadRows | None = None
        if tail is not None:
            self.made, held = tail.made, {**self.buffers, **dict(self.results)}
            self.heads = HeadRows(self.k, self.dims, group, tail, held, self.epilogue)

    def _take(self, tile: WarpgroupTile) -> None:
        """What is written from here on is of that tile."""
        self.height, self.all = tile.rows, tile.panels
        self.halves = tile.rows // (2 * HALF)  # that each four warps have
        self.a_bytes = tile.rows * DEPTH * 2
        self.tile = LinearTile((64, 1), panels=tile.panels // self.together, block=tile.rows)

    @property
    def across(self) -> int:
        """Bytes from 8 elements of K of all weights of a stage to the next."""
        return self.all * self.plan.rows * 16

    @property
    def stage(self) -> int:
        """Bytes of a stage."""
        return self.a_bytes + self.all * self.plan.rows * DEPTH * 2

    def private(self) -> Instruction | None:
        needed = []
        for tile in (self.many, self.few):
            self._take(tile)
            sums = WARPS * self.halves * self.all * (self.plan.rows // OUTPUTS) * PADDED
            needed.append(max(STAGES * self.stage, sums))
        return self.k.alloc(max(needed))

    def build(self) -> Kernel:
        k = self.k
        assert self.aside is not None
        self.panels = self.plan.panels(self.out_features)
        if isinstance(self.rows, int):
            count, tiles = self._tiles_of()
            for item in k.parallel(count):
                for warp in k.team(WARPS):
                    self._tile_of(warp, item, tiles)
            return k.finish()
        teams = k.workers()
        for team in k.parallel(teams):
            for warp in k.team(WARPS):
                if self.many == self.few:
                    self._in_turn(warp, team, teams)
                    continue
                for _ in k.when(self.dims(self.rows) <= self.last_of_few):
                    self._in_turn(warp, team, teams)
                self._take(self.many)
                for _ in k.otherwise():
                    self._in_turn(warp, team, teams)
        return k.finish()

    def _tiles_of(self) -> tuple[Instruction, Instruction]:
        """How many tiles there are, and how many of them have the same panels."""
        tiles = (self.dims(self.rows) + (self.height - 1)) // self.height
        return tiles * -(-self.panels // self.tile.panels), tiles

    def _tile_of(self, warp: Instruction, item: Instruction, tiles: Instruction) -> None:
        across = item // tiles
        first = (item - across * tiles) * self.height
        last = self.k.minimum(first + self.height, self.dims(self.rows))
        self._warp(warp, across * self.tile.panels, first, last)

    def _in_turn(self, warp: Instruction, team: Instruction, teams: Instruction) -> None:
        """As many teams as run at once take tiles in turn: those of the same panels are multiplied at the same time, so
        that their weights come from memory once.
        """
        count, tiles = self._tiles_of()
        for turn in self.k.loop((count - team + (teams - 1)) // teams):
            self._tile_of(warp, team + turn * teams, tiles)

    def _warp(self, warp: Instruction, panel: Instruction, first: Instruction, last: Instruction) -> None:
        """One warp's part of a tile: it fetches some of each stage, and has 16 rows of each 64 of its sums."""
        k, steps = self.k, self.depth // DEPTH
        plain = isinstance(self.plan.format, DType)
        number = self.all * self.plan.rows // OUTPUTS
        total = [[k.var(k.zeros("f32", FRAGMENT)) for _ in range(number)] for _ in range(self.halves)]
        every = [v for sums in total for v in sums]
        self.ahead = self._variables()
        k.barrier()  # the tile before may still be read
        if not plain:
            self._share(warp, partial(self._load_ahead, panel))
        for n in range(STAGES - 2):
            step, to = k.const(n, "i64"), k.const(n * self.stage, "i64")
            if n < steps:
                self._rows_of_x(warp, step, to, first, last)
                if plain:
                    self._copy_weights(warp, step, to, panel)
                else:
                    self._share(warp, partial(self._make_weights, panel, step, to))
            k.commit_copies()
        for step in k.loop(steps):
            k.wait_copies(STAGES - 3)
            k.barrier()  # this stage is there, and all have done with the one before the last
            at = step % STAGES * self.stage
            coming, to = step + (STAGES - 2), (step + (STAGES - 2)) % STAGES * self.stage
            if plain:
                for _ in k.when(coming < steps):
                    self._rows_of_x(warp, coming, to, first, last)
                    self._copy_weights(warp, coming, to, panel)
                k.commit_copies()
                self._multiply(total, warp, at, 0, DEPTH // 16)
                k.wait_mma(every, self.halves)
                continue
            coming = k.minimum(coming, steps - 1)  # past the last: once more, to where nothing is read
            self._rows_of_x(warp, coming, to, first, last)
            self._share(warp, partial(self._between, total, warp, at, panel, coming, to))
            k.commit_copies()
            k.wait_mma(every, DEPTH // 16 * self.halves)
        k.wait_mma(every)
        k.wait_copies(0)  # quantized weights have some past the last stage: the memory is needed for sums
        k.barrier()
        for half, sums in enumerate(total):
            self._finish(warp, half, sums, panel, first, last)

    def _multiply(
        self, total: list[list[Variable]], warp: Instruction, at: Instruction, first: int, count: int
    ) -> None:
        """Products of a stage: `count` times 16 elements of K from `first` on, of all rows."""
        assert self.aside is not None
        a = at + (warp >> 2) * (self.halves * HALF * 2 * DEPTH) + first * 32
        b = at + (self.a_bytes + first * 2 * self.across)
        kind = self.x.type.dtype.name
        for half, sums in enumerate(total):
            row = a + half * (HALF * 2 * DEPTH)
            self.k.warpgroup_mma(self.aside, row, b, sums, count, (16, 8 * 2 * DEPTH), (self.across, CORE), kind)

    def _between(
        self,
        total: list[list[Variable]],
        warp: Instruction,
        at: Instruction,
        panel: Instruction,
        coming: Instruction,
        to: Instruction,
        part: _Part | None,
    ) -> None:
        """The products of a stage, and the weights of a coming one in between: a warp waits where it asks for one
        product before another is done.
        """
        pieces = [] if part is None else self._weights(part, panel, coming, to)
        parts = DEPTH // 16
        for n in range(parts):
            self._multiply(total, warp, at, n, 1)
            for piece in pieces[n * len(pieces) // parts : (n + 1) * len(pieces) // parts]:
                piece()

    # --- stages -----------------------------------------------------------------------------------------------------
    def _rows_of_x(
        self, warp: Instruction, step: Instruction, at: Instruction, first: Instruction, last: Instruction
    ) -> None:
        """This warp's rows of x in a stage: eight threads copy a line of 128 bytes to another, swizzled; copies
        that spread over lines, here or there, are three times slower.
        """
        k, each = self.k, self.height // WARPS
        assert self.aside is not None
        lane = k.iota("i32", 32)
        run, row = lane & 7, lane >> 3
        begin = k.splat(k.convert(first + warp * each, "i32"), 32)
        most = k.splat(k.convert(last - 1, "i32"), 32)
        to = warp * (each * 2 * DEPTH) + at
        for n in range(0, each, 4):
            source = k.minimum(begin + (row + n), most) * self.row_bytes + run * 16
            place = (row + n) * (2 * DEPTH) + (run ^ ((row + n) & 7)) * 16
            k.copy_async(self.aside, to, place, self.buffers[self.x], step * (2 * DEPTH), source)

    def _copy_weights(self, warp: Instruction, step: Instruction, at: Instruction, panel: Instruction) -> None:
        """Plain weights: a warp copies 8 elements of K of every panel."""
        k, rows, wide = self.k, self.plan.rows, self.tile.panels
        assert self.aside is not None
        lanes = k.iota("i32", 32) * 16
        to = at + self.a_bytes + warp * self.across
        for n, product in enumerate(self.products):
            for q in range(wide):
                source = self._base(panel + q) + step * (DEPTH * rows * 2) + warp * (rows * 16)
                place = to + (n * wide + q) * (rows * 16)
                k.copy_async(self.aside, place, lanes, self.buffers[product.inputs[1]], source, lanes)

    def _share(self, warp: Instruction, body: Callable[[_Part | None], None]) -> None:
        """`body` with what a warp makes of the quantized weights of a stage: with eight panels in all each has one,
        with four a chunk of one, with two half of the warps have. Four warps that multiply together run the same code.
        """
        wide, together = self.tile.panels, len(self.products)
        if together == 2:
            for n in range(2):
                for _ in self.k.when((warp >> 2) == n):
                    body(self._part(n, warp & 3))
        elif self.all == 2:
            for _ in self.k.when(warp < 4):
                body(self._part(0, warp))
            for _ in self.k.otherwise():
                body(None)
        else:
            assert wide * (DEPTH // CHUNK) >= WARPS
            body(self._part(0, warp))

    def _part(self, product: int, warp: Instruction) -> _Part:
        if self.all == MOST:
            return _Part(product, warp, list(range(DEPTH // CHUNK)))
        return _Part(product, warp >> 1, [warp & 1])

    def _make_weights(self, panel: Instruction, step: Instruction, at: Instruction, part: _Part | None) -> None:
        for piece in [] if part is None else self._weights(part, panel, step, at):
            piece()

    def _weights(self, part: _Part, panel: Instruction, step: Instruction, at: Instruction) -> list[Callable[[], None]]:
        """A warp's part of quantized weights of stage `step` as bf16; past the last panel, of the last. In pieces, to
        be run in order."""
        k, rows = self.k, self.plan.rows
        assert self.aside is not None
        memory, buffer = self.aside, self.buffers[self.products[part.product].inputs[1]]
        base = self._base(panel + part.number)
        place = at + self.a_bytes + (part.number + part.product * self.tile.panels) * (rows * 16)
        reader = _Ahead(k, self.plan, buffer)
        following = k.minimum(step + 1, self.depth // DEPTH - 1)
        values: list[list[Callable[[], list[Instruction]]]] = []
        held_now = [[v.get() for v in variables] for variables in self.ahead]
        for variables, chunk in zip(self.ahead, part.chunks, strict=True):  # first of all: they have a stage to come
            for v, value in zip(variables, self._loads(reader, base, following, chunk), strict=True):
                v.set(value)
        each = self.plan.nbytes(self.plan.rows, self.depth) // (self.depth // DEPTH)
        k.prefetch_all(buffer, base + (step + AHEAD) * each, each)

        def convert(n: int, run: int) -> None:
            chunk = part.chunks[n]
            if run == 0:
                reader.held = held_now[n]
                values.append(self._values(reader, base, step, chunk))
            held = [v for quad in values[n][2 * run : 2 * run + 2] for v in quad()]
            pairs = [k.pack_pair(held[e], held[e + 1]) for e in range(0, RUN, 2)]
            together = zipped(k, zipped(k, pairs[0], pairs[1], 1), zipped(k, pairs[2], pairs[3], 1), 2)
            k.store(memory, place + (chunk * (CHUNK // RUN) + run) * self.across, together)

        return [partial(convert, n, run) for n in range(len(part.chunks)) for run in range(CHUNK // RUN)]

    def _base(self, panel: Instruction) -> Instruction:
        """Where a panel begins; past the last one, that one."""
        within = panel if self.panels % self.tile.panels == 0 else self.k.minimum(panel, self.panels - 1)
        return within * self.plan.nbytes(self.plan.rows, self.depth)

    def _loads(self, reader: _Ahead, base: Instruction, step: Instruction, chunk: _Chunk) -> list[Instruction]:
        """What a chunk of a stage is made of, as it lies in memory."""
        reader.taken = []
        self._values(reader, base, step, chunk)
        taken, reader.taken = reader.taken, None
        return taken

    def _load_ahead(self, panel: Instruction, part: _Part | None) -> None:
        """Load what the first stage is made of."""
        if part is None:
            return
        first = self.k.const(0, "i64")
        reader = _Ahead(self.k, self.plan, self.buffers[self.products[part.product].inputs[1]])
        for n, chunk in enumerate(part.chunks):
            values = self._loads(reader, self._base(panel + part.number), first, chunk)
            for v, value in zip(self.ahead[n], values, strict=True):
                v.set(value)

    def _variables(self) -> list[list[Variable]]:
        """Variables for the loads of each chunk of a stage that a warp has: they are made a stage ahead."""
        if isinstance(self.plan.format, DType):
            return []
        probe = KernelBuilder("probe")
        reader = _Ahead(probe, self.plan, probe.buffer("w", "r"))
        k, self.k = self.k, probe
        zero = probe.worker()
        chunks = self._part(0, zero).chunks
        loads = [self._loads(reader, zero, zero, chunk) for chunk in chunks]
        self.k = k
        return [[k.var(k.zeros(i.elem, i.lanes)) for i in chunk] for chunk in loads]

    def _values(
        self, reader: PanelReader, base: Instruction, step: Instruction, chunk: _Chunk
    ) -> list[Callable[[], list[Instruction]]]:
        """32 elements of every row of a panel, chunk `chunk` of a stage: functions that compute four each, f32."""
        k, plan = self.k, self.plan
        normal, block = reader.normal, plan.format.block
        element = step * DEPTH + chunk * CHUNK
        packed = base + element // block * reader.block_bytes()
        inside = element % block // CHUNK if block > CHUNK else k.const(0, "i64")
        quads = reader.words(packed + (inside * plan.chunk_bytes + plan.chunk_offset))

        narrow = reader.codes.maximum < 128
        zero = reader.codes.zero

        def four(word: Instruction, scale: Instruction, offset: Instruction | None) -> list[Instruction]:
            values = []
            for e in range(QUAD):
                # A byte in the mantissa of 128, or of 2 ** 23, is that much more: faster than a conversion. The narrow
                # one leaves enough digits to take all else away in the addition.
                if narrow:
                    code = k.bitcast(k.permute_bytes(word, 0x43000000, 0x7054 | e << 8), "f32")
                    values.append(k.fma(code, scale, offset if offset is not None else scale * -float(128 + zero)))
                    continue
                code = k.bitcast(k.binary("and", k.binary("lshr", word, 8 * e), 255) | 0x4B000000, "f32")
                code = code - float((1 << 23) + zero)
                values.append(code * scale if offset is None else k.fma(code, scale, offset))
            return values

        made: list[Callable[[], list[Instruction]]] = []
        for q in range(CHUNK // QUAD):
            if q * QUAD % min(normal.sub, CHUNK) == 0:
                g = q * QUAD // normal.sub
                j = inside * (CHUNK // normal.sub) + g if normal.sub <= CHUNK else inside // (normal.sub // CHUNK)
                parity = chunk if normal.sub == CHUNK and isinstance(chunk, int) else g % 2  # see `divides_chunks`
                scale = dot.scale_of(k, reader, packed, j, parity)
                offset = dot.offset_of(k, reader, packed, j, parity)
                if narrow and offset is not None:
                    offset = k.fma(scale, k.const(-float(128 + zero), "f32", plan.rows), offset)
            made.append(partial(four, quads[q], scale, offset))
        return made

    # --- results ----------------------------------------------------------------------------------------------------
    def _finish(
        self,
        warp: Instruction,
        half: int,
        sums: list[Variable],
        panel: Instruction,
        first: Instruction,
        last: Instruction,
    ) -> None:
        """Sums to this warp's part of the memory, and from there row by row through the epilogue."""
        k, rows, wide = self.k, self.plan.rows, self.tile.panels
        assert self.aside is not None
        mine = (warp * self.halves + half) * (len(sums) * PADDED)
        for i, v in enumerate(sums):
            k.store(self.aside, mine + i * PADDED, v.get())
        begin = first + ((warp >> 2) * self.halves + half) * HALF + (warp & 3) * 16
        end = k.minimum(begin + 16, last)
        if self.heads is not None:
            self._finish_heads(self.heads, panel, begin, end, mine)
            return
        run = run_of(self.group, wide * rows)
        made = partial(self._row, panel, begin, mine, run)
        filled = self.out_features % rows == 0
        if filled and self.panels % wide == 0:
            self._store_rows(begin, end, made)
            return
        for _ in k.when(panel + wide <= self.panels) if filled else ():
            self._store_rows(begin, end, made)
        for _ in k.otherwise() if filled else (None,):
            for r in k.loop(begin, end):
                for q in range(wide):
                    numbers = [(n * wide + q) * rows for n in range(len(self.products))]
                    held = [sums_of_row(k, self.aside, mine, r - begin, number, 1) for number in numbers]
                    for _ in k.when(panel + q < self.panels):
                        self._store(panel + q, [(r, held)])

    def _finish_heads(
        self, heads: HeadRows, panel: Instruction, begin: Instruction, end: Instruction, mine: Instruction
    ) -> None:
        """Rows of heads, of which the tile has whole ones: one row after the other, or eight at a time."""
        k = self.k

        def row(r: Instruction) -> list[Callable[[], None]]:
            found = []
            for at in range(0, self.tile.panels * self.plan.rows, heads.size):
                value = self._made(panel, r, r - begin, mine, at, heads.run)
                found.append(heads.row(r, (panel * self.plan.rows + at) // heads.size, value))
            return found

        if not heads.by_position:
            self._store_rows(begin, end, row)
            return
        whole = (begin + ROWS <= end) & ((heads.start + begin) % CORE_ROWS == 0)
        for _ in k.when(whole):
            for first in k.loop(begin, end, CORE_ROWS):
                for at in range(0, self.tile.panels * self.plan.rows, WARP):
                    column = panel * self.plan.rows + at
                    values = [self._made(panel, first + n, first - begin + n, mine, at, 1) for n in range(CORE_ROWS)]
                    heads.positions(first, column // heads.size, at % heads.size, values)
        for _ in k.otherwise():
            store_rows(k, begin, end, 1, row)

    def _made(
        self, panel: Instruction, row: Instruction, inside: Instruction, mine: Instruction, at: int, run: int
    ) -> Instruction:
        """What the tail is made of: columns at .. at + 32 * `run` of a row, row `inside` of a warp's."""
        (product,) = self.products
        assert self.aside is not None
        held = sums_of_row(self.k, self.aside, mine, inside, at, run)
        index = self._index(product.results[0], row, panel * self.plan.rows + at)
        return self.epilogue.at(self.made, index, WARP * run, preset={product.results[0]: held})

    def _store_rows(
        self, begin: Instruction, end: Instruction, made: Callable[[Instruction], list[Callable[[], None]]]
    ) -> None:
        """Rows begin .. end, several at once where there are 16: each waits for operands of the epilogue alone, as long
        as for all of them.
        """
        k, at_once = self.k, rows_at_once(self.group, self.all * self.plan.rows)
        if isinstance(self.rows, int) and self.rows % ROWS == 0:
            store_rows(k, begin, end, at_once, made)
            return
        for _ in k.when(begin + ROWS <= end):
            store_rows(k, begin, end, at_once, made)
        for _ in k.otherwise():
            store_rows(k, begin, end, 1, made)

    def _row(
        self, panel: Instruction, begin: Instruction, mine: Instruction, run: int, row: Instruction
    ) -> list[Callable[[], None]]:
        """All panels of a row."""
        k, rows = self.k, self.plan.rows
        assert self.aside is not None
        results = [n.results[0] for n in self.products]
        stores: list[Callable[[], None]] = []
        wide = self.tile.panels * rows
        for q in range(0, wide, WARP * run):
            index = self._index(results[0], row, panel * rows + q)
            held = [sums_of_row(k, self.aside, mine, row - begin, n * wide + q, run) for n in range(len(results))]
            preset = dict(zip(results, held, strict=True))
            values = self.epilogue.all_at([unrounded(v) for v, _ in self.results], index, WARP * run, None, preset)
            for (v, buffer), value in zip(self.results, values, strict=True):
                stores.append(partial(self.operand_of(v, buffer).store, index, value, None))
        return stores
