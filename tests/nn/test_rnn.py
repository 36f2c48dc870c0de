"""Recurrent networks and packed sequences against PyTorch."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import heliostat as hs
from heliostat import nn
from heliostat.diagnostics import GradientError
from heliostat.nn.utils import rnn

from .sweep import backward, close, compare_modules, copy_state, ours, theirs, torch, values

LAYERS: list[tuple[str, dict[str, Any]]] = [
    ("RNN", {}), ("RNN", {"nonlinearity": "relu", "num_layers": 2, "bias": False}), ("LSTM", {}),
    ("LSTM", {"num_layers": 2, "bidirectional": True}), ("LSTM", {"proj_size": 2, "num_layers": 2}), ("GRU", {}),
    ("GRU", {"bidirectional": True, "batch_first": True}),
]  # fmt: skip


@pytest.mark.parametrize(("name", "kwargs"), LAYERS, ids=str)
def test_layers(name: str, kwargs: Any) -> None:
    compare_modules(name, (3, 4), [(5, 2, 3)], kwargs=kwargs)


@pytest.mark.parametrize(("name", "count"), [("RNN", 1), ("LSTM", 2), ("GRU", 1)])
def test_states_and_single_sequences(name: str, count: int) -> None:
    state: Any = [values((1, 2, 4), 7 + n) for n in range(count)]
    single: Any = [values((1, 4), 7 + n) for n in range(count)]
    compare_modules(name, (3, 4), [(5, 2, 3), lambda: tuple(state) if count == 2 else state[0]])
    compare_modules(name, (3, 4), [(5, 3), lambda: tuple(single) if count == 2 else single[0]])


@pytest.mark.parametrize(("name", "count"), [("RNNCell", 1), ("LSTMCell", 2), ("GRUCell", 1)])
def test_cells(name: str, count: int) -> None:
    state: Any = [values((2, 4), 7 + n) for n in range(count)]
    compare_modules(name, (3, 4), [(2, 3), lambda: tuple(state) if count == 2 else state[0]])
    compare_modules(name, (3, 4), [(2, 3)], kwargs={"bias": False})
    compare_modules(name, (3, 4), [(3,)])


@pytest.mark.parametrize("ordered", [True, False])
@pytest.mark.parametrize(("name", "kwargs"), [("LSTM", {"num_layers": 2, "bidirectional": True}), ("GRU", {})], ids=str)
def test_packed_sequences(name: str, kwargs: Any, ordered: bool) -> None:
    lengths = [4, 3, 1] if ordered else [3, 1, 4]
    module, other = getattr(nn, name)(3, 4, **kwargs), getattr(torch.nn, name)(3, 4, **kwargs)
    copy_state(module, other)
    x = values((4, 3, 3))
    a, b = ours(x), theirs(x)
    packed = rnn.pack_padded_sequence(a, lengths, enforce_sorted=ordered)
    expected = torch.nn.utils.rnn.pack_padded_sequence(b, torch.tensor(lengths), enforce_sorted=ordered)
    close(packed.data, expected.data, "packed")
    assert packed.batch_sizes.tolist() == expected.batch_sizes.tolist()
    (y, s), (z, t) = module(packed), other(expected)
    close(y.data, z.data, "output")
    close(s, t, "state")
    out, sizes = rnn.pad_packed_sequence(y, padding_value=-1.0, total_length=6)
    out2, sizes2 = torch.nn.utils.rnn.pad_packed_sequence(z, padding_value=-1.0, total_length=6)
    close(out, out2, "padded")
    assert sizes.tolist() == sizes2.tolist()
    assert backward([out, s], [out2, t])
    close(a.grad, b.grad, "gradient")
    for p, q in zip(module.parameters(), other.parameters(), strict=True):
        close(p.grad, q.grad, "gradient of a weight")


def test_sequences_of_different_lengths() -> None:
    arrays = [values((n, 2), n) for n in (2, 4, 1)]
    mine, its = [hs.tensor(a) for a in arrays], [torch.tensor(a) for a in arrays]
    T = torch.nn.utils.rnn
    for kw in ({}, {"batch_first": True}, {"padding_value": 2.0, "padding_side": "left"}):
        close(rnn.pad_sequence(mine, **kw), T.pad_sequence(its, **kw), "padded")
    packed = rnn.pack_sequence(mine, enforce_sorted=False)
    for a, b in zip(rnn.unpack_sequence(packed), arrays, strict=True):
        np.testing.assert_array_equal(a.numpy(), b)
    with pytest.raises(ValueError, match="sorted in decreasing order"):
        rnn.pack_sequence(mine)


def test_dropout_between_layers_and_wrong_arguments() -> None:
    module = nn.GRU(3, 4, num_layers=2, dropout=0.5)
    x = hs.randn(5, 2, 3)
    assert np.abs(module(x)[0].detach().numpy() - module(x)[0].detach().numpy()).max() > 0
    module.eval()
    np.testing.assert_array_equal(module(x)[0].detach().numpy(), module(x)[0].detach().numpy())
    with pytest.raises(ValueError, match=r"Expected 3, got 4"):
        module(hs.zeros(5, 2, 4))
    with pytest.raises(ValueError, match=r"Expected hidden size \(2, 2, 4\), got \[1, 2, 4\]"):
        module(x, hs.zeros(1, 2, 4))
    with pytest.raises(ValueError, match="proj_size has to be smaller"):
        nn.LSTM(3, 4, proj_size=4)
    with pytest.raises(ValueError, match="inconsistent input_size"):
        nn.GRUCell(3, 4)(hs.zeros(2, 5))


@pytest.mark.parametrize("name", ["RNN", "GRU"])
def test_steps_without_tensors_equal_the_whole_way(name: str) -> None:
    """Results, gradients and gradients of gradients, beside those of anomaly mode, which makes tensors of values."""
    module = getattr(nn, name)(2, 2).double()
    x = ours(values((2, 1, 2)).astype(np.float64), True)

    def found() -> list[Any]:
        y, _ = module(x)
        first = hs.autograd.grad((y * y).sum(), [x, module.weight_hh_l0], create_graph=True)
        second = hs.autograd.grad((first[0] * first[0]).sum(), [x])
        return [t.detach().numpy() for t in (y, *first, *second)]

    short = found()
    with hs.autograd.detect_anomaly(check_nan=False):
        whole = found()
    for a, b in zip(short, whole, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-10, atol=1e-12)


def test_many_steps_and_a_state_that_changes_before_backward() -> None:
    """What a gradient needs is noted once, by however many ways it comes: each of 60 steps would double it."""
    module = nn.LSTM(2, 3)
    x, h, c = hs.randn(60, 1, 2).requires_grad_(), hs.zeros(1, 1, 3), hs.ones(1, 1, 3)
    y, last = module(x, (h, c))
    (g,) = hs.autograd.grad(y.sum() + last[1].sum(), [x], retain_graph=True)
    assert g.shape == (60, 1, 2)
    c.mul_(2.0)
    with pytest.raises(GradientError, match="changed in place"):
        hs.autograd.grad(y.sum(), [module.weight_hh_l0])
