"""Products of packed weights with activations, derived from the formats: unpacking, integer dots, float dots.

A tile is `tokens` rows of activations by `panels` panels of weights; one vector register holds a weight row per lane.
Schedules (`gemv`, `matmul`) place tiles; this module writes their inside. It knows formats by their normal form only.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from ..ir.types import DType
from ..kernel.builder import KernelBuilder, Variable
from ..kernel.ir import Instruction
from ..kernel.warp import WARP
from ..quant.activation import ActivationFormat, activation_format
from ..quant.algebra import Factor
from ..quant.format import BlockFormat
from ..quant.panel import CHUNK, QUAD, PanelParam, PanelPlan
from .group import COMPUTE

LINE = 64  # bytes of a cache line, or less
LONG = 2  # chunks of a sub-block up to which they are written out

Tile = list[list[Instruction]]  # [token][panel], one accumulator vector each
Step = Callable[[Instruction, int, Sequence[Instruction]], None]
Walk = Callable[[int, int], Iterator[tuple[Instruction, list[Instruction]]]]
"""How a depth is passed: given how many steps there are and the bytes of each in a panel, a loop over numbers of steps
and the places where they lie, one for each panel."""


def along(k: KernelBuilder, panels: Sequence[Instruction], part: tuple[Instruction, int] | None = None) -> Walk:
    """Step by step through panels that begin at those offsets; with `part` (s, T), part s of T of the steps."""

    def walk(count: int, nbytes: int) -> Iterator[tuple[Instruction, list[Instruction]]]:
        for b in k.loop(*_range(count, part)):
            yield b, [p + b * nbytes for p in panels]

    return walk


@dataclass(frozen=True)
class CodeTable:
    """The code as the integer dot takes it: unsigned, after the table, with the zero point that goes with it."""

    values: tuple[int, ...] | None
    zero: int
    maximum: int


def code_table(format: BlockFormat) -> CodeTable:
    """How stored codes become unsigned bytes.

    A table with negative entries is shifted up, and the zero point with it.
    """
    normal = format.normal
    assert normal is not None
    if normal.table is None:
        return CodeTable(None, normal.zero, (1 << normal.width) - 1)
    low = min(0, *normal.table)
    shifted = tuple(v - low for v in normal.table)
    padded = shifted + (0,) * (16 - len(shifted))
    return CodeTable(tuple(v if v < 128 else v - 256 for v in padded), normal.zero - low, max(shifted))


def partner(format: BlockFormat, planes: int = 1, most: int = 0) -> ActivationFormat:
    """The activation format that a weight format is multiplied with: scales as wide as the weight's block, or as `most`
    elements where that is less.
    """
    normal = format.normal
    assert normal is not None
    block = min(format.block, most or format.block)
    sub = min(normal.sub, block)
    if normal.offset is not None:
        return activation_format(block, sub, "f32", 1, planes)
    return activation_format(block, sub, "i32", -code_table(format).zero, planes)


def refusal(format: BlockFormat) -> str | None:
    """Why the integer dot cannot take a format; None where it can."""
    normal = format.normal
    if normal is None:
        return f"{format.name} has no normal form: {format.reason}"
    if normal.offset is not None and normal.zero:
        return f"{format.name} has both a zero point and an offset"
    if normal.sub % QUAD or (CHUNK % normal.sub and normal.sub % CHUNK):
        return f"a scale for every {normal.sub} elements does not line up with chunks of {CHUNK}"
    return None


def small_float(k: KernelBuilder, byte: Instruction, kind: str, flush: bool = False) -> Instruction:
    """The f32 value of a one-byte float held in i32: e8m0 or ue4m3, both halved, as the doubled FP4 tables want them.

    `flush`: e8m0's two denormals (2 ** -128 and 2 ** -127) become 0, which saves registers inside of a product.

    Source: GGUF's MXFP4 and NVFP4 blocks. e8m0: 2 ** (byte - 128). ue4m3: 0 and 0x7f are 0, the top bit is not read.
    """
    if kind == "e8m0" and flush:
        return k.bitcast((k.maximum(byte, 1) - 1) << 23, "f32")
    if kind == "e8m0":  # below byte 2 the result is a denormal of f32
        small = k.select(k.binary("eq", byte, 0), k.const(0x00200000, "i32", byte.lanes), 0x00400000)
        return k.bitcast(k.select(byte < 2, small, (byte - 1) << 23), "f32")
    exponent, mantissa = (byte >> 3) & 15, byte & 7
    normal = k.bitcast((exponent << 23) + (mantissa << 20) + (119 << 23), "f32")
    small = k.convert(mantissa, "f32") * 2.0**-10
    value = k.select(k.binary("eq", exponent, 0), small, normal)
    return k.select(k.binary("eq", byte & 0x7F, 0x7F), 0.0, value)


def value_of(
    k: KernelBuilder, codes: Instruction, table: CodeTable, scale: Instruction, offset: Instruction | None
) -> Instruction:
    """f32 values of a vector of stored codes (bytes): scale * (t(code) - zero) + offset."""
    if table.values is not None:
        codes = k.table(table.values, codes)
    value = k.convert(k.convert(codes, "i32", signed=False) - table.zero, "f32")
    scale = k.splat(scale, value.lanes)
    return value * scale if offset is None else k.fma(value, scale, k.splat(offset, value.lanes))


class PanelReader:
    """Reads one packed matrix. `base` arguments are byte offsets of a packed block.

    `flush`: denormals of one-byte floats become 0. `adds`: small integers become floats by an addition, as a GPU
    converts few at a time, but adds many.
    """

    def __init__(self, k: KernelBuilder, plan: PanelPlan, buffer: Instruction) -> None:
        self.k, self.plan, self.buffer, self.rows = k, plan, buffer, plan.rows
        assert isinstance(plan.format, BlockFormat)
        self.format = plan.format
        normal = plan.format.normal
        assert normal is not None
        self.normal = normal
        self.codes = code_table(plan.format)
        self.flush = False
        self.adds = False

    def chunk(self, base: Instruction) -> list[Instruction]:
        """The 8 quads of a chunk: vectors of 4 * rows unsigned bytes, byte 4 * r + b for row r and element 4 * quad +
        b.
        """
        k, width = self.k, QUAD * self.rows
        if self.rows >= WARP:
            return [k.bitcast(q, "i8") for q in self.words(base)]
        quads = self._quads(lambda offset: k.load(self.buffer, base + offset, "i8", width), 1)
        if self.codes.values is not None:
            quads = [k.table(self.codes.values, q) for q in quads]
        return quads

    def words(self, base: Instruction) -> list[Instruction]:
        """The same as i32 words, a row a lane: byte b for element 4 * quad + b. GPUs shift no bytes, but words."""
        k = self.k
        quads = self._quads(lambda offset: self.load(base + offset, "i32", self.rows), 0x01010101)
        if self.codes.values is not None:
            quads = [k.bitcast(k.table(self.codes.values, k.bitcast(q, "i8")), "i32") for q in quads]
        return quads

    def _quads(self, load: Callable[[int], Instruction], ones: int) -> list[Instruction]:
        """Stored codes of a chunk, quad by quad, put together from their planes. `load` takes bytes from the chunk's
        start; `ones` has the lowest bit of every byte of a lane."""
        k, width = self.k, QUAD * self.rows
        quads: dict[int, Instruction] = {}
        for plane in self.plan.planes:
            p = plane.bits
            for v in range(p):
                packed = load(plane.offset + v * width)
                for s in range(8 // p):
                    bits = packed if p == 8 else k.binary("and", packed >> (p * s), ones * ((1 << p) - 1))
                    bits = bits << plane.into_bit
                    quad = v + p * s
                    quads[quad] = quads[quad] | bits if quad in quads else bits
        return [quads[quad] for quad in sorted(quads)]

    def param(self, name: str, base: Instruction, j: int | Instruction, parity: int = 0) -> Instruction:
        """Value j of a scalar field for every row, floats as f32 and integers as i32.

        `parity`: j % 2, for nibble pairs.
        """
        p = self.plan.param(name)
        return self.decode(p, self.read(p, base, j), parity)

    def load(self, offset: Instruction, elem: str, lanes: int) -> Instruction:
        return self.k.load(self.buffer, offset, elem, lanes)

    def read(self, p: PanelParam, base: Instruction, j: int | Instruction) -> Instruction:
        width = {"f16": 2, "bf16": 2, "f32": 4, "u16": 2, "i16": 2}.get(p.storage, 1)
        elem = {"f16": "f16", "f32": "f32"}.get(p.storage, {1: "i8", 2: "i16"}[width] if width < 4 else "i32")
        index = j if p.storage != "u4" else (j // 2 if isinstance(j, int) else j >> 1)
        return self.load(base + (index * (self.plan.rows * width) + p.offset), elem, self.rows)

    def decode(self, p: PanelParam, raw: Instruction, parity: int) -> Instruction:
        k = self.k
        if p.storage == "u4":
            raw = k.binary("and", raw >> (4 * parity), 15)
        if p.storage in ("f16", "f32"):
            return k.convert(raw, "f32")
        if p.storage == "bf16":
            return k.bitcast(k.convert(raw, "i32", signed=False) << 16, "f32")
        if p.storage in ("e8m0", "ue4m3"):
            return small_float(k, k.convert(raw, "i32", signed=False), p.storage, self.flush)
        return k.convert(raw, "i32", signed=p.storage.startswith("i"))

    def floats(self, factor: Factor, base: Instruction, j: int | Instruction, parity: int) -> Instruction | None:
        """The product of a factor's float scalars and constant, without its integer; None where it is 1."""
        product: Instruction | None = None
        for name in factor.floats:
            p = self.plan.param(name)
            index: int | Instruction = 0 if p.count == 1 else self._index(p, j)
            value = self.param(name, base, index, parity)
            product = value if product is None else product * value
        if factor.constant != 1.0:
            product = (
                product * factor.constant if product is not None else self.k.const(factor.constant, "f32", self.rows)
            )
        return product

    def integer(self, factor: Factor, base: Instruction, j: int | Instruction, parity: int) -> Instruction | None:
        """The factor's integer scalar plus bias as i32; None where it has none."""
        if factor.integer is None:
            return None
        name, bias = factor.integer
        p = self.plan.param(name)
        value = self.param(name, base, 0 if p.count == 1 else self._index(p, j), parity)
        return value + bias if bias else value

    def scaled(
        self, value: Instruction | None, factor: Factor, base: Instruction, j: int | Instruction, parity: int
    ) -> Instruction | None:
        """A factor's floats, or some of them, times its integer, in f32; None for 1."""
        integer = self.integer(factor, base, j, parity)
        if integer is None:
            return value
        as_float = self.to_float(integer)
        return as_float if value is None else value * as_float

    def to_float(self, value: Instruction) -> Instruction:
        """i32 values of a factor, between -2 ** 22 and 2 ** 22, as f32."""
        if self.adds:
            return self.k.bitcast(value + 0x4B400000, "f32") - float(3 << 22)
        return self.k.convert(value, "f32")

    def _index(self, p: PanelParam, j: int | Instruction) -> int | Instruction:
        """Index of sub-block j in a field that may have fewer values than the block has sub-blocks."""
        each = (self.format.block // self.normal.sub) // p.count
        if each == 1:
            return j
        return j // each

    def varies(self, factor: Factor) -> bool:
        """Whether the factor's floats differ between the sub-blocks of a block."""
        return any(self.plan.param(name).count > 1 for name in factor.floats)

    def block_bytes(self) -> int:
        return self.plan.block_bytes


def has_nibble_pairs(reader: PanelReader) -> bool:
    return any(p.storage == "u4" for p in reader.plan.params)


def integer_tile(
    k: KernelBuilder,
    reader: PanelReader,
    activation: ActivationFormat,
    panels: Sequence[Instruction],
    x: Instruction,
    rows: Sequence[Instruction],
    depth: int,
    prefetch: int = 0,
    walk: Walk | None = None,
) -> Tile:
    """Accumulators of an integer tile over the whole depth, or over the blocks that `walk` passes.

    `panels`: byte offsets of the panels in the weights; `rows`: byte offsets of the activation rows in `x`; `depth`: K;
    `prefetch`: how many bytes ahead of their use weights are asked for, 0 for not at all.
    Sum over sub-blocks of scale_j * a_scale * (dot(code, a) - zero * a_sum) + offset_j * (a_scale * a_sum).
    """
    reader.flush = True
    lanes, normal, format = reader.rows, reader.normal, reader.format
    tokens, wide = range(len(rows)), range(len(panels))
    total = [[k.var(k.zeros("f32", lanes)) for _ in wide] for _ in tokens]
    subs = format.block // normal.sub
    chunks = format.block // CHUNK
    step = 1
    if has_nibble_pairs(reader) and normal.sub >= CHUNK:
        step = 2 * (normal.sub // CHUNK)  # a loop body sees an even and an odd sub-block, so that the nibble is known
    step = min(max(step, normal.sub // CHUNK), chunks)
    in_block = normal.scale.integer is not None or reader.varies(normal.scale)
    for b, bases in (walk or along(k, panels))(depth // format.block, reader.block_bytes()):
        alone = subs == 1 and chunks > LONG
        several = (in_block or chunks > step) and not alone
        partial = [[k.var(k.zeros("f32", lanes)) for _ in wide] for _ in tokens] if several else None
        sums: list[list[Instruction]] | None = None
        if alone:
            sums = _one_sub_block(k, reader, activation, bases, x, rows, depth, b, total, prefetch)
        elif chunks == step:
            _prefetch(k, reader.buffer, bases, reader.block_bytes(), prefetch)
            sums = _chunks(k, reader, activation, bases, x, rows, depth, b, 0, step, total, partial)
        else:
            ahead = -(-reader.block_bytes() * step // (chunks * LINE)) * LINE
            for c in k.loop(0, chunks, step):
                _prefetch(k, reader.buffer, [base + c * (ahead // step) for base in bases], ahead, prefetch)
                _chunks(k, reader, activation, bases, x, rows, depth, b, c, step, total, partial)
        for m in tokens:
            scale = k.load(x, rows[m] + (b * 4 + activation.scales_at(depth)), "f32")
            for p in wide:
                whole = partial[m][p].get() if partial is not None else sums[m][p] if sums is not None else None
                assert whole is not None
                value = whole if partial is not None else k.convert(whole, "f32")
                factor = None if reader.varies(normal.scale) else reader.floats(normal.scale, bases[p], 0, 0)
                if factor is not None:
                    value = value * factor
                total[m][p].set(k.fma(value, k.splat(scale, lanes), total[m][p].get()))
    return [[v.get() for v in row] for row in total]


def dense_unroll(plan: PanelPlan, depth: int) -> int:
    """Elements of K in one step of a plain row: four loads of a run where that divides the depth."""
    return next((n for n in (4 * plan.run, 2 * plan.run) if n >= 8 and depth % n == 0), max(8, plan.run))


def _range(count: int, part: tuple[Instruction, int] | None) -> tuple[Instruction | int, Instruction | int]:
    """Where part s of T of so many steps begins and ends."""
    if part is None:
        return 0, count
    s, parts = part
    return s * count // parts, (s * count + count) // parts


def _one_sub_block(
    k: KernelBuilder,
    reader: PanelReader,
    activation: ActivationFormat,
    bases: Sequence[Instruction],
    x: Instruction,
    rows: Sequence[Instruction],
    depth: int,
    b: Instruction,
    total: list[list[Variable]],
    prefetch: int,
) -> list[list[Instruction]]:
    """Dots of block b where one sub-block is all of it: a loop over its chunks that carries the integer sums.

    Written out at once, as `_chunks` does, the many chunks take long to compile and run no faster.
    """
    lanes, normal, block = reader.rows, reader.normal, reader.format.block
    starts: list[Instruction] = []
    for m, row in enumerate(rows):
        sums_at = row + (b * 4 + activation.sums_at(depth))
        if normal.offset is None:
            starts.append(k.splat(k.load(x, sums_at, "i32"), lanes) if activation.factor else k.zeros("i32", lanes))
            continue
        starts.append(k.zeros("i32", lanes))
        weighed = k.splat(k.load(x, sums_at, "f32"), lanes)
        for p, base in enumerate(bases):
            offset = offset_of(k, reader, base, 0, 0)
            assert offset is not None
            total[m][p].set(k.fma(offset, weighed, total[m][p].get()))
    sums = [[k.var(start) for _ in bases] for start in starts]
    part = -(-reader.block_bytes() * CHUNK // (block * LINE)) * LINE
    for c in k.loop(block // CHUNK):
        _prefetch(k, reader.buffer, [base + c * part for base in bases], part, prefetch)
        at = c * reader.plan.chunk_bytes + reader.plan.chunk_offset
        quads = [reader.chunk(base + at) for base in bases]
        dots = [[v.get() for v in row] for row in sums]
        for q in range(CHUNK // QUAD):
            for m, row in enumerate(rows):
                codes_at = row + (b * block + c * CHUNK + q * QUAD)
                a = k.bitcast(k.splat(k.load(x, codes_at, "i32"), lanes), "i8")
                for p in range(len(bases)):
                    dots[m][p] = k.dot4(dots[m][p], quads[p][q], a, reader.codes.maximum)
        for line, values in zip(sums, dots, strict=True):
            for v, value in zip(line, values, strict=True):
                v.set(value)
    done = [[v.get() for v in row] for row in sums]
    if normal.scale.integer is None:
        return done
    integers = [reader.integer(normal.scale, base, 0, 0) for base in bases]
    return [[acc if i is None else acc * i for acc, i in zip(line, integers, strict=True)] for line in done]


def _chunks(
    k: KernelBuilder,
    reader: PanelReader,
    activation: ActivationFormat,
    bases: Sequence[Instruction],
    x: Instruction,
    rows: Sequence[Instruction],
    depth: int,
    b: Instruction,
    first: int | Instruction,
    count: int,
    total: list[list[Variable]],
    partial: list[list[Variable]] | None,
) -> list[list[Instruction]] | None:
    """`count` chunks from chunk `first` of block b: their sub-blocks' dots, scaled by integers and summed into
    `partial`.

    Without `partial` there is one sub-block in all, and its dots are returned.
    """
    lanes, normal, format = reader.rows, reader.normal, reader.format
    subs_per_block = format.block // normal.sub
    whole: list[list[Instruction]] | None = None
    quads: list[list[Instruction]] = [[] for _ in bases]
    for p, base in enumerate(bases):
        for c in range(count):
            quads[p] += reader.chunk(base + ((first + c) * reader.plan.chunk_bytes + reader.plan.chunk_offset))
    per_sub = normal.sub // QUAD
    for g in range(max(1, len(quads[0]) // per_sub)):
        mine = range(g * per_sub, min((g + 1) * per_sub, len(quads[0])))
        j = first * CHUNK // normal.sub + g if isinstance(first, int) else sub_index(first, normal.sub) + g
        codes_at = b * format.block + (first + c_of(g, per_sub)) * CHUNK + (g * per_sub % 8) * QUAD
        sums_at = (b * subs_per_block + j) * 4 + activation.sums_at(depth)
        dots: list[list[Instruction]] = []
        for row in rows:
            if normal.offset is None and activation.factor:
                start = k.splat(k.load(x, row + sums_at, "i32"), lanes)
            else:
                start = k.zeros("i32", lanes)
            dots.append([start] * len(bases))
        # Quad by quad, so that an activation in a register serves all panels and a weight all rows.
        for n, q in enumerate(mine):
            for m, row in enumerate(rows):
                a = k.bitcast(k.splat(k.load(x, row + (codes_at + n * QUAD), "i32"), lanes), "i8")
                for p in range(len(bases)):
                    dots[m][p] = k.dot4(dots[m][p], quads[p][q], a, reader.codes.maximum)
        for p, base in enumerate(bases):
            weight = weight_of(reader, base, j, g % 2)
            offset = offset_of(k, reader, base, j, g % 2)
            for m, row in enumerate(rows):
                acc = dots[m][p]
                if offset is not None:
                    weighed = k.splat(k.load(x, row + sums_at, "f32"), lanes)
                    total[m][p].set(k.fma(offset, weighed, total[m][p].get()))
                if partial is None:
                    continue
                # In f32, not in integers: a product costs the same or less there, and a block's sum is exact enough.
                into, value = partial[m][p], k.convert(acc, "f32")
                if weight is None:
                    into.set(into.get() + value)
                else:
                    into.set(k.fma(value, weight, into.get()))
        whole = dots if partial is None else None
    return whole


def scale_of(
    k: KernelBuilder, reader: PanelReader, base: Instruction, j: int | Instruction, parity: int
) -> Instruction:
    """What the integer sum of sub-block j is multiplied with, in f32 for every row."""
    return factor_of(k, reader, reader.normal.scale, base, j, parity)


def offset_of(
    k: KernelBuilder, reader: PanelReader, base: Instruction, j: int | Instruction, parity: int
) -> Instruction | None:
    """What sub-block j of a format adds to every element; None where the format adds nothing."""
    factor = reader.normal.offset
    return None if factor is None else factor_of(k, reader, factor, base, j, parity)


def weight_of(reader: PanelReader, base: Instruction, j: int | Instruction, parity: int) -> Instruction | None:
    """What the sum of sub-block j is multiplied with before a block's sums are added up, in f32; None for 1."""
    scale = reader.normal.scale
    floats = reader.floats(scale, base, j, parity) if reader.varies(scale) else None
    return reader.scaled(floats, scale, base, j, parity)


def factor_of(
    k: KernelBuilder, reader: PanelReader, factor: Factor, base: Instruction, j: int | Instruction, parity: int
) -> Instruction:
    """A factor of sub-block j with its integer, in f32 for every row."""
    value = reader.scaled(reader.floats(factor, base, j, parity), factor, base, j, parity)
    return value if value is not None else k.const(1.0, "f32", reader.rows)


def _prefetch(k: KernelBuilder, buffer: Instruction, bases: Sequence[Instruction], nbytes: int, distance: int) -> None:
    """Ask for what lies `distance` bytes behind the `nbytes` at each base. A panel's successor follows it in memory."""
    if distance:
        for base in bases:
            for line in range(0, nbytes, LINE):
                k.prefetch(buffer, base + (line + distance))


def c_of(group: int, per_sub: int) -> int:
    """The chunk, counted from the first of the body, in which sub-block `group` starts."""
    return group * per_sub // (CHUNK // QUAD)


def sub_index(chunk: Instruction, sub: int) -> Instruction:
    return chunk * (CHUNK // sub) if sub <= CHUNK else chunk // (sub // CHUNK)


def float_tile(
    k: KernelBuilder,
    weight: PanelFloats,
    panels: Sequence[Instruction],
    x: Instruction,
    rows: Sequence[Instruction],
    depth: int,
    x_dtype: DType,
    chains: int = 1,
    walk: Walk | None = None,
) -> Tile:
    """Accumulators of a float tile: weights dequantized in registers, x read by broadcast, fused multiply-adds in f32.

    `walk`: as for `integer_tile`. `chains`: sums that are formed side by side for each accumulator, to hide the latency
    of an addition.
    """
    lanes = weight.rows
    total = [[[k.var(k.zeros("f32", lanes)) for _ in range(chains)] for _ in panels] for _ in rows]
    stored, _ = COMPUTE[x_dtype.name]

    def step(at: Instruction, element: int, vectors: Sequence[Instruction]) -> None:
        for m, row in enumerate(rows):
            raw = k.load(x, row + ((at + element) * x_dtype.nbytes), stored)
            if x_dtype.name == "bf16":
                raw = k.bitcast(k.convert(raw, "i32", signed=False) << 16, "f32")
            value = k.splat(k.convert(raw, "f32"), lanes)
            for p, vector in enumerate(vectors):
                chain = total[m][p][element % chains]
                chain.set(k.fma(vector, value, chain.get()))

    weight.walk(k, panels, depth, step, walk)
    return [[sum_of([v.get() for v in parts]) for parts in row] for row in total]


def pair_tile(
    k: KernelBuilder,
    plan: PanelPlan,
    weights: Instruction,
    panels: Sequence[Instruction],
    x: Instruction,
    rows: Sequence[Instruction],
    depth: int,
    unroll: int = 8,
) -> Tile:
    """Accumulators of a tile of bf16 weights and bf16 activations, two neighbours of K in each product. K is even."""
    lanes = plan.rows
    total = [[k.var(k.zeros("f32", lanes)) for _ in panels] for _ in rows]
    paired = [n for lane in range(lanes) for n in (lane, lane + lanes)]
    stride = 2 * lanes

    def run(at: Instruction, count: int) -> None:
        for e in range(0, count, 2):
            loaded = [k.load(weights, p + (at + e) * stride, "i16", 2 * lanes) for p in panels]
            vectors = [k.shuffle(v, v, paired) for v in loaded]
            for m, row in enumerate(rows):
                pair = k.bitcast(k.splat(k.load(x, row + (at + e) * 2, "i32"), lanes), "i16")
                for p, vector in enumerate(vectors):
                    total[m][p].set(k.dot2(total[m][p].get(), vector, pair))

    whole = depth // unroll * unroll
    for at in k.loop(0, whole, unroll):
        run(at, unroll)
    if whole < depth:
        run(k.const(whole, "i64"), depth - whole)
    return [[v.get() for v in row] for row in total]


def sum_of(parts: list[Instruction]) -> Instruction:
    """By halves; of an odd number the last waits for the next turn."""
    while len(parts) > 1:
        pairs = len(parts) // 2
        parts = [parts[2 * n] + parts[2 * n + 1] for n in range(pairs)] + parts[2 * pairs :]
    return parts[0]


class PanelFloats:
    """Walks the depth of packed weights and hands out float vectors, a row per lane, one element of K at a time."""

    def __init__(
        self, k: KernelBuilder, plan: PanelPlan, buffer: Instruction, unroll: int = 8, prefetch: int = 0
    ) -> None:
        self.plan, self.buffer, self.rows, self.unroll, self.prefetch = plan, buffer, plan.rows, unroll, prefetch
        self.reader = PanelReader(k, plan, buffer) if isinstance(plan.format, BlockFormat) else None

    def walk(
        self,
        k: KernelBuilder,
        panels: Sequence[Instruction],
        depth: int,
        step: Step,
        walk: Walk | None = None,
    ) -> None:
        """Call `step(k0, e, vectors)` for every element k0 + e that `walk` passes, `vectors` one per panel.

        Dense depths that are not passed in one go are multiples of `unroll`.
        """
        walk = walk or along(k, panels)
        if self.reader is None:
            self._dense(k, panels, depth, step, walk)
        else:
            self._blocks(k, self.reader, depth, step, walk)

    def _dense(
        self,
        k: KernelBuilder,
        panels: Sequence[Instruction],
        depth: int,
        step: Step,
        walk: Walk,
    ) -> None:
        dtype = self.plan.format
        assert isinstance(dtype, DType)
        stored, _ = COMPUTE[dtype.name]
        stride = self.rows * dtype.nbytes
        together = self.plan.run

        def run(at: Instruction, bases: Sequence[Instruction], count: int) -> None:
            loaded: list[Instruction] = []
            for e in range(count):
                vectors = []
                if e % together == 0:
                    wide = self.rows * together
                    loaded = [k.load(self.buffer, base + e * stride, stored, wide) for base in bases]
                for raw in loaded:
                    if together > 1:
                        raw = k.shuffle(raw, raw, range(e % together, self.rows * together, together))
                    if dtype.name == "bf16":
                        raw = k.bitcast(k.convert(raw, "i32", signed=False) << 16, "f32")
                    vectors.append(k.convert(raw, "f32"))
                step(at, e, vectors)

        whole = depth // self.unroll * self.unroll
        for n, bases in walk(depth // self.unroll, self.unroll * stride):
            _prefetch(k, self.buffer, bases, self.unroll * stride, self.prefetch)
            run(n * self.unroll, bases, self.unroll)
        if whole < depth:
            run(k.const(whole, "i64"), [p + whole * stride for p in panels], depth - whole)

    def _blocks(
        self,
        k: KernelBuilder,
        reader: PanelReader,
        depth: int,
        step: Step,
        walk: Walk,
    ) -> None:
        normal, format = reader.normal, reader.format
        chunks = format.block // CHUNK
        # an even and an odd sub-block in one body, where nibble pairs hold their scales; one chunk otherwise
        stride = 2 * (normal.sub // CHUNK) if has_nibble_pairs(reader) and normal.sub >= CHUNK else 1
        stride = min(stride, chunks)
        levels = reader.codes
        for b, bases in walk(depth // format.block, reader.block_bytes()):
            ahead = -(-reader.block_bytes() * stride // (chunks * LINE)) * LINE
            for first in k.loop(0, chunks, stride):
                _prefetch(k, self.buffer, [base + first * (ahead // stride) for base in bases], ahead, self.prefetch)
                for c in range(stride):
                    at = b * format.block + (first + c) * CHUNK
                    quads = [
                        reader.chunk(base + ((first + c) * reader.plan.chunk_bytes + reader.plan.chunk_offset))
                        for base in bases
                    ]
                    scales: dict[int, list[tuple[Instruction, Instruction | None]]] = {}
                    for q in range(CHUNK // QUAD):
                        g = (c * CHUNK + q * QUAD) // normal.sub
                        if g not in scales:
                            j = sub_index(first, normal.sub) + g
                            scales[g] = [
                                (scale_of(k, reader, base, j, g % 2), offset_of(k, reader, base, j, g % 2))
                                for base in bases
                            ]
                        for e in range(QUAD):
                            vectors = []
                            for p in range(len(bases)):
                                words = k.bitcast(quads[p][q], "i32")
                                code = k.binary("and", words >> (8 * e), 255)
                                scale, offset = scales[g][p]
                                value = k.convert(code, "f32")
                                if levels.zero:
                                    value = value - float(levels.zero)
                                vectors.append(value * scale if offset is None else k.fma(value, scale, offset))
                            step(at, q * QUAD + e, vectors)


class RowReader(PanelReader):
    """Reads one row out of a panel: the parameters and codes of lane `lane`."""

    def __init__(self, k: KernelBuilder, plan: PanelPlan, buffer: Instruction, lane: Instruction) -> None:
        super().__init__(k, plan, buffer)
        self.lane = lane

    def read(self, p: PanelParam, base: Instruction, j: int | Instruction) -> Instruction:
        k, rows = self.k, self.rows
        width = {"f16": 2, "bf16": 2, "f32": 4, "u16": 2, "i16": 2}.get(p.storage, 1)
        elem = {"f16": "f16", "f32": "f32"}.get(p.storage, {1: "i8", 2: "i16"}[width] if width < 4 else "i32")
        index = j if p.storage != "u4" else (j // 2 if isinstance(j, int) else j >> 1)
        return k.load(self.buffer, base + (index * (rows * width) + p.offset) + self.lane * width, elem)

    def values(self, block: Instruction, chunk: int) -> list[Instruction]:
        """The 8 quads of a chunk of this row, four f32 each."""
        k = self.k
        at = block + (self.plan.chunk_offset + chunk * self.plan.chunk_bytes) + self.lane * QUAD
        quads = self._quads(lambda offset: k.load(self.buffer, at + offset, "i8", QUAD), 1)
        out = []
        for q in range(CHUNK // QUAD):
            j = (chunk * CHUNK + q * QUAD) // self.normal.sub
            scale, offset = self.one(self.normal.scale, block, j), None
            if self.normal.offset is not None:
                offset = self.one(self.normal.offset, block, j)
            out.append(value_of(k, quads[q], self.codes, scale, offset))
        return out

    def one(self, factor: Factor, block: Instruction, j: int) -> Instruction:
        """Scale or offset of sub-block j of this row."""
        floats, integer = self.floats(factor, block, j, j % 2), self.integer(factor, block, j, j % 2)
        if floats is None or floats.lanes > 1:
            floats = self.k.const(factor.constant, "f32")
        return floats if integer is None else floats * self.k.convert(integer, "f32")
