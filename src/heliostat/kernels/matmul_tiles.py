"""What the schedules of `matmul` in tiles share on GPUs: which operands they take, how tiles of them pass through a
ring of stages in private memory, and how sums go through the epilogue. `warpgroup_matmul` and `warp_matmul` multiply on
tensor cores, `simt_matmul` without.

Tiles of up to 128 rows by up to 256 columns. Lines of 128 bytes of both operands lie in the ring as they lie in memory,
with neighbours of a row together or with those of a column, and zeros past an operand's end. Sums then go through the
same memory to rows, where the epilogue takes them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import ClassVar

from ..ir.graph import Node, Value
from ..ir.types import Dim, bf16, f16, f32, upper_bound
from ..kernel.builder import KernelBuilder
from ..kernel.ir import Instruction, Kernel
from ..kernel.warp import WARP
from ..targets.target import Target
from .elementwise import PointEvaluator, unrounded
from .fragment_rows import PADDED, rows_at_once, run_of, store_rows, sums_of_row
from .group import ALIASES, Dims, Group, TensorOperand
from .matmul_packed import sizes
from .stream_linear import MULTIPROCESSORS
from .tensor_linear import OUTPUTS, TILE
from .warpgroup_linear import WARPS

ROOTS = ("matmul", "linear")
ROWS = 128  # of a tile
LINE = 128  # bytes of a line, and of a stage's part of the depth
RUN = 16  # bytes that are copied at once
STAGES = 4
LEAST = 16  # rows, columns and depth: below them little of a tile is used
CHUNK = 8  # halves that are copied at once
DEPTH = 64  # halves of a line
TENSOR = ("bf16", "f16", "tf32")  # what tensor cores multiply, tf32 being f32 that was rounded to it
KINDS = (*TENSOR, "f32")  # which is multiplied with all its bits, without tensor cores


def fits(root: Node, target: Target, kinds: Sequence[str] = TENSOR) -> str | None:
    """Why a product is for other schedules; None where it is of one of `kinds` and tiles take both operands as they
    lie."""
    if root.op.name not in ROOTS:
        return f"root is {root.op.name}, not matmul or linear"
    if target.capability < 80:
        return f"{target.name} has no copies past registers"
    a, b = (v.type for v in root.inputs)
    if a.layout is not None or b.layout is not None or a.element is not b.element or kind_of(root) not in kinds:
        return f"products here are of {', '.join(kinds)}, as they lie, not {a} with {b}"
    if a.rank < 2 or b.rank < 2:
        return "operands of one axis are reshaped first"
    nbytes = a.dtype.nbytes
    for type in (a, b):
        if not isinstance(type.shape[-1], int) or type.shape[-1] * nbytes % RUN:
            return f"rows of {type.shape[-1]} elements are no whole chunks of {RUN // nbytes}"
        if upper_bound(type.shape[-1]) * upper_bound(type.shape[-2]) * nbytes >= 1 << 31:
            return "a matrix of 2 GiB and more"
    if min(map(upper_bound, sizes(root))) < LEAST:
        return f"fewer than {LEAST} rows, columns or elements to add: most of a tile would be empty"
    return None


def kind_of(root: Node) -> str | None:
    """What a product multiplies: one of KINDS; None for what tiles do not take."""
    element = root.inputs[0].type.element
    if element in (bf16, f16):
        return element.name
    if element is not f32:
        return None
    return "tf32" if all(map(is_tf32, root.inputs)) else "f32"


def is_tf32(value: Value) -> bool:
    """Whether elements were rounded to tf32, and at most moved since."""
    while value.node.op.name in ALIASES or value.node.op.name == "transpose":
        value = value.node.inputs[0]
    return value.node.op.name == "round_tf32"


def rounding(group: Group) -> dict[Value, Value]:
    """Operands of a group's product that are rounded to tf32 in the group, and what of."""
    made = {n.results[0]: n.inputs[0] for n in group.nodes if n.op.name == "round_tf32"}
    return {v: made[v] for v in group.root.inputs if v in made}


def without_rounding(group: Group) -> Group:
    """A group that begins with its product."""
    given = rounding(group)
    return replace(group, nodes=tuple(n for n in group.nodes if not any(v in given for v in n.results)))


@dataclass(frozen=True)
class Lines:
    """How lines of an operand's tile lie in memory: `turned` if a line is neighbours of the tile's rows, not of K.

    `across`, `along`: lengths of an axis of matrices, that of the tile's rows and that of K.
    """

    operand: TensorOperand
    turned: bool
    across: Dim
    along: Dim

    @property
    def ends(self) -> tuple[Dim, Dim]:
        """How many lines of memory a matrix has, and their elements."""
        return (self.along, self.across) if self.turned else (self.across, self.along)


class Tiles:
    """A team of eight warps computes a tile of the result.

    `kind`, `nbytes`: what an element is for tensor cores, and its bytes; `depth`: elements of K in a stage; `rounds`:
    operands that become tf32 where they are multiplied, and what of.
    """

    sizes: ClassVar[dict[tuple[int, int], float]] = {(ROWS, 256): 1.0, (ROWS, 128): 0.6, (ROWS, 64): 0.4}
    """Rows and columns of a tile, and about what a stage takes beside one of the largest."""

    def __init__(self, group: Group, target: Target, name: str) -> None:
        k = self.k = KernelBuilder(name, target.capability)
        self.group, self.target = without_rounding(group), target
        buffers = {v: k.buffer(f"i{n}", "r") for n, v in enumerate(group.inputs)}
        outs = [(v, k.buffer(f"o{n}", "w")) for n, v in enumerate(group.outputs)]
        self.dims = Dims(k, group.symbols)
        operands = {v: TensorOperand(k, self.dims, b, v.type) for v, b in buffers.items()}
        self.results = [TensorOperand(k, self.dims, b, v.type) for v, b in outs]
        self.outputs = [v for v, _ in outs]
        self.root = group.root.results[0]
        self.epilogue = PointEvaluator(k, self.dims, operands)
        self.batch = self.root.type.shape[:-2]
        self.shape: tuple[Dim, Dim, Dim]
        self.rounds = rounding(group)
        self._read(group.root, [operands[self.rounds.get(v, v)] for v in group.root.inputs])
        kind = kind_of(group.root)
        assert kind is not None
        self.kind, self.nbytes = kind, self.a.operand.type.dtype.nbytes
        self.depth = LINE // self.nbytes
        self.high, self.wide = self._size()
        self.stage = (self.high + self.wide) * LINE
        self.stages = self._stages(self.high, self.wide)
        sums = self.high // TILE * (self.wide // OUTPUTS) * PADDED
        self.memory = k.alloc(max(self.stages * self.stage, sums))

    def _stages(self, high: int, wide: int) -> int:
        """Stages of the ring, of tiles so high and wide: as many as shared memory holds, up to STAGES."""
        return min(STAGES, self.target.shared_bytes // ((high + wide) * LINE))

    def _read(self, root: Node, operands: list[TensorOperand]) -> None:
        """Sizes and operands of the product: `shape`, `a` and `b`."""
        self.shape = rows, depth, columns = sizes(root)
        a, b = operands
        self.a = Lines(a, bool(root.attrs.get("transpose_a")), rows, depth)
        self.b = Lines(b, root.op.name == "matmul", columns, depth)

    def _begin(self, warp: Instruction, batch: list[Instruction], row: Instruction) -> None:
        """What a warp knows of a tile before the first stage: where the operands' matrices begin."""
        zero = self.k.const(0, "i64")
        self.starts = [lines.operand.offset([*batch, zero, zero]) for lines in (self.a, self.b)]

    def _copy_a(self, warp: Instruction, row: Instruction, step: Instruction, at: Instruction) -> None:
        """This warp's part of a stage of the left operand."""
        self._lines(self.a, self.starts[0], warp, row, step, at, self.high)

    def _size(self) -> tuple[int, int]:
        """Rows and columns of a tile: where rounds of as many tiles as there are multiprocessors take the least."""
        rows, _, columns = map(upper_bound, self.shape)
        count = 1
        for d in self.batch:
            count *= upper_bound(d)
        sizes = {size: time for size, time in self.sizes.items() if self._stages(*size) >= 3}

        def seconds(size: tuple[int, int]) -> float:
            high, wide = size
            return -(-count * -(-rows // high) * -(-columns // wide) // MULTIPROCESSORS) * sizes[size]

        return min(sizes, key=seconds)

    def build(self) -> Kernel:
        k = self.k
        rows, depth, columns = map(self.dims, self.shape)
        high = self.high
        down, across = (rows + (high - 1)) // high, (columns + (self.wide - 1)) // self.wide
        batches = self.dims.product(self.batch)
        steps = (depth + (self.depth - 1)) // self.depth
        narrow = -(-upper_bound(self.shape[2]) // self.wide) < -(-upper_bound(self.shape[0]) // high)
        for item in k.parallel(batches * across * down):
            # the shorter way first: tiles that are under way at once share more of what they read
            near, rest = (item % across, item // across) if narrow else (item % down, item // down)
            far, rest = (rest % down, rest // down) if narrow else (rest % across, rest // across)
            row, column = (far * high, near * self.wide) if narrow else (near * high, far * self.wide)
            batch = self.dims.index(self.batch, rest)
            for warp in k.team(WARPS):
                self._warp(warp, batch, row, column, steps)
        return k.finish()

    def _warp(
        self, warp: Instruction, batch: list[Instruction], row: Instruction, column: Instruction, steps: Instruction
    ) -> None:
        """One warp's part of a tile: it copies some lines of each stage, multiplies, and has 16 rows of the result."""
        raise NotImplementedError

    def _copy_stage(
        self, warp: Instruction, row: Instruction, column: Instruction, step: Instruction, at: Instruction
    ) -> None:
        """This warp's part of a stage, a group of copies."""
        self._copy_a(warp, row, step, at)
        self._lines(self.b, self.starts[1], warp, column, step, at + self.high * LINE, self.wide)
        self.k.commit_copies()

    def _fill(
        self,
        warp: Instruction,
        batch: list[Instruction],
        row: Instruction,
        column: Instruction,
        steps: Instruction,
        ahead: int,
    ) -> None:
        """Ask for the first `ahead` stages of a tile."""
        k = self.k
        self._begin(warp, batch, row)
        k.barrier()  # the tile before may still be read
        for n in range(ahead):
            self._copy_stage(warp, row, column, k.minimum(k.const(n, "i64"), steps - 1), k.const(n * self.stage, "i64"))

    def _refill(
        self, warp: Instruction, row: Instruction, column: Instruction, steps: Instruction, coming: Instruction
    ) -> None:
        """Ask for stage number `coming`; past the last for that once more, to where nothing is read."""
        last = self.k.minimum(coming, steps - 1)
        self._copy_stage(warp, row, column, last, coming % self.stages * self.stage)

    def _swizzle(self, lines: Lines, line: Instruction) -> Instruction:
        """What the number of a chunk within a line is xored with, by the line's number: reading what stands one below
        the other then meets different banks."""
        return line & 7

    def _lines(
        self,
        lines: Lines,
        start: Instruction,
        warp: Instruction,
        first: Instruction,
        step: Instruction,
        at: Instruction,
        count: int,
    ) -> None:
        """This warp's part of `count` lines of a stage: eight threads copy one of 128 bytes to another, swizzled."""
        k, nbytes = self.k, self.nbytes
        chunk = RUN // nbytes
        lane = k.iota("i32", 32)
        run, mine = lane & 7, k.splat(k.convert(warp * (count // WARPS), "i32"), 32) + (lane >> 3)
        begin, deep = (k.splat(k.convert(i, "i32"), 32) for i in (first, step * self.depth))
        most, length = (k.splat(k.convert(self.dims(d), "i32"), 32) for d in lines.ends)
        whole = all(isinstance(d, int) for d in lines.ends)
        whole = whole and lines.across % count == 0 and lines.along % self.depth == 0
        for n in range(0, count // WARPS, WARP * RUN // LINE):
            line = mine + n
            if lines.turned:
                block = line >> (self.depth.bit_length() - 1)
                number, element = deep + (line & (self.depth - 1)), begin + block * self.depth + run * chunk
            else:
                number, element = begin + line, deep + run * chunk
            there = None
            if not whole:
                there = k.select((number < most) & (element < length), k.const(RUN, "i32", 32), 0)
            to = line * LINE + (run ^ self._swizzle(lines, line)) * RUN
            source = (number * length + element) * nbytes
            k.copy_async(self.memory, at, to, lines.operand.buffer, start, source, there)

    def _finish(self, warp: Instruction, batch: list[Instruction], row: Instruction, column: Instruction) -> None:
        """Sums of this warp's rows, up to 16 that lie in private memory, row by row through the epilogue."""
        k = self.k
        each = self.high // WARPS
        above = warp // (TILE // each) if each < TILE else warp  # fragments of 16 rows
        mine = above * (self.wide // OUTPUTS * PADDED)
        rows, _, columns = self.shape
        top, begin = row + above * TILE, row + warp * each
        end = k.minimum(begin + each, self.dims(rows))
        whole = isinstance(rows, int) and rows % each == 0
        at_once = rows_at_once(self.group, self.wide) if whole else 1

        def made(run: int, masked: bool, r: Instruction) -> list[Callable[[], None]]:
            stores: list[Callable[[], None]] = []
            lanes = WARP * run
            for q in range(0, self.wide, lanes):
                index, mask = [*batch, r, column + q], None
                if masked:
                    left = k.convert(self.dims(columns) - index[-1], "i32")
                    mask = k.iota("i32", lanes) < k.splat(left, lanes)
                held = sums_of_row(k, self.memory, mine, r - top, q, run)
                wanted = [unrounded(v) for v in self.outputs]
                values = self.epilogue.all_at(wanted, index, lanes, mask, {self.root: held})
                for operand, value in zip(self.results, values, strict=True):
                    stores.append(partial(operand.store, index, value, mask))
            return stores

        run = run_of(self.group, self.wide)
        if isinstance(columns, int) and columns % self.wide == 0:
            store_rows(k, begin, end, at_once, partial(made, run, False))
            return
        for _ in k.when(column + self.wide <= self.dims(columns)):
            store_rows(k, begin, end, at_once, partial(made, run, False))
        for _ in k.otherwise():
            store_rows(k, begin, end, 1, partial(made, 1, True))
