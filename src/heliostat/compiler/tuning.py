"""Tile choices as data: which tile a schedule takes for which work, found by measuring and kept as text.

A table maps a key such as `linear Q4_0 a8_32 4864x896 n` to the fields of the schedule's tile. Compilation looks its
keys up, the exact one first and then the one of any size (`linear Q4_0 a8_32 * n`); what is not there is built with the
schedule's own default. The compiler only reads tables; `session/tuning.py` measures and keeps them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from types import ModuleType
from typing import Any, Protocol, cast

from ..ir.graph import Graph
from ..kernel.ir import Kernel
from ..kernel.library import LibraryProduct
from ..kernels.group import Group
from ..kernels.library_product import choices, chosen, first_of, product_of, reason
from ..targets.target import Target


class Tunable(Protocol):
    """What a schedule offers that can be tuned."""

    Tile: type[Any]

    def tuning_key(self, group: Group) -> tuple[str, str, str]:
        """What the choice depends on: before the size, the size, after it."""

    def candidates(self, group: Group, target: Target) -> list[Any]:
        """Tiles to try, the default first."""

    def build(self, group: Group, target: Target, name: str, tile: Any = None) -> Kernel: ...


def tunable(schedule: ModuleType) -> Tunable | None:
    """The schedule as a tunable one, or None."""
    return cast(Tunable, schedule) if hasattr(schedule, "candidates") else None


@dataclass(frozen=True)
class TuningTable:
    """Choices of one machine: key -> fields of the tile. Unknown fields and wrong values are passed over."""

    entries: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)

    def tile(self, schedule: ModuleType, group: Group, target: Target) -> Any:
        """The chosen tile for a group; None where the schedule should take its own. One that was chosen for any size is
        made to fit the group's, if the schedule knows how (`fitted`)."""
        candidate = tunable(schedule)
        if candidate is None or not self.entries:
            return None
        before, size, after = candidate.tuning_key(group)
        for shown in (size, "*"):
            entry = self.entries.get(key_text(before, shown, after))
            if entry is not None:
                found = make_tile(candidate.Tile, entry)
                fitted = getattr(schedule, "fitted", None) if shown == "*" else None
                return found if found is None or fitted is None else fitted(found, group, target)
        return None

    def usual(self, schedule: ModuleType, before: str, after: str) -> Any:
        """The tile that was chosen for work of any size; None where there is none."""
        candidate, entry = tunable(schedule), self.entries.get(key_text(before, "*", after))
        return None if candidate is None or entry is None else make_tile(candidate.Tile, entry)

    def library(self, graph: Graph) -> dict[int, LibraryProduct]:
        """The products of a graph, by their nodes' id(), that the tuner chose a library for; see `library_product`."""
        return choices(graph, self.entries)


def library_choice(group: Group, table: TuningTable) -> LibraryProduct | None:
    """The product that a group is, if the tuner chose a library for it and it has a bias behind it at most."""
    product = product_of(group) if table.entries else ""
    return None if isinstance(product, str) else chosen(product, table.entries)


def library_notes(group: Group, kernel: Kernel, table: TuningTable) -> list[str]:
    """For the report: that a library was chosen, and why it takes part or not."""
    if kernel.library is not None:
        return [reason(kernel.library, table.entries)]
    first, refused = first_of(group) if table.entries else "", product_of(group)
    if isinstance(refused, str) and not isinstance(first, str) and chosen(first, table.entries) is not None:
        return [f"cuBLASLt, chosen by the tuner, cannot take it: {refused}"]
    return []


def key_text(before: str, size: str, after: str) -> str:
    return " ".join(part for part in (before, size, after) if part)


def make_tile(kind: type[Any], entry: Mapping[str, Any]) -> Any:
    """A tile of those fields; None if a field is unknown or is not made of positive integers."""
    known = {f.name for f in fields(kind)}
    values: dict[str, Any] = {}
    for name, value in entry.items():
        if name not in known:
            return None
        parts = tuple(value) if isinstance(value, (list, tuple)) else (value,)
        if not parts or not all(isinstance(v, int) and not isinstance(v, bool) and 0 <= v <= 1 << 20 for v in parts):
            return None
        values[name] = parts if isinstance(value, (list, tuple)) else value
    try:
        return kind(**values)
    except (TypeError, ValueError):
        return None
