"""Derivatives of functions of tensors, with the names of `torch.autograd.functional`."""

from ..tensor.functional import hessian, hvp, jacobian, jvp, vhp, vjp

__all__ = ["hessian", "hvp", "jacobian", "jvp", "vhp", "vjp"]
