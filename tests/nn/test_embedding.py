"""Linear layers and tables of rows against PyTorch."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import heliostat as hs
from heliostat import nn
from heliostat.nn import functional as F

from .sweep import compare_functions, compare_modules, torch, values

IDS = np.array([[0, 3, 3], [5, 1, 0]])
FLAT = np.array([0, 3, 3, 5, 1, 0, 2])
OFFSETS = np.array([0, 2, 2, 5])


def test_linear() -> None:
    compare_modules("Linear", (4, 3), [(5, 4)])
    compare_modules("Linear", (4, 3), [(2, 5, 4)], kwargs={"bias": False})
    compare_modules("Linear", (4, 3), [(4,)])
    compare_modules("Bilinear", (4, 3, 2), [(5, 4), (5, 3)])
    compare_modules("Bilinear", (4, 3, 2), [(2, 5, 4), (2, 5, 3)], kwargs={"bias": False})


@pytest.mark.parametrize(
    "kwargs",
    [{}, {"padding_idx": 3}, {"padding_idx": -1}, {"scale_grad_by_freq": True}, {"max_norm": 0.9},
     {"max_norm": 0.9, "norm_type": 1.0}], ids=str,
)  # fmt: skip
def test_embedding(kwargs: dict[str, Any]) -> None:
    compare_modules("Embedding", (6, 4), [IDS], kwargs=kwargs)
    compare_modules("Embedding", (6, 4), [np.array(2)], kwargs=kwargs)


@pytest.mark.parametrize("mode", ["sum", "mean", "max"])
@pytest.mark.parametrize("kwargs", [{}, {"padding_idx": 3}, {"max_norm": 0.9}], ids=str)
def test_embedding_bag(mode: str, kwargs: dict[str, Any]) -> None:
    compare_modules("EmbeddingBag", (6, 4), [IDS], kwargs={"mode": mode, **kwargs})
    compare_modules("EmbeddingBag", (6, 4), [FLAT, OFFSETS], kwargs={"mode": mode, **kwargs})


def test_embedding_bag_with_weights_and_a_last_offset() -> None:
    T = torch.nn.functional
    ids, offsets = FLAT, np.array([0, 2, 7])
    for f in (lambda m: lambda w, s, i, o: m.embedding_bag(
        i, w, o, mode="sum", per_sample_weights=s, include_last_offset=True
    ),):  # fmt: skip
        compare_functions(f(F), f(T), values((6, 4)), values((7,)), ids, offsets)


def test_from_pretrained() -> None:
    made = nn.Embedding.from_pretrained(hs.tensor(values((5, 3))))
    assert not made.weight.requires_grad
    assert nn.EmbeddingBag.from_pretrained(hs.zeros(5, 3), freeze=False).weight.requires_grad
    assert (nn.Embedding(5, 3, padding_idx=2).weight.detach().numpy()[2] == 0).all()


def test_wrong_arguments_are_named() -> None:
    with pytest.raises(NotImplementedError, match="sparse=True"):
        nn.Embedding(4, 3, sparse=True)
    with pytest.raises(ValueError, match="within num_embeddings"):
        nn.Embedding(4, 3, padding_idx=4)
    with pytest.raises(TypeError, match="integers"):
        F.embedding(hs.zeros(3), hs.zeros(4, 3))
    with pytest.raises(ValueError, match="cannot be multiplied"):
        nn.Linear(4, 3)(hs.zeros(2, 5))
    with pytest.raises(ValueError, match="batch dimensions do not match"):
        nn.Bilinear(4, 3, 2)(hs.zeros(2, 4), hs.zeros(3, 3))
    with pytest.raises(ValueError, match="one of sum, mean or max"):
        nn.EmbeddingBag(4, 3, mode="last")(hs.tensor(IDS))
