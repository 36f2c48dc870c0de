"""What functions do with quantized tensors: movement of codes, maxima, means, rectifiers. All others refuse them.

Movement and what keeps the order of values works on codes. Means and sums of codes are formed in float32 and rounded to
the same scale and zero point, as PyTorch does.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from ..diagnostics import UnsupportedError
from ..ir.types import f32
from . import coded
from .conversion import convert
from .copies import to_what
from .core import Tensor
from .quantized import QuantizedTensor, of_codes, quantize_per_tensor, rounded, values_of
from .register import FUNCTIONS, QUANTIZED

ORDER = ("eq", "ne", "lt", "le", "gt", "ge")


def of_first(name: str, f: Callable[..., Any]) -> Callable[..., Any]:
    """A meaning f where the first argument alone is quantized; others are refused by name."""
    return coded.of_first(name, "quantized", f)


def on_codes(f: Callable[..., Any]) -> Callable[..., Any]:
    """A function of floats that picks values, of codes: f of the codes as floats, which holds them exactly. Where f
    says which it picked, too, that is returned behind them."""

    def run(input: QuantizedTensor, *args: Any, **kwargs: Any) -> Any:
        made: Any = f(convert(input._codes, f32), *args, **kwargs)
        if isinstance(made, tuple):
            parts = (input.with_codes(made[0]), *made[1:])
            return type(made)(*parts) if hasattr(made, "_fields") else parts
        return input.with_codes(made)

    return of_first(f.__name__, run)


def on_steps(f: Callable[..., Any]) -> Callable[..., Any]:
    """A linear function of floats, of codes less their zero point, rounded to the scale of the input."""

    def run(input: QuantizedTensor, *args: Any, **kwargs: Any) -> QuantizedTensor:
        zero, kind = input._zero_point, input.dtype
        y = f(input.centred(), *args, **kwargs)
        return input.with_codes(rounded(y, 1.0, zero, kind.lowest, kind.highest))

    return of_first(f.__name__, run)


def on_values(f: Callable[..., Any]) -> Callable[..., Any]:
    """A function of floats, of the values, quantized to the scale of the input."""

    def run(input: QuantizedTensor, *args: Any, **kwargs: Any) -> QuantizedTensor:
        y = f(input.dequantize(), *args, **kwargs)
        made: QuantizedTensor = quantize_per_tensor(y, input._scale, input._zero_point, input.dtype)
        return made

    return of_first(f.__name__, run)


def on_grid(f: Callable[..., Any], scale: float, zero_point: int) -> Callable[..., Any]:
    """A function whose results lie in a known range, of the values: codes of a scale and a zero point of their own, the
    zero point for quint8."""

    def run(input: QuantizedTensor, *args: Any, **kwargs: Any) -> QuantizedTensor:
        y, shift = f(input.dequantize(), *args, **kwargs), input.dtype.lowest
        made: QuantizedTensor = quantize_per_tensor(y, scale, zero_point + shift, input.dtype)
        return made

    return of_first(f.__name__, run)


def relu(input: QuantizedTensor) -> QuantizedTensor:
    """max(x, 0): codes not below the zero point."""
    return input.with_codes(convert(input._codes, f32).clamp(min=input._zero_point))


def clone(input: QuantizedTensor) -> QuantizedTensor:
    """A tensor of its own with the same codes."""
    return of_codes(input._codes.clone(), input._scale, input._zero_point, input.dtype, input._axis)


def _compared(name: str) -> Callable[..., Any]:
    f = FUNCTIONS[name]
    return lambda input, other: f(_values(input), _values(other))


def _alike(a: Any, b: Any) -> bool:
    """Whether two scales or zero points are known to be equal without reading them."""
    return a is b or (not isinstance(a, Tensor) and not isinstance(b, Tensor) and a == b)


def cat(tensors: Sequence[Any], dim: int = 0) -> QuantizedTensor:
    """Tensors end to end, all in the scale and the zero point of the first."""
    if not all(isinstance(t, QuantizedTensor) for t in tensors):
        raise UnsupportedError("cat takes quantized tensors together with others", help="dequantize() them")
    first: QuantizedTensor = tensors[0]
    if all(_alike(t._scale, first._scale) and _alike(t._zero_point, first._zero_point) for t in tensors):
        return first.with_codes(FUNCTIONS["cat"]([t._codes for t in tensors], dim))
    values = FUNCTIONS["cat"]([t.dequantize() for t in tensors], dim)
    made: QuantizedTensor = quantize_per_tensor(values, first._scale, first._zero_point, first.dtype)
    return made


def equal(input: Any, other: Any) -> bool:
    """Whether two tensors have one dtype, shape, scale, zero point and equal codes."""
    if not isinstance(input, QuantizedTensor) or not isinstance(other, QuantizedTensor):
        return False
    if input.dtype != other.dtype or input.shape != other.shape or input._axis != other._axis:
        return False
    same = FUNCTIONS["equal"](input._codes, other._codes)
    for a, b in ((input._scale, other._scale), (input._zero_point, other._zero_point)):
        a, b = (FUNCTIONS["as_tensor"](x) for x in (a, b))
        same = same and a.shape == b.shape and bool((a == b).all())
    return bool(same)


def to(self: QuantizedTensor, *args: Any, **kwargs: Any) -> QuantizedTensor:
    """This tensor on another device. Raises UnsupportedError for another dtype."""
    dtype, device = to_what(args, kwargs.get("dtype"), kwargs.get("device"))
    if dtype is not None:
        raise UnsupportedError("to() of a quantized tensor takes a device alone", help="dequantize() it first")
    if device is None or device == self.device.name:
        return self
    scale, zero = (x.to(device=device) if isinstance(x, Tensor) else x for x in (self._scale, self._zero_point))
    return of_codes(self._codes.to(device=device), scale, zero, self.dtype, self._axis)


def attach_quantized() -> None:
    """Fill the table, and put on `QuantizedTensor` what each method means there; others refuse by name."""
    meanings = {
        **{name: on_codes(FUNCTIONS[name]) for name in ("amax", "amin", "max", "min", "sort", "topk")},
        **{name: _compared(name) for name in ORDER},
        "relu": of_first("relu", relu), "cat": cat, "concat": cat, "concatenate": cat, "equal": equal,
        "dequantize": values_of, "clone": of_first("clone", clone),
        "stack": lambda tensors, dim=0: cat([t.unsqueeze(dim) for t in tensors], dim),
        "mean": on_steps(FUNCTIONS["mean"]), "clamp": on_values(FUNCTIONS["clamp"]),
        "sigmoid": on_grid(FUNCTIONS["sigmoid"], 1 / 256, 0), "tanh": on_grid(FUNCTIONS["tanh"], 2 / 256, 128),
        "is_floating_point": lambda input: False,
    }  # fmt: skip
    coded.attach_coded(QuantizedTensor, QUANTIZED, meanings, to)
    for name in ("relu", "clamp", "sigmoid", "tanh"):
        setattr(QuantizedTensor, f"{name}_", lambda self, *a, f=QUANTIZED[name], **k: self._in_place(f, *a, **k))


def _values(x: Any) -> Any:
    return x.dequantize() if isinstance(x, QuantizedTensor) else x
