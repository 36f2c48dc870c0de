"""Schedule of `quantize` to a block format whose codes are bytes: a scale for each block, from its largest element.

Bit for bit as `quant.quantize` does it by the format's rule; what is searched for, or packed closer, has no kernel.
"""

from __future__ import annotations

from functools import reduce

from ..ir.types import DType
from ..kernel.builder import KernelBuilder
from ..kernel.ir import Kernel
from ..quant.fields import Codes
from ..quant.format import BlockFormat
from ..targets.target import Target
from .group import Accept, Dims, Group, Refuse, load_as_compute
from .plain_math import whole

ROOTS = ("quantize",)


def refusal(format: object, lanes: int) -> str | None:
    """Why blocks are not made natively; None where they are."""
    if not isinstance(format, BlockFormat) or format.normal is None or format.rule is None:
        return f"no native quantize to {format}"
    normal, codes = format.normal, format.codes
    rule = format.rule.scale, format.rule.rounding
    simple = (
        normal.offset is None and normal.table is None and normal.scale.integer is None and normal.sub == format.block
    )
    if rule != ("absmax", "away") or not simple or len(normal.scale.floats) != 1 or normal.scale.constant != 1:
        return f"{format.name} is not made by its largest elements alone"
    if format.scalar(normal.scale.floats[0]).dtype.name != "f16":
        return f"scales of {format.name} are not f16"
    if not isinstance(codes, Codes) or not codes.signed or normal.width != 8 or format.block % lanes:
        return f"codes of {format.name} are not bytes, vectors of {lanes}"
    pieces = list(codes.pieces())
    if any(s.shift for p in pieces for s in p.slices) or any(p.length % lanes for p in pieces):
        return f"codes of {format.name} do not lie side by side"
    return None


def accepts(group: Group, target: Target) -> Accept | Refuse:
    if group.root.op.name != "quantize":
        return Refuse(f"root is {group.root.op.name}, not quantize")
    if len(group.nodes) != 1:
        return Refuse("nothing is fused into quantize to blocks")
    x = group.root.inputs[0].type
    if not isinstance(x.element, DType) or x.layout is not None:
        return Refuse("operands must be plain and row-major")
    reason = refusal(group.root.attrs["format"], target.lanes)
    return Accept() if reason is None else Refuse(reason)


def build(group: Group, target: Target, name: str, tune: None = None) -> Kernel:
    """x: (..., K) float, out: (..., K) blocks. Reads x once; about 8 operations an element."""
    k, lanes = KernelBuilder(name), target.lanes
    source, out = k.buffer("i0", "r"), k.buffer("o0", "w")
    dims = Dims(k, group.symbols)
    x, format = group.root.inputs[0].type, group.root.attrs["format"]
    assert isinstance(format, BlockFormat)
    assert format.normal is not None
    assert format.rule is not None
    (bits,) = format.scalar(format.normal.scale.floats[0]).slices(0)[:1]
    codes = format.codes
    assert isinstance(codes, Codes)
    offsets = {p.start + n: p.slices[0].byte_offset + n for p in codes.pieces() for n in range(0, p.length, lanes)}
    for b in k.parallel(dims.product(x.shape) // format.block):
        at = b * (format.block * x.dtype.nbytes)
        values = {n: load_as_compute(k, source, at + n * x.dtype.nbytes, x.dtype, lanes) for n in offsets}
        largest = k.reduce_max(reduce(k.maximum, [k.fabs(v) for v in values.values()]))
        scale = largest / k.const(format.rule.over, "f32")
        k.store(out, b * format.nbytes + bits.byte_offset, k.convert(scale, "f16"))
        inverse = k.splat(k.select(scale > 0.0, 1.0 / scale, 0.0), lanes)
        for n, value in values.items():
            y = value * inverse
            size = k.fabs(y)
            below = k.floor(size)
            away = below + k.floor((size - below) * 2.0)
            code = whole(k, k.select(y < 0.0, 0.0 - away, away))
            k.store(out, b * format.nbytes + offsets[n], k.convert(code, "i8"))
    return k.finish()
