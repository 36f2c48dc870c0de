"""`torch.fx`: graphs of functions are not taken from their source; `export` and `compile` make them by running."""

from __future__ import annotations

from typing import Any

from . import refusal

_HELP = "use torch.export.export, or torch.compile"
symbolic_trace = refusal.function("torch.fx.symbolic_trace", _HELP)
replace_pattern = refusal.function("torch.fx.replace_pattern", _HELP)
for _name in ("Graph", "GraphModule", "Interpreter", "Node", "Proxy", "Tracer", "Transformer"):
    globals()[_name] = refusal.a_class(f"torch.fx.{_name}", _HELP)
_USER_PRESERVED_ATTRIBUTES_KEY = "_user_preserved_attributes"
_CodeOnlyModule = refusal.a_class("torch.fx.graph_module._CodeOnlyModule", _HELP)
_copy_attr = refusal.function("torch.fx.graph_module._copy_attr", _HELP)
Target, Argument = Any, Any
map_arg = refusal.function("torch.fx.node.map_arg", _HELP)


def wrap(fn: Any) -> Any:
    """The function itself: it marks what a trace would keep whole, and there is no trace."""
    return fn
