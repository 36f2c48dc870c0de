"""Options of `heliostat bench`."""

from __future__ import annotations

import argparse
from types import SimpleNamespace
from typing import Any

import pytest

from heliostat.cli import bench
from heliostat.cli.report import UsageError


class _Opened(Exception):
    """Stands where a model would be loaded."""


@pytest.mark.parametrize(
    ("options", "context"),
    [
        ([], None),
        (["--depth", "4064", "--gen", "32"], None),
        (["--depth", "4096", "--gen", "16"], 4112),
        (["--prompt", "6000"], 6000),
        (["--depth", "4096", "--context", "5000"], 5000),
    ],
)
def test_a_deep_cache_has_room(monkeypatch: pytest.MonkeyPatch, options: list[str], context: int | None) -> None:
    def open_model(args: argparse.Namespace, batches: tuple[int, ...]) -> None:
        assert args.context == context
        raise _Opened

    monkeypatch.setattr(bench, "open_model", open_model)
    parser = argparse.ArgumentParser()
    bench.add_arguments(parser)
    with pytest.raises(_Opened):
        bench.run(parser.parse_args(["llm", "model.gguf", *options]))


def test_a_short_context_shortens_what_was_not_asked_for(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The demo model's context is 512: 512 tokens and then 32 do not fit."""
    asked = []

    def measured(model: Any, prompt: int, generate: int, depth: int, repeat: int) -> dict[str, float]:
        asked.append((prompt, generate, depth))
        return {f"pp{prompt}_tok_s": 1.0, f"tg{generate}@{depth}_tok_s": 1.0}

    monkeypatch.setattr(bench, "open_model", lambda args, batches: SimpleNamespace(context=512, place=None))
    monkeypatch.setattr(bench, "bench", measured)
    parser = argparse.ArgumentParser()
    bench.add_arguments(parser)
    for options in ([], ["--depth", "512"], ["--prompt", "600"], ["--gen", "600"]):
        assert bench.run(parser.parse_args(["llm", "--reps", "1", *options])) == 0
    assert asked == [(512, 32, 480), (512, 32, 512), (600, 32, 480), (512, 600, 0)]
    assert "tg32@480_tok_s=1.0" in capsys.readouterr().out


@pytest.mark.parametrize("options", [["--cache", "paged"], ["--page-size", "64"], ["--cache-tokens", "64"]])
def test_pages_are_for_models(options: list[str]) -> None:
    parser = argparse.ArgumentParser()
    bench.add_arguments(parser)
    with pytest.raises(UsageError, match="bench ops has no --cache"):
        bench.run(parser.parse_args(["ops", *options]))


@pytest.mark.parametrize(
    ("suite", "options"),
    [
        ("train", ["--rows", "4"]), ("ops", ["--shape", "64x64"]), ("train", ["--gen", "8"]),
        ("ops", ["--context", "64"]), ("formats", ["--batch", "8"]), ("llm", ["--only", "matmul"]),
        ("ops", ["--quick"]), ("formats", ["--depth", "0"]),
    ],
)  # fmt: skip
def test_options_are_not_ignored(suite: str, options: list[str]) -> None:
    parser = argparse.ArgumentParser()
    bench.add_arguments(parser)
    with pytest.raises(UsageError, match=f"bench {suite} has no {options[0]}"):
        bench.run(parser.parse_args([suite, *options]))


@pytest.mark.parametrize("suite", ["ops", "formats", "train"])
def test_threads_are_those_of_a_pool(suite: str) -> None:
    parser = argparse.ArgumentParser()
    bench.add_arguments(parser)
    for count in ("0", "-1", "1025"):
        with pytest.raises(UsageError, match=f"--threads must be from 1 to 1024, got {count}"):
            bench.run(parser.parse_args([suite, "--threads", count]))
