"""Products of f32 with all bits, by multiply-adds of each thread: every order of the operands, ragged sizes, batches,
epilogues."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from heliostat import ops
from heliostat.compiler.split_depth import SIMT, parts
from heliostat.ir.graph import Graph, parameter
from heliostat.ir.types import Symbol, dim, f32, f64, tensor
from heliostat.kernel.lockstep import run_lockstep
from heliostat.kernels.simt_matmul import SimtTiles
from heliostat.targets.nvptx_module import Phase
from heliostat.targets.target import CUDA, Target, cuda_target

from .device import RUNNERS, RUNNERS_OF_8, Runner, Simulated, assemble_for_linking, emit_ptx
from .test_warp_matmul import compiled, names, product

Array = np.ndarray[Any, Any]
SMALLER = [(128, 64), (64, 128)]


def times(a: Array, b: Array, form: str) -> tuple[Array, Array]:
    """The product in float64, and how far sums of so many in f32 may be from it."""
    left, right = (x.swapaxes(-1, -2) if t == "t" else x for x, t in zip((a, b), form, strict=True))
    left, right = left.astype(np.float64), right.astype(np.float64)
    return left @ right, left.shape[-1] * 2.0**-24 * (np.abs(left) @ np.abs(right))


def held(rng: np.random.Generator, graph: Graph) -> dict[str, Array]:
    return {p.name: rng.standard_normal(tuple(map(int, p.type.shape))).astype(np.float32) for p in graph.parameters}


def check(found: Array, given: dict[str, Array], form: str) -> None:
    wanted, bound = times(given["a"], given["b"], form)
    assert found.shape == wanted.shape
    assert np.all(np.abs(found - wanted) <= bound)


@pytest.mark.parametrize("run", RUNNERS)
@pytest.mark.parametrize("form", ["nn", "tn", "nt", "tt"])
def test_forms(form: str, run: Runner) -> None:
    """Tiles that end past the result, and a depth that ends within a stage."""
    rng = np.random.default_rng([ord(c) for c in form])
    rows, depth, columns = (4 * int(rng.integers(low, high)) for low, high in ((4, 31), (5, 16), (4, 31)))
    graph = product(form, f32, (), rows, depth, columns)
    assert "simt_matmul" in names(graph, CUDA)
    given = held(rng, graph)
    (found,) = run(graph, given, {})
    check(found, given, form)


@pytest.mark.parametrize("run", RUNNERS_OF_8)
@pytest.mark.parametrize("size", SMALLER)
def test_smaller_tiles(size: tuple[int, int], run: Runner, monkeypatch: pytest.MonkeyPatch) -> None:
    """More tiles than one in a direction, more stages than the ring has, and a batch."""
    monkeypatch.setattr(SimtTiles, "sizes", {size: 1.0})
    rng = np.random.default_rng(size[0])
    form, rows, depth, columns = ("tn", 20, 132, 68) if size[1] == 64 else ("nn", 68, 20, 36)
    graph = product(form, f32, (2,) if form == "nn" else (), rows, depth, columns)
    assert "simt_matmul" in names(graph, cuda_target((8, 0)))
    given = held(rng, graph)
    (found,) = run(graph, given, {})
    check(found, given, form)


@pytest.mark.parametrize("run", RUNNERS)
def test_epilogue(run: Runner) -> None:
    """What stands behind a linear layer joins its product."""
    rng = np.random.default_rng(5)
    x, w, bias = (parameter(n, tensor(f32, *s)) for n, s in (("a", (20, 20)), ("b", (40, 20)), ("bias", (40,))))
    graph = Graph("layer", [x, w, bias], [ops.relu(ops.add(ops.matmul(x, ops.transpose(w)), bias))])
    assert len(compiled(graph, CUDA).program.kernels) == 1
    assert "simt_matmul" in names(graph, CUDA)
    given = held(rng, graph)
    (found,) = run(graph, given, {})
    wanted, bound = times(given["a"], given["b"], "nt")
    assert np.all(np.abs(found - np.maximum(wanted + given["bias"], 0)) <= bound + 1e-6)


def test_symbolic_rows() -> None:
    rng, n = np.random.default_rng(6), Symbol("n", 300, 16)
    a, b = parameter("a", tensor(f32, dim(n), 20)), parameter("b", tensor(f32, 20, 16))
    made = Simulated(Graph("product", [a, b], [ops.matmul(a, b)]), run_lockstep, CUDA)
    assert "simt_matmul" in made.compiled.program.kernels[0].name
    given = {"a": rng.standard_normal((133, 20)).astype(np.float32), "b": rng.standard_normal((20, 16), np.float32)}
    (found,) = made.run(given, {"n": 133})
    check(found, given, "nn")


def test_what_it_takes() -> None:
    """Rows that are no whole chunks, other dtypes and smaller results are for other schedules; products that stand side
    by side read the matrix they share as it lies."""
    assert "simt" not in names(product("nn", f32, (), 64, 33, 64), CUDA)
    assert "simt" not in names(product("nn", f64, (), 64, 64, 64), CUDA)
    assert "simt" not in names(product("nn", f32, (), 8, 64, 64), CUDA)
    assert "simt" not in names(product("nn", f32, (), 64, 64, 64), cuda_target((7, 5)))
    x, y, w = (parameter(n, tensor(f32, *s)) for n, s in (("x", (64, 32)), ("y", (64, 32)), ("w", (32, 48))))
    assert names(Graph("both", [x, y, w], [ops.matmul(x, w), ops.matmul(y, w)]), CUDA) == "simt_matmul_f32_64x48"


def test_long_sums_are_cut() -> None:
    """Gradients of weights have few tiles of much depth."""
    assert parts(768, 4096, 768, cost=SIMT) > 1
    assert parts(4096, 4096, 4096, cost=SIMT) == 1
    assert "x768x768" in names(product("tn", f32, (), 768, 4096, 768), CUDA)


@pytest.mark.parametrize(
    ("form", "target"),
    [("nn", cuda_target((8, 0))), ("tn", CUDA), ("nt", cuda_target((12, 0)))],
    ids=lambda v: v.name if isinstance(v, Target) else v,
)
def test_assembles(form: str, target: Target, tmp_path: Path) -> None:
    """A multiply-add for each of 64 results and 32 elements of a stage, and none that is rounded twice."""
    program = compiled(product(form, f32, (), 2048, 64, 2048), target).program
    (kernel,) = (k for k in program.kernels if "simt" in k.name)
    text = emit_ptx([Phase(f"{kernel.name}_launch", (kernel,), (132,))], target)
    assert len(re.findall(r"\bfma\.rn\.f32", text)) == 64 * 32
    assert not re.search(r"\bmma\.|\bmul\.(rn\.)?f32", text)
    assemble_for_linking(text, target, tmp_path)
