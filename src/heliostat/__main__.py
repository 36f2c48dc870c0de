"""`python -m heliostat`: the same as the command `heliostat`."""

import sys

from .cli.main import main

if __name__ == "__main__":
    sys.exit(main())
