"""Clipping, vectors of parameters, calls with other parameters, fusion."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import heliostat as hs
from heliostat import nn
from heliostat.nn import utils

from .sweep import copy_state, torch, values


def pair() -> tuple[Any, Any]:
    a, b = (m.Sequential(m.Linear(3, 4), m.Tanh(), m.Linear(4, 2)) for m in (nn, torch.nn))
    copy_state(a, b)
    x = values((5, 3))
    (a(hs.tensor(x)) ** 2).sum().backward()
    (b(torch.tensor(x)) ** 2).sum().backward()
    return a, b


@pytest.mark.parametrize("norm", [2.0, 1.0, 3.0, float("inf")])
@pytest.mark.parametrize("bound", [0.5, 1000.0])
def test_clipping_norms(norm: float, bound: float) -> None:
    a, b = pair()
    found = utils.clip_grad_norm_(a.parameters(), bound, norm)
    expected = torch.nn.utils.clip_grad_norm_(b.parameters(), bound, norm)
    np.testing.assert_allclose(found.item(), expected.item(), rtol=1e-5)
    for p, q in zip(a.parameters(), b.parameters(), strict=True):
        np.testing.assert_allclose(p.grad.numpy(), q.grad.numpy(), rtol=1e-4, atol=1e-6)


def test_clipping_values_and_what_is_not_finite() -> None:
    a, b = pair()
    utils.clip_grad_value_(a.parameters(), 0.1)
    torch.nn.utils.clip_grad_value_(b.parameters(), 0.1)
    for p, q in zip(a.parameters(), b.parameters(), strict=True):
        np.testing.assert_allclose(p.grad.numpy(), q.grad.numpy(), rtol=1e-5, atol=1e-6)
    a[0].weight.grad = a[0].weight.grad / 0
    with pytest.raises(RuntimeError, match="non-finite"):
        utils.clip_grad_norm_(a.parameters(), 1.0, error_if_nonfinite=True)
    assert utils.clip_grad_norm_([hs.zeros(2)], 1.0).item() == 0


def test_vectors() -> None:
    a, b = pair()
    v = utils.parameters_to_vector(a.parameters())
    np.testing.assert_array_equal(
        v.detach().numpy(), torch.nn.utils.parameters_to_vector(b.parameters()).detach().numpy()
    )
    utils.vector_to_parameters(v * 2, a.parameters())
    np.testing.assert_array_equal(a[0].bias.detach().numpy(), 2 * b[0].bias.detach().numpy())
    assert a[0].bias.requires_grad


def test_functional_call() -> None:
    module = nn.Linear(2, 2)
    before = module.weight
    weight = hs.ones(2, 2).requires_grad_(True)
    y = utils.stateless.functional_call(module, {"weight": weight, "bias": hs.zeros(2)}, (hs.ones(1, 2),))
    np.testing.assert_array_equal(y.detach().numpy(), [[2, 2]])
    y.sum().backward()
    assert weight.grad is not None
    assert module.weight is before
    with pytest.raises(KeyError, match="no parameter or buffer 'other'"):
        utils.stateless.functional_call(module, {"other": weight}, (hs.ones(1, 2),))


@pytest.mark.parametrize("transpose", [False, True])
def test_fusion(transpose: bool) -> None:
    conv = (nn.ConvTranspose2d if transpose else nn.Conv2d)(2, 3, 3).eval()
    bn = nn.BatchNorm2d(3)
    bn(hs.randn(4, 3, 5, 5))
    bn.eval()
    x = hs.randn(1, 2, 5, 5)
    fused = utils.fuse_conv_bn_eval(conv, bn, transpose)
    np.testing.assert_allclose(fused(x).detach().numpy(), bn(conv(x)).detach().numpy(), atol=1e-5)
    with pytest.raises(ValueError, match="only for eval"):
        utils.fuse_conv_bn_eval(conv.train(), bn)
    linear, norm = nn.Linear(2, 3).eval(), nn.BatchNorm1d(3).eval()
    rows = hs.randn(4, 2)
    fused = utils.fuse_linear_bn_eval(linear, norm)
    np.testing.assert_allclose(fused(rows).detach().numpy(), norm(linear(rows)).detach().numpy(), atol=1e-5)
