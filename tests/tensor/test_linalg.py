"""Products of matrices, einsum and linear algebra, against PyTorch."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

import heliostat as hs
from heliostat.diagnostics import DTypeError, ShapeError

from .compare import check, floats, integers, torch

SHAPES = [
    ((3, 4), (4, 5)), ((4,), (4,)), ((3, 4), (4,)), ((4,), (4, 5)), ((2, 3, 4), (4, 5)), ((2, 3, 4), (2, 4, 5)),
    ((2, 1, 3, 4), (5, 4, 2)), ((3, 4), (2, 4, 5)), ((1, 1), (1, 1)), ((2, 3, 4), (4,)), ((4,), (2, 4, 3)),
    ((65, 70), (70, 33)), ((1, 300), (300, 17)), ((7, 0), (0, 3)),
]  # fmt: skip


@pytest.mark.parametrize("shapes", SHAPES, ids=str)
def test_matmul(shapes: Any) -> None:
    a, b = floats(*shapes[0]), floats(*shapes[1], seed=1)
    check(lambda m, a, b: a @ b, a, b, grad=True)
    check(lambda m, a, b: m.matmul(a, b), a.astype(np.float32), b.astype(np.float32), grad=True, rtol=3e-5)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_matmul_of_short_floats(dtype: str) -> None:
    a, b = (torch.tensor(floats(*s)).to(getattr(torch, dtype)) for s in ((9, 33), (33, 5)))
    check(lambda m, a, b: a @ b, a, b)


def test_matmul_of_integers() -> None:
    check(lambda m, a, b: a @ b, integers(5, 7), integers(7, 3))


@pytest.mark.parametrize("seed", range(6))
def test_matmul_of_views(seed: int) -> None:
    rng = np.random.default_rng(seed)
    n, k, p = rng.integers(1, 40, 3)
    check(lambda m, a, b: a.t() @ b.mT, floats(k, n), floats(p, k, seed=1), grad=True)
    check(
        lambda m, a, b: a[:, ::2].t() @ b.reshape(k, -1)[:, :p], floats(k, 2 * n), floats(p + 1, k, seed=1), grad=True
    )


def test_named_products() -> None:
    a, b, v, w = floats(3, 4), floats(4, 5, seed=1), floats(4, seed=2), floats(4, seed=3)
    check(
        lambda m, a, b, v, w: [m.mm(a, b), m.mv(a, v), m.dot(v, w), m.outer(v, w), m.inner(v, w)], a, b, v, w, grad=True
    )
    check(
        lambda m, a, b, v, w: [m.kron(a, b), m.chain_matmul(a, b, b.t()), m.tensordot(a, b, 1)], a, b, v, w, rtol=1e-8
    )
    check(lambda m, a, b, v, w: m.tensordot(a, b, ([1], [0])), a, b, v, w, grad=True)
    x, y, z = floats(2, 3, 4), floats(2, 4, 5, seed=1), floats(2, 3, 5, seed=2)
    check(
        lambda m, x, y, z: [m.bmm(x, y), m.baddbmm(z, x, y, beta=0.5, alpha=2), m.addbmm(z[0], x, y)],
        x,
        y,
        z,
        grad=True,
    )
    c = floats(3, 5, seed=5)
    check(lambda m, a, b, c: [m.addmm(c, a, b), m.addmm(c, a, b, beta=0, alpha=3)], a, b, c, grad=True)
    check(lambda m, a, v, u: m.addmv(u, a, v), a, v, floats(3), grad=True)
    check(lambda m, v, w, c: m.addr(c, v, w), v, w, floats(4, 4, seed=6), grad=True)
    check(lambda m, a: [m.matrix_power(a @ a.t(), 3), m.matrix_power(a @ a.t(), 0)], a, rtol=1e-8)
    check(lambda m, a, b: m.cross(a, b, dim=1), floats(4, 3), floats(4, 3, seed=1), grad=True)
    for p in (1.0, 2.0, 3.0):
        check(lambda m, a, b, p=p: m.cdist(a, b, p), floats(4, 3), floats(5, 3, seed=1), grad=True, rtol=1e-7)


EINSUM = [
    ("ij,jk->ik", (3, 4), (4, 5)), ("ij,jk", (3, 4), (4, 5)), ("bij,bjk->bik", (2, 3, 4), (2, 4, 5)),
    ("i,i->", (4,), (4,)), ("i,j->ij", (3,), (4,)), ("ij->ji", (3, 4)), ("ii->i", (4, 4)), ("ii->", (4, 4)),
    ("ij->", (3, 4)), ("ij->j", (3, 4)), ("bhqd,bhkd->bhqk", (2, 3, 4, 5), (2, 3, 6, 5)),
    ("...ij,...jk->...ik", (2, 3, 4), (4, 5)),
    ("...i,...i->...", (2, 3, 4), (3, 4)), ("ij,jk,kl->il", (2, 3), (3, 4), (4, 5)), ("ab,cd->abcd", (2, 3), (4, 5)),
    ("abc,cd,ad->bd", (2, 3, 4), (4, 5), (2, 5)), ("ij,ij->ij", (3, 4), (3, 4)), ("iij->j", (3, 3, 4)), ("ba", (2, 3)),
    ("i...->...", (3, 4, 5)), ("ij,j->i", (3, 4), (4,)), ("bij,kj->bik", (2, 3, 4), (5, 4)),
]  # fmt: skip


@pytest.mark.parametrize("case", EINSUM, ids=lambda c: c[0])
def test_einsum(case: Any) -> None:
    equation, *shapes = case
    check(lambda m, *xs: m.einsum(equation, *xs), *(floats(*s, seed=i) for i, s in enumerate(shapes)), grad=True)


def test_decompositions() -> None:
    a = floats(4, 4) + 4 * np.eye(4)
    check(lambda m, a: [m.inverse(a), m.det(a), m.logdet(a @ a.t())], a, grad=True, rtol=1e-7)
    check(lambda m, a: [*m.slogdet(a), m.linalg.cholesky(a @ a.mT), m.pinverse(a), m.matrix_exp(a / 4)], a, rtol=1e-7)
    x = hs.tensor(a[:, :3])
    u, s, v = x.svd()
    np.testing.assert_allclose((u * s) @ v.mT, x, rtol=1e-9, atol=1e-9)
    q, r = x.qr()
    np.testing.assert_allclose(q @ r, x, rtol=1e-9, atol=1e-9)
    check(lambda m, a: [*m.linalg.qr(a[:3]), *m.linalg.qr(a[:3], "complete")], a, grad=True, rtol=1e-7)
    with pytest.raises(hs.diagnostics.UnsupportedError, match="more columns"):
        hs.linalg.qr(hs.tensor(a[:, :3], requires_grad=True), "complete")[0].sum().backward()


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.complex128])
def test_exponentials_of_matrices(dtype: Any) -> None:
    """Matrices of one batch need different powers of two, from none to many."""
    x = (floats(6, 5, 5) * np.array([0.0, 1e-3, 0.3, 2, 9, 60])[:, None, None]).astype(dtype)
    if dtype == np.complex128:
        x = x[:4] + 1j * x[:4].transpose(0, 2, 1)
    check(lambda m, x: m.matrix_exp(x), x, rtol=1e-4 if dtype == np.float32 else 1e-10)
    check(lambda m, x: m.matrix_exp(x), x[:3], rtol=1e-4 if dtype == np.float32 else 1e-10, grad=True)
    if dtype == np.float32:
        for given in (x, hs.zeros(0, 3, 3), hs.full((2, 2), math.nan), hs.full((1, 1), math.inf)):
            found = hs.matrix_exp(hs.as_tensor(given)).numpy()
            np.testing.assert_array_equal(hs.compile(hs.matrix_exp)(hs.as_tensor(given)).numpy(), found)
            assert np.isfinite(found).all() == np.isfinite(np.asarray(given)).all()


def test_exponentials_of_one_matrix_of_a_batch() -> None:
    x = hs.tensor(floats(2, 3, 4, 4) * np.array([1e-3, 1, 60])[:, None, None])
    each = hs.func.vmap(hs.func.vmap(hs.matrix_exp))
    for f in (each, hs.compile(each)):
        np.testing.assert_array_equal(f(x).numpy(), hs.matrix_exp(x).numpy())
    check(lambda m, x: m.func.vmap(m.func.grad(lambda a: m.matrix_exp(a).sum()))(x), x[0].numpy(), rtol=1e-9)


def test_norms_of_matrices_need_two_axes() -> None:
    for x in (hs.ones(2, 3), hs.ones(2, 3) + 0j):
        with pytest.raises(ValueError, match="'nuc' are of matrices"):
            hs.linalg.norm(x, "nuc", dim=0)


def test_axes_of_one_are_summed_against_all() -> None:
    check(lambda m, a, b: m.tensordot(a, b, ([0, 1], [2, 0])), floats(1, 1, 3), floats(2, 3, 2), grad=True)
    check(lambda m, a, b: m.tensordot(a, b, 1), floats(2, 4), floats(1, 3), grad=True)
    check(lambda m, a, b: m.tensordot(a, b, 1), np.ones((2, 4), np.int32), np.full((1, 3), 2, np.int32))
    for dims in (([0], [0, 1]), ([0], [0])):
        with pytest.raises(ShapeError, match="tensordot"):
            hs.tensordot(hs.ones(2, 4), hs.ones(3, 3), dims)


def test_nuclear_norms() -> None:
    check(lambda m, a: [m.norm(a[0], "nuc"), m.norm(a, "nuc", (0, 2)), a.norm("nuc", (1, 2), True)], floats(2, 3, 4),
          grad=True, rtol=1e-7)  # fmt: skip
    for call in (lambda: hs.ones(3).norm("nuc"), lambda: hs.ones(3, 3).norm("nuc", 1)):
        with pytest.raises(ShapeError, match="nuc"):
            call()
    with pytest.raises(ValueError, match="'max'"):
        hs.ones(3).norm("max")


def test_slopes_of_determinants_of_singular_matrices() -> None:
    x = floats(3, 4, 4)
    x[1, 2] = x[1, 0] + 2 * x[1, 1]
    x[2] = np.diag([3.0, 0.0, 2.0, 0.0])
    a = hs.tensor(x, requires_grad=True)
    hs.linalg.det(a).sum().backward()
    rows = [[np.delete(np.delete(m, i, 0), j, 1) for j in range(4)] for m in x for i in range(4)]
    sign = (-1.0) ** np.add.outer(np.arange(4), np.arange(4))
    np.testing.assert_allclose(a.grad, np.linalg.det(np.array(rows).reshape(3, 4, 4, 3, 3)) * sign, atol=1e-12)


def test_errors() -> None:
    a, b = hs.zeros(2, 3), hs.zeros(4, 5)
    for f in (
        lambda: a @ b, lambda: hs.mm(a, hs.zeros(3)), lambda: hs.bmm(hs.zeros(2, 3, 4), hs.zeros(3, 4, 5)),
        lambda: hs.zeros(2, 3, 4) @ hs.zeros(3, 4, 5), lambda: hs.tensor(1.0) @ a,
        lambda: hs.dot(hs.zeros(3), hs.zeros(4)),
        lambda: hs.einsum("ij,jk->ik", a, b), lambda: hs.einsum("ij->ik", a), lambda: hs.einsum("i", a),
        lambda: hs.einsum("ij,jk", a), lambda: hs.inverse(hs.zeros(2, 2)),
    ):  # fmt: skip
        with pytest.raises(ShapeError):
            f()
    for f in (lambda: a @ hs.zeros(3, 2, dtype=hs.float64), lambda: a @ 2, lambda: a.bool() @ a.bool().t()):
        with pytest.raises((DTypeError, TypeError)):
            f()


def test_powers_of_stacks_and_conditions_of_nothing() -> None:
    x = floats(2, 3, 3)
    check(lambda m, x: [m.linalg.matrix_power(x, n) for n in (0, 1, 5, -1)], x)
    check(lambda m, x: m.linalg.cond(x), np.zeros((2, 0, 0)))
    for dtype in (hs.float32, hs.complex64):
        with pytest.raises(ShapeError, match=r"square matrices.*\[2, 3\]"):
            hs.linalg.matrix_power(hs.zeros(2, 3, dtype=dtype), 0)
        with pytest.raises(TypeError, match="integer"):
            hs.linalg.matrix_power(hs.eye(2, dtype=dtype), 2.5)  # type: ignore[arg-type]
    with pytest.raises(DTypeError, match="inverse takes float32 and float64, found f16"):
        hs.inverse(hs.eye(2, dtype=hs.float16))
