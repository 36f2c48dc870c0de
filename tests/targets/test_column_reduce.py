"""Reductions over leading axes on a GPU: shared by a team of warps, by any number of columns and rows."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from heliostat import ops
from heliostat.ir.graph import Graph, parameter
from heliostat.ir.types import DType, Symbol, bf16, bool_, dim, f16, f32, f64, i32, tensor, u8
from heliostat.kernels.column_reduce import ColumnTile, tile_of
from heliostat.kernels.group import Group
from heliostat.targets.target import CUDA

from .device import RUNNERS, Runner

NUMPY = {"f64": "f8", "f32": "f4", "f16": "f2", "i32": "i4", "u8": "u1", "bool": "?"}


def drawn(dtype: DType, *shape: int) -> tuple[Any, Any]:
    """What a program is given, and its value: whole numbers, whose sums are exact."""
    values = np.random.default_rng(1).integers(0, 2 if dtype in (bool_, u8) else 5, shape)
    if dtype == bf16:
        return (values.astype(np.float32).view(np.uint32) >> 16).astype(np.uint16), values.astype(np.float32)
    return values.astype(NUMPY[dtype.name]), values.astype(NUMPY[dtype.name])


def check(run: Runner, dtype: DType, name: str, shape: tuple[Any, ...], axes: tuple[int, ...], **symbols: int) -> None:
    actual = tuple(d if isinstance(d, int) else symbols["n"] for d in shape)
    x = parameter("x", tensor(dtype, *shape))
    given, value = drawn(dtype, *actual)
    (found,) = run(Graph("r", [x], [getattr(ops, name)(x, axes)]), {"x": given}, symbols)
    if found.dtype == np.uint16:
        found = (found.astype(np.uint32) << 16).view(np.float32)
    wide = value.astype(np.float64) if dtype.is_float else value
    want = getattr(wide, name)(axes)
    rounded = 2**-8 if dtype == bf16 else 2**-11 if dtype == f16 else 2**-23 if name == "mean" else 0
    np.testing.assert_allclose(found, want, rtol=rounded)


@pytest.mark.parametrize("run", RUNNERS)
@pytest.mark.parametrize("dtype", [f64, f32, f16, bf16, i32, u8, bool_], ids=str)
@pytest.mark.parametrize(
    ("shape", "axes"), [((70, 37), (0,)), ((3, 300, 64), (1,)), ((9, 5, 2, 40), (0, 2)), ((7, 2, 3), (0,))]
)
def test_sums(shape: tuple[int, ...], axes: tuple[int, ...], dtype: DType, run: Runner) -> None:
    check(run, dtype, "sum", shape, axes)


@pytest.mark.parametrize("run", RUNNERS)
@pytest.mark.parametrize("name", ["max", "min", "prod", "mean"])
def test_other_reductions(name: str, run: Runner) -> None:
    check(run, f32, name, (37, 100), (0,))


@pytest.mark.parametrize("run", RUNNERS)
def test_wide_vectors_and_unknown_numbers(run: Runner) -> None:
    """16 bytes a thread where there are enough of them, and rows or columns that are known when it runs."""
    check(run, bf16, "sum", (2, 5, 64 * 256), (1,))
    n = dim(Symbol("n", 600, 1))
    for size in (1, 31, 533):
        check(run, f32, "sum", (n, 64), (0,), n=size)
        check(run, f32, "max", (5, n), (0,), n=size)


def test_tiles() -> None:
    def tile(dtype: DType, *shape: int) -> ColumnTile | None:
        x = parameter("x", tensor(dtype, *shape))
        y = ops.sum(x, 0)
        return tile_of(Group((y.node,), (x,), (y,), y.node), CUDA)

    assert tile(f32, 32768, 4096) == ColumnTile(2, 32)
    assert tile(f32, 8, 1 << 16) == ColumnTile(4, 8)
    assert tile(u8, 8, 1 << 18) == ColumnTile(8, 4)  # a warp adds several rows at once where warps are many
    assert tile(u8, 100, 1 << 18) == ColumnTile(4, 8)  # the parts of a larger team would fill its memory
    assert tile(f32, 64, 1 << 18) == ColumnTile(4, 8)
    assert tile(f32, 9, 33) == ColumnTile(1, 8)
    assert tile(f32, 9, 1) is None
    assert tile(f32, 4, 1 << 20) == ColumnTile(4, 1)  # too few for a whole turn of one
    for count in (1, 2, 3, 5, 7):
        for columns in (1 << 17, 1 << 20, (1 << 20) + 64, 3 << 21):
            assert tile(bf16, count, columns) is not None
