"""A plain checkout with llvmlite and NumPy alone: commands run, or say which package they need."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from heliostat.llm import demo_path

SOURCE = Path(__file__).parents[2] / "src"
OPTIONAL = (
    "cuda",
    "gguf",
    "jinja2",
    "markupsafe",
    "regex",
    "rich",
    "safetensors",
    "tokenizers",
    "torch",
    "transformers",
)
BEGIN = f"""
import sys
sys.modules.update(dict.fromkeys({OPTIONAL!r}))
from heliostat.cli.main import main
raise SystemExit(main(sys.argv[1:]))
"""


def heliostat(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run a command in a process that finds none of the optional packages."""
    environment = {**os.environ, "PYTHONPATH": str(SOURCE)}
    command = [sys.executable, "-c", BEGIN, *arguments]
    return subprocess.run(command, capture_output=True, text=True, env=environment, check=False)


def test_a_model_runs() -> None:
    done = heliostat("run", str(demo_path()), "-p", "Hello there", "-n", "3", "--ignore-eos")
    assert done.returncode == 0, done.stderr
    assert "generated 3 tokens" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("chat", str(demo_path())), "chat templates need the package jinja2"),
        (("run", str(demo_path()), "-p", "x", "--device", "cuda"), "need the package cuda-bindings"),
        (("bench", "ops", "--device", "cuda:1", "--vs", "torch"), "need the package cuda-bindings"),
    ],
    ids=lambda x: x[0] if isinstance(x, tuple) else "",
)
def test_what_needs_a_package_names_it(arguments: tuple[str, ...], says: str) -> None:
    done = heliostat(*arguments)
    assert done.returncode not in (0, 3)
    assert says in done.stderr
    assert "internal error" not in done.stderr
