"""Functions with gradients of their own, with the names of `torch.autograd.function`."""

from ..tensor.function import Function, FunctionCtx, once_differentiable

__all__ = ["Function", "FunctionCtx", "once_differentiable"]
