"""Tiles of `linear`: what the tuner may choose, a good tile without tuning, and others to measure.

The nest that they shape is `linear.py`.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from ..ir.types import Dim, DType, numel, upper_bound
from ..quant.activation import ActivationFormat
from ..quant.panel import Panel, PanelPlan
from ..targets.target import Target
from . import expanded
from .group import Group
from .integer_scales import bound

SECOND_LEVEL = 1 << 20  # bytes of a core's second-level cache, at least
MOST_ROWS = 192  # that pass over a panel before the next one
NEAR_ROWS = 256  # the same where panels are unpacked and so many stay in the second-level cache
FLOAT_ROWS = 512  # the same of floats, which stream through the caches: what is cold costs a panel more than rows do


@dataclass(frozen=True)
class LinearTile:
    """What the tuner may choose. `tokens`: tile heights, largest first, ending in 1; `panels`: panels side by side.

    `block`: the most rows of x that pass over a panel before the next panel is taken, so that they stay in the
    second-level cache. A single row takes `single_panels` side by side and asks for weights `prefetch` bytes ahead: its
    speed is the memory's, and one forward stream with a distant prefetch reads fastest. On a GPU `team` warps share the
    depth of a panel of a single row.
    """

    tokens: tuple[int, ...] = (12, 4, 1)
    panels: int = 1
    single_panels: int = 1
    block: int = 96
    prefetch: int = 4096
    team: int = 1

    def __post_init__(self) -> None:
        if not self.tokens or self.tokens[-1] != 1 or not all(0 < n <= 64 for n in self.tokens):
            raise ValueError(f"tile heights must end in 1 and be from 1 to 64, got {self.tokens}")
        if not 0 < self.team <= 32:
            raise ValueError(f"a team has 1 to 32 warps, got {self}")
        if not (0 < self.panels <= 8 and 0 < self.single_panels <= 8 and self.block >= self.tokens[0]):
            raise ValueError(f"1 to 8 panels and a block of at least one tile are needed, got {self}")


def default_tile(weight: PanelPlan, target: Target, rows: Dim, depth: int, planes: int = 1) -> LinearTile:
    """A good tile without tuning: as many accumulators as registers allow.

    An integer tile needs two accumulators a token (three where sub-block scales are integers) and a few registers for
    weights; a float tile needs one a token and panel.
    """
    registers = target.vector_registers
    format = weight.format
    if isinstance(format, DType):
        if upper_bound(rows) == 1:
            return LinearTile((1,), 2 if registers >= 32 else 1)
        if registers < 32:
            return LinearTile((6, 2, 1))
        # twelve rows a power of two apart fill a set of the first-level cache; pairs of bf16 are put in order by panel
        shape = (12, 2) if format.name == "bf16" else (6, 4)
        return LinearTile(_heights(shape[0]), shape[1], block=FLOAT_ROWS)
    normal = format.normal
    assert normal is not None
    if expanded.takes(format, target, upper_bound(rows)):
        height = 6 // planes  # sums, the sums of a block, two panels' weights and an activation: 27 to 29 registers
        if planes == 1 and bound(format) is not None and target.spare_ports:  # the sums of another sub-block
            height = 4
        near = SECOND_LEVEL // 2 // max(1, depth * planes * 5 // 4)  # a scale and a sum for 32 codes are the most
        block = max(MOST_ROWS, min(NEAR_ROWS, near))  # more rows share what is unpacked, at any depth
        return LinearTile(_heights(height), 2, block=block)
    kept = 3 if normal.scale.integer is not None or format.block > normal.sub else 2
    plain = len(weight.planes) == 1 and normal.offset is None
    if registers < 32 or planes > 1:
        panels, height = 1, min(12, max(2, (registers - 6) // (kept * planes)))
    elif plain and kept == 2 and normal.table is None:
        panels, height = 2, 6
    elif plain:  # a table takes registers too
        panels, height = 2, 5
    else:
        panels, height = 1, 8
    if upper_bound(rows) == 1:
        return LinearTile((1,))
    return LinearTile(_heights(height), panels, block=_block(height, depth * planes))


def _block(height: int, nbytes: int) -> int:
    """Rows of so many bytes that stay in the second-level cache while panels pass: half of a MiB, in whole tiles."""
    return max(2, min(MOST_ROWS, SECOND_LEVEL // 2 // nbytes) // height) * height


def team_of(panels: int, steps: int, wanted: int) -> int:
    """Warps that share a panel, so that there are as many as `wanted`: a power of two, at most a step each."""
    team = 1
    while team < 32 and 2 * team <= steps and panels * team < wanted:
        team *= 2
    return team


def tuning_key(group: Group) -> tuple[str, str, str]:
    """`linear FORMAT ACTIVATIONS`, `OxK`, and `1` for a single row or `n`."""
    x, w = group.root.inputs
    return f"linear {w.type.element} {x.type.element}", f"{w.type.shape[0]}x{w.type.shape[1]}", row_class(group)


def candidates(group: Group, target: Target) -> list[LinearTile]:
    """The default, and other tiles around it."""
    x, w = group.root.inputs
    assert isinstance(w.type.layout, Panel)
    plan = w.type.layout.plan(w.type.element)
    planes = x.type.element.planes if isinstance(x.type.element, ActivationFormat) else 1
    single = row_class(group) == "1"
    usual = default_tile(plan, target, 1 if single else 512, upper_bound(w.type.shape[1]), planes)
    if single:
        others = [replace(usual, single_panels=p, prefetch=a) for p in (1, 2) for a in (0, 2048, 4096, 8192)]
    else:
        shapes = ((12, 1), (10, 1), (8, 1), (6, 1), (6, 2), (5, 2), (4, 2), (3, 2), (4, 3), (3, 3))
        if isinstance(plan.format, DType):
            shapes = ((14, 2), (13, 2), (12, 2), (10, 2), (9, 3), (8, 3), (6, 4), (6, 2), (4, 2), (6, 1))
        others = [
            replace(usual, tokens=_heights(m), panels=p, block=max(1, usual.block // m) * m)
            for m, p in shapes
            if m * p * planes <= target.vector_registers
        ]
    return list(dict.fromkeys([usual, *others]))


def heights_for(tokens: tuple[int, ...], rows: Dim) -> tuple[int, ...]:
    """The tile heights that so many rows come to, where they are known: they are cut into parts of which all but the
    last are whole tiles of the tallest. What is never taken would be most of the code of a few rows."""
    if not isinstance(rows, int):
        return tokens
    found, left = [], rows
    for height in tokens:
        if left >= height:
            found.append(height)
            left %= height
    return tuple(found)


def row_class(group: Group) -> str:
    """ "1" for a single row of activations, otherwise "n"."""
    return "1" if numel(group.root.inputs[0].type.shape[:-1]) == 1 else "n"


def _heights(tallest: int) -> tuple[int, ...]:
    return tuple(dict.fromkeys((tallest, max(1, tallest // 3), 1)))
