"""The schedule of products as AArch64 objects, run under QEMU: several formats against exact arithmetic."""

from __future__ import annotations

import numpy as np
import pytest

from heliostat.ir.types import f16
from heliostat.kernels import linear
from heliostat.quant import formats
from heliostat.quant.format import BlockFormat
from kernels.test_linear import LEFTOVERS, case
from targets.run_emulated import run_emulated
from targets.test_aarch64 import TARGETS, emulated


@emulated
@pytest.mark.parametrize("target", TARGETS.values(), ids=TARGETS.keys())
def test_products(target: object) -> None:
    tests, wanted = [], []
    for name in ("Q4_0", "Q8_0", "Q5_1", "Q4_K", "Q6_K", "IQ4_NL", "MXFP4", "F16"):
        element = f16 if name == "F16" else formats.get(name)
        depth = 2 * max(32, element.block)
        for n, tile in ((1, None), (7, LEFTOVERS)):
            integers = isinstance(element, BlockFormat)
            group, arrays, exact = case(element, 19, depth, n, integers, target, 2 if n == 1 and integers else 1)  # type: ignore[arg-type]
            kernel = linear.build(group, target, f"linear_{name.lower()}_{n}", tile)  # type: ignore[arg-type]
            out = np.full((n, 19), 99, np.float32)
            tests.append((kernel, [*arrays, out, *([np.array([n], np.int64)] if n > 1 else [])]))
            wanted.append((out, exact))
    run_emulated(tests, target, 3)  # type: ignore[arg-type]
    for (_, arrays), (_, exact) in zip(tests, wanted, strict=True):
        found = next(a for a in arrays if a.shape == exact.shape and a.dtype == np.float32)
        np.testing.assert_allclose(found, exact, rtol=0, atol=2e-4 * float(np.abs(exact).max()))
