"""Tensors as bytes, little-endian and row-major, and back."""

from __future__ import annotations

import sys
from typing import Any

import numpy as np

from ..diagnostics import UnsupportedError
from ..ir.types import DType, u8
from ..tensor import lazy
from ..tensor.core import Tensor, new
from ..tensor.dtypes import NAMES
from ..tensor.float8 import Float8Tensor, of_bits

Record = tuple[DType, tuple[int, ...], Any]
"""Dtype, shape, bytes."""

BY_NAME: dict[str, DType] = {d.name: d for d in NAMES.values()}

if sys.byteorder != "little":
    raise UnsupportedError("files are little-endian, and this machine is not")


def as_bytes(t: Tensor) -> Record:
    """A tensor's dtype, shape and bytes. Computes it."""
    bits = t._codes if isinstance(t, Float8Tensor) else t
    v = bits.detach().value
    if lazy.buffer_of(v) is None:
        lazy.realize([v])
    return t.dtype, tuple(t.shape), np.ascontiguousarray(lazy.array_of(v)).reshape(-1).view(np.uint8).data


def from_bytes(dtype: DType, shape: tuple[int, ...], data: Any) -> Tensor:
    """A tensor of a copy of bytes."""
    if dtype.kind == "e":
        return of_bits(from_bytes(u8, shape, data), dtype)
    array = np.frombuffer(data, lazy.NUMPY[dtype.name]).reshape(shape)
    if dtype.name == "bool":
        array = array.view(np.uint8) != 0
    made: Tensor = new(Tensor, lazy.leaf_of(np.array(array, order="C").reshape(shape), dtype, "cpu"))
    return made
