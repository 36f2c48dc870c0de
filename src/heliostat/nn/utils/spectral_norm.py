"""Spectral norm by a hook before each call, as PyTorch did it before parametrizations: parameter NAME_orig, buffers
NAME_u and NAME_v."""

from __future__ import annotations

from typing import Any

from ...tensor import FUNCTIONS, no_grad
from ..functional.linear import normalize
from ..module import Module
from ..parameter import Parameter
from .parametrizations import as_rows, power_steps


class SpectralNorm:
    """The hook: sets the weight to NAME_orig over its largest singular value."""

    def __init__(self, name: str, n_power_iterations: int, dim: int, eps: float) -> None:
        if n_power_iterations <= 0:
            raise ValueError(f"Expected n_power_iterations to be positive, but got {n_power_iterations}")
        self.name, self.n_power_iterations, self.dim, self.eps = name, n_power_iterations, dim, eps

    def compute_weight(self, module: Module, do_power_iteration: bool) -> Any:
        """The weight now."""
        weight = getattr(module, self.name + "_orig")
        u, v = getattr(module, self.name + "_u"), getattr(module, self.name + "_v")
        w = as_rows(weight, self.dim)
        if do_power_iteration:
            with no_grad():
                a, b = power_steps(w.detach(), u, v, self.n_power_iterations, self.eps)
                u.copy_(a)
                v.copy_(b)
        u, v = u.clone(), v.clone()
        return weight / (u * (w @ v)).sum()

    def __call__(self, module: Module, inputs: Any) -> None:
        setattr(module, self.name, self.compute_weight(module, module.training))


def spectral_norm(
    module: Module, name: str = "weight", n_power_iterations: int = 1, eps: float = 1e-12, dim: int | None = None
) -> Module:
    """weight over its largest singular value, found by power iteration while training. Source: arXiv 1802.05957."""
    if any(isinstance(h, SpectralNorm) and h.name == name for h in module._forward_pre_hooks.values()):
        raise RuntimeError(f"Cannot register two spectral_norm hooks on the same parameter {name}")
    if dim is None:
        dim = 1 if type(module).__name__.startswith("ConvTranspose") else 0
    hook = SpectralNorm(name, n_power_iterations, dim, eps)
    weight = module._parameters[name]
    assert weight is not None
    w = as_rows(weight.detach(), dim)
    del module._parameters[name]
    module.register_parameter(name + "_orig", weight)
    setattr(module, name, weight.detach())
    module.register_buffer(name + "_u", normalize(FUNCTIONS["randn"](w.shape[0], dtype=w.dtype), dim=0, eps=eps))
    module.register_buffer(name + "_v", normalize(FUNCTIONS["randn"](w.shape[1], dtype=w.dtype), dim=0, eps=eps))
    module.register_forward_pre_hook(hook)
    return module


def remove_spectral_norm(module: Module, name: str = "weight") -> Module:
    """Make the weight a plain parameter again."""
    for key, hook in module._forward_pre_hooks.items():
        if isinstance(hook, SpectralNorm) and hook.name == name:
            with no_grad():
                weight = hook.compute_weight(module, False)
            delattr(module, name)
            for end in ("_u", "_v", "_orig"):
                delattr(module, name + end)
            module.register_parameter(name, Parameter(weight.detach()))
            del module._forward_pre_hooks[key]
            return module
    raise ValueError(f"spectral_norm of '{name}' not found in {module}")
