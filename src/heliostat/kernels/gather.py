"""Schedule of `embedding` and `take`: rows of a table by number, dequantized on the way.

Tables lie in rows or in weight panels.
"""

from __future__ import annotations

from ..ir.types import DType
from ..kernel.builder import KernelBuilder
from ..kernel.ir import Instruction, Kernel
from ..quant.format import BlockFormat
from ..quant.panel import CHUNK, QUAD, Panel
from ..targets.target import Target
from . import dot
from .cache import vector_length
from .dequantize import BlockReader
from .group import COMPUTE, Accept, Dims, Group, Refuse, TensorOperand, load_as_compute

ROOTS = ("embedding", "take")
PIECE = 256  # elements of a row that a worker of a GPU copies
AT_ONCE = 4  # rows of one element that a thread asks for before it stores the first


def accepts(group: Group, target: Target) -> Accept | Refuse:
    if group.root.op.name not in ("embedding", "take"):
        return Refuse(f"root is {group.root.op.name}, not embedding or take")
    if len(group.nodes) != 1:
        return Refuse(f"nothing is fused into {group.root.op.name}")
    table = group.root.inputs[0].type
    plain = isinstance(table.element, DType) and table.layout is None
    if not isinstance(table.shape[1], int) or not (plain or table.static):
        return Refuse("a table of unknown size")
    if table.layout is not None and not isinstance(table.layout, Panel):
        return Refuse(f"a table in layout {table.layout}")
    if isinstance(table.element, BlockFormat) and table.element.normal is None:
        return Refuse(f"{table.element.name} has no normal form: {table.element.reason}")
    return Accept()


def build(group: Group, target: Target, name: str, tune: None = None) -> Kernel:
    """table: (V, K), ids: (N,), out: (N, K). Reads one row of the table per id; an id outside 0 .. V reads row 0."""
    k = KernelBuilder(name)
    buffers = {v: k.buffer(f"i{n}", "r") for n, v in enumerate(group.inputs)}
    out = k.buffer("o0", "w")
    dims = Dims(k, group.symbols)
    table, ids = group.root.inputs
    result = TensorOperand(k, dims, out, group.outputs[0].type)
    numbers = TensorOperand(k, dims, buffers[ids], ids.type)
    rows, depth = dims(table.type.shape[0]), int(table.type.shape[1])  # type: ignore[arg-type]
    element = table.type.element
    if target.gpu and depth == 1 and group.root.op.name == "take" and table.type.static:
        size = int(table.type.shape[0])  # type: ignore[arg-type]
        if size * table.type.dtype.nbytes < 1 << 31:
            _elements(k, target, dims, buffers[table], out, numbers, size, table.type.dtype)
            return k.finish()
    step = max(element.block, PIECE) if target.gpu else depth  # a GPU has many workers for a row
    pieces = -(-depth // step)
    for item in k.parallel(dims(ids.type.shape[0]) * pieces):
        n, piece = (item // pieces, item % pieces) if pieces > 1 else (item, k.const(0, "i64"))
        lo = piece * step
        hi = k.minimum(lo + step, depth) if pieces > 1 else k.const(depth, "i64")
        raw = k.convert(numbers.load([n]), "i64")
        row = k.select(k.ult(raw, rows), raw, 0)
        if isinstance(table.type.layout, Panel):
            _panel_row(k, target, buffers[table], table.type.layout, element, result, n, row, depth, lo, hi)
        elif isinstance(element, BlockFormat):
            reader = BlockReader(k, element, buffers[table])
            base = row * (depth // element.block * element.nbytes)
            for b in k.loop(lo // element.block, hi // element.block):
                for start, value in reader.runs(base + b * element.nbytes, target.lanes):
                    result.store([n, b * element.block + start], value)
        else:
            assert isinstance(element, DType)
            lanes = PIECE if target.gpu and depth % PIECE == 0 else vector_length(depth, target)
            lanes = lanes if step % lanes == 0 else 1
            for d in k.loop(lo, hi, lanes):
                value = load_as_compute(k, buffers[table], (row * depth + d) * element.nbytes, element, lanes)
                result.store([n, d], value)
    return k.finish()


def _elements(
    k: KernelBuilder,
    target: Target,
    dims: Dims,
    table: Instruction,
    out: Instruction,
    numbers: TensorOperand,
    size: int,
    dtype: DType,
) -> None:
    """Rows of one element: each thread takes some, as their bytes are."""
    lanes, nbytes, stored = target.lanes, dtype.nbytes, COMPUTE[dtype.name][0]
    count = dims(numbers.type.shape[0])
    for item in k.parallel((count + (AT_ONCE * lanes - 1)) // (AT_ONCE * lanes)):
        starts = [item * (AT_ONCE * lanes) + n * lanes for n in range(AT_ONCE)]
        inside = [k.first_lanes(count - n, lanes) for n in starts]
        raw = [k.convert(numbers.load([n], lanes, m), "i64") for n, m in zip(starts, inside, strict=True)]
        places = [k.convert(k.select(k.ult(v, size), v, 0), "i32") * nbytes for v in raw]
        found = [k.gather(table, 0, p, stored) for p in places]
        for n, m, value in zip(starts, inside, found, strict=True):
            k.store(out, n * nbytes, value, m)


def _panel_row(
    k: KernelBuilder,
    target: Target,
    table: Instruction,
    layout: Panel,
    element: object,
    result: TensorOperand,
    n: Instruction,
    row: Instruction,
    depth: int,
    lo: Instruction,
    hi: Instruction,
) -> None:
    """Elements lo .. hi of one row out of a panel: its lane of every parameter, and its four bytes of every quad."""
    assert isinstance(element, (BlockFormat, DType))
    plan = layout.plan(element)
    base = row // layout.rows * plan.nbytes(layout.rows, depth)
    lane = row % layout.rows
    if isinstance(element, DType):
        run = layout.run
        for d in k.loop(lo, hi, run):
            at = base + (d * layout.rows + lane * run) * element.nbytes
            result.store([n, d], load_as_compute(k, table, at, element, run))
        return
    reader = dot.RowReader(k, plan, table, lane)
    for b in k.loop(lo // element.block, hi // element.block):
        block = base + b * plan.block_bytes
        for c in range(element.block // CHUNK):
            for quad, value in enumerate(reader.values(block, c)):
                result.store([n, b * element.block + (c * CHUNK + quad * QUAD)], value)
