"""The loader for kernels' objects, beside LLVM's own on the same bytes."""

from __future__ import annotations

import contextlib
import ctypes
import struct
import subprocess
import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from heliostat.runtime import jit, llvm_jit
from heliostat.runtime.elf import Unfit, load_elf

pytestmark = pytest.mark.skipif(
    jit.host_machine() != "x86-64" or sys.platform != "linux", reason="loads x86-64 objects on Linux"
)
CALL = ctypes.CFUNCTYPE(ctypes.c_double, ctypes.c_int64, ctypes.c_double)
# a table that is read by a computed index, a constant of a register's size, functions inside and outside
TEXT = """
@table = internal constant [5 x double] [double 1.5, double 2.5, double 3.5, double 4.5, double 5.5], align 64
declare double @outside(double)
declare double @other(double)
define internal double @inside(double %x) noinline { %y = fmul double %x, 3.25
  ret double %y }
define double @f(i64 %i, double %x) {
  %p = getelementptr double, ptr @table, i64 %i
  %a = load double, ptr %p
  %c = call double @inside(double %x)
  %d = call double @outside(double %c)
  %e = call double @other(double %a)
  %s = fadd double %d, %e
  ret double %s
}
"""
# a constant that holds an address is written by its loader
POINTERS = """
@table = internal constant [2 x i64] [i64 7, i64 9]
@pointers = constant [2 x ptr] [ptr @table, ptr getelementptr (i64, ptr @table, i64 1)]
define i64 @g(i64 %i) {
  %p = getelementptr ptr, ptr @pointers, i64 %i
  %q = load ptr, ptr %p
  %x = load i64, ptr %q
  ret i64 %x
}
"""
OTHER = "define double @other(double %x) { %y = fadd double %x, 1.0e3\n ret double %y }"


@ctypes.CFUNCTYPE(ctypes.c_double, ctypes.c_double)
def outside(x: float) -> float:
    return -x


EXTERNALS = {"outside": ctypes.cast(outside, ctypes.c_void_p).value or 0}


def test_both_loaders_make_the_same_of_it() -> None:
    objects = [llvm_jit.compile_text(TEXT), llvm_jit.compile_text(OTHER)]
    image = load_elf(objects, EXTERNALS)
    engine = llvm_jit.Engine(objects, EXTERNALS, frozenset({"f", "other"}))
    assert image.addresses.keys() == {"f", "other"}
    for index in range(5):
        for x in (0.0, -7.25, 1e300):
            wanted = -(x * 3.25) + (index + 1.5 + 1000)
            assert CALL(image.addresses["f"])(index, x) == CALL(engine.addresses["f"])(index, x) == wanted
    image.close()
    image.close()
    engine.close()


def test_what_is_written_is_left_to_llvm() -> None:
    objects = [llvm_jit.compile_text(POINTERS)]
    with pytest.raises(Unfit, match="neither code nor constant"):
        load_elf(objects, {})
    with jit.load_objects(objects) as code:
        assert [ctypes.CFUNCTYPE(ctypes.c_int64, ctypes.c_int64)(code["g"])(i) for i in range(2)] == [7, 9]


def test_a_function_without_address_is_not_taken() -> None:
    with pytest.raises(Unfit, match="has no address"):
        load_elf([llvm_jit.compile_text(TEXT)], {})


def test_kept_code_outlives_its_owner() -> None:
    image = load_elf([llvm_jit.compile_text(OTHER)], {})
    image.detach()
    image.close()
    assert ctypes.CFUNCTYPE(ctypes.c_double, ctypes.c_double)(image.addresses["other"])(1.0) == 1001.0


def test_kept_code_is_there_when_the_interpreter_is_gone() -> None:
    """As daemon threads need it: the last thing that a process calls is kept code."""
    text = """
import ctypes
from heliostat.runtime import jit, llvm_jit
code = jit.load_objects([llvm_jit.compile_text("define void @last() { ret void }")])
ctypes.pythonapi.Py_AtExit(ctypes.c_void_p(code["last"]))
"""
    done = subprocess.run([sys.executable, "-c", text], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")


@settings(deadline=None)
@given(st.data())
def test_damage_is_refused_or_harmless(data: st.DataObject) -> None:
    raw = bytearray(llvm_jit.compile_text(OTHER))
    if data.draw(st.booleans()):
        raw = raw[: data.draw(st.integers(0, len(raw) - 1))]
    else:
        for _ in range(data.draw(st.integers(1, 4))):
            raw[data.draw(st.integers(0, len(raw) - 1))] = data.draw(st.integers(0, 255))
    with contextlib.suppress(Unfit, ValueError, IndexError, OverflowError, struct.error):
        load_elf([bytes(raw)], {}).close()


def test_a_start_with_all_code_in_the_cache_brings_no_llvm_in() -> None:
    text = """
import sys
from heliostat.llm import demo_path, load
model = load(demo_path(), threads=2, context=64)
print(len([*model.generate([1, 2, 3], max_tokens=2, ignore_eos=True)]), "llvmlite.binding" in sys.modules)
"""
    for known in (False, True):  # the first start may have to compile
        done = subprocess.run([sys.executable, "-c", text], capture_output=True, text=True, check=True)
        count, brought_in = done.stdout.split()
        assert count == "2"
        assert not known or brought_in == "False"
