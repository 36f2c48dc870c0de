"""Options of `heliostat bench`."""

from __future__ import annotations

import argparse

import pytest

from heliostat.cli import bench


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
