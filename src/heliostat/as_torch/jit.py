"""`torch.jit`: functions stay what they are in Python; marks for the script compiler are taken and change nothing."""

from __future__ import annotations

from contextlib import nullcontext
from typing import Any
from typing import Final as Final

from . import refusal

_HELP = "use torch.compile to make a program of a function, torch.export.save to keep one"
trace = refusal.function("torch.jit.trace", _HELP)
trace_module = refusal.function("torch.jit.trace_module", _HELP)
freeze = refusal.function("torch.jit.freeze", _HELP)
load = refusal.function("torch.jit.load", _HELP)
save = refusal.function("torch.jit.save", _HELP)
ScriptModule = refusal.a_class("torch.jit.ScriptModule", _HELP)
ScriptFunction = refusal.a_class("torch.jit.ScriptFunction", _HELP)
BroadcastingList1 = BroadcastingList2 = BroadcastingList3 = list


def script(obj: Any, *args: Any, **kwargs: Any) -> Any:
    """The function or module itself: it runs as Python, and `compile` makes one program of it."""
    return obj


def ignore(drop: Any = False, **kwargs: Any) -> Any:
    """The function itself, or a decorator that returns it: `@ignore` and `@ignore(drop=True)`."""
    return drop if callable(drop) else lambda fn: fn


def export(fn: Any) -> Any:
    """The function itself."""
    return fn


unused = script_method = script_if_tracing = _script_if_tracing = interface = _overload_method = _overload = export


def is_scripting() -> bool:
    """False: nothing is compiled from source."""
    return False


is_tracing = is_scripting


def annotate(the_type: Any, the_value: Any) -> Any:
    """The value."""
    return the_value


def optimized_execution(should_optimize: bool) -> Any:
    """A context that changes nothing."""
    return nullcontext()


fuser = optimized_execution
