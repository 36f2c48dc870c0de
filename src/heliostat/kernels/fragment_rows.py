"""From products of four warps to rows: sums lie in fragments of eight columns in private memory, and go through the
epilogue in runs of neighbours for each thread, several rows at once."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from ..ir.graph import Value
from ..ir.types import DType
from ..kernel.builder import KernelBuilder
from ..kernel.ir import Instruction
from ..kernel.warp import MOST_ALIGNED, WARP
from .group import Group
from .tensor_linear import FRAGMENT, OUTPUTS, zipped

PADDED = 4 * FRAGMENT + 16  # bytes from one fragment of sums to the next: threads meet in fewer banks
MOST_RUN = 8  # columns of a thread
ROWS = 16  # of a warp
MOST_ROWS = 4  # at once
IN_FLIGHT = 96  # elements of operands and sums that a thread holds before it stores


def run_of(group: Group, columns: int) -> int:
    """Neighbouring columns of a thread: 16 bytes of the widest operand or result of the epilogue, within a tile."""
    widest = max(v.type.dtype.nbytes for v in (*whole_operands(group), *group.outputs))
    run = min(MOST_RUN, MOST_ALIGNED // widest)
    while run > 1 and columns % (WARP * run):
        run //= 2
    return run


def rows_at_once(group: Group, columns: int) -> int:
    """Rows whose operands are asked for before the first of them is stored."""
    each = columns // WARP * (1 + len(whole_operands(group)))
    rows = MOST_ROWS
    while rows > 1 and rows * each > IN_FLIGHT:
        rows //= 2
    return rows


def whole_operands(group: Group) -> list[Value]:
    """What the epilogue reads of every element of the result."""
    shape, read = (
        group.root.results[0].type.shape,
        {id(v) for n in group.nodes if n is not group.root for v in n.inputs},
    )
    found = [v for v in group.inputs if id(v) in read and v.type.shape == shape and isinstance(v.type.element, DType)]
    return [v for v in found if v.type.layout is None]


def sums_of_row(
    k: KernelBuilder, memory: Instruction, start: Instruction, row: Instruction, column: int, run: int
) -> Instruction:
    """32 * `run` sums of one of a warp's 16 rows from `column` on, `run` neighbours to a thread. `start`: of the warp's
    fragments."""
    lane = k.iota("i32", WARP) * run
    inside = lane & (OUTPUTS - 1)
    places = (lane >> 3) * PADDED + (inside >> 1) * 16
    at = start + column // OUTPUTS * PADDED + (row & 7) * 64 + (row >> 3) * 8
    if run == 1:
        return k.gather(memory, at, places + (inside & 1) * 4, "f32")
    parts = [k.gather(memory, at + 16 * n, places, "f32", 2) for n in range(run // 2)]
    each = 2
    while len(parts) > 1:
        parts = [zipped(k, a, b, each) for a, b in zip(parts[::2], parts[1::2], strict=True)]
        each *= 2
    return parts[0]


def place_of_sum(row: Instruction, column: Instruction, columns: int) -> Instruction:
    """Where a sum of a tile of so many columns lies, as `sums_of_row` reads it: the fragments of 16 rows come one after
    the other. Bytes, of lanes of i32."""
    fragment = (row >> 4) * (columns // OUTPUTS) + (column >> 3)
    inside = (row & 7) * 64 + ((row >> 3) & 1) * 8 + ((column & (OUTPUTS - 1)) >> 1) * 16 + (column & 1) * 4
    return fragment * PADDED + inside


def store_rows(
    k: KernelBuilder,
    begin: Instruction,
    end: Instruction,
    at_once: int,
    made: Callable[[Instruction], Sequence[Callable[[], None]]],
) -> None:
    """All rows begin .. end, whole groups of `at_once`: `made(row)` computes results and gives what stores them, which
    runs when the operands of all rows of a group are read."""
    for first in k.loop(begin, end, at_once):
        stores = [store for n in range(at_once) for store in made(first + n)]
        for store in stores:
            store()
