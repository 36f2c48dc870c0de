"""Schedule of `linear` for a few rows on a GPU's tensor cores, several sequences' tokens say: y[n, o] = sum_k x[n, k] *
w[o, k] for 2 to 32 rows of bf16 with bf16 weights. Weights are read once, and their bytes are what it waits for.

A team of warps takes one panel or two, and each warp a part of the depth. A thread loads runs of 16 bytes, eight
neighbours of K, of weights and of x alike: the order of K inside an instruction is free as long as both operands have
the same. The warps' sums are added in private memory, from where rows go through the epilogue.
"""

from __future__ import annotations

from ..ir.types import bf16, numel, upper_bound
from ..kernel.ir import Instruction, Kernel
from ..quant.panel import PanelPlan
from ..targets.target import Target
from . import dot, linear
from .group import Accept, Group, Refuse
from .linear_tile import LinearTile, team_of
from .tensor_linear import FRAGMENT, OUTPUTS, TILE, zipped

LEAST_ROWS = 2
MOST_ROWS = 2 * TILE
RUN = 8  # neighbours of K in a thread's 16 bytes
STEP = 32  # of K that the runs of four threads cover: two instructions
DEPTH = 2 * STEP  # of K in a turn of the loop: so many loads are under way before the first is needed
BLOCKS = 4  # of 8 outputs in a panel
PART_BYTES = BLOCKS * FRAGMENT * 4  # of a warp's sums, of 16 rows of a panel
MOST_SUMS = 4  # tiles of rows by panels whose sums, with what is loaded for them, fit the registers of a thread
PRIVATE_BYTES = 64 << 10  # of a team's sums: more would leave room for one block on a multiprocessor
WARPS = 32 * 132  # that are wanted in flight


def accepts(group: Group, target: Target) -> Accept | Refuse:
    """What `linear` accepts, of 2 to 32 rows of bf16 with bf16 weights in panels of runs."""
    verdict = linear.accepts(group, target)
    if isinstance(verdict, Refuse):
        return verdict
    if target.capability < 80:
        return Refuse(f"{target.name} has no tensor cores for bf16")
    x, w = group.root.inputs
    rows = upper_bound(numel(x.type.shape[:-1]))
    if not LEAST_ROWS <= rows <= MOST_ROWS:
        return Refuse(f"{rows} rows: this is for {LEAST_ROWS} to {MOST_ROWS}")
    if x.type.element != bf16 or w.type.element != bf16 or w.type.layout.run != RUN:  # type: ignore[union-attr]
        return Refuse(f"{x.type.element} with {w.type.element} in {w.type.layout}: bf16 in runs of {RUN} is needed")
    depth = w.type.shape[1]
    if not isinstance(depth, int) or depth % DEPTH:
        return Refuse(f"rows of {depth} elements are no whole steps of {DEPTH}")
    if target.lanes != BLOCKS * OUTPUTS:
        return Refuse(f"panels of {target.lanes} rows")
    return Accept()


def build(group: Group, target: Target, name: str) -> Kernel:
    """x: (..., K) bf16, w: (O, K) bf16 in panels, outputs (..., O). Reads w once, and x once for each team."""
    x, w = group.root.inputs
    plan = w.type.layout.plan(w.type.element)  # type: ignore[union-attr]
    rows, panels = numel(x.type.shape[:-1]), plan.panels(upper_bound(w.type.shape[0]))
    tiles = -(-upper_bound(rows) // TILE)
    sums = tiles * len(linear.products(group))  # of a panel, in a warp's registers
    each = sums * PART_BYTES
    units = upper_bound(w.type.shape[1]) // DEPTH
    enough = panels // 2 * min(16, units) >= WARPS // 2
    wide = 2 if panels % 2 == 0 and enough and 2 * sums <= MOST_SUMS else 1
    team = team_of(panels // wide, units, WARPS)
    while team > 1 and team * wide * each > PRIVATE_BYTES:
        team //= 2
    return _Few(
        group, target, name, plan, LinearTile((tiles * TILE, 1), panels=wide, block=tiles * TILE, team=team)
    ).build()


class _Few(linear._Nest):
    """A team for one panel, or two neighbours, of every product."""

    def __init__(self, group: Group, target: Target, name: str, plan: PanelPlan, tile: LinearTile) -> None:
        self.tiles = range(tile.tokens[0] // TILE)
        super().__init__(group, target, name, plan, tile, numel(group.root.inputs[0].type.shape[:-1]))

    def private(self) -> Instruction:
        return self.k.alloc(self.tile.team * self.part_bytes(len(linear.products(self.group))))

    def part_bytes(self, products: int) -> int:
        """Of a warp's sums: of each product, panel and tile of rows in turn."""
        return products * self.tile.panels * len(self.tiles) * PART_BYTES

    def build(self) -> Kernel:
        k, wide, team = self.k, self.tile.panels, self.tile.team
        panels = self.plan.panels(self.out_features)
        self._come_early(panels)
        count = self.dims(self.rows)
        for item in k.parallel(panels // wide):
            for warp in k.team(team):
                self._part(item * wide, warp, count)
            for warp in k.team(team):
                for row in k.loop(warp, count, team):
                    for p in range(wide):
                        self._store(item * wide + p, [(row, self._joined(p, row))])
        return k.finish()

    def _part(self, panel: Instruction, warp: Instruction, count: Instruction) -> None:
        """Sums over a warp's part of the depth, into its place in private memory."""
        k, wide, team = self.k, self.tile.panels, self.tile.team
        assert self.aside is not None
        units = self.depth // DEPTH
        first, last = warp * units // team * DEPTH, (warp * units + units) // team * DEPTH
        thread = k.iota("i32", 32)
        row, place = thread >> 2, thread & 3
        most = k.splat(k.convert(count - 1, "i32"), 32)  # rows past the last read the last
        x_rows = [
            [k.minimum(row + (m * TILE + h * 8), most) * self.row_bytes + place * 16 for h in (0, 1)]
            for m in self.tiles
        ]
        stride = self.plan.rows * RUN * 2  # bytes from a run to the next one of the same row
        w_rows = [(row + i * OUTPUTS) * (RUN * 2) + place * stride for i in range(BLOCKS)]
        weights = [self.buffers[product.inputs[1]] for product in self.products]
        bases = [(panel + p) * self.plan.nbytes(self.plan.rows, self.depth) for p in range(wide)]
        sums = [
            [[[k.var(k.zeros("f32", FRAGMENT)) for _ in range(BLOCKS)] for _ in self.tiles] for _ in range(wide)]
            for _ in weights
        ]
        for at in k.loop(first, last, DEPTH):
            steps = [at + s for s in range(0, DEPTH, STEP)]
            loaded = [
                [[[k.gather(w, b + s // RUN * stride, r, "i32", 4) for r in w_rows] for b in bases] for w in weights]
                for s in steps
            ]
            for s, of_step in zip(steps, loaded, strict=True):
                operands = [self._rows(s, x_rows[m]) for m in self.tiles]
                for n, of_product in enumerate(of_step):
                    for p, of_panel in enumerate(of_product):
                        for i, run in enumerate(of_panel):
                            for half, b in enumerate(self._halves(run)):
                                for m in self.tiles:
                                    total = sums[n][p][m][i]
                                    total.set(k.mma(total.get(), operands[m][half], b, "bf16"))
        start = warp * self.part_bytes(len(weights))
        for n in range(len(weights)):
            for p in range(wide):
                for m in self.tiles:
                    for i in range(BLOCKS):
                        k.store(self.aside, start + self._offset(n, p, m) + i * FRAGMENT * 4, sums[n][p][m][i].get())

    def _offset(self, product: int, p: int, m: int) -> int:
        """Where a warp's part has the sums of a product, a panel and a tile of rows."""
        return ((product * self.tile.panels + p) * len(self.tiles) + m) * PART_BYTES

    def _rows(self, at: Instruction, rows: list[Instruction]) -> list[Instruction]:
        """Operands a of a tile's two instructions: of each half tile's row a run, of which each takes two words."""
        k = self.k
        runs = [k.gather(self.buffers[self.x], at * 2, r, "i32", 4) for r in rows]
        words = [[k.shuffle(run, run, range(w, 4 * 32, 4)) for w in range(4)] for run in runs]
        found = []
        for s in range(2):
            low, high = (zipped(k, words[0][2 * s + j], words[1][2 * s + j], 1) for j in range(2))
            found.append(k.bitcast(zipped(k, low, high, 2), "i16"))
        return found

    def _halves(self, run: Instruction) -> list[Instruction]:
        """Operands b of the two instructions: two words each of a thread's four."""
        k = self.k
        order = [[4 * t + 2 * s + e for t in range(32) for e in range(2)] for s in range(2)]
        return [k.bitcast(k.shuffle(run, run, lanes), "i16") for lanes in order]

    def _joined(self, p: int, row: Instruction) -> list[Instruction]:
        """A row's sums of a panel, of every product: the warps' parts in order."""
        k, each = self.k, self.part_bytes(len(self.products))
        assert self.aside is not None
        lane = k.iota("i32", self.plan.rows)
        column = lane & (OUTPUTS - 1)
        lanes = (lane >> 3) * (FRAGMENT * 4) + (column >> 1) * 16 + (column & 1) * 4
        low = row % TILE
        inside = row // TILE * PART_BYTES + (low & 7) * 64 + (low >> 3) * 8
        found = []
        for n in range(len(self.products)):
            place = inside + self._offset(n, p, 0)
            parts = [k.gather(self.aside, place + s * each, lanes, "f32") for s in range(self.tile.team)]
            found.append(dot.sum_of(parts))
        return found
