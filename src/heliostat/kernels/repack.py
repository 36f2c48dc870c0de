"""Schedule of `repack`: a matrix from its file's order into weight panels, once, when a model is loaded.

Codes of 32 neighbours are read as one vector, cut into bit planes and written as words of four bytes, one per row.
"""

from __future__ import annotations

from ..ir.types import DType
from ..kernel.builder import KernelBuilder
from ..kernel.ir import Instruction, Kernel, Operand
from ..kernel.warp import WARP
from ..quant.format import BlockFormat
from ..quant.panel import CHUNK, QUAD, Panel, PanelPlan, refusal
from ..targets.target import Target
from .dequantize import BlockReader
from .group import COMPUTE, Accept, Dims, Group, Refuse
from .transpose import transposed

ROOTS = ("repack",)
RUN_BYTES = 16  # of a row that a thread of a GPU reads at once
AT_ONCE = 8  # such runs
NEAR_BYTES = 16 << 10  # of a panel that are written row by row at a time: every row writes a part of the same lines


def accepts(group: Group, target: Target) -> Accept | Refuse:
    if group.root.op.name != "repack":
        return Refuse(f"root is {group.root.op.name}, not repack")
    if len(group.nodes) != 1:
        return Refuse("nothing is fused into repack")
    w, layout = group.root.inputs[0].type, group.root.attrs["layout"]
    if not isinstance(layout, Panel) or not w.static:
        return Refuse("only matrices of known size go into panels")
    assert isinstance(w.element, (BlockFormat, DType))
    reason = refusal(w.element, layout.rows)
    return Accept() if reason is None else Refuse(reason)


def build(group: Group, target: Target, name: str, tune: None = None) -> Kernel:
    """w: (N, K) in file order, out: panels. Reads and writes every byte once; rows past N become zeros."""
    k = KernelBuilder(name)
    source, out = k.buffer("i0", "r"), k.buffer("o0", "w")
    Dims(k, ())
    w, layout = group.root.inputs[0].type, group.root.attrs["layout"]
    rows, depth = int(w.shape[0]), int(w.shape[1])  # type: ignore[arg-type]
    plan = layout.plan(w.element)
    panel_bytes = plan.nbytes(plan.rows, depth)
    steps = depth // (w.element.block if isinstance(w.element, BlockFormat) else plan.run)  # of a row
    near = max(1, steps if target.gpu else NEAR_BYTES * steps // max(1, panel_bytes))
    if target.gpu and isinstance(w.element, DType) and plan.rows == WARP and plan.run * w.element.nbytes == RUN_BYTES:
        _runs(k, plan, source, out, rows, depth)
        return k.finish()
    if target.gpu and rows % plan.rows == 0:  # a worker for every row: a GPU has many
        for row in k.parallel(rows):
            base = row // plan.rows * panel_bytes
            _row(k, plan, w.element, source, out, row, row % plan.rows, base, depth, 0, steps)
        return k.finish()
    for panel in k.parallel(plan.panels(rows)):
        base = panel * panel_bytes
        if rows % plan.rows:
            for _ in k.when(panel == plan.panels(rows) - 1):
                for at in k.loop(0, panel_bytes, 4 if panel_bytes % 4 == 0 else 1):
                    k.store(out, base + at, k.const(0, "i32" if panel_bytes % 4 == 0 else "i8"))
        count = k.minimum(k.const(rows, "i64") - panel * plan.rows, plan.rows)
        if _squares(plan, w.element, target):
            for _ in k.when(count == plan.rows):
                _panel(k, plan, w.element, source, out, panel * plan.rows, base, depth)
            for _ in k.otherwise():
                for r in k.loop(count):
                    _row(k, plan, w.element, source, out, panel * plan.rows + r, r, base, depth, 0, steps)
            continue
        for first in k.loop(0, steps, near):
            last = k.minimum(first + near, steps) if near < steps else steps
            for r in k.loop(count):
                _row(k, plan, w.element, source, out, panel * plan.rows + r, r, base, depth, first, last)
    return k.finish()


def _runs(k: KernelBuilder, plan: PanelPlan, source: Instruction, out: Instruction, rows: int, depth: int) -> None:
    """Panels with runs, on a GPU: a thread reads 16 bytes of its row, and a warp writes those of all rows together."""
    last, words = depth // plan.run - 1, RUN_BYTES // 4
    parts = last // AT_ONCE + 1
    lane = k.iota("i32", WARP)
    for item in k.parallel(k.const(plan.panels(rows) * parts, "i64")):
        panel, first = item // parts, item % parts * AT_ONCE
        count = k.convert(k.minimum(k.const(rows, "i64") - panel * plan.rows, plan.rows), "i32")
        mine = k.minimum(lane, k.splat(count - 1, WARP)) * (last * RUN_BYTES + RUN_BYTES)
        places = [k.minimum(first + n, last) for n in range(AT_ONCE)]  # past the last: once more
        start = panel * (plan.rows * (last + 1) * RUN_BYTES)
        held = [k.gather(source, start + e * RUN_BYTES, mine, "i32", words) for e in places]
        if rows % plan.rows:
            there = k.iota("i32", WARP * words) < k.splat(count * words, WARP * words)
            held = [k.select(there, v, k.zeros("i32", WARP * words)) for v in held]
        for e, value in zip(places, held, strict=True):
            k.store(out, start + e * (plan.rows * RUN_BYTES), value)


def _squares(plan: PanelPlan, element: object, target: Target) -> bool:
    """Whether a panel is turned square by square: as many elements of the depth as rows, in registers."""
    plain = isinstance(element, DType) and plan.run == 1 and element.nbytes == 4
    return plain and not target.gpu and plan.rows in (4, 8, 16)


def _panel(
    k: KernelBuilder,
    plan: PanelPlan,
    dtype: object,
    source: Instruction,
    out: Instruction,
    row: Instruction,
    base: Instruction,
    depth: int,
) -> None:
    """All rows of a panel from `row` on: squares are transposed by exchanging halves of ever smaller blocks."""
    assert isinstance(dtype, DType)
    side, size = plan.rows, dtype.nbytes
    stored, _ = COMPUTE[dtype.name]
    whole = depth // side * side
    for e in k.loop(0, whole, side):
        square = [k.load(source, ((row + r) * depth + e) * size, stored, side) for r in range(side)]
        for c, vector in enumerate(transposed(k, square)):
            k.store(out, base + (e + c) * (side * size), vector)
    for left in range(whole, depth):
        for r in range(side):
            value = k.load(source, ((row + r) * depth + left) * size, stored)
            k.store(out, base + (left * side + r) * size, value)


def _row(
    k: KernelBuilder,
    plan: PanelPlan,
    element: object,
    source: Instruction,
    out: Instruction,
    row: Instruction,
    r: Instruction,
    base: Instruction,
    depth: int,
    first: Operand,
    last: Operand,
) -> None:
    """Blocks or runs first .. last of row `row` of the matrix to its place `r` in the panel that starts at `base`."""
    if isinstance(element, DType):
        _dense_row(k, plan, element, source, out, row, r, base, depth, first, last)
    else:
        assert isinstance(element, BlockFormat)
        _block_row(k, plan, element, source, out, row, r, base, depth, first, last)


def _dense_row(
    k: KernelBuilder,
    plan: PanelPlan,
    dtype: DType,
    source: Instruction,
    out: Instruction,
    row: Instruction,
    r: Instruction,
    base: Instruction,
    depth: int,
    first: Operand,
    last: Operand,
) -> None:
    stored, _ = COMPUTE[dtype.name]
    size = dtype.nbytes
    for e in k.loop(first, last):
        value = k.load(source, (row * depth + e * plan.run) * size, stored, plan.run)
        k.store(out, base + (e * plan.rows + r) * (plan.run * size), value)


def _block_row(
    k: KernelBuilder,
    plan: PanelPlan,
    format: BlockFormat,
    source: Instruction,
    out: Instruction,
    row: Instruction,
    r: Instruction,
    base: Instruction,
    depth: int,
    first: Operand,
    last: Operand,
) -> None:
    blocks = depth // format.block
    reader = BlockReader(k, format, source)
    for b in k.loop(first, last):
        file_block = (row * blocks + b) * format.nbytes
        packed = base + b * plan.block_bytes
        _parameters(k, plan, format, reader, out, file_block, packed, r)
        for c in range(plan.chunks):
            codes = _chunk(k, reader, file_block, c)
            _planes(k, plan, out, codes, packed + (plan.chunk_offset + c * plan.chunk_bytes), r)


def _parameters(
    k: KernelBuilder,
    plan: PanelPlan,
    format: BlockFormat,
    reader: BlockReader,
    out: Instruction,
    block: Instruction,
    packed: Instruction,
    r: Instruction,
) -> None:
    for p in plan.params:
        field = format.scalar(p.name)
        if p.storage == "u4":
            for j in range(0, p.count, 2):
                both = reader.bits(block, field, j) | (reader.bits(block, field, j + 1) << 4)
                k.store(out, packed + (p.offset + j // 2 * plan.rows) + r, k.convert(both, "i8"))
            continue
        width = p.nbytes // (p.count * plan.rows)
        elem = {1: "i8", 2: "i16", 4: "i32"}[width]
        for j in range(p.count):
            raw = (
                reader.scalar(block, field, j)
                if field.dtype.kind in "iu" and not field.dtype.is_float
                else reader.bits(block, field, j)
            )
            k.store(out, packed + (p.offset + j * plan.rows * width) + r * width, k.convert(raw, elem))


def _chunk(k: KernelBuilder, reader: BlockReader, block: Instruction, c: int) -> Instruction:
    """The codes of chunk c as one vector of 32 bytes, put together from the runs that hold them."""
    parts: list[tuple[int, Instruction]] = []
    at = c * CHUNK
    end = at + CHUNK
    pieces = reader.format.codes.pieces()
    while at < end:
        piece = next(p for p in pieces if p.start <= at < p.start + p.length)
        room = min(piece.start + piece.length, end) - at
        count = 1 << (room.bit_length() - 1)
        parts.append((count, reader.codes(block, at, count)))
        at += count
    whole = [v for _, v in parts]
    while len(whole) > 1:
        smallest = min(v.lanes for v in whole)
        joined: list[Instruction] = []
        i = 0
        while i < len(whole):
            if i + 1 < len(whole) and whole[i].lanes == whole[i + 1].lanes == smallest:
                joined.append(_join(k, whole[i], whole[i + 1]))
                i += 2
            else:
                joined.append(whole[i])
                i += 1
        whole = joined
    return whole[0]


def _join(k: KernelBuilder, a: Instruction, b: Instruction) -> Instruction:
    if a.lanes == 1:
        return k.shuffle(k.splat(a, 2), k.splat(b, 2), (0, 2))
    return k.shuffle(a, b, range(2 * a.lanes))


def _planes(
    k: KernelBuilder, plan: PanelPlan, out: Instruction, codes: Instruction, chunk: Instruction, r: Instruction
) -> None:
    """Plane of p bits: its vectors v = 0 ..

    p - 1 hold, at bit p * s, quad v + p * s; each quad of a row is one word.
    """
    for plane in plan.planes:
        p = plane.bits
        bits = codes if p == 8 else k.binary("and", codes >> plane.into_bit, (1 << p) - 1)
        each = QUAD * p
        total: Instruction | None = None
        for s in range(8 // p):
            part = k.lanes_of(bits, s * each, each) << (p * s)
            total = part if total is None else total | part
        assert total is not None
        for v in range(p):
            word = k.lanes_of(total, v * QUAD, QUAD)
            k.store(out, chunk + (plane.offset + v * QUAD * plan.rows) + r * QUAD, word)
