"""Nodes, values and graphs: order, depth, operators, and the structural key."""

from __future__ import annotations

import gc
import os
import subprocess
import sys
from typing import Any

import numpy as np
import pytest
from hypothesis import given

from heliostat import ops
from heliostat.diagnostics import DTypeError, ShapeError, VerifyError
from heliostat.ir.graph import Graph, Node, Value, constant, parameter
from heliostat.ir.rewrite import rewrite
from heliostat.ir.text import parse_graph, print_graph
from heliostat.ir.types import Symbol, bf16, bool_, dim, f16, f32, i8, i32, tensor
from heliostat.ir.verify import verify
from heliostat.ops.evaluate import evaluate

from .random_graphs import HALVES, find_op, graphs

X = tensor(f32, 3, 4)


def two(name: str = "x") -> tuple[Value, Value]:
    return parameter(name, X), parameter("w", tensor(f32, 4), "weight")


def test_nodes_stand_before_their_users() -> None:
    x, w = two()
    y = ops.exp(x * w) + x
    graph = Graph("f", [x, w], [y, ops.neg(x)])
    order = {id(n): i for i, n in enumerate(graph.nodes())}
    assert len(order) == 6
    for node in graph.nodes():
        assert all(order[id(v.node)] < order[id(node)] for v in node.inputs)


def test_users_count_every_read() -> None:
    x, w = two()
    y = x * x + w
    graph = Graph("f", [x, w], [y])
    assert [n.op.name for n in graph.users()[id(x)]] == ["mul", "mul"]
    assert id(y) not in graph.users()


def test_depth_is_not_bounded_by_the_stack() -> None:
    x = parameter("x", tensor(f32, 2))
    y = x
    for _ in range(20_000):
        y = ops.neg(y)
    graph = Graph("deep", [x], [y])
    assert len(graph.nodes()) == 20_001
    key = graph.structural_key()
    verify(graph)
    again = parse_graph(print_graph(graph), ops.get)
    assert again.structural_key() == key
    copied = rewrite(graph, lambda node, inputs: None)
    assert copied.structural_key() == key
    (out,) = evaluate(graph, {"x": np.array([1, -2], np.float32)})
    np.testing.assert_array_equal(out, [1, -2])
    (slope,) = ops.gradients([y], [parameter("g", x.type)], [x])
    assert slope is not None
    del graph, again, copied, y, slope  # deallocation must not recurse either
    gc.collect()


def test_symbols_come_from_types_and_attributes() -> None:
    n, m = Symbol("n", 8), Symbol("m", 8)
    x = parameter("x", tensor(f32, dim(n)))
    graph = Graph("f", [x], [ops.slice(x, 0, dim(m), dim(m) + 1)])
    assert graph.symbols == (m, n)
    assert Graph("f", [], [], symbols=[n]).symbols == (n,)


def test_one_name_is_one_symbol() -> None:
    x, y = parameter("x", tensor(f32, dim(Symbol("n", 8)))), parameter("y", tensor(f32, dim(Symbol("n", 9))))
    with pytest.raises(VerifyError, match="symbol n has two different bounds in graph f"):
        Graph("f", [x, y], [x])


def test_attributes_are_frozen() -> None:
    x, _ = two()
    node = ops.sum(x, [0, 1]).node
    assert node.attrs["axes"] == (0, 1)
    with pytest.raises(TypeError):
        node.attrs["axes"] = (0,)  # type: ignore[index]
    assert Node(ops.get("sum"), [x], {"axes": [np.int64(1)], "keepdim": np.False_}, [X]).attrs == {
        "axes": (1,),
        "keepdim": False,
    }
    with pytest.raises(TypeError, match="attribute axes of sum must be hashable, found set"):
        Node(ops.get("sum"), [x], {"axes": {1}}, [X])


def test_values_have_identity_and_no_truth() -> None:
    x, w = two()
    assert len({x: 1, w: 2}) == 2
    with pytest.raises(TypeError, match=r"use ops\.where"):
        bool(x > 0)


@pytest.mark.parametrize(
    ("expression", "op"),
    [
        (lambda x: x + 1, "add"), (lambda x: 1 - x, "sub"), (lambda x: 2 * x, "mul"), (lambda x: 1 / x, "div"),
        (lambda x: x**2, "pow"), (lambda x: 2**x, "pow"), (lambda x: -x, "neg"), (lambda x: x < 1, "lt"),
        (lambda x: x > 1, "gt"), (lambda x: x >= 1, "ge"), (lambda x: x <= x, "le"),
        (lambda x: x @ ops.transpose(x), "matmul"), (lambda x: np.float32(2) * x, "mul"),
        (lambda x: x / np.float64(2), "div"),
    ],
)  # fmt: skip
def test_operators_build_ops(expression: Any, op: str) -> None:
    value = expression(two()[0])
    assert value.node.op is ops.get(op)


def test_operators_need_the_ops() -> None:
    """The IR itself knows none: without the ops package an operator says what to import."""
    program = (
        "from heliostat.ir.graph import parameter\nfrom heliostat.ir.types import f32, tensor\n"
        "try:\n    parameter('x', tensor(f32)) + 1\nexcept TypeError as e:\n    print(e)"
    )
    found = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "operator add of graph values is not defined: import heliostat.ops"


def test_constants_take_the_values_of_their_dtype() -> None:
    assert constant(0.1, tensor(f16, 2)).node.attrs["value"].dtype == np.float16
    assert constant(1 / 3, tensor(bf16)).node.attrs["value"] == np.float32(0.333984375)
    assert constant([], tensor(f32, 0, 3)).node.attrs["value"].shape == (0, 3)
    value = constant([1, 2], tensor(i8, 3, 2)).node.attrs["value"]
    assert value.shape == (3, 2)
    assert not value.flags.writeable
    with pytest.raises(DTypeError, match="cannot be made"):
        constant(300, tensor(i8))
    with pytest.raises(ShapeError, match=r"shape \[3\] do not fill a constant of tensor<f32, \[2\]>"):
        constant([1, 2, 3], tensor(f32, 2))
    with pytest.raises(ShapeError, match="known shape"):
        constant(1, tensor(f32, dim(Symbol("n", 4))))
    with pytest.raises(ValueError, match="input, weight, state"):
        parameter("x", X, "output")


def build(order: int = 0, eps: float = 1e-5, kind: str = "weight") -> Graph:
    """One graph, made in two orders."""
    x, w = parameter("x", X), parameter("w", tensor(f32, 4), kind)
    if order:
        right = ops.neg(x)
        left = ops.rms_norm(x, w, eps=eps)
    else:
        left = ops.rms_norm(x, w, eps=eps)
        right = ops.neg(x)
    return Graph("f", [x, w], [left + right])


def test_structural_key_ignores_names_and_the_order_of_making() -> None:
    graph = build()
    assert graph.structural_key() == build(order=1).structural_key()
    other = build()
    for node in other.nodes():
        for value in node.results:
            value.name = "another"
    assert other.structural_key() == graph.structural_key()
    x, w = parameter("other", X), parameter("names", tensor(f32, 4), "weight")
    renamed = Graph("g", [x, w], [ops.rms_norm(x, w, eps=1e-5) + ops.neg(x)])
    assert renamed.structural_key() == graph.structural_key()


def test_structural_key_sees_every_difference() -> None:
    x, w = two()
    n = parameter("x", tensor(f32, dim(Symbol("n", 8)), 4))
    n9 = parameter("x", tensor(f32, dim(Symbol("n", 9)), 4))
    s = parameter("s", X, "state")
    different = [
        build(),
        build(eps=1e-6),
        build(kind="input"),
        Graph("f", [x, w], [x - w]),
        Graph("f", [w, x], [x - w]),
        Graph("f", [x, w], [w - x]),
        Graph("f", [x, w], [x - x]),
        Graph("f", [x, w], [x - w, x - w]),
        Graph("f", [n], [-n]),
        Graph("f", [n9], [-n9]),
        Graph("f", [x], [x + 1.0]),
        Graph("f", [x], [x + 2.0]),
        Graph("f", [x], [x + constant(1, tensor(f32, 1))]),
        Graph("f", [x], [x + constant(1, tensor(f16))]),
        Graph("f", [x], [x + 0.0]),
        Graph("f", [x], [x + -0.0]),
        Graph("f", [s], [s]),
        Graph("f", [s], [s], [(s, -s)]),
        Graph("f", [s], [s, s, -s]),
        Graph("f", [x], [HALVES.build_all(x)[0]]),
        Graph("f", [x], [HALVES.build_all(x)[1]]),
        Graph("f", [x], [ops.cast(x, f16)]),
        Graph("f", [x], [ops.cast(x, bf16)]),
        Graph("f", [], [x - w]),
        Graph("f", [], [x - x]),
    ]
    assert len({g.structural_key() for g in different}) == len(different)


@given(graph=graphs(), other=graphs())
def test_structural_key_is_equal_iff_the_text_without_names_is(graph: Graph, other: Graph) -> None:
    def bare(g: Graph) -> str:
        again = parse_graph(print_graph(g), find_op)
        again.name = ""
        for node in again.nodes():
            for value in node.results:
                value.name = ""
        return print_graph(again)

    assert (bare(graph) == bare(other)) == (graph.structural_key() == other.structural_key())


def test_structural_key_is_the_same_in_another_process() -> None:
    """It names compiled kernels across runs: nothing in it may depend on Python's hashing."""
    program = (
        "from heliostat import ops\nfrom heliostat.ir.graph import Graph, parameter\n"
        "from heliostat.ir.types import f32, tensor\nfrom heliostat.quant.formats import Q4_K\n"
        "x, w = parameter('x', tensor(f32, 2, 256)), parameter('w', tensor(Q4_K, 8, 256), 'weight')\n"
        "print(Graph('f', [x, w], [ops.linear(x, w) * 0.5]).structural_key())"
    )
    keys = set()
    for seed in "12":
        done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True,
                              env={**os.environ, "PYTHONHASHSEED": seed})  # fmt: skip
        keys.add(done.stdout)
    assert len(keys) == 1


def test_a_cycle_is_an_error_that_names_a_value() -> None:
    x, _ = two()
    y = ops.neg(x)
    z = ops.neg(y)
    z.name = "loop"
    y.node.inputs = (z,)
    with pytest.raises(VerifyError, match="%loop depends on itself"):
        Graph("f", [x], [z])


def test_two_results() -> None:
    x, _ = two()
    low, high = HALVES.build_all(x)
    assert (low.index, high.index) == (0, 1)
    assert low.node is high.node
    out = evaluate(Graph("f", [x], [high, low]), {"x": np.arange(12, dtype=np.float32).reshape(3, 4)})
    np.testing.assert_array_equal(out[0][:, 0], [2, 6, 10])


def test_flags_have_their_own_type() -> None:
    x, _ = two()
    assert (x > 0).type == tensor(bool_, 3, 4)
    assert (parameter("i", tensor(i32)) + 1.5).type == tensor(f32)
