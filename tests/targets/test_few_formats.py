"""Products of a few rows with quantized weights on GPUs' tensor cores: formats, ragged outputs, epilogues, rings."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from heliostat import ops
from heliostat.compiler.pipeline import KernelLibrary, Options, compile_graph
from heliostat.diagnostics import CompileError
from heliostat.ir.graph import Graph, parameter
from heliostat.ir.types import Symbol, dim, f32, tensor
from heliostat.kernel.lockstep import run_lockstep
from heliostat.kernel.text import print_kernel
from heliostat.kernel.text_parser import parse_kernel
from heliostat.kernels import few_linear
from heliostat.kernels.few_linear import FewTile
from heliostat.quant import formats
from heliostat.quant.format import BlockFormat
from heliostat.quant.panel import pack
from heliostat.targets.nvptx_blocks import private_bytes
from heliostat.targets.nvptx_module import print_nvptx, single
from heliostat.targets.target import CUDA, Target, cuda_target

from .device import RUNNERS, Runner, lockstep_of_8
from .test_few_linear import bits, exact
from .test_stream_linear import weights

EVERYWHERE = [*RUNNERS, pytest.param(lockstep_of_8, id="lockstep-8.0")]


def named(name: str) -> BlockFormat:
    found = formats.get(name)
    assert isinstance(found, BlockFormat)
    return found


FORMATS = [f for f in formats.all() if few_linear.refusal(f, 256, CUDA) is None]


def graph(element: BlockFormat, rows: Any, out: int, depth: int) -> Graph:
    """x w^T + bias + residual, with x in f32 as it is between a model's layers."""
    x, w = parameter("x", tensor(f32, rows, depth)), parameter("w", tensor(element, out, depth), "weight")
    bias, residual = parameter("bias", tensor(f32, out), "weight"), parameter("residual", tensor(f32, rows, out))
    y = ops.add(residual, ops.add(ops.matmul(x, ops.transpose(w)), bias))
    return Graph("few", [x, w, bias, residual], [y])


def inputs(element: BlockFormat, rows: int, out: int, depth: int, seed: int) -> tuple[dict[str, Any], np.ndarray]:
    """Arrays of `graph`, and its value: x is bf16 already, and codes are multiplied as they are, so that nothing is
    rounded but sums.
    """
    rng = np.random.default_rng(seed)
    x, (raw, w) = exact(bits(rng, rows, depth)), weights(element, out, depth, rng)
    arrays: dict[str, Any] = {"x": x.astype(np.float32), "w": raw, "bias": rng.standard_normal(out).astype(np.float32)}
    arrays["residual"] = rng.standard_normal((rows, out)).astype(np.float32)
    return arrays, x @ w.T + arrays["bias"] + arrays["residual"]


def close(found: np.ndarray, wanted: np.ndarray, element: BlockFormat | None = None, rows: int = 0) -> None:
    """Nothing is rounded but sums. From 9 rows on, or where there may be so many, weights of short codes are too: to
    bf16, as their scales and offsets are, which in these numbers are larger than weights.
    """
    bound, normal = 3e-5, None if element is None else element.normal
    if max(rows, len(found)) > 8 and normal is not None and normal.width < 8:
        bound = 4e-3 if normal.offset is None else 1.2e-2
    np.testing.assert_allclose(found, wanted, rtol=0, atol=bound * float(np.abs(wanted).max()))


@pytest.mark.parametrize("run", RUNNERS)
@pytest.mark.parametrize(("element", "rows"), [(f, (5, 9)[i % 2]) for i, f in enumerate(FORMATS)], ids=str)
def test_every_format(element: BlockFormat, rows: int, run: Runner) -> None:
    depth = max(64, element.block)
    arrays, wanted = inputs(element, rows, 40, depth, 1)
    (found,) = run(graph(element, rows, 40, depth), arrays, {})
    close(found, wanted, element)


def test_which_formats() -> None:
    """All that the CPU multiplies with int8 activations."""
    assert {"Q4_0", "Q8_0", "Q4_K", "Q6_K", "Q2_K", "IQ4_NL", "MXFP4", "NVFP4", "TQ1_0"} <= {f.name for f in FORMATS}


@pytest.mark.parametrize("run", RUNNERS)
@pytest.mark.parametrize("name", ["Q8_0", "Q4_K", "Q6_K"])
@pytest.mark.parametrize(("rows", "out", "depth"), [(2, 32, 256), (8, 90, 512), (17, 33, 256), (32, 40, 256)])
def test_every_number_of_rows(name: str, rows: int, out: int, depth: int, run: Runner) -> None:
    element = named(name)
    arrays, wanted = inputs(element, rows, out, depth, rows)
    (found,) = run(graph(element, rows, out, depth), arrays, {})
    close(found, wanted, element)


TILES = [
    ("Q8_0", FewTile(1, 1, 64, 2)),
    ("Q8_0", FewTile(3, 2, 128, 4)),  # more stages than steps, a panel past the last
    ("Q8_0", FewTile(5, 1, 64, 3)),  # uneven parts
    ("Q4_K", FewTile(2, 3, 64, 2)),
    ("Q4_K", FewTile(2, 1, 256, 2)),
    ("Q6_K", FewTile(4, 2, 128, 3)),
    ("Q5_K", FewTile(2, 1, 64, 5)),
    ("NVFP4", FewTile(2, 1, 256, 2)),
    ("Q8_0", FewTile(6, 2, 64, 3, groups=2)),  # x for two warps, uneven parts
    ("Q4_K", FewTile(4, 4, 128, 2, groups=4)),  # a panel past the last
    ("Q6_K", FewTile(4, 4, 256, 2, groups=2)),  # two panels in a warp
]


@pytest.mark.parametrize(("name", "tile"), TILES, ids=lambda v: str(v) if isinstance(v, str) else repr(v)[8:-1])
def test_rings(name: str, tile: FewTile) -> None:
    """Five panels on two teams, so that each takes several in turn."""
    element, rows, out, depth = named(name), 10, 150, 1024
    rng = np.random.default_rng(3)
    x, w = parameter("x", tensor(f32, rows, depth)), parameter("w", tensor(element, out, depth), "weight")
    library = KernelLibrary()
    compile_graph(Graph("p", [x, w], [ops.matmul(x, ops.transpose(w))]), CUDA, Options(), library)
    (group,) = (f.group for f in library.groups.values() if f.schedule is few_linear)
    kernel = few_linear.build(group, CUDA, "ring", tile)
    values, (raw, w_exact) = bits(rng, rows, depth), weights(element, out, depth, rng)
    y = np.full((rows, out), np.nan, np.float32)
    run_lockstep(kernel, [values, pack(raw, element, 32), y], blocks=2)
    close(y, exact(values) @ w_exact.T, element)


def test_many_panels_share_x() -> None:
    """Two panels of gate and up each for eight warps, and registers for two such teams."""
    rows = parameter("x", tensor(f32, 32, 4096))
    gate, up = (parameter(n, tensor(named("Q4_K"), 14336, 4096), "weight") for n in ("gate", "up"))
    a, b = (ops.matmul(rows, ops.transpose(w)) for w in (gate, up))
    library = KernelLibrary()
    compile_graph(Graph("side", [rows, gate, up], [ops.mul(ops.silu(a), b)]), CUDA, Options(), library)
    (group,) = (f.group for f in library.groups.values() if f.schedule is few_linear)
    kernel = few_linear.build(group, CUDA, "k")
    (items,) = (int(i.args[0].value) for i in kernel.walk() if i.op == "parallel")
    assert items == 14336 // 64
    assert kernel.blocks == 2
    assert 2 * (private_bytes(kernel) + 1024) <= 228 << 10
    text = print_kernel(kernel)
    assert print_kernel(parse_kernel(text)) == text
    assert '"nvvm.maxntid"="256" "nvvm.minctasm"="2"' in print_nvptx([single(kernel)], CUDA)


@pytest.mark.parametrize("run", EVERYWHERE)
@pytest.mark.parametrize("name", ["Q8_0", "Q4_K"])
def test_products_side_by_side(name: str, run: Runner) -> None:
    """silu(x gate^T) * (x up^T) of 9 rows, in one launch."""
    rng, element = np.random.default_rng(1), named(name)
    x = parameter("x", tensor(f32, 9, 256))
    gate, up = (parameter(n, tensor(element, 96, 256), "weight") for n in ("gate", "up"))
    a, b = (ops.matmul(x, ops.transpose(w)) for w in (gate, up))
    g = Graph("side", [x, gate, up], [ops.mul(ops.silu(a), b)])
    assert kernels(g, CUDA).count("few") == 1
    held: dict[str, Any] = {"x": exact(bits(rng, 9, 256)).astype(np.float32)}
    sums = []
    for n in ("gate", "up"):
        held[n], w = weights(element, 96, 256, rng)
        sums.append(held["x"].astype(np.float64) @ w.T)
    (found,) = run(g, held, {})
    close(found, sums[0] / (1 + np.exp(-sums[0])) * sums[1], element)


def test_the_number_of_rows_may_be_a_symbol() -> None:
    element = named("Q4_0")
    g = graph(element, dim(Symbol("n", 20, 1)), 64, 128)
    for rows in (1, 9, 20):
        arrays, wanted = inputs(element, rows, 64, 128, rows)
        (found,) = lockstep_of_8(g, arrays, {"n": rows})
        close(found, wanted, element, 20)


def kernels(g: Graph, target: Target) -> list[str]:
    return [k.name.split("_")[0] for k in compile_graph(g, target, Options()).program.kernels]


def test_what_it_is_for() -> None:
    q8, q4k = named("Q8_0"), named("Q4_K")
    assert "few" in kernels(graph(q8, 2, 64, 64), CUDA)
    assert "few" in kernels(graph(q4k, 32, 64, 256), cuda_target((8, 6)))
    assert "few" not in kernels(graph(q8, 1, 64, 64), CUDA)
    assert "few" not in kernels(graph(q8, 33, 64, 64), CUDA)
    assert "few" not in kernels(graph(q8, 8, 64, 96), CUDA)  # no whole stages
    assert "few" not in kernels(graph(q8, 8, 64, 64), cuda_target((7, 5)))


@pytest.mark.parametrize("capability", [(8, 6), (9, 0)])
@pytest.mark.parametrize("name", ["Q8_0", "Q2_K", "Q6_K"])
def test_private_memory_fits(name: str, capability: tuple[int, int]) -> None:
    """Of every default tile: 99 KB of a block on small GPUs, 227 on large ones."""
    target, element = cuda_target(capability), named(name)
    for rows in (2, 16, 32):
        for out, depth in ((4096, 14336), (28672, 4096), (96, 256)):
            library = KernelLibrary()
            compile_graph(graph(element, rows, out, depth), target, Options(), library)
            (group,) = (f.group for f in library.groups.values() if f.schedule is few_linear)
            most = target.shared_bytes
            assert private_bytes(few_linear.build(group, target, "k")) <= most


def test_stages_that_cut_the_depth_are_refused() -> None:
    """What is behind the last whole stage would not be multiplied."""
    library = KernelLibrary()
    compile_graph(graph(named("Q8_0"), 10, 64, 320), CUDA, Options(), library)
    (group,) = (f.group for f in library.groups.values() if f.schedule is few_linear)
    for tile, said in ((FewTile(2, 1, 128), "no whole stages"), (FewTile(6, 2, 64, groups=3), "cannot share")):
        with pytest.raises(CompileError, match=said):
            few_linear.build(group, CUDA, "refused", tile)


def test_tiles_that_make_no_sense() -> None:
    for wrong in ({"team": 0}, {"team": 33}, {"panels": 9}, {"depth": 96}, {"stages": 1}):
        with pytest.raises(ValueError, match=r"needed|warps"):
            FewTile(**wrong)
