"""Modules of codes, with PyTorch's names; `dynamic` has those with floats on both sides."""

from __future__ import annotations

from ..stubs import DeQuantStub, QuantStub, QuantWrapper
from . import dynamic
from .conv import (
    Conv1d,
    Conv2d,
    Conv3d,
    ConvReLU1d,
    ConvReLU2d,
    ConvReLU3d,
    ConvTranspose1d,
    ConvTranspose2d,
    ConvTranspose3d,
)
from .embedding import Embedding, EmbeddingBag
from .functional_modules import FloatFunctional, FXFloatFunctional, QFunctional
from .linear import Linear, LinearReLU
from .values import (
    ELU,
    BatchNorm2d,
    BatchNorm3d,
    DeQuantize,
    Dropout,
    GroupNorm,
    Hardsigmoid,
    Hardswish,
    InstanceNorm1d,
    InstanceNorm2d,
    InstanceNorm3d,
    LayerNorm,
    LeakyReLU,
    PReLU,
    Quantize,
    ReLU6,
    Sigmoid,
    Softmax,
    Tanh,
)

__all__ = [
    "ELU", "BatchNorm2d", "BatchNorm3d", "Conv1d", "Conv2d", "Conv3d", "ConvReLU1d", "ConvReLU2d", "ConvReLU3d",
    "ConvTranspose1d", "ConvTranspose2d", "ConvTranspose3d", "DeQuantStub", "DeQuantize", "Dropout", "Embedding",
    "EmbeddingBag", "FXFloatFunctional", "FloatFunctional", "GroupNorm", "Hardsigmoid", "Hardswish", "InstanceNorm1d",
    "InstanceNorm2d", "InstanceNorm3d", "LayerNorm", "LeakyReLU", "Linear", "LinearReLU", "PReLU", "QFunctional",
    "QuantStub", "QuantWrapper", "Quantize", "ReLU6", "Sigmoid", "Softmax", "Tanh", "dynamic",
]  # fmt: skip
