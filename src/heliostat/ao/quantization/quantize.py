"""Observe a model, then put quantized modules in the place of its own: `prepare`, `convert` and others."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Callable, Sequence
from typing import Any

from ... import nn
from ...diagnostics import UnsupportedError
from ...ir.types import f16
from ...nn.utils.parametrize import type_before_parametrizations
from ...tensor.quantized import qint8, quint4x2, quint8
from ..nn.intrinsic.fused import Fused
from ..nn.quantized.functional_modules import Functional
from ..nn.stubs import DeQuantStub, QuantWrapper
from .mappings import (
    DEFAULT_MODULE_TO_ACT_POST_PROCESS,
    Mapping,
    get_default_dynamic_quant_module_mappings,
    get_default_qat_module_mappings,
    get_default_qconfig_propagation_list,
    get_default_static_quant_module_mappings,
)
from .observer import is_activation_post_process
from .qconfig import (
    QConfig,
    activation_is_memoryless,
    check_qconfig,
    default_dynamic_qconfig,
    float16_dynamic_qconfig,
    float_qparams_weight_only_qconfig,
    float_qparams_weight_only_qconfig_4bit,
)
from .qconfig_mapping import QConfigMapping


def _qconfig(module: Any) -> QConfig | None:
    found: QConfig | None = module.__dict__.get("qconfig")
    return found


# --- qconfigs ---------------------------------------------------------------------------------------------------------
def propagate_qconfig_(module: nn.Module, qconfig_dict: Any = None, prepare_custom_config_dict: Any = None) -> None:
    """Give each module a qconfig: its own, that of its name or its class in `qconfig_dict` (or a QConfigMapping), or
    that of the module that holds it. Raises UnsupportedError for other options."""
    if prepare_custom_config_dict:
        raise UnsupportedError("propagate_qconfig_: prepare_custom_config_dict does not exist here",
                               help="set qconfig = None on modules that stay as they are")  # fmt: skip
    if isinstance(qconfig_dict, QConfigMapping):
        counts: dict[Any, int] = {}
        for name, each in module.named_modules():
            key = name.rpartition(".")[0], type(each)
            counts[key] = counts.get(key, -1) + 1
            if "qconfig" not in each.__dict__:
                each.qconfig = qconfig_dict.qconfig_of(name, each, counts[key])
        return
    _propagate(module, qconfig_dict or {}, None, "")


def _propagate(module: Any, given: dict[Any, Any], above: QConfig | None, prefix: str) -> None:
    found = given.get(prefix, given.get(type_before_parametrizations(module), above))
    found = module.__dict__.get("qconfig", found)
    check_qconfig(found, module)
    module.qconfig = found
    for name, child in module.named_children():
        _propagate(child, given, found, f"{prefix}.{name}" if prefix else name)


# --- observing --------------------------------------------------------------------------------------------------------
def observe_output(module: Any, args: Any, output: Any) -> Any:
    """A hook: the output, seen by the module's observer."""
    return module.activation_post_process(output)


def observe_input(module: Any, args: Any) -> Any:
    """A hook: the first argument, seen by the module's observer."""
    return module.activation_post_process(args[0])


def _observe(module: Any, maker: Any = None) -> None:
    qconfig = _qconfig(module)
    if qconfig is None or isinstance(module, DeQuantStub):
        return
    module.add_module("activation_post_process", qconfig.activation() if maker is None else maker())
    if activation_is_memoryless(qconfig):
        module.register_forward_pre_hook(observe_input, prepend=True)
    else:
        module.register_forward_hook(observe_output, prepend=True)


def _add_observers(module: Any, classes: set[Any], whole: set[Any]) -> None:
    for child in list(module.children()):
        cls = type_before_parametrizations(child)
        if cls is nn.Dropout:
            continue
        if isinstance(child, Functional):
            if (qconfig := _qconfig(child)) is not None:
                child.activation_post_process = qconfig.activation()
        elif isinstance(child, Fused) or cls in whole:
            _observe(child)
        elif child.training and cls in DEFAULT_MODULE_TO_ACT_POST_PROCESS:  # their range is known
            _observe(child, DEFAULT_MODULE_TO_ACT_POST_PROCESS[cls])
        else:
            _add_observers(child, classes, whole)
    leaf = not any(True for _ in module.children())
    rounded = "weight_fake_quant" in module._modules
    if (leaf or rounded) and type_before_parametrizations(module) in classes and not isinstance(module, nn.Sequential):
        _observe(module)


def prepare(
    model: nn.Module, inplace: bool = False, allow_list: Any = None,
    observer_non_leaf_module_list: Sequence[Any] | None = None, prepare_custom_config_dict: Any = None,
) -> nn.Module:  # fmt: skip
    """A copy of the model whose modules with a qconfig observe what they compute; the model itself if `inplace`.

    allow_list: classes of modules that are observed; observer_non_leaf_module_list: those that are observed though they
    have modules inside. Raises UnsupportedError for custom modules."""
    if prepare_custom_config_dict:
        raise UnsupportedError("prepare: prepare_custom_config_dict does not exist here",
                               help="give convert() a mapping of its own")  # fmt: skip
    model = model if inplace else copy.deepcopy(model)
    propagate_qconfig_(model)
    if not any(_qconfig(m) for m in model.modules()):
        warnings.warn("prepare: no module has a qconfig; set it on the model or its modules", stacklevel=2)
    classes = get_default_qconfig_propagation_list() if allow_list is None else set(allow_list)
    _add_observers(model, classes, set(observer_non_leaf_module_list or ()))
    return model


def prepare_qat(model: nn.Module, mapping: Mapping | None = None, inplace: bool = False) -> nn.Module:
    """A copy of a model in training mode whose weights and outputs are fake quantized. mapping: which module takes the
    place of which. Raises ValueError in evaluation mode."""
    if not model.training:
        raise ValueError("prepare_qat only works on models in training mode")
    mapping = get_default_qat_module_mappings() if mapping is None else mapping
    model = model if inplace else copy.deepcopy(model)
    propagate_qconfig_(model)
    convert(model, mapping, inplace=True, remove_qconfig=False)
    return prepare(model, inplace=True, observer_non_leaf_module_list=list(mapping.values()))


def add_quant_dequant(module: nn.Module) -> nn.Module:
    """Put a QuantWrapper around each module without children that has a qconfig; the module is changed, and is what
    holds them is returned."""
    if not any(True for _ in module.children()) and _qconfig(module):
        return QuantWrapper(module)
    for name, child in list(module.named_children()):
        module._modules[name] = add_quant_dequant(child)
    return module


# --- conversion -------------------------------------------------------------------------------------------------------
def swap_module(
    mod: Any, mapping: Mapping, custom_module_class_mapping: Any = None, use_precomputed_fake_quant: bool = False
) -> Any:
    """What `from_float` of the class that a mapping has for a module makes of it, with its hooks but those that
    observe; the module itself where it has no qconfig, or the mapping no class."""
    cls = type_before_parametrizations(mod)
    custom = (custom_module_class_mapping or {}).get(cls)
    if _qconfig(mod) is None or (custom is None and cls not in mapping):
        return mod
    if custom is not None:
        made = custom.from_observed(mod)
    elif use_precomputed_fake_quant:
        made = mapping[cls].from_float(mod, use_precomputed_fake_quant=True)
    else:
        made = mapping[cls].from_float(mod)
    for hook in mod._forward_pre_hooks.values():
        if hook is not observe_input:
            made.register_forward_pre_hook(hook)
    for hook in mod._forward_hooks.values():
        if hook is not observe_output:
            made.register_forward_hook(hook)
    return made


def _convert(module: Any, mapping: Mapping, custom: Any, precomputed: bool) -> None:
    for name, child in list(module.named_children()):
        if not isinstance(child, Fused) and type_before_parametrizations(child) not in custom:
            _convert(child, mapping, custom, precomputed)
        module._modules[name] = swap_module(child, mapping, custom, precomputed)


def _forget(module: Any) -> None:
    """Take qconfigs and observers away."""
    for each in list(module.modules()):
        each.__dict__.pop("qconfig", None)
        if is_activation_post_process(each._modules.get("activation_post_process")):
            del each._modules["activation_post_process"]
        for hooks, observing in ((each._forward_hooks, observe_output), (each._forward_pre_hooks, observe_input)):
            for key in [k for k, hook in hooks.items() if hook is observing]:
                del hooks[key]


def convert(
    module: nn.Module, mapping: Mapping | None = None, inplace: bool = False, remove_qconfig: bool = True,
    is_reference: bool = False, convert_custom_config_dict: Any = None, use_precomputed_fake_quant: bool = False,
) -> nn.Module:  # fmt: skip
    """A copy of an observed model with quantized modules in the place of those that have a qconfig and a class in the
    mapping; the model itself if `inplace`. Raises UnsupportedError for is_reference."""
    if is_reference:
        raise UnsupportedError("convert: reference modules (is_reference=True) do not exist here")
    mapping = get_default_static_quant_module_mappings() if mapping is None else mapping
    custom = (convert_custom_config_dict or {}).get("observed_to_quantized_custom_module_class", {})
    module = module if inplace else copy.deepcopy(module)
    _convert(module, mapping, custom, use_precomputed_fake_quant)
    if remove_qconfig:
        _forget(module)
    return module


def quantize(
    model: nn.Module, run_fn: Callable[..., Any], run_args: Sequence[Any], mapping: Mapping | None = None,
    inplace: bool = False,
) -> nn.Module:  # fmt: skip
    """The quantized form of a model of floats with qconfigs, calibrated by run_fn(model, *run_args)."""
    model = model if inplace else copy.deepcopy(model)
    model.eval()
    prepare(model, inplace=True)
    run_fn(model, *run_args)
    return convert(model, mapping, inplace=True)


def quantize_qat(
    model: nn.Module, run_fn: Callable[..., Any], run_args: Sequence[Any], inplace: bool = False
) -> nn.Module:
    """The quantized form of a model of floats with qconfigs, trained by run_fn(model, *run_args)."""
    model = model if inplace else copy.deepcopy(model)
    model.train()
    prepare_qat(model, inplace=True)
    run_fn(model, *run_args)
    return convert(model, inplace=True)


_DYNAMIC = {
    qint8: (default_dynamic_qconfig, (nn.Linear, nn.LSTM, nn.GRU, nn.LSTMCell, nn.RNNCell, nn.GRUCell)),
    f16: (float16_dynamic_qconfig, (nn.Linear, nn.LSTM, nn.GRU, nn.LSTMCell, nn.RNNCell, nn.GRUCell)),
    quint8: (float_qparams_weight_only_qconfig, (nn.EmbeddingBag, nn.Embedding)),
    quint4x2: (float_qparams_weight_only_qconfig_4bit, (nn.EmbeddingBag,)),
}


def quantize_dynamic(
    model: nn.Module, qconfig_spec: Any = None, dtype: Any = qint8, mapping: Mapping | None = None,
    inplace: bool = False,
) -> nn.Module:  # fmt: skip
    """The form of a model of floats with quantized weights, whose inputs are quantized by the range that they have.

    qconfig_spec: a set of classes or names of modules, or a dict of them with qconfigs; linear layers and recurrent
    networks where not given. dtype: qint8 or float16 for those, quint8 or quint4x2 for tables. Raises ValueError for
    other dtypes."""
    if dtype not in _DYNAMIC:
        raise ValueError(f"quantize_dynamic takes qint8, float16, quint8 or quint4x2, not {dtype}")
    default, classes = _DYNAMIC[dtype]
    if qconfig_spec is None:
        qconfig_spec = dict.fromkeys(classes, default)
    elif not isinstance(qconfig_spec, dict | QConfigMapping):
        qconfig_spec = dict.fromkeys(qconfig_spec, default)
    mapping = get_default_dynamic_quant_module_mappings() if mapping is None else mapping
    model = model if inplace else copy.deepcopy(model)
    model.eval()
    propagate_qconfig_(model, qconfig_spec)
    return convert(model, mapping, inplace=True)
