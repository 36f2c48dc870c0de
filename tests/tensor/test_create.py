"""Making tensors, and the dtypes of results, against PyTorch."""

from __future__ import annotations

import copy
import itertools
import pickle
from typing import Any

import numpy as np
import pytest

import heliostat as hs
from heliostat.diagnostics import CaptureError, DTypeError, ShapeError, UnsupportedError
from heliostat.tensor.printing import long_name

from .compare import check, floats, same, torch

DTYPES = ["float64", "float32", "float16", "bfloat16", "int64", "int32", "int16", "int8", "uint8", "bool"]


@pytest.mark.parametrize(
    "data",
    [1, 1.5, True, [1, 2], [1.0, 2], [True, False], [[1, 2], [3, 4]], [], [[]], np.float64(2), np.int32(3)],
    ids=repr,
)
def test_of_numbers_and_lists(data: Any) -> None:
    same(hs.tensor(data), torch.tensor(data))


@pytest.mark.parametrize("dtype", DTYPES)
def test_of_arrays_in_a_dtype(dtype: str) -> None:
    x = floats(3, 4, low=0, high=100)
    same(hs.tensor(x, dtype=getattr(hs, dtype)), torch.tensor(x).to(getattr(torch, dtype)))
    for make in ("zeros", "ones"):
        same(getattr(hs, make)(2, 3, dtype=getattr(hs, dtype)), getattr(torch, make)(2, 3, dtype=getattr(torch, dtype)))


@pytest.mark.parametrize(
    "make",
    [
        lambda m: m.zeros(2, 3), lambda m: m.ones((2, 3)), lambda m: m.full((2,), 7), lambda m: m.full((2,), 7.5),
        lambda m: m.full((), True), lambda m: m.arange(5), lambda m: m.arange(2, 9, 3), lambda m: m.arange(0, 1, 0.3),
        lambda m: m.arange(5, 0, -2), lambda m: m.arange(3.0), lambda m: m.linspace(0, 1, 5),
        lambda m: m.linspace(-2, 3, 7, dtype=m.float64), lambda m: m.logspace(0, 2, 4), lambda m: m.eye(3),
        lambda m: m.eye(2, 4, dtype=m.int32), lambda m: m.zeros_like(m.ones(2, 2, dtype=m.int8)),
        lambda m: m.ones_like(m.zeros(3), dtype=m.float64), lambda m: m.full_like(m.zeros(3), 2.5),
        lambda m: m.ones(2, dtype=m.float64).new_zeros(3), lambda m: m.ones(2).new_full((2,), 3.0),
        lambda m: m.ones(2, dtype=m.int32).new_tensor([1, 2]), lambda m: m.tril_indices(3, 4),
        lambda m: m.triu_indices(3, 4, 1), lambda m: m.hann_window(8), lambda m: m.hamming_window(7, periodic=False),
        lambda m: m.blackman_window(9), lambda m: m.bartlett_window(6), lambda m: m.kaiser_window(5),
        lambda m: m.vander(m.tensor([1.0, 2.0, 3.0])), lambda m: m.as_tensor([1, 2]), lambda m: m.scalar_tensor(3),
        lambda m: m.empty(0, 3), lambda m: m.cartesian_prod(m.arange(2), m.arange(3)),
        lambda m: m.combinations(m.arange(4), 2),
    ],
)  # fmt: skip
def test_makers(make: Any) -> None:
    same(make(hs), make(torch))


def test_a_tensor_is_a_copy() -> None:
    a = np.ones(3)
    x = hs.tensor(a)
    a[0] = 5
    assert x.tolist() == [1, 1, 1]
    b = hs.from_numpy(a)
    assert b.tolist() == [5, 1, 1]
    assert b.dtype == hs.float64


def test_python_floats_keep_their_digits_in_float64() -> None:
    assert hs.tensor([0.1, 1 / 3], dtype=hs.float64).tolist() == [0.1, 1 / 3]
    assert hs.tensor([[16777217.0]], dtype=hs.float64).item() == 16777217.0
    assert hs.tensor([16777217.0], dtype=hs.int64).item() == 16777217


def test_of_a_pytorch_tensor_by_dlpack() -> None:
    x = torch.arange(6.0).reshape(2, 3)
    same(hs.from_dlpack(x), x)
    assert torch.from_dlpack(hs.ones(2, 2)).tolist() == [[1, 1], [1, 1]]


def _operand(m: Any, dtype: str, kind: str) -> Any:
    if kind == "number":
        return {"f": 1.5, "b": True}.get(dtype[0], 2) if dtype in ("float32", "int64", "bool") else None
    return m.ones(() if kind == "scalar" else (2,), dtype=getattr(m, dtype))


KINDS = [("vector", "vector"), ("vector", "scalar"), ("vector", "number"), ("scalar", "scalar"), ("scalar", "number")]


@pytest.mark.parametrize("kinds", KINDS, ids="-".join)
def test_dtypes_of_results_are_those_of_pytorch_and_symmetric(kinds: tuple[str, str]) -> None:
    for a, b in itertools.product(DTYPES, DTYPES):
        x, y = (_operand(hs, d, k) for d, k in zip((a, b), kinds, strict=True))
        u, v = (_operand(torch, d, k) for d, k in zip((a, b), kinds, strict=True))
        if y is None:
            continue
        name = str(torch.result_type(u, v)).removeprefix("torch.")
        assert long_name((x + y).dtype) == name, (a, b)
        assert long_name((y + x).dtype) == name, (b, a)
        assert long_name(hs.result_type(x, y)) == name
        assert long_name((x * y).dtype) == name
        assert (x > y).dtype == hs.bool
        quotient = str((u / v).dtype).removeprefix("torch.")
        assert long_name((x / y).dtype) == quotient


def test_promotion_of_dtypes() -> None:
    for a, b in itertools.product(DTYPES, DTYPES):
        name = str(torch.promote_types(getattr(torch, a), getattr(torch, b))).removeprefix("torch.")
        assert long_name(hs.promote_types(getattr(hs, a), getattr(hs, b))) == name


@pytest.mark.parametrize(("a", "b"), itertools.product(DTYPES, DTYPES))
def test_casts(a: str, b: str) -> None:
    x = torch.tensor([0.0, 1.0, 2.0, 3.5, 100.0]).to(getattr(torch, a))
    check(lambda m, x: x.to(getattr(m, b)), x if a == "bfloat16" else x.numpy())


def test_methods_of_casts() -> None:
    names = ("float", "double", "half", "long", "int", "short", "char", "byte", "bool", "bfloat16")
    check(lambda m, x: [getattr(x, n)() for n in names], floats(5, low=0, high=9))
    check(lambda m, x: [x.to(m.int32), x.to(m.zeros(1, dtype=m.int8)), x.type_as(m.zeros(1)), x.to("cpu")], floats(3))


def test_the_default_dtype() -> None:
    assert hs.get_default_dtype() == hs.float32
    hs.set_default_dtype(hs.float64)
    try:
        assert hs.tensor([1.0]).dtype == hs.float64
        assert (hs.tensor([1]) / 2).dtype == hs.float64
    finally:
        hs.set_default_dtype(hs.float32)
    with pytest.raises(DTypeError, match="float"):
        hs.set_default_dtype(hs.int32)


def test_limits_of_dtypes() -> None:
    for name in DTYPES[:4]:
        a, b = hs.finfo(getattr(hs, name)), torch.finfo(getattr(torch, name))
        assert (a.bits, a.eps, a.max, a.min, a.tiny) == (b.bits, b.eps, b.max, b.min, b.tiny)
    for name in DTYPES[4:9]:
        a, b = hs.iinfo(getattr(hs, name)), torch.iinfo(getattr(torch, name))
        assert (a.bits, a.max, a.min) == (b.bits, b.max, b.min)


def test_what_no_tensor_can_be_made_of() -> None:
    with pytest.raises(ShapeError, match="different lengths"):
        hs.tensor([[1, 2], [3]])
    with pytest.raises(DTypeError):
        hs.tensor(["a"])
    with pytest.raises(UnsupportedError, match="uint64"):
        hs.tensor(np.ones(2, np.uint64))
    with pytest.raises(ShapeError, match="negative"):
        hs.zeros(-1)
    with pytest.raises(UnsupportedError, match="no device"):
        hs.zeros(2, device="metal")
    with pytest.raises(DTypeError, match="no dtype"):
        hs.zeros(2, dtype="float33")
    with pytest.raises(ShapeError, match="arange"):
        hs.arange(0, 5, -1)
    with pytest.raises(DTypeError):
        hs.tensor(300, dtype=hs.uint8)


def test_copied_dtypes_are_the_same_objects() -> None:
    for dtype in (hs.float32, hs.bfloat16, hs.int64, hs.bool):
        assert pickle.loads(pickle.dumps(dtype)) is copy.deepcopy(dtype) is dtype


def test_draws_of_a_fork_change_nothing_outside() -> None:
    hs.manual_seed(3)
    expected = hs.rand(4).tolist()
    for enabled in (True, False):
        hs.random.manual_seed(3)
        with hs.random.fork_rng(enabled=enabled):
            hs.rand(2).tolist()
        assert (hs.rand(4).tolist() == expected) is enabled
    hs.manual_seed(3)
    with pytest.raises(ValueError, match="min or max"), hs.random.fork_rng(devices=[]):
        hs.rand(2).clamp()
    assert hs.rand(4).tolist() == expected


@pytest.mark.parametrize("name", ["fork_rng", "manual_seed", "set_rng_state"])
def test_a_stream_is_not_set_while_a_step_is_captured(name: str) -> None:
    state = hs.get_rng_state()

    def step(x: Any) -> Any:
        if name == "fork_rng":
            with hs.random.fork_rng():
                return x + hs.rand(2)
        getattr(hs, name)(3 if name == "manual_seed" else state)
        return x + hs.rand(2)

    with pytest.raises(CaptureError, match="is set while a step is captured"):
        hs.compile(step)(hs.ones(2))


def test_a_number_in_a_string_is_the_number() -> None:
    for value in (1.5, True, 3, 1 + 2j):
        assert f"{hs.tensor(value)}" == f"{torch.tensor(value)}"
    assert f"{hs.tensor(0.25, requires_grad=True)} {hs.tensor(1.23456):.2f}" == "0.25 1.23"
    assert f"{hs.tensor([1.5])}" == f"{torch.tensor([1.5])}"
