"""Stubs (`.pyi`) for type checkers and editors, of names that exist only once the package has been put together.

Functions and methods come from tables (`tensor/register.py`), with forms in place and with `out=`, so that a checker
that reads sources finds none of them. `python -m heliostat.stubs` looks at what is there at run time, and writes it
down beside the sources; where sources say enough (modules of `nn`, optimizers), they are what a checker reads.
"""

from .files import STUBS, outdated, written

__all__ = ["STUBS", "outdated", "written"]
