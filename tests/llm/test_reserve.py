"""Memory for packed weights: what is brought in ahead is what will be taken."""

from __future__ import annotations

import threading
from itertools import pairwise
from pathlib import Path

import pytest

from heliostat.llm import model

MIB = 1 << 20


@pytest.mark.parametrize(("size", "expected"), [(80 * MIB, 70 * MIB), (8 * MIB, 9 * MIB + 4096), (64 * MIB, 90 * MIB)])
def test_no_page_is_brought_in_that_nobody_takes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, size: int, expected: int
) -> None:
    asked: list[tuple[int, int]] = []

    def populate(address: int, nbytes: int) -> bool:
        asked.append((address, nbytes))
        return True

    monkeypatch.setattr(model, "populate_pages", populate)
    path = tmp_path / "model.gguf"
    with path.open("wb") as file:
        file.truncate(size)
    reserve = model._Reserve(path)
    reserve.expect(expected)
    for thread in threading.enumerate():
        if thread.name == "heliostat-populate":
            thread.join()
    begin = reserve.memory.address
    ranges = sorted((at - begin, at - begin + n) for at, n in asked if begin <= at < begin + reserve.memory.nbytes)
    assert ranges[0][0] == 0
    assert ranges[-1][1] == expected
    assert all(before[1] == after[0] for before, after in pairwise(ranges))
