"""`python -m heliostat.as_torch PROGRAM ARGUMENTS`: runs a program of PyTorch, as `python PROGRAM ARGUMENTS` would."""

from __future__ import annotations

import runpy
import sys
from pathlib import Path

from . import install


def main(arguments: list[str]) -> int:
    """Run the program that the first argument names with the others as its own. Returns the exit status 2 where there
    is none, else 0; what the program raises goes on."""
    if not arguments or not Path(arguments[0]).exists():
        said = f"no program at {arguments[0]}" if arguments else "no program is named"
        print(f"error: {said}\nusage: python -m heliostat.as_torch PROGRAM [ARGUMENTS]", file=sys.stderr)
        return 2
    install()
    sys.argv = arguments
    sys.path[0] = str(Path(arguments[0]).resolve().parent)
    runpy.run_path(arguments[0], run_name="__main__")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
