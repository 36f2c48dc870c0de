"""What fusion must not put together."""

from __future__ import annotations

import pytest

from heliostat import ops
from heliostat.compiler.pipeline import Options, compile_graph
from heliostat.ir.graph import Graph, parameter
from heliostat.ir.types import f32, tensor
from heliostat.targets.target import NAMED, Target


@pytest.mark.parametrize("target", NAMED.values(), ids=NAMED)
def test_no_kernel_reads_under_another_name_what_it_writes(target: Target) -> None:
    """A sum of what one kernel makes and of a reshape of what it makes: joined to it, it would read too early."""
    x, y = (parameter(n, tensor(f32, 2, 3)) for n in "xy")
    a = ops.exp(ops.mul(x, y))
    b = ops.add(ops.reshape(ops.reshape(a, (6,)), (2, 3)), ops.mul(a, x))
    program = compile_graph(Graph("g", [x, y], [b]), target, Options()).program
    for launch in program.launches:
        buffers = list(zip(launch.buffers, program.kernels[launch.kernel].parameters, strict=True))
        read = {number for number, p in buffers if p.mode == "r"}
        written = {number for number, p in buffers if p.mode == "w"}
        assert not read & written
