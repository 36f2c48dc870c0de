"""Where the bytes of tensors lie, and bytes as elements of other dtypes, beside PyTorch's."""

from __future__ import annotations

import ctypes
import gc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import heliostat as hs
from heliostat import nn
from heliostat.diagnostics import FileFormatError, IndexOutOfRangeError, ShapeError, UnsupportedError
from heliostat.tensor.storage import UntypedStorage

DTYPES = (
    "uint8", "int8", "bool", "int16", "float16", "bfloat16", "int32", "float32", "int64", "float64", "complex64",
    "float8_e4m3fn",
)  # fmt: skip


def at(address: int, count: int) -> bytes:
    return ctypes.string_at(address, count)


@pytest.mark.parametrize("name", DTYPES)
def test_bytes_as_elements(name: str) -> None:
    data = np.random.default_rng(len(name)).integers(0, 2, (3, 16)).astype(np.uint8)
    if name != "bool":
        data *= 63
    ours = hs.tensor(data).view(getattr(hs, name))
    theirs = torch.tensor(data).view(getattr(torch, name))
    assert ours.dtype == getattr(hs, name)
    assert tuple(ours.shape) == tuple(theirs.shape)
    wide = {"complex64": "complex128"}.get(name, "float64")
    np.testing.assert_array_equal(
        ours.to(getattr(hs, wide)).numpy(), theirs.to(getattr(torch, wide)).numpy(), strict=True
    )
    if name not in ("complex64", "float8_e4m3fn"):
        back = ours.view(dtype=hs.uint8)
        np.testing.assert_array_equal(back.numpy(), data, strict=True)
        assert at(ours.data_ptr(), data.size) == data.tobytes()


def test_bytes_that_make_no_elements() -> None:
    for f in (
        lambda: hs.ones(3, dtype=hs.uint8).view(hs.float32),
        lambda: hs.ones((), dtype=hs.uint8).view(hs.float32),
        lambda: hs.ones(3).view(hs.complex64),
    ):
        with pytest.raises(ShapeError, match="make no whole"):
            f()


VIEWS: list[Callable[[Any], Any]] = [
    lambda x: x[1:],
    lambda x: x[-1],
    lambda x: x.view(-1)[-1],
    lambda x: x.t()[2],
    lambda x: x[:, 1::2][1],
    lambda x: x.reshape(2, 3, 4)[1, 1:],
    lambda x: x.narrow(1, 3, 2).diagonal(),
    lambda x: x.detach(),
    lambda x: x[2:, 1].expand(3, 2),
    lambda x: x[4:],
]


@pytest.mark.parametrize("f", VIEWS)
def test_views_lie_within_their_bases(f: Callable[[Any], Any]) -> None:
    ours, theirs = hs.arange(24).reshape(4, 6).clone(), torch.arange(24).reshape(4, 6).clone()
    a, b = f(ours), f(theirs)
    if b.numel():
        assert a.storage_offset() == b.storage_offset()
        assert a.data_ptr() - ours.data_ptr() == b.data_ptr() - theirs.data_ptr()
        assert at(a.data_ptr(), 8) == int(a.flatten()[0]).to_bytes(8, "little")
    assert a.untyped_storage().data_ptr() == ours.data_ptr() == ours.untyped_storage().data_ptr()
    assert a.untyped_storage().nbytes() == b.untyped_storage().nbytes() == 192


def test_tensors_that_are_asked_have_memory_of_their_own() -> None:
    a = hs.randn(4)
    clone, parameter = a.clone(), nn.Parameter(a)
    expected = a.tolist()
    assert len({t.data_ptr() for t in (a, clone, parameter)}) == 3
    assert len({t.data_ptr() for t in (a, clone, parameter)}) == 3
    assert parameter.detach().data_ptr() == parameter.data.data_ptr() == parameter.data_ptr()
    for t in (a, clone, parameter):
        assert t.tolist() == expected
        assert at(t.data_ptr(), 16) == np.float32(expected).tobytes()
    (parameter * 2).sum().backward()
    assert parameter.grad is not None
    assert parameter.grad.tolist() == [2.0] * 4
    model = nn.ModuleList([nn.Linear(3, 3), nn.Linear(3, 3)])
    model[1].weight = model[0].weight
    model[1].bias.data.copy_(model[0].bias)
    state = model.state_dict()
    assert state["0.weight"].data_ptr() == state["1.weight"].data_ptr()
    assert state["0.bias"].data_ptr() != state["1.bias"].data_ptr()
    assert hs.zeros(0).data_ptr() == torch.zeros(0).data_ptr() == 0
    del a, clone, parameter, t
    gc.collect()
    assert hs.ones(2).data_ptr()


def test_bytes_of_files(tmp_path: Path) -> None:
    path = tmp_path / "bytes"
    data = bytes(range(100))
    path.write_bytes(data)
    storage = UntypedStorage.from_file(str(path), shared=False, nbytes=90)
    theirs = torch.UntypedStorage.from_file(str(path), shared=False, nbytes=90)
    assert len(storage) == storage.nbytes() == theirs.nbytes() == 90
    assert storage.device == hs.device("cpu")
    assert storage.untyped() is storage
    for part in (slice(3, 11), slice(None), slice(80, 200), slice(5, 2), slice(-4, None)):
        assert bytes(storage[part].tolist()) == data[:90][part]
    assert hs.asarray(storage[4:12], dtype=hs.uint8).view(dtype=hs.int16).tolist() == list(
        np.frombuffer(data[4:12], np.int16)
    )
    of_tensor = hs.tensor([1.0, 2.0]).untyped_storage()
    assert bytes(of_tensor[4:].tolist()) == np.float32(2).tobytes()
    path.write_bytes(data[:50])
    with pytest.raises(FileFormatError, match="only 50 bytes"):
        storage[40:60]
    path.unlink()
    with pytest.raises(FileFormatError, match="cannot be read"):
        storage[:2]
    with pytest.raises(IndexOutOfRangeError, match="steps of 1"):
        storage[::2]
    with pytest.raises(FileFormatError, match="cannot be read"):
        UntypedStorage.from_file(path, nbytes=1)
    path.write_bytes(data)
    for wrong in (101, -1):
        with pytest.raises(FileFormatError, match="has 100 bytes"):
            UntypedStorage.from_file(path, nbytes=wrong)
    with pytest.raises(UnsupportedError, match="shared=True"):
        UntypedStorage.from_file(path, True, 10)
