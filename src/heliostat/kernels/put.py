"""Schedule of `put`: rows written or added by number. Each piece of the result is one worker's: sums have an order."""

from __future__ import annotations

from ..ir.types import DType
from ..kernel.builder import KernelBuilder
from ..kernel.ir import Instruction, Kernel
from ..targets.target import Target
from .group import Accept, Dims, Group, Refuse, TensorOperand

ROOTS = ("put",)
WIDE = 32  # columns from which on the scan of the numbers costs less than the rows
VECTORS = 4  # of columns that a worker of a GPU has at once
WORKERS = 32 * 132  # that are wanted in flight


def accepts(group: Group, target: Target) -> Accept | Refuse:
    if group.root.op.name != "put" or len(group.nodes) != 1:
        return Refuse("not a put by itself")
    if any(not isinstance(v.type.element, DType) or v.type.layout is not None for v in group.inputs):
        return Refuse("operands must be plain and row-major")
    return Accept()


def build(group: Group, target: Target, name: str, tune: None = None) -> Kernel:
    """x: (V, K), ids: (N,), rows: (N, K). Reads and writes x once, and reads all numbers once per piece of rows,
    on a GPU also of columns.
    """
    k = KernelBuilder(name)
    buffers = {v: k.buffer(f"i{n}", "r") for n, v in enumerate(group.inputs)}
    out = k.buffer("o0", "w")
    dims = Dims(k, group.symbols)
    base, ids, rows = (TensorOperand(k, dims, buffers[v], v.type) for v in group.root.inputs)
    result = TensorOperand(k, dims, out, group.outputs[0].type)
    source = TensorOperand(k, dims, out, group.outputs[0].type)
    accumulate = group.root.attrs["accumulate"]
    if target.gpu:
        _by_warps(k, dims, base, ids, rows, result, source, accumulate, target.lanes)
        return k.finish()
    size, depth = dims(base.type.shape[0]), base.type.shape[1]
    count = dims(ids.type.shape[0])
    pieces = 16 if not isinstance(depth, int) or depth >= WIDE else 4
    each = (size + (pieces - 1)) // pieces
    columns = dims(depth)
    lanes = target.lanes_of(base.type.dtype.nbytes)
    whole = columns // lanes * lanes
    for piece in k.parallel(k.const(pieces, "i64")):
        lo = k.minimum(piece * each, size)
        hi = k.minimum(lo + each, size)
        for v in k.loop(lo, hi):
            for c in k.loop(0, whole, lanes):
                result.store([v, c], base.load([v, c], lanes))
            for c in k.loop(whole, columns):
                result.store([v, c], base.load([v, c]))
        for n in k.loop(count):
            v = k.convert(ids.load([n]), "i64")
            for _ in k.when((lo <= v) & (v < hi)):
                for start, stop, wide in ((k.const(0, "i64"), whole, lanes), (whole, columns, 1)):
                    for c in k.loop(start, stop, wide):
                        value = rows.load([n, c], wide)
                        result.store([v, c], _sum(source.load([v, c], wide), value) if accumulate else value)
    return k.finish()


def _sum(now: Instruction, value: Instruction) -> Instruction:
    return now | value if value.elem == "i1" else now + value


def _by_warps(
    k: KernelBuilder,
    dims: Dims,
    base: TensorOperand,
    ids: TensorOperand,
    rows: TensorOperand,
    result: TensorOperand,
    source: TensorOperand,
    accumulate: bool,
    lanes: int,
) -> None:
    """A worker has some rows of the result and a few vectors of their columns. It looks at as many numbers at once as
    it has threads, and goes through them one by one where one of its own is among them.
    """
    size, columns, count = (dims(d) for d in (*base.type.shape, ids.type.shape[0]))
    wide = VECTORS * lanes
    parts = (columns + (wide - 1)) // wide
    each = k.maximum(size * parts // WORKERS, 1)
    pieces = (size + (each - 1)) // each
    lane = k.iota("i32", lanes)
    for item in k.parallel(pieces * parts):
        lo, first = item // parts * each, item % parts * wide
        hi = k.minimum(lo + each, size)
        places = [first + s * lanes for s in range(VECTORS)]
        inside = [lane < k.splat(k.convert(columns - c, "i32"), lanes) for c in places]
        for v in k.loop(lo, hi):
            held = [base.load([v, c], lanes, m) for c, m in zip(places, inside, strict=True)]
            for c, m, value in zip(places, inside, held, strict=True):
                result.store([v, c], value, m)
        for n in k.loop(0, count, lanes):
            there = lane < k.splat(k.convert(count - n, "i32"), lanes)
            numbers = k.convert(ids.load([n], lanes, there), "i64")
            mine = there & (k.splat(lo, lanes) <= numbers) & (numbers < k.splat(hi, lanes))
            for _ in k.when(k.reduce_max(k.convert(mine, "i32", signed=False)) > 0):
                for e in k.loop(n, k.minimum(n + lanes, count)):
                    v = k.convert(ids.load([e]), "i64")
                    for _ in k.when((lo <= v) & (v < hi)):
                        held = [rows.load([e, c], lanes, m) for c, m in zip(places, inside, strict=True)]
                        if accumulate:
                            now = [source.load([v, c], lanes, m) for c, m in zip(places, inside, strict=True)]
                            held = [_sum(a, b) for a, b in zip(now, held, strict=True)]
                        for c, m, value in zip(places, inside, held, strict=True):
                            result.store([v, c], value, m)
