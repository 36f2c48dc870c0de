"""What the op sweep feeds an op: types, attributes, and how the elements are drawn. Part of every record."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

import numpy as np

from ..ir.graph import round_bf16, storage_dtype
from ..ir.types import DType, TensorType, bf16
from ..quant.format import BlockFormat
from ..quant.quantize import encode

Array = np.ndarray[Any, np.dtype[Any]]


@dataclass(frozen=True)
class Values:
    """A distribution of elements. `a | b` draws each element from one or the other."""

    def __or__(self, other: Values) -> Values:
        return Either((self, other))

    def plain(self) -> Values | None:
        """The part of it that is finite and smooth, for gradients; None if there is none."""
        return self

    def draw(self, rng: np.random.Generator, shape: tuple[int, ...], dtype: DType) -> Array:
        """Elements of `dtype`, as float64 or int64 that it can hold before rounding."""
        raise TypeError(f"{type(self).__name__} must say how elements are drawn")


@dataclass(frozen=True)
class Uniform(Values):
    """Evenly between two bounds; for integers, the whole numbers among them that the dtype has."""

    low: float = -1.0
    high: float = 1.0

    def draw(self, rng: np.random.Generator, shape: tuple[int, ...], dtype: DType) -> Array:
        if dtype.is_float:
            return rng.uniform(self.low, self.high, shape)
        low, high = integer_range(dtype)
        first = max(int(np.ceil(self.low)), low)
        return rng.integers(first, max(min(int(np.floor(self.high)), high), first), shape, np.int64, endpoint=True)


@dataclass(frozen=True)
class SpecialFloats(Values):
    """Zeros, infinities, NaN, the smallest and the largest; for integers the ends of their range, 0 and 1."""

    def plain(self) -> Values | None:
        return None

    def draw(self, rng: np.random.Generator, shape: tuple[int, ...], dtype: DType) -> Array:
        if dtype.is_float:
            low = 2.0**-14 if dtype.name == "f16" else 2.0**-126
            top = 65504.0 if dtype.name == "f16" else 3e38
            return rng.choice([0.0, -0.0, np.inf, -np.inf, np.nan, low, -low, low / 8, 1.0, -1.0, top, -top], shape)
        return rng.choice(np.array([*integer_range(dtype), 0, 1], np.int64), shape)


@dataclass(frozen=True)
class Either(Values):
    parts: tuple[Values, ...]

    def plain(self) -> Values | None:
        kept = tuple(p for part in self.parts if (p := part.plain()) is not None)
        return Either(kept) if kept else None

    def draw(self, rng: np.random.Generator, shape: tuple[int, ...], dtype: DType) -> Array:
        which = rng.integers(0, len(self.parts), shape)
        return np.choose(which, [part.draw(rng, shape, dtype) for part in self.parts])


@dataclass(frozen=True)
class Exactly(Values):
    """That value everywhere: a position, say; or that value for each element of the last axis."""

    value: float | tuple[float, ...] = 0

    def draw(self, rng: np.random.Generator, shape: tuple[int, ...], dtype: DType) -> Array:
        return np.broadcast_to(np.array(self.value, np.float64 if dtype.is_float else np.int64), shape)


@dataclass(frozen=True)
class Operand:
    """One input of a sample."""

    type: TensorType
    values: Values = field(default_factory=Uniform)

    def draw(self, rng: np.random.Generator, symbols: Mapping[str, int]) -> Array:
        """The array as `evaluate` takes it: block formats as bytes, bf16 in float32."""
        shape = self.type.shape_at(symbols)
        element = self.type.element
        if isinstance(element, BlockFormat):
            return encode(np.asarray(rng.uniform(-1, 1, shape), np.float32), element)
        assert isinstance(element, DType)
        with np.errstate(over="ignore"):
            array = np.asarray(self.values.draw(rng, shape, element)).astype(storage_dtype(element))
        return round_bf16(array) if element == bf16 else array


@dataclass(frozen=True)
class Sample:
    """One call of an op: its inputs, its attributes, and the values of the symbols in them."""

    operands: tuple[Operand, ...]
    attrs: Mapping[str, Any] = field(default_factory=lambda: MappingProxyType({}))
    symbols: Mapping[str, int] = field(default_factory=lambda: MappingProxyType({}))

    def draw(self, seed: int) -> list[Array]:
        """An array for each input."""
        rng = np.random.default_rng(seed)
        return [operand.draw(rng, self.symbols) for operand in self.operands]

    def __str__(self) -> str:
        attrs = "".join(f", {k}={v}" for k, v in self.attrs.items())
        return ", ".join(str(o.type) for o in self.operands) + attrs


# Values: one distribution for all operands of an elementwise op, or one for each. Other ops write their samples out.
Samples = Values | tuple[Values, ...] | tuple[Sample, ...]


def sample(
    *operands: TensorType | tuple[TensorType, Values], symbols: Mapping[str, int] | None = None, **attrs: Any
) -> Sample:
    """A sample in short: a type alone is drawn from -1 .. 1."""
    made = tuple(Operand(*o) if isinstance(o, tuple) else Operand(o) for o in operands)
    return Sample(made, MappingProxyType(dict(attrs)), MappingProxyType(dict(symbols or {})))


def integer_range(dtype: DType) -> tuple[int, int]:
    """The smallest and the largest value of an integer dtype or bool."""
    if dtype.kind == "b":
        return 0, 1
    return (0, 2**dtype.bits - 1) if dtype.kind == "u" else (-(2 ** (dtype.bits - 1)), 2 ** (dtype.bits - 1) - 1)
