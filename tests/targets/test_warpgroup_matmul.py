"""Products of operands as they lie on tensor cores: ragged sizes, batches, a transposed, epilogues."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from heliostat import ops
from heliostat.compiler.pipeline import Options, compile_graph
from heliostat.compiler.split_depth import parts
from heliostat.compiler.tuning import TuningTable
from heliostat.ir.graph import Graph, Value, parameter
from heliostat.ir.types import DType, Symbol, bf16, dim, f16, f32, tensor
from heliostat.kernels import library_product
from heliostat.session.phases import phases_of
from heliostat.targets.target import CUDA, cuda_target

from .device import RUNNERS, Runner, with_tiles

HALVES = {"bf16": bf16, "f16": f16}


def drawn(rng: np.random.Generator, dtype: DType, *shape: int) -> np.ndarray[Any, Any]:
    values = rng.standard_normal(shape).astype(np.float32)
    if dtype is f32:
        return values
    return values.astype(np.float16) if dtype is f16 else (values.view(np.uint32) >> 16).astype(np.uint16)


def exact(raw: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    if raw.dtype == np.float32:
        return of_tf32(raw)
    if raw.dtype == np.float16:
        return raw.astype(np.float64)
    return (raw.astype(np.uint32) << 16).view(np.float32).astype(np.float64)


def of_tf32(x: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """The nearest numbers of 11 bits, ties away from zero."""
    mantissa, exponent = np.frexp(x.astype(np.float64))
    return np.copysign(np.ldexp(np.floor(np.abs(mantissa) * 2.0**11 + 0.5), exponent - 11), x)


def product(a: Value, b: Value, turned: bool) -> Value:
    return ops.matmul(ops.transpose(a, (*range(a.type.rank - 2), a.type.rank - 1, a.type.rank - 2)) if turned else a, b)


def close(found: np.ndarray[Any, Any], wanted: np.ndarray[Any, Any], dtype: DType) -> None:
    """Within the rounding of the result, and of sums in f32."""
    value = found.astype(np.float64) if dtype in (f16, f32) else exact(found)
    rounding = {"bf16": 2.0**-8, "f16": 2.0**-11, "f32": 0.0}[dtype.name]
    np.testing.assert_allclose(value, wanted, rtol=rounding, atol=2e-5 * float(np.abs(wanted).max()))


def schedules(graph: Graph, capability: tuple[int, int] = (9, 0)) -> list[str]:
    target = CUDA if capability == (9, 0) else cuda_target(capability)
    return [k.name for k in compile_graph(graph, target, Options()).program.kernels]


@pytest.mark.parametrize("run", RUNNERS)
@pytest.mark.parametrize("turned", [False, True])
@pytest.mark.parametrize("name", ["bf16", "f16"])
@pytest.mark.parametrize(
    ("batch", "rows", "depth", "columns"),
    [
        ((), 128, 64, 64),
        ((), 136, 72, 72),  # all axes ragged
        ((), 16, 16, 16),
        ((3,), 24, 200, 320),  # a second tile of columns, four stages
        ((2, 2), 160, 16, 40),
    ],
)
def test_sizes(
    batch: tuple[int, ...], rows: int, depth: int, columns: int, name: str, turned: bool, run: Runner
) -> None:
    rng, dtype = np.random.default_rng(rows + depth), HALVES[name]
    of_a = (*batch, depth, rows) if turned else (*batch, rows, depth)
    a, b = parameter("a", tensor(dtype, *of_a)), parameter("b", tensor(dtype, *batch, depth, columns))
    graph = Graph("product", [a, b], [product(a, b, turned)])
    assert any("warpgroup_matmul" in k for k in schedules(graph))
    held = {"a": drawn(rng, dtype, *of_a), "b": drawn(rng, dtype, *batch, depth, columns)}
    (found,) = run(graph, held, {})
    left = exact(held["a"]).swapaxes(-1, -2) if turned else exact(held["a"])
    close(found, left @ exact(held["b"]), dtype)


@pytest.mark.parametrize("run", RUNNERS)
def test_epilogue_and_broadcast_batches(run: Runner) -> None:
    """relu(a b + bias) in f32, one matrix b for all of a's."""
    rng = np.random.default_rng(3)
    a, b = parameter("a", tensor(bf16, 2, 1, 40, 64)), parameter("b", tensor(bf16, 3, 64, 104))
    bias = parameter("bias", tensor(f32, 104))
    graph = Graph("product", [a, b, bias], [ops.relu(ops.add(ops.cast(ops.matmul(a, b), f32), bias))])
    held = {"a": drawn(rng, bf16, 2, 1, 40, 64), "b": drawn(rng, bf16, 3, 64, 104)}
    held["bias"] = rng.standard_normal(104).astype(np.float32)
    (found,) = run(graph, held, {})
    wanted = exact(held["a"]) @ exact(held["b"]) + held["bias"]
    np.testing.assert_allclose(found, np.maximum(wanted, 0), rtol=2.0**-8, atol=1e-3)


@pytest.mark.parametrize("run", RUNNERS)
@pytest.mark.parametrize(
    ("batch", "rows", "depth", "columns"), [((), 128, 64, 64), ((2,), 136, 72, 88), ((), 40, 200, 320)]
)
def test_weights_as_rows(batch: tuple[int, ...], rows: int, depth: int, columns: int, run: Runner) -> None:
    """`linear` whose weights a tuner's choice for a library keeps as rows, where the library is not."""
    rng = np.random.default_rng(rows)
    x, w, bias = (parameter("x", tensor(bf16, *batch, rows, depth)), parameter("w", tensor(bf16, columns, depth)),
                  parameter("bias", tensor(bf16, columns)))  # fmt: skip
    graph = Graph("layer", [x, w, bias], [ops.linear(x, w) + bias])
    product = f"product bf16 bf16 {rows * int(np.prod(batch, dtype=int))}x{depth}x{columns} b_turned bias"
    options = Options(tuning=TuningTable({product: {"algorithm": 0}}))
    held = {"x": drawn(rng, bf16, *batch, rows, depth), "w": drawn(rng, bf16, columns, depth)}
    held["bias"] = drawn(rng, bf16, columns)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(library_product, "LEAST", 0.0)
        (kernel,) = compile_graph(graph, CUDA, options).program.kernels
        (found,) = with_tiles(run, options.tuning.entries)(graph, held, {})
    assert "warpgroup_matmul" in kernel.name
    close(found, exact(held["x"]) @ exact(held["w"]).T + exact(held["bias"]), bf16)


@pytest.mark.parametrize("run", RUNNERS)
def test_symbolic_rows(run: Runner) -> None:
    rng, n = np.random.default_rng(4), Symbol("n", 300, 16)
    a, b = parameter("a", tensor(bf16, dim(n), 72)), parameter("b", tensor(bf16, 72, 64))
    graph = Graph("product", [a, b], [ops.matmul(a, b)])
    for rows in (16, 129, 300):
        held = {"a": drawn(rng, bf16, rows, 72), "b": drawn(rng, bf16, 72, 64)}
        (found,) = run(graph, held, {"n": rows})
        close(found, exact(held["a"]) @ exact(held["b"]), bf16)


@pytest.mark.parametrize(
    ("a", "b", "capability"),
    [
        (tensor(f32, 64, 64), tensor(f32, 64, 64), (9, 0)),
        (tensor(bf16, 64, 60), tensor(bf16, 60, 64), (9, 0)),
        (tensor(bf16, 8, 64), tensor(bf16, 64, 64), (9, 0)),
        (tensor(bf16, 64, 64), tensor(bf16, 64, 64), (8, 0)),
    ],
)
def test_what_is_left_to_others(a: Any, b: Any, capability: tuple[int, int]) -> None:
    x, y = parameter("a", a), parameter("b", b)
    assert not any("warpgroup" in k for k in schedules(Graph("product", [x, y], [ops.matmul(x, y)]), capability))


@pytest.mark.parametrize("run", RUNNERS)
@pytest.mark.parametrize("turned", [False, True])
def test_long_sums_are_cut(turned: bool, run: Runner) -> None:
    """Eight parts of 1024; the update of a weight stays behind the sum."""
    rng, depth = np.random.default_rng(5), 8 * 1024
    a = parameter("a", tensor(bf16, *((depth, 64) if turned else (64, depth))))
    b, w = parameter("b", tensor(bf16, depth, 72)), parameter("w", tensor(f32, 64, 72))
    graph = Graph("gradient", [a, b, w], [ops.sub(w, ops.cast(product(a, b, turned), f32) * 0.5)])
    compiled = compile_graph(graph, CUDA, Options())
    (kernel,) = (k for k in compiled.program.kernels if "warpgroup_matmul" in k.name)
    assert "8x64x72" in kernel.name
    held = {"a": drawn(rng, bf16, *a.type.shape), "b": drawn(rng, bf16, depth, 72)}
    held["w"] = rng.standard_normal((64, 72)).astype(np.float32)
    (found,) = run(graph, held, {})
    left = exact(held["a"]).T if turned else exact(held["a"])
    wanted = left @ exact(held["b"])
    rounding = 2.0**-9 * np.abs(wanted) + 2e-5 * float(np.abs(wanted).max())  # of the product, to bf16
    assert np.all(np.abs(found - (held["w"] - 0.5 * wanted)) <= rounding)


@pytest.mark.parametrize(
    ("rows", "depth", "columns", "count"),
    [
        (768, 16384, 768, 4),
        (768, 16384, 3072, 4),
        (64, 8192, 64, 8),
        (4096, 4096, 4096, 1),
        (64, 1024, 64, 1),
        (64, 8200, 64, 8),
    ],
)
def test_parts(rows: int, depth: int, columns: int, count: int) -> None:
    assert parts(rows, depth, columns) == count


def _tiles(rows: int, columns: int) -> int:
    a, b = parameter("a", tensor(bf16, rows, 1024)), parameter("b", tensor(bf16, 1024, columns))
    (kernel,) = compile_graph(Graph("product", [a, b], [a @ b]), CUDA, Options()).program.kernels
    (count,) = (i.args[0].value for i in kernel.walk() if i.op == "parallel")
    assert isinstance(count, int)
    return count


@pytest.mark.parametrize(
    ("rows", "columns", "tiles"),
    [(16384, 768, 384), (4608, 768, 108), (768, 768, 72), (4096, 4096, 512), (4096, 48, 32)],
)
def test_columns_of_a_tile(rows: int, columns: int, tiles: int) -> None:
    """A round of wide tiles takes less than two of tiles half as wide, and many narrow ones in one round less still."""
    assert _tiles(rows, columns) == tiles


@pytest.mark.parametrize("run", RUNNERS)
def test_states_where_they_lie(run: Runner) -> None:
    """The update of a weight behind its gradient writes where it read, and nothing is copied."""
    rng = np.random.default_rng(3)
    a, b = parameter("a", tensor(bf16, 64, 136)), parameter("b", tensor(bf16, 64, 328))
    w = parameter("w", tensor(f32, 136, 328), "state")
    graph = Graph("update", [a, b, w], [], [(w, w - ops.cast(product(a, b, True), f32) * 0.5)])
    assert len(compile_graph(graph, CUDA, Options()).program.launches) == 1
    given = {"a": drawn(rng, bf16, 64, 136), "b": drawn(rng, bf16, 64, 328)}
    before = rng.standard_normal((136, 328)).astype(np.float32)
    (after,) = run(graph, given | {"w": before}, {})
    np.testing.assert_allclose(before - after, exact(given["a"]).T @ exact(given["b"]) * 0.5, rtol=1e-2, atol=1e-2)


@pytest.mark.parametrize("run", RUNNERS)
@pytest.mark.parametrize(("rows", "columns"), [(48, 320), (40, 264), (130, 64)])
def test_bias_that_is_cast(rows: int, columns: int, run: Runner) -> None:
    """A bias of another dtype is read in the product's kernel; the last tile may be half empty."""
    rng = np.random.default_rng(columns)
    x, w = parameter("x", tensor(bf16, rows, 64)), parameter("w", tensor(bf16, columns, 64))
    b, y = parameter("b", tensor(f32, columns)), parameter("y", tensor(bf16, rows, columns))
    graph = Graph("linear", [x, w, b, y], [(ops.linear(x, w) + ops.cast(b, bf16)) * y])
    assert [n.split("_")[0] for n in schedules(graph)] == ["repack", "warpgroup"]
    given = {"x": drawn(rng, bf16, rows, 64), "w": drawn(rng, bf16, columns, 64), "y": drawn(rng, bf16, rows, columns)}
    bias = rng.standard_normal(columns).astype(np.float32)
    (found,) = run(graph, given | {"b": bias}, {})
    wanted = (exact(given["x"]) @ exact(given["w"]).T + bias) * exact(given["y"])
    np.testing.assert_allclose(exact(found), wanted, rtol=1e-2, atol=0.05)


def test_others_have_a_launch_of_their_own() -> None:
    """Blocks of a launch take the registers and the shared memory of its largest kernel."""
    a, b, x = (parameter(n, tensor(bf16, 64, 64)) for n in "abx")
    graph = Graph("apart", [a, b, x], [ops.matmul(a, b), ops.exp(x)])
    program = compile_graph(graph, CUDA, Options()).program
    assert not any(launch.barrier for launch in program.launches[:-1])
    phases, members = phases_of(program, CUDA, 132)
    assert [[k.name.split("_")[0] for k in p.kernels] for p in phases] == [["warpgroup"], ["map"]]
    assert sorted(n for numbers in members for n in numbers) == [0, 1]
