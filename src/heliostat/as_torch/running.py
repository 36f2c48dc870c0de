"""Runs a program as the main module of this process, with heliostat as its `torch`.

It stands beside `__main__`, whose globals the program gets: none of ours may be among them.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from importlib.machinery import ModuleSpec
from importlib.util import find_spec
from pathlib import Path
from types import CodeType, TracebackType
from typing import Any, NamedTuple

from . import install
from .program import MODULE, PLACE

USAGE = (
    "usage: python -m heliostat.as_torch PROGRAM [ARGUMENTS]\n       python -m heliostat.as_torch -m MODULE [ARGUMENTS]"
)


class _Program(NamedTuple):
    """What is run. name: by which processes that it starts find it, see `program.py`. package: of a module."""

    code: CodeType
    file: str
    name: str
    package: str


class _Spec(ModuleSpec):
    """The spec of the main module: processes that the program starts import `program.py` by it, and what the program
    imports by names that begin with a dot is beside it."""

    package = ""

    @property
    def parent(self) -> str:
        return self.package


def of_program(show: Callable[..., Any], program: str) -> Callable[..., Any]:
    """`show`, a hook of exceptions, without the calls that led to the program; all of them where it was not reached."""

    def hook(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
        own = trace
        while own is not None and own.tb_frame.f_code.co_filename != program:
            own = own.tb_next
        if own is None and not (isinstance(error, SyntaxError) and error.filename == program):
            own = trace  # else the error says itself where
        show(kind, error.with_traceback(own), own)

    return hook


def _file(path: str) -> _Program:
    """The program in a file."""
    place = os.path.abspath(path)  # noqa: PTH100  # links keep their names, as where Python runs a file
    sys.excepthook = of_program(sys.excepthook, place)
    if not sys.flags.safe_path:  # else the first place is not that of the main module
        sys.path[0] = str(Path(place).resolve().parent)
    return _Program(compile(Path(place).read_bytes(), place, "exec", dont_inherit=True), place, place, "")


def _module(name: str) -> _Program | None:
    """A module, or the `__main__` of a package; None where there is none. Imports the packages around it."""
    if name.startswith("."):
        return None  # beside what?
    try:
        spec = find_spec(name)
        if spec is not None and spec.submodule_search_locations is not None:
            spec = find_spec(f"{name}.__main__")
    except ModuleNotFoundError as error:
        if error.name is None or not f"{name}.".startswith(f"{error.name}."):
            raise  # what a package around it needs
        return None
    code = getattr(spec.loader, "get_code", lambda _: None)(spec.name) if spec is not None else None
    if spec is None or code is None:
        return None
    sys.excepthook = of_program(sys.excepthook, code.co_filename)
    return _Program(code, spec.origin or code.co_filename, MODULE + name, spec.parent or "")


def main(arguments: list[str]) -> int:
    """Run the program that the first argument names, or the module behind `-m`, with the others as its own. Returns the
    exit status 2 where there is none, else 0; what the program raises goes on."""
    of_module = arguments[:1] == ["-m"]
    given = arguments[1:] if of_module else arguments
    program = None
    if given and (of_module or Path(given[0]).is_file()):
        install()
        program = _module(given[0]) if of_module else _file(given[0])
    if program is None:
        kind = "module" if of_module else "program"
        said = f"there is no {kind} {given[0]} to run" if given else f"no {kind} is named"
        print(f"error: {said}\n{USAGE}", file=sys.stderr)
        return 2
    sys.argv = [program.file if of_module else given[0], *given[1:]]
    os.environ[PLACE] = program.name
    room = sys.modules["__main__"].__dict__
    for name in [n for n in room if not n.startswith("__")]:
        del room[name]
    found = find_spec("heliostat.as_torch.program")
    assert found is not None
    spec = _Spec(found.name, found.loader, origin=found.origin)
    spec.package = program.package
    room.update(__file__=program.file, __doc__=None, __package__=program.package if of_module else None, __spec__=spec)
    exec(program.code, room)
    return 0
