"""`Op`: one closed record per operation. Type rule, reference, lowering or decomposition, gradient and policies in one
place.

A record that lacks a mandatory part fails at import. The registry maps names to records; it is filled by the modules.
"""

from __future__ import annotations

import enum
import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar

import numpy as np

from ..diagnostics import DTypeError, ShapeError
from ..ir.graph import Node, Value, constant
from ..ir.types import Dim, DType, Shape, TensorType, bf16, bool_, f16, f32, f64, i8, i16, i32, i64, u8, u16, u32

Array = np.ndarray[Any, np.dtype[Any]]
Numeric = Value | float | int | bool


class Amp(enum.Enum):
    """What automatic mixed precision does with an op's float inputs."""

    KEEP_INPUT = "keep"
    LOWER = "lower"  # run in the lower precision: products
    FLOAT32 = "float32"  # run in f32: sums, exponentials, norms


REGISTRY: dict[str, Op] = {}


class Op:
    """Base of all records. Subclasses set `name` and give `infer`, `reference` and a lowering.

    `kind` says how the op is lowered: "elementwise" (then `scalar` is given), "composite" (then `decompose`),
    or "kernel" (a schedule takes it as it is). `gradient` builds graph; None where there is none (yet).
    """

    name: ClassVar[str] = ""
    version: ClassVar[int] = 1
    amp: ClassVar[Amp] = Amp.KEEP_INPUT
    deterministic: ClassVar[bool] = True
    kind: ClassVar[str] = "kernel"
    gradient: ClassVar[Callable[..., Sequence[Value | None]] | None] = None

    def __init_subclass__(cls, register: bool = True, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if not register:
            return
        needed = ["infer", "reference"] + {"elementwise": ["scalar"], "composite": ["decompose"], "kernel": []}[
            cls.kind
        ]
        missing = [slot for slot in needed if getattr(cls, slot, None) is None]
        if not cls.name or missing:
            raise TypeError(f"op {cls.name or cls.__name__} lacks {', '.join(missing) or 'a name'}")
        if cls.name in REGISTRY:
            raise TypeError(f"op {cls.name} exists already")
        REGISTRY[cls.name] = cls()

    infer: Callable[..., TensorType | tuple[TensorType, ...]]
    reference: Callable[..., Any]

    @property
    def elementwise(self) -> bool:
        return self.kind == "elementwise"

    def infer_types(self, inputs: Sequence[TensorType], attrs: Mapping[str, Any]) -> tuple[TensorType, ...]:
        """The type rule as the graph calls it: always a tuple. Raises ShapeError or DTypeError."""
        result = self.infer(*inputs, **attrs)
        return result if isinstance(result, tuple) else (result,)

    def build(self, *inputs: Value, **attrs: Any) -> Value:
        """A node with one result."""
        return self.build_all(*inputs, **attrs)[0]

    def build_all(self, *inputs: Value, **attrs: Any) -> tuple[Value, ...]:
        for v in inputs:
            if not isinstance(v, Value):
                raise DTypeError(f"{self.name} takes tensors, found {v!r}")
        return Node(self, inputs, attrs, self.infer_types([v.type for v in inputs], attrs)).results

    def __str__(self) -> str:
        return self.name

    def __repr__(self) -> str:
        return f"<op {self.name}>"


def get(name: str) -> Op:
    """The record of that name. Raises KeyError."""
    return REGISTRY[name]


_INTEGER_ORDER = (bool_, u8, i8, i16, u16, i32, u32, i64)


def promote(a: DType, b: DType) -> DType:
    """The common dtype, as PyTorch's table has it: floats beat integers, f16 and bf16 meet in f32."""
    if a == b:
        return a
    if a.is_float or b.is_float:
        if not a.is_float:
            return b
        if not b.is_float:
            return a
        if {a, b} == {f16, bf16}:
            return f32
        return max((a, b), key=lambda d: d.bits)
    if a == bool_ or b == bool_:
        return b if a == bool_ else a
    if {a, b} <= {u8, i8}:
        return i16
    signed = {u8: i16, u16: i32, u32: i64}
    if a.kind != b.kind:
        unsigned, other = (a, b) if a.kind == "u" else (b, a)
        return max((signed[unsigned], other), key=lambda d: d.bits)
    return max((a, b), key=lambda d: d.bits)


def floating(d: DType) -> DType:
    """The dtype of a float function of `d`: itself for floats, f32 for integers and bools."""
    return d if d.is_float else f32


def broadcast(*shapes: Shape, what: str = "operands") -> Shape:
    """The common shape by NumPy's rule, right-aligned. Raises ShapeError with all shapes."""
    rank = max(len(s) for s in shapes)
    result: list[Dim] = []
    for axis in range(rank):
        size: Dim = 1
        for s in shapes:
            at = axis - rank + len(s)
            d: Dim = s[at] if at >= 0 else 1
            if d == 1 or d == size:
                continue
            if size != 1:
                shown = " and ".join("[" + ", ".join(map(str, s)) + "]" for s in shapes)
                raise ShapeError(
                    f"{what} do not broadcast: {shown}", help="sizes must be equal, or 1, counted from the right"
                )
            size = d
        result.append(size)
    return tuple(result)


def plain(type: TensorType, op: str) -> DType:
    """The plain dtype of an input. Raises DTypeError for a block format or a packed layout."""
    if not isinstance(type.element, DType):
        raise DTypeError(f"{op} takes plain elements, found {type}", help="use dequantize(x) first")
    return type.element


def lift(value: Numeric, like: Value) -> Value:
    """A number as a constant that leaves the other operand's dtype unless a float meets an integer."""
    if isinstance(value, Value):
        return value
    dtype = like.type.dtype
    if isinstance(value, bool):
        dtype = bool_ if dtype == bool_ else dtype
    elif isinstance(value, float) and not dtype.is_float:
        dtype = f32
    elif dtype == bool_:
        dtype = i64
    return constant(value, TensorType(dtype, ()))


def normalize_axis(axis: int, rank: int, op: str) -> int:
    if not -rank <= axis < max(rank, 1):
        raise ShapeError(f"{op}: axis {axis} is outside a tensor of {rank} axes")
    return axis % rank if rank else 0


def described(record: type[Op], names: Sequence[str], function: Callable[..., Value]) -> Callable[..., Value]:
    """Dress a generated function as a public one: name, docstring, signature and hints of its operands."""
    function.__name__ = function.__qualname__ = record.name
    function.__doc__ = record.__doc__
    hint: Any = Numeric if len(names) > 1 else Value
    function.__annotations__ = {**dict.fromkeys(names, hint), "return": Value}
    parameters = [inspect.Parameter(n, inspect.Parameter.POSITIONAL_OR_KEYWORD, annotation=hint) for n in names]
    function.__signature__ = inspect.Signature(parameters, return_annotation=Value)  # type: ignore[attr-defined]
    return function


FLOATS = (f64, f32, f16, bf16)
