"""torch.special's functions against PyTorch: values in both widths, ends, gradients."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import heliostat as hs
from heliostat import ops, special
from heliostat.tensor import FUNCTIONS

from .tensor.compare import ours, same, theirs, torch

RANGES = {
    "airy_ai": (-20, 12), "bessel_j0": (-60, 60), "bessel_j1": (-60, 60), "bessel_y0": (0.01, 60),
    "bessel_y1": (0.01, 60), "modified_bessel_i0": (-40, 40), "modified_bessel_i1": (-40, 40),
    "modified_bessel_k0": (0.01, 40), "modified_bessel_k1": (0.01, 40), "scaled_modified_bessel_k0": (0.01, 90),
    "scaled_modified_bessel_k1": (0.01, 90), "spherical_bessel_j0": (-20, 20), "i0": (-40, 40), "i0e": (-90, 90),
    "i1": (-40, 40), "i1e": (-90, 90), "erfcx": (-5, 60), "ndtr": (-6, 6), "ndtri": (0.001, 0.999),
    "log_ndtr": (-60, 6), "entr": (-0.5, 9),
}  # fmt: skip
SCIPY = {"airy_ai": lambda s, x: s.airy(x)[0], "bessel_j0": lambda s, x: s.j0(x), "bessel_j1": lambda s, x: s.j1(x),
         "bessel_y0": lambda s, x: s.y0(x), "bessel_y1": lambda s, x: s.y1(x)}  # fmt: skip
GRADIENTS = {"i0", "i0e", "i1", "i1e", "erfcx", "ndtr", "ndtri", "log_ndtr"}


@pytest.mark.parametrize("name", RANGES)
def test_functions_of_one_tensor(name: str) -> None:
    low, high = RANGES[name]
    x = np.random.default_rng(3).uniform(low, high, (60, 4))
    f, g = getattr(special, name), getattr(torch.special, name)
    loose = 5e-6 if name in SCIPY else 1e-8 if name in ("log_ndtr", "ndtr") else 1e-9  # PyTorch's has fewer digits
    grow = name in ("modified_bessel_i0", "modified_bessel_i1", "i0", "i1")
    for dtype in (np.float64, np.float32):
        a, b = ours(x.astype(dtype), name in GRADIENTS), theirs(x.astype(dtype), name in GRADIENTS)
        scale = np.abs(g(b).detach().numpy()).clip(min=1) if grow else 1.0
        rtol = loose if dtype is np.float64 else 1e-4 if name in SCIPY else 3e-5
        same(f(a).detach() / ours(np.asarray(scale, dtype)), g(b).detach() / theirs(np.asarray(scale, dtype)), rtol)
        if name in GRADIENTS and dtype is np.float64:
            f(a).sum().backward()
            g(b).sum().backward()
            np.testing.assert_allclose(a.grad.numpy(), b.grad.numpy(), rtol=1e-7, atol=1e-7)
    if name in GRADIENTS:
        inside = np.random.default_rng(4).uniform(max(low, -3), min(high, 3), 3)
        assert hs.autograd.gradgradcheck(f, (ours(inside, True),))
    if name in SCIPY:
        expected = SCIPY[name](pytest.importorskip("scipy.special"), x)
        np.testing.assert_allclose(f(ours(x)).numpy(), expected, rtol=1e-10, atol=2e-11)
    assert not getattr(special, name)(ours(x[:0])).numel()


def test_ends() -> None:
    ends = np.array([0.0, -0.0, 1.0, -1.0, np.inf, -np.inf, np.nan])
    for name in ("i0e", "i1e", "erfcx", "ndtr", "ndtri", "log_ndtr", "entr"):
        same(getattr(special, name)(ours(ends)), getattr(torch.special, name)(theirs(ends)), 1e-9, name)
    assert special.bessel_y0(ours(np.array([0.0, -1.0]))).tolist()[0] == -np.inf
    assert special.modified_bessel_k0(ours(np.array([0.0]))).tolist() == [np.inf]
    tiny = np.array([1e-300, 1e-30, 1e-10, 0.5, 1 - 1e-10])
    same(special.ndtri(ours(tiny)), torch.special.ndtri(theirs(tiny)), 1e-9)


POLYNOMIALS = [n for n in special.__all__ if "polynomial" in n]


@pytest.mark.parametrize("name", POLYNOMIALS)
def test_polynomials(name: str) -> None:
    x = np.random.default_rng(1).uniform(0.05 if "shifted" in name else -0.95, 0.95, (30, 1))
    n = np.arange(-1, 8)
    f, g = getattr(special, name), getattr(torch.special, name)
    same(f(ours(x), ours(n)), g(theirs(x), theirs(n)), 1e-9)
    same(f(ours(x), 3), g(theirs(x), theirs(np.array(3.0))), 1e-9)


def test_functions_of_two_tensors() -> None:
    x, y = np.random.default_rng(2).uniform(1.05, 9, (40, 1)), np.random.default_rng(3).uniform(0.05, 9, 30)
    same(special.zeta(ours(x), ours(y)), torch.special.zeta(theirs(x), theirs(y)), 1e-9)
    ends = [np.array([1.0, 0.5, 2.0, 3.0, 2.0, 2.5]), np.array([2.0, 2.0, 0.0, -1.5, -2.0, -0.5])]
    same(special.zeta(*map(ours, ends)), torch.special.zeta(*map(theirs, ends)), 1e-9)
    a, b = np.array([0.0, 0.0, 2.0, -1.0]), np.array([-1.0, np.nan, 3.0, 0.5])
    same(special.xlog1py(ours(a), ours(b)), torch.special.xlog1py(theirs(a), theirs(b)), 1e-9)
    p, q = ours(x, True), theirs(x, True)
    special.xlog1py(p, ours(y)).sum().backward()
    torch.special.xlog1py(q, theirs(y)).sum().backward()
    same(p.grad, q.grad, 1e-9)


def test_names() -> None:
    """Those of torch.special that functions of the package have already are the same functions."""
    names: list[Any] = [n for n in torch.special.__all__ if not hasattr(special, n)]
    assert names == []
    assert special.expit is FUNCTIONS["sigmoid"]


def test_methods_of_ops_against_scipy() -> None:
    """The references that kernels are held against, over both sides of every seam."""
    s, rng = pytest.importorskip("scipy.special"), np.random.default_rng(5)
    wide, above = rng.uniform(-70, 70, 2000), rng.uniform(1e-3, 70, 2000)
    a = 10 ** rng.uniform(-2, 4.9, 2000)
    x = np.maximum(a + np.sqrt(a) * rng.normal(size=2000) * 3, 1e-3)
    for name, f, *given in (
        ("bessel_j0", s.j0, wide), ("bessel_j1", s.j1, wide), ("bessel_y0", s.y0, above), ("bessel_y1", s.y1, above),
        ("bessel_i0e", s.i0e, wide), ("bessel_i1e", s.i1e, wide), ("bessel_k0e", s.k0e, above),
        ("bessel_k1e", s.k1e, above), ("airy_ai", lambda v: s.airy(v)[0], wide[np.abs(wide) < 20]),
        ("erfcx", s.erfcx, wide[wide > -20]), ("erfc", s.erfc, wide), ("ndtri", s.ndtri, rng.uniform(0, 1, 900)),
        ("zeta", s.zeta, rng.uniform(1.01, 30, 900), rng.uniform(0.01, 30, 900)),
        ("incomplete_gamma", s.gammainc, a, x), ("upper_incomplete_gamma", s.gammaincc, a, x),
    ):  # fmt: skip
        found, expected = ops.get(name).reference(*given), f(*given)
        near = 1e-10 if "gamma" in name else 2e-12  # where a is 10^4, both round numbers of that size
        np.testing.assert_allclose(found, expected, rtol=near, atol=2e-14, err_msg=name)
    large = 10 ** rng.uniform(5, 12, 500)
    both = [
        ops.get(n).reference(large, large + 2 * np.sqrt(large)) for n in ("incomplete_gamma", "upper_incomplete_gamma")
    ]
    np.testing.assert_allclose(both[0] + both[1], 1, rtol=1e-15)
    np.testing.assert_allclose(both[1], s.ndtr(-2), rtol=5 / np.sqrt(large.min()))


def test_special_functions_in_what_is_compiled() -> None:
    def f(x: Any) -> Any:
        y = special.bessel_j0(x) + hs.igamma(x, x + 1) + hs.polygamma(2, x) + special.ndtri(x / 9)
        return y + special.legendre_polynomial_p(x / 9, 5)

    x = ours(np.random.default_rng(0).uniform(0.5, 8, 30))
    np.testing.assert_allclose(hs.compile(f)(x), f(x), rtol=1e-12)


def test_gradients_of_bessel_functions() -> None:
    s, x = pytest.importorskip("scipy.special"), np.random.default_rng(6).uniform(0.3, 20, 40)
    for name, expected in (
        ("bessel_j0", -s.j1(x)), ("bessel_j1", s.jvp(1, x)), ("bessel_y0", -s.y1(x)), ("bessel_y1", s.yvp(1, x)),
        ("scaled_modified_bessel_k0", s.k0e(x) - s.k1e(x)), ("modified_bessel_k1", s.kvp(1, x)),
    ):  # fmt: skip
        v = ours(x, True)
        getattr(special, name)(v).sum().backward()
        np.testing.assert_allclose(v.grad, expected, rtol=1e-10, atol=1e-13, err_msg=name)
