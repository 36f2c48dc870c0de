"""Types of the graph IR: element types, dimensions (ints and bounded symbols), layouts and `TensorType`.

An element type is a plain `DType` or a quantized block format (declared in `quant/`, which registers it here by name).
Dimensions are ints or linear/polynomial expressions over bounded symbols, so one program serves every length up to a
bound.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from functools import lru_cache
from typing import Any


@dataclass(frozen=True)
class Element:
    """What a tensor is made of: `block` logical elements lie in `nbytes` bytes."""

    name: str

    @property
    def block(self) -> int:
        return 1

    @property
    def nbytes(self) -> int:
        raise TypeError(f"{type(self).__name__} must say how many bytes a block has")

    @property
    def declaration(self) -> str:
        """Text that differs wherever the bytes mean something else; part of structural keys. Formats say more here."""
        return f"{self.name}:{self.block}:{self.nbytes}"

    def __str__(self) -> str:
        return self.name


@dataclass(frozen=True)
class DType(Element):
    """A plain scalar type. `kind`: f float, i signed integer, u unsigned integer, b bool; c complex and e float of
    eight bits, which no graph has."""

    kind: str = "f"
    bits: int = 32

    def __hash__(self) -> int:
        return hash(self.name)

    def __reduce__(self) -> tuple[Any, ...]:
        return _one_dtype, (self.name, self.kind, self.bits)

    @property
    def nbytes(self) -> int:
        return max(self.bits // 8, 1)

    @property
    def is_float(self) -> bool:
        return self.kind == "f"

    @property
    def is_floating_point(self) -> bool:
        """`is_float` as PyTorch has it, of floats that are only kept too."""
        return self.kind in "fe"

    @property
    def is_complex(self) -> bool:
        """Whether elements are complex numbers."""
        return self.kind == "c"

    @property
    def is_signed(self) -> bool:
        """Whether elements can be below zero."""
        return self.kind in "fice"

    @property
    def itemsize(self) -> int:
        """The bytes of an element."""
        return self.nbytes

    def __str__(self) -> str:
        return _SPOKEN.get(self.name, self.name)

    __repr__ = __str__

    def __format__(self, spec: str) -> str:
        return format(self.name, spec)  # texts of graphs and keys of programs are the same whatever `str` says


_SPOKEN: dict[str, str] = {}


def speak(names: Mapping[str, str]) -> None:
    """Say what `str` and `repr` of dtypes are from here on, by their names here: programs of PyTorch take them apart.
    Texts of graphs, kernels and types keep the names of dtypes, and so do formatted strings."""
    _SPOKEN.update(names)


f64 = DType("f64", "f", 64)
f32 = DType("f32", "f", 32)
f16 = DType("f16", "f", 16)
bf16 = DType("bf16", "f", 16)
i64 = DType("i64", "i", 64)
i32 = DType("i32", "i", 32)
i16 = DType("i16", "i", 16)
i8 = DType("i8", "i", 8)
u32 = DType("u32", "u", 32)
u16 = DType("u16", "u", 16)
u8 = DType("u8", "u", 8)
bool_ = DType("bool", "b", 8)

_ELEMENTS: dict[str, Element] = {d.name: d for d in (f64, f32, f16, bf16, i64, i32, i16, i8, u32, u16, u8, bool_)}
_FAMILIES: list[Callable[[str], Element | None]] = []


def register_element(element: Element) -> None:
    """Make `element` known to the text form by its lower-case name. A second, different one of that name is refused."""
    key = element.name.lower()
    if _ELEMENTS.setdefault(key, element) != element:
        raise ValueError(f"an element type named {element.name!r} exists already")


def register_element_family(find: Callable[[str], Element | None]) -> None:
    """Make elements known whose names say everything about them: `find` returns the element of a name, or None."""
    _FAMILIES.append(find)


def element(name: str) -> Element:
    """The element type of that name, case ignored. Raises KeyError."""
    key = name.lower()
    if key not in _ELEMENTS:
        for find in _FAMILIES:
            if (found := find(name)) is not None:
                return found
    return _ELEMENTS[key]


def _one_dtype(name: str, kind: str, bits: int) -> Element:
    """The element type of that name, as programs ask `x.dtype is hs.float32`; a field's type, u4 say, is equal only."""
    made = DType(name, kind, bits)
    found = _ELEMENTS.get(name.lower())
    return found if found == made else made


def elements() -> tuple[Element, ...]:
    return tuple(_ELEMENTS.values())


@dataclass(frozen=True)
class Symbol:
    """A dimension known when the program runs: `lower <= name <= upper`."""

    name: str
    upper: int
    lower: int = 0

    def __str__(self) -> str:
        return self.name


@dataclass(frozen=True)
class SymbolicDim:
    """A polynomial over symbols with integer coefficients: `terms` maps a sorted tuple of symbols to its coefficient.

    Built by arithmetic on `dim(symbol)`; a polynomial without symbols collapses to a plain int.
    """

    terms: tuple[tuple[tuple[Symbol, ...], int], ...]

    def __add__(self, other: Dim) -> Dim:
        if not isinstance(other, Dim):
            return NotImplemented  # a tensor, whose own operator takes sizes as numbers
        total = dict(self.terms)
        for key, value in _terms(other):
            total[key] = total.get(key, 0) + value
        return _dim(total)

    __radd__ = __add__

    def __neg__(self) -> Dim:
        return _dim({key: -value for key, value in self.terms})

    def __sub__(self, other: Dim) -> Dim:
        return self + (-other) if isinstance(other, Dim) else NotImplemented

    def __rsub__(self, other: Dim) -> Dim:
        return (-self) + other

    def __mul__(self, other: Dim) -> Dim:
        if not isinstance(other, Dim):
            return NotImplemented
        total: dict[tuple[Symbol, ...], int] = {}
        for a, x in self.terms:
            for b, y in _terms(other):
                key = tuple(sorted(a + b, key=lambda s: s.name))
                total[key] = total.get(key, 0) + x * y
        return _dim(total)

    __rmul__ = __mul__

    def __floordiv__(self, other: Dim) -> Dim:
        """Exact division. Raises ValueError where it leaves something over, or may."""
        if not isinstance(other, Dim):
            return NotImplemented
        lead, factor = _terms(other)[0]
        quotient: Dim = 0
        rest: Dim = self
        while rest != 0:
            key, value = _terms(rest)[0]
            left = Counter(key)
            left.subtract(lead)
            if value % factor or min(left.values(), default=0) < 0:
                raise ValueError(f"({self}) does not divide by {other}")
            term = _dim({tuple(sorted(left.elements(), key=lambda s: s.name)): value // factor})
            quotient, rest = quotient + term, rest - term * other
        return quotient

    def __rfloordiv__(self, other: int) -> Dim:
        if other == 0:
            return 0
        raise ValueError(f"{other} does not divide by ({self}) whatever the symbols are")

    def __mod__(self, other: Dim) -> int:
        """0 where it divides whatever the symbols are. Raises TypeError where that depends on them."""
        if not isinstance(other, Dim):
            return NotImplemented
        try:
            self // other
        except ValueError:
            raise TypeError(f"the remainder of {self} by {other} depends on the symbols") from None
        return 0

    def __rmod__(self, other: int) -> int:
        if other == 0:
            return 0
        raise TypeError(f"the remainder of {other} by {self} depends on the symbols")

    def _below(self, other: Dim, strict: bool) -> bool:
        """Whether it is less than the other whatever the symbols are. Raises TypeError where that depends on them."""
        rest = self - other
        if upper_bound(rest) < (0 if strict else 1):
            return True
        if lower_bound(rest) >= (0 if strict else 1):
            return False
        raise TypeError(f"whether {self} is less than {other} depends on the symbols")

    def __lt__(self, other: Dim) -> bool:
        return self._below(other, strict=True)

    def __le__(self, other: Dim) -> bool:
        return self._below(other, strict=False)

    def __gt__(self, other: Dim) -> bool:
        return not self._below(other, strict=False)

    def __ge__(self, other: Dim) -> bool:
        return not self._below(other, strict=True)

    @property
    def symbols(self) -> tuple[Symbol, ...]:
        seen = {s for key, _ in self.terms for s in key}
        return tuple(sorted(seen, key=lambda s: s.name))

    def evaluate(self, values: Mapping[str, int]) -> int:
        """The int for concrete symbol values by name."""
        total = 0
        for key, value in self.terms:
            for s in key:
                value *= values[s.name]
            total += value
        return total

    @property
    def upper(self) -> int:
        return sum(value * _product((s.upper if value > 0 else s.lower) for s in key) for key, value in self.terms)

    @property
    def lower(self) -> int:
        return sum(value * _product((s.lower if value > 0 else s.upper) for s in key) for key, value in self.terms)

    def __str__(self) -> str:
        parts: list[str] = []
        for key, value in self.terms:
            names = "*".join(s.name for s in key)
            sign = "-" if value < 0 else ("+" if parts else "")
            text = names if abs(value) == 1 and names else f"{abs(value)}*{names}" if names else str(abs(value))
            parts.append(sign + text)
        return "".join(parts)


Dim = int | SymbolicDim
Shape = tuple[Dim, ...]


def _product(values: Iterable[int]) -> int:
    total = 1
    for value in values:
        total *= value
    return total


def _terms(d: Dim) -> tuple[tuple[tuple[Symbol, ...], int], ...]:
    return d.terms if isinstance(d, SymbolicDim) else (((), d),)


def _dim(terms: Mapping[tuple[Symbol, ...], int]) -> Dim:
    kept = {k: v for k, v in terms.items() if v}
    if not kept:
        return 0
    if set(kept) == {()}:
        return kept[()]
    ordered = sorted(kept.items(), key=lambda kv: (-len(kv[0]), [s.name for s in kv[0]]))
    return SymbolicDim(tuple(ordered))


def dim(symbol: Symbol) -> SymbolicDim:
    """The dimension that is `symbol` itself."""
    return SymbolicDim((((symbol,), 1),))


def upper_bound(d: Dim) -> int:
    return d if isinstance(d, int) else d.upper


def lower_bound(d: Dim) -> int:
    return d if isinstance(d, int) else d.lower


def evaluate(d: Dim, values: Mapping[str, int]) -> int:
    return d if isinstance(d, int) else d.evaluate(values)


def concrete(value: Any, sizes: Mapping[str, Any]) -> Any:
    """An attribute, a type or a tuple of such with its symbols' values in their places, or other sizes. Raises KeyError
    without one."""
    if isinstance(value, SymbolicDim):
        return value.evaluate(sizes)
    if isinstance(value, tuple):
        return tuple(concrete(v, sizes) for v in value)
    if isinstance(value, TensorType) and not value.static:
        shape = concrete(value.shape, sizes)
        return tensor(value.element, *shape) if value.layout is None else value.with_shape(shape)
    return value


def numel(shape: Shape) -> Dim:
    total: Dim = 1
    for d in shape:
        total = total * d
    return total


@dataclass(frozen=True)
class Layout:
    """How the elements of a tensor lie in memory, where that is not row-major. A subclass is a frozen dataclass of
    ints.

    It is known to the text form by its name in snake case: `KeyPanels(keys=64)` is `key_panels(64)`.
    The packed layouts of matrices are declared in `quant/panel.py`.
    """

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        _LAYOUTS[_snake_case(cls.__name__)] = cls

    def __str__(self) -> str:
        values = ", ".join(str(getattr(self, f.name)) for f in fields(self))
        return f"{_snake_case(type(self).__name__)}({values})"


_LAYOUTS: dict[str, Callable[..., Layout]] = {}


def _snake_case(name: str) -> str:
    return re.sub(r"(?<!^)(?=[A-Z])", "_", name).lower()


def layout(name: str, values: Sequence[int]) -> Layout:
    """The layout that prints as `name(values)`. Raises KeyError for an unknown name, TypeError for wrong values."""
    return _LAYOUTS[name](*values)


@dataclass(frozen=True)
class TensorType:
    """`tensor<element, [shape], layout>`. `layout` None is row-major; blocks of a format run along the last axis."""

    element: Element
    shape: Shape
    layout: Layout | None = field(default=None)

    def __hash__(self) -> int:
        known = self.__dict__.get("_hash")
        if known is None:
            known = self.__dict__["_hash"] = hash((self.element.name, self.shape, self.layout))
        return int(known)

    def __reduce__(self) -> tuple[object, ...]:
        return (TensorType, (self.element, self.shape, self.layout))  # hashes of another process differ

    @property
    def rank(self) -> int:
        return len(self.shape)

    @property
    def dtype(self) -> DType:
        """The element as a plain dtype. Raises TypeError for a block format."""
        if not isinstance(self.element, DType):
            raise TypeError(f"{self} holds blocks, not plain elements")
        return self.element

    @property
    def symbols(self) -> tuple[Symbol, ...]:
        seen = {s for d in self.shape if isinstance(d, SymbolicDim) for s in d.symbols}
        return tuple(sorted(seen, key=lambda s: s.name))

    @property
    def static(self) -> bool:
        return all(isinstance(d, int) for d in self.shape)

    def shape_at(self, values: Mapping[str, int]) -> tuple[int, ...]:
        """The shape where symbols have these values."""
        return tuple([evaluate(d, values) for d in self.shape])

    def with_shape(self, shape: Iterable[Dim]) -> TensorType:
        return TensorType(self.element, tuple(shape), self.layout)

    def __str__(self) -> str:
        tail = f", {self.layout}" if self.layout is not None else ""
        return f"tensor<{self.element}, [{', '.join(map(str, self.shape))}]{tail}>"


@lru_cache(maxsize=4096)
def tensor(element_type: Element, *shape: Dim) -> TensorType:
    """Short constructor: `tensor(f32, 4, 8)`."""
    return TensorType(element_type, tuple(shape))
