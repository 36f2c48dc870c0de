"""Function transforms, with torch.func's names: derivatives of functions as functions, batching, calls of modules
with parameters from outside.
"""

from __future__ import annotations

from collections.abc import Sequence

from .diagnostics import UnsupportedError
from .nn.module import Module
from .nn.normalization import BatchNorm1d, BatchNorm2d, BatchNorm3d
from .nn.utils.stateless import functional_call
from .tensor import FUNCTIONS, Tensor
from .tensor.transforms import (
    functionalize,
    grad,
    grad_and_value,
    hessian,
    jacfwd,
    jacrev,
    jvp,
    linearize,
    vjp,
    vmap,
)

__all__ = [
    "functional_call", "functionalize", "grad", "grad_and_value", "hessian", "jacfwd", "jacrev", "jvp", "linearize",
    "replace_all_batch_norm_modules_", "stack_module_state", "vjp", "vmap",
]  # fmt: skip


def stack_module_state(models: Sequence[Module]) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """(parameters, buffers) of modules of one class, by name, each with a new leading axis, for vmap over models.

    Parameters are leaves that gather gradients where the modules' do. Raises UnsupportedError for modules of several
    classes, or of different modes."""
    if not models:
        raise UnsupportedError("stack_module_state needs at least one module")
    first = models[0]
    if any(type(m) is not type(first) for m in models):
        raise UnsupportedError("stack_module_state takes modules of one class")
    if any(m.training is not first.training for m in models):
        raise UnsupportedError("stack_module_state takes modules of one mode", help="call train() or eval() of all")
    parameters = _stacked([dict(m.named_parameters()) for m in models])
    buffers = _stacked([dict(m.named_buffers()) for m in models])
    return parameters, buffers


def _stacked(tables: Sequence[dict[str, Tensor]]) -> dict[str, Tensor]:
    found: dict[str, Tensor] = {}
    for name, t in tables[0].items():
        made: Tensor = FUNCTIONS["stack"]([table[name].detach() for table in tables])
        found[name] = made.requires_grad_(True) if t.requires_grad else made
    return found


def replace_all_batch_norm_modules_(root: Module) -> Module:
    """root, whose batch norms keep no running statistics any more: vmap cannot write those of one element."""
    for module in root.modules():
        if isinstance(module, BatchNorm1d | BatchNorm2d | BatchNorm3d):
            module.running_mean = module.running_var = None
            module.num_batches_tracked = None
            module.track_running_stats = False
    return root
