"""Looking for NaN: the op that made the first one, in a forward or a backward pass, and the line that asked for it.

While it is on, every tensor's line is noted, results are looked at when they are computed, gradients when they are
built, and compiled functions run as Python. All of it is slow.
"""

from __future__ import annotations

import bisect
import linecache
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ..diagnostics import AnomalyError, Span
from ..ir.graph import Node, Value
from . import lazy

_PACKAGE = str(Path(__file__).parents[1])
_KEPT = 100_000  # lines that are remembered


class Anomaly:
    """What is known while the mode is on."""

    def __init__(self, check_nan: bool) -> None:
        self.check_nan = check_nan
        self._serials: list[int] = []
        self._lines: list[tuple[str, int]] = []

    def made(self, v: Value) -> None:
        """A tensor was made. What came since the one before belongs to its line."""
        frame: Any = sys._getframe(1)
        while frame is not None and frame.f_code.co_filename.startswith(_PACKAGE):
            frame = frame.f_back
        if frame is None:
            return
        self._serials.append(next(Node.count))
        self._lines.append((frame.f_code.co_filename, frame.f_lineno))
        if len(self._serials) > _KEPT:
            del self._serials[: _KEPT // 2], self._lines[: _KEPT // 2]

    def place(self, v: Value) -> tuple[Span | None, str]:
        """Where a value was made, as a span and as text."""
        n = bisect.bisect(self._serials, v.node.serial)
        if n == len(self._serials):
            return None, "a line that was not noted: it ran before the mode was on"
        path, line = self._lines[n]
        text = linecache.getline(path, line).strip()
        return Span(path, line, 1, line, len(text) + 1), f"{path}:{line}: {text}"

    def check(self, done: Sequence[Value]) -> None:
        """Raises AnomalyError where one of the computed values has NaN that its op made of none."""
        if not self.check_nan or not any(_has_nan(v) for v in done if lazy.buffer_of(v) is not None):
            return
        order = sorted(done, key=lambda v: v.node.serial)
        lazy._run([v for v in order if not lazy.is_cut(v)])
        for v in order:
            if _has_nan(v) and v.node.inputs and not any(map(_has_nan, v.node.inputs)):
                at, text = self.place(v)
                raise AnomalyError(
                    f"{v.node.op.name} made NaN of operands without, in {text}", at=at, help="look at its operands"
                )

    def check_gradients(self, v: Value, gradients: Sequence[Value]) -> None:
        """Raises AnomalyError where a gradient that the op of v gives has NaN."""
        if not self.check_nan:
            return
        lazy._run(gradients)
        if any(map(_has_nan, gradients)):
            at, text = self.place(v)
            name = v.node.op.name if v.meta is None or v.meta.function is None else "a Function"
            raise AnomalyError(
                f"the backward of {name} gives NaN; its forward is in {text}", at=at, help="look at its operands there"
            )


def _has_nan(v: Value) -> bool:
    element: Any = v.type.element
    if not element.is_float or lazy.buffer_of(v) is None:
        return False
    array = lazy.array_of(v)
    if element.name == "bf16":
        return bool(((array & 0x7FFF) > 0x7F80).any())
    return bool(np.isnan(array).any())


class set_detect_anomaly:
    """Look for NaN or not, from here on, or inside a `with`. check_nan: False only notes lines."""

    def __init__(self, mode: bool, check_nan: bool = True) -> None:
        self._before = lazy.anomaly.active
        if mode:
            lazy.flush()
        lazy.anomaly.active = Anomaly(check_nan) if mode else None

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: Any, *rest: object) -> None:
        try:
            if kind is None and lazy.anomaly.active is not None and not lazy.capturing():
                lazy.flush()
        finally:
            lazy.anomaly.active = self._before


class detect_anomaly(set_detect_anomaly):
    """`with detect_anomaly():` an op that makes NaN, or whose gradient is NaN, is an AnomalyError that names the op
    and the line that called it. What is open is computed at the end. check_nan: False only notes lines."""

    def __init__(self, check_nan: bool = True) -> None:
        self._check = check_nan

    def __enter__(self) -> None:
        super().__init__(True, self._check)


def is_anomaly_enabled() -> bool:
    """Whether NaN is looked for."""
    return lazy.anomaly.active is not None


def is_anomaly_check_nan_enabled() -> bool:
    """Whether results and gradients are looked at, not only lines noted."""
    return lazy.anomaly.active is not None and lazy.anomaly.active.check_nan
