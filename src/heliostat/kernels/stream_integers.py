"""Products of int8 activations of one row with a streamed panel: integer sums of parts of a chunk, scaled in f32."""

from __future__ import annotations

from collections.abc import Iterable

from ..kernel.builder import KernelBuilder, Variable
from ..kernel.ir import Instruction
from ..quant.activation import FINE, ActivationFormat
from ..quant.panel import CHUNK, QUAD, PanelPlan
from . import dot

LONG = 2  # bodies of a step up to which they are written out


class IntegerSums:
    """`x`: where the row of activations lies. They have a scale for each CHUNK of neighbours, whatever the weight's
    block: a panel's rows, which a product quantizes where it makes them, are as many.
    """

    def __init__(self, k: KernelBuilder, plan: PanelPlan, depth: int, format: ActivationFormat, x: Instruction) -> None:
        self.k, self.plan, self.depth, self.format, self.x = k, plan, depth, format, x
        self.planes = [p * format.plane_bytes(depth) for p in range(format.planes)]
        self.groups = 1

    def of(
        self,
        memory: Instruction,
        steps: Iterable[tuple[Instruction, list[Instruction]]],
        split: int,
        groups: int,
    ) -> Instruction:
        """The sums of a panel's rows over some steps, each a block, or one of `split` pieces of one, at a place in
        `memory`. `groups` 2: lanes of the second half hold rows of the block behind. Two planes of a part are one
        integer, in steps of the fine one, before it is scaled: at most 32 products of 255, 127 and FINE + 1.
        """
        k, plan, format, depth = self.k, self.plan, self.format, self.depth
        self.groups = groups
        reader = dot.PanelReader(k, plan, memory)
        reader.flush = reader.adds = True
        normal, lanes, scales = reader.normal, reader.rows, plan.format.block // format.block
        total = k.var(k.zeros("f32", lanes))
        chunks = plan.chunks // split
        body = 1
        if dot.has_nibble_pairs(reader):  # an even and an odd sub-block, so that the nibble is known
            body = min(chunks, max(1, 2 * normal.sub // CHUNK))
        for step, (base,) in steps:
            block, skipped = (step, k.const(0, "i64")) if split == 1 else (step // split, step % split * chunks)
            block = block * groups
            partial, offsets = (k.var(k.zeros("f32", lanes)) for _ in range(2))
            written_out = [k.const(n, "i64") for n in range(0, chunks, body)]
            for c in written_out if len(written_out) <= LONG else k.loop(0, chunks, body):
                codes = base + plan.chunk_offset
                for e, quads in enumerate([reader.chunk(codes + (c + e) * plan.chunk_bytes) for e in range(body)]):
                    value = self._chunk(reader, quads, base, block, skipped + c, e, offsets)
                    if scales == 1:
                        partial.set(partial.get() + value)
                        continue
                    at = (block * scales + skipped + c + e) * 4 + (format.scales_at(depth) + self.planes[-1])
                    partial.set(k.fma(value, self._of_x(at, "f32", 4 * scales), partial.get()))
            value, factor = partial.get(), None
            if not reader.varies(normal.scale):
                factor = reader.floats(normal.scale, base, 0, 0)
            if factor is not None:
                value = value * factor
            if normal.offset is not None:
                offset = None if reader.varies(normal.offset) else reader.floats(normal.offset, base, 0, 0)
                both = offsets.get()
                total.set(total.get() + both if offset is None else k.fma(both, offset, total.get()))
            if scales > 1:
                total.set(total.get() + value)
                continue
            scale = self._of_x(block * 4 + (format.scales_at(depth) + self.planes[-1]), "f32", 4)
            total.set(k.fma(value, scale, total.get()))
        both = total.get()
        if groups == 1:
            return both
        return both + k.shuffle(both, both, [(n + lanes // 2) % lanes for n in range(lanes)])

    def _chunk(
        self,
        reader: dot.PanelReader,
        quads: list[Instruction],
        base: Instruction,
        block: Instruction,
        first: Instruction,
        more: int,
        offsets: Variable,
    ) -> Instruction:
        """Sums of chunk first + more of a block, but for the scales of activations and of the block. What offsets add
        goes to `offsets`, but for what the block's have in common.
        """
        k, plan, format, normal = self.k, self.plan, self.format, reader.normal
        lanes, size = reader.rows, plan.format.block
        part = min(normal.sub, format.sub)  # elements with a sum of activations
        parts, each = CHUNK // part, part // QUAD
        value: Instruction | None = None
        for g in range(parts):
            inside = (more * CHUNK + g * part) // normal.sub
            j = dot.sub_index(first, normal.sub) + inside
            at_sum = (block * (size // part) + (first + more) * parts + g) * 4 + format.sums_at(self.depth)
            sums = [k.zeros("i32", lanes) for _ in self.planes]
            if normal.offset is None and format.factor:
                sums = [self._of_x(at_sum + p, "i32", 4 * (size // part)) for p in self.planes]
            for n, quad in enumerate(quads[g * each : (g + 1) * each]):
                at = block * size + (first + more) * CHUNK + (g * each + n) * QUAD
                for p, start in enumerate(self.planes):
                    a = k.bitcast(self._of_x(at + start, "i32", size), "i8")
                    sums[p] = k.dot4(sums[p], quad, a, reader.codes.maximum)
            whole = k.convert(sums[0] if len(sums) == 1 else sums[0] * FINE + sums[1], "f32")
            weight = dot.weight_of(reader, base, j, inside % 2)
            if value is None:
                value = whole if weight is None else whole * weight
            else:
                value = value + whole if weight is None else k.fma(whole, weight, value)
            if normal.offset is not None:
                own = reader.floats(normal.offset, base, j, inside % 2) if reader.varies(normal.offset) else None
                offset = reader.scaled(own, normal.offset, base, j, inside % 2)
                weighed = [self._of_x(at_sum + p, "f32", 4 * (size // part)) for p in self.planes]
                both = weighed[0] if len(weighed) == 1 else weighed[0] + weighed[1]
                offsets.set(offsets.get() + both if offset is None else k.fma(offset, both, offsets.get()))
        assert value is not None
        return value

    def _of_x(self, at: Instruction, elem: str, stride: int) -> Instruction:
        """A value of x for all lanes, or for half of them; the other half has a block of its own, `stride` bytes on."""
        k, lanes = self.k, self.plan.rows
        if self.groups == 1:
            return k.splat(k.load(self.x, at, elem), lanes)
        return k.gather(self.x, at, (k.iota("i32", lanes) >> 4) * stride, elem)
