"""Batch norms in evaluation, merged into the layer before them."""

from __future__ import annotations

import copy
from typing import Any

from ...tensor import Tensor, no_grad
from ..parameter import Parameter


def _merged(
    weight: Tensor, bias: Tensor | None, mean: Tensor, var: Tensor, eps: float, gain: Any, shift: Any, transpose: bool
) -> tuple[Parameter, Parameter]:
    with no_grad():
        scale = (var + eps).rsqrt() if gain is None else gain * (var + eps).rsqrt()
        offset = (0.0 if bias is None else bias) - mean
        new_bias = offset * scale if shift is None else offset * scale + shift
        axes = [1] * weight.ndim
        axes[1 if transpose else 0] = -1
        return Parameter(weight * scale.reshape(axes)), Parameter(new_bias)


def fuse_conv_bn_weights(
    conv_w: Tensor,
    conv_b: Tensor | None,
    bn_rm: Tensor,
    bn_rv: Tensor,
    bn_eps: float,
    bn_w: Tensor | None,
    bn_b: Tensor | None,
    transpose: bool = False,
) -> tuple[Parameter, Parameter]:
    """Weight and bias of one convolution that does what a convolution and a batch norm do."""
    return _merged(conv_w, conv_b, bn_rm, bn_rv, bn_eps, bn_w, bn_b, transpose)


def fuse_linear_bn_weights(
    linear_w: Tensor,
    linear_b: Tensor | None,
    bn_rm: Tensor,
    bn_rv: Tensor,
    bn_eps: float,
    bn_w: Tensor | None,
    bn_b: Tensor | None,
) -> tuple[Parameter, Parameter]:
    """Weight and bias of one linear layer that does what a linear layer and a batch norm do."""
    return _merged(linear_w, linear_b, bn_rm, bn_rv, bn_eps, bn_w, bn_b, False)


def _fused(layer: Any, bn: Any, transpose: bool) -> Any:
    if layer.training or bn.training:
        raise ValueError("Fusion only for eval!")
    made = copy.deepcopy(layer)
    made.weight, made.bias = _merged(
        layer.weight, layer.bias, bn.running_mean, bn.running_var, bn.eps, bn.weight, bn.bias, transpose
    )
    return made


def fuse_conv_bn_eval(conv: Any, bn: Any, transpose: bool = False) -> Any:
    """One convolution that does what a convolution and a batch norm in evaluation do."""
    return _fused(conv, bn, transpose)


def fuse_linear_bn_eval(linear: Any, bn: Any) -> Any:
    """One linear layer that does what a linear layer and a batch norm in evaluation do."""
    if bn.num_features not in (linear.out_features, 1):
        raise ValueError("To fuse, linear.out_features == bn.num_features or bn.num_features == 1")
    return _fused(linear, bn, False)
