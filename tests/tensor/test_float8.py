"""Floats of eight bits: conversions, equal to PyTorch's bit for bit, and what is refused."""

from __future__ import annotations

import copy
import io
import pickle
from typing import Any

import numpy as np
import pytest
import torch

import heliostat as hs
from heliostat.diagnostics import DTypeError, HeliostatError, ShapeError, UnsupportedError

NAMES = ["float8_e4m3fn", "float8_e5m2"]


def numbers(name: str) -> Any:
    """All values of a dtype, the middles of neighbours and what lies beside these, and numbers of all sizes."""
    rng = np.random.default_rng(0)
    values = torch.arange(256, dtype=torch.uint8).view(getattr(torch, name)).float().numpy()
    with np.errstate(all="ignore"):
        middles = ((values[:-1].astype(np.float64) + values[1:]) / 2).astype(np.float32)
        beside = [np.nextafter(middles, np.float32(to)) for to in (-np.inf, np.inf)]
    some = rng.standard_normal(500) * 10.0 ** rng.uniform(-9, 6, 500)
    ends = [0, -0.0, np.inf, -np.inf, np.nan, 448, 464, 465, 480, 61439, 61440, 61441, 1e38]
    return np.concatenate([values, middles, *beside, some, ends]).astype(np.float32)


@pytest.mark.parametrize("name", NAMES)
def test_conversions_are_pytorchs(name: str) -> None:
    x, ours, theirs = numbers(name), getattr(hs, name), getattr(torch, name)
    found, expected = hs.tensor(x).to(ours), torch.tensor(x).to(theirs)
    np.testing.assert_array_equal(found.view(hs.uint8).numpy(), expected.view(torch.uint8).numpy())
    for wide in ("float32", "float16", "bfloat16", "float64"):
        back, there = found.to(getattr(hs, wide)), expected.to(getattr(torch, wide))
        np.testing.assert_array_equal(back.float().numpy(), there.float().numpy())
    with np.errstate(over="ignore"):
        half = x.astype(np.float16)
    bits = hs.tensor(half).to(ours).view(hs.uint8).numpy()
    np.testing.assert_array_equal(bits, torch.tensor(half).to(theirs).view(torch.uint8).numpy())
    for what in ("eps", "max", "min", "tiny", "smallest_normal", "bits"):
        assert getattr(hs.finfo(ours), what) == getattr(torch.finfo(theirs), what)
    assert (ours.itemsize, ours.is_floating_point, ours.is_signed) == (1, True, True)


@pytest.mark.parametrize("name", NAMES)
def test_what_tensors_of_them_do(name: str) -> None:
    dtype = getattr(hs, name)
    x = hs.tensor([[1.0, -2.0], [0.3, 1e-9]], dtype=dtype)
    assert (x.dtype, tuple(x.shape), x.element_size(), x.requires_grad) == (dtype, (2, 2), 1, False)
    assert x.tolist() == x.to(hs.float32).tolist()
    assert x.reshape(4)[1:3].tolist() == x.float().reshape(4)[1:3].tolist()
    assert hs.cat([x, x.clone()]).shape == (4, 2)
    assert hs.stack([x, x]).dtype == dtype
    assert x.equal(hs.tensor(x.tolist(), dtype=dtype))
    assert hs.zeros(3, dtype=dtype).tolist() == [0, 0, 0]
    assert hs.full((2,), 3.0, dtype=dtype).float().tolist() == [3, 3]
    assert x.to(dtype) is x
    assert x.copy_(hs.ones(2, 2)).tolist() == [[1, 1], [1, 1]]
    for again in (copy.deepcopy(x), pickle.loads(pickle.dumps(x))):
        assert again.equal(x)
    assert f"dtype={name}" in repr(x)
    file = io.BytesIO()
    hs.save({"x": x}, file)
    file.seek(0)
    assert hs.load(file)["x"].equal(x)


@pytest.mark.parametrize("name", NAMES)
def test_there_is_no_arithmetic(name: str) -> None:
    dtype = getattr(hs, name)
    x = hs.ones(2, 2).to(dtype)
    calls = (
        lambda: x + 1, lambda: 1 - x, lambda: x @ x, lambda: -x, lambda: x < x, lambda: x == x, lambda: x.sum(),
        lambda: hs.exp(x), lambda: hs.nn.functional.linear(x, x), lambda: hs.ones(2, 2) * x, lambda: x.relu(),
        lambda: hs.where(x.isnan(), x, x), lambda: x.numpy(), lambda: abs(x), lambda: x & x,
    )  # fmt: skip
    for call in calls:
        with pytest.raises(UnsupportedError, match="takes no float8 tensors"):
            call()
    for refused in (
        lambda: hs.ones(2, requires_grad=True).to(dtype), lambda: x.requires_grad_(), lambda: x.__setitem__(0, 1),
        lambda: x.view(hs.complex64), lambda: type(x)(), lambda: hs.promote_types(dtype, hs.float32),
        lambda: hs.cat([x, hs.ones(2, 2)]), lambda: x.copy_(hs.ones(3)), lambda: hs.set_default_dtype(dtype),
    ):  # fmt: skip
        with pytest.raises(HeliostatError) as error:
            refused()
        assert isinstance(error.value, UnsupportedError | DTypeError | ShapeError)


def test_bits_are_viewed_as_they_are() -> None:
    bits = hs.arange(60, 66, dtype=hs.uint8)
    x = bits.view(hs.float8_e5m2)
    assert x.tolist() == torch.arange(60, 66, dtype=torch.uint8).view(torch.float8_e5m2).tolist()
    assert x.view(hs.float8_e5m2) is x
    assert x.view(hs.int8).tolist() == bits.tolist()
    assert bits.view(hs.int8).view(hs.float8_e4m3fn).view(hs.uint8).tolist() == bits.tolist()
    assert hs.can_cast(hs.float8_e5m2, hs.float32)
    assert not hs.can_cast(hs.float8_e5m2, hs.int32)
    assert repr(x[:1]) == "tensor([1.], dtype=float8_e5m2)"


def test_halves_are_viewed_by_their_bits() -> None:
    x = hs.tensor([1.5, -2.0], dtype=hs.bfloat16)
    bits = x.view(hs.int16)
    assert bits.tolist() == torch.tensor([1.5, -2.0], dtype=torch.bfloat16).view(torch.int16).tolist()
    assert bits.view(hs.bfloat16).dtype == hs.bfloat16
    assert bits.view(hs.bfloat16).tolist() == x.tolist()
