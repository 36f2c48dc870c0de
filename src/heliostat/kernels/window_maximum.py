"""Schedules of `max_pool2d` and its gradient on cores: neighbouring windows of a row of them are the lanes of a vector.

Nothing is stored of the windows. The gradient looks for the first largest element of each window again and adds to the
plane of its image, which stays in the first-level cache; where windows cover a plane without a gap, each element is
written once and nothing is added.
"""

from __future__ import annotations

from collections.abc import Iterator

from ..ir.graph import Node
from ..ir.types import DType
from ..kernel.builder import KernelBuilder, Variable
from ..kernel.ir import ELEMENT_BYTES, Instruction, Kernel
from ..targets.target import Target
from .elementwise import PointEvaluator
from .group import Accept, Dims, Group, Refuse, TensorOperand, compute_elem, epilogue_refusal

ROOTS = ("max_pool2d", "max_pool2d_gradient")


def refusal(node: Node, target: Target) -> str | None:
    """Why a pooling node is not taken whole; None where it is."""
    if node.op.name not in ROOTS:
        return f"{node.op.name} is no maximum over windows of images"
    if target.gpu:
        return f"{target.name} is no core"
    for v in node.inputs:
        if not isinstance(v.type.element, DType) or v.type.layout is not None:
            return "operands must be plain and row-major"
        if not all(isinstance(d, int) for d in v.type.shape[2:]):
            return "heights and widths must be known"
    narrow = node.results[0].type.dtype.nbytes < 4
    if node.op.name == "max_pool2d_gradient" and narrow and not covered(node) and overlapping(node):
        return "sums of narrow floats would be rounded at each step"
    return None


def covered(node: Node) -> bool:
    """Whether windows lie side by side and cover their image."""
    attrs, x, windows = node.attrs, node.inputs[-1].type, node.inputs[0].type
    kernel, stride = attrs["kernel"], attrs["stride"]
    return (
        kernel == stride
        and attrs["padding"] == (0, 0)
        and all(d == 1 or k == 1 for d, k in zip(attrs["dilation"], kernel, strict=True))
        and all(a == b * s for a, b, s in zip(x.shape[2:], windows.shape[2:], stride, strict=True))
    )


def overlapping(node: Node) -> bool:
    """Whether an element may be in several windows."""
    at = (node.attrs[n] for n in ("kernel", "stride", "dilation"))
    return any((k - 1) * d >= s for k, s, d in zip(*at, strict=True))


def accepts(group: Group, target: Target) -> Accept | Refuse:
    """One such op; behind a gradient that writes each element once, elementwise nodes too."""
    root = group.root
    reason = refusal(root, target)
    if reason is None and len(group.nodes) != 1:
        if root.op.name != "max_pool2d_gradient" or not covered(root):
            return Refuse("elements that are added to, or largest ones, have no epilogue")
        reason = epilogue_refusal(group)
    return Accept() if reason is None else Refuse(reason)


def build(group: Group, target: Target, name: str, tune: None = None) -> Kernel:
    """x: (N, C, H, W) to (N, C, H', W'), or g (N, C, H', W') and x to (N, C, H, W). Reads x once for each place of a
    window, g once; writes the result once where windows do not overlap."""
    nest = _Nest(group, target, name)
    return nest.largest() if group.root.op.name == "max_pool2d" else nest.gradient()


class _Nest:
    def __init__(self, group: Group, target: Target, name: str) -> None:
        k = self.k = KernelBuilder(name)
        node = group.root
        buffers = {v: k.buffer(f"i{n}", "r") for n, v in enumerate(group.inputs)}
        self.covered = node.op.name == "max_pool2d_gradient" and covered(node)
        mode = "w" if self.covered or node.op.name == "max_pool2d" else "rw"
        outs = [k.buffer(f"o{n}", mode) for n in range(len(group.outputs))]
        dims = self.dims = Dims(k, group.symbols)
        operands = {v: TensorOperand(k, dims, b, v.type) for v, b in buffers.items()}
        self.epilogue = PointEvaluator(k, dims, operands)
        self.x, self.g = operands[node.inputs[-1]], operands[node.inputs[0]]
        self.root, self.outputs = node.results[0], group.outputs
        self.results = [TensorOperand(k, dims, b, v.type) for b, v in zip(outs, group.outputs, strict=True)]
        self.result = self.results[0]
        windows = node.results[0].type if node.op.name == "max_pool2d" else node.inputs[0].type
        self.height, self.width = (int(d) for d in self.x.type.shape[2:])  # type: ignore[arg-type]
        self.rows, self.columns = (int(d) for d in windows.shape[2:])  # type: ignore[arg-type]
        attrs = node.attrs
        self.kernel, self.stride, self.padding = attrs["kernel"], attrs["stride"], attrs["padding"]
        self.dilation = attrs["dilation"]
        self.elem = compute_elem(self.x.type.dtype)
        wide = target.lanes_of(ELEMENT_BYTES[self.elem])
        self.lanes = wide if self.stride[1] <= 2 and self.width > 1 and self.columns > 1 else 1
        self.reach = (self.kernel[1] - 1) * self.dilation[1]
        self.planes = dims.product(self.x.type.shape[:2])

    def largest(self) -> Kernel:
        """Rows of windows in parallel."""
        k = self.k
        for item in k.parallel(self.planes * self.rows):
            plane = self.dims.index(self.x.type.shape[:2], item // self.rows)
            row = item % self.rows
            for column, inside in self._vectors():
                best, _ = self._window(plane, row, column, inside, places=False)
                self.result.store([*plane, row, column], best.get(), self._there(column))
        return k.finish()

    def gradient(self) -> Kernel:
        """Planes in parallel."""
        k = self.k
        zero = k.zeros(self.elem, self.lanes)
        for item in k.parallel(self.planes):
            plane = self.dims.index(self.x.type.shape[:2], item)
            if not self.covered:
                for line in k.loop(self.height):
                    for column in k.loop(0, self.width, self.lanes):
                        self.result.store([*plane, line, column], zero, self._below(column, self.width))
            for row in k.loop(self.rows):
                for column, inside in self._vectors():
                    _, place = self._window(plane, row, column, inside, places=True)
                    mask = self._there(column)
                    g = k.convert(self._load(self.g, [*plane, row, column], mask), self.elem)
                    for tap_row in range(self.kernel[0]):
                        parts = [
                            k.select(k.binary("eq", place.get(), tap_row * self.kernel[1] + tap), g, zero)
                            for tap in range(self.kernel[1])
                        ]
                        if self.covered:
                            self._cover(plane, row * self.stride[0] + tap_row, column, parts)
                        else:
                            self._add(plane, row, column, tap_row, parts)
        return k.finish()

    # --- windows ------------------------------------------------------------------------------------------------
    def _vectors(self) -> Iterator[tuple[Instruction, bool]]:
        """First columns of the vectors of a row of windows, and whether all that these read is inside of the row."""
        k, (_, step), (_, before) = self.k, self.stride, self.padding
        # the last vectors that end inside of the row; those before may begin outside of it
        last = (self.width - 1 - self.reach + before - (self.lanes - 1) * step) // step
        first = -(-before // step)
        first = -(-first // self.lanes) * self.lanes
        end = first
        while end <= last and end + self.lanes <= self.columns:
            end += self.lanes
        if self.lanes == 1:
            first = end = 0
        for lo, hi, inside in ((0, first, False), (first, end, True), (end, self.columns, False)):
            if lo < min(hi, self.columns):
                for column in k.loop(lo, min(hi, self.columns), self.lanes):
                    yield column, inside

    def _window(
        self, plane: list[Instruction], row: Instruction, column: Instruction, inside: bool, places: bool
    ) -> tuple[Variable, Variable]:
        """The largest elements of a vector of windows, and, if asked for, the places of the first of them, by rows of a
        window. What is no number is the largest."""
        k, lanes = self.k, self.lanes
        best = k.var(k.const(float("-inf"), self.elem, lanes))
        where = k.var(k.const(-1, "i32", lanes))
        top = row * self.stride[0] - self.padding[0]
        tall = (
            self.padding[0] == 0
            and (self.rows - 1) * self.stride[0] + ((self.kernel[0] - 1) * self.dilation[0]) < self.height
        )
        for y in range(self.kernel[0]):
            line = top + y * self.dilation[0]
            for _ in (None,) if tall else k.when(k.ult(line, k.const(self.height, "i64"))):
                for x in range(self.kernel[1]):
                    start = column * self.stride[1] + (x * self.dilation[1] - self.padding[1])
                    mask = None if inside else self._visible(column, start)
                    value = self._read([*plane, line], start, inside)
                    better = (value > best.get()) | k.binary("ne", value, value)
                    if places:  # a window of nothing but the lowest number has a first element too
                        better = (better | (where.get() < 0)) & k.binary("eq", best.get(), best.get())
                    better = better if mask is None else better & mask
                    best.set(k.select(better, value, best.get()))
                    if places:
                        number = k.const(y * self.kernel[1] + x, "i32", lanes)
                        where.set(k.select(better, number, where.get()))
        return best, where

    def _visible(self, column: Instruction, start: Instruction) -> Instruction:
        """Windows of a vector that are there and whose element, the first of which is at `start`, is inside."""
        k, lanes = self.k, self.lanes
        at = start if lanes == 1 else k.splat(k.convert(start, "i32"), lanes) + self._steps()
        seen = (at >= 0) & (at < self.width)
        there = self._there(column)
        return seen if there is None else seen & there

    def _steps(self) -> Instruction:
        k = self.k
        return k.iota("i32", self.lanes) * self.stride[1]

    def _read(self, line: list[Instruction], start: Instruction, inside: bool) -> Instruction:
        """Elements of a line a stride apart; any value where they lie outside."""
        k, lanes = self.k, self.lanes
        if lanes == 1:
            at = start if inside else k.minimum(k.maximum(start, 0), self.width - 1)
            return k.convert(self.x.load([*line, at]), self.elem)
        if self.stride[1] == 1:
            return self._piece(line, start, inside)
        # the second piece ends with the last element: nothing behind it is read
        pieces = (self._piece(line, start, inside), self._piece(line, start + (lanes - 1), inside))
        return k.shuffle(*pieces, [*range(0, lanes, 2), *range(lanes + 1, 2 * lanes, 2)])

    def _piece(self, line: list[Instruction], start: Instruction, inside: bool) -> Instruction:
        mask = None if inside else self._within(start)
        return self.k.convert(self.x.load([*line, start], self.lanes, mask), self.elem)

    def _within(self, start: Instruction) -> Instruction:
        """Neighbours from `start` on that are inside of a line of x."""
        k, lanes = self.k, self.lanes
        at = k.splat(k.convert(start, "i32"), lanes) + k.iota("i32", lanes)
        return (at >= 0) & (at < self.width)

    def _below(self, column: Instruction, end: int) -> Instruction | None:
        if self.lanes == 1 or end % self.lanes == 0:
            return None
        k = self.k
        return k.first_lanes(end - column, self.lanes)

    def _there(self, column: Instruction) -> Instruction | None:
        """Windows of a vector that there are."""
        return self._below(column, self.columns)

    def _load(self, operand: TensorOperand, index: list[Instruction], mask: Instruction | None) -> Instruction:
        return operand.load(index) if self.lanes == 1 else operand.load(index, self.lanes, mask)

    # --- results ------------------------------------------------------------------------------------------------
    def _cover(
        self, plane: list[Instruction], line: Instruction, column: Instruction, parts: list[Instruction]
    ) -> None:
        """Elements side by side that windows side by side cover: `parts` in turn."""
        k, lanes = self.k, self.lanes
        start = column * self.stride[1]
        if lanes == 1 or len(parts) == 1:
            for n, part in enumerate(parts):
                self._store([*plane, line, start + n], part, self._below(start, self.width))
            return
        for half in range(2):
            joined = k.shuffle(parts[0], parts[1], [half * lanes // 2 + n // 2 + n % 2 * lanes for n in range(lanes)])
            at = start + half * lanes
            end = None if self.columns % lanes == 0 else self._within(at)
            self._store([*plane, line, at], joined, end)

    def _store(self, index: list[Instruction], value: Instruction, mask: Instruction | None) -> None:
        """Elements that are done, through the epilogue."""
        done = self.epilogue.all_at(self.outputs, index, self.lanes, mask, {self.root: value})
        for operand, out in zip(self.results, done, strict=True):
            operand.store(index, out, mask)

    def _add(
        self, plane: list[Instruction], row: Instruction, column: Instruction, tap_row: int, parts: list[Instruction]
    ) -> None:
        """Add `parts` where the elements of row `tap_row` of the windows are; those outside are zeros or not there."""
        k, lanes = self.k, self.lanes
        line = row * self.stride[0] + (tap_row * self.dilation[0] - self.padding[0])
        for _ in k.when(k.ult(line, k.const(self.height, "i64"))):
            for tap, part in enumerate(parts):
                start = column * self.stride[1] + (tap * self.dilation[1] - self.padding[1])
                if lanes == 1:
                    for _ in k.when(k.ult(start, k.const(self.width, "i64"))):
                        self._add_at([*plane, line, start], part, None)
                    continue
                there = self._there(column)
                part = part if there is None else k.select(there, part, k.zeros(self.elem, lanes))
                if self.stride[1] == 1:
                    self._add_at([*plane, line, start], part, self._within(start))
                    continue
                zero = k.zeros(self.elem, lanes)
                for half in range(2):
                    spread = k.shuffle(part, zero, [half * lanes // 2 + n // 2 + n % 2 * lanes for n in range(lanes)])
                    at = start + half * lanes
                    self._add_at([*plane, line, at], spread, self._within(at))

    def _add_at(self, index: list[Instruction], value: Instruction, mask: Instruction | None) -> None:
        k = self.k
        old = k.convert(self._load(self.result, index, mask), self.elem)
        self.result.store(index, old + value, mask)
