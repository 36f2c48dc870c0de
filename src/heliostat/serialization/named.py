"""Classes and functions that files name: how they are written, and what may come of a name.

Importing a module runs its code, and a function by name is called by the module that holds it: names are looked up for
`load(weights_only=False)` alone.
"""

from __future__ import annotations

import dataclasses
import enum
import functools
import sys
from importlib import import_module
from types import BuiltinFunctionType, FunctionType
from typing import Any

from ..diagnostics import FileFormatError, UnsupportedError
from ..tensor.whole import Whole

_ROOMS = tuple(f"heliostat{room}" for room in ("", ".nn.functional", ".nn.init", ".linalg", ".special", ".fft"))
"""Where functions are found whose own modules hold them bare, without what all functions of tensors do."""
FUNCTIONS = (FunctionType, BuiltinFunctionType, type)
"""What files name."""


def name_of(x: Any, path: str) -> list[str]:
    """The module and the qualified name of a class or function. path: where it is, for the error. Raises
    UnsupportedError for one that is not found by them: a lambda, what stands inside of a function."""
    own, name = getattr(x, "__module__", None) or "builtins", getattr(x, "__qualname__", "")
    for module in (own, *_ROOMS):
        # a room that was not imported has given nothing to anybody
        if module in sys.modules and _found(sys.modules[module], name) is x:
            return [module, name]
    what = f"save: {path} is {own}.{name}, which cannot be found by that name"
    raise UnsupportedError(what, help="define it at the top of a module, or save the state_dict")


def _found(module: Any, name: str) -> Any:
    """What a qualified name stands for in a module; None for nothing."""
    return functools.reduce(lambda place, part: getattr(place, part, None), name.split("."), module)


def named(path: str, module: Any, name: Any) -> Any:
    """What is found by a name of a file: a class or a function. Raises FileFormatError for what is neither, and
    UnsupportedError where it is not there."""
    if not isinstance(module, str) or not isinstance(name, str) or not module:
        raise FileFormatError(f"{path}: a class is named by {str(module)[:40]!r} and {str(name)[:40]!r}")
    shown = f"{module}.{name}"
    try:
        found = _found(import_module(module), name)
    except Exception as error:  # what the module's own code does, and names that are none
        what = f"{path}: needs {shown[:80]}, and importing {module[:80]!r} fails: {type(error).__name__}: {error}"
        raise UnsupportedError(what, help="make it importable, or load a state_dict") from error
    if found is None:
        what = f"{path}: needs {shown[:80]}, which is not there"
        raise UnsupportedError(what, help="define it as where the file was saved, or load a state_dict")
    if not isinstance(found, FUNCTIONS):
        raise FileFormatError(f"{path}: {shown[:80]} is no class and no function")
    return found


def class_of(path: str, module: Any, name: Any, what: str) -> Any:
    """The class of an object in a file. what: "whole", "dataclass" or "enum". Raises UnsupportedError for another."""
    found = named(path, module, name)
    if not isinstance(found, type) or not _KINDS[what](found):
        raise UnsupportedError(f"{path}: {module}.{name} is no {_SHOWN[what]}: nothing else is made by name")
    return found


_KINDS = {
    "whole": lambda kind: issubclass(kind, Whole) and kind is not Whole,
    "dataclass": dataclasses.is_dataclass,
    "enum": lambda kind: issubclass(kind, enum.Enum),
}  # fmt: skip
_SHOWN = {"whole": "nn.Module", "dataclass": "dataclass", "enum": "enum"}
