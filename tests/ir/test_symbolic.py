"""Arithmetic of symbolic sizes: polynomials that are divided exactly, or not at all."""

from __future__ import annotations

import numpy as np
import pytest

from heliostat.ir.types import Dim, Symbol, SymbolicDim, concrete, dim, f32, tensor

N, M = Symbol("n", 64, 2), Symbol("m", 64, 2)
n, m = dim(N), dim(M)


def test_products_divide_by_their_factors() -> None:
    rng = np.random.default_rng(0)

    def some() -> Dim:
        a, b, c, d = (int(v) for v in rng.integers(-3, 4, 4))
        return n * n * a + n * m * b + m * c + d

    for _ in range(200):
        a, b = some(), some()
        if a == 0 or b == 0:
            continue
        product = a * b
        assert product // b == a
        assert product % b == 0
        rest = product + 1
        if isinstance(b, SymbolicDim) and isinstance(rest, SymbolicDim):
            with pytest.raises(ValueError, match="does not divide"):
                rest // b
            with pytest.raises(TypeError, match="depends on the symbols"):
                rest % b


def test_numbers_do_not_divide_by_sizes() -> None:
    assert 0 // n == 0 % n == 0
    with pytest.raises(ValueError, match="12 does not divide"):
        12 // n
    with pytest.raises(TypeError, match="remainder of 12"):
        12 % n
    with pytest.raises(ZeroDivisionError):
        n // 0


def test_values_take_the_places_of_symbols() -> None:
    sizes = {"n": 3, "m": 5}
    assert concrete((n * m + 1, "x", (2, m)), sizes) == (16, "x", (2, 5))
    assert concrete(tensor(f32, n, 4), sizes) is tensor(f32, 3, 4)
    with pytest.raises(KeyError):
        concrete(m, {"n": 3})
