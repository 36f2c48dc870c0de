"""Names of `torch` itself that heliostat leaves to programs from there: constructors by type, the version."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np

from ..diagnostics import DTypeError, UnsupportedError
from ..tensor import PUBLIC, Tensor
from ..tensor.autocast import get_autocast_dtype, is_autocast_enabled
from ..tensor.conversion import of_sizes_or_data
from ..tensor.dtypes import TYPES, set_default_dtype
from ..tensor.storage import UntypedStorage as UntypedStorage
from . import refusal
from .version import __version__ as __version__

__all__ = [
    *TYPES, "SymBool", "SymFloat", "SymInt", "UntypedStorage",
    "compile", "get_autocast_cpu_dtype", "get_autocast_gpu_dtype",
    "is_autocast_cpu_enabled", "set_default_tensor_type", "spmm", "typename",
]  # fmt: skip

uint64 = np.dtype("uint64")  # which tables of dtypes name: tensors of it are refused
Stream = refusal.a_class("torch.Stream", "programs run in one order")
spmm = PUBLIC["mm"]  # of dense matrices: there are no others
SymInt, SymFloat, SymBool = int, float, bool


def _constructor(name: str, dtype: Any) -> Any:
    """A class as PyTorch's `FloatTensor`, of which tensors on the cpu of its dtype are instances."""

    class Kind(type):
        def __instancecheck__(cls, value: Any) -> bool:
            return isinstance(value, Tensor) and value.dtype == dtype and value.device.type == "cpu"

        def __subclasscheck__(cls, other: type) -> bool:
            return other is cls

        def __call__(cls, *args: Any) -> Tensor:
            """A tensor of data, a sequence, or of the sizes that are given, with the dtype of the name."""
            return of_sizes_or_data(args, dtype)._place("cpu")

    return Kind(name, (), {"__doc__": f"Makes tensors of {dtype}: of a sequence, or of sizes.", "dtype": dtype})


globals().update({name: _constructor(name, dtype) for name, dtype in TYPES.items()})


def compile(
    model: Any = None, *, dynamic: bool | None = None, disable: bool = False, fullgraph: bool = False, **choices: Any
) -> Any:
    """`heliostat.compile`, with arguments that choose among PyTorch's compilers: `mode`, `backend` and `options` change
    nothing, a captured step is one graph whatever `fullgraph` says, and `disable` returns the function itself."""
    if unknown := choices.keys() - _CHOICES:
        raise TypeError(f"compile() takes no {', '.join(sorted(unknown))}")
    if model is None:
        return partial(compile, dynamic=dynamic, disable=disable)
    return model if disable else PUBLIC["compile"](model, dynamic=dynamic)


_CHOICES = frozenset({"backend", "isolate_recompiles", "mode", "name", "options", "recompile_limit", "shapes_spec"})


def set_default_tensor_type(kind: Any) -> None:
    """Make the dtype of a constructor, `torch.DoubleTensor` or its name, the default. Raises DTypeError for one that is
    no float, and UnsupportedError for one of a GPU: `set_default_device` names that."""
    name = kind.rpartition(".")[2] if isinstance(kind, str) else kind.__name__
    if isinstance(kind, str) and ".cuda." in kind:
        raise UnsupportedError(f"set_default_tensor_type({kind!r}) is not supported", help="use set_default_device")
    if name not in TYPES:
        raise DTypeError(f"set_default_tensor_type: there is no type {name!r}")
    set_default_dtype(TYPES[name])


def typename(obj: Any) -> str:
    """The name of a tensor's type as PyTorch's `type()` has it, or of an object's class with its module."""
    if isinstance(obj, Tensor):
        return str(obj.type())
    kind = obj if isinstance(obj, type) else type(obj)
    return kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"


def _assert(condition: Any, message: str) -> None:
    """Raise AssertionError with the message where a condition does not hold."""
    if not condition:
        raise AssertionError(message)


def _check(condition: Any, message: Any = None) -> None:
    """Raise RuntimeError where a condition does not hold. `message`: a function that returns what it says."""
    if not condition:
        raise RuntimeError(message() if message is not None else "Expected cond to be True, but got False.")


def get_autocast_gpu_dtype() -> Any:
    """The dtype of autocast on GPUs."""
    return get_autocast_dtype("cuda")


def get_autocast_cpu_dtype() -> Any:
    """The dtype of autocast on the cpu."""
    return get_autocast_dtype("cpu")


def is_autocast_cpu_enabled() -> bool:
    """Whether autocast is on for the cpu."""
    return bool(is_autocast_enabled("cpu"))
