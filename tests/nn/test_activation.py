"""Activations against PyTorch."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import heliostat as hs
from heliostat import nn
from heliostat.nn import functional as F

from .sweep import compare_functions, compare_modules, torch, values

MODULES = [
    ("ReLU", ()), ("ReLU6", ()), ("SiLU", ()), ("Mish", ()), ("SELU", ()), ("Hardsigmoid", ()), ("Hardswish", ()),
    ("Sigmoid", ()), ("Tanh", ()), ("LogSigmoid", ()), ("Softsign", ()), ("Tanhshrink", ()), ("Threshold", (0.3, -7.0)),
    ("Hardtanh", ()), ("Hardtanh", (-0.7, 1.3)), ("ELU", ()), ("ELU", (0.4,)), ("CELU", (0.6,)), ("LeakyReLU", ()),
    ("LeakyReLU", (0.3,)), ("PReLU", ()), ("PReLU", (4,)), ("GELU", ()), ("GELU", ("tanh",)), ("Softplus", ()),
    ("Softplus", (2.0, 1.2)), ("Hardshrink", ()), ("Softshrink", (0.7,)), ("GLU", (1,)), ("Softmax", (1,)),
    ("Softmin", (-1,)), ("LogSoftmax", (0,)), ("Identity", ()),
]  # fmt: skip


@pytest.mark.parametrize(("name", "args"), MODULES, ids=str)
def test_module(name: str, args: Any) -> None:
    compare_modules(name, args, [(3, 4, 5)])


def test_rrelu_in_evaluation() -> None:
    compare_modules("RReLU", (0.1, 0.4), [(3, 5)], train=False)


def test_rrelu_in_training_draws_slopes() -> None:
    x = -np.ones(1000, np.float32)
    y = -F.rrelu(hs.tensor(x), 0.2, 0.6, training=True).numpy()
    assert y.min() >= 0.2
    assert y.max() <= 0.6
    assert 0.35 < y.mean() < 0.45


def test_softmax_of_channels() -> None:
    compare_modules("Softmax2d", (), [(2, 3, 4, 5)])
    compare_modules("Softmax2d", (), [(3, 4, 5)])


@pytest.mark.parametrize("name", ["relu", "elu", "celu", "selu", "leaky_relu", "hardtanh"])
def test_in_place(name: str) -> None:
    def run(m: Any) -> Any:
        return lambda x: getattr(m, name + "_")(x * 2)

    compare_functions(run(F), run(torch.nn.functional), values((3, 5)))
    x = hs.tensor([-1.0, 2.0])
    assert getattr(F, name)(x, inplace=True) is x


def test_large_numbers_have_finite_gradients() -> None:
    x = np.array([-1000.0, -100.0, 100.0, 1000.0], np.float32)
    for name in ("elu", "selu", "celu", "softplus", "logsigmoid", "mish", "silu", "gelu"):
        compare_functions(getattr(F, name), getattr(torch.nn.functional, name), x)


def test_gumbel_softmax() -> None:
    logits = hs.zeros(200, 4).requires_grad_(True)
    soft = F.gumbel_softmax(logits, tau=0.5)
    np.testing.assert_allclose(soft.sum(-1).detach().numpy(), 1, rtol=1e-5)
    hard = F.gumbel_softmax(logits, hard=True)
    assert set(np.unique(np.round(hard.detach().numpy(), 5))) == {0.0, 1.0}
    (hard * hs.arange(4)).sum().backward()
    assert np.abs(logits.grad.numpy()).sum() > 0


def test_wrong_arguments_are_named() -> None:
    with pytest.raises(ValueError, match="must be even"):
        F.glu(hs.zeros(2, 3))
    with pytest.raises(ValueError, match="Mismatch of parameter numbers"):
        F.prelu(hs.zeros(2, 3), hs.zeros(4))
    with pytest.raises(ValueError, match="approximate"):
        F.gelu(hs.zeros(2), approximate="sigmoid")


def test_former_names_of_bounds() -> None:
    with pytest.warns(FutureWarning, match="min_value"):
        module = nn.Hardtanh(min_value=-2.0, max_val=0.5)
    assert (module.min_val, module.max_val) == (-2.0, 0.5)
    assert module(hs.tensor([-3.0, -1.5, 1.0])).tolist() == [-2.0, -1.5, 0.5]
