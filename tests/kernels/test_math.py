"""kernels/math.py against NumPy in a wider type: distance in units in the last place, and special values."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from run_kernel import HOST, Array, run_kernel

from heliostat.ir.types import DType, bf16, bool_, f16, i8, i16, i32, u8, u32
from heliostat.kernel.builder import KernelBuilder
from heliostat.kernels.math import Math

ELEMENTS: dict[str, Any] = {"f32": np.float32, "f64": np.float64}
ULP = 3


def apply(function: Callable[..., Any], *arrays: Array, interp: bool = False) -> Array:
    """A function of `Math` on equally long f32 or f64 arrays, by whole vectors."""
    elem = "f64" if arrays[0].dtype == np.float64 else "f32"
    size = arrays[0].dtype.itemsize
    lanes = HOST.vector_bytes // size
    count = len(arrays[0])
    padded = [np.concatenate([a, np.ones(-count % lanes, a.dtype)]) for a in arrays]
    k = KernelBuilder("math")
    sources = [k.buffer(f"i{n}") for n in range(len(arrays))]
    out = k.buffer("o", "w")
    for i in k.loop(0, len(padded[0]), lanes):
        k.store(out, i * size, function(Math(k), *(k.load(s, i * size, elem, lanes) for s in sources)))
    result = np.empty_like(padded[0])
    run_kernel(k.finish(), [*padded, result], interp=interp)
    return result[:count]


def uniform(low: float, high: float) -> Callable[[np.random.Generator], Array]:
    return lambda r: r.uniform(low, high, 1 << 14)


def magnitudes(low: float, high: float, signed: bool = False) -> Callable[[np.random.Generator], Array]:
    """Numbers whose logarithm is uniform."""
    return lambda r: (
        np.exp(r.uniform(math.log(low), math.log(high), 1 << 14)) * (r.choice([-1, 1], 1 << 14) if signed else 1)
    )


def reference_erf(x: Array) -> Array:
    exact: Array = np.vectorize(math.erf)(x.astype(np.float64))
    return exact.astype(np.longdouble)


CASES: list[tuple[str, Callable[..., Array], list[Callable[[np.random.Generator], Array]]]] = [
    ("exp", np.exp, [uniform(-87, 88)]),
    ("exp", np.exp, [uniform(-1, 1)]),
    ("exp2", np.exp2, [uniform(-125, 127)]),
    ("expm1", np.expm1, [uniform(-30, 88)]),
    ("expm1", np.expm1, [magnitudes(1e-8, 1, True)]),
    ("log", np.log, [magnitudes(1e-37, 1e38)]),
    ("log", np.log, [uniform(0.5, 2)]),
    ("log2", np.log2, [magnitudes(1e-37, 1e38)]),
    ("log2", np.log2, [uniform(0.5, 2)]),
    ("log10", np.log10, [magnitudes(1e-37, 1e38)]),
    ("log10", np.log10, [uniform(0.5, 2)]),
    ("log1p", np.log1p, [magnitudes(1e-8, 1e30)]),
    ("log1p", np.log1p, [uniform(-0.99, 0.99)]),
    ("sin", np.sin, [uniform(-4, 4)]),
    ("cos", np.cos, [uniform(-4, 4)]),
    ("tan", np.tan, [uniform(-100, 100)]),
    ("tanh", np.tanh, [uniform(-10, 10)]),
    ("tanh", np.tanh, [magnitudes(1e-8, 1, True)]),
    ("erf", reference_erf, [uniform(-6.5, 6.5)]),
    ("erf", reference_erf, [magnitudes(1e-8, 1, True)]),
    ("sigmoid", lambda x: 1 / (1 + np.exp(-x)), [uniform(-80, 80)]),
    ("sqrt", np.sqrt, [magnitudes(1e-30, 1e30)]),
    ("rsqrt", lambda x: 1 / np.sqrt(x), [magnitudes(1e-30, 1e30)]),
    ("reciprocal", lambda x: 1 / x, [magnitudes(1e-30, 1e30, True)]),
    ("pow", np.power, [magnitudes(1e-3, 1e3), uniform(-10, 10)]),
    ("pow", np.power, [uniform(0.9, 1.1), uniform(-400, 400)]),
    ("pow", np.power, [magnitudes(1e-30, 1e30), uniform(-1, 1)]),
]


@pytest.mark.parametrize("elem", ELEMENTS)
@pytest.mark.parametrize(("name", "reference", "draws"), CASES)
def test_distance_from_reference(
    name: str, reference: Callable[..., Array], draws: list[Callable[[np.random.Generator], Array]], elem: str
) -> None:
    r = np.random.default_rng(7)
    arrays = [draw(r).astype(ELEMENTS[elem]) for draw in draws]
    got = apply(lambda m, *x: getattr(m, name)(*x), *arrays)
    want = reference(*(a.astype(np.longdouble) for a in arrays))
    distance = np.abs(got - want) / np.spacing(np.abs(want.astype(got.dtype)))
    assert distance.max() <= ULP, [a[distance.argmax()] for a in arrays]


@pytest.mark.parametrize("elem", ELEMENTS)
def test_gelu(elem: str) -> None:
    """Of f32 relative to the result for negative x too, down to where it is as good as 0; a NaN and infinity stay."""
    x = np.random.default_rng(5).uniform(-5.5 if elem == "f32" else -1, 12, 1 << 13).astype(ELEMENTS[elem])
    want = [0.5 * v * math.erfc(-v * math.sqrt(0.5)) for v in x.astype(np.float64)]
    np.testing.assert_allclose(apply(lambda m, v: m.gelu(v), x), want, rtol=1e-5 if elem == "f32" else 1e-14)
    ends = np.array([-1e30, -200.0, -14.0, 0.0, 14.0, 1e30, np.inf, np.nan], ELEMENTS[elem])
    found = apply(lambda m, v: m.gelu(v), ends)
    np.testing.assert_allclose(found, np.where(np.isnan(ends), ends, np.maximum(ends, 0)), atol=1e-20)


@pytest.mark.parametrize("name", ["sin", "cos"])
def test_angles_of_long_contexts(name: str) -> None:
    x = np.random.default_rng(3).uniform(-131072, 131072, 1 << 16).astype(np.float32)
    x = np.concatenate([x, np.arange(-131072, 131073, 64, dtype=np.float32)])
    want = getattr(np, name)(x.astype(np.float64))
    assert np.abs(apply(lambda m, v: getattr(m, name)(v), x) - want).max() < 1e-6


SPECIAL = [
    0.0,
    -0.0,
    1.0,
    -1.0,
    0.5,
    -0.5,
    2.5,
    -2.5,
    3.0,
    -3.0,
    1e30,
    -1e30,
    89.5,
    -110.0,
    200.0,
    np.inf,
    -np.inf,
    np.nan,
]


@pytest.mark.parametrize("interp", [False, True], ids=["native", "interp"])
@pytest.mark.parametrize("elem", ELEMENTS)
@pytest.mark.parametrize(
    "name",
    [
        "exp",
        "exp2",
        "expm1",
        "log",
        "log2",
        "log10",
        "log1p",
        "tanh",
        "sqrt",
        "floor",
        "ceil",
        "rint",
        "trunc",
        "sign",
        "abs",
    ],
)
def test_special_values(name: str, elem: str, interp: bool) -> None:
    x = np.array(SPECIAL, ELEMENTS[elem])
    method = {"rint": "round"}.get(name, name)
    got = apply(lambda m, v: getattr(m, method)(v), x, interp=interp)
    with np.errstate(all="ignore"):
        want = getattr(np, name)(x)
    np.testing.assert_allclose(got, want, rtol=1e-6)
    if name not in ("sign", "abs"):
        exact = np.isin(want, [0.0]) & (x == 0)
        np.testing.assert_array_equal(np.signbit(got[exact]), np.signbit(want[exact]))


@pytest.mark.parametrize("interp", [False, True], ids=["native", "interp"])
@pytest.mark.parametrize("elem", ELEMENTS)
def test_power_of_special_values(elem: str, interp: bool) -> None:
    a, b = (g.ravel().astype(ELEMENTS[elem]) for g in np.meshgrid(SPECIAL, SPECIAL))
    with np.errstate(all="ignore"):
        want = np.power(a, b)
    got = apply(lambda m, x, y: m.pow(x, y), a, b, interp=interp)
    np.testing.assert_allclose(got, want, rtol=1e-6)
    zeros = want == 0
    np.testing.assert_array_equal(np.signbit(got[zeros]), np.signbit(want[zeros]))


def test_angles_without_a_value() -> None:
    x = np.array([np.inf, -np.inf, np.nan, 1.0], np.float32)
    for name in ("sin", "cos", "tan"):
        found = apply(lambda m, v, name=name: getattr(m, name)(v), x)
        assert np.isnan(found[:3]).all()
        assert found[3] == apply(lambda m, v, name=name: getattr(m, name)(v), x[3:])[0]


@pytest.mark.parametrize("interp", [False, True], ids=["native", "interp"])
@pytest.mark.parametrize("dtype", ["f32", "f64"])
@pytest.mark.parametrize("name", ["sin", "cos", "tan"])
def test_angles_of_all_sizes(name: str, dtype: str, interp: bool) -> None:
    """Small ones beside large ones; where the reduction changes, powers of two, and the floats that are next to
    multiples of pi / 2. The reference are functions of long doubles, more exact than those of float64."""
    rng = np.random.default_rng(8)
    kind, powers = (np.float32, 128) if dtype == "f32" else (np.float64, 1024)
    count = 400 if interp else 1 << 14
    x = np.exp(rng.uniform(-3, powers * 0.6875, count)) * rng.choice([-1, 1], count)
    near = {
        "f32": [16367173 * 2.0**72, 13962640 * 2.0**-1, 4194303.5, 4194304.0, 3.4028235e38],
        "f64": [6381956970095103 * 2.0**797, 2.0**50 - 0.125, 2.0**50 + 0.25, 1e22, 1.7976931348623157e308],
    }[dtype]
    ends = 2.0 ** np.arange(18, powers)
    x = np.concatenate([x, ends, -ends, near]).astype(kind)
    want = getattr(np, name)(x.astype(np.longdouble))
    found = apply(lambda m, v: getattr(m, name)(v), x, interp=interp)
    distance = np.abs(found - want) / np.spacing(np.abs(want).astype(kind))
    assert distance.max() <= 4, (distance.max(), x[distance.argmax()])


def test_extremes_propagate_nan() -> None:
    a, b = (g.ravel().astype(np.float32) for g in np.meshgrid(SPECIAL, SPECIAL))
    np.testing.assert_array_equal(apply(lambda m, x, y: m.maximum(x, y), a, b), np.maximum(a, b))
    np.testing.assert_array_equal(apply(lambda m, x, y: m.minimum(x, y), a, b), np.minimum(a, b))


def test_results_below_the_smallest_normal_number() -> None:
    x = np.linspace(-103, -88, 64).astype(np.float32)
    np.testing.assert_allclose(apply(lambda m, v: m.exp(v), x), np.exp(x.astype(np.float64)), rtol=0, atol=2e-45)


@pytest.mark.parametrize("interp", [False, True], ids=["native", "interp"])
@pytest.mark.parametrize("dtype", [i8, u8, i16, i32, u32], ids=str)
def test_cast_saturates(dtype: DType, interp: bool) -> None:
    x = np.array(
        [0.9, -0.9, 126.5, 127.5, 128.5, -127.9, -129.0, 255.9, 256.0, 40000, -40000, 3e9, -3e9, 1e20, -1e20], "f"
    )
    x = np.concatenate([x, np.array([np.inf, -np.inf, np.nan], np.float32)])
    got = apply(lambda m, v: m.k.convert(m.cast(v, dtype), "f32"), x, interp=interp)
    size = 1 << dtype.bits
    low, high = (0, size - 1) if dtype.kind == "u" else (-size // 2, size // 2 - 1)
    want = np.clip(np.trunc(np.nan_to_num(x.astype(np.float64), nan=0.0)), low, high)
    np.testing.assert_array_equal(got, want.astype(np.float32))


@pytest.mark.parametrize("dtype", [f16, bf16, bool_], ids=str)
def test_cast_rounds(dtype: DType) -> None:
    x = np.random.default_rng(5).standard_normal(200).astype(np.float32)
    x[:3] = 0, np.nan, np.inf
    got = apply(lambda m, v: m.k.convert(m.cast(v, dtype), "f32", signed=False), x)
    if dtype == f16:
        want = x.astype(np.float16).astype(np.float32)
    elif dtype == bool_:
        want = (x != 0).astype(np.float32)
    else:
        bits = x.view(np.uint32).astype(np.uint64)
        want = ((((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16) << 16).astype(np.uint32)).view(np.float32)
    np.testing.assert_array_equal(got, want)


def test_builder_is_reached() -> None:
    x = np.arange(16, dtype=np.float32)
    np.testing.assert_array_equal(apply(lambda m, v: m.fma(v, v, 1.0), x), x * x + 1)
