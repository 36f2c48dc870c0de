"""Making arrays."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any

import numpy as np

from ..ir.types import DType
from ..tensor import FUNCTIONS, Tensor
from ..tensor.conversion import as_tensor, convert, from_array
from ..tensor.devices import default_name


def here(function: Any) -> Any:
    """A function that makes arrays, which puts them on the device that is named, else on the default one."""

    @functools.wraps(function)
    def run(*args: Any, device: Any = None, **kwargs: Any) -> Tensor:
        made: Tensor = function(*args, device=device, **kwargs)
        if made._home is None:
            return made._place(default_name(device))
        return made if device is None else made.to(device)

    return run


@here
def asarray(obj: Any, /, *, dtype: DType | None = None, device: Any = None, copy: Any = None) -> Tensor:
    """An array of numbers, nested sequences, buffers or arrays. With copy=False raises ValueError where one is needed;
    what is no tensor is always copied."""
    if not isinstance(obj, Tensor):
        if copy is False:
            raise ValueError("asarray: a copy is needed, and copy=False forbids it")
        return as_tensor(obj, dtype)
    if dtype is not None and dtype != obj.dtype:
        if copy is False:
            raise ValueError("asarray: another dtype needs a copy, and copy=False forbids it")
        return convert(obj, dtype)
    return obj.clone() if copy else obj


@here
def from_dlpack(x: Any, /, *, device: Any = None, copy: Any = None) -> Tensor:
    """As `hs.from_dlpack`."""
    made: Tensor = FUNCTIONS["from_dlpack"](x, device=device, copy=copy)
    return made


@here
def arange(
    start: float, /, stop: float | None = None, step: float = 1, *, dtype: DType | None = None, device: Any = None
) -> Tensor:
    """start, start + step ... before stop; from 0 to start where stop is left out. Empty where step leads away."""
    first, last = (0, start) if stop is None else (start, stop)
    if (last - first) * step < 0:
        last = first + 0 * last  # empty, and a float where one of both is
    made: Tensor = FUNCTIONS["arange"](first, last, step, dtype=dtype)
    return made


@here
def linspace(
    start: float, stop: float, /, num: int, *, dtype: DType | None = None, device: Any = None, endpoint: Any = True
) -> Tensor:
    """num numbers in equal steps from start to stop, which is among them with endpoint."""
    make = FUNCTIONS["linspace"]
    made: Tensor = make(start, stop, num, dtype=dtype) if endpoint else make(start, stop, num + 1, dtype=dtype)[:-1]
    return made


@here
def eye(
    n_rows: int, n_cols: int | None = None, /, *, k: int = 0, dtype: DType | None = None, device: Any = None
) -> Tensor:
    """Zeros with ones on the k-th diagonal."""
    made: Tensor = from_array(np.eye(n_rows, n_cols, k))
    return convert(made, dtype or FUNCTIONS["zeros"](1).dtype)


def _filled(name: str) -> Any:
    @here
    def function(shape: int | Sequence[int], *, dtype: DType | None = None, device: Any = None) -> Tensor:
        return FUNCTIONS[name]((shape,) if isinstance(shape, int) else tuple(shape), dtype=dtype)

    def like(x: Tensor, /, *, dtype: DType | None = None, device: Any = None) -> Tensor:
        made: Tensor = function(tuple(x.shape), dtype=dtype or x.dtype, device=device or x.device)
        return made

    function.__name__, like.__name__ = name, name + "_like"
    function.__doc__, like.__doc__ = f"{FUNCTIONS[name].__doc__}", f"As `{name}`, of the shape and dtype of x."
    return {name: function, name + "_like": like}


@here
def full(shape: int | Sequence[int], fill_value: Any, *, dtype: DType | None = None, device: Any = None) -> Tensor:
    """One number everywhere."""
    made: Tensor = FUNCTIONS["full"]((shape,) if isinstance(shape, int) else tuple(shape), fill_value, dtype=dtype)
    return made


def full_like(x: Tensor, /, fill_value: Any, *, dtype: DType | None = None, device: Any = None) -> Tensor:
    """One number everywhere, of the shape and dtype of x."""
    made: Tensor = full(tuple(x.shape), fill_value, dtype=dtype or x.dtype, device=device or x.device)
    return made


def meshgrid(*arrays: Tensor, indexing: str = "xy") -> tuple[Tensor, ...]:
    """Coordinates of a grid; "xy" exchanges the first two axes."""
    return tuple(FUNCTIONS["meshgrid"](*arrays, indexing=indexing))


def tril(x: Tensor, /, *, k: int = 0) -> Tensor:
    """The lower triangle, up to the k-th diagonal."""
    made: Tensor = FUNCTIONS["tril"](x, k)
    return made


def triu(x: Tensor, /, *, k: int = 0) -> Tensor:
    """The upper triangle, from the k-th diagonal on."""
    made: Tensor = FUNCTIONS["triu"](x, k)
    return made


TABLE: dict[str, Any] = {
    **_filled("zeros"), **_filled("ones"), **_filled("empty"), "arange": arange, "asarray": asarray, "eye": eye,
    "from_dlpack": from_dlpack, "full": full, "full_like": full_like, "linspace": linspace, "meshgrid": meshgrid,
    "tril": tril, "triu": triu,
}  # fmt: skip
