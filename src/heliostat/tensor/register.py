"""The tables of functions and methods: `@function` adds one under its name and others, `attach` puts them on Tensor."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, TypeVar

from ..ops.amp import NAMED
from .autocast import ruled, switched

F = TypeVar("F", bound=Callable[..., Any])

FUNCTIONS: dict[str, Any] = {}
METHODS: dict[str, Any] = {}


def function(*names: str, method: bool = True, in_place: bool = False) -> Callable[[F], F]:
    """Publish a function under its own name and `names`, and as methods of the same names.

    `in_place`: methods with an underscore too, which write the result into the tensor. Functions that `ops.amp` names
    follow its rules, but not in place."""

    def add(f: F) -> F:
        written = f
        if f.__name__.rstrip("_") in NAMED:
            written, f = switched(None)(f), ruled(f)
        for name in (f.__name__.rstrip("_"), *names):
            FUNCTIONS[name] = f
            if method:
                METHODS[name] = f
            if in_place:
                METHODS[name + "_"] = _in_place(name, written)
        return f

    return add


def method(*names: str) -> Callable[[F], F]:
    """Publish a method under its own name and `names`."""

    def add(f: F) -> F:
        for name in (f.__name__, *names):
            METHODS[name] = f
        return f

    return add


def _in_place(name: str, f: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(f)
    def run(self: Any, *args: Any, **kwargs: Any) -> Any:
        return self._in_place(f, *args, **kwargs)

    run.__name__ = name + "_"
    run.__doc__ = f"`{name}`, written into this tensor, which is returned."
    return run


def attach(cls: type) -> None:
    """Put all methods on a class, but for what it has itself."""
    for name, f in METHODS.items():
        if name not in cls.__dict__:
            setattr(cls, name, f)
