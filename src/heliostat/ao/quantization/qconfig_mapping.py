"""`QConfigMapping`: which modules get which `QConfig`, by type and by name."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, Self

from ... import nn
from .fake_quantize import FixedQParamsFakeQuantize, default_weight_fake_quant
from .observer import (
    Maker,
    default_fixed_qparams_range_0to1_observer,
    default_fixed_qparams_range_neg1to1_observer,
    default_placeholder_observer,
    default_weight_observer,
)
from .qconfig import QConfig, default_quint8_weight_qconfig, get_default_qat_qconfig, get_default_qconfig

FIXED: dict[Any, Maker] = {
    nn.Hardsigmoid: default_fixed_qparams_range_0to1_observer,
    nn.Sigmoid: default_fixed_qparams_range_0to1_observer,
    nn.Softmax: default_fixed_qparams_range_0to1_observer,
    nn.Tanh: default_fixed_qparams_range_neg1to1_observer,
}
"""Modules whose results lie in a known range, with the observer of it."""


class QConfigMapping:
    """QConfigs by type, by a regular expression of names, by name, and for the rest; a later one of these goes before
    an earlier one, and a name before all. None is for modules that stay as they are."""

    def __init__(self) -> None:
        self.global_qconfig: QConfig | None = None
        self.object_type_qconfigs: dict[Any, QConfig | None] = {}
        self.module_name_regex_qconfigs: dict[str, QConfig | None] = {}
        self.module_name_qconfigs: dict[str, QConfig | None] = {}
        self.module_name_object_type_order_qconfigs: dict[tuple[str, Any, int], QConfig | None] = {}

    def set_global(self, global_qconfig: QConfig | None) -> Self:
        """That of modules which nothing else names."""
        self.global_qconfig = global_qconfig
        return self

    def set_object_type(self, object_type: Callable[..., Any] | str, qconfig: QConfig | None) -> Self:
        """That of a class of modules."""
        self.object_type_qconfigs[object_type] = qconfig
        return self

    def set_module_name_regex(self, module_name_regex: str, qconfig: QConfig | None) -> Self:
        """That of modules whose dotted names match; the expression that was set first goes before others."""
        self.module_name_regex_qconfigs[module_name_regex] = qconfig
        return self

    def set_module_name(self, module_name: str, qconfig: QConfig | None) -> Self:
        """That of the module of a dotted name, and of those below it that nothing else names."""
        self.module_name_qconfigs[module_name] = qconfig
        return self

    def set_module_name_object_type_order(
        self, module_name: str, object_type: Callable[..., Any], index: int, qconfig: QConfig | None
    ) -> Self:
        """That of the module of a class that comes `index`-th below the module of a name."""
        self.module_name_object_type_order_qconfigs[module_name, object_type, index] = qconfig
        return self

    def qconfig_of(self, name: str, module: Any, index: int = 0) -> QConfig | None:
        """The QConfig of a module: by its class and order below its parent, by its name or that of what holds it, by
        expressions, by its class, or the global one."""
        parent = name.rpartition(".")[0]
        key = (parent, type(module), index)
        if key in self.module_name_object_type_order_qconfigs:
            return self.module_name_object_type_order_qconfigs[key]
        above = name
        while above:
            if above in self.module_name_qconfigs:
                return self.module_name_qconfigs[above]
            above = above.rpartition(".")[0]
        for expression, qconfig in self.module_name_regex_qconfigs.items():
            if re.match(expression, name):
                return qconfig
        return self.object_type_qconfigs.get(type(module), self.global_qconfig)

    def to_dict(self) -> dict[str, Any]:
        """All of it under "", "object_type", "module_name_regex", "module_name", "module_name_object_type_order"."""
        return {
            "": self.global_qconfig,
            "object_type": list(self.object_type_qconfigs.items()),
            "module_name_regex": list(self.module_name_regex_qconfigs.items()),
            "module_name": list(self.module_name_qconfigs.items()),
            "module_name_object_type_order": [
                (*k, v) for k, v in self.module_name_object_type_order_qconfigs.items()
            ],
        }  # fmt: skip

    @classmethod
    def from_dict(cls, qconfig_dict: dict[str, Any]) -> QConfigMapping:
        """What `to_dict` gave. Raises ValueError for other keys."""
        made = cls()
        setters: dict[str, Any] = {
            "object_type": made.set_object_type, "module_name_regex": made.set_module_name_regex,
            "module_name": made.set_module_name,
            "module_name_object_type_order": made.set_module_name_object_type_order,
        }  # fmt: skip
        for key, value in qconfig_dict.items():
            if key == "":
                made.set_global(value)
            elif key in setters:
                for row in value:
                    setters[key](*row)
            else:
                raise ValueError(f"a QConfigMapping has no {key!r}, but '', {', '.join(setters)}")
        return made

    def __repr__(self) -> str:
        return f"QConfigMapping({self.to_dict()})"


def _default(qconfig: QConfig, is_qat: bool, backend: str) -> QConfigMapping:
    weight = default_weight_fake_quant if is_qat else default_weight_observer
    transposed = QConfig(qconfig.activation, weight) if backend in ("fbgemm", "x86") else qconfig
    made = QConfigMapping().set_global(qconfig)
    for cls in (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d):
        made.set_object_type(cls, transposed)
    made.set_object_type(nn.LayerNorm, QConfig(qconfig.activation, default_placeholder_observer))
    made.set_object_type(nn.PReLU, default_quint8_weight_qconfig)
    for op, observer in FIXED.items():
        activation = FixedQParamsFakeQuantize.with_args(observer=observer) if is_qat else observer
        made.set_object_type(op, QConfig(activation, weight))
    return made


def get_default_qconfig_mapping(backend: str = "x86", version: int = 0) -> QConfigMapping:
    """`get_default_qconfig`, with one scale for weights of transposed convolutions, and fixed ranges of sigmoid and
    others. Raises ValueError for other backends and versions."""
    return _default(get_default_qconfig(backend, version), False, backend)


def get_default_qat_qconfig_mapping(backend: str = "x86", version: int = 1) -> QConfigMapping:
    """`get_default_qat_qconfig`, as `get_default_qconfig_mapping`."""
    return _default(get_default_qat_qconfig(backend, version), True, backend)
