"""Functions of complex tensors that are made of others, against PyTorch, with gradients."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import heliostat as hs
from heliostat.diagnostics import HeliostatError

from .compare import check, torch


def numbers(*shape: int, seed: int = 0) -> Any:
    draw = np.random.default_rng(seed)
    return draw.standard_normal(shape) + 1j * draw.standard_normal(shape)


A, B, V, CUBE = numbers(3, 4), numbers(3, 4, seed=1), numbers(4, seed=2), numbers(2, 3, 4, seed=3)
L = np.linalg.cholesky(numbers(3, 3) @ numbers(3, 3).conj().T + np.eye(3))

CASES: dict[str, tuple[Any, ...]] = {
    "trapezoid": (lambda m, a, b: [m.trapezoid(a, b), m.trapezoid(a, dx=0.5, dim=0), m.trapz(a, a[0])], A, B),
    "cumulative_trapezoid": (lambda m, a, b: [m.cumulative_trapezoid(a, b), m.cumulative_trapezoid(a, dim=0)], A, B),
    "moments": (lambda m, a: [*m.var_mean(a), *m.std_mean(a, 1), *m.var_mean(a, (0, 1), correction=0)], A),
    "cov": (lambda m, a, v: [m.cov(a), m.cov(v), m.cov(a, correction=0, aweights=v.real.abs())], A, V),
    "corrcoef": (lambda m, a: m.corrcoef(a), A),
    "addbmm": (lambda m, a, c: m.addbmm(a[:, :3], c, c.mT, beta=2, alpha=0.5 + 1j), A, CUBE),
    "gradient": (lambda m, a: [*m.gradient(a), *m.gradient(a, spacing=0.5, dim=1, edge_order=2)], A),
    "logdet": (lambda m, a: m.logdet(a), L),
    "renorm": (lambda m, a: m.renorm(a, 2, 0, 1.0), A),
    "sinc": (lambda m, a: m.sinc(a), A),
    "ldexp": (lambda m, a: m.ldexp(a, m.tensor([1, 2, 3, 0])), A),
    "logsumexp": (lambda m, a: [m.logsumexp(a, 0), m.logsumexp(a * 300, (0, 1), True)], A),
    "logaddexp": (lambda m, a, b: m.logaddexp(a, b), A, B),
    "logcumsumexp": (lambda m, a: m.logcumsumexp(a, 1).exp(), A),
    "cumprod": (lambda m, a, c: [m.cumprod(a, 1), m.cumprod(c, 0), m.cumprod(a[:, :0], 1)], A, CUBE),
    "cholesky": (lambda m, a, b: [m.cholesky_inverse(a.tril()), m.cholesky_solve(b, a.tril())], L, A),
    "pad": (
        lambda m, c: [
            m.nn.functional.pad(c, (1, -2, 2, 0)), m.nn.functional.pad(c, (1, 1), value=2.5),
            m.nn.functional.pad(c, (2, 1), "reflect"), m.nn.functional.pad(c, (2, 1, 0, 3), "replicate"),
        ], CUBE,
    ),
    "index_put": (lambda m, a, v: a.index_put((m.tensor([0, 2]), m.tensor([1, 1])), v[:2]), A, V),
    "index_put adds": (lambda m, a, v: a.index_put((m.tensor([1, 1]),), v, accumulate=True), A, V),
    "index_fill": (lambda m, a: a.index_fill(1, m.tensor([0, 2]), 2 - 1j), A),
    "scatter": (lambda m, a, b: a.scatter(1, m.tensor([[0, 3], [2, 1]]), b[:2, :2]), A, B),
    "scatter adds": (lambda m, a, b: a.scatter(0, m.tensor([[1, 0]]), b[:1, :2], reduce="add") if m is hs else
                     a.scatter_add(0, m.tensor([[1, 0]]), b[:1, :2]), A, B),
    "masked_scatter": (lambda m, a, b: a.masked_scatter(a.real > 0, b), A, B),
    "einsum": (lambda m, a, b, v: [m.einsum("ij,ij,j->i", a, b, v), m.einsum("ij->j", [a])], A, B, V),
    "norm": (lambda m, a, c: [m.norm(a, "nuc"), m.norm(c, "nuc", (0, 2)), m.norm(c, 3, 1)], A, CUBE),
    "conv1d": (lambda m, c, w, b: m.nn.functional.conv1d(c, w, b, 2, 1), CUBE, numbers(2, 3, 2, seed=5), V[:2]),
    "conv2d": (lambda m, c, w: m.nn.functional.conv2d(c, w, padding="same", groups=2),
               numbers(1, 2, 4, 3), numbers(2, 1, 2, 2, seed=5)),
    "conv_transpose2d": (lambda m, c, w, b: m.nn.functional.conv_transpose2d(c, w, bias=b, stride=2, output_padding=1),
                         numbers(1, 2, 3, 3), numbers(2, 2, 2, 2, seed=5), V[:2]),
    "squeeze": (lambda m, a: [a[None, :, None].squeeze(()), a[None, :, None].squeeze((0, 2))], A),
    "istft": (lambda m, z: m.istft(z, 6, onesided=False, center=False), numbers(6, 5)),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_equal_pytorch(name: str) -> None:
    f, *arrays = CASES[name]
    check(f, *arrays, grad=True, rtol=1e-6)  # PyTorch's sinc has no more


def test_without_gradients() -> None:
    check(lambda m, a: m.nonzero_static(a, size=5), np.array([0, 1j, 2, 0]))
    check(lambda m, v: [m.vander(v), m.linalg.vander(v, N=3), m.nn.functional.silu(v), m.ldexp(v, m.tensor(-3))], V)
    check(lambda m, a, b: [m.logaddexp(a, b.real), a.scatter(0, m.tensor([[1]]), 1j)], A, B)
    check(lambda m, a, b: m.put(a, m.tensor([0, 5]), b[0, :2]), A, B)
    check(lambda m, a: m.logaddexp(a, a.flip(0)), np.array([-np.inf, -np.inf, 1 + 1j]))
    x = hs.tensor(A)
    x.index_put_((hs.tensor([0]),), hs.tensor(V))
    np.testing.assert_array_equal(x.numpy()[0], V)


def test_dtypes_empty_axes_and_numbered_axes() -> None:
    def sums(m: Any, a: Any) -> Any:
        wide = [f(a, 0, dtype=m.complex128) for f in (m.sum, m.mean, m.cumsum, m.cumprod)]
        return [*wide, m.norm(a, 2, dtype=m.complex128), m.norm(a, "nuc", dtype=m.complex128)]

    check(sums, A.astype(np.complex64))
    check(lambda m, a: m.logsumexp(a[:0], 0), A)
    check(lambda m, a, b: m.einsum(a, [0, 1], b, [2, 1], [2, 0]), A, B)
    padded = hs.compile(lambda x: hs.pad(x + 1j * x, (1, -1), value=2j))(hs.ones(3))
    assert padded.tolist() == [2j, 1 + 1j, 1 + 1j]


def test_second_slopes_of_sizes_on_an_axis() -> None:
    """Where one of both parts is 0 the size still bends across."""

    found = []
    for m, x in ((hs, hs.tensor), (torch, torch.tensor)):
        a = x([[3.0, 0.0, -1.5, 2.0], [0.0, -2.0, 0.0, 2.0]], requires_grad=True)
        g = m.autograd.grad(m.hypot(a[0], a[1]).sum(), a, create_graph=True)[0]
        found.append(m.autograd.grad((g * x([[1.0], [2.0]])).sum(), a)[0].numpy())
    np.testing.assert_allclose(*found, rtol=1e-5, atol=1e-6)


def test_what_is_refused() -> None:
    a = hs.tensor(A)
    for call in (
        lambda: a.scatter(0, hs.tensor([[0]]), 1j, reduce="multiply"), lambda: hs.cov(hs.tensor(CUBE)),
        lambda: hs.pad(a[0], (1, 1, 1, 1)), lambda: hs.istft(a, 3, window=hs.tensor(V[:3])),
        lambda: a.real.scatter(0, hs.tensor([[0]]), a), lambda: a.real.put(hs.tensor([0]), a[0]),
        lambda: a.real.index_put((hs.tensor([0]),), a), lambda: a.real.index_fill(0, hs.tensor([0]), 1j),
        lambda: hs.pad(a.real, (1, 1), value=1j), lambda: hs.norm(a.real, dtype=hs.complex128),
    ):  # fmt: skip
        with pytest.raises(HeliostatError):
            call()
