"""Times of statements: what is run, what is counted, and the tables."""

from __future__ import annotations

import pytest

import heliostat as hs
from heliostat.diagnostics import UnsupportedError
from heliostat.tensor import lazy
from heliostat.utils.benchmark import Compare, Measurement, TaskSpec, Timer, select_unit


class Clock:
    """A clock whose seconds are the turns that were made."""

    def __init__(self) -> None:
        self.turns = 0

    def turn(self) -> None:
        self.turns += 1

    def __call__(self) -> float:
        return float(self.turns)


def test_turns_are_counted() -> None:
    clock = Clock()
    timer = Timer("turn(); turn()", "turn()", timer=clock, globals={"turn": clock.turn})
    found = timer.timeit(10)
    assert found.raw_times == [20.0]
    assert found.times == [2.0]
    assert found.median == found.mean == 2.0
    assert clock.turns == 1 + 4 + 1 + 20  # two turns come before


def test_blocks() -> None:
    clock = Clock()
    seen = []
    timer = Timer("turn()", timer=clock, globals={"turn": clock.turn})
    found = timer.blocked_autorange(lambda number, seconds: seen.append((number, seconds)), min_run_time=35)
    assert found.number_per_run == 1
    assert seen == [(1, 1.0)] * 35
    assert len(timer.adaptive_autorange(min_run_time=0.5).raw_times) == 4


def test_what_a_statement_makes_is_computed() -> None:
    made = []
    x = hs.ones(4)
    Timer("x * 2", globals={"x": x, "made": made}).timeit(1)
    Timer("y = x * 3\nmade.append(y)", globals={"x": x, "made": made}).timeit(2)
    assert all(lazy.buffer_of(y.value) is not None for y in made)
    Timer("hs.ones(2); torch_ = hs").timeit(1)
    with pytest.raises(SyntaxError):
        Timer("x = = 1")
    with pytest.raises(KeyError):
        Timer("{}[1]").timeit(1)


def test_what_is_not_measured() -> None:
    for options in ({"num_threads": 10_000}, {"language": "c++"}, {"global_setup": "#include <x>"}):
        with pytest.raises(UnsupportedError):
            Timer(**options)  # type: ignore[arg-type]


def measured(label: str, row: str, column: str, *times: float) -> Measurement:
    return Measurement(1, list(times), TaskSpec("x", "pass", label, row, column))


def test_measurements() -> None:
    found = measured("sum", "of 4", "here", 1e-3, 2e-3, 3e-3, 4e-3)
    assert found.median == 2.5e-3
    assert found.iqr == pytest.approx(1.5e-3)
    assert found.has_warnings
    assert (found.title, found.label, found.as_row_name) == ("sum: of 4", "sum", "of 4")
    assert str(found).splitlines() == [
        "sum: of 4", "  Median: 2.50 ms", "  IQR:    1.50 ms (1.75 to 3.25)",
        "  4 measurements, 1 runs per measurement, 1 thread",
        "  WARNING: the quartiles are 60% apart: significant environmental influence",
    ]  # fmt: skip
    with pytest.raises(AttributeError):
        _ = found.nothing
    assert [select_unit(t)[0] for t in (2.0, 1e-3, 5e-5, 1e-9, 1e-12)] == ["s", "ms", "us", "ns", "ns"]


def test_tables() -> None:
    rows = [measured("sum", "a", "one", 1e-3), measured("sum", "a", "two", 2e-3), measured("sum", "long", "two", 3e-3)]
    table = Compare(rows)
    table.extend_results([measured("sum", "a", "one", 2e-3), measured("mean", "a", "one", 1.0)])
    table.trim_significant_figures()
    lines = str(table).splitlines()
    assert lines[1:4] == ["      |  one  |  two", "a     |  1.5  |    2", "long  |       |    3"]
    assert "mean" in lines[6]
    with pytest.raises(ValueError, match="Measurement"):
        table.extend_results([1])  # type: ignore[list-item]
