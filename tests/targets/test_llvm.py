"""The LLVM printer for this CPU: what LLVM makes of it equals the interpreter bit for bit, on every x86-64 target."""

from __future__ import annotations

import ctypes
import mmap
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from heliostat.diagnostics import CompileError
from heliostat.kernel.builder import KernelBuilder
from heliostat.kernel.interp import interpret
from heliostat.kernel.ir import ELEMENT_BYTES, Kernel, Type
from heliostat.runtime.jit import load_objects
from heliostat.session.host import host_target
from heliostat.targets.llvm import print_llvm
from heliostat.targets.llvm_compile import emit_assembly, emit_object
from heliostat.targets.target import AARCH64, X86_AVX2, X86_VNNI, Target
from kernel.hard_kernels import LANES, hard_cases
from kernel.random_kernels import DTYPES, ELEMENTS, assert_same, copies, random_kernel
from targets.run_object import run_object, runnable_targets

Array = np.ndarray[Any, Any]
TARGETS = runnable_targets()
on_every_target = pytest.mark.parametrize("target", TARGETS, ids=str)
pytestmark = pytest.mark.filterwarnings("ignore::RuntimeWarning")


def check(target: Target, tests: Sequence[tuple[Kernel, list[Array]]], workers: int = 3) -> None:
    """Compile the kernels as one module; each must do to its arrays what the interpreter does."""
    cases = []
    for kernel, arrays in tests:
        wanted = copies(arrays)
        interpret(kernel, wanted)
        cases.append((kernel, arrays, wanted))
    compare(target, cases, workers)


def compare(target: Target, tests: Sequence[tuple[Kernel, list[Array], list[Array]]], workers: int = 3) -> None:
    """Compile the kernels as one module; each must make of its arrays what is wanted."""
    kernels = [kernel for kernel, _, _ in tests]
    with load_objects([emit_object(print_llvm(kernels, target), target)]) as loaded:
        for kernel, arrays, wanted in tests:
            found = copies(arrays)
            run_object(loaded, kernel, found, workers)
            assert_same(found, wanted)


@on_every_target
@pytest.mark.parametrize("start", range(5000, 5040, 20))
def test_random_kernels_equal_the_interpreter(target: Target, start: int) -> None:
    check(target, [random_kernel(seed) for seed in range(start, start + 20)])


@pytest.mark.parametrize(
    ("target", "lanes"),
    [(target, lanes) for i, target in enumerate(TARGETS) for lanes in (LANES if i == 0 else LANES[i % 2 :: 2])],
    ids=str,
)
def test_hard_inputs_equal_the_interpreter(target: Target, lanes: int) -> None:
    compare(target, hard_cases([lanes]))


@on_every_target
@pytest.mark.parametrize(("wide", "narrow"), [("i32", "i8"), ("i32", "i16"), ("i64", "i32")])
def test_a_narrowed_vector_is_stored_to_one_lane(target: Target, wide: str, narrow: str) -> None:
    """A mask that is known when the kernel is compiled: nothing behind the lane is written."""
    size, kernels = ELEMENT_BYTES[narrow], []
    for lanes in (4, 8, 16, 32):
        k = KernelBuilder(f"narrowed_{lanes}")
        x, y = k.buffer("x", "r"), k.buffer("y", "w")
        value = k.convert(k.load(x, 0, wide, lanes), narrow)
        k.store(y, 0, value, k.iota("i32", lanes) < k.splat(k.const(1, "i32"), lanes))
        given = np.arange(1, lanes + 1, dtype={"i32": np.int32, "i64": np.int64}[wide])
        kernels.append((k.finish(), [given, np.full(size * lanes, 7, np.uint8)]))
    check(target, kernels)


@on_every_target
def test_every_tie_from_double_to_half(target: Target) -> None:
    """Each f16, the point between each two, and the two f64 next to that point."""
    halves = np.arange(1 << 16, dtype=np.uint16).view(np.float16)
    finite = np.sort(halves[np.isfinite(halves)].astype(np.float64))
    ties = (finite[1:] + finite[:-1]) / 2
    wide = np.concatenate([finite, ties, np.nextafter(ties, np.inf), np.nextafter(ties, -np.inf)])
    wide = np.concatenate([wide, [65519.99, 65520.0, -65520.0, 1e300, np.inf, -np.inf, np.nan, 1e-300, -1e-300]])
    wide = np.resize(wide, -(-wide.size // 16) * 16)
    k = KernelBuilder("narrow")
    x, y = k.buffer("x"), k.buffer("y", "w")
    for i in k.parallel(wide.size // 16):
        k.store(y, i * 32, k.convert(k.load(x, i * 128, "f64", 16), "f16"))
    kernel, found = k.finish(), np.zeros(wide.size, np.float16)
    with load_objects([emit_object(print_llvm([kernel], target), target)]) as loaded:
        run_object(loaded, kernel, [wide, found])
    with np.errstate(over="ignore"):
        assert_same([found], [wide.astype(np.float16)])


# --- dot4 and table: every row of the instruction table -------------------------------------------------------------
def dots(lanes: int, maximum: int) -> tuple[Kernel, list[Array]]:
    """dot4 over extreme bytes: products and sums as large as they get."""
    rng = np.random.default_rng(lanes)
    k = KernelBuilder(f"dot4_{lanes}_{maximum}")
    c, a, b, y = k.buffer("c"), k.buffer("a"), k.buffer("b"), k.buffer("y", "w")
    for i in k.parallel(8):
        at = i * (4 * lanes)
        acc, codes = k.load(c, at, "i32", lanes), k.load(a, at, "i8", 4 * lanes)
        k.store(y, at, k.dot4(acc, codes, k.load(b, at, "i8", 4 * lanes), maximum))
    count = 32 * lanes
    unsigned = rng.choice(np.array([0, 1, maximum // 2, maximum - 1, maximum, maximum, maximum], np.uint8), count)
    signed = rng.choice(np.array([-128, -128, -127, -1, 0, 1, 127, 127], np.int8), count)
    edges = rng.choice(np.array([0, 2**31 - 1, -(2**31), 12345], np.int32), 8 * lanes)
    return k.finish(), [edges, unsigned.view(np.int8), signed, np.zeros(8 * lanes, np.int32)]


def pairs(lanes: int) -> tuple[Kernel, list[Array]]:
    """dot2 over bf16 values whose products are exact, so that every machine must agree."""
    rng = np.random.default_rng(lanes)
    k = KernelBuilder(f"dot2_{lanes}")
    c, a, b, y = k.buffer("c"), k.buffer("a"), k.buffer("b"), k.buffer("y", "w")
    for i in k.parallel(8):
        at = i * (4 * lanes)
        x, z = k.load(a, at, "i16", 2 * lanes), k.load(b, at, "i16", 2 * lanes)
        k.store(y, at, k.dot2(k.load(c, at, "f32", lanes), x, z))
    values = [(rng.integers(-128, 128, 16 * lanes) * s).astype(np.float32).view(np.uint32) >> 16 for s in (1, 0.125)]
    acc = rng.integers(-99, 99, 8 * lanes).astype(np.float32)
    return k.finish(), [acc, *(v.astype(np.uint16).view(np.int16) for v in values), np.zeros(8 * lanes, np.float32)]


def integer_pairs(lanes: int) -> tuple[Kernel, list[Array]]:
    """dot2 over integers of two bytes, with the ends of their range and sums beyond 32 bits."""
    rng = np.random.default_rng(lanes)
    k = KernelBuilder(f"dot2_i32_{lanes}")
    c, a, b, y = k.buffer("c"), k.buffer("a"), k.buffer("b"), k.buffer("y", "w")
    for i in k.parallel(8):
        at = i * (4 * lanes)
        x, z = k.load(a, at, "i16", 2 * lanes), k.load(b, at, "i16", 2 * lanes)
        k.store(y, at, k.dot2(k.load(c, at, "i32", lanes), x, z))
    ends = np.array([-(2**15), -(2**15), 2**15 - 1, -1, 0, 1], np.int16)
    drawn = [
        np.where(rng.random(16 * lanes) < 0.3, rng.choice(ends, 16 * lanes), rng.integers(-(2**15), 2**15, 16 * lanes))
        for _ in range(2)
    ]
    acc = rng.choice(np.array([0, 2**31 - 1, -(2**31), 12345], np.int32), 8 * lanes)
    return k.finish(), [acc, *(d.astype(np.int16) for d in drawn), np.zeros(8 * lanes, np.int32)]


def tables(lanes: int) -> tuple[Kernel, list[Array]]:
    rng = np.random.default_rng(lanes)
    k = KernelBuilder(f"table_{lanes}")
    x, y = k.buffer("x"), k.buffer("y", "w")
    values = tuple(int(v) for v in rng.integers(-128, 128, 16))
    for i in k.parallel(8):
        k.store(y, i * lanes, k.table(values, k.load(x, i * lanes, "i8", lanes)))
    return k.finish(), [rng.integers(0, 16, 8 * lanes).astype(np.int8), np.zeros(8 * lanes, np.int8)]


@on_every_target
def test_dot_products_and_tables(target: Target) -> None:
    check(target, [dots(lanes, m) for lanes in (2, 4, 8, 16, 32) for m in (1, 15, 127, 128, 255)])
    check(target, [pairs(lanes) for lanes in (2, 4, 8, 16, 32)])
    check(target, [integer_pairs(lanes) for lanes in (2, 4, 8, 16, 32)])
    check(target, [tables(lanes) for lanes in (1, 2, 4, 8, 16, 32, 64, 128)])


@pytest.mark.parametrize(
    ("target", "maximum", "instruction"),
    [
        (X86_VNNI, 255, "vpdpbusd"),
        (X86_AVX2, 127, "vpmaddubsw"),
        (X86_AVX2, 255, "vpmaddwd"),
        (AARCH64, 127, "sdot"),
        (AARCH64, 255, "sdot"),
    ],
    ids=str,
)
def test_dot4_uses_the_machine_instruction(target: Target, maximum: int, instruction: str) -> None:
    assert instruction in emit_assembly(print_llvm([dots(16, maximum)[0]], target), target)


def test_dot2_uses_the_machine_instruction() -> None:
    with_pairs = replace(X86_VNNI, features=X86_VNNI.features | {"avx512bf16"})
    assert "vdpbf16ps" in emit_assembly(print_llvm([pairs(16)[0]], with_pairs), with_pairs)
    if host_target().features >= with_pairs.features:
        check(with_pairs, [pairs(lanes) for lanes in (8, 16, 32)])


def test_dot2_of_integers_uses_the_machine_instruction() -> None:
    assert "vpdpwssd" in emit_assembly(print_llvm([integer_pairs(16)[0]], X86_VNNI), X86_VNNI)
    if host_target().features >= X86_VNNI.features:
        check(X86_VNNI, [integer_pairs(lanes) for lanes in (8, 16, 32)])


def test_vars_and_constant_offsets_are_short_text() -> None:
    """A var is read and written once in a basic block, and a constant is added to a pointer that others share."""
    k = KernelBuilder("short")
    x, y = k.buffer("x"), k.buffer("y", "w")
    total = k.var(k.zeros("f32", 8))
    for i in k.loop(9):
        for j in range(4):
            total.set(total.get() + k.load(x, (i + j) * 32, "f32", 8))
    k.store(y, 0, total.get())
    text = print_llvm([k.finish()], X86_AVX2)
    assert (text.count("load <8 x float>"), text.count("store <8 x float>")) == (4 + 2, 2 + 1)
    assert (text.count("getelementptr i8"), text.count("add i64"), text.count("mul i64")) == (4 + 1, 0, 1)


def test_an_address_that_is_stored_itself() -> None:
    k = KernelBuilder("own")
    y = k.buffer("y", "w")
    for i in k.loop(3):
        k.store(y, i * 8 + 8, i * 8 + 8)
    compare(X86_AVX2, [(k.finish(), [np.zeros(4, np.int64)], [np.array([0, 8, 16, 24])])], workers=1)


# --- masks ----------------------------------------------------------------------------------------------------------
def tail(elem: str, lanes: int) -> Kernel:
    """Copy the first n elements of one vector."""
    k = KernelBuilder(f"tail_{elem}_{lanes}")
    x, y, n = k.buffer("x"), k.buffer("y", "w"), k.dim("n")
    mask = k.splat(k.convert(n, "i16"), lanes) > k.iota("i16", lanes)
    k.store(y, 0, k.load(x, 0, elem, lanes, mask), mask)
    return k.finish()


@on_every_target
@pytest.mark.skipif(not hasattr(mmap, "PROT_READ"), reason="needs mprotect")
def test_masked_accesses_stop_at_the_mask(target: Target) -> None:
    """The buffers end where a page ends that must not be touched: an access past it would end the process."""
    page = mmap.PAGESIZE
    memory = mmap.mmap(-1, 4 * page)
    base = ctypes.addressof(ctypes.c_char.from_buffer(memory))
    libc = ctypes.CDLL(None)
    for guard in (1, 3):
        assert libc.mprotect(ctypes.c_void_p(base + guard * page), ctypes.c_size_t(page), 0) == 0
    whole = np.frombuffer(memory, np.uint8)
    kernels = [tail(elem, lanes) for elem in ELEMENTS for lanes in (2, 8, 32)]
    with load_objects([emit_object(print_llvm(kernels, target), target)]) as loaded:
        for kernel in kernels:
            _, elem, lanes = kernel.name.split("_")
            for n in (0, 1, int(lanes) // 2 + 1, int(lanes)):
                size = n * ELEMENT_BYTES[elem]
                x = whole[page - size : page].view(DTYPES[elem])
                y = whole[3 * page - size : 3 * page].view(DTYPES[elem])
                x[:], y[:] = np.arange(1, n + 1), 0
                run_object(loaded, kernel, [x, y, np.array([n], np.int64)])
                assert y.tolist() == list(range(1, n + 1))


# --- errors ---------------------------------------------------------------------------------------------------------
def test_flags_are_not_stored() -> None:
    k = KernelBuilder("flags")
    k.store(k.buffer("y", "w"), 0, k.load(k.buffer("x"), 0, "i32") < 3)
    with pytest.raises(CompileError, match="kernel flags: i1 is not a memory type"):
        print_llvm([k.finish()], X86_AVX2)


def test_text_that_llvm_refuses() -> None:
    with pytest.raises(CompileError, match="not valid"):
        emit_object("define void @f() { ret i32 0 }", X86_AVX2)


def test_text_is_deterministic() -> None:
    for seed in range(5):
        assert print_llvm([random_kernel(seed)[0]], AARCH64) == print_llvm([random_kernel(seed)[0]], AARCH64)


def test_nothing_is_called_but_memory_functions() -> None:
    """f16 from f64 would be a call into the compiler's library on x86-64."""
    k = KernelBuilder("narrow")
    x, y = k.buffer("x"), k.buffer("y", "w")
    k.store(y, 0, k.emit("fpcast", Type("f16"), (k.load(x, 0, "f64"),)))
    assert "call" not in emit_assembly(print_llvm([k.finish()], X86_AVX2), X86_AVX2)
