"""Schedule of `put`: rows written or added by number. Each piece of the result is one worker's: sums have an order."""

from __future__ import annotations

from ..ir.types import DType
from ..kernel.builder import KernelBuilder
from ..kernel.ir import Kernel
from ..targets.target import Target
from .group import Accept, Dims, Group, Refuse, TensorOperand

WIDE = 32  # columns from which on the scan of the numbers costs less than the rows


def accepts(group: Group, target: Target) -> Accept | Refuse:
    if group.root.op.name != "put" or len(group.nodes) != 1:
        return Refuse("not a put by itself")
    if any(not isinstance(v.type.element, DType) or v.type.layout is not None for v in group.inputs):
        return Refuse("operands must be plain and row-major")
    return Accept()


def build(group: Group, target: Target, name: str, tune: None = None) -> Kernel:
    """x: (V, K), ids: (N,), rows: (N, K). Reads and writes x once, and reads all numbers once per piece of rows."""
    k = KernelBuilder(name)
    buffers = {v: k.buffer(f"i{n}", "r") for n, v in enumerate(group.inputs)}
    out = k.buffer("o0", "w")
    dims = Dims(k, group.symbols)
    base, ids, rows = (TensorOperand(k, dims, buffers[v], v.type) for v in group.root.inputs)
    result = TensorOperand(k, dims, out, group.outputs[0].type)
    source = TensorOperand(k, dims, out, group.outputs[0].type)
    size, depth = dims(base.type.shape[0]), base.type.shape[1]
    count = dims(ids.type.shape[0])
    pieces = 16 if not isinstance(depth, int) or depth >= WIDE else 4
    each = (size + (pieces - 1)) // pieces
    columns = dims(depth)
    lanes = max(1, target.vector_bytes // max(4, base.type.dtype.nbytes))
    whole = columns // lanes * lanes
    accumulate = group.root.attrs["accumulate"]
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
                        if accumulate:
                            now = source.load([v, c], wide)
                            value = now | value if value.elem == "i1" else now + value
                        result.store([v, c], value)
    return k.finish()
