"""Schedule of `matmul` on tensor cores that serve one warp (mma.sync, from compute capability 8.0 on): the products
that `warpgroup_matmul` has on 9.0, and those of tf32 in every order of their operands.

Tiles, ring and epilogue are those of `matmul_tiles`. Each of eight warps has a part of a tile, 64 rows by 64 columns of
the widest, in registers. Operands come out of the lines by `load_matrices`, which turns halves on the way; elements of
tf32 whose neighbours are those of a column come one by one.
"""

from __future__ import annotations

from typing import ClassVar

from ..ir.graph import Node
from ..ir.types import upper_bound
from ..kernel.ir import Instruction, Kernel
from ..kernel.warp import WARP
from ..targets.target import Target
from . import matmul_tiles
from .fragment_rows import PADDED
from .group import Accept, Group, Refuse, epilogue_refusal
from .matmul import may_overwrite as may_overwrite
from .matmul_packed import sizes
from .matmul_tiles import LINE, ROWS, RUN, Lines, Tiles, fits, rounding, without_rounding
from .tensor_linear import FRAGMENT, OUTPUTS, TILE, zipped
from .warpgroup_linear import WARPS

ROOTS = matmul_tiles.ROOTS
STEPS = LINE // 32  # instructions of a stage's depth: each takes 32 bytes of K
ROUNDED_ONCE = 2048  # rows * columns / (rows + columns) of a result from which on operands are rounded before
WORD = 4  # bytes of an element of tf32, or of two halves


def accepts(group: Group, target: Target) -> Accept | Refuse:
    """Products of bf16, of f16 or of tf32 whose rows are whole chunks of 16 bytes, with elementwise nodes behind."""
    reason = fits(group.root, target) or epilogue_refusal(without_rounding(group))
    if reason is None and rounding(group) and not _is_small(group.root):
        reason = "each operand of a large product is rounded once"
    return Accept() if reason is None else Refuse(reason)


def _is_small(root: Node) -> bool:
    """Whether rounding operands wherever they are read takes less than a pass over them: measured, the arithmetic of
    4096 x 4096 results takes as long as the bytes."""
    rows, _, columns = map(upper_bound, sizes(root))
    for d in root.results[0].type.shape[:-2]:
        rows *= upper_bound(d)
    return rows * columns <= ROUNDED_ONCE * (rows + columns)


def build(group: Group, target: Target, name: str) -> Kernel:
    """a: (..., M, K), or (..., K, M) if `transpose_a`; b: (..., K, N), or (N, K) of `linear`; out: (..., M, N). Reads a
    N / 256 times and b M / 128 times.
    """
    return WarpTiles(group, target, name).build()


class WarpTiles(Tiles):
    """Warps share a tile's rows and its columns; `high` and `broad` are what one has of each."""

    sizes: ClassVar[dict[tuple[int, int], float]] = {(ROWS, 256): 1.0, (ROWS, 128): 0.54, (ROWS, 64): 0.3}

    def _swizzle(self, lines: Lines, line: Instruction) -> Instruction:
        """Elements of tf32 that are read one by one: two chunks of each of four lines at once."""
        return (line & 3) << 1 if lines.turned and self.kind == "tf32" else super()._swizzle(lines, line)

    def _warp(
        self, warp: Instruction, batch: list[Instruction], row: Instruction, column: Instruction, steps: Instruction
    ) -> None:
        """One warp's part of a tile: it copies some lines of each stage, and has the sums of its rows and columns."""
        k = self.k
        across = 4 if self.wide > 64 else 2  # warps side by side
        high, broad = ROWS * across // WARPS, self.wide // across
        down, aside = warp // across, warp % across
        sums = [[k.var(k.zeros("f32", FRAGMENT)) for _ in range(broad // OUTPUTS)] for _ in range(high // TILE)]
        a, b = _Side(self, self.a, 0, down * high, high), _Side(self, self.b, ROWS * LINE, aside * broad, broad)
        ahead = self.stages - 1
        self._fill(warp, batch, row, column, steps, ahead)
        k.wait_copies(ahead - 1)
        k.barrier()  # the first stage is there
        zero = k.const(0, "i64")
        first = *a.operands(a.places(zero), 0), *b.operands(b.places(zero), 0)
        coming = [k.var(v) for v in first]  # operands are loaded while those before them are multiplied
        for step in k.loop(steps):
            here, there = (n % self.stages * self.stage for n in (step, step + 1))
            of_a, of_b = a.places(here), b.places(here)
            operands = [v.get() for v in coming]
            for part in range(STEPS):
                if part == STEPS - 1:
                    k.wait_copies(ahead - 1)
                    k.barrier()  # the next stage is there, and all have read this one
                    of_a, of_b = a.places(there), b.places(there)
                after = (part + 1) % STEPS
                loaded = *a.operands(of_a, after), *b.operands(of_b, after)
                if not part:
                    self._refill(warp, row, column, steps, step + ahead)
                for line, x in zip(sums, operands[: len(sums)], strict=True):
                    for v, y in zip(line, operands[len(sums) :], strict=True):
                        v.set(k.mma(v.get(), x, y, self.kind))
                operands = list(loaded)
            for v, value in zip(coming, operands, strict=True):
                v.set(value)
        k.wait_copies(0)  # those past the last stage: the memory is needed for sums
        k.barrier()
        tiles = self.wide // OUTPUTS  # of 16 rows, as `_finish` wants them
        mine = (down * (high // TILE) * tiles + aside * (broad // OUTPUTS)) * PADDED
        for i, line in enumerate(sums):
            for j, v in enumerate(line):
                k.store(self.memory, mine + (i * tiles + j) * PADDED, v.get())
        k.barrier()
        self._finish(warp, batch, row, column)


class _Side:
    """A warp's part of an operand in a stage, `base` bytes from the stage's beginning: `count` of a's rows, or of b's
    columns, those from `first` on."""

    def __init__(self, tiles: WarpTiles, lines: Lines, base: int, first: Instruction, count: int) -> None:
        k = self.k = tiles.k
        self.memory, self.base, self.count, self.depth = tiles.memory, base, count, tiles.depth
        self.left, self.turned, self.elem = not base, lines.turned, "f32" if tiles.kind == "tf32" else "i16"
        self.rounds = tiles.group.root.inputs[bool(base)] in tiles.rounds
        self.single = lines.turned and tiles.kind == "tf32"
        lane = k.iota("i32", WARP)

        def everywhere(value: Instruction) -> Instruction:
            return k.splat(k.convert(value, "i32"), WARP)

        block, inside = everywhere(first // self.depth * (self.depth * LINE)), everywhere(first % self.depth)
        if self.single:  # thread 4 r + k has row r of 8 and line k of 4
            row, line = lane >> 2, lane & 3
            chunks = [(inside >> 2) + (row >> 2) + 2 * n for n in range(min(ROWS, self.depth) // OUTPUTS)]
            self.lanes = [block + line * LINE + (c ^ (line << 1)) * RUN + (row & 3) * WORD for c in chunks]
            return
        low, near, far = lane & 7, (lane >> 3) & 1, lane >> 4  # a line of a matrix, and which of four
        across, along = (near, far) if self.left else (far, near)
        if self.turned:
            chunks = [(inside >> 3) + across + 2 * n for n in range(self.depth // TILE)]
            self.lanes = [block + (along * 8 + low) * LINE + (c ^ low) * RUN for c in chunks]
        else:
            line = (everywhere(first) + across * 8 + low) * LINE
            self.lanes = [line + ((along + 2 * step) ^ low) * RUN for step in range(STEPS)]

    def places(self, at: Instruction) -> list[Instruction]:
        """Byte offsets of the threads in the stage at `at`, as `_words` wants them."""
        stage = self.k.splat(self.k.convert(at, "i32"), WARP)
        return [stage + lane for lane in self.lanes]

    def operands(self, places: list[Instruction], step: int) -> list[Instruction]:
        """Operands of `mma`: a for each 16 rows, or b for each 8 columns."""
        k = self.k
        words = [self._words(places, m, step) for m in range(0, self.count, TILE)]
        if not self.left:
            halves = [[4 * t + 2 * h + e for t in range(WARP) for e in range(2)] for h in range(2)]
            words = [k.shuffle(both, both, half) for both in words for half in halves]
        operands = [k.bitcast(v, self.elem) for v in words]
        return [k.round_tf32(v) for v in operands] if self.rounds else operands

    def _words(self, places: list[Instruction], m: int, step: int) -> Instruction:
        """Four words of each thread: operand a of 16 rows from m on, or operands b of 8 columns and of the next 8."""
        k = self.k
        if not self.turned:
            return k.load_matrices(self.memory, self.base + m * LINE, places[step])
        at, m = self.base + m // self.depth * self.depth * LINE, m % self.depth
        if not self.single:
            return k.load_matrices(self.memory, at + step * TILE * LINE, places[m // TILE], turned=True)
        words = [
            k.gather(self.memory, at + (step * 8 + along * 4) * LINE, places[(m + across * OUTPUTS) // OUTPUTS], "i32")
            for along in range(2)
            for across in range(2)
        ]
        if not self.left:
            words[1], words[2] = words[2], words[1]
        return zipped(k, zipped(k, words[0], words[1], 1), zipped(k, words[2], words[3], 1), 2)
