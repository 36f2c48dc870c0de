"""Checks of gradients against differences, and autograd.graph."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import heliostat as hs
from heliostat.diagnostics import GradientError, UnsupportedError

from .compare import floats

gradcheck, gradgradcheck = hs.autograd.gradcheck, hs.autograd.gradgradcheck


def leaf(*shape: int, seed: int = 0) -> Any:
    return hs.tensor(floats(*shape, seed=seed)).requires_grad_()


class Wrong(hs.Function):
    @staticmethod
    def forward(ctx: Any, x: Any) -> Any:
        ctx.save_for_backward(x)
        return x * x

    @staticmethod
    def backward(ctx: Any, g: Any) -> Any:
        return g * ctx.saved_tensors[0]  # half of it


def test_gradcheck() -> None:
    a, b = leaf(3, 2), leaf(2, 2, seed=1)
    assert gradcheck(lambda a, b: (a @ b).exp(), (a, b), check_forward_ad=True, check_grad_dtypes=True)
    assert gradcheck(lambda a, b: (a.sum(), b * 2), (a, b.detach()))
    assert gradcheck(lambda x: hs.fft.rfft(x), leaf(5))
    z = hs.tensor(floats(3) + 1j * floats(3, seed=2)).requires_grad_()
    assert gradcheck(lambda z: (z * z.conj()).exp() / z, z)
    with pytest.raises(hs.autograd.GradcheckError, match="Jacobian"):
        gradcheck(Wrong.apply, a)
    assert not gradcheck(Wrong.apply, a, raise_exception=False)
    assert gradgradcheck(lambda a, b: (a @ b).sin(), (a, b))
    assert gradgradcheck(lambda x: hs.linalg.solve(x @ x.mT + 3 * hs.eye(2, dtype=hs.float64), x), b)
    assert gradgradcheck(Wrong.apply, a, raise_exception=False)  # the gradient of what it gives is right
    with pytest.raises(ValueError, match="requires grad"):
        gradcheck(lambda x: x, a.detach())
    with pytest.raises(UnsupportedError, match="masked"):
        gradcheck(lambda x: x, a, masked=True)


def test_graph() -> None:
    x = leaf(3)
    w = hs.ones(3, dtype=hs.float64)
    y = (x * w).sum()
    hs.autograd.graph.increment_version(w)
    with pytest.raises(GradientError, match="in place"):
        y.backward()
    graph = hs.autograd.graph
    for f in (graph.saved_tensors_hooks, graph.save_on_cpu, graph.register_multi_grad_hook, graph.get_gradient_edge):
        with pytest.raises(UnsupportedError, match=r"autograd\.graph"):
            f(x, x)
    with graph.disable_saved_tensors_hooks("none"), hs.autograd.set_multithreading_enabled(False):
        (x * 2).sum().backward()
    np.testing.assert_array_equal(x.grad, 2)
    assert hs.autograd.checkpoint(lambda v: v * 2, x).sum().requires_grad
    with pytest.raises(NotImplementedError, match="not called"):
        hs.Function.jvp(None)
