"""The C printer: what the system's compiler makes of it equals the interpreter bit for bit."""

from __future__ import annotations

import ctypes
import mmap
import platform

import numpy as np
import pytest

from heliostat.kernel.builder import KernelBuilder
from heliostat.kernel.interp import interpret
from heliostat.kernel.ir import Kernel, Type
from heliostat.targets.c import print_c
from kernel.random_kernels import assert_same, copies, random_kernel
from targets.c_compiler import compile_c, find_compiler, run_c

pytestmark = pytest.mark.skipif(find_compiler() is None, reason="no C compiler with __builtin_shufflevector")

X86 = platform.machine() in ("x86_64", "AMD64")
VARIANTS = {
    "default": (),
    "fma": ("-O3", "-mavx2", "-mfma") if X86 else ("-O3",),  # nothing may be contracted
    "own half conversions": ("-O1", "-U__FLT16_MANT_DIG__"),
}


@pytest.mark.parametrize("variant", VARIANTS)
def test_random_kernels_equal_the_interpreter(variant: str) -> None:
    start = 1000 + 100 * list(VARIANTS).index(variant)
    cases = [random_kernel(seed) for seed in range(start, start + 10)]
    library = compile_c([kernel for kernel, _ in cases], flags=VARIANTS[variant])
    for kernel, arrays in cases:
        wanted, found = copies(arrays), copies(arrays)
        interpret(kernel, wanted)
        run_c(library, kernel, found, workers=3)
        assert_same(found, wanted)


def conversions(elem: str, target: str, count: int) -> Kernel:
    k = KernelBuilder(f"{target}_from_{elem}")
    x, y = k.buffer("x"), k.buffer("y", "w")
    for i in k.loop(count):
        k.store(y, i * Type(target).nbytes, k.convert(k.load(x, i * Type(elem).nbytes, elem), target))
    return k.finish()


@pytest.mark.parametrize("variant", ["default", "own half conversions"])
def test_every_half_and_every_tie(variant: str) -> None:
    """All f16 numbers to f64; and to f16 each of them, the point between each two, and what lies next to that point."""
    halves = np.arange(1 << 16, dtype=np.uint16).view(np.float16)
    finite = np.sort(halves[np.isfinite(halves)].astype(np.float64))
    ties = (finite[1:] + finite[:-1]) / 2
    wide = np.concatenate([finite, ties, np.nextafter(ties, np.inf), np.nextafter(ties, -np.inf)])
    wide = np.concatenate([wide, [65519.99, 65520.0, -65520.0, 1e300, np.inf, -np.inf, np.nan, 1e-300, -1e-300]])
    kernels = [conversions("f16", "f64", halves.size), conversions("f64", "f16", wide.size)]
    library = compile_c(kernels, flags=VARIANTS[variant])
    there, back = np.zeros(halves.size), np.zeros(wide.size, np.float16)
    run_c(library, kernels[0], [halves, there])
    run_c(library, kernels[1], [wide, back])
    with np.errstate(over="ignore"):
        assert_same([there, back], [halves.astype(np.float64), wide.astype(np.float16)])


def test_nothing_is_contracted() -> None:
    """a * b + c in two ops is rounded twice, and in an fma once, whatever the compiler's flags."""
    k = KernelBuilder("rounding")
    x, y = k.buffer("x"), k.buffer("y", "w")
    for n, lanes in enumerate((1, 8)):
        a, b, c = (k.load(x, 32 * j, "f32", lanes) for j in range(3))
        k.store(y, 64 * n, a * b + c)
        k.store(y, 64 * n + 32, k.fma(a, b, c))
    kernel = k.finish()
    values = np.repeat(np.array([1 + 2.0**-12, 1 + 2.0**-12, -1 - 2.0**-11], np.float32), 8)
    found, wanted = np.zeros(32, np.float32), np.zeros(32, np.float32)
    interpret(kernel, [values, wanted])
    run_c(compile_c([kernel], flags=VARIANTS["fma"]), kernel, [values, found])
    assert_same([found], [wanted])
    assert found[0] != found[8]


def test_no_undefined_behaviour(capfd: pytest.CaptureFixture[str]) -> None:
    cases = [random_kernel(seed) for seed in range(2000, 2002)]
    k = KernelBuilder("overflow")  # operands of 8 and 16 bits become int first, and overflow there
    x, y = k.buffer("x"), k.buffer("y", "w")
    for n, elem in enumerate(("i8", "i16", "i32", "i64")):
        for m, fill in enumerate((0, 8)):
            a = k.load(x, fill, elem)
            for j, value in enumerate((a * a, a + a, -a, a << (8 * Type(elem).nbytes - 1), a - 3)):
                k.store(y, 8 * (10 * n + 5 * m + j), value)
    cases.append((k.finish(), [np.array([-1, 0x7FFFFFFF7FFF7F7F]), np.zeros(40, np.int64)]))
    try:
        library = compile_c([k for k, _ in cases], flags=("-fsanitize=undefined", "-static-libubsan"))
    except RuntimeError as error:
        pytest.skip(f"no undefined behaviour sanitizer: {error}")
    for kernel, arrays in cases:
        run_c(library, kernel, copies(arrays), workers=2)
    assert "runtime error" not in capfd.readouterr().err


def tail(lanes: int = 8) -> Kernel:
    """y[i] = 2 * x[i] for the first n elements of one vector."""
    k = KernelBuilder("tail.f32")
    x, y, n = k.buffer("x"), k.buffer("y", "w"), k.dim("n")
    mask = k.splat(k.convert(n, "i32"), lanes) > k.iota("i32", lanes)
    k.store(y, 0, k.load(x, 0, "f32", lanes, mask) * 2.0, mask)
    return k.finish("the tail of a vector")


@pytest.mark.skipif(not hasattr(mmap, "PROT_READ"), reason="needs mprotect")
def test_masked_accesses_stop_at_the_mask() -> None:
    """The buffers end where a page ends that must not be touched: an access past it would end the process."""
    page = mmap.PAGESIZE
    memory = mmap.mmap(-1, 3 * page)
    base = ctypes.addressof(ctypes.c_char.from_buffer(memory))
    libc = ctypes.CDLL(None)
    assert libc.mprotect(ctypes.c_void_p(base + 2 * page), ctypes.c_size_t(page), 0) == 0
    bytes_ = np.frombuffer(memory, np.uint8)
    x, y = bytes_[2 * page - 12 : 2 * page].view(np.float32), bytes_[page - 12 : page].view(np.float32)
    y_end = bytes_[2 * page - 12 : 2 * page].view(np.float32)
    x[:] = (1, 2, 3)
    library = compile_c([tail()])
    run_c(library, tail(), [x, y, np.array([3], np.int64)])
    assert y.tolist() == [2, 4, 6]
    run_c(library, tail(), [y, y_end, np.array([3], np.int64)])
    assert y_end.tolist() == [4, 8, 12]


def test_text_reads_well() -> None:
    text = print_c([tail()])
    assert "/* args: x r, y w, n dim; the tail of a vector */" in text
    assert "void tail_f32(void **args, int64_t worker, int64_t workers) {" in text
    assert "f32x8 v5 = load_f32x8_if(p_x, 0, v4);" in text
    assert "f32x8 v6 = v5 * splat_f32x8(2.0f);" in text
    assert "store_f32x8_if(p_y, 0, v6, v4);" in text


def test_kernels_of_a_module_share_functions() -> None:
    first, second = tail(), tail()
    second.name = "other"
    text = print_c([first, second])
    assert text.count("static inline f32x8 splat_f32x8") == 1
    assert text.index("void tail_f32(") < text.index("void other(")
    compile_c([first, second])


def test_constants() -> None:
    """Literals that C would read as another number or another type, were they written plainly."""
    k = KernelBuilder("constants")
    y, z = k.buffer("y", "w"), k.buffer("z", "w")
    edges = [-(2**63), 2**63 - 1, -1, 0, 2**31, -(2**31)]
    values = [k.emit("add", Type("i64"), (k.const(v, "i64"), k.const(0, "i64"))) for v in edges]
    values.append(k.emit("mul", Type("i64"), (k.const(100_000, "i64"), k.const(100_000, "i64"))))
    values.append(k.emit("shl", Type("i64"), (k.const(1, "i64"), k.const(40, "i64"))))
    values.append(k.emit("sext", Type("i64"), (k.const(-1, "i8"),)))
    values.append(k.emit("zext", Type("i64"), (k.const(-1, "i8"),)))
    values.append(k.emit("lshr", Type("i64"), (k.const(-1, "i64"), k.const(1, "i64"))))
    for n, value in enumerate(values):
        k.store(y, 8 * n, value)
    floats = [0.1, -0.0, 1e-45, float("inf"), float("-inf"), float("nan"), 3.4028234663852886e38, 16777217]
    for n, number in enumerate(floats):
        k.store(z, 4 * n, k.const(number, "f32"))
    kernel = k.finish()
    arrays = [np.zeros(len(values), np.int64), np.zeros(len(floats), np.float32)]
    wanted = copies(arrays)
    interpret(kernel, wanted)
    run_c(compile_c([kernel]), kernel, arrays)
    assert_same(arrays, wanted)
