"""Names of `torch.cuda` that programs ask before they use a GPU."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from ..amp import GradScaler as AnyScaler
from ..tensor import cuda
from ..tensor.autocast import autocast as any_autocast
from . import refusal

_HELP = "programs run in one order, and compile captures a step as a graph of its own"
Stream = refusal.a_class("torch.cuda.Stream", _HELP)
StreamContext = refusal.a_class("torch.cuda.StreamContext", _HELP)
CUDAGraph = refusal.a_class("torch.cuda.CUDAGraph", _HELP)
graph = refusal.a_class("torch.cuda.graph", _HELP)
make_graphed_callables = refusal.function("torch.cuda.make_graphed_callables", _HELP)


def is_bf16_supported(including_emulation: bool = True) -> bool:
    """Whether the current GPU computes bfloat16; False where there is none."""
    return cuda.is_available()


def is_current_stream_capturing() -> bool:
    """False: programs capture no graphs themselves."""
    return False


class GradScaler(AnyScaler):
    """`amp.GradScaler` for GPUs, with PyTorch's older arguments."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__("cuda", *args, **kwargs)


class autocast(any_autocast):
    """`autocast("cuda")`, with PyTorch's older arguments."""

    def __init__(self, enabled: bool = True, dtype: Any = None, cache_enabled: bool = True) -> None:
        super().__init__("cuda", dtype=dtype, enabled=enabled, cache_enabled=cache_enabled)


amp = SimpleNamespace(GradScaler=GradScaler, autocast=autocast)
