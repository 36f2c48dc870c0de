"""Several sequences generated together: the tokens of separate runs, on the CPU and on a simulated GPU."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy_forward
import pytest
from numpy_forward import VOCABULARY, forward, write_model

from heliostat.diagnostics import ContextLengthError, UnsupportedError
from heliostat.llm import LanguageModel, load
from targets.device import gpu
from targets.fake_gpu import fake_gpu


def prompts(*lengths: int) -> list[list[int]]:
    rng = np.random.default_rng(sum(lengths))
    return [[int(i) for i in rng.integers(0, VOCABULARY, n)] for n in lengths]


def together(model: LanguageModel, ids: Sequence[list[int]], **options: Any) -> list[list[int]]:
    found: list[list[int]] = [[] for _ in ids]
    for number, piece in model.generate_batch(ids, **options):
        found[number].append(piece.token)
    return found


@pytest.mark.parametrize(
    ("architecture", "kind", "extra"),
    [("llama", "Q8_0", {}), ("qwen3", "BF16", {}), ("qwen2", "F32", {"attention.sliding_window": 16})],
)
def test_tokens_are_those_of_separate_runs(tmp_path: Path, architecture: str, kind: str, extra: dict[str, Any]) -> None:
    """Prompts of many lengths, more than there are rows: a row that becomes free takes the next."""
    write_model(tmp_path / "m.gguf", architecture, kind, extra=extra)
    sizes = [3, 8] if architecture == "llama" else [3]
    model = load(tmp_path / "m.gguf", threads=2, activations="float", cache_dtype="f32", batch=sizes)
    ids = prompts(1, 40, 7, 90, 3)
    for options in ({"max_tokens": 9}, {"max_tokens": 7, "temperature": 0.8, "seed": 5, "top_k": 20}):
        expected = [[p.token for p in model.generate(i, **options)] for i in ids]
        assert together(model, ids, **options) == expected
    model.batches = {n: batch for n, batch in model.batches.items() if n < len(ids)}
    assert together(model, ids, **options) == expected


def test_int8_activations_round_only(tmp_path: Path) -> None:
    """Products of several rows may quantize activations more coarsely than those of one."""
    weights = write_model(tmp_path / "m.gguf", "llama", "Q8_0")
    model = load(tmp_path / "m.gguf", threads=2, batch=[3])
    ids = prompts(9, 1, 30)
    check(model, ids, weights, 0.999)


def check(model: LanguageModel, ids: list[list[int]], weights: dict[str, Any], least: float) -> None:
    """Logits of a step of each sequence against NumPy's, and the greedy choice against those logits."""
    batch = model.batches[len(ids)]
    last = [(known[-1], max(0, len(known) - 1)) for known in ids]
    for row, known in enumerate(ids):
        model.fill(batch, row, known[:-1] or known)
        assert model.hold(batch, row, last[row])
    found = batch.steps.choose(last)
    logits = np.array(batch.steps.logits(), np.float64)
    for row, known in enumerate(ids):
        expected = forward(weights, known)[-1]
        cosine = (logits[row] * expected).sum() / np.sqrt((logits[row] ** 2).sum() * (expected**2).sum())
        assert cosine >= least
    for row, sample in enumerate(found):
        assert sample is None or sample.token == int(np.argmax(logits[row]))


def test_on_a_simulated_gpu(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, size in {"HIDDEN": 64, "LAYERS": 1, "HEADS": 2, "KV": 1, "FEED": 64}.items():
        monkeypatch.setattr(numpy_forward, name, size)
    weights = write_model(tmp_path / "m.gguf", "llama", "Q8_0")
    with fake_gpu():
        model = load(tmp_path / "m.gguf", device="cuda", context=64, batch=[3])
        check(model, prompts(5, 2, 3), weights, 0.999)


@pytest.mark.cuda
@pytest.mark.parametrize("kind", ["BF16", "Q8_0", "Q4_K"])
def test_on_a_gpu(tmp_path: Path, kind: str) -> None:
    place = gpu()
    if isinstance(place, str):
        pytest.skip(place)
    weights = write_model(tmp_path / "m.gguf", "llama", kind)
    model = load(tmp_path / "m.gguf", device="cuda", batch=[3, 17])
    check(model, prompts(5, 90, 31), weights, 0.998)
    check(model, prompts(*range(2, 19)), weights, 0.998)


def test_one_prompt_ends_at_the_context(tmp_path: Path) -> None:
    write_model(tmp_path / "m.gguf", "qwen2", "Q8_0")
    model = load(tmp_path / "m.gguf", threads=1, context=64, activations="float", batch=[2])
    long, short = prompts(63, 4)
    found = together(model, [long, short], max_tokens=6)
    assert [len(f) for f in found] == [2, 6]
    assert model.timing.prompt_tokens == 67


def test_refusals(tmp_path: Path) -> None:
    write_model(tmp_path / "m.gguf", "qwen2", "Q8_0")
    with pytest.raises(UnsupportedError, match="one sequence at a time"):
        load(tmp_path / "m.gguf", threads=1).generate_batch([[1]])
    with pytest.raises(ValueError, match="batch must be numbers from 2"):
        load(tmp_path / "m.gguf", threads=1, batch=[1])
    with pytest.raises(ContextLengthError, match="the prompt is empty"):
        load(tmp_path / "m.gguf", threads=1, batch=[2]).generate_batch([[1], []])
