"""The train suite: both sides take the same steps, and rows say what was measured. No test asserts a time.

The 30-step curves of the same models, against torch, are part of how right training is."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import heliostat as hs
from heliostat.bench import train
from heliostat.bench.compare import Seconds
from heliostat.bench.train import bench_train, chosen
from heliostat.bench.training import (
    CUDA_WORKLOADS,
    RESNET,
    WORKLOADS,
    Workload,
    cnn,
    copy_parameters,
    gpt,
    gpt_amp,
    gpt_flops,
    heliostat,
    lstm,
    mlp,
    resnet,
    resnet_flops,
    torch,
)
from heliostat.cli.main import main
from heliostat.settings import settings
from targets.gpus import stand_in

SMALL: dict[Any, dict[str, Any]] = {
    mlp: {"inputs": 20, "hidden": 16, "batch": 8},
    cnn: {"channels": 4, "side": 8, "batch": 4},
    lstm: {"width": 12, "length": 5, "batch": 3},
    gpt: {"layers": 2, "width": 16, "heads": 2, "length": 8, "batch": 2, "vocabulary": 24},
    resnet: {"width": 4, "blocks": (1, 2), "side": 16, "batch": 8, "classes": 5},
}


@pytest.mark.parametrize("compiled", [True, False], ids=["compiled", "lazy"])
@pytest.mark.parametrize("build", SMALL, ids=lambda b: b.__name__)
def test_thirty_steps_have_torchs_losses(build: Any, compiled: bool) -> None:
    pytest.importorskip("torch")
    ours, theirs = heliostat(), torch(1)
    hs.manual_seed(3)
    made, other = (build(lib, SMALL[build]) for lib in (ours, theirs))
    copy_parameters(ours, made.model, theirs, other.model)
    step = hs.compile(made.step) if compiled else made.step
    losses = np.array([[float(s(*b.inputs)) for s, b in ((step, made), (other.step, other))] for _ in range(30)])
    assert losses[-1, 1] < losses[0, 1] - 0.02
    assert np.abs(losses[:, 0] - losses[:, 1]).max() <= 1e-4
    for (name, p), q in zip(made.model.state_dict().items(), other.model.state_dict().values(), strict=True):
        assert np.abs(ours.taken(p) - theirs.taken(q)).max() <= 1e-3, name


def test_the_suite_is_the_one_asked_for() -> None:
    assert len({w.name for w in WORKLOADS}) == len(WORKLOADS) == 10
    assert [w.name for w in chosen("LSTM")] == ["lstm 256 T=64 B=32 Adam", "lstm loop without compile"]
    sizes = {"layers": 1, "width": 2, "length": 3, "batch": 1, "vocabulary": 5}
    assert [w.name.split()[0] for w in CUDA_WORKLOADS] == ["gpt-2", "resnet-50"]
    assert chosen("resnet", "cuda:0") == [CUDA_WORKLOADS[1]]
    assert resnet_flops(RESNET) / 64 == pytest.approx(3 * 2 * 4.09e9, rel=0.02)  # as published for one image
    assert gpt_flops(sizes) == 3 * 2 * 3 * (2 * 6 + 2 * 2 + 2 * 8 + 8 * 2 + 2 * 3 + 3 * 2 + 2 * 5)


@pytest.mark.skipif(importlib.util.find_spec("torch") is None, reason="PyTorch is not installed")
def test_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(train.shutil, "which", lambda name: None)
    monkeypatch.setattr(train, "_apart", lambda *args: {"cold_s": 2.0, "cached_s": 1.0, "nbytes": 3, "peer_nbytes": 4})
    small = [Workload("small", mlp, SMALL[mlp], flops=lambda s: 1000)]
    (row,) = bench_train(small, 1, "torch", 1)
    assert row.own is not None
    assert row.peer is not None
    assert row.peer_compiled is None
    assert row.note == "torch.compile skipped: no C++ compiler"
    assert row.error is not None
    assert row.error < 1e-5
    (quick,) = bench_train(small, 1, "torch", 1, quick=True)
    assert (quick.cold_s, quick.nbytes, quick.peer_compiled, quick.note) == (None, None, None, "")
    assert row.gflops == pytest.approx(1000 / row.own.best / 1e9)


TINY = {"layers": 1, "width": 16, "heads": 2, "length": 4, "batch": 2, "vocabulary": 24, "tied": True}


def test_rows_of_a_gpu() -> None:
    with stand_in():
        (row,) = bench_train([Workload("small", gpt_amp, TINY)], 1, None, 1, quick=True, device="cuda:0")
    assert row.own is not None
    assert row.nbytes is not None
    assert row.nbytes > 0
    assert (row.cold_s, row.peer, row.note) == (None, None, "")


def test_first_steps_on_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """The step that is timed was the first one with an empty cache; one process more finds what that left there."""
    seen: list[tuple[str, bool, bool]] = []

    def process(side: str, name: str, cache: str, *rest: Any) -> dict[str, Any]:
        seen.append((side, settings().cache_dir == Path(cache), Path(cache).is_dir()))
        return {"first_s": 0.5, "nbytes": 7}

    def once(clocks: Any, rounds: int, each: float) -> list[Seconds]:
        assert settings().tune
        return [Seconds((clock(1),)) for clock in clocks]

    monkeypatch.setattr(train, "_process", process)
    monkeypatch.setattr(train, "clocks_in_turn", once)
    before = settings()
    with stand_in():
        tiny = Workload("small", mlp, {"inputs": 4, "hidden": 4, "batch": 2})
        (row,) = bench_train([tiny], 1, None, 1, device="cuda:0", tune=True)
    assert settings() == before
    assert seen == [("heliostat", True, True)]
    assert row.cold_s is not None
    assert row.cold_s > 0
    assert row.nbytes is not None
    assert row.nbytes > 7
    assert (row.cached_s, row.peer, row.note) == (0.5, None, "")


def test_a_wrong_step_shows_in_the_error(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of two models that begin apart, by as much at each run: losses of any two can be near each other."""
    torch = pytest.importorskip("torch")
    monkeypatch.setattr(train, "copy_parameters", lambda *args: None)
    monkeypatch.setattr(train.shutil, "which", lambda name: None)
    hs.manual_seed(1)
    torch.manual_seed(1)
    (row,) = bench_train([Workload("small", mlp, SMALL[mlp])], 1, "torch", 1, quick=True)
    assert row.error is not None
    assert row.error > 1e-2


def test_what_cannot_run_is_skipped_with_a_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(train.importlib.util, "find_spec", lambda name: None)
    (row,) = bench_train([w for w in WORKLOADS if w.amp], 1, None, 1)
    assert row.own is None
    assert "autocast" in row.note


def test_first_steps_are_measured_in_a_process_of_their_own() -> None:
    notes: list[str] = []
    found = train._process("heliostat", "chain of 10 ops on 4096 floats", "", notes)
    assert notes == []
    assert found["first_s"] > 0
    assert 0 < found["nbytes"] < 1 << 30
    assert train._process("heliostat", "no such workload", "", notes) == {}
    assert notes[0].startswith("heliostat by itself failed")


def test_the_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", "train", "--only", "chain", "--reps", "1", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert [row["workload"] for row in found["rows"]] == ["chain of 10 ops on 4096 floats"]
    assert found["rows"][0]["heliostat ms"] > 0
    assert main(["bench", "train", "--only", "nothing"]) == 2
    assert main(["bench", "train", "--vs", "numpy"]) == 2
    assert main(["bench", "ops", "--quick"]) == 2
