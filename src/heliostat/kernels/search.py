"""Schedule of `search`: by halves. On a GPU each thread looks for an element, a core for several at once."""

from __future__ import annotations

from collections.abc import Sequence

from ..ir.types import numel
from ..kernel.builder import KernelBuilder
from ..kernel.ir import Instruction, Kernel
from ..targets.target import Target
from .group import Accept, Dims, Group, Refuse, TensorOperand

ROOTS = ("search",)
CHAINS = 4  # elements that a core looks for at once
PIECE = 256  # elements of a parallel piece


def accepts(group: Group, target: Target) -> Accept | Refuse:
    if group.root.op.name != "search" or len(group.nodes) != 1:
        return Refuse("not a search by itself")
    return Accept()


def build(group: Group, target: Target, name: str, tune: None = None) -> Kernel:
    """rows: (..., N), x: (..., M). Reads x once, and log2(N) elements of its row for each."""
    k = KernelBuilder(name, target.capability)
    buffers = {v: k.buffer(f"i{n}", "r") for n, v in enumerate(group.inputs)}
    out = k.buffer("o0", "w")
    dims = Dims(k, group.symbols)
    rows, x = group.root.inputs
    count, wanted = numel(rows.type.shape[:-1]), x.type.shape[-1]
    size = int(rows.type.shape[-1])  # type: ignore[arg-type]
    elements = TensorOperand(k, dims, buffers[x], x.type.with_shape((count, wanted)))
    result = TensorOperand(k, dims, out, group.root.results[0].type.with_shape((count, wanted)))
    columns = dims(wanted)
    pieces = (columns + (PIECE - 1)) // PIECE
    nbytes = rows.type.dtype.nbytes
    right = group.root.attrs["right"]
    for item in k.parallel(dims(count) * pieces):
        row, lo = item // pieces, item % pieces * PIECE
        hi = k.minimum(lo + PIECE, columns)
        base = row * (size * nbytes)

        def at(place: Instruction, elem: str, base: Instruction = base) -> Instruction:
            if place.lanes == 1:
                return k.load(buffers[rows], base + place * nbytes, elem)
            return k.gather(buffers[rows], base, place * nbytes, elem)

        def found(values: Sequence[Instruction]) -> list[Instruction]:
            place = "i64" if values[0].lanes == 1 else "i32"
            bounds = [(k.var(k.const(0, place, v.lanes)), k.var(k.const(size, place, v.lanes))) for v in values]
            for _ in k.loop(size.bit_length()):
                for v, (low, high) in zip(values, bounds, strict=True):
                    a, b = low.get(), high.get()
                    half = (a + b) >> 1
                    here = at(k.minimum(half, size - 1), v.elem)
                    after = ~(here > v) if right else ~(here >= v)
                    low.set(k.select((a < b) & after, half + 1, a))
                    high.set(k.select((a < b) & ~after, half, b))
            return [low.get() for low, _ in bounds]

        if target.gpu:
            for c in k.loop(lo, hi, target.lanes):
                there = k.first_lanes(hi - c, target.lanes)
                (y,) = found([elements.load([row, c], target.lanes, there)])
                result.store([row, c], k.convert(y, "i64"), there)
            continue
        whole = (hi - lo) // CHAINS * CHAINS + lo
        for c in k.loop(lo, whole, CHAINS):
            for n, y in enumerate(found([elements.load([row, c + n]) for n in range(CHAINS)])):
                result.store([row, c + n], y)
        for c in k.loop(whole, hi):
            result.store([row, c], found([elements.load([row, c])])[0])
    return k.finish()
