"""Gradients of many parameters brought to a norm or a range, in place."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

from ...tensor import FUNCTIONS, Tensor, no_grad
from ...tensor.autograd import usable
from ...tensor.conversion import as_tensor

Tensors = Tensor | Iterable[Tensor]


def _listed(tensors: Tensors) -> list[Tensor]:
    return [tensors] if isinstance(tensors, Tensor) else list(tensors)


def get_total_norm(
    tensors: Tensors, norm_type: float = 2.0, error_if_nonfinite: bool = False, foreach: bool | None = None
) -> Tensor:
    """The norm of all elements of tensors as one vector. `error_if_nonfinite` reads it now."""
    found = _listed(tensors)
    if not found:
        return as_tensor(0.0)
    p = float(norm_type)
    with no_grad():
        norms = FUNCTIONS["stack"]([usable(t).detach().norm(p).to(found[0].dtype) for t in found])
        total: Tensor = norms.amax() if p == math.inf else norms.norm(p)
    if error_if_nonfinite and not math.isfinite(total.item()):
        raise RuntimeError(
            f"The total norm of order {norm_type} for gradients from `parameters` is non-finite, so it cannot be "
            "clipped. To disable this error and scale the gradients by the non-finite norm anyway, set "
            "`error_if_nonfinite=False`"
        )
    return total


def clip_grads_with_norm_(
    parameters: Tensors, max_norm: float, total_norm: Tensor, foreach: bool | None = None
) -> None:
    """Gradients times max_norm / total_norm where that makes them smaller."""
    scale = (max_norm / (total_norm + 1e-6)).clamp(max=1.0)
    with no_grad():
        for p in _listed(parameters):
            if p.grad is not None:
                usable(p.grad).mul_(scale.to(p.grad.dtype))


def clip_grad_norm_(
    parameters: Tensors,
    max_norm: float,
    norm_type: float = 2.0,
    error_if_nonfinite: bool = False,
    foreach: bool | None = None,
) -> Tensor:
    """Gradients of all parameters brought to a norm of at most max_norm, together. Returns the norm before."""
    found = _listed(parameters)
    grads = [p.grad for p in found if p.grad is not None]
    total = get_total_norm(grads, norm_type, error_if_nonfinite, foreach)
    clip_grads_with_norm_(found, max_norm, total, foreach)
    return total


def clip_grad_norm(
    parameters: Tensors,
    max_norm: float,
    norm_type: float = 2.0,
    error_if_nonfinite: bool = False,
    foreach: bool | None = None,
) -> Tensor:
    """`clip_grad_norm_`, by its former name."""
    return clip_grad_norm_(parameters, max_norm, norm_type, error_if_nonfinite, foreach)


def clip_grad_value_(parameters: Tensors, clip_value: float, foreach: bool | None = None) -> None:
    """Gradients within -clip_value .. clip_value."""
    bound = float(clip_value)
    with no_grad():
        for p in _listed(parameters):
            if p.grad is not None:
                usable(p.grad).clamp_(-bound, bound)


def parameters_to_vector(parameters: Iterable[Tensor]) -> Tensor:
    """All parameters' elements in order as one vector."""
    made: Tensor = FUNCTIONS["cat"]([p.reshape(-1) for p in parameters])
    return made


def vector_to_parameters(vec: Tensor, parameters: Iterable[Tensor]) -> None:
    """Parameters' data taken from one vector in order."""
    if not isinstance(vec, Tensor):
        raise TypeError(f"expected Tensor, but got: {type(vec)}")
    at = 0
    for p in parameters:
        count = p.numel()
        p.data = vec[at : at + count].detach().reshape(p.shape)
        at += count


def copy_parameters_and_buffers(source: Any, target: Any) -> None:
    """Values of one module's parameters and buffers written into another's of the same names."""
    target.load_state_dict(source.state_dict())
