"""The verifier takes what ops build, and refuses each way of breaking a graph with a message that names the value."""

from __future__ import annotations

import re
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from heliostat import ops
from heliostat.diagnostics import VerifyError
from heliostat.ir.graph import CONSTANT, PARAMETER, Graph, Node, Value, constant, parameter
from heliostat.ir.text import parse_graph, value_names
from heliostat.ir.types import Symbol, TensorType, dim, f16, f32, i32, tensor
from heliostat.ir.verify import verify
from heliostat.quant.formats import Q8_0

from .random_graphs import graphs

N = Symbol("n", 8)


def sound() -> Graph:
    x, w = parameter("x", tensor(f32, dim(N), 4)), parameter("w", tensor(f32, 4), "weight")
    k = parameter("k", tensor(f32, 4), "state")
    h = ops.rms_norm(x, w)
    h.name = "h"
    y = ops.matmul(h, k) * 2.0
    y.name = "y"
    return Graph("f", [x, w, k], [y], [(k, w + k)])


def find(graph: Graph, name: str) -> Value:
    return next(r for node in graph.nodes() for r in node.results if r.name == name)


@given(graph=graphs())
def test_what_ops_build_is_sound(graph: Graph) -> None:
    verify(graph)


def _undeclared(g: Graph) -> None:
    g.parameters = g.parameters[1:]


def _twice(g: Graph) -> None:
    g.parameters = (*g.parameters, parameter("w", tensor(f32)))


def _no_parameter(g: Graph) -> None:
    g.parameters = (*g.parameters, find(g, "h"))


def _type(g: Graph) -> None:
    find(g, "h").type = tensor(f16, dim(N), 4)


def _shape(g: Graph) -> None:
    find(g, "h").type = tensor(f32, 3, 4)


def _operand(g: Graph) -> None:
    find(g, "h").node.inputs = (g.parameters[0], parameter("v", tensor(f32, 5)))
    g.parameters = (*g.parameters, find(g, "h").node.inputs[1])


def _operand_count(g: Graph) -> None:
    find(g, "h").node.inputs = g.parameters[:1]


def _attribute(g: Graph) -> None:
    find(g, "h").node.attrs = {"epsilon": 1.0}


def _dangling(g: Graph) -> None:
    h = find(g, "h")
    other = Value(h.node, 1, h.type, "ghost")
    g.outputs = (*g.outputs, other)


def _dangling_operand(g: Graph) -> None:
    h = find(g, "h")
    find(g, "y").node.inputs = (Value(h.node, 0, h.type, "ghost"), find(g, "y").node.inputs[1])


def _cycle(g: Graph) -> None:
    find(g, "h").node.inputs = (find(g, "y"), g.parameters[1])


def _bounds(g: Graph) -> None:
    find(g, "h").type = tensor(f32, dim(Symbol("n", 9)), 4)


def _symbol(g: Graph) -> None:
    g.symbols = ()


def _symbol_range(g: Graph) -> None:
    g.symbols = (Symbol("n", 2, 3),)


def _symbol_name(g: Graph) -> None:
    g.symbols = (Symbol("n m", 2),)


def _negative(g: Graph) -> None:
    find(g, "h").type = tensor(f32, -3, 4)


def _update_of_weight(g: Graph) -> None:
    g.updates = ((g.parameters[1], g.updates[0][1]),)


def _update_of_result(g: Graph) -> None:
    g.updates = ((find(g, "h"), find(g, "h")),)


def _update_type(g: Graph) -> None:
    g.updates = ((g.parameters[2], find(g, "y")),)


def _update_twice(g: Graph) -> None:
    g.updates = g.updates * 2


def _results(g: Graph) -> None:
    node = find(g, "h").node
    node.results = (*node.results, Value(node, 1, node.results[0].type, "more"))


def _kind(g: Graph) -> None:
    g.parameters[1].node.attrs = {"name": "w", "kind": "magic"}


def _constant_shape(g: Graph) -> None:
    two = find(g, "y").node.inputs[1]
    two.name = "two"
    two.node.attrs = {"value": np.zeros(3, np.float32)}


def _constant_dtype(g: Graph) -> None:
    two = find(g, "y").node.inputs[1]
    two.name = "two"
    two.node.attrs = {"value": np.array(2.0)}


def _constant_writable(g: Graph) -> None:
    two = find(g, "y").node.inputs[1]
    two.name = "two"
    two.node.attrs = {"value": np.array(2.0, np.float32)}


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (_undeclared, "%x is used, but is not among the parameters"),
        (_twice, "two parameters are called %w"),
        (_no_parameter, "%h is listed as a parameter, but is a result of rms_norm"),
        (_type, "%h = rms_norm has type tensor<f16, [n, 4]>, its rule gives tensor<f32, [n, 4]>"),
        (_shape, "%h = rms_norm has type tensor<f32, [3, 4]>, its rule gives tensor<f32, [n, 4]>"),
        (_operand, "%h = rms_norm: rms_norm: operand 2 must have shape [4], found tensor<f32, [5]>"),
        (_operand_count, "%h = rms_norm does not fit the op: "),
        (_attribute, "%h = rms_norm does not fit the op: "),
        (_dangling, "%ghost dangles: result 1 of its rms_norm is another value"),
        (_dangling_operand, "%ghost dangles: result 0 of its rms_norm is another value"),
        (_cycle, "%y depends on itself"),
        (_bounds, "%h has the symbol n with bounds 0 .. 9 instead of 0 .. 8"),
        (_symbol, "%x uses the symbol n, which is not declared"),
        (_symbol_range, "symbol n has the bounds 3 .. 2"),
        (_symbol_name, "symbol 'n m' is not an identifier"),
        (_negative, "%h of tensor<f32, [-3, 4]> has the negative size -3"),
        (_update_of_weight, "%w is updated, but is not a state: it is a weight"),
        (_update_of_result, "%h is updated, but is not a state: it is a result of rms_norm"),
        (_update_type, "state %k of tensor<f32, [4]> is updated with %y of tensor<f32, [n]>"),
        (_update_twice, "%k is updated twice"),
        (_results, "%h = rms_norm has 2 results, its rule gives 1"),
        (_kind, "parameter %w is of the kind 'magic'"),
        (_constant_shape, "constant %two of tensor<f32, []> holds values of shape [3]"),
        (_constant_dtype, "constant %two of tensor<f32, []> holds values of float64"),
        (_constant_writable, "the array of constant %two can be written"),
    ],
)
def test_a_broken_graph_is_refused(damage: Callable[[Graph], None], message: str) -> None:
    graph = sound()
    verify(graph)
    damage(graph)
    with pytest.raises(VerifyError, match=re.escape(f"graph f: {message}")):
        verify(graph)


def test_parameters_hold_whole_blocks() -> None:
    w = parameter("w", tensor(Q8_0, 4, 33), "weight")
    with pytest.raises(VerifyError, match=r"%w of .* does not hold whole blocks of 32"):
        verify(Graph("f", [w], [w]))


def test_a_value_without_a_name_is_called_as_in_the_text() -> None:
    lines = ("graph f(%x: tensor<f32, [2]>) {", "%0 = neg(%x) : tensor<f32, [2]>", "%1 = exp(%0) : tensor<f32, [3]>")
    text = "\n".join([*lines, "return %1 }"])
    with pytest.raises(VerifyError, match=r"%1 = exp has type tensor<f32, \[3\]>, its rule gives tensor<f32, \[2\]>"):
        verify(parse_graph(text, ops.get))


@given(graph=graphs(), data=st.data())
def test_another_type_anywhere_is_refused_by_name(graph: Graph, data: st.DataObject) -> None:
    values = [r for n in graph.nodes() if n.op not in (PARAMETER, CONSTANT) for r in n.results]
    assume(values)
    value = data.draw(st.sampled_from(values))
    name = value_names(graph)[id(value)]
    value.type = data.draw(
        st.sampled_from([TensorType(i32, (*value.type.shape, 1)), TensorType(f16, value.type.shape)])
    )
    with pytest.raises(VerifyError) as caught:
        verify(graph)
    users = [value_names(graph)[id(r)] for n in graph.users().get(id(value), []) for r in n.results]
    assert any(re.search(re.escape(n) + r"\b|" + re.escape(n), caught.value.message) for n in [name, *users])


@given(graph=graphs(), data=st.data())
def test_operands_of_another_count_are_refused(graph: Graph, data: st.DataObject) -> None:
    nodes = [n for n in graph.nodes() if n.inputs and n.op.name != "concat"]
    assume(nodes)
    node = data.draw(st.sampled_from(nodes))
    extra = constant(1, tensor(f32))
    node.inputs = data.draw(st.sampled_from([node.inputs[:-1], (*node.inputs, extra)]))
    names = value_names(graph)
    with pytest.raises(VerifyError) as caught:
        verify(graph)
    assert names[id(node.results[0])] in caught.value.message


def test_a_node_without_results_is_refused() -> None:
    x = parameter("x", tensor(f32, 2))
    graph = Graph("f", [x], [-x])
    node = graph.outputs[0].node
    empty = Node(node.op, [x], {}, [])
    graph.outputs = (Value(empty, 0, x.type, "y"),)
    with pytest.raises(VerifyError, match="dangles"):
        verify(graph)
