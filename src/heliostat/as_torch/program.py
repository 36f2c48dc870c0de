"""The program that `python -m heliostat.as_torch` runs, as processes import it that it has started by spawning."""

from __future__ import annotations

import os
import runpy

from heliostat.as_torch import install

PLACE = "_HELIOSTAT_AS_TORCH_PROGRAM"
"""The variable by which such processes know which program it is, by the path of a file or as MODULE and a name: while a
module is run as the main one, that has the place of the first argument."""
MODULE = "-m "

if __name__ == "__mp_main__":
    install()
    place = os.environ[PLACE]
    if place.startswith(MODULE):
        globals().update(runpy.run_module(place[len(MODULE) :], run_name="__mp_main__"))
    else:
        globals().update(runpy.run_path(place, run_name="__mp_main__"))
