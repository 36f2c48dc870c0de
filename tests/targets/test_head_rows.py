"""Products of queries, keys and values whose epilogues rotate them and write them to caches: against float64, against
launches of their own, and wherever a prompt is cut."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from heliostat import ops
from heliostat.compiler import fuse, lower
from heliostat.compiler.pipeline import Options, compile_graph
from heliostat.ir.graph import Graph, Value, parameter
from heliostat.ir.types import Symbol, bf16, dim, f16, f32, i32, tensor
from heliostat.ops.evaluate import evaluate
from heliostat.quant.codec import dequantize
from heliostat.quant.formats import Q8_0
from heliostat.quant.quantize import encode
from heliostat.targets.nvptx_module import Phase
from heliostat.targets.target import cuda_target

from .device import RUNNERS, Array, Runner, assemble_for_linking, emit_ptx, lockstep

N = dim(Symbol("n", 64, 1))
HIDDEN, PAGE = 64, 64
HEADS = {"q": 2, "k": 1, "v": 1}


def layer(
    size: int,
    capacity: int,
    interleaved: bool,
    cache: Any = f16,
    weight: Any = bf16,
    rows: Any = N,
    bias: bool = False,
    paged: bool = False,
    hidden: int = HIDDEN,
    heads: dict[str, int] = HEADS,
) -> Graph:
    """What attention of a layer reads and writes: products of x with three weights, rotated, and two caches."""
    x, at = parameter("x", tensor(f32, rows, hidden)), parameter("at", tensor(i32))
    angles = [parameter(name, tensor(f32, rows, size // 2)) for name in ("cos", "sin")]
    shape = (capacity // PAGE + 1, heads["k"], PAGE, size) if paged else (heads["k"], capacity, size)
    caches = [parameter(name, tensor(cache, *shape), "state") for name in ("keys", "values")]
    table = parameter("table", tensor(i32, capacity // PAGE)) if paged else None
    inputs, made = [x, *angles, at, *([table] if table is not None else [])], dict[str, Value]()
    for name, count in heads.items():
        inputs.append(parameter(f"w{name}", tensor(weight, count * size, hidden), "weight"))
        y = ops.matmul(x, ops.transpose(inputs[-1]))
        if bias:
            inputs.append(parameter(f"b{name}", tensor(f32, count * size), "weight"))
            y = ops.add(y, inputs[-1])
        y = ops.reshape(y, shape=(rows, count, size))
        made[name] = y if name == "v" else ops.rope(y, *angles, interleaved=interleaved)
    new = [ops.cache_update(c, made[n], at, table) for c, n in zip(caches, "kv", strict=True)]
    mixed = ops.attention(made["q"], *new, at, scale=size**-0.5, table=table)
    return Graph("layer", [*inputs, *caches], [mixed], list(zip(caches, new, strict=True)))


def drawn(graph: Graph, n: int, start: int, seed: int = 0) -> tuple[dict[str, Array], dict[str, Array]]:
    """Arrays of a graph's parameters, and their values in f32 for those that are stored otherwise."""
    rng, given, values = np.random.default_rng(seed + n + start), dict[str, Array](), dict[str, Array]()
    angles = rng.uniform(0, 6, (n, graph.parameters[1].type.shape[1]))
    special = {"cos": np.cos(angles), "sin": np.sin(angles)}
    for p in graph.parameters:
        name, kind = p.node.attrs["name"], p.type.element
        if name == "at":
            given[name] = values[name] = np.array(start, np.int32)
        elif name == "table":  # page 0 is nobody's
            given[name] = values[name] = (1 + rng.permutation(p.type.shape[0])).astype(np.int32)
        else:
            drawn = rng.standard_normal([d if isinstance(d, int) else n for d in p.type.shape]).astype(np.float32)
            drawn = special.get(name, drawn / 8 if name[0] == "w" else drawn).astype(np.float32)
            if kind is bf16:
                given[name] = (drawn.view(np.uint32) >> 16).astype(np.uint16)
                values[name] = (drawn.view(np.uint32) & 0xFFFF0000).view(np.float32)
            elif kind is Q8_0:
                given[name] = np.asarray(encode(drawn, kind))
                values[name] = np.asarray(dequantize(given[name], kind)).reshape(drawn.shape)
            else:
                given[name] = values[name] = drawn.astype(np.float16) if kind is f16 else drawn
    return given, values


def is_joined(graph: Graph) -> bool:
    """Whether products rotate, and write to the caches."""
    report = compile_graph(graph, cuda_target((9, 0)), Options()).program.report
    found = [set(r["ops"]) & {"rope", "cache_update"} for r in report if "linear" in r["ops"]]
    return sorted(map(sorted, found)) == [["cache_update"], ["cache_update", "rope"], ["rope"]]


CASES: list[tuple[int, int, dict[str, Any]]] = [
    # tokens, start, what the layer is
    (24, 8, {"size": 64, "capacity": 64, "interleaved": True}),
    (21, 5, {"size": 64, "capacity": 64, "interleaved": False, "bias": True}),
    (37, 16, {"size": 128, "capacity": 64, "interleaved": True, "rows": 37}),
    (40, 83, {"size": 64, "capacity": 192, "interleaved": True, "paged": True}),
    (33, 24, {"size": 128, "capacity": 64, "interleaved": False, "weight": Q8_0, "bias": True}),
    (17, 3, {"size": 64, "capacity": 64, "interleaved": True, "cache": bf16}),
]


@pytest.mark.parametrize("run", RUNNERS)
@pytest.mark.parametrize(("n", "start", "what"), CASES, ids=lambda v: None if isinstance(v, dict) else str(v))
def test_rows_of_heads(n: int, start: int, what: dict[str, Any], run: Runner) -> None:
    graph = layer(**what)
    assert is_joined(graph)
    given, values = drawn(graph, n, start)
    symbols = {} if "rows" in what else {"n": n}
    meant = layer(**{**what, "weight": f32, "cache": f32})
    wanted = evaluate(meant, values, symbols)
    found = run(graph, given, symbols)
    for made, exact in zip(found, wanted, strict=True):
        stored = made.astype(np.uint32) << 16 if made.dtype == np.uint16 else made
        held = (stored.view(np.float32) if made.dtype == np.uint16 else stored).astype(np.float64)
        np.testing.assert_allclose(held, exact, rtol=0, atol=2e-2 * float(np.abs(exact).max()))


@pytest.mark.parametrize("number", [0, 1, 3])
def test_the_same_bits_as_launches_of_their_own(number: int, monkeypatch: pytest.MonkeyPatch) -> None:
    n, start, what = CASES[number]
    graph, symbols = layer(**what), {} if "rows" in CASES[number][2] else {"n": n}
    given, _ = drawn(graph, n, start)
    joined = lockstep(graph, given, symbols)
    monkeypatch.setattr(fuse, "join_rows_of_heads", lambda *_: None)
    monkeypatch.setattr(lower, "_rounded_queries", lambda *_: None)
    assert not is_joined(graph)
    for a, b in zip(joined, lockstep(graph, given, symbols), strict=True):
        np.testing.assert_array_equal(a, b)


def test_a_prompt_may_be_cut_anywhere() -> None:
    graph = layer(64, 64, True)
    given, _ = drawn(graph, 30, 0)
    parts, held = [], dict(given)
    for begin, end in ((0, 5), (5, 30)):
        mine = {name: held[name][begin:end] for name in ("x", "cos", "sin")}
        mixed, keys, values = lockstep(graph, {**held, **mine, "at": np.array(begin, np.int32)}, {"n": end - begin})
        parts.append(mixed)
        held |= {"keys": keys, "values": values}
    whole = lockstep(graph, given, {"n": 30})
    for a, b in zip((np.concatenate(parts), held["keys"], held["values"]), whole, strict=True):
        np.testing.assert_array_equal(a, b)


def test_what_stays_a_launch_of_its_own() -> None:
    def joined(**what: Any) -> bool:
        return is_joined(layer(**{"size": 64, "capacity": 64, "interleaved": True, **what}))

    assert joined()
    assert not joined(size=96, heads={"q": 2, "k": 2, "v": 2})
    assert not joined(cache=f32)
    graph = layer(64, 64, True)
    queries = graph.outputs[0].node.inputs[0].node.inputs[0]  # in front of their rotation
    kept = Graph("layer", graph.parameters, [*graph.outputs, queries.node.inputs[0]], graph.updates)
    assert not is_joined(kept)


def test_ptx_is_assembled(tmp_path: Path) -> None:
    """Whole products, as a model has them, without spills."""
    target = cuda_target((9, 0))
    graph = layer(128, 4096, True, rows=dim(Symbol("n", 2048, 1)), hidden=4096, heads={"q": 32, "k": 8, "v": 8})
    kernels = [k for k in compile_graph(graph, target, Options()).program.kernels if "linear" in k.name]
    text = emit_ptx([Phase("k_launch", tuple(kernels), (132,) * len(kernels))], target)
    assert len(kernels) == 3
    assert re.search(r"st\.global\.v2", text)
    assemble_for_linking(text, target, tmp_path)
