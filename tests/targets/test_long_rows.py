"""Rows that a GPU copies to private memory: several reductions and results of one copy, tails, elements by place."""

from __future__ import annotations

import numpy as np
import pytest

from heliostat import ops
from heliostat.compiler.pipeline import Options, compile_graph
from heliostat.ir.graph import Graph, Value, parameter
from heliostat.ir.types import DType, Symbol, bf16, dim, f16, f32, i32, i64, tensor
from heliostat.kernels import held_rows, long_rows
from heliostat.kernels.group import Group
from heliostat.ops import reduce
from heliostat.targets.target import CUDA, Target, cuda_target

from .device import RUNNERS, Runner
from .test_held_rows import check, drawn


@pytest.fixture(autouse=True)
def registers(monkeypatch: pytest.MonkeyPatch) -> None:
    """Hold nothing in registers, so that rows need not have 32768 elements to come here."""
    monkeypatch.setattr(held_rows, "HELD", 0)


N = dim(Symbol("n", 200, 1))


def _copied(results: list[Value]) -> bool:
    kernels = compile_graph(Graph("rows", _parameters(results), results), CUDA, Options()).program.kernels
    return len(kernels) == 1 and any(i.op == "copy_async" for i in kernels[0].walk())


def _parameters(results: list[Value]) -> list[Value]:
    nodes = Graph("all", [], results).nodes()
    return [v for n in nodes for v in n.results if n.op.name == "parameter"]


@pytest.mark.parametrize("run", RUNNERS)
@pytest.mark.parametrize(("dtype", "columns"), [(bf16, 8456), (f16, 16384)], ids=str)
def test_softmax_and_norms(columns: int, dtype: DType, run: Runner) -> None:
    x, w = parameter("x", tensor(dtype, N, columns)), parameter("w", tensor(f32, columns))
    arrays = {"x": drawn(dtype, 2, columns), "w": drawn(f32, columns, seed=1)}
    for results in ([ops.softmax(x, -1)], [ops.layer_norm(x, w, w, eps=1e-5)]):
        assert _copied(results)
        check(run, _parameters(results), results, arrays, n=2)


@pytest.mark.parametrize("run", RUNNERS)
@pytest.mark.parametrize("columns", [8200])
def test_two_operands_and_two_results(columns: int, run: Runner) -> None:
    y, g = (parameter(n, tensor(bf16, N, columns)) for n in "yg")
    inner = reduce.sum(g * y, -1, True)
    results = [y * (g - inner), inner]
    assert _copied(results)
    arrays = {"y": drawn(bf16, 2, columns), "g": drawn(bf16, 2, columns, seed=1)}
    check(run, [y, g], results, arrays, n=2)


def _loss(x: Value, places: Value, g: Value) -> list[Value]:
    """The classes' log probabilities of a row, as one of its elements, and the gradient of their sum times g."""
    columns = x.type.shape[-1]
    numbers = ops.arange(columns)
    scores = ops.log_softmax(x, -1)
    hit = ops.eq(numbers, places)
    mine = ops.where(hit, scores, 0.0)
    given = ops.where(ops.eq(numbers, places), ops.broadcast_to(g, x.type.shape), 0.0)
    return [reduce.sum(mine, -1), given - ops.exp(scores) * reduce.sum(given, -1, True)]


@pytest.mark.parametrize("run", RUNNERS)
@pytest.mark.parametrize(("kind", "columns"), [(i64, 8400), (i32, 12552)], ids=str)
def test_loss_of_classes_and_its_gradient(kind: DType, columns: int, run: Runner) -> None:
    """One kernel reads the scores once; a place outside of the row picks nothing."""
    x, g = parameter("x", tensor(bf16, N, columns)), parameter("g", tensor(bf16, N, 1))
    places = parameter("places", tensor(kind, N, 1))
    results = _loss(x, places, g)
    assert _copied(results)
    at = np.array([[columns - 1], [-100], [columns // 3]], kind.name.replace("i", "int"))
    arrays = {"x": drawn(bf16, 3, columns), "g": drawn(bf16, 3, 1, seed=2), "places": at}
    check(run, [x, places, g], results, arrays, n=3)


def test_tiles() -> None:
    """Rows of whole chunks of 16 bytes that a team has something to do for, two of which a multiprocessor holds."""

    def tile(dtype: DType, rows: int, columns: int, target: Target = CUDA) -> long_rows.LongTile | None:
        x = parameter("x", tensor(dtype, rows, columns))
        node = reduce.sum(x, -1).node
        return long_rows.tile_of(Group((node,), (x,), node.results, node), target)

    assert tile(bf16, 16384, 50304) == long_rows.LongTile(8, 100864)
    assert tile(f32, 16384, 8192) == long_rows.LongTile(4, 32768)
    assert tile(bf16, 64, 50304) is None
    assert tile(bf16, 16384, 50305) is None
    assert tile(bf16, 16384, 8000) is None
    assert tile(bf16, 16384, 65536) is None
    assert tile(bf16, 16384, 51200) == long_rows.LongTile(8, 102400)
    assert tile(bf16, 16384, 51200, cuda_target((8, 9))) is None  # a block has 99 KB there
