"""Every sample of the ops that have a schedule or a scalar lowering, run natively, against the references."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from heliostat.ir.types import DType
from heliostat.ops import Op
from heliostat.ops.samples import Sample
from heliostat.session import compile_graph
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
