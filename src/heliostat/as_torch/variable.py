"""`torch.autograd.Variable`, of programs from before tensors had gradients."""

from __future__ import annotations

from typing import Any

from ..tensor import Tensor


class _Kind(type):
    def __instancecheck__(cls, value: Any) -> bool:
        return isinstance(value, Tensor)

    def __call__(cls, data: Tensor, requires_grad: bool = False, volatile: bool = False) -> Tensor:
        """A tensor over the same values, a leaf."""
        return data.detach().requires_grad_(requires_grad)


class Variable(metaclass=_Kind):
    """Makes a leaf of a tensor; every tensor is an instance."""
