"""Modules of floats with weights of codes: inputs are quantized by the range that they have."""

from __future__ import annotations

from .products import (
    Conv1d,
    Conv2d,
    Conv3d,
    ConvTranspose1d,
    ConvTranspose2d,
    ConvTranspose3d,
    Linear,
    LinearReLU,
)
from .rnn import GRU, LSTM, GRUCell, LSTMCell, RNNCell

__all__ = [
    "GRU", "LSTM", "Conv1d", "Conv2d", "Conv3d", "ConvTranspose1d", "ConvTranspose2d", "ConvTranspose3d", "GRUCell",
    "LSTMCell", "Linear", "LinearReLU", "RNNCell",
]  # fmt: skip
