"""`Coded`: tensors over codes of integers, which nothing outside sees; and what functions do with all of them: they
move codes. What else a kind of them means stands in its own file, and all that is nowhere is refused by name."""

from __future__ import annotations

import functools
import operator
from collections.abc import Callable
from typing import Any, ClassVar

from ..diagnostics import UnsupportedError
from .core import Tensor
from .devices import Device
from .dims import Size
from .pairs import HELP, refuse
from .reading import Array
from .register import ALIASES, FUNCTIONS, METHODS, kind_of

MOVEMENT = (
    "broadcast_to", "expand", "flatten", "flip", "gather", "index_select", "movedim", "narrow", "permute",
    "ravel", "repeat", "reshape", "roll", "select", "squeeze", "swapaxes", "t", "take_along_dim",
    "tile", "transpose", "unflatten", "unfold", "unsqueeze", "view",
)  # fmt: skip
"""Functions that put elements elsewhere and change none."""
PARTS = ("chunk", "split", "tensor_split", "unbind")
SAME = ("contiguous", "detach", "cpu")


class Coded(Tensor):
    """A tensor over another one of codes. It has no gradients."""

    __slots__ = ("_codes",)
    _codes: Tensor
    called: ClassVar[str]
    """What tensors of the kind are called, in HELP and in `MEANINGS`."""

    @property
    def shape(self) -> Size:
        """The sizes of the axes."""
        return self._codes.shape

    @property
    def device(self) -> Device:
        """Where the codes lie."""
        return self._codes.device

    @property
    def _home(self) -> str | None:
        return self._codes._home

    def _place(self, device: str) -> Tensor:
        self._codes._place(device)
        return self

    @property
    def ndim(self) -> int:
        """The number of axes."""
        return self._codes.ndim

    @property
    def requires_grad(self) -> bool:
        """False."""
        return False

    @requires_grad.setter
    def requires_grad(self, on: bool) -> None:
        if on:
            raise UnsupportedError(f"{self.called} tensors have no gradients", help=HELP[self.called])

    @property
    def is_leaf(self) -> bool:
        """True: there are no gradients."""
        return True

    @property  # type: ignore[misc]
    def grad(self) -> Tensor | None:
        """None: there are no gradients."""
        return None

    def with_codes(self, codes: Tensor) -> Any:
        """Other codes of the same meaning."""
        raise NotImplementedError

    def dequantize(self) -> Tensor:
        """The values, in float32."""
        raise NotImplementedError

    def array(self) -> Array:
        """The values as a read-only array of float32. Computes what is open."""
        return self.dequantize().array()

    def host_array(self) -> Any:
        """`array()`, of a GPU's memory a copy."""
        return self.dequantize().host_array()

    def _check_in_place(self) -> None:
        raise UnsupportedError(f"{self.called} tensors are not written in place", help="make another one")


def of_first(name: str, kind: str, f: Callable[..., Any]) -> Callable[..., Any]:
    """A meaning f where the first argument alone is of a kind; others are refused by name."""
    refused = refuse(name, kind)

    @functools.wraps(f)
    def run(*args: Any, **kwargs: Any) -> Any:
        given = [*args, *(a for n, a in kwargs.items() if n != "input")]
        first = kwargs["input"] if "input" in kwargs else given.pop(0)
        if kind_of(first) != kind or isinstance(first, list | tuple) or any(kind_of(a) == kind for a in given):
            return refused()
        return f(*args, **kwargs)

    return run


def attach_coded(cls: Any, table: dict[str, Any], meanings: dict[str, Any], to: Callable[..., Any]) -> None:
    """Fill the table of a kind of tensors and put on its class what each method means there; others refuse by name.
    meanings: of functions that do more than move codes. to: the method."""
    kind: str = cls.called
    for name in MOVEMENT:
        f = METHODS.get(name) or FUNCTIONS[name]
        table[name] = of_first(name, kind, lambda input, *a, f=f, **k: input.with_codes(f(input._codes, *a, **k)))
    for name in PARTS:
        f = METHODS.get(name) or FUNCTIONS[name]
        table[name] = of_first(
            name, kind, lambda input, *a, f=f, **k: tuple(input.with_codes(c) for c in f(input._codes, *a, **k))
        )
    for name in SAME:
        table[name] = lambda input, *a, **k: input
        setattr(cls, name, table[name])
    table.update(meanings)
    for name, first in ALIASES.items():
        if first in table:
            table.setdefault(name, table[first])
    for name, f in METHODS.items():
        if name in cls.__dict__ or name in Coded.__dict__ or name.startswith("__"):
            continue
        if name in table:
            setattr(cls, name, table[name])
        elif not isinstance(f, property):
            setattr(cls, name, refuse(name, kind))
    for name in ("add", "sub", "mul", "truediv", "floordiv", "mod", "pow", "matmul", "and", "or", "xor"):
        refused = refuse(f"the operator of {name}", kind)
        for form in ("", "r", "i"):
            setattr(cls, f"__{form}{name}__", refused)
    for name in ("eq", "ne", "lt", "le", "gt", "ge"):
        setattr(cls, f"__{name}__", table.get(name) or refuse(f"the operator of {name}", kind))
    for name in ("neg", "abs", "invert"):
        setattr(cls, f"__{name}__", refuse(f"the operator of {name}", kind))
    cls.__hash__ = object.__hash__
    cls.__getitem__ = lambda self, index: self.with_codes(self._codes[index])
    cls.__setitem__ = lambda self, index, value: self._check_in_place()
    cls.to, cls.dim, cls.size = to, lambda self: self.ndim, _size
    cls.tolist = lambda self: self.dequantize().tolist()
    cls.item = lambda self: self.dequantize().item()
    for name in ("numpy", "detach_", "retain_grad", "register_hook", "backward"):
        setattr(cls, name, refuse(name, kind))
    for name in (
        "numel", "element_size", "stride", "is_contiguous", "data_ptr", "storage_offset", "untyped_storage",
    ):  # fmt: skip
        setattr(cls, name, lambda self, *a, name=name: getattr(self._codes, name)(*a))
    for name in ("itemsize", "nbytes"):
        setattr(cls, name, property(operator.attrgetter(f"_codes.{name}")))
    cls.__len__ = lambda self: self.shape[0]
    cls.__bool__ = lambda self: bool(self.item())
    cls.requires_grad_ = _no_grad


def _no_grad(self: Coded, on: bool = True) -> Coded:
    self.requires_grad = on
    return self


def _size(self: Coded, dim: int | None = None) -> Any:
    return self.shape if dim is None else self.shape[dim]
