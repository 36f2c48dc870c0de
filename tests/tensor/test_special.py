"""Gamma functions, histograms, reductions of groups, elements by strides, and questions, against PyTorch."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import heliostat as hs
from heliostat.diagnostics import DTypeError, ShapeError, UnsupportedError

from .compare import check, floats, integers, ours, same, theirs, torch


def test_incomplete_gamma() -> None:
    rng = np.random.default_rng(0)
    a, x = rng.gamma(1, 20, 300), rng.gamma(1, 20, 300)
    check(lambda m, a, x: [m.igamma(a, x), m.igammac(a, x)], a, x)
    check(lambda m, a, x: [m.igamma(a, x), a.igammac(x)], a.astype(np.float32), x.astype(np.float32))
    ends = np.array([0.0, 1.0, -1.0, np.inf, 2.5])  # of NaN PyTorch makes 0 now and then
    check(lambda m, a, x: [m.igamma(a, x), m.igammac(a, x)], ends[:, None], ends[None])
    check(lambda m, x: [m.igamma(m.full_like(x, 2.5), x), m.igammac(m.full_like(x, 0.3), x)], x[:20], grad=True)
    check(lambda m, x: x.igamma_(x), x[:3])
    np.testing.assert_allclose(hs.igamma(hs.tensor(1e6, dtype=hs.float64), hs.tensor(1e6 + 10)), 0.504121, rtol=1e-5)
    for f in (hs.igamma, hs.igammac):
        given = [hs.tensor(v, dtype=hs.float64, requires_grad=True) for v in ([0.3, 2.0, 9.0], [0.7, 4.0, 5.0])]
        assert hs.autograd.gradcheck(f, given)
    made = hs.autograd.grad(hs.igamma(*given).sum(), given[0], create_graph=True)[0]
    with pytest.raises(UnsupportedError, match="no second one"):
        made.sum().backward()


@pytest.mark.parametrize("n", [0, 1, 2, 3, 6])
def test_polygamma(n: int) -> None:
    x = np.concatenate([floats(40, high=30.0, low=0.05), [0.5, 1e-3, 1e6]])
    check(lambda m, x: m.polygamma(n, x), x, rtol=2e-9, grad=n < 4)
    check(lambda m, x: [m.polygamma(n, x), x.polygamma(n)], x[:9].astype(np.float32))
    negative = floats(20, low=-4, high=-0.1)
    check(lambda m, x: m.polygamma(n, x), negative, rtol=1e-8)
    if n > 1:  # of n = 1 PyTorch gives a large number at poles
        check(lambda m, x: m.polygamma(n, x), np.array([-0.0, -1.0, -7.0, np.nan]))
    check(lambda m, x: m.polygamma(n, x), np.zeros((0, 2)))
    check(lambda m, x: m.polygamma(n, x), integers(4, low=1))
    with pytest.raises(ValueError, match="at least 0"):
        hs.polygamma(-1, hs.ones(1))


def test_bessel_functions_of_large_float32_values() -> None:
    x = np.array([2.0**50, 3e15, 1e30, 1e38], np.float32)
    c, s = np.cos(x.astype(np.float64)), np.sin(x.astype(np.float64))
    size = np.sqrt(1 / np.pi / x.astype(np.float64))
    for name, wanted in (("j0", c + s), ("j1", s - c), ("y0", s - c), ("y1", -c - s)):
        found = getattr(hs.special, f"bessel_{name}")(hs.tensor(x)).numpy()
        np.testing.assert_allclose(found / size, wanted, atol=1e-6)
    given = hs.tensor(x, requires_grad=True)
    found = hs.special.spherical_bessel_j0(given)
    found.sum().backward()
    np.testing.assert_allclose(found.detach().numpy() * x.astype(np.float64), s, rtol=1e-5)
    np.testing.assert_allclose(given.grad.numpy() * x.astype(np.float64), c, rtol=1e-5)


def test_erfinv_near_its_ends() -> None:
    x = np.array([0.99, 0.9966, 0.999, 1 - 1e-10, 1 - 1e-13, 1 - 2**-52, 1 - 2**-53, 1.0, 1.5, 0.0, np.nan])
    check(lambda m, x: [m.erfinv(x), m.erfinv(-x)], x, rtol=1e-13)
    check(lambda m, x: m.erfinv(x), x[:5], grad=True)


def test_lgamma_of_infinities() -> None:
    check(lambda m, x: m.lgamma(x), np.array([-np.inf, np.inf, -1.0, 0.0, 1.0]))


def test_histograms() -> None:
    x, w = floats(3, 40), np.abs(floats(3, 40, seed=1))
    for k in ({}, {"range": (-1.0, 1.0)}, {"density": True}):
        check(lambda m, x, k=k: [*m.histogram(x, 7, **k)], x)
    check(lambda m, x, w: [*m.histogram(x, 5, weight=w)], x, w)
    check(lambda m, x, e: [*m.histogram(x, e), *m.histogram(x, e, density=True)], x, np.array([-2.0, -0.5, 0.1, 1.9]))
    check(lambda m, x: [*m.histogram(x, 3)], np.ones(4))
    check(lambda m, x: [*x.histogram(4)], x.astype(np.float32))
    p = floats(50, 2)
    check(lambda m, p: [*m.histogramdd(p, [3, 4])], p)
    check(lambda m, p: m.histogramdd(p, 3, range=(-1.0, 1.0, 0.0, 2.0), density=True)[0], p)
    check(lambda m, p, w: m.histogramdd(p, [3, 4], weight=w)[1], p, w.reshape(-1)[:50])
    with pytest.raises(DTypeError, match="float32 or float64"):
        hs.histogram(hs.arange(4), 3)
    for f in (lambda: hs.histogram(hs.ones(2), 0), lambda: hs.histogram(hs.ones(2), 2, range=(1.0, 0.0))):
        with pytest.raises(ValueError):
            f()
    with pytest.raises(ShapeError):
        hs.histogramdd(hs.ones(4, 2), [3])


REDUCTIONS = ("prod", "mean", "amax", "amin")


@pytest.mark.parametrize("reduce", REDUCTIONS)
@pytest.mark.parametrize("include_self", [True, False])
def test_index_and_scatter_reduce(reduce: str, include_self: bool) -> None:
    x, src = floats(4, 3), floats(5, 3, seed=1)
    x[1, 1] = src[0, 0] = 0.0
    src[3] = src[2]
    index = np.array([1, 1, 3, 3, 0])
    if include_self or reduce != "mean":  # PyTorch's gradient of a mean without self is wrong for what is not written
        check(
            lambda m, x, s, i: m.scatter_reduce(
                x, 0, i.reshape(-1, 1).expand(5, 3), s, reduce, include_self=include_self
            ),
            x, src, index, grad=True,
        )  # fmt: skip
    check(lambda m, x, s, i: m.index_reduce(x, 0, i, s, reduce, include_self=include_self), x, src, index)
    check(lambda m, x, s, i: x.t().index_reduce(1, i, s.t(), reduce, include_self=include_self), x, src, index)
    a, b = integers(4, 3), integers(5, 3, seed=1)
    check(lambda m, x, s, i: x.index_reduce_(0, i, s, reduce, include_self=include_self), a, b, index)


@pytest.mark.parametrize("reduce", ["sum", "mean", "prod", "max", "min"])
def test_segment_reduce(reduce: str) -> None:
    x = floats(9, 2, 3)
    lengths = np.array([2, 0, 4, 3])
    for k in ({}, {"initial": 0.5}):
        check(lambda m, x, n, k=k: m.segment_reduce(x, reduce, lengths=n, **k), x, lengths, grad=True)
    check(lambda m, x, n: m.segment_reduce(x, reduce, offsets=n), x, np.array([0, 2, 2, 6, 9]))
    wide = floats(2, 5, 3, seed=3)
    check(lambda m, x, n: m.segment_reduce(x, reduce, lengths=n, axis=1), wide, np.array([[2, 3], [5, 0]]), grad=True)
    with pytest.raises(ShapeError, match="do not make"):
        hs.segment_reduce(hs.ones(4), reduce, lengths=hs.tensor([1, 2]))
    with pytest.raises(ShapeError, match="begin at 0"):
        hs.segment_reduce(hs.ones(3), reduce, offsets=hs.tensor([1, 4]))


def test_histogramdd_takes_a_weight_for_each_point() -> None:
    with pytest.raises(ShapeError, match="weights"):
        hs.histogramdd(hs.ones(3, 2), [2, 2], weight=hs.ones(1))


def test_strides() -> None:
    x = floats(4, 5)
    for size, stride, offset in (
        ((3, 2), (5, 2), 1),
        ((2, 2), (1, 1), 0),
        ((4,), (0,), 3),
        ((), (), 7),
        ((0, 2), (1, 1), 0),
    ):
        check(lambda m, x, a=(size, stride, offset): m.as_strided(x, *a), x, grad=True)
    src = floats(3, 2, seed=1)
    check(lambda m, x, s: m.as_strided_scatter(x, s, (3, 2), (5, 2), 1), x, src)
    a, b = ours(x, True), ours(src, True)
    (hs.as_strided_scatter(a, b, (3, 2), (5, 2), 1) * hs.tensor(x)).sum().backward()
    np.testing.assert_array_equal(b.grad, x[:3, 1:4:2])  # that of input, PyTorch gives to the elements that are written
    kept = np.ones_like(x)
    kept[:3, 1:4:2] = 0
    np.testing.assert_array_equal(a.grad, x * kept)

    def written(m: Any, x: Any) -> Any:
        y = x.clone()
        y.as_strided((2, 2), (5, 1), 3)[1] = 7
        return y

    check(written, x)
    check(lambda m, x: x.clone().as_strided_((2,), (4,), 1), x)
    check(lambda m, x: [x.resize_(3, 2), x.resize_as_(m.zeros(2))], x)
    check(lambda m, x: [x.narrow_copy(1, 1, 2), x.dim_order()], x)
    check(lambda m, x: [m.nonzero_static(x, size=3), m.nonzero_static(x, size=30, fill_value=9)], (x > 0) * 1.0)
    check(lambda m, x: [m.empty_strided((2, 3), (3, 1)).shape, m.empty_permuted((2, 3), (1, 0)).shape], x)
    check(lambda m, x: x.new_empty_strided((2, 3), (3, 1)).element_size(), x)
    t = hs.tensor(x)
    for f in (lambda: t.as_strided((9,), (9,)), lambda: t.as_strided((2,), (1, 1)), lambda: t.as_strided((2,), (-1,))):
        with pytest.raises(ShapeError):
            f()
    for f in (lambda: t.t().as_strided((2,), (1,)), lambda: t.set_(t), lambda: t.storage()):
        with pytest.raises(UnsupportedError):
            f()


def test_questions() -> None:
    x = floats(3, 2)
    check(lambda m, x: [m.is_inference(x), m.is_storage(x), x.is_meta, x.is_shared(), x.is_inference()], x)
    check(lambda m, x: [m.get_float32_matmul_precision(), m.get_num_interop_threads() > 0], x)
    check(lambda m, x: [x.to_dense(), m.hardshrink(x), x.hardshrink(1.0)], x, grad=True)
    assert hs.cond(hs.tensor(x).sum() > 99, lambda x: x, lambda x: x[0, 0] * 0, (hs.tensor(x),)).item() == 0
    check(lambda m, x: m.index_put_(x, (m.tensor([0]),), m.tensor(2.0).to(x.dtype)), x)
    same(ours(x + 4).mvlgamma_(2), theirs(x + 4).mvlgamma_(2))
    same(ours(x).renorm_(2, 0, 1.0), theirs(x).renorm_(2, 0, 1.0))
    assert torch.from_dlpack(hs.to_dlpack(hs.tensor(x))).tolist() == x.tolist()
    assert hs.get_default_device() == hs.device("cpu")
    hs.set_num_threads(hs.get_num_threads())
    hs.set_float32_matmul_precision("high")
    assert hs.get_float32_matmul_precision() == "high"
    hs.set_float32_matmul_precision("highest")
    with pytest.raises(UnsupportedError):
        hs.set_num_threads(1000)
