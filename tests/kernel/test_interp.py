"""The interpreter is the meaning of the IR: its arithmetic against exact numbers, and the faults that it must find."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis.strategies import floats, integers, sampled_from, tuples

from heliostat.diagnostics import VerifyError
from heliostat.kernel.builder import KernelBuilder
from heliostat.kernel.interp import Interpreter, interpret
from heliostat.kernel.ir import Kernel, Type
from heliostat.kernel.text_parser import parse_kernel
from kernel.random_kernels import DTYPES, assert_same, copies, random_kernel

Array = np.ndarray[Any, Any]
LANES = 4


def evaluate(op: str, elem: str, *operands: Any, result: str = "") -> list[Any]:
    """An op on scalars, computed both as a scalar and in a vector of LANES equal ones, which must agree."""
    k = KernelBuilder("k")
    x, y, z = k.buffer("x"), k.buffer("y", "w"), k.buffer("z", "w")
    size = np.dtype(DTYPES[elem]).itemsize
    out = Type(result or elem)
    for lanes, buffer in ((1, y), (LANES, z)):
        args = [k.load(x, n * size * LANES, elem, lanes) for n in range(len(operands))]
        made = k.emit(op, Type(out.elem, lanes), tuple(args))
        k.store(buffer, 0, k.convert(made, "i8") if out.elem == "i1" else made)
    stored = DTYPES["i8" if out.elem == "i1" else out.elem]
    one, many = np.zeros(1, stored), np.zeros(LANES, stored)
    with np.errstate(all="ignore"):
        values = np.repeat(np.array(operands).astype(DTYPES[elem]), LANES)
    interpret(k.finish(), [values, one, many])
    assert_same([many], [np.repeat(one, LANES)])
    return [one[0], many[0]]


def result_of(op: str, elem: str, *operands: Any, result: str = "") -> Any:
    return evaluate(op, elem, *operands, result=result)[0]


NAN, INF = float("nan"), float("inf")

CASES: list[tuple[str, str, tuple[Any, ...], str, Any]] = [
    ("add", "i8", (127, 1), "", -128),
    ("sub", "i64", (-(2**63), 1), "", 2**63 - 1),
    ("mul", "i32", (65536, 65537), "", 65536),
    ("div", "i32", (-7, 2), "", -3),
    ("rem", "i32", (-7, 2), "", -1),
    ("div", "f32", (1.0, 0.0), "", INF),
    ("min", "f32", (NAN, 1.0), "", 1.0),
    ("min", "f32", (1.0, NAN), "", NAN),
    ("max", "f32", (NAN, 1.0), "", 1.0),
    ("max", "f32", (1.0, NAN), "", NAN),
    ("min", "f32", (0.0, -0.0), "", -0.0),
    ("min", "f32", (-0.0, 0.0), "", 0.0),
    ("min", "i8", (-1, 1), "", -1),
    ("eq", "f32", (NAN, NAN), "i1", 0),
    ("ne", "f32", (NAN, NAN), "i1", 1),
    ("lt", "f32", (NAN, 1.0), "i1", 0),
    ("le", "f32", (1.0, NAN), "i1", 0),
    ("lt", "i8", (-1, 1), "i1", 1),
    ("ult", "i8", (-1, 1), "i1", 0),
    ("lshr", "i8", (-1, 1), "", 127),
    ("lshr", "i8", (-1, 0), "", -1),
    ("ashr", "i8", (-2, 1), "", -1),
    ("shl", "i8", (65, 1), "", -126),
    ("sext", "i8", (-1,), "i32", -1),
    ("zext", "i8", (-1,), "i32", 255),
    ("trunc", "i32", (511,), "i8", -1),
    ("trunc", "i32", (2,), "i1", 0),
    ("sitofp", "i64", (2**24 + 1,), "f32", 2.0**24),
    ("sitofp", "i64", (2**60 + 2**36 + 1,), "f32", 2.0**60 + 2.0**37),  # through f64 it would be 2 ** 60
    ("uitofp", "i8", (-1,), "f32", 255.0),
    ("uitofp", "i64", (-1,), "f32", 2.0**64),
    ("fptosi", "f32", (NAN,), "i32", 0),
    ("fptosi", "f32", (INF,), "i32", 2**31 - 1),
    ("fptosi", "f64", (-INF,), "i64", -(2**63)),
    ("fptosi", "f32", (1e20,), "i64", 2**63 - 1),
    ("fptosi", "f64", (2.0**63 - 1024,), "i64", 2**63 - 1024),
    ("fptosi", "f32", (-129.5,), "i8", -128),
    ("fptosi", "f16", (-1.9,), "i8", -1),
    ("fpcast", "f64", (1 + 2.0**-11 + 2.0**-40,), "f16", 1 + 2.0**-10),  # through f32 it would be 1
    ("fpcast", "f32", (65520.0,), "f16", INF),
    ("rint", "f32", (2.5,), "", 2.0),
    ("rint", "f32", (-0.3,), "", -0.0),
    ("neg", "f32", (0.0,), "", -0.0),
    ("fabs", "f16", (-0.0,), "", 0.0),
    ("floor", "f64", (-0.5,), "", -1.0),
    ("sqrt", "f32", (2.0,), "", np.sqrt(np.float32(2))),
    ("bitcast", "f32", (1.0,), "i32", 0x3F800000),
]


@pytest.mark.parametrize(("op", "elem", "operands", "result", "wanted"), CASES, ids=lambda v: str(v))
def test_meaning(op: str, elem: str, operands: tuple[Any, ...], result: str, wanted: Any) -> None:
    found = evaluate(op, elem, *operands, result=result)[0]
    assert_same([np.array([found])], [np.array([wanted]).astype(np.asarray(found).dtype)])


# --- fma: one rounding ----------------------------------------------------------------------------------------------
def nearest(value: Fraction, dtype: Any) -> float:
    """The float of a dtype next to an exact number, ties to even. By search among neighbours, not by arithmetic."""
    with np.errstate(all="ignore"):
        start = dtype(float(value))
        around = [start, np.nextafter(start, dtype(INF)), np.nextafter(start, dtype(-INF))]
    finite = [c for c in around if np.isfinite(c)]
    bits = {2: np.uint16, 4: np.uint32, 8: np.uint64}[start.nbytes]
    return float(min(finite, key=lambda c: (abs(Fraction(float(c)) - value), int(c.view(bits)) & 1)))


def few_bits(bits: int) -> Any:
    """Floats with few significant bits and exponents near each other: sums that fall on and beside ties."""
    return tuples(integers(-(2**bits), 2**bits), integers(-30, 6)).map(lambda t: t[0] * 2.0 ** t[1])


@settings(deadline=None, max_examples=200)
@given(few_bits(12), few_bits(12), few_bits(3))
@example(1 + 2.0**-12, 1 + 2.0**-12, 2.0**-60)
@example(-(1 + 2.0**-12), 1 + 2.0**-12, -(2.0**-60))
@example(2.0**-75, 2.0**-74, 2.0**-140)
def test_fma_f32_is_rounded_once(a: float, b: float, c: float) -> None:
    exact = Fraction(float(np.float32(a))) * Fraction(float(np.float32(b))) + Fraction(float(np.float32(c)))
    found = result_of("fma", "f32", a, b, c)
    assert float(found) == nearest(exact, np.float32)


@settings(deadline=None, max_examples=100)
@given(few_bits(5), few_bits(5), few_bits(3))
def test_fma_f16_is_rounded_once(a: float, b: float, c: float) -> None:
    x, y, z = (Fraction(float(np.float16(v))) for v in (a, b, c))
    wanted = nearest(x * y + z, np.float16) if abs(x * y + z) < 65504 else None
    found = float(result_of("fma", "f16", a, b, c))
    assert wanted is None or found == wanted


@settings(deadline=None, max_examples=100)
@given(floats(-1e3, 1e3), floats(-1e3, 1e3), floats(-1e3, 1e3))
@example(1 + 2.0**-52, 1 - 2.0**-52, -1.0)
def test_fma_f64_is_rounded_once(a: float, b: float, c: float) -> None:
    assert float(result_of("fma", "f64", a, b, c)) == float(Fraction(a) * Fraction(b) + Fraction(c))


@pytest.mark.parametrize("elem", ["f16", "f32", "f64"])
def test_fma_of_specials(elem: str) -> None:
    for operands, wanted in [
        ((INF, 1.0, 1.0), INF),
        ((INF, 0.0, 1.0), NAN),
        ((2.0, 3.0, -INF), -INF),
        ((INF, 1.0, -INF), NAN),
        ((-1.0, 0.0, 0.0), 0.0),
        ((-1.0, 0.0, -0.0), -0.0),
        ((1.0, 1.0, -1.0), 0.0),
        ((NAN, 1.0, 1.0), NAN),
    ]:
        found = np.array([result_of("fma", elem, *operands)])
        assert_same([found], [np.array([wanted]).astype(found.dtype)])


def test_fma_f64_beyond_the_range() -> None:
    assert result_of("fma", "f64", 1e300, 1e300, -INF) == -INF
    assert result_of("fma", "f64", 1e300, 1e300, -1.0) == INF
    assert result_of("fma", "f64", 1e-300, 1e-300, -0.0) == 0.0


# --- faults ---------------------------------------------------------------------------------------------------------
def run_text(body: str, *arrays: Array | int, **options: Any) -> None:
    names = ("x: r", "y: w", "z: rw", "n: dim")[: len(arrays)]
    interpret(parse_kernel(f"kernel k({', '.join(names)}) {{ {body} }}"), arrays, **options)


def bytes_of(n: int) -> Array:
    return np.zeros(n, np.uint8)


FAULTS = {
    "%0 = load i32x4, x[4]": "%0 = load i32x4, x[4]: reads 16 bytes at offset 4 of buffer x, which has 16",
    "%0 = load i8, x[-1]": "reads 1 bytes at offset -1 of buffer x",
    "store y[15], 1:i32": "writes 4 bytes at offset 15 of buffer y, which has 16",
    "%0 = alloc 8 store %0[8], 1:i8": "writes 1 bytes at offset 8 of private memory, which has 8",
    "%0 = alloc 8 store %0[0], 1:i32 %1 = load i64, %0[0]": "private memory was never written there",
    "%0 = load i8, x[0] %1 = div 1, %0 : i8": "division by zero",
    "%0 = load i8x4, x[0] %1 = rem 1, %0 : i8x4": "division by zero",
    "%0 = load i8, x[0] %1 = add %0, -128 : i8 %2 = sub %0, 1 : i8 %3 = div %1, %2 : i8": "division by zero",
    "%0 = load i8, x[0] %1 = sub %0, 1 : i8 %2 = shl 1, %1 : i8": "the shift's amount is outside 0 .. bits - 1",
    "%0 = load i8x4, x[0] %1 = add %0, 8 : i8x4 %2 = ashr 1, %1 : i8x4": "the shift's amount is outside",
    "%0 = table 16 [0..15] : i8": "an index is outside 0 .. 15",
    "%0 = table -1 [0..15] : i8x4": "an index is outside 0 .. 15",
    "%0 = dot4 0, 16, 1 max 15 : i32x4": "an unsigned byte is above 15",
    "parallel %i in -1 { }": "the count is negative",
    "%0 = iota : i32x8 %1 = lt %0, 5 : i32x8 %2 = load i32x8, x[0], mask %1": "reads 20 bytes at offset 0 of buffer x",
    "%0 = iota : i32x8 %1 = lt 3, %0 : i32x8 store y[0], 1:i32x8, mask %1": "writes 16 bytes at offset 16 of buffer y",
}


@pytest.mark.parametrize(("body", "message"), FAULTS.items(), ids=list(FAULTS))
def test_fault_is_found(body: str, message: str) -> None:
    with pytest.raises(VerifyError) as caught:
        run_text(body, bytes_of(16), bytes_of(16), bytes_of(16))
    assert message in caught.value.message
    assert caught.value.message.startswith("kernel k: ")


def test_masked_off_lanes_touch_nothing() -> None:
    x, y = np.arange(3, dtype=np.int32), np.full(3, -1, np.int32)
    mask = "%0 = iota : i32x4 %1 = lt %0, 2 : i32x4"
    run_text(f"{mask} %2 = load i32x4, x[4], mask %1 store y[4], %2, mask %1", x, y)
    assert y.tolist() == [-1, 1, 2]
    run_text(f"{mask} %2 = and %1, false : i1x4 %3 = load i32x4, x[999], mask %2 store y[-999], %3, mask %2", x, y)
    assert y.tolist() == [-1, 1, 2]


def test_what_an_iteration_wrote_privately_is_forgotten() -> None:
    """The second iteration may run on another worker, so it must not read what the first one left."""
    body = """%m = alloc 8
    parallel %i in 2 {
      %first = eq %i, 0 : i64
      if %first { store %m[0], 7:i64 }
      %v = load i64, %m[0]
      store y[0], %v
    }"""
    with pytest.raises(VerifyError, match="never written"):
        run_text(body, bytes_of(8), bytes_of(8))
    before = body.replace("parallel", "store %m[0], 1:i64 parallel", 1)
    with pytest.raises(VerifyError, match="never written"):
        run_text(before, bytes_of(8), bytes_of(8))
    run_text(before.replace("if %first { store %m[0], 7:i64 }", ""), bytes_of(8), bytes_of(8))


def test_noise_shows_in_a_result_that_depends_on_it() -> None:
    y = np.zeros(1, np.int64)
    run_text("%0 = alloc 8 %1 = load i64, %0[0] store y[0], %1", bytes_of(8), y, uninitialised="noise")
    assert y[0] != 0


def test_arguments_are_checked() -> None:
    body = "%0 = load i64, n[0] store y[0], %0"
    y = np.zeros(1, np.int64)
    run_text(body, bytes_of(8), y, bytes_of(8), 5)
    assert y[0] == 5
    with pytest.raises(VerifyError, match="4 parameters, got 1"):
        interpret(parse_kernel("kernel k(x: r, y: w, z: rw, n: dim) { }"), [bytes_of(8)])
    with pytest.raises(VerifyError, match="x is a buffer, got the number 5"):
        run_text(body, 5, y, bytes_of(8), 5)
    with pytest.raises(VerifyError, match="not C-contiguous"):
        run_text(body, np.zeros((4, 4))[:, 1], y, bytes_of(8), 5)
    frozen = np.zeros(1, np.int64)
    frozen.flags.writeable = False
    with pytest.raises(VerifyError, match="read-only"):
        run_text(body, frozen, frozen, bytes_of(8), 5)


# --- parallel regions -----------------------------------------------------------------------------------------------
def dependent() -> Kernel:
    """Each iteration adds to what the one before left: not a legal parallel region, and the order shows it."""
    k = KernelBuilder("dependent")
    z = k.buffer("z", "rw")
    for i in k.parallel(8):
        k.store(z, 0, k.load(z, 0, "i64") * 3 + i)
    return k.finish()


def test_order_shows_dependent_iterations() -> None:
    results = []
    for order in ("forward", "reverse", "random"):
        z = np.zeros(1, np.int64)
        interpret(dependent(), [z], order=order)  # type: ignore[arg-type]
        results.append(int(z[0]))
    assert len(set(results)) == 3


def test_workers_take_contiguous_runs() -> None:
    k = KernelBuilder("runs")
    y = k.buffer("y", "w")
    for i in k.parallel(7):
        k.store(y, i, k.convert(k.worker() * 10 + k.workers(), "i8"))
    y_array = np.zeros(7, np.int8)
    interpret(k.finish(), [y_array], workers=3)
    assert y_array.tolist() == [3, 3, 13, 13, 23, 23, 23]


@settings(deadline=None, max_examples=25)
@given(integers(0, 2**32 - 1), integers(1, 9), sampled_from(["forward", "reverse", "random"]))
def test_split_and_order_do_not_matter(seed: int, workers: int, order: Any) -> None:
    kernel, arrays = random_kernel(seed)
    one, many, noise = copies(arrays), copies(arrays), copies(arrays)
    Interpreter(kernel).run(one)
    Interpreter(kernel).run(many, workers, order)
    Interpreter(kernel, "noise").run(noise, workers, order)
    assert_same(many, one)
    assert_same(noise, one)


def test_loaded_values_do_not_change_with_memory() -> None:
    z = np.array([1, 2, 3, 4], np.int32)
    run_text("%0 = load i32x4, z[0] store z[0], 9:i32x4 store y[0], %0", z, y := np.zeros(4, np.int32), z)
    assert y.tolist() == [1, 2, 3, 4]
    assert z.tolist() == [9] * 4
