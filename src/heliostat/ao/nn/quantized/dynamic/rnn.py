"""Recurrent networks with weights of codes: what goes into each product is quantized by the range that it has."""

from __future__ import annotations

from typing import Any, Self

from ..... import nn
from .....diagnostics import DTypeError
from .....ir.types import f16, f32
from .....tensor import FUNCTIONS, Tensor
from .....tensor.quantized import QuantizedTensor, qint8, quantize_per_tensor
from ...swap import copied, quantized_weight
from ..codes import weight_observer


def _taken(made: Any, quantize: Any) -> None:
    """Put what `quantize` makes of weights, and biases as they are, into the buffers of a module, in the place of
    parameters."""
    for name, p in list(made._parameters.items()):
        del made._parameters[name]
        made._buffers[name] = None if p is None else quantize(p) if name.startswith("weight") else p.detach()


class _Recurrent(nn.Module):
    """What networks and cells share: parameters of floats become buffers, weights of them codes. dtype: qint8, or
    float16 for weights that are only kept so."""

    def _make(self, module: Any, dtype: Any) -> None:
        self.__dict__.update(copied(type(self), module).__dict__)
        self.dtype = dtype
        one, zero = FUNCTIONS["as_tensor"](1.0), FUNCTIONS["as_tensor"](0)
        _taken(self, lambda w: quantize_per_tensor(w, one, zero, qint8) if dtype == qint8 else w.detach().to(f16))

    def __getattr__(self, name: str) -> Any:
        found = super().__getattr__(name)
        if name.startswith("weight") and isinstance(found, Tensor) and not isinstance(found, QuantizedTensor):
            return found.to(f32)  # float16 is how a weight is kept, not what is computed in
        return found

    def _get_name(self) -> str:
        return f"DynamicQuantized{type(self).__name__}"

    @classmethod
    def from_float(cls, mod: Any, use_precomputed_fake_quant: bool = False) -> Self:
        """Of a module of floats with a qconfig. Raises DTypeError for weights that are neither qint8 nor float16."""
        made = copied(cls, mod)
        made.dtype = weight_observer(mod).dtype
        if made.dtype not in (qint8, f16):
            raise DTypeError(f"{cls.__name__}.from_float: weights are qint8 or float16, not {made.dtype}")

        def quantize(w: Tensor) -> Tensor:
            if made.dtype == f16:
                return w.detach().to(f16)
            observer = weight_observer(mod)
            observer(w)
            return quantized_weight(w, observer)

        _taken(made, quantize)
        return made


class _Network(_Recurrent, nn.RNNBase):
    def _weights(self, end: str) -> list[Tensor | None]:
        names = ("weight_ih", "weight_hh", "bias_ih", "bias_hh", "weight_hr")
        return [getattr(self, n + end) if n + end in self._buffers else None for n in names]

    def get_weight(self) -> dict[str, Any]:
        """The weights by name."""
        return {n: b for n, b in self._buffers.items() if n.startswith("weight")}

    def get_bias(self) -> dict[str, Any]:
        """The biases by name."""
        return {n: b for n, b in self._buffers.items() if n.startswith("bias")}

    def set_weight_bias(self, weight_bias_dict: dict[str, Any]) -> None:
        """Take other weights and biases. Raises KeyError for names that are not there."""
        for name, value in weight_bias_dict.items():
            if name not in self._buffers:
                raise KeyError(f"{self._get_name()} has no {name}")
            self._buffers[name] = value


class LSTM(_Network, nn.LSTM):
    """`nn.LSTM` of floats by codes."""

    def __init__(self, *args: Any, dtype: Any = qint8, **kwargs: Any) -> None:
        self._make(nn.LSTM(*args, **kwargs), dtype)


class GRU(_Network, nn.GRU):
    """`nn.GRU` of floats by codes."""

    def __init__(self, *args: Any, dtype: Any = qint8, **kwargs: Any) -> None:
        self._make(nn.GRU(*args, **kwargs), dtype)


class _Cell(_Recurrent):
    def get_weight(self) -> dict[str, Any]:
        """The weights by name."""
        return {n: self._buffers[n] for n in ("weight_ih", "weight_hh")}

    def get_bias(self) -> dict[str, Any]:
        """The biases by name."""
        return {n: self._buffers[n] for n in ("bias_ih", "bias_hh")}

    def set_weight_bias(self, weight_bias_dict: dict[str, Any]) -> None:
        """Take other weights and biases. Raises KeyError for names that are missing."""
        for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh"):
            self._buffers[name] = weight_bias_dict[name]


class RNNCell(_Cell, nn.RNNCell):
    """`nn.RNNCell` of floats by codes."""

    def __init__(self, input_size: int, hidden_size: int, bias: bool = True, nonlinearity: str = "tanh",
                 dtype: Any = qint8) -> None:  # fmt: skip
        self._make(nn.RNNCell(input_size, hidden_size, bias, nonlinearity), dtype)


class LSTMCell(_Cell, nn.LSTMCell):
    """`nn.LSTMCell` of floats by codes."""

    def __init__(self, input_size: int, hidden_size: int, bias: bool = True, dtype: Any = qint8) -> None:
        self._make(nn.LSTMCell(input_size, hidden_size, bias), dtype)


class GRUCell(_Cell, nn.GRUCell):
    """`nn.GRUCell` of floats by codes."""

    def __init__(self, input_size: int, hidden_size: int, bias: bool = True, dtype: Any = qint8) -> None:
        self._make(nn.GRUCell(input_size, hidden_size, bias), dtype)
