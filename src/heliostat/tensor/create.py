"""Making tensors: of data, of one number, of ranges. What is made here has its data at once."""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from .. import ops
from ..diagnostics import DTypeError, ShapeError
from ..ir.types import DType, SymbolicDim, i64
from ..ir.types import tensor as type_of
from . import lazy
from .conversion import as_tensor, convert, from_array, from_data, number_tensor, owning
from .core import Tensor, wrap
from .devices import Device, default_name, name_of
from .dtypes import dtype_of, get_default_dtype, number_dtype, result_dtype
from .memory_formats import check_memory_format
from .register import FUNCTIONS, METHODS, a_tensor, by_name, function, method
from .shape import sizes_of

Array = np.ndarray[Any, np.dtype[Any]]


MAKERS = (
    "empty_permuted", "empty_strided",
    "arange", "as_tensor", "asarray", "bartlett_window", "blackman_window", "empty", "eye", "frombuffer", "from_dlpack",
    "from_numpy", "full", "hamming_window", "hann_window", "kaiser_window", "linspace", "logspace", "normal", "ones",
    "rand", "randint", "randn", "randperm", "scalar_tensor", "tensor", "zeros",
)  # fmt: skip
"""Functions that make tensors of no other tensor. Among themselves, functions call them without a device: what they
make goes where it is used. Users get them as `on_default_device` has them."""


COPIERS = ("as_tensor", "asarray", "from_dlpack", "tensor")


def on_default_device(name: str, f: Any) -> Any:
    """A function that makes tensors, which puts them on the default device where none is named; copies of a tensor lie
    where it does."""

    @functools.wraps(f)
    def run(*args: Any, device: Any = None, **kwargs: Any) -> Any:
        if device is None and name in COPIERS and args and isinstance(args[0], Tensor):
            device = args[0].device
        elif device is None and isinstance(out := kwargs.get("out"), Tensor):
            device = out.device
        return f(*args, device=default_name(device), **kwargs)

    return run


OPTIONS = ("device", "memory_format", "pin_memory", "layout")
"""What `finished` takes by name, of every function that hands it its further arguments."""


def finished(x: Tensor, requires_grad: bool, rest: dict[str, Any], like: Tensor | None = None) -> Tensor:
    """A new tensor with what all makers take: requires_grad, device (that of `like` where none is named), and flags
    without meaning here."""
    device = rest.pop("device", None)
    if device is not None or like is not None:
        x._place(like.device.name if device is None and like is not None else name_of(device))
    check_memory_format("a function that makes tensors", rest.pop("memory_format", None), x.shape)
    for name in ("pin_memory", "layout"):
        rest.pop(name, None)
    if rest:
        raise TypeError(f"unknown argument: {', '.join(rest)}")
    return x.requires_grad_(True) if requires_grad else x


@function(method=False)
def tensor(data: Any, *, dtype: Any = None, requires_grad: bool = False, **rest: Any) -> Tensor:
    """A tensor that copies numbers, nested lists, arrays or tensors. Python floats become the default dtype."""
    made = from_data(data, None if dtype is None else dtype_of(dtype))
    if isinstance(data, Tensor):
        made = made.clone()
    return finished(made, requires_grad, rest)


@function(method=False)
def as_tensor_(data: Any, dtype: Any = None, device: Any = None) -> Tensor:
    """A tensor of data; the tensor itself where it is one of that dtype, on that device."""
    if isinstance(data, Tensor):
        made: Tensor = as_tensor(data, dtype)
        return made if device is None else made.to(device)
    return finished(as_tensor(data, dtype), False, {"device": device})


FUNCTIONS["as_tensor"] = as_tensor_


@function(method=False)
def asarray(
    obj: Any, *, dtype: Any = None, device: Any = None, copy: bool | None = None, requires_grad: bool = False
) -> Tensor:
    """`as_tensor` of data; with `copy` a tensor of its own, with copy=False obj itself. Raises ValueError where that is
    to be and cannot: memory of others is not shared."""
    made = as_tensor_(obj, dtype, device)
    if copy is False and made is not obj:
        raise ValueError("asarray: a copy is needed, and copy=False forbids it")
    made = made.clone() if copy and made is obj else made
    return made.requires_grad_(True) if requires_grad else made


@function(method=False)
def from_numpy(array: Any, *, device: Any = None) -> Tensor:
    """A tensor that copies an array. Later changes of the array do not reach it."""
    return finished(from_data(array, None), False, {"device": device})


@function(method=False)
def from_dlpack(ext_tensor: Any, *, device: Any = None, copy: bool | None = None) -> Tensor:
    """What offers DLPack as a tensor: a tensor's own elements, unless `copy`, and a copy of what others have. Raises
    BufferError where copy=False forbids one: of others' memory, as values here never change, and for another device."""
    if isinstance(ext_tensor, Tensor):
        shared = ext_tensor.detach()
        made: Tensor = as_tensor_(shared.clone() if copy else shared, device=device)
        if copy is False and made.device != ext_tensor.device:
            raise BufferError(f"from_dlpack: {made.device} is another device, and copy=False forbids a copy")
        return made
    if copy is False:
        raise BufferError("from_dlpack: a copy is needed, and copy=False forbids it")
    return finished(from_data(np.from_dlpack(ext_tensor), None), False, {"device": device})


@function(method=False)
def frombuffer(buffer: Any, *, dtype: Any, count: int = -1, offset: int = 0, **rest: Any) -> Tensor:
    """A vector of the bytes of a buffer."""
    d = dtype_of(dtype)
    made = from_array(np.frombuffer(buffer, lazy.NUMPY[d.name], count, offset), d)
    return finished(made, rest.pop("requires_grad", False), rest)


@function(method=False)
def scalar_tensor(s: Any, *, dtype: Any = None, requires_grad: bool = False, **rest: Any) -> Tensor:
    """A number as a tensor without axes, in the default dtype."""
    return finished(as_tensor(s, dtype or get_default_dtype()), requires_grad, rest)


def on_meta(rest: dict[str, Any], like: Tensor | None = None) -> bool:
    """Whether what a maker is asked for has no data, by the arguments that `finished` takes."""
    device = rest.get("device")
    if device is None:
        return like is not None and like.is_meta
    return (device.name if isinstance(device, Device) else device) == lazy.META


def filled(shape: Sequence[int], value: Any, dtype: DType, without_data: bool = False) -> Tensor:
    """One number everywhere. `without_data`: on `meta`, where no memory is taken for it."""
    if any(s < 0 for s in shape):
        raise ShapeError(f"sizes must not be negative, found {list(shape)}")
    if without_data and dtype.kind not in "ce":
        return wrap(lazy.leaf_on_meta(type_of(dtype, *shape)))
    if any(isinstance(s, SymbolicDim) for s in shape):
        return wrap(ops.broadcast_to(number_tensor(value, dtype).value, tuple(shape)))
    if dtype.name == "bf16" or dtype.kind in "ce":
        return from_array(np.full(shape, value, np.complex128 if dtype.kind == "c" else np.float32), dtype)
    plain = lazy.NUMPY[dtype.name]
    try:  # zeros come from the system as they are, which costs no pass over memory
        array = np.zeros(shape, plain) if type(value) is int and value == 0 else np.full(shape, value, plain)
    except (OverflowError, ValueError) as error:
        raise DTypeError(f"{value!r} is no {dtype}: {error}") from None
    return owning(array, dtype)


@function("empty", method=False)
def zeros(*size: Any, dtype: Any = None, requires_grad: bool = False, **rest: Any) -> Tensor:
    """0 everywhere."""
    shape = sizes_of(size if size else rest.pop("size", size))
    return finished(filled(shape, 0, dtype_of(dtype or get_default_dtype()), on_meta(rest)), requires_grad, rest)


@function(method=False)
def ones(*size: Any, dtype: Any = None, requires_grad: bool = False, **rest: Any) -> Tensor:
    """1 everywhere."""
    shape = sizes_of(size if size else rest.pop("size", size))
    return finished(filled(shape, 1, dtype_of(dtype or get_default_dtype()), on_meta(rest)), requires_grad, rest)


@function(method=False)
def full(
    size: Sequence[int], fill_value: Any, *, dtype: Any = None, requires_grad: bool = False, **rest: Any
) -> Tensor:
    """One number everywhere, in its dtype unless another is given."""
    value = _number(fill_value)
    d = dtype_of(dtype) if dtype is not None else number_dtype(value)
    return finished(filled(sizes_of((size,)), value, d, on_meta(rest)), requires_grad, rest)


def _like(name: str, value: Any) -> None:
    def f(input: Tensor, *, dtype: Any = None, requires_grad: bool = False, **rest: Any) -> Tensor:
        a_tensor(f.__name__, input)
        made = filled(input.shape, value, dtype_of(dtype or input.dtype), on_meta(rest, input))
        return finished(made, requires_grad, rest, input)

    def new(self: Tensor, *size: Any, dtype: Any = None, requires_grad: bool = False, **rest: Any) -> Tensor:
        made = filled(sizes_of(size), value, dtype_of(dtype or self.dtype), on_meta(rest, self))
        return finished(made, requires_grad, rest, self)

    f.__name__ = name + "_like"
    f.__doc__ = f"{value} everywhere, in the shape and dtype of input."
    new.__name__ = "new_" + name
    new.__doc__ = f"{value} everywhere, in the dtype of this tensor."
    FUNCTIONS[f.__name__] = f
    METHODS[new.__name__] = by_name(new)


for _name, _value in (("zeros", 0), ("ones", 1), ("empty", 0)):
    _like(_name, _value)
zeros_like, ones_like = FUNCTIONS["zeros_like"], FUNCTIONS["ones_like"]


@function(method=False)
def full_like(input: Tensor, fill_value: Any, *, dtype: Any = None, requires_grad: bool = False, **rest: Any) -> Tensor:
    """One number everywhere, in the shape and dtype of input."""
    a_tensor("full_like", input)
    made = filled(input.shape, _number(fill_value), dtype_of(dtype or input.dtype), on_meta(rest, input))
    return finished(made, requires_grad, rest, input)


def _number(value: Any) -> Any:
    """A number that may be given as a tensor of one element, which is read."""
    return value.item() if isinstance(value, Tensor) else value


def _beside(self: Tensor, named: dict[str, Any]) -> dict[str, Any]:
    return {"dtype": self.dtype, **named, "device": named.get("device") or self._home}


@method()
def new_full(self: Tensor, size: Any, fill_value: Any, **rest: Any) -> Tensor:
    """`full`, in this tensor's dtype and on its device where none is named."""
    return full(size, fill_value, **_beside(self, rest))


@method()
def new_tensor(self: Tensor, data: Any, **rest: Any) -> Tensor:
    """`tensor`, in this tensor's dtype and on its device where none is named."""
    return tensor(data, **_beside(self, rest))


@function(method=False)
def arange(
    start: Any = None, end: Any = None, step: Any = 1, *, dtype: Any = None, requires_grad: bool = False, **rest: Any
) -> Tensor:
    """start, start + step .. below end; from 0 where one bound is given."""
    if end is None:
        start, end = None, start
    if end is None:
        raise TypeError("arange() takes at least its end")
    start = 0 if start is None else start
    start, end, step = (_number(v) for v in (start, end, step))
    if any(isinstance(v, SymbolicDim) for v in (start, end, step)):
        if step != 1:
            raise TypeError(f"arange: from {start} to {end} in steps of {step} has an open size")
        if end - start < 0:  # raises where that depends on the size: the axis stays fixed then
            raise ShapeError(f"arange: from {start} to {end} by {step} leads nowhere")
        d = i64 if dtype is None else dtype_of(dtype)
        counts: Tensor = FUNCTIONS["add"](wrap(ops.arange(end - start)), start)
        return finished(convert(counts, d), requires_grad, rest)
    if not all(map(math.isfinite, (start, end, step))):
        raise ShapeError(f"arange: bounds and step are finite, found {start}, {end} and {step}")
    if dtype is not None and dtype_of(dtype).kind in "iu":  # as PyTorch: what is given is rounded, not what is made
        start, end, step = int(start), int(end), int(step)
    if step == 0 or (end - start) * step < 0:
        raise ShapeError(f"arange: from {start} to {end} by {step} leads nowhere")
    d = (
        dtype_of(dtype)
        if dtype is not None
        else (i64 if result_dtype([start, end, step]) == i64 else get_default_dtype())
    )
    count = int(np.ceil((end - start) / step))
    made = from_array(np.arange(count) * step + start, d)
    return finished(made, requires_grad, rest)


@function(method=False)
def linspace(
    start: Any, end: Any, steps: int, *, dtype: Any = None, requires_grad: bool = False, **rest: Any
) -> Tensor:
    """`steps` numbers from start to end, evenly spaced."""
    start, end = _number(start), _number(end)
    element = dtype_of(dtype or get_default_dtype())
    if element.kind in "iu":  # as PyTorch: bounds are rounded first
        start, end = int(start), int(end)
    made = from_array(np.linspace(start, end, steps), element)
    return finished(made, requires_grad, rest)


@function(method=False)
def logspace(
    start: Any,
    end: Any,
    steps: int,
    base: float = 10.0,
    *,
    dtype: Any = None,
    requires_grad: bool = False,
    **rest: Any,
) -> Tensor:
    """base to the power of `linspace`; of integers start and end are whole."""
    element = dtype_of(dtype or get_default_dtype())
    start, end = _number(start), _number(end)
    if not element.is_float:
        start, end = int(start), int(end)
    made = from_array(np.logspace(start, end, steps, base=base), element)
    return finished(made, requires_grad, rest)


@function(method=False)
def eye(n: int, m: int | None = None, *, dtype: Any = None, requires_grad: bool = False, **rest: Any) -> Tensor:
    """1 on the diagonal, 0 elsewhere."""
    made = from_array(np.eye(n, m), dtype_of(dtype or get_default_dtype()))
    return finished(made, requires_grad, rest)


@function(method=False)
def vander(x: Tensor, N: int | None = None, increasing: bool = False) -> Tensor:
    """Powers of each element along a row."""
    n = x.shape[0] if N is None else N
    columns = [x**i if i else ones_like(x) for i in range(n)]
    return FUNCTIONS["stack"](columns if increasing else columns[::-1], -1)


def _window(name: str, build: Any) -> None:
    def f(window_length: int, periodic: bool = True, *args: float, dtype: Any = None, **rest: Any) -> Tensor:
        if window_length < 2:
            return finished(filled((window_length,), 1, dtype_of(dtype or get_default_dtype())), False, rest)
        n = window_length + 1 if periodic else window_length
        made = build(np.arange(n) / (n - 1), *args)[:window_length]
        return finished(from_array(made, dtype_of(dtype or get_default_dtype())), False, rest)

    f.__name__ = name
    f.__doc__ = f"The {name.replace('_', ' ')}, one period of it or symmetric."
    function(method=False)(f)


def _cosines(*weights: float) -> Any:
    return lambda t: sum(w * (-1) ** k * np.cos(2 * np.pi * k * t) for k, w in enumerate(weights))


_window("hann_window", _cosines(0.5, 0.5))
_window("hamming_window", lambda t, a=0.54, b=0.46: a - b * np.cos(2 * np.pi * t))
_window("blackman_window", _cosines(0.42, 0.5, 0.08))
_window("bartlett_window", lambda t: 1 - np.abs(2 * t - 1))
_window("kaiser_window", lambda t, beta=12.0: np.i0(beta * np.sqrt(np.maximum(1 - (2 * t - 1) ** 2, 0))) / np.i0(beta))


@function(method=False)
def result_type(tensor: Any, other: Any) -> DType:
    """The dtype of a function of two tensors or numbers."""
    return result_dtype([tensor, other])
