"""Promotion, broadcasting and numbers as operands."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from heliostat import ops
from heliostat.diagnostics import DTypeError
from heliostat.ir.graph import parameter
from heliostat.ir.types import DType, Symbol, bf16, bool_, dim, element, f16, f32, f64, i8, i16, i32, i64, tensor, u8
from heliostat.ops.rules import broadcast, lift, promote
from heliostat.quant.formats import Q8_0

# PyTorch 2's table (torch.promote_types), rows and columns in this order; u16 and u32 follow its rule for u8.
ORDER = ["u8", "i8", "i16", "i32", "i64", "f16", "f32", "f64", "bf16", "bool"]
TABLE = """
u8   i16  i16  i32  i64  f16  f32  f64  bf16 u8
i16  i8   i16  i32  i64  f16  f32  f64  bf16 i8
i16  i16  i16  i32  i64  f16  f32  f64  bf16 i16
i32  i32  i32  i32  i64  f16  f32  f64  bf16 i32
i64  i64  i64  i64  i64  f16  f32  f64  bf16 i64
f16  f16  f16  f16  f16  f16  f32  f64  f32  f16
f32  f32  f32  f32  f32  f32  f32  f64  f32  f32
f64  f64  f64  f64  f64  f64  f64  f64  f64  f64
bf16 bf16 bf16 bf16 bf16 f32  f32  f64  bf16 bf16
u8   i8   i16  i32  i64  f16  f32  f64  bf16 bool
"""


def dtype(name: str) -> DType:
    found = element(name)
    assert isinstance(found, DType)
    return found


def test_promotion_is_pytorch() -> None:
    for a, row in zip(ORDER, TABLE.split("\n")[1:], strict=False):
        for b, expected in zip(ORDER, row.split(), strict=True):
            assert promote(dtype(a), dtype(b)) == dtype(expected), (a, b)


def test_promotion_is_a_join() -> None:
    every = [dtype(n) for n in [*ORDER, "u16", "u32"]]
    for a, b in itertools.product(every, every):
        assert promote(a, b) == promote(b, a)
        assert promote(a, promote(a, b)) == promote(a, b)
    assert promote(dtype("u32"), i32) == i64
    assert promote(dtype("u16"), i8) == i32
    assert promote(dtype("u16"), u8) == dtype("u16")


@pytest.mark.parametrize(
    ("number", "like", "expected"),
    [
        (1, f16, f16), (0.5, bf16, bf16), (True, f32, f32), (1, i8, i8), (0.5, i8, f32), (0.5, i64, f32),
        (2, bool_, i64), (0.5, bool_, f32), (True, bool_, bool_), (np.float32(0.5), i32, f32), (np.int64(3), f16, f16),
        (np.float64(0.5), f32, f32), (np.bool_(True), i16, i16),
    ],
)  # fmt: skip
def test_numbers_take_the_dtype_of_the_tensor(number: float, like: DType, expected: DType) -> None:
    assert lift(number, parameter("x", tensor(like))).type == tensor(expected)


@pytest.mark.parametrize("number", [None, "1", [1], np.ones(2), 1j])
def test_what_is_no_number_is_refused(number: object) -> None:
    with pytest.raises(DTypeError, match="mul takes tensors and numbers, found"):
        ops.mul(parameter("x", tensor(f32, 2)), number)  # type: ignore[arg-type]


def test_a_number_that_does_not_fit_is_refused() -> None:
    with pytest.raises(DTypeError, match="cannot be made"):
        parameter("x", tensor(i8)) + 200


def test_blocks_and_packed_layouts_are_no_operands() -> None:
    w = parameter("w", tensor(Q8_0, 16, 32))
    with pytest.raises(DTypeError, match=r"add takes plain elements, found tensor<Q8_0, \[16, 32\]>"):
        ops.add(w, w)
    with pytest.raises(DTypeError, match="add takes plain elements"):
        ops.add(w, 1)


def test_symbolic_sizes_broadcast_by_equality() -> None:
    n, m = dim(Symbol("n", 8)), dim(Symbol("m", 8))
    assert broadcast((n, 4), (4,), (1, 1)) == (n, 4)
    assert broadcast((n + 1,), (1 + n,)) == (n + 1,)
    assert broadcast((), ()) == ()
    assert broadcast((0,), (1,)) == (0,)
    for other in (m, n + 1, 3):
        with pytest.raises(ValueError, match=r"operands do not broadcast: \[n\] and"):
            broadcast((n,), (other,))


@pytest.mark.parametrize(
    ("x", "expected"),
    [(f32, f32), (f16, f16), (i32, f32), (bool_, f32), (f64, f64)],
)
def test_float_functions_of_integers_are_f32(x: DType, expected: DType) -> None:
    for function in (ops.exp, ops.sigmoid, ops.floor, ops.mean, ops.softmax):
        assert function(parameter("x", tensor(x, 3))).type.element == expected  # type: ignore[operator]
    assert ops.div(parameter("x", tensor(x, 3)), parameter("y", tensor(x, 3))).type.element == expected
