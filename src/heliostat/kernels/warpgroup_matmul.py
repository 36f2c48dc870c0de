"""Schedule of `matmul` on GPUs whose tensor cores serve four warps together: y[m, n] = sum_k a[m, k] * b[k, n] of bf16
or f16 with f32 sums, batches of them, from operands as they lie: row-major, or a transposed; and of `linear` whose
weights are rows, which are b transposed.

Tiles of 128 rows by up to 256 columns. Lines of 128 bytes of both operands pass through a ring of stages in private
memory; products read them with neighbours of a row together or with those of a column. Past an operand's end lines are
filled with zeros. Sums then go through the same memory to rows, where the epilogue takes them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from ..ir.graph import Node
from ..ir.types import Dim, bf16, f16, upper_bound
from ..kernel.builder import KernelBuilder, Variable
from ..kernel.ir import Instruction, Kernel
from ..kernel.warp import WARP
from ..targets.target import Target
from .elementwise import PointEvaluator, unrounded
from .fragment_rows import PADDED, rows_at_once, run_of, store_rows, sums_of_row
from .group import Accept, Dims, Group, Refuse, TensorOperand, epilogue_refusal
from .matmul import may_overwrite as may_overwrite
from .matmul_packed import sizes
from .stream_linear import MULTIPROCESSORS
from .tensor_linear import FRAGMENT, OUTPUTS
from .warpgroup_linear import WARPS

ROOTS = ("matmul", "linear")
ROWS = 128  # of a tile: 64 for each four warps
DEPTH = 64  # of a stage
LINE = 64  # elements of a line
CHUNK = 8  # elements that are copied at once
BLOCK = LINE * DEPTH * 2  # bytes of 64 lines
STAGES = 4
LEAST = 16  # rows, columns and depth: below them little of a tile is used
WIDTHS = {256: 1.0, 128: 0.6, 64: 0.4}  # columns of a tile, and about what a stage takes beside one of the widest


def accepts(group: Group, target: Target) -> Accept | Refuse:
    """Products of bf16 or of f16 whose rows are whole chunks of 16 bytes, with elementwise nodes behind."""
    reason = fits(group.root, target) or epilogue_refusal(group)
    return Accept() if reason is None else Refuse(reason)


def fits(root: Node, target: Target) -> str | None:
    """Why a product is for other schedules; None where it is for this one."""
    if root.op.name not in ROOTS:
        return f"root is {root.op.name}, not matmul or linear"
    if target.capability != 90:
        return f"{target.name} has no products by four warps together"
    a, b = (v.type for v in root.inputs)
    if a.layout is not None or b.layout is not None or a.element is not b.element or a.element not in (bf16, f16):
        return f"tensor cores here take bf16 or f16 as they lie, not {a} with {b}"
    if a.rank < 2 or b.rank < 2:
        return "operands of one axis are reshaped first"
    for type in (a, b):
        if not isinstance(type.shape[-1], int) or type.shape[-1] % CHUNK:
            return f"rows of {type.shape[-1]} elements are no whole chunks of {CHUNK}"
        if upper_bound(type.shape[-1]) * upper_bound(type.shape[-2]) * 2 >= 1 << 31:
            return "a matrix of 2 GiB and more"
    if min(map(upper_bound, sizes(root))) < LEAST:
        return f"fewer than {LEAST} rows, columns or elements to add: most of a tile would be empty"
    return None


def build(group: Group, target: Target, name: str) -> Kernel:
    """a: (..., M, K), or (..., K, M) if `transpose_a`; b: (..., K, N), or (N, K) of `linear`; out: (..., M, N). Reads a
    N / 256 times and b M / 128 times.
    """
    return Tiles(group, target, name).build()


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
    """A team of eight warps computes a tile of the result."""

    def __init__(self, group: Group, target: Target, name: str) -> None:
        k = self.k = KernelBuilder(name, target.capability)
        self.group = group
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
        self._read(group.root, [operands[v] for v in group.root.inputs])
        self.kind = self.a.operand.type.dtype.name
        self.wide = self._width()
        self.stage = (ROWS + self.wide) * LINE * 2
        sums = WARPS * (self.wide // OUTPUTS) * PADDED
        self.memory = k.alloc(max(STAGES * self.stage, sums))

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
        self._lines(self.a, self.starts[0], warp, row, step, at, ROWS)

    def _width(self) -> int:
        """Columns of a tile: where rounds of as many tiles as there are multiprocessors take the least time."""
        rows, _, columns = map(upper_bound, self.shape)
        count = -(-rows // ROWS)
        for d in self.batch:
            count *= upper_bound(d)
        return min(WIDTHS, key=lambda wide: -(-count * -(-columns // wide) // MULTIPROCESSORS) * WIDTHS[wide])

    def build(self) -> Kernel:
        k = self.k
        rows, depth, columns = map(self.dims, self.shape)
        down, across = (rows + (ROWS - 1)) // ROWS, (columns + (self.wide - 1)) // self.wide
        batches = self.dims.product(self.batch)
        steps = (depth + (DEPTH - 1)) // DEPTH
        narrow = -(-upper_bound(self.shape[2]) // self.wide) < -(-upper_bound(self.shape[0]) // ROWS)
        for item in k.parallel(batches * across * down):
            # the shorter way first: tiles that are under way at once share more of what they read
            near, rest = (item % across, item // across) if narrow else (item % down, item // down)
            far, rest = (rest % down, rest // down) if narrow else (rest % across, rest // across)
            row, column = (far * ROWS, near * self.wide) if narrow else (near * ROWS, far * self.wide)
            batch = self.dims.index(self.batch, rest)
            for warp in k.team(WARPS):
                self._warp(warp, batch, row, column, steps)
        return k.finish()

    def _warp(
        self, warp: Instruction, batch: list[Instruction], row: Instruction, column: Instruction, steps: Instruction
    ) -> None:
        """One warp's part of a tile: it copies some lines of each stage, and has 16 rows of the sums."""
        k = self.k
        sums = [k.var(k.zeros("f32", FRAGMENT)) for _ in range(self.wide // OUTPUTS)]
        self._begin(warp, batch, row)

        def copy(step: Instruction, at: Instruction) -> None:
            self._copy_a(warp, row, step, at)
            self._lines(self.b, self.starts[1], warp, column, step, at + ROWS * LINE * 2, self.wide)
            k.commit_copies()

        k.barrier()  # the tile before may still be read
        for n in range(STAGES - 2):
            copy(k.minimum(k.const(n, "i64"), steps - 1), k.const(n * self.stage, "i64"))
        for step in k.loop(steps):
            k.wait_copies(STAGES - 3)
            k.barrier()  # this stage is there, and all have done with the one before the last
            coming = k.minimum(step + (STAGES - 2), steps - 1)  # past the last: once more, to where nothing is read
            copy(coming, (step + (STAGES - 2)) % STAGES * self.stage)
            self._multiply(sums, step % STAGES * self.stage, warp)
            k.wait_mma(sums, 1)
        k.wait_mma(sums)
        k.wait_copies(0)  # those past the last stage: the memory is needed for sums
        k.barrier()
        self._finish(warp, sums, batch, row, column)

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
        k = self.k
        lane = k.iota("i32", 32)
        run, mine = lane & 7, k.splat(k.convert(warp * (count // WARPS), "i32"), 32) + (lane >> 3)
        begin, deep = (k.splat(k.convert(i, "i32"), 32) for i in (first, step * DEPTH))
        most, length = (k.splat(k.convert(self.dims(d), "i32"), 32) for d in lines.ends)
        whole = all(isinstance(d, int) for d in lines.ends)
        whole = whole and lines.across % count == 0 and lines.along % DEPTH == 0
        for n in range(0, count // WARPS, 32 // CHUNK):
            line = mine + n
            if lines.turned:
                number, element = deep + (line & (DEPTH - 1)), begin + (line >> 6) * LINE + run * CHUNK
            else:
                number, element = begin + line, deep + run * CHUNK
            there = None
            if not whole:
                there = k.select((number < most) & (element < length), k.const(16, "i32", 32), 0)
            to = line * (2 * LINE) + (run ^ (line & 7)) * 16
            source = (number * length + element) * 2
            k.copy_async(self.memory, at, to, lines.operand.buffer, start, source, there)

    def _multiply(self, sums: list[Variable], at: Instruction, warp: Instruction) -> None:
        """The products of a stage. Strides: as `KernelBuilder.warpgroup_mma` says."""
        mine = at + (warp >> 2) * BLOCK  # of 64 lines of a: rows of K, or the block of columns that these warps have
        b, turned = at + ROWS * LINE * 2, (self.a.turned, self.b.turned)
        of_a, of_b = ((BLOCK if t else 16, 1024) for t in turned)
        self.k.warpgroup_mma(self.memory, mine, b, sums, DEPTH // 16, of_a, of_b, self.kind, turned=turned)

    def _finish(
        self, warp: Instruction, sums: list[Variable], batch: list[Instruction], row: Instruction, column: Instruction
    ) -> None:
        """Sums to this warp's part of the memory, and from there row by row through the epilogue."""
        k = self.k
        mine = warp * (len(sums) * PADDED)
        for i, v in enumerate(sums):
            k.store(self.memory, mine + i * PADDED, v.get())
        rows, _, columns = self.shape
        begin = row + warp * 16
        end = k.minimum(begin + 16, self.dims(rows))
        whole = isinstance(rows, int) and rows % 16 == 0
        at_once = rows_at_once(self.group, self.wide) if whole else 1

        def made(run: int, masked: bool, r: Instruction) -> list[Callable[[], None]]:
            stores: list[Callable[[], None]] = []
            lanes = WARP * run
            for q in range(0, self.wide, lanes):
                index, mask = [*batch, r, column + q], None
                if masked:
                    left = k.convert(self.dims(columns) - index[-1], "i32")
                    mask = k.iota("i32", lanes) < k.splat(left, lanes)
                held = sums_of_row(k, self.memory, mine, r - begin, q, run)
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
