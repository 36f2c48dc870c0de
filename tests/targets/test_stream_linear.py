"""Products of a single row on GPUs: rings of every shape, and what a product begins with."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from heliostat import ops
from heliostat.compiler.pipeline import KernelLibrary, Options, compile_graph
from heliostat.diagnostics import CompileError
from heliostat.ir.graph import Graph, parameter
from heliostat.ir.types import bf16, f32, tensor
from heliostat.kernel.lockstep import run_lockstep
from heliostat.kernels import stream_linear
from heliostat.kernels.group import Group, Refuse
from heliostat.kernels.stream_linear import StreamTile
from heliostat.quant import formats
from heliostat.quant.activation import ActivationFormat
from heliostat.quant.codec import dequantize
from heliostat.quant.format import BlockFormat
from heliostat.quant.panel import pack
from heliostat.quant.quantize import encode
from heliostat.targets.nvptx_blocks import private_bytes
from heliostat.targets.target import AARCH64, CUDA, cuda_target

from .device import RUNNERS, Runner, lockstep_of_8


def weights(element: Any, rows: int, depth: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """A matrix as a file holds it, and its values."""
    w = rng.standard_normal((rows, depth)).astype(np.float32)
    if isinstance(element, BlockFormat):
        raw = np.asarray(encode(w, element)).reshape(rows, -1)
        return raw, np.asarray(dequantize(raw, element)).reshape(rows, depth).astype(np.float64)
    raw = (w.view(np.uint32) >> 16).astype(np.uint16)
    return raw, (raw.astype(np.uint32) << 16).view(np.float32).astype(np.float64)


TILES = [
    ("Q8_0", StreamTile(1, 1, 1, 2)),
    ("Q8_0", StreamTile(4, 1, 3, 3)),  # 32 steps: three stages in each part
    ("Q8_0", StreamTile(32, 1, 2, 3)),  # parts of one step
    ("Q8_0", StreamTile(8, 1, 1, 5)),  # more stages than steps
    ("Q4_K", StreamTile(8, 4, 1, 2, 2)),
    ("Q4_K", StreamTile(2, 1, 1, 2)),
    ("Q4_K", StreamTile(8, 4, 1, 2)),
    ("Q5_K", StreamTile(4, 2, 1, 3)),
    ("Q6_K", StreamTile(16, 8, 1, 2)),
    ("Q3_K", StreamTile(2, 4, 1, 2)),
    ("TQ2_0", StreamTile(4, 2, 1, 2)),  # one scale for 256 elements, activations have eight
    ("Q8_0", StreamTile(4, 1, 1, 3, 2)),
    ("Q4_K", StreamTile(2, 2, 1, 2, 2)),
    ("Q6_K", StreamTile(1, 1, 1, 2, 2)),
    ("NVFP4", StreamTile(2, 1, 1, 2, 2)),
]


def product(element: Any, rows: int, depth: int) -> Group:
    x, w = parameter("x", tensor(f32, 1, depth)), parameter("w", tensor(element, rows, depth), "weight")
    library = KernelLibrary()
    compile_graph(Graph("p", [x, w], [ops.matmul(x, ops.transpose(w))]), CUDA, Options(), library)
    (group,) = (f.group for f in library.groups.values() if f.schedule is stream_linear)
    return group


@pytest.mark.parametrize(("name", "tile"), TILES, ids=lambda v: str(v) if isinstance(v, str) else repr(v)[11:-1])
def test_rings(name: str, tile: StreamTile) -> None:
    """Three panels on two teams, so that one takes two in turn."""
    element, rows, depth = formats.get(name), 90, 1024
    rng = np.random.default_rng(3)
    group = product(element, rows, depth)
    kernel = stream_linear.build(group, CUDA, "ring", tile)
    raw, exact = weights(element, rows, depth, rng)
    values = rng.standard_normal((1, depth)).astype(np.float32)
    y = np.full((1, rows), np.nan, np.float32)
    before, _ = stream_linear.parts(group)
    held = {group.root.inputs[1]: pack(raw, element, 32), before and before.inputs[0]: values}
    run_lockstep(kernel, [*(held[v] for v in group.inputs), y], blocks=2)
    wanted = values.astype(np.float64) @ exact.T
    np.testing.assert_allclose(y, wanted, rtol=0, atol=3e-4 * float(np.abs(wanted).max()))


@pytest.mark.parametrize("blocks", [2, 5])
@pytest.mark.parametrize(
    ("name", "tile"),
    [("Q4_K", StreamTile(4, 4, 1, 2, 2)), ("Q4_K", StreamTile(8, 4, 1, 2)), ("Q8_0", StreamTile(8, 1, 1, 4))],
    ids=lambda v: str(v) if isinstance(v, str) else repr(v)[11:-1],
)
def test_the_last_stage_of_a_part_is_asked_for_with_the_row(name: str, tile: StreamTile, blocks: int) -> None:
    """As many stages as a warp has steps, and a row that was quantized before: three panels on two teams, and on more
    teams than panels."""
    element, rows, depth, rng = formats.get(name), 90, 1024, np.random.default_rng(4)
    x = parameter("x", tensor(f32, 1, 256))
    wide, w = (parameter(n, tensor(element, *s), "weight") for n, s in (("a", (depth, 256)), ("b", (rows, depth))))
    made = ops.matmul(ops.relu(ops.matmul(x, ops.transpose(wide))), ops.transpose(w))
    library = KernelLibrary()
    compile_graph(Graph("p", [x, wide, w], [made]), CUDA, Options(), library)
    found = [f.group for f in library.groups.values() if f.schedule is stream_linear]
    (group,) = (g for g in found if g.root.inputs[1].type.shape == (rows, depth))
    format = group.root.inputs[0].type.element
    assert isinstance(format, ActivationFormat)
    raw, exact = weights(element, rows, depth, rng)
    values = rng.standard_normal((1, depth)).astype(np.float32)
    held = {group.root.inputs[0]: format.encode(values), group.root.inputs[1]: pack(raw, element, 32)}
    y = np.full((1, rows), np.nan, np.float32)
    run_lockstep(stream_linear.build(group, CUDA, "late", tile), [*(held[v] for v in group.inputs), y], blocks=blocks)
    wanted = values.astype(np.float64) @ exact.T
    np.testing.assert_allclose(y, wanted, rtol=0, atol=1e-2 * float(np.abs(wanted).max()))


def test_more_teams_than_panels() -> None:
    """A team without a panel asks for nothing: no copy is on its way when it ends."""
    element, rng = formats.get("Q8_0"), np.random.default_rng(6)
    x, norm = parameter("x", tensor(f32, 1, 256)), parameter("norm", tensor(f32, 256), "weight")
    w = parameter("w", tensor(element, 64, 256), "weight")
    made = ops.matmul(ops.rms_norm(x, norm, eps=1e-6), ops.transpose(w))
    library = KernelLibrary()
    compile_graph(Graph("p", [x, norm, w], [made]), CUDA, Options(), library)
    (group,) = (f.group for f in library.groups.values() if f.schedule is stream_linear)
    raw, exact = weights(element, 64, 256, rng)
    values, scale = rng.standard_normal((1, 256)).astype(np.float32), rng.standard_normal(256).astype(np.float32)
    held = {v: values if v.type.shape == (1, 256) else scale for v in group.inputs}
    held[group.root.inputs[1]] = pack(raw, element, 32)
    y = np.full((1, 64), np.nan, np.float32)
    run_lockstep(stream_linear.build(group, CUDA, "product"), [*(held[v] for v in group.inputs), y], blocks=3)
    m = values.astype(np.float64)
    wanted = (m / np.sqrt((m**2).mean() + 1e-6) * scale) @ exact.T
    np.testing.assert_allclose(y, wanted, rtol=0, atol=1e-3 * float(np.abs(wanted).max()))


def block(element: Any, depth: int, inner: int, rng: np.random.Generator) -> tuple[Graph, dict[str, Any], np.ndarray]:
    """h + down(silu(gate(n)) * up(n)) with n = rms_norm(h), of one row, and its value."""
    h, norm = parameter("h", tensor(f32, 1, depth)), parameter("norm", tensor(f32, depth), "weight")
    shapes = {"gate": (inner, depth), "up": (inner, depth), "down": (depth, inner)}
    w = {name: parameter(name, tensor(element, *shape), "weight") for name, shape in shapes.items()}
    n = ops.rms_norm(h, norm, eps=1e-6)
    gate, up = (ops.matmul(n, ops.transpose(w[name])) for name in ("gate", "up"))
    y = h + ops.matmul(ops.mul(ops.silu(gate), up), ops.transpose(w["down"]))
    arrays: dict[str, Any] = {"h": rng.standard_normal((1, depth)).astype(np.float32)}
    arrays["norm"] = rng.standard_normal(depth).astype(np.float32)
    exact = {}
    for name, shape in shapes.items():
        arrays[name], exact[name] = weights(element, *shape, rng)
    x = arrays["h"].astype(np.float64)
    m = x / np.sqrt((x**2).mean() + 1e-6) * arrays["norm"]
    g = m @ exact["gate"].T
    return (
        Graph("block", [h, norm, *w.values()], [y]),
        arrays,
        x + (g / (1 + np.exp(-g)) * (m @ exact["up"].T)) @ exact["down"].T,
    )


@pytest.mark.parametrize("run", [*RUNNERS, pytest.param(lockstep_of_8, id="lockstep-8.0")])
@pytest.mark.parametrize("name", ["bf16", "Q8_0", "Q4_K"])
def test_products_begin_with_norms(name: str, run: Runner) -> None:
    element = bf16 if name == "bf16" else formats.get(name)
    graph, arrays, wanted = block(element, 256, 256, np.random.default_rng(5))
    (found,) = run(graph, arrays, {})
    np.testing.assert_allclose(found, wanted, rtol=0, atol=1e-3 * float(np.abs(wanted).max()))


def kernels(graph: Graph, target: Any) -> list[str]:
    return [k.name.split("_")[0] for k in compile_graph(graph, target, Options()).program.kernels]


def test_what_is_computed_again_and_what_has_a_launch() -> None:
    """A short row is computed in each product that reads it; a long one for many panels, or one that is also a result,
    is not, nor is any on a CPU or on a GPU that does not copy by itself.
    """
    rng = np.random.default_rng(0)
    small, _, _ = block(formats.get("Q8_0"), 512, 768, rng)
    assert kernels(small, CUDA) == ["stream"] * 2  # gate and up are one
    assert kernels(block(formats.get("Q4_K"), 512, 768, rng)[0], CUDA) == ["stream"] * 2  # the inner row is 32 by 32
    assert "reduce" in kernels(small, AARCH64)
    assert "reduce" in kernels(small, cuda_target((7, 5)))
    x, w = parameter("x", tensor(f32, 1, 4096)), parameter("w", tensor(formats.get("Q8_0"), 14336, 4096), "weight")
    norm = parameter("norm", tensor(f32, 4096), "weight")
    n = ops.rms_norm(x, norm, eps=1e-6)
    y = ops.matmul(n, ops.transpose(w))
    assert sorted(kernels(Graph("wide", [x, norm, w], [y]), CUDA)) == ["reduce", "stream"]
    narrow = parameter("narrow", tensor(formats.get("Q8_0"), 8192, 4096), "weight")
    n = ops.rms_norm(x, norm, eps=1e-6)
    for row, made in ((n, ["stream"]), (n + norm, ["reduce", "stream"])):  # without a factor it takes longer
        y = ops.matmul(row, ops.transpose(narrow))
        assert sorted(kernels(Graph("narrow", [x, norm, narrow], [y]), CUDA)) == made
    gate, up = (ops.matmul(x, ops.transpose(w)) for _ in range(2))
    down = parameter("down", tensor(formats.get("Q8_0"), 64, 14336), "weight")
    quantizing = Graph("inner", [x, w, down], [ops.matmul(ops.mul(ops.silu(gate), up), ops.transpose(down))])
    program = compile_graph(quantizing, CUDA, Options())
    ops_of = [[n for n in row["ops"] if n == "quantize"] for row in program.program.report]
    assert ops_of == [["quantize"], ["quantize"], []]  # x in a launch, blocks of the inner row where they are made
    e = ops.exp(x)
    graph = Graph("kept", [x, w], [ops.matmul(e, ops.transpose(w)), e])
    assert len(kernels(graph, CUDA)) == 2


def test_tiles_that_make_no_sense() -> None:
    for wrong in ({"team": 3}, {"team": 64}, {"steps": 0}, {"stages": 1}, {"split": 2, "steps": 2}):
        with pytest.raises(ValueError, match=r"needed|warps|stage"):
            StreamTile(**wrong)


@pytest.mark.parametrize(
    ("name", "tile", "said"),
    [
        ("Q4_K", StreamTile(8, 3), "no whole chunks"),
        ("Q4_K", StreamTile(8, 16), "no whole chunks"),
        ("Q8_0", StreamTile(8, 2), "no whole chunks"),
        ("Q8_0", StreamTile(32, 1, 2, 4), "private memory"),
        ("Q4_K", StreamTile(2, 1, 1, 2, 2), None),
    ],
    ids=str,
)
def test_tiles_that_do_not_serve_a_format_are_refused(name: str, tile: StreamTile, said: str | None) -> None:
    """They would multiply other bytes than the weights'."""
    group = product(formats.get(name), 90, 1024 if said else 768)  # three blocks are no pairs
    with pytest.raises(CompileError, match=said or "blocks in twos"):
        stream_linear.build(group, CUDA, "refused", tile)


def test_a_team_of_two_products_is_shared_evenly() -> None:
    x = parameter("x", tensor(f32, 1, 256))
    weights_ = [parameter(n, tensor(formats.get("Q8_0"), 64, 256), "weight") for n in ("gate", "up")]
    gate, up = (ops.matmul(x, ops.transpose(w)) for w in weights_)
    library = KernelLibrary()
    compile_graph(Graph("two", [x, *weights_], [ops.mul(ops.silu(gate), up)]), CUDA, Options(), library)
    (group,) = (f.group for f in library.groups.values() if f.schedule is stream_linear)
    for tile, said in ((StreamTile(1), "share a team evenly"), (StreamTile(2, groups=2), "one product")):
        with pytest.raises(CompileError, match=said):
            stream_linear.build(group, CUDA, "refused", tile)


def test_small_steps_have_as_many_stages_as_there_is_room_for() -> None:
    """Private memory of all teams that a multiprocessor holds stays within it, whatever norms bring beside."""
    for name, rows, depth in (("Q8_0", 4096, 14336), ("Q8_0", 896, 4864), ("Q4_K", 2048, 8192), ("Q8_0", 8192, 2048)):
        group = product(formats.get(name), rows, depth)
        tile = stream_linear.tile_of(group, CUDA)
        kernel = stream_linear.build(group, CUDA, "ring", tile)
        held = min(-(-rows // 32 * tile.groups // 132), 32 // tile.team)
        assert held * (private_bytes(kernel) + 1024) <= 228 << 10
        assert tile.stages > 3 or name == "Q4_K" or depth == 14336


def test_blocks_of_one_step_leave_registers_to_others() -> None:
    """32 warps with a piece of a row each have no loop; with rows four times as long they have."""
    for depth, blocks in ((2048, 2), (8192, 0)):
        assert stream_linear.build(product(formats.get("Q4_K"), 2048, depth), CUDA, "ring").blocks == blocks


@pytest.mark.parametrize("capability", [(8, 0), (8, 6), (8, 9), (9, 0), (12, 0)], ids=str)
def test_private_memory_is_what_a_block_may_have(capability: tuple[int, int]) -> None:
    """Of a large GPU a team has more than twice what others have."""
    target = cuda_target(capability)
    least = 99 << 10
    assert target.shared_bytes == {(8, 0): 163 << 10, (9, 0): 227 << 10}.get(capability, least)
    sizes: list[tuple[Any, int, int]] = [(formats.get("Q8_0"), 4096, 14336), (formats.get("Q6_K"), 2048, 8192)]
    for element, rows, depth in [*sizes, (bf16, 2048, 8192), (bf16, 4096, 18944)]:
        kernel = stream_linear.build(product(element, rows, depth), target, "ring")
        assert private_bytes(kernel) <= target.shared_bytes


def test_rows_that_private_memory_has_no_room_for_are_refused() -> None:
    target = cuda_target((8, 9))
    group = product(formats.get("Q8_0"), 64, 1 << 16)
    verdict = stream_linear.accepts(group, target)
    assert isinstance(verdict, Refuse)
    assert "bytes of private memory" in verdict.reason
