"""What fusion must not put together."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from heliostat import ops, session
from heliostat.compiler.pipeline import SCHEDULES, KernelLibrary, Options, compile_graph
from heliostat.ir.graph import Graph, Value, constant, parameter
from heliostat.ir.types import DType, bool_, f32, i64, tensor
from heliostat.kernels.group import Group, Refuse
from heliostat.ops import REGISTRY
from heliostat.targets.target import CUDA, NAMED, X86_VNNI, Target
from ops.sweep import leaves


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


@pytest.mark.parametrize("read_again", [True, False])
def test_what_a_product_reads_is_an_epilogue_though_a_sum_reads_it_too(read_again: bool) -> None:
    """A gradient through an activation: a layer before takes it, and its bias the sum. Read by the sum alone, it is
    made by the sum's kernel."""
    g, slope = parameter("g", tensor(f32, 64, 32)), parameter("slope", tensor(f32, 64, 48))
    w, x = parameter("w", tensor(f32, 32, 48)), parameter("x", tensor(f32, 64, 16))
    inner = ops.matmul(g, w) * slope
    outputs = [ops.sum(inner, 0)] + [ops.matmul(ops.transpose(inner), x)] * read_again
    library = KernelLibrary()
    compile_graph(Graph("layer", [g, slope, w, x], outputs), X86_VNNI, Options(), library)
    joined = [[n.op.name for n in f.group.nodes] for f in library.groups.values()]
    assert (["matmul", "mul"] in joined) == read_again
    rng = np.random.default_rng(0)
    arrays = {v.name: rng.standard_normal(v.type.shape).astype(np.float32) for v in (g, slope, w, x)}
    got = session.compile_graph(Graph("layer", [g, slope, w, x], outputs), threads=2).run(arrays)
    exact = (arrays["g"].astype(np.float64) @ arrays["w"]) * arrays["slope"]
    for found, expected in zip(got, [exact.sum(0), exact.T @ arrays["x"]], strict=False):
        np.testing.assert_allclose(found, expected, rtol=0, atol=2e-5 * float(np.abs(expected).max()))


def _weights(x: Value) -> Value:
    e = ops.exp(x - ops.max(x, -1, keepdim=True))
    return e / ops.sum(e, -1, keepdim=True)


@pytest.mark.parametrize("target", [X86_VNNI, CUDA], ids=lambda t: t.name)
def test_equal_code_is_one_kernel(target: Target) -> None:
    """Of 12 elements in any shape; other ops, other sizes and another result have kernels of their own."""
    library = KernelLibrary()

    def names(*shape: int, op: Callable[[Value], Value] = ops.exp) -> list[str]:
        x = parameter("x", tensor(f32, *shape))
        return [k.name for k in compile_graph(Graph("g", [x], [op(x)]), target, Options(), library).program.kernels]

    first = names(3, 4)
    assert names(2, 6) == names(12) == names(3, 4) == first
    others = [names(13), names(3, 4, op=ops.neg), names(3, 4, op=lambda x: ops.sum(x, -1)), names(2, 6, op=ops.sin)]
    assert len({*first, *(name for some in others for name in some)}) == 5
    assert len({k.name for k in library.code.values()}) == len(library.code) == 5


@pytest.mark.parametrize("target", NAMED.values(), ids=NAMED)
def test_schedules_refuse_what_is_not_among_their_roots(target: Target) -> None:
    """They are asked about no other op, neither by itself nor with an elementwise node behind."""
    named = {s: s.ROOTS for s in SCHEDULES if hasattr(s, "ROOTS")}
    assert {name for roots in named.values() for name in roots} <= REGISTRY.keys()
    for op in REGISTRY.values():
        for case in op.cases():
            value = op.build_all(*leaves(case), **case.attrs)[0]
            root, inputs = value.node, tuple(value.node.inputs)
            groups = [Group((root,), inputs, root.results, root)]
            if isinstance(value.type.element, DType) and value.type.layout is None:
                behind = ops.eq(value, value)
                groups.append(Group((root, behind.node), inputs, (behind,), root))
            for schedule in (s for s, roots in named.items() if op.name not in roots):
                assert all(isinstance(schedule.accepts(g, target), Refuse) for g in groups), (schedule, op.name)
