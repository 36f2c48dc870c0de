"""Memory for packed weights: what is brought in ahead is what will be taken; files without a model say so."""

from __future__ import annotations

import os
import threading
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace

import pytest

from heliostat.diagnostics import FileFormatError
from heliostat.llm import reserve as reserve_module
from heliostat.llm.gguf.reader import TensorInfo
from heliostat.llm.model import LanguageModel
from heliostat.llm.reserve import Reserve, packed_nbytes

MIB = 1 << 20


@pytest.mark.parametrize(("size", "expected"), [(80 * MIB, 70 * MIB), (8 * MIB, 9 * MIB + 4096), (64 * MIB, 90 * MIB)])
def test_no_page_is_brought_in_that_nobody_takes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, size: int, expected: int
) -> None:
    asked: list[tuple[int, int]] = []

    def populate(address: int, nbytes: int) -> bool:
        asked.append((address, nbytes))
        return True

    monkeypatch.setattr(reserve_module, "populate_pages", populate)
    path = tmp_path / "model.gguf"
    with path.open("wb") as file:
        file.truncate(size)
    reserve = Reserve(path)
    reserve.expect(expected)
    for thread in threading.enumerate():
        if thread.name == "heliostat-populate":
            thread.join()
    begin = reserve.memory.address
    ranges = sorted((at - begin, at - begin + n) for at, n in asked if begin <= at < begin + reserve.memory.nbytes)
    assert ranges[0][0] == 0
    assert ranges[-1][1] == expected
    assert all(before[1] == after[0] for before, after in pairwise(ranges))


def test_pages_go_back_where_programs_have_to_be_compiled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    there: set[int] = set()
    monkeypatch.setattr(reserve_module, "populate_pages", lambda at, n: there.update(range(at, at + n, MIB)) or True)
    monkeypatch.setattr(reserve_module, "release_pages", lambda at, n: there.difference_update(range(at, at + n, MIB)))
    path = tmp_path / "model.gguf"
    with path.open("wb") as file:
        file.truncate(80 * MIB)
    reserve = Reserve(path)
    reserve.prepare(101 * MIB)  # more than there is room for: not begun
    for thread in reserve._threads:
        thread.join()
    begin = reserve.memory.address
    assert there == set(range(begin, begin + 32 * MIB, MIB))
    reserve.prepare(90 * MIB)
    reserve.give_back()
    assert not there
    assert reserve.memory.address == begin
    reserve.expect(70 * MIB)
    for thread in reserve._threads:
        thread.join()
    assert there == set(range(begin, begin + 70 * MIB, MIB))


def test_what_is_wrong_with_a_file_too_large_for_memory_is_said_by_its_reader(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reserve_module, "populate_pages", lambda address, nbytes: False)
    path = tmp_path / "no-model.gguf"
    path.touch()
    os.truncate(path, 1 << 40)
    with path.open("r+b") as file:
        file.write(b"text")
    with pytest.raises(FileFormatError, match="not a GGUF file"):
        LanguageModel(path)


def test_matrices_without_rows_take_nothing() -> None:
    tensors = {
        "extra": TensorInfo("extra", "F32", (0, 32), 0, 0, 0),
        "output.weight": TensorInfo("output.weight", "F32", (20, 8), 640, 0, 0),
    }
    assert packed_nbytes(SimpleNamespace(tensors=tensors), 16) == 32 * 32 + 4096
