"""The examples, in a short form."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest

EXAMPLES = Path(__file__).parent.parent / "examples"


def example(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, EXAMPLES / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize(("kind", "epochs", "least"), [("mlp", 12, 0.965), ("cnn", 5, 0.955)])
def test_digits_are_learned(kind: str, epochs: int, least: float) -> None:
    pytest.importorskip("sklearn")
    assert example("train_digits").train(kind, epochs, lr=2e-3) >= least


def test_a_language_model_learns_the_standard_library(tmp_path: Path) -> None:
    module = example("train_lm")
    small = {"hidden": 64, "layers": 2, "heads": 2, "kv_heads": 1, "feed_forward": 128, "vocabulary": 512, "block": 64}
    run, path = module.train(
        str(tmp_path / "lm"), steps=60, batch=8, warmup=5, lr=5e-3, max_bytes=150_000, eval_every=30, **small
    )
    checks = [loss for _, loss in run.run.progress.checks]
    assert checks[-1] < min(run.run.progress.losses[0] - 0.7, checks[0])
    text = module.write(path, "def ", 8)
    assert text.startswith("def ")
    assert len(text) > 4


def test_the_demo_model_is_taught(tmp_path: Path) -> None:
    module = example("train_lora")
    checked = {"validation": 0.2, "eval_every": 3, "eval_batches": 4}  # what batches have in common says more than they
    run, merged = module.train(str(tmp_path / "lora"), steps=12, batch=2, block=64, rank=4, warmup=2, **checked)
    checks = [loss for _, loss in run.run.progress.checks]
    assert checks[-1] < checks[0] - 0.1
    assert module.write(merged, "def loads(", 12) != module.write(run.base, "def loads(", 12)


PAGE = """<html><head><title>No</title></head><body><nav><p>Not this sentence, which stands in the navigation.</p></nav>
<h1>1.2 A heading¶</h1><p>A first paragraph of running text,
which <b>goes</b> on for a while.</p><pre>code = "is left out, however long it may be."</pre>
<ul><li>short</li><li>An item of a list is kept where it is a sentence.</li></ul><h2>Nothing below it</h2>
<p>A FIRST paragraph of running text, which goes on for a while!</p></body></html>"""


def test_prose_of_pages_and_questions_about_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(EXAMPLES / "demo_model")
    corpus, chats = example("demo_model/corpus"), example("demo_model/chats")
    seen = corpus.Seen(["An old text.\nAnother paragraph that is held back from training."])
    assert corpus.page_text(PAGE, seen).split("\n\n") == [
        "A heading", "A first paragraph of running text, which goes on for a while.",
        "An item of a list is kept where it is a sentence.",
    ]  # fmt: skip
    assert corpus.page_text(PAGE, seen) == ""
    assert not seen.add("Another paragraph, that is held back from training")
    assert chats.questions(["A cursor is an object that reads rows.\n\nThis is a paragraph about something."]) == [
        ("What is a cursor?", "A cursor is an object that reads rows.")
    ]
    monkeypatch.setattr(sys, "argv", ["corpus.py", str(EXAMPLES), str(EXAMPLES / "none" / "corpus.jsonl")])
    with pytest.raises(SystemExit):  # before minutes of reading, and instead of a corpus without those pages
        corpus.main()
    talks = chats.conversations([])
    assert talks == chats.conversations([])
    assert {tuple(m["role"] for m in t[:2]) for t in talks} == {("user", "assistant")}
