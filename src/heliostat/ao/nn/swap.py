"""How one module takes another's place: with what it has, but for what observed it."""

from __future__ import annotations

from collections import OrderedDict
from typing import Any, TypeVar

from ...nn import Module
from ...tensor import Tensor
from ...tensor.quantized import QDtype, QuantizedTensor, quantize_per_channel, quantize_per_tensor

M = TypeVar("M", bound=Module)
OBSERVERS = ("activation_post_process", "weight_fake_quant")


def copied(cls: type[M], module: Module) -> M:
    """A module of a class with the attributes, parameters, buffers and children of another, the tensors themselves,
    but without its hooks, its qconfig and what observes it."""
    made = cls.__new__(cls)
    own = made.__dict__
    for name, value in module.__dict__.items():
        own[name] = OrderedDict() if name.endswith("_hooks") else value
    for table in ("_parameters", "_buffers", "_modules"):
        own[table] = dict(module.__dict__[table])
    for name in ("_non_persistent_buffers_set", "_hook_kwargs", "_hook_always"):
        own[name] = set(module.__dict__[name]) if name == "_non_persistent_buffers_set" else set()
    for name in OBSERVERS:
        own["_modules"].pop(name, None)
    own.pop("qconfig", None)
    return made


def quantized_weight(weight: Tensor, observer: Any) -> QuantizedTensor:
    """A weight by the scale and zero point that its observer found, in the observer's dtype."""
    scale, zero_point = observer.calculate_qparams()
    dtype: QDtype = observer.dtype
    weight = weight.detach()
    made: QuantizedTensor
    if observer.qscheme.value.startswith("per_channel"):
        made = quantize_per_channel(weight, scale, zero_point, observer.ch_axis, dtype)
    else:
        made = quantize_per_tensor(weight, scale, zero_point, dtype)
    return made
