"""Products of many rows on CPUs: a panel is unpacked once for a block of rows, and tiles read it ready to multiply.

Unpacked, every format looks alike: a byte for a code, f32 scales and offsets. Where a code times its integer scale
fits a byte too, that product is the code, and a block has one scale.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

from ..ir.types import DType, Element
from ..kernel.builder import KernelBuilder, Variable
from ..kernel.ir import Instruction
from ..quant.activation import FLOAT_BIAS, FLOAT_BIAS_BITS, ActivationFormat, activation_format
from ..quant.algebra import Factor
from ..quant.format import BlockFormat
from ..quant.panel import CHUNK, QUAD
from ..targets.target import Target
from . import dot
from .integer_scales import Folded, becomes_float, bound, fold, has_offset_pairs

FEWEST = 16  # rows from which unpacking once is worth writing and reading the result
STRAIGHT = 2  # chunks of a sub-block up to which they are written out


def takes(format: BlockFormat | DType, target: Target, rows: int) -> bool:
    """Whether products of up to `rows` rows unpack panels of a format once: where a machine multiplies any byte exactly
    in one instruction and registers hold a tile of two panels. Whole bytes are only copied, but a piece of them then
    stays in the first-level cache, where whole panels do not, and scales are converted once.
    """
    if rows < FEWEST or target.gpu or target.vector_registers < 32 or "avx512vnni" not in target.features:
        return False
    return isinstance(format, BlockFormat) and format.normal is not None


def partner(format: BlockFormat, planes: int, target: Target, rows: int) -> ActivationFormat:
    """The activations of a product of up to `rows` rows with weights of a format."""
    normal = format.normal
    assert normal is not None
    if not takes(format, target, rows):
        streamed = rows == 1 and target.capability >= 80  # a panel's rows are a block then, made where they are summed
        return dot.partner(format, planes, CHUNK if streamed else 0)
    folded, biased = fold(format), becomes_float(format)
    if folded is not None and normal.offset is None:
        return activation_format(format.block, format.block, "i32", -folded.zero, planes, biased=biased)
    usual = dot.partner(format, planes)
    sums = "i16" if has_offset_pairs(format) else usual.sums
    most = bound(format) if planes == 1 else None  # what a second plane holds is as large as it can be
    return activation_format(usual.scale_block, usual.sub, sums, usual.factor, planes, most or 0, biased)


@dataclass(frozen=True)
class ExpandedPlan:
    """Where an unpacked panel lies: for each block its codes, quads of `rows` rows of 4 bytes each; then `scales`
    vectors of f32 (one for the block or one for each sub-block), then `offsets` of them (none, or one for each).

    Where `biased`, integer sums begin at the bits of FLOAT_BIAS, and the one scale is followed by what takes that off
    behind it, the scale times -FLOAT_BIAS: one multiply-add is conversion and scale, and rounds as both do.
    Where `integer_scales`, the one scale is followed by a vector for each sub-block, its integer as a word of 32 bits:
    the instruction that multiplies pairs of 16 bits takes the lower half of a sum with it, and the upper with zero.
    Where `scale_pairs`, the one scale is followed by vectors of two integers a row, those of two sub-blocks, and by a
    mask of lower halves: a constant would let LLVM join halves by a permutation, which takes a slot of a product, as an
    operation with three operands does a part of the time. Where
    `offset_pairs`, the one offset is followed by such vectors.
    """

    rows: int
    block: int
    sub: int
    scales: int
    offsets: int
    maximum: int
    folded: Folded | None
    scale_pairs: bool = False
    offset_pairs: bool = False
    biased: bool = False
    integer_scales: bool = False

    @property
    def subs(self) -> int:
        """Sub-blocks of a block."""
        return self.block // self.sub

    @property
    def pairs(self) -> int:
        """Pairs of sub-blocks in a block."""
        return self.subs // 2

    @property
    def scales_at(self) -> int:
        return self.block * self.rows

    @property
    def bias_at(self) -> int:
        return self.scales_at + 4 * self.rows * self.scales

    @property
    def integers_at(self) -> int:
        return self.bias_at + (4 * self.rows if self.biased else 0)

    @property
    def scale_pairs_at(self) -> int:
        return self.integers_at + (4 * self.rows * self.subs if self.integer_scales else 0)

    @property
    def mask_at(self) -> int:
        return self.scale_pairs_at + (4 * self.rows * self.pairs if self.scale_pairs else 0)

    @property
    def offsets_at(self) -> int:
        return self.mask_at + (4 * self.rows if self.scale_pairs else 0)

    @property
    def offset_pairs_at(self) -> int:
        return self.offsets_at + 4 * self.rows * self.offsets

    @property
    def block_bytes(self) -> int:
        return self.offset_pairs_at + (4 * self.rows * self.pairs if self.offset_pairs else 0)


def expanded_plan(
    format: BlockFormat | DType, activation: Element, lanes: int, target: Target, rows: int
) -> ExpandedPlan | None:
    """How the product of up to `rows` rows of activations with a format unpacks its panels; None where it does not."""
    if not isinstance(format, BlockFormat) or not isinstance(activation, ActivationFormat):
        return None
    if not takes(format, target, rows):
        return None
    normal, folded = format.normal, fold(format)
    assert normal is not None
    subs = format.block // normal.sub
    offset_pairs, integers = activation.sums == "i16", activation.most > 0
    offsets = 0 if normal.offset is None else 1 if offset_pairs else subs
    plain = normal.scale.integer is None and all(format.scalar(n).count == 1 for n in normal.scale.floats)
    one = folded is not None or integers or (plain and bool(offsets))
    maximum = folded.maximum if folded is not None else dot.code_table(format).maximum
    scales = 1 if one else subs
    joined = target.spare_ports
    return ExpandedPlan(
        lanes, format.block, normal.sub, scales, offsets, maximum, folded, integers and joined, offset_pairs,
        becomes_float(format), integers and not joined,
    )  # fmt: skip


def expand(
    k: KernelBuilder,
    plan: ExpandedPlan,
    reader: dot.PanelReader,
    packed: Instruction,
    memory: Instruction,
    at: int,
    blocks: Instruction,
) -> None:
    """Unpack `blocks` blocks from byte `packed` of the reader's weights into `memory` from byte `at`."""
    reader.flush = True
    sub, width = plan.sub, 4 * plan.rows
    # an even and an odd sub-block in one body, so that the nibble that holds a scale is known
    pair = 2 if dot.has_nibble_pairs(reader) and plan.block > sub else 1
    step = max(pair * sub, CHUNK)
    for b in k.loop(blocks):
        base, into = packed + b * reader.block_bytes(), b * plan.block_bytes + at
        for s in k.loop(plan.block // step):
            for c in range(step // CHUNK):
                chunk = s * (step // CHUNK) + c
                quads = reader.chunk(base + (chunk * reader.plan.chunk_bytes + reader.plan.chunk_offset))
                for q, quad in enumerate(quads):
                    if plan.folded is not None:
                        g = (c * CHUNK + q * QUAD) // sub
                        quad = _fold(k, plan.folded, reader, base, s * (step // sub) + g, g % 2, quad)
                    k.store(memory, into + (chunk * (CHUNK // QUAD) + q) * width, quad)
        if plan.scales == 1:
            factor = reader.normal.scale
            if plan.folded is not None or plan.scale_pairs or plan.integer_scales:
                factor = replace(factor, integer=None)
            scale = dot.factor_of(k, reader, factor, base, 0, 0)
            k.store(memory, into + plan.scales_at, scale)
            if plan.biased:
                k.store(memory, into + plan.bias_at, scale * float(-FLOAT_BIAS))
        for s in k.loop(plan.subs // 2) if plan.integer_scales else ():
            for g in range(2):
                integer = reader.integer(reader.normal.scale, base, s * 2 + g, g)
                assert integer is not None
                word = k.binary("and", integer, 0xFFFF)
                k.store(memory, into + (s * (8 * plan.rows) + (g * 4 * plan.rows + plan.integers_at)), word)
        if plan.scale_pairs:
            _store_pairs(k, plan, reader, reader.normal.scale, base, memory, into + plan.scale_pairs_at)
            k.store(memory, into + plan.mask_at, k.const(0xFFFF, "i32", plan.rows))
        if plan.offset_pairs:
            assert reader.normal.offset is not None
            factor = replace(reader.normal.offset, integer=None)
            k.store(memory, into + plan.offsets_at, dot.factor_of(k, reader, factor, base, 0, 0))
            _store_pairs(k, plan, reader, reader.normal.offset, base, memory, into + plan.offset_pairs_at)
        each = plan.offsets and not plan.offset_pairs
        for s in k.loop(plan.block // (pair * sub)) if plan.scales > 1 or each else ():
            for g in range(pair):
                j = s * pair + g
                if plan.scales > 1:
                    scale = dot.scale_of(k, reader, base, j, g)
                    k.store(memory, into + (j * width + plan.scales_at), scale)
                if each:
                    offset = dot.offset_of(k, reader, base, j, g)
                    assert offset is not None
                    k.store(memory, into + (j * width + plan.offsets_at), offset)


def _store_pairs(
    k: KernelBuilder,
    plan: ExpandedPlan,
    reader: dot.PanelReader,
    factor: Factor,
    base: Instruction,
    memory: Instruction,
    into: Instruction,
) -> None:
    """The integers of a factor, those of two neighbouring sub-blocks in the halves of a word."""
    for s in k.loop(plan.pairs):
        low, high = (reader.integer(factor, base, s * 2 + g, g) for g in (0, 1))
        assert low is not None
        assert high is not None
        k.store(memory, into + s * (4 * plan.rows), _halves(k, low, high, k.const(0xFFFF, "i32", plan.rows)))


def _halves(k: KernelBuilder, low: Instruction, high: Instruction, mask: Instruction) -> Instruction:
    """Words of two integers that fit 16 bits."""
    return k.binary("or", k.binary("and", low, mask), high << 16)


def _fold(
    k: KernelBuilder,
    folded: Folded,
    reader: dot.PanelReader,
    base: Instruction,
    j: Instruction,
    parity: int,
    quad: Instruction,
) -> Instruction:
    """Codes of sub-block j times its integers; a byte keeps what is right modulo 256."""
    integer = reader.integer(reader.normal.scale, base, j, parity)
    assert integer is not None
    shift = folded.zero - integer * reader.codes.zero if reader.codes.zero else k.const(folded.zero, "i32", reader.rows)
    return quad * _bytes(k, integer) + _bytes(k, shift)


def _bytes(k: KernelBuilder, words: Instruction) -> Instruction:
    """The low byte of every word in all four of its bytes."""
    return k.bitcast(k.binary("and", words, 255) * 0x01010101, "i8")


def expanded_tile(
    k: KernelBuilder,
    plan: ExpandedPlan,
    memory: Instruction,
    panels: Sequence[int],
    x: Instruction,
    activation: ActivationFormat,
    rows: Sequence[Instruction],
    depth: int,
    first: Instruction,
    blocks: Instruction,
    sums: dot.Tile,
    ahead: int = 0,
    ask: Callable[[Instruction], None] | None = None,
) -> dot.Tile:
    """`sums` and what `blocks` blocks of unpacked panels add to them: those from block `first` of the depth on.

    `panels`: byte offsets in `memory`; `rows`: byte offsets of the activation rows in `x`. Adds what `dot.integer_tile`
    adds: a block's sub-blocks with their f32 scales first, then the activations' scale. The same blocks of the rows
    `ahead` bytes behind these, if any, are asked for bit by bit meanwhile, their scales at once. `ask` is called with
    the number of each step on the way, for other lines: those of all rows at once would hold up the loads of the
    operands.
    """
    lanes, block = plan.rows, plan.block
    tokens, wide = range(len(rows)), range(len(panels))
    total = [[k.var(value) for value in line] for line in sums]
    step = activation.sum_bytes * (block // activation.sub)
    many = block > CHUNK  # otherwise a line of sums serves many blocks
    if ahead:
        _ask(k, x, [row + (first * 4 + (activation.scales_at(depth) + ahead)) for row in rows])
    if ahead and not many:
        _ask(k, x, [row + (first * step + (activation.sums_at(depth) + ahead)) for row in rows])
    for b in k.loop(blocks):
        bases = [b * plan.block_bytes + p for p in panels]
        sums_at = [row + ((first + b) * step + activation.sums_at(depth)) for row in rows]
        codes_at = [row + (first + b) * block for row in rows]
        if ask is not None and not plan.scale_pairs and not plan.integer_scales:
            ask(b)
        if ahead and many:
            _ask(k, x, [at + ahead for at in sums_at])
        one = _Block(k, plan, memory, bases, x, activation, codes_at, sums_at, ahead)
        if plan.scales == 1:
            if plan.integer_scales:
                dots = _sub_blocks(one, _from(ask, b * plan.subs))
            elif plan.scale_pairs:
                dots = _scaled_pairs(one, _from(ask, b * plan.pairs))
            else:
                starts = [_start(k, activation, x, at, lanes, plan.biased) for at in sums_at]
                dots = _dots(k, plan, memory, bases, x, codes_at, block, starts, ahead)
            scales = [k.load(memory, base + plan.scales_at, "f32", lanes) for base in bases]
            if plan.biased:
                bias = [k.load(memory, base + plan.bias_at, "f32", lanes) for base in bases]
                factors = list(zip(scales, bias, strict=True))
                whole = [[k.fma(k.bitcast(v, "f32"), *f) for v, f in zip(line, factors, strict=True)] for line in dots]
            else:
                whole = [[k.convert(v, "f32") * s for v, s in zip(line, scales, strict=True)] for line in dots]
        else:
            whole = _sub_blocks(one, None)
        if plan.offset_pairs:
            _add_offset_pairs(one, whole)
        for m in tokens:
            scale = k.splat(k.load(x, rows[m] + ((first + b) * 4 + activation.scales_at(depth)), "f32"), lanes)
            for p in wide:
                total[m][p].set(k.fma(whole[m][p], scale, total[m][p].get()))
        for j in k.loop(plan.offsets) if plan.offsets and not plan.offset_pairs else ():
            offsets = [k.load(memory, base + (j * (4 * lanes) + plan.offsets_at), "f32", lanes) for base in bases]
            for m in tokens:
                weighed = k.splat(k.load(x, sums_at[m] + j * 4, "f32"), lanes)
                for p in wide:
                    total[m][p].set(k.fma(offsets[p], weighed, total[m][p].get()))
    return [[v.get() for v in line] for line in total]


def _from(ask: Callable[[Instruction], None] | None, first: Instruction) -> Callable[[Instruction], None] | None:
    """`ask` for steps that are counted from step `first` on."""
    return None if ask is None else lambda step: ask(first + step)


def _ask(k: KernelBuilder, x: Instruction, places: Sequence[Instruction]) -> None:
    """Ask for the lines of activations at some bytes."""
    for place in places:
        k.prefetch(x, place)


class _Block(NamedTuple):
    """A block of some panels and rows. bases: of the panels in `memory`; codes_at, sums_at: of the rows' codes and sums
    in `x`; ahead: the bytes behind these at which lines are asked for, 0 for none."""

    k: KernelBuilder
    plan: ExpandedPlan
    memory: Instruction
    bases: Sequence[Instruction]
    x: Instruction
    activation: ActivationFormat
    codes_at: Sequence[Instruction]
    sums_at: Sequence[Instruction]
    ahead: int


def _scaled_pairs(block: _Block, ask: Callable[[Instruction], None] | None) -> list[list[Instruction]]:
    """A block's dots, each sub-block's times its integer scale: two in one instruction, as sums fit 16 bits."""
    k, plan, memory, bases, x, activation, codes_at, sums_at, ahead = block
    lanes, sub = plan.rows, plan.sub
    total = [[k.var(k.zeros("i32", lanes)) for _ in bases] for _ in codes_at]
    lower = k.load(memory, bases[0] + plan.mask_at, "i16", 2 * lanes) < 0
    each = activation.sum_bytes
    for s in k.loop(plan.pairs):
        starts = [[_start(k, activation, x, at + (s * (2 * each) + each * g), lanes) for at in sums_at] for g in (0, 1)]
        halves = [[[start for _ in bases] for start in line] for line in starts]
        at = [row + s * (2 * sub) for row in codes_at]
        quads = [base + s * (2 * sub * lanes) for base in bases]
        if ask is not None:
            ask(s)
        if ahead:
            _ask(k, x, [row + ahead for row in at])
        for q in range(sub // QUAD):  # both in turn: the sums of one alone are too few to hide what a product takes
            for g in range(2):
                _add_quad(k, plan, memory, quads, x, at, g * sub, q, halves[g])
        scales = [k.load(memory, base + (s * (4 * lanes) + plan.scale_pairs_at), "i32", lanes) for base in bases]
        for low, high, into in zip(*halves, total, strict=True):
            for a, b, scale, variable in zip(low, high, scales, into, strict=True):
                words = k.select(lower, k.bitcast(a, "i16"), k.bitcast(b << 16, "i16"))
                variable.set(k.dot2(variable.get(), words, k.bitcast(scale, "i16")))
    return [[v.get() for v in line] for line in total]


def _add_offset_pairs(block: _Block, whole: list[list[Instruction]]) -> None:
    """Add a block's offsets to `whole`: integers times sums of activations, all times one float."""
    k, plan, x, memory, bases, sums_at = block.k, block.plan, block.x, block.memory, block.bases, block.sums_at
    lanes = plan.rows
    total = [[k.zeros("i32", lanes) for _ in bases] for _ in sums_at]
    for s in range(plan.pairs):
        pairs = [
            k.bitcast(k.load(memory, base + (s * 4 * lanes + plan.offset_pairs_at), "i32", lanes), "i16")
            for base in bases
        ]
        for line, at in zip(total, sums_at, strict=True):
            words = k.bitcast(k.splat(k.load(x, at + 4 * s, "i32"), lanes), "i16")
            for p, pair in enumerate(pairs):
                line[p] = k.dot2(line[p], pair, words)
    factors = [k.load(memory, base + plan.offsets_at, "f32", lanes) for base in bases]
    for sums, values in zip(total, whole, strict=True):
        for p, factor in enumerate(factors):
            values[p] = k.fma(k.convert(sums[p], "f32"), factor, values[p])


def _sub_blocks(block: _Block, ask: Callable[[Instruction], None] | None) -> list[list[Instruction]]:
    """A block's dots, each sub-block's times its scale: sums in f32, or in i32 of integer scales. A sum times one of
    these fits 16 bits, so that its lower half is all of it: no shift and no selection, which take slots of products
    where there are two ports for all."""
    k, plan, memory, bases, x, activation, codes_at, sums_at, ahead = block
    lanes, sub = plan.rows, plan.sub
    kind, scales_at = ("i32", plan.integers_at) if plan.integer_scales else ("f32", plan.scales_at)
    total = [[k.var(k.zeros(kind, lanes)) for _ in bases] for _ in codes_at]
    each = max(1, CHUNK // sub)
    for s in k.loop(plan.subs // each):
        if ask is not None:
            ask(s)
        for g in range(each):
            j = s * each + g
            starts = [_start(k, activation, x, at + j * activation.sum_bytes, lanes) for at in sums_at]
            at = [row + (s * (each * sub) + g * sub) for row in codes_at]
            quads = [base + (s * (each * sub * lanes) + g * sub * lanes) for base in bases]
            if ahead and g == 0:
                _ask(k, x, [row + ahead for row in at])
            sums = _dots(k, plan, memory, quads, x, at, sub, starts, 0)
            scales = [k.load(memory, base + (j * (4 * lanes) + scales_at), kind, lanes) for base in bases]
            for line, into in zip(sums, total, strict=True):
                for value, scale, variable in zip(line, scales, into, strict=True):
                    if plan.integer_scales:
                        made = k.dot2(variable.get(), k.bitcast(value, "i16"), k.bitcast(scale, "i16"))
                    else:
                        made = k.fma(k.convert(value, "f32"), scale, variable.get())
                    variable.set(made)
    return [[v.get() for v in line] for line in total]


def _start(
    k: KernelBuilder,
    activation: ActivationFormat,
    x: Instruction,
    at: Instruction,
    lanes: int,
    biased: bool = False,
) -> Instruction:
    """The first value of an integer sum: the zero point's share, which lies with the activations, and the bias."""
    if activation.sums != "i32" or not activation.factor:
        return k.const(FLOAT_BIAS_BITS if biased else 0, "i32", lanes)
    return k.splat(k.load(x, at, "i32"), lanes)


def _add_quad(
    k: KernelBuilder,
    plan: ExpandedPlan,
    memory: Instruction,
    bases: Sequence[Instruction],
    x: Instruction,
    rows: Sequence[Instruction],
    at: int | Instruction,
    q: int,
    sums: list[list[Instruction]],
) -> None:
    """Add the products of quad q from element `at` on: an activation in a register serves all panels, a weight all
    rows."""
    codes = [k.load(memory, base + (at * plan.rows + 4 * plan.rows * q), "i8", 4 * plan.rows) for base in bases]
    for m, row in enumerate(rows):
        a = k.bitcast(k.splat(k.load(x, row + (at + QUAD * q), "i32"), plan.rows), "i8")
        for p, code in enumerate(codes):
            sums[m][p] = k.dot4(sums[m][p], code, a, plan.maximum)


def _dots(
    k: KernelBuilder,
    plan: ExpandedPlan,
    memory: Instruction,
    bases: Sequence[Instruction],
    x: Instruction,
    rows: Sequence[Instruction],
    count: int,
    starts: Sequence[Instruction],
    ahead: int,
) -> list[list[Instruction]]:
    """Integer sums of `count` elements from where `bases` and `rows` point; those of many elements by a loop."""

    def step(sums: list[list[Instruction]], at: int | Instruction, quads: int) -> None:
        for q in range(quads):
            _add_quad(k, plan, memory, bases, x, rows, at, q, sums)

    sums = [[start for _ in bases] for start in starts]
    if count <= STRAIGHT * CHUNK:
        if ahead:
            _ask(k, x, [row + ahead for row in rows])
        step(sums, 0, count // QUAD)
        return sums
    carried: list[list[Variable]] = [[k.var(v) for v in line] for line in sums]
    for c in k.loop(count // CHUNK):
        inner = [[v.get() for v in line] for line in carried]
        if ahead:
            _ask(k, x, [row + (c * CHUNK + ahead) for row in rows])
        step(inner, c * CHUNK, CHUNK // QUAD)
        for line, values in zip(carried, inner, strict=True):
            for v, value in zip(line, values, strict=True):
                v.set(value)
    return [[v.get() for v in line] for line in carried]
