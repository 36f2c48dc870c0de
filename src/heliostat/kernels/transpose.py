"""Schedule of a transpose of the last two axes: squares of vectors are turned in registers, the edges element by
element. Fused with neighbours it would be read one element at a time, which costs more than a pass of its own."""

from __future__ import annotations

from collections.abc import Sequence

from ..ir.graph import Node
from ..ir.types import DType
from ..kernel.builder import KernelBuilder
from ..kernel.ir import Instruction, Kernel
from ..targets.target import Target
from .group import COMPUTE, Accept, Dims, Group, Refuse

LEAST = 1024  # elements of a matrix from which on it pays


def turns(node: Node, target: Target) -> bool:
    """Whether the node is a transpose that this schedule takes."""
    if node.op.name != "transpose" or target.gpu:
        return False
    type, axes = node.inputs[0].type, node.attrs["axes"]
    swapped = (*range(type.rank - 2), type.rank - 1, type.rank - 2)
    if type.rank < 2 or axes != swapped or not type.static or type.layout is not None:
        return False
    rows, columns = type.shape[-2:]
    side = _side(target)
    large = int(rows) >= side and int(columns) >= side and int(rows) * int(columns) >= LEAST  # type: ignore[arg-type]
    return isinstance(type.element, DType) and type.element.nbytes == 4 and large and side in (4, 8, 16)


def _side(target: Target) -> int:
    return target.vector_bytes // 4


def accepts(group: Group, target: Target) -> Accept | Refuse:
    if len(group.nodes) != 1 or not turns(group.root, target):
        return Refuse("not a large transpose of the last two axes by itself")
    return Accept()


def build(group: Group, target: Target, name: str, tune: None = None) -> Kernel:
    """x: (..., M, N), out: (..., N, M). Reads and writes every element once."""
    k = KernelBuilder(name)
    source, out = k.buffer("i0", "r"), k.buffer("o0", "w")
    Dims(k, ())
    type = group.root.inputs[0].type
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
