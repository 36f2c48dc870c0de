"""A reduction over leading axes on a GPU: a team of warps shares what is reduced, threads hold neighbouring columns.

Each warp reads every so many-th row of its vector of columns, several at once; the parts meet in shared memory.
`reduce` takes what has no kept last axis, and argmax.
"""

from __future__ import annotations

from dataclasses import dataclass

from ..ir.types import TensorType, numel, upper_bound
from ..kernel.builder import KernelBuilder
from ..kernel.ir import ELEMENT_BYTES, Instruction, Kernel
from ..kernel.warp import MOST_ALIGNED, WARP
from ..targets.target import Target
from .group import Dims, Group, TensorOperand, compute_elem
from .quantize_block import tree
from .reduction import REDUCTIONS, Reduction

MOST_RUN = 8  # columns of a thread
MOST_WARPS = 32  # of a team
SHARED_BYTES = 32 << 10  # for the parts of a team
BUSY_BLOCKS = 64  # of fewer, multiprocessors without one cost more than wide loads win
BUSY_WARPS = 132 * 16  # of all teams
AT_ONCE = 32  # elements that a thread asks for before it adds the first, of 8 rows at most


@dataclass(frozen=True)
class ColumnTile:
    """`run`: columns of a thread. `team`: warps that share what is reduced."""

    run: int
    team: int

    def __post_init__(self) -> None:
        if self.run < 1 or self.team < 1:
            raise ValueError(f"a column and a warp at least are needed, got {self}")


def tile_of(group: Group, target: Target) -> ColumnTile | None:
    """How a reduction on its own, or of f16 or bf16 cast to f32, is shared; None where it is not."""
    node = group.nodes[-1]
    if (
        not target.gpu
        or node.op.name not in REDUCTIONS - {"argmax"}
        or len(group.inputs) != 1
        or (len(group.nodes) > 1 and not _of_cast(group))
    ):
        return None
    source, result = group.inputs[0].type, node.results[0].type
    axes = node.attrs["axes"]
    last = source.shape[-1] if source.rank else 1
    if source.rank - 1 in axes or last == 1:
        return None
    count = upper_bound(numel(tuple(source.shape[a] for a in axes)))
    team = 1
    while team < MOST_WARPS and 2 * team <= count:
        team *= 2
    run = min(MOST_RUN, MOST_ALIGNED // source.dtype.nbytes)
    vectors = upper_bound(numel(source.shape)) // max(1, count * WARP)
    part = WARP * max(4, ELEMENT_BYTES[compute_elem(result.dtype)] if result.dtype.name != "bool" else 4) * team
    while run > 1 and (
        not isinstance(last, int) or last % (WARP * run) or vectors // run < BUSY_BLOCKS or part * run > SHARED_BYTES
    ):
        run //= 2
    while team > 1 and team * _at_once(run) > count and vectors // run * team >= 2 * BUSY_WARPS:
        team //= 2  # each has rows for a whole turn
    return ColumnTile(run, team)


def _at_once(run: int) -> int:
    """Rows that a warp asks for before it adds the first."""
    return min(8, AT_ONCE // run)


def _of_cast(group: Group) -> bool:
    first, node = group.nodes[0], group.nodes[-1]
    if len(group.nodes) != 2 or first.op.name != "cast":
        return False
    x, y = first.inputs[0], first.results[0]
    return x.type.dtype.name in ("f16", "bf16") and y.type.dtype.name == "f32" and group.outputs == node.results


def build(group: Group, target: Target, name: str, tile: ColumnTile) -> Kernel:
    """Reads the operand once, writes the result once."""
    k = KernelBuilder(name, target.capability)
    node = group.nodes[-1]
    source, result = k.buffer("i0", "r"), k.buffer("o0", "w")
    dims = Dims(k, group.symbols)
    type, out = group.inputs[0].type, node.results[0].type
    axes = tuple(node.attrs["axes"])
    kept = [i for i in range(type.rank) if i not in axes]
    x = TensorOperand(k, dims, source, type)
    y = TensorOperand(k, dims, result, TensorType(out.element, (numel(tuple(type.shape[i] for i in kept)),)))
    how = Reduction(k, node.op.name, out.dtype)
    lanes, team = WARP * tile.run, tile.team
    last = dims(type.shape[-1])
    count = dims(numel(tuple(type.shape[a] for a in axes)))
    even = isinstance(type.shape[-1], int) and type.shape[-1] % lanes == 0
    nbytes = lanes * ELEMENT_BYTES[how.elem]
    parts = k.alloc(team * nbytes) if team > 1 else None
    vectors = (last + (lanes - 1)) // lanes
    rows = dims(numel(tuple(type.shape[i] for i in kept[:-1])))

    def load(index: list[Instruction], j: Instruction, mask: Instruction | None) -> Instruction:
        """Reduced element j, counted over the reduced axes."""
        full = list(index)
        for n, a in enumerate(reversed(axes)):
            size = dims(type.shape[a])
            full[a] = j if n == len(axes) - 1 else j % size
            j = j // size
        return how.taken(x.load(full, lanes, mask))

    def share(index: list[Instruction], member: Instruction, mask: Instruction | None) -> Instruction:
        """What one warp has of the result."""
        total = k.var(k.const(how.start, how.elem, lanes))
        at_once = _at_once(tile.run)
        step = team * at_once
        whole = count // step * step
        for first in k.loop(member, whole, step):
            values = [load(index, first + n * team, mask) for n in range(at_once)]
            total.set(how.combine(total.get(), tree(values, how.combine)))
        for j in k.loop(whole + member, count, team):
            total.set(how.combine(total.get(), load(index, j, mask)))
        return total.get()

    for item in k.parallel(rows * vectors):
        index: list[Instruction] = [k.const(0, "i64")] * type.rank
        rest = item // vectors
        flat = rest * last
        for i in reversed(kept[:-1]):
            size = dims(type.shape[i])
            index[i] = rest % size
            rest = rest // size
        column = index[-1] = item % vectors * lanes
        mask = None
        if not even:
            left = k.convert(k.minimum(last - column, lanes), "i32")
            mask = k.iota("i32", lanes) < k.splat(left, lanes)
        if parts is None:
            y.store([flat + column], how.result(share(index, k.const(0, "i64"), mask), count), mask)
            continue
        for member in k.team(team):
            k.store(parts, member * nbytes, share(index, member, mask))
            k.barrier()
            for _ in k.when(k.binary("eq", member, 0)):
                total = k.load(parts, 0, how.elem, lanes)
                for n in range(1, team):
                    total = how.combine(total, k.load(parts, n * nbytes, how.elem, lanes))
                y.store([flat + column], how.result(total, count), mask)
    return k.finish()
