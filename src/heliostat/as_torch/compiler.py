"""`torch.compiler`: marks on functions that `compile` goes through."""

from __future__ import annotations

from contextlib import nullcontext
from types import SimpleNamespace
from typing import Any

from ..tensor import lazy

config = SimpleNamespace()  # switches of PyTorch's compiler, which are set and never read
utils = SimpleNamespace(is_compile_supported=lambda device_type: False)  # torch._dynamo.utils

_trace_wrapped_higher_order_op = SimpleNamespace(TransformGetItemToIndex=nullcontext)  # indices may be tensors anyway


def is_compiling() -> bool:
    """Whether a step is being captured by `compile`."""
    return bool(lazy.capturing())


is_dynamo_compiling = is_compiling


def is_exporting() -> bool:
    """False: export runs functions as they are."""
    return False


def disable(fn: Any = None, recursive: bool = True, *, reason: str | None = None) -> Any:
    """The function itself: what it does is part of the step around it, as everything is."""
    return fn if fn is not None else lambda f: f


def allow_in_graph(fn: Any) -> Any:
    """The function itself: a captured step takes all that it does."""
    return fn


def mark_static_address(t: Any, guard: bool = True) -> None:
    """Nothing: programs are given the addresses of their tensors."""


assume_constant_result = allow_in_graph


def reset() -> None:
    """Nothing: programs are kept by what they compute."""
