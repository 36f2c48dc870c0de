"""Calls of ops by name: whether there is such an op, which arguments it takes, and of what kinds.

The type rules are the ops' own; here is only what a call in Python would answer with a TypeError.
"""

from __future__ import annotations

import inspect
import types
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from typing import Any, Union, get_args, get_origin, get_type_hints

from heliostat import ops
from heliostat.diagnostics import ShapeError
from heliostat.ir.graph import Value
from heliostat.ir.types import DType, Element, Layout, SymbolicDim, lower_bound
from heliostat.lang.types import MAX_TENSOR, byte_bound, did_you_mean, whole_blocks

OpFunction = Callable[..., object]


class CallProblem(Exception):
    """A call that does not fit. `argument`: the number of the positional argument at fault, or the name of the one
    given by name, or None where the call as a whole is."""

    def __init__(self, message: str, argument: int | str | None = None, help: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.argument = argument
        self.help = help


@cache
def op_names() -> tuple[str, ...]:
    """The names of all ops that a source can call: they return tensors, and take what the language has words for."""
    return tuple(sorted(name for name in ops.__all__ if _callable(name)))


def _callable(name: str) -> bool:
    if not inspect.isfunction(getattr(ops, name)):
        return False
    hints = _hints(name)
    result = hints.get("return")
    kinds = [m for h in hints.values() for m in _members(h) if inspect.isclass(m)]
    return (result is Value or Value in get_args(result)) and not any(issubclass(k, Layout) for k in kinds)


def is_op(name: str) -> bool:
    return name in op_names()


@cache
def _parameters(name: str) -> dict[str, inspect.Parameter]:
    return dict(inspect.signature(getattr(ops, name)).parameters)


@cache
def _hints(name: str) -> dict[str, Any]:
    return get_type_hints(getattr(ops, name))


def usage(name: str) -> str:
    """How the op is called: `rms_norm(x, weight, eps=1e-05)`."""
    words = []
    for p in _parameters(name).values():
        default = "" if p.default is p.empty else f"={_plain(p.default)}"
        words.append(f"{'*' * (p.kind is p.VAR_POSITIONAL)}{p.name}{default}")
    return f"{name}({', '.join(words)})"


def _plain(value: object) -> str:
    if value is None or isinstance(value, bool):
        return {None: "none", True: "true", False: "false"}[value]
    return f'"{value}"' if isinstance(value, str) else str(value)


def check_arguments(name: str, arguments: Sequence[object], keywords: Mapping[str, object]) -> None:
    """Raise CallProblem unless the op takes these arguments: their number, their names, and their kinds."""
    parameters = _parameters(name)
    positional = [p for p in parameters.values() if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    several = next((p for p in parameters.values() if p.kind is p.VAR_POSITIONAL), None)
    given: dict[str, object] = {}
    for i, value in enumerate(arguments):
        if i < len(positional):
            given[positional[i].name] = value
        elif several is None:
            raise CallProblem(
                f"`{name}` takes {_count(len(positional))} by position, found {len(arguments)}",
                i,
                f"it is {usage(name)}",
            )
        _check_kind(name, (positional[i] if i < len(positional) else several or positional[-1]).name, value, i)
    for word, value in keywords.items():
        if word not in parameters or parameters[word].kind in (
            inspect.Parameter.POSITIONAL_ONLY,
            inspect.Parameter.VAR_POSITIONAL,
        ):
            help = did_you_mean(word, parameters) or f"it is {usage(name)}"
            raise CallProblem(f"`{name}` takes no argument `{word}`", word, help)
        if word in given:
            raise CallProblem(f"`{word}` is given by position already", word, f"it is {usage(name)}")
        given[word] = value
        _check_kind(name, word, value, word)
    if several is not None and len(arguments) <= len(positional):
        raise CallProblem(f"`{name}` needs at least one tensor", None, f"it is {usage(name)}")
    missing = [
        p.name
        for p in parameters.values()
        if p.default is p.empty and p.name not in given and p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)
    ]
    if missing:
        listed = " and ".join(f"`{m}`" for m in missing)
        raise CallProblem(f"`{name}` needs {listed}", None, f"it is {usage(name)}")


def _count(n: int) -> str:
    return f"{n} argument{'s' * (n != 1)}"


def _check_kind(name: str, parameter: str, value: object, argument: int | str) -> None:
    hint = _hints(name).get(parameter)
    if hint is not None and not _fits(value, hint):
        message = f"`{parameter}` of `{name}` is {_wanted(hint)}, found {described(value)}"
        raise CallProblem(message, argument, f"it is {usage(name)}")


def _members(hint: Any) -> tuple[Any, ...]:
    return get_args(hint) if get_origin(hint) in (Union, types.UnionType) else (hint,)


def _fits(value: object, hint: Any) -> bool:
    """Whether a value may be passed where the annotation is `hint`; yes for an annotation that is not known here."""
    for member in _members(hint):
        origin = get_origin(member) or member
        if member is DType and isinstance(value, Element):
            return True  # which elements it takes is for the op to say
        if member is float and isinstance(value, (int, float)) and not isinstance(value, bool):
            return True
        if member is int and isinstance(value, int) and not isinstance(value, bool):
            return True
        if origin in (tuple, list, Sequence):
            inner = [a for a in get_args(member) if a is not Ellipsis]
            if isinstance(value, list) and all(not inner or any(_fits(v, i) for i in inner) for v in value):
                return True
        elif (
            inspect.isclass(member) and member not in (int, float) and isinstance(value, member)
        ) or not inspect.isclass(member):
            return True
    return False


_WANTED: dict[Any, str] = {
    Value: "a tensor",
    float: "a number",
    int: "an integer",
    bool: "`true` or `false`",
    str: "a string",
    type(None): "`none`",
    DType: "an element type",
    Element: "an element type",
    SymbolicDim: "a dimension",
}


def _wanted(hint: Any) -> str:
    words: list[str] = []
    for member in _members(hint):
        origin = get_origin(member) or member
        word = "a list" if origin in (tuple, list, Sequence) else _WANTED.get(member, getattr(member, "__name__", "?"))
        if word not in words:
            words.append(word)
    return " or ".join(words)


def described(value: object) -> str:
    """What kind of thing an expression stands for, in a message."""
    if isinstance(value, Value):
        return str(value.type)
    if isinstance(value, tuple):
        return f"{len(value)} results"
    if isinstance(value, SymbolicDim):
        return f"the dimension `{value}`"
    if isinstance(value, bool) or value is None:
        return f"`{'none' if value is None else str(value).lower()}`"
    if isinstance(value, (int, float)):
        return f"the number {value}"
    if isinstance(value, Element):
        return f"the element type {value}"
    return "a string" if isinstance(value, str) else "a list" if isinstance(value, list) else "something else"


def call_op(name: str, arguments: Sequence[object], keywords: Mapping[str, object]) -> object:
    """Call the op; lists become tuples, several results a tuple. Raises HeliostatError as the type rule does."""
    args = [tuple(a) if isinstance(a, list) else a for a in arguments]
    named = {k: tuple(v) if isinstance(v, list) else v for k, v in keywords.items()}
    result = getattr(ops, name)(*args, **named)
    results: tuple[Value, ...] = tuple(result) if isinstance(result, (list, tuple)) else (result,)
    for value in results:
        _check_result(value)
    return results if isinstance(result, (list, tuple)) else result


def _check_result(value: Value) -> None:
    """Raise ShapeError for a tensor that no values of the shape parameters, or not all of them, can have.

    The rules of the ops compare symbols as far as they need; a source must be right for every value in the bounds."""
    node, type_ = value.node, value.type
    for d in type_.shape:
        if lower_bound(d) < 0:
            raise ShapeError(f"the result's dimension {d} is negative for some values of its shape parameters")
    if byte_bound(type_) >= MAX_TENSOR:
        raise ShapeError(f"the result {type_} may need more than 2**63 bytes")
    if node.op.name == "slice":
        start, stop, size = node.attrs["start"], node.attrs["stop"], node.inputs[0].type.shape[node.attrs["axis"]]
        if lower_bound(start) < 0 or lower_bound(size - stop) < 0:
            raise ShapeError(f"`{start}:{stop}` does not lie in {size} elements for all values of the shape parameters")
        block = type_.element.block
        if node.attrs["axis"] == type_.rank - 1 and block > 1 and not whole_blocks((start,), block):
            raise ShapeError(f"a slice of {type_.element} begins at a multiple of {block}, the block, not at {start}")
        if block > 1 and not whole_blocks(type_.shape, block):
            raise ShapeError(f"a slice of {type_.element} has a multiple of {block} elements, the block")
