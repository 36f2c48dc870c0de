"""`torch.types`: names for annotations."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ..tensor import PUBLIC, Tensor

Number = int | float | bool
Device = PUBLIC["device"] | str | int | None
_device, _dtype = PUBLIC["device"], PUBLIC["dtype"]
_size = Sequence[int]
_int, _float, _bool = int, float, bool
TensorOrTensors = Tensor | Sequence[Tensor]
FileLike = Any
