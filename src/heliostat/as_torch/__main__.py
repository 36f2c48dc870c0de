"""`python -m heliostat.as_torch PROGRAM ARGUMENTS`: runs a program of PyTorch, as `python PROGRAM ARGUMENTS` would."""

from __future__ import annotations

import os
import sys
from importlib.util import find_spec
from pathlib import Path

from . import install
from .program import PLACE


def main(arguments: list[str]) -> int:
    """Run the program that the first argument names with the others as its own. Returns the exit status 2 where there
    is none, else 0; what the program raises goes on."""
    if not arguments or not Path(arguments[0]).is_file():
        said = f"no program at {arguments[0]}" if arguments else "no program is named"
        print(f"error: {said}\nusage: python -m heliostat.as_torch PROGRAM [ARGUMENTS]", file=sys.stderr)
        return 2
    install()
    sys.argv = arguments
    sys.path[0] = str(Path(arguments[0]).resolve().parent)
    os.environ[PLACE] = str(Path(arguments[0]).resolve())
    room = sys.modules["__main__"].__dict__
    # processes that the program starts import `program`, and that runs it in them
    room.update(__file__=arguments[0], __doc__=None, __package__=None, __spec__=find_spec("heliostat.as_torch.program"))
    exec(compile(Path(arguments[0]).read_bytes(), arguments[0], "exec"), room)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
