"""Schedule of `linear` for many rows on GPUs whose tensor cores serve four warps together: tiles of 128 rows by up to
256 outputs, y[n, o] = sum_k x[n, k] * w[o, k] in bf16 with f32 sums.

Tiles of x and of weights pass through a ring of stages in private memory, weights in core matrices (8 rows of 8
elements), which is the order in which bf16 panels lie. Quantized weights become bf16 on their way there: every format
that has panels. A worker is eight warps; while they multiply one stage, the copies of later ones are under way. Sums
then go through the same memory to rows, where the epilogue takes them.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from ..ir.types import DType, bf16, numel, upper_bound
from ..kernel.builder import KernelBuilder, Variable
from ..kernel.ir import Instruction, Kernel
from ..kernel.warp import WARP
from ..quant.format import BlockFormat
from ..quant.panel import CHUNK, QUAD, PanelPlan, panel_plan
from ..targets.target import Target
from . import dot, linear
from .dot import PanelReader
from .fragment_rows import PADDED, rows_at_once, run_of, store_rows, sums_of_row
from .group import Accept, Group, Refuse
from .linear_tile import LinearTile
from .tensor_linear import FRAGMENT, OUTPUTS, zipped

ROWS = 128  # of a tile: 64 for each four warps
WARPS = 8
DEPTH = 64  # elements of K in a stage
RUN = 8  # elements of K in a row of a core matrix, 16 bytes
CORE = 128  # bytes of a core matrix
STAGES = 4
FEW = 67  # tiles: with fewer, narrower ones keep more of a GPU's 132 multiprocessors busy
A_BYTES = ROWS * DEPTH * 2


def accepts(group: Group, target: Target) -> Accept | Refuse:
    """What `linear` accepts, of many rows of bf16 with bf16 or quantized weights, on compute capability 9.0."""
    verdict = linear.accepts(group, target)
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
    return Accept()


def refusal(x: object, w: object, depth: object, target: Target) -> str | None:
    """Why elements or a depth do not fit; None where they do."""
    if target.capability != 90:
        return f"{target.name} has no products by four warps together"
    if x != bf16:
        return f"tensor cores here take bf16, not {x}"
    if not isinstance(depth, int) or depth % DEPTH:
        return f"rows of {depth} elements are no whole stages"
    if isinstance(w, DType):
        return None if w == bf16 else f"{w} weights lose digits as bf16"
    assert isinstance(w, BlockFormat)
    if (reason := dot.refusal(w)) is not None:
        return reason
    assert w.normal is not None
    if w.normal.sub > CHUNK and any(p.storage == "u4" for p in panel_plan(w, target.lanes).params):
        return "nibbles of scales for more than a chunk"
    return None


def build(group: Group, target: Target, name: str, tile: LinearTile | None = None) -> Kernel:
    """x: (..., K) bf16, w: (O, K) bf16 or quantized in panels, outputs (..., O). Reads w once for each 128 rows."""
    x, w = group.root.inputs
    plan = w.type.layout.plan(w.type.element)  # type: ignore[union-attr]
    rows = numel(x.type.shape[:-1])
    products = len(linear.products(group))
    panels = WARPS // products
    tiles = -(-upper_bound(rows) // ROWS) * -(-plan.panels(upper_bound(w.type.shape[0])) // panels)
    if products == 1 and tiles < FEW:
        panels //= 2
    tile = tile or LinearTile((64, 1), panels=panels, block=ROWS)
    return _Tiles(group, target, name, plan, tile, rows).build()


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


class _Tiles(linear._Nest):
    """A team of eight warps computes a tile of 128 rows by a few panels of every product."""

    def private(self) -> Instruction | None:
        self.all = self.tile.panels * len(self.products)  # panels of a tile
        self.b_bytes = self.tile.panels * self.plan.rows * DEPTH * 2  # of a stage, of one product
        self.stage = A_BYTES + self.b_bytes * len(self.products)
        sums = WARPS * self.all * (self.plan.rows // OUTPUTS) * PADDED
        return self.k.alloc(max(STAGES * self.stage, sums))

    def build(self) -> Kernel:
        k, wide = self.k, self.tile.panels
        assert self.aside is not None
        panels = self.plan.panels(self.out_features)
        count = self.dims(self.rows)
        tiles = (count + (ROWS - 1)) // ROWS
        for item in k.parallel(tiles * -(-panels // wide)):
            panel, first = item // tiles * wide, item % tiles * ROWS
            last = k.minimum(first + ROWS, count)
            for warp in k.team(WARPS):
                self._warp(warp, panel, panels, first, last)
        return k.finish()

    def _warp(self, warp: Instruction, panel: Instruction, panels: int, first: Instruction, last: Instruction) -> None:
        """One warp's part of a tile: it fetches some of each stage, and has 16 rows of the sums."""
        k, steps = self.k, self.depth // DEPTH
        total = [
            [k.var(k.zeros("f32", FRAGMENT)) for _ in range(self.tile.panels * self.plan.rows // OUTPUTS)]
            for _ in self.products
        ]
        every = [v for sums in total for v in sums]
        self.ahead = self._variables()
        k.barrier()  # the tile before may still be read
        self._share(warp, lambda product, number, chunks: self._load_ahead(product, number, chunks, panel, panels))
        for n in range(STAGES - 2):
            if n < steps:
                stage = k.const(n, "i64")
                self._rows_of_x(warp, stage, n * self.stage, first, last)
                self._share(warp, self._all_weights(stage, n * self.stage, panel, panels))
            k.commit_copies()
        for step in k.loop(steps):
            k.wait_copies(STAGES - 3)
            k.barrier()  # this stage is there, and all have done with the one before the last
            at = step % STAGES * self.stage
            a = at + (warp >> 2) * (64 * 2 * DEPTH)
            coming = k.minimum(step + (STAGES - 2), steps - 1)  # past the last: once more, to where nothing is read
            to = (step + (STAGES - 2)) % STAGES * self.stage
            self._rows_of_x(warp, coming, to, first, last)

            self._share(warp, partial(self._multiply, total, at, a, to, coming, panel, panels))
            k.commit_copies()
            k.wait_mma(every, DEPTH // 16 * len(total))
        k.wait_mma(every)
        k.wait_copies(0)  # those past the last stage: the memory is needed for sums
        k.barrier()
        self._finish(warp, total, panel, panels, first, last)

    def _multiply(
        self,
        total: list[list[Variable]],
        at: Instruction,
        a: Instruction,
        to: Instruction,
        coming: Instruction,
        panel: Instruction,
        panels: int,
        product: int,
        number: Instruction,
        chunks: range,
    ) -> None:
        """The products of a stage, x at `a`, and the weights of a coming one in between: a warp waits where it asks for
        one product before another is done.
        """
        assert self.aside is not None
        pieces = self._weights(product, number, chunks, to, coming, panel, panels)
        across = self.tile.panels * self.plan.rows * 16
        parts = DEPTH // 16
        for n in range(parts):
            for m, sums in enumerate(total):
                b = at + (A_BYTES + m * self.b_bytes + n * 2 * across)
                self.k.warpgroup_mma(self.aside, a + n * 32, b, sums, 1, (16, 8 * 2 * DEPTH), (across, CORE))
            for piece in pieces[n * len(pieces) // parts : (n + 1) * len(pieces) // parts]:
                piece()

    # --- stages -----------------------------------------------------------------------------------------------------
    def _rows_of_x(
        self, warp: Instruction, step: Instruction, at: Instruction | int, first: Instruction, last: Instruction
    ) -> None:
        """This warp's 16 rows of x in a stage: eight threads copy a line of 128 bytes to another, swizzled; copies
        that spread over lines, here or there, are three times slower.
        """
        k = self.k
        assert self.aside is not None
        lane = k.iota("i32", 32)
        run, row = lane & 7, lane >> 3
        begin = k.splat(k.convert(first + warp * 16, "i32"), 32)
        most = k.splat(k.convert(last - 1, "i32"), 32)
        to = warp * (16 * 2 * DEPTH) + at
        for n in range(0, 16, 4):
            source = k.minimum(begin + (row + n), most) * self.row_bytes + run * 16
            place = (row + n) * (2 * DEPTH) + (run ^ ((row + n) & 7)) * 16
            k.copy_async(self.aside, to, place, self.buffers[self.x], step * (2 * DEPTH), source)

    def _all_weights(
        self, step: Instruction, at: int, panel: Instruction, panels: int
    ) -> Callable[[int, Instruction, range], None]:
        def body(product: int, number: Instruction, chunks: range) -> None:
            for piece in self._weights(product, number, chunks, self.k.const(at, "i64"), step, panel, panels):
                piece()

        return body

    def _share(self, warp: Instruction, body: Callable[[int, Instruction, range], None]) -> None:
        """`body(product, panel, chunks)` with what a warp fetches of the weights of a stage: with eight panels in all
        each warp has one; with four, half of the depth of one.
        """
        k, chunks = self.k, DEPTH // CHUNK
        if self.all == WARPS and len(self.products) == 1:
            body(0, warp, range(chunks))
            return
        wide, each = self.tile.panels, self.all * chunks // WARPS
        for part in range(WARPS // wide):
            n, mine = part, range(chunks)
            if self.all < WARPS:
                n, mine = 0, range(part * each, (part + 1) * each)
            for _ in k.when((warp >= part * wide) & (warp < (part + 1) * wide)):
                body(n, warp - part * wide, mine)

    def _weights(
        self,
        product: int,
        number: Instruction,
        chunks: range,
        at: Instruction,
        step: Instruction,
        panel: Instruction,
        panels: int,
    ) -> list[Callable[[], None]]:
        """Some chunks of stage `step`, of all rows of panel `panel + number`; past the last panel, of the last. In
        pieces, to be run in order.
        """
        k, rows = self.k, self.plan.rows
        assert self.aside is not None
        memory, buffer = self.aside, self.buffers[self.products[product].inputs[1]]
        base = self._base(panel + number, panels)
        place = at + (A_BYTES + product * self.b_bytes) + number * (rows * 16)
        across = self.tile.panels * rows * 16

        def copy() -> None:
            lanes = k.iota("i32", 32) * 16
            for run in range(chunks.start * CHUNK // RUN, chunks.stop * CHUNK // RUN):
                source = base + step * (DEPTH * rows * 2) + run * (rows * 16)
                k.copy_async(memory, place + run * across, lanes, buffer, source, lanes)

        if isinstance(self.plan.format, DType):
            return [copy]
        reader = _Ahead(k, self.plan, buffer)
        following = k.minimum(step + 1, self.depth // DEPTH - 1)
        coming: list[list[Instruction]] = []
        values: dict[int, list[Callable[[], list[Instruction]]]] = {}

        def convert(n: int, chunk: int, run: int) -> None:
            if run == 0:
                coming.append(self._loads(reader, base, following, chunk))
                reader.held = [v.get() for v in self.ahead[n]]
                values[chunk] = self._values(reader, base, step, chunk)
            held = [v for quad in values[chunk][2 * run : 2 * run + 2] for v in quad()]
            pairs = [k.pack_pair(held[e], held[e + 1]) for e in range(0, RUN, 2)]
            together = zipped(k, zipped(k, pairs[0], pairs[1], 1), zipped(k, pairs[2], pairs[3], 1), 2)
            k.store(memory, place + (chunk * CHUNK // RUN + run) * across, together)
            if run == CHUNK // RUN - 1:
                for v, value in zip(self.ahead[n], coming[n], strict=True):
                    v.set(value)

        return [partial(convert, n, chunk, run) for n, chunk in enumerate(chunks) for run in range(CHUNK // RUN)]

    def _base(self, panel: Instruction, panels: int) -> Instruction:
        return self.k.minimum(panel, panels - 1) * self.plan.nbytes(self.plan.rows, self.depth)

    def _loads(self, reader: _Ahead, base: Instruction, step: Instruction, chunk: int) -> list[Instruction]:
        """What a chunk of a stage is made of, as it lies in memory."""
        reader.taken = []
        self._values(reader, base, step, chunk)
        taken, reader.taken = reader.taken, None
        return taken

    def _load_ahead(self, product: int, number: Instruction, chunks: range, panel: Instruction, panels: int) -> None:
        """Load what the first stage is made of."""
        first = self.k.const(0, "i64")
        if not isinstance(self.plan.format, DType):
            reader = _Ahead(self.k, self.plan, self.buffers[self.products[product].inputs[1]])
            for n, chunk in enumerate(chunks):
                values = self._loads(reader, self._base(panel + number, panels), first, chunk)
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
        loads = [self._loads(reader, zero, zero, chunk) for chunk in range(DEPTH // CHUNK * self.all // WARPS)]
        self.k = k
        return [[k.var(k.zeros(i.elem, i.lanes)) for i in chunk] for chunk in loads]

    def _values(
        self, reader: PanelReader, base: Instruction, step: Instruction, chunk: int
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
                parity = chunk if normal.sub == CHUNK else g % 2
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
        total: list[list[Variable]],
        panel: Instruction,
        panels: int,
        first: Instruction,
        last: Instruction,
    ) -> None:
        """Sums to this warp's part of the memory, and from there row by row through the epilogue."""
        k, rows, wide = self.k, self.plan.rows, self.tile.panels
        assert self.aside is not None
        each = rows // OUTPUTS
        mine = warp * (self.all * each * PADDED)
        for n, sums in enumerate(total):
            for i, v in enumerate(sums):
                k.store(self.aside, mine + (n * wide * each + i) * PADDED, v.get())
        begin = first + warp * 16
        end = k.minimum(begin + 16, last)
        run = run_of(self.group, wide * rows)
        even = isinstance(self.rows, int) and self.rows % 16 == 0
        at_once = rows_at_once(self.group, wide * rows * len(total)) if even else 1
        made = partial(self._row, panel, begin, mine, run)
        filled = self.out_features % rows == 0
        if filled and panels % wide == 0:
            store_rows(k, begin, end, at_once, made)
            return
        for _ in k.when(panel + wide <= panels) if filled else ():
            store_rows(k, begin, end, at_once, made)
        for _ in k.otherwise() if filled else (None,):
            for r in k.loop(begin, end):
                for q in range(wide):
                    numbers = [(n * wide + q) * rows for n in range(len(total))]
                    held = [sums_of_row(k, self.aside, mine, r - begin, number, 1) for number in numbers]
                    for _ in k.when(panel + q < panels):
                        self._store(panel + q, [(r, held)])

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
            values = self.epilogue.all_at([v for v, _ in self.results], index, WARP * run, None, preset)
            for (v, buffer), value in zip(self.results, values, strict=True):
                stores.append(partial(self.operand_of(v, buffer).store, index, value, None))
        return stores
