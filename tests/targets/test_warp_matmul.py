"""Products on tensor cores that serve one warp: halves below and above compute capability 9.0, tf32 on all of them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from heliostat import ops
from heliostat.compiler import float_parts
from heliostat.compiler.pipeline import Compiled, Options, compile_graph
from heliostat.ir.graph import Graph, Value, parameter
from heliostat.ir.types import DType, Symbol, bf16, dim, f32, tensor
from heliostat.kernel.lockstep import run_lockstep
from heliostat.kernels.matmul_tiles import ROWS
from heliostat.kernels.warp_matmul import WarpTiles
from heliostat.targets.nvptx_module import Phase
from heliostat.targets.target import Target, cuda_target
from targets.device import AMPERE, RUNNERS, RUNNERS_OF_8, Runner, Simulated, assemble_for_linking, emit_ptx
from targets.test_warpgroup_matmul import HALVES, close, drawn, exact

Array = np.ndarray[Any, Any]
TF32 = Options(float32_products="tf32")
OF_BOTH = [(8, r) for r in RUNNERS_OF_8] + [(9, r) for r in RUNNERS]


@pytest.fixture
def any_size(monkeypatch: pytest.MonkeyPatch) -> None:
    """Small products of f32 too."""
    monkeypatch.setattr(float_parts, "LEAST", 0)
    monkeypatch.setattr(float_parts, "LEAST_SIDE", 0)


def turned(x: Value) -> Value:
    return ops.transpose(x, (*range(x.type.rank - 2), x.type.rank - 1, x.type.rank - 2))


def product(form: str, dtype: DType, batch: tuple[int, ...], rows: int, depth: int, columns: int) -> Graph:
    """a b of operands as they lie, n, or with their last two axes the other way round, t."""
    of_a = (depth, rows) if form[0] == "t" else (rows, depth)
    of_b = (columns, depth) if form[1] == "t" else (depth, columns)
    a, b = parameter("a", tensor(dtype, *batch, *of_a)), parameter("b", tensor(dtype, *batch, *of_b))
    left, right = (turned(x) if t == "t" else x for x, t in zip((a, b), form, strict=True))
    return Graph("product", [a, b], [ops.matmul(left, right)])


def compiled(graph: Graph, target: Target, options: Options = Options()) -> Compiled:
    return compile_graph(graph, target, options)


def names(graph: Graph, target: Target, options: Options = Options()) -> str:
    return " ".join(k.name for k in compiled(graph, target, options).program.kernels)


def times(held: dict[str, Array], form: str) -> Array:
    """The product in float64, of what tensor cores multiply."""
    a, b = map(exact, held.values())
    return (a.swapaxes(-1, -2) if form[0] == "t" else a) @ (b.swapaxes(-1, -2) if form[1] == "t" else b)


@pytest.mark.parametrize("run", RUNNERS_OF_8)
@pytest.mark.parametrize(
    ("form", "name", "batch", "rows", "depth", "columns"),
    [
        *((form, "bf16", (), 136, 72, 72) for form in ("nn", "tn", "nt", "tt")),  # all axes ragged
        ("nn", "f16", (2,), 24, 200, 104),  # more stages than the ring has
        ("tt", "f16", (2,), 24, 200, 40),
        ("nn", "bf16", (), 16, 16, 16),
    ],
)
def test_halves(form: str, name: str, batch: tuple[int, ...], rows: int, depth: int, columns: int, run: Runner) -> None:
    rng, dtype = np.random.default_rng(rows + depth), HALVES[name]
    graph = product(form, dtype, batch, rows, depth, columns)
    assert "warp_matmul" in names(graph, AMPERE)
    held = {p.name: drawn(rng, dtype, *map(int, p.type.shape)) for p in graph.parameters}
    (found,) = run(graph, held, {})
    close(found, times(held, form), dtype)


@pytest.mark.parametrize("run", RUNNERS_OF_8)
@pytest.mark.parametrize("wide", [256, 128, 64])
@pytest.mark.parametrize(("form", "element"), [("nn", bf16), ("tt", f32)])
@pytest.mark.usefixtures("any_size")
def test_widths(element: DType, form: str, wide: int, run: Runner, monkeypatch: pytest.MonkeyPatch) -> None:
    """Warps have other parts of tiles of 256, 128 and 64 columns."""
    monkeypatch.setattr(WarpTiles, "sizes", {(ROWS, wide): 1.0})
    rng = np.random.default_rng(wide)
    graph = product(form, element, (), 128, 72, wide + 8 if wide == 64 else wide)
    held = {p.name: drawn(rng, element, *map(int, p.type.shape)) for p in graph.parameters}
    (found,) = partial(run, options=TF32)(graph, held, {})
    close(found, times(held, form), element)


@pytest.mark.parametrize(
    ("major", "form", "batch", "run"),
    [
        pytest.param(major, form, batch, *r.values, id=f"{form}-{len(batch)}-{r.id}", marks=r.marks)
        for major, r in OF_BOTH
        for form, batch in (("nn", ()), ("tn", ()), ("nt", ()), ("tt", ()), ("tn", (2,)))
    ],
)
@pytest.mark.usefixtures("any_size")
def test_tf32(major: int, form: str, batch: tuple[int, ...], run: Runner) -> None:
    """Products of operands that are rounded to the nearest, exact but for sums in f32: what is cut off instead, or
    multiplied in other bits, is outside of the bound."""
    rng, target = np.random.default_rng(major), cuda_target((major, 0))
    rows, depth, columns = (36, 140, 20) if batch else (136, 68, 72)
    graph = product(form, f32, batch, rows, depth, columns)
    by_four = major == 9 and not batch
    assert ("warpgroup_matmul" if by_four else "warp_matmul") in names(graph, target, TF32)
    held = {p.name: drawn(rng, f32, *map(int, p.type.shape)) for p in graph.parameters}
    (found,) = partial(run, options=TF32)(graph, held, {})
    close(found, times(held, form), f32)


@pytest.mark.usefixtures("any_size")
def test_who_rounds_operands() -> None:
    """Products by single warps round what they read, also for several; what four warps read is rounded before, by what
    makes it or turns it."""
    x, w, g = (parameter(n, tensor(f32, *s)) for n, s in (("x", (64, 32)), ("w", (48, 32)), ("g", (64, 48))))
    graph = Graph("layer", [x, w, g], [ops.matmul(x, turned(w)), ops.matmul(g, w), ops.matmul(turned(g), x)])
    assert "round" not in names(graph, AMPERE, TF32)
    made = names(graph, cuda_target((9, 0)), TF32)
    assert made.count("warpgroup_matmul") == 3
    assert "round" in made
    assert "round" in names(product("nn", f32, (), 8192, 64, 8192), AMPERE, TF32)  # large ones read it too often
    kept = Graph("product", [x, w], [ops.matmul(ops.relu(x), turned(w))])
    assert names(kept, AMPERE, TF32).split()[0].startswith("map")  # stored as it is read


@pytest.mark.parametrize("run", RUNNERS_OF_8)
def test_epilogue_and_broadcast_batches(run: Runner) -> None:
    """relu(a b + bias) in f32, one matrix b for all of a's."""
    rng = np.random.default_rng(3)
    a, b = parameter("a", tensor(bf16, 2, 1, 40, 64)), parameter("b", tensor(bf16, 3, 64, 104))
    bias = parameter("bias", tensor(f32, 104))
    graph = Graph("product", [a, b, bias], [ops.relu(ops.add(ops.cast(ops.matmul(a, b), f32), bias))])
    assert names(graph, AMPERE).count("matmul") == 1
    held = {"a": drawn(rng, bf16, 2, 1, 40, 64), "b": drawn(rng, bf16, 3, 64, 104)}
    wanted = exact(held["a"]) @ exact(held["b"])
    held["bias"] = rng.standard_normal(104).astype(np.float32)
    (found,) = run(graph, held, {})
    np.testing.assert_allclose(found, np.maximum(wanted + held["bias"], 0), rtol=2.0**-8, atol=1e-3)


def test_symbolic_rows() -> None:
    rng, n = np.random.default_rng(4), Symbol("n", 300, 16)
    a, b = parameter("a", tensor(bf16, dim(n), 72)), parameter("b", tensor(bf16, 72, 64))
    made = Simulated(Graph("product", [a, b], [ops.matmul(a, b)]), run_lockstep, AMPERE)
    for rows in (16, 129):
        held = {"a": drawn(rng, bf16, rows, 72), "b": drawn(rng, bf16, 72, 64)}
        (found,) = made.run(held, {"n": rows})
        close(found, exact(held["a"]) @ exact(held["b"]), bf16)


@pytest.mark.parametrize("run", RUNNERS_OF_8)
def test_gradients_of_training(run: Runner) -> None:
    """Both gradients of x @ w.T, and the update of the weight behind its own; a long sum is cut."""
    rng, count = np.random.default_rng(5), 2048
    x, w, g = (parameter(n, tensor(bf16, *s)) for n, s in (("x", (count, 40)), ("w", (24, 40)), ("g", (count, 24))))
    master = parameter("master", tensor(f32, 24, 40))
    of_w = ops.cast(ops.matmul(ops.transpose(g), x), f32)
    graph = Graph("step", [x, w, g, master], [ops.matmul(g, w), ops.sub(master, of_w * 0.5)])
    made = names(graph, AMPERE)
    assert made.count("warp_matmul") == 2
    assert "2x24x40" in made
    held = {p.name: drawn(rng, bf16, *map(int, p.type.shape)) for p in (x, w, g)}
    of_x, gradient = exact(held["g"]) @ exact(held["w"]), exact(held["g"]).T @ exact(held["x"])
    held["master"] = rng.standard_normal((24, 40)).astype(np.float32)
    first, second = run(graph, held, {})
    close(first, of_x, bf16)
    rounding = 2.0**-9 * np.abs(gradient) + 2e-5 * np.abs(gradient).max()
    assert np.all(np.abs(second - (held["master"] - 0.5 * gradient)) <= rounding)


def _cases() -> Iterator[Any]:
    for major, minor in ((8, 0), (8, 6), (8, 9), (10, 0), (12, 0)):
        yield pytest.param("nn", bf16, cuda_target((major, minor)), id=f"bf16-{major}.{minor}")
    yield pytest.param("tt", f32, cuda_target((8, 6)), id="tf32-8.6")
    yield pytest.param("nn", f32, cuda_target((9, 0)), id="tf32-9.0")


@pytest.mark.parametrize(("form", "element", "target"), list(_cases()))
@pytest.mark.usefixtures("any_size")
def test_assembles(form: str, element: DType, target: Target, tmp_path: Path) -> None:
    graph = product(form, element, (), 64, 64, 64)
    program = compiled(graph, target, TF32).program
    (kernel,) = (k for k in program.kernels if "warp" in k.name)
    text = emit_ptx([Phase(f"{kernel.name}_launch", (kernel,), (132,))], target)
    kind = "tf32" if element is f32 else "bf16"
    assert re.search(rf"{'wgmma.mma_async' if target.capability == 90 else 'mma'}\.sync.*\.{kind}\.{kind}", text)
    assemble_for_linking(text, target, tmp_path)
