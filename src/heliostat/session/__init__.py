"""Where compiler and runtime meet: compile a graph for this machine, bind buffers once, run a step by one native
call.

Names are imported when they are first used: a program that comes from the cache needs no compiler.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .executable import Executable
    from .host import host_target
    from .runner import Engine, Runner, engine
    from .session import Session, compile_graph

__all__ = ["Engine", "Executable", "Runner", "Session", "compile_graph", "engine", "host_target"]

_HOMES = {
    **dict.fromkeys(("Engine", "Runner", "engine"), "runner"),
    **dict.fromkeys(("Session", "compile_graph"), "session"),
    "Executable": "executable",
    "host_target": "host",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f".{_HOMES[name]}", __name__), name)
