"""The stubs of the package: which there are, and what stands in each."""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Iterable
from pathlib import Path
from types import ModuleType
from typing import Any

import heliostat

from .. import serialization
from ..tensor import PUBLIC, Tensor, create
from .names import Names
from .signatures import Declarations, first_line

ROOMS = ("array_api", "fft", "linalg", "special", "nn.functional")
STUBS = ("heliostat", "heliostat.tensor.core", *(f"heliostat.{room}" for room in ROOMS))
"""The modules that have a stub."""

HEADER = "# Written by `python -m heliostat.stubs` from the functions themselves; changes belong there.\n"


def path_of(module: str) -> Path:
    """Where the stub of a module lies: beside its source."""
    return Path(str(importlib.import_module(module).__file__)).with_suffix(".pyi")


def outdated() -> list[str]:
    """The modules whose stubs are not what would be written now, or are not there."""
    return [
        name
        for name in STUBS
        if not path_of(name).exists() or path_of(name).read_text(encoding="utf-8") != written(name)
    ]


def written(module: str) -> str:
    """The text of a module's stub. Raises LookupError for an annotation whose names are nowhere."""
    if module == "heliostat.tensor.core":
        return _tensor(module)
    if module == "heliostat":
        return _package()
    room = importlib.import_module(module)
    return _room(module, {name: getattr(room, name) for name in room.__all__})


def _text(doc: str | None, names: Names, body: list[str]) -> str:
    title = (doc or "").strip().split("\n\n")[0]
    return "\n".join([f'"""{title}"""', HEADER, *names.lines(), "", *body, ""])


def _indented(lines: list[str]) -> list[str]:
    return ["    " + line.replace("\n", "\n    ") for line in lines]


def _place_of(value: Any) -> tuple[str, str] | None:
    """Where a class or a module is defined, None for other values."""
    if isinstance(value, ModuleType):
        package, _, name = value.__name__.rpartition(".")
        return package, name  # as `from package import name`
    return (value.__module__, value.__qualname__) if isinstance(value, type) else None


def _reserved(values: dict[str, Any]) -> dict[str, tuple[str, str] | None]:
    """A stub's own names, those within its classes too."""
    inside = [name for value in values.values() if inspect.isfunction(value) for name in _attributes(value)]
    return {**dict.fromkeys(inside), **{name: _place_of(value) for name, value in values.items()}}


def _members(values: dict[str, Any], names: Names) -> list[str]:
    """The lines of public names: classes and modules are imported, functions declared, values have a type."""
    declared, body = Declarations(names), []
    imported = []
    for name, value in sorted(values.items()):
        if (place := _place_of(value)) is not None:
            imported.append(f"from {place[0]} import {place[1]} as {name}")
        elif inspect.isfunction(value) and (more := _attributes(value)):
            body += _called(name, _with_self(declared.function("__call__", value)), _within(declared, more))
        elif inspect.isroutine(value):
            body += declared.function(name, value)
        elif value is None:
            body.append(f"{name}: None")
        else:
            cls = type(value)
            body.append(f"{name}: {names.local(cls.__module__, cls.__qualname__)}")
    return [*imported, "", *body]


def _attributes(f: Any) -> dict[str, Any]:
    """The functions and classes that hang at a function of the package, `compile.disable`."""
    if hasattr(f, "__wrapped__"):
        return {}  # what hangs there is the package's own
    return {name: v for name, v in sorted(f.__dict__.items()) if inspect.isfunction(v) or isinstance(v, type)}


def _within(declared: Declarations, members: dict[str, Any]) -> list[str]:
    found: list[str] = []
    for name, value in members.items():
        if isinstance(value, type):
            kind = declared.names.local("builtins", "type")
            found.append(f"{name}: {kind}[{declared.names.local(value.__module__, value.__qualname__)}]")
        else:
            for line in declared.function(name, value):
                found += ["@staticmethod", line] if line.startswith("def ") else [line]
    return found


def _with_self(lines: list[str]) -> list[str]:
    return [line.replace("(", "(self, ", 1) if line.startswith("def ") else line for line in lines]


def _called(name: str, call: list[str], members: list[str]) -> list[str]:
    """What can be called and has attributes besides: a value of a class of its own."""
    kind = f"_{name.title()}"
    return [f"class {kind}:", *_indented([*call, *members]), f"{name}: {kind}"]


def _listed(names: Iterable[str]) -> str:
    return f"__all__ = [{', '.join(repr(name) for name in sorted(names))}]"


def _room(module: str, values: dict[str, Any]) -> str:
    names = Names(module, _reserved(values))
    body = _members(values, names)
    return _text(importlib.import_module(module).__doc__, names, [*body, "", _listed(values)])


def _package() -> str:
    rooms = {name: importlib.import_module(f"heliostat.{name}") for name in heliostat.ROOMS}
    values: dict[str, Any] = {**rooms, **PUBLIC, **serialization.PUBLIC, "tensor": create.tensor}
    names = Names("heliostat", _reserved(values))
    called = [name for name, room in rooms.items() if type(room) is not ModuleType and name != "tensor"]
    for name in called:
        del values[name]
    body = _members(values, names)
    declared, lines = Declarations(names), []
    for name in called:  # a module that can be called has no type of its own
        rest = f"def __getattr__(self, name: {names.local('builtins', 'str')}) -> {names.local('typing', 'Any')}: ..."
        lines += _called(name, declared.function("__call__", type(rooms[name]).__call__), [rest])
    lines += [_listed(heliostat.__all__)]
    return _text(heliostat.__doc__, names, [*body, *lines, "__version__: " + names.local("builtins", "str")])


def _tensor(module: str) -> str:
    attributes: dict[str, Any] = {}
    for cls in reversed(Tensor.__mro__[:-1]):
        attributes.update(cls.__dict__)
    kept = {
        name: f
        for name, f in attributes.items()
        if isinstance(f, property | staticmethod | classmethod) or inspect.isfunction(f)
        if not name.startswith("_") or (name.startswith("__") and name.endswith("__"))
    }
    own = {name: (module, name) for name in ("Tensor", "RemovableHandle")}
    names = Names(module, {**dict.fromkeys(kept), **own})
    declared, body = Declarations(names), []
    for name, f in sorted(kept.items(), key=lambda item: (not isinstance(item[1], property), item[0])):
        if isinstance(f, property):
            body += _property(declared, name, f)
        elif name == "__new__":
            body += declared.function(name, Tensor.__new__)
        else:
            body += declared.function(name, f, method=True)
    lines = [f'class Tensor:\n    """{first_line(Tensor)}"""', *_indented(body)]
    lines += _class(declared, importlib.import_module(module).RemovableHandle)
    any_ = names.local("typing", "Any")
    lines += [
        "# What the package itself uses of this module.",
        f"def __getattr__(name: {names.local('builtins', 'str')}) -> {any_}: ...",
    ]
    return _text(importlib.import_module(module).__doc__, names, lines)


def _property(declared: Declarations, name: str, f: property) -> list[str]:
    found = ["@property", *declared.function(name, f.fget, method=True)]
    if f.fset is not None:
        found += [f"@{name}.setter", *declared.function(name, f.fset, method=True)]
    return found


def _class(declared: Declarations, cls: type) -> list[str]:
    """A plain class: its methods."""
    body = [
        line for name, f in sorted(cls.__dict__.items()) if inspect.isfunction(f) for line in declared.function(name, f)
    ]
    return [f'class {cls.__name__}:\n    """{first_line(cls)}"""', *_indented(body)]
