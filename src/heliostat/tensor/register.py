"""The tables of functions and methods: `@function` adds one under its name and others, `attach` puts them on Tensor."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import Any, TypeVar, cast

from ..diagnostics import DTypeError
from ..ops import Op
from ..ops.amp import NAMED
from . import quick
from .autocast import ruled, switched
from .core import Tensor
from .outputs import TAKE_OUT, takes_out, write
from .pairs import ComplexTensor, refuse
from .uses import noted

F = TypeVar("F", bound=Callable[..., Any])

FUNCTIONS: dict[str, Any] = {}
METHODS: dict[str, Any] = {}
ALIASES: dict[str, str] = {}
"""Further names of functions, with the name that comes first."""

COMPLEX: dict[str, Any] = {}
"""What functions do with complex tensors and numbers, by name; those that are not here are refused."""

MAKERS = frozenset((
    "tensor", "as_tensor", "asarray", "full", "full_like", "is_tensor", "result_type", "scalar_tensor", "cond",
    "is_storage", "from_dlpack", "from_numpy", "frombuffer", "to_dlpack",
))  # fmt: skip
"""Functions that take complex numbers as what they are."""

QUANTIZED: dict[str, Any] = {}
"""What functions do with quantized tensors, by name; those that are not here are refused."""

FLOAT8_MEANINGS: dict[str, Any] = {}
"""What functions do with tensors of floats of eight bits, by name; those that are not here are refused."""

MEANINGS = {"complex": COMPLEX, "quantized": QUANTIZED, "float8": FLOAT8_MEANINGS}
KINDS: dict[type, str] = {ComplexTensor: "complex", complex: "complex"}
"""Which of MEANINGS there are for a class."""

_WATCHED: set[type] = {*KINDS, list, tuple}


def watch(cls: type, kind: str) -> None:
    """Let functions that are given something of a class mean what MEANINGS say of its kind."""
    KINDS[cls] = kind
    _WATCHED.add(cls)


def kind_of(x: Any) -> str | None:
    """Which meaning an argument asks for, or the first of a sequence's elements that asks for one."""
    cls = x.__class__
    if cls is list or cls is tuple:
        return next((KINDS[i.__class__] for i in x if i.__class__ in KINDS), None)
    return KINDS.get(cls)


def has_complex(x: Any) -> bool:
    """Whether an argument is complex, or a sequence with something complex in it."""
    return kind_of(x) == "complex"


def meaning(name: str, kind: str) -> Any:
    """What a function does with arguments of a kind; a function that refuses them where it has no meaning."""
    return MEANINGS[kind].get(name) or refuse(name, kind)


OTHER_NAMES = {
    "axis": ("dim",), "keepdims": ("keepdim",), "a": ("input",), "x": ("input",), "x1": ("input",), "x2": ("other",),
    "self": ("input",), "split_size": ("split_size_or_sections",), "sections": ("indices_or_sections",),
    "indices": ("indices_or_sections", "sections"), "tensor_indices_or_sections": ("indices_or_sections",),
    "element": ("elements",), "test_element": ("test_elements",), "axis0": ("dim0",), "axis1": ("dim1",),
}  # fmt: skip
"""Further names of arguments, NumPy's and those of PyTorch's overloads, with the names that they stand for."""


def _other_names(f: Any) -> dict[str, str]:
    """Which of OTHER_NAMES mean another argument of a function."""
    code = getattr(inspect.unwrap(f), "__code__", None)
    own = code.co_varnames[: code.co_argcount + code.co_kwonlyargcount] if code is not None else ()
    return {theirs: name for theirs, ours in OTHER_NAMES.items() if theirs not in own for name in ours if name in own}


def _rest_of(f: Any) -> tuple[str, tuple[str, ...]]:
    """The name of the argument that takes all further ones (`*size`), "" where there is none, and those before it."""
    code = getattr(inspect.unwrap(f), "__code__", None)
    if code is None or not code.co_flags & inspect.CO_VARARGS:
        return "", ()
    return code.co_varnames[code.co_argcount + code.co_kwonlyargcount], code.co_varnames[: code.co_argcount]


def _in_order(args: Any, kwargs: dict[str, Any], rest: str, before: tuple[str, ...]) -> tuple[Any, ...]:
    """Positional arguments, where the one that takes all further ones was given by its name."""
    at = kwargs.pop(rest)
    return (*args, *(kwargs.pop(name) for name in before[len(args) :] if name in kwargs), at)


def by_name(f: F, like: Any = None) -> F:
    """A method whose further arguments (`*size`) may be one, given by the name that they have in f or in `like`."""
    rest, before = _rest_of(f if like is None else like)
    if not rest:
        return f

    @functools.wraps(f)
    def run(*args: Any, **kwargs: Any) -> Any:
        if kwargs and rest in kwargs:
            args = _in_order(args, kwargs, rest, before)
        return f(*args, **kwargs)

    return run  # type: ignore[return-value]


def watching(name: str, f: Any) -> Any:
    """f, or its meaning where one of the arguments asks for another; with `out=` where it has that, and with further
    names of arguments."""
    has_out, others, (rest, before) = name in TAKE_OUT, _other_names(f), _rest_of(f)

    @functools.wraps(f)
    def run(*args: Any, **kwargs: Any) -> Any:
        if kwargs and others and not others.keys().isdisjoint(kwargs):
            for theirs in others.keys() & kwargs.keys():
                if others[theirs] in kwargs:
                    raise TypeError(f"{name}() got both {theirs} and {others[theirs]}")
                kwargs[others[theirs]] = kwargs.pop(theirs)
        if kwargs and rest and rest in kwargs:
            args = _in_order(args, kwargs, rest, before)
        if kwargs and has_out and "out" in kwargs:
            out = kwargs.pop("out")
            made = run(*args, **kwargs)
            return made if out is None else write(name, made, out, args, kwargs)
        for a in args:
            if a.__class__ in _WATCHED and (kind := kind_of(a)) is not None:
                return meaning(name, kind)(*args, **kwargs)
        for a in kwargs.values():
            if a.__class__ in _WATCHED and (kind := kind_of(a)) is not None:
                return meaning(name, kind)(*args, **kwargs)
        try:
            return f(*args, **kwargs)
        except AttributeError as error:
            _check_tensors(name, error, args, kwargs)
            raise

    run.__dict__.update(has_out=has_out, other_names=others)  # for stubs
    return run


def _check_tensors(name: str, error: AttributeError, args: Any, kwargs: dict[str, Any]) -> None:
    """Raise DTypeError from the error of a function that asked something that is no tensor for what tensors have, where
    that was an argument, or an element of one."""
    given = [a for x in (*args, *kwargs.values()) for a in (x, *(x if isinstance(x, list | tuple) else ()))]
    if any(error.obj is a for a in given) and not isinstance(error.obj, Tensor):
        raise _no_tensor(name, error.obj) from error


def _no_tensor(name: str, x: Any) -> DTypeError:
    return DTypeError(f"{name} takes a tensor, found {type(x).__name__}")


def a_tensor(name: str, x: Any) -> Tensor:
    """x, for functions that ask it for nothing. Raises DTypeError where it is no tensor. name: what errors call it."""
    if not isinstance(x, Tensor):
        raise _no_tensor(name, x)
    return x


def of_tensors(name: str, f: F) -> F:
    """f, which raises DTypeError where it is given something else than a tensor. name: what errors call it."""

    @functools.wraps(f)
    def run(*args: Any, **kwargs: Any) -> Any:
        try:
            return f(*args, **kwargs)
        except AttributeError as error:
            _check_tensors(name, error, args, kwargs)
            raise

    return run  # type: ignore[return-value]


def function(*names: str, method: bool = True, in_place: bool = False, op: Op | None = None) -> Callable[[F], F]:
    """Publish a function under its own name and `names`, and as methods of the same names.

    `in_place`: methods with an underscore too, which write the result into the tensor. Functions that `ops.amp` names
    follow its rules, but not in place. `op`: all that the function is, for a tensor of floats alone."""

    def add(f: F) -> F:
        written = f
        if f.__name__.rstrip("_") in NAMED:
            written, f = switched(None)(f), ruled(f)
        first = f.__name__.rstrip("_")
        plain = f
        ALIASES.update((name, first) for name in names)
        for name in (*names, first):
            if first not in MAKERS:
                f = watching(name, noted(first, plain))
            else:
                f = takes_out(name, plain) if name in TAKE_OUT else plain
            if op is not None:
                f = cast(F, quick.unary(op, f, plain is not written))
            FUNCTIONS[name] = f
            if method:
                METHODS[name] = f
            if in_place:
                METHODS[name + "_"] = _in_place(name, written)
        return f

    return add


def method(*names: str) -> Callable[[F], F]:
    """Publish a method under its own name and `names`."""

    def add(f: F) -> F:
        called = by_name(f)
        for name in (f.__name__, *names):
            METHODS[name] = called
        return f

    return add


def attribute(name: str, read: Callable[[Any], Any], kind: str) -> None:
    """Publish an attribute that is only read. kind: its type, by a name of the module where `read` was written."""
    read.__annotations__["return"] = kind
    METHODS[name] = property(read)


def _in_place(name: str, f: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(f)
    def run(self: Any, *args: Any, **kwargs: Any) -> Any:
        return self._in_place(f, *args, **kwargs)

    run.__name__ = name + "_"
    run.__doc__ = f"`{name}`, written into this tensor, which is returned."
    return run


def attach(cls: type) -> None:
    """Put all methods on a class, but for what it and the classes that it is made of have themselves."""
    own = {name for c in cls.__mro__[:-1] for name in c.__dict__}
    for name, f in METHODS.items():
        if name not in own:
            setattr(cls, name, f)
