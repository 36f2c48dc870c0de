"""The text of kernels: it round-trips exactly, reads well, and every error of it has a place."""

from __future__ import annotations

import random

import pytest
from hypothesis import given, settings
from hypothesis.strategies import integers

from heliostat.diagnostics import LumSyntaxError, VerifyError
from heliostat.kernel.builder import KernelBuilder
from heliostat.kernel.ir import Kernel
from heliostat.kernel.text import print_instruction, print_kernel
from heliostat.kernel.text_parser import parse_kernel, parse_kernels
from heliostat.kernel.verify import verify
from kernel.random_kernels import random_kernel

EXAMPLE = r"""
kernel axpy_f32(x: r, y: rw, n: dim) note "a \"note\"" {
  %0 = load i64, n[0]
  %1 = alloc 64
  %2 = add %0, 15 : i64
  %3 = div %2, 16 : i64
  parallel %i0 in %3 {
    %4 = mul %i0, 64 : i64
    %5 = iota : i32x16
    %6 = lt %5, 7 : i32x16
    %7 = load f32x16, x[%4], mask %6
    %8 = var %7 : f32x16
    loop %i1 in 0..4 step 2 unroll 2 {
      %9 = get %8
      %10 = fma %9, 0.1, -0.0 : f32x16
      set %8, %10
    }
    %11 = lt %i0, %0 : i64
    if %11 {
      store %1[0], nan:f32x16
    } else {
      %12 = select true, inf, -1e-05 : f64
      store y[8], %12
    }
    %13 = shuffle 1:i8x4, %5 [0, 1, 4..6, 9, 8, 7]
    %14 = extract 3:i32x4[1]
    %15 = sext 3:i8 : i32
    %16 = dot4 0, 3, -3 max 127 : i32x4
    %17 = dot2 0.5, 3, -3 : f32x4
    %18 = table 5 [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, -1] : i8x4
    store y[%4], %7, mask %6
  }
}
"""


def sample() -> Kernel:
    k = KernelBuilder("sample")
    x, y = k.buffer("x"), k.buffer("y", "w")
    for i in k.parallel(4):
        v = k.load(x, i * 32 + 8, "f32", 8)
        for _ in k.when(i < 2):
            k.store(y, i * 32, v * 0.1)
    return k.finish()


def test_printed_text() -> None:
    assert print_kernel(sample()) == (
        "kernel sample(x: r, y: w) {\n"
        "  parallel %i0 in 4 {\n"
        "    %0 = mul %i0, 32 : i64\n"
        "    %1 = add %0, 8 : i64\n"
        "    %2 = load f32x8, x[%1]\n"
        "    %3 = lt %i0, 2 : i64\n"
        "    if %3 {\n"
        "      %4 = mul %2, 0.1 : f32x8\n"
        "      store y[%0], %4\n"
        "    }\n"
        "  }\n"
        "}\n"
    )


def test_parsing_every_form() -> None:
    assert print_kernel(parse_kernel(EXAMPLE)) == EXAMPLE.lstrip()


def test_names_and_comments_are_free() -> None:
    text = "kernel k(x: rw) { # a comment\n %sum = add 1,\n 2 : i32 store x[0], %sum }"
    assert print_kernel(parse_kernel(text)) == "kernel k(x: rw) {\n  %0 = add 1, 2 : i32\n  store x[0], %0\n}\n"


def test_several_kernels_and_one_instruction() -> None:
    text = print_kernel(sample())
    first, second = parse_kernels(text + text.replace("sample", "other"))
    assert (first.name, second.name) == ("sample", "other")
    store = next(i for i in second.walk() if i.op == "store")
    assert print_instruction(second, store) == "store y[%0], %4"
    with pytest.raises(LumSyntaxError, match="holds 2 kernels"):
        parse_kernel(text + text)


@settings(deadline=None, max_examples=40)
@given(integers(0, 2**32 - 1))
def test_round_trip(seed: int) -> None:
    kernel, _ = random_kernel(seed)
    text = print_kernel(kernel)
    again = parse_kernel(text)
    assert print_kernel(again) == text
    verify(again)


ERRORS = [
    ("kernel k(x: r) { %0 = add %1, 2 : i32 }", 1, 27, "%1 is not defined here"),
    ("kernel k(x: r) {\n  %0 = frob %1\n}", 2, 8, "expected an op, found 'frob'"),
    ("kernel k(x: r) {\n  %0 = worker\n  %0 = workers\n}", 3, 3, "%0 is defined twice"),
    ("kernel k(x: q) {}", 1, 13, "expected r, w, rw or dim"),
    ("kernel k(x: r, x: r) {}", 1, 16, "two parameters are named x"),
    ("kernel k() { %0 = add 300, 2 : i8 }", 1, 23, "300 is not a constant of type i8"),
    ("kernel k() { %0 = add 0.5, 2 : i8 }", 1, 23, "0.5 is not a constant of type i8"),
    ("kernel k() { %0 = sext 3 : i8 }", 1, 24, "the constant 3 needs a type here"),
    ("kernel k() { %0 = add 1, 2 : i7 }", 1, 30, "expected a type"),
    ("kernel k() { %0 = add 1 : i8 }", 1, 25, "expected `,`, found ':'"),
    ("kernel k() { %0 = store 1 }", 1, 25, "`store` does not make a value"),
    ("kernel k() { loop %i in 0..4 { } %0 = add %i, 1 : i64 }", 1, 43, "%i is not defined here"),
    ("kernel k() { $ }", 1, 14, "a character that no kernel text has"),
    ("kernel k() {\n", 2, 1, "the text ends"),
    ("kernel k() note 3 {}", 1, 17, "expected a string"),
    ("kernel k() { %0 = shuffle 1:i8x2, 1:i8x2 [0..99999] }", 1, 43, "0..99999 is too long"),
    ("kernel k() { %0 = alloc 99999999999999999999999999 }", 1, 25, "has too many digits"),
]


@pytest.mark.parametrize(("text", "line", "column", "message"), ERRORS, ids=[e[3] for e in ERRORS])
def test_errors_have_a_place(text: str, line: int, column: int, message: str) -> None:
    with pytest.raises(LumSyntaxError) as caught:
        parse_kernel(text, "k.kernel")
    assert message in caught.value.message
    at = caught.value.at
    assert at is not None
    assert (at.path, at.line, at.column) == ("k.kernel", line, column)


@settings(deadline=None, max_examples=150)
@given(integers(0, 2**32 - 1))
def test_damaged_text_is_refused_or_read(seed: int) -> None:
    """Nothing but the two documented errors comes out of a text with a few characters changed."""
    rng = random.Random(seed)
    text = EXAMPLE if seed % 2 else print_kernel(random_kernel(seed % 50, size=6)[0])
    for _ in range(rng.randint(1, 3)):
        at = rng.randrange(len(text) + 1)
        cut = rng.choice((0, 1, 1, 5, len(text)))
        text = text[:at] + rng.choice(("", "", "%", "0", "-", "x", "}", " ", "[1..2]", "é")) + text[at + cut :]
    try:
        for kernel in parse_kernels(text):
            verify(kernel)
    except (LumSyntaxError, VerifyError):
        pass
