"""Schedule of `embedding`: rows of a table by number, dequantized on the way.

Tables lie in rows or in weight panels.
"""

from __future__ import annotations

from ..ir.types import DType
from ..kernel.builder import KernelBuilder
from ..kernel.ir import Instruction, Kernel
from ..quant.format import BlockFormat
from ..quant.panel import CHUNK, QUAD, Panel, panel_plan
from ..targets.target import Target
from . import dot
from .cache import vector_length
from .dequantize import BlockReader
from .group import Accept, Dims, Group, Refuse, TensorOperand, load_as_compute


def accepts(group: Group, target: Target) -> Accept | Refuse:
    if group.root.op.name != "embedding":
        return Refuse(f"root is {group.root.op.name}, not embedding")
    if len(group.nodes) != 1:
        return Refuse("nothing is fused into embedding")
    table = group.root.inputs[0].type
    if not table.static:
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
    rows, depth = int(table.type.shape[0]), int(table.type.shape[1])  # type: ignore[arg-type]
    element = table.type.element
    for n in k.parallel(dims(ids.type.shape[0])):
        raw = k.convert(numbers.load([n]), "i64")
        row = k.select(k.ult(raw, rows), raw, 0)
        if isinstance(table.type.layout, Panel):
            _panel_row(k, target, buffers[table], table.type.layout, element, result, n, row, depth)
        elif isinstance(element, BlockFormat):
            reader = BlockReader(k, element, buffers[table])
            base = row * (depth // element.block * element.nbytes)
            for b in k.loop(depth // element.block):
                for start, value in reader.runs(base + b * element.nbytes, target.lanes):
                    result.store([n, b * element.block + start], value)
        else:
            assert isinstance(element, DType)
            lanes = vector_length(depth, target)
            for d in k.loop(0, depth, lanes):
                value = load_as_compute(k, buffers[table], (row * depth + d) * element.nbytes, element, lanes)
                result.store([n, d], value)
    return k.finish()


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
) -> None:
    """One row out of a panel: its lane of every parameter, and its four bytes of every quad."""
    assert isinstance(element, (BlockFormat, DType))
    plan = panel_plan(element, layout.rows)
    base = row // layout.rows * plan.nbytes(layout.rows, depth)
    lane = row % layout.rows
    if isinstance(element, DType):
        for d in k.loop(depth):
            at = base + (d * layout.rows + lane) * element.nbytes
            result.store([n, d], load_as_compute(k, table, at, element))
        return
    reader = dot.RowReader(k, plan, table, lane)
    for b in k.loop(depth // element.block):
        block = base + b * plan.block_bytes
        for c in range(element.block // CHUNK):
            for quad, value in enumerate(reader.values(block, c)):
                result.store([n, b * element.block + (c * CHUNK + quad * QUAD)], value)
