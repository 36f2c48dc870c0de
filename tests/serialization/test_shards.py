"""Dicts of tensors in several files: sizes, replacing, damage, and the layout that others read."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

import heliostat as hs
from heliostat.diagnostics import FileFormatError, UnsupportedError
from heliostat.llm.safetensors import SafetensorsModel
from heliostat.serialization import load_sharded, save_sharded, shards


def tensors() -> dict[str, hs.Tensor]:
    rng = np.random.default_rng(0)
    made = {f"w{n}": hs.tensor(rng.standard_normal((n + 1, 4)).astype(np.float32)) for n in range(6)}
    return {**made, "b": hs.ones(3, dtype=hs.bfloat16), "i": hs.tensor([1, 2])}


def same(found: dict[str, hs.Tensor]) -> bool:
    return {k: v.tolist() for k, v in found.items()} == {k: v.tolist() for k, v in tensors().items()}


@pytest.mark.parametrize(("size", "files"), [("1KB", 1), (100, 5), (1, 8), ("0.1 kB", 5)])
def test_tensors_come_back(tmp_path: Path, size: int | str, files: int) -> None:
    names = save_sharded(tensors(), tmp_path / "new", size)
    assert len(names) == files
    found = load_sharded(tmp_path / "new")
    assert same(found)
    assert list(found) == list(tensors())
    assert found["b"].dtype == hs.bfloat16
    with SafetensorsModel.open(tmp_path / "new") as model:
        assert model.array("w5").tolist() == found["w5"].tolist()


def test_a_set_is_replaced(tmp_path: Path) -> None:
    save_sharded({"a": hs.ones(2), "b": hs.ones(2)}, tmp_path, 1)
    (tmp_path / "notes.txt").write_text("mine")
    names = save_sharded(tensors(), tmp_path, 100)
    assert same(load_sharded(tmp_path))
    assert {p.name for p in tmp_path.iterdir()} == {*names, shards.INDEX, "notes.txt"}


def test_a_failure_leaves_the_old_set(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save_sharded(tensors(), tmp_path, 100)
    real, calls = shards.write_all, []

    def failing(place: Path, pieces: object) -> None:
        calls.append(place)
        if len(calls) == 3:
            raise OSError("disk full")
        real(place, pieces)  # type: ignore[arg-type]

    monkeypatch.setattr(shards, "write_all", failing)
    with pytest.raises(OSError, match="disk full"):
        save_sharded({k: v * 2 for k, v in tensors().items()}, tmp_path, 100)
    assert same(load_sharded(tmp_path))


def test_damage_and_wrong_indices_are_refused(tmp_path: Path) -> None:
    names = save_sharded(tensors(), tmp_path, 100)
    file, index = tmp_path / names[1], tmp_path / shards.INDEX
    data, text = file.read_bytes(), index.read_text()
    file.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    with pytest.raises(FileFormatError, match="checksum"):
        load_sharded(tmp_path)
    file.unlink()
    with pytest.raises(FileFormatError, match="no such file"):
        load_sharded(tmp_path)
    file.write_bytes(data)
    for wrong in ("{", "[]", "{}", json.dumps({"weight_map": {"a": "../x"}}), text.replace('"w1"', '"other"')):
        index.write_text(wrong)
        with pytest.raises(FileFormatError):
            load_sharded(tmp_path)
    with pytest.raises(FileFormatError, match="no such file"):
        load_sharded(tmp_path / "missing")
    with pytest.raises(ValueError, match="max_shard_size"):
        save_sharded(tensors(), tmp_path, "much")
    with pytest.raises(UnsupportedError, match="use save"):
        save_sharded({"a": 1}, tmp_path)  # type: ignore[dict-item]
