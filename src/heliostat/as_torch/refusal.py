"""Names that a program may import and never use: what they stand for is not there, and using one says so."""

from __future__ import annotations

from typing import Any

from ..diagnostics import UnsupportedError


def function(name: str, help: str) -> Any:
    """A function that raises UnsupportedError. `name`: PyTorch's, with its room. `help`: what to do instead."""

    def refused(*args: Any, **kwargs: Any) -> Any:
        raise UnsupportedError(f"{name} is not supported", help=help)

    refused.__name__ = refused.__qualname__ = name.rpartition(".")[2]
    refused.__doc__ = f"Refused: raises UnsupportedError. {help}"
    return refused


def a_class(name: str, help: str) -> Any:
    """A class of which nothing is an instance: making one raises UnsupportedError. Arguments as of `function`."""

    def __init__(self: Any, *args: Any, **kwargs: Any) -> None:
        raise UnsupportedError(f"{name} is not supported", help=help)

    said = f"Refused: making one raises UnsupportedError. {help}"
    return type(name.rpartition(".")[2], (), {"__init__": __init__, "__doc__": said})
