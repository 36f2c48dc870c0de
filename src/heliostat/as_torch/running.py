"""Runs a program as the main module of this process, with heliostat as its `torch`.

It stands beside `__main__`, whose globals the program gets: none of ours may be among them.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from types import TracebackType
from typing import Any

from . import install
from .program import PLACE


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


def main(arguments: list[str]) -> int:
    """Run the program that the first argument names with the others as its own. Returns the exit status 2 where there
    is none, else 0; what the program raises goes on."""
    if not arguments or not Path(arguments[0]).is_file():
        said = f"no program at {arguments[0]}" if arguments else "no program is named"
        print(f"error: {said}\nusage: python -m heliostat.as_torch PROGRAM [ARGUMENTS]", file=sys.stderr)
        return 2
    install()
    program = os.path.abspath(arguments[0])  # noqa: PTH100  # links keep their names, as where Python runs a file
    sys.argv = arguments
    if not sys.flags.safe_path:  # else the first place is not that of the main module
        sys.path[0] = str(Path(program).resolve().parent)
    os.environ[PLACE] = program
    sys.excepthook = of_program(sys.excepthook, program)
    code = compile(Path(program).read_bytes(), program, "exec", dont_inherit=True)
    room = sys.modules["__main__"].__dict__
    for name in [n for n in room if not n.startswith("__")]:
        del room[name]
    # processes that the program starts import `program`, and that runs it in them
    room.update(__file__=program, __doc__=None, __package__=None, __spec__=find_spec("heliostat.as_torch.program"))
    exec(code, room)
    return 0
