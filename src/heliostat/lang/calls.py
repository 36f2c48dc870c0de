"""Calls of ops by name: whether there is such an op, which arguments it takes, and of what kinds.

The type rules are the ops' own; here is only what a call in Python would answer with a TypeError.
"""

from __future__ import annotations

import inspect
import types
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from typing import Any, Union, get_args, get_origin, get_type_hints

from heliostat.ir.graph import Value

from heliostat import ops
from heliostat.ir.types import DType, Element, SymbolicDim
from heliostat.lang.types import did_you_mean

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
    """The names of all ops, as a source calls them."""
    return tuple(sorted(n for n in ops.__all__ if inspect.isfunction(getattr(ops, n))))


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
        raise CallProblem(f"`{parameter}` of `{name}` is {_wanted(hint)}", argument, f"it is {usage(name)}")


def _members(hint: Any) -> tuple[Any, ...]:
    return get_args(hint) if get_origin(hint) in (Union, types.UnionType) else (hint,)


def _fits(value: object, hint: Any) -> bool:
    """Whether a value may be passed where the annotation is `hint`; yes for an annotation that is not known here."""
    for member in _members(hint):
        origin = get_origin(member) or member
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


def call_op(name: str, arguments: Sequence[object], keywords: Mapping[str, object]) -> object:
    """Call the op; lists become tuples, several results a tuple. Raises HeliostatError as the type rule does."""
    args = [tuple(a) if isinstance(a, list) else a for a in arguments]
    named = {k: tuple(v) if isinstance(v, list) else v for k, v in keywords.items()}
    result = getattr(ops, name)(*args, **named)
    return tuple(result) if isinstance(result, (list, tuple)) else result
