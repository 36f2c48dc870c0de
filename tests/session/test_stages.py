"""HELIOSTAT_DEBUG, HELIOSTAT_DUMP and HELIOSTAT_OVERRIDE: what they show, and what an edited stage changes."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

from heliostat.diagnostics import CompileError, HeliostatError
from heliostat.ir.graph import Graph, parameter
from heliostat.ir.types import f32, tensor
from heliostat.session import compile_graph
from heliostat.session.stages import STAGES
from heliostat.settings import Debug, override


def graph() -> Graph:
    x = parameter("x", tensor(f32, 64))
    return Graph("twice", [x], [x * 2.0 + 1.0])


def run() -> float:
    (y,) = compile_graph(graph(), threads=1).run({"x": np.full(64, 3, np.float32)})
    return float(y[0])


def dump(path: Path) -> dict[str, Path]:
    with override(dump=path, cache=False):
        run()
    return {p.suffix[1:]: p for p in path.iterdir()}


def test_every_stage_is_written_once(tmp_path: Path) -> None:
    files = dump(tmp_path)
    assert set(files) == set(STAGES)
    assert all(re.match(r"\d{3}-", p.name) for p in files.values())
    order = [int(files[s].name[:3]) for s in STAGES]
    assert order == sorted(order)
    assert "mul(%x" in files["graph"].read_text()
    assert "// " in files["fuse"].read_text()
    assert "define void @" in files["llvm"].read_text()


def test_stages_are_printed(capsys: pytest.CaptureFixture[str]) -> None:
    with override(debug=Debug(False, frozenset({"kernel", "asm"})), cache=False):
        run()
    shown = capsys.readouterr().err
    assert re.findall(r"^--- (\w+)", shown, re.MULTILINE) == ["kernel", "asm"]


def test_an_unknown_stage_is_an_error() -> None:
    with override(debug=Debug(False, frozenset({"fusion"}))), pytest.raises(CompileError, match="no stage 'fusion'"):
        run()


@pytest.mark.parametrize(
    ("stage", "old", "new"),
    [
        ("graph", r"constant 2\.0", "constant 5.0"),
        ("kernel", r"const 2\.0|(?<![\w.])2\.0", "5.0"),
        ("llvm", r"0x4000000000000000|2\.0+e\+00", "0x4014000000000000"),
    ],
)
def test_an_edited_stage_replaces_its_own(tmp_path: Path, stage: str, old: str, new: str) -> None:
    path = dump(tmp_path / "dump")[stage]
    text = path.read_text()
    if not re.search(old, text):
        pytest.fail(f"the {stage} shows no 2.0:\n{text}")
    edited = tmp_path / "edited"
    edited.mkdir()
    (edited / path.name).write_text(re.sub(old, new, text))
    assert run() == 7.0
    with override(override=edited, cache_dir=tmp_path / "cache"):
        assert run() == 16.0
    assert run() == 7.0  # objects of the edited stage are not found for others


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("twice.graph", "graph twice() {}"),
        ("twice.graph", "graph twice(%x: tensor<f32, [64]>) {\n  %0 = sum(%x) : tensor<f32, []>\n  return %0\n}"),
        ("twice.graph", "not a graph"),
        ("KERNEL.kernel", "kernel other() {}"),
        ("KERNEL.llvm", "define void @another(ptr %a) { ret void }"),
    ],
)
def test_what_does_not_fit_is_refused(tmp_path: Path, name: str, text: str) -> None:
    kernel = dump(tmp_path / "dump")["kernel"].name[4:-7]
    edited = tmp_path / "edited"
    edited.mkdir()
    (edited / name.replace("KERNEL", kernel)).write_text(text)
    with override(override=edited, cache=False), pytest.raises(HeliostatError):
        run()


def test_a_missing_directory_is_named(tmp_path: Path) -> None:
    with override(override=tmp_path / "none"), pytest.raises(CompileError, match="is not a directory"):
        run()
    (tmp_path / "file").write_text("")
    with override(dump=tmp_path / "file"), pytest.raises(CompileError, match="HELIOSTAT_DUMP"):
        run()
