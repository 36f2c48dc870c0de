"""Which orders cores find by digits."""

from __future__ import annotations

import pytest

from heliostat import ops
from heliostat.compiler.radix import sort_by_digits
from heliostat.ir.graph import Graph, parameter
from heliostat.ir.types import DType, f32, f64, i8, i64, tensor
from heliostat.ops.sort import BLOCK
from heliostat.targets.target import CUDA, X86_AVX2


@pytest.mark.parametrize(("dtype", "digits"), [(f32, False), (i8, True), (f64, True), (i64, True)], ids=str)
def test_the_first_of_a_long_axis(dtype: DType, digits: bool) -> None:
    """Blocks keep the first of each where one number holds key and place; of keys in two halves, all are sorted."""
    x = parameter("x", tensor(dtype, 5 * BLOCK))
    graph = Graph("first", [x], [ops.argsort(x, True, 9)])
    for target, wanted in ((X86_AVX2, digits), (CUDA, False)):
        found = {node.op.name for node in sort_by_digits(graph, target).nodes()}
        assert ("move_by_digit" in found) == wanted
