"""A reader of pickles that hold data: a machine for the instructions that `torch.save` writes. It calls nothing but
functions that it is given by name, and names every other that it meets.
"""

from __future__ import annotations

import pickletools
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from ..diagnostics import FileFormatError, UnsupportedError

Functions = Mapping[str, Any]
"""By "module name": a function of arguments, or any other value."""

_MARK = object()
_CONSTANTS: dict[str, Callable[[], Any]] = {
    "NONE": lambda: None, "NEWTRUE": lambda: True, "NEWFALSE": lambda: False, "EMPTY_TUPLE": tuple,
    "EMPTY_LIST": list, "EMPTY_DICT": dict, "EMPTY_SET": set, "MARK": lambda: _MARK,
}  # fmt: skip
_LITERALS = {
    "BININT", "BININT1", "BININT2", "LONG1", "LONG4", "BINFLOAT", "BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8",
    "BINBYTES", "SHORT_BINBYTES", "BINBYTES8", "BINSTRING", "SHORT_BINSTRING",
}  # fmt: skip
_SKIPPED = {"PROTO", "FRAME"}
DEPTH = 200  # of containers in containers
KEY_PARTS = 1000  # of a key that is a tuple


class _Function:
    """A function that was named, and may only be called."""

    __slots__ = ("call", "name")

    def __init__(self, name: str, call: Callable[..., Any]) -> None:
        self.name, self.call = name, call


def names(path: str, data: bytes) -> list[str]:
    """All names of functions and classes in a pickle, in order."""
    found: dict[str, None] = {}
    recent: list[str] = []
    for op, argument, _ in _instructions(path, data):
        if op == "GLOBAL":
            found[argument] = None
        elif op == "STACK_GLOBAL":
            found[" ".join(recent[-2:])] = None
        elif isinstance(argument, str):
            recent.append(argument)
    return list(found)


def _instructions(path: str, data: bytes) -> list[tuple[str, Any, Any]]:
    try:
        return [(op.name, argument, at) for op, argument, at in pickletools.genops(data)]
    except Exception as error:  # whatever bytes that are no pickle lead to
        raise FileFormatError(f"{path}: the pickle is not valid: {str(error)[:80]}") from None


def read(path: str, data: bytes, functions: Functions, persistent: Callable[[Any], Any]) -> Any:
    """The value of a pickle. Raises FileFormatError, and UnsupportedError for names that are not in `functions`."""
    code = _instructions(path, data)
    machine = _Machine(path, functions, persistent)
    try:
        for op, argument, _ in code:
            machine.step(op, argument)
        (found,) = machine.stack
        _height(machine.plain(found), 0, {})
        return found
    except (IndexError, KeyError, TypeError, ValueError, AttributeError, OverflowError, RecursionError) as error:
        if isinstance(error, FileFormatError | UnsupportedError):
            raise
        raise FileFormatError(f"{path}: the pickle is not valid: {type(error).__name__} {str(error)[:80]}") from None


def _height(x: Any, level: int, known: dict[int, int]) -> int:
    """How many containers deep x is. Raises ValueError for what is nested in itself or too deep: who walks it, the
    caller or this package, does so by recursion. known: heights by id, so that what is shared is walked once."""
    if not isinstance(x, list | tuple | dict | set):
        return 0
    height = known.get(id(x))
    if level + (height or 0) > DEPTH:
        raise ValueError(f"values are nested in themselves, or more than {DEPTH} deep")
    if height is None:
        inner = (*x, *x.values()) if isinstance(x, dict) else x
        height = known[id(x)] = 1 + max((_height(i, level + 1, known) for i in inner), default=0)
    return height


def check_keys(keys: Iterable[Any]) -> None:
    """Raise ValueError for keys that are tuples of tuples without end: Python's hash of a tuple asks for no stack."""
    for key in keys:
        rest, parts = [key], 0
        while rest:
            part = rest.pop()
            if isinstance(part, tuple):
                parts += len(part) + 1
                if parts > KEY_PARTS:
                    raise ValueError(f"a key has more than {KEY_PARTS} parts")
                rest += part


def _take_state(made: Any, state: Any) -> None:
    """Give an instance of a class that the user named its attributes, as pickle does."""
    if hasattr(made, "__setstate__"):
        made.__setstate__(state)
    elif isinstance(state, dict) and all(isinstance(key, str) for key in state):
        made.__dict__.update(state)
    else:
        raise ValueError(f"the state of a {type(made).__name__} is a {type(state).__name__}, not a dict of attributes")


class _Machine:
    def __init__(self, path: str, functions: Functions, persistent: Callable[[Any], Any]) -> None:
        self.path, self.functions, self.persistent = path, functions, persistent
        self.classes = {f for f in functions.values() if isinstance(f, type)}  # those that the user named
        self.stack: list[Any] = []
        self.memo: dict[int, Any] = {}

    def marked(self) -> list[Any]:
        at = len(self.stack) - 1
        while self.stack[at] is not _MARK:
            at -= 1
            if at < 0:
                raise ValueError("no mark")
        found = [self.plain(x) for x in self.stack[at + 1 :]]
        del self.stack[at:]
        return found

    def pop(self) -> Any:
        return self.plain(self.stack.pop())

    def plain(self, x: Any) -> Any:
        """x, which must be a value."""
        if x is _MARK:
            raise ValueError("a mark is no value")
        if isinstance(x, _Function):
            raise UnsupportedError(f"{self.path}: holds {x.name} itself, which is no data", help=_HELP)
        return x

    def named(self, name: str) -> Any:
        shown = name.replace(" ", ".")
        if name not in self.functions:
            raise UnsupportedError(f"{self.path}: needs {shown}, which is not loaded", help=_HELP)
        found = self.functions[name]
        return _Function(shown, found) if callable(found) else found

    def step(self, op: str, argument: Any) -> None:
        """Do one instruction."""
        stack = self.stack
        if op in _LITERALS:
            stack.append(argument)
        elif op in _CONSTANTS:
            stack.append(_CONSTANTS[op]())
        elif op in ("BINPUT", "LONG_BINPUT", "PUT"):
            self.memo[int(argument)] = stack[-1]
        elif op == "MEMOIZE":
            self.memo[len(self.memo)] = stack[-1]
        elif op in ("BINGET", "LONG_BINGET", "GET"):
            stack.append(self.memo[int(argument)])
        elif op == "GLOBAL":
            stack.append(self.named(argument))
        elif op == "STACK_GLOBAL":
            name, module = self.pop(), self.pop()
            stack.append(self.named(f"{_of(module, str)} {_of(name, str)}"))
        elif op == "BINPERSID":
            found = self.pop()
            if not isinstance(found, tuple):
                raise ValueError("a storage is named by a tuple")
            stack.append(self.persistent(found))
        elif op in ("TUPLE1", "TUPLE2", "TUPLE3"):
            count = int(op[-1])
            if len(stack) < count:
                raise ValueError("too few values")
            stack[-count:] = [tuple(self.plain(x) for x in stack[-count:])]
        elif op == "TUPLE":
            stack.append(tuple(self.marked()))
        elif op not in _SKIPPED and op != "STOP":
            self.change(op)

    def change(self, op: str) -> None:
        """Do an instruction that changes the value on top, or calls a function."""
        stack = self.stack
        if op == "REDUCE":
            arguments = stack.pop()
            function = stack.pop()
            if not isinstance(function, _Function) or not isinstance(arguments, tuple):
                raise ValueError("only functions by name are called")
            stack.append(function.call(*arguments))
        elif op == "NEWOBJ":
            arguments, function = self.pop(), stack.pop()
            made = function.call if isinstance(function, _Function) else None
            if not isinstance(made, type) or not isinstance(arguments, tuple):
                raise ValueError("only classes by name have instances")
            stack.append(made.__new__(made, *arguments))
        elif op == "BUILD":
            state = self.pop()
            if type(stack[-1]) in self.classes:
                _take_state(stack[-1], state)
            elif not isinstance(stack[-1], OrderedDict) or not isinstance(state, dict):
                raise UnsupportedError(f"{self.path}: gives a {type(stack[-1]).__name__} attributes")
        elif op in ("APPEND", "APPENDS"):
            rows = [self.pop()] if op == "APPEND" else self.marked()
            _of(stack[-1], list).extend(rows)
        elif op == "ADDITEMS":
            rows = self.marked()
            check_keys(rows)
            _of(stack[-1], set).update(rows)
        elif op in ("SETITEM", "SETITEMS"):
            rows = self.marked() if op == "SETITEMS" else [self.plain(x) for x in stack[-2:]]
            if op == "SETITEM":
                del stack[-2:]
            check_keys(rows[::2])
            _of(stack[-1], dict).update(zip(rows[::2], rows[1::2], strict=True))
        else:
            raise UnsupportedError(f"{self.path}: the pickle has the instruction {op}, which is not needed for data")


def _of(x: Any, kind: type) -> Any:
    if not isinstance(x, kind):
        raise ValueError(f"a {kind.__name__} is needed, found a {type(x).__name__}")
    return x


_HELP = "only tensors, containers and plain values are"
