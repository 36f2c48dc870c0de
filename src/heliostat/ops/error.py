"""How far a target's result may be from an op's reference: bounds that are part of the record."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from ..ir.types import DType

Array = np.ndarray[Any, np.dtype[Any]]

# dtype -> bits of the mantissa without the leading one, exponent of the smallest normal number
_PRECISION = {"f64": (52, -1022), "f32": (23, -126), "f16": (10, -14), "bf16": (7, -126)}


def spacing(x: Array, dtype: DType) -> Array:
    """The distance between neighbours of `dtype` at |x|. Not finite where x is not."""
    mantissa, lowest = _PRECISION[dtype.name]
    x = np.asarray(x, np.float64)
    exponent = np.where(x == 0.0, lowest, np.frexp(np.abs(x))[1])  # frexp gives zero the exponent of 0.5
    return np.asarray(np.ldexp(1.0, np.maximum(exponent - 1, lowest) - mantissa))


@dataclass(frozen=True)
class Bound:
    """Base: a number of units in the last place for each float dtype of the result. Integers must be equal."""

    f64: float = 0.0
    f32: float = 0.0
    f16: float = 0.0
    bf16: float = 0.0

    def units(self, dtype: DType) -> float:
        return float(getattr(self, dtype.name)) if dtype.is_float else 0.0

    def allowed(self, expected: Array, dtype: DType) -> Array:
        """The largest distance for each element of the reference's result."""
        raise TypeError(f"{type(self).__name__} must say what the units are counted in")

    def excess(self, found: Array, expected: Array, dtype: DType) -> float:
        """The largest distance as a multiple of what is allowed: at most 1 is right. Infinite where one is NaN or
        infinite and the other is not."""
        found, expected = np.asarray(found), np.asarray(expected)
        if not dtype.is_float:
            return 0.0 if np.array_equal(found, expected) else np.inf
        found, expected = found.astype(np.float64), expected.astype(np.float64)
        same = (found == expected) | (np.isnan(found) & np.isnan(expected))
        with np.errstate(invalid="ignore", divide="ignore"):
            ratio = np.abs(found - expected) / self.allowed(expected, dtype)
        ratio = np.where(same, 0.0, np.where(np.isfinite(ratio), ratio, np.inf))
        return float(ratio.max(initial=0.0))


@dataclass(frozen=True)
class Ulp(Bound):
    """In units of each element of the result: for functions whose error does not depend on other elements."""

    def allowed(self, expected: Array, dtype: DType) -> Array:
        return self.units(dtype) * spacing(expected, dtype)


@dataclass(frozen=True)
class LargestUlp(Bound):
    """In units of the result's largest element: for sums, in which terms cancel."""

    def allowed(self, expected: Array, dtype: DType) -> Array:
        finite = np.where(np.isfinite(expected), np.abs(expected), 0.0)
        return self.units(dtype) * spacing(np.maximum(finite.max(initial=0.0), finite), dtype)


EXACT = Ulp()
