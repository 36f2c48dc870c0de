"""`.ci/run`, with stand-ins for its tools: it fails as the stage does that fails, and leaves nothing behind."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

RUN = Path(__file__).parent.parent / ".ci" / "run"
TOOL = """#!/bin/bash
name=$(basename "$0")
if [ "$name" = python3 ]; then  # -m venv DIRECTORY
    mkdir -p "$3/bin" && for tool in pip ruff mypy lint-imports python; do cp "$0" "$3/bin/$tool"; done
fi
[[ "$name $*" == *--collect-only* ]] && sleep 60
[[ "$name $*" == $FAILS* ]] && exit 5
exit 0
"""


@pytest.mark.skipif(shutil.which("bash") is None, reason="there is no bash")
@pytest.mark.parametrize("fails", ["ruff check", "mypy"])
def test_a_stage_that_fails_ends_what_runs_beside_it(tmp_path: Path, fails: str) -> None:
    tools, work = tmp_path / "tools", tmp_path / "work"
    (tmp_path / ".ci").mkdir()
    tools.mkdir()
    work.mkdir()
    shutil.copy(RUN, tmp_path / ".ci" / "run")
    for name in ("python3", "qemu-aarch64", "aarch64-linux-gnu-gcc"):
        (tools / name).write_text(TOOL)
        (tools / name).chmod(0o755)
    given = {**os.environ, "PATH": f"{tools}:{os.environ['PATH']}", "TMPDIR": str(work), "FAILS": fails}
    ended = subprocess.run(["bash", str(tmp_path / ".ci" / "run")], env=given, capture_output=True, timeout=30)
    assert ended.returncode == 5
    assert not list(work.iterdir())
