"""Schedule of `linear` for many rows on a GPU's tensor cores: y[n, o] = sum_k x[n, k] * w[o, k] in tiles of 16 rows
by 8 outputs, from the same panels and the same int8 activations as `linear` takes elsewhere.

Weights in blocks stay integers: a product over one sub-block is exact, and is then scaled by what the format's normal
form says. Plain bf16 and f16 weights are multiplied with activations of their dtype. Sums go through private memory to
rows, where the epilogue takes them.
"""

from __future__ import annotations

from collections.abc import Sequence

from ..ir.types import DType, bf16, f16, numel, upper_bound
from ..kernel.builder import KernelBuilder, Variable
from ..kernel.ir import Instruction, Kernel
from ..quant.activation import ActivationFormat
from ..quant.format import BlockFormat
from ..quant.panel import CHUNK
from ..targets.target import Target
from . import dot, linear
from .dot import PanelReader
from .group import Accept, Group, Refuse
from .linear_tile import LinearTile

ROOTS = ("linear",)
TILE = 16  # rows of a tensor core tile
OUTPUTS = 8  # outputs of one
FRAGMENT = 128  # sums of a tile, 4 in each thread
ROW_TILES = 2  # tiles of rows that a worker computes at once; with four, fewer workers fit and all are slower
BYTES = 32  # of K that one instruction multiplies


def accepts(group: Group, target: Target) -> Accept | Refuse:
    """What `linear` accepts, of many rows and on a GPU, of formats whose sub-blocks are whole instructions."""
    verdict = linear.accepts(group, target)
    if isinstance(verdict, Refuse):
        return verdict
    if not target.gpu:
        return Refuse("a core has no tensor cores")
    x, w = group.root.inputs
    rows = upper_bound(numel(x.type.shape[:-1]))
    if rows < TILE:
        return Refuse(f"{rows} rows: fewer than a tile")
    if isinstance(x.type.element, ActivationFormat):
        assert isinstance(w.type.element, BlockFormat)
        normal = w.type.element.normal
        assert normal is not None
        if normal.sub % BYTES:
            return Refuse(f"a scale for every {normal.sub} elements: an instruction multiplies {BYTES}")
        row_bytes = x.type.element.row_bytes(upper_bound(x.type.shape[-1]))
    elif x.type.element in (bf16, f16) and w.type.element == x.type.element:
        if upper_bound(x.type.shape[-1]) % (2 * TILE) or w.type.layout.run != 8:  # type: ignore[union-attr]
            return Refuse(f"rows of {x.type.shape[-1]} elements are no whole steps")
        row_bytes = 2 * upper_bound(x.type.shape[-1])
    else:
        return Refuse(f"{x.type.element} with {w.type.element}: tensor cores here take bytes, bf16 or f16")
    if rows * row_bytes >= 1 << 31:
        return Refuse("activations of 2 GiB and more")
    return Accept()


def build(group: Group, target: Target, name: str) -> Kernel:
    """x: (..., K) bf16, f16 or int8 activations, w: (O, K) in panels, outputs (..., O). Reads w once for each tile."""
    x, w = group.root.inputs
    plan = w.type.layout.plan(w.type.element)  # type: ignore[union-attr]
    wide = 1 if isinstance(x.type.element, ActivationFormat) else 2
    rows = numel(x.type.shape[:-1])
    height = TILE * ROW_TILES
    tile = LinearTile((height, 1), panels=wide, block=height)
    return _Tiles(group, target, name, plan, tile, rows).build()


class _Tiles(linear._Nest):
    """A worker computes a few tiles of rows of one panel, or two."""

    @property
    def tiles(self) -> range:
        """The tiles of 16 rows that a worker computes at once."""
        return range(self.tile.tokens[0] // TILE)

    def private(self) -> Instruction:
        return self.k.alloc(4 * self.plan.rows * self.tile.tokens[0] * self.tile.panels * len(self.products))

    def _tiles(self, panel: Instruction, wide: int, first: Instruction, last: Instruction) -> None:
        k, panels = self.k, range(wide)
        assert self.aside is not None
        size = len(self.tiles) * wide * 4 * FRAGMENT * 4
        for n, product in enumerate(self.products):
            sums = self._sums(self.buffers[product.inputs[1]], panel, wide, first, last)
            for m in self.tiles:
                for p in panels:
                    for i in range(4):
                        at = n * size + ((m * wide + p) * 4 + i) * FRAGMENT * 4
                        k.store(self.aside, at, sums[m][p][i])
        lane = k.iota("i32", self.plan.rows)
        column = lane & (OUTPUTS - 1)
        lanes = (lane >> 3) * (FRAGMENT * 4) + (column >> 1) * 16 + (column & 1) * 4
        for r in k.loop(first, last):
            place = r - first
            low = place & (TILE - 1)
            start = (place >> 4) * (wide * 4 * FRAGMENT * 4) + (low & 7) * 64 + (low >> 3) * 8
            for q in panels:
                where = start + q * (4 * FRAGMENT * 4)
                held = [k.gather(self.aside, where + n * size, lanes, "f32") for n in range(len(self.products))]
                self._store(panel + q, [(r, held)])

    def _sums(
        self, w: Instruction, panel: Instruction, wide: int, first: Instruction, last: Instruction
    ) -> list[list[list[Instruction]]]:
        """Sums [tile of rows][panel][8 outputs], f32 in a fragment's order."""
        k = self.k
        total = [[[k.var(k.zeros("f32", FRAGMENT)) for _ in range(4)] for _ in range(wide)] for _ in self.tiles]
        bases = [(panel + p) * self.plan.nbytes(self.plan.rows, self.depth) for p in range(wide)]
        if isinstance(self.x.type.element, DType):
            self._plain(w, bases, total, self._rows(first, last, 0))
        else:
            assert isinstance(self.x.type.element, ActivationFormat)
            for plane in range(self.x.type.element.planes):
                self._integers(w, bases[0], total, first, last, plane)
        return [[[v.get() for v in line] for line in tile] for tile in total]

    def _rows(self, first: Instruction, last: Instruction, start: int) -> list[list[Instruction]]:
        """Byte offsets (32 threads) of row t / 4 of each half tile; rows past the last read the last.

        `start`: bytes from a row's start.
        """
        k = self.k
        group = k.iota("i32", 32) >> 2
        most = k.splat(k.convert(last - 1, "i32"), 32)
        begin = k.splat(k.convert(first, "i32"), 32)
        return [
            [k.minimum(begin + (group + (m * TILE + half * 8)), most) * self.row_bytes + start for half in range(2)]
            for m in self.tiles
        ]

    def _words(self, rows: Sequence[Instruction], at: Instruction) -> Instruction:
        """Operand a of a tile: 4 words of each thread, as i32 (128)."""
        k, x = self.k, self.buffers[self.x]
        place = (k.iota("i32", 32) & 3) * 4
        words = [k.gather(x, at + more, row + place, "i32") for more in (0, 16) for row in rows]
        return zipped(k, zipped(k, words[0], words[1], 1), zipped(k, words[2], words[3], 1), 2)

    def _plain(
        self,
        w: Instruction,
        bases: Sequence[Instruction],
        total: list[list[list[Variable]]],
        rows: Sequence[Sequence[Instruction]],
    ) -> None:
        """Halves: 8 neighbours of each of 32 rows lie together, so that a tile's operand is two loads."""
        k, run = self.k, 8
        stride = self.plan.rows * run * 2
        for at in k.loop(0, self.depth, 2 * TILE):
            for step in (0, TILE):
                a = [k.bitcast(self._words(rows[m], (at + step) * 2), "i16") for m in self.tiles]
                for p, base in enumerate(bases):
                    for i in range(4):
                        where = base + (at + step) // run * stride + i * (OUTPUTS * run * 2)
                        halves = [k.load(w, where + n * stride, "i32", 32) for n in range(2)]
                        b = k.bitcast(zipped(k, halves[0], halves[1], 1), "i16")
                        for m in self.tiles:
                            sum_ = total[m][p][i]
                            sum_.set(k.mma(sum_.get(), a[m], b, self.x.type.dtype.name))

    def _integers(
        self,
        w: Instruction,
        base: Instruction,
        total: list[list[list[Variable]]],
        first: Instruction,
        last: Instruction,
        plane: int,
    ) -> None:
        """Sub-block by sub-block: an exact integer sum, scaled by weight and activation, and what an offset adds."""
        k, plan, depth = self.k, self.plan, self.depth
        format = self.x.type.element
        assert isinstance(format, ActivationFormat)
        reader = PanelReader(k, plan, w)
        reader.flush = True
        normal, block = reader.normal, plan.format.block
        rows = self._rows(first, last, plane * format.plane_bytes(depth))
        subs, chunks = block // normal.sub, normal.sub // CHUNK
        pair = 2 if dot.has_nibble_pairs(reader) else 1  # the nibble of a scale is known in a body of two sub-blocks
        pair = min(pair, subs)
        for b in k.loop(depth // block):
            packed = base + b * reader.block_bytes()
            scales = [self._of_rows(rows[m], b * 4 + format.scales_at(depth), "f32") for m in self.tiles]
            for j0 in k.loop(0, subs, pair):
                for g in range(pair):
                    j = j0 + g
                    sums = [[k.var(k.zeros("i32", FRAGMENT)) for _ in range(4)] for _ in self.tiles]
                    at_sum = (b * subs + j) * 4 + format.sums_at(depth)
                    if normal.offset is None and format.factor:
                        for m in self.tiles:
                            start = self._of_rows(rows[m], at_sum, "i32")
                            for v in sums[m]:
                                v.set(start)
                    for c in k.loop(chunks) if chunks > 1 else [k.const(0, "i64")]:
                        chunk = j * chunks + c
                        codes = packed + chunk * plan.chunk_bytes + plan.chunk_offset
                        a = [k.bitcast(self._words(rows[m], b * block + chunk * CHUNK), "i8") for m in self.tiles]
                        for i in range(4):
                            operand = self._codes(reader, codes, i)
                            for m in self.tiles:
                                sums[m][i].set(k.mma(sums[m][i].get(), a[m], operand, "i8"))
                    self._scaled(reader, packed, j, g % 2, sums, scales, total)
                    if normal.offset is not None:
                        weighed = [self._of_rows(rows[m], at_sum, "f32") for m in self.tiles]
                        offset = dot.offset_of(k, reader, packed, j, g % 2)
                        assert offset is not None
                        for i in range(4):
                            here = self._of_outputs(offset, i)
                            for m in self.tiles:
                                sum_ = total[m][0][i]
                                sum_.set(k.fma(here, weighed[m], sum_.get()))

    def _scaled(
        self,
        reader: PanelReader,
        packed: Instruction,
        j: Instruction,
        parity: int,
        sums: list[list[Variable]],
        scales: list[Instruction],
        total: list[list[list[Variable]]],
    ) -> None:
        k = self.k
        factor = dot.scale_of(k, reader, packed, j, parity)
        for i in range(4):
            here = self._of_outputs(factor, i)
            for m in self.tiles:
                value = k.convert(sums[m][i].get(), "f32") * here
                sum_ = total[m][0][i]
                sum_.set(k.fma(value, scales[m], sum_.get()))

    def _of_outputs(self, values: Instruction, i: int) -> Instruction:
        """A value for each of a panel's rows, as the fragment of its i-th 8 outputs wants it."""
        lanes = [i * OUTPUTS + 2 * (n // 4 % 4) + n % 2 for n in range(FRAGMENT)]
        return self.k.shuffle(values, values, lanes)

    def _of_rows(self, rows: Sequence[Instruction], at: Instruction, elem: str) -> Instruction:
        """A value for each of a tile's rows of activations, as a fragment wants it: two for a thread, each twice."""
        k, x = self.k, self.buffers[self.x]
        low, high = (k.gather(x, at, row, elem) for row in rows)
        return zipped(k, zipped(k, low, low, 1), zipped(k, high, high, 1), 2)

    def _codes(self, reader: PanelReader, chunk: Instruction, i: int) -> Instruction:
        """Operand b of outputs 8 i .. of a chunk: quad t % 4 of row t / 4, and the quad four further, unsigned bytes.

        A plane of p bits holds quad q in vector q % p at bit p * (q / p).
        """
        k, rows = self.k, self.plan.rows
        thread = k.iota("i32", 32)
        row, quad = ((thread >> 2) + i * OUTPUTS) * 4, thread & 3
        words: list[Instruction | None] = [None, None]
        for plane in self.plan.planes:
            p = plane.bits
            held: dict[int, Instruction] = {}
            for half in range(2):
                vector = quad + 4 * half if p == 8 else quad & (p - 1)
                which = half if p == 8 else 0
                if which not in held:
                    held[which] = k.gather(reader.buffer, chunk + plane.offset, row + vector * (4 * rows), "i32")
                bits = held[which]
                if p < 8:
                    shift = ((quad + 4 * half) >> (p.bit_length() - 1)) * p
                    bits = k.binary("lshr", bits, shift) & (0x01010101 * ((1 << p) - 1))
                if plane.into_bit:
                    bits = bits << plane.into_bit
                before = words[half]
                words[half] = bits if before is None else before | bits
        done = [w for w in words if w is not None]
        if reader.codes.values is not None:
            done = [k.bitcast(k.table(reader.codes.values, k.bitcast(d, "i8")), "i32") for d in done]
        return k.bitcast(zipped(k, done[0], done[1], 1), "i8")


def zipped(k: KernelBuilder, a: Instruction, b: Instruction, run: int) -> Instruction:
    """Runs of a and b in turn: with `run` elements in each thread, a thread's own of both."""
    lanes = a.lanes
    order = [part * lanes + n + e for n in range(0, lanes, run) for part in range(2) for e in range(run)]
    return k.shuffle(a, b, order)


def operand_a(k: KernelBuilder, words: Sequence[Instruction]) -> Instruction:
    """Operand a of `mma` of a thread's pairs: of both its rows the first eight columns, then of both the others."""
    together = zipped(k, zipped(k, words[0], words[1], 1), zipped(k, words[2], words[3], 1), 2)
    return k.bitcast(together, "i16")


def packed(k: KernelBuilder, values: Sequence[Instruction], kind: str) -> list[Instruction]:
    """Sums of 8 columns each as operands a of 16."""
    operands = []
    for n in range(0, len(values), 2):
        words = []
        for v in values[n : n + 2]:
            parts = [k.shuffle(v, v, range(e, FRAGMENT, 4)) for e in range(4)]
            words += [k.pack_pair(parts[2 * h], parts[2 * h + 1], kind) for h in range(2)]
        operands.append(operand_a(k, words))
    return operands
