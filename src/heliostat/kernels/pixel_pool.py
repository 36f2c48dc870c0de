"""Schedule of maxima over windows of images with channels last, on GPUs: `pixel_max`, `pixel_argmax` and
`pixel_max_gradient`. A warp has neighbouring channels of one pixel; what lies outside of an image is never read.
"""

from __future__ import annotations

from ..ir.types import DType
from ..kernel.builder import KernelBuilder, Variable
from ..kernel.ir import Instruction, Kernel
from ..kernel.warp import MOST_ALIGNED, WARP
from ..targets.target import Target
from .group import Accept, Dims, Group, Refuse, TensorOperand, compute_elem

ROOTS = ("pixel_max", "pixel_argmax", "pixel_max_gradient")


def accepts(group: Group, target: Target) -> Accept | Refuse:
    """One such op by itself, of plain operands."""
    if group.root.op.name not in ROOTS or len(group.nodes) != 1:
        return Refuse("no maximum over windows of pixels by itself")
    if not target.gpu:
        return Refuse(f"{target.name} is no GPU")
    if any(not isinstance(v.type.element, DType) or v.type.layout is not None for v in group.inputs):
        return Refuse("operands must be plain and row-major")
    return Accept()


def build(group: Group, target: Target, name: str) -> Kernel:
    """x: (P, C) to (P', C), or g and places (P', C) to (P, C). Reads an element of x once for each window it is in."""
    return _Nest(group, target, name).build()


class _Nest:
    def __init__(self, group: Group, target: Target, name: str) -> None:
        k = self.k = KernelBuilder(name, target.capability)
        self.node = group.root
        buffers = [k.buffer(f"i{n}", "r") for n in range(len(self.node.inputs))]
        out, dims = k.buffer("o0", "w"), Dims(k, ())
        self.operands = [TensorOperand(k, dims, b, v.type) for b, v in zip(buffers, self.node.inputs, strict=True)]
        self.result = TensorOperand(k, dims, out, self.node.results[0].type)
        attrs = self.node.attrs
        self.size, self.grid, self.kernel = attrs["size"], attrs["grid"], attrs["kernel"]
        self.stride, self.padding, self.dilation = attrs["stride"], attrs["padding"], attrs["dilation"]
        self.elem = compute_elem(self.node.inputs[0].type.dtype)
        self.pixels, self.channels = (int(d) for d in self.node.results[0].type.shape)  # type: ignore[arg-type]
        run = min(8, MOST_ALIGNED // self.node.inputs[0].type.dtype.nbytes)
        while run > 1 and self.channels % (WARP * run):
            run //= 2
        self.lanes = WARP * run

    def build(self) -> Kernel:
        k, lanes = self.k, self.lanes
        wide = -(-self.channels // lanes)
        for item in k.parallel(k.const(self.pixels * wide, "i64")):
            pixel, column = item // wide, item % wide * lanes
            mask = None
            if self.channels % lanes:
                left = k.convert(k.minimum(k.const(self.channels, "i64") - column, lanes), "i32")
                mask = k.iota("i32", lanes) < k.splat(left, lanes)
            made = (self._added if self.node.op.name == "pixel_max_gradient" else self._largest)(pixel, column, mask)
            self.result.store([pixel, column], made, mask)
        return k.finish()

    def _largest(self, pixel: Instruction, column: Instruction, mask: Instruction | None) -> Instruction:
        """The largest element of a window, or its place."""
        k, lanes = self.k, self.lanes
        (height, width), (rows, columns) = self.size, self.grid
        image, line, place = pixel // (rows * columns), pixel // columns % rows, pixel % columns
        best = k.var(k.const(float("-inf"), self.elem, lanes))
        where = k.var(k.const(-1, "i32", lanes))
        for tap in range(self.kernel[0] * self.kernel[1]):
            y = line * self.stride[0] + (tap // self.kernel[1] * self.dilation[0] - self.padding[0])
            x = place * self.stride[1] + (tap % self.kernel[1] * self.dilation[1] - self.padding[1])
            for _ in k.when(k.ult(y, k.const(height, "i64")) & k.ult(x, k.const(width, "i64"))):
                value = self.operands[0].load([(image * height + y) * width + x, column], lanes, mask)
                nothing, known = k.binary("ne", value, value), k.binary("eq", best.get(), best.get())
                better = (value > best.get()) | (where.get() < 0) | nothing
                better = better & known  # the first of several that are no numbers stays
                best.set(k.select(better, value, best.get()))
                where.set(k.select(better, k.const(tap, "i32", lanes), where.get()))
        return best.get() if self.node.op.name == "pixel_max" else where.get()

    def _added(self, pixel: Instruction, column: Instruction, mask: Instruction | None) -> Instruction:
        """The gradients of all windows whose largest element is this pixel's."""
        k, lanes = self.k, self.lanes
        (height, width), (rows, columns) = self.size, self.grid
        image, line, place = pixel // (height * width), pixel // width % height, pixel % width
        total = k.var(k.zeros(self.elem, lanes))
        for tap in range(self.kernel[0] * self.kernel[1]):
            y = line + (self.padding[0] - tap // self.kernel[1] * self.dilation[0])
            x = place + (self.padding[1] - tap % self.kernel[1] * self.dilation[1])
            inside = k.binary("eq", y % self.stride[0], 0) & k.binary("eq", x % self.stride[1], 0)
            y, x = y // self.stride[0], x // self.stride[1]
            inside = inside & k.ult(y, k.const(rows, "i64")) & k.ult(x, k.const(columns, "i64"))
            for _ in k.when(inside):
                self._add(total, [(image * rows + y) * columns + x, column], tap, mask)
        return total.get()

    def _add(self, total: Variable, index: list[Instruction], tap: int, mask: Instruction | None) -> None:
        k, lanes = self.k, self.lanes
        g, chosen = (o.load(index, lanes, mask) for o in self.operands)
        mine = k.binary("eq", chosen, k.const(tap, chosen.elem, lanes))
        total.set(total.get() + k.select(mine, g, k.zeros(self.elem, lanes)))
