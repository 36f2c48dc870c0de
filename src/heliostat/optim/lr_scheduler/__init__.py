"""Schedules of learning rates, with PyTorch's names and arithmetic.

They set `lr` of an optimizer's groups, a number that a step, compiled or not, takes as an input.
"""

from __future__ import annotations

from .base import LRScheduler
from .compound import ChainedScheduler, SequentialLR
from .cosine import CosineAnnealingLR, CosineAnnealingWarmRestarts
from .cycle import CyclicLR, OneCycleLR
from .factor import (
    ConstantLR,
    ExponentialLR,
    LambdaLR,
    LinearLR,
    MultiplicativeLR,
    MultiStepLR,
    NoamScheduler,
    PolynomialLR,
    StepLR,
)  # fmt: skip
from .plateau import ReduceLROnPlateau
from .swa import SWALR

_LRScheduler = LRScheduler  # its name in programs from before PyTorch 2

__all__ = [
    "SWALR", "ChainedScheduler", "ConstantLR", "CosineAnnealingLR", "CosineAnnealingWarmRestarts", "CyclicLR",
    "ExponentialLR", "LRScheduler", "LambdaLR", "LinearLR", "MultiStepLR", "MultiplicativeLR", "NoamScheduler",
    "OneCycleLR", "PolynomialLR", "ReduceLROnPlateau", "SequentialLR", "StepLR",
]  # fmt: skip
