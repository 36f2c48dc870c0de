"""The order of elements by the compiler's own ops: every dtype, ties, NaN, zeros of both signs, long axes, inside
compiled functions, and results whose size depends on data on a GPU."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import heliostat as hs
from heliostat.diagnostics import CaptureError, ShapeError, UnsupportedError
from heliostat.ops import get
from heliostat.ops.sort import BLOCK
from heliostat.tensor import sorting
from targets.gpus import stand_in

DTYPES = ("float16", "bfloat16", "float32", "float64", "int8", "uint8", "int16", "int32", "int64", "bool")
SPECIAL = [0.0, -0.0, np.nan, np.inf, -np.inf, 1.0, -1.0, 1e-40, -1e-40]


def drawn(name: str, shape: tuple[int, ...], seed: int) -> hs.Tensor:
    """Few different values, so that many are equal, and many different ones."""
    rng = np.random.default_rng(seed)
    if "float" not in name:
        low, high = (0, 2) if name == "bool" else (0, 200) if name == "uint8" else (-120, 120)
        wide = rng.integers(low, high, shape)
        if name == "int64":
            wide = wide * (1 << 40) + rng.integers(-3, 3, shape)
        return hs.tensor(wide).to(getattr(hs, name))
    values = np.where(rng.random(shape) < 0.3, rng.choice(SPECIAL, shape), rng.standard_normal(shape))
    return hs.tensor(np.where(rng.random(shape) < 0.5, np.round(values), values)).to(getattr(hs, name))


def expected(x: hs.Tensor, dim: int, descending: bool) -> np.ndarray[Any, Any]:
    found: np.ndarray[Any, Any] = get("argsort").reference(np.moveaxis(x.numpy(), dim, -1), descending=descending)
    return np.moveaxis(found, -1, dim)


@pytest.fixture(autouse=True)
def programs_of_every_size(monkeypatch: pytest.MonkeyPatch) -> None:
    """Few elements are NumPy's otherwise."""
    monkeypatch.setattr(sorting, "NATIVE", 0)


@pytest.mark.parametrize("descending", [False, True])
def test_few_elements_are_in_the_same_order_by_numpy(descending: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, shape, dim in (("float32", (40,), 0), ("bfloat16", (3, 20, 2), 1), ("int64", (4, 30), -1)):
        x = drawn(name, shape, 3)
        found = []
        for native in (0, 1 << 16):
            monkeypatch.setattr(sorting, "NATIVE", native)
            found.append([x.argsort(dim, descending).numpy(), x.topk(3, dim, descending).indices.numpy()])
        for a, b in zip(*found, strict=True):
            np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("descending", [False, True])
def test_order_of_every_dtype(descending: bool) -> None:
    """One program for all: the stable order, also of columns and of a transposed tensor."""
    cases = [
        (drawn(name, shape, seed), dim)
        for seed, name in enumerate(DTYPES)
        for shape, dim in (((70,), 0), ((3, 33), 1), ((9, 4), 0))
    ]
    cases += [(drawn("float32", (5, 40), 99).t(), 0), (drawn("float32", (7, 1), 98), 1)]
    results = [x.sort(dim, descending, True) for x, dim in cases]
    for (x, dim), (values, places) in zip(cases, results, strict=True):
        right = expected(x, dim, descending)
        np.testing.assert_array_equal(places.numpy(), right, str(x.dtype))
        np.testing.assert_array_equal(values.numpy(), np.take_along_axis(x.numpy(), right, dim))


@pytest.mark.parametrize("name", ["float32", "int64", "int8"])
def test_long_axes(name: str) -> None:
    """Several blocks, of which the last is not full, and the first of each where few are wanted."""
    x = drawn(name, (2, 2 * BLOCK + 77), 5)
    places, least, most = x.argsort(), x.topk(9, largest=False), x.topk(9)
    right = expected(x, 1, False)
    np.testing.assert_array_equal(places.numpy(), right)
    np.testing.assert_array_equal(least.indices.numpy(), right[:, :9])
    np.testing.assert_array_equal(most.indices.numpy(), expected(x, 1, True)[:, :9])


def test_all_equal_and_all_in_order() -> None:
    n = BLOCK + 300
    x = np.arange(n, dtype=np.float32)
    for a in (np.zeros(n, np.float32), x, x[::-1].copy()):
        for descending in (False, True):
            t = hs.tensor(a)
            np.testing.assert_array_equal(t.argsort(0, descending).numpy(), expected(t, 0, descending))


def everything(x: hs.Tensor) -> list[hs.Tensor]:
    found = [*x.sort(-1), *x.topk(4), *x.kthvalue(3), *x.median(1), *x.mode(1), x.quantile(0.3, 1)]
    edges = hs.tensor([-1.0, 0.0, 0.5])
    return [*found, hs.bucketize(x, edges), hs.isin(x, edges), hs.histc(x, 5)]


def test_inside_a_compiled_function() -> None:
    x = drawn("float32", (4, 21), 3).clamp(-5, 5)
    for a, b in zip(everything(x), hs.compile(everything)(x), strict=True):
        np.testing.assert_array_equal(a.numpy(), b.numpy())


def test_gradients_inside_a_compiled_function() -> None:
    x = hs.tensor(np.random.default_rng(1).standard_normal((3, 50)).astype(np.float32))

    def slope(x: hs.Tensor) -> hs.Tensor:
        x = x.detach().requires_grad_()
        (
            x.topk(3).values.sum() + x.median(1).values.sum() * 2 + (x.sort(0).values * hs.arange(3)[:, None]).sum()
        ).backward()
        return x.grad

    np.testing.assert_allclose(hs.compile(slope)(x).numpy(), slope(x).numpy())
    assert np.isclose(slope(x).sum().item(), 3 * 3 + 2 * 3 + 150)


@pytest.mark.parametrize("name", ["nonzero", "masked_select", "unique_consecutive", "repeat_interleave"])
def test_sizes_that_depend_on_data_are_refused_by_name(name: str) -> None:
    calls: dict[str, Callable[[hs.Tensor], Any]] = {
        "masked_select": lambda x: x[x > 0],
        "repeat_interleave": lambda x: hs.repeat_interleave(x, x.to(hs.int64)),
    }
    with pytest.raises(CaptureError, match=name):
        hs.compile(calls.get(name, lambda x: getattr(hs, name)(x)))(hs.ones(3))


def test_axes_that_are_too_long_are_refused() -> None:
    with pytest.raises(UnsupportedError, match="longer than"):
        get("argsort").build(hs.zeros(1).expand((1 << 28) + 1).value)
    with pytest.raises(ShapeError, match="multiples of 256"):
        get("merge_runs").build(hs.zeros(300, dtype=hs.int64).value, run=256)


def sets(m: Any, x: Any, whole: Any) -> list[Any]:
    """What depends on data, of floats and of whole numbers."""
    inverse = {"return_inverse": True, "return_counts": True}
    return [
        m.nonzero(x), x[x > 0], m.masked_select(x, whole.reshape(x.shape) > 2), *m.unique(whole, **inverse),
        *m.unique_consecutive(whole, **inverse), m.bincount(whole, minlength=7), *m.nonzero(x, as_tuple=True),
        m.repeat_interleave(whole, whole), m.unique(whole.reshape(-1, 2), dim=0),
    ]  # fmt: skip


def test_sets_on_a_gpu_equal_those_on_the_cpu() -> None:
    rng = np.random.default_rng(8)
    x, whole = rng.integers(-2, 3, (5, 8)).astype(np.float32), rng.integers(0, 5, 40)
    with hs.device("cpu"):
        there = [t.numpy() for t in sets(hs, hs.tensor(x), hs.tensor(whole))]
    with stand_in(), hs.device("cuda"):
        made = sets(hs, hs.tensor(x), hs.tensor(whole))
        assert {str(t.device) for t in made} == {"cuda:0"}
        here = [t.cpu().numpy() for t in made]
    for a, b in zip(here, there, strict=True):
        np.testing.assert_array_equal(a, b)


def test_what_is_left_of_nothing_on_a_gpu_lies_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sorting, "NATIVE", 1 << 16)

    def small(x: Any, none: Any, row: Any) -> list[Any]:
        counts = {"return_inverse": True, "return_counts": True}
        found = [*none.unique(**counts), *none.unique_consecutive(**counts), hs.isin(none, x), hs.isin(x, [])]
        found += [
            hs.searchsorted(x, none),
            hs.searchsorted(none, x),
            none.histc(2),
            none.median(),
            none.long().bincount(),
        ]
        found += [*x[0].sort(), *x[0].topk(1), *x[0].median(0), *row.unique(dim=0, **counts)]
        found += [*row.unique_consecutive(dim=0, **counts), *none.reshape(2, 0).unique(dim=0, **counts)]
        return [*found, hs.isin(x, 2.0), hs.isin(x, [1, 3]), *(x * 1).histogram(x * 2)]

    a, none, row = np.array([1.0, 2.0, 3.0]), np.zeros(0), np.array([[1.0, 2.0, 1.0]])
    there = [t.numpy() for t in small(hs.tensor(a), hs.tensor(none), hs.tensor(row))]
    with stand_in():
        made = small(*(hs.tensor(t, device="cuda") for t in (a, none, row)))
        assert {str(t.device) for t in made} == {"cuda:0"}
        here = [t.cpu().numpy() for t in made]
    for x, y in zip(here, there, strict=True):
        np.testing.assert_array_equal(x, y)
