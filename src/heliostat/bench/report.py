"""Rows of a suite as a table at the terminal, JSON, CSV, and a plot."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ..diagnostics import HeliostatError

Rows = Sequence[Mapping[str, Any]]


class PlotError(HeliostatError):
    """A plot was asked for, and matplotlib is not installed or does not know the kind of file."""


def as_json(rows: Rows, limits: Mapping[str, Any]) -> str:
    return json.dumps({"limits": limits, "rows": list(rows)})


def as_csv(rows: Rows) -> str:
    """A header and a line per row; empty where a row has no such value."""
    names = list(dict.fromkeys(name for row in rows for name in row))
    out = io.StringIO()
    writer = csv.DictWriter(out, names, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return out.getvalue()


def as_table(rows: Rows) -> str:
    """Columns as wide as their values; numbers to the right."""
    names = list(dict.fromkeys(name for row in rows for name in row))
    cells = [names, *[[_shown(row.get(name)) for name in names] for row in rows]]
    widths = [max(len(line[c]) for line in cells) for c in range(len(names))]
    right = [all(not isinstance(row.get(n), str) for row in rows) for n in names]
    return "\n".join(
        "  ".join(v.rjust(w) if r else v.ljust(w) for v, w, r in zip(line, widths, right, strict=True)).rstrip()
        for line in cells
    )


def _shown(value: Any) -> str:
    if value is None:
        return "-"
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def check_plot(path: str) -> None:
    """Whether `plot` can write such a file. Raises PlotError."""
    try:
        from matplotlib.figure import Figure
    except ImportError:
        raise PlotError("matplotlib is not installed", help="pip install 'heliostat[plot]'") from None
    kinds = sorted(Figure().canvas.get_supported_filetypes())
    if Path(path).suffix[1:].lower() not in ["", *kinds]:
        raise PlotError(f"{path}: matplotlib writes no such files", help=f"it writes {', '.join(kinds)}")


def plot(rows: Rows, label: str, values: Mapping[str, str], path: str, title: str) -> None:
    """Bars for each row: `values` maps a column to its legend. The file's ending decides the kind. Raises PlotError."""
    check_plot(path)
    import matplotlib as mpl

    mpl.use("Agg")
    mpl.rcParams["svg.hashsalt"] = "heliostat"
    from matplotlib import pyplot

    names = [str(row[label]) for row in rows]
    figure, axes = pyplot.subplots(figsize=(9, 0.32 * len(rows) + 1.2), layout="constrained")
    height = 0.8 / len(values)
    for n, (column, legend) in enumerate(values.items()):
        axes.barh(
            [i + (n - (len(values) - 1) / 2) * height for i in range(len(rows))],
            [float(row.get(column) or 0) for row in rows],
            height,
            label=legend,
        )
    axes.set_yticks(range(len(rows)), names)
    axes.invert_yaxis()
    axes.set_title(title)
    axes.legend()
    axes.grid(axis="x", alpha=0.3)
    figure.savefig(Path(path), metadata={"Date": None} if path.endswith(".svg") else None)
    pyplot.close(figure)
