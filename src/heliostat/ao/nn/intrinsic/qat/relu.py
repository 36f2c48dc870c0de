"""Linear layers and convolutions with rounded weights, and ReLU."""

from __future__ import annotations

from typing import Any, Self

from .....nn import ReLU
from .....tensor import Tensor
from ...qat import modules as qat
from ...swap import copied
from .. import fused


class _ThenReLU(fused.Fused, qat.RoundedWeight):
    FUSED: Any

    def forward(self, input: Tensor) -> Tensor:
        made: Tensor = super().forward(input).relu()
        return made

    @classmethod
    def from_float(cls, mod: Any, use_precomputed_fake_quant: bool = False) -> Self:
        """Of the fused module of floats with a qconfig."""
        return copied(cls, mod[0]).round_weight(getattr(mod, "qconfig", None))

    def to_float(self) -> Any:
        """The fused module of floats again."""
        return self.FUSED(copied(self.FLOAT, self), ReLU())


class LinearReLU(_ThenReLU, qat.Linear):
    """relu(linear(input)) with a rounded weight."""

    FUSED = fused.LinearReLU


class ConvReLU1d(_ThenReLU, qat.Conv1d):
    """relu(conv(input)) with a rounded weight."""

    FUSED = fused.ConvReLU1d


class ConvReLU2d(_ThenReLU, qat.Conv2d):
    """relu(conv(input)) with a rounded weight."""

    FUSED = fused.ConvReLU2d


class ConvReLU3d(_ThenReLU, qat.Conv3d):
    """relu(conv(input)) with a rounded weight."""

    FUSED = fused.ConvReLU3d
