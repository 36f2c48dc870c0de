"""Plans of programs: no races between barriers, no barrier that is not needed, no scratch value lost."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from compiler.decoders import step
from compiler.races import find_lost, find_races, outside, without_barrier
from heliostat import ops
from heliostat.compiler.pipeline import Options, compile_graph
from heliostat.diagnostics import CompileError
from heliostat.ir.graph import Graph, Value, parameter
from heliostat.ir.types import Symbol, dim, f32, i32, tensor
from heliostat.kernel.program import Program
from heliostat.ops.evaluate import evaluate
from heliostat.quant.formats import Q8_0
from heliostat.quant.quantize import encode
from heliostat.session import compile_graph as compile_here
from heliostat.targets.target import X86_AVX2, X86_VNNI
from ir.random_graphs import graphs


def prove(program: Program) -> None:
    assert find_races(program) == []
    assert find_lost(program) == []
    assert outside(program) == []


def layered(seed: int) -> Graph:
    """Products, norms and elementwise ops that read any of the values before them, with a state or two."""
    rng = np.random.default_rng(seed)
    n = dim(Symbol("n", 9, 1))
    parameters = [parameter("x", tensor(f32, n, 64)), parameter("norm", tensor(f32, 64), "weight")]
    parameters += [parameter(f"w{i}", tensor(Q8_0 if i % 2 else f32, 64, 64), "weight") for i in range(4)]
    states = [parameter(f"state{i}", tensor(f32, n, 64), "state") for i in range(2)]
    values: list[Value] = [parameters[0], *states]
    for _ in range(int(rng.integers(4, 24))):
        a, b = (values[int(rng.integers(max(0, len(values) - 6), len(values)))] for _ in range(2))
        match int(rng.integers(0, 7)):
            case 0 | 1:
                made = ops.matmul(a, ops.transpose(parameters[int(rng.integers(2, 6))]))
            case 2:
                made = ops.rms_norm(a, parameters[1], eps=1e-5)
            case 3:
                made = ops.softmax(a)
            case 4:
                made = a * ops.sum(b, -1, True)
            case 5:
                made = ops.silu(a) * b
            case _:
                made = ops.add(a, b)
        values.append(made)
    updates = [(s, values[int(rng.integers(3, len(values)))]) for s in states if rng.random() < 0.7]
    chosen = [values[int(rng.integers(0, len(values)))] for _ in range(int(rng.integers(1, 3)))]
    return Graph("layered", [*parameters, *states], [values[-1], *chosen], updates)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 1 << 30))
def test_random_layers_have_no_races(seed: int) -> None:
    for target in (X86_VNNI, X86_AVX2):
        compiled = compile_graph(layered(seed), target)
        for program in (compiled.program, *compiled.loads.values()):
            prove(program)


@settings(max_examples=60, deadline=None)
@given(graphs())
def test_random_graphs_have_no_races(graph: Graph) -> None:
    try:
        compiled = compile_graph(graph, X86_AVX2)
    except CompileError:  # an op without a schedule
        assume(False)
        return
    prove(compiled.program)


@pytest.mark.parametrize("seed", range(8))
def test_random_layers_compute_what_their_ops_say(seed: int) -> None:
    graph = layered(seed)
    rng = np.random.default_rng(seed)
    given = {}
    for p in graph.parameters:
        if p.type.element == Q8_0:
            given[p.name] = np.asarray(encode(rng.standard_normal((64, 64)).astype(np.float32) / 8, Q8_0))
        else:
            shape = [d if isinstance(d, int) else 5 for d in p.type.shape]
            given[p.name] = (rng.standard_normal(shape) / 8).astype(np.float32)
    results = compile_here(graph, threads=2, options=Options("float")).run(given)
    for found, wanted in zip(results, evaluate(graph, given), strict=True):
        np.testing.assert_allclose(found, wanted, rtol=2e-3, atol=2e-4 * max(1.0, float(np.abs(wanted).max())))


@pytest.mark.parametrize("target", [X86_VNNI, X86_AVX2], ids=str)
@pytest.mark.parametrize("tokens", [1, 64], ids=["decode", "prefill"])
@pytest.mark.parametrize("architecture", ["llama", "qwen2", "qwen3"])
def test_steps_of_decoders_have_no_races_and_no_idle_barriers(architecture: str, tokens: int, target: object) -> None:
    compiled = compile_graph(step(architecture, tokens, layers=3), target)  # type: ignore[arg-type]
    program = compiled.program
    prove(program)
    barriers = [n for n, launch in enumerate(program.launches) if launch.barrier]
    for n in barriers[:-1]:  # the last one ends the run
        assert find_races(without_barrier(program, n)), f"nothing needs the barrier after launch {n}"


def test_the_proof_sees_values_that_share_bytes_while_they_live() -> None:
    program = compile_graph(step("qwen2", 1, layers=2), X86_AVX2).program
    squeezed = [replace(b, offset=0) if b.kind == "scratch" else b for b in program.buffers]
    broken = replace(program, buffers=squeezed)
    assert find_races(broken)
    assert find_lost(broken)
    assert outside(replace(program, arena_nbytes=program.arena_nbytes - 1))


def states(*update: str) -> Graph:
    """States a, b and c (6, 64), an input x and a weight w; each `update` is `STATE=EXPRESSION` or an expression that
    is a result.
    """
    values = {name: parameter(name, tensor(f32, 6, 64), "state") for name in "abc"}
    values["x"] = parameter("x", tensor(f32, 6, 64))
    values["w"] = parameter("w", tensor(f32, 64, 64), "weight")
    values["cache"] = parameter("cache", tensor(f32, 2, 8, 16), "state")
    values["rows"] = parameter("rows", tensor(f32, 3, 2, 16))
    values["start"] = parameter("start", tensor(i32))
    scope: dict[str, object] = {**values, "ops": ops}
    updates, outputs = [], []
    for text in update:
        name, _, expression = text.rpartition("=")
        made = eval(expression, scope)
        if name in values:
            updates.append((values[name], made))
        elif name:
            scope[name] = made
        else:
            outputs.append(made)
    return Graph("states", list(values.values()), outputs, updates)


@pytest.mark.parametrize(
    "update",
    [
        ("a=b", "b=a"),
        ("a=b", "b=c", "c=a"),
        ("a=a * 2.0", "b=a + b", "c=a + c"),
        ("b=ops.softmax(a)", "a=ops.softmax(b)", "c=ops.softmax(a) + b"),
        ("a=a @ w",),
        ("a=a", "a * 2.0"),
        ("a=ops.softmax(a, 0)",),
        ("a=ops.transpose(ops.reshape(ops.transpose(a), (6, 64)) + 0.0, (0, 1))",),
        ("a=x",),
        ("a=x", "b=x", "x", "a"),
        ("y=x * 3.0", "a=y", "b=y", "y"),
        ("a=b * 2.0", "a", "b"),
        ("a=a + 1.0", "a", "a * 2.0"),
        ("y=a + 1.0", "a=y", "y", "a"),
        ("a=ops.reshape(ops.softmax(ops.reshape(b, (64, 6))), (6, 64))", "b=ops.softmax(a)"),
        ("cache=ops.cache_update(cache, rows, start)", "ops.sum(cache, 2)", "cache"),
        (
            "y=ops.cache_update(cache, rows, start)",
            "cache=ops.cache_update(y, rows * 2.0, start + 3)",
            "ops.sum(y, 2)",
            "ops.sum(cache, 2)",
        ),
    ],
    ids=lambda u: "; ".join(u),
)
def test_states_are_read_as_they_were(update: tuple[str, ...]) -> None:
    graph = states(*update)
    rng = np.random.default_rng(1)
    given: dict[str, np.ndarray] = {"start": np.array(1, np.int32)}
    for p in graph.parameters:
        if p.name != "start":
            given[p.name] = rng.standard_normal([int(d) for d in p.type.shape]).astype(np.float32)  # type: ignore[arg-type]
    session = compile_here(graph, threads=2)
    prove(session.compiled.program)
    for _ in range(2):
        for found, wanted in zip(session.run(given), evaluate(graph, given), strict=True):
            np.testing.assert_allclose(found, wanted, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    ("update", "said"),
    [
        (("ops.cache_update(cache, rows, start)",), "which is no state"),
        (("cache=ops.cache_update(cache * 2.0, rows, start)",), "into something else"),
        (
            ("y=ops.cache_update(cache, rows, start)", "cache=y", "cache * ops.sum(y)"),
            "as it was before the step",
        ),
    ],
)
def test_updates_that_cannot_be_in_place_are_refused(update: tuple[str, ...], said: str) -> None:
    with pytest.raises(CompileError, match=said):
        compile_graph(states(*update), X86_AVX2)


@pytest.mark.parametrize("op", [ops.softmax, ops.log_softmax])
def test_rows_without_elements_run(op: Any) -> None:
    x = parameter("x", tensor(f32, 3, 0))
    (y,) = compile_here(Graph("empty", [x], [op(x)]), threads=1).run({"x": np.ones((3, 0), np.float32)})
    assert y.shape == (3, 0)
