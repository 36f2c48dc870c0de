"""Schedule of `conv2d` with a fused epilogue: a tile is some output channels by some rows by a vector of columns.

Inputs are read where they lie. A tile whose reach is inside of the image reads without masks; at the borders lanes and
rows that fall outside read zeros. Strides of 2 read two vectors and keep every other lane; larger ones go lane by lane.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ..ir.graph import Value
from ..ir.types import DType
from ..kernel.builder import KernelBuilder, Variable
from ..kernel.ir import ELEMENT_BYTES, Instruction, Kernel
from ..targets.target import Target
from .elementwise import PointEvaluator
from .group import Accept, Dims, Group, Refuse, TensorOperand, compute_elem, epilogue_refusal

ROOTS = ("conv2d",)


@dataclass(frozen=True)
class ConvolutionTile:
    """`channels` of the output by `rows` by one vector of columns."""

    channels: int = 8
    rows: int = 2


def accepts(group: Group, target: Target) -> Accept | Refuse:
    root = group.root
    if root.op.name != "conv2d":
        return Refuse(f"root is {root.op.name}, not conv2d")
    for v in root.inputs:
        if not isinstance(v.type.element, DType) or v.type.layout is not None:
            return Refuse(f"operands must be plain and row-major, found {v.type}")
    if (reason := epilogue_refusal(group)) is not None:
        return Refuse(reason)
    return Accept()


def build(group: Group, target: Target, name: str, tile: ConvolutionTile | None = None) -> Kernel:
    """x: (N, C, H, W), w: (O, C / groups, KH, KW), out: (N, O, H', W'). 2 N O H' W' C / groups KH KW operations."""
    usual = ConvolutionTile() if target.vector_registers >= 32 else ConvolutionTile(4, 2)
    return _Nest(group, target, name, tile or usual).build()


class _Nest:
    def __init__(self, group: Group, target: Target, name: str, tile: ConvolutionTile) -> None:
        self.tile = tile
        k = self.k = KernelBuilder(name)
        buffers = {v: k.buffer(f"i{n}", "r") for n, v in enumerate(group.inputs)}
        outs = [(v, k.buffer(f"o{n}", "w")) for n, v in enumerate(group.outputs)]
        self.dims = Dims(k, group.symbols)
        self.operands = {v: TensorOperand(k, self.dims, b, v.type) for v, b in buffers.items()}
        self.results = [TensorOperand(k, self.dims, b, v.type) for v, b in outs]
        self.outputs = [v for v, _ in outs]
        self.root = group.root.results[0]
        self.x, self.w = (self.operands[v] for v in group.root.inputs)
        self.elem = compute_elem(self.root.type.dtype)
        self.epilogue = PointEvaluator(k, self.dims, self.operands)
        attrs = group.root.attrs
        (self.sh, self.sw), (self.ph, self.pw) = attrs["stride"], attrs["padding"]
        (self.dh, self.dw), self.groups = attrs["dilation"], int(attrs["groups"])
        self.out, self.inner, self.kh, self.kw = (int(d) for d in self.w.type.shape)  # type: ignore[arg-type]
        lanes = target.lanes_of(ELEMENT_BYTES[self.elem])
        self.lanes = lanes if self.sw <= 2 else 1
        self.images = self.dims(self.x.type.shape[0])
        self.height, self.width = (self.dims(d) for d in self.x.type.shape[2:])
        self.rows, self.columns = (self.dims(d) for d in self.root.type.shape[2:])

    def build(self) -> Kernel:
        """Whole blocks of channels in parallel, then what is left of each group."""
        k, each = self.k, self.out // self.groups
        whole, left = divmod(each, self.tile.channels)
        if whole:
            self._blocks(whole, self.tile.channels, 0)
        if left:
            self._blocks(1, left, whole * self.tile.channels)
        return k.finish()

    def _blocks(self, count: int, channels: int, skip: int) -> None:
        """`count` blocks of `channels` in every group, after the first `skip` of it."""
        k, tile, each = self.k, self.tile, self.out // self.groups
        bands = (self.rows + (tile.rows - 1)) // tile.rows
        strips = (self.columns + (self.lanes - 1)) // self.lanes
        for item in k.parallel(self.images * (self.groups * count) * bands * strips):
            strip, rest = item % strips, item // strips
            band, rest = rest % bands, rest // bands
            block, image = rest % (self.groups * count), rest // (self.groups * count)
            group = block // count
            channel = group * each + block % count * channels + skip
            row, column = band * tile.rows, strip * self.lanes
            self._place(image, group * self.inner, [channel + c for c in range(channels)], row, column)

    def _place(
        self,
        image: Instruction,
        first: Instruction,
        channels: Sequence[Instruction],
        row: Instruction,
        column: Instruction,
    ) -> None:
        k, tile = self.k, self.tile
        top, left = row * self.sh - self.ph, column * self.sw - self.pw
        bottom = top + ((tile.rows - 1) * self.sh + (self.kh - 1) * self.dh)
        right = left + (self.lanes * self.sw - 1 + (self.kw - 1) * self.dw)
        inside = (top >= 0) & (left >= 0) & (bottom < self.height) & (right < self.width)
        for _ in k.when(inside & (row + tile.rows <= self.rows) & (column + self.lanes <= self.columns)):
            self._tile(image, first, channels, row, column, inside=True)
        for _ in k.otherwise():
            self._tile(image, first, channels, row, column, inside=False)

    def _tile(
        self,
        image: Instruction,
        first: Instruction,
        channels: Sequence[Instruction],
        row: Instruction,
        column: Instruction,
        inside: bool,
    ) -> None:
        k, lanes, rows = self.k, self.lanes, range(self.tile.rows)
        acc: list[list[Variable]] = [[k.var(k.zeros(self.elem, lanes)) for _ in rows] for _ in channels]
        for i in k.loop(self.inner):
            for y in k.loop(self.kh):
                lines = [(row + r) * self.sh + (y * self.dh - self.ph) for r in rows]
                if inside:
                    self._taps(image, first + i, channels, (i, y), column, lines, acc, None)
                    continue
                visible = [(line >= 0) & (line < self.height) for line in lines]
                if self.lanes == 1:
                    self._taps(image, first + i, channels, (i, y), column, lines, acc, visible)
                    continue
                # most lines at a border are inside: what masks there are is then the same for all of them
                whole = visible[0] & visible[-1]
                for _ in k.when(whole):
                    self._taps(image, first + i, channels, (i, y), column, lines, acc, [None for _ in lines])
                for _ in k.otherwise():
                    self._taps(image, first + i, channels, (i, y), column, lines, acc, visible)
        mask = None if inside else self._lanes_below(column, self.columns)
        for r in rows:
            for _ in k.when(row + r < self.rows) if not inside else (None,):
                for c, channel in enumerate(channels):
                    self._store([image, channel, row + r, column], acc[c][r].get(), mask)

    def _taps(
        self,
        image: Instruction,
        plane: Instruction,
        channels: Sequence[Instruction],
        tap: tuple[Instruction, Instruction],
        column: Instruction,
        lines: Sequence[Instruction],
        acc: Sequence[Sequence[Variable]],
        visible: Sequence[Instruction | None] | None,
    ) -> None:
        """One row of taps of an input channel. `visible`: of each line whether it is inside of the image, None of one
        that is; None where all that is read is inside."""
        k = self.k
        for x in range(self.kw):
            at = column * self.sw + (x * self.dw - self.pw)
            seen = visible or [None for _ in lines]
            vectors = [
                self._input(image, plane, line, at, visible is None, v) for line, v in zip(lines, seen, strict=True)
            ]
            for c, channel in enumerate(channels):
                value = self.w.load([channel, *tap, k.const(x, "i64")])
                weight = k.splat(k.convert(value, self.elem), self.lanes)
                for r, vector in enumerate(vectors):
                    acc[c][r].set(k.fma(weight, vector, acc[c][r].get()))

    def _input(
        self,
        image: Instruction,
        channel: Instruction,
        line: Instruction,
        at: Instruction,
        inside: bool,
        visible: Instruction | None,
    ) -> Instruction:
        """The inputs under a vector of outputs, the first of them in column `at`; zeros where the line is not
        `visible`."""
        k, lanes = self.k, self.lanes
        if visible is not None:
            line = k.minimum(k.maximum(line, 0), self.height - 1)
        if lanes == 1:
            if visible is None:
                return k.convert(self.x.load([image, channel, line, at]), self.elem)
            here = k.minimum(k.maximum(at, 0), self.width - 1)
            value = k.convert(self.x.load([image, channel, line, here]), self.elem)
            return k.select(visible & (at >= 0) & (at < self.width), value, k.zeros(self.elem))
        parts = []
        for s in range(self.sw):
            start = at + s * lanes
            mask = None
            if not inside:
                number = k.splat(k.convert(start, "i32"), lanes) + k.iota("i32", lanes)
                mask = (number >= 0) & (number < k.splat(k.convert(self.width, "i32"), lanes))
                if visible is not None:
                    mask = mask & k.splat(visible, lanes)
            value = k.convert(self.x.load([image, channel, line, start], lanes, mask), self.elem)
            if mask is not None and self.x.type.shape[-1] == 1:  # one column is read for all lanes, whatever the mask
                value = k.select(mask, value, k.zeros(self.elem, lanes))
            parts.append(value)
        if self.sw == 1:
            return parts[0]
        return k.shuffle(parts[0], parts[1], range(0, 2 * lanes, 2))

    def _lanes_below(self, column: Instruction, end: Instruction) -> Instruction | None:
        k = self.k
        if self.lanes == 1:
            return None
        return k.first_lanes(end - column, self.lanes)

    def _store(self, index: Sequence[Instruction], value: Instruction, mask: Instruction | None) -> None:
        preset: dict[Value, Instruction] = {self.root: value}
        done = [self.epilogue.at(v, index, self.lanes, mask=mask, preset=preset) for v in self.outputs]
        for operand, out in zip(self.results, done, strict=True):
            operand.store(index, out, mask)
