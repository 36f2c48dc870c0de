"""Arithmetic at compile time, and its bounds."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from heliostat.ir.types import Symbol, dim
from heliostat.lang.fold import Constant, FoldError, fold_binary, fold_unary
from heliostat.lang.parse import PRECEDENCE

M = dim(Symbol("M", 512, 1))
N = dim(Symbol("N", 8))


@pytest.mark.parametrize(
    ("op", "a", "b", "value"),
    [
        ("/", 4096, 32, 128),
        ("/", 1, 8, 0.125),
        ("**", 64, -0.5, 0.125),
        ("**", 2, 10, 1024),
        ("**", -1, 2**62 + 1, -1),
        ("**", 0, 2**62, 0),
        ("%", 7, 4, 3),
        ("-", 3, 5, -2),
        ("<", 1, 2.5, True),
        ("and", True, False, False),
        ("==", True, True, True),
    ],
)
def test_numbers(op: str, a: Constant, b: Constant, value: Constant) -> None:
    found = fold_binary(op, a, b)
    assert (type(found), found) == (type(value), value)


def test_dimensions() -> None:
    assert fold_binary("+", M, 1) == M + 1
    assert fold_binary("*", M, fold_binary("-", N, 1)) == M * N - M
    assert fold_binary("/", fold_binary("*", 6, M), 3) == 2 * M
    assert fold_binary("-", M, M) == 0
    assert fold_binary(">=", M, 1) is True
    assert fold_binary("<", M, 513) is True
    assert fold_binary("==", M, M) is True
    assert fold_unary("-", M) == -M


@pytest.mark.parametrize(
    ("op", "a", "b", "message"),
    [
        ("/", 1, 0, "division by zero"),
        ("%", 1.0, 0.0, "division by zero"),
        ("**", 0.0, -1, "division by zero"),
        ("*", 2**62, 2, "64 bits"),
        ("**", 2, 2**62, "64 bits"),
        ("**", 10.0, 400, "too large"),
        ("**", -2, 0.5, "no real power"),
        ("+", True, 1, "truth value"),
        ("and", 1, True, "truth values"),
        ("@", 1, 2, "needs tensors"),
        ("*", M, 0.5, "known only when the program runs"),
        ("/", M, 2, "does not divide"),
        ("/", M, 0, "division by zero"),
        ("/", 8, M, "not known before"),
        ("<", M, 7, "not known before"),
        ("**", M, 2, "not known before"),
    ],
)
def test_what_has_no_value_is_refused(op: str, a: Constant, b: Constant, message: str) -> None:
    with pytest.raises(FoldError, match=message):
        fold_binary(op, a, b)


def test_dimensions_are_bounded() -> None:
    value: Constant = M + N + 1
    for _ in range(3):
        value = fold_binary("*", value, M + N + 1)
    with pytest.raises(FoldError, match="too complicated"):
        fold_binary("*", value, value)


numbers = st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.floats() | st.sampled_from([M, N, M + N, 2 * M - 2])


@given(st.sampled_from(sorted(PRECEDENCE)), numbers, numbers)
def test_folding_gives_a_number_or_a_reason(op: str, a: Constant, b: Constant) -> None:
    try:
        value = fold_binary(op, a, b)
    except FoldError:
        pass
    else:
        assert not isinstance(value, int) or -(2**63) <= value < 2**63
