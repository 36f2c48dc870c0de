"""Tensors of numbers, arrays and nested lists, and of other dtypes."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from threading import get_ident
from typing import Any

import numpy as np

from .. import ops
from ..diagnostics import DTypeError, ShapeError
from ..ir.graph import Value, round_bf16
from ..ir.types import DType, SymbolicDim, TensorType, bf16, f32, f64, tensor
from ..runtime.buffer import Buffer
from ..runtime.number import NumberBuffer
from . import lazy
from .core import Tensor, new, wrap
from .dims import Size
from .dtypes import c128, dtype_of, get_default_dtype, number_dtype, of_numpy, promote, result_dtype
from .reading import Array

SCALAR_TYPES: dict[DType, TensorType] = {f32: tensor(f32), f64: tensor(f64)}


def scalar(number: Any, dtype: DType) -> Value:
    """A Python number as an input of its own, so that another number is not another program."""
    kind = type(number)
    small = (kind is float and -1e38 < number < 1e38) or (kind is int and -(1 << 53) < number < 1 << 53)
    if small and (dtype is f32 or dtype is f64):
        return lazy.leaf(NumberBuffer(number, dtype.name), SCALAR_TYPES[dtype])
    array = np.array(number)
    if dtype == bf16:
        bits = np.float32(number).reshape(1).view(np.uint32)
        array = ((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16).astype(np.uint16).reshape(())
    else:
        with np.errstate(over="ignore"):
            try:
                array = array.astype(lazy.NUMPY[dtype.name])
            except (OverflowError, ValueError, TypeError) as error:
                raise DTypeError(f"{number!r} is no {dtype}: {error}") from None
    return lazy.leaf(Buffer.of(array), tensor(dtype))


def number_tensor(number: Any, dtype: DType | None = None) -> Tensor:
    """A Python number, or a symbolic size, as a tensor without axes."""
    if isinstance(number, SymbolicDim):
        sized: Tensor = new(Tensor, ops.counted(number, dtype or number_dtype(number)))
        return sized
    if isinstance(number, complex) or (dtype is not None and dtype.kind in "ce"):
        return from_array(np.asarray(number), dtype or number_dtype(number))
    made: Tensor = new(Tensor, scalar(number, dtype or number_dtype(number)))
    return made


def live_scalar(fill: Callable[[], float], dtype: DType) -> Tensor:
    """A number that a captured step asks for anew at each run: a learning rate, a count of steps."""
    made: Tensor = new(Tensor, scalar(fill(), dtype))
    lazy.meta(made._v).fill = fill
    if (scope := lazy._capture.get()) is not None:
        scope.fills.append(made._v)
    return made


def as_tensor(x: Any, dtype: Any = None) -> Tensor:
    """x itself if it is a tensor, else a tensor of it."""
    if isinstance(x, Tensor):
        return x if dtype is None else convert(x, dtype_of(dtype))
    if isinstance(x, bool | int | float | complex | np.generic | SymbolicDim) and not isinstance(x, np.ndarray):
        return number_tensor(x.item() if isinstance(x, np.generic) else x, None if dtype is None else dtype_of(dtype))
    return from_data(x, None if dtype is None else dtype_of(dtype))


def exact_tensor(x: Any, dtype: DType) -> Tensor:
    """`as_tensor(x)` of what meets a tensor of `dtype`: Python's floats and complex numbers come with all of their bits
    where those count there, not with those of the default dtype. The caller converts."""
    if dtype.kind not in "iub" and dtype.name not in ("f64", "c128"):
        return as_tensor(x)
    if isinstance(x, float | complex):
        number = x.item() if isinstance(x, np.generic) else x
        return number_tensor(number, c128 if isinstance(number, complex) else f64)
    return from_data(x, dtype) if dtype.kind in "fc" and isinstance(x, list | tuple) else as_tensor(x)


def from_data(data: Any, dtype: DType | None) -> Tensor:
    """A tensor that copies an array, nested lists of numbers and tensors, or another tensor. Without gradients."""
    if isinstance(data, Tensor):
        made = data._copied()
        return made if dtype is None else convert(made, dtype)
    if dtype is None and isinstance(data, list | tuple) and (named := _named_dtypes(data)):
        dtype = functools.reduce(promote, named)
    array = _to_array(data, dtype is not None)
    if dtype is not None and dtype.kind in "iu" and isinstance(data, int | list | tuple) and array.dtype.kind in "iu":
        limits = np.iinfo(lazy.NUMPY[dtype.name])
        if array.size and not (limits.min <= array.min() and array.max() <= limits.max):
            raise DTypeError(f"numbers from {array.min()} to {array.max()} do not fit {dtype}")
    return from_array(array, dtype)


def of_sizes_or_data(data: Sequence[Any], dtype: DType | None) -> Tensor:
    """What PyTorch's oldest constructors make of their arguments: zeros of the sizes that whole numbers or a Size are;
    the values of a sequence, an array or a tensor; of nothing, a tensor without elements. Raises DTypeError for other
    numbers. `dtype`: None for that of a tensor."""
    if len(data) == 1 and not isinstance(data[0], int | np.integer | Size):
        if isinstance(data[0], float | complex | np.generic):
            raise DTypeError(f"a size or a sequence is needed, found {data[0]!r}", help="tensor() takes numbers")
        return from_data([] if data[0] is None else data[0], dtype)
    sizes = data[0] if data and isinstance(data[0], Size) else data or (0,)
    return convert(from_array(np.zeros(sizes, bool)), dtype or get_default_dtype())


def _to_array(data: Any, exact: bool) -> Array:
    """`exact`: Python floats stay what they are, as for a dtype that is named; else they get the default dtype."""
    if isinstance(data, list | tuple):
        data = _plain(data)
    if hasattr(data, "__dlpack__") and not isinstance(data, np.ndarray):
        array = np.from_dlpack(data)
    else:
        try:
            array = np.asarray(data)
        except ValueError as error:
            raise ShapeError(f"a tensor cannot be made of nested lists of different lengths: {error}") from None
    if array.dtype.kind not in "biufc":
        raise DTypeError(f"a tensor cannot be made of {type(data).__name__}")
    python = not isinstance(data, np.ndarray | np.generic) and not hasattr(data, "__dlpack__")
    if python and not exact and array.dtype == np.complex128 and number_dtype(1j).bits == 64:
        array = array.astype(np.complex64)
    if python and not exact and array.dtype == np.float64:
        default = get_default_dtype()
        array = array.astype(np.float32 if default == bf16 else lazy.NUMPY[default.name])
    return array


_PYTHON_NUMBERS = {bool, int, float, complex}


def _named_dtypes(data: Sequence[Any]) -> set[DType]:
    """The dtypes of all numbers in nested lists, where one of them is NumPy's or a tensor, which have their own; else
    nothing."""
    types = set(map(type, data))
    if types <= _PYTHON_NUMBERS:
        return set()
    found: set[DType] = set()
    for d in data:
        if isinstance(d, list | tuple):
            found |= _named_dtypes(d)
        elif isinstance(d, Tensor):
            found.add(d.dtype)
        elif isinstance(d, np.generic | np.ndarray) and d.dtype.kind in "biufc":
            found.add(dtype_of(d.dtype))
    return found | {number_dtype(kind(0)) for kind in types & _PYTHON_NUMBERS} if found else found


def _plain(data: Any) -> Any:
    if isinstance(data, Tensor):
        return data.tolist() if not data.ndim else data.array().tolist()
    return [_plain(d) for d in data] if isinstance(data, list | tuple) else data


def from_array(array: Array, dtype: DType | None = None, device: str | None = None) -> Tensor:
    """A tensor that copies an array, in its dtype or another. Without a device it has no place of its own: it goes
    where it is used."""
    made = _from_array(array, dtype)
    return made if device is None else made._place(device)


def _from_array(array: Array, dtype: DType | None = None) -> Tensor:
    found = of_numpy(array.dtype) if dtype is None else dtype
    if found.kind == "e":
        return convert(_from_array(array), found)
    if found.kind == "c":
        from .pairs import of_array

        held: Tensor = of_array(array, found)
        return held
    if array.dtype.kind == "c":
        raise DTypeError(f"complex numbers are no {found}", help="take their real parts")
    if found == bf16:
        wide = np.array(array, np.float32, order="C").reshape(array.shape)
        bits = (np.ascontiguousarray(round_bf16(wide)).view(np.uint32) >> 16).astype(np.uint16).reshape(array.shape)
        return owning(bits, bf16)
    with np.errstate(all="ignore"):
        copied = np.array(array, lazy.NUMPY[found.name], order="C").reshape(array.shape)
    return owning(copied, found)


def owning(array: Array, dtype: DType) -> Tensor:
    """A tensor of a contiguous array that was made for it, of the type that holds elements of `dtype`."""
    made: Tensor = new(Tensor, lazy.leaf(Buffer.owning(array), tensor(dtype, *array.shape)))
    return made


def convert(x: Tensor, dtype: DType) -> Tensor:
    """x in another dtype; itself where it has it."""
    if dtype.kind == "c":
        from .pairs import widened

        held: Tensor = widened(x, dtype)
        return held
    if dtype.kind == "e":
        from .float8 import float8

        return float8(x, dtype)
    v = x.value
    if v.type.element is dtype or v.type.element == dtype:
        return x
    if v.type.shape or x._rg:
        return wrap(ops.cast(v, dtype), x)
    # Numbers that many functions use are converted once, by each thread: another may compute and forget what it made
    # before this one has read it.
    m, thread = lazy.meta(v), get_ident()
    maker, known = (None, None) if m.casts is None else m.casts.get(dtype.name, (None, None))
    if known is None or maker != thread or lazy.is_cut(known):
        known = ops.cast(v, dtype)
        m.casts = {**(m.casts or {}), dtype.name: (thread, known)}
    return wrap(known)


_NUMERIC = (Tensor, bool, int, float, np.generic, SymbolicDim)


def with_number(x: Tensor, number: Any) -> Value | None:
    """A Python number in the dtype that it takes beside x, where that is the dtype of x; None where it is not."""
    kind, dtype = type(number), x._v.type.element
    if (kind is float or kind is int) and (dtype is f32 or dtype is f64):
        return scalar(number, dtype)
    return None


def common(*operands: Any) -> tuple[list[Tensor], DType]:
    """Tensors and numbers in their common dtype. Raises TypeError where none is a tensor or number."""
    for o in operands:
        if not isinstance(o, _NUMERIC):
            raise DTypeError(f"a tensor or a number is needed, found {type(o).__name__}")
    dtype = result_dtype(operands)
    return [convert(o, dtype) if isinstance(o, Tensor) else number_tensor(o, dtype) for o in operands], dtype
