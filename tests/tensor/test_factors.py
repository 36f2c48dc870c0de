"""Systems, factorizations, eigenvalues and norms, against PyTorch."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest

import heliostat as hs
from heliostat.diagnostics import DTypeError, IndexOutOfRangeError, ShapeError, UnsupportedError

from .compare import check, floats, ours, same, torch

SQUARES = [(3, 3), (2, 3, 3), (1, 1), (2, 1, 4, 4), (0, 3, 3)]


def square(*shape: int, seed: int = 0) -> Any:
    return floats(*shape, seed=seed) + 3 * np.eye(shape[-1])


@pytest.mark.parametrize("shape", SQUARES, ids=str)
def test_systems(shape: Any) -> None:
    a, b = square(*shape), floats(*shape[:-1], 2, seed=1)
    check(lambda m, a, b: [m.linalg.solve(a, b), m.linalg.solve(a, b.mT, left=False)], a, b, grad=True)
    check(lambda m, a, b: m.linalg.solve(a, b), a, floats(*shape[:-1], seed=2), grad=True)
    check(lambda m, a, b: m.linalg.solve(a, b), a.astype(np.float32), b.astype(np.float32), grad=True, rtol=1e-4)
    for upper, left, unit in itertools.product((False, True), repeat=3):
        check(
            lambda m, a, b, u=upper, s=left, o=unit: m.linalg.solve_triangular(
                a, b if s else b.mT, upper=u, left=s, unitriangular=o
            ),
            a, b, grad=True,
        )  # fmt: skip
    check(lambda m, a, b: m.triangular_solve(b, a, upper=False, transpose=True), a, b, grad=True)
    check(lambda m, a: m.linalg.inv_ex(a), a)


def test_systems_broadcast() -> None:
    check(lambda m, a, b: m.linalg.solve(a, b), square(3, 3), floats(2, 3, 2), grad=True)
    check(lambda m, a, b: m.linalg.solve_triangular(a, b, upper=True), square(2, 1, 3, 3), floats(4, 3, 2), grad=True)
    check(
        lambda m, a, b: m.linalg.solve_triangular(a, b, upper=True),
        np.triu(np.ones((2, 2))) - np.eye(2),
        np.ones((2, 1)),
    )


@pytest.mark.parametrize("shape", [(3, 3), (2, 4, 4), (3, 5), (5, 3), (2, 2, 3), (1, 1), (0, 2, 2)], ids=str)
def test_lu(shape: Any) -> None:
    a = floats(*shape)
    check(lambda m, a: [*m.linalg.lu_factor(a)], a, grad=True)
    check(lambda m, a: [*m.linalg.lu(a)], a, grad=True)
    check(lambda m, a: [*m.lu(a, get_infos=True)], a)
    check(lambda m, a: [*m.lu_unpack(*m.linalg.lu_factor(a))], a, grad=True)
    x = hs.tensor(a)
    p, low, up = hs.linalg.lu(x)
    np.testing.assert_allclose(p @ low @ up, a, atol=1e-12)
    if shape[-1] == shape[-2]:
        b = floats(*shape[:-1], 2, seed=4)
        check(lambda m, a, b: m.lu_solve(b, *m.linalg.lu_factor(a)), a, b, grad=True, rtol=1e-7)
        for left, adjoint in itertools.product((False, True), repeat=2):
            check(
                lambda m, a, b, s=left, o=adjoint: m.linalg.lu_solve(
                    *m.linalg.lu_factor(a), b if s else b.mT, left=s, adjoint=o
                ),
                a, b, grad=True, rtol=1e-7,
            )  # fmt: skip


def test_lu_of_singular_matrices() -> None:
    a = np.array([[[0.0, 1], [0, 2]], [[1, 2], [2, 4]], [[1, 0], [0, 1]]])
    check(lambda m, a: [*m.linalg.lu_factor_ex(a)], a)
    with pytest.raises(ShapeError, match="pivot"):
        hs.linalg.lu_factor_ex(hs.tensor(a), check_errors=True)


@pytest.mark.parametrize("shape", [(3, 3), (5, 3), (2, 4, 2), (3, 5), (4, 0)], ids=str)
def test_reflections(shape: Any) -> None:
    a = floats(*shape)
    check(lambda m, a: [*m.geqrf(a)], a)
    h, tau = np.array(torch.geqrf(torch.tensor(a))[0]), np.array(torch.geqrf(torch.tensor(a))[1])
    if shape[-2] >= shape[-1] > 0:
        check(lambda m, h, t: m.orgqr(h, t), h, tau, grad=True, rtol=1e-8)
        other = floats(*shape[:-2], shape[-2], 3, seed=5)
        for left, transpose in itertools.product((False, True), repeat=2):
            check(
                lambda m, h, t, o, s=left, p=transpose: m.ormqr(h, t, o if s else o.mT, s, p), h, tau, other,
                grad=True, rtol=1e-8,
            )  # fmt: skip
    with pytest.raises(UnsupportedError, match="gradient"):
        hs.geqrf(hs.tensor(a, requires_grad=True))


@pytest.mark.parametrize("shape", [(3, 3), (2, 4, 4), (1, 1)], ids=str)
def test_eigenvalues(shape: Any) -> None:
    a = floats(*shape)

    def projected(m: Any, a: Any) -> Any:
        w, v = m.linalg.eigh(a + a.mT)
        return [w, v.abs(), m.linalg.eigvalsh(a + a.mT, "U"), (v * w[..., None, :]) @ v.mT]

    check(projected, a, grad=True, rtol=1e-7)
    check(lambda m, a: m.linalg.eigvalsh(a), np.broadcast_to(np.eye(3), (2, 3, 3)).copy(), grad=True)


@pytest.mark.parametrize("shape", [(3, 3), (4, 3), (2, 3, 5)], ids=str)
def test_singular_values_and_norms(shape: Any) -> None:
    a = floats(*shape)
    check(lambda m, a: m.linalg.svdvals(a), a, grad=True, rtol=1e-7)
    check(
        lambda m, a: [m.linalg.matrix_norm(a, o) for o in ("fro", "nuc", 1, -1, 2, -2, np.inf, -np.inf)],
        a,
        grad=True,
        rtol=1e-7,
    )
    check(lambda m, a: [m.linalg.matrix_norm(a, o, (-1, 0), True) for o in ("fro", "nuc", 1, 2, np.inf)], a, rtol=1e-7)
    check(lambda m, a: [m.linalg.vector_norm(a, o, -1, True) for o in (1, 2, 3.5, 0, np.inf, -np.inf)], a, rtol=1e-8)
    check(lambda m, a: [m.linalg.norm(a), m.linalg.norm(a, dim=(0, 1)), m.linalg.norm(a, "nuc", (0, 1))], a, rtol=1e-8)
    check(lambda m, a: [m.linalg.cond(a), m.linalg.cond(a, -2)], a, grad=True, rtol=1e-7)
    check(lambda m, a: [m.linalg.matrix_rank(a), m.linalg.pinv(a, atol=1.0), m.linalg.pinv(a, rtol=0.5)], a, rtol=1e-8)
    check(lambda m, a: m.linalg.pinv(a), a, grad=True, rtol=1e-7)
    u, s, vh = hs.linalg.svd(hs.tensor(a), full_matrices=False)
    np.testing.assert_allclose((u * s[..., None, :]) @ vh, a, atol=1e-12)
    check(lambda m, a: m.linalg.matrix_rank(a), np.outer([1.0, 2, 3], [1.0, 1]))
    for p in ("fro", 1, np.inf):
        check(lambda m, a, p=p: m.linalg.cond(a, p), square(3, 3), rtol=1e-7)


def test_least_squares() -> None:
    a, b = floats(5, 3), floats(5, 2, seed=1)
    check(lambda m, a, b: [*m.linalg.lstsq(a, b)], a, b)
    check(lambda m, a, b: [*m.linalg.lstsq(a, b, driver="gelsd")], a, b)
    check(lambda m, a, b: m.linalg.lstsq(a, b).solution, a, b, grad=True, rtol=1e-7)
    check(lambda m, a, b: m.linalg.lstsq(a.mT, b[:3]).solution, a, b, grad=True, rtol=1e-7)


def test_products_and_tensors() -> None:
    a, b, c, v = floats(3, 4), floats(4, 6, seed=1), floats(6, 2, seed=2), floats(3, seed=3)
    check(lambda m, a, b, c: m.linalg.multi_dot([a, b, c]), a, b, c, grad=True)
    check(lambda m, v, a, b, c: m.linalg.multi_dot([v, a, b, c, v[:2]]), v, a, b, c, grad=True)
    check(lambda m, a: m.linalg.tensorinv(a, ind=1), floats(6, 2, 3), grad=True, rtol=1e-7)
    check(lambda m, a, b: m.linalg.tensorsolve(a, b), floats(2, 3, 6), floats(2, 3), grad=True, rtol=1e-7)
    check(lambda m, a, b: m.linalg.tensorsolve(a, b, (0,)), floats(6, 2, 3), floats(2, 3), rtol=1e-7)
    check(lambda m, a: [m.linalg.vander(a), m.linalg.vander(a, N=2), m.linalg.vander(a, N=5)], floats(2, 3), grad=True)
    check(lambda m, a, b: m.linalg.vecdot(a, b, dim=0), a, floats(3, 1), grad=True)
    check(lambda m, a: [m.linalg.diagonal(a), m.linalg.diagonal(a, offset=1)], floats(2, 3, 4), grad=True)
    check(lambda m, a, b: m.linalg.cross(a, b), floats(1, 2, 3), floats(4, 1, 3), grad=True)


def test_low_rank() -> None:
    hs.manual_seed(0)
    a = floats(2, 9, 4) @ floats(2, 4, 7, seed=1)
    u, s, v = hs.svd_lowrank(hs.tensor(a), 4)
    np.testing.assert_allclose((u * s[..., None, :]) @ v.mT, a, atol=1e-9)
    np.testing.assert_allclose(s, np.linalg.svd(a)[1][..., :4], rtol=1e-9)
    u, s, v = hs.pca_lowrank(hs.tensor(a), 4)
    np.testing.assert_allclose(s, np.linalg.svd(a - a.mean(-2, keepdims=True))[1][..., :4], rtol=1e-9)
    sym = floats(9, 9) + floats(9, 9).T
    b = floats(9, 9, seed=2) @ floats(9, 9, seed=2).T + 9 * np.eye(9)
    for largest in (True, False):
        w, x = hs.lobpcg(hs.tensor(sym), 2, hs.tensor(b), largest=largest)
        np.testing.assert_allclose(sym @ x.numpy(), b @ x.numpy() * w.numpy(), atol=1e-9)
        expected = np.sort(np.linalg.eigvals(np.linalg.solve(b, sym)).real)
        np.testing.assert_allclose(w, expected[::-1][:2] if largest else expected[:2], rtol=1e-9)
    with pytest.raises(ValueError, match="3 times"):
        hs.lobpcg(hs.tensor(sym), 4)


def test_errors() -> None:
    x = hs.zeros(3, 3)
    for f in (
        lambda: hs.linalg.solve(x, hs.ones(3, 1)), lambda: hs.linalg.solve(hs.eye(3), hs.ones(2, 1)),
        lambda: hs.linalg.eigh(hs.ones(3, 2)), lambda: hs.linalg.cond(hs.ones(3, 2), 1),
        lambda: hs.linalg.multi_dot([x]), lambda: hs.orgqr(hs.ones(2, 3), hs.ones(2)),
    ):  # fmt: skip
        with pytest.raises(ShapeError):
            f()
    with pytest.raises(DTypeError, match="float32 or float64"):
        hs.linalg.eigh(hs.ones(2, 2, dtype=hs.float16))
    with pytest.raises(DTypeError, match="f32 and f64"):
        hs.linalg.solve(hs.eye(2), hs.ones(2, 1, dtype=hs.float64))
    with pytest.raises(UnsupportedError, match="gradient"):
        hs.linalg.ldl_factor(hs.eye(3, requires_grad=True))
    factor, pivots = hs.linalg.ldl_factor(hs.eye(3))
    for wrong in ([0, 1, 2], [1, 1, 3], [1, 2, 4], [-2, 1, 3], [1, 2, -3], [-(2**31), -(2**31), 3]):
        with pytest.raises(IndexOutOfRangeError, match="ldl_factor"):
            hs.linalg.ldl_solve(factor, hs.tensor(wrong, dtype=hs.int32), x)
    with pytest.raises(ShapeError, match="do not fit"):
        hs.linalg.ldl_solve(factor, pivots, hs.ones(2, 1))


MIXED = np.stack([np.ones((3, 3)), 2 * np.eye(3), np.diag([1.0, 0, 2])])


@pytest.mark.parametrize("complex_", [False, True])
def test_matrices_without_a_result_are_told_apart(complex_: bool) -> None:
    """Numbers as PyTorch's, NaN for all of what is not there, and gradients of the others alone."""
    a = MIXED * (1 + 0j) if complex_ else MIXED
    for f in (
        lambda m, a: m.linalg.inv_ex(a), lambda m, a: m.linalg.solve_ex(a, a[..., :2] + 1),
        lambda m, a: m.linalg.solve_ex(a, a[..., :2, :] + 1, left=False),
        lambda m, a: m.linalg.solve_ex(a, a[..., 0] + 1),
    ):  # fmt: skip
        (found, info), (expected, numbers) = f(hs, hs.tensor(a)), f(torch, torch.tensor(a))
        assert info.dtype == hs.int32
        assert info.tolist() == numbers.tolist() == [2, 0, 2]
        assert found.shape == tuple(expected.shape)
        assert np.isnan(found.numpy()[[0, 2]]).all()
        np.testing.assert_allclose(found.numpy()[1], expected[1].resolve_conj(), rtol=1e-12)
    with pytest.raises(hs.linalg.LinAlgError, match=r"[Ss]ingular"):
        hs.linalg.inv_ex(hs.tensor(a), check_errors=True)
    check(lambda m, a: [m.linalg.cond(a, 1), m.linalg.cond(a, "fro")], a)
    x = hs.tensor(a, requires_grad=True)
    hs.linalg.inv_ex(x).inverse[1].abs().sum().backward()
    assert x.grad[[0, 2]].abs().sum().item() == 0
    assert x.grad[1].abs().sum().item() > 0
    assert hs.func.vmap(lambda m: hs.linalg.inv_ex(m).info)(hs.tensor(a)).tolist() == [2, 0, 2]


@pytest.mark.parametrize("complex_", [False, True])
def test_minors_that_are_not_positive_are_counted(complex_: bool) -> None:
    a = square(6, 5, 5) * 0.1
    a = a @ a.swapaxes(-1, -2) + np.eye(5)
    for i in range(1, 6):
        a[i, i - 1, i - 1] = -1
    a = a * (1 + 0j) if complex_ else a
    for upper in (False, True):
        found, info = hs.linalg.cholesky_ex(hs.tensor(a), upper=upper)
        assert info.tolist() == torch.linalg.cholesky_ex(torch.tensor(a), upper=upper).info.tolist() == [*range(6)]
        assert np.isnan(found.numpy()[1:]).any((-1, -2)).all()
        np.testing.assert_allclose(
            found.numpy()[0], torch.linalg.cholesky(torch.tensor(a[0]), upper=upper).resolve_conj()
        )
    with pytest.raises(RuntimeError, match="positive definite"):
        hs.linalg.cholesky_ex(hs.tensor(a), check_errors=True)
    unknown = np.eye(4) * (1 + 0j if complex_ else 1)
    unknown[2, 2] = np.nan
    assert hs.linalg.cholesky_ex(hs.tensor(unknown)).info.item() == 3
    with pytest.raises(hs.linalg.LinAlgError, match="positive definite"):
        hs.linalg.cholesky(hs.tensor(unknown))


@pytest.mark.parametrize("n", [1, 2, 3, 5, 12])
def test_factors_of_indefinite_matrices(n: int) -> None:
    """Pivots of one and two rows, exchanged or not, are LAPACK's; whole numbers have ties and zeros."""
    draw = np.random.default_rng(n)
    for trial in range(12):
        a = draw.standard_normal((2, n, n)) if trial % 2 else draw.integers(-2, 3, (2, n, n)).astype(float)
        a = (a + a.swapaxes(-1, -2)) * (1 - np.eye(n) * (trial % 3 == 0))
        found, expected = hs.linalg.ldl_factor_ex(hs.tensor(a)), torch.linalg.ldl_factor_ex(torch.tensor(a))
        assert found.info.tolist() == expected.info.tolist()
        assert found.pivots.tolist() == expected.pivots.tolist()
        if any(found.info.tolist()):
            with pytest.raises(hs.linalg.LinAlgError, match="singular"):
                hs.linalg.ldl_factor(hs.tensor(a))
            continue
        np.testing.assert_allclose(found.LD.numpy(), expected.LD, rtol=1e-7, atol=1e-9)
        if np.linalg.cond(a).max() < 1e6:
            y = hs.linalg.ldl_solve(*found[:2], hs.tensor(floats(n, 3)))
            np.testing.assert_allclose(a @ y.numpy(), np.broadcast_to(floats(n, 3), (2, n, 3)), atol=1e-7)
    b = hs.tensor(floats(n, 2), requires_grad=True)
    a = hs.tensor(np.eye(n) - 2 * (np.arange(n)[:, None] == np.arange(n)[::-1]))
    hs.linalg.ldl_solve(*hs.linalg.ldl_factor(a), b)[0].sum().backward()
    np.testing.assert_allclose(b.grad, np.repeat(np.linalg.inv(a.numpy())[:, :1], 2, 1), atol=1e-12)


def test_inside_of_vmap() -> None:
    a = square(4, 3, 3)
    for f in (hs.linalg.eigvalsh, lambda x: hs.linalg.lu_factor(x)[0], lambda x: hs.linalg.solve(x, x.mT)):
        same(hs.vmap(f)(ours(a)), torch.stack([torch.tensor(np.asarray(f(ours(x)))) for x in a]))
