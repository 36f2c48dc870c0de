"""Functions of each element and their gradients, against PyTorch."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import heliostat as hs
from heliostat.diagnostics import DTypeError, ShapeError

from .compare import bools, check, floats, integers, torch

UNARY = {  # name: bounds of the operand
    "exp": (-3, 3), "exp2": (-3, 3), "expm1": (-1, 3), "log": (0.1, 9), "log1p": (-0.8, 9), "log2": (0.1, 9),
    "log10": (0.1, 9), "sqrt": (0.1, 9), "rsqrt": (0.1, 9), "sin": (-9, 9), "cos": (-9, 9), "tan": (-1.4, 1.4),
    "atan": (-9, 9), "asin": (-0.9, 0.9), "acos": (-0.9, 0.9), "sinh": (-3, 3), "asinh": (-9, 9), "acosh": (1.1, 9),
    "cosh": (-3, 3), "atanh": (-0.9, 0.9), "tanh": (-3, 3), "sigmoid": (-5, 5), "erf": (-3, 3), "erfc": (-3, 3),
    "erfinv": (-0.9, 0.9), "reciprocal": (0.2, 3), "sinc": (0.1, 3), "floor": (-5, 5), "ceil": (-5, 5),
    "trunc": (-5, 5), "frac": (-5, 5), "abs": (-5, 5), "neg": (-5, 5), "sign": (-5, 5), "square": (-5, 5),
    "relu": (-5, 5), "deg2rad": (-360, 360), "rad2deg": (-7, 7), "round": (-5, 5), "lgamma": (0.1, 9),
    "digamma": (0.6, 9), "i0": (-5, 5), "logit": (0.1, 0.9), "nan_to_num": (-5, 5), "positive": (-2, 2),
}  # fmt: skip
NO_GRADIENT = {"digamma", "i0"}  # PyTorch has polygamma and i1 there


@pytest.mark.parametrize("name", UNARY)
@pytest.mark.parametrize("shape", [(), (7,), (3, 5), (2, 3, 17)], ids=str)
def test_of_one_float(name: str, shape: tuple[int, ...]) -> None:
    low, high = UNARY[name]
    x = floats(*shape, low=low, high=high)
    check(lambda m, x: getattr(m, name)(x), x, grad=name not in NO_GRADIENT)
    check(lambda m, x: getattr(m, name)(x), x.astype(np.float32), rtol=1e-4 if name == "erfinv" else None)


@pytest.mark.parametrize("name", sorted(set(UNARY) - {"acosh", "erfinv", "atanh", "frac", "positive", "logit"}))
def test_of_one_integer(name: str) -> None:
    low, high = UNARY[name]
    x = integers(11, low=int(np.ceil(low)), high=int(high)).astype(np.int32)
    check(lambda m, x: getattr(m, name)(x), x)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
@pytest.mark.parametrize("name", ["exp", "sqrt", "sigmoid", "tanh", "abs", "neg", "floor", "relu", "log", "erf"])
def test_of_short_floats(name: str, dtype: str) -> None:
    low, high = UNARY[name]
    x = torch.tensor(floats(4, 9, low=low, high=high)).to(getattr(torch, dtype))
    check(lambda m, x: getattr(m, name)(x), x)


SPECIAL = np.array([0.0, -0.0, 1.0, -1.0, np.inf, -np.inf, np.nan, 1e-30, -1e-30, 1e30])


@pytest.mark.parametrize("name", [n for n in sorted(UNARY) if n not in ("sinc", "i0", "positive")])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_of_special_floats(name: str, dtype: Any) -> None:
    x = SPECIAL.astype(dtype)
    if name in ("lgamma", "digamma"):
        x = x[(np.abs(np.nan_to_num(x)) < 1e9) & ~(x <= -1)]  # at poles signs differ
        x = x[x != 0] if name == "digamma" else x
    check(lambda m, x: getattr(m, name)(x), x)


BINARY = ["add", "sub", "mul", "div", "maximum", "minimum", "atan2", "hypot", "fmax", "fmin", "rsub", "copysign"]
BINARY += ["remainder", "fmod", "logaddexp", "logaddexp2", "xlogy", "pow", "true_divide"]


@pytest.mark.parametrize("name", BINARY)
@pytest.mark.parametrize("shapes", [((4, 5), (4, 5)), ((4, 1), (5,)), ((), (3,)), ((2, 3, 4), (3, 1))], ids=str)
def test_of_two_floats(name: str, shapes: Any) -> None:
    low = 0.2 if name in ("pow", "xlogy") else -3
    a, b = floats(*shapes[0], low=low, high=3), floats(*shapes[1], seed=1, low=0.2, high=3)
    check(lambda m, a, b: getattr(m, name)(a, b), a, b, grad=name != "copysign")
    check(lambda m, a, b: getattr(m, name)(a, b), a.astype(np.float32), b.astype(np.float32))


@pytest.mark.parametrize(
    "name", ["add", "sub", "mul", "maximum", "minimum", "remainder", "fmod", "floor_divide", "pow"]
)
@pytest.mark.parametrize("dtype", [np.int64, np.int32, np.int16, np.int8, np.uint8])
def test_of_two_integers(name: str, dtype: Any) -> None:
    a = integers(3, 31, low=0 if dtype is np.uint8 else -9, dtype=dtype)
    b = integers(31, seed=1, low=1, high=6, dtype=dtype)
    check(lambda m, a, b: getattr(m, name)(a, b), a, b)


@pytest.mark.parametrize("name", ["bitwise_and", "bitwise_or", "bitwise_xor", "gcd", "lcm"])
def test_of_bits(name: str) -> None:
    check(
        lambda m, a, b: getattr(m, name)(a, b), integers(40, low=-99, high=99), integers(40, seed=1, low=-99, high=99)
    )
    if name not in ("gcd", "lcm"):
        check(lambda m, a, b: getattr(m, name)(a, b), bools(9), bools(9, seed=1))


def test_the_longest_way_to_a_common_divisor() -> None:
    """Neighbouring Fibonacci numbers take most of the steps; beside them zeros, and lanes that are ready at once."""
    a, b = np.array([7540113804746346429, 0, -12, 0, 2**62]), np.array([4660046610375530309, -7, 18, 0, 3 * 2**60])
    np.testing.assert_array_equal(hs.gcd(hs.tensor(a), hs.tensor(b)).numpy(), np.gcd(a, b))


@pytest.mark.parametrize("dtype", [np.int8, np.int32, np.int64])
def test_common_divisors_are_not_negative(dtype: Any) -> None:
    least = np.iinfo(dtype).min  # it is its own opposite, and so is its size
    a, b = np.array([1, least, 3, least, 2], dtype), np.array([least, 2, least, -1, least], dtype)
    assert hs.gcd(hs.tensor(a), hs.tensor(b)).tolist() == [1, 2, 1, 1, 2]


def test_shifts_and_turned_bits() -> None:
    a, b = integers(40, low=-999, high=999), integers(40, seed=1, low=0, high=20)
    check(lambda m, a, b: [a << b, a >> b, ~a, m.bitwise_left_shift(a, b)], a, b)
    check(lambda m, a: ~a, bools(8))


@pytest.mark.parametrize("mode", [None, "floor", "trunc"])
def test_division_by_mode(mode: str | None) -> None:
    a, b = floats(50, low=-20, high=20), floats(50, seed=1, low=-3, high=-0.3)
    check(lambda m, a, b: m.div(a, b, rounding_mode=mode), a, b)
    check(lambda m, a, b: m.div(a, b, rounding_mode=mode), integers(50, low=-40, high=40), integers(50, seed=2, low=1))


@pytest.mark.parametrize("name", ["eq", "ne", "lt", "le", "gt", "ge", "logical_and", "logical_or", "logical_xor"])
@pytest.mark.parametrize("kind", ["float", "int", "bool"])
def test_comparison(name: str, kind: str) -> None:
    a, b = {
        "float": (integers(30, low=-2, high=2) * 0.5, integers(30, seed=1, low=-2, high=2) * 0.5),
        "int": (integers(30, low=-2, high=2), integers(30, seed=1, low=-2, high=2)),
        "bool": (bools(30), bools(30, seed=1)),
    }[kind]
    check(lambda m, a, b: getattr(m, name)(a, b), a, b)


def test_comparison_of_nan() -> None:
    x = np.array([np.nan, 1.0, np.inf, -np.inf])
    names = ("isnan", "isinf", "isfinite", "isposinf", "isneginf", "signbit", "logical_not", "isreal")
    check(lambda m, x: [getattr(m, n)(x) for n in names], x)
    check(lambda m, x: [x == x, x != x, x < x, m.isclose(x, x), m.isclose(x, x, equal_nan=True)], x)
    check(lambda m, x: [getattr(m, n)(x) for n in names], integers(4))


def signed(array: Any) -> Any:
    """Values, and the signs of zeros and NaN."""
    return np.asarray(array), np.signbit(array)


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_signs_of_zeros_and_nan(dtype: Any) -> None:
    x = np.array([0.0, -0.0, 1, -1, np.inf, -np.inf, np.nan, -np.nan], dtype)
    assert np.signbit(x).tolist() == [False, True] * 4
    found = hs.signbit(hs.tensor(x))
    assert found.dtype == hs.bool
    assert found.tolist() == np.signbit(x).tolist()
    assert hs.signbit(hs.tensor(x, dtype=hs.bfloat16)).tolist() == np.signbit(x).tolist()
    y = hs.copysign(hs.tensor(x)[:, None], hs.tensor(x)).numpy()
    np.testing.assert_array_equal(signed(y), signed(np.copysign(x[:, None], x)))
    assert hs.signbit(hs.tensor([-3, 0, 2])).tolist() == [True, False, False]


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_remainders_are_exact(dtype: Any) -> None:
    """Of large quotients too, where a / b has no digits behind the point left; with the sign of zeros."""
    rng = np.random.default_rng(5)
    scale = 10.0 ** rng.uniform(-3, 16, 400)
    a, b = (rng.uniform(-1, 1, 400) * scale).astype(dtype), rng.uniform(0.3, 9, 400).astype(dtype)
    b[::2] *= -1
    a[:8], b[:8] = [0, -0.0, 0, -0.0, 6, -6, 6, -6], [3, 3, -3, -3, 3, 3, -3, -3]
    for name in ("remainder", "fmod"):
        found = getattr(hs, name)(hs.tensor(a), hs.tensor(b)).numpy()
        expected = np.mod(a, b) if name == "remainder" else np.fmod(a, b)
        np.testing.assert_array_equal(signed(found), signed(expected), name)
    check(lambda m, a, b: [m.remainder(a, b), m.fmod(a, b)], a, b)


def test_floor_division_at_infinities() -> None:
    a = np.array([np.inf, -np.inf, 3.0, -3.0, 0.0, -0.0, 0.5, -0.5, 1.0, -1.0])
    b = np.array([2.0, -2.0, np.inf, -np.inf, 0.0])[:, None]
    with np.errstate(all="ignore"):
        q = a / b
        expected = np.where(np.isinf(a) | np.isinf(b) | (b == 0), np.floor(q), np.floor_divide(a, b))
    found = (hs.tensor(a) // hs.tensor(b)).numpy()
    np.testing.assert_array_equal(found, expected)
    there = ~np.isnan(expected)
    np.testing.assert_array_equal(np.signbit(found)[there], np.signbit(expected)[there])


@pytest.mark.parametrize("name", ["sum", "prod", "cumsum", "cumprod"])
def test_sums_have_the_dtype_that_is_named(name: str) -> None:
    x = integers(5, 3, low=-9, high=9)
    for dtype in ("int8", "int32", "float16", "float64"):
        check(lambda m, x, d=dtype: getattr(m, name)(x, 0, dtype=getattr(m, d)), x)


@pytest.mark.parametrize("bounds", [(-0.7, 0.7), (None, 0.3), (-0.3, None), (0.6, -0.6)], ids=str)
def test_clamp(bounds: Any) -> None:
    check(lambda m, x: m.clamp(x, *bounds), floats(6, 7), grad=True)
    check(lambda m, x: m.clamp(x, -3, 2), integers(40))


def test_clamp_between_tensors() -> None:
    check(lambda m, x, a, b: m.clamp(x, a, b), floats(5, 8), floats(8, seed=1) - 2, floats(5, 1, seed=2) + 2, grad=True)


def test_functions_of_three() -> None:
    a, b, c = floats(4, 5), floats(4, 5, seed=1), floats(5, seed=2, low=0.2, high=0.9)
    check(lambda m, a, b, c: m.lerp(a, b, c), a, b, c, grad=True)
    check(lambda m, a, b, c: [m.lerp(a, b, 0.2), m.lerp(a, b, 0.8)], a, b, c, grad=True)
    check(lambda m, a, b, c: m.addcmul(a, b, c, value=0.5), a, b, c, grad=True)
    check(lambda m, a, b, c: m.addcdiv(a, b, c, value=-2), a, b, c, grad=True)
    check(lambda m, a, b, c: m.where(a > 0, b, c), a, b, c, grad=True)
    check(lambda m, a, b, c: [m.where(a > 0, b, 1.0), m.where(a > 0, 0.0, c)], a, b, c, grad=True)
    check(lambda m, a, b, c: a.masked_fill(b > 0, 3.0), a, b, c, grad=True)
    check(lambda m, a, b, c: m.heaviside(a, c), a, b, c)


@pytest.mark.parametrize("exponent", [0, 1, 2, 3, -1, 0.5, -0.5, 2.5, -2, 4])
def test_powers_of_numbers(exponent: float) -> None:
    check(lambda m, x: x**exponent, floats(5, 5, low=0.2), grad=True)
    if exponent == int(exponent):
        check(lambda m, x: x**exponent, floats(5, 5), grad=True)
        if exponent >= 0:
            check(lambda m, x: x**exponent, integers(9, low=-5, high=5))
    check(lambda m, x: 2.0**x, floats(5, 5), grad=True)


def test_powers_at_corners() -> None:
    a = np.repeat(np.array([0.0, -0.0, 1.0, -1.0, 2.0, -2.0, np.inf, -np.inf, np.nan, 0.5]), 9)
    b = np.tile(np.array([0.0, 1.0, -1.0, 2.0, -2.0, 0.5, np.inf, -np.inf, np.nan]), 10)
    check(lambda m, a, b: a**b, a, b)
    check(lambda m, a, b: a**b, a.astype(np.float32), b.astype(np.float32))


def test_gradients_of_powers_of_zero_and_negative_bases() -> None:
    check(lambda m, a, b: a**b, np.array([0.0, 0.0, 0.0, -2.0, -2.0]), np.array([1.0, 2.0, 3.0, 2.0, 3.0]), grad=True)
    check(lambda m, a: a**2, np.array([0.0, -1.0]), grad=True)


def test_operators_with_numbers_on_both_sides() -> None:
    x = floats(3, 4, low=0.3)
    check(lambda m, x: [x + 1, 1 + x, x - 2, 2 - x, x * 3, 3 * x, x / 4, 4 / x, -x, +x, abs(-x)], x, grad=True)
    check(lambda m, x: [x // 0.3, 2 // x, x % 0.7, 2 % x, x > 1, x < 1, x == x], x)
    check(lambda m, x: [x // 3, 7 // (x * x + 1), x % 3, 7 % (x * x + 1), x & 3, x | 3, x ^ 3], integers(20))


def test_functions_of_rare_use() -> None:
    a, b = floats(3, 4, low=0.3), floats(3, 4, seed=1)
    check(lambda m, a, b: [m.add(a, b, alpha=2), m.sub(a, b, alpha=0.5), m.float_power(a, b)], a, b, grad=True)
    check(lambda m, a, b: [m.ldexp(a, m.floor(b)), m.mvlgamma(a + 3, 2)], a, b, rtol=1e-7)
    check(lambda m, a, b: [m.allclose(a, a), m.equal(a, b), m.equal(a, a)], a, b)
    check(lambda m, a, b: [m.round(a, decimals=1), m.nan_to_num(a / 0)], a, b)
    check(lambda m, a: m.angle(a), floats(7), grad=True)


@pytest.mark.parametrize("out", [True, False])
def test_results_in_given_tensors(out: bool) -> None:
    x, y = hs.tensor([1.0, 2.0]), hs.zeros(2)
    z = hs.add(x, x, out=y) if out else x.add(x)
    assert (z is y) == out
    assert z.tolist() == [2.0, 4.0]


def test_errors() -> None:
    x, k = hs.zeros(2, 3), hs.zeros(2, 3, dtype=hs.int64)
    for f in (lambda: x + hs.zeros(4), lambda: hs.where(x > 0, x, hs.zeros(3, 2)), lambda: x.lerp(hs.zeros(4), 0.5)):
        with pytest.raises(ShapeError):
            f()
    for f in (
        lambda: x & 1, lambda: x << 1, lambda: ~x, lambda: k**-1, lambda: hs.add(x, "a"), lambda: hs.mul(x, None),
        lambda: x.bool().positive(),
    ):  # fmt: skip
        with pytest.raises(DTypeError):
            f()
    for f in (lambda: x + "a", lambda: x < [1], lambda: {} * x):
        with pytest.raises(TypeError):
            f()
    with pytest.raises(ValueError, match="rounding_mode"):
        hs.div(x, 2, rounding_mode="up")
    with pytest.raises(ValueError, match="min or max"):
        x.clamp()


def test_atan2_at_signed_zeros_and_infinities() -> None:
    ends = np.array([0.0, -0.0, 1.0, -2.0, np.inf, -np.inf, np.nan])
    y, x = (a.reshape(-1) for a in np.meshgrid(ends, ends))
    check(lambda m, a, b: [m.atan2(a, b), 1 / m.atan2(a, b)], y, x)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32", "float64"])
def test_nextafter(dtype: str) -> None:
    ends = [0.0, -0.0, 1.0, -2.0, 1023.0, 65504.0, np.inf, -np.inf, np.nan, 1e-300, 5e-324, 6e-8, -6e-8, -6.1e-5]
    ends += [sign * 2.0**n for n in (-14, -24, -126, -127, -149, -1022) for sign in (1, -1)]
    x = torch.tensor(ends, dtype=getattr(torch, dtype))
    y, x = (t.reshape(-1) for t in torch.meshgrid(x, x, indexing="ij"))
    if dtype != "float16":
        check(lambda m, x, y: m.nextafter(x, y), x, y)
        check(lambda m, x, y: m.nextafter(x[0], y), torch.tensor([1.0], dtype=x.dtype), y[:3], grad=True)
        return
    found = hs.nextafter(*(hs.tensor(t.numpy()) for t in (x, y))).numpy()  # PyTorch has none
    with np.errstate(over="ignore"):
        np.testing.assert_array_equal(found, np.nextafter(x.numpy(), y.numpy()))
    a, b = (hs.tensor(t.numpy(), requires_grad=True) for t in (x, y))
    again = hs.compile(hs.nextafter)(a, b)
    np.testing.assert_array_equal(again.detach().numpy().view(np.int16), found.view(np.int16))
    again[(x.numpy() == 1) & (y.numpy() == 0)].sum().backward()  # out of what is compiled
    assert a.grad is not None
    assert a.grad.sum().item() == ((x == 1) & (y == 0)).sum().item()


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_powers_and_logarithms_of_whole_numbers_are_exact(dtype: Any) -> None:
    low, high = (-149, 128) if dtype == np.float32 else (-1074, 1024)
    n = np.arange(low, high)
    powers = np.ldexp(np.ones((), dtype), n)
    np.testing.assert_array_equal(hs.exp2(hs.tensor(n.astype(dtype))).numpy(), powers)
    np.testing.assert_array_equal(hs.log2(hs.tensor(powers)).numpy(), n)
    np.testing.assert_array_equal(
        hs.ldexp(hs.tensor(np.full(n.shape, 1.5, dtype)), hs.tensor(n)).numpy(), powers * dtype(1.5)
    )
    tens = 10.0 ** np.arange(11 if dtype == np.float32 else 23)
    np.testing.assert_array_equal(hs.log10(hs.tensor(tens.astype(dtype))).numpy(), np.arange(len(tens)))
