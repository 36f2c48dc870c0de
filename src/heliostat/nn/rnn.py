"""Recurrent networks: RNN, LSTM, GRU, and single steps of them."""

from __future__ import annotations

import functools
import math
import warnings
from typing import Any

import numpy as np

from ..diagnostics import ShapeError
from ..tensor import FUNCTIONS, Tensor, create
from ..tensor.conversion import from_array
from . import init
from .functional.dropout import dropout
from .functional.linear import linear
from .functional.recurrent import States, gru_step, lstm, lstm_step, rnn_step, run_layer
from .linear import empty
from .module import Module
from .utils.rnn import PackedSequence, padded, repacked


def _gates(mode: str) -> int:
    return {"LSTM": 4, "GRU": 3}.get(mode, 1)


@functools.cache
def _step(mode: str) -> Any:
    if mode in ("RNN_TANH", "RNN_RELU"):
        return functools.partial(rnn_step, relu=mode == "RNN_RELU")
    return {"LSTM": lstm_step, "GRU": gru_step}[mode]


class RNNBase(Module):
    """Layers of a recurrent network. mode: "RNN_TANH", "RNN_RELU", "LSTM" or "GRU".

    input: (T, B, input_size), (B, T, input_size) if `batch_first`, (T, input_size), or a PackedSequence; states:
    (layers * directions, B, hidden_size). Returns outputs (T, B, directions * hidden_size) and the last states."""

    def __init__(
        self,
        mode: str,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
        proj_size: int = 0,
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        super().__init__()
        if isinstance(dropout, bool) or not 0 <= dropout <= 1:
            raise ValueError(
                "dropout should be a number in range [0, 1] representing the probability of an element being zeroed"
            )
        if dropout > 0 and num_layers == 1:
            warnings.warn(
                "dropout option adds dropout after all but last recurrent layer, so non-zero dropout expects "
                f"num_layers greater than 1, but got dropout={dropout} and num_layers={num_layers}",
                stacklevel=3,
            )
        if not isinstance(hidden_size, int):
            raise TypeError(f"hidden_size should be of type int, got: {type(hidden_size).__name__}")
        if hidden_size <= 0:
            raise ValueError("hidden_size must be greater than zero")
        if num_layers <= 0:
            raise ValueError("num_layers must be greater than zero")
        if proj_size < 0:
            raise ValueError("proj_size should be a positive integer or zero to disable projections")
        if proj_size >= hidden_size:
            raise ValueError("proj_size has to be smaller than hidden_size")
        if mode not in ("RNN_TANH", "RNN_RELU", "LSTM", "GRU"):
            raise ValueError("Unrecognized RNN mode: " + mode)
        self.mode, self.input_size, self.hidden_size, self.num_layers = mode, input_size, hidden_size, num_layers
        self.bias, self.batch_first, self.dropout = bias, batch_first, float(dropout)
        self.bidirectional, self.proj_size = bidirectional, proj_size
        rows = _gates(mode) * hidden_size
        out = proj_size or hidden_size
        kept = {"device": device, "dtype": dtype}
        for layer in range(num_layers):
            width = input_size if layer == 0 else out * (2 if bidirectional else 1)
            for end in self._ends(layer):
                self.register_parameter("weight_ih" + end, empty(rows, width, **kept))
                self.register_parameter("weight_hh" + end, empty(rows, out, **kept))
                if bias:
                    self.register_parameter("bias_ih" + end, empty(rows, **kept))
                    self.register_parameter("bias_hh" + end, empty(rows, **kept))
                if proj_size:
                    self.register_parameter("weight_hr" + end, empty(proj_size, hidden_size, **kept))
        self.reset_parameters()

    def _ends(self, layer: int) -> list[str]:
        return [f"_l{layer}", f"_l{layer}_reverse"][: 2 if self.bidirectional else 1]

    def _weights(self, end: str) -> list[Tensor | None]:
        names = ("weight_ih", "weight_hh", "bias_ih", "bias_hh", "weight_hr")
        return [self._parameters.get(name + end) for name in names]

    @property
    def all_weights(self) -> list[list[Tensor]]:
        """The parameters of each layer and direction."""
        ends = [e for layer in range(self.num_layers) for e in self._ends(layer)]
        return [[w for w in self._weights(e) if w is not None] for e in ends]

    def flatten_parameters(self) -> None:
        """Nothing: parameters need not lie together."""

    def reset_parameters(self) -> None:
        """First values, within 1 / sqrt(hidden_size)."""
        bound = 1.0 / math.sqrt(self.hidden_size)
        for weight in self.parameters():
            init.uniform_(weight, -bound, bound)

    def forward(self, input: Any, hx: Any = None) -> Any:
        packed = input if isinstance(input, PackedSequence) else None
        masks: list[Any] | None = None
        single = False
        if packed is not None:
            x, lengths = padded(packed)
            there = np.arange(x.shape[0])[:, None] < lengths
            masks = [None if row.all() else from_array(row).unsqueeze(1) for row in there]
        else:
            if input.ndim not in (2, 3):
                raise ShapeError(f"{type(self).__name__}: Expected input to be 2D or 3D, got {input.ndim}D instead")
            single = input.ndim == 2
            x = input.unsqueeze(1) if single else input.transpose(0, 1) if self.batch_first else input
        if x.shape[-1] != self.input_size:
            raise ShapeError(
                f"input.size(-1) must be equal to input_size. Expected {self.input_size}, got {x.shape[-1]}"
            )
        states = self._states(x, hx, single, packed)
        y, last = self._layers(x, states, masks)
        if packed is not None:
            order = packed.unsorted_indices
            if order is not None:
                last = tuple(s.index_select(1, order) for s in last)
            return repacked(y, packed), self._shown(last)
        if single:
            return y.squeeze(1), self._shown(tuple(s.squeeze(1) for s in last))
        return (y.transpose(0, 1) if self.batch_first else y), self._shown(last)

    def _shown(self, states: States) -> Any:
        return states if self.mode == "LSTM" else states[0]

    def _states(self, x: Tensor, hx: Any, single: bool, packed: PackedSequence | None) -> States:
        """(layers * directions, B, size) for h, and for c of an LSTM."""
        count = self.num_layers * (2 if self.bidirectional else 1)
        sizes = [self.proj_size or self.hidden_size]
        if self.mode == "LSTM":
            sizes.append(self.hidden_size)
        if hx is None:
            return tuple(create.zeros(count, x.shape[1], s, dtype=x.dtype) for s in sizes)
        given = tuple(hx) if self.mode == "LSTM" else (hx,)
        if len(given) != len(sizes):
            raise ShapeError(f"{self.mode} takes {len(sizes)} states, found {len(given)}")
        found = []
        for s, size, what in zip(given, sizes, ("hidden", "cell"), strict=False):
            if single and s.ndim == 2:
                s = s.unsqueeze(1)
            if tuple(s.shape) != (count, x.shape[1], size):
                name = "hidden[0]" if self.mode == "LSTM" and what == "hidden" else "hidden[1]"
                label = name if self.mode == "LSTM" else "hidden"
                raise ShapeError(f"Expected {label} size {(count, x.shape[1], size)}, got {list(s.shape)}")
            if packed is not None and packed.sorted_indices is not None:
                s = s.index_select(1, packed.sorted_indices)
            found.append(s)
        return tuple(found)

    def _layers(self, x: Tensor, states: States, masks: list[Any] | None) -> tuple[Tensor, States]:
        run: Any = functools.partial(run_layer, _step(self.mode))
        if self.mode == "LSTM" and not self.proj_size:
            run = lstm
        last: list[States] = []
        for layer in range(self.num_layers):
            outputs = []
            for end in self._ends(layer):
                first = tuple(s[len(last)] for s in states)
                y, state = run(x, first, self._weights(end), end.endswith("_reverse"), masks)
                outputs.append(y)
                last.append(state)
            x = outputs[0] if len(outputs) == 1 else FUNCTIONS["cat"](outputs, -1)
            if self.dropout and layer < self.num_layers - 1:
                x = dropout(x, self.dropout, self.training)
        return x, tuple(FUNCTIONS["stack"]([s[n] for s in last]) for n in range(len(states)))

    def extra_repr(self) -> str:
        text = f"{self.input_size}, {self.hidden_size}"
        if self.proj_size != 0:
            text += f", proj_size={self.proj_size}"
        if self.num_layers != 1:
            text += f", num_layers={self.num_layers}"
        if self.bias is not True:
            text += f", bias={self.bias}"
        if self.batch_first is not False:
            text += f", batch_first={self.batch_first}"
        if self.dropout != 0:
            text += f", dropout={self.dropout}"
        if self.bidirectional is not False:
            text += f", bidirectional={self.bidirectional}"
        return text


class RNN(RNNBase):
    """h = tanh(W_ih x + b_ih + W_hh h + b_hh), or relu. See RNNBase for shapes."""

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        nonlinearity: str = "tanh",
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        if nonlinearity not in ("tanh", "relu"):
            raise ValueError(f"Unknown nonlinearity '{nonlinearity}'. Select from 'tanh' or 'relu'.")
        mode = "RNN_" + nonlinearity.upper()
        super().__init__(
            mode, input_size, hidden_size, num_layers, bias, batch_first, dropout, bidirectional, 0, device, dtype
        )
        self.nonlinearity = nonlinearity


class LSTM(RNNBase):
    """Long short-term memory; with `proj_size` outputs are projected. States: (h, c). See RNNBase for shapes."""

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
        proj_size: int = 0,
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        super().__init__(
            "LSTM", input_size, hidden_size, num_layers, bias, batch_first, dropout, bidirectional, proj_size,
            device, dtype,
        )  # fmt: skip


class GRU(RNNBase):
    """Gated recurrent units. See RNNBase for shapes."""

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        super().__init__(
            "GRU", input_size, hidden_size, num_layers, bias, batch_first, dropout, bidirectional, 0, device, dtype
        )


class RNNCellBase(Module):
    """One step. input: (B, input_size) or (input_size,); states: (B, hidden_size) or (hidden_size,), 0 at first."""

    mode = "RNN_TANH"

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        bias: bool,
        num_chunks: int,
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        super().__init__()
        self.input_size, self.hidden_size, self.bias = input_size, hidden_size, bias
        rows = num_chunks * hidden_size
        kept = {"device": device, "dtype": dtype}
        self.weight_ih = empty(rows, input_size, **kept)
        self.weight_hh = empty(rows, hidden_size, **kept)
        self.register_parameter("bias_ih", empty(rows, **kept) if bias else None)
        self.register_parameter("bias_hh", empty(rows, **kept) if bias else None)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """First values, within 1 / sqrt(hidden_size)."""
        bound = 1.0 / math.sqrt(self.hidden_size)
        for weight in self.parameters():
            init.uniform_(weight, -bound, bound)

    def _advance(self, input: Tensor, states: Any, count: int) -> States:
        name = type(self).__name__
        if input.ndim not in (1, 2):
            raise ShapeError(f"{name}: Expected input to be 1D or 2D, got {input.ndim}D instead")
        x = input if input.ndim == 2 else input.unsqueeze(0)
        if x.shape[1] != self.input_size:
            raise ShapeError(f"input has inconsistent input_size: got {x.shape[1]} expected {self.input_size}")
        if states is None:
            given = (create.zeros(x.shape[0], self.hidden_size, dtype=x.dtype),) * count
        else:
            given = tuple(s if s.ndim == 2 else s.unsqueeze(0) for s in states)
        for s in given:
            if tuple(s.shape) != (x.shape[0], self.hidden_size):
                raise ShapeError(
                    f"hidden0 has inconsistent hidden_size: got {list(s.shape)}, "
                    f"expected {[x.shape[0], self.hidden_size]}"
                )
        gates = linear(x, self.weight_ih, self.bias_ih)
        made: States = _step(self.mode)(gates, given, self.weight_hh, self.bias_hh, None)
        return made if input.ndim == 2 else tuple(s.squeeze(0) for s in made)

    def extra_repr(self) -> str:
        text = f"{self.input_size}, {self.hidden_size}"
        if self.bias is not True:
            text += f", bias={self.bias}"
        if getattr(self, "nonlinearity", "tanh") != "tanh":
            text += f", nonlinearity={self.nonlinearity}"
        return text


class RNNCell(RNNCellBase):
    """One step of an RNN."""

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        bias: bool = True,
        nonlinearity: str = "tanh",
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        if nonlinearity not in ("tanh", "relu"):
            raise ValueError(f"Unknown nonlinearity: {nonlinearity}")
        super().__init__(input_size, hidden_size, bias, 1, device, dtype)
        self.nonlinearity = nonlinearity
        self.mode = "RNN_" + nonlinearity.upper()

    def forward(self, input: Tensor, hx: Tensor | None = None) -> Tensor:
        return self._advance(input, None if hx is None else (hx,), 1)[0]


class LSTMCell(RNNCellBase):
    """One step of an LSTM; states and results are (h, c)."""

    mode = "LSTM"

    def __init__(
        self, input_size: int, hidden_size: int, bias: bool = True, device: Any = None, dtype: Any = None
    ) -> None:
        super().__init__(input_size, hidden_size, bias, 4, device, dtype)

    def forward(self, input: Tensor, hx: tuple[Tensor, Tensor] | None = None) -> tuple[Tensor, Tensor]:
        h, c = self._advance(input, hx, 2)
        return h, c


class GRUCell(RNNCellBase):
    """One step of a GRU."""

    mode = "GRU"

    def __init__(
        self, input_size: int, hidden_size: int, bias: bool = True, device: Any = None, dtype: Any = None
    ) -> None:
        super().__init__(input_size, hidden_size, bias, 3, device, dtype)

    def forward(self, input: Tensor, hx: Tensor | None = None) -> Tensor:
        return self._advance(input, None if hx is None else (hx,), 1)[0]
