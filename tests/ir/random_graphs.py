"""Random graphs of ops for property tests: symbolic sizes, several dtypes, states, nodes of two results."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from hypothesis import strategies as st

from heliostat import ops
from heliostat.ir.graph import Graph, Value, constant, parameter
from heliostat.ir.types import Dim, DType, Symbol, TensorType, bool_, dim, f32, f64, i32, tensor
from heliostat.ops import REGISTRY, Op

N = Symbol("n", 6, 1)
SYMBOLS = {"n": 3}
SHAPES: tuple[tuple[Dim, ...], ...] = ((dim(N), 4), (2, 3), (4,), (), (2, dim(N), 4), (1, 4))
NAMES = ["", "", "x", "y", "blk.0/attn q", "0", "값", "x_2"]


class Halves(Op):
    """Both halves of the last axis: an op of two results, which is not in the registry."""

    name, version = "halves", 3

    def infer(self, x: TensorType) -> tuple[TensorType, ...]:
        half = x.shape[-1] // 2
        return (x.with_shape((*x.shape[:-1], half)),) * 2

    def reference(self, x: Any) -> tuple[Any, ...]:
        return tuple(np.split(x, 2, -1))


HALVES = Halves()


def find_op(name: str) -> Any:
    return HALVES if name == "halves" else REGISTRY[name]


@st.composite
def graphs(draw: st.DrawFn, size: int = 12) -> Graph:
    """A graph of up to `size` ops over inputs, a weight and a state."""
    inputs = [
        parameter(f"in{i}", TensorType(draw(st.sampled_from([f32, f64, i32])), draw(st.sampled_from(SHAPES))))
        for i in range(draw(st.integers(1, 3)))
    ]
    inputs.append(parameter("a weight", tensor(f32, 4, 4), "weight"))
    state = parameter("state", TensorType(f32, (2, 3)), "state")
    values = [*inputs, state]
    for _ in range(draw(st.integers(0, size))):
        made = draw(_step(values))
        for v in made:
            v.name = draw(st.sampled_from(NAMES))
        values += made
    outputs = draw(st.lists(st.sampled_from(values), min_size=1, max_size=3))
    fitting = [v for v in values if v.type == state.type]
    updates = [(state, draw(st.sampled_from(fitting)))] if draw(st.booleans()) else []
    return Graph(draw(st.sampled_from(["f", "step 2", "π"])), [*inputs, state], outputs, updates)


@st.composite
def _step(draw: st.DrawFn, values: Sequence[Value]) -> list[Value]:
    """The results of one op over some of the values."""
    x = draw(st.sampled_from(values))
    dtype, shape = x.type.element, x.type.shape
    assert isinstance(dtype, DType)
    choices = ["constant"]
    if dtype != bool_:
        choices += ["unary", "binary", "compare", "scalar", "cast"]
    if shape:
        choices += ["reduce", "transpose", "concat", "unsqueeze", "slice"]
        if dtype.is_float:
            choices.append("row")
        if shape[-1] == 4:
            choices.append("halves")
            if dtype != bool_:
                choices.append("matmul")
    match draw(st.sampled_from(choices)):
        case "unary":
            return [draw(st.sampled_from([ops.neg, ops.relu, ops.tanh, ops.sigmoid, ops.floor]))(x)]
        case "binary":
            y = draw(st.sampled_from([v for v in values if v.type.shape == shape and v.type.element != bool_]))
            return [draw(st.sampled_from([ops.add, ops.sub, ops.mul, ops.maximum]))(x, y)]
        case "compare":
            return [ops.where(x > 0, x, 0)]
        case "scalar":
            return [x * draw(st.sampled_from([0.1, -2.0, 3, 1e-7, 0.5]))]
        case "cast":
            return [REGISTRY["cast"].build(x, dtype=draw(st.sampled_from([f32, f64, i32, bool_])))]
        case "reduce":
            axis = draw(st.integers(0, len(shape) - 1))
            kinds = [ops.sum, ops.mean] if shape[axis] == 0 else [ops.sum, ops.mean, ops.max]
            return [draw(st.sampled_from(kinds))(x, axis, draw(st.booleans()))]
        case "transpose":
            return [ops.transpose(x, draw(st.permutations(range(len(shape)))))]
        case "concat":
            return [ops.concat(x, x, axis=0)]
        case "unsqueeze":
            return [ops.unsqueeze(x, 0)]
        case "slice":
            return [ops.slice(x, 0, 0, shape[0])]
        case "row":
            return [draw(st.sampled_from([ops.softmax, ops.log_softmax]))(x)]
        case "halves":
            return list(HALVES.build_all(x))
        case "matmul":
            return [ops.matmul(x, next(v for v in values if v.name == "a weight"))]
    number = draw(st.sampled_from([0.1, 1e30, -0.0, float("inf"), 7.0]))
    return [constant(number, tensor(draw(st.sampled_from([f32, f64])), *draw(st.sampled_from([(), (2,), (2, 0)]))))]


def arrays(graph: Graph, seed: int) -> dict[str, Any]:
    """An array for each parameter."""
    rng = np.random.default_rng(seed)
    found = {}
    for p in graph.parameters:
        shape = tuple(d if isinstance(d, int) else d.evaluate(SYMBOLS) for d in p.type.shape)
        kinds = {"f32": np.float32, "f64": np.float64, "i32": np.int32}
        values = rng.integers(-9, 9, shape) if p.type.element == i32 else rng.standard_normal(shape)
        found[p.name] = np.asarray(values).astype(kinds[p.type.dtype.name])
    return found
