"""Products that no tensor cores take, on GPUs: large ones too, whose copies a core would keep in its caches."""

from __future__ import annotations

import numpy as np
import pytest

from heliostat import ops
from heliostat.compiler.pipeline import Options, compile_graph
from heliostat.ir.graph import Graph, parameter
from heliostat.ir.types import DType, bf16, f32, f64, tensor
from heliostat.targets.nvptx_blocks import SHARED_BYTES, shared_bytes, warps
from heliostat.targets.target import cuda_target

from .device import RUNNERS, Runner


def product(dtype: DType, rows: int, depth: int, columns: int, turned: bool = False) -> Graph:
    a = parameter("a", tensor(dtype, *((depth, rows) if turned else (rows, depth))))
    b = parameter("b", tensor(dtype, depth, columns))
    return Graph("g", (a, b), (ops.matmul(ops.transpose(a) if turned else a, b) + 1.0,))


@pytest.mark.parametrize("capability", [(7, 0), (8, 0), (8, 6), (9, 0)], ids=str)
@pytest.mark.parametrize("dtype", [f32, f64, bf16], ids=str)
def test_large_products_fit_a_block(dtype: DType, capability: tuple[int, int]) -> None:
    target = cuda_target(capability)
    most = target.shared_bytes if dtype is not f64 and capability >= (8, 0) else SHARED_BYTES  # tiles ask for more
    for sizes in ((1024, 1024, 1024), (197, 197, 197), (24, 1024, 48), (1, 4096, 4096)):
        for turned in (False, True):
            program = compile_graph(product(dtype, *sizes, turned), target, Options()).program
            for kernel in program.kernels:
                assert warps(kernel) >= 1
                assert shared_bytes(kernel) <= most


@pytest.mark.parametrize("run", RUNNERS)
def test_products_of_f32(run: Runner) -> None:
    """Tails of rows and of columns, of a size that cores copy the operands of."""
    graph = product(f32, 25, 216, 98, turned=True)
    rng = np.random.default_rng(3)
    a, b = rng.standard_normal((216, 25), np.float32), rng.standard_normal((216, 98), np.float32)
    (found,) = run(graph, {"a": a, "b": b}, {})
    np.testing.assert_allclose(found, a.T.astype(np.float64) @ b + 1, atol=1e-4)
