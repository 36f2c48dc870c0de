"""Schedule of a transpose of the last two axes: squares of vectors are turned in registers, the edges element by
element. On a GPU of any transpose that moves the last axis: squares are turned in private memory. Fused with neighbours
it would be read one element at a time, which costs more than a pass of its own; but on a GPU its result may be rounded
to tf32 on the way, since products on tensor cores want operands so."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import partial

from ..ir.graph import Node
from ..ir.types import DType, TensorType
from ..kernel.builder import KernelBuilder
from ..kernel.ir import Instruction, Kernel
from ..targets.target import Target
from .group import COMPUTE, Accept, Dims, Group, Refuse
from .math import Math

ROOTS = ("transpose",)
LEAST = 1024  # elements of a matrix from which on it pays
LEAST_SIDE = 16  # of a matrix on a GPU
UNROLL = 8  # lines whose loads are under way together
LINE = 128  # bytes that the threads of a warp read or write together


def turns(node: Node, target: Target) -> bool:
    """Whether the node is a transpose that this schedule takes."""
    if node.op.name != "transpose":
        return False
    type, axes = node.inputs[0].type, node.attrs["axes"]
    if target.gpu:
        return _turns_on_gpu(type, axes)
    swapped = (*range(type.rank - 2), type.rank - 1, type.rank - 2)
    if type.rank < 2 or axes != swapped or not type.static or type.layout is not None:
        return False
    rows, columns = type.shape[-2:]
    side = _side(target)
    large = int(rows) >= side and int(columns) >= side and int(rows) * int(columns) >= LEAST  # type: ignore[arg-type]
    return isinstance(type.element, DType) and type.element.nbytes == 4 and large and side in (4, 8, 16)


def _turns_on_gpu(type: TensorType, axes: Sequence[int]) -> bool:
    """Whether the last axis goes elsewhere, and both it and what takes its place are long."""
    if type.rank < 2 or axes[-1] == type.rank - 1 or not type.static or type.layout is not None:
        return False
    rows, columns = int(type.shape[axes[-1]]), int(type.shape[-1])  # type: ignore[arg-type]
    return isinstance(type.element, DType) and min(rows, columns) >= LEAST_SIDE and rows * columns >= LEAST


def _side(target: Target) -> int:
    return target.vector_bytes // 4


def accepts(group: Group, target: Target) -> Accept | Refuse:
    inner = group.nodes[-1].inputs == group.root.results and takes(group.nodes[-1], target)
    alone = len(group.nodes) == 1 or (len(group.nodes) == 2 and inner and group.outputs == group.nodes[1].results)
    if not alone or not turns(group.root, target):
        return Refuse("not a large transpose by itself that moves the last axis")
    return Accept()


def takes(node: Node, target: Target) -> bool:
    """Whether what follows a transpose is computed with it."""
    return target.gpu and node.op.name == "round_tf32"


def build(group: Group, target: Target, name: str, tune: None = None) -> Kernel:
    """x: (..., M, N), out: (..., N, M), on a GPU any that moves the last axis. Reads and writes every element once."""
    k = KernelBuilder(name)
    source, out = k.buffer("i0", "r"), k.buffer("o0", "w")
    Dims(k, ())
    type = group.root.inputs[0].type
    if target.gpu:
        rounds = [partial(n.op.scalar, Math(k)) for n in group.nodes[1:]]  # type: ignore[attr-defined]
        _by_warps(k, type, group.root.attrs["axes"], source, out, target.lanes, *rounds)
        return k.finish()
    *batch, rows, columns = (int(d) for d in type.shape)  # type: ignore[arg-type]
    matrices = 1
    for d in batch:
        matrices *= d
    stored, side = COMPUTE[type.dtype.name][0], _side(target)
    bands = -(-rows // side)
    for item in k.parallel(k.const(matrices * bands, "i64")):
        base = item // bands * (rows * columns)
        first = item % bands * side
        for _ in k.when(first + side <= rows):
            for c in k.loop(0, columns // side * side, side):
                square = [k.load(source, (base + (first + r) * columns + c) * 4, stored, side) for r in range(side)]
                for n, vector in enumerate(transposed(k, square)):
                    k.store(out, (base + (c + n) * rows + first) * 4, vector)
            for left in range(columns // side * side, columns):
                for n in range(side):
                    value = k.load(source, (base + (first + n) * columns + left) * 4, stored)
                    k.store(out, (base + left * rows + first + n) * 4, value)
        if rows % side:
            for _ in k.otherwise():
                for r in k.loop(first, k.const(rows, "i64")):
                    for c in k.loop(columns):
                        value = k.load(source, (base + r * columns + c) * 4, stored)
                        k.store(out, (base + c * rows + r) * 4, value)
    return k.finish()


def _by_warps(
    k: KernelBuilder, type: TensorType, axes: Sequence[int], source: Instruction, out: Instruction, lanes: int,
    made: Callable[[Instruction], Instruction] = lambda value: value,
) -> None:  # fmt: skip
    """Squares of whole lines, to private memory row by row and from there column by column. `made`: what is stored of
    a vector."""
    sizes = [int(d) for d in type.shape]  # type: ignore[arg-type]
    stored, nbytes = COMPUTE[type.dtype.name][0], type.dtype.nbytes
    steps = [math.prod(sizes[n + 1 :]) for n in range(type.rank)]  # elements from one to the next along an axis
    moved = [math.prod(sizes[a] for a in axes[n + 1 :]) for n in range(type.rank)]  # the same of the result
    across = axes[-1]  # the source's axis that becomes the last
    rows, columns = sizes[across], sizes[-1]
    down = moved[list(axes).index(type.rank - 1)]
    others = [(sizes[a], steps[a], moved[n]) for n, a in enumerate(axes) if a not in (across, type.rank - 1)]
    side = max(lanes, min(64, LINE // nbytes))
    pitch = side * nbytes + max(4, nbytes)  # columns meet in different banks
    square = k.alloc(side * pitch)
    high, wide = -(-rows // side), -(-columns // side)
    lane = k.iota("i32", side)
    for item in k.parallel(k.const(math.prod(s for s, _, _ in others) * high * wide, "i64")):
        c, r, rest = item % wide * side, item // wide % high * side, item // (wide * high)
        start, to = r * steps[across] + c, c * down + r
        for size, step, step_to in reversed(others):
            start, to, rest = start + rest % size * step, to + rest % size * step_to, rest // size
        height, width = k.minimum(rows - r, side), k.minimum(columns - c, side)
        inside_c, inside_r = (lane < k.splat(k.convert(n, "i32"), side) for n in (width, height))
        whole = rows % side == 0 and columns % side == 0
        for n in k.loop(0, side if whole else height, UNROLL):
            lines = [n + e if whole else k.minimum(n + e, height - 1) for e in range(UNROLL)]
            mask = None if whole else inside_c
            held = [k.load(source, (start + m * steps[across]) * nbytes, stored, side, mask) for m in lines]
            for m, value in zip(lines, held, strict=True):
                k.store(square, m * pitch, value)
        for n in k.loop(0, side if whole else width, UNROLL):
            lines = [n + e if whole else k.minimum(n + e, width - 1) for e in range(UNROLL)]
            held = [k.gather(square, m * nbytes, lane * pitch, stored) for m in lines]
            for m, value in zip(lines, held, strict=True):
                k.store(out, (to + m * down) * nbytes, made(value), None if whole else inside_r)


def transposed(k: KernelBuilder, rows: Sequence[Instruction]) -> list[Instruction]:
    """The columns of a square of vectors, by exchanging halves of ever smaller blocks."""
    made = list(rows)
    side = len(made)
    half = side // 2
    while half:
        low = [i + (side - half if i & half else 0) for i in range(side)]
        high = [i + half + (side - half if i & half else 0) for i in range(side)]
        for r in range(side):
            if not r & half:
                a, b = made[r], made[r + half]
                made[r], made[r + half] = k.shuffle(a, b, low), k.shuffle(a, b, high)
        half //= 2
    return made
