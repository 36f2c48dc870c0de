"""Losses against PyTorch, with every reduction."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import heliostat as hs
from heliostat.nn import functional as F

from .sweep import compare_functions, compare_modules, torch, values

RNG = np.random.default_rng(5)
SIGNS = np.where(RNG.random((4, 3)) < 0.5, -1.0, 1.0).astype(np.float32)
BITS = (RNG.random((4, 3)) < 0.5).astype(np.float32)
CLASSES = RNG.integers(0, 3, 4)
PROBABILITIES = values((4, 3), 3, 0.05, 0.95)
WEIGHT = values((3,), 4, 0.2, 2.0)

CASES: list[tuple[str, dict[str, Any], list[Any]]] = [
    ("L1Loss", {}, [(4, 3), (4, 3)]),
    ("MSELoss", {}, [(4, 3), (4, 3)]),
    ("SmoothL1Loss", {}, [(4, 3), (4, 3)]),
    ("SmoothL1Loss", {"beta": 0.3}, [(4, 3), (4, 3)]),
    ("HuberLoss", {"delta": 0.6}, [(4, 3), (4, 3)]),
    ("BCELoss", {}, [lambda: PROBABILITIES, BITS]),
    ("BCELoss", {"weight": WEIGHT}, [lambda: PROBABILITIES, BITS]),
    ("BCEWithLogitsLoss", {}, [(4, 3), BITS]),
    ("BCEWithLogitsLoss", {"weight": WEIGHT, "pos_weight": WEIGHT * 2}, [(4, 3), BITS]),
    ("KLDivLoss", {}, [(4, 3), lambda: PROBABILITIES]),
    ("KLDivLoss", {"log_target": True}, [(4, 3), (4, 3)]),
    ("PoissonNLLLoss", {}, [(4, 3), lambda: np.abs(values((4, 3), 8)) * 2]),
    ("PoissonNLLLoss", {"full": True, "log_input": False}, [lambda: PROBABILITIES, np.full((4, 3), 2.6, np.float32)]),
    ("GaussianNLLLoss", {}, [(4, 3), (4, 3), lambda: PROBABILITIES]),
    ("GaussianNLLLoss", {"full": True}, [(4, 3), (4, 3), lambda: PROBABILITIES[:, :1]]),
    ("NLLLoss", {}, [(4, 3), CLASSES]),
    ("NLLLoss", {"weight": WEIGHT, "ignore_index": 1}, [(4, 3), CLASSES]),
    ("NLLLoss", {}, [(2, 3, 4, 5), RNG.integers(0, 3, (2, 4, 5))]),
    ("CrossEntropyLoss", {}, [(4, 3), CLASSES]),
    ("CrossEntropyLoss", {}, [(3,), np.array(1)]),
    ("CrossEntropyLoss", {"weight": WEIGHT, "ignore_index": 2}, [(4, 3), CLASSES]),
    ("CrossEntropyLoss", {"label_smoothing": 0.1}, [(4, 3), CLASSES]),
    ("CrossEntropyLoss", {"label_smoothing": 0.1, "weight": WEIGHT, "ignore_index": 0}, [(4, 3), CLASSES]),
    ("CrossEntropyLoss", {}, [(2, 3, 4), RNG.integers(0, 3, (2, 4))]),
    ("CrossEntropyLoss", {"weight": WEIGHT, "label_smoothing": 0.2}, [(4, 3), lambda: PROBABILITIES]),
    ("CrossEntropyLoss", {}, [(2, 3, 4), lambda: np.full((2, 3, 4), 1 / 3, np.float32)]),
    ("MultiMarginLoss", {}, [(4, 3), CLASSES]),
    ("MultiMarginLoss", {"p": 2, "margin": 0.6, "weight": WEIGHT}, [(4, 3), CLASSES]),
    ("MultiLabelMarginLoss", {}, [(2, 4), np.array([[3, 0, -1, 1], [-1, 0, 1, 2]])]),
    ("MultiLabelMarginLoss", {}, [(4,), np.array([3, 0, -1, 1])]),
    ("MultiLabelSoftMarginLoss", {}, [(4, 3), BITS]),
    ("MultiLabelSoftMarginLoss", {"weight": WEIGHT}, [(4, 3), BITS]),
    ("SoftMarginLoss", {}, [(4, 3), SIGNS]),
    ("HingeEmbeddingLoss", {"margin": 0.7}, [(4, 3), SIGNS]),
    ("MarginRankingLoss", {"margin": 0.2}, [(4,), (4,), SIGNS[:, 0]]),
    ("CosineEmbeddingLoss", {"margin": 0.1}, [(4, 3), (4, 3), SIGNS[:, 0]]),
    ("TripletMarginLoss", {}, [(4, 3), (4, 3), (4, 3)]),
    ("TripletMarginLoss", {"p": 1.5, "swap": True, "margin": 2.3}, [(4, 3), (4, 3), (4, 3)]),
    ("TripletMarginWithDistanceLoss", {"swap": True}, [(4, 3), (4, 3), (4, 3)]),
]


@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
@pytest.mark.parametrize(("name", "kwargs", "inputs"), CASES, ids=lambda v: v if isinstance(v, str) else "")
def test_module(name: str, kwargs: Any, inputs: Any, reduction: str) -> None:
    compare_modules(name, (), inputs, kwargs={**kwargs, "reduction": reduction})


def test_batchmean() -> None:
    compare_modules("KLDivLoss", (), [(4, 3), lambda: PROBABILITIES], kwargs={"reduction": "batchmean"})


def test_distances() -> None:
    compare_modules("CosineSimilarity", (), [(4, 3), (4, 3)])
    compare_modules("CosineSimilarity", (0,), [(4, 3), (4, 3)])
    compare_modules("PairwiseDistance", (), [(4, 3), (4, 3)])
    compare_modules("PairwiseDistance", (3.0,), [(4, 3), (4, 3)], kwargs={"keepdim": True})
    for name in ("pdist", "normalize"):
        compare_functions(getattr(F, name), getattr(torch.nn.functional, name), values((5, 3)))
    ids = np.array([[0, 3], [1, 2]])
    compare_functions(lambda x: F.one_hot(x, 5), lambda x: torch.nn.functional.one_hot(x, 5), ids)


def test_probabilities_at_the_ends() -> None:
    p = np.array([0.0, 1.0, 0.0, 1.0, 0.5], np.float32)
    y = np.array([0.0, 1.0, 1.0, 0.0, 1.0], np.float32)
    found = F.binary_cross_entropy(hs.tensor(p), hs.tensor(y), reduction="none")
    expected = torch.nn.functional.binary_cross_entropy(torch.tensor(p), torch.tensor(y), reduction="none")
    np.testing.assert_allclose(found.numpy(), expected.numpy(), rtol=1e-5)


def test_wrong_arguments_are_named() -> None:
    with pytest.raises(ValueError, match=r"Expected input batch_size \(4\) to match target batch_size \(3\)"):
        F.cross_entropy(hs.zeros(4, 3), hs.tensor(np.zeros(3, np.int64)))
    with pytest.raises(ValueError, match="not a valid value for reduction"):
        F.mse_loss(hs.zeros(2), hs.zeros(2), reduction="median")
    with pytest.raises(ValueError, match="target size"):
        F.binary_cross_entropy_with_logits(hs.zeros(2, 3), hs.zeros(3))
    with pytest.raises(TypeError, match="integers"):
        F.nll_loss(hs.zeros(2, 3), hs.zeros(2))
    with pytest.raises(ValueError, match="label_smoothing"):
        F.cross_entropy(hs.zeros(2, 3), hs.tensor(np.zeros(2, np.int64)), label_smoothing=1.5)
