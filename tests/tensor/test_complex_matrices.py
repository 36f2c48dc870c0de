"""Linear algebra of complex matrices, with gradients, against PyTorch."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import heliostat as hs
from heliostat.diagnostics import ShapeError

from .compare import check, floats


def complex_(*shape: int, seed: int = 0) -> Any:
    return floats(*shape, seed=seed) + 1j * floats(*shape, seed=seed + 1)


A, B, TALL, WIDE = complex_(2, 4, 4), complex_(2, 4, 3, seed=2), complex_(2, 5, 3, seed=4), complex_(2, 3, 5, seed=6)


def hermitian(m: Any, a: Any) -> Any:
    return a @ a.transpose(-2, -1).conj() + m.eye(4, dtype=m.float32)


def positive(u: Any) -> Any:
    return (u * u.conj()).real


CASES: dict[str, tuple[Callable[..., Any], tuple[Any, ...]]] = {
    "solve": (lambda m, a, b: m.linalg.solve(a, b), (A, B)),
    "solve of a vector": (lambda m, a, b: m.linalg.solve(a, b), (A, complex_(2, 4, seed=9))),
    "solve on the right": (lambda m, a, b: m.linalg.solve(a, b, left=False) * 1, (A, WIDE[..., :4])),
    "upper triangle": (lambda m, a, b: m.linalg.solve_triangular(a, b, upper=True), (A, B)),
    "lower triangle": (lambda m, a, b: m.linalg.solve_triangular(a, b, upper=False, unitriangular=True), (A, B)),
    "triangle on the right": (
        lambda m, a, b: m.linalg.solve_triangular(a, b, upper=False, left=False) * 1, (A, WIDE[..., :4])
    ),
    "cholesky": (lambda m, a: m.linalg.cholesky(hermitian(m, a)), (A,)),
    "cholesky, upper": (lambda m, a: m.linalg.cholesky(hermitian(m, a), upper=True) * 1, (A,)),
    "pinv": (lambda m, a: m.linalg.pinv(a), (TALL,)),
    "svdvals": (lambda m, a: m.linalg.svdvals(a), (TALL,)),
    "eigvalsh": (lambda m, a: m.linalg.eigvalsh(hermitian(m, a)), (A,)),
    "cond": (lambda m, a: [m.linalg.cond(a), m.linalg.cond(a, -2)], (A,)),
    "norms": (
        lambda m, a: [m.linalg.matrix_norm(a, p) for p in ("fro", "nuc", 2, -2, 1, float("inf"))]
        + [m.linalg.norm(a[0]), m.linalg.norm(a[0], "nuc"), m.linalg.vector_norm(a, 3)],
        (A,),
    ),
    "det": (lambda m, a: [m.linalg.det(a), m.det(a[0])], (A,)),
    "slogdet": (lambda m, a: list(m.linalg.slogdet(a)), (A,)),
    "eigh": (lambda m, a: [m.linalg.eigh(hermitian(m, a))[0], positive(m.linalg.eigh(hermitian(m, a))[1])], (A,)),
    "svd, tall": (
        lambda m, a: next((u @ v, positive(u), s) for u, s, v in [m.linalg.svd(a, full_matrices=False)]), (TALL,)
    ),
    "svd, wide": (
        lambda m, a: next((u @ v, positive(v), s) for u, s, v in [m.linalg.svd(a, full_matrices=False)]), (WIDE,)
    ),
    "qr": (lambda m, a: [*m.linalg.qr(a), *m.qr(a)], (TALL,)),
    "qr, wide": (lambda m, a: [*m.linalg.qr(a), *m.linalg.qr(a, "complete")], (WIDE,)),
    "lu": (lambda m, a: [*m.linalg.lu(a), *m.linalg.lu_factor(a), *m.linalg.lu_factor_ex(a, pivot=True)], (A,)),
    "lu, tall": (lambda m, a: [*m.lu_unpack(*m.linalg.lu_factor(a))], (TALL,)),
    "lu, wide": (lambda m, a: [*m.lu_unpack(*m.linalg.lu_factor(a))], (WIDE,)),
    "lu_solve": (lambda m, a, b: m.lu_solve(b, *m.linalg.lu_factor(a)), (A, B)),
    "lu_solve, adjoint": (lambda m, a, b: m.linalg.lu_solve(*m.linalg.lu_factor(a), b, adjoint=True) * 1, (A, B)),
    "lu_solve on the right": (
        lambda m, a, b: [
            m.linalg.lu_solve(*m.linalg.lu_factor(a), b, left=False, adjoint=adjoint) * 1 for adjoint in (False, True)
        ],
        (A, WIDE[..., :4]),
    ),
    "lstsq": (lambda m, a, b: m.linalg.lstsq(a, b).solution, (TALL[0], complex_(5, 2, seed=8))),
    "lstsq, wide": (lambda m, a, b: m.linalg.lstsq(a, b).solution, (WIDE[0], complex_(3, 2, seed=8))),
    "cross": (lambda m, a, b: [m.linalg.cross(a[..., :3], b), m.cross(a[..., :3], b, dim=-1)], (A, B)),
    "matrix_exp": (lambda m, a: m.linalg.matrix_exp(a), (A,)),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_equals_pytorch(name: str) -> None:
    f, arrays = CASES[name]
    check(f, *arrays, grad=True, rtol=1e-6)


def test_complex64() -> None:
    a = A.astype(np.complex64)
    check(lambda m, a: [m.linalg.solve(a, a @ a), m.linalg.det(a), m.linalg.svdvals(a)], a, rtol=2e-3)


def test_without_gradients() -> None:
    check(lambda m, a: [m.linalg.matrix_rank(a), m.linalg.svd(a)[1], *m.linalg.qr(a, mode="complete")], TALL)
    check(lambda m, a: m.linalg.eigvalsh(a, UPLO="U"), A)
    values, vectors = hs.linalg.eig(hs.tensor(A))
    np.testing.assert_allclose((vectors * values.unsqueeze(-2)).numpy(), A @ vectors.numpy(), atol=1e-12)
    u, s, v = hs.svd(hs.tensor(TALL))
    np.testing.assert_allclose(((u * s.unsqueeze(-2)) @ v.transpose(-2, -1).conj()).numpy(), TALL, atol=1e-12)


@pytest.mark.parametrize("a", [A, A.real, A[0], A[:0]], ids=["complex", "real", "one", "none"])
def test_eigenvalues_of_general_matrices_have_gradients(a: Any) -> None:
    """By functions of them that depend neither on their order nor on factors of the vectors."""

    def total(m: Any, x: Any) -> Any:
        values, vectors = m.linalg.eig(x)
        lengths = (vectors.abs() ** 3 * values.abs().unsqueeze(-2)).sum()
        return (values.real**3).sum() + (m.linalg.eigvals(x * 2).imag ** 2).sum() + lengths

    check(total, a, grad=True, rtol=1e-7)


def test_numbers_that_are_not_finite_have_no_eigenvalues() -> None:
    for dtype in (hs.float64, hs.complex128):
        for f in (hs.linalg.eig, hs.linalg.eigvals):
            with pytest.raises(hs.linalg.LinAlgError, match="eig: "):
                f(hs.full((2, 2), np.nan, dtype=dtype))


def test_second_gradients_of_eigenvalues() -> None:
    x = hs.tensor(A[0].real, requires_grad=True)
    assert hs.autograd.gradgradcheck(lambda x: hs.linalg.eig(x).eigenvectors.abs() * x, (x,))


@pytest.mark.parametrize("driver", ["gels", "gelsy", "gelsd", "gelss"])
def test_all_that_least_squares_give(driver: str) -> None:
    for a in (TALL, TALL.real):
        check(lambda m, a, b: [*m.linalg.lstsq(a, b, driver=driver)], a, (TALL * 2).astype(a.dtype))
        check(lambda m, a, b: [*m.linalg.lstsq(a, b, driver=driver)], a[0], a[1, :, 0])
    with pytest.raises(ValueError, match="driver"):
        hs.linalg.lstsq(hs.tensor(TALL), hs.tensor(TALL), driver="none")


def test_pivots_of_singular_matrices() -> None:
    a = np.array([[1j, 2], [2j, 4]])
    check(lambda m, a: [*m.linalg.lu_factor_ex(a)], a)
    with pytest.raises(hs.linalg.LinAlgError, match="a pivot is 0"):
        hs.linalg.lu_factor_ex(hs.tensor(a), check_errors=True)
    check(lambda m, a: m.linalg.lu_factor(a).pivots, np.array([[3 + 0j, 1], [2 + 2j, 1]]))  # by |re| + |im|


@pytest.mark.parametrize("a", [A, A.real], ids=["complex", "real"])
def test_eigenvalues_inside_of_vmap(a: Any) -> None:
    x = hs.tensor(a)
    for found, expected in zip(hs.vmap(hs.linalg.eig)(x), hs.linalg.eig(x), strict=True):
        np.testing.assert_array_equal(found.numpy(), expected.numpy())


def test_values_that_stand_twice_have_gradients() -> None:
    check(lambda m, a: [m.linalg.svdvals(a), m.linalg.matrix_norm(a, "nuc")], np.eye(3), grad=True)
    check(lambda m, a: m.linalg.svdvals(a).sum(), np.eye(3) * (1 + 1j), grad=True)


def test_second_gradients_of_values() -> None:
    def turned(m: Any, a: Any) -> Any:
        total = (m.linalg.svdvals(a) ** 3).sum() + (m.linalg.eigvalsh(a[:, :3]) ** 3).sum()
        return m.autograd.grad(total, a, create_graph=True)[0]

    check(turned, TALL, grad=True, rtol=1e-6)


def test_equal_values_alone_have_gradients() -> None:
    twice = np.eye(2) * (2 + 0j)
    for values in (lambda m, a: m.linalg.svd(a)[1], lambda m, a: m.linalg.eigh(a)[0]):
        check(lambda m, a, f=values: f(m, a).sum(), twice, grad=True)


@pytest.mark.parametrize("triangle", ["L", "U"])
def test_gradients_of_hermitian_matrices_are_hermitian(triangle: str) -> None:
    check(lambda m, a: [m.linalg.eigvalsh(a, UPLO=triangle), m.linalg.eigh(a, UPLO=triangle)[0]], A, grad=True)


def test_products_of_vectors_conjugate_the_first() -> None:
    check(lambda m, a, b: [m.linalg.vecdot(a, b), m.linalg.vecdot(a, b[0], dim=0)], A, B[..., :1] * A, grad=True)


def test_condition_of_nothing_is_0() -> None:
    check(lambda m, a: m.linalg.cond(a), np.zeros((2, 0, 0), complex))


def test_what_is_refused() -> None:
    a = hs.tensor(A)
    for call in (
        lambda: hs.linalg.solve(a[:, :3], a), lambda: hs.linalg.det(a[:, :3]), lambda: hs.linalg.eigh(a[0, 0]),
        lambda: hs.linalg.cholesky(-hs.eye(2) * (1 + 0j)), lambda: hs.linalg.solve(a * 0, a),
    ):  # fmt: skip
        with pytest.raises(ShapeError):
            call()
    with pytest.raises(ValueError, match="UPLO"):
        hs.linalg.eigh(a, "X")
