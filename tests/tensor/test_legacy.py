"""Ways of old programs: `Tensor` with sizes, `new`, and questions about storage, against PyTorch."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import heliostat as hs
from heliostat.as_torch import names

from .compare import torch

MADE: dict[str, Any] = {
    "sizes": lambda m: m.Tensor(2, 3), "one size": lambda m: m.Tensor(4), "nothing": lambda m: m.Tensor(),
    "size": lambda m: m.Tensor(m.Size([2, 1])), "list": lambda m: m.Tensor([1, 2]), "tuple": lambda m: m.Tensor((1, 2)),
    "nested": lambda m: m.Tensor([[1.0, 2], [3, 4]]), "array": lambda m: m.Tensor(np.arange(3)),
    "doubles": lambda m: m.Tensor(np.arange(3.0)), "tensor": lambda m: m.Tensor(m.tensor([1.5])),
    "parameter": lambda m: m.nn.Parameter(m.Tensor(2, 3)), "new sizes": lambda m: m.ones(2, dtype=m.float64).new(3, 2),
    "new list": lambda m: m.ones(2).new([1, 2]), "new nothing": lambda m: m.ones(2, dtype=m.int32).new(),
    "one size of NumPy": lambda m: m.Tensor(np.int64(3)),
    "new large": lambda m: m.ones(1, dtype=m.int64).new([2**40 + 1]),
    "new doubles": lambda m: m.ones(1, dtype=m.float64).new([0.1]),
}  # fmt: skip


@pytest.mark.parametrize("name", MADE)
def test_making(name: str) -> None:
    mine, theirs = MADE[name](hs), MADE[name](torch)
    assert tuple(mine.shape) == tuple(theirs.shape)
    assert mine.type() == theirs.type()
    if "size" not in name and name != "parameter":
        assert mine.tolist() == theirs.tolist()
    assert mine.requires_grad == theirs.requires_grad


def test_refused() -> None:
    for data in (2.5, "abc"):
        with pytest.raises(TypeError):
            torch.Tensor(data)
        with pytest.raises(TypeError):
            hs.Tensor(data)
    with pytest.raises(TypeError, match="takes no size"):
        hs.Tensor(2, size=3)
    with pytest.raises(ValueError, match="negative"):
        hs.Tensor(-1)


def test_by_type() -> None:
    for data in ((), (names.PUBLIC["Size"]([2, 0]),), (0, 3), (np.int64(0),), ([2**40 + 1],)):
        made = names.LongTensor(*data)
        theirs = torch.LongTensor(*(torch.Size(d) if isinstance(d, tuple) else d for d in data))
        assert made.shape == theirs.shape
        assert made.tolist() == theirs.tolist()
    with pytest.raises(TypeError, match="sequence"):
        names.FloatTensor(2.5)


def test_parts_of_shapes() -> None:
    for m in (hs, torch):
        shape = m.ones(2, 3, 4).shape
        for part in (shape[1:], shape[:-1] + (4,), (2,) + shape[1:2], shape[:1] * 2):  # noqa: RUF005
            assert isinstance(part, m.Size)
        assert shape[1:].numel() == 12
        assert shape[-1] == 4
        with pytest.raises(TypeError):
            shape + [1]  # noqa: RUF005


def test_what_types_and_devices_say() -> None:
    kinds = ("float32", "float16", "bfloat16", "complex64", "int8", "uint8", "bool")
    mine, theirs = (
        [[getattr(m, k).is_floating_point, getattr(m, k).is_complex, getattr(m, k).is_signed, getattr(m, k).itemsize]
         for k in kinds] for m in (hs, torch)
    )  # fmt: skip
    assert mine == theirs
    assert hs.device(type="cpu") == hs.device("cpu")


def test_choices_among_compilers_of_pytorch() -> None:
    """They are taken, and change nothing."""
    f = names.compile(mode="max-autotune", backend="inductor", fullgraph=True)(lambda x: x * 2)
    assert f(hs.ones(2)).tolist() == [2, 2]
    assert names.compile(len, disable=True) is len
    with pytest.raises(TypeError, match="takes no speed"):
        names.compile(len, speed=2)


def test_storage() -> None:
    x = hs.ones(2)
    assert x.layout is hs.strided
    assert isinstance(x.layout, hs.layout)
    assert not any((x.is_sparse, x.is_mkldnn, x.is_nested))
