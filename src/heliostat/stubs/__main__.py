"""`python -m heliostat.stubs` writes the stubs of the package; with `--check` it names those that are out of date."""

from __future__ import annotations

import argparse
import sys

from .files import STUBS, outdated, path_of, written


def main() -> int:
    """0 where all is well, 1 where `--check` finds a stub that is out of date."""
    parser = argparse.ArgumentParser(prog="python -m heliostat.stubs", description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing, name the stubs that are out of date")
    if parser.parse_args().check:
        found = outdated()
        for name in found:
            print(f"{path_of(name)} is out of date: run python -m heliostat.stubs", file=sys.stderr)
        return 1 if found else 0
    for name in STUBS:
        path_of(name).write_text(written(name), encoding="utf-8")
        print(path_of(name))
    return 0


if __name__ == "__main__":
    sys.exit(main())
