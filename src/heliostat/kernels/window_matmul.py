"""Schedules of `window_matmul` and `window_gradient`: convolutions as products on tensor cores, whose left operand is
never written: each chunk of 16 bytes of channels is copied from the pixel that a window has there.

Tiles, ring and epilogue are those of `matmul_tiles`, products those of `warpgroup_matmul` or `warp_matmul`. Copies of
what lies outside of an image are zeros.
"""

from __future__ import annotations

from ..ir.graph import Node
from ..kernel.ir import Instruction, Kernel
from ..kernel.warp import WARP
from ..targets.target import Target
from .group import Accept, Group, Refuse, TensorOperand, epilogue_refusal
from .matmul_tiles import CHUNK, LEAST, LINE, ROWS, RUN, TENSOR, Lines, Tiles, kind_of, without_rounding
from .warp_matmul import WarpTiles
from .warpgroup_linear import WARPS
from .warpgroup_matmul import WarpgroupTiles

ROOTS = ("window_matmul", "window_gradient")
EACH = WARP * RUN // LINE  # lines that a warp copies at once


def accepts(group: Group, target: Target) -> Accept | Refuse:
    """What `fits` takes, with elementwise nodes behind."""
    reason = fits(group.root, target) or epilogue_refusal(without_rounding(group))
    return Accept() if reason is None else Refuse(reason)


def fits(root: Node, target: Target) -> str | None:
    """Why a product with windows is for other ops; None where it is for this schedule."""
    if root.op.name not in ROOTS:
        return f"root is {root.op.name}, no product with windows"
    if target.capability < 80:
        return f"{target.name} has no tensor cores for it"
    x, w = (v.type for v in root.inputs)
    if kind_of(root) not in TENSOR or x.layout is not None or w.layout is not None or not (x.static and w.static):
        return f"tensor cores here take bf16, f16 or what was rounded to tf32, of known sizes, not {x} with {w}"
    channels, out = int(x.shape[1]), int(w.shape[1])  # type: ignore[arg-type]
    if channels % CHUNK or out % CHUNK:
        return f"{channels} and {out} channels are no whole chunks of {CHUNK}"
    if any(int(t.shape[0]) * int(t.shape[1]) * t.dtype.nbytes >= 1 << 31 for t in (x, w)):  # type: ignore[arg-type]
        return "an operand of 2 GiB and more"
    if min(_shape(root)) < LEAST:
        return f"fewer than {LEAST} rows, columns or elements to add: most of a tile would be empty"
    return None


def _shape(root: Node) -> tuple[int, int, int]:
    """Rows, depth and columns of a product."""
    x, w = (v.type for v in root.inputs)
    kh, kw = root.attrs["kernel"]
    taps, out = kh * kw * int(x.shape[1]), int(w.shape[1])  # type: ignore[arg-type]
    if root.op.name == "window_matmul":
        return int(root.results[0].type.shape[0]), taps, out  # type: ignore[arg-type]
    return taps, int(w.shape[0]) // root.attrs["parts"], out  # type: ignore[arg-type]


def build(group: Group, target: Target, name: str) -> Kernel:
    """x: (P, C); w: (KH * KW * C, O) to (P', O), or g: (P', O) to (parts, KH * KW * C, O) in f32."""
    forward = group.root.op.name == "window_matmul"
    by_four = target.capability == 90 and kind_of(group.root) != "tf32"  # which it takes in no order of these
    if forward:
        return (_WarpgroupForward if by_four else _WarpForward)(group, target, name).build()
    return (_WarpgroupGradient if by_four else _WarpGradient)(group, target, name).build()


class _Windows(Tiles):
    """Places of windows: of pixels of the result's grid, at taps, in memory."""

    def _read(self, root: Node, operands: list[TensorOperand]) -> None:
        attrs = root.attrs
        self.size, self.grid, self.kernel = attrs["size"], attrs["grid"], attrs["kernel"]
        self.stride, self.padding, self.dilation = attrs["stride"], attrs["padding"], attrs["dilation"]
        self.transposed = bool(attrs.get("transposed", False))
        self.channels = int(root.inputs[0].type.shape[1])  # type: ignore[arg-type]
        self.shape = rows, depth, columns = _shape(root)
        a, b = operands
        self.a = Lines(a, root.op.name == "window_gradient", rows, depth)
        self.b = Lines(b, True, columns, depth)

    def _corner(self, pixel: Instruction) -> tuple[Instruction, Instruction, Instruction]:
        """Of pixels of the grid: the first row of their image in memory, and line and column of what tap 0 sees."""
        height, width = self.grid
        image, rest = pixel // (height * width), pixel % (height * width)
        at = [rest // width, rest % width]
        if not self.transposed:
            at = [i * s - p for i, s, p in zip(at, self.stride, self.padding, strict=True)]
        else:
            at = [i + p for i, p in zip(at, self.padding, strict=True)]
        return image * (self.size[0] * self.size[1]), at[0], at[1]

    def _tap(self, element: Instruction) -> tuple[Instruction, Instruction, Instruction]:
        """Of elements of a window: how far their line and their column are from tap 0's, and their channel."""
        tap, channel = element // self.channels, element % self.channels
        return tap // self.kernel[1] * self.dilation[0], tap % self.kernel[1] * self.dilation[1], channel

    def _copy(
        self,
        corner: tuple[Instruction, Instruction, Instruction],
        tap: tuple[Instruction, Instruction, Instruction],
        valid: Instruction | None,
        line: Instruction,
        at: Instruction,
    ) -> None:
        """16 bytes for each thread to its place in a line, zeros where there is nothing to see."""
        k = self.k
        image, *places = corner
        inside = valid
        found = []
        for axis, (place, step) in enumerate(zip(places, tap[:2], strict=True)):
            seen = place - step if self.transposed else place + step
            if self.transposed and self.stride[axis] > 1:
                even = k.binary("eq", seen % self.stride[axis], 0)
                inside = even if inside is None else inside & even
                seen = seen // self.stride[axis]
            if self.transposed or self.padding[axis]:
                there = k.ult(seen, k.const(self.size[axis], "i32", 32))
                inside = there if inside is None else inside & there
            found.append(seen)
        source = ((image + found[0] * self.size[1] + found[1]) * self.channels + tap[2]) * self.nbytes
        nbytes = None if inside is None else k.select(inside, k.const(RUN, "i32", 32), 0)
        run = k.iota("i32", 32) & 7
        to = line * LINE + (run ^ self._swizzle(self.a, line)) * RUN
        k.copy_async(self.memory, at, to, self.a.operand.buffer, k.const(0, "i64"), source, nbytes)

    def _wide(self, value: Instruction) -> Instruction:
        return self.k.splat(self.k.convert(value, "i32"), 32)

    def _mine(self, warp: Instruction) -> list[Instruction]:
        """The lines of a stage that this thread copies a chunk of."""
        first = self._wide(warp * (ROWS // WARPS)) + (self.k.iota("i32", 32) >> 3)
        return [first + n for n in range(0, ROWS // WARPS, EACH)]


class _Forward(_Windows):
    """Lines of a tile are rows of the result: where they look is known before the first stage."""

    def _begin(self, warp: Instruction, batch: list[Instruction], row: Instruction) -> None:
        rows = self.shape[0]
        self.lines = self._mine(warp)
        pixels = [self._wide(row) + line for line in self.lines]
        self.valid = [None if rows % ROWS == 0 else p < rows for p in pixels]  # type: ignore[operator]
        self.corners = [self._corner(p) for p in pixels]
        self.starts = [self.k.const(0, "i64")] * 2

    def _copy_a(self, warp: Instruction, row: Instruction, step: Instruction, at: Instruction) -> None:
        k, depth = self.k, int(self.shape[1])  # type: ignore[arg-type]
        run = k.iota("i32", 32) & 7
        if self.channels % self.depth == 0:  # one tap in a stage
            down, across, first = self._tap(k.convert(step * self.depth, "i32"))
            tap = k.splat(down, 32), k.splat(across, 32), k.splat(first, 32) + run * (RUN // self.nbytes)
        else:
            element = self._wide(step * self.depth) + run * (RUN // self.nbytes)
            tap = self._tap(element)
        for line, corner, valid in zip(self.lines, self.corners, self.valid, strict=True):
            if depth % self.depth:
                inside = element < depth
                valid = inside if valid is None else valid & inside
            self._copy(corner, tap, valid, line, at)


class _Gradient(_Windows):
    """Lines of a tile are pixels, their elements places of windows: what is seen there is known before the first
    stage."""

    def _begin(self, warp: Instruction, batch: list[Instruction], row: Instruction) -> None:
        k = self.k
        taps, depth, columns = (int(d) for d in self.shape)  # type: ignore[arg-type]
        self.lines = self._mine(warp)
        block = warp * (ROWS // WARPS) // self.depth  # of elements, that all lines of a warp are of
        element = self._wide(row + block * self.depth) + (k.iota("i32", 32) & 7) * (RUN // self.nbytes)
        self.tap = self._tap(element)
        self.inside = None if taps % ROWS == 0 else element < taps
        self.first = self._wide(batch[0] * depth)
        self.starts = [k.const(0, "i64"), batch[0] * (depth * columns * self.nbytes)]

    def _copy_a(self, warp: Instruction, row: Instruction, step: Instruction, at: Instruction) -> None:
        depth = int(self.shape[1])  # type: ignore[arg-type]
        begin = self._wide(step * self.depth)
        for line in self.lines:
            pixel, valid = begin + (line & (self.depth - 1)), self.inside
            if depth % self.depth:
                there = pixel < depth
                valid = there if valid is None else valid & there
            self._copy(self._corner(self.first + pixel), self.tap, valid, line, at)


class _WarpgroupForward(_Forward, WarpgroupTiles):
    """By four warps together."""


class _WarpForward(_Forward, WarpTiles):
    """By each warp."""


class _WarpgroupGradient(_Gradient, WarpgroupTiles):
    """By four warps together."""


class _WarpGradient(_Gradient, WarpTiles):
    """By each warp."""
