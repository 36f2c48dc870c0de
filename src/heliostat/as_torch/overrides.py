"""`torch.overrides`: classes cannot take PyTorch's functions over here, so that code which asks whether one does goes
on, and what would call such a class is refused."""

from __future__ import annotations

from typing import Any

from ..tensor import Tensor
from . import refusal

_HELP = "subclass Tensor and write its methods, or wrap the functions that are called"
handle_torch_function = refusal.function("torch.overrides.handle_torch_function", _HELP)
redispatch_function = refusal.function("torch.overrides.redispatch_function", _HELP)
get_overridable_functions = refusal.function("torch.overrides.get_overridable_functions", _HELP)
get_testing_overrides = refusal.function("torch.overrides.get_testing_overrides", _HELP)
TorchFunctionMode = refusal.a_class("torch.overrides.TorchFunctionMode", _HELP)
BaseTorchFunctionMode = refusal.a_class("torch.overrides.BaseTorchFunctionMode", _HELP)


def has_torch_function(relevant_args: Any) -> bool:
    """False: no argument takes a function over."""
    return False


def has_torch_function_unary(obj: Any) -> bool:
    """False."""
    return False


def has_torch_function_variadic(*args: Any) -> bool:
    """False."""
    return False


def wrap_torch_function(dispatcher: Any) -> Any:
    """A decorator that returns the function itself."""
    return lambda func: func


def is_tensor_like(inp: Any) -> bool:
    """Whether it is a tensor."""
    return isinstance(inp, Tensor)


def is_tensor_method_or_property(func: Any) -> bool:
    """Whether it is a method or a property of `Tensor`."""
    return any(own is func for own in vars(Tensor).values())


def get_ignored_functions() -> set[Any]:
    """No functions."""
    return set()


get_default_nowrap_functions = get_ignored_functions


def resolve_name(f: Any) -> str:
    """The name of a function with PyTorch's room: `torch.add`."""
    name = getattr(f, "__qualname__", None) or type(f).__qualname__
    return f"torch.{name}"
