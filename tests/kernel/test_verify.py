"""The verifier: every rule refuses its smallest offence, and what it accepts the interpreter can run."""

from __future__ import annotations

import contextlib
import random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis.strategies import integers

from heliostat.diagnostics import VerifyError
from heliostat.kernel.interp import Interpreter
from heliostat.kernel.ir import ELEMENT_BYTES, GPU_ONLY, OPS, Instruction, Kernel, KernelParameter, Type
from heliostat.kernel.text_parser import parse_kernel
from heliostat.kernel.verify import verify
from kernel.random_kernels import random_kernel

I32, I64 = Type("i32"), Type("i64")


def const(value: float | int, elem: str, lanes: int = 1) -> Instruction:
    return Instruction("const", Type(elem, lanes), (), {"value": value})


# The body of a kernel with parameters x: r, y: w, z: rw -> a part of the message.
OFFENCES = {
    "%0 = add 1:i32, 2 : i64": "an operand has type i32, it must be i64",
    "%0 = add true, false : i1": "add of i1",
    "%0 = rem 1.0, 2.0 : f32": "rem of f32",
    "%0 = shl 1.0, 2.0 : f32": "shl of f32",
    "%0 = shl 1, 8 : i8": "a shift by 8 of i8",
    "%0 = lshr 1, -1 : i64x2": "a shift by -1 of i64",
    "%0 = and 1.0, 2.0 : f32": "and of f32",
    "%0 = fma 1, 2, 3 : i32": "fma of i32",
    "%0 = sqrt 1 : i32": "sqrt of i32",
    "%0 = lt true, false : i1": "lt of i1",
    "%0 = ult 1.0, 2.0 : f32": "ult of f32",
    "%0 = eq 1:i8, 2 : i16": "the second operand has type i16, it must be i8",
    "%0 = select true, 1:i8, 2 : i16": "the second operand has type i8",
    "%0 = select true:i1x2, 1, 2 : i16": "the condition has type i1x2",
    "%0 = sext 3:i32 : i8": "sext from i32 to i8",
    "%0 = trunc 3:i8 : i32": "trunc from i8 to i32",
    "%0 = sitofp 3:i8x2 : f32": "different numbers of lanes",
    "%0 = fptosi 3.0:f32 : i1": "fptosi from f32 to i1",
    "%0 = fpcast 3.0:f32 : f32": "fpcast from f32 to f32",
    "%0 = bitcast 3:i32 : i16": "i32 has 4 bytes, i16 has 2",
    "%0 = bitcast true:i1 : i8": "an i1 has no bytes",
    "%0 = splat 3 : i8": "splat makes a vector",
    "%0 = splat 3:i8 : i16x4": "the operand has type i8",
    "%0 = iota : f32x4": "iota is a vector of integers",
    "%0 = iota : i8x256": "wide enough for its lanes",
    "%0 = extract 3:i8x4[4]": "lane 4 of i8x4",
    "%0 = extract 3:i8[0]": "lane 0 of i8",
    "%0 = shuffle 3:i8x4, 3:i8x2 [0, 1]": "the second operand has type i8x2",
    "%0 = shuffle 3:i8, 3:i8 [0, 1]": "shuffle takes vectors",
    "%0 = shuffle 3:i8x4, 3:i8x4 [0]": "shuffle makes a vector",
    "%0 = shuffle 3:i8x4, 3:i8x4 [0, 8]": "a lane is outside 0 .. 7",
    "%0 = shuffle 3:i8x4, 3:i8x4 [0..2]": "a power of two",
    "%0 = reduce mul 0.5:f32x4": "does not know mul",
    "%0 = reduce add 0.5:f32x6": "power of two",
    "%0 = dot2 0.5, 1, 1 : f64x4": "dot2 adds into f32 or i32",
    "%0 = dot2 0.5, 1, 1 : f32": "dot2 adds into a vector",
    "%0 = dot2 0.5, 1:i16x4, 1 : f32x4": "the first operand has type i16x4, it must be i16x8",
    "%0 = dot4 0, 1, 1 max 127 : i64x4": "dot4 adds into i32",
    "%0 = dot4 0, 1, 1 max 127 : i32": "dot4 adds into a vector",
    "%0 = dot4 0, 1:i8x8, 1 max 127 : i32x4": "the unsigned operand has type i8x8, it must be i8x16",
    "%0 = dot4 0, 1, 1:i8x8 max 127 : i32x4": "the signed operand has type i8x8",
    "%0 = dot4 0, 1, 1 max 256 : i32x4": "max is 256",
    "%0 = table 0 [1, 2] : i8x4": "a table has 16 entries",
    "%0 = table 0 [0..14, 128] : i8x4": "outside -128 .. 127",
    "%0 = table 0 [0..15] : i16x4": "table is for i8",
    "%0 = load f32, y[0]": "the buffer y is written only",
    "%0 = load f32, x[0:i32]": "the offset has type i32",
    "%0 = load i1, x[0]": "i1 is no type of memory",
    "%0 = load ptr, x[0]": "ptr is no type of memory",
    "%0 = load f32, x[0], mask true": "a mask is for vectors",
    "%0 = load f32x4, x[0], mask true:i1x8": "the mask has type i1x8",
    "%0 = var 1 : i64 %1 = load f32, %0[0]": "a var is read by get",
    "%0 = worker %1 = load f32, %0[0]": "the first operand is a buffer or an alloc",
    "store x[0], 1:i32": "the buffer x is read only",
    "store y[0], true:i1": "i1 is no type of memory",
    "store y[0], 1:i8, mask true": "a mask is for vectors",
    "%0 = load i64, z[0] %1 = add %0, z : i64": "a buffer is an operand of load, store, prefetch, gather",
    "%0 = worker %1 = get %0": "get reads a var",
    "%0 = worker set %0, 1": "set assigns to a var",
    "%0 = var 1 : i32 set %0, 1:i64": "the value has type i64, it must be i32",
    "%0 = var 1 : i32 parallel %i in 4 { set %0, 2 }": "sets a var from outside",
    "loop %i in 0..4 { %0 = alloc 64 }": "alloc stands at the top level",
    "%0 = alloc 0": "alloc of 0 bytes",
    "loop %i in 0..4 step 0 { }": "the step is 0",
    "loop %i in 0..4 step -1 { }": "the step is -1",
    "loop %i in 0..4 unroll 0 { }": "unroll is 0",
    "loop %i in 0..4:i32 { }": "a bound has type i32",
    "parallel %i in 4 { parallel %j in 4 { } }": "a parallel region stands inside a parallel region",
    "parallel %i in 4 { loop %l in 0..2 { parallel %j in 4 { } } }": "a parallel region stands inside",
    "if true { parallel %i in 4 { } }": "a parallel region stands inside an if",
    "loop %l in 0..2 { if true { } else { parallel %i in 4 { } } }": "a parallel region stands inside an if",
    "if 1:i8 { }": "the condition has type i8",
    "%0 = index": "an index stands first in a loop",
    "%0 = add 1, 2 : i8x3": "the number of lanes is a power of two",
    "%0 = add 1, 2 : i8x2048": "the number of lanes is a power of two",
}


@pytest.mark.parametrize(("body", "rule"), OFFENCES.items(), ids=list(OFFENCES))
def test_rule(body: str, rule: str) -> None:
    kernel = parse_kernel(f"kernel k(x: r, y: w, z: rw) {{ {body} }}")
    with pytest.raises(VerifyError) as caught:
        verify(kernel)
    assert rule in caught.value.message
    assert caught.value.message.startswith("kernel k: ")


def test_message_shows_the_instruction() -> None:
    kernel = parse_kernel("kernel gemv(x: r) { %a = worker loop %i in 0..4 { %b = add %a, 1:i32 : i64 } }")
    with pytest.raises(VerifyError) as caught:
        verify(kernel)
    assert caught.value.message == "kernel gemv: %1 = add %0, 1 : i64: an operand has type i32, it must be i64"


def made(*body: Instruction, name: str = "k") -> Kernel:
    return Kernel(name, (), (), list(body))


def test_rules_that_text_cannot_break() -> None:
    one = Instruction("worker", I64)
    used_late = Instruction("add", I64, (one, one))
    index = Instruction("index", I64)
    inner = Instruction("worker", I64)
    cases = [
        (made(used_late, one), "not defined where it is used"),
        (made(one, one), "stands in two places"),
        (made(Instruction("add", I64, (const(1, "i64"),))), "add takes 2 operands, has 1"),
        (made(Instruction("add", None, (const(1, "i64"),) * 2)), "a statement has no type"),
        (made(Instruction("fence", None)), "no op of kernel IR is named fence"),
        (made(const(1, "i64")), "const does not stand in a block"),
        (made(Instruction("add", I64, (const(1 << 63, "i64"),) * 2)), "is not a constant of type i64"),
        (made(Instruction("add", Type("f32"), (const(0.1, "f32"),) * 2)), "0.1 is not a constant of type f32"),
        (made(Instruction("neg", Type("f32"), (const(1, "f32"),))), "1 is not a constant of type f32"),
        (made(Instruction("load", I32, (const(0, "i64"),))), "load takes a buffer"),
        (
            made(Instruction("loop", None, (const(0, "i64"),) * 2, {"step": 1, "unroll": 1}, ([],))),
            "begins with its index",
        ),
        (made(Instruction("if", None, (const(1, "i1"),), {}, ([],))), "an if has two blocks"),
        (
            made(
                Instruction("if", None, (const(1, "i1"),), {}, ([inner], [])), Instruction("sub", I64, (inner, inner))
            ),
            "not defined where it is used",
        ),
        (
            made(
                Instruction("parallel", None, (const(2, "i64"),), {}, ([index],)),
                Instruction("add", I64, (index, index)),
            ),
            "not defined where it is used",
        ),
        (made(Instruction("worker", I32)), "the result has type i32"),
        (made(name="a kernel"), "a kernel's name"),
        (Kernel("k", (KernelParameter("true", "r"),), (Instruction("buffer", Type("ptr")),)), "a parameter's name"),
        (Kernel("k", (KernelParameter("x", "r"),), ()), "1 parameters, but 0 buffers"),
        (Kernel("k", (KernelParameter("x", "r"),), (Instruction("buffer", Type("ptr")),)), "another name or mode"),
    ]
    for kernel, rule in cases:
        with pytest.raises(VerifyError, match=rule):
            verify(kernel)


def test_random_kernels_cover_every_op_and_pass() -> None:
    seen: set[str] = set()
    for seed in range(25):
        kernel, _ = random_kernel(seed)
        verify(kernel)
        seen |= {i.op for i in kernel.walk()}
    assert seen == set(OPS) - {"const", "buffer"} - GPU_ONLY


@settings(deadline=None, max_examples=60)
@given(integers(0, 2**32 - 1))
def test_accepted_mutants_run(seed: int) -> None:
    """A kernel with one instruction changed is refused, or it runs to an end or to a VerifyError."""
    rng = random.Random(seed)
    kernel, arrays = random_kernel(seed % 1000, size=10)
    instructions = list(kernel.walk())
    for _ in range(5):
        i = rng.choice(instructions)
        kind = rng.randrange(4)
        if kind == 0 and i.type is not None:
            i.type = rng.choice((i.type.of(rng.choice(list(ELEMENT_BYTES))), Type(i.type.elem, 2 * i.type.lanes)))
        elif kind == 1 and i.args:
            at = rng.randrange(len(i.args))
            i.args = (*i.args[:at], rng.choice(instructions), *i.args[at + 1 :])
        elif kind == 2 and i.args:
            i.args = i.args[:-1] if rng.random() < 0.5 else i.args[::-1]
        else:
            same = [o for o, (arity, _) in OPS.items() if arity == len(i.args) and not i.blocks]
            i.op = rng.choice(same) if same else i.op
    with contextlib.suppress(VerifyError):
        Interpreter(kernel).run([np.copy(a) for a in arrays])
