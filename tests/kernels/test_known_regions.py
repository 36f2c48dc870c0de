"""Loops and conditions that are known where a kernel is made: the body alone, or nothing, with the same meaning."""

from __future__ import annotations

import numpy as np
import pytest
from run_kernel import run_kernel

from heliostat.kernel.builder import KernelBuilder
from heliostat.kernel.ir import Instruction, Kernel


def kernel_of(capability: int = 0) -> Kernel:
    """Counts in i64 words how often each of its bodies runs."""
    k = KernelBuilder("known", capability)
    counts = k.buffer("counts", "rw")

    def count(place: Instruction | int) -> None:
        at = place * 8 if isinstance(place, Instruction) else 8 * place
        k.store(counts, at, k.load(counts, at, "i64") + 1)

    for part in k.parallel(1):
        count(part)
        for i in k.loop(1, 2):
            count(i)
        for i in k.loop(2, 7, 5):
            count(i)
        for i in k.loop(3, 3):
            count(i)
        for i in k.loop(4, 2):
            count(i)
        for i in k.loop(5, 8):
            count(i)
        for _ in k.when(k.const(1, "i64") < 2):
            count(8)
            for _ in k.when(k.const(2, "i64") < 1):
                count(9)
        for _ in k.otherwise():
            count(10)
        for _ in k.when(k.const(2, "i64") < 1):
            count(11)
        for _ in k.otherwise():
            count(12)
        for _ in k.when(k.load(counts, 0, "i64") < 0):
            count(13)
        for _ in k.otherwise():
            count(14)
    return k.finish()


@pytest.mark.parametrize("workers", [1, 2, 5])
@pytest.mark.parametrize("interp", [False, True], ids=["native", "interp"])
def test_each_body_runs_as_often_as_it_should(workers: int, interp: bool) -> None:
    counts = np.zeros(15, np.int64)
    run_kernel(kernel_of(), [counts], workers, interp)
    assert counts.tolist() == [1, 1, 1, 0, 0, 1, 1, 1, 1, 0, 0, 0, 1, 0, 1]


def test_only_what_is_not_known_is_a_region() -> None:
    regions = [i.op for i in kernel_of().walk() if i.blocks]
    assert regions == ["parallel", "loop", "if"]
    assert len([i.op for i in kernel_of(90).walk() if i.blocks]) > len(regions)  # kernels of GPUs stay as they are
