"""The peer computes the same model: its logits against ours. Skipped where transformers is not installed."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import numpy_forward
import pytest
from numpy_forward import VOCABULARY, write_model

from heliostat.bench.transformers_peer import TransformersPeer, half_split
from heliostat.cli.main import main
from heliostat.diagnostics import HeliostatError, UnsupportedError
from heliostat.llm import load
from heliostat.llm.model import LanguageModel
from targets.fake_gpu import fake_gpu

IDS = [int(i) for i in np.random.default_rng(3).integers(0, VOCABULARY, 21)]

YARN = {"rope.scaling.type": "yarn", "rope.scaling.factor": 4.0, "rope.scaling.original_context_length": 64}


def model(tmp_path: Path, architecture: str, kind: str = "Q8_0", **extra: object) -> LanguageModel:
    write_model(tmp_path / "m.gguf", architecture, kind, extra=extra)
    return load(tmp_path / "m.gguf", threads=1, activations="float", cache_dtype="f32")


@pytest.mark.parametrize(
    ("architecture", "extra"),
    [
        ("llama", {}),
        (
            "qwen2",
            {"rope.scaling.type": "yarn", "rope.scaling.factor": 4.0, "rope.scaling.original_context_length": 64},
        ),
        ("qwen3", {}),
    ],
)
def test_logits_are_equal(tmp_path: Path, architecture: str, extra: dict[str, object]) -> None:
    pytest.importorskip("transformers")
    ours = model(tmp_path, architecture, **extra)
    peer = TransformersPeer(ours, 64, dtype="float32", compiled=False)
    expected = ours.logits(IDS)[-1]
    for steps in (0, 3):
        found = peer.logits(IDS, steps)
        assert np.abs(found - expected).max() <= 1e-3 * np.abs(expected).max()
    rates = peer.round(8, 2, 5)
    assert set(rates) == {"pp8_tok_s", "tg2@5_tok_s"}
    assert min(rates.values()) > 0
    assert peer.weight_bytes > 0


def test_what_is_not_the_same_is_refused(tmp_path: Path) -> None:
    pytest.importorskip("transformers")
    ours = model(tmp_path, "qwen2", **{"rope.dimension_count": 16})
    with pytest.raises(UnsupportedError, match="rotate in part"):
        TransformersPeer(ours, 64)


def test_a_missing_library_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "transformers", None)
    with pytest.raises(HeliostatError, match="is not installed"):
        TransformersPeer(model(tmp_path, "llama"), 64)


def test_half_split_by_hand(tmp_path: Path) -> None:
    config = model(tmp_path, "llama").config
    size = config.head_dim
    rows = np.arange(2 * size)
    turned = half_split(rows[:, None], config)[:, 0]
    half = [*range(0, size, 2), *range(1, size, 2)]
    assert turned.tolist() == [*half, *(size + n for n in half)]


def test_the_row_says_what_is_missing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(__import__("sys").modules, "transformers", None)
    write_model(tmp_path / "m.gguf", "llama", "Q8_0")
    sizes = ["--prompt", "4", "--gen", "2", "--depth", "3", "--reps", "1", "--threads", "1"]
    assert main(["bench", "llm", str(tmp_path / "m.gguf"), "--vs", "transformers", "--json", *sizes]) == 0
    row = json.loads(capsys.readouterr().out)
    assert row["note"] == "transformers: transformers is not installed"
    assert row["tg2@3_tok_s"] > 0


def test_shares_of_a_gpu(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Beside a peer that stands for transformers: rates, ratios and shares of the copy bandwidth, each of its bytes."""

    class Stub:
        name, how, weight_bytes = "stub", "eager", 10**9

        def __init__(self, model: LanguageModel, capacity: int) -> None:
            assert model.place.name == "cuda:0"
            assert capacity == 5

        def round(self, prompt: int, generate: int, depth: int) -> dict[str, float]:
            return {f"pp{prompt}_tok_s": 2.0, f"tg{generate}@{depth}_tok_s": 4.0}

    monkeypatch.setattr("heliostat.bench.transformers_peer.TransformersPeer", Stub)
    for name, size in {"HIDDEN": 64, "LAYERS": 1, "HEADS": 2, "KV": 1, "FEED": 64}.items():  # threads are simulated
        monkeypatch.setattr(numpy_forward, name, size)
    write_model(tmp_path / "m.gguf", "llama", "BF16")
    sizes = ["--prompt", "2", "--gen", "1", "--depth", "4", "--reps", "1", "--context", "64", "--batch", "2"]
    with fake_gpu():
        arguments = ["bench", "llm", str(tmp_path / "m.gguf"), "--device", "cuda", "--vs", "transformers", *sizes]
        assert main([*arguments, "--json"]) == 0
    row = json.loads(capsys.readouterr().out)
    assert row["transformers by"] == "stub, eager"
    assert row["transformers % of copy"] == pytest.approx(100 * 4 / row["copy_GB_s"], abs=0.1)
    assert row["tg1@4_tok_s ratio"] == pytest.approx(row["tg1@4_tok_s"] / 4, abs=1e-3)
    assert row["% of copy"] >= 0
    assert row["tg1@4x2_tok_s"] > 0
    assert row["x2 % of copy"] >= 0
