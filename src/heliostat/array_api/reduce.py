"""Statistics, searching, sorting and sets."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from ..ir.types import DType, bool_, i64
from ..tensor import FUNCTIONS, Tensor
from ..tensor.conversion import convert, from_array
from ..tensor.dims import normal_dims
from .dtypes import promoted

Axes = int | Sequence[int] | None
F = FUNCTIONS


def _axes(x: Tensor, axis: Axes) -> tuple[int, ...]:
    return () if axis == () else normal_dims(axis, x.ndim, "a reduction")


def _over(name: str, x: Tensor, axis: Axes, keepdims: Any) -> Tensor:
    """A reduction that PyTorch has over one axis, over several."""
    for a in sorted(_axes(x, axis), reverse=True):
        x = F[name](x, a, keepdims)
    return x


def _summed(x: Tensor, dtype: DType | None) -> DType:
    return dtype or (x.dtype if x.dtype.kind in "fc" else i64)


def _kept(x: Tensor, dtype: DType | None) -> Tensor:
    return x if dtype is None else convert(x, dtype)


def sum(x: Tensor, /, *, axis: Axes = None, dtype: DType | None = None, keepdims: Any = False) -> Tensor:
    """Sums over axes, all where None. Integers are summed in int64."""
    wide, axes = convert(x, _summed(x, dtype)), _axes(x, axis)
    return wide.clone() if not axes else _kept(F["sum"](wide, axes, keepdims), dtype)


def prod(x: Tensor, /, *, axis: Axes = None, dtype: DType | None = None, keepdims: Any = False) -> Tensor:
    """Products over axes, all where None. Integers are multiplied in int64."""
    return _kept(_over("prod", convert(x, _summed(x, dtype)), axis, keepdims), dtype)


def max(x: Tensor, /, *, axis: Axes = None, keepdims: Any = False) -> Tensor:
    """Largest elements over axes, all where None."""
    axes = _axes(x, axis)
    made: Tensor = F["amax"](x, axes, keepdims) if axes else x.clone()
    return made


def min(x: Tensor, /, *, axis: Axes = None, keepdims: Any = False) -> Tensor:
    """Smallest elements over axes, all where None."""
    axes = _axes(x, axis)
    made: Tensor = F["amin"](x, axes, keepdims) if axes else x.clone()
    return made


def mean(x: Tensor, /, *, axis: Axes = None, keepdims: Any = False) -> Tensor:
    """Means over axes, all where None."""
    axes = _axes(x, axis)
    made: Tensor = F["mean"](x, axes, keepdims) if axes else x.clone()
    return made


def var(x: Tensor, /, *, axis: Axes = None, correction: float = 0.0, keepdims: Any = False) -> Tensor:
    """Variances over axes, all where None: sums of squares by the number of elements less `correction`."""
    axes = _axes(x, axis)
    if not axes:
        return x * 0 if correction == 0 else x * 0 / (1 - correction)
    count = 1
    for a in axes:
        count *= x.shape[a]
    square: Tensor = F["square"](x - F["mean"](x, axes, True)).sum(axes, keepdims)
    left = count - correction
    return square / (left if left > 0 else 0.0)


def std(x: Tensor, /, *, axis: Axes = None, correction: float = 0.0, keepdims: Any = False) -> Tensor:
    """Square roots of variances."""
    made: Tensor = F["sqrt"](var(x, axis=axis, correction=correction, keepdims=keepdims))
    return made


def all(x: Tensor, /, *, axis: Axes = None, keepdims: Any = False) -> Tensor:
    """Whether no element over axes is 0."""
    return _over("all", x.to(bool_), axis, keepdims)


def any(x: Tensor, /, *, axis: Axes = None, keepdims: Any = False) -> Tensor:
    """Whether some element over axes is not 0."""
    return _over("any", x.to(bool_), axis, keepdims)


def count_nonzero(x: Tensor, /, *, axis: Axes = None, keepdims: Any = False) -> Tensor:
    """How many elements over axes are not 0."""
    return sum(convert(x.to(bool_), i64), axis=axis, keepdims=keepdims)


def _scan(name: str, x: Tensor, axis: int | None, dtype: DType | None, include_initial: Any, first: int) -> Tensor:
    if axis is None:
        if x.ndim != 1:
            raise ValueError(f"{name} needs an axis for an array of {x.ndim} axes")
        axis = 0
    y = _kept(F[name](convert(x, _summed(x, dtype)), axis), dtype)
    if not include_initial:
        return y
    shape = list(y.shape)
    shape[axis] = 1
    made: Tensor = F["cat"]([F["full"](shape, first, dtype=y.dtype), y], axis)
    return made


def cumulative_sum(
    x: Tensor, /, *, axis: int | None = None, dtype: DType | None = None, include_initial: Any = False
) -> Tensor:
    """Running sums along an axis, after a 0 with include_initial."""
    return _scan("cumsum", x, axis, dtype, include_initial, 0)


def cumulative_prod(
    x: Tensor, /, *, axis: int | None = None, dtype: DType | None = None, include_initial: Any = False
) -> Tensor:
    """Running products along an axis, after a 1 with include_initial."""
    return _scan("cumprod", x, axis, dtype, include_initial, 1)


def diff(x: Tensor, /, *, axis: int = -1, n: int = 1, prepend: Any = None, append: Any = None) -> Tensor:
    """n-th differences of neighbours, of x between prepend and append."""
    parts = [p for p in (prepend, x, append) if p is not None]
    y: Tensor = F["cat"](promoted(*parts), axis) if len(parts) > 1 else x
    made: Tensor = F["diff"](y, n, axis) if n else y
    return made


# --- searching and sorting --------------------------------------------------------------------------------------------
def _extreme(name: str, x: Tensor, axis: int | None, keepdims: Any) -> Tensor:
    y: Tensor = F[name](x.reshape(-1), 0) if axis is None else F[name](x, axis, keepdims)
    return y.reshape((1,) * x.ndim) if axis is None and keepdims else y


def argmax(x: Tensor, /, *, axis: int | None = None, keepdims: Any = False) -> Tensor:
    """Where the largest element of an axis stands, or of all."""
    return _extreme("argmax", x, axis, keepdims)


def argmin(x: Tensor, /, *, axis: int | None = None, keepdims: Any = False) -> Tensor:
    """Where the smallest element of an axis stands, or of all."""
    return _extreme("argmin", x, axis, keepdims)


def sort(x: Tensor, /, *, axis: int = -1, descending: Any = False, stable: Any = True) -> Tensor:
    """Elements of an axis in order."""
    made: Tensor = F["sort"](x, axis, descending, stable).values
    return made


def argsort(x: Tensor, /, *, axis: int = -1, descending: Any = False, stable: Any = True) -> Tensor:
    """Places of the elements of an axis in order."""
    made: Tensor = F["argsort"](x, axis, descending, stable)
    return made


def nonzero(x: Tensor, /) -> tuple[Tensor, ...]:
    """Where elements are not 0: an array of numbers for each axis."""
    if not x.ndim:
        raise ValueError("nonzero takes an array of at least one axis")
    return tuple(F["nonzero"](x, as_tuple=True))


def searchsorted(x1: Tensor, x2: Any, /, *, side: str = "left", sorter: Tensor | None = None) -> Tensor:
    """Where to put elements of x2, an array or a number, into x1 so that it stays in order."""
    a, b = promoted(x1, x2)
    made: Tensor = F["searchsorted"](a if sorter is None else a[sorter], b, side=side)
    return made


def isin(x1: Any, x2: Any, /, *, invert: Any = False) -> Tensor:
    """Whether elements of x1 are in x2."""
    made: Tensor = F["isin"](*promoted(x1, x2), invert=invert)
    return made


# --- sets -------------------------------------------------------------------------------------------------------------
class UniqueAll(NamedTuple):
    """Different elements, where each stands first, the number of each among them, and how often it occurs."""

    values: Tensor
    indices: Tensor
    inverse_indices: Tensor
    counts: Tensor


class UniqueCounts(NamedTuple):
    """Different elements, and how often each occurs."""

    values: Tensor
    counts: Tensor


class UniqueInverse(NamedTuple):
    """Different elements, and the number of each element among them."""

    values: Tensor
    inverse_indices: Tensor


def unique_all(x: Tensor, /) -> UniqueAll:
    """The different elements of x in order; each NaN is different."""
    values, first, inverse, counts = np.unique(
        np.asarray(x.detach().array()).reshape(-1), True, True, True, equal_nan=False
    )
    return UniqueAll(
        from_array(values, x.dtype), from_array(first), from_array(inverse.reshape(tuple(x.shape))), from_array(counts)
    )


def unique_counts(x: Tensor, /) -> UniqueCounts:
    """The different elements of x in order."""
    found = unique_all(x)
    return UniqueCounts(found.values, found.counts)


def unique_inverse(x: Tensor, /) -> UniqueInverse:
    """The different elements of x in order."""
    found = unique_all(x)
    return UniqueInverse(found.values, found.inverse_indices)


def unique_values(x: Tensor, /) -> Tensor:
    """The different elements of x in order."""
    return unique_all(x).values


TABLE: dict[str, Any] = {
    f.__name__: f
    for f in (
        all, any, argmax, argmin, argsort, count_nonzero, cumulative_prod, cumulative_sum, diff, isin, max, mean, min,
        nonzero, prod, searchsorted, sort, std, sum, unique_all, unique_counts, unique_inverse, unique_values, var,
    )
}  # fmt: skip
