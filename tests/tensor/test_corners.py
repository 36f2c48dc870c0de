"""Empty tensors, tensors without axes, NaN, views that are written and unusual calls, against PyTorch."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import heliostat as hs

from .compare import check, floats, torch

Call = Callable[[Any, Any], Any]

WITHOUT_AXES: list[Call] = [
    lambda m, x: [x.sum(0), x.mean(-1), x.prod(0), x.any(0), x.logsumexp(0), x.var(0, unbiased=False), x.norm()],
    lambda m, x: [*x.max(0), *x.sort(), *x.topk(1), *x.mode(), *x.median(0), *x.nanmedian(0), *x.kthvalue(1)],
    lambda m, x: [x.flip(0), x.cumsum(0), *x.cummax(0), x.softmax(0), x.argmax(), x.argsort(), x.t()],
    lambda m, x: [x.nonzero(), *x.nonzero(as_tuple=True), x.unique(), x.unfold(0, 1, 1), x.squeeze(0), x.repeat(2)],
    lambda m, x: [x.index_select(0, m.tensor([0])), x.gather(0, m.tensor(0)), x.scatter(0, m.tensor(0), 5.0)],
    lambda m, x: [x.index_fill(0, m.tensor([0]), 1.0), x.index_add(0, m.tensor([0]), m.tensor(2.0, dtype=x.dtype))],
    lambda m, x: [x.quantile(0.5), x.take(m.tensor([0])), x.masked_select(m.tensor(True)), *x.aminmax(), x[None]],
]


@pytest.mark.parametrize("call", WITHOUT_AXES)
def test_tensors_without_axes(call: Call) -> None:
    check(call, np.array(3.5))


EMPTY: list[Call] = [
    lambda m, x: [*x.sort(), x.median(), x.nanmedian(), x.unique(), x.cumsum(0), x.nonzero(), x.norm(), x.flip(0)],
    lambda m, x: [x.var(), x.std(), x.sum(), x.prod(), x.mean(), x.any(), x.all(), x.histc(3), m.trapezoid(x)],
    lambda m, x: [*x.view(0, 1).median(1), x.view(0, 1).logsumexp(0), x.view(1, 0).logsumexp(1), x.logsumexp(0)],
    lambda m, x: [x.view(0, 1).softmax(0), x.view(0, 1).expand(0, 3), x.dot(x), m.outer(x, x), x.tolist() == []],
    lambda m, x: [m.einsum("i,j->ij", x, x), m.einsum("i,i", x, x), m.tensordot(x, x, 1)],
]  # fmt: skip


@pytest.mark.parametrize("call", EMPTY)
def test_empty_tensors(call: Call) -> None:
    check(call, np.zeros(0))


NAN: list[Call] = [
    lambda m, x: [x.max(), x.min(), x.argmax(), *x.max(0), *x.sort(), *x.sort(descending=True), *x.topk(3)],
    lambda m, x: [x.median(), *x.median(0), x.nanmedian(), *x.nanmedian(0), *x.mode(), *x.kthvalue(2), *x.cummax(0)],
    lambda m, x: [x.unique(), *m.unique(x, return_inverse=True, return_counts=True), x.quantile(0.5), x.nansum()],
    lambda m, x: [x.clamp(0, 2), x.clamp(float("nan"), 2), x.clamp(max=float("nan")), x.clamp(m.full((6,), np.nan))],
    lambda m, x: [m.maximum(x, m.zeros(6)), m.fmax(x, m.zeros(6)), x.sign(), x.bool(), x.nan_to_num(), x.isnan().sum()],
    lambda m, x: [m.clamp(x, m.tensor([0, np.nan, 0, np.nan, 0, 3.0]), m.tensor([np.nan, 2, 2, 2, 2, np.nan]))],
]


@pytest.mark.parametrize("call", NAN)
def test_nan(call: Call) -> None:
    check(call, np.array([1, np.nan, 3, -1, np.nan, 2], np.float32))


def test_thresholds_leave_nan() -> None:
    from heliostat.nn import functional

    x = np.array([1, np.nan, -3, 0], np.float32)
    found = functional.threshold(hs.tensor(x), 0.0, 5.0).numpy()
    np.testing.assert_array_equal(found, torch.nn.functional.threshold(torch.tensor(x), 0.0, 5.0).numpy())


@pytest.mark.parametrize("offset", [-4, -2, -1, 0, 1, 2, 3, 5])
def test_diagonals_are_views(offset: int) -> None:
    def write(m: Any, x: Any) -> Any:
        d = x.diagonal(offset, 0, 2)
        if d.numel():
            d[0] = 9
            d.mul_(2)
        e = x.diagonal(offset, -1, 0)
        x.add_(1)
        copied = m.diag(x[:, 0])
        copied.zero_()
        m.linalg.diagonal(x, offset=0).neg_()
        return x, d, e, copied

    check(write, floats(4, 2, 5))
    check(lambda m, x: x.diagonal(offset, 0, 2) ** 2, floats(4, 2, 5), grad=True)


def test_gradients_through_written_diagonals() -> None:
    def f(m: Any, x: Any, y: Any) -> Any:
        z = x * 1
        z.diagonal().mul_(y)
        z.diagonal(1)[1:] = y[:2]
        return z * z

    check(f, floats(4, 4), floats(4, seed=1), grad=True)


def test_differences_between_others() -> None:
    def f(m: Any, x: Any, a: Any, b: Any) -> Any:
        return [m.diff(x, prepend=a), x.diff(2, 1, a, b), x.diff(append=b.float()), m.diff(x, 1, 0, append=x[:1])]

    check(f, floats(3, 4), floats(3, 1, seed=1), floats(3, 2, seed=2), grad=True)


def test_einsum_by_numbers() -> None:
    def f(m: Any, a: Any, b: Any) -> Any:
        return [
            m.einsum(a, [0, 1], b, [1, 2], [0, 2]), m.einsum(a, [0, 1], [1, 0]), m.einsum(a, [0, 1], b, [1, 2]),
            m.einsum(a, [0, 51], []), m.einsum(a, [..., 3], b, [3, 2], [2, ...]),
        ]  # fmt: skip

    check(f, floats(3, 4), floats(4, 2, seed=1), grad=True)
    with pytest.raises(ValueError, match="0 to 51"):
        hs.einsum(hs.ones(2), [52], [52])


def test_zeros_that_are_made_of_infinities() -> None:
    """Zeros beside a tensor do not take its NaN: gradients that are set to 0, counts, gradients of nothing."""
    from heliostat import nn, optim

    x = np.array([np.inf, np.nan, 1.0, -np.inf])
    index = np.array([0, 1, 1, 3])
    for reduce in ("sum", "mean", "prod", "amax"):
        for own in (True, False):
            check(
                lambda m, x, i, s, r=reduce, own=own: x.scatter_reduce(0, i, s, r, include_self=own),
                x,
                index,
                floats(4),
            )
    check(lambda m, x: [m.vander(x), m.zeros_like(x)], x)
    layer = nn.Linear(2, 1)
    (layer(hs.ones(1, 2)) * float("inf")).sum().backward()
    assert not layer.weight.grad.isfinite().any()
    layer.zero_grad(set_to_none=False)
    assert layer.weight.grad.tolist() == [[0, 0]]
    weight, unused = hs.tensor(float("inf"), requires_grad=True), hs.tensor([np.nan], requires_grad=True)
    (g,) = hs.autograd.grad(weight * 2, [unused], materialize_grads=True)
    assert g.tolist() == [0]
    assert hs.optim is optim
