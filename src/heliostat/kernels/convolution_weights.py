"""Schedule of `conv2d_weight_gradient` on cores: a tile is some output channels by a row of a window's taps.

A vector holds neighbouring columns, and each tap of each channel a vector of sums, which are added across at the end. A
worker has a block of output channels and a part of the input channels. What it reads of g for one piece of rows, or of
small images, stays in the first-level cache while all input channels pass; its sums lie in private memory meanwhile.
Inputs are read where they lie, with masks at their borders; nothing is stored of their windows.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from ..ir.graph import Node
from ..ir.types import DType
from ..kernel.builder import KernelBuilder, Variable
from ..kernel.ir import ELEMENT_BYTES, Instruction, Kernel
from ..targets.target import Target
from .group import Accept, Dims, Group, Refuse, TensorOperand, compute_elem

ROOTS = ("conv2d_weight_gradient",)
PIECE_BYTES = 16 << 10  # of g that a tile goes through before the next tile does: half of a first-level cache
ITEMS = 16  # that workers share, where there are so many channels
LEAST_COLUMNS = 7  # of 16 lanes: with more of them idle, windows that are written out and a product are no slower


def refusal(node: Node, target: Target) -> str | None:
    """Why a weight's gradient is not taken whole; None where it is."""
    if node.op.name != "conv2d_weight_gradient":
        return f"{node.op.name} is not conv2d_weight_gradient"
    if target.gpu:
        return f"{target.name} is no core"
    x, g = (v.type for v in node.inputs)
    for t in (x, g):
        if not isinstance(t.element, DType) or t.layout is not None:
            return "operands must be plain and row-major"
        if not all(isinstance(d, int) for d in t.shape[1:]):
            return "channels, heights and widths must be known"
    if node.attrs["stride"][1] != 1 or node.attrs["kernel"][1] > sums_of(target) or 1 in (x.shape[-1], g.shape[-1]):
        return "windows must begin at every column and be no wider than there are registers for sums"
    if int(g.shape[-1]) * 16 < LEAST_COLUMNS * target.lanes:  # type: ignore[arg-type]
        return "rows are short"
    return None


def sums_of(target: Target) -> int:
    """Registers for sums, beside those of a row of x and of g."""
    return 24 if target.vector_registers >= 32 else 10


def accepts(group: Group, target: Target) -> Accept | Refuse:
    """One such op by itself."""
    if len(group.nodes) != 1:
        return Refuse("nothing is fused into conv2d_weight_gradient")
    reason = refusal(group.root, target)
    return Accept() if reason is None else Refuse(reason)


def build(group: Group, target: Target, name: str, tune: None = None) -> Kernel:
    """x: (N, C, H, W), g: (N, O, H', W'), out: (O, C / groups, KH, KW). 2 N O H' W' C / groups KH KW operations; g is
    read once for each part of the input channels, x once for each block of output channels."""
    return _Nest(group, target, name).build()


class _Nest:
    def __init__(self, group: Group, target: Target, name: str) -> None:
        k = self.k = KernelBuilder(name)
        node, attrs = group.root, group.root.attrs
        buffers = [k.buffer(f"i{n}", "r") for n in range(2)]
        out = k.buffer("o0", "w")
        dims = self.dims = Dims(k, group.symbols)
        self.x, self.g = (TensorOperand(k, dims, b, v.type) for b, v in zip(buffers, node.inputs, strict=True))
        self.result = TensorOperand(k, dims, out, node.results[0].type)
        self.out, self.inner, self.kh, self.kw = (int(d) for d in self.result.type.shape)  # type: ignore[arg-type]
        self.groups = int(attrs["groups"])
        (self.sh, _), (self.ph, self.pw), (self.dh, self.dw) = attrs["stride"], attrs["padding"], attrs["dilation"]
        self.height, self.width = (int(d) for d in self.x.type.shape[2:])  # type: ignore[arg-type]
        self.rows, self.columns = (int(d) for d in self.g.type.shape[2:])  # type: ignore[arg-type]
        self.elem = compute_elem(self.x.type.dtype)
        self.nbytes = ELEMENT_BYTES[self.elem]
        self.lanes = target.lanes_of(self.nbytes)
        self.images = dims(self.x.type.shape[0])
        self.most = max(1, sums_of(target) // self.kw)
        each = self.out // self.groups
        blocks = self.groups * -(-each // self.most)
        wanted = -(-ITEMS // blocks)
        self.parts = next(n for n in range(min(wanted, self.inner), self.inner + 1) if self.inner % n == 0)

    def build(self) -> Kernel:
        """Whole blocks of channels, then what is left of each group."""
        whole, left = divmod(self.out // self.groups, self.most)
        if whole:
            self._blocks(whole, self.most, 0)
        if left:
            self._blocks(1, left, whole * self.most)
        return self.k.finish()

    def _blocks(self, count: int, channels: int, skip: int) -> None:
        """`count` blocks of `channels` in every group, after the first `skip` of it."""
        k, each, inner = self.k, self.out // self.groups, self.inner // self.parts
        tile = channels * self.kw * self.lanes * self.nbytes
        sums = k.alloc(inner * self.kh * tile)
        row = max(1, PIECE_BYTES // (channels * self.columns * self.nbytes))
        band, some = min(row, self.rows), max(1, row // self.rows)
        for item in k.parallel(self.groups * count * self.parts):
            block, part = item // self.parts, item % self.parts
            first = block // count * each + block % count * channels + skip
            begin = part * inner
            zero = k.zeros(self.elem, self.lanes)
            for at in k.loop(0, inner * self.kh * tile, self.lanes * self.nbytes):
                k.store(sums, at, zero)
            for image in k.loop(0, self.images, some):
                end = k.minimum(image + some, self.images)
                for top in k.loop(0, self.rows, band):
                    bottom = k.minimum(top + band, self.rows)
                    for i in k.loop(inner):
                        plane = block // count * self.inner + begin + i
                        for y in k.loop(self.kh):
                            base = (i * self.kh + y) * tile
                            self._tile(sums, base, channels, first, plane, y, (image, end), (top, bottom))
            for i in k.loop(inner):
                for y in k.loop(self.kh):
                    for c, x, place in self._places(channels):
                        value = k.load(sums, (i * self.kh + y) * tile + place, self.elem, self.lanes)
                        index = [first + c, begin + i, y, k.const(x, "i64")]
                        self.result.store(index, k.reduce_add(value))

    def _places(self, channels: int) -> Iterator[tuple[int, int, int]]:
        """Channel, tap and byte offset of each vector of a tile's sums."""
        for c in range(channels):
            for x in range(self.kw):
                yield c, x, (c * self.kw + x) * self.lanes * self.nbytes

    def _tile(
        self,
        sums: Instruction,
        base: Instruction,
        channels: int,
        first: Instruction,
        plane: Instruction,
        y: Instruction,
        images: tuple[Instruction, Instruction],
        rows: tuple[Instruction, Instruction],
    ) -> None:
        """Add what some rows of some images give for one row of taps of one input channel."""
        k, lanes = self.k, self.lanes
        acc: dict[tuple[int, int], Variable] = {
            (c, x): k.var(k.load(sums, base + at, self.elem, lanes)) for c, x, at in self._places(channels)
        }
        shift = y * self.dh - self.ph
        # rows whose line of x is there: 0 <= row * sh + shift < height
        top = k.maximum(rows[0], (k.const(self.sh - 1, "i64") - shift) // self.sh)
        bottom = k.minimum(rows[1], (k.const(self.height - 1 + self.sh, "i64") - shift) // self.sh)
        for n in k.loop(*images):
            for column, masks, there in self._vectors():
                for row in k.loop(top, bottom):
                    line = row * self.sh + shift
                    taps = [
                        k.convert(self.x.load([n, plane, line, column + self._tap(x)], lanes, mask), self.elem)
                        for x, mask in enumerate(masks)
                    ]
                    for c in range(channels):
                        g = k.convert(self.g.load([n, first + c, row, column], lanes, there), self.elem)
                        for x, value in enumerate(taps):
                            acc[c, x].set(k.fma(g, value, acc[c, x].get()))
        for c, x, at in self._places(channels):
            k.store(sums, base + at, acc[c, x].get())

    def _tap(self, x: int) -> int:
        """Columns from one of g to the one of x that tap x meets it with."""
        return x * self.dw - self.pw

    def _vectors(self) -> Iterator[tuple[Instruction, Sequence[Instruction | None], Instruction | None]]:
        """First columns of the vectors of a row of g, what is inside of x for each tap, and what is inside of g."""
        k, lanes = self.k, self.lanes
        low, high = self._tap(0), self._tap(self.kw - 1)
        begin = min(-(-max(0, -low) // lanes) * lanes, self.columns)
        last = min(self.columns, self.width - high) - lanes  # where the last vector may begin that needs no mask
        end = begin + max(0, last - begin + lanes) // lanes * lanes
        for lo, hi, inside in ((0, begin, False), (begin, end, True), (end, self.columns, False)):
            if lo >= hi:
                continue
            for column in k.loop(lo, hi, lanes):
                if inside:
                    yield column, [None] * self.kw, None
                    continue
                lane = k.splat(k.convert(column, "i32"), lanes) + k.iota("i32", lanes)
                there = lane < self.columns
                at = [lane + self._tap(x) for x in range(self.kw)]
                yield column, [(a >= 0) & (a < self.width) & there for a in at], there
