"""Options of `heliostat bench`."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from heliostat.bench.limits import Limits
from heliostat.bench.models import built_with
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

    model = SimpleNamespace(context=512, place=SimpleNamespace(threads=1))
    monkeypatch.setattr(bench, "open_model", lambda args, batches: model)
    monkeypatch.setattr(bench, "limits_now", lambda threads, rounds: Limits(threads, 1.0, 1.0, 1.0))
    monkeypatch.setattr(bench, "_shares", lambda *given: {})
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


def test_rounds_of_both_engines_beside_the_limits(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """The best rate of each, its spread, the ratio of the best, and shares of limits that each round measures."""
    config = SimpleNamespace(
        heads=2, kv_heads=1, head_dim=8, hidden=16, feed_forward=32, layers=3, vocabulary=100
    )  # 3 layers of 16 * (16 + 16 + 2 * 8 + 96) weights, a head of 1600
    shapes = {"w": (16, 144), "norm": (4096,)}
    tensors = {n: SimpleNamespace(shape=s, type_name="F32" if n == "norm" else "Q4_0") for n, s in shapes.items()}
    model = SimpleNamespace(
        context=512, place=SimpleNamespace(threads=2), config=config, report=SimpleNamespace(weight_bytes=2e9),
        file=SimpleNamespace(path="m.gguf", tensors=tensors), options=SimpleNamespace(activations="int8"),
    )  # fmt: skip
    own, others, reads = iter([(50.0, 8.0), (100.0, 10.0)]), iter([(40.0, 5.0), (20.0, 4.0)]), iter([30.0, 40.0])
    peaks = iter([70.0, 600.0])

    def rates(found: tuple[float, float]) -> dict[str, float]:
        return {"pp64_tok_s": found[0], "tg32@64_tok_s": found[1]}

    monkeypatch.setattr(bench, "open_model", lambda args, batches: model)
    monkeypatch.setattr(bench, "bench", lambda *given: rates(next(own)) | {"peak_rss_MB": next(peaks)})
    monkeypatch.setattr(bench, "bench_llama_cpp", lambda *given: rates(next(others)) | {"by": "llama AVX512"})
    monkeypatch.setattr(bench, "limits_now", lambda threads, rounds: Limits(threads, 5.0, 1e-4, next(reads)))
    parser = argparse.ArgumentParser()
    bench.add_arguments(parser)
    options = ["--reps", "2", "--prompt", "64", "--depth", "64", "--vs", "llama.cpp", "--csv", str(tmp_path / "r.csv")]
    assert bench.run(parser.parse_args(["llm", "--json", *options])) == 0
    row = json.loads(capsys.readouterr().out)
    assert (row["pp64_tok_s"], row["tg32@64_tok_s"], row["llama.cpp pp64_tok_s"]) == (100.0, 10.0, 40.0)
    assert (row["pp64_tok_s ratio"], row["tg32@64_tok_s ratio"], row["llama.cpp by"]) == (2.5, 2.0, "llama AVX512")
    assert (row["pp64_tok_s spread"], row["llama.cpp tg32@64_tok_s spread"]) == (1.0, 0.25)
    assert (row["read_GB_s"], row["% of read"]) == (40.0, 50.0)
    done = 100.0 / 64 * 2 * (64 * 3 * 16 * 144 + 1600) / 1e9
    assert row["% of int8"] == pytest.approx(100 * done / 1e-4, rel=1e-3)
    assert row["peak_rss_MB"] == 70.0  # the memory of the limits is not the model's
    assert (tmp_path / "r.csv").read_text().splitlines()[0].startswith("pp64_tok_s,tg32@64_tok_s")
    tensors["w"].type_name = "BF16"
    assert not bench.multiplies_integers(model)


def test_what_a_peer_was_built_with() -> None:
    text = "llama 0.3: CPU : SSE3 = 1 | AVX512 = 1 | AVX512_VNNI = 0 | REPACK = 1 | "
    assert built_with(text) == "llama 0.3, SSE3 AVX512 REPACK"
