"""`python -m heliostat.as_torch PROGRAM ARGUMENTS`: runs a program of PyTorch, as `python PROGRAM ARGUMENTS` would."""

import sys

from .running import main

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
