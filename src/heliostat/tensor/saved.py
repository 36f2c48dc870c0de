"""torch.autograd.graph: what it says about saved tensors and nodes, which the graph here does not have.

Rules keep graph values, not tensors, and the compiler decides what is kept in memory.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from ..diagnostics import UnsupportedError
from .core import Tensor
from .pairs import ComplexTensor

__all__ = [
    "GradientEdge", "Node", "allow_mutation_on_saved_tensors", "disable_saved_tensors_hooks", "get_gradient_edge",
    "increment_version", "register_multi_grad_hook", "save_on_cpu", "saved_tensors_hooks",
    "set_warn_on_accumulate_grad_stream_mismatch",
]  # fmt: skip


def _refused(name: str, help: str) -> Any:
    def f(*args: Any, **kwargs: Any) -> Any:
        raise UnsupportedError(f"there is no autograd.graph.{name}: gradients are graph", help=help)

    f.__name__ = f.__qualname__ = name
    f.__doc__ = f"Refused: gradients are graph, of which {name} has no part. Raises UnsupportedError."
    return f


saved_tensors_hooks = _refused("saved_tensors_hooks", "use utils.checkpoint to keep less")
save_on_cpu = _refused("save_on_cpu", "use utils.checkpoint to keep less")
allow_mutation_on_saved_tensors = _refused("allow_mutation_on_saved_tensors", "change a clone()")
register_multi_grad_hook = _refused("register_multi_grad_hook", "use Tensor.register_hook of each")
get_gradient_edge = _refused("get_gradient_edge", "use autograd.grad with the tensor itself")
Node = _refused("Node", "grad_fn is the name of what made a tensor")
GradientEdge = _refused("GradientEdge", "use autograd.grad with the tensor itself")


@contextmanager
def disable_saved_tensors_hooks(error_message: str) -> Iterator[None]:
    """Nothing: there are no such hooks."""
    yield


def increment_version(tensor: Any) -> None:
    """Count tensors, one or several, as changed in place: a gradient that needs their old values is refused."""
    for t in tensor if isinstance(tensor, tuple | list) else (tensor,):
        held: Tensor = t._pair if isinstance(t, ComplexTensor) else t
        (held if held._base is None else held._base)._version += 1


def set_warn_on_accumulate_grad_stream_mismatch(enabled: bool) -> None:
    """Nothing: there are no streams."""
