"""What fusion must not put together."""

from __future__ import annotations

import pytest

from heliostat import ops
from heliostat.compiler.pipeline import Options, compile_graph
from heliostat.ir.graph import Graph, Value, constant, parameter
from heliostat.ir.types import bool_, f32, i64, tensor
from heliostat.targets.target import CUDA, NAMED, X86_VNNI, Target


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


@pytest.mark.parametrize("target", [X86_VNNI, CUDA], ids=lambda t: t.name)
def test_masks_are_made_where_they_are_read(target: Target) -> None:
    """Classes of a loss: a comparison of 40 numbers with 64 is read by two softmaxes, and never written."""
    x, ids = parameter("x", tensor(f32, 40, 64)), parameter("ids", tensor(i64, 40))
    mask, zero = ops.eq(ops.arange(64), ops.reshape(ids, (40, 1))), constant(0.0, tensor(f32))
    outputs = [ops.sum(ops.where(mask, _weights(v), zero), -1) for v in (x, x * 2.0)]
    compiled = compile_graph(Graph("loss", [x, ids], outputs), target, Options())
    assert not any(b.type.element is bool_ for b in compiled.program.buffers)


@pytest.mark.parametrize("target", NAMED.values(), ids=NAMED)
def test_constants_of_one_element_are_written_into_elementwise_nodes_alone(target: Target) -> None:
    """The number of the row that is taken, and a product's operand, are read from buffers."""
    x, row, two = parameter("x", tensor(f32, 3, 1)), constant([0], tensor(i64, 1)), constant(2.0, tensor(f32))
    weight = constant([[3.0]], tensor(f32, 1, 1))
    for y, count in ((ops.take(x, row), 2), (ops.matmul(x, weight), 2), (ops.mul(x, two), 1)):
        (launch,) = compile_graph(Graph("one", [x], [y]), target, Options()).program.launches
        assert len(launch.buffers) == count + 1


def _weights(x: Value) -> Value:
    e = ops.exp(x - ops.max(x, -1, keepdim=True))
    return e / ops.sum(e, -1, keepdim=True)
