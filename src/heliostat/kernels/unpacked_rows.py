"""Products of many rows of int8 activations with panels that are unpacked once for all of them: the loops over rows and
pieces of the depth. What unpacks and multiplies a piece is `expanded.py`; `linear.py` takes this where a target has it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from ..kernel.builder import KernelBuilder
from ..kernel.ir import Instruction
from ..quant.activation import ActivationFormat
from ..quant.panel import PanelPlan
from . import dot, expanded
from .linear_tile import SECOND_LEVEL, LinearTile

PIECE = 512  # elements of K that are unpacked at a time: two panels of them stay in the first-level cache
FAR_PIECE = 256  # the same where rows are far, whose next ones are asked for into that cache too

Ask = Callable[[Instruction, int, Sequence[Instruction]], None]
Store = Callable[[Instruction, Instruction, Sequence[list[Instruction]]], list[Instruction]]
Quantize = Callable[[Instruction, Instruction, Sequence[Instruction]], None]


class UnpackedRows:
    """Rows of activations times the same panels of `weights`, side by side.

    `heights`: of the tiles that the number of rows comes to. `ask(panel, wide, rows)` asks for what an epilogue will
    read; `store(panel, row, [sums by weight, for each panel])` is that epilogue and its stores; or it gives
    back what `quantize(panel, row, [value of each panel])` stores."""

    def __init__(
        self,
        k: KernelBuilder,
        plan: PanelPlan,
        pieces: expanded.ExpandedPlan,
        tile: LinearTile,
        heights: tuple[int, ...],
        depth: int,
        x_format: ActivationFormat,
        x: Instruction,
        weights: Sequence[Instruction],
        ask: Ask,
        store: Store,
        quantize: Quantize | None = None,
    ) -> None:
        self.k, self.plan, self.pieces, self.tile, self.heights, self.depth = k, plan, pieces, tile, heights, depth
        self.x_format, self.x, self.weights, self.ask, self.store = x_format, x, weights, ask, store
        self.quantize = quantize
        self.planes = x_format.planes
        # rows that do not stay near have to be asked for; where they do, asking costs a percent
        self.far = self._block_rows() * x_format.row_bytes(depth) > SECOND_LEVEL // 2
        self.sums = k.alloc(4 * plan.rows * self.planes * self._block_rows() * tile.panels * len(weights))
        self.piece = max(1, (FAR_PIECE if self.far else PIECE) // pieces.block)  # blocks that are unpacked at a time
        self.unpacked = k.alloc(self.piece * pieces.block_bytes * tile.panels)

    def rows(self, panel: Instruction, wide: int, first: Instruction, last: Instruction) -> None:
        """Rows first .. last of `wide` panels, which are unpacked piece by piece of the depth. Sums lie in private
        memory in between.
        """
        k, plan, aside, unpacked = self.k, self.pieces, self.sums, self.unpacked
        nbytes, panel_bytes = 4 * self.plan.rows, self.plan.nbytes(self.plan.rows, self.depth)
        blocks, size = self.depth // plan.block, self.piece * plan.block_bytes
        each = self.planes * wide * nbytes  # bytes of the sums of a row
        for n, w in enumerate(self.weights):
            sums = n * self._block_rows() * each
            for at in k.loop(0, (last - first) * each, nbytes):
                k.store(aside, at + sums, k.zeros("f32", self.plan.rows))
            for block in k.loop(0, blocks, self.piece):
                count = k.minimum(blocks - block, self.piece)
                bases = [(panel + p) * panel_bytes + block * self.plan.block_bytes for p in range(wide)]
                for p, base in enumerate(bases):
                    reader = dot.PanelReader(k, self.plan, w)
                    expanded.expand(k, plan, reader, base, unpacked, p * size, count)
                end = block + self.piece >= blocks
                step = self.piece * self.plan.block_bytes
                ahead = [k.select(end, (panel + (wide + p)) * panel_bytes, base + step) for p, base in enumerate(bases)]
                start = first
                for height in self.heights:
                    whole = (last - start) // height * height + start
                    for row in k.loop(start, whole, height):
                        if height == self.tile.tokens[0] and self.tile.prefetch:
                            part = -(-step * height * 4 // (3 * self.tile.block))
                            for place in ahead:
                                for line in range(0, part, dot.LINE):
                                    k.prefetch(w, place + (row - first) // height * part + line)
                        if n + 1 < len(self.weights):
                            self._add_piece(wide, row, row - first, height, block, count, sums)
                            continue
                        for _ in k.when(end) if self.far else ():
                            self.ask(panel, wide, [row + m for m in range(height)])

                        def ask(
                            step: Instruction, end: Instruction = end, row: Instruction = row, height: int = height
                        ) -> None:
                            for _ in k.when(end & (step < height)):
                                self.ask(panel, wide, [row + step])

                        self._add_piece(wide, row, row - first, height, block, count, sums, None if self.far else ask)
                        for _ in k.when(end):  # tile by tile: stores of all rows at once would wait for memory
                            for done in k.loop(row, row + height):
                                self._finish_row(panel, wide, done, done - first)
                            for done in k.loop(row, row + height) if self.quantize else ():
                                self._quantize_row(panel, wide, done, done - first)
                    start = whole

    def _finish_row(self, panel: Instruction, wide: int, row: Instruction, at: Instruction) -> None:
        """Epilogue and stores of row `row`, whose sums lie as row `at` in private memory."""
        k, nbytes, each = self.k, 4 * self.plan.rows, self.planes * wide * 4 * self.plan.rows
        panels = []
        for p in range(wide):
            held = []
            for n in range(len(self.weights)):
                place = at * each + (n * self._block_rows() * each + p * nbytes)
                places = [place + i * wide * nbytes for i in range(self.planes)]
                held.append(dot.sum_of([k.load(self.sums, a, "f32", self.plan.rows) for a in places]))
            panels.append(held)
        for p, value in enumerate(self.store(panel, row, panels)):
            k.store(self.sums, at * each + p * nbytes, value)

    def _quantize_row(self, panel: Instruction, wide: int, row: Instruction, at: Instruction) -> None:
        """What the epilogue left of row `row` in the place of its sums. By itself, as the largest of a block is waited
        for, and rows of a short loop overlap."""
        assert self.quantize is not None
        k, nbytes, each = self.k, 4 * self.plan.rows, self.planes * wide * 4 * self.plan.rows
        self.quantize(
            panel, row, [k.load(self.sums, at * each + p * nbytes, "f32", self.plan.rows) for p in range(wide)]
        )

    def _add_piece(
        self,
        wide: int,
        row: Instruction,
        at: Instruction,
        height: int,
        block: Instruction,
        count: Instruction,
        sums: int,
        ask: Callable[[Instruction], None] | None = None,
    ) -> None:
        """A tile of `height` rows times the unpacked piece from block `block` on, added to the sums of row `at`."""
        k, plan, aside, unpacked = self.k, self.pieces, self.sums, self.unpacked
        x, nbytes = self.x_format, 4 * self.plan.rows
        size, step = self.piece * plan.block_bytes, x.plane_bytes(self.depth)
        rows = [(row + m) * x.row_bytes(self.depth) + i * step for m in range(height) for i in range(self.planes)]
        first = at * (self.planes * wide * nbytes) + sums
        places = [[first + (m * wide + p) * nbytes for p in range(wide)] for m in range(len(rows))]
        held = [[k.load(aside, place, "f32", self.plan.rows) for place in line] for line in places]
        panels = [p * size for p in range(wide)]
        ahead = height * x.row_bytes(self.depth) if self.far and height == self.tile.tokens[0] else 0
        done = expanded.expanded_tile(
            k, plan, unpacked, panels, self.x, x, rows, self.depth, block, count, held, ahead, ask
        )
        for line, values in zip(places, done, strict=True):
            for place, value in zip(line, values, strict=True):
                k.store(aside, place, value)

    def _block_rows(self) -> int:
        """The most rows that pass over a panel before the next one."""
        height = self.tile.tokens[0]
        return -(-self.tile.block // height) * height
