"""The loss of a run as a picture: an SVG file of two lines, written here so that it needs no other package."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

from ..serialization.files import write_all
from .checkpoint import Progress

WIDTH, HEIGHT = 720, 400
LEFT, RIGHT, TOP, BOTTOM = 60, 20, 30, 40
MOST = 1000  # points of a line; more would not be seen


def write_curve(path: Path, progress: Progress, title: str) -> None:
    """Draw the loss of every step, its running mean, and the checks on validation rows."""
    write_all(path, [curve(progress, title).encode()])


def curve(progress: Progress, title: str) -> str:
    """The text of the SVG. One point at least; steps are counted from 1."""
    raw = [(n + 1.0, v) for n, v in enumerate(progress.losses)]
    checks = [(float(n), v) for n, v in progress.checks]
    values = [v for _, v in raw + checks if math.isfinite(v)] or [0.0]
    low, high = min(values), max(values)
    low, high = (low - 0.5, high + 0.5) if high - low < 1e-9 else (low, high)
    last = max([n for n, _ in raw + checks], default=1.0)

    def x(n: float) -> float:
        return LEFT + (WIDTH - LEFT - RIGHT) * (n - 1) / max(last - 1, 1)

    def y(v: float) -> float:
        return TOP + (HEIGHT - TOP - BOTTOM) * (high - v) / (high - low)

    def line(points: Sequence[tuple[float, float]], style: str) -> str:
        step = max(1, math.ceil(len(points) / MOST))
        shown = " ".join(f"{x(n):.1f},{y(v):.1f}" for n, v in points[::step] if math.isfinite(v))
        return f'<polyline fill="none" {style} points="{shown}"/>'

    rows = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" font-family="sans-serif" '
        'font-size="12">',
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="white"/>',
        f'<text x="{WIDTH / 2}" y="18" text-anchor="middle">{_escaped(title)}</text>',
    ]
    for v in _ticks(low, high):
        rows.append(f'<line x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y(v):.1f}" y2="{y(v):.1f}" stroke="#ddd"/>')
        rows.append(f'<text x="{LEFT - 6}" y="{y(v) + 4:.1f}" text-anchor="end">{v:g}</text>')
    for n in _ticks(1, max(last, 2)):
        rows.append(f'<text x="{x(n):.1f}" y="{HEIGHT - 20}" text-anchor="middle">{n:g}</text>')
    rows.append(f'<text x="{WIDTH / 2}" y="{HEIGHT - 5}" text-anchor="middle">steps</text>')
    rows.append(line(raw, 'stroke="#9bb8d8"'))
    rows.append(line(_smoothed(raw), 'stroke="#1f5fa8" stroke-width="2"'))
    rows.append(line(checks, 'stroke="#d1662a" stroke-width="2"'))
    names = [("training", "#1f5fa8")] + ([("validation", "#d1662a")] if checks else [])
    for n, (name, shade) in enumerate(names):
        rows.append(
            f'<text x="{WIDTH - RIGHT - 8}" y="{TOP + 14 + 16 * n}" text-anchor="end" fill="{shade}">{name}</text>'
        )
    return "\n".join([*rows, "</svg>", ""])


def _smoothed(points: Sequence[tuple[float, float]], keep: float = 0.95) -> list[tuple[float, float]]:
    """The running mean, without the pull of its start."""
    made: list[tuple[float, float]] = []
    mean = weight = 0.0
    for n, v in points:
        mean, weight = keep * mean + (1 - keep) * v, keep * weight + (1 - keep)
        made.append((n, mean / weight))
    return made


def _ticks(low: float, high: float) -> list[float]:
    """About five round numbers from low to high."""
    raw = (high - low) / 5
    unit = 10.0 ** math.floor(math.log10(raw))
    step = next(m * unit for m in (1, 2, 5, 10) if m * unit >= raw)
    first = math.ceil(low / step)
    return [k * step for k in range(first, math.floor(high / step) + 1)]


def _escaped(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
