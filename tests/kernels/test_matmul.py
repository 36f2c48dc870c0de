"""The schedules of `matmul`: random shapes and small blocks, as machine code and by the interpreter, and float64."""

from __future__ import annotations

import numpy as np
import pytest

from heliostat import ops
from heliostat.compiler.pipeline import Options
from heliostat.compiler.tuning import TuningTable
from heliostat.ir.graph import Graph, parameter
from heliostat.ir.types import DType, Symbol, bf16, dim, f16, f32, f64, i32, tensor
from heliostat.kernels import matmul
from heliostat.kernels.group import Group
from heliostat.kernels.matmul_packed import PackedTile, default_tile, fitted
from heliostat.ops import REGISTRY
from heliostat.ops.rounding import to_dtype
from heliostat.session import compile_graph
from heliostat.targets.target import AARCH64, X86_AVX2, X86_AVX512, Target

from .run_kernel import HOST, run_kernel

SMALL = PackedTile(rows=3, vectors=2, band=6, stripe=4, depth=5)
AHEAD = PackedTile(rows=3, vectors=2, band=6, stripe=4, depth=5, ahead=1)
SHAPES = ((1, 1, 1), (3, 5, 32), (7, 11, 33), (6, 10, 64), (13, 16, 65), (14, 31, 130), (25, 6, 15))
NARROW = ((16, 40, 27), (25, 6, 15), (29, 9, 47), (144, 20, 32))


def product(
    shape: tuple[int, int, int],
    dtype: DType,
    target: Target,
    tile: PackedTile | None,
    interp: bool,
    turned: bool = False,
    batched: bool = False,
) -> None:
    m, k, n = shape
    rng = np.random.default_rng(m * 100 + n)
    kinds = {f32: np.float32, f64: np.float64, f16: np.float16, i32: np.int32}
    arrays = [
        (rng.standard_normal(s) * 3).astype(kinds[dtype]) for s in ((2, m, k), (2, k, n) if batched else (k, n), (n,))
    ]
    given = [np.ascontiguousarray(arrays[0].swapaxes(1, 2)) if turned else arrays[0], *arrays[1:]]
    a, b, c = (parameter(f"x{i}", tensor(dtype, *x.shape)) for i, x in enumerate(given))
    root = REGISTRY["matmul"].build(a, b, transpose_a=turned)
    y = ops.relu(root + c) if dtype != i32 else root + c
    nodes = Graph("g", [a, b, c], [y]).nodes()
    inner = tuple(n for n in nodes if n.op.name not in ("parameter", "constant"))
    leaves = tuple(n.results[0] for n in nodes if n.op.name == "constant")
    group = Group(inner, (a, b, c, *leaves), (y,), root.node)
    kernel = matmul.build(group, target, "k", tile)
    out = np.full((2, m, n), 99, kinds[dtype])
    constants = [np.asarray(v.node.attrs["value"], kinds[dtype]) for v in leaves]
    run_kernel(kernel, [*given, *constants, out], 3, interp, target)
    exact = arrays[0].astype(np.float64) @ arrays[1].astype(np.float64) + arrays[2]
    exact = np.maximum(exact, 0) if dtype != i32 else exact
    bound = {f32: 1e-5, f64: 1e-13, f16: 4e-3, i32: 0}[dtype] * max(1.0, float(np.abs(exact).max()))
    np.testing.assert_allclose(out.astype(np.float64), exact, rtol=0, atol=bound)


@pytest.mark.parametrize("dtype", [f32, f64, f16, i32], ids=str)
@pytest.mark.parametrize("target", [HOST, X86_AVX2], ids=["host", "avx2"])
def test_blocks_that_do_not_fill(target: Target, dtype: DType) -> None:
    for shape in SHAPES:
        product(shape, dtype, target, SMALL, False)


@pytest.mark.parametrize("dtype", [f32, f16, i32], ids=str)
def test_what_comes_next_is_asked_for(dtype: DType) -> None:
    """Past the last band, strip and piece too: a hint may point anywhere."""
    for shape in (SHAPES[1], SHAPES[4], SHAPES[5]):
        product(shape, dtype, HOST, AHEAD, False)
        product(shape, dtype, HOST, AHEAD, False, batched=True)
    product(SHAPES[4], dtype, HOST, AHEAD, True)
    product(SHAPES[4], dtype, HOST, AHEAD, False, turned=True)


@pytest.mark.parametrize("dtype", [f32, f64], ids=str)
@pytest.mark.parametrize("target", [HOST, X86_AVX2], ids=["host", "avx2"])
def test_tiles_of_a_transposed_operand(target: Target, dtype: DType) -> None:
    """Lower and higher than a vector, which is stored whole into the copy: nothing of it is left to be read."""
    for rows in (1, 5, 12):
        tile = PackedTile(rows=rows, vectors=1, band=2 * rows, stripe=2, depth=5, ahead=1)
        for shape in (SHAPES[1], SHAPES[5], NARROW[1]):
            product(shape, dtype, target, tile, False, turned=True)


@pytest.mark.parametrize("target", [HOST, X86_AVX2, X86_AVX512, AARCH64], ids=str)
def test_tiles_that_fit_compute_less(target: Target) -> None:
    """As many sums in registers, and tiles of the same shape where a product is deeper than a block."""
    rng = np.random.default_rng(7)
    changed = 0
    for m, k, n in rng.integers((1, 1, 1), (400, 200, 900), (300, 3)).tolist():
        a, b = parameter("a", tensor(f32, k, m)), parameter("b", tensor(f32, k, n))
        root = REGISTRY["matmul"].build(a, b, transpose_a=True).node
        usual = default_tile(target)
        found = fitted(usual, root, target)
        lanes = target.lanes_of(4)

        def tiles(t: PackedTile, m: int = m, n: int = n, lanes: int = lanes) -> int:
            return -(-m // t.rows) * -(-n // (t.vectors * lanes))

        assert found.rows * found.vectors == usual.rows * usual.vectors
        assert found.rows * found.vectors + found.vectors < target.vector_registers
        assert found == usual or (k <= usual.depth and tiles(found) < tiles(usual))
        changed += found != usual
    assert 30 < changed < 250


@pytest.mark.parametrize("seed", range(3))
def test_tiles_that_fit_change_no_result(seed: int) -> None:
    """Each sum is taken in the same order, whatever the shape of its tile."""
    rng = np.random.default_rng(seed)
    m, k, n = rng.integers((20, 4, 60), (90, 60, 200)).tolist()
    x, y = (rng.standard_normal((k, size)).astype(np.float32) for size in (m, n))
    a, b = parameter("a", tensor(f32, k, m)), parameter("b", tensor(f32, k, n))
    c = REGISTRY["matmul"].build(a, b, transpose_a=True)
    group = Group((c.node,), (a, b), (c,), c.node)
    results = []
    for shape in ((6, 4), (8, 3), (12, 2)):
        tile = PackedTile(*shape, band=48, stripe=24)
        kernel = matmul.build(group, HOST, "k", tile)
        out = np.full((m, n), 99, np.float32)
        run_kernel(kernel, [x, y, out], 3, False, HOST)
        results.append(out)
    np.testing.assert_allclose(results[0], x.astype(np.float64).T @ y, rtol=0, atol=1e-4)
    assert all(np.array_equal(results[0], other) for other in results[1:])


@pytest.mark.parametrize("target", [HOST, X86_AVX2], ids=["host", "avx2"])
def test_columns_that_fill_no_tile(target: Target) -> None:
    """All rows of a tile with a masked vector; rows left over one at a time."""
    for shape in NARROW:
        product(shape, f32, target, None, False)
    product(NARROW[1], f32, target, None, True)


@pytest.mark.parametrize("target", [HOST, X86_AVX2], ids=["host", "avx2"])
def test_a_matrix_for_each_of_a_batch(target: Target) -> None:
    for shape in (SHAPES[2], SHAPES[4]):
        product(shape, f32, target, SMALL, False, batched=True)
        product(shape, f32, target, SMALL, False, turned=True, batched=True)


def test_interpreted() -> None:
    for shape in SHAPES[:5]:
        product(shape, f32, HOST, SMALL, True)


@pytest.mark.parametrize(("target", "dtype"), [(HOST, f32), (HOST, f16), (X86_AVX2, f32)], ids=str)
@pytest.mark.parametrize("tile", [SMALL, None], ids=["packed", "small"])
def test_transposed_operands(tile: PackedTile | None, target: Target, dtype: DType) -> None:
    for shape in (SHAPES[1], SHAPES[4], (29, 12, 40)):
        product(shape, dtype, target, tile, False, turned=True)


def test_transposed_operands_interpreted() -> None:
    for shape in SHAPES[1:4:2]:
        for tile in (SMALL, None):
            product(shape, f32, HOST, tile, True, turned=True)


@pytest.mark.parametrize("seed", range(4))
def test_transposes_on_the_left_move_into_products(seed: int) -> None:
    """Of large and small matrices, with batches, on several threads; another order of axes stays a transpose."""
    rng = np.random.default_rng(seed)
    batch, m, k, n = (int(x) for x in rng.integers((1, 1, 30, 1), (4, 300, 400, 300)))
    x, y = (rng.standard_normal(s).astype(np.float32) for s in ((batch, k, m), (batch, k, n)))
    z = rng.standard_normal((m, batch, k)).astype(np.float32)
    a, b, c = (parameter(name, tensor(f32, *v.shape)) for name, v in zip("abc", (x, y, z), strict=True))
    outputs = [ops.matmul(ops.transpose(a, (0, 2, 1)), b), ops.matmul(ops.transpose(c, (1, 0, 2)), b)]
    found = []
    for threads in (1, 3):
        session = compile_graph(Graph("g", [a, b, c], outputs), threads=threads)
        found.append(session.run({"a": x, "b": y, "c": z}))
    report = [name for row in session.compiled.program.report for name in row["ops"]]
    assert report.count("transpose") == 1
    for result, left in zip(found[0], (x.transpose(0, 2, 1), z.transpose(1, 0, 2)), strict=True):
        np.testing.assert_allclose(result, left.astype(np.float64) @ y, rtol=1e-4, atol=1e-3)
    assert [r.tobytes() for r in found[0]] == [r.tobytes() for r in found[1]]


def test_a_matrix_of_several_products_is_packed_once() -> None:
    rng = np.random.default_rng(5)
    xs = [rng.standard_normal((rows, 40)).astype(np.float32) for rows in (3, 1, 17)]
    w = rng.standard_normal((40, 33)).astype(np.float32)
    parameters = [parameter(f"x{n}", tensor(f32, *x.shape)) for n, x in enumerate(xs)]
    b = parameter("w", tensor(f32, 40, 33))
    session = compile_graph(Graph("g", [*parameters, b], [ops.matmul(p, b) for p in parameters]))
    report = [name for row in session.compiled.program.report for name in row["ops"]]
    assert (report.count("repack"), report.count("linear"), report.count("matmul")) == (1, 3, 0)
    found = session.run({**{f"x{n}": x for n, x in enumerate(xs)}, "w": w})
    for x, y in zip(xs, found, strict=True):
        np.testing.assert_allclose(y, x.astype(np.float64) @ w, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("alone", [0, 1])
def test_a_matrix_of_many_rows_is_packed_unless_a_tile_says_so(alone: int) -> None:
    """Where copying is faster on a machine, its table says so for large products of any size."""
    table = TuningTable({"matmul f32 * large": {"band": 24, "bands": 44, "depth": 256, "alone": alone}})
    rng = np.random.default_rng(alone)
    x, w = rng.standard_normal((600, 300)).astype(np.float32), rng.standard_normal((300, 70)).astype(np.float32)
    a, b = parameter("a", tensor(f32, *x.shape)), parameter("b", tensor(f32, *w.shape))
    session = compile_graph(Graph("g", [a, b], [ops.matmul(a, b)]), options=Options(tuning=table))
    report = [name for row in session.compiled.program.report for name in row["ops"]]
    assert (report.count("matmul"), report.count("linear")) == ((1, 0) if alone else (0, 1))
    (y,) = session.run({"a": x, "b": w})
    np.testing.assert_allclose(y, x.astype(np.float64) @ w, rtol=0, atol=1e-3)


@pytest.mark.parametrize("shape", [(24, 200, 112), (100, 300, 270), (150, 33, 600), (145, 257, 257)])
def test_large_products_and_symbols(shape: tuple[int, int, int]) -> None:
    m, k, n = shape
    rng = np.random.default_rng(m)
    rows = dim(Symbol("rows", 256, 1))
    a, b = parameter("a", tensor(f32, rows, k)), parameter("b", tensor(f32, k, n))
    found = []
    x, w = rng.standard_normal((m, k)).astype(np.float32), rng.standard_normal((k, n)).astype(np.float32)
    for threads in (1, 2, 3):
        session = compile_graph(Graph("g", [a, b], [ops.exp(ops.matmul(a, b) * 0.01)]), threads=threads)
        for count in (1, 23, m):
            (y,) = session.run({"a": x[:count], "b": w})
            exact = np.exp(x[:count].astype(np.float64) @ w.astype(np.float64) * 0.01)
            np.testing.assert_allclose(y, exact, rtol=1e-5)
        found.append(y.tobytes())
    assert found[0] == found[1] == found[2]  # the order of additions does not depend on the workers


def test_bfloat16_is_widened_while_it_is_copied() -> None:
    rng = np.random.default_rng(3)
    x, w = (to_dtype(rng.standard_normal(s).astype(np.float32), bf16) for s in ((64, 96), (96, 128)))
    a, b = parameter("a", tensor(bf16, 64, 96)), parameter("b", tensor(bf16, 96, 128))
    stored = [(v.view(np.uint32) >> 16).astype(np.uint16) for v in (x, w)]
    (y,) = compile_graph(Graph("g", [a, b], [ops.cast(ops.matmul(a, b), f32)])).run({"a": stored[0], "b": stored[1]})
    np.testing.assert_allclose(y, x.astype(np.float64) @ w, rtol=1e-2, atol=0.2)
