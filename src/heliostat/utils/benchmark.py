"""Times of statements, with the names of `torch.utils.benchmark`: `Timer`, what it measured, and tables of it.

What a statement makes is computed at the end of each turn, so that times are of execution; the first turns, which
compile, are not counted.
"""

from __future__ import annotations

import ast
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ..diagnostics import UnsupportedError
from ..tensor import cuda, lazy
from ..tensor.questions import get_num_threads

_UNITS = (("ns", 1e-9), ("us", 1e-6), ("ms", 1e-3), ("s", 1.0))
_WARN, _WARN_MUCH = 0.1, 0.25  # shares of the median that quartiles are apart
_MOST = 10**9  # turns in a block


def timer() -> float:
    """Seconds of a clock, read when all that is open is computed and GPUs have finished."""
    lazy.flush()
    if cuda.is_initialized():
        cuda.synchronize()
    return time.perf_counter()


@dataclass(frozen=True)
class TaskSpec:
    """What is measured, and how tables name it."""

    stmt: str
    setup: str
    label: str | None = None
    sub_label: str | None = None
    description: str | None = None
    env: str | None = None
    num_threads: int = 1

    @property
    def title(self) -> str:
        """The label and the row's name, or the statement."""
        if self.label is None and self.sub_label is None:
            return self.stmt.strip()
        return ": ".join(part for part in (self.label, self.sub_label) if part)


@dataclass
class Measurement:
    """Times of a statement. raw_times: seconds of blocks of `number_per_run` turns; `times`: of one turn."""

    number_per_run: int
    raw_times: list[float]
    task_spec: TaskSpec
    metadata: dict[Any, Any] | None = field(default=None, repr=False)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_") or name not in TaskSpec.__dataclass_fields__:
            raise AttributeError(f"a Measurement has no attribute {name!r}")
        return getattr(self.task_spec, name)

    @property
    def times(self) -> list[float]:
        """Seconds of a turn, of each block."""
        return [t / self.number_per_run for t in self.raw_times]

    def _quantile(self, q: float) -> float:
        return float(np.quantile(self.times, q))

    @property
    def median(self) -> float:
        """The median of `times`, s."""
        return self._quantile(0.5)

    @property
    def mean(self) -> float:
        """The mean of `times`, s."""
        return float(np.mean(self.times))

    @property
    def iqr(self) -> float:
        """How far the quartiles of `times` are apart, s."""
        return self._quantile(0.75) - self._quantile(0.25)

    @property
    def has_warnings(self) -> bool:
        """Whether times differ so much that others seem to have disturbed them."""
        return not self.meets_confidence()

    def meets_confidence(self, threshold: float = _WARN) -> bool:
        """Whether the quartiles are apart by less than this share of the median."""
        return self.iqr < threshold * self.median

    @property
    def title(self) -> str:
        """The name of what was measured."""
        return self.task_spec.title

    @property
    def as_row_name(self) -> str:
        """The name of its row in a table."""
        return self.task_spec.sub_label or self.task_spec.stmt or "[Unknown]"

    def __repr__(self) -> str:
        unit, scale = select_unit(self.median)
        count, threads = len(self.raw_times), self.task_spec.num_threads
        lines = [self.title, f"  {'Median: ' if count > 1 else ''}{self.median / scale:.2f} {unit}"]
        if count >= 4:
            low, high = (self._quantile(q) / scale for q in (0.25, 0.75))
            lines.append(f"  IQR:    {self.iqr / scale:.2f} {unit} ({low:.2f} to {high:.2f})")
        each = "per measurement, " if count > 1 else ", "
        lines.append(f"  {_many(count, 'measurement')}, {self.number_per_run} runs {each}{_many(threads, 'thread')}")
        if self.has_warnings and count >= 4:
            why = "significant environmental influence" if not self.meets_confidence(_WARN_MUCH) else "fluctuation"
            lines.append(f"  WARNING: the quartiles are {self.iqr / self.median:.0%} apart: {why}")
        return "\n".join(lines)

    @staticmethod
    def merge(measurements: Iterable[Measurement]) -> list[Measurement]:
        """One for each statement, with the times of all that are of it."""
        found: dict[TaskSpec, list[float]] = {}
        for m in measurements:
            found.setdefault(m.task_spec, []).extend(m.times)
        return [Measurement(1, times, spec) for spec, times in found.items()]


def _many(count: int, what: str) -> str:
    return f"{count} {what}{'s' if count != 1 else ''}"


def select_unit(t: float) -> tuple[str, float]:
    """The unit in which a time of t seconds has one to three digits before the point, and its seconds."""
    return next((pair for pair in reversed(_UNITS) if t >= pair[1]), _UNITS[0])


def _done() -> None:
    lazy.flush()


def _loop(stmt: str, setup: str, names: dict[str, Any]) -> Callable[..., float]:
    """A function of a number of turns and of a clock. Raises SyntaxError."""
    frame = ast.parse(
        "def _run(_count, _clock):\n    _begin = _clock()\n    for _turn in range(_count):\n        pass\n"
        "    return _clock() - _begin"
    )
    function: Any = frame.body[0]
    turn: Any = function.body[1]
    turn.body = list(ast.parse(stmt).body) or [ast.Pass()]
    last = turn.body[-1]
    if isinstance(last, ast.Expr):  # its value must live until it is computed
        turn.body[-1] = ast.Assign([ast.Name("_held", ast.Store())], last.value)
    turn.body += ast.parse("_done()").body
    function.body[:0] = ast.parse(setup).body
    room = {**names, "_done": _done}
    exec(compile(ast.fix_missing_locations(frame), "<timed statement>", "exec"), room)
    found: Callable[..., float] = room["_run"]
    return found


class Timer:
    """Measures a statement. stmt, setup: Python; names in them are those of `globals`, and `hs` and `torch`.
    label, sub_label, description, env: names of the table, the row, the column and the surroundings. num_threads: the
    number that there is (HELIOSTAT_THREADS sets it). Raises UnsupportedError for another one, and for C++."""

    def __init__(
        self,
        stmt: str = "pass",
        setup: str = "pass",
        global_setup: str = "",
        timer: Callable[[], float] = timer,
        globals: dict[str, Any] | None = None,
        label: str | None = None,
        sub_label: str | None = None,
        description: str | None = None,
        env: str | None = None,
        num_threads: int | None = None,
        language: Any = "python",
    ) -> None:
        threads = get_num_threads()
        if num_threads not in (None, threads):
            raise UnsupportedError(
                f"kernels run on {threads} threads, not {num_threads}", help="set HELIOSTAT_THREADS before the start"
            )
        if global_setup or language not in ("python", "py"):
            raise UnsupportedError("Timer measures Python, not C++", help="leave language and global_setup out")
        names = dict(globals or {})
        for name, module in (("hs", "heliostat"), ("torch", "torch")):
            if module in sys.modules:
                names.setdefault(name, sys.modules[module])
        self._clock = timer
        self._run = _loop(stmt, setup, names)
        self._task_spec = TaskSpec(stmt, setup, label, sub_label, description, env, threads)

    def _timeit(self, number: int) -> float:
        return max(self._run(number, self._clock), 1e-9)

    def timeit(self, number: int = 1_000_000) -> Measurement:
        """One time of `number` turns, after some that are not counted."""
        self._timeit(max(number // 100, 2))
        return Measurement(number, [self._timeit(number)], self._task_spec)

    def _block(self, seconds: float) -> int:
        """How many turns take so long, or a thousandth of it and 10,000 times what an empty block takes."""
        self._timeit(2)
        empty = float(np.median([self._timeit(0) for _ in range(5)]))
        number = 1
        while number < _MOST:
            took = self._timeit(number)
            if took > seconds or (took >= seconds / 1000 and took >= 1e3 * empty):
                break
            number *= 10
        return number

    def blocked_autorange(
        self, callback: Callable[[int, float], Any] | None = None, min_run_time: float = 0.2
    ) -> Measurement:
        """Times of blocks that are so long that the clock costs nothing, for `min_run_time` seconds together. callback:
        called with the turns and the seconds of each block."""
        return self._blocks(min_run_time, min_run_time, lambda times: True, callback)

    def adaptive_autorange(
        self,
        threshold: float = 0.1,
        *,
        min_run_time: float = 0.01,
        max_run_time: float = 10.0,
        callback: Callable[[int, float], Any] | None = None,
    ) -> Measurement:
        """As `blocked_autorange`, until more than three times have quartiles that are apart by less than `threshold` of
        the median, or `max_run_time` seconds are over."""

        def close(m: Measurement) -> bool:
            return len(m.raw_times) > 3 and m.meets_confidence(threshold)

        return self._blocks(min_run_time, max_run_time, close, callback)

    def _blocks(
        self,
        least: float,
        most: float,
        enough: Callable[[Measurement], bool],
        callback: Callable[[int, float], Any] | None,
    ) -> Measurement:
        found = Measurement(self._block(least), [], self._task_spec)
        while (total := sum(found.raw_times)) < least or (total < most and not enough(found)):
            found.raw_times.append(self._timeit(found.number_per_run))
            if callback is not None:
                callback(found.number_per_run, found.raw_times[-1])
        return found


class Compare:
    """Measurements as tables: one for each label, a row for each sub_label, a column for each description."""

    def __init__(self, results: Sequence[Measurement]) -> None:
        self._results: list[Measurement] = []
        self._digits = 4
        self.extend_results(results)

    def extend_results(self, results: Iterable[Measurement]) -> None:
        """Add measurements. Raises ValueError for what is none."""
        for r in results:
            if not isinstance(r, Measurement):
                raise ValueError(f"Expected an instance of `Measurement`, got {type(r)} instead.")
            self._results.append(r)

    def trim_significant_figures(self) -> None:
        """Show two digits of each time."""
        self._digits = 2

    def colorize(self, rowwise: bool = False) -> None:
        """Nothing: tables are plain."""

    highlight_warnings = colorize

    def print(self) -> None:
        """Print the tables."""
        print(self)

    def __str__(self) -> str:
        labels: dict[str, list[Measurement]] = {}
        for m in Measurement.merge(self._results):
            labels.setdefault(m.task_spec.label or "", []).append(m)
        return "\n".join(self._table(label, rows) for label, rows in labels.items())

    def _table(self, label: str, found: list[Measurement]) -> str:
        unit, scale = select_unit(min(m.median for m in found))
        columns = list(dict.fromkeys(m.task_spec.description or "" for m in found))
        cells: dict[tuple[str, str], dict[str, str]] = {}
        for m in found:
            row = cells.setdefault((m.task_spec.env or "", m.as_row_name), {})
            row[m.task_spec.description or ""] = f"{float(f'{m.median / scale:.{self._digits}g}'):.10g}"
        names = [f"{name}{f' ({env})' if env else ''}" for env, name in cells]
        first = max(map(len, names))
        widths = [max(len(c), *(len(row.get(c, "")) for row in cells.values())) for c in columns]
        lines = ["  |  ".join([" " * first, *(c.rjust(w) for c, w in zip(columns, widths, strict=True))])]
        for name, row in zip(names, cells.values(), strict=True):
            shown = (row.get(c, "").rjust(w) for c, w in zip(columns, widths, strict=True))
            lines.append("  |  ".join([name.ljust(first), *shown]))
        title = f" {label} ".center(len(lines[0]), "-") if label else "-" * len(lines[0])
        threads = _many(found[0].task_spec.num_threads, "thread")
        return "\n".join([f"[{title}]", *lines, "", f"Times are in {unit}, {threads}."])


__all__ = ["Compare", "Measurement", "TaskSpec", "Timer", "select_unit", "timer"]
