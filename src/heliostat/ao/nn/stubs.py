"""Where a model's codes begin and end: stubs that `prepare` observes and `convert` replaces."""

from __future__ import annotations

from typing import Any

from ...nn import Module
from ...tensor import Tensor


class QuantStub(Module):
    """The identity, which `convert` replaces by `nn.quantized.Quantize`. qconfig: as for other modules."""

    def __init__(self, qconfig: Any = None) -> None:
        super().__init__()
        if qconfig is not None:
            self.qconfig = qconfig

    def forward(self, x: Tensor) -> Tensor:
        return x


class DeQuantStub(Module):
    """The identity, which `convert` replaces by `nn.quantized.DeQuantize`. qconfig: as for other modules."""

    def __init__(self, qconfig: Any = None) -> None:
        super().__init__()
        if qconfig is not None:
            self.qconfig = qconfig

    def forward(self, x: Tensor) -> Tensor:
        return x


class QuantWrapper(Module):
    """A module between a `QuantStub` and a `DeQuantStub`."""

    def __init__(self, module: Module) -> None:
        super().__init__()
        qconfig = getattr(module, "qconfig", None)
        self.add_module("quant", QuantStub(qconfig))
        self.add_module("dequant", DeQuantStub(qconfig))
        self.add_module("module", module)
        self.train(module.training)

    def forward(self, X: Any) -> Any:
        return self.dequant(self.module(self.quant(X)))
