"""Tiles of `warpgroup_linear`: what the tuner may choose, and a good tile by count without tuning.

What a stage takes is counted for one multiprocessor: products and bytes of shared memory, of which the larger stands,
since they go on side by side.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from ..ir.types import DType, numel, upper_bound
from ..quant.panel import CHUNK, PanelPlan
from .group import Group
from .head_rows import tail_of
from .linear import products

HALF = 64  # rows that four warps multiply at once
DEPTH = 64  # elements of K in a stage
MOST = 8  # panels of 128 rows: as many sums as registers hold
MULTIPROCESSORS = 132
TYPICAL = 512  # tokens of a prompt, where there may be more: their tile is chosen for so many
SHARED_RATE = 128  # bytes of shared memory in a clock
RATE = 2048  # products in a clock
CONFLICTS = 1.1  # times the clocks that shared memory needs by count, measured
MAKE = (
    650,
    110,
    0.68,
)  # of a stage whose weights are made of codes: clocks, for each panel, for each row of each; measured
ENDS = 3000, 1150  # clocks of a tile's beginning and end, and for each panel; measured


ALWAYS = (0, 0, 0)  # one tile for any number of rows


@dataclass(frozen=True)
class WarpgroupTile:
    """`rows` of x, 128 or 256, by `panels` of all products together. More rows share what is made of quantized weights;
    128 by 8 and 256 by 4 have the same sums in registers.

    `many`: rows and panels of another tile, and for more rows of x than how many it is taken, where the number is a
    symbol: a usual prompt fills a device with small tiles only, a long one asks less of shared memory with large ones.
    """

    rows: int = 128
    panels: int = MOST
    many: tuple[int, int, int] = ALWAYS

    def __post_init__(self) -> None:
        sizes = [(self.rows, self.panels), *([self.many[:2]] if self.many != ALWAYS else [])]
        if any(rows not in (128, 256) or not 0 < panels <= MOST * 128 // rows for rows, panels in sizes):
            raise ValueError(f"128 rows by 1 to 8 panels, or 256 rows by 1 to 4, are tiles; got {self}")

    @property
    def both(self) -> tuple[WarpgroupTile, WarpgroupTile]:
        """The tiles of few rows and of many."""
        few = WarpgroupTile(self.rows, self.panels)
        return few, few if self.many == ALWAYS else WarpgroupTile(*self.many[:2])


def fits(tile: WarpgroupTile, group: Group, plan: PanelPlan) -> bool:
    """Whether a tile serves a group: products share panels evenly, warps codes, and a head lies in one tile."""
    if tile.many != ALWAYS:
        return all(fits(one, group, plan) for one in tile.both)
    each, left = divmod(tile.panels, len(products(group)))
    if left or not each:
        return False
    tail = tail_of(group)
    if tail is not None and (plan.panels(upper_bound(tail.made.type.shape[1])) % each or each * plan.rows % tail.size):
        return False  # heads are whole, and there is no tile with less
    if isinstance(plan.format, DType):
        return True
    return tile.panels == MOST or (divides_chunks(plan) and (tile.panels == 4 or (tile.panels == 2 and each == 2)))


def divides_chunks(plan: PanelPlan) -> bool:
    """Whether a warp may take either chunk of a stage by a number that is not known before: not where nibbles of scales
    belong to a chunk each."""
    normal = plan.format.normal  # type: ignore[union-attr]
    assert normal is not None
    return normal.sub != CHUNK or not any(p.storage == "u4" for p in plan.params)


def clocks(tile: WarpgroupTile, group: Group, plan: PanelPlan, rows: int) -> float:
    """What a product of so many rows takes: counted, where it has a device of 132 multiprocessors for itself and what
    runs beside."""
    depth = upper_bound(group.root.inputs[1].type.shape[1])
    outputs, together = upper_bound(group.root.inputs[1].type.shape[0]), len(products(group))
    each = tile.panels // together
    others = max(0, group.beside - outputs * together) // together
    across = -(-plan.panels(outputs) // each) + -(-plan.panels(others) // each) * (
        1 + (plan.panels(outputs) % each > 0)
    )
    tiles = -(-rows // tile.rows) * across
    columns, halves = tile.panels * plan.rows, tile.rows // HALF
    if isinstance(plan.format, DType):
        reads = DEPTH // 16 * halves * (HALF + columns) * 32
        shared = (reads + (tile.rows + columns) * DEPTH * 2) / SHARED_RATE * CONFLICTS
        stage = max(tile.rows * columns * DEPTH / RATE, shared)
    else:
        stage = MAKE[0] + MAKE[1] * max(tile.panels, 4) + MAKE[2] * tile.rows * tile.panels
    rounds = -(-tiles // MULTIPROCESSORS)
    return rounds * (depth // DEPTH * stage + ENDS[0] + ENDS[1] * tile.panels * halves / 2)


def default_tile(group: Group, plan: PanelPlan) -> WarpgroupTile:
    """The tile that takes least by count, of those that the group's sizes fill; two where the number of rows is not
    known and may be more than `TYPICAL`."""
    most = upper_bound(numel(group.root.inputs[0].type.shape[:-1]))
    if not _is_open(group):
        return _best(group, plan, most)
    few, many = _best(group, plan, TYPICAL), _best(group, plan, most)
    last = _last_of_few(few, many, group, plan, most)
    return few if last == most else replace(few, many=(many.rows, many.panels, last))


def candidates_of(group: Group, plan: PanelPlan) -> list[WarpgroupTile]:
    """The default, and the others; each for few rows and each for many where both may come."""
    default, others = default_tile(group, plan), tiles_of(group, plan)
    found = [default, *(replace(tile, many=default.many) for tile in others)]
    if _is_open(group):
        last = default.many[2] or TYPICAL
        found += [replace(default, many=(tile.rows, tile.panels, last)) for tile in others]
    return list(dict.fromkeys(found))


def _is_open(group: Group) -> bool:
    """Whether a usual number of rows may come and a larger one."""
    rows = numel(group.root.inputs[0].type.shape[:-1])
    return not isinstance(rows, int) and upper_bound(rows) > TYPICAL


def _last_of_few(few: WarpgroupTile, many: WarpgroupTile, group: Group, plan: PanelPlan, most: int) -> int:
    """Up to how many rows the tile of few takes less."""
    last = most
    while many != few and last > TYPICAL and clocks(many, group, plan, last) <= clocks(few, group, plan, last):
        last -= HALF
    return last


def _best(group: Group, plan: PanelPlan, rows: int) -> WarpgroupTile:
    return min(tiles_of(group, plan), key=lambda tile: clocks(tile, group, plan, rows))


def tiles_of(group: Group, plan: PanelPlan) -> list[WarpgroupTile]:
    """All tiles that serve a group."""
    rows = upper_bound(numel(group.root.inputs[0].type.shape[:-1]))
    sizes = [(128, 8), (128, 4), (128, 2), (128, 6), (256, 4), (256, 2)]
    found = [WarpgroupTile(r, p) for r, p in sizes if r == 128 or rows > 128]
    return [tile for tile in found if fits(tile, group, plan)]


def tuning_key(group: Group) -> tuple[str, str, str]:
    """`warpgroup_linear FORMAT PRODUCTS`, `OxK`, and the most rows."""
    w = group.root.inputs[1].type
    before = f"warpgroup_linear {w.element} {len(products(group))}"
    return before, f"{w.shape[0]}x{w.shape[1]}", str(upper_bound(numel(group.root.inputs[0].type.shape[:-1])))
