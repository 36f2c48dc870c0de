"""`torch.library`, `torch.ops`, `torch._C`: packages with operators in C++ ask for them, and are told that there are
none; what such packages have in Python works.
"""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from . import refusal

_HELP = "write a torch.autograd.Function of tensors"
custom_op = refusal.function("torch.library.custom_op", _HELP)


def _load_library(path: Any) -> None:
    raise OSError(f"{path} holds operators for PyTorch's own tensors, which heliostat cannot load")


ops = SimpleNamespace(load_library=_load_library)


class _Keys:
    """A set of PyTorch's keys for choosing an implementation; nothing is chosen by them here."""

    def __init__(self, key: str) -> None:
        self.keys = {key}

    def __or__(self, other: _Keys) -> _Keys:
        return self


core = SimpleNamespace(  # torch._C
    _log_api_usage_once=lambda *args: None, _get_tracing_state=lambda: None, DispatchKeySet=_Keys,
    DispatchKey=SimpleNamespace(AutocastCPU="AutocastCPU", AutocastCUDA="AutocastCUDA", AutocastXPU="AutocastXPU"),
)  # fmt: skip


class Library:
    """A place for operators that are never called."""

    def __init__(self, ns: str, kind: str, dispatch_key: str = "") -> None:
        self.ns, self.kind, self.dispatch_key = ns, kind, dispatch_key

    def define(self, schema: str, alias_analysis: str = "", *, tags: Any = ()) -> str:
        """The name in a declaration."""
        return schema.partition("(")[0]

    def impl(self, op_name: Any, fn: Any, dispatch_key: str = "", **kwargs: Any) -> None:
        """Nothing."""


def register_fake(op: Any, func: Any = None, **kwargs: Any) -> Any:
    """The function itself, or a decorator that returns it."""
    return func if func is not None else lambda f: f


impl = impl_abstract = register_kernel = register_fake


def register_autograd(op: Any, backward: Any, /, **kwargs: Any) -> None:
    """Nothing."""
