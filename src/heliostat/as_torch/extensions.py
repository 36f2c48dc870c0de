"""`torch.library`, `torch.ops`, `torch._C`: operators written in Python are the functions that they are; packages with
operators in C++ ask for them, and are told that there are none.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

from ..tensor import Function


class CustomOpDef:
    """An operator of Python: its function, and the gradient that was registered for it. Without one, gradients are
    those of what the function does."""

    def __init__(self, name: str, function: Callable[..., Any]) -> None:
        self.name, self._function, self._apply = name, function, function
        self.default = self  # its overload without a name
        functools.update_wrapper(self, function)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        if self._apply is self._function:
            return self._function(*args, **kwargs)
        # setup_context and the gradients go by places: those of arguments given by name, and of ones left out, too
        bound = inspect.signature(self._function).bind(*args, **kwargs)
        bound.apply_defaults()
        return self._apply(*bound.args, **bound.kwargs)

    def register_autograd(self, backward: Any, /, *, setup_context: Any = None) -> None:
        """Give it a gradient: backward(ctx, *gradients) after setup_context(ctx, inputs, output)."""
        members = {
            "forward": staticmethod(self._function), "backward": staticmethod(backward),
            "setup_context": staticmethod(setup_context or (lambda ctx, inputs, output: None)),
        }  # fmt: skip
        self._apply = type(self.name.rpartition("::")[2], (Function,), members).apply  # type: ignore[attr-defined]

    def register_fake(self, fn: Any) -> Any:
        """The function: shapes follow from what the operator does."""
        return fn

    register_vmap = register_kernel = lambda self, *args, **kwargs: (
        args[0] if args and callable(args[0]) else lambda f: f
    )


_registered: dict[str, CustomOpDef] = {}


def custom_op(name: str, fn: Any = None, /, *, mutates_args: Any = (), **choices: Any) -> Any:
    """An operator "namespace::name" of a function, or a decorator that makes one; `torch.ops.namespace.name` is it.
    What it writes into, on which devices it runs and its schema change nothing."""
    if fn is None:
        return lambda f: custom_op(name, f)
    made = _registered[name] = CustomOpDef(name, fn)
    return made


class _Namespace:
    """`torch.ops.NAME`: its operators."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __getattr__(self, name: str) -> Any:
        found = _registered.get(f"{self._name}::{name}")
        if found is None:
            raise AttributeError(f"there is no operator torch.ops.{self._name}.{name}: heliostat stands in its place")
        return found


class _Ops:
    """`torch.ops`: namespaces of operators."""

    def load_library(self, path: Any) -> None:
        """Raises OSError: operators in C++ are for PyTorch's own tensors."""
        raise OSError(f"{path} holds operators for PyTorch's own tensors, which heliostat cannot load")

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__") or not any(key.startswith(f"{name}::") for key in _registered):
            raise AttributeError(f"there are no operators torch.ops.{name}: heliostat stands in its place")
        return _Namespace(name)


ops = _Ops()


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


def register_autograd(op: Any, backward: Any, /, *, setup_context: Any = None, lib: Any = None) -> None:
    """Give an operator of `custom_op`, or its name, a gradient; for operators in C++ nothing."""
    found = op if isinstance(op, CustomOpDef) else _registered.get(op)
    if found is not None:
        found.register_autograd(backward, setup_context=setup_context)
