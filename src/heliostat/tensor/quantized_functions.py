"""What functions do with quantized tensors: movement of codes, maxima, means, rectifiers. All others refuse them.

Movement and what keeps the order of values works on codes. Means and sums of codes are formed in float32 and rounded to
the same scale and zero point, as PyTorch does.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Sequence
from typing import Any

from ..diagnostics import UnsupportedError
from ..ir.types import f32
from .copies import to_what
from .core import Tensor, convert
from .pairs import refuse
from .quantized import QuantizedTensor, of_codes, quantize_per_tensor, rounded, values_of
from .register import ALIASES, FUNCTIONS, METHODS, QUANTIZED

MOVEMENT = (
    "broadcast_to", "expand", "flatten", "flip", "gather", "index_select", "movedim", "narrow", "permute",
    "ravel", "repeat", "reshape", "roll", "select", "squeeze", "swapaxes", "t", "take_along_dim",
    "tile", "transpose", "unflatten", "unfold", "unsqueeze", "view",
)  # fmt: skip
"""Functions that put elements elsewhere and change none."""
PARTS = ("chunk", "split", "tensor_split", "unbind")
SAME = ("clone", "contiguous", "detach", "cpu")


def _moved(f: Callable[..., Any]) -> Callable[..., Any]:
    return lambda input, *args, **kwargs: input.with_codes(f(input.int_repr(), *args, **kwargs))


def _of(name: str) -> Callable[..., Any]:
    return METHODS.get(name) or FUNCTIONS[name]


def on_codes(f: Callable[..., Any]) -> Callable[..., Any]:
    """A function of floats that picks values, of codes: f of the codes as floats, which holds them exactly."""
    return lambda input, *args, **kwargs: input.with_codes(f(convert(input.int_repr(), f32), *args, **kwargs))


def on_steps(f: Callable[..., Any]) -> Callable[..., Any]:
    """A linear function of floats, of codes less their zero point, rounded to the scale of the input."""

    def run(input: QuantizedTensor, *args: Any, **kwargs: Any) -> QuantizedTensor:
        zero, kind = input._zero_point, input.dtype
        y = f(input.centred(), *args, **kwargs)
        return input.with_codes(rounded(y, 1.0, zero, kind.lowest, kind.highest))

    return run


def on_values(f: Callable[..., Any]) -> Callable[..., Any]:
    """A function of floats, of the values, quantized to the scale of the input."""

    def run(input: QuantizedTensor, *args: Any, **kwargs: Any) -> QuantizedTensor:
        y = f(input.dequantize(), *args, **kwargs)
        made: QuantizedTensor = quantize_per_tensor(y, input._scale, input._zero_point, input.dtype)
        return made

    return run


def relu(input: QuantizedTensor) -> QuantizedTensor:
    """max(x, 0): codes not below the zero point."""
    return input.with_codes(convert(input.int_repr(), f32).clamp(min=input._zero_point))


def cat(tensors: Sequence[Any], dim: int = 0) -> QuantizedTensor:
    """Tensors end to end, all in the scale and the zero point of the first."""
    if not all(isinstance(t, QuantizedTensor) for t in tensors):
        raise UnsupportedError("cat takes quantized tensors together with others", help="dequantize() them")
    first: QuantizedTensor = tensors[0]
    alike = [t._scale is first._scale and t._zero_point is first._zero_point for t in tensors]
    if all(alike):
        return first.with_codes(FUNCTIONS["cat"]([t.int_repr() for t in tensors], dim))
    values = FUNCTIONS["cat"]([t.dequantize() for t in tensors], dim)
    made: QuantizedTensor = quantize_per_tensor(values, first._scale, first._zero_point, first.dtype)
    return made


def equal(input: Any, other: Any) -> bool:
    """Whether two tensors have one dtype, shape, scale, zero point and equal codes."""
    if not isinstance(input, QuantizedTensor) or not isinstance(other, QuantizedTensor):
        return False
    if input.dtype != other.dtype or input.shape != other.shape or input._axis != other._axis:
        return False
    same = FUNCTIONS["equal"](input.int_repr(), other.int_repr())
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
    return of_codes(self.int_repr().to(device=device), scale, zero, self.dtype, self._axis)


def attach_quantized() -> None:
    """Fill the table, and put on `QuantizedTensor` what each method means there; others refuse by name."""
    cls: Any = QuantizedTensor
    for name in MOVEMENT:
        QUANTIZED[name] = _moved(_of(name))
    for name in PARTS:
        f = _of(name)
        QUANTIZED[name] = lambda input, *a, f=f, **k: tuple(input.with_codes(c) for c in f(input.int_repr(), *a, **k))
    for name in SAME:
        QUANTIZED[name] = lambda input, *a, **k: input
        setattr(cls, name, QUANTIZED[name])
    extremes = {name: on_codes(FUNCTIONS[name]) for name in ("amax", "amin")}
    QUANTIZED.update(
        relu=relu, cat=cat, concat=cat, concatenate=cat, equal=equal, dequantize=values_of, **extremes,
        stack=lambda tensors, dim=0: cat([t.unsqueeze(dim) for t in tensors], dim),
        mean=on_steps(FUNCTIONS["mean"]), clamp=on_values(FUNCTIONS["clamp"]),
        max=lambda input: extremes["amax"](input), min=lambda input: extremes["amin"](input),
    )  # fmt: skip
    for name, first in ALIASES.items():
        if first in QUANTIZED:
            QUANTIZED.setdefault(name, QUANTIZED[first])
    for name, f in METHODS.items():
        if name in cls.__dict__ or name.startswith("__"):
            continue
        if name in QUANTIZED:
            setattr(cls, name, QUANTIZED[name])
        elif not isinstance(f, property):
            setattr(cls, name, refuse(name, "quantized"))
    for name in ("add", "sub", "mul", "truediv", "floordiv", "mod", "pow", "matmul"):
        refused = refuse(f"the operator of {name}", "quantized")
        for form in ("", "r", "i"):
            setattr(cls, f"__{form}{name}__", refused)
    for name in ("eq", "ne", "lt", "le", "gt", "ge"):
        f = FUNCTIONS[name]
        setattr(cls, f"__{name}__", lambda self, o, f=f: f(self.dequantize(), _values(o)))
    cls.__hash__ = object.__hash__
    cls.__getitem__ = lambda self, index: self.with_codes(self.int_repr()[index])
    cls.to, cls.dim, cls.size = to, lambda self: self.ndim, _size
    cls.tolist = lambda self: self.dequantize().tolist()
    cls.item = lambda self: self.dequantize().item()
    for name in ("numpy", "detach_", "retain_grad", "register_hook", "backward"):
        setattr(cls, name, refuse(name, "quantized"))
    for name in ("numel", "element_size"):
        setattr(cls, name, lambda self, name=name: getattr(self.int_repr(), name)())
    for name in ("itemsize", "nbytes"):
        setattr(cls, name, property(operator.attrgetter(f"_codes.{name}")))
    cls.__len__ = lambda self: self.shape[0]
    cls.__bool__ = lambda self: bool(self.item())
    cls.requires_grad_ = _no_grad


def _values(x: Any) -> Any:
    return x.dequantize() if isinstance(x, QuantizedTensor) else x


def _no_grad(self: QuantizedTensor, on: bool = True) -> QuantizedTensor:
    self.requires_grad = on
    return self


def _size(self: QuantizedTensor, dim: int | None = None) -> Any:
    return self.shape if dim is None else self.shape[dim]
