"""Calls with shapes, dtypes and arguments that are seldom used, against PyTorch."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import heliostat as hs
from heliostat.diagnostics import DTypeError, ShapeError

from .compare import check, floats, integers, torch

Call = Callable[[Any, Any], Any]

OF_FLOATS: dict[str, Call] = {
    "std_mean": lambda m, x: [*m.std_mean(x, False), *m.std_mean(x, 0, False), *m.var_mean(x, 1, correction=0)],
    "var_mean": lambda m, x: m.var_mean(x, dim=0, unbiased=True, keepdim=True),
    "cov": lambda m, x: [m.cov(x), m.cov(x[0]), m.cov(x[:1]), m.corrcoef(x), m.corrcoef(x[0])],
    "weighted cov": lambda m, x: [
        m.cov(x, fweights=m.tensor([1, 2, 0, 3])), m.cov(x, aweights=x[0].abs(), correction=0),
        m.cov(x, fweights=m.tensor([1, 2, 1, 3]), aweights=x[1].abs()),
    ],
    "trapezoid": lambda m, x: [
        m.trapezoid(x, x, dim=0), m.cumulative_trapezoid(x, x[:, :1], dim=0), m.trapezoid(x, x[:, 0], dim=0),
    ],
    "names of NumPy": lambda m, x: [
        x.sum(axis=0), m.mean(x, axis=1, keepdims=True), m.cat([x, x], axis=1), x.sort(axis=1)[0], m.exp(x=x),
        m.add(x1=x, x2=x) if m is hs else x + x, m.amax(a=x, axis=(0, 1)), x.softmax(axis=0), (x > 0).all(axis=-1),
    ],
    "flip": lambda m, x: [x.flip(dims=(0, 1)), m.flip(x, dims=[0]), m.flip(x, (1,)), x.flip(0, 1)],
    "squeeze": lambda m, x: [x[:, None].squeeze(()), x[:, None].squeeze((0, 1))],
    "tensor_split": lambda m, x: [*m.tensor_split(x, m.tensor(3)), *m.tensor_split(x, m.tensor([1, 2]), 1)],
    "atleast": lambda m, x: [*m.atleast_1d([x, x[0, 0]]), *m.atleast_2d([x[0]]), m.atleast_3d(x), *m.atleast_3d(x, x)],
    "masked_scatter": lambda m, x: m.masked_scatter(x[0], x > 0, x * 2),
    "quantile": lambda m, x: [m.quantile(x[0, 0], 0.3), m.nanquantile(x[0, 0], 0.3)],
    "repeat_interleave": lambda m, x: m.repeat_interleave(x, 2, 1, output_size=8),
    "cdist": lambda m, x: m.cdist(x, x[:2] + 1, 2.0, "donot_use_mm_for_euclid_dist"),
    "vander": lambda m, x: m.linalg.vander(x[0, 0], N=3),
    "unfold": lambda m, x: m.nn.functional.unfold(x.reshape(1, 1, 3, 4)[:0], 2),
}  # fmt: skip


@pytest.mark.parametrize("name", OF_FLOATS)
def test_seldom_used_arguments(name: str) -> None:
    check(OF_FLOATS[name], floats(3, 4), grad=name not in ("quantile", "masked_scatter"))


def test_of_integers() -> None:
    check(lambda m, x: [m.cov(x), m.repeat_interleave(x[0].abs())], integers(3, 4))
    check(lambda m, x: [m.logspace(0, 1.2, 4, 5.0, dtype=m.int64), m.sign(x > 0)], integers(3, 4))


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_running_sums_of_numbers_far_apart(dtype: Any) -> None:
    x = np.array([[-300.0, -100, 3, 2], [5, -8, -8.0625, 0], [-np.inf, 1, np.inf, 2], [-np.inf, -np.inf, 0, 1]], dtype)
    check(lambda m, x: [m.logcumsumexp(x, 1), m.logcumsumexp(x[:, :0], 1)], x)
    check(lambda m, x: m.logcumsumexp(x[:2], 0), x, grad=dtype is not np.float16)


@pytest.mark.parametrize("shape", [(0, 0), (2, 0, 0), (0, 2, 2)], ids=str)
def test_empty_matrices(shape: tuple[int, ...]) -> None:
    def f(m: Any, a: Any, b: Any) -> Any:
        factors = m.linalg.lu_factor(a)
        norms = [m.linalg.matrix_norm(a, ord) for ord in ("fro", "nuc", 1, 2, float("inf"))]
        return [*factors, m.linalg.lu_solve(*factors, b), m.linalg.solve(a, b), m.linalg.inv(a), *norms]

    check(f, np.zeros(shape), np.zeros((*shape[:-1], 3)))


def test_an_argument_has_one_name() -> None:
    for call in (lambda: hs.ones(2).sum(axis=0, dim=0), lambda: hs.ones(2).sum(axes=0)):
        with pytest.raises(TypeError):
            call()


def test_what_does_not_fit() -> None:
    with pytest.raises(ShapeError, match="output_size 7"):
        hs.repeat_interleave(hs.ones(3), 2, output_size=7)
    with pytest.raises(ShapeError, match="weights"):
        hs.cov(hs.ones(2, 3), fweights=hs.tensor([1, 2]))
    with pytest.raises(ValueError, match="compute_mode"):
        hs.cdist(hs.ones(2, 3), hs.ones(2, 3), compute_mode="fast")


OF_WHOLE_NUMBERS: dict[str, Call] = {
    "pow": lambda m, x: [
        m.tensor([3, 2, -2, 7, -1, 1, 0, 5, -1, 0]) ** m.tensor([-3, 70, 63, 25, -5, -2, -0, 130, -4, 3]),
        x**0, m.tensor([2, 3], dtype=m.uint8) ** m.tensor([7, 200], dtype=m.uint8),
    ],
    "linspace": lambda m, x: [m.linspace(4.3, 1, 50, dtype=m.int64), m.linspace(-2.9, 3.2, 7, dtype=m.int32)],
    "arange": lambda m, x: [
        m.arange(-0.9, 2.1, 2.0, dtype=m.int64), m.arange(0, -8.00001, -4.0, dtype=m.int64),
        m.arange(0.1, -7.9, -4.0, dtype=m.int32),
    ],
    "square": lambda m, x: [m.square(x > 0), m.diff(x > 0), m.diff((x > 0)[:, :0])],
    "hardtanh": lambda m, x: [m.nn.functional.hardtanh(x, -2.5, 3.5), m.nn.functional.relu6(x)],
    "cumsum_": lambda m, x: [x.to(m.uint8).cumsum_(0), x.to(m.uint8).cumprod_(1)],
    "scatter": lambda m, x: [
        m.scatter(x[0, 0], 0, m.tensor(0), m.tensor(7)), m.scatter_add(x[0, 0], 0, m.tensor(0), m.tensor(7)),
        (x > 0).scatter_reduce(1, m.tensor([[0, 1], [2, 2], [1, 3]]), x[:, :2] > 3, "amin"),
        (x > 0).scatter_reduce(1, m.tensor([[0, 1], [2, 2], [1, 3]]), x[:, :2] > 3, "amax", include_self=False),
    ],
    "indices": lambda m, x: [m.tril_indices(3, 4, dtype=m.int32), m.triu_indices(3, 4, 1, device="cpu")],
    "memory_format": lambda m, x: [x.float(memory_format=None), x.bool(), x.half()],
    "hsplit": lambda m, x: [*m.hsplit(x, 2), *m.vsplit(x, [1]), *m.vsplit(x, 3)],
}  # fmt: skip


@pytest.mark.parametrize("name", OF_WHOLE_NUMBERS)
def test_whole_numbers(name: str) -> None:
    check(OF_WHOLE_NUMBERS[name], integers(3, 4))


@pytest.mark.parametrize("mode", ["bilinear", "bicubic", "nearest"])
def test_interpolation_of_bytes(mode: str) -> None:
    x = integers(1, 1, 3, 4, low=0, high=255, dtype=np.uint8)
    found = hs.nn.functional.interpolate(hs.tensor(x), size=(5, 6), mode=mode)
    expected = torch.nn.functional.interpolate(torch.tensor(x), size=(5, 6), mode=mode)
    assert found.dtype == hs.uint8
    off = found.numpy().astype(int) - expected.numpy()  # PyTorch rounds weights, and after each axis
    assert np.abs(off).max() <= (mode != "nearest")


def test_nothing_at_all() -> None:
    x = np.zeros((0, 2), np.float32)
    check(lambda m, x: [m.histogram(x, 3)[1], m.nn.functional.group_norm(x, 1)], x)
    check(lambda m, x: m.nn.functional.adaptive_avg_pool2d(x, (2, 0)), np.zeros((1, 2, 3, 3), np.float32))
    check(lambda m, x: m.nn.functional.pixel_shuffle(x, 1), np.zeros((1, 0, 1, 1), np.float32))


def test_norms_of_half_precision_do_not_overflow() -> None:
    x = np.array([[200.0, -300.0], [1.0, 0.5]], np.float16)
    check(lambda m, x: [m.norm(x, 4), m.norm(x, 3, dim=1), m.dist(x, x * 0.5, 4)], x)


REFUSED: dict[str, Call] = {
    "diag_embed": lambda m, x: m.diag_embed(x, dim1=1, dim2=1),
    "movedim": lambda m, x: m.movedim(x, (0, 0), (0, 1)),
    "movedim of other lengths": lambda m, x: m.movedim(x, (0, 1), (0,)),
    "arange": lambda m, x: m.arange(0, float("inf")),
    "rot90": lambda m, x: m.rot90(x, 1, [1, 1]),
    "hsplit": lambda m, x: m.hsplit(x, 3),
    "vsplit": lambda m, x: m.vsplit(x[0], 1),
    "dsplit": lambda m, x: m.dsplit(x[None], 0),
    "trace": lambda m, x: m.trace(x[None]),
    "diag": lambda m, x: m.diag(x[None]),
    "flipud": lambda m, x: m.flipud(x[0, 0]),
    "diff": lambda m, x: m.diff(x, -1),
    "cov": lambda m, x: m.cov(x, fweights=x[0].abs()),
    "adaptive_avg_pool2d": lambda m, x: m.nn.functional.adaptive_avg_pool2d(x[None], (-1, 0)),
    "tril_indices": lambda m, x: m.tril_indices(-1, 2),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_pytorch_refuses_is_refused(name: str) -> None:
    with pytest.raises((ShapeError, DTypeError)):
        REFUSED[name](hs, hs.tensor(floats(3, 4)))
    with pytest.raises((RuntimeError, ValueError, IndexError)):
        REFUSED[name](torch, torch.tensor(floats(3, 4)))
