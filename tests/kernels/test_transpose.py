"""kernels/transpose.py against NumPy: edges, batches, vector widths, what is refused."""

from __future__ import annotations

import numpy as np
import pytest
from run_kernel import group_of, run_group, targets

from heliostat import ops
from heliostat.ir.graph import parameter
from heliostat.ir.types import DType, f32, f64, i32, tensor
from heliostat.kernels import transpose as schedule
from heliostat.kernels.group import Accept
from heliostat.targets.target import NAMED, Target

NATIVE = [pytest.param(t, id=f"{t.vector_bytes}-byte") for t in targets()]


@pytest.mark.parametrize("target", NATIVE)
@pytest.mark.parametrize("shape", [(32, 32), (16, 65), (70, 16), (33, 47), (3, 40, 31)])
@pytest.mark.parametrize("dtype", [f32, i32], ids=str)
def test_every_element_changes_places(dtype: DType, shape: tuple[int, ...], target: Target) -> None:
    x = parameter("x", tensor(dtype, *shape))
    a = np.arange(np.prod(shape)).reshape(shape).astype(np.float32 if dtype is f32 else np.int32)
    for workers in (1, 3):
        (got,) = run_group(schedule, [ops.transpose(x)], {x: a}, {}, workers, guard=True, target=target)
        np.testing.assert_array_equal(got, np.swapaxes(a, -1, -2))


def test_the_interpreter_agrees() -> None:
    x = parameter("x", tensor(f32, 40, 35))
    a = np.arange(1400, dtype=np.float32).reshape(40, 35)
    (got,) = run_group(schedule, [ops.transpose(x)], {x: a}, interp=True)
    np.testing.assert_array_equal(got, a.T)


def test_what_is_left_to_map() -> None:
    target = NAMED["x86-64-avx2"]
    big = parameter("x", tensor(f32, 64, 64))
    assert isinstance(schedule.accepts(group_of([ops.transpose(big)]), target), Accept)
    small, wide = parameter("s", tensor(f32, 8, 8)), parameter("w", tensor(f64, 64, 64))
    cube = parameter("c", tensor(f32, 64, 64, 64))
    for value in (ops.transpose(small), ops.transpose(wide), ops.transpose(cube, (1, 0, 2)), ops.transpose(big) + 1):
        assert not isinstance(schedule.accepts(group_of([value]), target), Accept)


def test_what_gpus_turn() -> None:
    target = NAMED["cuda"]
    cube, narrow = parameter("c", tensor(f64, 32, 40, 64)), parameter("n", tensor(f32, 8, 4096))
    for value in (ops.transpose(cube), ops.transpose(cube, (2, 0, 1)), ops.transpose(cube, (1, 2, 0))):
        assert isinstance(schedule.accepts(group_of([value]), target), Accept)
    for value in (ops.transpose(cube, (1, 0, 2)), ops.transpose(narrow), ops.transpose(cube) + 1):
        assert not isinstance(schedule.accepts(group_of([value]), target), Accept)
