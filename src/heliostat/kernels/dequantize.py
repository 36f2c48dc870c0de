"""Reading blocks in a file's own layout, derived from the declaration; and the schedule of `dequantize`."""

from __future__ import annotations

from collections.abc import Iterator

from ..ir.types import TensorType, f32
from ..kernel.builder import KernelBuilder
from ..kernel.ir import Instruction, Kernel
from ..quant.algebra import Factor
from ..quant.fields import Codes, Scalar
from ..quant.format import BlockFormat
from ..targets.target import Target
from . import dot
from .group import Accept, Dims, Group, Refuse

ROOTS = ("dequantize",)


class BlockReader:
    """Reads one block of a format where the file has it: scalars by their bit slices, codes by runs of bytes."""

    def __init__(self, k: KernelBuilder, format: BlockFormat, buffer: Instruction) -> None:
        self.k, self.format, self.buffer = k, format, buffer
        assert format.normal is not None
        self.normal = format.normal
        self.table = dot.code_table(format)

    def bits(self, base: Instruction, scalar: Scalar, j: int) -> Instruction:
        """The raw bits of value j of a scalar field, as i32."""
        k = self.k
        total: Instruction | None = None
        for s in scalar.slices(j):
            byte = k.convert(k.load(self.buffer, base + s.byte_offset, "i8"), "i32", signed=False)
            part = k.binary("and", byte >> s.shift, (1 << s.width) - 1) << s.into_bit
            total = part if total is None else total | part
        assert total is not None
        return total

    def scalar(self, base: Instruction, scalar: Scalar, j: int) -> Instruction:
        """Value j of a scalar field: floats as f32, integers as i32."""
        k, dtype = self.k, scalar.dtype
        raw = self.bits(base, scalar, j)
        if dtype.name == "f32":
            return k.bitcast(raw, "f32")
        if dtype.name == "f16":
            return k.convert(k.bitcast(k.convert(raw, "i16"), "f16"), "f32")
        if dtype.name == "bf16":
            return k.bitcast(raw << 16, "f32")
        if dtype.name in ("e8m0", "ue4m3"):
            return dot.small_float(k, raw, dtype.name)
        if dtype.kind == "i" and dtype.bits < 32:
            return k.ashr(raw << (32 - dtype.bits), 32 - dtype.bits)
        return raw

    def factor(self, base: Instruction, factor: Factor, sub: int) -> Instruction:
        """A scale or offset of sub-block `sub`, as f32."""
        k = self.k
        subs = self.format.block // self.normal.sub
        product: Instruction | None = None
        for name in factor.floats:
            field = self.format.scalar(name)
            value = self.scalar(base, field, sub * field.count // subs)
            product = value if product is None else product * value
        if factor.integer is not None:
            name, bias = factor.integer
            field = self.format.scalar(name)
            value = k.convert(self.scalar(base, field, sub * field.count // subs) + bias, "f32")
            product = value if product is None else product * value
        if product is None:
            return k.const(factor.constant, "f32")
        return product * factor.constant if factor.constant != 1.0 else product

    def codes(self, base: Instruction, start: int, count: int) -> Instruction:
        """The unsigned stored codes of `count` elements from `start`, as bytes. The run lies within one piece."""
        k, codes = self.k, self.format.codes
        assert isinstance(codes, Codes)
        for piece in codes.pieces():
            if piece.start <= start and start + count <= piece.start + piece.length:
                total: Instruction | None = None
                for s in piece.slices:
                    raw = k.load(self.buffer, base + (s.byte_offset + start - piece.start), "i8", count)
                    part = _digit(k, raw, s.shift) if s.radix else k.binary("and", raw >> s.shift, (1 << s.width) - 1)
                    part = part << s.into_bit
                    total = part if total is None else total | part
                assert total is not None
                return total ^ codes.flip if codes.flip else total
        raise ValueError(f"elements {start} .. {start + count} of {self.format.name} do not lie in one run")

    def spans(self, lanes: int) -> Iterator[tuple[int, int]]:
        """(start, count) of runs that cover a block: powers of two of at most `lanes`, within one piece and
        sub-block.
        """
        codes = self.format.codes
        assert isinstance(codes, Codes)
        for piece in codes.pieces():
            at = piece.start
            while at < piece.start + piece.length:
                room = min(piece.start + piece.length - at, lanes, self.normal.sub - at % self.normal.sub)
                count = 1 << (room.bit_length() - 1)
                yield at, count
                at += count

    def runs(self, base: Instruction, lanes: int) -> Iterator[tuple[int, Instruction]]:
        """(start, values as f32) for every run of a block."""
        scales: dict[int, tuple[Instruction, Instruction | None]] = {}
        for start, count in self.spans(lanes):
            sub = start // self.normal.sub
            if sub not in scales:
                offset = None if self.normal.offset is None else self.factor(base, self.normal.offset, sub)
                scales[sub] = self.factor(base, self.normal.scale, sub), offset
            scale, offset = scales[sub]
            yield start, dot.value_of(self.k, self.codes(base, start, count), self.table, scale, offset)


def _digit(k: KernelBuilder, raw: Instruction, place: int) -> Instruction:
    """Base-3 digit `place` of a byte: ((byte * 3 ** place mod 256) * 3) >> 8."""
    shifted = raw * k.const(3**place % 256, "i8", raw.lanes) if place else raw
    wide = k.convert(shifted, "i16", signed=False) * 3
    return k.convert(wide >> 8, "i8")


def refusal(format: object) -> str | None:
    """Why blocks cannot be read natively; None where they can."""
    if not isinstance(format, BlockFormat):
        return f"{format} is not a block format"
    if format.normal is None:
        return f"{format.name} has no normal form: {format.reason}"
    return None


def accepts(group: Group, target: Target) -> Accept | Refuse:
    if group.root.op.name != "dequantize":
        return Refuse(f"root is {group.root.op.name}, not dequantize")
    if len(group.nodes) != 1:
        return Refuse("nothing is fused into dequantize")
    x = group.root.inputs[0].type
    if x.layout is not None:
        return Refuse(f"blocks in layout {x.layout}")
    if group.outputs[0].type != TensorType(f32, x.shape):
        return Refuse(f"results are {group.outputs[0].type}, not rows of f32")
    reason = refusal(x.element)
    return Accept() if reason is None else Refuse(reason)


def build(group: Group, target: Target, name: str, tune: None = None) -> Kernel:
    """x: (..., K) blocks in file order, out: (..., K) f32. Reads x once, writes 4 bytes an element."""
    k = KernelBuilder(name)
    source = k.buffer("i0", "r")
    out = k.buffer("o0", "w")
    dims = Dims(k, group.symbols)
    x = group.root.inputs[0]
    format = x.type.element
    assert isinstance(format, BlockFormat)
    reader = BlockReader(k, format, source)
    for b in k.parallel(dims.product(x.type.shape) // format.block):
        for start, value in reader.runs(b * format.nbytes, target.lanes):
            k.store(out, (b * format.block + start) * 4, value)
    return k.finish()
