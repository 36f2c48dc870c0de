"""Losses over alignments and over clusters of classes against PyTorch."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import heliostat as hs
from heliostat import nn
from heliostat.diagnostics import IndexOutOfRangeError, ShapeError
from heliostat.nn import functional as F

from .sweep import compare_functions, compare_modules, copy_state, torch, values

T = torch.nn.functional
LABELS = np.array([[1, 2, 2], [3, 1, 4], [2, 2, 1]])


@pytest.mark.parametrize("reduction", ["none", "mean", "sum"])
@pytest.mark.parametrize("lengths", [[3, 3, 3], [2, 1, 3], [3, 0, 2]], ids=str)
def test_ctc_loss(reduction: str, lengths: Any) -> None:
    def run(m: Any, tensor: Any) -> Any:
        return lambda x: m.ctc_loss(
            x.log_softmax(-1), tensor(LABELS), tensor(np.array([7, 6, 7])), tensor(np.array(lengths)),
            reduction=reduction,
        )  # fmt: skip

    compare_functions(run(F, hs.tensor), run(T, torch.tensor), values((7, 3, 5)))


def test_ctc_loss_of_joined_and_single_targets() -> None:
    flat = np.array([1, 2, 3, 4, 2])

    def joined(m: Any, tensor: Any) -> Any:
        return lambda x: m.ctc_loss(x.log_softmax(-1), tensor(flat), (6, 6), (2, 3), blank=0, reduction="sum")

    def single(m: Any, tensor: Any) -> Any:
        ends = tensor(np.array(6)), tensor(np.array(5))
        return lambda x: m.ctc_loss(x.log_softmax(-1), tensor(flat), *ends, blank=0)

    compare_functions(joined(F, hs.tensor), joined(T, torch.tensor), values((6, 2, 5)))
    compare_functions(single(F, hs.tensor), single(T, torch.tensor), values((6, 5)))


def test_impossible_alignments() -> None:
    x = hs.tensor(values((2, 1, 5))).requires_grad_(True)
    args = (hs.tensor(LABELS[:1]), hs.tensor(np.array([2])), hs.tensor(np.array([3])))
    assert F.ctc_loss(x.log_softmax(-1), *args).item() == np.inf
    loss = nn.CTCLoss(zero_infinity=True)(x.log_softmax(-1), *args)
    loss.backward()
    assert loss.item() == 0
    assert (x.grad.numpy() == 0).all()
    with pytest.raises(ValueError, match="blank must be in label range"):
        nn.CTCLoss(blank=7)(x, *args)


def test_ctc_loss_of_what_stands_behind_labels_and_of_no_steps() -> None:
    targets = np.array([[1, -1], [2, 3], [9, 9]])

    def run(m: Any, tensor: Any) -> Any:
        return lambda x: m.ctc_loss(
            x.log_softmax(-1), tensor(targets), (5, 0, 0), (1, 2, 0), reduction="none", zero_infinity=True
        )

    compare_functions(run(F, hs.tensor), run(T, torch.tensor), values((5, 3, 4)))
    x = hs.zeros(5, 1, 4)
    assert F.ctc_loss(x, hs.tensor([[1, 2]]), (0,), (1,)).item() == float("inf")
    with pytest.raises(IndexOutOfRangeError, match="class 9"):
        F.ctc_loss(x, hs.tensor([[9, 1]]), (5,), (1,))
    for lengths in (((-1,), (1,)), ((5,), (-1,))):
        with pytest.raises(ShapeError, match="value at least 0"):
            F.ctc_loss(x, hs.tensor([[1, 2]]), *lengths)


def test_softmax_in_clusters() -> None:
    kwargs = {"div_value": 2.0}
    compare_modules("AdaptiveLogSoftmaxWithLoss", (8, 10, [3, 6]), [(4, 8), np.array([0, 4, 9, 6])], kwargs=kwargs)
    a, b = (m.AdaptiveLogSoftmaxWithLoss(8, 10, [3, 6]) for m in (nn, torch.nn))
    copy_state(a, b)
    x = values((4, 8))
    np.testing.assert_allclose(
        a.log_prob(hs.tensor(x)).detach().numpy(), b.log_prob(torch.tensor(x)).detach().numpy(), atol=1e-5
    )
    assert a.predict(hs.tensor(x)).tolist() == b.predict(torch.tensor(x)).tolist()
    with pytest.raises(ValueError, match="increasing order"):
        nn.AdaptiveLogSoftmaxWithLoss(8, 10, [6, 3])
