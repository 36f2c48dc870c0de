"""Whether functions record what gradients need."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Generator
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

        @functools.wraps(function)
        def steps(*args: Any, **kwargs: Any) -> Any:
            return _resumed(function(*args, **kwargs), self.on)

        return steps if inspect.isgeneratorfunction(function) else run


def _resumed(made: Generator[Any, Any, Any], on: bool) -> Generator[Any, Any, Any]:
    """A generator that runs its own part of each step in a mode, and its caller in that of the caller."""
    advance = functools.partial(next, made)
    try:
        while True:
            try:
                with grad_mode(on):
                    found = advance()
            except StopIteration as end:
                return end.value
            try:
                advance = functools.partial(made.send, (yield found))
            except GeneratorExit:
                raise
            except BaseException as error:
                advance = functools.partial(made.throw, error)
    finally:
        with grad_mode(on):
            made.close()


def is_grad_enabled() -> bool:
    """Whether functions record what gradients need."""
    return grad_enabled.get()
