"""The builder: what it folds and shares has the value that the interpreter computes without folding."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis.strategies import floats, integers, sampled_from

from heliostat.kernel.builder import KernelBuilder
from heliostat.kernel.interp import interpret
from heliostat.kernel.ir import Instruction, Type
from heliostat.kernel.text import print_kernel
from kernel.random_kernels import BITS, DTYPES, INTEGER_OPS, INTEGERS, assert_same

Array = np.ndarray[Any, Any]
COMPARISONS = ("eq", "ne", "lt", "le", "ult")
numbers = integers(-(2**63), 2**63 - 1) | integers(-9, 9) | sampled_from([2**31 - 1, -(2**31), 127, -128, 255])


def wrapped(value: int, elem: str) -> int:
    """The int brought into the element's signed range."""
    low = value % 2 ** BITS[elem]
    return low - 2 ** BITS[elem] if low >= 2 ** (BITS[elem] - 1) else low


def stored(k: KernelBuilder, buffer: Instruction, value: Instruction) -> None:
    k.store(buffer, 0, k.convert(value, "i8", signed=False) if value.elem == "i1" else value)


def result(value: Instruction, k: KernelBuilder, y: Instruction, *arrays: Array) -> Array:
    """Run the kernel with `value` stored to y."""
    stored(k, y, value)
    out = np.zeros(1, DTYPES["i8" if value.elem == "i1" else value.elem])
    interpret(k.finish(), [*arrays, out])
    return out


def defined(op: str, b: int, bits: int) -> bool:
    return 0 <= b < bits if op in ("shl", "lshr", "ashr") else b not in (0, -1) if op in ("div", "rem") else True


@settings(deadline=None, max_examples=300)
@given(sampled_from((*INTEGER_OPS, *COMPARISONS)), sampled_from(INTEGERS), numbers, numbers)
def test_constants_fold_to_what_is_interpreted(op: str, elem: str, a: int, b: int) -> None:
    a, b = wrapped(a, elem), wrapped(b, elem)
    assume(defined(op, b, BITS[elem]))
    out = Type("i1" if op in COMPARISONS else elem)
    k = KernelBuilder("folded")
    folded = result(k.binary(op, k.const(a, elem), k.const(b, elem)), k, k.buffer("y", "w"))
    k = KernelBuilder("plain")
    plain = result(k.emit(op, out, (k.const(a, elem), k.const(b, elem))), k, k.buffer("y", "w"))
    assert_same([folded], [plain])


@settings(deadline=None, max_examples=200)
@given(sampled_from(INTEGER_OPS), sampled_from(INTEGERS), numbers, sampled_from([-3, -2, -1, 0, 1, 2, 5]), numbers)
def test_identities_keep_the_value(op: str, elem: str, a: int, b: int, c: int) -> None:
    """x op constant, and (x + c) op constant, where the builder rewrites; and the constant first."""
    a, c, bits = wrapped(a, elem), wrapped(c, elem), BITS[elem]
    for swap in (False, True):
        if not defined(op, a if swap else b, bits):
            continue
        if swap and op in ("shl", "lshr", "ashr", "div", "rem"):
            continue
        results = []
        for fold in (True, False):
            k = KernelBuilder("k")
            buffer, y = k.buffer("x"), k.buffer("y", "w")
            x = k.load(buffer, 0, elem)
            t = Type(elem)
            shifted = x + c if fold else k.emit("add", t, (x, k.const(c, elem)))
            pair = (k.const(b, elem), shifted) if swap else (shifted, k.const(b, elem))
            value = k.binary(op, *pair) if fold else k.emit(op, t, pair)
            results.append(result(value, k, y, np.array([a], DTYPES[elem])))
        assert_same([results[0]], [results[1]])


@settings(deadline=None, max_examples=200)
@given(
    sampled_from((*INTEGERS, "i1")),
    sampled_from((*INTEGERS, "f16", "f32", "f64")),
    numbers,
    sampled_from([True, False]),
)
def test_converted_integer_constants(source: str, target: str, value: int, signed: bool) -> None:
    value = value % 2 if source == "i1" else wrapped(value, source)
    _check_conversion(source, target, value, signed)


@settings(deadline=None, max_examples=200)
@given(
    sampled_from(["f16", "f32", "f64"]),
    sampled_from((*INTEGERS, "f16", "f32", "f64")),
    floats()
    | floats(-300, 300)
    | sampled_from([2.0**31, 2.0**63, -(2.0**63), 65519.0, 65520.0, 0.1, 1e-40, 1 + 2.0**-24]),
)
def test_converted_float_constants(source: str, target: str, value: float) -> None:
    _check_conversion(source, target, value, True)


def _check_conversion(source: str, target: str, value: float | int, signed: bool) -> None:
    k = KernelBuilder("folded")
    y = k.buffer("y", "w")
    folded = result(k.convert(k.const(value, source), target, signed), k, y)
    k = KernelBuilder("plain")
    buffer, y = k.buffer("x"), k.buffer("y", "w")
    with np.errstate(all="ignore"):
        array = np.array([value]).astype(DTYPES["i8" if source == "i1" else source])
    x = k.load(buffer, 0, "i8" if source == "i1" else source)
    x = k.binary("ne", x, 0) if source == "i1" else x
    plain = result(k.convert(x, target, signed), k, y, array)
    assert_same([folded], [plain])


def test_float_constants_are_rounded_to_their_type() -> None:
    k = KernelBuilder("k")
    assert k.const(0.1, "f32").value == float(np.float32(0.1))
    assert k.const(1e300, "f32").value == float("inf")
    assert k.const(65520, "f16").value == float("inf")
    assert k.const(2**60 + 2**36 + 1, "f32").value == 2.0**60 + 2.0**37
    assert k.const(0.1, "f32") is k.const(float(np.float32(0.1)), "f32")
    assert k.const(0.0, "f32") is not k.const(-0.0, "f32")


@settings(deadline=None, max_examples=100)
@given(sampled_from(["i64", "i32"]), *[numbers] * 4)
def test_constants_of_sums_keep_the_value(elem: str, u: int, v: int, c: int, d: int) -> None:
    """(u + c) + v, u + (v + d) and (u + c) + (v + d), where the builder puts constants last."""
    u, v, c, d = (wrapped(n, elem) for n in (u, v, c, d))
    for left, right in ((c, 0), (0, d), (c, d)):
        results = []
        for fold in (True, False):
            k = KernelBuilder("k")
            t, y = Type(elem), k.buffer("y", "w")
            a, b = (k.load(k.buffer(name), 0, elem) for name in "ab")

            def add(x: Instruction, z: Instruction, k: KernelBuilder = k, t: Type = t, fold: bool = fold) -> Any:
                return k.binary("add", x, z) if fold else k.emit("add", t, (x, z))

            total = add(add(a, k.const(left, elem)), add(b, k.const(right, elem)))
            stored(k, y, total)
            out = np.zeros(1, DTYPES[elem])
            interpret(k.finish(), [out, *(np.array([n], DTYPES[elem]) for n in (u, v))])
            results.append(out)
        assert_same([results[0]], [results[1]])


def test_addresses_that_differ_by_a_constant_share_the_rest() -> None:
    def products(capability: int) -> int:
        k = KernelBuilder("shared", capability)
        x, n = k.buffer("x"), k.dim("n")
        for i in k.loop(n):
            for j in range(4):
                k.load(x, n + (i + j) * 8, "i32")
        return sum(i.op == "mul" for i in k.finish().walk())

    assert products(0) == 1
    assert products(90) == 4, "GPUs' kernels stay as they were measured"


def test_equal_instructions_are_shared_where_they_are_visible() -> None:
    k = KernelBuilder("k")
    n = k.load(k.buffer("x"), 0, "i64")
    outer = n + 1
    for i in k.loop(4):
        assert n + 1 is outer
        assert i + 1 is i + 1
        inner = n * 7
    assert n * 7 is not inner
    for _ in k.when(n < 3):
        inner = n * 9
    for _ in k.otherwise():
        assert n * 9 is not inner


def test_sharing_respects_the_order_of_float_minima() -> None:
    """min(NaN, 1) is 1 and min(1, NaN) is NaN: they are not the same instruction."""
    k = KernelBuilder("k")
    buffer, y = k.buffer("x"), k.buffer("y", "w")
    a, b = k.load(buffer, 0, "f32"), k.load(buffer, 4, "f32")
    for n, value in enumerate((k.minimum(a, b), k.minimum(b, a), k.maximum(a, b), k.maximum(b, a))):
        k.store(y, 4 * n, value)
    out = np.zeros(4, np.float32)
    interpret(k.finish(), [np.array([np.nan, 1], np.float32), out])
    assert_same([out], [np.array([1, np.nan, 1, np.nan], np.float32)])


def test_a_kernel_value_has_no_truth_value() -> None:
    k = KernelBuilder("k")
    with pytest.raises(TypeError, match="no truth value"):
        bool(k.load(k.buffer("x"), 0, "i64") < 3)


def test_reductions_and_concatenation() -> None:
    k = KernelBuilder("k")
    x, y = k.buffer("x"), k.buffer("y", "w")
    parts = [k.load(x, 16 * n, "f32", 4) for n in range(4)]
    whole = k.concat(parts)
    for n, value in enumerate((k.reduce_add(whole), k.reduce_max(whole), k.reduce_min(whole))):
        k.store(y, 4 * n, value)
    kernel = k.finish()
    array, out = np.arange(16, dtype=np.float32) - 4, np.zeros(3, np.float32)
    interpret(kernel, [array, out])
    assert out.tolist() == [array.sum(), 11.0, -4.0]
    assert "shuffle" in print_kernel(kernel)
