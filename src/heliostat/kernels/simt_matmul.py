"""Schedule of `matmul` of f32 on GPUs without tensor cores, which do not take all bits: each thread has 8 by 8 results
in registers and adds to them by fused multiply-adds, one element of the depth after the other.

Tiles, ring and epilogue are those of `matmul_tiles`. Of each thread's 16 elements for a step, four come by a load of 16
bytes: where neighbours of a row or column of the result lie together four of one step, where neighbours of K do one of
four steps. Both are 16 loads for 256 multiply-adds, and loaded one step ahead.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise
from typing import ClassVar

from ..ir.graph import Node
from ..ir.types import f32
from ..kernel.builder import Variable
from ..kernel.ir import Instruction, Kernel
from ..kernel.warp import WARP
from ..targets.target import Target
from . import matmul_tiles
from .fragment_rows import place_of_sum
from .group import Accept, Group, Refuse, epilogue_refusal
from .matmul import may_overwrite as may_overwrite
from .matmul_tiles import LINE, ROWS, RUN, Lines, Tiles
from .warpgroup_linear import WARPS

ROOTS = matmul_tiles.ROOTS
HIGH = 32  # rows of a warp
DOWN = 4  # threads of a warp one below the other
ASIDE = 8  # and side by side
EACH = RUN // f32.nbytes  # elements of a load
GROUPS = LINE // RUN  # of EACH elements of the depth in a stage
UNROLLED = 4  # groups that are written out one after the other, an even part of GROUPS
Place = tuple[Instruction, Instruction]
"""Of a group: its stage's place in the ring, and its number there."""


def accepts(group: Group, target: Target) -> Accept | Refuse:
    """Products of f32 whose rows are whole chunks of 16 bytes, with elementwise nodes behind."""
    reason = fits(group.root, target) or epilogue_refusal(group)
    return Accept() if reason is None else Refuse(reason)


def fits(root: Node, target: Target) -> str | None:
    """Why a product is for other schedules; None where it is for this one."""
    return matmul_tiles.fits(root, target, ("f32",))


def build(group: Group, target: Target, name: str) -> Kernel:
    """a: (..., M, K), or (..., K, M) if `transpose_a`; b: (..., K, N), or (N, K) of `linear`; out: (..., M, N). 2 M N K
    operations; reads a N / 128 times and b M / 128 times. Each sum is added in the order of K.
    """
    return SimtTiles(group, target, name).build()


class SimtTiles(Tiles):
    """Each of eight warps has 32 rows of a tile, and 64 columns or 32."""

    sizes: ClassVar[dict[tuple[int, int], float]] = {(ROWS, 128): 1.0, (ROWS, 64): 0.54, (ROWS // 2, 128): 0.54}

    def _swizzle(self, lines: Lines, line: Instruction) -> Instruction:
        """Turned lines are read along: there nothing meets."""
        return line & 0 if lines.turned else super()._swizzle(lines, line)

    def _warp(
        self, warp: Instruction, batch: list[Instruction], row: Instruction, column: Instruction, steps: Instruction
    ) -> None:
        """One warp's part of a tile: it copies some lines of each stage, and has the sums of its rows and columns."""
        k = self.k
        across = WARPS * HIGH // self.high  # warps side by side
        broad = self.wide // across
        lane = k.iota("i32", WARP)
        # loads serve 16 threads at once if every second, or every second two, read the same: so numbers are mixed
        down, aside = (lane & 1) + (lane >> 4) * 2, (lane >> 1) & (ASIDE - 1)
        a = _Side(self, self.a, 0, warp // across * HIGH, down, DOWN, HIGH)
        b = _Side(self, self.b, self.high * LINE, warp % across * broad, aside, ASIDE, broad)
        sums = [[k.var(k.zeros("f32", WARP)) for _ in range(b.count)] for _ in range(a.count)]
        ahead = self.stages - 2  # one stage is multiplied, and the end of the one before may still be read
        self._fill(warp, batch, row, column, steps, ahead)
        k.wait_copies(ahead - 1)
        k.barrier()  # the first stage is there
        zero = k.const(0, "i64")
        for side in (a, b):
            side.begin(zero)
        for step in k.loop(steps):
            here, there = (n % self.stages * self.stage for n in (step, step + 1))
            self._refill(warp, row, column, steps, step + ahead)
            for part in k.loop(0, GROUPS - UNROLLED, UNROLLED):
                self._multiply(sums, a, b, [(here, part + n) for n in range(UNROLLED + 1)])
            groups = [(here, k.const(n, "i64")) for n in range(GROUPS - UNROLLED, GROUPS)]

            def arrive() -> None:
                k.wait_copies(ahead - 1)
                k.barrier()  # the next stage is there, and all have read the one before this

            self._multiply(sums, a, b, [*groups, (there, zero)], arrive)
        k.wait_copies(0)  # those past the last stage: the memory is needed for sums
        k.barrier()
        for i, line in enumerate(sums):
            for j, v in enumerate(line):
                k.scatter(self.memory, 0, place_of_sum(a.place(i), b.place(j), self.wide), v.get())
        k.barrier()
        self._finish(warp, batch, row, column)

    def _multiply(
        self,
        sums: list[list[Variable]],
        a: _Side,
        b: _Side,
        groups: Sequence[Place],
        arrive: Callable[[], None] | None = None,
    ) -> None:
        """Adds the products of groups of four elements of the depth; what the last of them needs is only loaded.
        `arrive` comes before that."""
        k = self.k
        held = [[v.get() for v in line] for line in sums]
        a.resume()
        b.resume()
        for n, (now, after) in enumerate(pairwise(groups)):
            if arrive is not None and n == len(groups) - 2:
                arrive()
            for e in range(EACH):
                left, right = a.elements(e), b.elements(e)
                for side in (a, b):
                    side.load(now, after, e)
                for i, j in _to_and_fro(len(left), len(right)):
                    held[i][j] = k.fma(left[i], right[j], held[i][j])
        a.keep()
        b.keep()
        for variables, values in zip(sums, held, strict=True):
            for v, value in zip(variables, values, strict=True):
                v.set(value)


def _to_and_fro(rows: int, columns: int) -> Iterator[tuple[int, int]]:
    """A thread's results, row by row, every second one backwards: each multiply-add then has an operand of the one
    before at the same place, which is kept. Registers are read from two banks, one of each at a time, so that three
    other operands take two turns."""
    for i in range(rows):
        for j in range(columns) if i % 2 == 0 else reversed(range(columns)):
            yield i, j


class _Side:
    """What a thread multiplies of an operand, `base` bytes from a stage's beginning: `count` rows of a, or columns of
    b, of the `broad` that its warp has from `first` on.

    `mine`, `threads`: this thread's number among those that have different ones.
    """

    def __init__(
        self,
        tiles: SimtTiles,
        lines: Lines,
        base: int,
        first: Instruction,
        mine: Instruction,
        threads: int,
        broad: int,
    ) -> None:
        k = self.k = tiles.k
        self.memory, self.base, self.turned, self.depth = tiles.memory, base, lines.turned, tiles.depth
        self.threads, self.count, self.mine = threads, broad // threads, mine
        self.first = k.splat(k.convert(first, "i32"), WARP)
        self.variables: list[Variable] = []
        self.loaded: list[Instruction] = []  # operands of the step, or of the group, that comes next
        self.held: list[Instruction] = []

    def place(self, i: int) -> Instruction:
        """The row or column of the tile that a thread's number i is."""
        if not self.turned:
            return self.first + self.mine + i * self.threads
        return self.first + self.mine * EACH + i // EACH * EACH * self.threads + i % EACH

    def begin(self, zero: Instruction) -> None:
        """Loads what the first step needs."""
        self.loaded = self._of_step(zero, zero, 0) if self.turned else self._of_group(zero, zero, 0, self.count)
        self.variables = [self.k.var(v) for v in self.loaded]

    def resume(self) -> None:
        """In a block of its own: what was loaded before it."""
        self.loaded = [v.get() for v in self.variables]

    def keep(self) -> None:
        """What was loaded, for the next block."""
        for v, value in zip(self.variables, self.loaded, strict=True):
            v.set(value)

    def elements(self, e: int) -> list[Instruction]:
        """A thread's elements of step e of a group."""
        if self.turned or not e:
            self.held, self.loaded = self.loaded, []
        if self.turned:
            return [self._element(v, n) for v in self.held for n in range(EACH)]
        return [self._element(v, e) for v in self.held]

    def load(self, now: Place, after: Place, e: int) -> None:
        """Loads in step e of a group what the next step needs, or part of what the next group does."""
        if self.turned:
            self.loaded = self._of_step(*(after if e == EACH - 1 else now), (e + 1) % EACH)
        else:
            part = self.count // EACH
            self.loaded += self._of_group(*after, e * part, part)

    def _element(self, v: Instruction, n: int) -> Instruction:
        return self.k.shuffle(v, v, range(n, WARP * EACH, EACH))

    def _everywhere(self, value: Instruction) -> Instruction:
        return self.k.splat(self.k.convert(value, "i32"), WARP)

    def _of_step(self, stage: Instruction, group: Instruction, e: int) -> list[Instruction]:
        """Runs of neighbours of lines that are those of an element of K each, in blocks of as many."""
        k, block = self.k, self.depth * LINE
        at = self.first // self.depth * block + self.mine * RUN + self._everywhere(stage + group * (EACH * LINE))
        found = []
        for n in range(0, self.count * self.threads, EACH * self.threads):
            inside = n // self.depth * block + n % self.depth * f32.nbytes + e * LINE
            found.append(k.gather(self.memory, self.base + inside, at, "f32", EACH))
        return found

    def _of_group(self, stage: Instruction, group: Instruction, first: int, count: int) -> list[Instruction]:
        """Runs of neighbours of K of lines that are rows or columns, from number `first` on."""
        k, found = self.k, []
        line = (self.first + self.mine) * LINE + self._everywhere(stage)
        for i in range(first, first + count):
            low = self.mine + i * self.threads & 7  # of the line's number: warps begin at a multiple of eight
            at = line + (self._everywhere(group) ^ low) * RUN
            found.append(k.gather(self.memory, self.base + i * self.threads * LINE, at, "f32", EACH))
        return found
