"""Every sample of the ops that have a schedule or a scalar lowering, run natively, against the references."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from heliostat.ir.types import DType
from heliostat.ops import Op
from heliostat.ops.samples import Sample
from heliostat.runtime.worker_pool import WorkerPool
from heliostat.session import compile_graph, executable
from ops.sweep import cases, evaluated, given, graph_of

NAMES = {
    "take", "put", "scan", "unfold", "fold", "arange", "floor_divide", "remainder", "bitwise_and", "bitwise_or",
    "bitwise_xor", "bitwise_not", "shift_left", "shift_right", "random_bits", "random_binomial", "random_log_gamma",
    "random_poisson", "random_von_mises", "tan", "atan", "expm1", "log1p", "exp2", "log2", "log10", "bitcast", "trunc",
    "detach",
}  # fmt: skip


@pytest.mark.parametrize(("op", "case"), [p for p in cases() if p.values[0].name in NAMES])
def test_native_code_means_the_reference(op: Op, case: Sample) -> None:
    graph = graph_of(op, case)
    arrays = case.draw(11)
    (expected,) = evaluated(graph, arrays, case.symbols)
    found: Any = compile_graph(graph, threads=2).run(given(arrays), case.symbols)[0]
    dtype = graph.outputs[0].type.element
    assert isinstance(dtype, DType)
    if dtype.name == "bf16":
        found = (found.astype(np.uint32) << 16).view(np.float32)
    assert op.error.excess(found, expected, dtype) <= 1


SHARED = (
    "add", "argsort", "batch_norm", "conv2d", "conv2d_weight_gradient", "dot_product_attention",
    "dot_product_attention_gradient", "fold", "layer_norm", "linear", "matmul", "max_pool2d", "max_pool2d_gradient",
    "mean", "merge_runs", "partition", "prod", "put", "random_bits", "rope", "scan", "softmax", "sort_blocks", "take",
    "transpose",
)  # fmt: skip


@pytest.mark.parametrize("name", SHARED)
def test_threads_change_no_bit(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A case of ops of every kind of schedule, shared by one, two and three threads though it is small."""
    monkeypatch.setattr(executable, "SMALL_LAUNCH", 0)
    op, case = max((p.values for p in cases() if p.values[0].name == name), key=lambda v: elements(v[1]))
    session = compile_graph(graph_of(op, case), threads=1)
    arrays = given(case.draw(11))
    found = []
    for threads in (1, 2, 3):
        with WorkerPool(threads) as session.pool:
            session.executable = None  # bound anew, to other threads
            found.append([np.asarray(x).tobytes() for x in session.run(arrays, case.symbols)])
    assert found[1] == found[0]
    assert found[2] == found[0]


def elements(case: Sample) -> int:
    return sum(np.asarray(x).size for x in case.draw(11))
