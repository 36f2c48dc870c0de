"""Whole runs on little text: they learn, go on bit for bit, and what they export runs as it was trained."""

from __future__ import annotations

import contextlib
import itertools
import os
import signal
import xml.etree.ElementTree as ElementTree
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import heliostat as hs
from heliostat.cli.main import main
from heliostat.diagnostics import FileFormatError, UnsupportedError
from heliostat.llm import load
from heliostat.llm.gguf import GGUFFile
from heliostat.train.checkpoint import NAME, Progress
from heliostat.train.decoder import loss_of
from heliostat.train.language_model import open_language_model
from heliostat.train.loop import Run, copied
from heliostat.train.options import LanguageModelOptions, OptionError, TrainingError
from targets.gpus import KINDS, gpu

TEXT = "".join(f"{n} and {n + 1} are {2 * n + 1}, and so on.\n" for n in range(400))
SMALL: dict[str, Any] = {
    "tokenizer": "byte", "hidden": 32, "layers": 1, "heads": 2, "kv_heads": 1, "feed_forward": 64, "block": 24,
    "batch": 4, "steps": 14, "warmup": 3, "lr": 1e-2, "min_lr": 1e-3, "dropout": 0.1, "eval_every": 5,
    "checkpoint_every": 4, "eval_batches": 2, "type": "F32",
}  # fmt: skip


def options(tmp_path: Path, out: str = "run", **changes: Any) -> LanguageModelOptions:
    path = tmp_path / "text.txt"
    path.write_text(TEXT)
    return LanguageModelOptions(out=str(tmp_path / out), data=(str(path),), **{**SMALL, **changes})


def interrupt_at(step: int) -> Any:
    def report(progress: Progress, rate: float) -> None:
        if progress.step == step:
            os.kill(os.getpid(), signal.SIGINT)

    return report


def test_a_run_that_is_interrupted_goes_on_with_the_same_losses(tmp_path: Path) -> None:
    whole = open_language_model(options(tmp_path))
    path = whole.train()
    parts = open_language_model(options(tmp_path, "parts"))
    with pytest.raises(KeyboardInterrupt):
        parts.train(interrupt_at(6))
    assert parts.run.progress.step == 7  # the step after Ctrl-C is finished
    hs.manual_seed(99)
    again = open_language_model(options(tmp_path, "parts"), resume=True)
    assert again.run.progress.step == 7
    other = again.train()
    assert again.run.progress == whole.run.progress
    first, second = GGUFFile.open(path), GGUFFile.open(other)
    assert first.tensors.keys() == second.tensors.keys()
    assert all(np.array_equal(first.data(name), second.data(name)) for name in first.tensors)
    assert [n for n, _ in whole.run.progress.checks] == [5, 10, 14]
    assert whole.run.progress.losses[-1] < whole.run.progress.losses[0] - 1


def test_the_best_check_is_kept_also_when_a_run_goes_on(tmp_path: Path) -> None:
    """A learning rate that is too large at once: the first check is the best one, and its parameters are written."""
    few = {**TINY, "steps": 4, "eval_every": 1, "checkpoint_every": 1, "lr": 3.0, "min_lr": 3.0, "warmup": 0}
    whole = open_language_model(options(tmp_path, keep="best", **few))
    kept: list[dict[str, np.ndarray]] = []

    def note(progress: Progress, rate: float) -> None:
        kept.append({name: copied(p).numpy() for name, p in whole.run.trained.items()})

    path = whole.train(note)
    checks = [loss for _, loss in whole.run.progress.checks]
    best = int(np.argmin(checks))
    assert best < 3
    for name, values in kept[best].items():
        assert np.array_equal(GGUFFile.open(path).data(name).view(np.float32), values.reshape(-1)), name
    again = open_language_model(options(tmp_path, keep="best", **few), resume=True)
    assert all(np.array_equal(p.numpy(), kept[best][name]) for name, p in again.run.best.items())
    for name, p in again.run.trained.items():
        assert np.array_equal(copied(p).numpy(), kept[-1][name])  # the checkpoint has the last ones
    assert path.read_bytes() == again.train().read_bytes()


def test_the_curve_is_a_picture_with_both_losses(tmp_path: Path) -> None:
    open_language_model(options(tmp_path, steps=6)).train()
    tree = ElementTree.parse(tmp_path / "run" / "loss.svg")
    lines = tree.getroot().findall("{http://www.w3.org/2000/svg}polyline")
    assert len(lines) == 3
    assert [len(line.attrib["points"].split()) for line in lines] == [6, 6, 2]


@pytest.mark.parametrize("architecture", ["llama", "qwen2", "qwen3"])
def test_the_exported_model_computes_what_was_trained(tmp_path: Path, architecture: str) -> None:
    made = open_language_model(options(tmp_path, architecture=architecture, tied=architecture == "llama", steps=4))
    path = made.train()
    model = load(path, activations="float", cache_dtype="f32")
    text = "11 and 12 are"
    ids = model.encode(text)
    assert ids == list(text.encode())
    made.run.model.eval()
    with hs.no_grad():
        expected = made.run.model(hs.tensor([ids])).numpy()[0]
    assert np.abs(model.logits(ids) - expected).max() <= 1e-4 * np.abs(expected).max()


@pytest.mark.parametrize("kind", ["F32", "Q8_0"])
def test_llama_cpp_gives_the_same_greedy_tokens(tmp_path: Path, kind: str) -> None:
    llama_cpp = pytest.importorskip("llama_cpp")
    made = open_language_model(
        options(tmp_path, tokenizer="bpe", vocabulary=300, steps=60, checkpoint_every=60, dropout=0.0, type=kind)
    )
    path = made.train()
    model = load(path, activations="float", cache_dtype="f32")
    prompt = model.encode("20 and 21")
    ours = [piece.token for piece in model.generate(prompt, max_tokens=12, temperature=0.0, ignore_eos=True)]
    peer = llama_cpp.Llama(str(path), n_ctx=64, n_threads=1, verbose=False)
    assert peer.tokenize(b"20 and 21", add_bos=False) == list(prompt)
    stream = peer.generate(list(prompt), top_k=1, temp=0.0, repeat_penalty=1.0)
    assert [next(stream) for _ in range(12)] == ours


def test_clipping_bounds_the_step(tmp_path: Path) -> None:
    """With plain numbers: gradients of a norm above `clip` are scaled to it before the update."""
    free, bound = (open_language_model(options(tmp_path, f"c{c}", clip=c, dropout=0.0)) for c in (0.0, 1e-3))
    norms = []
    for made in (free, bound):
        run = made.run
        ids, labels = (hs.tensor(a) for a in run.batches.at(0))
        run.step(ids, labels)
        first = [s["exp_avg"].numpy() for s in run.optimizer.state.values()]
        norms.append(float(np.sqrt(sum((m.astype(np.float64) ** 2).sum() for m in first))) / 0.1)
    assert norms[0] > 0.1
    assert abs(norms[1] - 1e-3) < 1e-6


def test_the_learning_rate_warms_up_and_falls(tmp_path: Path) -> None:
    run = open_language_model(options(tmp_path)).run
    rates = [run.learning_rate(n) for n in range(14)]
    assert np.allclose(rates[:4], [1e-2 / 3, 2e-2 / 3, 1e-2, 1e-2])
    assert np.isclose(rates[-1], 1e-3)
    assert all(a > b for a, b in itertools.pairwise(rates[3:]))


def test_what_cannot_go_on(tmp_path: Path) -> None:
    run = open_language_model(options(tmp_path, steps=4))
    run.train()
    with pytest.raises(OptionError, match="is there already"):
        open_language_model(options(tmp_path, steps=4))
    with pytest.raises(UnsupportedError, match=r"begun with lr = 0\.01, now it is 0\.02"):
        open_language_model(options(tmp_path, steps=4, lr=2e-2), resume=True)
    with pytest.raises(FileFormatError, match="no such file"):
        open_language_model(options(tmp_path, "elsewhere"), resume=True)
    path = tmp_path / "run" / NAME
    raw = bytearray(path.read_bytes())
    raw[-9] ^= 1
    path.write_bytes(raw)
    with pytest.raises(FileFormatError, match="checksum"):
        open_language_model(options(tmp_path, steps=4), resume=True)
    path.write_bytes(raw[: len(raw) // 2])
    with pytest.raises(FileFormatError):
        open_language_model(options(tmp_path, steps=4), resume=True)
    hs.save({"format": "heliostat training run"}, str(path))
    with pytest.raises(FileFormatError, match="not complete"):
        open_language_model(options(tmp_path, steps=4), resume=True)
    hs.save({"step": 3}, str(path))
    with pytest.raises(FileFormatError, match="not the checkpoint of a training run"):
        open_language_model(options(tmp_path, steps=4), resume=True)


def test_a_loss_that_is_no_number_ends_the_run(tmp_path: Path) -> None:
    made = open_language_model(options(tmp_path, lr=1e30, clip=0.0, warmup=0, min_lr=1e30))
    with pytest.raises(TrainingError, match="loss of step"):
        made.train()
    made = open_language_model(options(tmp_path, "other", steps=1, lr=3e38, warmup=0))
    with pytest.raises(TrainingError, match="validation loss after step 1"):  # no model of NaN is written
        made.train()
    assert not (tmp_path / "other" / NAME).exists()


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["lm", "--data", "NONE.txt"], "NONE.txt: no such file"),
        (["lm", "--config", "NONE.toml"], "NONE.toml: no such file"),
        (["lm", "--config", "bad.toml"], "did you mean `steps`"),
        (["lm", "--data", "short.txt", "--tokenizer", "byte"], "a block of 128 needs 129"),
        (["lm", "--data", "short.txt", "--device", "gpu"], "there is no device 'gpu'"),
        (["lm", "--steps", "0"], "steps must be at least 1"),
        (["lm", "--data", "short.txt", "--vocabulary", "4000"], "not 4000"),
    ],
)
def test_bad_input_is_a_message_and_exit_code_2(
    tmp_path: Path, arguments: list[str], says: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "bad.toml").write_text("stepz = 3")
    (tmp_path / "short.txt").write_text("too short")
    assert main(["train", *arguments]) == 2
    error = capsys.readouterr().err
    assert says in error
    assert error.startswith("error: ")
    assert not (tmp_path / "run").exists()


def test_the_command_trains_and_resumes(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "text.txt").write_text(TEXT)
    rows = [f"{k} = {str(v).lower() if isinstance(v, bool) else repr(v)}" for k, v in SMALL.items() if k != "steps"]
    (tmp_path / "c.toml").write_text("\n".join([*rows, f"data = [{str(tmp_path / 'text.txt')!r}]"]))
    words = ["train", "lm", "--config", str(tmp_path / "c.toml"), "--out", str(tmp_path / "run"), "--steps", "3"]
    assert main(words) == 0
    assert "step 3: loss" in capsys.readouterr().out
    assert main([*words, "--resume"]) == 0
    capsys.readouterr()
    with monkeypatch.context() as patched:
        patched.setattr(Run, "learning_rate", lambda run, step: os.kill(os.getpid(), signal.SIGINT) or 1e-3)
        assert main([*words, "--out", str(tmp_path / "stopped")]) == 130
    assert "stopped holds step 1, --resume goes on" in capsys.readouterr().err
    assert main([*words, "--out", str(tmp_path / "stopped"), "--resume"]) == 0
    assert main(words) == 2
    assert main(["run", str(tmp_path / "run" / "model.gguf"), "-p", "1", "-n", "3"]) == 0


# --- devices ----------------------------------------------------------------------------------------------------------
TINY: dict[str, Any] = {
    "steps": 3, "batch": 1, "block": 4, "hidden": 4, "heads": 2, "feed_forward": 8, "warmup": 1, "eval_every": 3,
    "eval_batches": 1, "checkpoint_every": 1, "architecture": "qwen2", "validation": 0.001,
}  # fmt: skip


def test_autocast_rounds_products_and_is_part_of_a_run(tmp_path: Path) -> None:
    few = {**TINY, "steps": 1, "dropout": 0.0, "validation": 0.0}
    made = open_language_model(options(tmp_path, autocast="bfloat16", **few))
    with hs.no_grad():
        plain = loss_of(made.run.model, *(hs.tensor(a) for a in made.run.batches.at(0))).item()
    made.train()
    assert 0 < abs(made.run.progress.losses[0] - plain) < 0.05
    assert {p.dtype for p in made.run.trained.values()} == {hs.float32}
    with pytest.raises(UnsupportedError, match="begun with autocast = 'bfloat16', now it is 'none'"):
        open_language_model(options(tmp_path, **few), resume=True)


class Enough(Exception):
    """Ends a run behind a step."""


def stop(progress: Progress, rate: float) -> None:
    raise Enough


@pytest.mark.parametrize("kind", KINDS)
def test_a_run_goes_on_on_other_devices(tmp_path: Path, kind: str) -> None:
    """A step on the cpu, one on a GPU, one on the cpu: losses as on the cpu alone, where dropout draws the same."""
    whole = open_language_model(options(tmp_path, **TINY))
    whole.train()
    for step, device in enumerate(("cpu", "cuda"), 1):
        with gpu(kind) if device == "cuda" else contextlib.nullcontext():
            part = open_language_model(options(tmp_path, "parts", device=device, **TINY), resume=step > 1)
            with pytest.raises(Enough):
                part.train(stop)
            assert part.run.saved == step
            assert {p.device.type for p in part.run.model.parameters()} == {device}
            del part
    last = open_language_model(options(tmp_path, "parts", **TINY), resume=True)
    last.train()
    np.testing.assert_allclose(last.run.progress.losses, whole.run.progress.losses, rtol=2e-5)
    np.testing.assert_allclose(last.run.progress.checks, whole.run.progress.checks, rtol=2e-5)
