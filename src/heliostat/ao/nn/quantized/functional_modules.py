"""Functions of two tensors as modules, so that their results can be observed and quantized."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Self

from ....nn import Identity, Module
from ....tensor import FUNCTIONS, Tensor
from .codes import OutputCodes


def _values(x: Any) -> Any:
    return x.dequantize() if isinstance(x, Tensor) else x


class Functional(Module):
    """Sums, products and others of two tensors; `result_of` makes of them what the module gives."""

    def forward(self, x: Any) -> Any:
        """Refused. Raises RuntimeError: its functions are called instead."""
        raise RuntimeError(f"{type(self).__name__} is not called: call add, mul, cat and others of it")

    def result_of(self, y: Tensor, input: Any) -> Tensor:
        """What becomes of a result."""
        raise NotImplementedError

    def add(self, x: Tensor, y: Tensor) -> Tensor:
        """x + y."""
        return self.result_of(_values(x) + _values(y), x)

    def add_scalar(self, x: Tensor, y: float) -> Tensor:
        """x + y, of a number."""
        return self.result_of(_values(x) + y, x)

    def mul(self, x: Tensor, y: Tensor) -> Tensor:
        """x * y."""
        return self.result_of(_values(x) * _values(y), x)

    def mul_scalar(self, x: Tensor, y: float) -> Tensor:
        """x * y, of a number."""
        return self.result_of(_values(x) * y, x)

    def cat(self, x: Sequence[Tensor], dim: int = 0) -> Tensor:
        """Tensors end to end."""
        return self.result_of(FUNCTIONS["cat"]([_values(t) for t in x], dim), x[0])

    def add_relu(self, x: Tensor, y: Tensor) -> Tensor:
        """relu(x + y)."""
        return self.result_of((_values(x) + _values(y)).relu(), x)

    def matmul(self, x: Tensor, y: Tensor) -> Tensor:
        """x @ y."""
        return self.result_of(_values(x) @ _values(y), x)


class FloatFunctional(Functional):
    """Functions of floats, whose results pass `activation_post_process`, an observer after `prepare`."""

    def __init__(self) -> None:
        super().__init__()
        self.activation_post_process: Any = Identity()

    def result_of(self, y: Tensor, input: Any) -> Tensor:
        made: Tensor = self.activation_post_process(y)
        return made


class FXFloatFunctional(Functional):
    """`FloatFunctional` without an observer."""

    def result_of(self, y: Tensor, input: Any) -> Tensor:
        return y


class QFunctional(Functional, OutputCodes):
    """Functions of codes, whose results are codes of `scale` and `zero_point`."""

    def __init__(self) -> None:
        super().__init__()
        self.set_output()

    def result_of(self, y: Tensor, input: Any) -> Tensor:
        return self.codes_of(y, input)

    def _get_name(self) -> str:
        return "QFunctional"

    @classmethod
    def from_float(cls, mod: Any, use_precomputed_fake_quant: bool = False) -> Self:
        """Of a FloatFunctional that was observed."""
        return cls().set_output(*mod.activation_post_process.calculate_qparams())
