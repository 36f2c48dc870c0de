"""Products with packed weights by four warps together: every tile, plain and quantized weights, ragged sizes, two
products side by side."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from heliostat import ops
from heliostat.compiler.pipeline import KernelLibrary, Options, compile_graph
from heliostat.diagnostics import CompileError
from heliostat.ir.graph import Graph, parameter
from heliostat.ir.types import Symbol, bf16, dim, f16, f32, tensor
from heliostat.kernel.text import print_kernel
from heliostat.kernels import warpgroup_linear
from heliostat.kernels.group import Group
from heliostat.kernels.warpgroup_tile import WarpgroupTile, default_tile
from heliostat.quant.codec import dequantize
from heliostat.quant.formats import Q2_K, Q4_K, Q8_0
from heliostat.quant.quantize import encode
from heliostat.targets.nvptx_module import Phase
from heliostat.targets.target import CUDA, cuda_target

from .device import RUNNERS, Runner, assemble_for_linking, emit_ptx, lockstep, lockstep_of_8, on_gpu, with_tiles


def drawn(rng: np.random.Generator, *shape: int) -> np.ndarray[Any, Any]:
    """Values that bf16 holds, as f32."""
    raw = rng.standard_normal(shape).astype(np.float32).view(np.uint32) & np.uint32(0xFFFF0000)
    return raw.view(np.float32)


def weights(rng: np.random.Generator, kind: Any, *shape: int) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """A matrix as it is stored, and its values, which are rounded to bf16 on their way to the product."""
    values = drawn(rng, *shape)
    if kind is f16:
        return values.astype(np.float16), values.astype(np.float16).astype(np.float64)
    if kind is bf16:
        return (values.view(np.uint32) >> 16).astype(np.uint16), values.astype(np.float64)
    stored = np.asarray(encode(values, kind))
    return stored, np.asarray(dequantize(stored, kind)).reshape(shape).astype(np.float64)


def product(kind: Any, rows: Any, out: int, depth: int, products: int = 1) -> Graph:
    """x w^T + residual, or silu(x gate^T) * (x up^T)."""
    x = parameter("x", tensor(f32, rows, depth))
    w = [parameter(f"w{n}", tensor(kind, out, depth), "weight") for n in range(products)]
    found = [ops.matmul(x, ops.transpose(v)) for v in w]
    if products == 2:
        return Graph("side", [x, *w], [ops.mul(ops.silu(found[0]), found[1])])
    residual = parameter("residual", tensor(f32, rows, out))
    return Graph("product", [x, *w, residual], [ops.add(found[0], residual)])


def group_of(graph: Graph) -> Group:
    library = KernelLibrary()
    compile_graph(graph, CUDA, Options(), library)
    (found,) = (f.group for f in library.groups.values() if f.schedule is warpgroup_linear)
    return found


def tile_of(group: Group) -> WarpgroupTile:
    w = group.root.inputs[1].type
    return default_tile(group, w.layout.plan(w.element))  # type: ignore[union-attr]


BRIEF = [
    (bf16, 130, 80, 64, 1, (128, 2)),  # ragged rows; the last panel is not filled, nor the last tile
    (bf16, 33, 32, 320, 1, (128, 2)),  # the ring comes round
    (bf16, 130, 32, 64, 2, (256, 4)),
    (Q8_0, 130, 100, 64, 1, (256, 2)),
    (f16, 130, 80, 64, 1, (128, 2)),
]
LONG = [
    (bf16, 140, 272, 192, 1, (128, 8)),
    (bf16, 130, 192, 64, 1, (128, 6)),
    (bf16, 300, 160, 192, 1, (256, 4)),
    (bf16, 144, 96, 128, 2, (128, 6)),
    (bf16, 257, 64, 128, 2, (256, 4)),
    (bf16, 33, 32, 320, 1, (128, 2)),
    (f16, 144, 96, 128, 2, (128, 6)),
    (Q8_0, 140, 128, 192, 1, (256, 4)),
    (Q8_0, 150, 64, 192, 1, (128, 8)),
    (Q4_K, 129, 96, 256, 2, (256, 4)),
    (Q4_K, 140, 128, 256, 2, (128, 8)),
    (Q4_K, 700, 1024, 1024, 2, (256, 4)),
    (Q2_K, 140, 128, 256, 1, (256, 4)),
]
CASES = [
    *(pytest.param(lockstep, *case, id=f"lockstep-{n}") for n, case in enumerate(BRIEF)),
    *(pytest.param(on_gpu, *case, id=f"gpu-{n}", marks=pytest.mark.cuda) for n, case in enumerate(BRIEF + LONG)),
]


@pytest.mark.parametrize(("run", "kind", "rows", "out", "depth", "products", "tile"), CASES)
def test_tiles(run: Runner, kind: Any, rows: int, out: int, depth: int, products: int, tile: tuple[int, int]) -> None:
    symbols = {"n": rows} if out == 80 else {}  # more tiles than teams, whose number is not known before
    rng, graph = (
        np.random.default_rng(rows + out),
        product(kind, dim(Symbol("n", 300, 1)) if symbols else rows, out, depth, products),
    )
    key = " ".join(warpgroup_linear.tuning_key(group_of(graph)))
    chosen = with_tiles(run, {key: {"rows": tile[0], "panels": tile[1]}})
    held: dict[str, Any] = {"x": drawn(rng, rows, depth)}
    sums = []
    for n in range(products):
        held[f"w{n}"], values = weights(rng, kind, out, depth)
        sums.append((held["x"].astype(np.float64) @ values.T, np.abs(held["x"]) @ np.abs(values.T)))
    if products == 1:
        held["residual"] = drawn(rng, rows, out)
        wanted = sums[0][0] + held["residual"]
    else:
        wanted = sums[0][0] / (1 + np.exp(-sums[0][0])) * sums[1][0]
    (found,) = chosen(graph, held, symbols)
    rounding = 2.0**-9 if kind not in (bf16, f16) else 2.0**-18  # of each weight, and of sums in f32
    bound = rounding * sums[0][1] + 1e-5
    if products == 2:
        bound = 1.2 * rounding * (sums[0][1] * np.abs(sums[1][0]) + np.abs(sums[0][0]) * sums[1][1]) + 1e-2
    assert np.all(np.abs(found - wanted) <= bound)


def test_tiles_are_what_the_tuner_says() -> None:
    graph = product(bf16, 300, 512, 128)
    group = group_of(graph)
    texts = set()
    for tile in warpgroup_linear.candidates(group, CUDA):
        texts.add(print_kernel(warpgroup_linear.build(group, CUDA, "k", tile)))
    assert len(texts) == len(warpgroup_linear.candidates(group, CUDA)) >= 5
    default = print_kernel(warpgroup_linear.build(group, CUDA, "k"))
    with pytest.raises(CompileError, match="warps codes"):  # six panels are not shared evenly by eight warps
        warpgroup_linear.build(product_group(Q8_0), CUDA, "k", WarpgroupTile(128, 6))
    assert default in texts


def product_group(kind: Any) -> Group:
    return group_of(product(kind, 300, 512, 128))


@pytest.mark.parametrize(
    ("kind", "out", "depth", "products", "tile"),
    [
        (bf16, 14336, 4096, 2, (128, 8)),  # 256 columns ask less of shared memory than 256 rows
        (bf16, 4096, 14336, 1, (128, 4)),  # 128 rather than 64
        (Q8_0, 4096, 14336, 1, (128, 4)),
        (bf16, 6144, 4096, 1, (128, 6)),  # 128 rather than 96
        (Q8_0, 14336, 4096, 2, (256, 4)),  # codes are made half as often
        (Q8_0, 6144, 4096, 1, (256, 4)),
    ],
    ids=str,
)
def test_default_tiles_of_a_prompt(kind: Any, out: int, depth: int, products: int, tile: tuple[int, int]) -> None:
    graph = product(kind, dim(Symbol("n", 512, 1)), out, depth, products)
    assert tile_of(group_of(graph)) == WarpgroupTile(*tile)


@pytest.mark.parametrize("kind", [bf16, Q8_0], ids=str)
def test_more_rows_than_a_usual_prompt_leave_it_its_tile(kind: Any) -> None:
    """Up to 2048 rows: large tiles are for them, but 512 rows would fill half a GPU."""
    graph = product(kind, dim(Symbol("n", 2048, 1)), 4096, 14336, 1)
    many = (128, 8, 1536) if kind is bf16 else (256, 4, 512)
    assert tile_of(group_of(graph)) == WarpgroupTile(128, 4, many)


@pytest.mark.parametrize("kind", [bf16, Q4_K], ids=str)
def test_products_of_any_number_of_rows_do_not_wait_for_each_other(kind: Any, tmp_path: Path) -> None:
    graph = product(kind, dim(Symbol("n", 2048, 1)), 256, 256, 2)
    (kernel,) = (k for k in compile_graph(graph, CUDA, Options()).program.kernels if "warpgroup" in k.name)
    assemble_for_linking(emit_ptx([Phase(f"{kernel.name}_launch", (kernel,), (132,))], CUDA), CUDA, tmp_path)


@pytest.mark.parametrize("rows", [130, 150], ids=["few", "many"])
@pytest.mark.parametrize("run", RUNNERS)
def test_many_rows_take_another_tile(run: Runner, rows: int) -> None:
    rng, graph = np.random.default_rng(rows), product(bf16, dim(Symbol("n", 1024, 1)), 272, 128)
    key = " ".join(warpgroup_linear.tuning_key(group_of(graph)))
    chosen = with_tiles(run, {key: {"rows": 128, "panels": 2, "many": [256, 4, 140]}})
    stored, values = weights(rng, bf16, 272, 128)
    x, residual = drawn(rng, rows, 128), drawn(rng, rows, 272)
    (found,) = chosen(graph, {"x": x, "w0": stored, "residual": residual}, {"n": rows})
    bound = 2.0**-18 * np.abs(x) @ np.abs(values.T) + 1e-5
    assert np.all(np.abs(found - (x @ values.T + residual)) <= bound)


@pytest.mark.parametrize(("rows", "panels"), [(64, 4), (128, 0), (128, 9), (256, 8)])
def test_tiles_without_registers_are_refused(rows: int, panels: int) -> None:
    with pytest.raises(ValueError, match="are tiles"):
        WarpgroupTile(rows, panels)
    with pytest.raises(ValueError, match="are tiles"):
        WarpgroupTile(many=(rows, panels, 512))


@pytest.mark.parametrize("run", [*RUNNERS, pytest.param(lockstep_of_8, id="lockstep-8.0")])
def test_activations_past_the_range_of_f16(run: Runner) -> None:
    """With weights of f16 they are rounded to it: finite ones stay finite, others are what they were."""
    rng = np.random.default_rng(5)
    w = rng.standard_normal((32, 64)).astype(np.float16)
    x = rng.standard_normal((48, 64)).astype(np.float32)
    x[3, 7], x[4, 9], x[5, 1], x[6, 2] = 1e6, -1e30, np.inf, np.nan
    given = [parameter("x", tensor(f32, 48, 64)), parameter("w", tensor(f16, 32, 64), "weight")]
    graph = Graph("product", given, [ops.matmul(given[0], ops.transpose(given[1]))])
    (found,) = run(graph, {"x": x, "w": w}, {})
    inside = np.clip(np.delete(x, [5, 6], 0), -65504, 65504).astype(np.float16).astype(np.float64)
    size = np.abs(inside) @ np.abs(w.astype(np.float64).T)
    assert np.all(np.abs(np.delete(found, [5, 6], 0) - inside @ w.astype(np.float64).T) <= 2.0**-18 * size)
    assert not np.isfinite(found[5:7]).any()
    for capability in ((8, 0), (9, 0)):
        made = compile_graph(graph, cuda_target(capability), Options(), KernelLibrary())
        assert any("tensor_linear_f16" in k.name or "warpgroup_linear_f16" in k.name for k in made.program.kernels)
