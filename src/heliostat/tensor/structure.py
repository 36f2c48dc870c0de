"""Arguments and results of compiled functions: tensors inside of tuples, lists, dicts and dataclasses.

`taken_apart` gives the tensors in order and a hashable description of all the rest; `put_together` is its inverse.
"""

from __future__ import annotations

import dataclasses
import enum
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ..diagnostics import CaptureError
from ..ir.types import Element
from .core import Tensor
from .pairs import ComplexTensor, over
from .quantized import QuantizedTensor, of_codes

TENSOR = "tensor"
NOTHING = "nothing"
PLAIN = (bool, int, float, complex, str, bytes, type(None), Element, enum.Enum, type, slice, type(Ellipsis))


class Same:
    """An object that counts as equal to itself only. It is kept alive, so that no other takes its place."""

    __slots__ = ("object",)

    def __init__(self, object: Any) -> None:
        self.object = object

    def __hash__(self) -> int:
        return id(self.object)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Same) and other.object is self.object

    def __repr__(self) -> str:
        return f"this {type(self.object).__name__}"


def taken_apart(x: Any, found: list[Tensor]) -> Any:
    """Append the tensors of x to `found` and describe the rest, to which parameters belong. Raises CaptureError for
    NumPy arrays."""
    if isinstance(x, ComplexTensor):
        return ("complex", taken_apart(x._pair, found))
    if isinstance(x, QuantizedTensor):
        parts = (x._codes, x._scale, x._zero_point)
        return ("quantized", x._kind.name, x._axis, *[taken_apart(part, found) for part in parts])
    if isinstance(x, Tensor):
        found.append(x)
        return TENSOR if type(x) is Tensor else ("object", Same(x))
    if isinstance(x, PLAIN):
        return (type(x).__name__, repr(x) if isinstance(x, float | slice) else x)
    if isinstance(x, tuple | list):
        return (Same(type(x)), *[taken_apart(i, found) for i in x])
    if isinstance(x, dict):
        return (Same(type(x)), *[(k, taken_apart(v, found)) for k, v in x.items()])
    if dataclasses.is_dataclass(x):
        return (Same(type(x)), *[taken_apart(getattr(x, f.name), found) for f in dataclasses.fields(x)])
    if isinstance(x, np.ndarray):
        raise CaptureError("a compiled function is given a NumPy array", help="give it heliostat.tensor(array)")
    return ("object", Same(x))


def mapped(x: Any, f: Callable[[Tensor], Any]) -> Any:
    """x with f of each tensor in its place."""
    if isinstance(x, ComplexTensor):
        made = f(x._pair)
        return over(made) if isinstance(made, Tensor) else made
    if isinstance(x, QuantizedTensor):
        parts = [mapped(part, f) for part in (x._codes, x._scale, x._zero_point)]
        return of_codes(parts[0], parts[1], parts[2], x._kind, x._axis) if isinstance(parts[0], Tensor) else parts[0]
    if isinstance(x, Tensor):
        return f(x)
    if isinstance(x, tuple | list):
        made = [mapped(i, f) for i in x]
        return type(x)(*made) if hasattr(x, "_fields") else type(x)(made)
    if isinstance(x, dict):
        pairs = {k: mapped(v, f) for k, v in x.items()}
        if type(x) is dict:
            return pairs
        other = x.copy()  # its order, and what else its class keeps
        other.update(pairs)
        return other
    if dataclasses.is_dataclass(x) and not isinstance(x, type):
        fields = {f_.name: mapped(getattr(x, f_.name), f) for f_ in dataclasses.fields(x) if f_.init}
        return dataclasses.replace(x, **fields)
    return x


def tensors_in(x: Any) -> list[Tensor]:
    """The tensors of x in order."""
    found: list[Tensor] = []
    mapped(x, found.append)
    return found


def shown_rest(spec: Any) -> str:
    """A description of `taken_apart` for people."""
    if spec == TENSOR:
        return "a tensor"
    if spec == NOTHING:
        return "not given"
    if isinstance(spec, tuple) and len(spec) == 2 and isinstance(spec[0], str):
        return str(spec[1])
    return "a structure" if isinstance(spec, tuple) else str(spec)


def differing(a: Any, b: Any, path: str = "") -> Sequence[str]:
    """Where two descriptions differ, with both sides."""
    inner = isinstance(a, tuple) and isinstance(b, tuple) and len(a) == len(b) and isinstance(a[0], Same)
    if inner and a[0] == b[0]:
        found: list[str] = []
        for n, (p, q) in enumerate(zip(a[1:], b[1:], strict=True)):
            if p != q:
                found += differing(p, q, f"{path}[{n}]")
        return found
    return [f"{path} was {shown_rest(a)}, is {shown_rest(b)}"]
