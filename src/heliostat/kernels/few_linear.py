"""Schedule of `linear` for a few rows on a GPU's tensor cores, several sequences' tokens say: y[n, o] = sum_k x[n, k] *
w[o, k] for 2 to 32 rows of bf16 with bf16 or quantized weights. Weights are read once, and their bytes are what it
waits for.

A team of warps takes a panel or a few, and each warp a part of the depth, or of the panels too: all of x comes to every
team, so that many panels should share it. Weights and x pass through a ring of stages in private memory, in the order
in which threads read them from different banks.
"""

from __future__ import annotations

from dataclasses import dataclass

from ..diagnostics import CompileError
from ..ir.graph import Node
from ..ir.types import DType, bf16, numel, upper_bound
from ..kernel.ir import Instruction, Kernel
from ..quant.format import BlockFormat
from ..quant.panel import CHUNK, PanelPlan, panel_plan
from ..targets.target import Target
from . import dot, linear
from .few_products import HALF, LINE, TOKENS, UNIT, Products, Stage, makes
from .group import Accept, Group, Refuse
from .linear_tile import LinearTile
from .stream_linear import MULTIPROCESSORS
from .tensor_linear import FRAGMENT

ROOTS = ("linear",)
LEAST_ROWS, MOST_ROWS = 2, 32
DEPTH = 64  # elements of K, of which rows are whole stages
RUN = 8  # neighbours of a plain row that lie together
ROW = 4 * 32 + 16  # bytes of a row of sums: threads store to different banks
MOST_SUMS = 8  # tiles of 8 rows by panels whose sums, with what is multiplied for them, fit the registers of a thread
LEFT = 3 << 10  # bytes of a multiprocessor's private memory that teams leave: some go with each block
SHARED_STAGES = 3  # of two teams, which take turns
THIRD = 4  # warps of three teams on a multiprocessor, which are better than two of more where so many fit
SHARING = 4  # warps that have a ring of x together


@dataclass(frozen=True)
class FewTile:
    """`team`: warps that share the depth. `panels`: of each product, side by side. `depth`: elements of K in a stage.
    `stages`: of a warp's ring. `groups`: warps that share the panels of all products, for one part of the depth; they
    have a ring of x together.
    """

    team: int = 8
    panels: int = 1
    depth: int = 64
    stages: int = 2
    groups: int = 1

    def __post_init__(self) -> None:
        if not 0 < self.team <= 32 or not 0 < self.panels <= 8:
            raise ValueError(f"a team has 1 to 32 warps and 1 to 8 panels, got {self}")
        if self.depth not in (64, 128, 256) or not 1 < self.stages <= 16:
            raise ValueError(f"2 to 16 stages of 64, 128 or 256 elements are needed, got {self}")
        if self.groups < 1 or self.team % self.groups:
            raise ValueError(f"the warps of a team are groups of equal size, all needed, got {self}")


Tile = FewTile


def accepts(group: Group, target: Target) -> Accept | Refuse:
    """What `linear` accepts, of 2 to 32 rows of bf16 with bf16 or quantized weights."""
    verdict = linear.accepts(group, target)
    if isinstance(verdict, Refuse):
        return verdict
    x, w = group.root.inputs
    if isinstance(w.type.element, DType) and w.type.layout.run != RUN:  # type: ignore[union-attr]
        return Refuse(f"panels of other runs than {RUN}")
    rows = upper_bound(numel(x.type.shape[:-1]))
    if not LEAST_ROWS <= rows <= MOST_ROWS:
        return Refuse(f"{rows} rows: this is for {LEAST_ROWS} to {MOST_ROWS}")
    if x.type.element != bf16:
        return Refuse(f"tensor cores here take bf16, not {x.type.element}")
    if len(linear.products(group)) * -(-rows // TOKENS) > MOST_SUMS:
        return Refuse(f"{len(linear.products(group))} products of {rows} rows: too many sums")
    reason = refusal(w.type.element, w.type.shape[1], target)
    return Accept() if reason is None else Refuse(reason)


def refusal(element: object, depth: object, target: Target) -> str | None:
    """Why weights or a depth do not fit; None where they do."""
    if target.capability < 80:
        return f"{target.name} has no tensor cores for bf16"
    if target.lanes != 32:
        return f"panels of {target.lanes} rows"
    if not isinstance(depth, int) or depth % DEPTH:
        return f"rows of {depth} elements are no whole stages"
    if isinstance(element, DType):
        return None if element == bf16 else f"{element} weights lose digits as bf16"
    assert isinstance(element, BlockFormat)
    if (reason := dot.refusal(element)) is not None:
        return reason
    normal = element.normal
    assert normal is not None
    plan = panel_plan(element, target.lanes)
    if normal.sub % HALF:
        return f"a scale for every {normal.sub} elements: an instruction multiplies {HALF}"
    if normal.sub > CHUNK and any(p.storage == "u4" for p in plan.params):
        return "nibbles of scales for more than a chunk"
    if element.block not in (32, 64, 128, 256) or plan.chunk_offset % UNIT:
        return f"blocks of {element.block} elements are no whole stages, or these no whole {UNIT} bytes"
    return None


def default_tile(plan: PanelPlan, rows: int, out: int, depth: int, products: int, target: Target) -> FewTile:
    """Two panels side by side where there are enough of them, and as many warps as private memory has room for."""
    panels, columns = plan.panels(out), -(-rows // TOKENS)
    wide = 2 if panels % 2 == 0 and panels >= 4 * MULTIPROCESSORS and 2 * products * columns <= MOST_SUMS else 1
    room = target.shared_bytes - LEFT
    if (shared := _shared_tile(plan, columns, panels, depth, products, room // 2)) is not None:
        return shared
    long = columns == 1 and isinstance(plan.format, BlockFormat) and depth % (2 * DEPTH) == 0
    each = 2 * DEPTH if long else DEPTH
    blocks = 2 if panels // wide * products >= 2 * MULTIPROCESSORS else 1
    stage = Stage(plan, products * wide, columns, each).nbytes
    part = products * wide * columns * TOKENS * ROW
    team = min((16 if columns <= 2 else 8) // blocks, depth // each)
    while team > 1 and team * (2 * stage + part) > room // blocks:
        team -= 1
    if long and blocks > 1 and THIRD * (2 * stage + part) <= room // 3:
        team = min(team, THIRD)
    team = -(-depth // each // -(-depth // each // team))  # no more than those with most steps make wait
    return FewTile(team, wide, each)  # a third stage was slower


def _shared_tile(plan: PanelPlan, columns: int, panels: int, depth: int, products: int, room: int) -> FewTile | None:
    """Four panels for eight warps, two teams on a multiprocessor, where weights are so few bytes that they wait for x;
    None for others, and where there are too few panels.
    """
    if not makes(plan, columns) or SHARING % products:
        return None
    wide = SHARING // products
    if panels % wide or panels // wide * 2 < 3 * MULTIPROCESSORS:
        return None
    stage = Stage(plan, 1, columns, 2 * DEPTH, shared=True)
    stages = room // (8 * stage.nbytes + 8 // SHARING * stage.x_nbytes)
    if depth % stage.depth or stages < SHARED_STAGES:  # of half the depth, barriers cost what sharing gains
        return None
    return FewTile(8, wide, stage.depth, SHARED_STAGES, SHARING)


def build(group: Group, target: Target, name: str, tile: FewTile | None = None) -> Kernel:
    """x: (..., K) bf16, w: (O, K) bf16 or quantized in panels, outputs (..., O). Reads w once, x once for each team."""
    x, w = group.root.inputs
    plan = w.type.layout.plan(w.type.element)  # type: ignore[union-attr]
    rows, (out, depth) = upper_bound(numel(x.type.shape[:-1])), (upper_bound(d) for d in w.type.shape)
    products = len(linear.products(group))
    tile = tile or default_tile(plan, rows, out, depth, products, target)
    if (reason := tile_refusal(tile, plan, depth, products)) is not None:
        raise CompileError(f"{tile} does not serve {w.type}: {reason}")
    return _Few(group, target, name, plan, tile).build()


def tile_refusal(tile: FewTile, plan: PanelPlan, depth: int, products: int) -> str | None:
    """Why a tile does not serve products of so many elements; None where it does."""
    matrices = tile.panels * products
    if depth % tile.depth:
        return f"{depth} elements are no whole stages of {tile.depth}"
    if tile.groups > 1 and (matrices % tile.groups or tile.panels % (matrices // tile.groups)):
        return f"{tile.groups} warps cannot share {matrices} panels, each those of one product"
    return None


class _Few(linear._Nest):
    """A team for a panel, or a few neighbours, of every product."""

    def __init__(self, group: Group, target: Target, name: str, plan: PanelPlan, tile: FewTile) -> None:
        rows = numel(group.root.inputs[0].type.shape[:-1])
        self.columns = -(-upper_bound(rows) // TOKENS)
        self.few = tile
        self.matrices = tile.panels * len(linear.products(group))
        self.own, self.parts = self.matrices // tile.groups, tile.team // tile.groups  # of a warp; of the depth
        self.stage = Stage(plan, self.own, self.columns, tile.depth, tile.groups > 1)
        self.part_bytes = self.matrices * self.columns * TOKENS * ROW  # of the sums of a part
        nest = LinearTile((1,), panels=tile.panels, block=MOST_ROWS, team=tile.team)
        super().__init__(group, target, name, plan, nest, rows)
        self.x_at = tile.team * tile.stages * self.stage.nbytes
        if tile.groups > 1:  # sums lie where the rings were
            rings = self.parts * tile.stages * self.stage.x_nbytes
            self.memory = self.aside = self.k.alloc(max(self.x_at + rings, self.parts * self.part_bytes))
        else:
            self.memory = self.k.alloc(self.x_at)
        self.steps = self.depth // tile.depth
        self.multiply = Products(self.k, plan, self.memory, self.stage).multiply

    def private(self) -> Instruction | None:
        return None if self.few.groups > 1 else self.k.alloc(self.parts * self.part_bytes)

    def build(self) -> Kernel:
        k, wide, team = self.k, self.few.panels, self.few.team
        panels = self.plan.panels(self.out_features)
        items = -(-panels // wide)
        count = self.dims(self.rows)
        first, last = k.worker() * items // k.workers(), (k.worker() + 1) * items // k.workers()
        for warp in k.team(team):
            for _ in k.when(first < last):
                self._ask_for_first_weights(warp, first * wide)
        k.ready()
        for warp in k.team(team):
            for _ in k.when(first < last):
                self._ask_for_first_rows(warp, count)
        for item in k.parallel(items):
            for warp in k.team(team):
                self._sums(warp, item * wide, count)
                if self.few.groups == 1:
                    self._ask_for_next(warp, item + 1, last, count)
            for warp in k.team(team):
                for row in k.loop(warp, count, team):
                    for p in range(wide):
                        if panels % wide == 0:
                            self._store(item * wide + p, [(row, self._joined(p, row))])
                            continue
                        for _ in k.when(item * wide + p < panels):
                            self._store(item * wide + p, [(row, self._joined(p, row))])
                if self.few.groups > 1:
                    k.barrier()  # sums have been read
                    self._ask_for_next(warp, item + 1, last, count)
        held = 2 if self.few.groups > 1 and team <= 8 and self.own * self.columns <= MOST_SUMS // 2 else 0
        return k.finish(blocks=held)

    # --- the ring ---------------------------------------------------------------------------------------------------
    def _part(self, warp: Instruction) -> tuple[Instruction, Instruction]:
        """The steps of a warp: the first, and the one behind the last."""
        part = warp // self.few.groups
        return part * self.steps // self.parts, (part * self.steps + self.steps) // self.parts

    def _place(self, warp: Instruction, stage: Instruction | int) -> Instruction:
        return (warp * self.few.stages + stage) * self.stage.nbytes

    def _place_of_x(self, warp: Instruction, stage: Instruction | int) -> Instruction:
        if self.few.groups == 1:
            return self._place(warp, stage) + self.stage.x_at
        return (warp // self.few.groups * self.few.stages + stage) * self.stage.x_nbytes + self.x_at

    def _ask_for_next(self, warp: Instruction, item: Instruction, last: Instruction, count: Instruction) -> None:
        self.k.wait_copies(0)
        for _ in self.k.when(item < last):
            self._ask_for_first_weights(warp, item * self.few.panels)
            self._ask_for_first_rows(warp, count)

    def _ask_for_first_weights(self, warp: Instruction, panel: Instruction) -> None:
        for n in range(self.few.stages - 1):
            self._ask_for_weights(warp, panel, n)

    def _ask_for_weights(self, warp: Instruction, panel: Instruction, n: int) -> None:
        """The n-th stage of a warp's part, if there is one."""
        first, last = self._part(warp)
        for _ in self.k.when(first + n < last):
            self._weights(warp, n, panel, first + n)

    def _ask_for_first_rows(self, warp: Instruction, count: Instruction) -> None:
        """What belongs to the first stages of x, each with its weights a group."""
        first, last = self._part(warp)
        for n in range(self.few.stages - 1):
            for _ in self.k.when(first + n < last):
                self._rows_of_x(warp, n, first + n, count)
            self.k.commit_copies()

    def _weights(self, warp: Instruction, n: Instruction | int, panel: Instruction, step: Instruction) -> None:
        """Codes and parameters of every matrix of a warp, to stage n of its ring."""
        k, each = self.k, self.few.panels // self.own  # groups that share the panels of a product
        group = warp % self.few.groups if self.few.groups > 1 else k.const(0, "i64")
        to = self._place(warp, n)
        if self.few.groups == 1:
            for m in range(self.matrices):
                product, p = self.products[m // self.few.panels], m % self.few.panels
                self._matrix(to, m, product, panel + p, step)
            return
        for number, product in enumerate(self.products):
            for _ in k.when(k.binary("eq", group // each, number)) if len(self.products) > 1 else [None]:
                for m in range(self.own):
                    self._matrix(to, m, product, panel + (group % each * self.own + m), step)

    def _matrix(self, to: Instruction, m: int, product: Node, panel: Instruction, step: Instruction) -> None:
        """Codes and parameters of a panel, the m-th of a stage at `to`. A vector of codes, a line, has its 16-byte
        pieces in another order. Panels past the last are the last.
        """
        k, plan, stage = self.k, self.plan, self.stage
        most = plan.panels(self.out_features) - 1
        source = self.buffers[product.inputs[1]]
        base = k.minimum(panel, most) * plan.nbytes(plan.rows, self.depth)
        block = base + (step // stage.split if stage.split > 1 else step * stage.blocks) * stage.block_bytes
        codes = stage.codes // stage.blocks
        skipped = plan.chunk_offset + (step % stage.split * codes if stage.split > 1 else 0)
        for unit in self._units(stage.codes):
            line, piece = unit >> 3, unit & 7
            place = line * LINE + (piece ^ stage.turned(line)) * UNIT
            k.copy_async(self.memory, to + m * stage.codes, place, source, block + skipped, self._spaced(unit, codes))
        for unit in self._units(stage.params):
            place = to + (stage.params_at + m * stage.params)
            k.copy_async(self.memory, place, unit * UNIT, source, block, self._spaced(unit, plan.chunk_offset))

    def _units(self, nbytes: int) -> list[Instruction]:
        """Numbers of 16-byte pieces, 32 at a time; past the last one, once more that."""
        k = self.k
        found = [k.iota("i32", 32) + n for n in range(0, nbytes // UNIT, 32)]
        if nbytes // UNIT % 32:
            found[-1] = k.minimum(found[-1], nbytes // UNIT - 1)
        return found

    def _spaced(self, unit: Instruction, nbytes: int) -> Instruction:
        """Where pieces come from that are `nbytes` of each of some blocks."""
        if self.stage.blocks == 1:
            return unit * UNIT
        each = nbytes // UNIT
        number = self.k.binary("div", unit, each)
        return number * (self.stage.block_bytes - nbytes) + unit * UNIT

    def _rows_of_x(self, warp: Instruction, n: Instruction | int, step: Instruction, count: Instruction) -> None:
        """A line of each row, or a few, with its pieces in another order, to stage n; rows past the last are the last.
        Warps that share x copy every so many four rows.
        """
        k, stage, x, groups = self.k, self.stage, self.buffers[self.x], self.few.groups
        lane = k.iota("i32", 32)
        unit, row = lane & 7, lane >> 3
        most = k.splat(k.convert(count - 1, "i32"), 32)
        to = self._place_of_x(warp, n)
        fours = stage.rows // 4  # of a line
        pieces = stage.lines * fours
        place = row * LINE + (unit ^ stage.turned_row(row)) * UNIT
        if groups == 1:
            for piece in range(pieces):
                line, first = piece // fours, piece % fours * 4
                source = k.minimum(row + first, most) * self.row_bytes + unit * UNIT
                at = to + (line * (stage.rows * LINE))
                k.copy_async(
                    self.memory, at, place + first * LINE, x, step * (stage.depth * bf16.nbytes) + line * LINE, source
                )
            return
        for turn in range(0, pieces, groups):
            mine = warp % groups + turn
            for _ in k.when(mine < pieces) if turn + groups > pieces else [None]:
                of_x, four = mine // fours, mine % fours * 4
                source = k.minimum(row + k.splat(k.convert(four, "i32"), 32), most) * self.row_bytes + unit * UNIT
                at = to + (of_x * stage.rows + four) * LINE
                k.copy_async(self.memory, at, place, x, step * (stage.depth * bf16.nbytes) + of_x * LINE, source)

    # --- products ---------------------------------------------------------------------------------------------------
    def _sums(self, warp: Instruction, panel: Instruction, count: Instruction) -> None:
        """Sums over a warp's part of the depth, into its place in private memory."""
        k, stages = self.k, self.few.stages
        first, last = self._part(warp)
        total = [
            [[k.var(k.zeros("f32", FRAGMENT)) for _ in range(self.columns)] for _ in range(2)] for _ in range(self.own)
        ]
        together = self.few.groups > 1  # then all warps take as many turns
        for n in k.loop(-(-self.steps // self.parts) if together else last - first):
            k.wait_copies(stages - 2)
            if together:
                k.barrier()  # x is there, and all have done with the stage before
            coming, free = first + n + (stages - 1), (n + (stages - 1)) % stages
            for _ in k.when(coming < last):
                self._weights(warp, free, panel, coming)
                self._rows_of_x(warp, free, coming, count)
            k.commit_copies()
            for _ in k.when(first + n < last) if together and self.steps % self.parts else [None]:
                self.multiply(total, self._place(warp, n % stages), self._place_of_x(warp, n % stages), first + n)
        thread = k.iota("i32", 32)
        lanes = (thread & 3) * (2 * ROW) + (thread >> 2) * UNIT
        assert self.aside is not None
        place = warp // self.few.groups * self.part_bytes
        if self.few.groups > 1:
            k.wait_copies(0)
            k.barrier()  # all have done with their rings
            place = place + warp % self.few.groups * (self.own * self.columns * TOKENS * ROW)
        for m, (low, high) in enumerate(total):
            for column in range(self.columns):
                for token in range(2):  # four neighbouring rows of a panel
                    own = [s + 4 * t + token for t in range(32) for s in (0, 2, FRAGMENT, FRAGMENT + 2)]
                    at = place + ((m * self.columns + column) * TOKENS + token) * ROW
                    k.scatter(self.aside, at, lanes, k.shuffle(low[column].get(), high[column].get(), own))

    # --- results ----------------------------------------------------------------------------------------------------
    def _joined(self, p: int, row: Instruction) -> list[Instruction]:
        """A row's sums of a panel, of every product: the warps' parts in order."""
        k, found = self.k, []
        assert self.aside is not None
        for n in range(len(self.products)):
            place = row * ROW + (n * self.few.panels + p) * self.columns * TOKENS * ROW
            parts = [k.load(self.aside, place + s * self.part_bytes, "f32", 32) for s in range(self.parts)]
            found.append(dot.sum_of(parts))
        return found
