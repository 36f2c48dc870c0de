"""Bad token ids, names out of hostile files, and outputs of few characters: one line, and no error of our own."""

from __future__ import annotations

import json
import os
import struct
import subprocess
import sys
from pathlib import Path

import pytest

from heliostat.cli.main import main
from heliostat.llm.gguf import GGUFWriter, ValueType


@pytest.mark.parametrize("ids", ["1,99999999", "8192"])
def test_tokens_outside_of_the_vocabulary(ids: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run", "--prompt-tokens", ids, "-n", "1"]) == 2
    assert "outside the vocabulary of 8192" in capsys.readouterr().err


def test_characters_that_the_output_does_not_know(tmp_path: Path) -> None:
    path = tmp_path / "é한.lum"
    path.write_text("fn f(x: tensor<f32, [2]>) -> tensor<f32, [2]> { return x; }")
    command = [sys.executable, "-m", "heliostat", "check", str(path)]
    found = subprocess.run(command, capture_output=True, env={**os.environ, "PYTHONIOENCODING": "latin-1"}, check=False)
    assert found.returncode == 0, found.stderr
    assert b"\xe9\\ud55c.lum" in found.stdout


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no device that is always full")
def test_output_that_cannot_be_written(tmp_path: Path) -> None:
    path = tmp_path / "f.lum"
    path.write_text("fn f(x: tensor<f32, [2]>) -> tensor<f32, [2]> { return x; }")
    command = f"{sys.executable} -m heliostat check {path}"
    found = subprocess.run(f"{command} >/dev/full", shell=True, capture_output=True, text=True, check=False)
    assert (found.returncode, found.stderr.count("\n")) == (2, 1), found.stderr
    assert found.stderr.startswith("error: ")
    found = subprocess.run(f"{command} >&- 2>&-", shell=True, check=False)
    assert found.returncode == 0


def test_names_in_files_move_no_cursor(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def string(text: bytes) -> bytes:
        return struct.pack("<Q", len(text)) + text

    header = (
        b"GGUF" + struct.pack("<IQQ", 3, 1, 1) + string(b"k\x1b[2J") + struct.pack("<I", 8) + string(b"\x1b]0;T\x07")
    )
    header += string(b"t\x1b[2J") + struct.pack("<IQIQ", 1, 32, 0, 0)
    path = tmp_path / "m.gguf"
    path.write_bytes(header + bytes(-len(header) % 32) + bytes(128))
    assert main(["inspect", str(path), "--tensors"]) == 0
    shown = capsys.readouterr().out
    assert "\\x1b]0;T\\x07" in shown
    assert not set("\x1b\x07") & set(shown)


def test_long_arrays_within_arrays_are_shown(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "m.gguf"
    w = GGUFWriter(path, "llama")
    w.add("numbers", [[1] * 5000], (ValueType.ARRAY, [(ValueType.ARRAY, ValueType.INT32)]))
    w.add("words", [["ab"] * 5000, []], (ValueType.ARRAY, [(ValueType.ARRAY, ValueType.STRING)] * 2))
    w.add("many", [[1] * 5000] * 9, (ValueType.ARRAY, [(ValueType.ARRAY, ValueType.INT32)] * 9))
    w.write()
    assert main(["inspect", str(path), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)["metadata"]
    assert found["numbers"] == ["[1, 1, 1, 1, ... 5000 values]"]
    assert found["words"] == ["['ab', 'ab', 'ab', 'ab', ... 5000 values]", []]
    assert len(found["many"]) < 200
