"""Whole programs whose inputs, weights, states and outputs end where an inaccessible page begins, with sizes that fill
no tile. Schedules that are tested one by one with such pages (`kernels/run_kernel.py`) are not repeated.
"""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from heliostat import ops
from heliostat.ir.graph import Graph, Value, parameter
from heliostat.ir.types import Element, TensorType, bf16, f16, f32, i32, tensor
from heliostat.ops.evaluate import evaluate
from heliostat.quant import formats
from heliostat.quant.codec import dequantize
from heliostat.quant.format import BlockFormat
from heliostat.quant.panel import Panel, pack
from heliostat.quant.quantize import encode
from heliostat.runtime.buffer import Buffer
from heliostat.runtime.guard import guarded_buffer
from heliostat.session import executable, host_target, session

BLOCKS = [f for f in formats.all() if f.normal is not None and f.block % 32 == 0 and f.name not in ("Q8_1", "Q8_K")]
RNG = np.random.default_rng(0)


def guarded(array: Any) -> Buffer:
    data = np.ascontiguousarray(array)
    buffer = guarded_buffer(data.nbytes)
    buffer.array(np.uint8)[:] = data.reshape(-1).view(np.uint8)
    return buffer


@pytest.fixture(autouse=True)
def pages(monkeypatch: pytest.MonkeyPatch) -> None:
    """All memory that programs are bound to ends at a page; of what has less than 64 bytes, so many do."""
    allocated = SimpleNamespace(allocate=lambda nbytes, zeroed=True: guarded_buffer(nbytes))
    monkeypatch.setattr(executable, "Buffer", allocated)
    monkeypatch.setattr(session, "Buffer", SimpleNamespace(of=guarded))


def run(graph: Graph, given: dict[str, Any], threads: int = 2) -> list[np.ndarray]:
    return session.compile_graph(graph, threads=threads).run(given)


def blocks(format: BlockFormat, rows: int, count: int) -> np.ndarray:
    return np.asarray(encode(RNG.standard_normal((rows, count * format.block)).astype(np.float32), format))


@pytest.mark.parametrize("format", BLOCKS, ids=str)
def test_every_format_as_files_have_it(format: BlockFormat) -> None:
    """What is read where a file's pages end: packed, as values, and by rows."""
    lanes, data = host_target().lanes, blocks(format, 19, 3)
    w, ids = parameter("w", tensor(format, 19, 3 * format.block)), parameter("ids", tensor(i32, 5))
    made = [ops.repack(w, Panel(lanes)), ops.dequantize(w), ops.embedding(w, ids)]
    numbers = np.array([18, 0, 7, 18, 3], np.int32)
    panels, values, rows = run(Graph("read", [w, ids], made), {"w": data, "ids": numbers})
    expected = pack(data, format, lanes).reshape(-1)
    np.testing.assert_array_equal(panels[: expected.size], expected)
    wanted = np.asarray(dequantize(data, format)).reshape(19, -1)
    np.testing.assert_allclose(values.reshape(wanted.shape), wanted, rtol=3e-7, atol=1e-30)
    np.testing.assert_allclose(rows.reshape(5, -1), wanted[numbers], rtol=3e-7, atol=1e-30)


@pytest.mark.parametrize("element", [f32, f16, bf16, formats.get("Q8_0")], ids=str)
@pytest.mark.parametrize("tokens", [1, 5])
def test_attention_up_to_the_last_key_of_a_cache(element: Element, tokens: int) -> None:
    capacity, size = 64, 64
    start = parameter("start", tensor(i32))
    q, new = parameter("q", tensor(f32, tokens, 6, size)), parameter("new", tensor(f32, tokens, 2, size))
    caches = [parameter(n, tensor(element, 2, capacity, size), "state") for n in ("keys", "values")]
    rows: Value = ops.quantize(new, element) if isinstance(element, BlockFormat) else new
    updated = [ops.cache_update(cache, rows, start) for cache in caches]
    y = ops.attention(q, *updated, start, scale=0.125)
    graph = Graph("attend", [start, q, new, *caches], [y], list(zip(caches, updated, strict=True)))
    given = {"start": np.array(capacity - tokens, np.int32)}
    given |= {n: RNG.standard_normal((tokens, h, size)).astype(np.float32) for n, h in (("q", 6), ("new", 2))}
    for cache in caches:
        given[cache.name] = held(cache.type)
    found = run(graph, given)[0]
    expected = np.asarray(evaluate(graph, given)[0])
    np.testing.assert_allclose(found, expected, rtol=0, atol=2e-2 * float(np.abs(expected).max()))


def held(type: TensorType) -> np.ndarray:
    """Random contents of a tensor."""
    shape = [int(d) for d in type.shape if isinstance(d, int)]
    values = RNG.standard_normal(shape).astype(np.float32)
    if isinstance(type.element, BlockFormat):
        return np.asarray(encode(values.reshape(-1, shape[-1]), type.element)).reshape(*shape[:-1], -1)
    if type.element is bf16:
        return (values.view(np.uint32) >> 16).astype(np.uint16)
    return values.astype(np.float16 if type.element is f16 else np.float32)


CASES = {
    "matmul": lambda a, b: ops.matmul(a((37, 61)), b((61, 45))),
    "large matmul": lambda a, b: ops.matmul(a((263, 131)), b((131, 275))),
    "transposed matmul": lambda a, b: ops.matmul(ops.transpose(a((131, 263))), b((131, 275))),
    "conv2d": lambda a, b: ops.relu(ops.conv2d(a((2, 3, 15, 17)), b((5, 3, 3, 3)), stride=(1, 1), padding=(1, 1))),
    "softmax": lambda a, b: ops.softmax(ops.add(a((7, 133)), b((133,)))),
    "sum of rows": lambda a, b: ops.sum(ops.mul(a((9, 77)), b((9, 1))), (0,)),
    "row attention": lambda a, b: ops.dot_product_attention(
        a((3, 70, 48)), b((3, 90, 48)), b((3, 90, 48)), causal=False, scale=0.2
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_sizes_that_fill_no_tile(name: str) -> None:
    made: list[Value] = []

    def input_of(shape: tuple[int, ...]) -> Value:
        made.append(parameter(f"p{len(made)}", tensor(f32, *shape)))
        return made[-1]

    graph = Graph("case", [], [CASES[name](input_of, input_of)])
    graph = Graph("case", made, list(graph.outputs))
    given = {v.name: held(v.type) for v in made}
    (found,) = run(graph, given, threads=3)
    expected = np.asarray(evaluate(graph, given)[0])
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-4 * float(np.abs(expected).max()))
