"""Schedules of `count_digits` and `move_by_digit`: a stable counting sort by one digit. A worker has a part of a row,
and the counts of a part in private memory."""

from __future__ import annotations

from ..ir.types import numel
from ..kernel.builder import KernelBuilder
from ..kernel.ir import Instruction, Kernel
from ..ops.sort import PARTS
from ..targets.target import Target
from .group import Accept, Dims, Group, Refuse
from .quantize_block import tree

ROOTS = ("count_digits", "move_by_digit")
UNROLL = 4


def accepts(group: Group, target: Target) -> Accept | Refuse:
    if group.root.op.name not in ("count_digits", "move_by_digit") or len(group.nodes) != 1:
        return Refuse("not a count_digits or move_by_digit by itself")
    return Accept()


def build(group: Group, target: Target, name: str, tune: None = None) -> Kernel:
    """Reads x once. `move_by_digit` writes the result once, and a worker reads the counts of its row."""
    k = KernelBuilder(name, target.capability)
    buffers = [k.buffer(f"i{n}", "r") for n in range(len(group.inputs))]
    buffers = [buffers[group.inputs.index(v)] for v in group.root.inputs]
    out = k.buffer("o0", "w")
    type, attrs = group.root.inputs[0].type, group.root.attrs
    size, low, values = int(type.shape[-1]), attrs["low"], 1 << attrs["bits"]  # type: ignore[arg-type]
    each = -(-size // PARTS)
    table = k.alloc(values * 8)
    zero = k.const(0, "i64")

    nbytes, places = type.dtype.nbytes, attrs.get("places", False)
    sign = 0 if type.dtype.kind == "u" else -1 << (8 * nbytes - 1)

    def digit(value: Instruction) -> Instruction:
        """Eight times the digit: its place in a table."""
        turned = k.convert(value, "i64") ^ sign
        placed = turned >> (low - 3) if low >= 3 else turned << (3 - low)
        return placed & ((values - 1) * 8)

    def load(i: Instruction) -> Instruction:
        return k.load(buffers[0], base + i * nbytes, f"i{8 * nbytes}")

    for item in k.parallel(Dims(k, group.symbols)(numel(type.shape[:-1])) * PARTS):
        row, part = item // PARTS, item % PARTS
        base = row * (size * nbytes)
        lo, hi = k.minimum(part * each, size), k.minimum(part * each + each, size)
        counts = row * (PARTS * values * 8)
        if len(buffers) == 1:
            for d in k.loop(values):
                k.store(table, d * 8, zero)
            for i in k.loop(lo, hi, unroll=UNROLL):
                at = digit(load(i))
                k.store(table, at, k.load(table, at, "i64") + 1)
            for d in k.loop(values):
                k.store(out, counts + (part * values + d) * 8, k.load(table, d * 8, "i64"))
            continue
        begin = k.var(zero)
        for d in k.loop(values):
            known = [k.load(buffers[1], counts + (n * values + d) * 8, "i64") for n in range(PARTS)]
            before = begin.get()
            for n, count in enumerate(known):
                before = before + k.select(k.const(n, "i64") < part, count, 0)
            k.store(table, d * 8, before)
            begin.set(tree([begin.get(), *known], lambda a, b: a + b))
        for i in k.loop(lo, hi, unroll=UNROLL):
            value = load(i)
            at = digit(value)
            place = k.load(table, at, "i64")
            k.store(table, at, place + 1)
            inside = k.select(k.ult(place, size), place, 0)  # counts of other rows lead nowhere else
            k.store(out, (row * size + inside) * 8 if places else base + inside * nbytes, i if places else value)
    return k.finish()
