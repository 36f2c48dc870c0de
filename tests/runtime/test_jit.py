from __future__ import annotations

import contextlib
import ctypes

import llvmlite.binding as llvm
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from heliostat.diagnostics import CompileError, DeviceError, UnsupportedError
from heliostat.runtime import jit, llvm_jit, platform
from heliostat.runtime.object_symbols import read_symbols
from heliostat.runtime.walker import walker_text

TRIPLES = [
    "x86_64-unknown-linux-gnu",
    "aarch64-unknown-linux-gnu",
    "x86_64-apple-macosx13",
    "arm64-apple-macosx13",
    "x86_64-pc-windows-msvc",
    "aarch64-pc-windows-msvc",
]

TEXT = """
declare i64 @a_function_that_nobody_has(i64)
@table = internal constant [2 x i64] [i64 7, i64 9]
define internal i64 @hidden(i64 %x) noinline { ret i64 %x }
define i64 @first(i64 %x) {
  %p = getelementptr i64, ptr @table, i64 %x
  %y = load i64, ptr %p
  %z = call i64 @hidden(i64 %y)
  ret i64 %z
}
define i64 @second_with_a_name_longer_than_eight(i64 %x) {
  %y = call i64 @a_function_that_nobody_has(i64 %x)
  ret i64 %y
}
"""
PLAIN = "define i64 @f(i64 %x) { ret i64 %x }"


@pytest.fixture(scope="module", autouse=True)
def _all_targets() -> None:
    llvm.initialize_all_targets()
    llvm.initialize_all_asmprinters()


@pytest.mark.parametrize("triple", TRIPLES)
def test_symbols_of_every_object_format(triple: str) -> None:
    symbols = read_symbols(llvm_jit.compile_text(TEXT, triple=triple))
    assert symbols.machine == ("x86-64" if triple.startswith("x86") else "aarch64")
    assert symbols.defined == {"first", "second_with_a_name_longer_than_eight"}
    assert symbols.undefined == {"a_function_that_nobody_has"}


@pytest.mark.parametrize("triple", TRIPLES)
def test_a_cut_object_is_an_error_and_no_crash(triple: str) -> None:
    data = llvm_jit.compile_text(TEXT, triple=triple)
    whole = read_symbols(data)
    for length in range(0, len(data), 3):
        with contextlib.suppress(DeviceError):
            assert read_symbols(data[:length]) == whole  # only padding was cut
    for length in range(len(data) // 2):
        with pytest.raises(DeviceError):
            read_symbols(data[:length])


@settings(deadline=None)
@given(st.data())
def test_a_changed_object_is_read_or_refused(data: st.DataObject) -> None:
    triple = data.draw(st.sampled_from(TRIPLES))
    raw = bytearray(llvm_jit.compile_text(PLAIN, triple=triple))
    for _ in range(data.draw(st.integers(1, 4))):
        raw[data.draw(st.integers(0, len(raw) - 1))] = data.draw(st.integers(0, 255))
    with contextlib.suppress(DeviceError):
        read_symbols(bytes(raw))


@given(st.binary(max_size=300))
def test_foreign_bytes_are_refused(data: bytes) -> None:
    with pytest.raises(DeviceError):
        read_symbols(b"\x7fELF\x02\x01" + data)


def test_functions_are_found_and_called() -> None:
    with jit.load_objects([llvm_jit.compile_text(PLAIN)]) as code:
        assert ctypes.CFUNCTYPE(ctypes.c_int64, ctypes.c_int64)(code["f"])(41) == 41
        assert "f" in code
        assert "g" not in code
        with pytest.raises(DeviceError, match="no function g"):
            code["g"]
    with pytest.raises(DeviceError, match="released"):
        code["f"]
    code.close()


def test_objects_call_each_other() -> None:
    one = "declare i64 @f(i64)\ndefine i64 @g(i64 %x) {\n %y = call i64 @f(i64 %x)\n %z = add i64 %y, 1\n ret i64 %z }"
    with jit.load_objects([llvm_jit.compile_text(one), llvm_jit.compile_text(PLAIN)]) as code:
        assert ctypes.CFUNCTYPE(ctypes.c_int64, ctypes.c_int64)(code["g"])(41) == 42
        assert code.externals == frozenset()


def test_missing_function_is_an_error() -> None:
    with pytest.raises(DeviceError, match="calls a_function_that_nobody_has, which nothing here defines"):
        jit.load_objects([llvm_jit.compile_text(TEXT)])


def test_math_library_is_not_bound_by_chance() -> None:
    text = "define double @f(double %x, double %y) { %z = frem double %x, %y\n ret double %z }"
    with pytest.raises(DeviceError, match="calls fmod,"):
        jit.load_objects([llvm_jit.compile_text(text)])


def test_external_function_is_bound() -> None:
    @ctypes.CFUNCTYPE(ctypes.c_int64, ctypes.c_int64)
    def nine_times(x: int) -> int:
        return 9 * x

    address = ctypes.cast(nine_times, ctypes.c_void_p).value
    assert address is not None
    with jit.load_objects([llvm_jit.compile_text(TEXT)], {"a_function_that_nobody_has": address}) as code:
        call = ctypes.CFUNCTYPE(ctypes.c_int64, ctypes.c_int64)
        assert call(code["second_with_a_name_longer_than_eight"])(5) == 45
        assert call(code["first"])(1) == 9


def test_memory_routines_are_bound() -> None:
    text = """
declare void @llvm.memcpy.p0.p0.i64(ptr, ptr, i64, i1)
define void @copy(ptr %p, ptr %q, i64 %n) { call void @llvm.memcpy.p0.p0.i64(ptr %p, ptr %q, i64 %n, i1 false)
  ret void }
"""
    with jit.load_objects([llvm_jit.compile_text(text)]) as code:
        assert code.externals == {"memcpy"}
        target = ctypes.create_string_buffer(6)
        ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_char_p, ctypes.c_int64)(code["copy"])(target, b"hello", 5)
        assert target.value == b"hello"
    assert {"memcpy", "memmove", "memset"} <= platform.memory_functions().keys()


def test_function_defined_twice_is_an_error() -> None:
    data = llvm_jit.compile_text(PLAIN)
    with pytest.raises(DeviceError, match="f is defined by two"):
        jit.load_objects([data, data])


def test_object_of_another_machine_is_an_error() -> None:
    other = "aarch64-unknown-linux-gnu" if jit.host_machine() == "x86-64" else "x86_64-unknown-linux-gnu"
    with pytest.raises(DeviceError, match="this machine is"):
        jit.load_objects([llvm_jit.compile_text(PLAIN, triple=other)])


def test_bad_text_is_a_compile_error() -> None:
    with pytest.raises(CompileError, match="LLVM refuses"):
        llvm_jit.compile_text("define i64 @f() { ret i32 0 }")
    with pytest.raises(CompileError, match="LLVM refuses"):
        llvm_jit.compile_text(PLAIN, triple="nonsense-unknown")


@pytest.mark.parametrize("triple", TRIPLES)
def test_walker_compiles_for_every_machine(triple: str) -> None:
    data = llvm_jit.compile_text(walker_text("x86-64" if triple.startswith("x86") else "aarch64"), triple=triple)
    symbols = read_symbols(data)
    assert {"hs_run", "hs_worker", "hs_walk", "hs_walk_timed"} <= symbols.defined
    assert symbols.undefined <= platform.memory_functions().keys(), "it may call only what platform hands over"
    with pytest.raises(UnsupportedError, match="riscv64"):
        walker_text("riscv64")
