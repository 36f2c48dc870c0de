"""What `load` may call of PyTorch files besides data: classes and functions that the caller names, as
torch.serialization has them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from . import torch_file

SafeGlobal = Callable[..., Any] | tuple[Callable[..., Any], str]


def _name(item: SafeGlobal) -> tuple[str, Callable[..., Any]]:
    own = f"{getattr(item, '__module__', '')}.{getattr(item, '__qualname__', '')}"
    call, name = item if isinstance(item, tuple) else (item, own)
    if not callable(call) or not isinstance(name, str) or "." not in name:
        raise TypeError(f"a safe global is a class or a function, or such with its full name, not {item!r}")
    module, _, inner = name.rpartition(".")
    return f"{module} {inner}", call


def add_safe_globals(safe_globals: Sequence[SafeGlobal]) -> None:
    """Let `load` make instances of classes and call functions that files name: (function, "module.name") for one that
    is named otherwise in files. They run with what the file says: name only what is safe with any arguments."""
    torch_file.allowed.update(map(_name, safe_globals))


def get_safe_globals() -> list[SafeGlobal]:
    """What was named so far."""
    found: list[SafeGlobal] = []
    for name, call in torch_file.allowed.items():
        module, _, inner = name.partition(" ")
        own = (call.__module__, call.__qualname__) == (module, inner)
        found.append(call if own else (call, f"{module}.{inner}"))
    return found


def clear_safe_globals() -> None:
    """Take all names back."""
    torch_file.allowed.clear()


class safe_globals:
    """`add_safe_globals` inside of a `with`."""

    def __init__(self, safe_globals: Sequence[SafeGlobal]) -> None:
        self._given = list(safe_globals)
        self._before: dict[str, Callable[..., Any]] = {}

    def __enter__(self) -> safe_globals:
        self._before = dict(torch_file.allowed)
        add_safe_globals(self._given)
        return self

    def __exit__(self, *rest: object) -> None:
        torch_file.allowed.clear()
        torch_file.allowed.update(self._before)
