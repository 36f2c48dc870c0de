"""Sequences of float modules that quantization takes as one: a single range is observed behind them.

The compiler fuses them either way; a class of its own tells `prepare` and `convert` what belongs together.
"""

from __future__ import annotations

from typing import Any, ClassVar

from .... import nn
from ....tensor import Tensor


class Fused:
    """Marks modules that count as one, whatever they have inside."""


class FusedModule(Fused, nn.Sequential):
    """Base of sequences that count as one module. Raises TypeError for modules of other classes than `PARTS`."""

    PARTS: ClassVar[tuple[type, ...]] = ()

    def __init__(self, *modules: Any) -> None:
        if self.PARTS and not (
            len(modules) == len(self.PARTS)
            and all(isinstance(m, cls) for m, cls in zip(modules, self.PARTS, strict=True))
        ):
            wanted = ", ".join(cls.__name__ for cls in self.PARTS)
            raise TypeError(
                f"{type(self).__name__} takes {wanted}, found {', '.join(type(m).__name__ for m in modules)}"
            )
        super().__init__(*modules)


class ConvReLU1d(FusedModule):
    """Conv1d and ReLU."""

    PARTS = (nn.Conv1d, nn.ReLU)


class ConvReLU2d(FusedModule):
    """Conv2d and ReLU."""

    PARTS = (nn.Conv2d, nn.ReLU)


class ConvReLU3d(FusedModule):
    """Conv3d and ReLU."""

    PARTS = (nn.Conv3d, nn.ReLU)


class LinearReLU(FusedModule):
    """Linear and ReLU."""

    PARTS = (nn.Linear, nn.ReLU)


class ConvBn1d(FusedModule):
    """Conv1d and BatchNorm1d."""

    PARTS = (nn.Conv1d, nn.BatchNorm1d)


class ConvBn2d(FusedModule):
    """Conv2d and BatchNorm2d."""

    PARTS = (nn.Conv2d, nn.BatchNorm2d)


class ConvBn3d(FusedModule):
    """Conv3d and BatchNorm3d."""

    PARTS = (nn.Conv3d, nn.BatchNorm3d)


class ConvBnReLU1d(FusedModule):
    """Conv1d, BatchNorm1d and ReLU."""

    PARTS = (nn.Conv1d, nn.BatchNorm1d, nn.ReLU)


class ConvBnReLU2d(FusedModule):
    """Conv2d, BatchNorm2d and ReLU."""

    PARTS = (nn.Conv2d, nn.BatchNorm2d, nn.ReLU)


class ConvBnReLU3d(FusedModule):
    """Conv3d, BatchNorm3d and ReLU."""

    PARTS = (nn.Conv3d, nn.BatchNorm3d, nn.ReLU)


class BNReLU2d(FusedModule):
    """BatchNorm2d and ReLU."""

    PARTS = (nn.BatchNorm2d, nn.ReLU)


class BNReLU3d(FusedModule):
    """BatchNorm3d and ReLU."""

    PARTS = (nn.BatchNorm3d, nn.ReLU)


class LinearBn1d(FusedModule):
    """Linear and BatchNorm1d."""

    PARTS = (nn.Linear, nn.BatchNorm1d)


class LinearLeakyReLU(FusedModule):
    """Linear and LeakyReLU."""

    PARTS = (nn.Linear, nn.LeakyReLU)


class LinearTanh(FusedModule):
    """Linear and Tanh."""

    PARTS = (nn.Linear, nn.Tanh)


class ConvAdd2d(FusedModule):
    """add(conv(x1), x2): a Conv2d, and a function of two tensors."""

    def __init__(self, conv: nn.Conv2d, add: Any) -> None:
        super().__init__(conv)
        self.add = add

    def forward(self, x1: Tensor, x2: Tensor) -> Tensor:  # type: ignore[override]
        made: Tensor = self.add(self[0](x1), x2)
        return made


class ConvAddReLU2d(FusedModule):
    """relu(add(conv(x1), x2)): a Conv2d, a function of two tensors, and a ReLU."""

    def __init__(self, conv: nn.Conv2d, add: Any, relu: nn.ReLU) -> None:
        super().__init__(conv)
        self.add, self.relu = add, relu

    def forward(self, x1: Tensor, x2: Tensor) -> Tensor:  # type: ignore[override]
        made: Tensor = self.relu(self.add(self[0](x1), x2))
        return made
