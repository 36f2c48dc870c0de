"""The decoder with gradients against the plain NumPy forward: logits, and the loss's slope along random directions."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy_forward import VOCABULARY, forward, write_model

import heliostat as hs
from heliostat.llm.gguf import GGUFFile
from heliostat.llm.weights import DecoderWeights
from heliostat.train.decoder import Decoder, Trainable, loss_of

TOKENS = 9


def built(tmp_path: Path, architecture: str, extra: dict[str, Any] | None = None) -> tuple[Decoder, dict[str, Any]]:
    """A decoder with the weights of a random file, in f64 for slopes, and those weights."""
    weights = write_model(tmp_path / "m.gguf", architecture, "F32", 5, extra)
    config = DecoderWeights(GGUFFile.open(tmp_path / "m.gguf")).config
    model = Decoder(config, Trainable(config, architecture != "llama"), 16)
    named = dict(model.named_parameters())
    assert named.keys() == {k for k in weights if k.endswith((".weight", ".bias"))}
    with hs.no_grad():
        for name, p in named.items():
            p.copy_(hs.tensor(weights[name].astype(np.float32)))
    return model, weights


def numpy_loss(weights: dict[str, Any], ids: np.ndarray, labels: np.ndarray) -> float:
    total = 0.0
    for row, wanted in zip(ids, labels, strict=True):
        logits = forward(weights, row.tolist())
        top = logits.max(-1, keepdims=True)
        scores = logits - top - np.log(np.exp(logits - top).sum(-1, keepdims=True))
        total -= scores[np.arange(len(row)), wanted].mean()
    return total / len(ids)


@pytest.mark.parametrize("architecture", ["llama", "qwen2", "qwen3"])
def test_logits_and_slopes(tmp_path: Path, architecture: str) -> None:
    model, weights = built(tmp_path, architecture)
    rng = np.random.default_rng(1)
    ids, labels = (rng.integers(0, VOCABULARY, (2, TOKENS)) for _ in range(2))
    logits = model(hs.tensor(ids)).detach().numpy()
    for row, made in zip(ids, logits, strict=True):
        expected = forward(weights, row.tolist())
        assert np.abs(made - expected).max() <= 1e-4 * np.abs(expected).max()
    loss = loss_of(model, hs.tensor(ids), hs.tensor(labels))
    assert abs(float(loss) - numpy_loss(weights, ids, labels)) < 1e-5
    loss.backward()
    for name, p in model.named_parameters():
        if ".1." in name:  # one block is enough
            continue
        way = rng.standard_normal(p.shape)
        h = 1e-4 / np.sqrt(way.size)
        ends = [numpy_loss({**weights, name: weights[name] + s * h * way}, ids, labels) for s in (1, -1)]
        slope = (ends[0] - ends[1]) / (2 * h)
        assert p.grad is not None
        scale = np.sqrt((p.grad.numpy() ** 2).sum())
        assert abs(slope - (p.grad.numpy() * way).sum()) <= 1e-3 * scale + 1e-7, name


def test_a_window_hides_what_is_far(tmp_path: Path) -> None:
    model, _ = built(tmp_path, "qwen2", {"attention.sliding_window": 3})
    ids = np.random.default_rng(2).integers(0, VOCABULARY, (1, TOKENS))
    other = ids.copy()
    other[0, 0] = (other[0, 0] + 1) % VOCABULARY
    a, b = (model(hs.tensor(i)).detach().numpy()[0] for i in (ids, other))
    seen = np.abs(a - b).max(-1) > 0
    assert seen[:5].all()  # two blocks of a window of 3 look back at most 4 tokens
    assert not seen[5:].any()


def test_labels_that_are_ignored_change_nothing(tmp_path: Path) -> None:
    model, weights = built(tmp_path, "llama")
    rng = np.random.default_rng(3)
    ids, labels = (rng.integers(0, VOCABULARY, (1, TOKENS)) for _ in range(2))
    labels[0, 4:] = -100
    loss = float(loss_of(model, hs.tensor(ids), hs.tensor(labels)))
    assert abs(loss - numpy_loss(weights, ids[:, :4], labels[:, :4])) < 1e-5
