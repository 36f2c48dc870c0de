"""Whether functions record what gradients need."""

from __future__ import annotations

import functools
from contextvars import ContextVar
from typing import Any

grad_enabled: ContextVar[bool] = ContextVar("heliostat_grad", default=True)


class grad_mode:
    """Whether functions record what gradients need: a context manager and a decorator. `no_grad` makes one."""

    def __init__(self, on: bool) -> None:
        self.on = on
        self.before: list[Any] = []

    def __enter__(self) -> None:
        self.before.append(grad_enabled.set(self.on))

    def __exit__(self, *rest: object) -> None:
        grad_enabled.reset(self.before.pop())

    def __call__(self, function: Any) -> Any:
        @functools.wraps(function)
        def run(*args: Any, **kwargs: Any) -> Any:
            with grad_mode(self.on):
                return function(*args, **kwargs)

        return run


def is_grad_enabled() -> bool:
    """Whether functions record what gradients need."""
    return grad_enabled.get()
