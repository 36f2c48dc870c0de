"""The LLVM printer for AArch64: its code, run under QEMU, equals the interpreter bit for bit."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from heliostat.kernel.interp import interpret
from heliostat.kernel.ir import Kernel
from heliostat.runtime.object_symbols import read_symbols
from heliostat.targets.llvm import print_llvm
from heliostat.targets.llvm_compile import emit_object
from heliostat.targets.target import AARCH64, Target, aarch64_target
from kernel.hard_kernels import LANES, cases, hard_cases, hard_kernel
from kernel.random_kernels import DTYPES, ELEMENTS, assert_same, copies, random_kernel
from targets.run_emulated import missing_tool, run_emulated
from targets.test_llvm import dots, tables, tail

Array = np.ndarray[Any, Any]
TARGETS = {
    "dotprod": AARCH64,
    "i8mm": aarch64_target(AARCH64.features | {"i8mm"}),
    "plain": aarch64_target(frozenset({"fp-armv8"})),
}
emulated = pytest.mark.skipif(bool(missing_tool()), reason=f"{missing_tool()} is not installed")
on_every_target = pytest.mark.parametrize("target", TARGETS.values(), ids=TARGETS.keys())


def check(target: Target, tests: Sequence[tuple[Kernel, list[Array]]], workers: int = 3) -> None:
    """Each kernel must do to its arrays what the interpreter does."""
    cases = []
    for kernel, arrays in tests:
        wanted = copies(arrays)
        interpret(kernel, wanted)
        cases.append((kernel, arrays, wanted))
    compare(target, cases, workers)


def compare(target: Target, tests: Sequence[tuple[Kernel, list[Array], list[Array]]], workers: int = 3) -> None:
    """Each kernel must make of its arrays what is wanted."""
    found = [(kernel, copies(arrays)) for kernel, arrays, _ in tests]
    run_emulated(found, target, workers)
    for (_, arrays), (_, _, wanted) in zip(found, tests, strict=True):
        assert_same(arrays, wanted)


@emulated
@on_every_target
def test_random_kernels_equal_the_interpreter(target: Target) -> None:
    check(target, [random_kernel(seed) for seed in range(6000, 6024)])


@emulated
@on_every_target
def test_hard_inputs_equal_the_interpreter(target: Target) -> None:
    compare(target, hard_cases(LANES[::2]))


@emulated
@on_every_target
def test_dot_products_and_tables(target: Target) -> None:
    check(target, [dots(lanes, m) for lanes in (2, 4, 8, 16, 32) for m in (1, 15, 127, 128, 255)])
    check(target, [tables(lanes) for lanes in (1, 2, 4, 8, 16, 32, 64, 128)])


@emulated
@on_every_target
def test_masked_accesses_stop_at_the_mask(target: Target) -> None:
    """The program puts a page that must not be touched after each array."""
    tests = []
    for elem in ELEMENTS:
        for lanes, n in ((2, 1), (8, 0), (8, 5), (32, 32)):
            kernel = tail(elem, lanes)
            kernel.name += f"_{n}"
            x = np.arange(1, n + 1).astype(DTYPES[elem])
            tests.append((kernel, [x, np.zeros_like(x), np.array([n], np.int64)]))
    found = [(kernel, copies(arrays)) for kernel, arrays in tests]
    run_emulated(found, target)
    for _, (x, y, _n) in found:
        assert y.tolist() == x.tolist()


@on_every_target
def test_nothing_is_called_but_memory_functions(target: Target) -> None:
    kernels = [random_kernel(seed)[0] for seed in range(6000, 6010)]
    kernels += [hard_kernel(*case, 4) for case in cases()]
    symbols = read_symbols(emit_object(print_llvm(kernels, target), target))
    assert symbols.undefined <= {"memcpy", "memset", "memmove"}
