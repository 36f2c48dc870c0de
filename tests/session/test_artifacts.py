"""Compiled objects as one value."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from pathlib import Path

import pytest

import heliostat as hs
from heliostat.diagnostics import FileFormatError
from heliostat.runtime.object_cache import ObjectCache, cache_key
from heliostat.settings import override

_SCRIPT = """
import sys
from pathlib import Path
import heliostat as hs
from heliostat.runtime.object_cache import ObjectCache

if len(sys.argv) > 1:
    print(len(hs.compile.load_cache_artifacts(Path(sys.argv[1]).read_bytes()).keys))
else:
    print(hs.compile.save_cache_artifacts())
assert hs.compile(lambda x: (x * 3.5).exp() + 1)(hs.ones(11, 5)).shape == (11, 5)
stats = ObjectCache.default().stats()
print(stats.misses)
sys.stdout.flush()
Path("saved").write_bytes(hs.compile.save_cache_artifacts()[0])
"""


def run(place: Path, *arguments: str) -> list[str]:
    place.mkdir()
    environment = {"HELIOSTAT_CACHE_DIR": str(place / "cache"), "PYTHONPATH": ":".join(sys.path)}
    command = [sys.executable, "-c", _SCRIPT, *arguments]
    return subprocess.run(
        command, cwd=place, env=environment, check=True, capture_output=True, text=True
    ).stdout.splitlines()


def test_another_process_compiles_nothing(tmp_path: Path) -> None:
    nothing, compiled = run(tmp_path / "one")
    assert nothing == "None"
    assert int(compiled) > 0
    taken, missed = run(tmp_path / "two", str(tmp_path / "one" / "saved"))
    assert int(taken) > 0
    assert missed == "0"


def test_entries_are_those_of_this_process(tmp_path: Path) -> None:
    with override(cache_dir=tmp_path / "first"):
        assert hs.compile.save_cache_artifacts() is None
        ObjectCache.default().put(cache_key(["a"]), b"first")
        ObjectCache.default().put(cache_key(["b"]), b"")
        saved, info = hs.compile.save_cache_artifacts()  # type: ignore[misc]
        assert info == ((cache_key(["a"]), cache_key(["b"])), 5)
    with override(cache_dir=tmp_path / "second"):
        assert hs.compile.load_cache_artifacts(saved) == info
        assert ObjectCache.default().get(cache_key(["a"])) == b"first"
        assert ObjectCache.default().get(cache_key(["b"])) == b""


def test_damaged_artifacts_are_refused_whole(tmp_path: Path) -> None:
    def sealed(body: bytes) -> bytes:
        return body + hashlib.sha256(body).digest()

    with override(cache_dir=tmp_path / "first"):
        ObjectCache.default().put(cache_key(["a"]), b"first")
        saved, _ = hs.compile.save_cache_artifacts()  # type: ignore[misc]
    body = saved[:-32]
    wrong = [saved[:n] for n in range(len(saved))] + [bytes([saved[0] ^ 1]) + saved[1:], saved + b"x"]
    wrong += [sealed(body[:n]) for n in range(len(body))] + [sealed(body + b"x"), sealed(b"x" + body[1:])]
    for at, value in ((8, 9), (12, 2), (12, 255), (15, 255), (48, 255), (55, 255)):
        wrong.append(sealed(body[:at] + bytes([value]) + body[at + 1 :]))
    with override(cache_dir=tmp_path / "second"):
        for data in wrong:
            with pytest.raises(FileFormatError):
                hs.compile.load_cache_artifacts(data)
        assert ObjectCache.default().get(cache_key(["a"])) is None
