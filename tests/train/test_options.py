"""Options of training runs: a TOML file under flags, and what is refused."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest

from heliostat.diagnostics import FileFormatError
from heliostat.train.options import LanguageModelOptions, OptionError, read_options


def read(tmp_path: Path, text: str, **flags: Any) -> LanguageModelOptions:
    (tmp_path / "c.toml").write_text(text)
    return read_options(LanguageModelOptions, str(tmp_path / "c.toml"), flags)


def test_flags_win_over_the_file_and_the_file_over_defaults(tmp_path: Path) -> None:
    made = read(tmp_path, 'steps = 7\nlr = 1\ndata = "a.txt"\ntied = false\nclip = 2.5', steps=9)
    assert (made.steps, made.lr, made.data, made.tied, made.clip) == (9, 1.0, ("a.txt",), False, 2.5)
    rest = {"steps", "lr", "data", "tied", "clip"}
    for f in dataclasses.fields(LanguageModelOptions):
        assert f.name in rest or getattr(made, f.name) == f.default


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("step = 7", "did you mean `steps`"),
        ("learning_speed = 7", "there is no option 'learning_speed'"),
        ("steps = 7.5", "steps must be a whole number"),
        ("steps = true", "steps must be a whole number"),
        ('lr = "fast"', "lr must be a number"),
        ("data = [1]", "data must be a list of strings"),
        ("tied = 1", "tied must be true or false"),
        ("steps = 0", "steps must be at least 1"),
        ("lr = nan", "lr must be"),
        ("lr = inf", "lr must be finite"),
        ("dropout = 1.0", "dropout must be below 1"),
        ("min_lr = 1.0", "min_lr is 1.0, above lr"),
        ('out = ""', "out must name something"),
        ('out = "a\\u0000b"', "out must name something"),
        ('data = ["a.txt", ""]', "data must name something"),
        ("hidden = 100", "even multiple of heads"),
        ("kv_heads = 4", "multiple of kv_heads"),
        ('tokenizer = "byte"\npre_tokenizer = "qwen2"', "a byte tokenizer cuts no words"),
        ('keep = "best"\nvalidation = 0', "validation 0 checks none"),
        ('autocast = "float16"', "autocast must be one of none, bfloat16"),
        ('architecture = "gpt2"', "architecture must be one of llama, qwen2, qwen3"),
    ],
)
def test_wrong_options(tmp_path: Path, text: str, says: str) -> None:
    with pytest.raises(OptionError) as caught:
        read(tmp_path, text)
    assert says in str(caught.value)


def test_files_that_are_no_options(tmp_path: Path) -> None:
    with pytest.raises(FileFormatError, match="no such file"):
        read_options(LanguageModelOptions, str(tmp_path / "none.toml"), {})
    with pytest.raises(FileFormatError, match="is not TOML"):
        read(tmp_path, "steps: 7")
