"""`torch.nn.attention`: there is one way to compute attention, the same for every choice among PyTorch's."""

from __future__ import annotations

from contextlib import nullcontext
from enum import IntEnum
from typing import Any


class SDPBackend(IntEnum):
    """PyTorch's implementations of attention."""

    ERROR = -1
    MATH = 0
    FLASH_ATTENTION = 1
    EFFICIENT_ATTENTION = 2
    CUDNN_ATTENTION = 3
    OVERRIDEABLE = 4


def sdpa_kernel(backends: Any, set_priority: bool = False) -> Any:
    """A context that changes nothing: results are those of MATH."""
    return nullcontext()
