"""The Python examples of documents run as they stand, block after block."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

DOCS = Path(__file__).parent.parent / "docs"


@pytest.mark.parametrize(
    "name",
    [
        "coming-from-pytorch.md", "distributions.md", "modules.md", "quantization.md", "tensors.md", "transforms.md",
        "../README.md",
    ],
)  # fmt: skip
def test_examples_run(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)  # for the files that they write
    room: dict[str, Any] = {"__name__": "__main__"}
    blocks = re.findall(r"^```python\n(.*?)^```$", (DOCS / name).read_text(), flags=re.S | re.M)
    blocks = [block for block in blocks if '"model.gguf"' not in block]  # a file of the reader's own
    assert blocks
    for number, block in enumerate(blocks):
        exec(compile(block, f"{name}, block {number + 1}", "exec"), room)


@pytest.mark.parametrize("path", sorted(DOCS.glob("*.md")), ids=lambda p: p.name)
def test_links_lead_somewhere(path: Path) -> None:
    for link in re.findall(r"\]\((?!http)([^)#]+)", path.read_text()):
        assert (path.parent / link).exists(), link
