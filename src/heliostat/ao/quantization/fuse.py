"""`fuse_modules`: modules that stand one behind the other become one module, and identities."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from typing import Any

from ... import nn
from ...diagnostics import UnsupportedError
from ...nn.utils.fusion import fuse_conv_bn_eval, fuse_linear_bn_eval
from ...nn.utils.parametrize import type_before_parametrizations
from ..nn import intrinsic as fused

Fuser = Callable[..., Any]


def _alike(*modules: Any) -> None:
    if len({m.training for m in modules}) > 1:
        raise ValueError("modules to be fused must all be in training mode, or all in evaluation")


def _trainable(product: Any, bn: Any) -> None:
    count = product.out_features if isinstance(product, nn.Linear) else product.out_channels
    if bn.num_features != count or not bn.affine or not bn.track_running_stats:
        raise ValueError(f"{bn} cannot be trained together with {product}: it needs {count} features, a weight and "
                         "running statistics")  # fmt: skip


def _by_class(table: Any, module: Any) -> Any:
    found = table.get(type(module))
    if found is None:
        raise UnsupportedError(f"there is no fused module for {type(module).__name__}")
    return found


_BN = {nn.Conv1d: fused.ConvBn1d, nn.Conv2d: fused.ConvBn2d, nn.Conv3d: fused.ConvBn3d}
_BN_RELU = {nn.Conv1d: fused.ConvBnReLU1d, nn.Conv2d: fused.ConvBnReLU2d, nn.Conv3d: fused.ConvBnReLU3d}
_RELU = {nn.Conv1d: fused.ConvReLU1d, nn.Conv2d: fused.ConvReLU2d, nn.Conv3d: fused.ConvReLU3d}


def fuse_conv_bn(is_qat: bool, conv: Any, bn: Any) -> Any:
    """A convolution and a batch norm: a pair to train, or one convolution in evaluation."""
    _alike(conv, bn)
    if not is_qat:
        return fuse_conv_bn_eval(conv, bn)
    _trainable(conv, bn)
    return _by_class(_BN, conv)(conv, bn)


def fuse_conv_bn_relu(is_qat: bool, conv: Any, bn: Any, relu: Any) -> Any:
    """A convolution, a batch norm and ReLU: three to train, or a convolution with ReLU in evaluation."""
    _alike(conv, bn, relu)
    if not is_qat:
        return _by_class(_RELU, conv)(fuse_conv_bn_eval(conv, bn), relu)
    _trainable(conv, bn)
    return _by_class(_BN_RELU, conv)(conv, bn, relu)


def fuse_linear_bn(is_qat: bool, linear: Any, bn: Any) -> Any:
    """A linear layer and a batch norm: a pair to train, or one linear layer in evaluation."""
    _alike(linear, bn)
    if not is_qat:
        return fuse_linear_bn_eval(linear, bn)
    _trainable(linear, bn)
    return fused.LinearBn1d(linear, bn)


def fuse_convtranspose_bn(is_qat: bool, convt: Any, bn: Any) -> Any:
    """A transposed convolution and a batch norm, in evaluation only."""
    _alike(convt, bn)
    if is_qat:
        raise UnsupportedError("transposed convolutions are not trained together with batch norms")
    return fuse_conv_bn_eval(convt, bn, transpose=True)


def _pair(cls: Any) -> Fuser:
    return lambda is_qat, first, second: cls(first, second)


_CONV_BN = ((nn.Conv1d, nn.BatchNorm1d), (nn.Conv2d, nn.BatchNorm2d), (nn.Conv3d, nn.BatchNorm3d))
_FUSERS: dict[tuple[type, ...], Fuser] = {
    **dict.fromkeys(_CONV_BN, fuse_conv_bn), **{(*pair, nn.ReLU): fuse_conv_bn_relu for pair in _CONV_BN},
    **{(conv, nn.ReLU): _pair(cls) for conv, cls in _RELU.items()},
    (nn.Linear, nn.BatchNorm1d): fuse_linear_bn, (nn.Linear, nn.ReLU): _pair(fused.LinearReLU),
    (nn.Linear, nn.LeakyReLU): _pair(fused.LinearLeakyReLU), (nn.Linear, nn.Tanh): _pair(fused.LinearTanh),
    (nn.BatchNorm2d, nn.ReLU): _pair(fused.BNReLU2d), (nn.BatchNorm3d, nn.ReLU): _pair(fused.BNReLU3d),
    (nn.ConvTranspose1d, nn.BatchNorm1d): fuse_convtranspose_bn,
    (nn.ConvTranspose2d, nn.BatchNorm2d): fuse_convtranspose_bn,
    (nn.ConvTranspose3d, nn.BatchNorm3d): fuse_convtranspose_bn,
}  # fmt: skip


def get_fuser_method(op_list: tuple[type, ...], additional_fuser_method_mapping: Any = None) -> Fuser:
    """What makes one module of modules of these classes. Raises UnsupportedError where there is none."""
    found = {**_FUSERS, **(additional_fuser_method_mapping or {})}.get(tuple(op_list))
    if found is None:
        raise UnsupportedError(f"there is no fusion of {', '.join(c.__name__ for c in op_list)}")
    return found


def fuse_known_modules(mod_list: Sequence[Any], is_qat: bool, additional_fuser_method_mapping: Any = None) -> list[Any]:
    """The fused module, with hooks before the first and behind the last, and identities for the others."""
    classes = tuple(type_before_parametrizations(m) for m in mod_list)
    made = get_fuser_method(classes, additional_fuser_method_mapping)(is_qat, *mod_list)
    for source, hooks, register in (
        (mod_list[0], "_forward_pre_hooks", made.register_forward_pre_hook),
        (mod_list[-1], "_forward_hooks", made.register_forward_hook),
    ):
        for hook in getattr(source, hooks).values():
            register(hook)
        getattr(source, hooks).clear()
    return [made, *(nn.Identity().train(mod_list[0].training) for _ in mod_list[1:])]


def _fuse(model: nn.Module, names: Any, is_qat: bool, inplace: bool, fuser_func: Any, options: Any) -> nn.Module:
    model = model if inplace else copy.deepcopy(model)
    groups = [names] if all(isinstance(n, str) for n in names) else names
    added = (options or {}).get("additional_fuser_method_mapping", {})
    for group in groups:
        for name, made in zip(group, fuser_func([model.get_submodule(n) for n in group], is_qat, added), strict=True):
            model.set_submodule(name, made)
    return model


def fuse_modules(
    model: nn.Module, modules_to_fuse: Any, inplace: bool = False, fuser_func: Any = fuse_known_modules,
    fuse_custom_config_dict: Any = None,
) -> nn.Module:  # fmt: skip
    """A copy of a model in evaluation in which modules of these names, or of each list of names, are one; the model
    itself if `inplace`. Batch norms are folded into weights. Raises UnsupportedError for classes that do not fuse."""
    return _fuse(model, modules_to_fuse, False, inplace, fuser_func, fuse_custom_config_dict)


def fuse_modules_qat(
    model: nn.Module, modules_to_fuse: Any, inplace: bool = False, fuser_func: Any = fuse_known_modules,
    fuse_custom_config_dict: Any = None,
) -> nn.Module:  # fmt: skip
    """`fuse_modules` of a model that is to be trained by `prepare_qat`: batch norms stay."""
    return _fuse(model, modules_to_fuse, True, inplace, fuser_func, fuse_custom_config_dict)
