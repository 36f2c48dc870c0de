"""Large products in blocks that fit the caches: operands are copied into private memory, tiles run over the copies.

A worker takes a block of some bands of rows by a stripe of columns at a time. For each piece of the depth it copies the
stripe of b once, into strips as wide as a tile (32 KB each, which stay in the first-level cache while rows pass), and,
band by band, pieces of rows of a, a little apart (equal distances of a power of two would fall on the same few lines of
the cache). Of a transposed a it copies what a tile takes in the order in which it does: pieces of rows as they lie
would fall on few sets of the cache, for a tile as wide as a third of a line.
Sums stay in private memory until the depth is done, in the order in which tiles come by, so that they are one forward
stream and arrive ahead of their use; then the epilogue runs, to lines that were asked for in time. Nothing is shared
between workers, so there is no barrier, and the order of additions depends on the shape alone. After: Goto and van de
Geijn, Anatomy of High-Performance Matrix Multiplication, 2008.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from ..ir.graph import Node, Value
from ..ir.types import Dim, numel, upper_bound
from ..kernel.builder import KernelBuilder
from ..kernel.ir import ELEMENT_BYTES, Instruction
from ..targets.target import Target
from .elementwise import PointEvaluator
from .group import Dims, Group, TensorOperand, compute_elem, vectors

LINE = 64  # bytes
Upcoming = tuple[Sequence[Instruction], Instruction, Instruction]
"""Of a: the batch, and the row and the element of the depth where the next band begins."""

CROWDED = 2048  # bytes between rows, and multiples of that: eight of them on two of the usual 64 sets
MOST_PRIVATE = 5 << 20  # bytes of sums and copies, on the stack of a thread, which has 8 MiB
PADDING = 16  # elements between the rows of the copy of a: a cache line of f32


def sizes(root: Node) -> tuple[Dim, Dim, Dim]:
    """Rows, depth and columns of a product: a `matmul`, or a `linear` of a matrix or a batch of them."""
    (rows, depth), of_b = root.inputs[0].type.shape[-2:], root.inputs[1].type.shape
    if root.op.name == "linear":
        return rows, depth, of_b[0]
    columns = of_b[-1]
    return (depth, rows, columns) if root.attrs["transpose_a"] else (rows, depth, columns)


@dataclass(frozen=True)
class PackedTile:
    """`rows` by `vectors` accumulators in registers. A block is `bands` bands of `band` rows by `stripe` vectors of
    columns, `depth` at a time. `ahead` 1: the next tile's sums and the next band of a are asked for while a tile runs,
    which pays where private memory outgrows the second-level cache and what lies behind that is slow. `alone` 1: a
    plain matrix on the right of many rows is copied by its product, too, where it would be packed as a weight
    otherwise."""

    rows: int = 6
    vectors: int = 4
    band: int = 258
    stripe: int = 32
    depth: int = 128
    bands: int = 4
    ahead: int = 0
    alone: int = 0

    def __post_init__(self) -> None:
        if not (0 < self.rows <= 16 and 0 < self.vectors <= 4 and self.band % self.rows == 0 and self.band > 0):
            raise ValueError(f"1 to 16 rows, 1 to 4 vectors and bands of whole tiles are needed, got {self}")
        if self.stripe % self.vectors or not 0 < self.stripe <= 64 or not 0 < self.depth <= 1024 or self.band > 512:
            raise ValueError(f"stripes are whole tiles of at most 64 vectors, bands at most 512 rows, got {self}")
        if self.bands <= 0 or not {self.ahead, self.alone} <= {0, 1}:
            raise ValueError(f"a block is at least a band of rows, ahead and alone are 0 or 1, got {self}")
        # vectors of at most 64 bytes, elements of at most 8
        private = (self.bands * self.band + self.depth) * self.stripe * 64 + self.band * (self.depth + PADDING) * 8
        if private > MOST_PRIVATE:
            raise ValueError(f"sums and copies of a block take {MOST_PRIVATE} bytes at most, not {private}: {self}")


def default_tile(target: Target) -> PackedTile:
    """As many accumulators as registers allow, beside the row of b and one element of a."""
    return PackedTile() if target.vector_registers >= 32 else PackedTile(vectors=2, band=72, stripe=32, depth=256)


def fitted(tile: PackedTile, root: Node, target: Target) -> PackedTile:
    """A tile for products of any size, made to fit one of known size.

    Where the depth is one block (a batch's gradients of weights), sums begin and end in registers, and little is kept
    that would have to be asked for `ahead`. What tiles compute past the last row and column then counts as much as the
    loads that a shape takes: as many accumulators in another shape are taken where they save a fortieth of the tiles,
    but none higher where rows of the result lie on the same few sets of a first-level cache.
    """
    rows, depth, columns = sizes(root)
    if not (isinstance(rows, int) and isinstance(columns, int)) or upper_bound(depth) > tile.depth:
        return tile
    lanes = target.lanes_of(ELEMENT_BYTES[compute_elem(root.results[0].type.dtype)])
    area, tile = tile.rows * tile.vectors, replace(tile, ahead=0)

    def tiles(high: int, wide: int) -> int:
        return -(-rows // high) * -(-columns // (wide * lanes))

    most = min(4, tile.stripe, target.vector_registers - area - 1)  # beside the sums, a row of b and an element of a
    crowded = columns * root.results[0].type.dtype.nbytes % CROWDED == 0
    highest = tile.rows if crowded else min(16, tile.band)
    shapes = [(area // n, n) for n in range(2, most + 1) if area % n == 0 and area // n <= highest]
    high, wide = min(shapes, key=lambda shape: tiles(*shape), default=(tile.rows, tile.vectors))
    if tiles(high, wide) * 40 > tiles(tile.rows, tile.vectors) * 39:
        return tile
    band, stripe = tile.band // high * high, tile.stripe // wide * wide
    return replace(tile, rows=high, vectors=wide, band=band, stripe=stripe)


class PackedNest:
    """Builds the kernel of one matmul group."""

    def __init__(self, group: Group, target: Target, name: str, tile: PackedTile) -> None:
        self.group, self.tile = group, tile
        k = self.k = KernelBuilder(name)
        buffers = {v: k.buffer(f"i{n}", "r") for n, v in enumerate(group.inputs)}
        outs = [(v, k.buffer(f"o{n}", "w")) for n, v in enumerate(group.outputs)]
        self.dims = Dims(k, group.symbols)
        self.operands = {v: TensorOperand(k, self.dims, b, v.type) for v, b in buffers.items()}
        self.results = [TensorOperand(k, self.dims, b, v.type) for v, b in outs]
        self.outputs = [v for v, _ in outs]
        self.root = group.root.results[0]
        self.a, self.b = (self.operands[v] for v in group.root.inputs)
        self.elem = compute_elem(self.root.type.dtype)
        self.nbytes = 8 if self.elem in ("f64", "i64") else 4
        self.lanes = target.lanes_of(self.nbytes)
        self.epilogue = PointEvaluator(k, self.dims, self.operands)
        self.batch: tuple[Dim, ...] = self.root.type.shape[:-2]
        _, depth, _ = sizes(group.root)
        self.turned = bool(group.root.attrs["transpose_a"])
        # Rows of all batches that meet one b are rows of one product: b is then copied for all of them.
        self.lead: tuple[Dim, ...] = (self.root.type.shape[-2],)
        if self.batch and self.b.type.rank == 2 and not self.turned and self.a.type.shape[:-2] == self.batch:
            self.batch, self.lead = (), (*self.batch, *self.lead)
        self.rows, self.columns = self.dims.product(self.lead), self.dims(self.root.type.shape[-1])
        self.depth = self.dims(depth)
        self.most_depth = min(tile.depth, max(upper_bound(depth), 1))
        self.single = upper_bound(depth) <= tile.depth  # sums begin and end in registers
        self.width = tile.vectors * self.lanes
        self.stripe = tile.stripe * self.lanes
        # in the copy of a, bytes from a row to the next, from an element of the depth to the next, from tile to tile
        self.row_bytes, self.depth_bytes = (tile.depth + PADDING) * self.nbytes, self.nbytes
        self.tile_bytes = tile.rows * self.row_bytes
        if self.turned:
            self.row_bytes, self.depth_bytes = self.nbytes, tile.rows * self.nbytes
            self.tile_bytes = (tile.depth * tile.rows + PADDING) * self.nbytes
        self.copy_a = k.alloc(tile.band // tile.rows * self.tile_bytes)
        self.copy_b = k.alloc(tile.depth * self.stripe * self.nbytes)
        # rows whose sums are kept, in the order of tiles: by band, strip and tile
        self.most_rows = min(tile.band * tile.bands, _whole(upper_bound(numel(self.lead)), tile.rows))
        kept = tile.rows * self.width if self.single else self.most_rows * self.stripe
        self.sums = k.alloc(kept * self.nbytes)

    def build(self) -> KernelBuilder:
        """The finished builder. Blocks are made of equal height. Where they are few and the workers cannot share them
        evenly, by their number or because the last stripe is narrow, each worker has rows of its own with all their
        stripes."""
        k, tile = self.k, self.tile
        stripes = _ceil(self.columns, self.stripe)
        stripe = _ceil(_ceil(self.columns, k.maximum(stripes, 1)), self.width) * self.width
        batches = self.dims(numel(self.batch))
        blocks = _ceil(self.rows, tile.band * tile.bands)
        items, workers = batches * stripes * blocks, k.workers()
        narrow = k.binary("ne", stripes * stripe, _ceil(self.columns, self.width) * self.width)
        uneven = (items < workers * 8) & (k.binary("ne", items % workers, 0) | narrow)
        blocks = k.select(uneven, _ceil(blocks, workers) * workers, blocks)
        height = _ceil(_ceil(self.rows, k.maximum(blocks, 1)), tile.rows) * tile.rows
        inner = k.select(uneven, stripes, blocks)  # of an item's number, what runs fastest
        for item in k.parallel(batches * stripes * blocks):
            slow, fast = item // inner, item % inner
            batch = item // (stripes * blocks)
            first = k.select(uneven, slow % blocks, fast) * height
            column = k.select(uneven, fast, slow % stripes) * stripe
            for _ in k.when((first < self.rows) & (column < self.columns)):
                index = self.dims.index(self.batch, batch)
                rows = k.minimum(self.rows - first, height)
                columns = k.minimum(self.columns - column, stripe)
                self._block(index, first, rows, column, columns)
        return k

    def _block(
        self,
        batch: Sequence[Instruction],
        first: Instruction,
        rows: Instruction,
        column: Instruction,
        columns: Instruction,
    ) -> None:
        k, tile = self.k, self.tile
        strips, bands = _ceil(columns, self.width), _ceil(rows, tile.band)
        band = _ceil(_ceil(rows, bands), tile.rows) * tile.rows
        for start in k.loop(0, self.depth, tile.depth):
            depth = k.minimum(self.depth - start, tile.depth)
            last = start + depth >= self.depth
            self._copy_b(batch, column, columns, start, depth)
            for number in k.loop(bands):
                at = number * band
                height = k.minimum(rows - at, band)
                tiles = _ceil(height, tile.rows)
                if self.turned:
                    self._copy_turned(batch, first + at, tiles, start, depth)
                else:
                    self._copy_a(batch, first + at, tiles * tile.rows, start, depth)
                upcoming: Upcoming | None = None
                if tile.ahead:
                    more, none = number + 1 < bands, k.const(0, "i64")
                    upcoming = batch, first + k.select(more, at + band, none), start + k.select(more, none, depth)
                for strip in k.loop(strips):
                    for tile_number in k.loop(tiles):
                        row, to = tile_number * tile.rows, strip * self.width
                        corner = [*batch, first + at + row, column + to]
                        place = k.const(0, "i64")
                        if not self.single:
                            place = at * strips + (strip * tiles + tile_number) * tile.rows
                        self._tile(tile_number, tiles, strip, place, depth, start > 0, corner, last, upcoming)
                        for _ in k.when(last):
                            high, wide = k.minimum(height - row, tile.rows), k.minimum(columns - to, self.width)
                            self._finish(corner, place, high, wide)

    def _copy_a(
        self,
        batch: Sequence[Instruction],
        first: Instruction,
        rows: Instruction,
        start: Instruction,
        depth: Instruction,
    ) -> None:
        """Rows past the last repeat it: their sums are not used."""
        k, lanes = self.k, self.lanes
        whole = depth // lanes * lanes
        mask = self.k.first_lanes(depth - whole, self.lanes)
        for m in k.loop(rows):
            row = self._row(batch, k.minimum(first + m, self.rows - 1))
            to = m * self.row_bytes
            for e in k.loop(0, whole, lanes):
                k.store(self.copy_a, to + e * self.nbytes, self._as(self.a.load([*row, start + e], lanes)))
            for _ in k.when(whole < depth):
                last = self._as(self.a.load([*row, start + whole], lanes, mask))
                k.store(self.copy_a, to + whole * self.nbytes, last)

    def _copy_turned(
        self,
        batch: Sequence[Instruction],
        first: Instruction,
        tiles: Instruction,
        start: Instruction,
        depth: Instruction,
    ) -> None:
        """Of each tile the elements in the order in which it takes them; zeros past the last row. Vectors are stored
        whole: what they hold beyond the tile's rows is overwritten by the next element of the depth."""
        k, tile = self.k, self.tile
        lanes = min(self.lanes, 1 << max(tile.rows - 1, 1).bit_length())  # a vector that holds a tile

        def copy(masked: bool) -> None:
            for e in k.loop(depth):
                for t in k.loop(tiles):
                    for m in range(0, tile.rows, lanes):
                        row = first + t * tile.rows + m
                        mask = k.first_lanes(self.rows - row, lanes) if masked else None
                        value = self._as(self.a.load([*batch, start + e, row], lanes, mask))
                        k.store(self.copy_a, t * self.tile_bytes + e * self.depth_bytes + m * self.nbytes, value)

        for _ in k.when(first + tiles * tile.rows + lanes <= self.rows):
            copy(masked=False)
        for _ in k.otherwise():
            copy(masked=True)

    def _copy_b(
        self,
        batch: Sequence[Instruction],
        column: Instruction,
        columns: Instruction,
        start: Instruction,
        depth: Instruction,
    ) -> None:
        """Strips of `width` columns, each whole in depth; zeros past the last column."""
        k, lanes, tile = self.k, self.lanes, self.tile
        whole = columns // self.width
        left = columns - whole * self.width
        masks = [k.first_lanes(left - s * lanes, lanes) for s in range(tile.vectors)]
        for e in k.loop(depth):
            for strip in k.loop(whole):
                self._copy_strip([*batch, start + e], column, strip, e, [None] * tile.vectors)
            for _ in k.when(left > 0):
                self._copy_strip([*batch, start + e], column, whole, e, masks)

    def _copy_strip(
        self,
        row: Sequence[Instruction],
        column: Instruction,
        strip: Instruction,
        e: Instruction,
        masks: Sequence[Instruction | None],
    ) -> None:
        k, lanes = self.k, self.lanes
        to = (strip * self.tile.depth + e) * (self.width * self.nbytes)
        for s, mask in enumerate(masks):
            value = self.b.load([*row, column + strip * self.width + s * lanes], lanes, mask)
            k.store(self.copy_b, to + s * lanes * self.nbytes, self._as(value))

    def _ask_for_results(self, corner: Sequence[Instruction]) -> None:
        """The lines of one row of a tile that the epilogue writes."""
        k, (*batch, row, column) = self.k, corner
        place = self._row(batch, row)
        for out in self.results:
            for c in range(0, self.width, LINE // out.type.dtype.nbytes):
                k.prefetch(out.buffer, out.offset([*place, column + c]))

    def _share(self) -> int:
        """Elements of a row of a's next band that are asked for with each strip: whole lines, all of them by the last
        strip of a whole stripe."""
        line, strips = LINE // self.a.type.dtype.nbytes, self.tile.stripe // self.tile.vectors
        return -(-self.tile.depth // (line * strips)) * line

    def _ask_for_next(
        self, row: Instruction, turn: Instruction, strip: Instruction, place: Instruction, upcoming: Upcoming
    ) -> None:
        """What is asked for with row `row` of a band and a strip, the `turn`-th of all such pairs: the lines of a row
        of the next tile's sums, and a share of the next band of a: of the same row, or an element of the depth."""
        k, tile, (batch, first, element) = self.k, self.tile, upcoming
        line = LINE // self.a.type.dtype.nbytes
        if not self.single:
            for s in range(tile.vectors):
                k.prefetch(self.sums, ((place + tile.rows) * self.width + s * self.lanes) * self.nbytes)
        if self.turned:
            for _ in k.when(turn < tile.depth):
                for m in (*range(0, tile.band - 1, line), tile.band - 1):  # rows need not begin with a line
                    k.prefetch(self.a.buffer, self.a.offset([*batch, element + turn, first + m]))
            return
        index = self._row(batch, k.minimum(first + row, self.rows - 1))
        for n in range(0, self._share(), line):
            k.prefetch(self.a.buffer, self.a.offset([*index, element + strip * self._share() + n]))

    def _tile(
        self,
        number: Instruction,
        tiles: Instruction,
        strip: Instruction,
        place: Instruction,
        depth: Instruction,
        more: Instruction,
        corner: Sequence[Instruction],
        last: Instruction,
        upcoming: Upcoming | None,
    ) -> None:
        """Tile `number` of the `tiles` of a band times a strip, added to its sums if there are some (`more`). In the
        last block of the depth the results' lines are asked for a row at a time: more at once would hold up the loads
        of the operands."""
        k, lanes, size, tile, (*batch, top, left) = self.k, self.lanes, self.nbytes, self.tile, corner
        at = [[((place + m) * self.width + s * lanes) * size for s in range(tile.vectors)] for m in range(tile.rows)]
        begun = None if self.single else k.splat(more, lanes)
        acc = [
            [
                k.var(k.zeros(self.elem, lanes) if self.single else k.load(self.sums, a, self.elem, lanes, begun))
                for a in line
            ]
            for line in at
        ]
        floats, share = self.elem in ("f32", "f64"), -(-self.most_depth // tile.rows)
        from_a, from_b = number * self.tile_bytes, strip * (tile.depth * self.width * size)
        for part in k.loop(tile.rows):
            for _ in k.when(last):
                self._ask_for_results([*batch, top + part, left])
            if upcoming is not None:
                row = number * tile.rows + part
                self._ask_for_next(row, strip * tiles * tile.rows + row, strip, place + part, upcoming)
            for e in k.loop(part * share, k.minimum((part + 1) * share, depth)):
                row_of_b = [
                    k.load(self.copy_b, from_b + (e * self.width + s * lanes) * size, self.elem, lanes)
                    for s in range(tile.vectors)
                ]
                for m, line in enumerate(acc):
                    at_a = from_a + (e * self.depth_bytes + m * self.row_bytes)
                    x = k.splat(k.load(self.copy_a, at_a, self.elem), lanes)
                    for vector, var in zip(row_of_b, line, strict=True):
                        var.set(k.fma(x, vector, var.get()) if floats else x * vector + var.get())
        for places, line in zip(at, acc, strict=True):
            for sums, var in zip(places, line, strict=True):
                k.store(self.sums, sums, var.get())

    def _finish(
        self, corner: Sequence[Instruction], place: Instruction, rows: Instruction, columns: Instruction
    ) -> None:
        """Epilogue and stores of a tile, whose sums are still in the first-level cache."""
        k, lanes, (*batch, first, column) = self.k, self.lanes, corner
        for m in k.loop(rows):
            row = self._row(batch, first + m)
            for c, mask in vectors(k, k.const(0, "i64"), columns, lanes):
                self._store([*row, column + c], ((place + m) * self.width + c) * self.nbytes, mask)

    def _store(self, index: Sequence[Instruction], at: Instruction, mask: Instruction | None) -> None:
        k = self.k
        preset: dict[Value, Instruction] = {self.root: k.load(self.sums, at, self.elem, self.lanes)}
        done = self.epilogue.all_at(self.outputs, index, self.lanes, mask, preset)
        for operand, out in zip(self.results, done, strict=True):
            operand.store(index, out, mask)

    def _row(self, batch: Sequence[Instruction], row: Instruction) -> list[Instruction]:
        """The index of a row but for its last axis."""
        return [*batch, *self.dims.index(self.lead, row)]

    def _as(self, value: Instruction) -> Instruction:
        return self.k.convert(value, self.elem)


def _whole(count: int, lanes: int) -> int:
    return -(-count // lanes) * lanes


def _ceil(a: Instruction, b: Instruction | int) -> Instruction:
    return (a + (b - 1)) // b
